"""One observation as text, no wider than 120 characters: the same facts as the report, in the same order."""

import textwrap

from profiling.findings import (
    Finding,
    Verdict,
    ending_sentence,
    fullest,
    grown_lines,
    grown_title,
    judge,
    key_figures,
    lines,
    spread,
)
from profiling.observation import Mark, Observation
from profiling.stacks import time_split
from profiling.units import (
    GB,
    growth_text,
    plural,
    printable,
    seconds_text,
    share_text,
    shortened,
    size_text,
    traced_text,
)

WIDTH = 120
_MOST_MARKS = 8


def text(observation: Observation) -> str:
    """The report for a terminal, without a line feed at its end."""
    verdict = judge(observation)
    parts = [
        _headline(observation, verdict),
        _figures(observation, verdict),
        _usage(observation),
        _holdings(observation),
        _growth(observation),
        _time(observation),
        _ending(observation),
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _wrapped(sentence: str, indent: str = "") -> list[str]:
    return textwrap.wrap(printable(sentence), WIDTH, initial_indent=indent, subsequent_indent=indent)


def _source(source: str) -> list[str]:
    return [f"    {kept}" for kept in _kept(source.strip(), WIDTH - 4)] if source.strip() else []


def _headline(observation: Observation, verdict: Verdict) -> list[str]:
    found = _wrapped(f"{observation.name}: {verdict.headline}") + _wrapped(verdict.second)
    for finding in verdict.findings:
        found += _finding(finding)
    return found + _wrapped(verdict.advice)


def _finding(finding: Finding) -> list[str]:
    detail = f": {finding.detail}" if finding.detail else ""
    return [*_wrapped(f"{finding.place}: {finding.claim}{detail}"), *_source(finding.place.source)]


def _figures(observation: Observation, verdict: Verdict) -> list[str]:
    found = []
    for figure in key_figures(observation, verdict.growth):
        remark = f" ({figure.remark})" if figure.remark else ""
        found.append(shortened(printable(f"{figure.label}: {figure.value}{remark}"), WIDTH))
    return found


def _usage(observation: Observation) -> list[str]:
    if not observation.samples:
        return []
    found = [_usage_line("before update", observation.baseline)]
    found += [_usage_line(label, mark.resident) for label, mark in _chosen_marks(observation)]
    found.append(_usage_line("at the peak", observation.peak.resident))
    found.append(_usage_line("at the end", observation.samples[-1].resident))
    return found


def _usage_line(label: str, resident: int) -> str:
    return f"Memory usage [{shortened(printable(label), 80)}]: {resident / GB:.2f} GB"


def _chosen_marks(observation: Observation) -> list[tuple[str, Mark]]:
    """Some checkpoints; pages where there were few checkpoints."""
    checkpoints, pages = ([mark for mark in observation.marks if mark.kind == kind] for kind in ("checkpoint", "page"))
    marks = checkpoints if len(checkpoints) >= min(_MOST_MARKS, len(pages)) else pages
    return spread([(mark.label, mark) for mark in marks], _MOST_MARKS)


def _holdings(observation: Observation) -> list[str]:
    if not observation.samples:
        return []
    if not observation.snapshots:
        return ["Allocations were not traced, so which lines hold the memory is not known."]
    found = ["--- Top 10 memory consumers [at the peak] ---"]
    for line in lines(observation):
        size, average = traced_text(line.peak), traced_text(line.average)
        found.append(f"{printable(line.place)}: size={size}, count={line.count}, average={average}")
        found += _source(line.place.source)
    peak = fullest(observation.snapshots)
    rows = plural(peak.rows, "row")
    found += _wrapped(f"Python held {size_text(peak.traced)} after {rows}, in a second run, which is slower.")
    ending = observation.allocations_ending
    if ending and ending.kind != "finished":
        found += _wrapped(f"The second run did not finish: {ending.sentence}")
    return found


def _growth(observation: Observation) -> list[str]:
    grown = grown_lines(observation)
    found = [f"--- {grown_title(observation)} ---"] if grown else []
    for one in grown:
        found += [f"{printable(one.place)}: {growth_text(one.size)}", *_source(one.place.source)]
    return found


def _time(observation: Observation) -> list[str]:
    split = time_split(observation)
    total = sum(split.values())
    if not total:
        return []
    found = ["--- Where the time goes ---"]
    for name, seconds in split.items():
        found.append(f"{name:<10} {seconds_text(seconds):>14} {share_text(seconds / total):>7}")
    return found


def _ending(observation: Observation) -> list[str]:
    ending = observation.ending
    found = _wrapped(f"Ended: {ending_sentence(observation)}")
    if ending.is_bad:
        found += [kept for line in ending.trace for kept in _kept(line)]
    for note in observation.notes:
        found += _wrapped(f"Note: {note}")
    return found


def _kept(line: str, width: int = WIDTH) -> list[str]:
    """A line of code or of a traceback with its spaces, cut at the width."""
    parts = printable(line.rstrip("\n")).split("\n")
    return [part if len(part) <= width else f"{part[: width - 1]}…" for part in parts]
