"""A tiny run of the REST benchmark has every figure, and its servers are what they say."""

from functools import partial

import pytest
import requests

from profiling import benchmark_rest, list_server
from profiling.benchmark_rest import Organisation, url
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
            assert requests.get(f"{server.ask(url)}/pages", timeout=10).json()["next"] is None


class TestATinyRun:
    def test_of_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_rest, "ROUNDS", 1)
        finding = benchmark_rest.paged("pages", 2, 5)
        assert [run["rows"] for run in finding.figures["rounds"][0].values()] == [10, 0, 10]
        assert "2 pages of 5 rows at 50 ms" in str(finding)

    def test_of_a_large_answer(self) -> None:
        finding = benchmark_rest.large(2_000_000)
        assert finding.figures["run"]["rows"] > 5_000
        assert finding.met

    def test_of_an_organisation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_rest, "CALL_SECONDS", 0.0)
        finding = benchmark_rest.seed_organisation(Organisation("tiny", 5, 1, minutes=10, megabytes=1_000))
        assert finding.met
        assert finding.figures["calls"] > 5

    def test_counts_the_calls_for_every_structure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_rest, "CALL_SECONDS", 0.0)
        counted, _ = benchmark_rest.fan_out(100)
        assert {name: counted.figures["calls"][name] for name in ("lists", "deployments", "enrichments")} == {
            "lists": 2,
            "deployments": 100,
            "enrichments": 50,
        }
