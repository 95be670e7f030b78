"""The process that is profiled: runs one connector as Fivetran would, and writes down what it does as it does it.

    python profiling/profiled.py WORK    started by running.py, which looks at it from outside

WORK is a folder. `request.json` says what to run; `events.jsonl` and `counters` are what is seen of it, readable at
any moment, as the connector may be killed at any moment. It is a script and no module, and what it needs of this
repository is imported before the connector is and then forgotten: the connector finds its own `shared` and `tests`.
"""

import faulthandler
import importlib
import json
import mmap
import os
import struct
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import FrameType, GeneratorType
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from profiling.allocations import Tracing

ROOT = Path(__file__).resolve().parents[1]
COUNTERS = struct.Struct("=QQQ")  # rows, bytes of their values, bytes of the widest row
LOOKS_PER_SECOND = 20
_MARKS_PER_SECOND = 40  # a checkpoint for every row would be more than the report can hold
_SMALL_MARKS = 1000  # so many are kept at any speed
_WAITING_FILES = ("threading.py", "queue.py", os.path.join("concurrent", "futures", "_base.py"))


class Ended(BaseException):
    """The connector has reported an error with op.error, which ends a sync."""


class Events:
    """A line of JSON for everything that happens, on disk at once."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self.started = time.monotonic()

    def emit(self, kind: str, **what: Any) -> None:
        if os.getpid() != self._process:  # of a process that the connector has forked
            return
        with self._lock:
            line = json.dumps({"kind": kind, "seconds": time.monotonic() - self.started, **what})
            self._file.write(line + "\n")


class Sink:
    """Takes the operations in the place of Fivetran and counts them."""

    def __init__(self, work: Path, events: Events) -> None:
        self._events = events
        with (work / "counters").open("r+b") as file:
            self._counters = mmap.mmap(file.fileno(), COUNTERS.size)
        self.rows: Counter[str] = Counter()
        self.row_count = self._sent = self._widest = self._checkpoints = self._marks = 0
        self._last_mark = 0.0

    def record(self, record: Any) -> None:
        name = f"{record.schema}.{record.table}" if record.schema else record.table
        if name not in self.rows:
            self._events.emit("table", label=name, rows=self.row_count)
        self.rows[name] += 1
        size = sum(map(len, record.row_data.values()))
        self.row_count += 1
        self._add(size)

    def file_chunk(self, chunk: Any) -> None:
        self._add(len(chunk.chunk_data))

    def _add(self, size: int) -> None:
        self._sent += size
        self._widest = max(self._widest, size)
        COUNTERS.pack_into(self._counters, 0, self.row_count, self._sent, self._widest)

    def checkpoint(self, _: Any) -> None:
        self._checkpoints += 1
        self.mark("checkpoint", f"checkpoint {self._checkpoints:,}")

    def mark(self, kind: str, label: str) -> None:
        now = time.monotonic()
        self._marks += 1
        if self._marks <= _SMALL_MARKS or now - self._last_mark > 1 / _MARKS_PER_SECOND:
            self._last_mark = now
            self._events.emit(kind, label=label, rows=self.row_count)

    def truncate(self, _: Any) -> None:
        """Sends nothing."""

    def warning(self, warning: Any) -> None:
        print("warning:", json.loads(warning.message)["message"], flush=True)

    def task(self, task: Any) -> None:
        raise Ended(json.loads(task.message)["message"])


def main() -> None:
    work = Path(sys.argv[1])
    request = json.loads((work / "request.json").read_text())
    folder = Path(request["folder"])
    events = Events(work / "events.jsonl")
    _allow_tracing()
    faulthandler.enable()  # a crash of a library in C tells where it was
    sink = Sink(work, events)
    tracing, with_sink, declare = _tools(request["mode"], folder, events, sink)
    try:
        update = _connector(folder, request, declare)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is what the report has to say
        events.emit("end", **_failure("failed", error, folder))
        return
    _follow_pages(sink)
    _wait_for(work / "go", events)
    if tracing:
        tracing.start()
    else:
        _Look(folder, events, sink).start()
    try:
        with _memray(request):
            with_sink(sink, update, verbose=True)
        ending: dict[str, Any] = {"ending": "finished", "sentence": ""}
    except SystemExit as stop:
        ending = _failure("exited", stop, folder)
    except Ended as reported:
        ending = _failure("raised", reported, folder)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is what the report has to say
        ending = _failure("raised", error, folder)
    if tracing:
        tracing.finish()
    running = [thread.name for thread in threading.enumerate() if _is_of_connector(thread)]
    events.emit("rows", tables=dict(sink.rows))
    resident = psutil.Process().memory_info().rss
    events.emit("end", **ending, threads=running, resident=resident, cpu=time.process_time())
    sys.stdout.flush()
    os._exit(0)  # whatever threads it has left running


def _tools(
    mode: str, folder: Path, events: Events, sink: Sink
) -> tuple["Tracing | None", Callable[..., None], Callable[..., None]]:
    """What is needed of this repository; afterwards nothing of it can be imported by the connector."""
    sys.path[0] = str(ROOT)
    from profiling.allocations import Tracing
    from tests import recording

    for name in [name for name in sys.modules if name.partition(".")[0] in ("profiling", "tests", "shared")]:
        del sys.modules[name]
    sys.path[0] = str(folder)
    tracing = Tracing(folder, events.emit, lambda: sink.row_count) if mode == "allocations" else None

    def declare(tables: list[dict[str, Any]]) -> None:
        recording.declare(tables, recording.Destination())

    return tracing, recording.with_sink, declare


def _connector(folder: Path, request: Mapping[str, Any], declare: Callable[..., None]) -> Callable[[], None]:
    """Imports the connector and asks it for its schema; returns what runs its update()."""
    module = importlib.import_module("connector")
    connector = getattr(module, "connector", None)
    schema = getattr(connector, "schema_method", None)
    update = getattr(connector, "update_method", None) or getattr(module, "update", None)
    if update is None:
        raise LookupError(f"{folder / 'connector.py'} has no update(): write connector = Connector(update=update)")
    declare(schema(dict(request["configuration"])) if schema else [])

    def run() -> None:
        result = update(configuration=dict(request["configuration"]), state=dict(request["state"]))
        if isinstance(result, GeneratorType):  # as connectors for older SDKs are written
            for _ in result:
                pass

    return run


def _follow_pages(sink: Sink) -> None:
    """Has the pages of a connector of this collection marked, which its shared/pages.py names."""
    marks = sys.modules.get("shared.memory_profiling")
    if hasattr(marks, "mark"):
        vars(marks)["mark"] = lambda label: _page(sink, label)


def _page(sink: Sink, label: str) -> None:
    name, _, what = label.rpartition(": ")
    if what == "delivered":
        sink.mark("page", name)


def _memray(request: Mapping[str, Any]) -> Any:
    if request["mode"] != "memray":
        return nullcontext()
    memray = importlib.import_module("memray")
    return memray.Tracker(request["memray"])


def _wait_for(go: Path, events: Events) -> None:
    """Waits until it is looked at; the time of update() begins then."""
    import gc

    gc.collect()
    events.emit("ready", pid=os.getpid())
    while not go.exists():
        time.sleep(0.01)
    events.started = time.monotonic()
    events.emit("start", monotonic=events.started)


class _Look(threading.Thread):
    """Writes down where the main thread is, twenty times a second.

    A call that keeps the interpreter's lock keeps this thread from looking; what is seen next is the line of the call.
    """

    def __init__(self, folder: Path, events: Events, sink: Sink) -> None:
        super().__init__(name="profiler", daemon=True)
        self._folder, self._events, self._sink = f"{folder}{os.sep}", events, sink
        self._main = threading.main_thread().ident

    def run(self) -> None:
        told = 0.0
        while True:
            time.sleep(1 / LOOKS_PER_SECOND)
            self._events.emit("at", place=self._place())
            if time.monotonic() - told > 1:
                told = time.monotonic()
                self._events.emit("rows", tables=dict(self._sink.rows))

    def _place(self) -> tuple[str, int] | None:
        """Where the main thread is; where it waits for another one, where that is."""
        frames = sys._current_frames()
        main = frames.pop(self._main or 0, None)
        own = _own_line(main, self._folder)
        if main is None or not _waits(main):
            return own
        working = (_own_line(frame, self._folder) for frame in frames.values() if not _waits(frame))
        return next((place for place in working if place), own)


def _waits(frame: FrameType) -> bool:
    """Whether a thread waits for another one: its innermost frame is of threading, a queue or a pool."""
    return frame.f_code.co_filename.endswith(_WAITING_FILES)


def _own_line(frame: FrameType | None, folder: str) -> tuple[str, int] | None:
    """The innermost line of the connector's own folder."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(folder):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def _failure(kind: str, error: BaseException, folder: Path) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(f"{folder}{os.sep}")]
    if isinstance(error, Ended):
        sentence, trace = f"the connector reported: {error}", []
    elif isinstance(error, SystemExit):
        sentence, trace = f"the connector called exit({error.code!r})", traceback.format_exception(error)
    else:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        sentence, trace = text, traceback.format_exception(error)
    place = (own[-1].filename, own[-1].lineno) if own else None
    return {"ending": kind, "sentence": sentence, "place": place, "trace": "".join(trace)[-20_000:].splitlines()}


def _is_of_connector(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and thread.name not in ("profiler", "tracing") and not thread.daemon


def _allow_tracing() -> None:
    """Lets py-spy look at this process where Linux (Yama) lets only a parent do so."""
    import ctypes

    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY


if __name__ == "__main__":
    main()
