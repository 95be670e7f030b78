"""Requests are spaced as declared, or as the server teaches, whatever the number of threads."""

import threading
import time
from collections.abc import Iterator

import pytest
from fivetran_connector_sdk import Logging

from shared.rate_limit import RateLimit


class Clock:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)
    with monkeypatch.context() as patch:
        patch.setattr("shared.rate_limit.time", clock)
        yield clock


def send(limit: RateLimit, clock: Clock, requests: int, every: float) -> None:
    for _ in range(requests):
        limit.wait()
        clock.now += every


class TestADeclaredLimitIsKept:
    def test_requests_are_spaced(self, clock: Clock) -> None:
        limit = RateLimit(4)
        waited = [limit.wait() for _ in range(9)]
        assert clock.now - 1000.0 == pytest.approx(2.0)
        assert waited == [0.0, *[0.25] * 8]

    def test_by_all_threads_together(self) -> None:
        limit = RateLimit(50)
        started = time.monotonic()
        threads = [threading.Thread(target=lambda: [limit.wait() for _ in range(5)]) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started >= 24 / 50

    def test_without_one_nothing_waits(self, clock: Clock) -> None:
        limit = RateLimit()
        send(limit, clock, 100, 0.0)
        assert clock.now == 1000.0
        assert limit.requests_per_second == 0

    def test_a_negative_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="0 means no limit"):
            RateLimit(-1)


class TestALimitIsLearned:
    def test_from_the_rate_that_was_achieved(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        limit = RateLimit()
        send(limit, clock, 40, 0.05)  # 20 a second
        limit.too_many()
        assert limit.requests_per_second == pytest.approx(14.0)
        assert capsys.readouterr().out.count("asked too often: from now on at most 14 requests per second") == 1

    def test_once_for_all_threads_that_were_told_at_the_same_time(self, clock: Clock) -> None:
        limit = RateLimit()
        send(limit, clock, 40, 0.05)
        for _ in range(10):
            limit.too_many()
        assert limit.requests_per_second == pytest.approx(14.0)

    def test_further_down_when_it_was_not_low_enough(self, clock: Clock) -> None:
        limit = RateLimit(10)
        for expected in (7.0, 4.9, 3.43):
            send(limit, clock, 40, 0.0)
            limit.too_many()
            assert limit.requests_per_second == pytest.approx(expected, rel=0.05)

    def test_a_pause_between_requests_is_not_taken_for_a_low_limit(self, clock: Clock) -> None:
        limit = RateLimit(10)
        send(limit, clock, 10, 30.0)
        limit.too_many()
        assert limit.requests_per_second == 5.0

    def test_not_from_so_few_requests_that_there_is_no_rate(self, clock: Clock) -> None:
        limit = RateLimit()
        send(limit, clock, 3, 0.0)
        limit.too_many()
        assert limit.requests_per_second == 0

    def test_and_never_stops_everything(self, clock: Clock) -> None:
        limit = RateLimit()
        for _ in range(100):
            send(limit, clock, 5, 1000.0)
            limit.too_many()
        assert limit.requests_per_second >= 1 / 60

    def test_and_rises_slowly_up_to_the_declared_one(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        limit = RateLimit(10)
        send(limit, clock, 40, 0.0)
        limit.too_many()
        send(limit, clock, 300, 0.0)  # 43 seconds
        assert limit.requests_per_second == pytest.approx(7.0, rel=0.01)
        send(limit, clock, 300, 0.0)
        assert limit.requests_per_second == pytest.approx(7.7, rel=0.01)
        send(limit, clock, 5000, 0.0)
        assert limit.requests_per_second == 10
        # One line each time it changed: down, then up to 7.7, 8.47, 9.32 and 10.
        assert capsys.readouterr().out.count("requests per second") == 5

    def test_one_that_holds_nothing_back_does_not_rise(self, clock: Clock) -> None:
        limit = RateLimit(10)
        send(limit, clock, 40, 0.0)
        limit.too_many()
        limit.wait()
        clock.now += 100
        lowered = limit.requests_per_second
        send(limit, clock, 1, 100.0)  # this request was held back, once
        send(limit, clock, 100, 10.0)
        assert limit.requests_per_second <= lowered * 1.11


class TestAServerThatAsksToWaitIsLeftAloneByAll:
    def test_no_request_is_sent_meanwhile(self, clock: Clock) -> None:
        limit = RateLimit()
        limit.hold(30.0)
        limit.hold(10.0)  # a shorter wait does not shorten the other
        assert limit.wait() == pytest.approx(30.0)
        assert limit.wait() == 0.0

    def test_not_even_by_those_who_wait_for_their_turn(self) -> None:
        limit = RateLimit(10)
        limit.wait()
        waited: list[float] = []
        thread = threading.Thread(target=lambda: waited.append(limit.wait()))
        thread.start()
        limit.hold(0.5)
        thread.join()
        assert waited[0] >= 0.45
