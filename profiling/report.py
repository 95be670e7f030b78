"""One observation as one page: HTML that opens without a network, asks for nothing and can be sent to others.

All that comes from outside, be it a line of code, a setting or a sentence, goes through `escaped`. Should one be
forgotten, the page's own policy keeps the browser from running or loading it.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from profiling.charts import chart_notes, memory_chart
from profiling.findings import (
    AT_THE_END,
    Figure,
    Finding,
    Line,
    Verdict,
    ending_sentence,
    fullest,
    grown_lines,
    grown_title,
    grown_words,
    judge,
    key_figures,
    lines,
    processor_share,
)
from profiling.flamegraph import CLASSES, flamegraph
from profiling.observation import Observation, Place
from profiling.stacks import time_split, update_stacks
from profiling.units import escaped, growth_text, plural, seconds_text, share_text, size_text

TIME_WORDS = {
    "fetching": "reading from the source: network, database driver, files",
    "decoding": "making values of bytes: JSON, CSV, dates, compression",
    "own code": "the connector's own lines",
    "op.*": "sending rows and checkpoints, up to the SDK's own engine, which is not part of the profile",
    "waiting": "no processor was used: the source was waited for, a lock or a pause, or other programs had it",
}
_HERE = Path(__file__).parent


def write(observation: Observation, path: Path) -> None:
    """Writes the report; a report that is there is replaced."""
    verdict = judge(observation)
    style = (_HERE / "report.css").read_text(encoding="utf-8")
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escaped(observation.name)}: {escaped(verdict.headline)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        _header(observation, verdict),
        _figures(key_figures(observation, verdict.growth)),
        *(_measured(observation) if observation.samples else ()),
        _section("The run", *_run(observation, path)),
        f"<script>{script}</script>",
        "</body>",
        "</html>",
        "",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _measured(observation: Observation) -> list[str]:
    return [
        _section("Memory over time", memory_chart(observation), _note(*chart_notes(observation))),
        _section("Which lines hold the memory", *_memory(observation)),
        _section("Where the time goes", *_time(observation)),
    ]


def _header(observation: Observation, verdict: Verdict) -> str:
    second = f'<p class="second">{escaped(verdict.second)}</p>' if verdict.second else ""
    findings = "".join(_finding(finding) for finding in verdict.findings)
    advice = f'<p class="second">{escaped(verdict.advice)}</p>' if verdict.advice else ""
    return (
        f'<header class="{verdict.severity}"><p class="name">Profile of <b>{escaped(observation.name)}</b></p>'
        f"<h1>{escaped(verdict.headline)}</h1>{second}{findings}{advice}</header>"
    )


def _finding(finding: Finding) -> str:
    detail = f": {escaped(finding.detail)}" if finding.detail else ""
    source = f"<pre><code>{escaped(finding.place.source)}</code></pre>" if finding.place.source else ""
    return (
        f'<div class="finding"><p><span class="where mono">{escaped(finding.place)}</span> — '
        f"{escaped(finding.claim)}{detail}</p>{source}</div>"
    )


def _figures(figures: Iterable[Figure]) -> str:
    tiles = "".join(
        f'<div><dt>{escaped(figure.label)}</dt><dd class="value">{escaped(figure.value)}</dd>'
        f'<dd class="remark">{escaped(figure.remark)}</dd></div>'
        for figure in figures
    )
    return f'<dl class="figures">{tiles}</dl>' if tiles else ""


def _section(title: str, *parts: str) -> str:
    return "\n".join([f"<section><h2>{title}</h2>", *(part for part in parts if part), "</section>"])


def _note(*sentences: str) -> str:
    return f'<p class="note">{escaped(" ".join(sentences))}</p>' if sentences else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already: a line of code first, numbers after it."""
    head = "".join(f'<th class="number">{heading}</th>' for heading in headings[1:])
    body = "".join(
        f'<tr><td class="line">{first}</td>' + "".join(f'<td class="number">{cell}</td>' for cell in others) + "</tr>"
        for first, *others in rows
    )
    return f'<div class="scroll"><table><tr><th>{headings[0]}</th>{head}</tr>{body}</table></div>'


def _line(place: Place, via: str = "") -> str:
    """A line of code for a table: where it is, what it says, and the library that it called."""
    source = f"<code>{escaped(place.source)}</code>" if place.source else ""
    through = f'<span class="via">through {escaped(via)}</span>' if via else ""
    return f'<span class="where mono">{escaped(place)}</span>{source}{through}'


def _memory(observation: Observation) -> list[str]:
    return [*_holdings(observation), *_grown(observation)]


def _holdings(observation: Observation) -> list[str]:
    if not observation.snapshots:
        ending = observation.allocations_ending
        why = f"The second run, which traces allocations, saw nothing: {ending.sentence}." if ending else ""
        return [_note(why or "Allocations were not traced in this run, so what holds the memory is not known.")]
    headings = ["line", "size at the start", "size at the peak", "count", "average", "size at the end", "grew by"]
    peak = fullest(observation.snapshots)
    found = lines(observation)
    has_ended = observation.snapshots[-1].label == AT_THE_END
    rows = [_holding(line, found[0], has_ended) for line in found]
    ending = observation.allocations_ending
    ended = f" It ended so: {ending.sentence}." if ending and ending.kind != "finished" else ""
    return [
        _table(headings, rows),
        _note(
            f"The lines with most of the {size_text(peak.traced)} that Python held at the peak, after"
            f" {plural(peak.rows, 'row')}, in a second run: it traces every allocation and is slower for it.{ended}"
        ),
        '<p class="note"><b>Size</b> is what objects made by this line, or by what it called, still take up at that'
        " moment. <b>Count</b> is how many objects these are: where it grows with the rows, rows are kept."
        " <b>Average</b> is the size of one: large ones are whole pages, files or documents. The start is when the"
        " first rows were sent; what is there at the end, after update(), something outside of it keeps: a cache, a"
        " global."
        "</p>",
    ]


def _holding(line: Line, largest: Line, has_ended: bool) -> list[str]:
    width = 100 * line.peak / largest.peak if largest.peak else 0
    return [
        _line(line.place, line.via),
        size_text(line.start),
        f'{size_text(line.peak)}<span class="share" style="width:{width:.1f}%"></span>',
        f"{line.count:,}",
        size_text(line.average),
        size_text(line.end) if has_ended else "–",
        growth_text(line.grew),
    ]


def _grown(observation: Observation) -> list[str]:
    grown = grown_lines(observation)
    if not grown:
        return []
    return [
        f"<h3>{grown_title(observation)}</h3>",
        _table(["line", "resident memory grew by"], [[_line(one.place), growth_text(one.size)] for one in grown]),
        _note(grown_words(observation)),
    ]


def _time(observation: Observation) -> list[str]:
    split = time_split(observation)
    graph = flamegraph(update_stacks(observation))
    if not split and not graph:
        why = "".join(f": {note}" for note in observation.notes)
        return [_note(f"No call stacks were seen, so it is not known where the time went{why}")]
    used = processor_share(observation)
    return [
        _split_bar(split),
        _note("Of the main thread.", f"All threads and processes together used {used}." if used else ""),
        "<h3>Flamegraph</h3>",
        graph,
        _note(
            "Processor time from update() on, not memory: the wider a frame, the longer it and what it called were on a"
            f" processor. Looked at {observation.rate} times a second; colours as above."
        ),
    ]


def _split_bar(split: dict[str, float]) -> str:
    total = sum(split.values())
    if not total:
        return ""
    kinds = {str(name): kind for name, kind in CLASSES.items()} | {"waiting": "waiting"}
    bar, legend = "", ""
    for name, seconds in split.items():
        share, words = seconds / total, f"{seconds_text(seconds)}, {share_text(seconds / total)}"
        if share > 0:
            label = escaped(name) if share > 0.09 else ""
            bar += (
                f'<span class="{kinds[name]}" style="flex:{share:.4f}" title="{escaped(name)}: {words}">{label}</span>'
            )
        legend += (
            f'<tr><td><span class="swatch {kinds[name]}"></span>{escaped(name)}</td>'
            f'<td class="number">{seconds_text(seconds)}</td><td class="number">{share_text(share)}</td>'
            f'<td class="words">{escaped(TIME_WORDS.get(name, ""))}</td></tr>'
        )
    return f'<div class="split">{bar}</div><table class="legend">{legend}</table>'


def _run(observation: Observation, path: Path) -> list[str]:
    ending = observation.ending
    facts = {
        "connector": str(observation.folder),
        "ended": ending_sentence(observation),
        "state": "a state was given" if observation.state_given else "none was given: it began from the beginning",
        "machine": observation.machine,
    }
    if observation.rows:
        facts["rows"] = ", ".join(f"{name} {rows:,}" for name, rows in observation.rows.items())
    parts = [_words(facts)]
    parts += [_note(note) for note in observation.notes]
    parts += [_file_link(name, file, path) for name, file in observation.files.items()]
    parts += _folded("Where it was when it ended", ending.trace, is_open=ending.is_bad)
    parts += _folded("The last lines of its log", observation.log, is_open=ending.is_bad)
    if observation.settings:
        parts += ["<h3>Settings</h3>", _words(observation.settings)]
    parts.append(_note("MB is 1024² bytes, GB is 1024³."))
    return parts


def _words(pairs: Mapping[str, str]) -> str:
    entries = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in pairs.items())
    return f'<dl class="words">{entries}</dl>'


def _file_link(name: str, file: Path, path: Path) -> str:
    relative = os.path.relpath(file, path.parent)
    return f'<p>Beside this report: <a href="{escaped(quote(relative))}">{escaped(name)}</a></p>'


def _folded(title: str, texts: Sequence[str], is_open: bool) -> list[str]:
    if not texts:
        return []
    body = "\n".join(escaped(text.rstrip("\n")) for text in texts)
    return [f'<details{" open" if is_open else ""}><summary>{title}</summary><pre class="log">{body}</pre></details>']
