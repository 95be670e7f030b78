"""What a connector's sync costs, beside what it cannot cost less than, and how its memory grows with the data.

A benchmark names its data sets and the ways to deliver them (see benchmark_postgres.py), and this module measures them:

    comparison = compare(data_set, rounds=3)
    print(comparison.table())

Every run is a process of its own, so that none finds the memory of another, and ends in a sink of ours that counts
rows. Times are compared as ratios only, each with its neighbour of the same round, since no machine is equally fast all
day. The order is turned round every time, so that no way to deliver always follows the same other.

The floor of a sync is `op.upsert` of the very records that it sends, ready-made: whatever reads a source and sends
those cannot be faster. The floor of plain text is the same with every value as text and every column a STRING.
"""

import gc
import json
import multiprocessing
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, Literal, Self
from unittest import mock

import psutil
from fivetran_connector_sdk import Operations as op

from tests.loading import load_connector
from tests.recording import CountingSink, Killed, with_sink

RESULTS = Path(__file__).parent / "results"

OURS, FLOOR, TEXT_FLOOR, DOCUMENTED = "ours", "floor, our types", "floor, plain text", "documented pattern"

# What a sync promises. The aims are what it should rather be.
MOST_OVER_FLOOR, AIM_OVER_FLOOR = 1.2, 1.1
LEAST_SPEED_UP, AIM_SPEED_UP = 1.0, 1.25
# Of memory that is flat: what the allocator alone makes of the same sync from one run to the next.
FLAT_MB = 2.0

_READY_MADE_BYTES = 100_000_000
_MEMORY_SAMPLES_PER_SECOND = 50
_MB = 2**20

Upsert = tuple[str, dict[str, Any], str | None]  # what op.upsert is given: table, record, schema


@dataclass(frozen=True)
class Source:
    """What a run reads: the connector's configuration for it, and how many rows have to arrive (0: it is not known)."""

    configuration: dict[str, str]
    rows: int = 0


@dataclass(frozen=True)
class Work:
    """What a run does: `deliver` is measured, and its rows are encoded as `tables` declares them."""

    tables: list[dict[str, Any]]
    deliver: Callable[[], Any]


@dataclass(frozen=True)
class Variant:
    """One way to deliver the rows of a source.

    prepare     makes its work, in the process that is measured: a function of a module, or a partial of one
    kind        a sync is judged; a floor does not read the source, so that its memory says nothing; reading delivers
                none of the rows
    floor       the variant whose time its own is compared with
    small_only  it is measured, and others are compared with it, at the smaller size alone: it saves time
    """

    name: str
    prepare: Callable[[Source], Work]
    kind: Literal["sync", "floor", "pattern", "reading"]
    floor: str = FLOOR
    small_only: bool = False


@dataclass(frozen=True)
class DataSet:
    """The same rows in two sizes, the larger one ten times the smaller: memory is measured at both, time at the larger.

    most_mb          by how much the memory of a sync may grow
    most_over_floor  how many times its floor a sync may take; None: nothing is promised
    aim_over_floor   how many times it should take at most; None: there is no aim
    is_faster        whether a sync is to be faster than the documented pattern
    times            how many times the smaller one the larger one is, in words
    """

    name: str
    small: Source
    large: Source
    most_mb: float
    variants: tuple[Variant, ...]
    most_over_floor: float | None = MOST_OVER_FLOOR
    aim_over_floor: float | None = AIM_OVER_FLOOR
    is_faster: bool = True
    times: str = "ten"


@dataclass(frozen=True)
class Run:
    """What one run took; `figures` is what was seen at the source meanwhile, by the name of a column.

    growth_mb  of the process's memory during the run; peak_mb is all that it had
    """

    rows: int
    seconds: float
    growth_mb: float
    peak_mb: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)


class Watch:
    """Looks at the source while a run goes on. This one sees nothing; a benchmark may have one of its own."""

    def sample(self) -> None:
        """Called about fifty times a second."""

    def figures(self) -> dict[str, float]:
        """What was seen of the run, by the name of a column."""
        return {}


# Ways to deliver, for every connector


def sync(name: str, settings: Mapping[str, str], source: Source) -> Work:
    """A first sync of connectors/NAME, with these settings beside the source's own."""
    connector = load_connector(name)
    configuration = {**source.configuration, **settings}
    tables = connector.schema(dict(configuration))
    return Work(tables, lambda: connector.update(configuration=dict(configuration), state={}))


def floor(name: str, settings: Mapping[str, str], source: Source) -> Work:
    """`op.upsert` of the records that this sync sends, ready-made, as often as the source has rows.

    There are at most 100 MB of them, sent again and again: they need not all be in memory, and the processor's caches
    do not hold so many either.
    """
    work = sync(name, settings, source)
    return floor_of(work, source.rows)


def floor_of(work: Work, rows: int) -> Work:
    """`op.upsert` of so many of the records that this work sends, ready-made; see `floor`."""
    return _upserting(work.tables, _sent_by(work, rows), rows)


def text_floor(name: str, settings: Mapping[str, str], source: Source) -> Work:
    """The same records with every value as text, in columns that are all STRING."""
    work = sync(name, settings, source)
    tables = [{**table, "columns": dict.fromkeys(table["columns"], "STRING")} for table in work.tables]
    upserts = [
        (table, {column: value if value is None else str(value) for column, value in record.items()}, schema)
        for table, record, schema in _sent_by(work, source.rows)
    ]
    return _upserting(tables, upserts, source.rows)


def _sent_by(work: Work, rows: int) -> list[Upsert]:
    """The first rows that the work sends, as many as fit; it is stopped there."""
    upserts: list[Upsert] = []
    size = 0

    def keep(table: str, data: dict[str, Any], *, schema: str | None = None) -> None:
        nonlocal size
        upserts.append((table, dict(data), schema))
        size += sys.getsizeof(data) + sum(map(sys.getsizeof, data.values()))
        if size >= _READY_MADE_BYTES or len(upserts) == rows:
            raise Killed

    with mock.patch.object(op, "upsert", keep):
        with_sink(CountingSink(work.tables), work.deliver)
    return upserts


def _upserting(tables: list[dict[str, Any]], upserts: Sequence[Upsert], rows: int) -> Work:
    def deliver() -> None:
        for table, record, schema in islice(cycle(upserts), rows):
            op.upsert(table, record, schema=schema)

    gc.freeze()  # what is ready-made costs the floor nothing, not even a look of the garbage collector
    return Work(tables, deliver)


# One run


def measure(prepare: Callable[[Source], Work], source: Source, watch: Watch | None = None) -> Run:
    """Runs what `prepare` makes of the source in a process of its own.

    Raises RuntimeError when it fails, or delivers another number of rows than the source has.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run, args=(there, prepare, source), daemon=True)
    process.start()
    there.close()
    try:
        run = _watched(here, psutil.Process(process.pid), watch or Watch())
    except EOFError:
        raise RuntimeError("a measured run failed; its error is above") from None
    finally:
        process.kill()  # what it had to say is said, or nobody listens any more
        process.join()
        here.close()
    if source.rows and run.rows != source.rows:
        raise RuntimeError(f"a measured run delivered {run.rows:,} rows of {source.rows:,}: its time means nothing")
    return run


class _RowSink(CountingSink):
    """Counts the rows beside all operations."""

    rows = 0

    def record(self, _: Any) -> None:
        self.rows += 1


def _run(parent: Connection, prepare: Callable[[Source], Work], source: Source) -> None:
    """The measured process: prepares, waits until its memory was looked at, and tells what the work took."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both processes, and the parent ends this one
    work = prepare(source)
    sink = _RowSink(work.tables)
    gc.collect()
    parent.send("ready")
    parent.recv()
    highest_before = _highest_resident()
    started = time.perf_counter()
    with_sink(sink, work.deliver)
    seconds = time.perf_counter() - started
    highest = _highest_resident()
    parent.send((sink.rows, seconds, highest if highest > highest_before else 0))


def _watched(child: Connection, process: psutil.Process, watch: Watch) -> Run:
    """Samples memory from outside, where it takes no time of the run's.

    What lies between two samples is in the operating system's own mark, if the run raised that.
    """
    child.recv()
    before = peak = process.memory_info().rss
    child.send("go")
    while not child.poll(1 / _MEMORY_SAMPLES_PER_SECOND):
        with suppress(psutil.Error):  # it has just ended
            peak = max(peak, process.memory_info().rss)
        watch.sample()
    rows, seconds, highest = child.recv()
    peak = max(peak, highest)
    return Run(rows, seconds, (peak - before) / _MB, peak / _MB, watch.figures())


def _highest_resident() -> int:
    """The most memory that this process has had so far, in bytes."""
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


# Rounds of runs


@dataclass(frozen=True)
class Spread:
    """The median of some values, and the lowest and the highest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        found = list(values)
        return cls(median(found), min(found), max(found))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(over: Sequence[Run], under: Sequence[Run]) -> Spread:
    """How many times the seconds of the one the other took, round by round."""
    return Spread.of(one.seconds / other.seconds for one, other in zip(over, under, strict=True))


@dataclass(frozen=True)
class Summary:
    """A variant's runs in one line: those at the larger size, if there are any. Memory and figures are the highest."""

    name: str
    rows: int
    rows_per_second: Spread
    over_floor: Spread | None
    speed_up: Spread | None
    small_growth_mb: float | None
    large_growth_mb: float | None
    figures: dict[str, float]


@dataclass(frozen=True)
class Verdict:
    """What a sync promises, what was measured, and whether the one keeps to the other; an aim is not promised."""

    variant: str
    promise: str
    measured: str
    met: bool
    aim: str = ""
    aim_met: bool = False

    def __str__(self) -> str:
        aim = f"; the aim, {self.aim}, is {_met(self.aim_met)}" if self.aim else ""
        return f"{_met(self.met).upper():<7} {self.variant} {self.promise}: {self.measured}{aim}"


@dataclass(frozen=True)
class Comparison:
    """The runs of a data set by variant, one a round. The small source is read by the variants that read one at all."""

    data_set: DataSet
    small: dict[str, list[Run]]
    large: dict[str, list[Run]]

    def summaries(self) -> list[Summary]:
        return [self._summary(variant) for variant in self.data_set.variants]

    def _summary(self, variant: Variant) -> Summary:
        small, large = self.small.get(variant.name, []), self.large.get(variant.name, [])
        runs, rows = (large, self.data_set.large.rows) if large else (small, self.data_set.small.rows)
        return Summary(
            variant.name,
            rows,
            Spread.of(rows / run.seconds for run in runs),
            self._ratio(variant.name, variant.floor),
            self._ratio(DOCUMENTED, variant.name),
            _most_grown(small) if small else None,
            _most_grown(large) if large else None,
            {name: max(run.figures[name] for run in runs) for name in runs[0].figures},
        )

    def _ratio(self, over: str, under: str) -> Spread | None:
        """At the larger size if both were measured there, else at the smaller one; None for what was not measured."""
        for runs in (self.large, self.small):
            if over != under and over in runs and under in runs:
                return ratio(runs[over], runs[under])
        return None

    def verdicts(self) -> list[Verdict]:
        """What every sync of the data set keeps of what it promises."""
        judged = {variant.name for variant in self.data_set.variants if variant.kind == "sync"}
        summaries = [summary for summary in self.summaries() if summary.name in judged]
        return [verdict for summary in summaries for verdict in _judged(summary, self.data_set)]

    def table(self) -> str:
        """All variants, a line each, and the verdicts below."""
        summaries, small = self.summaries(), self.data_set.small.rows
        figures = list(dict.fromkeys(name for summary in summaries for name in summary.figures))
        headings = ["variant", "rows", "rows/s", "time / floor", "speed / documented"]
        headings += [f"MB at {small:,}", f"MB at {self.data_set.large.rows:,}", *figures]
        lines = _aligned([headings, *(_cells(summary, figures) for summary in summaries)])
        return "\n".join([f"{self.data_set.name}", "", *lines, "", *map(str, self.verdicts())])

    def as_json(self) -> dict[str, Any]:
        """Everything measured, every single run included."""
        return {
            "name": self.data_set.name,
            "summaries": [asdict(summary) for summary in self.summaries()],
            "verdicts": [asdict(verdict) for verdict in self.verdicts()],
            "runs": {
                size: {name: [asdict(run) for run in runs] for name, runs in by_name.items()}
                for size, by_name in (("small", self.small), ("large", self.large))
            },
        }


def compare(data_set: DataSet, rounds: int, watch: Callable[[Source], Watch] = lambda _: Watch()) -> Comparison:
    """Measures every variant once a round, and tells of every run."""
    comparison = Comparison(data_set, {}, {})
    at_large = [variant for variant in data_set.variants if not variant.small_only]
    at_small = [variant for variant in data_set.variants if variant.small_only or variant.kind in ("sync", "pattern")]
    steps = [(variant, data_set.large, comparison.large) for variant in at_large]
    steps += [(variant, data_set.small, comparison.small) for variant in at_small]
    for number in range(rounds):
        for variant, source, runs in reversed(steps) if number % 2 else steps:
            expected = replace(source, rows=0) if variant.kind == "reading" else source
            run = measure(variant.prepare, expected, Watch() if variant.kind == "floor" else watch(source))
            runs.setdefault(variant.name, []).append(run)
            say(
                f"  round {number + 1} of {rounds}, {variant.name}, {run.rows:,} rows: "
                f"{run.seconds:.2f} s, memory +{run.growth_mb:.0f} MB"
            )
    return comparison


def _most_grown(runs: Sequence[Run]) -> float:
    return max(run.growth_mb for run in runs)


def _judged(summary: Summary, data_set: DataSet) -> list[Verdict]:
    name, verdicts = summary.name, []
    if summary.over_floor and data_set.most_over_floor:
        over, most, least = summary.over_floor.median, data_set.most_over_floor, data_set.aim_over_floor
        promise, measured = f"takes at most {most} times its floor", f"{over:.2f} times"
        aim = f"{least} times" if least else ""
        verdicts.append(Verdict(name, promise, measured, over <= most, aim, over <= (least or most)))
    if summary.speed_up and data_set.is_faster:
        speed_up = summary.speed_up.median
        promise, measured = "is faster than the documented pattern", f"{speed_up:.2f} times as fast"
        met, aim_met = speed_up > LEAST_SPEED_UP, speed_up >= AIM_SPEED_UP
        verdicts.append(Verdict(name, promise, measured, met, f"{AIM_SPEED_UP} times", aim_met))
    small, large = summary.small_growth_mb or 0.0, summary.large_growth_mb or 0.0
    promise, grown = f"grows by at most {data_set.most_mb:.0f} MB", max(small, large)
    verdicts.append(Verdict(name, promise, f"{grown:.1f} MB", grown <= data_set.most_mb))
    if summary.large_growth_mb is not None:
        both = f"{small:.1f} MB, then {large:.1f} MB"
        promise = f"grows no more for {data_set.times} times the rows"
        verdicts.append(Verdict(name, promise, both, large <= small + FLAT_MB))
    return verdicts


# What a person sees


def say(line: str) -> None:
    print(line, flush=True)


def machine(source: str) -> str:
    """What the figures were measured on, in one line; `source` is the source's name and version."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    sdk = f"Connector SDK {version('fivetran_connector_sdk')}"
    return ", ".join(
        [f"{psutil.cpu_count()} cores of {_processor()}", memory, f"Python {platform.python_version()}", sdk, source]
    )


def save(name: str, machine: str, rounds: int, comparisons: Sequence[Comparison]) -> Path:
    """Writes everything measured to results/NAME.json."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    measured = [comparison.as_json() for comparison in comparisons]
    path.write_text(json.dumps({"machine": machine, "rounds": rounds, "data_sets": measured}, indent=2) + "\n")
    return path


def _processor() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cells(summary: Summary, figures: Sequence[str]) -> list[str]:
    optional = (summary.over_floor, summary.speed_up)
    grown = (summary.small_growth_mb, summary.large_growth_mb)
    return [
        summary.name,
        f"{summary.rows:,}",
        f"{summary.rows_per_second.median:,.0f}",
        *("" if spread is None else str(spread) for spread in optional),
        *("" if megabytes is None else f"{megabytes:.1f}" for megabytes in grown),
        *(f"{summary.figures[name]:.3f}" if name in summary.figures else "" for name in figures),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right, a rule below the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in ruled
    ]


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"
