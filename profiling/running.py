"""Runs a connector in a process of its own and looks at it from outside, whatever it does: the observation of a run.

The process may raise, hang, exit, start others or be killed: what was seen up to there is the observation.
"""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from profiling import secrets_masked, stacks
from profiling.observation import Ending, Grown, Holding, Mark, Observation, Place, Sample, Snapshot, Stack
from profiling.profiled import COUNTERS

MB = 2**20
LOOKS_PER_SECOND = 20
# A short run has to be looked at more often to be seen at all.
_FIRST_SECONDS, _FIRST_LOOKS_PER_SECOND = 2.0, 100
STACKS_PER_SECOND = 100
# A sync that sends nothing, uses no processor and no more memory for so long is taken for hung.
HUNG_SECONDS = 60.0
# Tracing takes ten times as long and more; what holds the memory is seen long before the end.
TRACED_SECONDS = 60.0
_START_SECONDS = 120.0  # importing it and schema(), which may ask a server
_TRACING_TAKES = 512 * MB  # what the second run may have beside the limit
_CHILDREN_SECONDS = 0.5
_LOG_LINES = 60
_SCRIPT = Path(__file__).with_name("profiled.py")


class ProfileError(Exception):
    """It cannot be profiled; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class Request:
    """What to run.

    folder       of a connector.py
    limit        resident bytes at which it is stopped, as a container of that size would; 0: none
    seconds      it is stopped then, and reported up to there
    hung         seconds without a sign of life after which it is stopped
    allocations  run it a second time, slower, to trace allocations
    stacks       sample call stacks with py-spy
    memray       where to write memray's flamegraph, made by one more run
    """

    folder: Path
    configuration: Mapping[str, str]
    state: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 1024 * MB
    seconds: float = 600.0
    hung: float = HUNG_SECONDS
    allocations: bool = True
    stacks: bool = True
    memray: Path | None = None


def observe(request: Request, tell: Callable[[str], None] = lambda _: None) -> Observation:
    """Runs the connector once, and again for its allocations; `tell` is given a line now and then.

    Raises ProfileError when there is no connector to run.
    """
    folder = request.folder.absolute()
    if not (folder / "connector.py").is_file():
        what = "has no connector.py" if folder.is_dir() else "is no folder"
        raise ProfileError(f"{folder} {what}: name the folder of a connector, or one of connectors/ by its name")
    request = replace(request, folder=folder)
    with tempfile.TemporaryDirectory(prefix="profile-") as temporary:
        first = _Run(request, "time", Path(temporary, "first"), tell)
        observation = first.observed()
        if first.ending.kind == "failed" or first.was_interrupted:
            return observation
        if request.allocations:
            tell(f"running it again, ten times as slow, to trace allocations: for at most {TRACED_SECONDS:.0f} s")
            traced = replace(request, seconds=min(request.seconds, TRACED_SECONDS))
            second = _Run(traced, "allocations", Path(temporary, "second"), tell)
            observation = replace(observation, snapshots=second.snapshots(), allocations_ending=second.ending)
        if request.memray and not first.was_interrupted:
            observation = _with_memray(request, observation, Path(temporary, "third"), tell)
        return observation


def _with_memray(request: Request, observation: Observation, work: Path, tell: Callable[[str], None]) -> Observation:
    """One more run under memray, which sees the memory of libraries too, and its own flamegraph of the peak."""
    assert request.memray is not None
    tell("running it again under memray")
    run = _Run(request, "memray", work, tell)
    command = [
        sys.executable,
        "-m",
        "memray",
        "flamegraph",
        "--no-web",
        "--force",
        "-o",
        str(request.memray),
        str(run.memray),
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        note = f"memray made no flamegraph: {(made.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
        return replace(observation, notes=[*observation.notes, note])
    return replace(observation, files={**observation.files, "memray flamegraph": request.memray})


class _Run:
    """One run of the connector's process, from its start to its end."""

    def __init__(self, request: Request, mode: str, work: Path, tell: Callable[[str], None]) -> None:
        self._request, self._mode, self._work, self._tell = request, mode, work, tell
        self._limit = request.limit + (_TRACING_TAKES if request.limit and mode != "time" else 0)
        self.memray = work / "memray.bin"
        self._stacks_file = work / "stacks"
        self._notes: list[str] = []
        self._dump: list[tuple[str, int | None, str]] = []  # file, line, function of the main thread, innermost first
        self._samples: list[Sample] = []
        self._main_cpu: float | None = None
        self._cpu_before: float | None = None
        self._stop: tuple[str, str] | None = None  # why it was stopped: kind of ending, sentence
        self._started_by_it: set[psutil.Process] = set()
        self.was_interrupted = False
        self._baseline = 0
        self._started = 0.0
        self._prepare()
        with (work / "log").open("w") as log:
            # A group of its own: what it has started is stopped with it, and Ctrl-C comes to us alone.
            self._process = subprocess.Popen(
                [sys.executable, str(_SCRIPT), str(work)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"},
            )
        try:
            self._follow()
        except KeyboardInterrupt:
            self.was_interrupted = True
            self._stop = ("stopped", "it was stopped by Ctrl-C")
            self._look_at_stack()
        finally:
            self._end()
        self._events = _read_events(work / "events.jsonl")
        self._add_last_sample()
        self.ending = self._ending()

    # While it runs

    def _prepare(self) -> None:
        self._work.mkdir()
        (self._work / "counters").write_bytes(bytes(COUNTERS.size))
        request = {
            "folder": str(self._request.folder),
            "configuration": dict(self._request.configuration),
            "state": dict(self._request.state),
            "mode": self._mode,
            "memray": str(self.memray),
        }
        path = self._work / "request.json"
        path.touch(mode=0o600)  # it may hold secrets
        path.write_text(json.dumps(request))

    def _follow(self) -> None:
        process = psutil.Process(self._process.pid)
        if not self._is_ready():
            return
        self._baseline = process.memory_info().rss
        spy = self._spy() if self._mode == "time" and self._request.stacks else None
        self._cpu_before = _main_cpu(process)
        self._samples.append(Sample(0.0, self._baseline, _usage(process)[1], 0, 0))
        (self._work / "go").touch()
        self._started = time.monotonic()
        try:
            self._watch(process)
        finally:
            if spy:
                self._finish(spy)

    def _is_ready(self) -> bool:
        """Waits until update() can be called; False when there will be none."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None:
            if any(event["kind"] == "ready" for event in _read_events(self._work / "events.jsonl")):
                return True
            if time.monotonic() > deadline:
                self._stop = ("failed", f"importing it and its schema() took more than {_START_SECONDS:.0f} s")
                self._look_at_stack()
                return False
            time.sleep(0.02)
        return False

    def _watch(self, process: psutil.Process) -> None:
        look = _Look(process, self._work / "counters", self._started, self._started_by_it)
        quiet_since, last, told = time.monotonic(), None, self._started
        while self._process.poll() is None:
            sample = look.sample()
            if sample is None:
                break
            self._samples.append(sample)
            self._main_cpu = _main_cpu(process) or self._main_cpu
            now = time.monotonic()
            if last is None or _has_moved(last, sample):
                last, quiet_since = sample, now
            if now - told > 5:
                told = now
                self._tell(f"  {sample.seconds:.0f} s: {sample.rows:,} rows, {sample.resident / MB:,.0f} MB")
            self._stop = self._reason_to_stop(sample, now - quiet_since)
            if self._stop:
                self._look_at_stack()
                return
            time.sleep(1 / (LOOKS_PER_SECOND if sample.seconds > _FIRST_SECONDS else _FIRST_LOOKS_PER_SECOND))

    def _reason_to_stop(self, sample: Sample, quiet: float) -> tuple[str, str] | None:
        request = self._request
        if self._limit and sample.resident > self._limit:
            rows = f"{sample.rows:,} rows" if sample.rows else "no row"
            return "limit", f"it reached {self._limit / MB:,.0f} MB after {sample.seconds:.1f} s, with {rows} sent"
        if quiet > request.hung:
            return "hung", f"for {quiet:.0f} s it sent nothing and used no processor"
        if sample.seconds > request.seconds:
            return "stopped", f"it was stopped after {request.seconds:.0f} s, the time for a profile"
        return None

    def _look_at_stack(self) -> None:
        """Where the main thread is, just before the process is stopped."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGSTOP)  # or its memory would grow on
        command = [_py_spy(), "dump", "--json", "--nonblocking", "--pid", str(self._process.pid)]
        with suppress(OSError, subprocess.TimeoutExpired, ValueError, KeyError):
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            for thread in json.loads(answer.stdout):
                if thread["thread_name"] == "MainThread":
                    self._dump = [(frame["filename"], frame["line"], frame["name"]) for frame in thread["frames"]]

    def _spy(self) -> "subprocess.Popen[str] | None":
        command = [_py_spy(), "record", "--pid", str(self._process.pid), "--format", "raw", "--threads"]
        command += ["--full-filenames", "--rate", str(STACKS_PER_SECOND), "--output", str(self._stacks_file)]
        try:
            spy = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        except OSError:
            self._notes.append("no flamegraph: py-spy is not installed")
            return None
        with suppress(subprocess.TimeoutExpired):
            said, _ = spy.communicate(timeout=1.0)  # it has ended: it may not look
            last = (said.strip().splitlines() or ["py-spy ended at once"])[-1]
            self._notes.append(f"no flamegraph, as py-spy may not look at the process: {last}; run this with sudo")
            return None
        return spy

    def _finish(self, spy: "subprocess.Popen[str]") -> None:
        if spy.poll() is None and self._process.poll() is None:
            spy.send_signal(signal.SIGINT)  # it writes what it has
        try:
            spy.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            spy.kill()
            spy.communicate()
            self._notes.append("no flamegraph: py-spy did not end")

    def _end(self) -> None:
        """Ends the process and all that it has started, in a session of their own too."""
        with suppress(psutil.Error):
            self._started_by_it.update(psutil.Process(self._process.pid).children(recursive=True))
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for process in self._started_by_it:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait()

    def _add_last_sample(self) -> None:
        """What the process said of itself at its end: a short run may be over before it was looked at."""
        rows, sent, _ = COUNTERS.unpack((self._work / "counters").read_bytes())
        for event in self._events:
            if "resident" in event:
                self._samples.append(Sample(event["seconds"], event["resident"], event["cpu"], rows, sent))

    # What was seen

    def _ending(self) -> Ending:
        """The connector's own word for it, or what can be said from outside."""
        if self._stop:
            kind, sentence = self._stop
            place = self._place_of_dump() or self._last_place()
            return Ending(kind, sentence, place, tuple(self._trace()))  # type: ignore[arg-type]
        said = next((event for event in self._events if event["kind"] == "end"), None)
        if said:
            place = self._placed(said.get("place"))
            if said.get("threads"):
                names = ", ".join(said["threads"][:5])
                self._notes.append(f"threads were left running when update() ended: {names}")
            return Ending(said["ending"], said["sentence"], place, tuple(said.get("trace", ())))
        has_begun = any(event["kind"] == "start" for event in self._events)
        code = self._process.returncode
        if code >= 0:
            kind = "exited" if has_begun else "failed"
            sentence = f"the connector ended its own process with status {code}, without a word"
        else:
            kind, sentence = "killed", f"it was killed by {_signal(-code)}"
            if -code == signal.SIGKILL and self._samples:
                sentence += f" at {self._samples[-1].resident / MB:,.0f} MB: most likely for memory, by the system"
        return Ending(kind, sentence, self._last_place())  # type: ignore[arg-type]

    def _trace(self) -> Iterator[str]:
        """The stack where it was stopped, without what is the profiler's."""
        for file, line, name in reversed(self._dump):
            if not stacks.is_of_profiler(file):
                yield f'  File "{file}", line {line}, in {name}'

    def _placed(self, place: Sequence[Any] | None) -> Place | None:
        return stacks.place(self._request.folder, place[0], place[1]) if place else None

    def _place_of_dump(self) -> Place | None:
        prefix = f"{self._request.folder}{os.sep}"
        for file, line, _ in self._dump:
            if file.startswith(prefix):
                return stacks.place(self._request.folder, file, line or 0)
        return None

    def _last_place(self) -> Place | None:
        at = [event["place"] for event in self._events if event["kind"] == "at" and event["place"]]
        return self._placed(at[-1]) if at else None

    def snapshots(self) -> tuple[Snapshot, ...]:
        return tuple(
            Snapshot(
                event["label"],
                event["seconds"],
                event["rows"],
                event["traced"],
                tuple(
                    Holding(stacks.place(self._request.folder, file, line), size, count, via)
                    for file, line, size, count, via in event["holdings"]
                ),
            )
            for event in self._events
            if event["kind"] == "snapshot"
        )

    def observed(self) -> Observation:
        request = self._request
        mask = secrets_masked.masker(request.configuration)
        rows: dict[str, int] = {}
        for event in self._events:
            if event["kind"] == "rows":
                rows = event["tables"]
        counted, _, widest = COUNTERS.unpack((self._work / "counters").read_bytes())
        if counted > sum(rows.values()):  # since it said so last
            name = list(rows)[-1] if rows else "rows"
            rows = {**rows, name: rows.get(name, 0) + counted - sum(rows.values())}
        processes = max((sample.processes for sample in self._samples), default=1)
        if processes > 1:
            self._notes.append(f"there were up to {processes} processes: memory and processor are the sum of all")
        return Observation(
            name=_name(request.folder),
            folder=request.folder,
            machine=_machine(),
            settings=secrets_masked.masked(request.configuration),
            state_given=bool(request.state),
            baseline=self._baseline,
            limit=request.limit,
            samples=self._samples,
            marks=list(self._marks()),
            rows=rows,
            widest=widest,
            ending=replace(
                self.ending,
                sentence=mask(self.ending.sentence),
                trace=tuple(mask(line) for line in self.ending.trace),
            ),
            grown=self._grown(),
            stacks=self._stacks(),
            rate=STACKS_PER_SECOND,
            main_cpu=None if self._main_cpu is None else self._main_cpu - (self._cpu_before or 0.0),
            log=[mask(line) for line in _last_lines(self._work / "log")],
            notes=[mask(note) for note in self._notes],
        )

    def _marks(self) -> Iterator[Mark]:
        samples, at = self._samples, 0
        for event in self._events:
            if event["kind"] in ("page", "table", "checkpoint"):
                while at + 1 < len(samples) and samples[at].seconds < event["seconds"]:
                    at += 1
                resident = samples[at].resident if samples else 0
                yield Mark(event["seconds"], event["kind"], event["label"], event["rows"], resident)

    def _grown(self) -> list[Grown]:
        """By line, what memory grew by while it ran: where the main thread was at the end of each look."""
        places = [(event["seconds"], event["place"]) for event in self._events if event["kind"] == "at"]
        sums: dict[tuple[str, int], int] = {}
        at, highest = 0, self._baseline
        for sample in self._samples:
            # Only what is more than ever before: memory that is given back and taken again is no growth.
            more = sample.resident - highest
            highest = max(highest, sample.resident)
            while at < len(places) and places[at][0] < sample.seconds:
                at += 1
            place = places[min(at, len(places) - 1)][1] if places else None
            if more > 0 and place:
                sums[place[0], place[1]] = sums.get((place[0], place[1]), 0) + more
        ordered = sorted(sums.items(), key=lambda item: -item[1])[:20]
        return [Grown(stacks.place(self._request.folder, *place), size) for place, size in ordered]

    def _stacks(self) -> list[Stack]:
        if not self._stacks_file.is_file():
            return []
        return stacks.read(self._stacks_file.read_text(errors="replace"), self._request.folder)


class _Look:
    """Looks at a process and at what it has started."""

    def __init__(
        self, process: psutil.Process, counters: Path, started: float, children_so_far: set[psutil.Process]
    ) -> None:
        self._process, self._counters, self._started = process, counters, started
        self._children: list[psutil.Process] = []
        self._children_so_far = children_so_far
        self._children_seen = 0.0

    def sample(self) -> Sample | None:
        """None when it has ended."""
        now = time.monotonic()
        if now - self._children_seen > _CHILDREN_SECONDS:
            self._children_seen = now
            with suppress(psutil.Error):
                self._children = self._process.children(recursive=True)
                self._children_so_far.update(self._children)
        try:
            if self._process.status() == psutil.STATUS_ZOMBIE:
                return None
            resident, cpu = _usage(self._process)
        except psutil.Error:
            return None
        processes = 1
        for child in self._children:
            with suppress(psutil.Error):
                more, more_cpu = _usage(child)
                resident, cpu, processes = resident + more, cpu + more_cpu, processes + 1
        rows, sent, _ = COUNTERS.unpack(self._counters.read_bytes())
        return Sample(now - self._started, resident, cpu, rows, sent, processes)


def _main_cpu(process: psutil.Process) -> float | None:
    """Seconds of processor of the main thread so far; None where the system does not tell, or it has ended."""
    with suppress(psutil.Error, NotImplementedError):
        for thread in process.threads():
            if thread.id == process.pid:
                return float(thread.user_time + thread.system_time)
    return None


def _usage(process: psutil.Process) -> tuple[int, float]:
    with process.oneshot():
        times = process.cpu_times()
        return process.memory_info().rss, times.user + times.system


def _has_moved(last: Sample, now: Sample) -> bool:
    return (
        now.rows != last.rows
        or now.sent != last.sent
        or abs(now.resident - last.resident) > MB
        or now.cpu - last.cpu > 0.02 * (now.seconds - last.seconds) + 0.05
    )


def _read_events(path: Path) -> list[dict[str, Any]]:
    """What was written so far; a last line that is not whole is left out."""
    events = []
    with suppress(FileNotFoundError), path.open() as file:
        for line in file:
            with suppress(ValueError):
                events.append(json.loads(line))
    return events


def _last_lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 20_000))
        return file.read().decode(errors="replace").splitlines()[-_LOG_LINES:]


def _name(folder: Path) -> str:
    """Of the connector: its folder's name, with the one above where it says little by itself."""
    return f"{folder.parent.name}/{folder.name}" if folder.name in ("bad", "good", "connector", "src") else folder.name


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _py_spy() -> str:
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else "py-spy"


def _machine() -> str:
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    return f"{psutil.cpu_count()} cores, {memory}, {platform.system()}, Python {platform.python_version()}"
