"""Compares the ratios of a quick benchmark with those of profiling/ratios.json: what got worse, and what better.

Times are compared as ratios only (over the floor, and beside the documented pattern), since other machines and other
days have other seconds. Memory that a sync took more is compared in MB.

A median is worse when it is beyond the worst of the rounds that were stored, by more than 15 percent or by more than
2 MB, in two runs one after another; it is better when it is beyond the best of them by as much.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from profiling.bench_report import FLAT_MB, Spread, summaries
from profiling.benchmark import Judgement, Result

PATH = Path(__file__).parent / "ratios.json"
_WRITE_IT = "write it on a quiet machine with .venv/bin/python -m profiling.bench --store"


@dataclass(frozen=True)
class Measure:
    """A figure that is compared.

    words        how it is told
    more_is_bad  whether a higher one is worse
    factor       how many times the worst that was stored it may be
    beyond       by how much more than that it may be beyond it
    """

    words: str
    more_is_bad: bool = True
    factor: float = 1.0
    beyond: float = 0.0

    def told(self, value: float) -> str:
        return self.words.format(value)

    def is_above(self, value: float, stored: Spread) -> bool:
        return value > stored.high * self.factor + self.beyond

    def is_below(self, value: float, stored: Spread) -> bool:
        return value < stored.low / self.factor - self.beyond


MEASURES = {
    "over floor": Measure("{:.2f} times its floor", factor=1.15),
    "speed": Measure("{:.2f} times as fast as the documented pattern", more_is_bad=False, factor=1.15),
    "growth": Measure("{:.1f} MB more memory", beyond=FLAT_MB),
}

# By data set and variant, the measures by their name. Most are ratios; the growth of memory is in megabytes.
Ratios = Mapping[str, Mapping[str, Spread]]


class DamagedFile(Exception):
    """The stored ratios cannot be read; the message is for a person."""


FigureName = tuple[str, str]  # ("files CSV, ours", "over floor")


@dataclass
class Changes:
    """What is otherwise than it was stored, in sentences."""

    worse: dict[FigureName, str] = field(default_factory=dict)
    better: list[str] = field(default_factory=list)
    in_one_only: list[str] = field(default_factory=list)
    compared: int = 0

    def __str__(self) -> str:
        told = [f"{word}  {line}" for word, lines in self._named() for line in lines]
        counts = f"{self.compared} figures compared: {len(self.worse)} worse, {len(self.better)} better"
        return "\n".join([*told, counts])

    def connectors(self) -> list[str]:
        """Those of which something is worse."""
        return sorted({name.partition(" ")[0] for name, _ in self.worse})

    def confirmed(self, again: "Changes") -> None:
        """Keeps as worse what is worse again."""
        self.worse = {figure: again.worse[figure] for figure in self.worse if figure in again.worse}

    def _named(self) -> list[tuple[str, list[str]]]:
        return [("WORSE  ", list(self.worse.values())), ("better ", self.better), ("note   ", self.in_one_only)]


def ratios_of(results: Iterable[Result]) -> dict[str, dict[str, Spread]]:
    """The figures of every sync. A scenario has none: its promise is judged where it is measured."""
    found = {}
    for comparison in results:
        if isinstance(comparison, Judgement):
            continue
        syncs = {variant.name for variant in comparison.data_set.variants if variant.kind == "sync"}
        for summary in summaries(comparison):
            if summary.name in syncs:
                figures = {"over floor": summary.over_floor, "speed": summary.speed_up, "growth": summary.growth_mb}
                measured = {name: spread for name, spread in figures.items() if spread is not None}
                found[f"{comparison.data_set.name}, {summary.name}"] = measured
    return found


def changes(measured: Ratios, stored: Ratios) -> Changes:
    """What is otherwise than it was stored."""
    found = Changes()
    for name in [*measured, *(name for name in stored if name not in measured)]:
        now, before = measured.get(name, {}), stored.get(name, {})
        for measure in MEASURES:
            if measure in now and measure in before:
                found.compared += 1
                _compare(found, (name, measure), now[measure], before[measure])
            elif measure in now:
                found.in_one_only.append(f"{name}: {MEASURES[measure].told(now[measure].median)}, not stored")
            elif measure in before:
                found.in_one_only.append(
                    f"{name}: {MEASURES[measure].told(before[measure].median)} is stored, not measured"
                )
    return found


def _compare(found: Changes, figure: FigureName, now: Spread, before: Spread) -> None:
    name, measure = figure[0], MEASURES[figure[1]]
    above, below = measure.is_above(now.median, before), measure.is_below(now.median, before)
    sentence = f"{name}: {measure.told(now.median)}, stored {before.median:.2f} ({before.low:.2f} to {before.high:.2f})"
    if (above and measure.more_is_bad) or (below and not measure.more_is_bad):
        found.worse[figure] = sentence
    elif above or below:
        found.better.append(sentence)


# The stored ratios


def load(path: Path) -> dict[str, dict[str, Spread]]:
    """What is stored. Raises DamagedFile."""
    try:
        content = json.loads(path.read_text())
        return {name: _spreads(measures) for name, measures in content["ratios"].items()}
    except FileNotFoundError:
        raise DamagedFile(f"{path.name} is not there: {_WRITE_IT}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedFile(
            f"{path.name} is damaged ({type(error).__name__}: {error}): take it from the repository, or {_WRITE_IT}"
        ) from None


def _spreads(measures: Mapping[str, Mapping[str, Any]]) -> dict[str, Spread]:
    return {
        name: Spread(float(stored["median"]), float(stored["low"]), float(stored["high"]))
        for name, stored in measures.items()
    }


def store(path: Path, machine: str, ratios: Ratios) -> None:
    """Writes these ratios, and nothing else."""
    content = {
        "machine": machine,
        "ratios": {
            name: {measure: _rounded(spread) for measure, spread in measures.items()}
            for name, measures in sorted(ratios.items())
        },
    }
    path.write_text(json.dumps(content, indent=2) + "\n")


def _rounded(spread: Spread) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(spread).items()}


def of_connectors(ratios: Ratios, connectors: Collection[str]) -> dict[str, Mapping[str, Spread]]:
    """Those of these connectors, with whose name their names begin."""
    return {name: measures for name, measures in ratios.items() if name.partition(" ")[0] in connectors}
