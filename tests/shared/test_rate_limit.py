"""Requests are spaced as declared, or as the server teaches, whatever the number of threads."""

import threading
import time
from collections.abc import Iterator

import pytest
from fivetran_connector_sdk import Logging

from shared.rate_limit import RateLimit


class Clock(threading.Event):
    """A clock that goes on only while somebody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


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
        limit = RateLimit(4, clock)
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
        limit = RateLimit(0, clock)
        send(limit, clock, 100, 0.0)
        assert clock.now == 1000.0
        assert limit.requests_per_second == 0

    def test_a_negative_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="0 means no limit"):
            RateLimit(-1)


class TestALimitIsLearned:
    def test_from_the_rate_that_was_achieved(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 40, 0.05)  # 20 a second
        limit.too_many()
        assert limit.requests_per_second == pytest.approx(14.0, rel=0.05)
        assert capsys.readouterr().out.count("asked too often: from now on at most 13.7 requests per second") == 1

    def test_from_the_rate_of_the_last_seconds(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 20, 5.0)
        send(limit, clock, 200, 0.05)  # 20 a second
        limit.too_many()
        assert limit.requests_per_second == pytest.approx(14.0, rel=0.05)

    def test_from_what_the_server_took_and_not_from_what_it_refused(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 3, 0.0)
        while limit.requests_per_second == 0:
            send(limit, clock, 1, 0.1)
            limit.too_many()
        assert limit.requests_per_second == pytest.approx(0.7 * 3, rel=0.1)

    def test_not_from_the_first_moment_when_many_are_sent_at_once(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 6, 0.003)
        limit.too_many()
        assert limit.requests_per_second == 0
        send(limit, clock, 200, 0.01)
        limit.too_many()
        assert limit.requests_per_second == pytest.approx(70, rel=0.05)

    def test_a_client_that_asks_seldom_is_not_held_to_less_than_one_a_second(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 10, 1.5)
        limit.too_many()
        assert limit.requests_per_second == 1.0

    def test_once_for_all_threads_that_were_told_at_the_same_time(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 40, 0.05)
        for _ in range(10):
            limit.too_many()
        assert limit.requests_per_second == pytest.approx(14.0, rel=0.05)

    def test_further_down_when_it_was_not_low_enough(self, clock: Clock) -> None:
        limit = RateLimit(10, clock)
        for expected in (7.0, 4.9, 3.43):
            send(limit, clock, 15, 0.0)
            limit.too_many()
            assert limit.requests_per_second == pytest.approx(expected, rel=0.05)

    def test_a_pause_between_requests_is_not_taken_for_a_low_limit(self, clock: Clock) -> None:
        limit = RateLimit(10, clock)
        send(limit, clock, 10, 1.9)
        limit.too_many()
        assert limit.requests_per_second == 5.0

    def test_not_from_so_few_requests_that_there_is_no_rate(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 3, 1.0)
        limit.too_many()
        assert limit.requests_per_second == 0
        send(limit, clock, 10, 30.0)
        limit.too_many()
        assert limit.requests_per_second == 0

    def test_and_never_stops_everything(self, clock: Clock) -> None:
        limit = RateLimit(20, clock)
        for _ in range(100):
            send(limit, clock, 6, 0.0)
            limit.too_many()
        assert 0.2 < limit.requests_per_second < 2

    def test_and_rises_slowly_up_to_the_declared_one(self, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
        limit = RateLimit(10, clock)
        send(limit, clock, 40, 0.0)
        limit.too_many()
        send(limit, clock, 30, 0.0)  # 4.3 seconds
        assert limit.requests_per_second == pytest.approx(7.0, rel=0.01)
        send(limit, clock, 10, 0.0)
        assert limit.requests_per_second == pytest.approx(7.7, rel=0.01)
        send(limit, clock, 1000, 0.0)
        assert limit.requests_per_second == 10
        assert capsys.readouterr().out.count("requests per second") == 1  # only that it went down

    def test_a_lesson_from_a_bad_moment_is_forgotten_within_a_minute(self, clock: Clock) -> None:
        limit = RateLimit(0, clock)
        send(limit, clock, 40, 0.05)
        limit.too_many()
        started = clock.now
        while limit.requests_per_second < 40:
            send(limit, clock, 1, 0.0)
        assert clock.now - started < 65

    def test_one_that_holds_nothing_back_does_not_rise(self, clock: Clock) -> None:
        limit = RateLimit(10, clock)
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
        limit = RateLimit(0, clock)
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


class TestTheEndOfAllEndsEveryWait:
    def test_at_once(self) -> None:
        stopped = threading.Event()
        limit = RateLimit(0, stopped)
        limit.hold(30.0)
        threading.Timer(0.1, stopped.set).start()
        started = time.monotonic()
        limit.wait()
        assert time.monotonic() - started < 5
