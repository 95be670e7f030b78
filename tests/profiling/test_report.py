"""The report: its first screen says what is wrong and which line does it, and it harms nobody who opens it."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from profiling import findings, report, terminal
from profiling.findings import fullest, judge, lines, spread
from profiling.growth import Growth
from profiling.observation import Ending, Grown, Observation, Place, Sample
from profiling.units import GB, MB, escaped, growth_text, printable, seconds_text, size_text, traced_text
from tests.profiling import observations
from tests.profiling.observations import APPEND, CACHE, COLLECTS, FLAT, HOSTILE, PARSE, READ, ROWS, RUNS, SHORT, WIDTH

Judging = Callable[[Growth], None]
_VOID = {"meta", "br", "img", "link", "input"}


class _Page(HTMLParser):
    """The page's elements and its text; fails where one is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data


def parsed(html: str) -> _Page:
    page = _Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judging:
    """Makes the judge of growth say what the test says."""
    return lambda growth: monkeypatch.setattr(findings, "growth_of", lambda _: growth)


@pytest.fixture
def html_of(judged: Judging, tmp_path: Path) -> Callable[[Observation, Growth], str]:
    def write(observation: Observation, growth: Growth) -> str:
        judged(growth)
        report.write(observation, tmp_path / "report.html")
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    return write


Html = Callable[[Observation, Growth], str]


def header(html: str) -> str:
    found = re.search(r"<header.*?</header>", html, re.DOTALL)
    assert found
    return found[0]


class TestTheFirstScreenSaysWhatIsWrongAndWhichLineDoesIt:
    def test_a_flat_connector_is_calm_and_blames_nobody(self, html_of: Html) -> None:
        top = header(html_of(observations.flat(), FLAT))
        assert '<header class="good">' in top
        assert "<h1>Memory stays flat: 82 MB at most, 9 MB above the start</h1>" in top
        assert 'class="finding"' not in top

    def test_a_growing_one_names_the_line_that_made_most(self, html_of: Html) -> None:
        top = parsed(header(html_of(observations.rows_growing(), ROWS))).text
        assert "Memory grows with the rows: +38 MB per 100,000" in top
        assert "reading.py:57 — made most of what is held at the peak: 410 MB in 4,800,000 objects of 90 bytes" in top
        assert "return json.loads(line)" in top

    def test_a_collecting_one_names_the_line_that_collects(self, html_of: Html) -> None:
        html = html_of(observations.collecting(), COLLECTS)
        assert '<header class="bad">' in html
        assert f"{APPEND}" in header(html)
        assert escaped(APPEND.source) in header(html)

    def test_one_at_its_limit_says_so_first_and_then_why(self, html_of: Html) -> None:
        top = header(html_of(observations.at_the_limit(), replace(COLLECTS, total=951 * MB)))
        assert "<h1>It reached 1,024 MB after 7.0 s, with no row sent</h1>" in top
        assert "It collects before it sends" in top

    def test_one_that_raised_names_the_line_that_raised(self, html_of: Html) -> None:
        top = parsed(header(html_of(observations.raised(), FLAT))).text
        assert "update() raised KeyError: 'items'" in top
        assert "connector.py:22 — this line raised" in top
        assert "page = answer['items']" in top

    def test_key_figures_have_units(self, html_of: Html) -> None:
        text = parsed(html_of(observations.rows_growing(), ROWS)).text
        for figure in ("1,200,000of orders", "60 s", "20 k", "530 MB52 % of the limit of 1 GB", "+38 MB+456 MB above"):
            assert figure in text

    def test_the_title_can_be_found_among_many(self, html_of: Html) -> None:
        assert "<title>orders: Memory stays flat" in html_of(observations.flat(), FLAT)


class TestTheLineToBlame:
    def places(self, observation: Observation) -> list[str]:
        return [str(finding.place) for finding in judge(observation).findings]

    def test_is_the_one_whose_objects_came_during_the_sync(self, judged: Judging) -> None:
        judged(ROWS)
        imported = observations.holding(CACHE, 600.0, 9_000_000)
        run = observations.rows_growing()
        with_imports = [
            replace(snapshot, traced=snapshot.traced + imported.size, holdings=(*snapshot.holdings, imported))
            for snapshot in run.snapshots
        ]
        assert self.places(replace(run, snapshots=with_imports))[0] == str(PARSE)

    def test_is_not_alone_where_the_next_made_nearly_as_much(self, judged: Judging) -> None:
        judged(ROWS)
        run = observations.rows_growing()
        held = (observations.holding(PARSE, 240.0, 9), observations.holding(CACHE, 190.0, 9))
        snapshots = (run.snapshots[0], observations.snapshot("at the peak", 60.0, 1_200_000, *held))
        assert self.places(replace(run, snapshots=snapshots)) == [str(PARSE), str(CACHE)]

    def test_is_the_one_that_ran_where_a_library_holds_the_memory(self, judged: Judging) -> None:
        judged(replace(COLLECTS, total=951 * MB))
        finding = judge(replace(observations.at_the_limit(), grown_is_exact=True)).findings[0]
        assert finding.place == READ
        assert finding.claim == "memory grew most while this line ran"
        assert finding.detail.endswith("in a run that stopped at every line")

    def test_is_near_where_no_run_stopped_at_every_line(self, judged: Judging) -> None:
        judged(COLLECTS)
        run = replace(observations.collecting(), snapshots=(), allocations_ending=None)
        finding = judge(run).findings[0]
        assert (finding.place, finding.claim, finding.detail) == (
            APPEND,
            "memory grew most near this line",
            "by 600 MB",
        )

    def test_a_second_run_that_was_cut_short_still_counts(self, judged: Judging) -> None:
        judged(ROWS)
        run = observations.rows_growing()
        peak = observations.snapshot("at the peak", 60.0, 240_000, observations.holding(PARSE, 82.0, 960_000))
        stopped = Ending("stopped", "it was stopped after 60 s, the time for a profile")
        finding = judge(replace(run, snapshots=(run.snapshots[0], peak), allocations_ending=stopped)).findings[0]
        assert finding.place == PARSE
        assert finding.claim.endswith("after 240,000 of 1,200,000 rows, as far as a slower run came")

    def test_is_never_one_that_sends(self, judged: Judging) -> None:
        judged(ROWS)
        sends = Place("connector.py", 49, 'op.upsert("orders", row)')
        run = observations.rows_growing()
        held = (observations.holding(sends, 90.0, 9), observations.holding(PARSE, 60.0, 9))
        peak = observations.snapshot("at the peak", 60.0, 240_000, *held)
        assert judge(replace(run, snapshots=(run.snapshots[0], peak))).findings[0].place == PARSE
        grown = (Grown(sends, 300 * MB), Grown(APPEND, 100 * MB))
        assert judge(replace(run, snapshots=(), grown=grown)).findings[0].place == APPEND

    @pytest.mark.parametrize(
        ("end", "words"), [(90.0, "still held after update()"), (1.0, "let go when update() ended"), (50.0, "of all")]
    )
    def test_says_who_keeps_it_as_far_as_it_can_be_seen(self, judged: Judging, end: float, words: str) -> None:
        judged(ROWS)
        sizes = {"the first rows are sent": 1.0, "9 rows are sent": 95.0, "after update()": end}
        snapshots = [
            observations.snapshot(label, number, 240_000, observations.holding(PARSE, size, 10))
            for number, (label, size) in enumerate(sizes.items())
        ]
        finding = judge(replace(observations.rows_growing(), snapshots=snapshots)).findings[0]
        assert words in finding.detail

    def test_comes_with_what_to_do(self, judged: Judging) -> None:
        judged(ROWS)
        assert "find the list, dict, cache or queue" in judge(observations.rows_growing()).advice

    def test_is_nobody_where_nothing_is_known(self, judged: Judging) -> None:
        judged(ROWS)
        assert self.places(replace(observations.rows_growing(), snapshots=(), grown=())) == []

    def test_is_not_named_twice(self, judged: Judging) -> None:
        judged(COLLECTS)
        run = replace(observations.collecting(), ending=Ending("limit", "it reached 1,024 MB", APPEND))
        assert self.places(run) == [str(APPEND)]


class TestSeriousness:
    @pytest.mark.parametrize(
        ("growth", "severity"), [(FLAT, "good"), (ROWS, "bad"), (COLLECTS, "bad"), (WIDTH, "watch"), (SHORT, "unknown")]
    )
    def test_follows_how_memory_grows(self, judged: Judging, growth: Growth, severity: str) -> None:
        judged(growth)
        assert judge(observations.flat()).severity == severity

    @pytest.mark.parametrize("kind", ["raised", "exited", "limit", "killed", "hung", "failed"])
    def test_one_that_did_not_finish_is_bad_however_flat(self, judged: Judging, kind: str) -> None:
        judged(FLAT)
        ended = Ending(kind, "it ended")  # type: ignore[arg-type]
        verdict = judge(replace(observations.flat(), ending=ended))
        assert (verdict.severity, verdict.headline) == ("bad", "It ended")

    def test_the_end_of_the_time_for_a_profile_is_no_fault(self, judged: Judging) -> None:
        judged(FLAT)
        verdict = judge(replace(observations.flat(), ending=Ending("stopped", "it was stopped after 600 s")))
        assert verdict.severity == "good"
        assert verdict.headline.startswith("Memory stays flat")
        assert verdict.second == "It was stopped after 600 s"


class TestTheLinesThatHoldMemory:
    def test_are_told_at_the_start_at_the_peak_and_at_the_end(self) -> None:
        line = lines(observations.flat())[0]
        assert (line.place, line.start, line.peak, line.end) == (PARSE, int(0.1 * MB), int(3.1 * MB), 0)
        assert line.grew == line.peak - line.start
        assert (line.count, line.average) == (9_000, line.peak / 9_000)

    def test_the_peak_is_the_fullest_snapshot_whatever_it_is_called(self) -> None:
        sizes = {"the peak, it says": 2.0, "the fullest": 9.0, "after update()": 5.0}
        snapshots = [
            observations.snapshot(label, number, 5, observations.holding(PARSE, size, 10))
            for number, (label, size) in enumerate(sizes.items())
        ]
        assert fullest(snapshots).label == "the fullest"
        assert lines(replace(observations.flat(), snapshots=snapshots))[0].peak == 9 * MB

    def test_one_line_through_two_libraries_is_one_line(self) -> None:
        held = (observations.holding(PARSE, 2.0, 10, "a.py:1"), observations.holding(PARSE, 3.0, 20, "b.py:2"))
        found = lines(replace(observations.flat(), snapshots=(observations.snapshot("at the peak", 1.0, 5, *held),)))
        assert [(line.peak, line.count, line.via) for line in found] == [(5 * MB, 30, "b.py:2")]

    def test_ten_at_most_and_none_of_next_to_nothing(self) -> None:
        held = [observations.holding(replace(PARSE, line=number), 5.0, 1) for number in range(14)]
        tiny = observations.holding(CACHE, 0.001, 1)
        few = replace(observations.flat(), snapshots=(observations.snapshot("at the peak", 1.0, 5, held[0], tiny),))
        many = replace(observations.flat(), snapshots=(observations.snapshot("at the peak", 1.0, 5, *held),))
        assert [line.place.line for line in lines(few)] == [0]
        assert len(lines(many)) == 10

    def test_the_table_says_what_its_columns_mean(self, html_of: Html) -> None:
        text = parsed(html_of(observations.collecting(), COLLECTS)).text
        for words in ("Size is what", "Count is how many", "Average is the size of one", "in a second run"):
            assert words in text
        assert "through json/decoder.py:353" in text

    def test_a_second_run_that_ended_early_is_told(self, html_of: Html) -> None:
        text = parsed(html_of(observations.at_the_limit(), COLLECTS)).text
        assert "It ended so: it reached 1,536 MB after 9.1 s, with no row sent." in text


class TestWhereTheTimeGoes:
    def test_kinds_with_seconds_and_percent(self, html_of: Html) -> None:
        text = parsed(html_of(observations.rows_growing(), ROWS)).text
        for words in ("fetching", "decoding", "own code", "op.*", "waiting", "85 % of one processor", "not memory"):
            assert words in text

    def test_without_stacks_the_reason_is_told(self, html_of: Html) -> None:
        text = parsed(html_of(observations.without_stacks(), ROWS)).text
        assert "it is not known where the time went: no flamegraph, as py-spy may not look at the process" in text


class TestARunThatCouldNotBeMeasured:
    @pytest.mark.parametrize("name", RUNS)
    def test_every_kind_of_run_has_a_report(self, name: str, html_of: Html) -> None:
        make, growth = RUNS[name]
        html = html_of(make(), growth)
        parsed(html)
        assert len(html.encode()) < 300_000

    def test_before_update_there_is_the_reason_and_no_empty_sections(self, html_of: Html) -> None:
        text = parsed(html_of(observations.failed(), SHORT)).text
        assert "connector.py could not be imported: No module named 'pandas'" in text
        assert "Nothing was measured, as update() was not called" in text
        assert "ModuleNotFoundError" in text
        assert "Memory over time" not in text

    def test_a_run_of_no_time_has_no_speed(self, html_of: Html) -> None:
        run = observations.example([Sample(0.03, 80 * MB, 500.0, 5, 700)])
        text = parsed(html_of(run, SHORT)).text
        assert "30 ms" in text
        assert "per second" not in text
        assert "of one processor" not in text

    def test_no_rows(self, html_of: Html) -> None:
        run = observations.example(observations.samples(3, lambda _: 80))
        text = parsed(html_of(run, SHORT)).text
        assert "none yet when it ended" in text
        assert "rows per second" not in text

    def test_no_second_run(self, html_of: Html) -> None:
        run = replace(observations.rows_growing(), snapshots=(), allocations_ending=None, grown=(), stacks=())
        assert "Allocations were not traced in this run" in parsed(html_of(run, ROWS)).text

    def test_a_second_run_that_saw_nothing(self, html_of: Html) -> None:
        ending = Ending("raised", "update() raised MemoryError")
        run = replace(observations.rows_growing(), snapshots=(), allocations_ending=ending)
        assert "saw nothing: update() raised MemoryError" in parsed(html_of(run, ROWS)).text

    def test_an_ending_without_words(self, html_of: Html) -> None:
        run = replace(observations.flat(), ending=Ending("finished", ""))
        assert "update() returned" in parsed(html_of(run, FLAT)).text
        assert terminal.text(run).endswith("Ended: update() returned")


class TestTheRun:
    def test_settings_machine_and_state(self, html_of: Html) -> None:
        text = parsed(html_of(replace(observations.flat(), state_given=True), FLAT)).text
        for words in ("https://orders.example.com", "2 cores, 8 GB", "a state was given", "orders 680,000"):
            assert words in text

    def test_the_log_is_folded_unless_it_went_wrong(self, html_of: Html) -> None:
        assert "<details><summary>The last lines of its log" in html_of(observations.flat(), FLAT)
        assert "<details open><summary>The last lines of its log" in html_of(observations.raised(), FLAT)

    def test_the_traceback_keeps_its_lines(self, html_of: Html) -> None:
        text = parsed(html_of(observations.raised(), FLAT)).text
        assert "    page = answer['items']\nKeyError: 'items'" in text

    def test_files_beside_it_are_linked_from_where_it_is(self, html_of: Html, tmp_path: Path) -> None:
        run = replace(observations.flat(), files={"memray flamegraph": tmp_path / "my memray#1.html"})
        links = [attributes["href"] for tag, attributes in parsed(html_of(run, FLAT)).tags if tag == "a"]
        assert links == ["my%20memray%231.html"]


class TestItHarmsNobody:
    def test_markup_from_outside_is_text_everywhere(self, html_of: Html) -> None:
        html = html_of(observations.hostile(), replace(ROWS, sentence=HOSTILE))
        page = parsed(html)
        assert "<img" not in html
        assert "\x1b" not in html
        assert "\x00" not in html
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        assert page.text.count("</script><img src=x onerror=alert(1)>\"'&") >= 15

    def test_only_its_own_script_may_run_and_nothing_may_be_loaded(self, html_of: Html) -> None:
        page = parsed(html_of(observations.flat(), FLAT))
        policies = [attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes]
        assert len(policies) == 1
        assert policies[0].startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")

    @pytest.mark.parametrize("name", RUNS)
    def test_it_opens_without_a_network(self, name: str, html_of: Html) -> None:
        make, growth = RUNS[name]
        html = html_of(make(), growth)
        for tag, attributes in parsed(html).tags:
            assert tag not in ("link", "img", "iframe", "object", "embed")
            assert "src" not in attributes
            assert not attributes.get("href", "").startswith("http")
        assert not re.search(r"url\(|@import|fetch\(|XMLHttp", html)

    def test_half_a_surrogate_pair_can_be_written(self, html_of: Html) -> None:
        run = replace(observations.flat(), log=("broken \ud83d",))
        assert "broken �" in html_of(run, FLAT)


class TestTheTerminal:
    def text(self, judged: Judging, name: str) -> str:
        make, growth = RUNS[name]
        judged(growth)
        return terminal.text(make())

    def test_begins_with_the_headline_and_the_line(self, judged: Judging) -> None:
        first, second, source = self.text(judged, "collecting").splitlines()[:3]
        assert first.startswith("orders: It collects before it sends: +610 MB")
        assert second.startswith("connector.py:24: made most of what is held at the peak: 540 MB in 7,200,000 objects")
        assert source == f"    {APPEND.source}"

    def test_memory_usage_as_people_know_it(self, judged: Judging) -> None:
        text = self.text(judged, "rows_growing")
        usage = re.findall(r"^Memory usage \[(.+)\]: (\d+\.\d\d) GB$", text, re.MULTILINE)
        labels = [label for label, _ in usage]
        assert labels[0] == "before update"
        assert labels[1:9] == [f"checkpoint {number}" for number in (1, 4, 7, 10, 14, 17, 20, 24)]
        assert labels[9:] == ["at the peak", "at the end"]
        assert usage[0][1] == "0.07"
        assert usage[-1][1] == "0.52"

    def test_pages_where_there_are_no_checkpoints(self, judged: Judging) -> None:
        judged(FLAT)
        run = observations.flat()
        run = replace(run, marks=[mark for mark in run.marks if mark.kind == "page"])
        assert "Memory usage [page 343, orders]: 0.08 GB" in terminal.text(run)

    def test_top_memory_consumers_as_people_know_them(self, judged: Judging) -> None:
        text = self.text(judged, "collecting")
        assert (
            "--- Top 10 memory consumers [at the peak] ---\n"
            "connector.py:24: size=540.0 MiB, count=7200000, average=79 B\n"
            "    orders.extend(response.json()['orders'])\n"
        ) in text

    def test_growth_time_and_ending_follow(self, judged: Judging) -> None:
        text = self.text(judged, "at_the_limit")
        assert "connector.py:19: +948 MB" in text
        assert re.search(r"^decoding +[\d.]+ s +\d+ %$", text, re.MULTILINE)
        assert text.index("Where the time goes") < text.index("Ended: it reached 1,024 MB")

    @pytest.mark.parametrize("name", RUNS)
    def test_every_run_fits_into_120_columns(self, judged: Judging, name: str) -> None:
        text = self.text(judged, name)
        assert max(map(len, text.splitlines())) <= 120
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)

    def test_the_traceback_of_one_that_raised(self, judged: Judging) -> None:
        assert "    page = answer['items']\nKeyError: 'items'" in self.text(judged, "raised")

    def test_one_that_never_began_says_why_and_no_more(self, judged: Judging) -> None:
        text = self.text(judged, "failed")
        assert text.startswith("orders: connector.py could not be imported: No module named 'pandas'")
        assert "Memory usage" not in text


class TestUnits:
    def test_sizes(self) -> None:
        sizes = [0, 12, 4608, 1.24 * MB, 82.4 * MB, 999.4 * MB, 1024 * MB, 1.024 * GB, 12.34 * GB]
        texts = ["0 bytes", "12 bytes", "4.5 KB", "1.2 MB", "82 MB", "999 MB", "1 GB", "1.02 GB", "12.3 GB"]
        assert [size_text(size) for size in sizes] == texts

    def test_growth_has_a_sign(self) -> None:
        assert [growth_text(size) for size in (38 * MB, 0, -2 * MB)] == ["+38 MB", "0 bytes", "−2.0 MB"]

    def test_traced_sizes_are_as_in_tracemalloc(self) -> None:
        sizes = [96, 1536, 3.5 * MB, 10 * GB, 1 * GB]
        assert [traced_text(size) for size in sizes] == ["96 B", "1.5 KiB", "3.5 MiB", "10.0 GiB", "1.0 GiB"]

    def test_times(self) -> None:
        times = [0, 0.029, 0.4, 9.94, 48, 120, 200, 7500]
        texts = ["0.0 s", "29 ms", "0.4 s", "9.9 s", "48 s", "2 min", "3 min 20 s", "2 h 5 min"]
        assert [seconds_text(seconds) for seconds in times] == texts

    def test_control_characters_become_visible(self) -> None:
        assert printable("a\x1b[31mb\tc\r") == "a�[31mb    c�"

    def test_evenly_chosen_with_the_first_and_the_last(self) -> None:
        chosen = spread(range(1000), 8)
        assert (chosen[0], chosen[-1], len(chosen)) == (0, 999, 8)
        assert spread([1, 2], 8) == [1, 2]
