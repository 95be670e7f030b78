"""An HTTP server in a thread of the current process, the base of the servers of ours."""

import json
import socket
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """A request as it came in. The names in `headers` are looked up regardless of their case."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes
    time: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, records it, and lets the server answer it."""

    server: "HttpThread"
    protocol_version = "HTTP/1.1"  # connections stay open, as with most real servers
    disable_nagle_algorithm = True  # headers and body are two writes; without this each answer takes 40 ms

    def handle_any(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, target.path, dict(parse_qsl(target.query)), self.headers, body)
        self.server.requests.append(request)
        with suppress(ConnectionError):  # the client may have given up waiting
            self.server.respond(request, self)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815 - the names that http.server looks for

    def reply(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Sends a whole answer; `headers` may state another Content-Length than the true one."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def reply_json(self, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        """Sends `content` as JSON."""
        self.reply(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})

    def setup(self) -> None:
        super().setup()
        self.server.open_connections.add(self.connection)

    def finish(self) -> None:
        self.server.open_connections.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing: the requests are recorded."""


class HttpThread(ThreadingHTTPServer):
    """A server on the loopback interface. A subclass says how it answers."""

    def __init__(self, port: int | None = None) -> None:
        super().__init__(("127.0.0.1", port or 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self.open_connections: set[socket.socket] = set()

    @abstractmethod
    def respond(self, request: Request, handler: Handler) -> None:
        """Answers a request through the handler of its connection. Several threads call this at a time."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints a traceback for faults of the server, but not for clients that hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


Server = TypeVar("Server", bound=HttpThread)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serves in a thread; on exit closes the port and all connections."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.shutdown()
        thread.join()
        for connection in list(server.open_connections):
            with suppress(OSError):  # it may have closed meanwhile
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
