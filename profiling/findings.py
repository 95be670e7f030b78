"""What a run's report says first, on a page as on a terminal: the verdict, the line that does it, the key figures."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from profiling.growth import Growth, growth_of, is_traced
from profiling.observation import Ending, Grown, Holding, Observation, Place, Snapshot
from profiling.units import count_text, growth_text, plural, seconds_text, share_text, size_text

Severity = Literal["good", "watch", "bad", "unknown"]
Item = TypeVar("Item")

_ADVICE = {
    "collects": "Send a page, or a part of a large object, before the next one is asked for.",
    "rows": "Something is added for every row and never let go: find the list, dict, cache or queue that keeps it.",
    "width": "Stream what is wide, cut it into rows, or bound it.",
    "steps": "Look at the line of the largest jump: a table, a file or a page at a time; bound pages by bytes.",
}
_SEVERITY: dict[str, Severity] = {
    "flat": "good",
    "collects": "bad",
    "rows": "bad",
    "width": "watch",
    "steps": "watch",
    "plateau": "watch",
    "short": "unknown",
}
AT_THE_END = "after update()"  # what the last snapshot is called, where update() has returned
_STILL_HELD = 0.7  # of what a line held at the peak
_LEAST_GROWN = 4 * 2**20  # bytes: less is no finding
_SECOND_SHARE = 1 / 3  # of what the culprit has made, from which on the line after it is named too
_LEAST_SHARE = 0.001  # of all that Python traces; lines below it are left out
_ROWS_FOR_A_PACE = 10_000
_LEAST_SECONDS = 0.5  # a shorter run says nothing about speed


@dataclass(frozen=True, slots=True)
class Finding:
    """A line and what it does: "made most of what is held at the peak", "412 MB in 1,200,000 objects of ..."."""

    claim: str
    place: Place
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The headline, a second sentence where one is needed, what to do, and the lines to blame, the first one most."""

    severity: Severity
    headline: str
    second: str
    advice: str
    findings: tuple[Finding, ...]
    growth: Growth


@dataclass(frozen=True, slots=True)
class Figure:
    """One key figure: "peak memory", "482 MB", "47 % of the limit of 1 GB"."""

    label: str
    value: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line held at three moments of the second run, in bytes; count and average are those at the peak."""

    place: Place
    via: str
    start: int
    peak: int
    end: int
    count: int

    @property
    def average(self) -> float:
        return self.peak / self.count if self.count else 0.0

    @property
    def grew(self) -> int:
        return self.peak - self.start


def judge(observation: Observation) -> Verdict:
    """The verdict on a run; one that did not finish is told by its ending first."""
    growth = _growth(observation)
    ending = observation.ending
    if ending.is_bad:
        headline, second = ending.sentence, "" if growth.shape == "short" else growth.sentence
    else:
        headline, second = growth.sentence, "" if ending.kind == "finished" else ending.sentence
    if not observation.samples:
        second = "nothing was measured, as update() was not called"
    severity = "bad" if ending.is_bad else _SEVERITY[growth.shape]
    advice = _ADVICE.get(growth.shape, "")
    findings = _findings(observation, growth)
    return Verdict(severity, _capitalised(headline), _capitalised(second), advice, findings, growth)


def ending_sentence(observation: Observation) -> str:
    return observation.ending.sentence or "update() returned"


def _growth(observation: Observation) -> Growth:
    if observation.samples:
        return growth_of(observation)
    return Growth("short", 0, 0.0, "nothing was measured")


def _capitalised(sentence: str) -> str:
    """The sentence with a capital, unless it begins with a name from code: "update() raised ..."."""
    first = sentence.split(" ", 1)[0]
    return sentence[:1].upper() + sentence[1:] if first.isalpha() else sentence


def _findings(observation: Observation, growth: Growth) -> tuple[Finding, ...]:
    ending = observation.ending
    out_of_memory = ending.kind in ("limit", "killed")
    holders: list[Finding] = []
    if growth.total > 0 and (out_of_memory or growth.shape not in ("flat", "short")):
        holders = _makers(observation) or _grown(observation)
    last = [finding for finding in _running(ending) if finding.place not in [holder.place for holder in holders]]
    return tuple(holders + last if out_of_memory else last + holders)


def _running(ending: Ending) -> list[Finding]:
    """The line that ran when the run ended, where it did not finish."""
    if ending.place is None or ending.kind in ("finished", "stopped"):
        return []
    claims = {"raised": "this line raised", "exited": "this line ended the process", "hung": "it hung in this line"}
    claim = claims.get(ending.kind, "this line was running when it ended")
    if not ending.trace:  # nothing told where it ended
        claim = "it was last seen in this line"
    elif ending.kind == "failed":
        claim = "this line raised"
    return [Finding(claim, ending.place)]


def _makers(observation: Observation) -> list[Finding]:
    """The line that has made most of what is held at the peak, and the next one where it is nearly as much.

    None where what Python traces explains little of the growth. A line that sends rows keeps none of them.
    """
    if not is_traced(observation):
        return []
    held = fullest(observation.snapshots).traced
    # What was there at the first snapshot may be imports; where nearly all was, it is what is looked for.
    was_there = observation.snapshots[0].traced > _STILL_HELD * held
    made = {line: line.peak if was_there else line.grew for line in lines(observation, limit=None)}
    ordered = sorted((line for line in made if made[line] > 0 and not line.place.sends), key=made.__getitem__)
    if not ordered:
        return []
    first, *others = reversed(ordered)
    claim = f"made most of what is held {_peak_words(observation)}"
    found = [Finding(claim, first.place, _amount(first, observation))]
    if others and made[others[0]] >= _SECOND_SHARE * made[first]:
        found.append(Finding("and so did this line", others[0].place, _amount(others[0], observation)))
    return found


def _peak_words(observation: Observation) -> str:
    """At the peak, or as far as the slower run has come."""
    rows, all_rows = fullest(observation.snapshots).rows, observation.total_rows
    if not _was_cut_short(observation) or not 0 < rows < all_rows:
        return "at the peak"
    return f"after {rows:,} of {all_rows:,} rows, as far as a slower run came"


def _amount(line: Line, observation: Observation) -> str:
    share = share_text(line.peak / fullest(observation.snapshots).traced)
    return (
        f"{size_text(line.peak)} in {plural(line.count, 'object')} of {size_text(line.average)} on average, {share} of "
        f"all{_kept_by(line, observation)}"
    )


def _kept_by(line: Line, observation: Observation) -> str:
    """Who keeps it, as far as that can be seen: what is there once update() has returned is no variable of it."""
    if observation.snapshots[-1].label != AT_THE_END or line.peak < _LEAST_GROWN:
        return ""
    if line.end > _STILL_HELD * line.peak:
        return "; it is still held after update(): something outside of it keeps it, as a cache or a global does"
    if line.end < (1 - _STILL_HELD) * line.peak:
        return "; it was let go when update() ended: a variable of it kept it"
    return ""


def _was_cut_short(observation: Observation) -> bool:
    """Whether the second run ended before the first one did: its time was over, say. It has seen less."""
    second = observation.allocations_ending
    return second is not None and second.kind != observation.ending.kind


def _grown(observation: Observation) -> list[Finding]:
    """The line that ran while memory grew most."""
    grown = [one for one in grown_lines(observation, limit=None) if not one.place.sends]
    if not grown or grown[0].size < _LEAST_GROWN:
        return []
    most = grown[0]
    if not observation.grown_is_exact:
        return [Finding("memory grew most near this line", most.place, f"by {size_text(most.size)}")]
    whole = sum(one.size for one in observation.grown)
    detail = f"{growth_text(most.size)} of {growth_text(whole)}, in a run that stopped at every line"
    return [Finding("memory grew most while this line ran", most.place, detail)]


def grown_lines(observation: Observation, limit: int | None = 5) -> list[Grown]:
    """The lines by or near which memory grew, the first one most."""
    grown = [one for one in observation.grown if one.size > 0]
    return sorted(grown, key=lambda one: one.size, reverse=True)[:limit]


def grown_title(observation: Observation) -> str:
    return f"Memory grew {'while these lines ran' if observation.grown_is_exact else 'near these lines'}"


def grown_words(observation: Observation) -> str:
    """How the growth by line was seen."""
    if observation.grown_is_exact:
        how = "From one more run, which stopped at every line: memory of libraries too, but not who holds it."
    else:
        how = (
            "From the first run, by where the main thread was when memory had grown: memory of libraries too, but a "
            "line that waits may be named for the one before it."
        )
    if any(one.place.sends for one in grown_lines(observation)):
        how += " A line that sends rows is not to blame: it asks for memory because others keep what was free."
    return how


def fullest(snapshots: Sequence[Snapshot]) -> Snapshot:
    """The snapshot with most memory: the peak, as far as the second run has seen it."""
    return max(snapshots, key=lambda snapshot: snapshot.traced)


def lines(observation: Observation, limit: int | None = 10) -> list[Line]:
    """The lines that have made most of what is held at the peak, from the largest on."""
    if not observation.snapshots:
        return []
    first, last = observation.snapshots[0], observation.snapshots[-1]
    start, peak, end = (_by_place(snapshot) for snapshot in (first, fullest(observation.snapshots), last))
    least = _LEAST_SHARE * fullest(observation.snapshots).traced
    found = [
        Line(
            place=held[0].place,
            via=max(held, key=lambda holding: holding.size).via,
            start=_size(start[key]),
            peak=_size(held),
            end=_size(end[key]),
            count=sum(holding.count for holding in held),
        )
        for key, held in list(peak.items())
        if _size(held) >= least
    ]
    return sorted(found, key=lambda line: line.peak, reverse=True)[:limit]


def _by_place(snapshot: Snapshot) -> defaultdict[tuple[str, int], list[Holding]]:
    places: defaultdict[tuple[str, int], list[Holding]] = defaultdict(list)
    for holding in snapshot.holdings:
        places[holding.place.file, holding.place.line].append(holding)
    return places


def _size(held: Sequence[Holding]) -> int:
    return sum(holding.size for holding in held)


def key_figures(observation: Observation, growth: Growth) -> list[Figure]:
    """A handful: rows, time, speed, peak, growth; those that were not measured are left out."""
    if not observation.samples:
        return []
    rows, seconds, peak = observation.total_rows, observation.seconds, observation.peak
    figures = [
        Figure("rows sent", f"{rows:,}", _tables(observation)),
        Figure("time", seconds_text(seconds), processor_share(observation)),
    ]
    if rows and seconds >= _LEAST_SECONDS:
        speed = rows / seconds
        figures.append(
            Figure(
                "rows per second",
                f"{speed:,.0f}" if speed < 10000 else count_text(speed),
                f"widest row {size_text(observation.widest)}",
            )
        )
    limit = "no limit was set"
    if observation.limit:
        limit = f"{share_text(peak.resident / observation.limit)} of the limit of {size_text(observation.limit)}"
    figures.append(Figure("peak memory", size_text(peak.resident), limit))
    above = growth_text(max(0, growth.total))
    if growth.shape in ("rows", "flat", "plateau") and rows >= _ROWS_FOR_A_PACE:
        figures.append(Figure("growth per 100,000 rows", growth_text(growth.per_100k), f"{above} above the start"))
    else:
        figures.append(Figure("above the start", above, f"{size_text(observation.baseline)} before update()"))
    return figures


def processor_share(observation: Observation) -> str:
    """ "85 % of one processor", of all threads and processes together; "" where there was too little to count."""
    first, last = observation.samples[0], observation.samples[-1]
    seconds = last.seconds - first.seconds
    return f"{share_text((last.cpu - first.cpu) / seconds)} of one processor" if seconds >= _LEAST_SECONDS else ""


def _tables(observation: Observation) -> str:
    names = [name for name, rows in observation.rows.items() if rows]
    if len(names) == 1:
        return f"of {names[0]}"
    return f"in {plural(len(names), 'table')}" if names else "none yet when it ended"


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of the items, evenly chosen, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[index * (len(items) - 1) // (most - 1)] for index in range(most)]
