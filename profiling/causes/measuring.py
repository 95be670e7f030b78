"""Measures the connectors of the gallery, and puts the figures into its README and pictures."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from profiling import charts
from profiling.causes.gallery import FOLDER, KINDS, LARGE, SMALL, Cause, Kind
from profiling.causes.sources import Sources
from profiling.growth import Shape, growth_of
from profiling.observation import Observation
from profiling.running import Request, observe

README = FOLDER / "README.md"
WORDS: Mapping[Shape, str] = {
    "flat": "stays flat",
    "plateau": "grows with the first rows",
    "collects": "collects before it sends",
    "rows": "grows with the rows",
    "width": "grows with the width of a row",
    "steps": "grows in steps",
    "short": "too little was sent",
}
_MB = 2**20


@dataclass(frozen=True)
class Measured:
    """The runs of a cause's two connectors, each at two sizes: by kind and number of rows."""

    cause: Cause
    runs: Mapping[tuple[Kind, int], Observation]
    small: int = SMALL
    large: int = LARGE

    def growth_mb(self, kind: Kind, rows: int) -> float:
        return growth_mb(self.runs[kind, rows])

    @property
    def shape(self) -> str:
        """What the report says of the bad one's memory."""
        return WORDS[growth_of(self.runs["bad", self.large]).shape]

    def picture(self) -> str:
        title = f"{self.cause.name}: {self.cause.amount(self.large)}"
        return charts.pair_chart(self.runs["bad", self.large], self.runs["good", self.large], title)


def measure(
    sources: Sources, cause: Cause, small: int = SMALL, large: int = LARGE, tell: Callable[[str], None] = lambda _: None
) -> Measured:
    """Runs both connectors of a cause at both sizes; `tell` is given a line for each run.

    Raises RuntimeError when one does not reach its end: its figures would mean nothing.
    """
    runs: dict[tuple[Kind, int], Observation] = {}
    for kind in KINDS:
        for rows in (small, large):
            run = runs[kind, rows] = run_of(sources, cause, kind, rows)
            tell(f"  {cause.name}/{kind}, {cause.amount(rows)}: +{growth_mb(run):.0f} MB in {run.seconds:.1f} s")
    return Measured(cause, runs, small, large)


def growth_mb(run: Observation) -> float:
    """By how much memory grew during the run, at most."""
    return (run.peak.resident - run.baseline) / _MB


def run_of(sources: Sources, cause: Cause, kind: Kind, rows: int, allocations: bool = False) -> Observation:
    """One run from the beginning; raises RuntimeError when it does not reach its end."""
    folder = cause.folder(kind)
    request = Request(folder, sources.configuration(folder, rows), allocations=allocations, stacks=False)
    run = observe(request)
    if run.ending.kind != "finished":
        raise RuntimeError(f"{cause.name}/{kind} did not reach its end: {run.ending.sentence}")
    return run


def terminal_table(gallery: Sequence[Measured]) -> str:
    """A line for each cause: megabytes of growth, and what the report says of the bad one."""
    rows = [["cause", *_headings(gallery[0]), "the report says of bad"]]
    rows += [[measured.cause.name, *_growths(measured), measured.shape] for measured in gallery]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True))]
        for row in rows
    )
    return "\n".join("   ".join([*line, row[-1]]) for line, row in zip(lines, rows, strict=True))


def _headings(measured: Measured) -> list[str]:
    return [f"{kind} at {rows:,}" for kind in KINDS for rows in (measured.small, measured.large)]


def _growths(measured: Measured) -> list[str]:
    return [f"+{measured.growth_mb(kind, rows):.0f} MB" for kind in KINDS for rows in (measured.small, measured.large)]


# The README


def write(gallery: Sequence[Measured]) -> None:
    """Puts the figures into the README, and draws the pictures."""
    for measured in gallery:
        measured.cause.picture.write_text(measured.picture())
    README.write_text(with_figures(README.read_text(), gallery))


def with_figures(text: str, gallery: Sequence[Measured]) -> str:
    """The README with these figures between its marks; raises ValueError where it has no such marks."""
    text = _with_block(text, "all", _overview(gallery))
    for measured in gallery:
        text = _with_block(text, measured.cause.name, _figures(measured))
    return text


def _with_block(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- figures of {name}: written by `make causes` -->\n", f"<!-- end of figures of {name} -->"
    block = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
    if not block.search(text):
        raise ValueError(f"the README needs the lines {begin!r} and {end!r} around its figures")
    return block.sub(lambda _: content, text)


def _overview(gallery: Sequence[Measured]) -> str:
    small, large = gallery[0].small, gallery[0].large
    machine = gallery[0].runs["bad", large].machine
    lines = [f"| cause | bad at {small:,} | at {large:,} | good at {small:,} | at {large:,} |", "|---|---|---|---|---|"]
    for measured in gallery:
        name = measured.cause.name
        lines.append(f"| [{name}](#{name}): {measured.cause.cause} | {' | '.join(_growths(measured))} |")
    return "\n".join([*lines, "", f"Measured on {machine}.", ""])


def _figures(measured: Measured) -> str:
    cause, growths = measured.cause, _growths(measured)
    return "\n".join(
        [
            f"| memory grows by | {cause.amount(measured.small)} | {cause.amount(measured.large)} |",
            "|---|---|---|",
            f"| [bad]({cause.name}/bad/connector.py) | {growths[0]} | {growths[1]} |",
            f"| [good]({cause.name}/good/connector.py) | {growths[2]} | {growths[3]} |",
            "",
        ]
    )
