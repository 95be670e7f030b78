"""The benchmark's arithmetic, and a tiny run of it that has every figure."""

import json
import os
import time
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from fivetran_connector_sdk import Operations as op

from profiling import bench_report, benchmark, benchmark_postgres
from profiling.bench_report import Spread, judgements, summaries
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, Comparison, DataSet, Judgement, Run, Source, Variant, Work
from tests.sources.postgres_server import PostgresServer

TABLES = [{"table": "t", "primary_key": ["id"], "columns": {"id": "LONG"}}]
SOURCE = Source({}, 100)


def three_rows(_: Source) -> Work:
    return Work(TABLES, lambda: [op.upsert("t", {"id": number}) for number in range(3)])


def noting(path: Path, source: Source) -> Work:
    """Three rows in a tenth of a second; each run notes its process."""

    def deliver() -> None:
        with path.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(0.1)
        three_rows(source).deliver()

    return Work(TABLES, deliver)


def failing(_: Source) -> Work:
    raise ZeroDivisionError


def runs(*seconds: float, grown: float = 10.0) -> list[Run]:
    return [Run(SOURCE.rows, value, grown) for value in seconds]


def comparison(
    ours: list[Run], floor: list[Run], documented: list[Run] | None = None, small: list[Run] | None = None
) -> Comparison:
    variants = [Variant(OURS, three_rows, "sync"), Variant(FLOOR, three_rows, "floor")]
    large = {OURS: ours, FLOOR: floor}
    if documented:
        variants.append(Variant(DOCUMENTED, three_rows, "pattern"))
        large[DOCUMENTED] = documented
    data_set = DataSet("t", "a hundred", SOURCE, SOURCE, 32, tuple(variants))
    return Comparison(data_set, {OURS: small or runs(1.0)}, large)


class TestArithmetic:
    def test_a_spread_is_the_median_and_the_range(self) -> None:
        assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
        assert Spread.of([4.0, 1.0]) == Spread(2.5, 1.0, 4.0)

    def test_times_are_compared_round_by_round(self) -> None:
        # The machine was half as fast in the second round: the ratio is that of every round, not of the medians.
        assert bench_report.ratio(runs(1.1, 2.2, 1.1), runs(1.0, 2.0, 1.0)).high == pytest.approx(1.1)

    def test_a_summary_has_the_highest_memory_and_the_median_speed(self) -> None:
        ours = [
            Run(100, 1.0, 5.0, 0.0, {"query s": 0.1}),
            Run(100, 2.0, 7.0, 0.0, {"query s": 0.3}),
            Run(100, 4.0, 6.0, 0.0, {"query s": 0.2}),
        ]
        measured = comparison(ours, runs(1.0, 1.0, 2.0), runs(2.0, 2.0, 4.0), runs(0.1, grown=3.0))
        summary, floor, documented = summaries(measured)
        assert summary.rows_per_second == Spread(50.0, 25.0, 100.0)
        assert summary.small_rows_per_second == Spread(1000.0, 1000.0, 1000.0)
        assert summary.over_floor == Spread(2.0, 1.0, 2.0)
        assert summary.speed_up == Spread(1.0, 1.0, 2.0)
        assert summary.small_growth_mb == Spread(3.0, 3.0, 3.0)
        assert summary.growth_mb == Spread(6.0, 5.0, 7.0)
        assert summary.figures == {"query s": 0.3}
        assert (floor.over_floor, floor.growth_mb, floor.peak_mb) == (None, None, None)
        assert (documented.over_floor, documented.speed_up) == (Spread(2.0, 2.0, 2.0), None)

    def test_the_slowest_of_several_floors_counts_in_every_round(self) -> None:
        variants = (Variant(OURS, three_rows, "sync", (FLOOR, "waiting")),)
        large = {OURS: runs(2.0, 4.0), FLOOR: runs(1.0, 2.0), "waiting": runs(2.0, 1.0)}
        measured = Comparison(DataSet("rows", "", SOURCE, SOURCE, 32, variants), {}, large)
        assert summaries(measured)[0].over_floor == Spread(1.5, 1.0, 2.0)


class TestJudgements:
    def test_every_target_is_met_at_its_limit(self) -> None:
        measured = comparison(runs(1.2, grown=32.0), runs(1.0), runs(1.5), runs(0.1, grown=30.0))
        assert [(judgement.met, judgement.aim_met) for judgement in judgements(measured)] == [
            (True, False), (True, True), (True, False), (True, False),
        ]  # fmt: skip

    def test_every_target_is_missed_beyond_it(self) -> None:
        measured = comparison(runs(1.21, grown=32.5), runs(1.0), runs(1.21), runs(0.1, grown=30.0))
        assert [str(judgement) for judgement in judgements(measured)] == [
            "MISSED  t, ours takes at most 1.2 times its floor: 1.21 times; the aim, 1.1 times, is missed",
            "MISSED  t, ours is faster than the documented pattern: 1.00 times as fast; the aim, 1.25 times, is missed",
            "MISSED  t, ours grows by at most 32 MB: 32.5 MB",
            "MISSED  t, ours grows no more for ten times the rows: 30.0 MB, then 32.5 MB",
        ]

    def test_it_is_the_median_that_counts(self) -> None:
        over_floor, *_ = judgements(comparison(runs(1.1, 9.0, 1.1), runs(1.0, 1.0, 1.0)))
        assert over_floor.met
        assert over_floor.aim_met

    def test_what_was_not_measured_is_not_judged(self) -> None:
        assert not [
            judgement for judgement in judgements(comparison(runs(1.0), runs(1.0))) if "documented" in judgement.promise
        ]

    def test_that_memory_is_flat_is_not_judged_by_what_fills_no_buffers(self) -> None:
        measured = comparison(runs(1.0, grown=20.0), runs(1.0), small=runs(0.1, grown=1.0))
        small = replace(measured, data_set=replace(measured.data_set, fills_buffers=False))
        promises = [[judgement.promise for judgement in judgements(one)] for one in (measured, small)]
        assert [len(told) for told in promises] == [3, 2]
        assert promises[0][-1] == "grows no more for ten times the rows"


class TestReport:
    def test_has_all_data_sets_in_one_table_and_the_judgements_below(self) -> None:
        scenario = Judgement("one answer", "grows by at most 64 MB", "70 MB", met=False)
        one, other = (comparison(runs(1.0), runs(1.0), runs(1.3), small=runs(0.1)) for _ in range(2))
        lines = bench_report.report([one, scenario, other]).splitlines()
        assert lines[0].split("  ")[1] == "variant"
        assert [line for line in lines if line.startswith("t:")] == ["t: a hundred (small: 100 rows)"] * 2
        assert [line.split() for line in lines if line.startswith("  ours ")] == [
            ["ours", "1,000", "100", "1.00", "(1.00-1.00)", "1.30", "(1.30-1.30)", "0", "10.0", "10.0"]
        ] * 2
        assert len([line for line in lines if line.startswith("MET")]) == 8
        assert str(scenario) in lines
        assert lines[-1] == "8 of 9 promises are met"


class TestAMeasuredRun:
    def test_counts_its_rows_in_a_process_of_its_own(self) -> None:
        run = benchmark.measure(three_rows, Source({}, 3))
        assert run.rows == 3
        assert run.seconds > 0

    def test_is_worth_nothing_with_rows_missing(self) -> None:
        with pytest.raises(RuntimeError, match="delivered 3 rows of 100"):
            benchmark.measure(three_rows, SOURCE)

    def test_that_fails_says_so(self) -> None:
        with pytest.raises(RuntimeError, match="a measured run failed"):
            benchmark.measure(failing, SOURCE)

    def test_of_a_floor_is_repeated_in_one_process_until_it_is_long_enough(self, tmp_path: Path) -> None:
        floor = Variant(FLOOR, partial(noting, tmp_path / "runs"), "floor")
        measured = benchmark.compare(DataSet("rows", "", Source({}, 3), Source({}, 3), 32, (floor,)), rounds=2)
        processes = (tmp_path / "runs").read_text().split()
        assert (len(measured.large[FLOOR]), len(set(processes)), len(processes)) == (2, 1, 6)

    def test_of_what_fills_no_buffers_is_made_once(self) -> None:
        data_set = DataSet("rows", "", Source({}, 3), replace(SOURCE, rows=3), 32, (Variant(OURS, three_rows, "sync"),))
        measured = benchmark.compare(replace(data_set, fills_buffers=False), rounds=2)
        assert [len(runs[OURS]) for runs in (measured.small, measured.large)] == [1, 2]


class TestPostgres:
    def test_a_tiny_run_has_every_figure(self, postgres: PostgresServer, tmp_path: Path) -> None:
        source = benchmark_postgres.lineitem(postgres, 0.0001)
        variants = (*benchmark_postgres.MARKS, *benchmark_postgres.EXTRA)
        data_set = DataSet("tiny", "", source, source, 32, variants)
        with closing(postgres.connect()) as connection:
            measured = benchmark.compare(
                data_set, 1, lambda source: benchmark_postgres.SessionWatch(connection, source)
            )
        for variant, summary in zip(variants, summaries(measured), strict=True):
            assert summary.rows_per_second
            assert (summary.over_floor is None) == (variant.name == FLOOR)
            assert (summary.speed_up is not None) == (variant.kind == "sync")
            assert (summary.small_growth_mb is None) == (variant.kind == "floor")
            assert list(summary.figures) == ([] if variant.kind == "floor" else ["query s", "transaction s"])
        judged = [variant for variant in variants if variant.kind == "sync"]
        assert len(judgements(measured)) == 4 * len(judged)
        bench_report.save(tmp_path / "bench.json", bench_report.machine(), [measured])
        saved = json.loads((tmp_path / "bench.json").read_text())
        assert saved["data_sets"][0]["runs"]["large"][OURS][0]["rows"] == source.rows > 500
        assert len(saved["judgements"]) == 4 * len(judged)

    def test_wide_rows_are_as_wide_as_they_say_where_they_are_stored(self, postgres: PostgresServer) -> None:
        data_set = benchmark_postgres.wide(postgres, "wide", 30, 10_000, most_mb=64)
        with closing(postgres.connect("wide 30")) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*), min(length(body)), min(pg_column_size(body)) FROM items")
            assert cursor.fetchone() == (30, 10_000, 10_000)
        assert (data_set.small.rows, data_set.large.rows) == (3, 30)

    def test_sessions_are_watched_while_a_transaction_is_open(self, postgres: PostgresServer) -> None:
        postgres.create_database("watched")
        with closing(postgres.connect()) as own, closing(postgres.connect("watched")) as other:
            with other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute("SELECT pg_sleep(0.2)")
            time.sleep(0.1)
            watch = benchmark_postgres.SessionWatch(own, Source({"database": "watched"}, 0))
            watch.sample()
        figures = watch.figures()
        assert 0.2 <= figures["query s"] < figures["transaction s"] - 0.1
