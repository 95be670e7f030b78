"""How answers arrive: connections that give up a server which drips, and bodies that are decoded as they come."""

import http.client
import io
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Self

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError
from urllib3.util import Retry

from shared.errors import SourceError, redacted
from shared.http_messages import GivenUp, Transient, innermost, root_cause

PART_BYTES = 1024 * 1024
START_BYTES = 64 * 1024  # of a body that is read only for an error, or to use its connection again
_CHUNK = 64 * 1024
_MOST_AROUND = 1024 * 1024  # bytes of headers, and of what stands around a piece of a body, such as trailers
_GZIP, _ZLIB, _BARE = 31, 15, -15  # what zlib calls the formats of compressed data


class Session(requests.Session):
    """A session for several threads: it follows no redirect, keeps no cookie, and waits for no answer that drips.

    connections  how many stay open for the next request
    patience     seconds in which the headers, and each PART_BYTES of a body, have to arrive
    """

    def __init__(self, connections: int, patience: float) -> None:
        super().__init__()
        # Cookies are credentials too, and a jar gives those of one port of a host to all others.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.headers["Accept-Encoding"] = "gzip, deflate"
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(connections, patience))

    def exchange(self, request: requests.Request, timeout: tuple[float, float]) -> requests.Response:
        """The response to one request; its body is still to be read.

        Raises Transient for what may pass, and SourceError for a server that cannot be trusted or what is no request.
        """
        try:
            prepared = self.prepare_request(request)
            settings = self.merge_environment_settings(prepared.url, {}, True, None, None)
            return self.send(prepared, timeout=timeout, allow_redirects=False, **settings)
        except requests.exceptions.Timeout as error:
            seconds = timeout[0] if isinstance(error, requests.exceptions.ConnectTimeout) else timeout[1]
            raise Transient(f"no answer within {seconds:g} s", unanswered=True) from error
        except requests.exceptions.ConnectionError as error:
            cause = innermost(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SourceError(f"{redacted(request.url)} cannot be trusted: {root_cause(error)}") from error
            raise Transient(root_cause(error), unanswered=not isinstance(cause, GivenUp)) from error
        except (requests.exceptions.RequestException, LocationParseError, ValueError) as error:
            if isinstance(innermost(error), InvalidHeader):
                raise Transient("the answer states several lengths, so that nobody can tell where it ends") from None
            # The address or a header is none; the library's message may hold a credential.
            what = f"{redacted(request.url)} cannot be asked: a part of its address or of its headers is none"
            raise SourceError(f"{what} ({type(error).__name__})") from None

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: the client follows redirects. The session would read their bodies whole, however large."""


class _Adapter(HTTPAdapter):
    """Makes connections that limit how long an answer may take, and leaves retries to the client."""

    def __init__(self, connections: int, patience: float) -> None:
        self._patience = patience
        self._classes: dict[type, type] = {}
        # Retries of the adapter could not see a body that is cut or is no JSON.
        super().__init__(pool_maxsize=connections, max_retries=Retry(0, read=False))

    def get_connection_with_tls_context(self, *args: Any, **settings: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **settings)
        kind = type(pool)
        if kind not in self._classes:
            self._classes[kind] = _patient(kind.ConnectionCls, self._patience)
        pool.ConnectionCls = self._classes[kind]
        return pool


def _patient(connection: type, patience: float) -> type:
    """A class of connections whose answers, headers included, are read through a `_PatientReader`."""

    class PatientResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **settings: Any) -> None:
            super().__init__(sock, *args, **settings)
            self._reader = _PatientReader(self.fp.detach(), sock, patience)
            self.fp: Any = io.BufferedReader(self._reader)

        def begin(self) -> None:
            self._reader.begin_step()
            super().begin()

        def read1(self, n: int = -1) -> bytes:
            self._reader.begin_step()
            return super().read1(n)

    return type(f"Patient{connection.__name__}", (connection,), {"response_class": PatientResponse})


class _PatientReader(io.RawIOBase):
    """Reads a socket, and raises GivenUp when less than PART_BYTES arrived in `patience` seconds of waiting.

    The timeout of a socket is one of silence: a server that sends a byte now and then would be waited for for ever.
    Time that passes between the reads is not counted.

    So is one that sends headers, trailers or interim answers without an end, however fast: a step that needs more
    than _MOST_AROUND bytes is given up too.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, patience: float) -> None:
        super().__init__()
        self._raw, self._sock, self._patience = raw, sock, patience
        self._silence = sock.gettimeout()
        self._left = patience
        self._arrived = 0
        self._in_step = 0

    def begin_step(self) -> None:
        """All headers are read now, or one piece of a body of at most _CHUNK bytes."""
        self._in_step = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        started = time.monotonic()
        is_last = self._silence is None or self._left < self._silence
        try:
            if is_last:
                self._sock.settimeout(max(self._left, 0.001))
            count = self._raw.readinto(buffer) or 0
        except TimeoutError:
            if is_last:
                raise self._too_slow() from None
            raise
        finally:
            if is_last:
                self._sock.settimeout(self._silence)
            self._left -= time.monotonic() - started
        self._in_step += count
        if self._in_step > _MOST_AROUND:
            raise GivenUp(f"the answer has more than {_MOST_AROUND:,} bytes of headers or trailers")
        self._arrived += count
        if self._arrived >= PART_BYTES:
            self._arrived, self._left = 0, self._patience
        elif count and self._left <= 0:
            raise self._too_slow()
        return count

    def _too_slow(self) -> GivenUp:
        return GivenUp(f"the answer was not complete after {self._patience:g} s")

    def close(self) -> None:
        self._raw.close()
        super().close()


class Body:
    """The body of a response as it arrives, decoded."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response
        self._arrived = 0

    def chunks(self) -> Iterator[bytes]:
        """Pieces of at most 64 KiB, each as soon as it is there; raises Transient for a body that is cut or damaged."""
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        # Who asks for identity wants a file as it is stored: some servers call the compression of a .gz an encoding.
        if encoding in ("", "identity") or self._response.request.headers.get("Accept-Encoding") == "identity":
            return self._wire()
        if encoding in ("gzip", "x-gzip", "deflate"):
            return self._inflated(encoding == "deflate")
        raise Transient(f"the body is encoded as {encoding!r}, which was not asked for")

    def start(self, length: int) -> bytes:
        """About the first `length` bytes, as far as they arrive; for errors, whose status says more than their body."""
        text = bytearray()
        try:
            for chunk in self.chunks():
                text += chunk
                if len(text) >= length:
                    break
        except Transient:
            return bytes(text)
        return bytes(text)

    def _wire(self) -> Iterator[bytes]:
        """What arrives. A read of so many bytes would wait for them all, however slowly they drip: read1 does not."""
        try:
            while chunk := self._response.raw.read1(_CHUNK, decode_content=False):
                self._arrived += len(chunk)
                yield chunk
        except (HTTPError, OSError) as error:
            cause = innermost(error)
            if isinstance(cause, GivenUp):
                raise Transient(str(cause)) from error
            raise self._cut() from error

    def _inflated(self, deflate: bool) -> Iterator[bytes]:
        wire = self._wire()
        start = next(wire, b"")
        if not start:
            return
        if deflate:
            while len(start) < 2 and (more := next(wire, b"")):
                start += more
        form = _deflated_form(start) if deflate else _GZIP
        inflater = zlib.decompressobj(form)
        try:
            data = start
            while data:
                while data:
                    if inflater.eof:  # members may follow each other
                        inflater = zlib.decompressobj(form)
                    yield inflater.decompress(data, _CHUNK)
                    data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                data = next(wire, b"")
            yield inflater.flush()
        except zlib.error as error:
            raise Transient("the body's compression is damaged") from error
        if not inflater.eof:
            raise self._cut()

    def _cut(self) -> Transient:
        return Transient(f"the body was cut off after {self._arrived:,} bytes")


@dataclass
class Budget:
    """What one call has cost so far: how often it was sent, and the seconds spent on answers and between tries."""

    tries: int = 0
    seconds: float = 0.0

    @contextmanager
    def spending(self) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started


class Opened:
    """An answer that said yes, with about the first PART_BYTES of its body in memory; the rest is still to be read.

    beside  what the body holds beside its records, once they are read
    """

    def __init__(self, response: requests.Response, asked_at: datetime, budget: Budget) -> None:
        self.response, self.asked_at, self.budget = response, asked_at, budget
        self.beside: Any = None
        self._rest = Body(response).chunks()
        self._head = bytearray()
        with budget.spending():
            for chunk in self._rest:
                self._head += chunk
                if len(self._head) >= PART_BYTES:
                    break
        self._start = bytes(self._head[:START_BYTES])

    @property
    def start(self) -> str:
        """The start of the body, for an error."""
        return self._start.decode(errors="replace")

    def chunks(self) -> Iterator[bytes]:
        """The body from its start, once; raises Transient for one that is cut or damaged."""
        head, self._head = bytes(self._head), bytearray()
        yield head
        del head  # or it would stay in memory while the rest is read
        yield from self._rest

    def close(self) -> None:
        self._head = bytearray()
        self.response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _deflated_form(start: bytes) -> int:
    """What a server means by deflate, from the first two bytes: data of zlib, as the standard says, or bare."""
    return _ZLIB if start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0 else _BARE
