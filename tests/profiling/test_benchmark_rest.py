"""A tiny run of the REST benchmark has every figure, and its servers are what they say."""

from functools import partial
from operator import attrgetter

import pytest
import requests

from profiling import benchmark_rest, list_server
from profiling.bench_report import summaries
from profiling.benchmark import DOCUMENTED, FLOOR, OURS
from profiling.benchmark_rest import WAITING, Pages
from profiling.served import served


class TestServers:
    def test_a_large_answer_has_as_many_records_as_is_said(self) -> None:
        with list_server.start(large_bytes=3_000_000) as server:
            body = requests.get(f"{server.url}/large", timeout=10)
            assert len(body.json()["data"]) == server.large_rows
            assert 2_000_000 < len(body.content) < 4_000_000

    def test_pages_end_with_the_last(self) -> None:
        with list_server.start(pages=2, rows=3) as server:
            first, last = (requests.get(f"{server.url}/pages", {"at": at}, timeout=10).json() for at in (0, 1))
        assert (first["next"], last["next"]) == (1, None)
        assert [record["id"] for page in (first, last) for record in page["data"]] == list(range(6))

    def test_a_server_in_another_process_answers_questions(self) -> None:
        with served(partial(list_server.start, 1, 1)) as server:
            assert requests.get(f"{server.ask(attrgetter('url'))}/pages", timeout=10).json()["next"] is None


class TestATinyRun:
    def test_of_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_rest, "PAGE_SECONDS", 0.01)
        measured = benchmark_rest.paged(Pages("tiny", 20, 5), 1, fills_buffers=True)
        rows = {
            size: {name: run.rows for name, [run] in runs.items()}
            for size, runs in vars(measured).items()
            if size != "data_set"
        }
        assert rows == {
            "small": {OURS: 10, DOCUMENTED: 10},
            "large": {OURS: 100, FLOOR: 100, WAITING: 0, DOCUMENTED: 100},
        }
        seconds = {name: run.seconds for name, [run] in measured.large.items()}
        assert seconds[WAITING] > 0.2
        ours, *_ = summaries(measured)
        assert ours.over_floor
        assert ours.over_floor.median == seconds[OURS] / max(seconds[FLOOR], seconds[WAITING])
        assert measured.data_set.described == "20 pages of 5 rows at 10 ms"

    def test_of_a_large_answer(self) -> None:
        judgement = benchmark_rest.large(2_000_000)
        assert judgement.figures["run"]["rows"] > 5_000
        assert judgement.met
        assert str(judgement).startswith("MET     rest one answer of 2 MB grows by at most 64 MB: ")
