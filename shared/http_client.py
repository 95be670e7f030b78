"""One HTTP session for a sync: timeouts, retries, authentication, exact numbers, and credentials that stay at home.

    client = HttpClient("https://api.example.com", auth=Bearer(token))
    client.get("/v1/items", params={"limit": "100"}).body   -> the JSON body, numbers exact

What can pass is tried again, bounded in number and in total time: timeouts, resets, cut bodies, 408, 425, 429 and 5xx,
and an answer of 200 that is no JSON. Everything else is a SourceError with the address and the start of the body.
"""

import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests
from fivetran_connector_sdk import Logging as log
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import DecodeError, HTTPError, InvalidHeader, LocationParseError
from urllib3.util import Retry

from shared.errors import SourceError, TryLater, redacted, unreachable
from shared.values import parse_json

_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_HINTS = {
    401: " (check the credentials in the settings)",
    403: " (check the credentials in the settings)",
    404: " (check the address of the API in the settings)",
}
_LONGEST_WAIT = 30.0
_MOST_REDIRECTS = 5
_CHUNK = 64 * 1024
_SHOWN_BODY = 200
_ANY_WAIT = 10**9  # seconds; whether a wait is too long is decided by our patience, not cut short in the parsing


class HttpError(SourceError):
    """An answer that says no; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class HttpAnswer:
    """An answer of the server: the JSON body, the `Link` header by relation, and when it was asked for."""

    body: Any
    links: Mapping[str, str]
    url: str
    asked_at: datetime


@dataclass
class Metrics:
    """What the calls of a client cost."""

    calls: int = 0
    retries: int = 0
    seconds: float = 0.0
    waited_seconds: float = 0.0


class Bearer(AuthBase):
    """Authorization: Bearer TOKEN."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


Basic = HTTPBasicAuth


class ApiKey(AuthBase):
    """A key in a header, after an optional prefix: X-Api-Key: KEY, or Authorization: apiKey KEY."""

    def __init__(self, key: str, header: str = "X-Api-Key", prefix: str = "") -> None:
        self._header, self._value = header, prefix + key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[self._header] = self._value
        return request


class SessionToken(AuthBase):
    """A token fetched by logging in, fetched anew once when the server no longer takes it.

    login    address of the login, to which `credentials` go as JSON
    token    name of the token in the answer
    scheme   what stands before the token in the Authorization header
    """

    def __init__(self, login: str, credentials: Mapping[str, str], token: str = "token", scheme: str = "Token") -> None:
        self._login, self._credentials, self._name, self._scheme = login, credentials, token, scheme
        self._token = ""
        self._lock = threading.Lock()

    def log_in(self, client: "HttpClient", refused: str | None = None) -> str:
        """The token in use; a new one if there is none yet, or if `refused` is still the one in use."""
        with self._lock:
            if not self._token or self._token == refused:
                answer = client.request("POST", self._login, json=self._credentials, authenticated=False)
                token = answer.body.get(self._name) if isinstance(answer.body, dict) else None
                if not token:
                    raise SourceError(f"{answer.url} answered without a {self._name!r}: is it the login's address?")
                self._token = str(token)
            return self._token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"{self._scheme} {self._token}"
        return request


class _NoAuth(AuthBase):
    """Sends nothing. Without an authentication of its own, `requests` would take one from a .netrc file."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Transient(Exception):
    """A failure that may pass: why, and how long the server asks to wait (None: it does not say)."""

    def __init__(self, reason: str, retry_after: float | None = None, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.unanswered = unanswered


class HttpClient:
    """A client of one API; use it in a `with` block or close it.

    base_url          credentials go only to this origin, whatever a link or a redirect says
    timeout           seconds to connect, and seconds of silence while reading
    attempts          how often a request is sent at most
    patience          seconds that a request's retries may take over all; a Retry-After beyond it raises TryLater
    backoff           seconds before the first retry at most; doubles with each, up to 30
    max_body_bytes    a body larger than this is an error: it would not fit into the memory of a connector
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: AuthBase | None = None,
        timeout: tuple[float, float] = (10.0, 60.0),
        attempts: int = 6,
        patience: float = 180.0,
        backoff: float = 1.0,
        max_body_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        self._auth = auth or _NoAuth()
        self._timeout, self._attempts, self._patience, self._backoff = timeout, attempts, patience, backoff
        self._max_body_bytes = max_body_bytes
        self._answered = False
        self._session = requests.Session()
        # Retries are ours: those of the adapter cannot see a body that is cut or is no JSON.
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=Retry(0, read=False)))
        self.metrics = Metrics()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()
        spent = self.metrics
        log.info(
            f"{redacted(self.base_url)}: {spent.calls:,} calls took {spent.seconds:.1f} s to answer; {spent.retries:,} "
            f"were tried again, after waiting {spent.waited_seconds:.1f} s"
        )

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """GET of a path below the base address, or of a whole address."""
        return self.request("GET", url, params=params, headers=headers)

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        authenticated: bool = True,
    ) -> HttpAnswer:
        """Sends a request until it is answered; raises SourceError, or TryLater when the server wants more time."""
        path = url if "//" in url else url.lstrip("/")
        request = requests.Request(
            method,
            self._absolute(path, self.base_url),
            params=dict(params or {}),
            headers=dict(headers or {}),
            json=json,
        )
        deadline = time.monotonic() + self._patience
        for attempt in range(1, self._attempts + 1):
            try:
                return self._answer(request, authenticated)
            except _Transient as failure:
                self._wait_or_give_up(failure, request, attempt, deadline)
        raise AssertionError("unreachable: the last attempt gives up")

    def _absolute(self, url: str, base: str) -> str:
        """A path below `base` as a whole address; a whole address as it is. Raises SourceError for one that is none."""
        try:
            address = urljoin(base, url)
            parts = urlsplit(address)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise SourceError(f"{redacted(base)} leads to an address that cannot be asked: {redacted(url)}")
        return address

    def _wait_or_give_up(self, failure: _Transient, request: requests.Request, attempt: int, deadline: float) -> None:
        where = f"{request.method} {redacted(request.url)}"
        left = deadline - time.monotonic()
        # The first contact of a sync fails fast: a server that was never there will hardly come up within a minute.
        attempts = min(3, self._attempts) if failure.unanswered and not self._answered else self._attempts
        if failure.retry_after is not None and failure.retry_after > left:
            raise TryLater(
                f"{where} asks to come back in {failure.retry_after:.0f} s ({failure}): "
                "what was delivered is saved, and the next sync goes on from there"
            ) from failure
        # Full jitter: many clients that failed together must not come back together.
        wait = failure.retry_after
        if wait is None:
            wait = random.uniform(0, min(_LONGEST_WAIT, self._backoff * 2 ** (attempt - 1)))
        if attempt >= attempts or wait > left:
            tries = f"after {attempt} tries" if attempt > 1 else "at the first try"
            if failure.unanswered:
                parts = urlsplit(request.url)
                raise unreachable(where, parts.hostname or "", f"{failure} {tries}") from failure
            raise SourceError(f"{where} failed {tries}: {failure}") from failure
        self.metrics.retries += 1
        self.metrics.waited_seconds += wait
        time.sleep(wait)

    def _answer(self, request: requests.Request, authenticated: bool) -> HttpAnswer:
        """One try: the answer, with one new login when the session has expired."""
        if not isinstance(self._auth, SessionToken) or not (authenticated and self._is_home(request.url)):
            return self._follow(request, authenticated)
        token = self._auth.log_in(self)
        try:
            return self._follow(request, authenticated)
        except HttpError as error:
            if error.status != 401:
                raise
            self._auth.log_in(self, refused=token)
            return self._follow(request, authenticated)

    def _is_home(self, url: str) -> bool:
        """Whether credentials may go to an address."""
        return _origin(url) == _origin(self.base_url)

    def _follow(self, request: requests.Request, authenticated: bool) -> HttpAnswer:
        """Sends the request and follows redirects, giving the credentials to no other origin."""
        for _ in range(_MOST_REDIRECTS):
            response, asked_at = self._send(request, authenticated)
            with response:
                body = self._read(response)
            if not response.is_redirect:
                # What a login answers may hold a token: it is not shown.
                return _checked(response, body, asked_at, _shown(body) if authenticated else "")
            target = self._absolute(response.headers["Location"], request.url)
            keeps_body = response.status_code in (307, 308)
            if keeps_body and request.json is not None and _origin(target) != _origin(request.url):
                raise SourceError(
                    f"{redacted(request.url)} redirects what it is sent to another server, {redacted(target)}"
                )
            request = requests.Request(
                request.method if keeps_body else "GET",
                target,
                headers=request.headers,
                json=request.json if keeps_body else None,
            )
        raise SourceError(f"{request.method} {redacted(request.url)} redirects more than {_MOST_REDIRECTS} times")

    def _send(self, request: requests.Request, authenticated: bool) -> tuple[requests.Response, datetime]:
        request.auth = self._auth if authenticated and self._is_home(request.url) else _NoAuth()
        asked_at, started = datetime.now(UTC), time.monotonic()
        self.metrics.calls += 1
        try:
            prepared = self._session.prepare_request(request)
            settings = self._session.merge_environment_settings(prepared.url, {}, True, None, None)
            response = self._session.send(prepared, timeout=self._timeout, allow_redirects=False, **settings)
        except requests.exceptions.SSLError as error:
            raise SourceError(f"{redacted(request.url)} cannot be trusted: {_root_cause(error)}") from error
        except requests.exceptions.Timeout as error:
            raise _Transient(f"no answer within {self._timeout[1]:.0f} s", unanswered=True) from error
        except requests.exceptions.ConnectionError as error:
            raise _Transient(_root_cause(error), unanswered=True) from error
        except (requests.exceptions.RequestException, LocationParseError, ValueError) as error:
            # The address or a header is none; the library's message may hold a credential.
            what = f"{redacted(request.url)} cannot be asked: a part of its address or of its headers is none"
            raise SourceError(f"{what} ({type(error).__name__})") from None
        finally:
            self.metrics.seconds += time.monotonic() - started
        self._answered = True
        return response, asked_at

    def _read(self, response: requests.Response) -> bytes:
        """The whole body, streamed so that one too large is refused before it fills the memory."""
        body = bytearray()
        deadline = time.monotonic() + self._patience
        try:
            # read1 takes what has arrived. A read of so many bytes would wait for them all, however slowly they drip.
            while chunk := response.raw.read1(_CHUNK, decode_content=True):
                body += chunk
                if len(body) > self._max_body_bytes:
                    raise SourceError(
                        f"{redacted(response.url)} answered with more than {self._max_body_bytes:,} bytes: "
                        "ask for smaller pages"
                    )
                if time.monotonic() > deadline:
                    raise _Transient(f"the body was not complete after {self._patience:.0f} s")
        except DecodeError as error:
            raise _Transient("the body's compression is damaged") from error
        except (HTTPError, OSError) as error:
            raise _Transient(f"the body was cut off after {len(body):,} bytes") from error
        return bytes(body)


def _checked(response: requests.Response, body: bytes, asked_at: datetime, shown: str) -> HttpAnswer:
    """The answer of a response that says yes and holds JSON; `shown` is what an error may show of its body."""
    status = response.status_code
    if status in _TRANSIENT_STATUS:
        raise _Transient(f"status {status}{shown}", _retry_after(response))
    where = f"{response.request.method} {redacted(response.url)}"
    if not 200 <= status < 300:
        hint = _HINTS.get(status, "")
        raise HttpError(f"{where} answered with status {status}{hint}{shown}", status)
    try:
        document = parse_json(body)
    except ValueError as error:
        raise _Transient(f"the answer is not JSON ({error}){shown}") from error
    links = {name: link["url"] for name, link in response.links.items()}
    return HttpAnswer(document, links, response.url, _server_time(response, asked_at))


def shown_json(body: Any) -> str:
    """The start of a JSON body, for an error."""
    return repr(body)[:_SHOWN_BODY]


def _shown(body: bytes) -> str:
    text = " ".join(body[:_SHOWN_BODY].decode(errors="replace").split())
    return f": {text}" if text else ""


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _retry_after(response: requests.Response) -> float | None:
    """Seconds the server asks to wait, from either form of the header; None without one that can be read."""
    header = response.headers.get("Retry-After")
    try:
        return Retry(retry_after_max=_ANY_WAIT).parse_retry_after(header) if header else None
    except InvalidHeader:
        return None


def _server_time(response: requests.Response, asked_at: datetime) -> datetime:
    """The server's clock when it was asked, from its Date header (whole seconds); ours where it sends none."""
    try:
        answered = parsedate_to_datetime(response.headers["Date"])
    except (KeyError, ValueError):
        return asked_at
    return answered.replace(tzinfo=answered.tzinfo or UTC) - response.elapsed


def _root_cause(error: BaseException) -> str:
    """The innermost reason of a chain of library errors, in its own words."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            return str(getattr(error, "strerror", None) or error)
        error = inner
