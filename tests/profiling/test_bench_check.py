"""Ratios that got worse are named, and nothing else is."""

import json
import re
from pathlib import Path

import pytest

from profiling import bench, bench_check
from profiling.bench_check import Changes, DamagedFile, changes
from profiling.bench_report import Spread
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, Comparison, DataSet, Judgement, Run, Source, Variant, Work

NAME = "files CSV, ours"
STORED = {NAME: {"over floor": Spread(1.18, 1.16, 1.20), "speed": Spread(1.5, 1.4, 1.6), "growth": Spread(5, 4, 6)}}


def measured(over_floor: float = 1.18, speed: float = 1.5, growth: float = 5.0) -> Changes:
    figures = {"over floor": over_floor, "speed": speed, "growth": growth}
    return changes({NAME: {name: Spread(value, value, value) for name, value in figures.items()}}, STORED)


def nothing(_: Source) -> Work:
    return Work([], lambda: None)


class TestWhatGotWorse:
    def test_is_told_with_what_was_stored(self) -> None:
        found = measured(over_floor=1.62)
        sentence = "files CSV, ours: 1.62 times its floor, stored 1.18 (1.16 to 1.20)"
        assert list(found.worse.values()) == [sentence]
        assert str(found).splitlines() == [f"WORSE    {sentence}", "3 figures compared: 1 worse, 0 better"]

    def test_is_less_speed_and_more_memory_too(self) -> None:
        assert list(measured(speed=1.2, growth=10.5).worse.values()) == [
            "files CSV, ours: 1.20 times as fast as the documented pattern, stored 1.50 (1.40 to 1.60)",
            "files CSV, ours: 10.5 MB more memory, stored 5.00 (4.00 to 6.00)",
        ]

    def test_is_only_what_is_worse_twice(self) -> None:
        found = measured(over_floor=1.62, growth=20.0)
        found.confirmed(measured(over_floor=1.58, speed=1.0))
        assert list(found.worse.values()) == ["files CSV, ours: 1.58 times its floor, stored 1.18 (1.16 to 1.20)"]

    def test_names_the_connectors_to_look_at_again(self) -> None:
        assert measured(over_floor=1.62, growth=20.0).connectors() == ["files"]
        assert measured().connectors() == []


class TestWhatIsWithinTheTolerance:
    @pytest.mark.parametrize("over_floor", [1.37, 1.02])
    @pytest.mark.parametrize("speed", [1.83, 1.22])
    @pytest.mark.parametrize("growth", [7.9, 2.1])
    def test_is_neither_worse_nor_better(self, over_floor: float, speed: float, growth: float) -> None:
        found = measured(over_floor, speed, growth)
        assert (found.worse, found.better, found.compared) == ({}, [], 3)


class TestWhatGotBetter:
    def test_is_told_and_no_failure(self) -> None:
        found = measured(over_floor=1.0, speed=1.9)
        assert not found.worse
        assert found.better == [
            "files CSV, ours: 1.00 times its floor, stored 1.18 (1.16 to 1.20)",
            "files CSV, ours: 1.90 times as fast as the documented pattern, stored 1.50 (1.40 to 1.60)",
        ]


class TestWhatIsInOneOfTheTwoOnly:
    def test_is_told_and_no_failure(self) -> None:
        found = changes({"files XML, ours": {"over floor": Spread(2, 2, 2)}}, {NAME: {"growth": Spread(5, 4, 6)}})
        assert (found.worse, found.better, found.compared) == ({}, [], 0)
        assert found.in_one_only == [
            "files XML, ours: 2.00 times its floor, not stored",
            "files CSV, ours: 5.0 MB more memory is stored, not measured",
        ]


class TestRatios:
    def test_are_those_of_syncs(self) -> None:
        variants = (
            Variant(OURS, nothing, "sync"),
            Variant(FLOOR, nothing, "floor"),
            Variant(DOCUMENTED, nothing, "pattern"),
        )
        runs = {OURS: [Run(1, 1.5, 5.0)], FLOOR: [Run(1, 1.0, 0.0)], DOCUMENTED: [Run(1, 3.0, 9.0)]}
        comparison = Comparison(DataSet("files CSV", "", Source({}, 1), Source({}, 1), 64, variants), {}, runs)
        scenario = Judgement("one answer", "grows by at most 64 MB", "70 MB", met=False)
        assert bench_check.ratios_of([comparison, scenario]) == {
            NAME: {"over floor": Spread(1.5, 1.5, 1.5), "speed": Spread(2, 2, 2), "growth": Spread(5, 5, 5)}
        }


class TestTheStoredFile:
    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        path = tmp_path / "ratios.json"
        bench_check.store(path, "2 cores", STORED)
        assert bench_check.load(path) == STORED
        assert json.loads(path.read_text())["machine"] == "2 cores"

    @pytest.mark.parametrize("content", ["{", "[]", '{"ratios": []}', '{"ratios": {"files CSV, ours": {"growth": 3}}}'])
    def test_that_is_damaged_is_told_in_one_sentence(self, tmp_path: Path, content: str) -> None:
        path = tmp_path / "ratios.json"
        path.write_text(content)
        with pytest.raises(
            DamagedFile, match=r"^ratios.json is damaged \(.+\): take .+, or write it .+ with .+ --store$"
        ):
            bench_check.load(path)

    def test_that_is_not_there_is_told(self, tmp_path: Path) -> None:
        wanted = (
            "ratios.json is not there: write it on a quiet machine with .venv/bin/python -m profiling.bench --store"
        )
        with pytest.raises(DamagedFile, match=re.escape(wanted)):
            bench_check.load(tmp_path / "ratios.json")

    def test_of_the_repository_has_every_connector(self) -> None:
        assert {name.partition(" ")[0] for name in bench_check.load(bench_check.PATH)} == set(bench.NAMES)

    def test_has_the_connectors_that_are_asked_for(self) -> None:
        ratios = {**STORED, "files-of-old CSV, ours": {}, "rest light pages, ours": {}}
        assert list(bench_check.of_connectors(ratios, ["files", "rest"])) == [NAME, "rest light pages, ours"]
