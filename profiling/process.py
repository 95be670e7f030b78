"""The process that runs a connector, and what is seen of it from outside until it ends or is stopped."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import psutil

from profiling.observation import Sample
from profiling.profiled import COUNTERS
from profiling.units import plural, size_text

MB = 2**20
LOOKS_PER_SECOND = 20
# A short run has to be looked at more often to be seen at all.
_FIRST_SECONDS, _FIRST_LOOKS_PER_SECOND = 2.0, 100
STACKS_PER_SECOND = 100
# A sync that sends nothing, uses no processor and no more memory for so long is taken for hung.
HUNG_SECONDS = 60.0
# Tracing takes ten times as long and more; what holds the memory is seen long before the end.
SLOWER_SECONDS = 60.0
_START_SECONDS = 120.0  # importing it and schema(), which may ask a server
_SLOWER_TAKES = 512 * MB  # what tracing may have beside the limit
_CHILDREN_SECONDS = 0.5
_LOG_BYTES = 256 * 1024
_SCRIPT = Path(__file__).with_name("profiled.py")

# How the connector is run: as it is, or with something beside it that makes it slower.
Mode = Literal["time", "allocations", "lines", "memray"]
Frame = tuple[str, int, str]  # file, line, function


@dataclass(frozen=True)
class Request:
    """What to run.

    folder       of a connector.py
    limit        resident bytes at which it is stopped, as a container of that size would; 0: none
    seconds      it is stopped then, and reported up to there
    slower_seconds  the same of each of the slower runs
    hung         seconds without a sign of life after which it is stopped
    allocations  run it again, slower, to see which lines hold the memory
    stacks       sample call stacks with py-spy
    memray       where to write memray's flamegraph, made by one more run
    """

    folder: Path
    configuration: Mapping[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 1024 * MB
    seconds: float = 600.0
    slower_seconds: float = SLOWER_SECONDS
    hung: float = HUNG_SECONDS
    allocations: bool = True
    stacks: bool = True
    memray: Path | None = None


@dataclass
class Watched:
    """What was seen of one run.

    baseline     resident bytes just before update() was called
    main_cpu     seconds of processor of the main thread, from update() on
    stop         why we have stopped it, as the kind of an ending and a sentence; None: it has ended by itself
    interrupted  whether that was Ctrl-C or a signal
    frames       of the main thread where it was stopped, innermost first
    code         the process's return code, negative for a signal
    events       what it wrote of itself
    counted      rows, bytes of their values, bytes of the widest row
    stacks       as py-spy wrote them
    log          the end of what it printed
    """

    samples: list[Sample] = field(default_factory=list)
    baseline: int = 0
    main_cpu: float | None = None
    stop: tuple[str, str] | None = None
    interrupted: bool = False
    frames: list[Frame] = field(default_factory=list)
    code: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    counted: tuple[int, int, int] = (0, 0, 0)
    stacks: str = ""
    log: bytes = b""
    notes: list[str] = field(default_factory=list)

    def of_kind(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """The events of these kinds, in order."""
        return (event for event in self.events if event["kind"] in kinds)


def watch(request: Request, mode: Mode, work: Path, tell: Callable[[str], None]) -> Watched:
    """Runs the connector once, in the folder `work`, which is made; `tell` is given a line now and then."""
    with _adopting_orphans():
        return _Process(request, mode, work, tell).run()


class _Process:
    def __init__(self, request: Request, mode: Mode, work: Path, tell: Callable[[str], None]) -> None:
        self._request, self._mode, self._work, self._tell = request, mode, work, tell
        self._limit = request.limit + (_SLOWER_TAKES if request.limit and mode != "time" else 0)
        self._seen = Watched()
        self._ours = {child.pid for child in psutil.Process().children()}
        work.mkdir()
        (work / "tmp").mkdir()
        (work / "counters").write_bytes(bytes(COUNTERS.size))
        (work / "events.jsonl").touch()
        # Open before the connector runs, which may remove whatever it finds.
        self._counters = os.open(work / "counters", os.O_RDONLY)
        self._events: IO[str] = (work / "events.jsonl").open(errors="replace")
        self._popen = self._started()
        self._log = _Tail(self._popen)

    def _started(self) -> "subprocess.Popen[bytes]":
        request = self._work / "request.json"
        request.touch(mode=0o600)  # it may hold secrets, and is removed when it is read
        asked = {"folder": str(self._request.folder), "mode": self._mode, "memray": str(self._work / "memray.bin")}
        asked |= {"configuration": dict(self._request.configuration), "state": dict(self._request.state)}  # type: ignore[dict-item]
        request.write_text(json.dumps(asked))
        # A group of its own: what it has started is stopped with it, and Ctrl-C comes to us alone.
        return subprocess.Popen(
            [sys.executable, str(_SCRIPT), str(self._work)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=self._request.folder,
            env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "TMPDIR": str(self._work / "tmp")},
        )

    def run(self) -> Watched:
        seen = self._seen
        try:
            self._follow()
        except KeyboardInterrupt:
            seen.interrupted = True
            seen.stop = ("stopped", "it was stopped by hand")
            self._look_at_stack()
        finally:
            self._end()
        seen.code = self._popen.returncode
        seen.events += _events_of(self._events)
        seen.counted = COUNTERS.unpack(os.pread(self._counters, COUNTERS.size, 0).ljust(COUNTERS.size, b"\0"))
        seen.log = self._log.last()
        with suppress(OSError):
            seen.stacks = (self._work / "stacks").read_text(errors="replace")
        os.close(self._counters)
        self._events.close()
        self._add_last_sample()
        return seen

    def _follow(self) -> None:
        process = psutil.Process(self._popen.pid)
        if not self._is_ready(process):
            return
        spy = self._spy() if self._mode == "time" and self._request.stacks else None
        self._seen.baseline, cpu = _usage(process)
        self._seen.samples.append(Sample(0.0, self._seen.baseline, cpu, 0, 0))
        (self._work / "go").touch()
        try:
            self._watch(process)
        finally:
            if spy:
                self._finish(spy)

    def _is_ready(self, process: psutil.Process) -> bool:
        """Waits until update() can be called; False when there will be none."""
        seconds = min(_START_SECONDS, self._request.seconds)
        deadline = time.monotonic() + seconds
        while self._popen.poll() is None:
            self._seen.events += _events_of(self._events)
            if any(self._seen.of_kind("ready")):
                return True
            resident = 0
            with suppress(psutil.Error):
                resident = process.memory_info().rss
            if self._limit and resident > self._limit:
                self._seen.stop = (
                    "limit",
                    f"it reached {size_text(self._limit)} before update(): at import or in schema()",
                )
            elif time.monotonic() > deadline:
                self._seen.stop = ("failed", f"importing it and its schema() took more than {seconds:.0f} s")
            if self._seen.stop:
                self._look_at_stack()
                return False
            time.sleep(0.02)
        return False

    def _watch(self, process: psutil.Process) -> None:
        seen, started, before = self._seen, time.monotonic(), _main_cpu(process) or 0.0
        look = _Look(process, self._counters, started)
        quiet_since, last, told = started, None, started
        while self._popen.poll() is None:
            sample = look.sample()
            if sample is None:
                break
            seen.samples.append(sample)
            if (cpu := _main_cpu(process)) is not None:
                seen.main_cpu = cpu - before
            now = time.monotonic()
            if last is None or _has_moved(last, sample):
                last, quiet_since = sample, now
            if now - told > 5:
                told = now
                self._tell(f"  {sample.seconds:.0f} s: {plural(sample.rows, 'row')}, {size_text(sample.resident)}")
            seen.stop = self._reason_to_stop(sample, now - quiet_since)
            if seen.stop:
                self._look_at_stack()
                return
            time.sleep(1 / (LOOKS_PER_SECOND if sample.seconds > _FIRST_SECONDS else _FIRST_LOOKS_PER_SECOND))

    def _reason_to_stop(self, sample: Sample, quiet: float) -> tuple[str, str] | None:
        request = self._request
        if self._limit and sample.resident > self._limit:
            rows = plural(sample.rows, "row") if sample.rows else "no row"
            return "limit", f"it reached {size_text(self._limit)} after {sample.seconds:.1f} s, with {rows} sent"
        if quiet > request.hung:
            return "hung", f"for {quiet:.0f} s it sent nothing and used no processor"
        if sample.seconds > request.seconds:
            return "stopped", f"it was stopped after {request.seconds:.0f} s, the time for this run"
        return None

    def _look_at_stack(self) -> None:
        """Where the main thread is, just before the process is stopped."""
        with suppress(OSError):
            self._popen.send_signal(signal.SIGSTOP)  # or its memory would grow on
        command = [_py_spy(), "dump", "--json", "--nonblocking", "--pid", str(self._popen.pid)]
        with suppress(OSError, subprocess.TimeoutExpired, ValueError, KeyError):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            for thread in json.loads(answer.stdout):
                if thread["thread_name"] == "MainThread":
                    frames = thread["frames"]
                    self._seen.frames = [(frame["filename"], frame["line"] or 0, frame["name"]) for frame in frames]

    def _spy(self) -> "subprocess.Popen[str] | None":
        command = [_py_spy(), "record", "--pid", str(self._popen.pid), "--format", "raw", "--threads"]
        command += ["--full-filenames", "--rate", str(STACKS_PER_SECOND), "--output", str(self._work / "stacks")]
        try:
            spy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError:
            self._seen.notes.append("no flamegraph: py-spy is not installed")
            return None
        with suppress(subprocess.TimeoutExpired):
            said, _ = spy.communicate(timeout=1.0)  # it has ended: it may not look
            last = (said.strip().splitlines() or ["py-spy ended at once"])[-1]
            self._seen.notes.append(f"no flamegraph, as py-spy may not look at the process: {last}; run this with sudo")
            return None
        return spy

    def _finish(self, spy: "subprocess.Popen[str]") -> None:
        if spy.poll() is None and self._popen.poll() is None:
            spy.send_signal(signal.SIGINT)  # it writes what it has
        try:
            spy.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            spy.kill()
            spy.communicate()
            self._seen.notes.append("no flamegraph: py-spy did not end")

    def _end(self) -> None:
        """Ends the process and all that it has started."""
        started: list[psutil.Process] = []
        with suppress(psutil.Error):
            started = psutil.Process(self._popen.pid).children(recursive=True)
        with suppress(OSError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()
        # Now, and not before its last thread has ended, what has lost its parent is ours (on Linux).
        orphans = [child for child in psutil.Process().children() if child.pid not in self._ours]
        for orphan in orphans:
            with suppress(psutil.Error):
                started += [orphan, *orphan.children(recursive=True)]
        for process in started:
            with suppress(psutil.Error):
                process.kill()
        for process in started:
            with suppress(psutil.Error):
                process.wait(timeout=5)

    def _add_last_sample(self) -> None:
        """What the process said of itself at its end: a short run may be over before it was looked at."""
        rows, sent, _ = self._seen.counted
        samples = self._seen.samples
        for event in self._seen.of_kind("end"):
            if "resident" in event:
                # Its clock began a moment after ours.
                seconds = max(event["seconds"], samples[-1].seconds)
                samples.append(Sample(seconds, event["resident"], event["cpu"], rows, sent))


class _Look:
    """Looks at a process and at what it has started."""

    def __init__(self, process: psutil.Process, counters: int, started: float) -> None:
        self._process, self._counters, self._started = process, counters, started
        self._children: list[psutil.Process] = []
        self._children_seen = 0.0

    def sample(self) -> Sample | None:
        """None when it has ended."""
        now = time.monotonic()
        if now - self._children_seen > _CHILDREN_SECONDS:
            self._children_seen = now
            with suppress(psutil.Error):
                self._children = self._process.children(recursive=True)
        resident, cpu, processes = 0, 0.0, 1
        # The children first: once the process has ended, what they have shared with it is theirs alone.
        for child in self._children:
            with suppress(psutil.Error):
                # Of a child only what is its own: the rest it shares with the process that it was forked from.
                resident, cpu, processes = resident + _own_bytes(child), cpu + _usage(child)[1], processes + 1
        try:
            if self._process.status() == psutil.STATUS_ZOMBIE:
                return None
            own, own_cpu = _usage(self._process)
        except psutil.Error:
            return None
        rows, sent, _ = COUNTERS.unpack(os.pread(self._counters, COUNTERS.size, 0).ljust(COUNTERS.size, b"\0"))
        return Sample(now - self._started, own + resident, own_cpu + cpu, rows, sent, processes)


class _Tail(threading.Thread):
    """Reads what a process prints, and keeps the end of it: it may print without bounds."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        super().__init__(name="log", daemon=True)
        assert popen.stdout is not None
        self._pipe, self._kept = popen.stdout, b""
        self.start()

    def run(self) -> None:
        with suppress(OSError, ValueError):
            while read := os.read(self._pipe.fileno(), 65536):
                self._kept = (self._kept + read)[-_LOG_BYTES:]

    def last(self) -> bytes:
        """What was printed last, from the beginning of a line on, once the process has ended."""
        self.join(timeout=2)  # something that it has started may hold the pipe
        kept = self._kept
        return kept.partition(b"\n")[2] if len(kept) == _LOG_BYTES else kept


def _events_of(file: IO[str]) -> list[dict[str, Any]]:
    """What was written since the last time; what is no event is left out, such as a line that is not whole."""
    events = []
    for line in file:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and "kind" in event:
                events.append(event)
    return events


def _usage(process: psutil.Process) -> tuple[int, float]:
    with process.oneshot():
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system


def _own_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _main_cpu(process: psutil.Process) -> float | None:
    """Seconds of processor of the main thread so far; None where the system does not tell, or it has ended."""
    with suppress(psutil.Error, NotImplementedError):
        for thread in process.threads():
            if thread.id == process.pid:
                return float(thread.user_time + thread.system_time)
    return None


def _has_moved(last: Sample, now: Sample) -> bool:
    return (
        now.rows != last.rows
        or now.sent != last.sent
        or abs(now.resident - last.resident) > MB
        or now.cpu - last.cpu > 0.02 * (now.seconds - last.seconds) + 0.05
    )


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """On Linux: a process whose parent has ended becomes a child of ours, and can be found."""
    _set_subreaper(1)
    try:
        yield
    finally:
        _set_subreaper(0)


def _set_subreaper(value: int) -> None:
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(36, value, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else "py-spy"
