"""Figures are right from any number of threads, and take no more memory for more calls."""

import threading
import time

import pytest
from fivetran_connector_sdk import Logging

from shared.metrics import MEGABYTE, Metrics


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)


class TestFiguresAreRight:
    def test_every_name_is_in_the_line_of_totals(self) -> None:
        metrics = Metrics()
        metrics.called("items", 0.25)
        metrics.called("items", 0.5)
        metrics.failed("items")
        metrics.retried()
        metrics.waited(1.5)
        metrics.page(rows=7)
        metrics.parallel_fetch()
        metrics.cache(hit=True)
        metrics.cache(hit=False)
        metrics.cache(hit=False)
        for size in (10, 2 * MEGABYTE, 11 * MEGABYTE, 20):
            metrics.record("items", size)
        assert metrics.summary()[0] == (
            "api_call_count=2 api_total_time_seconds=0.8 parallel_fetch_count=1 cache_hit_count=1 cache_miss_count=2 "
            "max_record_size_bytes=11534336 records_over_1mb=2 records_over_10mb=1 pages=1 rows=7 retries=1 "
            "waits=1 waited_seconds=1.5"
        )

    def test_from_many_threads(self) -> None:
        metrics = Metrics()

        def work() -> None:
            for _ in range(2000):
                metrics.called("items", 0.5)
                metrics.cache(hit=True)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert metrics.api_call_count == metrics.cache_hit_count == metrics.endpoints["items"].count == 16_000
        assert metrics.api_total_time_seconds == 8_000

    def test_percentiles_of_each_endpoint(self) -> None:
        metrics = Metrics()
        for number in range(1, 101):
            metrics.called("items", number / 100)
        figures = metrics.endpoints["items"]
        assert [figures.percentile(percent) for percent in (50, 95, 99, 100)] == [0.5, 0.95, 0.99, 1.0]
        assert metrics.summary()[1] == "items: count=100 errors=0 p50=0.500s p95=0.950s p99=0.990s"

    def test_the_summary_has_the_ten_slowest_endpoints(self) -> None:
        metrics = Metrics()
        for number in range(20):
            metrics.called(f"endpoint {number}", number)
        lines = metrics.summary()
        assert len(lines) == 11
        assert lines[1].startswith("endpoint 19: ")
        assert lines[10].startswith("endpoint 10: ")


class TestMemoryStaysFlat:
    def test_a_sample_of_the_calls_is_kept_and_the_same_one_in_each_run(self) -> None:
        runs = [Metrics(), Metrics()]
        for metrics in runs:
            for number in range(50_000):
                metrics.called("items", number / 50_000)
        first, second = (metrics.endpoints["items"] for metrics in runs)
        assert len(first.seconds) == 1000
        assert first.seconds == second.seconds
        assert first.percentile(50) == pytest.approx(0.5, abs=0.06)
        assert first.percentile(95) == pytest.approx(0.95, abs=0.03)

    def test_names_of_endpoints_do_not_grow_without_bound(self) -> None:
        metrics = Metrics()
        for number in range(1000):
            metrics.called(f"/items/{number}", 0.1)
            metrics.failed(f"/items/{number}")
        assert len(metrics.endpoints) == 100
        assert metrics.endpoints["other"].count == metrics.endpoints["other"].errors == 901
        assert sum(figures.count for figures in metrics.endpoints.values()) == 1000


class TestTheLogIsNotFlooded:
    def test_a_line_only_when_it_is_due(self, capsys: pytest.CaptureFixture[str]) -> None:
        metrics = Metrics(every_seconds=0.05)
        metrics.tick()
        assert "api_call_count" not in capsys.readouterr().out
        time.sleep(0.06)
        metrics.tick()
        metrics.tick()
        assert capsys.readouterr().out.count("api_call_count=0") == 1

    def test_a_record_over_10_mb_is_warned_of_once_with_its_endpoint(self, capsys: pytest.CaptureFixture[str]) -> None:
        metrics = Metrics()
        for endpoint in ("dashboards", "dashboards", "charts"):
            metrics.record(endpoint, 12 * MEGABYTE)
        warned = capsys.readouterr().out
        assert warned.count("WARNING") == 1
        assert "dashboards has a record of 12.0 MB" in warned
        assert metrics.records_over_10mb == 3
