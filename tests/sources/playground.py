"""Starts Fivetran's API Playground in a process of its own, with data of the same shape each time.

Its own command line is not used: that asks the package index for a newer version, and restarts itself.

    with start() as playground:
        requests.get(f"{playground.url}/pagination/next_page_url")
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

APP = Path(__file__).with_name("playground_app.py")
STOP_SECONDS = 5


class Playground:
    """A running API Playground: its address, its credentials, and commands that change or read its data."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Takes a new process and waits till it is ready."""
        self._commands: IO[str] = _pipe(process.stdin)
        self._answers: IO[str] = _pipe(process.stdout)
        ready = self._read()
        self.url = f"http://127.0.0.1:{ready['port']}"
        self.credentials: dict[str, str] = ready["credentials"]

    def change(self, count: int) -> dict[str, Any]:
        """Changes `count` items and adds one; returns their ids as `{"changed": [...], "added": ...}`."""
        return self._ask(f"change {count}")

    def dump(self) -> dict[str, list[dict[str, Any]]]:
        """Returns all items, companies and departments as they are now, without a request."""
        return self._ask("dump")

    def _ask(self, command: str) -> dict[str, Any]:
        print(command, file=self._commands, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("The API Playground ended unexpectedly.")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


@contextmanager
def start(port: int | None = None) -> Iterator[Playground]:
    """Starts an API Playground on `port`, or on a free port; ends it on exit.

    Raises:
        RuntimeError: The port is taken, or the playground does not start.
    """
    process = subprocess.Popen(
        [sys.executable, str(APP), "--port", str(port or 0)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the caller, who then ends this process
    )
    try:
        yield Playground(process)
    finally:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Closes the process's standard input, which ends it; kills it if that does not."""
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _pipe(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # both ends were asked for as pipes
    return stream
