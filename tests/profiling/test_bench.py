"""The benchmark's command: one table for all, stored ratios, and one quiet end."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from fivetran_connector_sdk import Operations as op

from profiling import bench, bench_check, bench_report
from profiling.benchmark import FLOOR, OURS, Benchmark, Comparison, DataSet, Run, Source, Variant, Work, compare
from tests.sources.interruption import SIGNALS, Interruption

ROWS = 2_000
SOURCE = Source({}, ROWS)
Measure = Callable[[str, bool], Generator[Comparison]]


def upserts(pause: float, _: Source) -> Work:
    """Rows with a pause, in seconds, that makes it slower."""

    def deliver() -> None:
        for number in range(ROWS):
            op.upsert("t", {"id": number})
        time.sleep(pause)

    return Work([{"table": "t", "primary_key": ["id"], "columns": {"id": "LONG"}}], deliver)


@contextmanager
def sources(ended: list[str]) -> Iterator[str]:
    try:
        yield "the source"
    finally:
        ended.append("the source")


def measuring(pause: float, source: str, quick: bool) -> Generator[Comparison]:
    """Measures a sync with this pause, beside a floor with one of 0.2 seconds."""
    ways = (Variant(OURS, partial(upserts, pause), "sync"), Variant(FLOOR, partial(upserts, 0.2), "floor"))
    yield compare(replace(data_set(source, quick), variants=ways, fills_buffers=False), 1)


def measured(seconds: float, source: str, quick: bool) -> Generator[Comparison]:
    """As if it had been measured, with a floor of one second."""
    yield Comparison(data_set(source, quick), {}, {OURS: [Run(ROWS, seconds, 1.0)], FLOOR: [Run(ROWS, 1.0, 0.0)]})


AS_IT_WAS = partial(measured, 1.1)


def interrupted(source: str, quick: bool) -> Generator[Comparison]:
    os.kill(os.getpid(), signal.SIGINT)
    yield from measured(1.0, source, quick)


def failing(source: str, quick: bool) -> Generator[Comparison]:
    raise RuntimeError("the server has gone")


def data_set(source: str, quick: bool) -> DataSet:
    ways = (Variant(OURS, partial(upserts, 0.0), "sync"), Variant(FLOOR, partial(upserts, 0.0), "floor"))
    return DataSet(f"rows {'quick' if quick else 'full'}", f"rows of {source}", SOURCE, SOURCE, 64, ways)


class Rows:
    """A benchmark called rows, the only one there is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ended: list[str] = []
        self._module = ModuleType("profiling.benchmark_rows")
        monkeypatch.setitem(sys.modules, self._module.__name__, self._module)
        monkeypatch.setattr(bench, "NAMES", ("rows",))

    def run(self, *arguments: str, measure: Measure) -> int:
        """The exit code."""
        benchmark = Benchmark(partial(sources, self.ended), lambda source: f"{source} 1.0", measure)
        vars(self._module)["BENCHMARK"] = benchmark
        return bench.main(arguments)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """An interruption leaves its signals ignored, for a process that ends: here others follow."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rows:
    monkeypatch.setattr(bench_report, "RESULTS", tmp_path)
    monkeypatch.setattr(bench_check, "PATH", tmp_path / "ratios.json")
    return Rows(monkeypatch)


class TestACommand:
    def test_shows_one_table_and_saves_every_run(
        self, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert rows.run(measure=AS_IT_WAS) == 0
        shown = capsys.readouterr().out
        assert "rows full: rows of the source (small: 2,000 rows)\n  ours " in shown
        assert "MET     rows full, ours takes at most 1.2 times its floor: 1.10 times" in shown
        saved = json.loads((tmp_path / "bench.json").read_text())
        assert saved["machine"].endswith(", the source 1.0")
        assert saved["data_sets"][0]["runs"]["large"][OURS][0]["rows"] == ROWS
        assert rows.ended == ["the source"]

    def test_says_that_a_quick_run_is_only_a_hint_and_saves_it_elsewhere(
        self, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert rows.run("--quick", measure=AS_IT_WAS) == 0
        shown = capsys.readouterr().out.splitlines()
        assert "with so little data the promises are only a hint: judge by the full run" in shown
        assert shown[-1].endswith("bench-quick.json")
        assert [path.name for path in tmp_path.iterdir()] == ["bench-quick.json"]

    def test_that_fails_has_saved_the_connectors_before(
        self, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        measures: Iterator[Measure] = iter([AS_IT_WAS, failing])
        assert rows.run("rows", "rows", measure=lambda *of: next(measures)(*of)) == 1
        assert capsys.readouterr().err == "bench: the server has gone\n"
        assert len(json.loads((tmp_path / "bench.json").read_text())["data_sets"]) == 1
        assert rows.ended == ["the source", "the source"]

    def test_names_what_there_is_to_measure(self, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            rows.run("lines", measure=AS_IT_WAS)
        assert "there is no benchmark of lines: choose from rows" in capsys.readouterr().err

    def test_that_is_interrupted_ends_what_it_started(self, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
        assert rows.run(measure=interrupted) == 130
        assert "bench: interrupted" in capsys.readouterr().err
        assert rows.ended == ["the source"]

    @pytest.mark.parametrize("name", bench.NAMES)
    def test_knows_every_connector(self, name: str) -> None:
        assert isinstance(import_module(f"profiling.benchmark_{name}").BENCHMARK, Benchmark)


class TestACheck:
    def test_names_a_sync_that_was_made_slower(self, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
        assert rows.run("--store", measure=AS_IT_WAS) == 0
        assert rows.run("--check", measure=partial(measuring, 0.5)) == 1
        worse, counted = capsys.readouterr().out.splitlines()[-2:]
        assert re.fullmatch(r"WORSE    rows quick, ours: \d\.\d\d times its floor, stored 1.10 \(.+\)", worse)
        assert counted == "2 figures compared: 1 worse, 0 better"

    def test_measures_again_what_is_worse_and_saves_what_was_measured_first(
        self, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert rows.run("--store", measure=AS_IT_WAS) == 0
        seconds = iter([2.0, 1.1])
        assert rows.run("--check", measure=lambda *of: measured(next(seconds), *of)) == 0
        shown = capsys.readouterr().out
        assert "WORSE    rows quick, ours: 2.00 times its floor, stored 1.10 (1.10 to 1.10)" in shown
        assert shown.splitlines()[-1] == "2 figures compared: 0 worse, 0 better"
        [saved] = json.loads((tmp_path / "bench-quick.json").read_text())["data_sets"]
        assert [run["seconds"] for run in saved["runs"]["large"][OURS]] == [2.0]

    def test_of_what_is_as_it_was_finds_nothing(self, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
        assert rows.run("--store", measure=AS_IT_WAS) == 0
        assert rows.run("--check", measure=partial(measured, 1.15)) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "2 figures compared: 0 worse, 0 better"

    def test_beside_a_damaged_file_says_so_before_it_measures(
        self, rows: Rows, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "ratios.json").write_text("{")
        assert rows.run("--check", measure=AS_IT_WAS) == 1
        assert capsys.readouterr().err.startswith("bench: ratios.json is damaged (")
        assert rows.ended == []


class TestAnInterruption:
    @pytest.mark.parametrize(
        ("when", "expected"), [("starting", ["started", "ended"]), ("ending", ["started", "used", "ended"])]
    )
    def test_breaks_off_neither_start_nor_end_of_a_source(self, when: str, expected: list[str]) -> None:
        seen = []

        @contextmanager
        def source() -> Iterator[None]:
            if when == "starting":
                os.kill(os.getpid(), signal.SIGTERM)
            seen.append("started")
            try:
                yield
            finally:
                if when == "ending":
                    os.kill(os.getpid(), signal.SIGTERM)
                seen.append("ended")

        with Interruption() as interruption:
            with interruption.running(source()):
                seen.append("used")
            seen.append("after the interruption")
        assert seen == expected
