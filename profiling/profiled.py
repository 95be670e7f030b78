"""The process that is profiled: runs one connector as Fivetran would, and writes down what it does as it does it.

    python profiling/profiled.py WORK    started by process.py, which looks at it from outside

WORK is a folder. `request.json` says what to run, and is removed once it is read; `events.jsonl` and `counters` are
what is seen of it, readable at any moment, as the connector may be killed at any moment. It is a script and no module,
and what it needs of this repository is imported before the connector is and then forgotten: the connector finds its
own `shared` and `tests`.
"""

import ctypes
import faulthandler
import gc
import importlib
import inspect
import json
import mmap
import os
import signal
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
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[1]
COUNTERS = struct.Struct("=QQQ")  # rows, bytes of their values, bytes of the widest row
LOOKS_PER_SECOND = 20
_MARKS_PER_SECOND = 40  # a checkpoint for every row would be more than the report can hold
_SMALL_MARKS = 1000  # so many are kept at any speed
_MOST_TABLES = 200
_WAITING_FILES = ("threading.py", "queue.py", os.path.join("concurrent", "futures", "_base.py"))
# What is kept of what the connector has to say at its end.
_SENTENCE, _TRACE_LINES, _TRACE_WIDTH = 500, 200, 1000

Mask = Callable[[str], str]


class Ended(BaseException):
    """The connector has reported an error with op.error, which ends a sync."""


class Beside(Protocol):
    """What runs beside update() in one of the slower runs."""

    def start(self) -> None: ...

    def finish(self) -> None: ...


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
            self.mark("table", name)
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

    def tables(self) -> dict[str, int]:
        """Rows by table; of very many tables the largest, and all others together."""
        if len(self.rows) <= _MOST_TABLES:
            return dict(self.rows)
        largest = dict(self.rows.most_common(_MOST_TABLES))
        return {**largest, f"{len(self.rows) - _MOST_TABLES:,} other tables": self.row_count - sum(largest.values())}

    def truncate(self, _: Any) -> None:
        """Sends nothing."""

    def warning(self, warning: Any) -> None:
        print("warning:", json.loads(warning.message)["message"], flush=True)

    def task(self, task: Any) -> None:
        raise Ended(json.loads(task.message)["message"])


def main() -> None:
    work = Path(sys.argv[1])
    request = json.loads((work / "request.json").read_text())
    (work / "request.json").unlink()  # it may hold secrets
    folder = Path(request["folder"])
    events = Events(work / "events.jsonl")
    _end_with(os.getppid())
    faulthandler.enable()  # a crash of a library in C tells where it was
    sink = Sink(work, events)
    beside, resident, with_sink, declare, mask = _tools(request, folder, events, sink)
    try:
        update = _connector(folder, request, declare)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is what the report has to say
        events.emit("end", **_failure("failed", error, folder, mask))
        return
    _follow_pages(sink)
    _wait_for(work / "go", events)
    if beside:
        beside.start()
    else:
        _Look(folder, events, sink).start()
    try:
        with _memray(request):
            with_sink(sink, update, verbose=True)
        ending: dict[str, Any] = {"ending": "finished", "sentence": ""}
    except SystemExit as stop:
        ending = _failure("exited", stop, folder, mask)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is what the report has to say
        ending = _failure("raised", error, folder, mask)
    if beside:
        beside.finish()
    running = [thread.name for thread in threading.enumerate() if _is_of_connector(thread)]
    events.emit("rows", tables=sink.tables())
    events.emit("end", **ending, threads=running, resident=resident(), cpu=time.process_time())
    with suppress(OSError, ValueError):  # it may have closed them
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)  # whatever threads it has left running


def _tools(
    request: Mapping[str, Any], folder: Path, events: Events, sink: Sink
) -> tuple[Beside | None, Callable[[], int], Callable[..., None], Callable[..., None], Mask]:
    """What is needed of this repository; afterwards nothing of it can be imported by the connector."""
    sys.path[0] = str(ROOT)
    from profiling.allocations import Tracing
    from profiling.line_growth import LineGrowth, resident_reader
    from profiling.secrets_masked import Masker
    from tests import recording

    for name in [name for name in sys.modules if name.partition(".")[0] in ("profiling", "tests", "shared")]:
        del sys.modules[name]
    sys.path[0] = str(folder)
    beside: Beside | None = None
    if request["mode"] == "allocations":
        beside = Tracing(folder, events.emit, lambda: sink.row_count)
    elif request["mode"] == "lines":
        beside = LineGrowth(folder, events.emit)

    def declare(tables: list[dict[str, Any]]) -> None:
        recording.declare(tables, recording.Destination())

    mask = Masker(request["configuration"], request["state"]).text
    return beside, resident_reader(), recording.with_sink, declare, mask


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
        elif inspect.isawaitable(result):
            raise TypeError("update() is async, and nobody awaits it: write def update, with asyncio.run(...) in it")

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
    gc.collect()
    parent = os.getppid()
    events.emit("ready", pid=os.getpid())
    while not go.exists():
        if os.getppid() != parent:
            os._exit(1)
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
        self._main = threading.main_thread().ident or 0

    def run(self) -> None:
        told = 0.0
        while True:
            time.sleep(1 / LOOKS_PER_SECOND)
            self._events.emit("at", place=self._place())
            if time.monotonic() - told > 1:
                told = time.monotonic()
                self._events.emit("rows", tables=self._sink.tables())

    def _place(self) -> tuple[str, int] | None:
        """Where the main thread is; where it waits for another one, where that is."""
        frames = sys._current_frames()
        # A frame that refers to itself would keep all others alive, with all that the connector has in hand.
        frames.pop(threading.get_ident())
        main = frames.pop(self._main, None)
        place = _own_line(main, self._folder)
        if main is not None and _waits(main):
            working = (_own_line(frame, self._folder) for frame in frames.values() if not _waits(frame))
            place = next((found for found in working if found), place)
        return place


def _waits(frame: FrameType) -> bool:
    """Whether a thread waits for another one: its innermost frame is of threading, a queue or a pool."""
    return frame.f_code.co_filename.endswith(_WAITING_FILES)


def _own_line(frame: FrameType | None, folder: str) -> tuple[str, int] | None:
    """The innermost line of the connector's own folder."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(folder):
            # Between two lines there is none: the function is the nearest.
            return frame.f_code.co_filename, frame.f_lineno or frame.f_code.co_firstlineno
        frame = frame.f_back
    return None


def _failure(kind: str, error: BaseException, folder: Path, mask: Mask) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(f"{folder}{os.sep}")]
    lines = list(traceback.TracebackException.from_exception(error).format())
    if isinstance(error, Ended):
        sentence, lines = f"the connector reported: {error}", []
    elif isinstance(error, SystemExit):
        sentence = f"the connector called exit({error.code!r})"
    else:
        sentence = _described(error)
    place = (own[-1].filename, own[-1].lineno) if own else None
    trace = [line[:_TRACE_WIDTH] for line in mask("".join(lines)).splitlines()]
    if len(trace) > _TRACE_LINES:
        trace = [*trace[: _TRACE_LINES // 2], "...", *trace[-_TRACE_LINES // 2 :]]
    return {"ending": kind, "sentence": _cut(mask(sentence)), "place": place, "trace": trace}


def _described(error: BaseException) -> str:
    """Its type and text; a text that cannot be made is an error of the connector's too, and not the one to tell."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - it may raise anything
        text = "(its text cannot be shown)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _cut(text: str) -> str:
    return text if len(text) <= _SENTENCE else f"{text[:_SENTENCE]} ... ({len(text):,} characters)"


def _is_of_connector(thread: threading.Thread) -> bool:
    return thread is not threading.main_thread() and thread.name not in ("profiler", "tracing") and not thread.daemon


def _end_with(parent: int) -> None:
    """On Linux: this process ends when its parent does, and py-spy may look at it where only a parent may (Yama)."""
    with suppress(AttributeError, OSError):
        prctl = ctypes.CDLL(None).prctl
        prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
        prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER, PR_SET_PTRACER_ANY
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
