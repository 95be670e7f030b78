"""One HTTP session for a sync: timeouts, retries, authentication, exact numbers, and credentials that stay at home.

    client = HttpClient("https://api.example.com", auth=Bearer(token))
    client.get("/v1/items", params={"limit": "100"}).body   -> the JSON body, numbers exact
    for part in client.parts(Call("/v1/items"), RecordPath("data")): part.records   -> a body of any size, in parts

What can pass is tried again, bounded in number and in total time: timeouts, resets, cut bodies, 408, 425, 429 and 5xx,
and an answer of 200 that is no JSON. Everything else is a SourceError with the address and the start of the body.
Several threads may use a client at once.
"""

import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase

from shared import json_stream
from shared.authentication import Authentication, NoAuthentication
from shared.errors import ConnectorError, SourceError, TryLater, redacted, unreachable
from shared.http_messages import (
    NOT_MODIFIED,
    TRANSIENT_STATUS,
    Call,
    HttpAnswer,
    HttpError,
    Links,
    NoRecords,
    Transient,
    is_whole,
    origin,
    retry_after,
    server_time,
    shown_json,
    shown_text,
)
from shared.http_transport import PART_BYTES, START_BYTES, Body, Budget, Opened, Session
from shared.json_stream import RecordPath
from shared.metrics import Metrics
from shared.rate_limit import RateLimit
from shared.values import parse_json

__all__ = ("PART_BYTES", "Call", "HttpAnswer", "HttpClient", "HttpError", "Opened", "Part", "shown_json")

_HINTS = {
    401: " (check the credentials in the settings)",
    403: " (check the credentials in the settings)",
    404: " (check the address of the API in the settings)",
}
_LONGEST_WAIT = 30.0
_MOST_REDIRECTS = 5
# What no address has; a backslash before the query is read as a part of the server's name by some and not by others.
_NO_ADDRESS = re.compile(r"[\x00-\x1f\x7f]|^[^?#]*\\")
# Headers of a call that may go to another origin; any other may be a credential.
_HARMLESS_HEADERS = frozenset(
    {"accept", "accept-encoding", "range"} | {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
)
_NO_RECORDS = {
    "list": "holds no list of records",
    "object": "holds no record",
    "map": "holds no object of records",
    "lines": "holds no lines of records",
}


@dataclass
class Part:
    """Some records of an answer.

    where     the address, as it may be shown
    rows      of the answer so far, this part's included
    is_first  the answer begins, or begins anew since it broke off: what came of it before comes again
    size      characters of the records' JSON
    answer    only with the last part: what the body holds beside the records
    """

    records: list[Any]
    where: str
    rows: int
    is_first: bool
    size: int = 0
    answer: HttpAnswer | None = None


class HttpClient:
    """A client of one API; use it in a `with` block or close it.

    base_url             credentials go only to this origin, whatever a link or a redirect says
    timeout              seconds to connect, and seconds of silence while reading
    attempts             how often a request is sent at most
    patience             seconds that a call may take with all retries until its body begins; and seconds in which each
                         1 MiB of a body has to arrive. A Retry-After beyond it raises TryLater
    backoff              seconds before the first retry at most; doubles with each, up to 30
    max_body_bytes       a body read whole that is larger is an error: it would not fit into a connector's memory
    max_record_bytes     the same for one record of a body that is read in parts, and for all that stands beside the
                         records: characters of JSON, or the memory that so much text takes
    connections          how many stay open: as many as there are threads
    requests_per_second  at most; 0 is no limit, until the server says that it is asked too often
    allow_plaintext      whether a login at http:// is right: others can read what is sent there
    metrics              counts there; its maker logs the summary. Without, the client logs one of its own when closed
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Authentication | None = None,
        timeout: tuple[float, float] = (10.0, 60.0),
        attempts: int = 6,
        patience: float = 180.0,
        backoff: float = 1.0,
        max_body_bytes: int = 4 * 1024 * 1024,
        max_record_bytes: int = 16 * 1024 * 1024,
        connections: int = 1,
        requests_per_second: float = 0.0,
        allow_plaintext: bool = False,
        metrics: Metrics | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        self.allow_plaintext = allow_plaintext
        self.metrics = metrics or Metrics()
        self._logs_metrics = metrics is None
        self._auth = auth or NoAuthentication()
        self._timeout, self._attempts, self._patience, self._backoff = timeout, attempts, patience, backoff
        self._max_body_bytes, self._max_record_bytes = max_body_bytes, max_record_bytes
        self._answered = False
        self._stopped = threading.Event()
        self._limit = RateLimit(requests_per_second, self._stopped)
        self._clock_ahead = timedelta()
        self._session = Session(connections, patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()
        if self._logs_metrics:
            self.metrics.log_summary()

    def stop(self) -> None:
        """Lets no thread wait any longer, to try again or for its turn: the sync fails for another reason."""
        self._stopped.set()

    def now(self) -> datetime:
        """The time by the server's clock, as far as its answers told it."""
        return datetime.now(UTC) + self._clock_ahead

    def strip(self, url: str) -> str:
        """An address without the credentials that the client puts into addresses: for one to be saved or shown."""
        return self._auth.strip(url)

    def masked(self, text: str) -> str:
        """Any text with *** in place of the client's secrets: for one to be shown."""
        return self._auth.masked(text)

    def address(self, url: str) -> str:
        """The whole address of a path below the base address; a whole one as it is."""
        return self._absolute(url if is_whole(url) else self.base_url + url.lstrip("/"), self.base_url)

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """GET of a path below the base address, or of a whole address."""
        return self.request(Call(url, params=params or {}, headers=headers or {}))

    def request(self, call: Call, authenticated: bool = True) -> HttpAnswer:
        """Sends a call until it is answered with a whole body.

        Raises SourceError, or TryLater when the server wants more time.
        """
        budget = Budget()
        with self._discreet():
            while True:
                try:
                    with self._attempt(call, budget, authenticated) as opened:
                        return self._answer(opened, self._whole(opened, shows_body=authenticated))
                except Transient as failure:
                    self._wait_or_give_up(failure, call, budget)

    def open(self, call: Call) -> Opened:
        """Sends a call until the server says yes and the body's beginning is there; close it, or give it to `parts`."""
        with self._discreet():
            return self._open(call, Budget())

    def parts(self, call: Call, records: RecordPath, opened: Opened | None = None) -> Iterator[Part]:
        """The records of an answer of any size, in parts of about PART_BYTES; at least one part, maybe an empty one.

        `opened` is what `open` made of the call, maybe in another thread. When the body breaks off, the call is sent
        again and the parts begin anew, which `is_first` says.
        """
        with self._discreet():
            opened = opened or self._open(call, Budget())
            budget = opened.budget
            while True:
                try:
                    with opened:
                        yield from self._parts(opened, call, records)
                    return
                except Transient as failure:
                    self._wait_or_give_up(failure, call, budget)
                opened = self._open(call, budget)

    # From a call to an answer that says yes

    def _open(self, call: Call, budget: Budget) -> Opened:
        while True:
            try:
                return self._attempt(call, budget)
            except Transient as failure:
                self._wait_or_give_up(failure, call, budget)

    def _attempt(self, call: Call, budget: Budget, authenticated: bool = True) -> Opened:
        """One try, with one new login when the credentials have expired."""
        budget.tries += 1
        url = self.address(call.url)
        if not authenticated:
            return self._follow(call, url, None, budget)
        auth = self._auth.current(self) if self._is_home(url) else NoAuthentication()
        try:
            return self._follow(call, url, auth, budget)
        except HttpError as error:
            renewed = self._auth.current(self, refused=auth) if error.status == 401 and self._is_home(url) else auth
            if renewed is auth:
                raise
        try:
            return self._follow(call, url, renewed, budget)
        except HttpError as error:
            if error.status == 401:
                self._auth.renewed_in_vain()
            raise

    def _follow(self, call: Call, url: str, auth: AuthBase | None, budget: Budget) -> Opened:
        """Sends a call and follows redirects, giving the credentials to no other origin.

        Without `auth` it is a login: it holds credentials itself, so it is not sent on, and its answer is not shown.
        """
        request = requests.Request(call.method, url, dict(call.headers), None, call.form, dict(call.params))
        request.json = call.json
        for _ in range(_MOST_REDIRECTS):
            response, asked_at = self._send(request, call, auth, budget)
            if not response.is_redirect:
                return self._opened(response, asked_at, call, budget, shows_body=auth is not None)
            with response:
                target = self._absolute(response.headers["Location"], request.url)
                if auth is None:
                    raise SourceError(
                        f"{redacted(request.url)} redirects what it is sent to another address, {redacted(target)}: "
                        "a login is not sent on, so put the right address into the settings"
                    )
                request = self._redirected(request, target, response.status_code in (307, 308))
                Body(response).start(START_BYTES)
        raise SourceError(f"{request.method} {redacted(request.url)} redirects more than {_MOST_REDIRECTS} times")

    def _redirected(self, request: requests.Request, target: str, keeps_body: bool) -> requests.Request:
        has_body = request.json is not None or request.data
        if keeps_body and has_body and origin(target) != origin(request.url):
            raise SourceError(
                f"{redacted(request.url)} redirects what it is sent to another server, {redacted(target)}"
            )
        redirected = requests.Request(request.method if keeps_body else "GET", target, request.headers)
        if keeps_body:
            redirected.json, redirected.data = request.json, request.data
        return redirected

    def _send(
        self, request: requests.Request, call: Call, auth: AuthBase | None, budget: Budget
    ) -> tuple[requests.Response, datetime]:
        request.auth = auth or NoAuthentication()
        if auth and not self._is_home(request.url):
            request.auth = NoAuthentication()
            request.url = self._auth.strip(request.url)
            request.headers = {name: it for name, it in request.headers.items() if name.lower() in _HARMLESS_HEADERS}
        if waited := self._limit.wait():
            self.metrics.waited(waited)
            if self._stopped.is_set():
                raise SourceError(f"{request.method} {redacted(request.url)} was not sent: the sync has failed before")
        asked_at, started = datetime.now(UTC), time.monotonic()
        try:
            with budget.spending():
                response = self._session.exchange(request, self._timeout)
        finally:
            self.metrics.called(self._endpoint(call), time.monotonic() - started)
            self.metrics.tick()
        self._answered = True
        told_at = server_time(response, asked_at)
        if self._is_home(request.url):
            self._clock_ahead = told_at - asked_at
        return response, told_at

    def _opened(
        self, response: requests.Response, asked_at: datetime, call: Call, budget: Budget, shows_body: bool
    ) -> Opened:
        """The beginning of an answer that says yes; raises Transient or HttpError for one that says no."""
        status = response.status_code
        if 200 <= status < 300 or (status == NOT_MODIFIED and call.is_conditional):
            try:
                return Opened(response, asked_at, budget)
            except Transient:
                response.close()
                raise
        with response:
            body = Body(response).start(START_BYTES)
        shown = self._shown(body.decode(errors="replace")) if shows_body else ""
        if status == 429:
            self._limit.too_many()
        if status in TRANSIENT_STATUS:
            raise Transient(f"status {status}{shown}", retry_after(response), status=status)
        self.metrics.failed(self._endpoint(call))
        what = f"{response.request.method} {redacted(response.url)} answered with status {status}"
        raise HttpError(f"{what}{_HINTS.get(status, '')}{shown}", status, body)

    def _wait_or_give_up(self, failure: Transient, call: Call, budget: Budget) -> None:
        """Waits before the next try; raises SourceError if there is none, TryLater if the server asks for too much."""
        url, left, asked = self.address(call.url), self._patience - budget.seconds, failure.retry_after or 0.0
        self.metrics.failed(self._endpoint(call))
        if asked and asked > left:
            raise TryLater(
                f"{call.method} {redacted(url)} asks to come back in {asked:.0f} s ({failure}): "
                "what was delivered is saved, and the next sync goes on from there"
            )
        # Full jitter: many clients that failed together must not come back together. A Retry-After of 0 is none.
        wait = max(asked, random.uniform(0, min(_LONGEST_WAIT, self._backoff * 2 ** (budget.tries - 1))))
        # The first contact of a sync fails fast: a server that was never there will hardly come up within a minute.
        attempts = min(3, self._attempts) if failure.unanswered and not self._answered else self._attempts
        if budget.tries >= attempts or wait > left:
            raise _given_up(failure, call, url, budget.tries)
        if asked:
            self._limit.hold(wait)  # the other threads would only be told the same
        self.metrics.retried()
        self.metrics.waited(wait)
        with budget.spending():
            if self._stopped.wait(wait):
                raise _given_up(failure, call, url, budget.tries)

    # From an opened answer to its contents

    def _whole(self, opened: Opened, shows_body: bool) -> Any:
        """The document of a body that fits into memory."""
        if opened.response.status_code == NOT_MODIFIED:
            return None
        body = bytearray()
        for chunk in opened.chunks():
            body += chunk
            if len(body) > self._max_body_bytes:
                where = redacted(opened.response.url)
                raise SourceError(
                    f"{where} answered with more than {self._max_body_bytes:,} bytes: ask for smaller pages"
                )
        try:
            return parse_json(bytes(body))
        except ValueError as error:
            shown = self._shown(opened.start) if shows_body else ""
            raise Transient(f"the answer is not JSON ({error}){shown}") from error

    def _parts(self, opened: Opened, call: Call, records: RecordPath) -> Iterator[Part]:
        """The parts of one try."""
        part = Part([], self.strip(redacted(opened.response.url)), 0, is_first=True)
        if opened.response.status_code == NOT_MODIFIED:
            part.answer = self._answer(opened, None)
            yield part
            return
        endpoint, notable = self._endpoint(call), 0
        for record, size in self._records(opened, records):  # run for every record
            part.records.append(record)
            part.size += size
            if size > notable:
                notable = self.metrics.record(endpoint, size)
            if part.size >= PART_BYTES:
                part.rows += len(part.records)
                yield part
                part = Part([], part.where, part.rows, is_first=False)
        part.rows += len(part.records)
        part.answer = self._answer(opened, opened.beside)
        self.metrics.page(part.rows)
        yield part

    def _records(self, opened: Opened, records: RecordPath) -> Iterator[tuple[Any, int]]:
        """The records of a body and their sizes; what is beside them is in `opened.beside` then.

        What is wrong with the body is raised as an error that names the address.
        """
        where = redacted(opened.response.url)
        place = f" at {records.path!r}" if records.path else ""
        try:
            opened.beside = yield from json_stream.read(opened.chunks(), records, self._max_record_bytes)
        except json_stream.WrongShape as found:
            shown = shown_text(self._auth.masked_start(str(found)))
            raise NoRecords(f"{where} {_NO_RECORDS[records.shape]}{place}{shown}") from None
        except json_stream.TooLarge as problem:
            raise SourceError(f"{where} cannot be read{place}: {problem}") from None
        except ValueError as problem:
            raise Transient(f"the answer is not JSON ({problem}){self._shown(opened.start)}") from problem

    def _answer(self, opened: Opened, body: Any) -> HttpAnswer:
        response = opened.response
        url = self.strip(response.url)
        links = Links(response.headers.get("Link", ""), self.masked(redacted(url)), self.strip)
        return HttpAnswer(body, links, response.headers, url, opened.asked_at, response.status_code)

    # Addresses, and what may be shown

    def _absolute(self, url: str, base: str) -> str:
        """An address relative to `base`, or a whole one, as a whole one; raises SourceError for one that is none."""
        try:
            address = urljoin(base, url)
            scheme, host, _ = origin(address)
            usable = scheme in ("http", "https") and host
        except ValueError:
            usable = False
        reason = " (it has a backslash or a control character)" if _NO_ADDRESS.search(url) else ""
        if reason or not usable:
            raise SourceError(f"{redacted(base)} leads to an address that cannot be asked: {redacted(url)}{reason}")
        return address

    def _is_home(self, url: str) -> bool:
        """Whether credentials may go to an address."""
        return origin(url) == origin(self.base_url)

    def _endpoint(self, call: Call) -> str:
        path = urlsplit(call.url).path if is_whole(call.url) else call.url.partition("?")[0]
        return call.endpoint or self._auth.masked(path)

    def _shown(self, text: str) -> str:
        """The start of a body: masked before it is cut, as half a secret would not be recognized."""
        return shown_text(self._auth.masked(text))

    @contextmanager
    def _discreet(self) -> Iterator[None]:
        """Takes the secrets out of an error's sentence, and what led to it away: libraries quote whole addresses."""
        try:
            yield
        except ConnectorError as error:
            error.args = (self._auth.masked(str(error)), *error.args[1:])
            raise error from None


def _given_up(failure: Transient, call: Call, url: str, tries: int) -> SourceError:
    """The error for a call that failed for the last time."""
    where, after = f"{call.method} {redacted(url)}", f"after {tries} tries" if tries > 1 else "at the first try"
    if failure.unanswered:
        return unreachable(where, urlsplit(url).hostname or "", f"{failure} {after}")
    told = f"{where} failed {after}: {failure}"
    return HttpError(told, failure.status) if failure.status else SourceError(told)
