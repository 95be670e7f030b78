"""Which lines of a connector hold its memory: snapshots of tracemalloc at the moments that tell most.

A trace is counted for the innermost line of the connector's own folder, since nobody can change `json/decoder.py`;
what it called is named beside it. Frames of the SDK and of libraries are so folded into the line that called them.
"""

import importlib
import os
import sysconfig
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tracemalloc

FRAMES = 14  # of a trace, innermost first: from http.client up to the line that calls requests.get; more is slower
LINES = 40  # of a snapshot
_CHECKS_PER_SECOND = 20
# The next snapshot is taken when memory has grown by so much: they are few, and one is near the peak.
_FACTOR, _LEAST_GROWTH = 1.2, 2 * 2**20
# What tracing itself may take; a trace takes about 60 bytes, and a snapshot of it several times that.
_MOST_OVERHEAD = 300 * 2**20
_OWN_FILES = (__file__, str(Path(__file__).with_name("profiled.py")))
_SITE_PACKAGES = ("site-packages", "dist-packages")

Frames = tuple[tuple[str, int], ...]  # file and line, innermost first


class Tracing:
    """Traces allocations while `update()` runs, and tells of snapshots as they are taken.

    emit  takes "snapshot" with label, rows, traced (bytes) and holdings, a list of (file, line, size, count, via)
    rows  how many were sent by now
    """

    def __init__(self, folder: Path, emit: Callable[..., None], rows: Callable[[], int]) -> None:
        self._folder, self._emit, self._rows = f"{folder}{os.sep}", emit, rows
        self._last = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tracing", daemon=True)
        self._tracemalloc: Any = importlib.import_module("tracemalloc")
        self._stdlib = sysconfig.get_paths()["stdlib"] + os.sep

    def start(self) -> None:
        self._tracemalloc.start(FRAMES)
        self._thread.start()

    def finish(self) -> None:
        """Takes the last snapshot: what is still held once update() has returned."""
        self._is_over.set()
        self._thread.join()
        self._take("after update()")
        self._tracemalloc.stop()

    def _watch(self) -> None:
        has_sent = False
        while not self._is_over.wait(1 / _CHECKS_PER_SECOND):
            traced, _ = self._tracemalloc.get_traced_memory()
            if not has_sent and self._rows():
                has_sent = True
                self._take("the first rows are sent")
            elif traced > max(self._last * _FACTOR, self._last + _LEAST_GROWTH):
                self._take(f"{self._rows():,} rows are sent")
            if self._tracemalloc.get_tracemalloc_memory() > _MOST_OVERHEAD:
                self._emit("end", ending="stopped", sentence="as many objects were traced as fit in memory", place=None)
                time.sleep(0.1)
                os._exit(0)

    def _take(self, label: str) -> None:
        snapshot = self._tracemalloc.take_snapshot()
        holdings, traced = self._folded(snapshot)
        # Taken anew: the snapshot is large itself.
        del snapshot
        self._last, _ = self._tracemalloc.get_traced_memory()
        self._emit("snapshot", label=label, rows=self._rows(), traced=traced, holdings=holdings[:LINES])

    def _folded(self, snapshot: "tracemalloc.Snapshot") -> tuple[list[tuple[str, int, int, int, str]], int]:
        by_place: dict[tuple[str, int, str], list[int]] = {}
        for trace, size, count in _by_trace(snapshot):
            place = self._place(trace)
            if place is not None:
                total = by_place.setdefault(place, [0, 0])
                total[0] += size
                total[1] += count
        by_line: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
        for (file, line, via), (size, count) in by_place.items():
            by_line.setdefault((file, line), []).append((size, count, via))
        holdings = [
            (file, line, sum(part[0] for part in parts), sum(part[1] for part in parts), max(parts)[2])
            for (file, line), parts in by_line.items()
        ]
        return sorted(holdings, key=lambda holding: -holding[2]), sum(holding[2] for holding in holdings)

    def _place(self, trace: Frames) -> tuple[str, int, str] | None:
        """The innermost own line of a trace, and the innermost frame below it; None for what is the profiler's own."""
        if trace[0][0] in _OWN_FILES:
            return None
        for number, (file, line) in enumerate(trace):
            if file.startswith(self._folder):
                via = f"{short(trace[0][0], self._stdlib)}:{trace[0][1]}" if number else ""
                return file, line, via
        if any(file in _OWN_FILES for file, _ in trace):
            return None
        return *trace[0], ""


def _by_trace(snapshot: "tracemalloc.Snapshot") -> Iterator[tuple[Frames, int, int]]:
    """Bytes and number of the live objects of every distinct trace.

    What `Snapshot.statistics` does, at a fraction of the time: every object that is made here is traced as well, so
    that none is made for a trace. Raw traces are (domain, size, frames, number of frames).
    """
    sizes: defaultdict[Frames, list[int]] = defaultdict(list)
    for trace in snapshot.traces._traces:  # type: ignore[attr-defined]
        sizes[trace[2]].append(trace[1])
    for frames, those in sizes.items():
        yield frames, sum(those), len(those)


def short(filename: str, stdlib: str) -> str:
    """A library's file from its package on.

    >>> short("/v/lib/python3.11/site-packages/requests/models.py", "/usr/lib/python3.11/")
    'requests/models.py'
    >>> short("/usr/lib/python3.11/json/decoder.py", "/usr/lib/python3.11/")
    'json/decoder.py'
    """
    for packages in _SITE_PACKAGES:
        _, found, after = filename.rpartition(f"{os.sep}{packages}{os.sep}")
        if found:
            return after
    return filename.removeprefix(stdlib)
