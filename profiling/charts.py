"""Memory over time as pictures: one run for its report, or a bad and a good connector side by side for a README.

Pictures are SVG: text, no library, no network. The one for the report takes its colours from report.css, the one for a
README brings its own, and its own background, as it is looked at on light and dark pages.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from profiling.findings import spread
from profiling.observation import Mark, Observation, Sample
from profiling.units import (
    GB,
    MB,
    count_text,
    escaped,
    plural,
    printable,
    seconds_text,
    share_text,
    shortened,
    size_text,
)

WITHIN_REACH = 0.3  # the share of the limit from which on it is drawn; below, it would press the line to the ground
MOST_TICKS = 200
_MOST_BANDS = 40
_BINS = 500  # of time: no screen shows more
_CHARACTER = 6.8  # width of one in labels, about

_ENDED = {
    "raised": "it raised here",
    "exited": "it ended its process",
    "limit": "stopped at the limit",
    "killed": "killed",
    "hung": "stopped: it hung",
    "stopped": "the profile ended here",
    "failed": "failed",
}

_STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #3d4754 }
.title { font-size: 16px; font-weight: 600; fill: #1c2430 }
.grid { stroke: #e3e7ec }
.axis { stroke: #9aa3ae }
.bad { fill: none; stroke: #b3261e; stroke-width: 2.5; stroke-linejoin: round }
.good { fill: none; stroke: #1a7f4b; stroke-width: 2.5; stroke-linejoin: round }
.bad-text { fill: #b3261e; font-weight: 600 }
.good-text { fill: #1a7f4b; font-weight: 600 }
.halo { paint-order: stroke; stroke: #ffffff; stroke-width: 4px; stroke-linejoin: round }
"""


@dataclass(frozen=True, slots=True)
class Axes:
    """Seconds and bytes to the picture's units. The time axis is `seconds` long, the other reaches up to `top`."""

    left: float
    right: float
    upper: float
    lower: float
    seconds: float
    top: float

    def x(self, seconds: float) -> float:
        return self.left + (self.right - self.left) * min(max(seconds / self.seconds, 0.0), 1.0)

    def y(self, size: float) -> float:
        return self.lower - (self.lower - self.upper) * min(max(size / self.top, 0.0), 1.0)


def round_steps(most: float, steps: int, factors: Sequence[float] = (1, 2, 5, 10)) -> list[float]:
    """Round values from 0 up to `most`, so many or fewer."""
    if most <= 0:
        return [0.0]
    magnitude = 1.0
    while magnitude * steps > most:
        magnitude /= 10
    while magnitude * 10 * steps <= most:
        magnitude *= 10
    step = next(magnitude * factor for factor in factors if magnitude * factor * steps >= most)
    return [step * index for index in range(int(most / step + 1e-9) + 1)]


def memory_ticks(top: float) -> list[tuple[float, str]]:
    """Bytes and their labels: MB, or GB from 1.5 on."""
    unit, name = (GB, "GB") if top >= 1.5 * GB else (MB, "MB")
    return [(value * unit, f"{value:g} {name}") for value in round_steps(top / unit, 5, (1, 2, 2.5, 5, 10))]


def time_ticks(seconds: float) -> list[tuple[float, str]]:
    """Seconds and their labels: s, min or h."""
    unit, name = (1, "s") if seconds < 180 else (60, "min") if seconds < 3 * 3600 else (3600, "h")
    return [(value * unit, f"{value:g} {name}") for value in round_steps(seconds / unit, 8)]


def outline(samples: Sequence[Sample]) -> list[Sample]:
    """The lowest and the highest sample of each of 500 spans of time: nothing that a picture could show is lost."""
    if len(samples) <= 2 * _BINS:
        return list(samples)
    span = samples[-1].seconds / _BINS or 1.0
    kept: list[Sample] = []
    for _, group in groupby(samples, key=lambda sample: int(sample.seconds / span)):
        together = list(group)
        low = min(together, key=lambda sample: sample.resident)
        high = max(together, key=lambda sample: sample.resident)
        kept += [low] if low is high else sorted((low, high), key=lambda sample: sample.seconds)
    return kept


def limit_is_drawn(observation: Observation) -> bool:
    return bool(observation.samples) and observation.peak.resident > WITHIN_REACH * observation.limit > 0


def memory_chart(observation: Observation) -> str:
    """Resident memory over time with tables, pages, checkpoints, limit and peak; a sentence where there is nothing."""
    if not observation.samples:
        return '<p class="empty">No memory was measured: it ended before update() was called.</p>'
    if len(observation.samples) < 2:
        return '<p class="empty">It was over too soon for a picture.</p>'
    shown_limit = observation.limit if limit_is_drawn(observation) else 0
    # Room for the peak's label above the peak.
    top = max(observation.peak.resident * 1.2, shown_limit * 1.08, 16 * MB)
    axes = Axes(88, 832, 44, 270, max(observation.seconds, 0.1), top)
    samples = outline(observation.samples)
    height = 302 + 14 * len(_ticked(observation))
    label = f"memory over time: {size_text(observation.peak.resident)} at most"
    return "\n".join(
        [
            f'<svg class="memory" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" role="img"'
            f' aria-label="{escaped(label)}" {_hover_data(samples, axes)}>',
            *_bands(observation, axes),
            *_grid(axes),
            '<text x="80" y="18" text-anchor="end">memory</text>',
            *_rows_line(samples, axes),
            *_memory_area(samples, axes),
            *_baseline(observation, axes),
            *_tick_strip(observation, axes),
            *(_limit_line(observation, axes) if shown_limit else ()),
            *_ending_line(observation, axes),
            *_peak(observation.peak, axes),
            '<g class="readout" visibility="hidden"><line y1="44" y2="270"/><circle r="4"/>'
            '<text class="halo" y="260"/></g>',
            "</svg>",
        ]
    )


def chart_notes(observation: Observation) -> list[str]:
    """What the picture does not show by itself, a sentence each."""
    if len(observation.samples) < 2:
        return []
    processes = max(sample.processes for sample in observation.samples)
    notes = ["Resident memory of the connector's process since update() was called."]
    if processes > 1:
        notes = [f"Resident memory, together, of the connector's process and those it started: up to {processes}."]
    if observation.limit and not limit_is_drawn(observation):
        share = share_text(observation.peak.resident / observation.limit)
        notes.append(f"The limit of {size_text(observation.limit)} is not drawn: the peak is {share} of it.")
    for kind in ("checkpoint", "page"):
        count = len(_marks(observation, kind))
        if count > MOST_TICKS:
            notes.append(f"{MOST_TICKS} of {plural(count, kind)} are drawn.")
    tables = len(_marks(observation, "table"))
    if tables > _MOST_BANDS:
        notes.append(f"The {tables:,} tables are too many to be shown.")
    return notes


def pair_chart(bad: Observation, good: Observation, title: str) -> str:
    """Both connectors' memory over time in one SVG file that stands by itself."""
    runs = [(bad, "bad"), (good, "good")]
    measured = [(run, kind) for run, kind in runs if run.samples]
    top = max((run.peak.resident * 1.2 for run, _ in measured), default=0) or 16 * MB
    axes = Axes(72, 836, 64, 280, max(bad.seconds, good.seconds, 0.1), top)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="860" height="320" viewBox="0 0 860 320" role="img"'
        f' aria-label="{escaped(title)}">',
        f"<style>{_STYLE}</style>",
        '<rect x="0.5" y="0.5" width="859" height="319" rx="6" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text class="title" x="16" y="28">{escaped(title)}</text>',
        '<text x="16" y="48">resident memory over time</text>',
        *_grid(axes),
    ]
    parts += [f'<path class="{kind}" d="{_line(outline(run.samples), axes)}"/>' for run, kind in measured]
    heights: list[float] = []
    for run, kind in measured:
        height = _free(axes.y(run.peak.resident) - 10, heights)
        heights.append(height)
        parts += _pair_label(run, kind, height, axes)
    return "\n".join([*parts, "</svg>", ""])


def _pair_label(run: Observation, kind: str, height: float, axes: Axes) -> list[str]:
    x, anchor = _anchored(axes.x(run.peak.seconds), axes)
    ended = "" if run.ending.kind == "finished" else f", {_ENDED[run.ending.kind]}"
    text = f"{kind.upper()}: {size_text(run.peak.resident)} at most{ended}"
    colour = "#b3261e" if kind == "bad" else "#1a7f4b"
    last = run.samples[-1]
    return [
        f'<circle cx="{axes.x(last.seconds):.1f}" cy="{axes.y(last.resident):.1f}" r="4" fill="{colour}"/>',
        f'<text class="{kind}-text halo" x="{x:.1f}" y="{height:.1f}" text-anchor="{anchor}">{escaped(text)}</text>',
    ]


def _free(height: float, taken: Sequence[float]) -> float:
    """The height, or one below where another label is."""
    while any(abs(height - other) < 18 for other in taken):
        height += 9
    return height


def _grid(axes: Axes) -> Iterator[str]:
    for size, label in memory_ticks(axes.top):
        y = axes.y(size)
        kind = "grid" if size else "axis"
        yield f'<line class="{kind}" x1="{axes.left}" x2="{axes.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{axes.left - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    for seconds, label in time_ticks(axes.seconds):
        x = axes.x(seconds)
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.lower}" y2="{axes.lower + 5}"/>'
        yield f'<text x="{x:.1f}" y="{axes.lower + 20}" text-anchor="middle">{label}</text>'


def _line(samples: Sequence[Sample], axes: Axes) -> str:
    return "M" + " ".join(f"{axes.x(sample.seconds):.1f},{axes.y(sample.resident):.1f}" for sample in samples)


def _memory_area(samples: Sequence[Sample], axes: Axes) -> Iterator[str]:
    first, last = axes.x(samples[0].seconds), axes.x(samples[-1].seconds)
    line = _line(samples, axes)
    yield f'<path class="memory-area" d="{line} L{last:.1f},{axes.lower} {first:.1f},{axes.lower}Z"/>'
    yield f'<path class="memory-line" d="{line}"/>'


def _baseline(observation: Observation, axes: Axes) -> Iterator[str]:
    y = axes.y(observation.baseline)
    beside = y + 16 if y < axes.lower - 24 else y - 6
    yield f'<line class="baseline" x1="{axes.left}" x2="{axes.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    text = f"before update(): {size_text(observation.baseline)}"
    yield f'<text class="quiet" x="{axes.right - 8}" y="{beside:.1f}" text-anchor="end">{text}</text>'


def _rows_line(samples: Sequence[Sample], axes: Axes) -> Iterator[str]:
    """The rows that were sent, on an axis of their own at the right."""
    most = samples[-1].rows
    if not most:
        return
    scale = Axes(axes.left, axes.right, axes.upper, axes.lower, axes.seconds, most * 1.1)
    line = " ".join(f"{scale.x(sample.seconds):.1f},{scale.y(sample.rows):.1f}" for sample in samples)
    yield f'<path class="rows-line" d="M{line}"/>'
    yield '<text class="rows-text" x="898" y="18" text-anchor="end">rows sent</text>'
    for rows in round_steps(most, 4):
        if rows == int(rows):
            y = scale.y(rows) + 4
            yield f'<text class="rows-text" x="{axes.right + 8}" y="{y:.1f}">{count_text(rows)}</text>'


def _marks(observation: Observation, kind: str) -> list[Mark]:
    return [mark for mark in observation.marks if mark.kind == kind]


def _bands(observation: Observation, axes: Axes) -> Iterator[str]:
    """A stripe for each table from its beginning to the next one's, with its name where that fits."""
    tables = _marks(observation, "table")
    if len(tables) > _MOST_BANDS:
        return
    edges = [*(axes.x(mark.seconds) for mark in tables), axes.right]
    for index, (mark, (left, right)) in enumerate(zip(tables, pairwise(edges), strict=True)):
        width = max(right - left, 0.0)
        kind = "band" if index % 2 == 0 else "band other"
        yield f'<rect class="{kind}" x="{left:.1f}" y="{axes.upper - 20}" width="{width:.1f}" height="20"/>'
        yield f'<line class="band-edge" x1="{left:.1f}" x2="{left:.1f}" y1="{axes.upper - 20}" y2="{axes.lower}"/>'
        if width >= 40:
            name = shortened(printable(mark.label), int((width - 10) / _CHARACTER))
            title = f"<title>{escaped(mark.label)}</title>"
            yield f'<text x="{left + 6:.1f}" y="{axes.upper - 6}">{escaped(name)}{title}</text>'


def _ticked(observation: Observation) -> list[str]:
    return [kind for kind in ("checkpoint", "page") if _marks(observation, kind)]


def _tick_strip(observation: Observation, axes: Axes) -> Iterator[str]:
    """Below the time axis, a row of ticks for checkpoints and one for pages."""
    y = axes.lower + 34
    for kind in _ticked(observation):
        marks = _marks(observation, kind)
        yield f'<text class="quiet" x="{axes.left - 8}" y="{y + 8}" text-anchor="end">{kind}s</text>'
        path = "".join(f"M{axes.x(mark.seconds):.1f},{y}v8" for mark in spread(marks, MOST_TICKS))
        yield f'<path class="{kind}-ticks" d="{path}"/>'
        yield f'<text class="quiet" x="{axes.right + 8}" y="{y + 8}">{len(marks):,}</text>'
        y += 14


def _limit_line(observation: Observation, axes: Axes) -> Iterator[str]:
    y = axes.y(observation.limit)
    yield f'<line class="limit-line" x1="{axes.left}" x2="{axes.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    # On the side where the peak's label is not.
    left = axes.x(observation.peak.seconds) > (axes.left + axes.right) / 2
    x, anchor = (axes.left + 8, "start") if left else (axes.right - 8, "end")
    text = f"limit {size_text(observation.limit)}"
    yield f'<text class="limit-text halo" x="{x}" y="{y + 16:.1f}" text-anchor="{anchor}">{text}</text>'


def _ending_line(observation: Observation, axes: Axes) -> Iterator[str]:
    if observation.ending.kind == "finished":
        return
    x = axes.x(observation.samples[-1].seconds)
    yield f'<line class="ending-line" x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="{axes.lower}"/>'
    at, anchor = _anchored(x, axes)
    text = _ENDED[observation.ending.kind]
    yield f'<text class="ending-text halo" x="{at:.1f}" y="18" text-anchor="{anchor}">{text}</text>'


def _peak(peak: Sample, axes: Axes) -> Iterator[str]:
    x, y = axes.x(peak.seconds), axes.y(peak.resident)
    at, anchor = _anchored(x, axes)
    text = f"peak {size_text(peak.resident)} at {seconds_text(peak.seconds)}"
    yield f'<circle class="peak" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    yield f'<text class="peak-text halo" x="{at:.1f}" y="{y - 10:.1f}" text-anchor="{anchor}">{text}</text>'


def _anchored(x: float, axes: Axes) -> tuple[float, str]:
    """Where a label at `x` begins, so that it stays inside."""
    share = (x - axes.left) / (axes.right - axes.left)
    if share > 0.75:
        return x - 8, "end"
    return (x + 8, "start") if share < 0.25 else (x, "middle")


def _hover_data(samples: Sequence[Sample], axes: Axes) -> str:
    """What report.js needs to say what is under the pointer: seconds, MB and rows, and where the axes are."""
    points = [[round(sample.seconds, 2), round(sample.resident / MB, 1), sample.rows] for sample in samples]
    box = [axes.left, axes.right, axes.upper, axes.lower, axes.seconds, axes.top / MB]
    return f'data-points="{json.dumps(points, separators=(",", ":"))}" data-box="{json.dumps(box)}"'
