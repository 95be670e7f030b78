"""From memory over time to one verdict: does it stay flat, and if not, what does it grow with?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from profiling.observation import Observation, Sample
from profiling.units import size_text

Shape = Literal["flat", "plateau", "collects", "rows", "width", "steps", "short"]

_MB = 2**20
# What is less than this over a sync says nothing: the allocator takes it from one run to the next.
_NOISE = 8 * _MB
_LEAST_SAMPLES = 8
# Pages, buffers and caches fill up while the first of the rows are sent; what comes later is growth.
_WARM = 0.3
_LATER_SHARE = 0.15  # of the whole growth
# Growth in stretches without a row counts where it is so much of all, and a large part of the time, or so large that no
# page should be.
_SILENT_SHARE, _SILENT_TIME = 0.5, 0.2
_LEAST_COLLECTED, _MOST_PAGE = 24 * _MB, 64 * _MB
# A run that takes more memory than all that it sends may be holding all of it, whenever that was.
_LEAST_HELD = 48 * _MB
_MOST_FLAT = 64 * _MB  # what pages and buffers may take
_NEWEST = 5  # bins: memory may begin to grow late
# What allocations have to explain of the growth; and where nobody knows how far the run that traces has come.
_TRACED, _TRACED_SO_FAR = 0.5, 0.1
_WIDE_SHARE = 0.25  # of the growth, that one row's values are
_BINS = 20
_LEAST_ROWS = 10 * _BINS  # fewer have no pace
_STEP_SHARE, _MOST_STEPS = 0.7, 2


@dataclass(frozen=True, slots=True)
class Growth:
    """How memory grows.

    shape       flat      no more once the first rows are sent
                plateau   no more either, but very much with the first rows
                collects  while no row was sent: what is to be sent is gathered first
                rows      with the rows that were sent
                width     with the size of the widest row
                steps     in few jumps, with plateaus between them
                short     too few rows or samples to say
    total       bytes over the baseline at the peak
    per_100k    bytes for every 100,000 rows, once the first are sent; where it collects, what it held for each
    sentence    "memory grows with the rows: 38 MB for every 100,000, 1 GB is reached at about 2.6 M rows"
    """

    shape: Shape
    total: int
    per_100k: float
    sentence: str


def growth_of(observation: Observation) -> Growth:
    """The verdict on a run."""
    samples = observation.samples
    if not samples:
        return Growth("short", 0, 0.0, "nothing was measured")
    total = max(observation.peak.resident - observation.baseline, 0)
    rows = max(observation.total_rows, samples[-1].rows)
    silent = _silent_growth(samples, observation.baseline, total)
    if total > 2 * _NOISE and observation.widest > _WIDE_SHARE * total:
        times = total / observation.widest
        return Growth(
            "width",
            total,
            0.0,
            f"memory grows with the width of a row: the widest has {size_text(observation.widest)}, and memory grew by "
            f"{size_text(total)}, {times:.1f} times that",
        )
    if silent:
        per_100k = total / rows * 100_000 if rows else 0.0
        sent = f"while no row was sent, of {rows:,} rows in all" if rows else "and no row was sent"
        return Growth(
            "collects", total, per_100k, f"it collects before it sends: memory grew by {size_text(silent)} {sent}"
        )
    if rows == 0 or len(samples) < _LEAST_SAMPLES:
        return _too_little(rows, total)
    return _while_sending(observation, samples, rows, total)


def is_traced(observation: Observation) -> bool:
    """Whether the allocations that Python traces explain most of what memory grew by; a library holds the rest.

    The run that traces is slower and may end before the other: both are compared at the same number of rows.
    """
    fullest = max(observation.snapshots, key=lambda snapshot: snapshot.traced, default=None)
    if fullest is None:
        return False
    second = observation.allocations_ending
    if fullest.rows == 0 and second is not None and second.kind != observation.ending.kind:
        return fullest.traced >= _TRACED_SO_FAR * observation.growth_until(0)
    return fullest.traced >= _TRACED * observation.growth_until(fullest.rows)


def _while_sending(observation: Observation, samples: Sequence[Sample], rows: int, total: int) -> Growth:
    """The verdict on what memory did from row to row."""
    marks = [_highest(samples, rows * (_WARM + (1 - _WARM) * number / _BINS)) for number in range(_BINS)]
    marks.append(observation.peak.resident)  # also what came after the last row
    later = marks[-1] - marks[0]
    if later < max(_NOISE, _LATER_SHARE * total):
        return _not_growing(observation, rows, total, later)
    if rows < _LEAST_ROWS:
        return Growth("steps", total, 0.0, f"memory grew by {size_text(total)} in {rows:,} rows, or pages of them")
    rows_a_bin = rows * (1 - _WARM) / _BINS
    per_row = max(later / _BINS, (marks[-1] - marks[-1 - _NEWEST]) / _NEWEST) / rows_a_bin
    rises = sorted((after - before for before, after in pairwise(marks)), reverse=True)
    if sum(rises[:_MOST_STEPS]) > _STEP_SHARE * later:
        steps = sum(rise > later / _BINS for rise in rises)
        sentence = f"memory grows in steps: by {size_text(later)} in {steps} of them, the largest {size_text(rises[0])}"
        return Growth("steps", total, per_row * 100_000, sentence)
    sentence = f"memory grows with the rows: by {size_text(per_row * 100_000)} for every 100,000"
    if observation.limit > observation.peak.resident:
        left = (observation.limit - observation.peak.resident) / per_row
        sentence += f", {size_text(observation.limit)} is reached at about {_count(rows + left)} rows"
    return Growth("rows", total, per_row * 100_000, sentence)


def _not_growing(observation: Observation, rows: int, total: int, later: int) -> Growth:
    """The verdict on a run whose memory does not grow from row to row: is that because it is flat?"""
    sent = observation.samples[-1].sent
    if total > max(_LEAST_HELD, sent):
        sentence = f"it holds what it sends: memory grew by {size_text(total)}, and all rows together have "
        return Growth("collects", total, total / rows * 100_000, sentence + size_text(sent))
    if total > max(_NOISE, sent):
        return _too_little(rows, total)
    per_100k = max(later, 0) / (rows * (1 - _WARM)) * 100_000 if rows >= _LEAST_ROWS else 0.0
    if total > _MOST_FLAT:
        sentence = (
            f"memory grew by {size_text(total)} with the first rows, and no more after them: that is more than pages "
            "and buffers should take; run it on more data to see whether it grows with that"
        )
        return Growth("plateau", total, per_100k, sentence)
    peak = size_text(observation.peak.resident)
    sentence = f"memory stays flat: {peak} at most, {size_text(total)} more than before update()"
    return Growth("flat", total, per_100k, sentence)


def _too_little(rows: int, total: int) -> Growth:
    so_far = f"{rows:,} rows, +{size_text(total)}"
    sentence = f"too little was sent to say how memory grows ({so_far}): run it on more data"
    return Growth("short", total, 0.0, sentence)


def _silent_growth(samples: Sequence[Sample], baseline: int, total: int) -> int:
    """By how much memory grew in stretches without a row, where that is more than a page takes; else 0."""
    least = max(_NOISE, total / 10)
    growth, seconds = 0, 0.0
    highest, begun, before, rows = baseline, 0.0, baseline, 0
    for number, sample in enumerate(samples):
        is_last = number == len(samples) - 1
        highest_now = max(highest, sample.resident)
        if sample.rows != rows or (is_last and not rows):
            # What came in the last look may be of the rows; where it sent none at all, it is not.
            end = highest_now if sample.rows == rows else highest
            if end - before > least:
                growth += end - before
                seconds += sample.seconds - begun
            begun, before, rows = sample.seconds, highest_now, sample.rows
        highest = highest_now
    whole = samples[-1].seconds or 1.0
    is_long = growth > _LEAST_COLLECTED and seconds > _SILENT_TIME * whole
    return growth if growth > _SILENT_SHARE * total and (is_long or growth > _MOST_PAGE) else 0


def _highest(samples: Sequence[Sample], rows: float) -> int:
    """The most memory until so many rows were sent."""
    highest = 0
    for sample in samples:
        highest = max(highest, sample.resident)
        if sample.rows >= rows:
            break
    return highest


def _count(number: float) -> str:
    """A number of rows in words that need not be exact.

    >>> _count(2_640_000), _count(384_200)
    ('2.6 M', '384,000')
    """
    return f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{round(number, -3):,.0f}"
