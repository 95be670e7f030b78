"""A test server in a process of its own: what it costs is not the run's that is measured."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.connection import Connection
from typing import Any

# Both go to another process, so that they must be picklable: a function of a module, a partial of one, an attrgetter.
Start = Callable[[], AbstractContextManager[Any]]
Question = Callable[[Any], Any]


class Served:
    """A running server that can be asked things."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ask(self, question: Question) -> Any:
        """What the question, a function of the server, answers there."""
        self._connection.send(question)
        return self._connection.recv()


@contextmanager
def served(start: Start) -> Iterator[Served]:
    """Runs the server that `start` begins; ends it on exit."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, start), daemon=True)
    process.start()
    there.close()
    try:
        yield Served(here)
    finally:
        here.close()  # it ends when nobody can ask any more
        process.join()


def _serve(connection: Connection, start: Start) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    with start() as server:
        while True:
            try:
                question = connection.recv()
            except EOFError:
                return
            connection.send(question(server))
