"""Measures what a connector's sync costs, beside what it cannot cost less than, and how its memory grows with the data.

A benchmark names its data sets and the ways to deliver them (see benchmark_postgres.py), and this module measures them;
bench.py is the command, bench_report.py makes figures, judgements and the table of them.

Every run of a sync is a process of its own, so that none finds the memory of another, and ends in a sink of ours that
counts rows. Times are compared as ratios only, each with its neighbour of the same round, since no machine is equally
fast all day. The order is turned round every time, so that no way to deliver always follows the same other.

The floor of a sync is `op.upsert` of the very records that it sends, ready-made: whatever reads a source and sends
those cannot be faster. The floor of plain text is the same with every value as text and every column a STRING.
"""

import gc
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from multiprocessing.connection import Connection
from typing import Any, Generic, Literal, TypeVar
from unittest import mock

import psutil
from fivetran_connector_sdk import Operations as op

from tests.loading import load_connector
from tests.recording import CountingSink, Killed, with_sink

OURS, FLOOR, TEXT_FLOOR, DOCUMENTED = "ours", "floor, our types", "floor, plain text", "documented pattern"

# What a sync promises. The aims are what it should rather be.
MOST_OVER_FLOOR, AIM_OVER_FLOOR = 1.2, 1.1

_READY_MADE_BYTES = 100_000_000
_FLOOR_SECONDS = 0.25
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
    kind        a sync is judged; a floor's memory says nothing, so that one process serves for all rounds; a pattern is
                other code for the same; reading delivers none of the rows
    floors      the variants of which the slowest is what its own time is compared with; none: it is not compared
    small_only  it is measured, and others are compared with it, at the smaller size alone: it saves time
    """

    name: str
    prepare: Callable[[Source], Work]
    kind: Literal["sync", "floor", "pattern", "reading"]
    floors: tuple[str, ...] = (FLOOR,)
    small_only: bool = False


@dataclass(frozen=True)
class DataSet:
    """The same rows in two sizes, the larger one ten times the smaller.

    name             begins with the connector's: "files CSV"
    described        what it is, in words: "600,572 rows of TPC-H lineitem, 75 MB"
    most_mb          by how much the memory of a sync may grow
    most_over_floor  how many times its floor a sync may take; None: nothing is promised
    aim_over_floor   how many times it should take at most; None: there is no aim
    is_faster        whether a sync is to be faster than the documented pattern
    times            how many times the smaller one the larger one is, in words
    fills_buffers    whether the smaller one is larger than what a sync holds at a time; if not, the larger one may take
                     more memory, and the smaller one is measured but once, by syncs alone
    """

    name: str
    described: str
    small: Source
    large: Source
    most_mb: float
    variants: tuple[Variant, ...]
    most_over_floor: float | None = MOST_OVER_FLOOR
    aim_over_floor: float | None = AIM_OVER_FLOOR
    is_faster: bool = True
    times: str = "ten"
    fills_buffers: bool = True


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


@dataclass(frozen=True)
class Comparison:
    """The runs of a data set by variant, one a round."""

    data_set: DataSet
    small: dict[str, list[Run]]
    large: dict[str, list[Run]]


@dataclass(frozen=True)
class Judgement:
    """A promise, what was measured, and whether the one is kept by the other; an aim is not promised.

    subject  who promises: "files CSV, ours", or a scenario that has no variants
    figures  of a scenario: everything measured
    """

    subject: str
    promise: str
    measured: str
    met: bool
    aim: str = ""
    aim_met: bool = False
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        aim = f"; the aim, {self.aim}, is {_met(self.aim_met)}" if self.aim else ""
        return f"{_met(self.met).upper():<7} {self.subject} {self.promise}: {self.measured}{aim}"


Result = Comparison | Judgement
Sources = TypeVar("Sources")


@dataclass(frozen=True)
class Benchmark(Generic[Sources]):
    """What is measured of one connector.

    start     starts what it reads, and ends it on exit
    software  names and versions of that
    measure   measures one thing after another, the small data sets or the full ones
    """

    start: Callable[[], AbstractContextManager[Sources]]
    software: Callable[[Sources], str]
    measure: Callable[[Sources, bool], Generator[Result]]


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


def tables_with_keys_only(name: str, source: Source) -> list[dict[str, Any]]:
    """The connector's tables with the types of their keys only: Fivetran infers the others from values."""
    tables: list[dict[str, Any]] = load_connector(name).schema(dict(source.configuration))
    for table in tables:
        table["columns"] = {column: table["columns"][column] for column in table["primary_key"]}
    return tables


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
    with prepared(prepare, source) as process:
        return process.run(watch or Watch())


class Prepared:
    """A process that has its work ready."""

    def __init__(self, connection: Connection, process: psutil.Process, source: Source) -> None:
        self._connection, self._process, self._source = connection, process, source

    def run(self, watch: Watch) -> Run:
        """Runs the work; see `measure`."""
        try:
            run = _watched(self._connection, self._process, watch)
        except EOFError:
            raise RuntimeError("a measured run failed; its error is above") from None
        expected = self._source.rows
        if expected and run.rows != expected:
            raise RuntimeError(f"a measured run delivered {run.rows:,} rows of {expected:,}: its time means nothing")
        return run


@contextmanager
def prepared(prepare: Callable[[Source], Work], source: Source) -> Iterator[Prepared]:
    """Starts a process that makes the work; ends it on exit."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, prepare, source), daemon=True)
    process.start()
    there.close()
    try:
        here.poll(None)  # it is ready, or has failed: nothing else is measured while it prepares
        yield Prepared(here, psutil.Process(process.pid), source)
    finally:
        process.kill()  # what it had to say is said, or nobody listens any more
        process.join()
        here.close()


class _RowSink(CountingSink):
    """Counts the rows beside all operations."""

    rows = 0

    def record(self, _: Any) -> None:
        self.rows += 1


def _serve(parent: Connection, prepare: Callable[[Source], Work], source: Source) -> None:
    """The measured process: prepares, and runs the work whenever its memory was looked at."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both processes, and the parent ends this one
    work = prepare(source)
    while True:
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


def compare(data_set: DataSet, rounds: int, watch: Callable[[Source], Watch] = lambda _: Watch()) -> Comparison:
    """Measures every variant once a round, and tells of every run."""
    say(f"measuring {data_set.name}: {data_set.described}")
    comparison = Comparison(data_set, {}, {})
    with ExitStack() as kept:
        floors = {
            variant.name: kept.enter_context(prepared(variant.prepare, source))
            for variant, source, _ in _steps(comparison, 0)
            if variant.kind == "floor"
        }
        for number in range(rounds):
            for variant, source, runs in _steps(comparison, number):
                run = _run_once(variant, source, floors, watch)
                runs.setdefault(variant.name, []).append(run)
                say(
                    f"  round {number + 1} of {rounds}, {variant.name}, {run.rows:,} rows: "
                    f"{run.seconds:.2f} s, memory +{run.growth_mb:.0f} MB"
                )
    return comparison


def _steps(comparison: Comparison, number: int) -> list[tuple[Variant, Source, dict[str, list[Run]]]]:
    """What is run in the round of this number, the first being 0: a variant, its source, and where its run belongs."""
    data_set = comparison.data_set
    readers = ("sync", "pattern") if data_set.fills_buffers else ("sync",) if number == 0 else ()
    at_large = [variant for variant in data_set.variants if not variant.small_only]
    at_small = [variant for variant in data_set.variants if variant.small_only or variant.kind in readers]
    steps = [(variant, data_set.large, comparison.large) for variant in at_large]
    steps += [(variant, data_set.small, comparison.small) for variant in at_small]
    return steps[::-1] if number % 2 else steps


def _run_once(
    variant: Variant, source: Source, floors: Mapping[str, Prepared], watch: Callable[[Source], Watch]
) -> Run:
    if variant.kind == "floor":
        return _long_enough(floors[variant.name])
    expected = replace(source, rows=0) if variant.kind == "reading" else source
    return measure(variant.prepare, expected, watch(source))


def _long_enough(floor: Prepared) -> Run:
    """The median of as many runs as fill a quarter of a second: a floor may be so short that chance decides over it."""
    runs = [floor.run(Watch())]
    while sum(run.seconds for run in runs) < _FLOOR_SECONDS:
        runs.append(floor.run(Watch()))
    return sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]


def counted(prepare: Callable[[Source], Work], configuration: dict[str, str]) -> Source:
    """A source whose rows nobody knows: a run that is not compared with any other counts them."""
    return Source(configuration, measure(prepare, Source(configuration)).rows)


# What a person sees meanwhile


def say(line: str) -> None:
    print(line, flush=True)


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"
