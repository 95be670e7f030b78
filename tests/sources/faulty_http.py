"""An HTTP server that misbehaves on demand, by a script for each path.

    with start() as server:
        server.script("/items", [RateLimited(retry_after="1"), Reset(), Answer({"data": []})])
        requests.get(f"{server.url}/items")
        assert server.unexpected == []

Each request to a path takes the next step of its script. A request after the last step is recorded in
`server.unexpected` and answered with status 599, unless the script was given with `repeat=True`.
"""

import json
import select
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .http_thread import Handler, HttpThread, Request, serving

UNEXPECTED_STATUS = 599


class Step(ABC):
    """What happens to one request."""

    @abstractmethod
    def play(self, handler: Handler) -> None:
        """Answers, or does not answer, the request that `handler` has read."""


Maker = Callable[[Request], Step]


@dataclass(frozen=True)
class Answer(Step):
    """A proper answer with JSON, of any status."""

    json: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def play(self, handler: Handler) -> None:
        handler.reply_json(self.status, self.json, self.headers)


@dataclass(frozen=True)
class Chunked(Step):
    """JSON in chunks, without a length; with `cut`, the connection closes before the last chunk."""

    json: Any
    cut: bool = False

    def play(self, handler: Handler) -> None:
        body = json.dumps(self.json).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        half = len(body) // 2
        for part in [body[:half]] if self.cut else [body[:half], body[half:], b""]:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        handler.close_connection = self.cut


@dataclass(frozen=True)
class RateLimited(Step):
    """Status 429. `retry_after` is sent as it is; `date_in` asks to wait till the date that many seconds from now."""

    retry_after: str | None = None
    date_in: float | None = None

    def play(self, handler: Handler) -> None:
        retry_after = formatdate(time.time() + self.date_in, usegmt=True) if self.date_in else self.retry_after
        headers = {"Retry-After": retry_after} if retry_after is not None else {}
        handler.reply_json(429, {"error": "rate limit exceeded"}, headers)


@dataclass(frozen=True)
class ServerError(Step):
    """Status 500, or another of the server's errors, with a page of HTML as proxies send it."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)

    def play(self, handler: Handler) -> None:
        handler.reply(self.status, b"<html>error</html>", {"Content-Type": "text/html", **self.headers})


@dataclass(frozen=True)
class Unauthorized(Step):
    """Status 401."""

    def play(self, handler: Handler) -> None:
        handler.reply_json(401, {"error": "unauthorized"}, {"WWW-Authenticate": "Bearer"})


@dataclass(frozen=True)
class NotFound(Step):
    """Status 404."""

    def play(self, handler: Handler) -> None:
        handler.reply_json(404, {"error": "not found"})


@dataclass(frozen=True)
class Redirect(Step):
    """A redirect to `url`, which may lie on another server."""

    url: str
    status: int = 302

    def play(self, handler: Handler) -> None:
        handler.reply(self.status, headers={"Location": self.url})


@dataclass(frozen=True)
class ErrorObject(Step):
    """An error that is told with status 200."""

    json: Any

    def play(self, handler: Handler) -> None:
        handler.reply_json(200, self.json)


@dataclass(frozen=True)
class WrongJson(Step):
    """Status 200 and a body that claims to be JSON and is not."""

    text: str = "<html>"

    def play(self, handler: Handler) -> None:
        handler.reply(200, self.text.encode(), {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Truncated(Step):
    """Half of the body that Content-Length announces, then the end of the connection."""

    json: Any

    def play(self, handler: Handler) -> None:
        body = json.dumps(self.json).encode()
        handler.reply(
            200, body[: len(body) // 2], {"Content-Type": "application/json", "Content-Length": str(len(body))}
        )
        handler.close_connection = True


@dataclass(frozen=True)
class Reset(Step):
    """No answer: the connection is reset (TCP RST)."""

    def play(self, handler: Handler) -> None:
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Closed here, together with the file that holds it open: the server would say goodbye with a FIN first.
        handler.rfile.close()
        handler.connection.close()
        handler.close_connection = True


@dataclass(frozen=True)
class Hang(Step):
    """Silence for `seconds` (or till the server stops), then the end of the connection without an answer."""

    seconds: float

    def play(self, handler: Handler) -> None:
        handler.server.stopping.wait(self.seconds)
        handler.close_connection = True


@dataclass(frozen=True)
class Bytes(Step):
    """An answer of these bytes, whatever they are."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200

    def play(self, handler: Handler) -> None:
        handler.reply(self.status, self.body, {"Content-Type": "application/json", **self.headers})


@dataclass(frozen=True)
class Streamed(Step):
    """A body of any size, in the chunks that `chunks()` yields; with `cut`, the connection closes after them."""

    chunks: Callable[[], Iterator[bytes]]
    cut: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def play(self, handler: Handler) -> None:
        handler.send_response(200)
        for name, value in {"Transfer-Encoding": "chunked", **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        for chunk in self.chunks():
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"" if self.cut else b"0\r\n\r\n")
        handler.close_connection = self.cut


@dataclass(frozen=True)
class Dripping(Step):
    """An answer that begins with `start` and then comes by one byte at a time, till the client gives up."""

    start: bytes = b"HTTP/1.1 200 OK\r\nX-Slow: "
    pause: float = 0.05

    def play(self, handler: Handler) -> None:
        handler.wfile.write(self.start)
        while not handler.server.stopping.wait(self.pause):
            handler.wfile.write(b"a")
        handler.close_connection = True


@dataclass(frozen=True)
class Endless(Step):
    """An answer that begins with `start`; then `piece` comes again and again, as fast as it can."""

    start: bytes
    piece: bytes

    def play(self, handler: Handler) -> None:
        handler.wfile.write(self.start)
        while not handler.server.stopping.is_set():
            handler.wfile.write(self.piece * (65536 // len(self.piece)))
        handler.close_connection = True


@dataclass(frozen=True)
class Raw(Step):
    """These bytes, status line and headers included, then the end of the connection."""

    answer: bytes

    def play(self, handler: Handler) -> None:
        handler.wfile.write(self.answer)
        handler.close_connection = True


class FaultyServer(HttpThread):
    """A server that follows scripts. `requests` holds every request, `unexpected` those that had no step."""

    def __init__(self, pages: Sequence[Any] | Maker = (), port: int | None = None) -> None:
        super().__init__(port)
        self.unexpected: list[Request] = []
        self._lock = threading.Lock()
        self._scripts: dict[str, Iterator[Step | Maker]] = {}
        self._others = _steps([pages], repeat=True) if callable(pages) else _steps([Answer(page) for page in pages])

    def script(self, path: str, steps: Sequence[Step | Maker], *, repeat: bool = False) -> None:
        """Sets what happens to the next requests to `path`, in place of what is left of an earlier script.

        Args:
            path: The path without a query.
            steps: One for each request. A step may also be a function that takes the request and returns a step.
            repeat: Whether the last step stands for all further requests.
        """
        self._scripts[path] = _steps(steps, repeat)

    def respond(self, request: Request, handler: Handler) -> None:
        with self._lock:
            step = next(self._scripts.get(request.path, self._others), None)
        if step is None:
            self.unexpected.append(request)
            step = Answer({"error": "the script has no step for this request"}, UNEXPECTED_STATUS)
        (step(request) if callable(step) else step).play(handler)


class _ProxyHandler(Handler):
    do_CONNECT = Handler.handle_any  # noqa: N815 - the name that http.server looks for


class ForwardProxy(HttpThread):
    """A proxy: passes requests for http:// addresses on, and opens tunnels for https:// ones."""

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.RequestHandlerClass = _ProxyHandler

    def respond(self, request: Request, handler: Handler) -> None:
        if request.method == "CONNECT":
            self._tunnel(handler)
            return
        target = urlsplit(handler.path)
        with closing(HTTPConnection(target.hostname or "", target.port or 80, timeout=5)) as connection:
            headers = {name: value for name, value in request.headers.items() if not name.lower().startswith("proxy-")}
            connection.request(request.method, urlunsplit(("", "", *target[2:])), request.body or None, headers)
            answer = connection.getresponse()
            handler.reply(answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"]})

    def _tunnel(self, handler: Handler) -> None:
        """Passes bytes on in both directions until one side hangs up."""
        host, _, port = handler.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as target:
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            other = {target: handler.connection, handler.connection: target}
            while True:
                for side in select.select(list(other), [], [], 5)[0]:
                    if not (data := side.recv(65536)):
                        return
                    other[side].sendall(data)


@contextmanager
def start(pages: Sequence[Any] | Maker = (), port: int | None = None) -> Iterator[FaultyServer]:
    """Starts a server in a thread; ends it on exit, together with the requests that hang.

    Args:
        pages: What answers the paths that have no script: JSON bodies, one for each request in turn, or a function
            that takes the request and returns a step.
        port: The port; a free one by default.
    """
    with serving(FaultyServer(pages, port)) as server:
        yield server


def _steps(steps: Sequence[Step | Maker], repeat: bool = False) -> Iterator[Step | Maker]:
    """Yields the steps in turn, the last one for ever with `repeat`."""
    yield from steps
    while repeat and steps:
        yield steps[-1]
