"""What is asked of an API, what it answers, and in which ways it can fail."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests

from shared.errors import SourceError

TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
NOT_MODIFIED = 304

_CONDITIONS = frozenset({"if-none-match", "if-modified-since"})
_SHOWN_BODY = 200
_LONGEST_WAIT = 1e9  # seconds; any number of digits is read, and the client's patience decides what is too long
_YEARS = range(1970, 9001)  # further ones are no clock's, and calculating with them would overflow
_WHOLE_ADDRESS = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_LINK_TARGET = re.compile(r"[\s,]*<([^<>]*)>\s*")
_LINK_PARAMETER = re.compile(r';\s*([^\s;,="<]*)\s*(?:=\s*("(?:[^"\\]|\\.)*"|[^;,"]*))?\s*')
_NO_MORE_LINKS = re.compile(r"[\s,]*")
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
    links     the addresses of the `Link` header by relation, in any case; looking one up raises SourceError for a
              header that cannot be read
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


class NoRecords(SourceError):
    """An answer that says yes and is JSON, but holds no records where they should be."""


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


class GivenUp(OSError):
    """An answer that arrives, but so slowly, or with so much around its body, that it is given up."""


class Links(Mapping[str, str]):
    """The addresses of a `Link` header by relation.

    The header is read when somebody looks for a relation, and only then can it be wrong: raises SourceError.

    where  the page's address, as it may be shown
    strip  takes credentials out of an address
    """

    def __init__(self, header: str, where: str, strip: Callable[[str], str]) -> None:
        self._header, self._where, self._strip = header, where, strip

    def __getitem__(self, relation: str) -> str:
        return self._strip(self._targets[relation.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    @cached_property
    def _targets(self) -> dict[str, str]:
        try:
            return parse_links(self._header)
        except ValueError as problem:
            raise SourceError(
                f"{self._where} has a Link header that {problem}, so that nobody can tell what follows: "
                'expected one like <https://host/items?page=2>; rel="next"'
            ) from None


def parse_links(header: str) -> dict[str, str]:
    """The targets of a `Link` header (RFC 8288) by relation in lower case; the first one of each counts.

    >>> parse_links('</items?a=1;2>; title="a, b"; rel="next last", </>; rel=FIRST')
    {'next': '/items?a=1;2', 'last': '/items?a=1;2', 'first': '/'}

    Raises ValueError for a header of another form.
    """
    targets: dict[str, str] = {}
    at = 0
    while not _NO_MORE_LINKS.fullmatch(header, at):
        target = _LINK_TARGET.match(header, at)
        if not target:
            raise ValueError(f"is no link after {at:,} characters")
        at = target.end()
        relations: str | None = None
        while parameter := _LINK_PARAMETER.match(header, at):
            at = parameter.end()
            if parameter[1].lower() == "rel" and relations is None:
                relations = _unquoted(parameter[2] or "")
        if header[at : at + 1] not in ("", ","):
            raise ValueError(f"is no link after {at:,} characters")
        for relation in (relations or "").lower().split():
            targets.setdefault(relation, target[1].strip())
    return targets


def _unquoted(value: str) -> str:
    """A parameter's value. Single quotes are none by the standard, but sent."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value.strip(" \t'")


def is_whole(url: str) -> bool:
    """Whether an address names a server, so that it is no path. "/items:search" and "/items?next=//x" are paths."""
    return _WHOLE_ADDRESS.match(url) is not None


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port that a request to an address connects to: credentials for one go to no other.

    It is read as `requests` reads it, as parsers differ over addresses such as http://one\\@two. Raises ValueError for
    an address that cannot be asked.
    """
    request = requests.PreparedRequest()
    request.prepare_url(url, None)
    parts = urlsplit(request.url or "")
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def retry_after(response: requests.Response) -> float | None:
    """Seconds the server asks to wait, from either form of the header; None without one that can be read."""
    header = response.headers.get("Retry-After", "").strip()
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_WAIT)
    moment = _moment(header)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds()) if moment else None


def server_time(response: requests.Response, asked_at: datetime) -> datetime:
    """The server's clock when it was asked, from its Date header (whole seconds); ours where it sends none."""
    answered = _moment(response.headers.get("Date", ""))
    return answered - response.elapsed if answered else asked_at


def _moment(text: str) -> datetime | None:
    """The time in a header; None for what is no clock's."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment.year in _YEARS else None


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
