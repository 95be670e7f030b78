"""Whatever an endpoint asks for and however its answer is shaped: every record once, or an error that names it."""

import json
from typing import Any

import pytest

from shared import http_client
from shared.errors import SourceError
from shared.pagination import InTurn, Keyset, Offset, Token
from shared.topology import Cursor
from tests import stop_and_resume
from tests.recording import Destination, sync
from tests.shared.rest_tables import connector, ids, items, page, table
from tests.sources.faulty_http import Answer, FaultyServer, Step, Truncated

pytestmark = pytest.mark.usefixtures("every_page")
KEY = {"id": "LONG"}


class TestWhatIsAskedFor:
    def test_a_token_in_posted_json_stands_beside_the_rest_of_it(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, next=7), page(2)])
        token = Token(next_token="next", parameter="page.after", place="body")
        posted = {"query": {"kind": ["a", "b"]}, "page": {"size": 2}}
        assert ids(sync(connector(server, items(token, json=posted)), {})) == ["1", "2"]
        assert [request.method for request in server.requests] == ["POST", "POST"]
        assert [request.json for request in server.requests] == [posted, {**posted, "page": {"size": 2, "after": 7}}]

    def test_a_posted_list_is_resumed_like_any_other(self, server: FaultyServer) -> None:
        def answer(request: Any) -> Step:
            skipped = request.json["skip"]
            return page(*range(skipped, min(skipped + 2, 9)))

        server.script("/items", [answer], repeat=True)
        paged = items(Offset(offset="skip", limit="", size=2, place="body"), json={})
        assert stop_and_resume.check(connector(server, paged), {}) > 10

    def test_a_column_of_the_parent_may_stand_in_path_parameter_and_posted_json(self, server: FaultyServer) -> None:
        server.script("/items", [page(5)])
        server.script("/items/5/parts", [page(6)])
        child = table(
            "parts", "/items/{id}/parts", ("id",), KEY, params={"of": "item-{id}"}, json={"filter": [{"item": "{id}"}]}
        )  # fmt: skip
        sync(connector(server, items(children=(child,))), {})
        asked = server.requests[1]
        assert (asked.query, asked.json) == ({"of": "item-5"}, {"filter": [{"item": "5"}]})

    def test_the_cursor_may_stand_in_the_path(self, server: FaultyServer) -> None:
        since = Cursor(field="changed", format="%Y-%m-%d", start="2000-01-01")
        changed = table("items", "/changes/{since}", ("id",), {**KEY, "changed": "STRING"}, cursor=since)
        for path in ("/changes/2000-01-01", "/changes/2026-01-05"):
            server.script(path, [Answer({"data": [{"id": 1, "changed": "2026-01-05"}]})])
        destination = Destination()
        for _ in range(2):
            sync(connector(server, changed), {}, destination)
        assert [request.path for request in server.requests] == ["/changes/2000-01-01", "/changes/2026-01-05"]

    @pytest.mark.parametrize(
        ("format_", "lookback", "value", "asked"),
        [
            ("epoch_ms", 60, 1_769_000_000_500, "1768999940500"),
            ("epoch_s", 0, 1_769_000_000, "1769000000"),
            ("iso", 0, "2026-01-05T01:00:00+01:00", "2026-01-05T01:00:00+01:00"),
            ("iso", 60, "2026-01-05T01:00:00+01:00", "2026-01-04T23:59:00Z"),
            ("number", 10, 4711, "4701"),
        ],
    )
    def test_cursors_in_every_format_with_a_lookback(
        self, server: FaultyServer, format_: str, lookback: int, value: Any, asked: str
    ) -> None:
        cursor = Cursor(field="changed", format=format_, parameter="since", lookback=lookback, ordered=True)
        server.script("/items", [Answer({"data": [{"id": 1, "changed": value}]})], repeat=True)
        columns = {**KEY, "changed": "STRING" if isinstance(value, str) else "LONG"}
        destination = Destination()
        for _ in range(2):
            sync(connector(server, table("items", "/items", ("id",), columns, cursor=cursor)), {}, destination)
        assert [request.query.get("since") for request in server.requests] == [None, asked]

    def test_several_endpoints_are_one_list(self, server: FaultyServer) -> None:
        server.script("/a", [page(1, next="x"), page(2)])
        server.script("/b", [page(3)])
        pagination = InTurn(paths=("/a", "/b"), pages=Token(next_token="next", parameter="at"))
        both = table("items", "/a", ("id",), KEY, pagination=pagination)
        assert ids(sync(connector(server, both), {})) == ["1", "2", "3"]

    def test_a_keyset_goes_on_after_the_last_record(self, server: FaultyServer) -> None:
        server.script("/items", [page(4, 9), page(11), page()])
        sync(connector(server, items(Keyset(field="id", parameter="after"))), {})
        assert [request.query for request in server.requests] == [{}, {"after": "9"}, {"after": "11"}]

    def test_only_a_list_that_changed_is_read_again(self, server: FaultyServer) -> None:
        server.script("/items", [
            Answer({"data": [{"id": 1}]}, headers={"ETag": '"a"'}), Answer(None, 304, {"ETag": '"a"'}),
            Answer({"data": [{"id": 1}, {"id": 2}]}, headers={"ETag": '"b"'}),
        ])  # fmt: skip
        destination = Destination()
        delivered = [sync(connector(server, items(unchanged=True)), {}, destination).upserts for _ in range(3)]
        assert delivered == [{"items": 1}, {}, {"items": 2}]
        assert [request.headers["If-None-Match"] for request in server.requests] == [None, '"a"', '"a"']

    def test_an_answer_without_a_tag_is_not_compared_with_an_older_one(self, server: FaultyServer) -> None:
        tagged, plain = Answer({"data": [{"id": 1}]}, headers={"ETag": '"a"'}), Answer({"data": [{"id": 1}]})
        server.script("/items", [tagged, plain, plain])
        destination = Destination()
        for _ in range(3):
            sync(connector(server, items(unchanged=True)), {}, destination)
        assert [request.headers["If-None-Match"] for request in server.requests] == [None, '"a"', None]

    def test_what_is_posted_holds_the_cursor_as_a_number(self, server: FaultyServer) -> None:
        since = Cursor(field="changed", format="epoch_ms")
        columns = {**KEY, "changed": "LONG"}
        table_ = table(
            "items", "/items", ("id",), columns, cursor=since, json={"filter": {"from": "{since}", "kind": "x"}}
        )
        server.script("/items", [Answer({"data": [{"id": 1, "changed": 1_769_000_000_500}]})], repeat=True)
        destination = Destination()
        for _ in range(2):
            sync(connector(server, table_), {}, destination)
        assert [request.json for request in server.requests] == [
            {"filter": {"kind": "x"}},
            {"filter": {"from": 1_769_000_000_500, "kind": "x"}},
        ]


class TestShapes:
    def test_a_map_of_records_keeps_their_keys(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": {"a/1": {"name": "x"}, "b": {"name": "y"}}})])
        mapped = table(
            "items", "/items", ("code",), {"code": "STRING", "name": "STRING"}, shape="map", key="code"
        )  # fmt: skip
        sink = sync(connector(server, mapped), {})
        assert {(row["code"], row["name"]) for row in sink.destination.table("items")} == {("a/1", "x"), ("b", "y")}

    def test_a_single_object_is_one_record(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"id": 1, "name": "x"})])
        assert ids(sync(connector(server, items(records="", shape="object")), {})) == ["1"]

    def test_json_lines_are_records(self, server: FaultyServer) -> None:
        lines = "\n".join(json.dumps({"id": number}) for number in range(3))
        server.script("/items", [Lines(lines)])
        assert ids(sync(connector(server, items(records="", shape="lines")), {})) == ["0", "1", "2"]

    @pytest.mark.parametrize(
        ("shape", "key", "body", "told"),
        [
            ("list", "", {"error": "no such tenant"}, "holds no list of records at 'data'.*no such tenant"),
            ("object", "", {"data": [1]}, "holds no record at 'data'"),
            ("map", "id", {"data": [1]}, "holds no object of records at 'data'"),
        ],
    )
    def test_another_shape_is_an_error_never_an_empty_page(
        self, server: FaultyServer, shape: str, key: str, body: Any, told: str
    ) -> None:
        server.script("/items", [Answer(body)])
        destination = Destination()
        with pytest.raises(SourceError, match=told):
            sync(connector(server, items(shape=shape, key=key)), {}, destination)
        assert destination.committed == {}

    def test_a_record_that_prepare_cannot_take_is_an_error_with_the_address(self, server: FaultyServer) -> None:
        server.script("/items", [page(1)])
        with pytest.raises(
            SourceError, match="/items has a record for table items that its prepare.. cannot take: KeyE"
        ):
            sync(connector(server, items(prepare=lambda record: {"id": record["no"]})), {})


class Lines(Answer):
    """JSON Lines."""

    def play(self, handler: Any) -> None:
        handler.reply(200, self.json.encode(), {"Content-Type": "application/x-ndjson"})


class TestAnAnswerOfAnySize:
    def answer(self, rows: int, **more: Any) -> Any:
        return {"data": [{"id": number, "name": "n" * 50} for number in range(rows)], **more}

    def test_comes_in_parts_and_moves_the_state_as_a_whole(
        self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_client, "PART_BYTES", 500)
        server.script("/items", [Answer(self.answer(100, next="a")), Answer(self.answer(3))])
        token = Token(next_token="next", parameter="at")
        sink = sync(connector(server, items(token)), {})
        assert sink.order.index("checkpoint") == 100
        assert sink.upserts == {"items": 103}

    def test_that_breaks_off_is_asked_for_again_and_counted_once(
        self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http_client, "PART_BYTES", 500)
        body = self.answer(100, total=100)
        server.script("/items", [Truncated(body), Answer(body), Answer({"data": []})])
        sink = sync(connector(server, items(Offset(total="total"))), {})
        assert len(sink.destination.table("items")) == 100
        assert [request.query["offset"] for request in server.requests] == ["0", "0", "100"]
        assert sink.warnings == []

    def test_that_always_breaks_off_fails_the_sync_with_the_state_unmoved(self, server: FaultyServer) -> None:
        server.script("/items", [Truncated(self.answer(100))], repeat=True)
        destination = Destination()
        with pytest.raises(SourceError, match="/items failed after 2 tries: the body was cut off"):
            sync(connector(server, items()), {}, destination)
        assert destination.committed == {}


class TestWhatTheServerSaysAgainstItsOwnAnswer:
    def test_problems_beside_the_records_are_told_once_a_list(self, server: FaultyServer) -> None:
        problems = [{"message": "entity 7 is broken"}, {"message": "entity 8"}]
        server.script("/items", [page(1, errors=problems, next="a"), page(2, errors=problems)])
        sink = sync(connector(server, items(Token(next_token="next", parameter="at"), problems="errors")), {})
        assert ids(sink) == ["1", "2"]
        [warning] = sink.warnings
        assert "/items has problems beside its records (2), the first:" in warning
        assert "entity 7 is broken" in warning

    def test_no_problems_are_not_told(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, errors=[])])
        assert sync(connector(server, items(problems="errors")), {}).warnings == []

    def test_fewer_rows_than_promised_fail_a_strict_list_with_the_state_unmoved(self, server: FaultyServer) -> None:
        server.script("/items", [page(1, 2, total=5, next="a"), page(3)])
        strict = Token(next_token="next", parameter="at", total="total", strict=True)
        destination = Destination()
        with pytest.raises(SourceError, match="promised 5 rows and gave 3"):
            sync(connector(server, items(strict)), {}, destination)
        assert destination.committed["streams"]["items"]["pass"]["rows"] == 2
