"""By how much memory grows while each line of a connector runs: what tracemalloc cannot see, memory of libraries.

Every line of the connector's folder is stopped at, and the process's resident memory is read: what it is more than ever
before is the line's that ran. It is exact, and slow.
"""

import importlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

_LINES = 20
_TOLD_SECONDS, _TOLD_BYTES = 1.0, 8 * 2**20  # it may be killed at any moment
_STATM = Path("/proc/self/statm")


class LineGrowth:
    """Tells with `emit` of "grown", a list of (file, line, bytes), the largest first."""

    def __init__(self, folder: Path, emit: Callable[..., None]) -> None:
        self._folder, self._emit = f"{folder}{os.sep}", emit
        self._resident = resident_reader()
        self._sums: dict[tuple[str, int], int] = {}
        self._last: dict[int, tuple[str, int]] = {}  # the line that a thread is in
        self._highest = self._told_bytes = 0
        self._told_at = 0.0

    def start(self) -> None:
        self._highest = self._told_bytes = self._resident()
        threading.settrace(self._call)
        sys.settrace(self._call)

    def finish(self) -> None:
        sys.settrace(None)
        threading.settrace(None)
        self._tell()

    def _call(self, frame: FrameType, event: str, _: Any) -> Any:
        return self._step if frame.f_code.co_filename.startswith(self._folder) else None

    def _step(self, frame: FrameType, event: str, _: Any) -> Any:
        """Called before every line, and when a function returns: what has grown is of the line before."""
        thread = threading.get_ident()
        resident = self._resident()
        if resident > self._highest:
            place = self._last.get(thread) or (frame.f_code.co_filename, frame.f_lineno)
            self._sums[place] = self._sums.get(place, 0) + resident - self._highest
            self._highest = resident
            if resident - self._told_bytes > _TOLD_BYTES or time.monotonic() - self._told_at > _TOLD_SECONDS:
                self._tell()
        caller = frame.f_back
        if event == "return" and caller and caller.f_code.co_filename.startswith(self._folder):
            frame = caller
        self._last[thread] = frame.f_code.co_filename, frame.f_lineno or frame.f_code.co_firstlineno
        return self._step

    def _tell(self) -> None:
        self._told_bytes, self._told_at = self._highest, time.monotonic()
        largest = sorted(self._sums.items(), key=lambda item: -item[1])[:_LINES]
        self._emit("grown", lines=[(*place, size) for place, size in largest])


def resident_reader() -> Callable[[], int]:
    """What reads the resident memory of this process, in bytes, in a few microseconds."""
    if not _STATM.exists():
        process = importlib.import_module("psutil").Process()
        return lambda: int(process.memory_info().rss)
    file, page = os.open(_STATM, os.O_RDONLY), os.sysconf("SC_PAGE_SIZE")
    return lambda: int(os.pread(file, 200, 0).split()[1]) * page
