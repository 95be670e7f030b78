"""One quiet end for Ctrl-C, SIGTERM and SIGHUP, at any time and with everything stopped.

with Interruption() as interruption:
    ...
if interruption.came: ...
"""

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FrameType, TracebackType
from typing import Self, TypeVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Sources = TypeVar("Sources")


class Interruption:
    """Turns the first of the signals into a KeyboardInterrupt, which ends the block without a traceback.

    Further signals are ignored, so that nothing breaks off the cleaning up. `came` says whether there was one.
    """

    def __init__(self) -> None:
        self.came = False
        self._held = 0
        self._raised = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._arrived) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        for number, handler in self._before.items():
            # On its way out after an interruption, Python would be killed by another one, with the wrong exit code.
            signal.signal(number, signal.SIG_IGN if self.came else handler)
        # The interruption may arrive here as another error: what was under way when it came has failed of it.
        return self.came

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """A signal that comes in here takes effect at the end: for what must not be half done, as starting a process.

        Whoever starts something registers its end in here too; see `running`.
        """
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            self._interrupt()

    @contextmanager
    def running(self, context: AbstractContextManager[Sources]) -> Iterator[Sources]:
        """Enters a context that starts something, and leaves it on exit: neither is broken off by a signal."""
        with ExitStack() as started:
            with self.held_back():
                sources = started.enter_context(context)
            try:
                yield sources
            finally:
                with self.held_back():
                    started.close()

    def hold(self) -> None:
        """From here to the end of the block no signal takes effect: what follows is cleaning up."""
        self._held += 1

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self.came and not self._held and not self._raised:
            self._raised = True
            raise KeyboardInterrupt
