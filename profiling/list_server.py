"""An API of one list for benchmarks: pages that are ready-made, a latency, and an answer of any size.

/pages?at=3   page 3 of the list, {"data": [...], "next": 4}, after the latency
/large        one answer of `large_bytes`, {"data": [...]}, as fast as it is taken
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.sources.http_thread import Handler, HttpThread, Request, serving

COLUMNS = {
    "id": "LONG",
    "name": "STRING",
    "email": "STRING",
    "amount": "DOUBLE",
    "active": "BOOLEAN",
    "created": "UTC_DATETIME",
    "city": "STRING",
    "note": "STRING",
}
_CHUNK_RECORDS = 4_000


def records(first: int, count: int) -> list[dict[str, object]]:
    """Records as an API of customers would have them, about 200 bytes each."""
    return [
        {
            "id": number,
            "name": f"Customer {number}",
            "email": f"customer.{number}@example.com",
            "amount": number / 4,
            "active": number % 3 == 0,
            "created": f"2026-01-{number % 28 + 1:02}T08:{number % 60:02}:00Z",
            "city": "Rotterdam",
            "note": "called back, wants an offer until the end of the month",
        }
        for number in range(first, first + count)
    ]


class ListServer(HttpThread):
    """Serves so many pages of so many records; `large_rows` counts those of the large answer."""

    def __init__(self, pages: int, rows: int, latency: float, large_bytes: int) -> None:
        super().__init__()
        self._latency = latency
        self._pages = [
            json.dumps({"data": records(at * rows, rows), "next": at + 1 if at + 1 < pages else None}).encode()
            for at in range(pages)
        ]
        chunk = records(0, _CHUNK_RECORDS)
        self._chunk = json.dumps(chunk)[1:-1].encode()
        self._chunks = max(1, large_bytes // len(self._chunk))
        self.large_rows = self._chunks * len(chunk)

    def respond(self, request: Request, handler: Handler) -> None:
        if request.path == "/large":
            self._send_large(handler)
            return
        time.sleep(self._latency)
        handler.reply(200, self._pages[int(request.query.get("at", 0))], {"Content-Type": "application/json"})

    def _send_large(self, handler: Handler) -> None:
        length = self._chunks * (len(self._chunk) + 1) - 1 + len(b'{"data": []}')
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        with suppress(ConnectionError):
            handler.wfile.write(b'{"data": [' + self._chunk)
            for _ in range(self._chunks - 1):
                handler.wfile.write(b"," + self._chunk)
            handler.wfile.write(b"]}")


@contextmanager
def start(pages: int = 1, rows: int = 1, latency: float = 0.0, large_bytes: int = 0) -> Iterator[ListServer]:
    """Starts a server in a thread; ends it on exit."""
    with serving(ListServer(pages, rows, latency, large_bytes)) as server:
        yield server
