"""What is asked of an API, what it answers, and in which ways it can fail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from shared.errors import SourceError

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
NOT_MODIFIED = 304

_CONDITIONS = frozenset({"if-none-match", "if-modified-since"})
_SHOWN_BODY = 200
_ANY_WAIT = 10**9  # seconds; whether a wait is too long is decided by the client's patience, not cut short in parsing
_USER_INFORMATION = re.compile(r"(?<=//)[^/?#\s@]*@")


@dataclass(frozen=True)
class Call:
    """One request, sent as often as it takes.

    url       a path below the base address, or a whole address
    json      what is sent as JSON; `form` is sent as a form instead
    endpoint  the name its figures are counted under; the path when empty
    """

    url: str
    method: str = "GET"
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    endpoint: str = ""
    form: Mapping[str, str] | None = None

    @property
    def is_conditional(self) -> bool:
        """Whether it asks only for what has changed, so that 304 is a good answer."""
        return any(name.lower() in _CONDITIONS for name in self.headers)


@dataclass(frozen=True)
class HttpAnswer:
    """An answer of the server that says yes.

    body      the JSON document; None for 304
    links     the addresses of the `Link` header by relation
    headers   looked up regardless of their case
    asked_at  when it was asked for, by the server's clock if it tells one
    """

    body: Any
    links: Mapping[str, str]
    headers: Mapping[str, str]
    url: str
    asked_at: datetime
    status: int = 200


class HttpError(SourceError):
    """An answer that says no; `status` is its HTTP status, `body` its start, which may hold anything."""

    def __init__(self, message: str, status: int, body: bytes = b"") -> None:
        super().__init__(message)
        self.status = status
        self.body = body


class Transient(Exception):
    """A failure that may pass: why, and how long the server asks to wait (None: it does not say).

    unanswered  whether the server was not reached at all
    status      of an answer that said no; 0 for any other failure
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, unanswered: bool = False, status: int = 0
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.unanswered = unanswered
        self.status = status


class TooSlow(OSError):
    """An answer that arrives, but so slowly that it is given up."""


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address: credentials for one go to no other."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def retry_after(response: requests.Response) -> float | None:
    """Seconds the server asks to wait, from either form of the header; None without one that can be read."""
    header = response.headers.get("Retry-After")
    try:
        return Retry(retry_after_max=_ANY_WAIT).parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


def server_time(response: requests.Response, asked_at: datetime) -> datetime:
    """The server's clock when it was asked, from its Date header (whole seconds); ours where it sends none."""
    try:
        answered = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return asked_at
    return answered.replace(tzinfo=answered.tzinfo or UTC) - response.elapsed


def shown_json(body: Any) -> str:
    """The start of a JSON body, for an error."""
    return repr(body)[:_SHOWN_BODY]


def shown_text(text: str) -> str:
    """The start of a body on one line, for an error; nothing for an empty one."""
    line = " ".join(text.split())[:_SHOWN_BODY]
    return f": {line}" if line else ""


def innermost(error: BaseException) -> BaseException:
    """The first reason of a chain of library errors."""
    while True:
        context = None if error.__suppress_context__ else error.__context__
        inner = error.__cause__ or context or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def root_cause(error: BaseException) -> str:
    """The first reason of a chain of library errors in its own words, without user information of addresses."""
    cause = innermost(error)
    return _USER_INFORMATION.sub("", str(getattr(cause, "strerror", None) or cause))
