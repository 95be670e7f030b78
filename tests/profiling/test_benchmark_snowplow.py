"""A tiny run of the Snowplow benchmark has every figure, and its server answers as the one behind it does."""

from collections.abc import Iterator
from functools import partial

import pytest
import requests

from profiling import benchmark_snowplow, ready_answers
from profiling.bench_report import summaries
from profiling.benchmark import FLOOR, OURS, compare
from profiling.benchmark_snowplow import Organisation
from profiling.served import served
from tests.sources import snowplow_server
from tests.sources.snowplow_server import Size, SnowplowServer


@pytest.fixture
def server() -> Iterator[SnowplowServer]:
    with snowplow_server.start(Size(structures=1)) as server:
        yield server


class TestReadyAnswers:
    def test_are_asked_for_once(self, server: SnowplowServer) -> None:
        headers = {"X-API-Key-ID": server.api_key_id, "X-API-Key": server.api_key}
        with ready_answers.start(server.url) as answers:
            address = f"{server.api_url.replace(server.url, answers.url)}/credentials/v3/token"
            first, second = (requests.get(address, headers=headers, timeout=10).json() for _ in range(2))
        assert first == second
        assert server.tokens_minted == len(server.requests) == 1

    def test_a_refusal_is_asked_for_again(self, server: SnowplowServer) -> None:
        with ready_answers.start(server.url) as answers:
            refused = [requests.get(f"{answers.url}/nothing", timeout=10) for _ in range(2)]
        assert [answer.status_code for answer in refused] == [404, 404]
        assert "There is nothing at /nothing" in refused[0].json()["message"]
        assert len(server.requests) == 2


class TestATinyRun:
    def test_of_an_organisation_with_ready_made_answers(self) -> None:
        with (
            served(partial(benchmark_snowplow.start, 2)) as small,
            served(partial(benchmark_snowplow.start, 20)) as large,
        ):
            data_set = benchmark_snowplow.organisation_of(20, small.ask(dict), large.ask(dict), fills_buffers=True)
            measured = compare(data_set, 1)
        assert {name: run.rows for name, [run] in measured.large.items()} == dict.fromkeys(
            [OURS, FLOOR], data_set.large.rows
        )
        assert data_set.large.rows > data_set.small.rows > 20
        ours, floor = summaries(measured)
        assert ours.small_rows_per_second
        assert ours.rows_per_second
        assert ours.over_floor
        assert ours.small_growth_mb
        assert ours.growth_mb
        assert floor.rows_per_second

    def test_of_an_organisation_of_the_performance_targets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_snowplow, "CALL_SECONDS", 0.0)
        judgement = benchmark_snowplow.seed_organisation(Organisation("tiny", 5, 1, minutes=10, megabytes=1_000))
        assert judgement.met
        assert judgement.figures["calls"] > 5

    def test_counts_the_calls_for_every_structure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(benchmark_snowplow, "CALL_SECONDS", 0.0)
        counted, _ = benchmark_snowplow.fan_out(100)
        assert counted.met
        assert counted.measured == "2 lists, 100 deployments, 50 enrichments"
