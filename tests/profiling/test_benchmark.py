"""The benchmark's arithmetic, and a tiny run of it that has every figure."""

import json
import time
from contextlib import closing
from pathlib import Path

import pytest
from fivetran_connector_sdk import Operations as op

from profiling import benchmark, benchmark_postgres
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, Comparison, DataSet, Run, Source, Spread, Variant, Work
from tests.sources.postgres_server import PostgresServer

TABLES = [{"table": "t", "primary_key": ["id"], "columns": {"id": "LONG"}}]
SOURCE = Source({}, 100)


def three_rows(_: Source) -> Work:
    return Work(TABLES, lambda: [op.upsert("t", {"id": number}) for number in range(3)])


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
    data_set = DataSet("rows", SOURCE, SOURCE, 32, tuple(variants))
    return Comparison(data_set, {OURS: small or runs(1.0)}, large)


class TestArithmetic:
    def test_a_spread_is_the_median_and_the_range(self) -> None:
        assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
        assert Spread.of([4.0, 1.0]) == Spread(2.5, 1.0, 4.0)

    def test_times_are_compared_round_by_round(self) -> None:
        # The machine was half as fast in the second round: the ratio is that of every round, not of the medians.
        assert benchmark.ratio(runs(1.1, 2.2, 1.1), runs(1.0, 2.0, 1.0)).high == pytest.approx(1.1)

    def test_a_summary_has_the_highest_memory_and_the_median_speed(self) -> None:
        ours = [
            Run(100, 1.0, 5.0, 0.0, {"query s": 0.1}),
            Run(100, 2.0, 7.0, 0.0, {"query s": 0.3}),
            Run(100, 4.0, 6.0, 0.0, {"query s": 0.2}),
        ]
        measured = comparison(ours, runs(1.0, 1.0, 2.0), runs(2.0, 2.0, 4.0), runs(0.1, grown=3.0)).summaries()
        summary, floor, documented = measured
        assert summary.rows_per_second == Spread(50.0, 25.0, 100.0)
        assert summary.over_floor == Spread(2.0, 1.0, 2.0)
        assert summary.speed_up == Spread(1.0, 1.0, 2.0)
        assert (summary.small_growth_mb, summary.large_growth_mb) == (3.0, 7.0)
        assert summary.figures == {"query s": 0.3}
        assert (floor.over_floor, floor.speed_up) == (None, Spread(2.0, 2.0, 2.0))
        assert (documented.over_floor, documented.speed_up) == (Spread(2.0, 2.0, 2.0), None)


class TestVerdicts:
    def test_every_target_is_met_at_its_limit(self) -> None:
        measured = comparison(runs(1.2, grown=32.0), runs(1.0), runs(1.5), runs(0.1, grown=30.0))
        assert [(verdict.met, verdict.aim_met) for verdict in measured.verdicts()] == [
            (True, False), (True, True), (True, False), (True, False),
        ]  # fmt: skip

    def test_every_target_is_missed_beyond_it(self) -> None:
        measured = comparison(runs(1.21, grown=32.5), runs(1.0), runs(1.21), runs(0.1, grown=30.0))
        assert [str(verdict) for verdict in measured.verdicts()] == [
            "MISSED  ours takes at most 1.2 times its floor: 1.21 times; the aim, 1.1 times, is missed",
            "MISSED  ours is faster than the documented pattern: 1.00 times as fast; the aim, 1.25 times, is missed",
            "MISSED  ours grows by at most 32 MB: 32.5 MB",
            "MISSED  ours grows no more for ten times the rows: 30.0 MB, then 32.5 MB",
        ]

    def test_it_is_the_median_that_counts(self) -> None:
        over_floor, *_ = comparison(runs(1.1, 9.0, 1.1), runs(1.0, 1.0, 1.0)).verdicts()
        assert over_floor.met
        assert over_floor.aim_met

    def test_what_was_not_measured_is_not_judged(self) -> None:
        assert not [
            verdict for verdict in comparison(runs(1.0), runs(1.0)).verdicts() if "documented" in verdict.promise
        ]


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


class TestPostgres:
    def test_a_tiny_run_has_every_figure(
        self, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = benchmark_postgres.lineitem(postgres, 0.0001)
        variants = (*benchmark_postgres.variants(), *benchmark_postgres.TEXT_DATES)
        data_set = DataSet("tiny", source, source, 32, variants)
        with closing(postgres.connect()) as connection:
            measured = benchmark.compare(
                data_set, 1, lambda source: benchmark_postgres.SessionWatch(connection, source)
            )
        for variant, summary in zip(variants, measured.summaries(), strict=True):
            assert summary.rows == source.rows > 500
            assert (summary.over_floor is None) == (variant.name == FLOOR)
            assert (summary.speed_up is None) == (variant.name == DOCUMENTED)
            assert (summary.small_growth_mb is None) == (variant.kind == "floor")
            assert list(summary.figures) == ([] if variant.kind == "floor" else ["query s", "transaction s"])
        judged = [variant for variant in variants if variant.kind == "sync"]
        assert len(measured.verdicts()) == 4 * len(judged)
        assert measured.table().count("\n") == 4 + len(variants) + 4 * len(judged)
        monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
        saved = json.loads(benchmark.save("postgres", benchmark.machine("PostgreSQL"), 1, [measured]).read_text())
        assert saved["data_sets"][0]["runs"]["large"][OURS][0]["rows"] == source.rows

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
