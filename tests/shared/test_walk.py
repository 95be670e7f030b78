"""The tree is walked depth first, every record arrives once, and the state passes a page with its children."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import walk
from shared.errors import RecordError, SourceError
from shared.pagination import NextLink, Offset, SinglePage, TimeWindows, Token
from shared.topology import Batch, Cursor, Table, embedded
from tests import stop_and_resume
from tests.recording import Destination, sync
from tests.shared.rest_tables import CHANGED, ITEM, connector, ids, items, page, table
from tests.sources import faulty_http
from tests.sources.faulty_http import Answer, ErrorObject, FaultyServer, NotFound, Step, WrongJson

pytestmark = pytest.mark.usefixtures("every_page")


class TestListsAreReadToTheirEnd:
    def test_an_empty_page_in_the_middle_ends_nothing(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="a"), page(next="b"), page(2)])
        sink = sync(connector(server, items(Token(next_token="next", parameter="at"))), {})
        assert ids(sink) == ["1", "2"]
        assert [request.query for request in server.requests] == [{}, {"at": "a"}, {"at": "b"}]

    def test_a_list_that_goes_round_is_an_error_that_names_it(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="a"), page(2, next="b"), page(3, next="a")])
        with pytest.raises(SourceError, match=r"/items\?at=b names a next page that was read before \('a'\)"):
            sync(connector(server, items(Token(next_token="next", parameter="at"))), {})

    def test_fewer_rows_than_promised_on_the_first_page_warn_with_both_numbers(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, total=5, next="a"), page(3)])
        sink = sync(connector(server, items(Token(next_token="next", parameter="at", total="total"))), {})
        assert any("promised 5 rows and gave 3" in warning for warning in sink.warnings)

    def test_as_many_rows_as_promised_warn_of_nothing(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, total=3), page(3, total=3)])
        sink = sync(connector(server, items(Offset(size=2, total="total"))), {})
        assert (ids(sink), sink.warnings) == (["1", "2", "3"], [])

    def test_a_relative_next_link_is_followed_without_doubling_parameters(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="/items?page=2&size=9"), page(2, next=None)])
        sync(connector(server, items(NextLink(next_link="next"), params={"size": "9"})), {})
        assert [request.query for request in server.requests] == [{"size": "9"}, {"page": "2", "size": "9"}]


class TestAnUnexpectedShapeIsAnErrorWithTheAddress:
    @pytest.mark.parametrize(
        "step",
        [
            ErrorObject({"error": "no such tenant"}),
            Answer([]),
            Answer({"data": None}),
            Answer({"data": {"id": 1}}),
            Answer({"data": [1, 2]}),
            WrongJson("null"),
        ],
        ids=repr,
    )
    def test_never_an_empty_page(self, server: FaultyServer, step: Step) -> None:
        server.script("/items", [step])
        with pytest.raises(SourceError, match="/items holds no list of records at .data."):
            sync(connector(server, items()), {})

    def test_the_error_shows_the_start_of_the_body(self, server: FaultyServer) -> None:
        server.script("/items", [ErrorObject({"error": "no such tenant"})])
        with pytest.raises(SourceError, match="no such tenant"):
            sync(connector(server, items()), {})

    def test_a_bare_array_is_declared_with_an_empty_path(self, server: FaultyServer) -> None:
        server.script("/items", [Answer([{"id": 1}])])
        assert ids(sync(connector(server, items(records="")), {})) == ["1"]

    def test_a_record_without_its_key_is_named(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"name": "x"}]})])
        with pytest.raises(
            RecordError, match="table items, record id=None: .*/items holds it without its whole primary key"
        ):
            sync(connector(server, items()), {})

    def test_a_value_that_does_not_fit_names_table_key_and_column(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"id": 1, "name": "a\0"}]})])
        with pytest.raises(RecordError, match="table items, record id=1: column name: holds a NUL"):
            sync(connector(server, items()), {})

    def test_fields_nobody_declared_are_kept_and_told_once(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"id": 1, "new": "00123"}, {"id": 2, "new": 1.5}]})])
        sink = sync(connector(server, items()), {})
        assert [row["_undeclared"] for row in sink.destination.table("items")] == ['{"new": "00123"}', '{"new": 1.5}']
        assert sink.warnings == ["items: fields that no column is declared for are kept in _undeclared: new"]


class TestIncremental:
    since = Cursor(field="changed", format=CHANGED, parameter="since")

    def changed(self, *days: int) -> Answer:
        return Answer({"data": [{"id": day, "changed": f"2026-01-{day:02}"} for day in days]})

    def test_the_next_sync_asks_from_the_last_change_on(self, server: FaultyServer) -> None:
        destination = Destination()
        for step in (self.changed(3, 1, 2), self.changed(3, 4)):
            server.script("/items", [step])
            sync(connector(server, items(cursor=self.since)), {}, destination)
        assert [request.query for request in server.requests] == [{}, {"since": "2026-01-03"}]
        assert len(destination.table("items")) == 4

    def test_a_sync_of_no_rows_keeps_its_cursor(self, server: FaultyServer) -> None:
        destination = Destination()
        for step in (self.changed(3), self.changed(), self.changed()):
            server.script("/items", [step])
            sync(connector(server, items(cursor=self.since)), {}, destination)
        assert server.requests[-1].query == {"since": "2026-01-03"}

    def test_a_cursor_never_passes_the_start_of_the_pass(self, server: FaultyServer) -> None:
        """A change behind the page under way must be asked for again, however new the rows ahead of it are."""
        future = Answer({"data": [{"id": 1, "changed": "2999-01-01"}]})
        server.script("/items", [future, self.changed()])
        destination = Destination()
        sync(connector(server, items(cursor=self.since)), {}, destination)
        sync(connector(server, items(cursor=self.since)), {}, destination)
        assert server.requests[-1].query["since"] <= datetime.now(UTC).strftime(CHANGED)

    def test_newest_first_pages_do_not_move_the_cursor_before_the_end(self, server: FaultyServer) -> None:
        table = items(Token(next_token="next", parameter="at"), cursor=self.since)
        newest = Answer({"data": [{"id": 9, "changed": "2026-01-09"}], "next": "a"})
        server.script("/items", [newest, NotFound(), self.changed(1)])
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, table), {}, destination)
        sync(connector(server, table), {}, destination)
        assert [request.query for request in server.requests][-1] == {"at": "a"}
        assert len(destination.table("items")) == 2

    def test_another_address_or_declaration_is_read_from_the_beginning_and_said(self, server: FaultyServer) -> None:
        destination = Destination()
        server.script("/items", [self.changed(3), self.changed(1, 3), self.changed(1, 3)])
        sync(connector(server, items(cursor=self.since)), {}, destination)
        with faulty_http.start() as other:
            other.script("/items", [self.changed(1)])
            sink = sync(connector(other, items(cursor=self.since)), {}, destination)
        assert (sink.upserts, other.requests[0].query) == ({"items": 1}, {})
        assert any("address has changed, so it is read whole" in warning for warning in sink.warnings)
        more = Table(
            "items", "/items", ("id",), {**ITEM, "new": "STRING"},
            records="data", pagination=SinglePage(), cursor=self.since,
        )  # fmt: skip
        assert sync(connector(server, more), {}, destination).upserts == {"items": 2}

    @pytest.mark.parametrize("value", [20260101, "2026-01-01T00:00:00", ["2026-01-01"]])
    def test_every_value_of_a_cursor_has_its_format(self, server: FaultyServer, value: Any) -> None:
        server.script("/items", [Answer({"data": [{"id": 1, "changed": "2026-12-31"}, {"id": 2, "changed": value}]})])
        with pytest.raises(SourceError, match="in its cursor field changed, which is not of its format"):
            sync(connector(server, items(cursor=self.since)), {})

    @pytest.mark.parametrize(
        ("format_", "old", "new"),
        [
            ("%Y-%m-%dT%H:%M:%S.%fZ", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.55Z"),
            ("%d.%m.%Y", "31.01.2026", "01.02.2026"),
            ("%Y-%m-%dT%H:%M:%S%z", "2026-01-01T09:00:00+02:00", "2026-01-01T08:30:00+01:00"),
        ],
    )
    def test_cursors_compare_as_times_not_as_text(self, server: FaultyServer, format_: str, old: str, new: str) -> None:
        cursor = Cursor(field="changed", format=format_)
        records = [[{"id": 1, "changed": old}], [{"id": 1, "changed": old}, {"id": 2, "changed": new}]]
        server.script("/items", [Answer({"data": page}) for page in records])
        destination = Destination()
        for _ in records:
            sync(connector(server, items(cursor=cursor)), {}, destination)
        assert len(destination.table("items")) == 2

    def test_a_cursor_of_another_format_is_named(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"id": 1, "changed": "01.02.2026"}]})])
        with pytest.raises(SourceError, match="cursor field changed, which is not of its format"):
            sync(connector(server, items(cursor=self.since)), {})


class TestCursorsThatAreNumbers:
    """Numbers that grow with every change: one given while the list is read may lie behind the page under way."""

    @staticmethod
    def numbered(ordered: bool) -> Table:
        return table(
            "items",
            "/items",
            ("id",),
            {"id": "LONG", "n": "LONG"},
            pagination=Token(next_token="next", parameter="at"),
            cursor=Cursor(field="n", format="number", parameter="since", ordered=ordered),
        )

    @pytest.mark.parametrize("ordered", [False, True])  # wrongly declared: what comes shows it
    def test_a_change_behind_the_page_under_way_is_asked_for_again(self, server: FaultyServer, ordered: bool) -> None:
        # Record 1 changes (11) when its page was read, record 2 (12) before its page is.
        first = [
            Answer({"data": [{"id": 1, "n": 9}, {"id": 3, "n": 10}], "next": "a"}),
            Answer({"data": [{"id": 2, "n": 8}]}),
        ]
        second = [
            Answer({"data": [{"id": 1, "n": 9}], "next": "a"}),
            Answer({"data": [{"id": 2, "n": 12}, {"id": 4, "n": 7}]}),
        ]
        third = [Answer({"data": [{"id": 1, "n": 11}, {"id": 2, "n": 12}]})]
        server.script("/items", [*first, *second, *third])
        destination = Destination()
        for _ in range(3):
            sync(connector(server, self.numbered(ordered)), {}, destination)
        asked = [request.query.get("since") for request in server.requests if "at" not in request.query]
        assert asked == [None, None, "10"]
        assert {row["id"]: row["n"] for row in destination.table("items")}["1"] == "11"

    def test_of_a_list_in_their_order_only_what_is_new_is_asked_for(self, server: FaultyServer) -> None:
        pages = [Answer({"data": [{"id": 1, "n": 1}], "next": "a"}), Answer({"data": [{"id": 2, "n": 2}]})]
        server.script("/items", [*pages, Answer({"data": []})])
        destination = Destination()
        for _ in range(2):
            sync(connector(server, self.numbered(ordered=True)), {}, destination)
        assert server.requests[-1].query["since"] == "2"


class TestStatesThatWereEdited:
    @pytest.mark.parametrize(
        "damage",
        [
            {"since": []}, {"complete": "yesterday"}, {"complete": 7}, {"round": "x"}, {"pass": {"at": 1}},
            {"pass": {"kind": "whole", "at": 1, "rows": 1, "total": None, "started": "x"}}, {"pass": 3},
            {"since": {"items": "yesterday"}},
            {"pass": {"kind": "whole", "at": "x", "rows": 1, "total": None, "started": "2026-01-01T00:00:00+00:00"}},
        ],
    )  # fmt: skip
    def test_are_an_error_that_says_what_to_do(self, server: FaultyServer, damage: dict[str, Any]) -> None:
        dated = items(Offset(), cursor=Cursor(field="changed", format=CHANGED))
        server.script("/items", [page(1), page()], repeat=True)
        destination = Destination()
        sync(connector(server, dated), {}, destination)
        destination.committed["streams"]["items"].update(damage)
        with pytest.raises(SourceError, match="the saved state of items is damaged: reset the connection"):
            sync(connector(server, dated), {}, destination)

    def test_parts_that_a_later_version_wrote_are_passed_over(self, server: FaultyServer) -> None:
        server.script("/items", [page(1)], repeat=True)
        destination = Destination()
        sync(connector(server, items()), {}, destination)
        destination.committed["streams"]["items"]["colour"] = "green"
        assert ids(sync(connector(server, items()), {}, destination)) == ["1"]


class TestParentsAndChildren:
    child = table("parts", "/items/{id}/parts", ("item", "part"), {"item": "LONG", "part": "LONG"})
    tree = items(Token(next_token="next", parameter="at"), children=(child,))

    def serve(self, server: FaultyServer) -> None:
        server.script("/items", [self.parents], repeat=True)
        for item in (1, 2, 3):
            parts = [{"item": item, "part": part} for part in range(item)]
            server.script(f"/items/{item}/parts", [Answer({"data": parts})], repeat=True)

    @staticmethod
    def parents(request: Any) -> Step:
        return page(3) if request.query else page(1, 2, next="a")

    def test_children_of_a_page_come_before_the_next_page(self, server: FaultyServer) -> None:
        self.serve(server)
        sink = sync(connector(server, self.tree), {})
        assert [request.path for request in server.requests] == [
            "/items", "/items/1/parts", "/items/2/parts", "/items", "/items/3/parts",
        ]  # fmt: skip
        assert sink.upserts == {"items": 3, "parts": 6}

    def test_the_state_passes_a_page_only_with_its_children(self, server: FaultyServer) -> None:
        self.serve(server)
        sink = sync(connector(server, self.tree), {})
        first = sink.order.index("checkpoint")
        assert sink.order[:first] == ["record items"] * 2 + ["record parts"] * 3

    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(self, server: FaultyServer) -> None:
        self.serve(server)
        assert stop_and_resume.check(connector(server, self.tree), {}) >= 20

    def test_a_child_that_fails_fails_the_page(self, server: FaultyServer) -> None:
        self.serve(server)
        server.script("/items/2/parts", [NotFound()], repeat=True)
        destination = Destination()
        with pytest.raises(SourceError, match="/items/2/parts answered with status 404"):
            sync(connector(server, self.tree), {}, destination)
        assert destination.committed == {}

    def test_names_in_a_path_are_quoted(self, server: FaultyServer) -> None:
        parent = table("items", "/items", ("id",), {"id": "STRING"}, children=(self.child,))
        server.script("/items", [Answer({"data": [{"id": "a/b?c"}]})])
        server.script("/items/a%2Fb%3Fc/parts", [Answer({"data": []})])
        sync(connector(server, parent), {})
        assert server.unexpected == []

    @pytest.mark.parametrize("parameter", ["", "since"])
    def test_old_descendants_of_a_new_record_arrive(self, server: FaultyServer, parameter: str) -> None:
        cursor = Cursor(field="changed", format=CHANGED, parameter=parameter)
        columns = {"id": "LONG", "changed": "STRING"}
        grandchild = table("grains", "/parts/{id}/grains", ("id",), columns, cursor=cursor)
        child = table("parts", "/items/{id}/parts", ("id",), columns, cursor=cursor, children=(grandchild,))
        tree = connector(server, items(cursor=Cursor(field="changed", format=CHANGED), children=(child,)))

        def old_only_if_asked_whole(request: Any) -> Step:
            number = int(request.path.split("/")[2])
            date = "2026-01-05" if number == 1 else "2025-01-01"
            known = [{"id": number, "changed": date}] if date >= request.query.get("since", "") else []
            return Answer({"data": known})

        for path in ("/items/1/parts", "/items/2/parts", "/parts/1/grains", "/parts/2/grains"):
            server.script(path, [old_only_if_asked_whole], repeat=True)
        destination = Destination()
        for records in ([1], [1, 2]):
            dated = [{"id": number, "changed": f"2026-01-0{4 + number}"} for number in records]
            server.script("/items", [Answer({"data": dated})])
            sync(tree, {}, destination)
        assert sorted(row["id"] for row in destination.table("parts")) == ["1", "2"]
        assert sorted(row["id"] for row in destination.table("grains")) == ["1", "2"]

    def test_a_child_takes_what_it_lacks_from_its_parents(self, server: FaultyServer) -> None:
        grandchild = table(
            "grains", "/items/{item}/parts/{part}", ("item", "part", "grain"),
            {"item": "LONG", "part": "LONG", "grain": "LONG"}, inherit={"item": "item", "part": "part"},
        )  # fmt: skip
        child = table(
            "parts", "/items/{id}/parts", ("item", "part"), {"item": "LONG", "part": "LONG"},
            inherit={"item": "id"}, children=(grandchild,),
        )  # fmt: skip
        server.script("/items", [page(1, 2)])
        for item in (1, 2):
            server.script(f"/items/{item}/parts", [Answer({"data": [{"part": 7}]})])
            server.script(f"/items/{item}/parts/7", [Answer({"data": [{"grain": 0}]})])
        sink = sync(connector(server, items(children=(child,))), {})
        assert len(sink.destination.table("parts")) == 2
        assert sorted(row["item"] for row in sink.destination.table("grains")) == ["1", "2"]

    @pytest.mark.parametrize("value", ["", ".", "..", None])
    def test_a_parent_that_cannot_stand_in_a_path_is_named(self, server: FaultyServer, value: str | None) -> None:
        child = table("parts", "/items/{name}/parts", ("part",), {"part": "LONG"})
        server.script("/items", [Answer({"data": [{"id": 1, "name": value}]})])
        with pytest.raises(RecordError, match="table items, record id=1: name is .*, which /items/{name}/parts cannot"):
            sync(connector(server, items(children=(child,))), {})

    def test_children_of_a_parent_that_was_written_late_are_read_whole(self, server: FaultyServer) -> None:
        late = Cursor(field="changed", format=CHANGED, parameter="since", lookback=5 * 86_400)
        since = Cursor(field="changed", format=CHANGED, parameter="since")
        columns = {"id": "LONG", "changed": "STRING"}
        parts = table("parts", "/items/{id}/parts", ("id",), columns, cursor=since)
        on = Answer({"data": [{"id": 1, "changed": "2026-01-10"}]})
        server.script("/items", [on, Answer({"data": [{"id": 2, "changed": "2026-01-09"}]})])
        server.script("/items/1/parts", [on])
        server.script("/items/2/parts", [Answer({"data": [{"id": 20, "changed": "2026-01-08"}]})])
        destination = Destination()
        for _ in range(2):
            sync(connector(server, items(cursor=late, children=(parts,))), {}, destination)
        assert "since" not in server.requests[-1].query
        assert {row["id"] for row in destination.table("parts")} == {"1", "20"}

    def test_a_batch_cannot_hold_its_own_separator(self, server: FaultyServer) -> None:
        batch = Batch(parameter="names", column="name")
        child = table("parts", "/parts", ("part",), {"part": "LONG"}, batch=batch)
        server.script("/items", [Answer({"data": [{"id": 1, "name": "a,b"}]})])
        with pytest.raises(
            RecordError, match="table items has 'a,b' in name, which holds the separator of parts's batch"
        ):
            sync(connector(server, items(children=(child,))), {})

    def test_children_of_a_changed_parent_are_read_whole(self, server: FaultyServer) -> None:
        cursor = Cursor(field="changed", format=CHANGED)
        child = table(
            "parts", "/items/{id}/parts", ("part",), {"part": "LONG", "changed": "STRING"},
            cursor=Cursor(field="changed", format=CHANGED, parameter="since"),
        )  # fmt: skip
        old, new = {"id": 1, "changed": "2026-01-01"}, {"id": 2, "changed": "2026-01-02"}
        server.script("/items", [Answer({"data": [old, new]})], repeat=True)
        for item in (1, 2):
            parts = [{"part": item, "changed": "2026-01-01"}]
            server.script(f"/items/{item}/parts", [Answer({"data": parts})], repeat=True)
        destination = Destination()
        tree = connector(server, items(cursor=cursor, children=(child,)))
        sync(tree, {}, destination)
        second = sync(tree, {}, destination)
        asked = {request.path: request.query for request in server.requests[3:]}
        assert asked["/items/1/parts"] == {"since": "2026-01-01"}
        assert asked["/items/2/parts"] == {}
        assert second.upserts["items"] == 1


class TestResuming:
    def answer(self, request: Any) -> Step:
        at = int(request.query.get("at", 0))
        return page(at, at + 100, next=str(at + 1) if at < 8 else None, total=18)

    def test_stopped_anywhere_it_ends_as_if_nothing_had_happened(self, server: FaultyServer) -> None:
        server.script("/items", [self.answer], repeat=True)
        table = items(Token(next_token="next", parameter="at", total="total"))
        assert stop_and_resume.check(connector(server, table), {}) >= 40
        assert stop_and_resume.check_dying_again_and_again(connector(server, table), {}, operations=5) > 2

    def test_a_resumed_list_still_compares_its_total(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, total=5, next="a"), NotFound(), page(3)])
        table = items(Token(next_token="next", parameter="at", total="total"))
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, table), {}, destination)
        sink = sync(connector(server, table), {}, destination)
        assert any("promised 5 rows and gave 3" in warning for warning in sink.warnings)

    def test_a_link_that_holds_a_secret_is_followed_but_neither_saved_nor_shown(self, server: FaultyServer) -> None:
        link = "/items?page=2&api_key=hunter2"
        server.script("/items", [page(1, next=link), page(2, next=link)])
        destination = Destination()
        with pytest.raises(SourceError, match="the list goes round") as told:
            sync(connector(server, items(NextLink(next_link="next"))), {}, destination)
        assert server.requests[1].query["api_key"] == "hunter2"
        assert "hunter2" not in str(told.value) + str(destination.committed)

    def test_a_position_the_server_forgot_starts_the_pass_again_and_says_so(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="a"), NotFound(), NotFound(), page(1, next="b"), page(2)])
        table = items(Token(next_token="next", parameter="at"))
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, table), {}, destination)
        sink = sync(connector(server, table), {}, destination)
        assert any("no longer accepts the saved position" in warning for warning in sink.warnings)
        assert ids(sink) == ["1", "2"]

    def test_so_does_one_that_it_refuses_with_status_200(self, server: FaultyServer) -> None:
        expired = ErrorObject({"error": "cursor expired"})
        server.script("/items", [page(1, next="a"), NotFound(), expired, page(1, next="b"), page(2)])
        table = items(Token(next_token="next", parameter="at"))
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, table), {}, destination)
        assert ids(sync(connector(server, table), {}, destination)) == ["1", "2"]

    def test_time_windows_that_the_server_refuses_begin_anew_from_now(self, server: FaultyServer) -> None:
        windows = TimeWindows(start_parameter="from", end_parameter="to", format="epoch_ms", window=60, reach=120)
        server.script("/items", [page(1), NotFound(), Answer({"error": "too old"}, 400), page(2), page(3)])
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, items(windows)), {}, destination)
        sync(connector(server, items(windows)), {}, destination)
        refused, anew = (int(request.query["from"]) for request in server.requests[2:4])
        assert refused - 61_000 < anew < refused  # the second window of the one pass, the first of the other
        assert len(server.requests) == 5


class TestAfterACompletePass:
    tree = items(
        Token(next_token="next", parameter="at"),
        children=(table("parts", "/items/{id}/parts", ("part",), {"part": "LONG"}),),
        after=(
            table("totals", "/totals", ("id",), {"id": "LONG"}),
            embedded("passes", lambda done: [done], ("started",), {"started": "UTC_DATETIME", "rows": "LONG"}),
        ),
    )

    def serve(self, server: FaultyServer, second: Step) -> None:
        server.script("/items", [page(1, next="a"), second], repeat=True)
        for item in (1, 2):
            server.script(f"/items/{item}/parts", [Answer({"data": [{"part": item}]})], repeat=True)
        server.script("/totals", [page(7)], repeat=True)

    def test_what_comes_after_is_read_last(self, server: FaultyServer) -> None:
        self.serve(server, page(2))
        sink = sync(connector(server, self.tree), {})
        assert server.requests[-1].path == "/totals"
        assert sink.upserts == {"items": 2, "parts": 2, "totals": 1, "passes": 1}
        assert [row["rows"] for row in sink.destination.table("passes")] == ["2"]

    def test_and_not_at_all_after_an_incomplete_one(self, server: FaultyServer) -> None:
        self.serve(server, NotFound())
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, self.tree), {}, destination)
        assert "/totals" not in [request.path for request in server.requests]
        assert not destination.table("passes")


class TestSyncsThatAreStoppedAgainAndAgain:
    def test_reach_the_last_table(self, server: FaultyServer) -> None:
        names = [f"t{number}" for number in range(5)]
        for name in names:
            server.script(f"/{name}", [page(*range(10))], repeat=True)
        tables = [table(name, f"/{name}", ("id",), {"id": "LONG"}, deletes=True) for name in names]
        assert stop_and_resume.check_dying_again_and_again(connector(server, *tables), {}, operations=15) >= 4

    def test_and_a_table_that_always_fails_keeps_no_other_back_for_long(
        self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(walk, "_RECENT", timedelta(0))
        server.script("/a", [page(1), page(2)])
        server.script("/b", [NotFound()], repeat=True)
        both = connector(server, *(table(name, f"/{name}", ("id",), {"id": "LONG"}) for name in ("a", "b")))
        destination = Destination()
        for _ in range(2):
            with pytest.raises(SourceError):
                sync(both, {}, destination)
        assert len(destination.table("a")) == 2
