"""The tree is walked depth first, every record arrives once, and the state passes a page with its children."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from shared import checkpoints, topology
from shared.checkpoints import Checkpoints
from shared.errors import RecordError, SourceError
from shared.http_client import HttpClient
from shared.pages import deliver
from shared.pagination import NextLink, Offset, Pagination, SinglePage, Token
from shared.topology import Cursor, Table, check_tables
from tests import stop_and_resume
from tests.recording import Destination, Sink, sync
from tests.sources import faulty_http
from tests.sources.faulty_http import Answer, ErrorObject, FaultyServer, NotFound, Step, WrongJson

ITEM = {"id": "LONG", "name": "STRING", "changed": "STRING"}
CHANGED = "%Y-%m-%d"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_http.start() as running:
        yield running


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


def items(pagination: Pagination | None = None, **declared: Any) -> Table:
    return Table("items", "/items", ("id",), ITEM, pagination=pagination or SinglePage(), **declared)


def connector(server: FaultyServer, *tables: Table) -> Any:
    """A connector of these tables: what connectors/rest_api is, without settings."""

    def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
        with HttpClient(server.url, backoff=0.01) as client, Checkpoints(state) as saved:
            for page in topology.read_pages(client, tables, saved):
                deliver(page)
                saved.save(page)

    return SimpleNamespace(schema=lambda _: topology.schema(tables), update=update)


def ids(sink: Sink, table: str = "items") -> list[str]:
    return sorted(row["id"] for row in sink.destination.table(table))


def page(*numbers: int, **body: Any) -> Answer:
    return Answer({"data": [{"id": number} for number in numbers], **body})


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
        with pytest.raises(SourceError, match="/items holds no list of records at 'data' for table items"):
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
        with pytest.raises(RecordError, match="table items: .*/items holds a record without its whole primary key"):
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

    def test_a_cursor_of_another_format_is_named(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"id": 1, "changed": "01.02.2026"}]})])
        with pytest.raises(SourceError, match="cursor field changed, which is not of the declared format"):
            sync(connector(server, items(cursor=self.since)), {})


class TestParentsAndChildren:
    child = Table("parts", "/items/{id}/parts", ("item", "part"), {"item": "LONG", "part": "LONG"})
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
        parent = Table("items", "/items", ("id",), {"id": "STRING"}, children=(self.child,))
        server.script("/items", [Answer({"data": [{"id": "a/b?c"}]})])
        server.script("/items/a%2Fb%3Fc/parts", [Answer({"data": []})])
        sync(connector(server, parent), {})
        assert server.unexpected == []

    def test_children_of_a_changed_parent_are_read_whole(self, server: FaultyServer) -> None:
        cursor = Cursor(field="changed", format=CHANGED)
        child = Table(
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

    def test_a_position_the_server_forgot_starts_the_pass_again_and_says_so(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next="a"), NotFound(), NotFound(), page(1, next="b"), page(2)])
        table = items(Token(next_token="next", parameter="at"))
        destination = Destination()
        with pytest.raises(SourceError):
            sync(connector(server, table), {}, destination)
        sink = sync(connector(server, table), {}, destination)
        assert any("no longer accepts the saved position" in warning for warning in sink.warnings)
        assert ids(sink) == ["1", "2"]


class TestDeclarationsThatCannotWorkAreRefused:
    @pytest.mark.parametrize(
        ("declare", "message"),
        [
            (lambda: [items(), items()], "table items is declared twice"),
            (lambda: [Table("t", "/t", (), {})], "table t has no primary key"),
            (lambda: [Table("t", "/t", ("id",), {})], "table t declares no column id"),
            (lambda: [items(cursor=Cursor(field="when"))], "table items declares no column when"),
            (lambda: [Table("t", "/x/{id}", ("id",), {"id": "LONG"})], "no parent has the field id"),
            (lambda: [items(children=(Table("t", "/x/{no}", ("id",), {"id": "LONG"}),))], "no parent has the field no"),
        ],
    )
    def test_with_a_sentence(self, declare: Callable[[], Sequence[Table]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            check_tables(declare())
