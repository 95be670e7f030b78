"""Pictures of memory over time: well formed, with round axes and units, and readable whatever the run was like."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from profiling.charts import MOST_TICKS, chart_notes, memory_chart, memory_ticks, outline, pair_chart, time_ticks
from profiling.observation import Mark, Observation, Sample
from profiling.units import GB, MB
from tests.profiling import observations
from tests.profiling.observations import HOSTILE, RUNS

SVG = "{http://www.w3.org/2000/svg}"
MEASURED = [name for name in RUNS if name != "failed"]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [(element.text or "") for element in parsed(svg).iter(f"{SVG}text")]


def ticks(svg: str, kind: str) -> int:
    found = [path for path in parsed(svg).iter(f"{SVG}path") if path.get("class") == f"{kind}-ticks"]
    return sum((path.get("d") or "").count("M") for path in found)


class TestThePictureIsWellFormed:
    @pytest.mark.parametrize("name", MEASURED)
    def test_of_every_kind_of_run(self, name: str) -> None:
        assert parsed(memory_chart(RUNS[name][0]())).tag == f"{SVG}svg"

    def test_with_tables_whose_names_are_markup(self) -> None:
        svg = memory_chart(observations.hostile())
        assert HOSTILE.split("\x1b")[0] in "".join(parsed(svg).itertext())
        assert "<img" not in svg

    def test_nothing_lies_outside_of_it(self) -> None:
        root = parsed(memory_chart(observations.at_the_limit()))
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        for text in root.iter(f"{SVG}text"):
            assert 0 <= float(text.get("x", "0")) <= width
            assert 0 < float(text.attrib["y"]) <= height


class TestAxesHaveRoundValuesAndUnits:
    @pytest.mark.parametrize(
        ("top", "first", "last"),
        [
            (16 * MB, "0 MB", "15 MB"),
            (98 * MB, "0 MB", "80 MB"),
            (1100 * MB, "0 MB", "1000 MB"),
            (1.6 * GB, "0 GB", "1.5 GB"),
            (11 * GB, "0 GB", "10 GB"),
        ],
    )
    def test_of_memory(self, top: float, first: str, last: str) -> None:
        labels = [label for _, label in memory_ticks(top)]
        assert labels[0] == first
        assert labels[-1] == last
        assert 3 <= len(labels) <= 6

    @pytest.mark.parametrize(
        ("seconds", "last"), [(0.4, "0.4 s"), (7.0, "7 s"), (48.0, "40 s"), (600.0, "10 min"), (15000.0, "4 h")]
    )
    def test_of_time(self, seconds: float, last: str) -> None:
        found = time_ticks(seconds)
        assert found[-1][1] == last
        assert all(value <= seconds * 1.001 for value, _ in found)
        assert 3 <= len(found) <= 9

    def test_memory_begins_at_zero_so_that_flat_looks_flat(self) -> None:
        svg = memory_chart(observations.flat())
        assert "0 MB" in texts(svg)
        heights = [
            float(y)
            for path in parsed(svg).iter(f"{SVG}path")
            if path.get("class") == "memory-line"
            for y in re.findall(r",([\d.]+)", path.attrib["d"])
        ]
        assert max(heights) - min(heights) < 30


class TestWhatMattersIsLabelled:
    def test_the_peak(self) -> None:
        assert "peak 683 MB at 14 s" in texts(memory_chart(observations.collecting()))

    def test_what_it_had_before(self) -> None:
        assert "before update(): 73 MB" in texts(memory_chart(observations.flat()))

    def test_where_it_was_stopped(self) -> None:
        assert "stopped at the limit" in texts(memory_chart(observations.at_the_limit()))
        assert "it raised here" in texts(memory_chart(observations.raised()))
        assert not any("here" in text for text in texts(memory_chart(observations.flat())))

    def test_tables_where_their_names_fit(self) -> None:
        labels = texts(memory_chart(observations.flat()))
        assert "customers" in labels
        assert "orders" in labels
        assert any(label.startswith("order_lines") and label.endswith("…") for label in labels)

    def test_the_rows_with_an_axis_of_their_own(self) -> None:
        assert {"rows sent", "500 k", "1 M"} <= set(texts(memory_chart(observations.rows_growing())))
        assert "rows sent" not in texts(memory_chart(observations.at_the_limit()))


class TestTheLimitIsDrawnWithinReach:
    def test_above_a_third_of_it(self) -> None:
        assert "limit 1 GB" in texts(memory_chart(observations.rows_growing()))

    def test_else_it_is_told(self) -> None:
        run = observations.flat()
        assert "limit 1 GB" not in texts(memory_chart(run))
        assert "The limit of 1 GB is not drawn: the peak is 8 % of it." in chart_notes(run)

    def test_without_a_limit_there_is_none(self) -> None:
        run = replace(observations.rows_growing(), limit=0)
        assert not any("limit" in text for text in [*texts(memory_chart(run)), *chart_notes(run)])


class TestManyMarksAreThinnedOut:
    def test_at_most_two_hundred_ticks_of_each_kind(self) -> None:
        run = observations.flat()
        svg = memory_chart(run)
        assert ticks(svg, "page") == ticks(svg, "checkpoint") == MOST_TICKS
        assert {"240", "2,400"} <= set(texts(svg))
        assert "200 of 2,400 pages are drawn." in chart_notes(run)

    def test_few_are_all_drawn(self) -> None:
        run = observations.rows_growing()
        assert ticks(memory_chart(run), "checkpoint") == 24
        assert not any("drawn" in note for note in chart_notes(run))

    def test_so_are_tables(self) -> None:
        run = observations.flat()
        tables = [Mark(number / 10, "table", f"table {number}", 0, 80 * MB) for number in range(400)]
        run = replace(run, marks=tables)
        assert not any("table" in text for text in texts(memory_chart(run)))
        assert "The 400 tables are too many to be shown." in chart_notes(run)


class TestALongRunStaysSmall:
    def long(self) -> Observation:
        looks = observations.samples(7200, lambda share: 80 + share)
        looks[70_001] = replace(looks[70_001], resident=900 * MB)
        return observations.example(looks)

    def test_two_hours_are_less_than_100_kilobytes(self) -> None:
        assert len(memory_chart(self.long())) < 100_000

    def test_no_peak_is_lost(self) -> None:
        run = self.long()
        assert run.peak in outline(run.samples)
        assert "peak 900 MB at 58 min 20 s" in texts(memory_chart(run))

    def test_the_pointer_finds_what_is_drawn(self) -> None:
        run = observations.flat()
        points = json.loads(parsed(memory_chart(run)).attrib["data-points"])
        assert max(memory for _, memory, _ in points) == pytest.approx(run.peak.resident / MB, abs=0.1)
        assert points[-1][2] == 1_200_000


class TestAlmostNothingIsNoError:
    def test_no_samples(self) -> None:
        run = observations.failed()
        assert memory_chart(run).startswith("<p")
        assert chart_notes(run) == []

    def test_one_sample(self) -> None:
        assert "too soon" in memory_chart(observations.example([Sample(0.01, 80 * MB, 0.1, 0, 0)]))

    def test_two_samples_at_once(self) -> None:
        looks = [Sample(0.0, 80 * MB, 0.1, 0, 0), Sample(0.0, 80 * MB, 0.1, 0, 0)]
        assert parsed(memory_chart(observations.example(looks))).tag == f"{SVG}svg"

    def test_more_processes_are_told(self) -> None:
        looks = [replace(look, processes=3) for look in observations.flat().samples]
        assert "up to 3" in chart_notes(observations.example(looks))[0]


class TestAPairStandsByItself:
    def test_both_are_named_with_their_peaks(self) -> None:
        svg = pair_chart(observations.collecting(), observations.flat(), "Everything collected")
        assert {"Everything collected", "BAD: 683 MB at most", "GOOD: 82 MB at most"} <= set(texts(svg))

    def test_one_that_was_stopped_is_said_to_be(self) -> None:
        svg = pair_chart(observations.at_the_limit(), observations.flat(), "A whole file")
        assert "BAD: 1 GB at most, stopped at the limit" in texts(svg)

    def test_it_has_its_own_background_and_colours(self) -> None:
        root = parsed(pair_chart(observations.collecting(), observations.flat(), HOSTILE))
        assert root.find(f"{SVG}rect") is not None
        style = root.find(f"{SVG}style")
        assert style is not None
        assert "var(" not in (style.text or "")

    def test_labels_do_not_cover_each_other(self) -> None:
        root = parsed(pair_chart(observations.flat(), observations.flat(), "alike"))
        labels = [text for text in root.iter(f"{SVG}text") if "halo" in text.get("class", "")]
        first, second = (float(label.attrib["y"]) for label in labels)
        assert abs(first - second) >= 18

    def test_one_that_never_began_leaves_the_other(self) -> None:
        svg = pair_chart(observations.failed(), observations.flat(), "broken")
        assert "GOOD: 82 MB at most" in texts(svg)

    def test_it_is_a_file_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.svg"
        path.write_text(pair_chart(observations.collecting(), observations.flat(), "a picture"), encoding="utf-8")
        assert ElementTree.parse(path).getroot().tag == f"{SVG}svg"
        assert path.stat().st_size < 60_000
