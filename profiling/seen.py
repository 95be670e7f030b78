"""Makes an observation of what was seen of a connector's runs. No secret of its settings is in it."""

import os
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import psutil

from profiling import stacks
from profiling.observation import (
    Ending,
    EndingKind,
    Grown,
    Holding,
    Mark,
    Observation,
    Place,
    Sample,
    Snapshot,
)
from profiling.process import STACKS_PER_SECOND, Request, Watched
from profiling.secrets_masked import Masker, masked
from profiling.units import size_text
from shared.memory_limit import MemoryLimit

_LOG_LINES = 60
_NOTHING_LEFT, _NEAR_LIMIT = 0.1, 0.5  # of the machine's memory, and of the container's
_LINES = 20


def observation_of(request: Request, watched: Watched) -> Observation:
    """What the first run has shown."""
    rows, _, widest = watched.counted
    observation = Observation(
        name=_name(request.folder),
        folder=request.folder,
        machine=_machine(),
        settings={},
        state_given=bool(request.state),
        baseline=watched.baseline,
        limit=request.limit,
        samples=[],
        marks=list(_marks(watched)),
        rows=_rows(watched, rows),
        widest=widest,
        ending=_ending(request.folder, watched),
        grown=_near(request.folder, watched),
        stacks=stacks.read(watched.stacks, request.folder),
        rate=STACKS_PER_SECOND,
        main_cpu=watched.main_cpu,
        notes=list(_notes(watched)),
    )
    mask = _masker(request)
    # Masked before it is cut, or half of a secret would be left.
    log = mask.text(watched.log.decode(errors="replace")).splitlines()[-_LOG_LINES:]
    shown = mask.all(observation)
    return replace(shown, settings=masked(request.configuration), samples=watched.samples, log=log)


def with_snapshots(request: Request, observation: Observation, watched: Watched) -> Observation:
    """With what the run that traced allocations has shown."""
    mask, folder = _masker(request), request.folder
    snapshots = tuple(_snapshots(folder, watched))
    ending = _ending(folder, watched)
    return replace(observation, snapshots=mask.all(snapshots), allocations_ending=mask.all(ending))


def with_grown_lines(request: Request, observation: Observation, watched: Watched) -> Observation:
    """With what the run that stopped at every line has shown."""
    lines: list[Any] = []
    for event in watched.of_kind("grown"):
        lines = event["lines"]
    grown = tuple(Grown(stacks.place(request.folder, file, line), size) for file, line, size in lines)
    return replace(observation, grown=_masker(request).all(grown), grown_is_exact=True) if grown else observation


def _masker(request: Request) -> Masker:
    return Masker(request.configuration, request.state)


def _ending(folder: Path, watched: Watched) -> Ending:
    """The connector's own word for it, or what can be said from outside."""
    if watched.stop:
        kind, sentence = watched.stop
        return Ending(
            _kind(kind), sentence, _place_of(folder, watched) or _last_place(folder, watched), _trace(watched)
        )
    for said in watched.of_kind("end"):
        place = said.get("place")
        found = stacks.place(folder, place[0], place[1]) if place else None
        sentence = said["sentence"]
        if said["ending"] == "failed" and sentence.startswith("ModuleNotFoundError"):
            sentence += f": install what it needs first, {Path(sys.executable).with_name('pip')} install -r "
            sentence += str(folder / "requirements.txt")
        return Ending(_kind(said["ending"]), sentence, found, tuple(said.get("trace", ())))
    if watched.code >= 0:
        sentence = f"the connector ended its own process with status {watched.code}, without a word"
        return Ending("exited" if any(watched.of_kind("start")) else "failed", sentence, _last_place(folder, watched))
    sentence = f"it was killed by {_signal(-watched.code)}"
    if watched.samples:
        sentence += f" at {size_text(watched.samples[-1].resident)}"
        if -watched.code == signal.SIGKILL and _was_much(watched.samples[-1]):
            sentence += ", most likely by the system, for memory"
    return Ending("killed", sentence, _last_place(folder, watched))


def _kind(kind: str) -> EndingKind:
    assert kind in get_args(EndingKind)
    return kind  # type: ignore[return-value]


def _was_much(sample: Sample) -> bool:
    """Whether the system has a reason to kill for memory: the container's limit is near, or the machine's is."""
    memory = psutil.virtual_memory()
    most = MemoryLimit().most
    left = memory.available - sample.resident
    return bool(left < _NOTHING_LEFT * memory.total or (most and sample.resident > _NEAR_LIMIT * most))


def _trace(watched: Watched) -> tuple[str, ...]:
    """The stack where it was stopped, without what is the profiler's."""
    frames = [frame for frame in reversed(watched.frames) if not stacks.is_of_profiler(frame[0])]
    return tuple(f'  File "{file}", line {line}, in {name}' for file, line, name in frames)


def _place_of(folder: Path, watched: Watched) -> Place | None:
    for file, line, _ in watched.frames:
        if file.startswith(f"{folder}{os.sep}"):
            return stacks.place(folder, file, line)
    return None


def _last_place(folder: Path, watched: Watched) -> Place | None:
    """Where it was when it was last looked at."""
    places = [event["place"] for event in watched.of_kind("at") if event["place"]]
    return stacks.place(folder, *places[-1]) if places else None


def _rows(watched: Watched, counted: int) -> dict[str, int]:
    """Rows by table, as it said last; what it has sent since is of the last one."""
    rows: dict[str, int] = {}
    for event in watched.of_kind("rows"):
        rows = event["tables"]
    missing = counted - sum(rows.values())
    if missing > 0:
        name = next(reversed(rows), "rows")
        rows = {**rows, name: rows.get(name, 0) + missing}
    return rows


def _marks(watched: Watched) -> Iterator[Mark]:
    samples, at = watched.samples, 0
    for event in watched.of_kind("page", "table", "checkpoint"):
        while at + 1 < len(samples) and samples[at].seconds < event["seconds"]:
            at += 1
        resident = samples[at].resident if samples else 0
        yield Mark(event["seconds"], event["kind"], event["label"], event["rows"], resident)


def _near(folder: Path, watched: Watched) -> list[Grown]:
    """By line, what memory grew by when it was near: where the main thread was at the end of each look."""
    places = [(event["seconds"], event["place"]) for event in watched.of_kind("at")]
    sums: dict[tuple[str, int], int] = {}
    at, highest = 0, watched.baseline
    for sample in watched.samples:
        # Only what is more than ever before: memory that is given back and taken again is no growth.
        more = sample.resident - highest
        highest = max(highest, sample.resident)
        while at < len(places) and places[at][0] < sample.seconds:
            at += 1
        place = places[min(at, len(places) - 1)][1] if places else None
        if more > 0 and place:
            sums[place[0], place[1]] = sums.get((place[0], place[1]), 0) + more
    ordered = sorted(sums.items(), key=lambda item: -item[1])[:_LINES]
    return [Grown(stacks.place(folder, *place), size) for place, size in ordered]


def _snapshots(folder: Path, watched: Watched) -> Iterator[Snapshot]:
    for event in watched.of_kind("snapshot"):
        holdings = tuple(
            Holding(stacks.place(folder, file, line), size, count, via)
            for file, line, size, count, via in event["holdings"]
        )
        yield Snapshot(event["label"], event["seconds"], event["rows"], event["traced"], holdings)


def _notes(watched: Watched) -> Iterator[str]:
    yield from watched.notes
    processes = max((sample.processes for sample in watched.samples), default=1)
    if processes > 1:
        yield f"there were up to {processes} processes: memory and processor are the sum of all"
    for event in watched.of_kind("end"):
        if event.get("threads"):
            yield f"threads were left running when update() ended: {', '.join(event['threads'][:5])}"


def _name(folder: Path) -> str:
    """Of the connector: its folder's name, with the one above where it says little by itself."""
    return f"{folder.parent.name}/{folder.name}" if folder.name in ("bad", "good", "connector", "src") else folder.name


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _machine() -> str:
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    return f"{psutil.cpu_count()} cores, {memory}, {platform.system()}, Python {platform.python_version()}"
