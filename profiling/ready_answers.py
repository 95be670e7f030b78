"""A server in front of another that gives every answer again as it was given first: at once, as ready-made as a file.

The servers of the tests make their answers anew for every request, which takes longer than reading them: a benchmark
would wait for them, and measure them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import requests

from tests.sources.http_thread import Handler, HttpThread, Request, serving

_ANSWER_SECONDS = 60


class ReadyAnswers(HttpThread):
    """Keeps what was answered with status 200, by path and query; asks for everything else every time."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self._target = target
        self._answers: dict[str, bytes] = {}

    def respond(self, request: Request, handler: Handler) -> None:
        status, body = 200, self._answers.get(handler.path)
        if body is None:
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            answer = requests.get(f"{self._target}{handler.path}", headers=headers, timeout=_ANSWER_SECONDS)
            status, body = answer.status_code, answer.content
            if status == 200:
                self._answers[handler.path] = body
        handler.reply(status, body, {"Content-Type": "application/json"})


@contextmanager
def start(target: str) -> Iterator[ReadyAnswers]:
    """Starts a server in front of the one at this address, in a thread; ends it on exit."""
    with serving(ReadyAnswers(target)) as server:
        yield server
