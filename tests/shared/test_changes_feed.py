"""A feed says what changed, and each record is read as it is now; where no feed can tell, the list is read whole."""

from functools import partial
from typing import Any

import pytest

from shared.errors import SourceError
from shared.pagination import TimeWindows, Token
from shared.topology import Changes, Table
from tests import stop_and_resume
from tests.recording import Destination, Sink, sync
from tests.shared.rest_tables import connector, ids, items, table
from tests.sources.faulty_http import Answer, FaultyServer, NotFound, ServerError, Step
from tests.sources.http_thread import Request

pytestmark = pytest.mark.usefixtures("every_page")


class Source:
    """Items that change, with a feed of their changes, newest first, two a page and with an empty page first."""

    def __init__(self, server: FaultyServer) -> None:
        self.server = server
        self.items: dict[int, str] = {1: "a", 2: "b", 3: "c"}
        self.feed: list[dict[str, Any]] = []
        self.has_feed = True
        server.script("/items", [self._list], repeat=True)
        server.script("/feed", [self._feed], repeat=True)
        for number in range(1, 10):
            server.script(f"/items/{number}", [partial(self._one, number)], repeat=True)

    def change(self, number: int, name: str | None, **entry: Any) -> None:
        """Sets an item's name, or removes it."""
        if name is None:
            self.items.pop(number)
        else:
            self.items[number] = name
        self.feed.insert(0, {"item": {"id": number}, "version": len(self.feed), **entry})

    def _list(self, request: Request) -> Step:
        return Answer({"data": [{"id": number, "name": name} for number, name in self.items.items()]})

    def _feed(self, request: Request) -> Step:
        if not self.has_feed:
            return NotFound()
        at = int(request.query.get("at", -2))
        found = self.feed[at : at + 2] if at >= 0 else []
        return Answer({"data": found, "next": at + 2 if at + 2 < len(self.feed) else None})

    def _one(self, number: int, _: Request) -> Step:
        return Answer({"id": number, "name": self.items[number]}) if number in self.items else NotFound()

    def names(self, sink: Sink) -> dict[int, str]:
        return {int(row["id"]): row["name"] for row in sink.destination.table("items")}

    def asked(self, path: str) -> int:
        return sum(request.path == path for request in self.server.requests)


def followed(**declared: Any) -> Table:
    windows = TimeWindows(
        start_parameter="from",
        end_parameter="to",
        format="epoch_ms",
        window=10**9,
        first="0",
        pages=Token(next_token="next", parameter="at"),
    )
    changes = Changes(
        path="/feed", entry_key="item.id", record="/items/{id}", records="data", pagination=windows,
        is_beyond=lambda entry: bool(entry.get("beyond")), **declared.pop("of_the_feed", {}),
    )  # fmt: skip
    return items(changes=changes, deletes=True, **declared)


@pytest.fixture
def source(server: FaultyServer) -> Source:
    return Source(server)


class TestAfterAWholePassOnlyChangesAreRead:
    @pytest.mark.parametrize("workers", [1, 3])
    def test_changed_added_and_removed_records_arrive(self, source: Source, workers: int) -> None:
        destination = Destination()
        follow = connector(source.server, followed(), workers=workers)
        sync(follow, {}, destination)
        source.change(1, "A")
        source.change(4, "d")
        source.change(2, None)
        sink = sync(follow, {}, destination)
        assert source.names(sink) == {1: "A", 3: "c", 4: "d"}
        assert (source.asked("/items"), sink.upserts) == (1, {"items": 2})

    def test_a_record_that_changed_often_is_read_once(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        for number in range(7):
            source.change(1, f"version {number}")
        sink = sync(connector(source.server, followed()), {}, destination)
        assert source.names(sink)[1] == "version 6"
        assert source.asked("/items/1") == 1

    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(self, source: Source) -> None:
        follow = connector(source.server, followed())
        destination = Destination()
        sync(follow, {}, destination)
        for number in (1, 2, 3, 4, 5, 6):
            source.change(number, f"new {number}")
        source.change(2, None)
        expected = {number: source.items[number] for number in (1, 3, 4, 5, 6)}
        before = destination.after_crash()
        for stop_at in range(1, sync(follow, {}, before).operations + 1):
            killed = sync(follow, {}, destination.after_crash(), stop_at=stop_at)
            assert source.names(sync(follow, {}, killed.destination.after_crash())) == expected
        assert stop_at > 8

    def test_the_first_pass_may_be_stopped_anywhere(self, source: Source) -> None:
        assert stop_and_resume.check(connector(source.server, followed()), {}) > 2

    def test_a_saved_position_that_the_feed_refuses_starts_it_again(self, source: Source) -> None:
        destination = Destination()
        follow = connector(source.server, followed())
        sync(follow, {}, destination)
        for number in (1, 2, 3, 4, 5):
            source.change(number, "new")
        sync(follow, {}, destination, stop_at=3)
        destination = destination.after_crash()
        position = destination.committed["streams"]["items"]
        assert position["pass"]["kind"] == "changes"
        position["pass"]["at"]["at"] = "expired"
        steps = iter([Answer({"error": "cursor"}, 400)])
        source.server.script("/feed", [lambda request: next(steps, None) or source._feed(request)], repeat=True)
        sink = sync(follow, {}, destination)
        assert any("no longer accepts the saved position" in warning for warning in sink.warnings)
        assert set(source.names(sink).values()) == {"new"}


class TestTheWholeListIsReadWhereAFeedCannotTell:
    def test_a_server_without_a_feed(self, source: Source) -> None:
        source.has_feed = False
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(source.server, followed()), {}, destination)
            source.change(2, None) if 2 in source.items else None
        assert source.names(sink) == {1: "a", 3: "c"}

    def test_a_change_that_only_the_list_shows(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        source.items.pop(3)
        source.change(1, "A", beyond=True)
        sink = sync(connector(source.server, followed()), {}, destination)
        assert (source.names(sink), source.asked("/items")) == ({1: "A", 2: "b"}, 2)

    def test_a_table_that_the_connector_names(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        source.items.pop(3)
        sink = sync(connector(source.server, followed(), whole=("items",)), {}, destination)
        assert source.names(sink) == {1: "a", 2: "b"}

    def test_a_list_that_was_not_read_whole_for_long(self, source: Source) -> None:
        destination = Destination()
        for _ in range(2):
            sync(connector(source.server, followed(of_the_feed={"whole_after": 1e-6})), {}, destination)
        assert (source.asked("/items"), source.asked("/feed")) == (2, 0)

    def test_a_removed_record_that_others_lay_below(self, source: Source) -> None:
        parts = table("parts", "/parts/{id}", ("id",), {"id": "LONG"}, deletes=True)
        for number in range(1, 4):
            source.server.script(f"/parts/{number}", [Answer({"data": [{"id": number * 10}]})], repeat=True)
        destination = Destination()
        follow = connector(source.server, followed(children=(parts,)))
        sync(follow, {}, destination)
        source.change(2, None)
        sink = sync(follow, {}, destination)
        assert ids(sink, "parts") == ["10", "30"]


class TestAFeedThatFailsLosesNothing:
    def test_a_failing_feed_fails_the_sync_with_the_state_unmoved(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        before = destination.committed
        source.server.script("/feed", [ServerError(503)], repeat=True)
        with pytest.raises(SourceError, match="/feed"):
            sync(connector(source.server, followed()), {}, destination)
        assert destination.committed == before

    def test_an_entry_that_names_no_record_is_an_error(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        source.feed = [{"item": {}}]
        with pytest.raises(
            SourceError, match="/feed.* has a change of table items at item.id that cannot be looked up"
        ):
            sync(connector(source.server, followed()), {}, destination)

    def test_a_key_that_the_feed_writes_as_text_is_that_of_the_table(self, source: Source) -> None:
        destination = Destination()
        sync(connector(source.server, followed()), {}, destination)
        source.change(2, None)
        source.feed[0]["item"]["id"] = "2"
        assert source.names(sync(connector(source.server, followed()), {}, destination)) == {1: "a", 3: "c"}

    def test_of_a_table_that_is_left_out_nothing_is_deleted(self, source: Source) -> None:
        parts = table("parts", "/parts/{id}", ("id",), {"id": "LONG"}, deletes=True)
        for number in range(1, 4):
            source.server.script(f"/parts/{number}", [Answer({"data": [{"id": number}]})], repeat=True)
        left_out = connector(source.server, followed(delivered=False, children=(parts,)))
        destination = Destination()
        sync(left_out, {}, destination)
        source.change(2, None)
        assert "items" not in str(sync(left_out, {}, destination).order)
