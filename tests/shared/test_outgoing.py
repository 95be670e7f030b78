"""Deletes come from evidence only, and what may fail is named and keeps nothing else back."""

from typing import Any

import pytest

from shared import walk
from shared.errors import RecordError, SourceError
from shared.pagination import Token
from shared.topology import Cursor, Table, embedded
from tests import stop_and_resume
from tests.recording import Destination, sync
from tests.shared.rest_tables import CHANGED, connector, ids, items, page, table
from tests.sources.faulty_http import (
    Answer,
    ErrorObject,
    FaultyServer,
    NotFound,
    Reset,
    ServerError,
    Step,
    Unauthorized,
    WrongJson,
)

pytestmark = pytest.mark.usefixtures("every_page")
KEY = {"id": "LONG"}


def part(**declared: Any) -> Table:
    return table("parts", "/items/{id}/parts", ("id",), KEY, **declared)


class TestACompletePassShowsWhatWasDeleted:
    def test_what_it_does_not_meet_is_gone(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, 3), page(1, 3)])
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, items(deletes=True)), {}, destination)
        assert ids(sink) == ["1", "3"]

    @pytest.mark.parametrize("step", [NotFound(), Answer({"data": None})])
    def test_one_that_fails_before_its_end_deletes_nothing(self, server: FaultyServer, step: Step) -> None:
        """A list of some megabytes is held back until it is known to be complete."""
        server.script("/items", [page(1, 2, next="a"), page(3), page(1, next="a"), step])
        paged = items(Token(next_token="next", parameter="at"), deletes=True)
        destination = Destination()
        sync(connector(server, paged), {}, destination)
        with pytest.raises(SourceError):
            sync(connector(server, paged), {}, destination)
        assert len(destination.table("items")) == 3

    def test_nor_one_whose_children_fail(self, server: FaultyServer) -> None:
        server.script("/items", [page(1), page(1)])
        server.script("/items/1/parts", [page(10, 11), NotFound()])
        tree = items(deletes=True, children=(part(deletes=True),))
        destination = Destination()
        sync(connector(server, tree), {}, destination)
        with pytest.raises(SourceError):
            sync(connector(server, tree), {}, destination)
        assert (len(destination.table("items")), len(destination.table("parts"))) == (1, 2)

    def test_nor_one_that_says_it_is_partial(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2), page(1, errors=[{"message": "2 cannot be read"}])])
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, items(deletes=True, problems="errors")), {}, destination)
        assert ids(sink) == ["1", "2"]
        assert len(sink.warnings) == 1

    def test_a_long_list_is_not_held_back(self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(walk, "_HELD_BYTES", 10)
        server.script("/items", [page(1, 2, next="a"), page(3)])
        sink = sync(connector(server, items(Token(next_token="next", parameter="at"), deletes=True)), {})
        assert sink.order[:4] == ["truncate items", "record items", "record items", "checkpoint"]

    def test_with_what_lies_below(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2), page(1)])
        server.script("/items/1/parts", [page(10, 11), page(11)])
        server.script("/items/2/parts", [page(20)])
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, items(deletes=True, children=(part(deletes=True),))), {}, destination)
        assert (ids(sink), ids(sink, "parts")) == (["1"], ["11"])

    def test_what_did_not_change_is_sent_again_since_it_would_count_as_deleted(self, server: FaultyServer) -> None:
        records = [{"id": 1, "changed": "2026-01-01"}, {"id": 2, "changed": "2026-01-02"}]
        server.script("/items", [Answer({"data": records})], repeat=True)
        compared = items(deletes=True, cursor=Cursor(field="changed", format=CHANGED))
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, compared), {}, destination)
        assert ids(sink) == ["1", "2"]

    @pytest.mark.parametrize("step", [NotFound(), Answer({"error": "x"}), Answer({"data": None})])
    def test_a_list_that_cannot_be_read_deletes_nothing(self, server: FaultyServer, step: Step) -> None:
        server.script("/items", [page(1, 2), step])
        destination = Destination()
        sync(connector(server, items(deletes=True)), {}, destination)
        with pytest.raises(SourceError):
            sync(connector(server, items(deletes=True)), {}, destination)
        assert len(destination.table("items")) == 2

    def test_a_feature_that_is_switched_off_deletes_nothing(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2), NotFound(), page(2)])
        optional = items(deletes=True, absent=frozenset({404}))
        destination = Destination()
        for expected in (["1", "2"], ["1", "2"], ["2"]):
            assert ids(sync(connector(server, optional), {}, destination)) == expected

    def test_a_feature_that_is_switched_off_on_the_way_is_an_error(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="a"), NotFound()])
        optional = items(Token(next_token="next", parameter="at"), absent=frozenset({404}))
        with pytest.raises(SourceError, match="status 404"):
            sync(connector(server, optional), {})

    def test_lists_of_which_none_is_there_are_an_error(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2)], repeat=True)
        for item in (1, 2):
            server.script(f"/items/{item}/parts", [page(item * 10), NotFound()])
        tree = items(deletes=True, children=(part(deletes=True, gone=frozenset({404})),))
        destination = Destination()
        sync(connector(server, tree), {}, destination)
        with pytest.raises(SourceError, match="parts: none of its 2 lists is there: check its path /items/{id}/parts"):
            sync(connector(server, tree), {}, destination)
        assert len(destination.table("parts")) == 2

    def test_a_parent_that_was_deleted_meanwhile_has_no_children_left(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2)], repeat=True)
        server.script("/items/1/parts", [page(10)], repeat=True)
        server.script("/items/2/parts", [page(20), NotFound()])
        tree = items(deletes=True, children=(part(deletes=True, gone=frozenset({404})),))
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, tree), {}, destination)
        assert ids(sink, "parts") == ["10"]

    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(self, server: FaultyServer) -> None:
        def answer(request: Any) -> Step:
            at = int(request.query.get("at", 0))
            return page(at, at + 10, next=at + 1 if at < 4 else None)

        server.script("/items", [answer], repeat=True)
        paged = items(Token(next_token="next", parameter="at"), deletes=True)
        assert stop_and_resume.check(connector(server, paged), {}) > 20


class TestTombstones:
    def answer(self, *records: tuple[int, bool]) -> Answer:
        return Answer({"data": [{"id": number, "meta": {"gone": gone}} for number, gone in records]})

    def tombstoned(self) -> Table:
        return table("items", "/items", ("id",), {**KEY, "meta": "JSON"}, tombstone="meta.gone")

    def test_a_record_that_says_it_is_gone_is_deleted(self, server: FaultyServer) -> None:
        server.script("/items", [self.answer((1, False), (2, False)), self.answer((1, True), (3, False))])
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, self.tombstoned()), {}, destination)
        assert ids(sink) == ["2", "3"]

    @pytest.mark.parametrize(("last", "left"), [(True, []), (False, ["1"])])
    def test_the_last_word_on_a_key_counts(self, server: FaultyServer, last: bool, left: list[str]) -> None:
        server.script("/items", [self.answer((1, not last), (1, last))])
        assert ids(sync(connector(server, self.tombstoned()), {})) == left

    def test_what_lay_in_a_record_that_is_gone_goes_with_it(self, server: FaultyServer) -> None:
        lines = embedded("lines", "lines", ("item", "n"), {"item": "LONG", "n": "LONG"}, inherit={"item": "id"})
        tree = table("items", "/items", ("id",), {**KEY, "gone": "BOOLEAN"}, tombstone="gone", children=(lines, part()))
        record = {"id": 1, "lines": [{"n": 1}, {"n": 2}]}
        server.script("/items", [Answer({"data": [record]}), Answer({"data": [{**record, "gone": True}]})])
        server.script("/items/1/parts", [page(10)])
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, tree), {}, destination)
        assert (destination.table("items"), destination.table("lines")) == ([], [])
        assert sink.warnings == ["items: below records that are gone, rows of parts stay"]

    def test_so_does_what_a_list_below_it_still_has_if_it_takes_the_tombstone(self, server: FaultyServer) -> None:
        columns = {**KEY, "gone": "BOOLEAN"}
        parts = table("parts", "/items/{id}/parts", ("id",), columns, inherit={"gone": "gone"}, tombstone="gone")
        tree = table("items", "/items", ("id",), columns, tombstone="gone", children=(parts,))
        server.script("/items", [page(1), Answer({"data": [{"id": 1, "gone": True}]})])
        server.script("/items/1/parts", [page(10)], repeat=True)
        destination = Destination()
        for _ in range(2):
            sink = sync(connector(server, tree), {}, destination)
        assert (destination.table("items"), destination.table("parts"), sink.warnings) == ([], [], [])


class TestWhatMayFailIsNamedAndKeepsNothingElseBack:
    tree = items(children=(part(tolerant=True),))

    def serve(self, server: FaultyServer, step: Step) -> None:
        server.script("/items", [page(1, 2, 3)], repeat=True)
        for item in (1, 3):
            server.script(f"/items/{item}/parts", [page(item * 10)], repeat=True)
        server.script("/items/2/parts", [step], repeat=True)

    @pytest.mark.parametrize("step", [NotFound(), ServerError(500), Answer({"error": "denied"}, 403)])
    @pytest.mark.parametrize("workers", [1, 4])
    def test_a_list_below_a_record(self, server: FaultyServer, step: Step, workers: int) -> None:
        self.serve(server, step)
        sink = sync(connector(server, self.tree, workers=workers), {})
        assert ids(sink, "parts") == ["10", "30"]
        [failure] = sink.destination.table("_errors")
        assert (failure["table"], failure["address"]) == ("parts", "/items/2/parts")
        assert "status" in failure["message"]
        [warning] = sink.warnings
        assert warning.startswith("parts: not all of it could be read or delivered, and _errors names what; the first:")

    @pytest.mark.parametrize("step", [ErrorObject({"error": "x"}), WrongJson("<html>"), Reset()], ids=repr)
    def test_whatever_way_it_fails(self, server: FaultyServer, step: Step) -> None:
        self.serve(server, step)
        assert ids(sync(connector(server, self.tree), {}), "parts") == ["10", "30"]

    def test_a_server_that_is_away_is_no_failure_of_single_lists(self, server: FaultyServer) -> None:
        server.script("/items", [page(*range(20))])
        for item in range(20):
            server.script(f"/items/{item}/parts", [Reset()], repeat=True)
        with pytest.raises(SourceError, match="cannot reach"):
            sync(connector(server, self.tree), {})

    def test_failures_of_lists_that_differ_in_parameters_are_rows_of_their_own(self, server: FaultyServer) -> None:
        asked = table("parts", "/parts", ("id",), KEY, params={"item": "{id}"}, tolerant=True)
        server.script("/items", [page(1, 2, 3)])
        server.script("/parts", [NotFound()], repeat=True)
        sink = sync(connector(server, items(children=(asked,))), {})
        assert [row["key"] for row in sink.destination.table("_errors")] == [f"/parts?id={item}" for item in (1, 2, 3)]

    def test_a_later_page_that_fails_is_told_also_where_the_first_may(self, server: FaultyServer) -> None:
        paged = part(absent=frozenset({404}), pagination=Token(next_token="next", parameter="at"))
        server.script("/items", [page(1)])
        server.script("/items/1/parts", [page(10, next="a"), NotFound()])
        with pytest.raises(SourceError, match="status 404"):
            sync(connector(server, items(children=(paged,))), {})

    def test_what_concerns_all_calls_fails_the_sync(self, server: FaultyServer) -> None:
        self.serve(server, Unauthorized())
        with pytest.raises(SourceError, match="status 401"):
            sync(connector(server, self.tree), {})

    def test_a_record_that_cannot_be_delivered(self, server: FaultyServer) -> None:
        self.serve(server, Answer({"data": [{"id": 20}, {"id": "x"}, {"id": None}, {"id": 21}]}))
        sink = sync(connector(server, self.tree), {})
        assert ids(sink, "parts") == ["10", "20", "21", "30"]
        assert len(sink.destination.table("_errors")) == 2

    def test_of_a_table_that_is_not_tolerant_fails_the_sync(self, server: FaultyServer) -> None:
        self.serve(server, Answer({"data": [{"id": "x"}]}))
        with pytest.raises(RecordError, match="table parts, record id='x': column id: expected a whole number"):
            sync(connector(server, items(children=(part(),))), {})

    def test_a_feature_that_is_off_for_one_parent_is_no_failure(self, server: FaultyServer) -> None:
        self.serve(server, NotFound())
        sink = sync(connector(server, items(children=(part(absent=frozenset({404})),))), {})
        assert (ids(sink, "parts"), sink.warnings) == (["10", "30"], [])


class TestWhatLiesInTheParentsRecords:
    def test_with_a_cursor_too(self, server: FaultyServer) -> None:
        columns = {"n": "LONG", "changed": "STRING"}
        lines = embedded("lines", "lines", ("n",), columns, cursor=Cursor(field="changed", format=CHANGED))
        rows = [{"n": number, "changed": "2026-01-01"} for number in range(3)]
        server.script("/items", [Answer({"data": [{"id": 1, "lines": rows}]})])
        assert len(sync(connector(server, items(children=(lines,))), {}).destination.table("lines")) == 3

    def test_is_a_table_of_its_own_without_a_call(self, server: FaultyServer) -> None:
        lines = embedded("lines", "lines", ("item", "n"), {"item": "LONG", "n": "LONG"}, inherit={"item": "id"})
        server.script("/items", [Answer({"data": [{"id": 1, "lines": [{"n": 1}, {"n": 2}]}, {"id": 2}]})])
        sink = sync(connector(server, table("items", "/items", ("id",), KEY, children=(lines,))), {})
        assert sink.warnings == []  # what is a table of its own need not be a column as well
        assert [(row["item"], row["n"]) for row in sink.destination.table("lines")] == [("1", "1"), ("1", "2")]
        assert len(server.requests) == 1

    def test_may_be_made_by_a_function_and_have_lists_of_its_own(self, server: FaultyServer) -> None:
        grains = table("grains", "/lines/{n}", ("id",), KEY)
        lines = embedded(
            "lines", lambda record: ({"n": n} for n in range(record["id"])), ("n",), {"n": "LONG"}, children=(grains,)
        )  # fmt: skip
        server.script("/items", [page(2)])
        for number in (0, 1):
            server.script(f"/lines/{number}", [page(number)])
        assert ids(sync(connector(server, items(children=(lines,))), {}), "grains") == ["0", "1"]

    def test_that_is_no_list_names_the_record(self, server: FaultyServer) -> None:
        lines = embedded("lines", "lines", ("n",), {"n": "LONG"})
        server.script("/items", [Answer({"data": [{"id": 7, "lines": "none"}]})])
        with pytest.raises(
            RecordError, match="table items, record id=7: lines is no list of objects, which table lines"
        ):
            sync(connector(server, items(children=(lines,))), {})
