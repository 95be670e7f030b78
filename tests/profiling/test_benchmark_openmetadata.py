"""A tiny run of the OpenMetadata benchmark has every figure."""

from functools import partial

from profiling import benchmark_openmetadata
from profiling.bench_report import summaries
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, compare
from profiling.served import served


class TestATinyRun:
    def test_has_every_figure_and_the_same_rows_in_every_way(self) -> None:
        start = benchmark_openmetadata.start
        with served(partial(start, 10)) as small, served(partial(start, 20)) as large:
            data_set = benchmark_openmetadata.catalogue(20, small.ask(dict), large.ask(dict), fills_buffers=True)
            measured = compare(data_set, 1)
        assert {name: run.rows for name, [run] in measured.large.items()} == dict.fromkeys(
            [OURS, FLOOR, DOCUMENTED], data_set.large.rows
        )
        assert data_set.large.rows > data_set.small.rows > 100
        ours, floor, documented = summaries(measured)
        assert ours.speed_up
        assert floor.rows_per_second
        for summary in (ours, documented):
            assert summary.small_rows_per_second
            assert summary.rows_per_second
            assert summary.over_floor
            assert summary.small_growth_mb
            assert summary.growth_mb
