"""A web server of files: ranges, conditions, HEAD, and each of them missing or broken on demand.

with serving(FileServer()) as server:
    server.put("a.csv", b"n\n1\n")
    server.cuts = [1000]  # the next body ends after 1,000 bytes
    sync(connector, {"location": f"{server.url}/files", "tables": "numbers = a.csv"})
"""

import hashlib
import re
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import unquote

from .http_thread import Handler, HttpThread, Request

_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]*)")


class FileHandler(Handler):
    """One that answers HEAD as well; the server leaves the body out."""

    do_HEAD = Handler.handle_any  # noqa: N815 - the name that http.server looks for


class FileServer(HttpThread):
    """The files below /files.

    answers_head, has_ranges, has_etags, has_dates, has_lengths  what it can do
    checks_conditions  whether it answers 412 to If-Match and If-Unmodified-Since that do not hold
    cuts               bodies to come that end early: after how many bytes
    extra_headers      sent with every file
    """

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.RequestHandlerClass = FileHandler
        self.files: dict[str, tuple[bytes, float]] = {}
        self.answers_head = self.has_ranges = self.has_etags = self.has_dates = self.has_lengths = True
        self.checks_conditions = True
        self.cuts: list[int] = []
        self.extra_headers: Mapping[str, str] = {}

    def put(self, name: str, data: bytes, modified: float | None = None) -> None:
        """Stores a file; `modified` is in seconds since 1970."""
        self.files[name] = (data, time.time() if modified is None else modified)

    def delete(self, name: str) -> None:
        """Removes a file."""
        del self.files[name]

    def respond(self, request: Request, handler: Handler) -> None:
        name = unquote(request.path).removeprefix("/files/")
        if request.method == "HEAD" and not self.answers_head:
            handler.reply(405)
        elif name not in self.files:
            handler.reply(404, b"" if request.method == "HEAD" else b"<html>not found</html>")
        else:
            self._send(request, handler, *self.files[name])

    def _send(self, request: Request, handler: Handler, data: bytes, modified: float) -> None:
        headers = self._validators(data, modified)
        if self.checks_conditions and not _holds(request, headers):
            handler.reply(412, b"", headers)
            return
        status, start, stop = 200, 0, len(data)
        if self.has_ranges and (found := _RANGE.match(request.headers.get("Range", ""))):
            start = int(found[1])
            if start >= len(data):
                handler.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            status, stop = 206, min(int(found[2]) + 1 if found[2] else len(data), len(data))
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send_body(request, handler, status, data[start:stop], headers)

    def _send_body(self, request: Request, handler: Handler, status: int, body: bytes, headers: dict[str, str]) -> None:
        handler.send_response(status)
        if self.has_lengths:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Transfer-Encoding"] = "chunked"
        for name, value in {**headers, **self.extra_headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if request.method == "HEAD":
            return
        is_cut = bool(self.cuts)
        body = body[: self.cuts.pop(0)] if is_cut else body
        if self.has_lengths:
            handler.wfile.write(body)
        else:
            handler.wfile.write((b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n" * (not is_cut))
        handler.close_connection = is_cut

    def _validators(self, data: bytes, modified: float) -> dict[str, str]:
        headers = {}
        if self.has_etags:
            headers["ETag"] = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        if self.has_dates:
            headers["Last-Modified"] = formatdate(modified, usegmt=True)
        return headers


def _holds(request: Request, headers: Mapping[str, str]) -> bool:
    """Whether the conditions of a request hold."""
    wanted, since = request.headers.get("If-Match"), request.headers.get("If-Unmodified-Since")
    if wanted:
        return wanted == headers.get("ETag")
    if since and "Last-Modified" in headers:
        return parsedate_to_datetime(headers["Last-Modified"]) <= parsedate_to_datetime(since)
    return True
