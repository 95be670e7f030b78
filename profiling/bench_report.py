"""Makes figures of what a benchmark measured, judgements of the figures, and one table of everything."""

import json
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

import psutil

from profiling.benchmark import DOCUMENTED, Comparison, DataSet, Judgement, Result, Run, Variant

RESULTS = Path(__file__).parent / "results"

# What a sync promises beside the documented pattern, and what it should rather be.
LEAST_SPEED_UP, AIM_SPEED_UP = 1.0, 1.25
# Of memory that is flat: what the allocator alone makes of the same sync from one run to the next.
FLAT_MB = 2.0

_HEADINGS = (
    "variant",
    "rows/s, small",
    "rows/s",
    "time / floor",
    "speed / documented",
    "peak MB",
    "+MB, small",
    "+MB",
)


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


@dataclass(frozen=True)
class Summary:
    """A variant's runs in one line; what is None was not measured.

    over_floor, speed_up  at the larger size, where both are measured there
    growth, peak_mb       the megabytes of every run; of a floor they say nothing
    figures               the highest of each that was seen at the source
    """

    name: str
    small_rows_per_second: Spread | None
    rows_per_second: Spread | None
    over_floor: Spread | None
    speed_up: Spread | None
    small_growth_mb: Spread | None
    growth_mb: Spread | None
    peak_mb: float | None
    figures: dict[str, float]


def summaries(comparison: Comparison) -> list[Summary]:
    return [_summary(comparison, variant) for variant in comparison.data_set.variants]


def _summary(comparison: Comparison, variant: Variant) -> Summary:
    small, large = comparison.small.get(variant.name, []), comparison.large.get(variant.name, [])
    tells_memory = variant.kind != "floor"
    runs = large or small
    return Summary(
        variant.name,
        _rows_per_second(small, comparison.data_set.small.rows),
        _rows_per_second(large, comparison.data_set.large.rows),
        _ratio(comparison, (variant.name,), tuple(name for name in variant.floors if name != variant.name)),
        _ratio(comparison, (DOCUMENTED,), (variant.name,)) if variant.kind == "sync" else None,
        _grown(small) if tells_memory else None,
        _grown(large) if tells_memory else None,
        max(run.peak_mb for run in runs) if tells_memory else None,
        {name: max(run.figures[name] for run in runs) for name in runs[0].figures},
    )


def _rows_per_second(runs: Sequence[Run], rows: int) -> Spread | None:
    return Spread.of(rows / run.seconds for run in runs) if runs else None


def _grown(runs: Sequence[Run]) -> Spread | None:
    return Spread.of(run.growth_mb for run in runs) if runs else None


def _ratio(comparison: Comparison, over: Sequence[str], under: Sequence[str]) -> Spread | None:
    """At the larger size if all were measured there, else at the smaller one; None for what was not measured."""
    for runs in (comparison.large, comparison.small):
        if over and under and all(name in runs for name in (*over, *under)):
            return ratio(_slowest(runs, over), _slowest(runs, under))
    return None


def _slowest(runs: Mapping[str, Sequence[Run]], names: Sequence[str]) -> list[Run]:
    """The slowest of these variants in every round."""
    rounds = zip(*(runs[name] for name in names), strict=True)
    return [max(of_a_round, key=lambda run: run.seconds) for of_a_round in rounds]


def ratio(over: Sequence[Run], under: Sequence[Run]) -> Spread:
    """How many times the seconds of the one the other took, round by round."""
    return Spread.of(one.seconds / other.seconds for one, other in zip(over, under, strict=True))


# Judgements


def judgements(comparison: Comparison) -> list[Judgement]:
    """What every sync of the data set keeps of what it promises."""
    judged = {variant.name for variant in comparison.data_set.variants if variant.kind == "sync"}
    found = [summary for summary in summaries(comparison) if summary.name in judged]
    return [judgement for summary in found for judgement in _judged(summary, comparison.data_set)]


def _judged(summary: Summary, data_set: DataSet) -> Iterator[Judgement]:
    name = f"{data_set.name}, {summary.name}"
    if summary.over_floor and data_set.most_over_floor:
        over, most, least = summary.over_floor.median, data_set.most_over_floor, data_set.aim_over_floor
        aim = f"{least} times" if least else ""
        promise = f"takes at most {most} times its floor"
        yield Judgement(name, promise, f"{over:.2f} times", over <= most, aim, over <= (least or most))
    if summary.speed_up and data_set.is_faster:
        speed_up = summary.speed_up.median
        promise, measured = "is faster than the documented pattern", f"{speed_up:.2f} times as fast"
        met, aim_met = speed_up > LEAST_SPEED_UP, speed_up >= AIM_SPEED_UP
        yield Judgement(name, promise, measured, met, f"{AIM_SPEED_UP} times", aim_met)
    small = summary.small_growth_mb.high if summary.small_growth_mb else 0.0
    large = summary.growth_mb.high if summary.growth_mb else 0.0
    grown = max(small, large)
    yield Judgement(name, f"grows by at most {data_set.most_mb:.0f} MB", f"{grown:.1f} MB", grown <= data_set.most_mb)
    if summary.growth_mb and data_set.fills_buffers:
        both = f"{small:.1f} MB, then {large:.1f} MB"
        yield Judgement(name, f"grows no more for {data_set.times} times the rows", both, large <= small + FLAT_MB)


def all_judgements(results: Iterable[Result]) -> list[Judgement]:
    """Those of all comparisons, and the scenarios that are judgements themselves, in their order."""
    return [
        judgement
        for result in results
        for judgement in ([result] if isinstance(result, Judgement) else judgements(result))
    ]


# What a person sees


def report(results: Sequence[Result]) -> str:
    """One table of all variants, what was seen at the sources, and the judgements."""
    compared = [result for result in results if isinstance(result, Comparison)]
    judged = all_judgements(results)
    kept = sum(judgement.met for judgement in judged)
    parts = [table(compared), *filter(None, [_seen(compared)]), "\n".join(map(str, judged))]
    return "\n\n".join(filter(None, [*parts, f"{kept} of {len(judged)} promises are met"]))


def table(comparisons: Sequence[Comparison]) -> str:
    """All variants of all data sets, a line each below the line of their data set."""
    if not comparisons:
        return ""
    groups = [[_cells(summary) for summary in summaries(comparison)] for comparison in comparisons]
    heading, rule, *lines = _aligned([_HEADINGS, *(cells for group in groups for cells in group)])
    found = iter(lines)
    shown = [f"  {heading}", f"  {rule}"]
    for comparison, group in zip(comparisons, groups, strict=True):
        data_set = comparison.data_set
        shown.append(f"{data_set.name}: {data_set.described} (small: {data_set.small.rows:,} rows)")
        shown += [f"  {next(found)}" for _ in group]
    return "\n".join(shown)


def _cells(summary: Summary) -> tuple[str, ...]:
    speeds = (summary.small_rows_per_second, summary.rows_per_second)
    grown = (summary.small_growth_mb, summary.growth_mb)
    return (
        summary.name,
        *("" if spread is None else f"{spread.median:,.0f}" for spread in speeds),
        *("" if spread is None else str(spread) for spread in (summary.over_floor, summary.speed_up)),
        "" if summary.peak_mb is None else f"{summary.peak_mb:.0f}",
        *("" if spread is None else f"{spread.high:.1f}" for spread in grown),
    )


def _seen(comparisons: Sequence[Comparison]) -> str:
    """What was seen at the sources, a line for each variant that something was seen of."""
    return "\n".join(
        f"{comparison.data_set.name}, {summary.name}: "
        + ", ".join(f"{name} {value:.3f}" for name, value in summary.figures.items())
        for comparison in comparisons
        for summary in summaries(comparison)
        if summary.figures
    )


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


def machine() -> str:
    """What the figures are measured on, in one line."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    sdk = f"Connector SDK {version('fivetran_connector_sdk')}"
    cores = f"{psutil.cpu_count()} cores of {_processor()}"
    return ", ".join([cores, memory, f"Python {platform.python_version()}", sdk])


def _processor() -> str:
    """The processor's name as Linux tells it, else what Python knows."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


# What a program reads


def save(path: Path, machine: str, results: Sequence[Result]) -> None:
    """Writes everything measured, every single run included."""
    path.parent.mkdir(exist_ok=True)
    content = {
        "machine": machine,
        "data_sets": [as_json(result) for result in results if isinstance(result, Comparison)],
        "judgements": [asdict(judgement) for judgement in all_judgements(results)],
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def as_json(comparison: Comparison) -> dict[str, Any]:
    data_set = comparison.data_set
    return {
        "name": data_set.name,
        "described": data_set.described,
        "rows": {"small": data_set.small.rows, "large": data_set.large.rows},
        "summaries": [asdict(summary) for summary in summaries(comparison)],
        "runs": {
            size: {name: [asdict(run) for run in runs] for name, runs in by_name.items()}
            for size, by_name in (("small", comparison.small), ("large", comparison.large))
        },
    }
