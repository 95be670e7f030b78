"""What was seen of one run of a connector, from outside: the report is made of it, and the gallery is judged by it.

Two runs make an observation. The first is timed and sampled: resident memory, processor, flamegraph. The second, slower
by several times, traces allocations. Sizes are bytes, times are seconds since `update()` was called.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Frame = str  # "update (connector.py:31)", the path short: from the connector's folder, else from its package

# What a line of code is: of the connector (with the helpers in its folder), the SDK, a library, or the profiler itself.
_OPERATION = re.compile(r"\b(op|Operations)\.\w+\(|\b(upsert|checkpoint)\(")

EndingKind = Literal["finished", "raised", "exited", "limit", "killed", "hung", "stopped", "failed"]

Category = Literal["op.*", "fetching", "decoding", "own code", "profiler"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process and all that it has started, about twenty times a second.

    cpu        seconds of processor so far
    rows       upserts, updates and deletes that were sent so far
    sent       bytes of their values, as the SDK encodes them
    processes  how many there are, the connector's own included
    """

    seconds: float
    resident: int
    cpu: float
    rows: int
    sent: int
    processes: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that the connector did: delivered a page (where it says so), began a table, sent a checkpoint."""

    seconds: float
    kind: Literal["page", "table", "checkpoint"]
    label: str
    rows: int
    resident: int


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the connector's own code, or of the library that holds what no line of it has allocated."""

    file: str  # from the connector's folder
    line: int
    source: str = ""  # the line's text

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    @property
    def sends(self) -> bool:
        """Whether it calls an operation. It keeps nothing: memory is asked for there, as others keep what was free."""
        return bool(_OPERATION.search(self.source))


@dataclass(frozen=True, slots=True)
class Holding:
    """Live memory that one line of the connector has allocated, itself or by what it called.

    via  the innermost frames below it, where it called something: "json/decoder.py:353"
    """

    place: Place
    size: int
    count: int
    via: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was allocated at one moment of the second run, by line; `traced` is the sum over all lines."""

    label: str
    seconds: float
    rows: int
    traced: int
    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """How the run ended.

    finished  update() returned
    raised    it raised an exception
    exited    it ended its own process (sys.exit, os._exit)
    limit     it reached the memory that it may have, and was stopped
    killed    something else killed it; the system does where memory is short
    hung      it did nothing any more, and was stopped
    stopped   the time for the profile was over, or the person pressed Ctrl-C
    failed    it could not be started: configuration, import, schema()
    """

    kind: EndingKind
    sentence: str  # what a person reads: "update() raised KeyError: 'items'"
    place: Place | None = None  # the line of the connector that was running
    trace: tuple[str, ...] = ()  # lines of the traceback, or the stack where it was stopped

    @property
    def is_bad(self) -> bool:
        """Whether the connector is to blame for it."""
        return self.kind not in ("finished", "stopped")


@dataclass(frozen=True, slots=True)
class Grown:
    """How much the resident memory grew while this line was running, in all."""

    place: Place
    size: int


@dataclass(frozen=True, slots=True)
class Stack:
    """A call stack of the first run and how often it was met on a processor: outermost frame first."""

    thread: str  # MainThread, or a worker's name
    frames: tuple[Frame, ...]
    samples: int


@dataclass(frozen=True)
class Observation:
    """One connector's run.

    settings   its configuration, secrets masked
    baseline   resident memory just before update() was called
    rows       sent by table; `widest` is the largest row's encoded values
    limit      resident memory at which it is stopped; 0: none
    grown      near which lines memory grew; where `grown_is_exact`, by which lines: they were stopped at one by one
    stacks     empty where py-spy could not look; `notes` say why
    rate       samples of stacks a second
    snapshots  of the second run, in order; empty where it was left out
    main_cpu   seconds of processor of the main thread, in which update() runs; None where the system does not tell
    notes      what a reader has to know: "py-spy may not look at other processes here: run it with sudo"
    """

    name: str
    folder: Path
    machine: str
    settings: Mapping[str, str]
    state_given: bool
    baseline: int
    limit: int
    samples: Sequence[Sample]
    marks: Sequence[Mark]
    rows: Mapping[str, int]
    widest: int
    ending: Ending
    grown: Sequence[Grown] = ()
    grown_is_exact: bool = False
    stacks: Sequence[Stack] = ()
    rate: int = 100
    main_cpu: float | None = None
    snapshots: Sequence[Snapshot] = ()
    allocations_ending: Ending | None = None  # of the second run
    log: Sequence[str] = ()  # its last lines, secrets masked
    notes: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)  # beside the report: "memray flamegraph"

    @property
    def seconds(self) -> float:
        return max((sample.seconds for sample in self.samples), default=0.0)

    @property
    def peak(self) -> Sample:
        """The sample with most memory."""
        return max(self.samples, key=lambda sample: sample.resident)

    def growth_until(self, rows: int) -> int:
        """By how many bytes memory had grown, at most, until so many rows were sent."""
        return max((sample.resident for sample in self.samples if sample.rows <= rows), default=0) - self.baseline

    @property
    def total_rows(self) -> int:
        return sum(self.rows.values())
