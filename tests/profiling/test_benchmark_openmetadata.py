"""A tiny run of the OpenMetadata benchmark has every figure."""

from functools import partial

from profiling import benchmark_openmetadata
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, measure
from profiling.served import served


class TestATinyRun:
    def test_delivers_the_same_rows_in_every_way(self) -> None:
        start = benchmark_openmetadata.start
        with served(partial(start, 10)) as small, served(partial(start, 20)) as large:
            data_set = benchmark_openmetadata.catalogue(20, small.ask(dict), large.ask(dict), fills_buffers=True)
            rows = {variant.name: measure(variant.prepare, data_set.large).rows for variant in data_set.variants}
        assert rows == dict.fromkeys([OURS, FLOOR, DOCUMENTED], data_set.large.rows)
        assert data_set.large.rows > data_set.small.rows > 100
