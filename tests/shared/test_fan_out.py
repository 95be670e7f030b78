"""The same rows in the same order, with one worker and with many; never more calls in flight than workers."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bounded_cache import BoundedCache
from shared.errors import SourceError
from shared.fan_out import FanOut
from shared.metrics import Metrics
from shared.pagination import Offset, Token
from shared.topology import Batch, Table
from tests import stop_and_resume
from tests.recording import Destination, sync
from tests.shared.rest_tables import connector, ids, items, page, table
from tests.sources import faulty_http
from tests.sources.faulty_http import Answer, FaultyServer, NotFound, Step
from tests.sources.http_thread import Request

KEY = {"id": "STRING"}


class TestInOrder:
    @pytest.mark.parametrize("workers", [1, 2, 7])
    def test_results_come_in_the_order_of_the_items(self, workers: int) -> None:
        def slow(number: int) -> int:
            time.sleep(0.002 * (number % 3))
            return number * 2

        with FanOut(workers, Metrics()) as calls:
            found = [(item, result()) for item, result in calls.in_order(range(20), slow)]
        assert found == [(number, number * 2) for number in range(20)]

    def test_items_are_read_only_as_far_ahead_as_there_are_workers(self) -> None:
        taken: list[int] = []

        def numbers() -> Iterator[int]:
            for number in range(100):
                taken.append(number)
                yield number

        with FanOut(4, Metrics()) as calls:
            results = calls.in_order(numbers(), lambda number: number)
            for _ in range(10):
                next(results)
            assert len(taken) == 13
            results.close()

    @pytest.mark.parametrize(("workers", "most", "expected"), [(3, 0, 3), (5, 2, 2), (1, 0, 1)])
    def test_no_more_are_in_flight_than_workers_or_their_own_limit(
        self, workers: int, most: int, expected: int
    ) -> None:
        in_flight = Counting()
        with FanOut(workers, Metrics()) as calls:
            for _, result in calls.in_order(range(30), in_flight.call, most):
                result()
        assert in_flight.most == expected

    def test_a_walk_within_a_walk_shares_the_workers(self) -> None:
        in_flight = Counting()
        with FanOut(3, Metrics()) as calls:
            for _, outer in calls.in_order(range(6), in_flight.call):
                outer()
                for _, inner in calls.in_order(range(6), in_flight.call):
                    inner()
        assert in_flight.most == 3

    def test_an_error_is_raised_where_its_result_would_have_come(self) -> None:
        with FanOut(3, Metrics()) as calls:
            results = calls.in_order([1, 0, 2], lambda number: 10 // number)
            assert next(results)[1]() == 10
            _, second = next(results)
            with pytest.raises(ZeroDivisionError):
                second()
            assert next(results)[1]() == 5

    def test_leaving_early_waits_for_no_call_that_has_not_begun(self) -> None:
        begun: list[int] = []

        def slow(number: int) -> None:
            begun.append(number)
            time.sleep(0.05)

        with FanOut(2, Metrics()) as calls:
            next(calls.in_order(range(100), slow))
        assert len(begun) <= 3

    def test_no_workers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="0 workers would call nothing"):
            FanOut(0, Metrics())


class Counting:
    """How many calls were under way at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def call(self, _: int) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self._lock:
            self.now -= 1


def tree() -> Table:
    """Items with two kinds of children, one of them with children of its own."""
    grains = table("grains", "/parts/{id}/grains", ("id",), KEY, pagination=Offset(size=2))
    parts = table("parts", "/items/{id}/parts", ("id",), KEY, children=(grains,), pagination=Offset(size=2))
    notes = table("notes", "/items/{id}/notes", ("id",), KEY, at_once=1)
    token = Token(next_token="next", parameter="at")
    return table("items", "/items", ("id",), KEY, pagination=token, children=(parts, notes))


def serve(counts: dict[str, int]) -> Any:
    """A server of any tree: below each path, as many records as `counts` says for its last word."""

    def answer(request: Request) -> Step:
        *above, kind = request.path.strip("/").split("/")
        every = [{"id": "-".join([*above, kind[0], str(number)])} for number in range(counts[kind])]
        start = int(request.query.get("offset", request.query.get("at", 0)))
        size = int(request.query.get("limit", 3))
        following = start + size if kind == "items" and start + size < len(every) else None
        return Answer({"data": every[start : start + size], "next": following})

    return answer


class TestParallelIsSequential:
    @settings(max_examples=15, deadline=None)
    @given(st.integers(0, 7), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3), st.integers(2, 6))
    def test_for_every_tree(self, count: int, parts: int, grains: int, notes: int, workers: int) -> None:
        with faulty_http.start(serve({"items": count, "parts": parts, "grains": grains, "notes": notes})) as server:
            sequential = sync(connector(server, tree()), {})
            parallel = sync(connector(server, tree(), workers=workers), {})
        assert parallel.order == sequential.order
        assert parallel.destination.contents() == sequential.destination.contents()
        expected = count * (1 + parts * (1 + grains) + min(notes, 3))
        assert sum(sequential.upserts.values()) == expected

    @pytest.mark.usefixtures("every_page")
    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(self) -> None:
        with faulty_http.start(serve({"items": 5, "parts": 3, "grains": 1, "notes": 1})) as server:
            assert stop_and_resume.check(connector(server, tree(), workers=3), {}) > 50

    def test_a_call_that_fails_fails_its_page_with_the_state_unmoved(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, 3)])
        for item in (1, 3):
            server.script(f"/items/{item}/parts", [page(item)])
        server.script("/items/2/parts", [NotFound()])
        parts = table("parts", "/items/{id}/parts", ("id",), KEY)
        destination = Destination()
        with pytest.raises(SourceError, match="/items/2/parts answered with status 404"):
            sync(connector(server, items(children=(parts,)), workers=3), {}, destination)
        assert destination.committed == {}
        assert [row["id"] for row in destination.table("parts")] == ["1"]


class TestBatches:
    def test_many_parents_are_asked_for_in_one_call(self, server: FaultyServer) -> None:
        def answer(request: Request) -> Step:
            return Answer({"data": [{"id": number, "item": number} for number in request.query["ids"].split(",")]})

        server.script("/items", [page(*range(7))])
        server.script("/prices", [answer], repeat=True)
        prices = table(
            "prices", "/prices", ("id",), {"id": "STRING", "item": "STRING"},
            batch=Batch(parameter="ids", column="id", size=3),
        )  # fmt: skip
        sink = sync(connector(server, items(children=(prices,)), workers=2), {})
        assert len(ids(sink, "prices")) == 7
        assert sorted(request.query["ids"] for request in server.requests[1:]) == ["0,1,2", "3,4,5", "6"]


class TestBoundedCache:
    def test_what_was_not_used_for_long_goes_first(self) -> None:
        cache = BoundedCache[str, int](Metrics(), entries=2)
        for key in ("a", "b", "a", "c"):
            cache.get(key, len)
        assert [key in cache for key in ("a", "b", "c")] == [True, False, True]

    def test_it_is_bounded_in_bytes(self) -> None:
        cache = BoundedCache[int, bytes](Metrics(), most_bytes=1000, size_of=len)
        for key in range(50):
            cache.get(key, lambda _: bytes(300))
        assert len(cache) == 3
        assert cache.get(99, lambda _: bytes(2000)) == bytes(2000)
        assert 99 not in cache

    def test_hits_and_misses_are_counted(self) -> None:
        metrics = Metrics()
        cache = BoundedCache[str, int](metrics)
        for key in ("a", "b", "a"):
            cache.get(key, len)
        assert (metrics.cache_hit_count, metrics.cache_miss_count) == (1, 2)

    def test_it_can_be_emptied_between_scopes(self) -> None:
        cache = BoundedCache[str, int](Metrics())
        cache.get("a", len)
        cache.clear()
        assert len(cache) == 0
