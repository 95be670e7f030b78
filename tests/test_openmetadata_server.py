"""The OpenMetadata server answers, and refuses, what OpenMetadata's documentation and OpenAPI description say."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.sources import openmetadata_server
from tests.sources.openmetadata_api import Refusal, endpoint, fields_of
from tests.sources.openmetadata_server import DAY, KINDS, RESULTS, START, Entity, OpenMetadataServer, Size, start


@pytest.fixture
def server() -> Iterator[OpenMetadataServer]:
    with start() as running:
        yield running


def ask(server: OpenMetadataServer, path: str, **query: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.token}"}
    return requests.get(f"{server.api_url}/v1/{path}", params=query, headers=headers, timeout=10)


def get(server: OpenMetadataServer, path: str, **query: Any) -> Entity:
    answer = ask(server, path, **query)
    assert answer.status_code == 200, answer.text
    body: Entity = answer.json()
    return body


def pages(server: OpenMetadataServer, path: str, **query: Any) -> Iterator[Entity]:
    """All pages from the first, by their `after`."""
    page = get(server, path, **query)
    yield page
    while "after" in page["paging"]:
        page = get(server, path, **{**query, "after": page["paging"]["after"]})
        yield page


def rows(server: OpenMetadataServer, path: str, **query: Any) -> list[Entity]:
    return [row for page in pages(server, path, **query) for row in page["data"]]


def cursor(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def references(value: Any) -> Iterator[Entity]:
    """All references to entities that are anywhere in a value."""
    if isinstance(value, dict):
        if "id" in value and "type" in value:
            yield value
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


class TestAWrongRequestIsRefused:
    @pytest.mark.parametrize(
        ("path", "query", "told"),
        [
            ("tables", {"limt": "10"}, "query param limt is not known for /tables"),
            ("tables", {"offset": "10"}, "query param offset is not known"),
            ("tables", {"limit": "-1"}, "limit must be greater than or equal to 0"),
            ("tables", {"limit": "1000001"}, "limit must be less than or equal to 1000000"),
            ("tables", {"limit": "ten"}, "limit is not a valid int: ten"),
            ("tables", {"limit": "1_0"}, "limit is not a valid int: 1_0"),
            ("tables", {"include": "everything"}, "include must be one of"),
            ("tables", {"includeEmptyTestSuite": "maybe"}, "includeEmptyTestSuite is not a valid bool"),
            ("tables", {"fields": "owners,xyz"}, "Invalid field name xyz"),
            ("tables", {"fields": "*"}, "Invalid field name *"),
            ("users", {"fields": "tags"}, "Invalid field name tags"),
            ("tables", {"before": "YQ==", "after": "YQ=="}, "Only one of before or after"),
            ("tables", {"after": "nonsense"}, "Invalid cursor"),
            ("tables", {"after": cursor("[]")}, "Invalid cursor"),
            ("domains", {"include": "all"}, "query param include is not known for /domains"),
            ("dataProducts", {"include": "all"}, "query param include is not known"),
            ("queries", {"include": "all"}, "query param include is not known"),
            ("tables/history", {"startTs": "1"}, "endTs must not be null"),
            ("tables/history", {"startTs": "1", "endTs": "2", "limit": "501"}, "less than or equal to 500"),
            ("tables/history", {"startTs": "1", "endTs": "2", "limit": "0"}, "greater than or equal to 1"),
            ("tables/history", {"startTs": "1", "endTs": "2", "fields": "owners"}, "fields is not known"),
            ("tables/history", {"startTs": "1", "endTs": "2", "after": cursor("x:y")}, "Invalid cursor"),
            ("events", {"entityCreated": "*"}, "timestamp must not be null"),
            ("lineage/table/x", {"upstreamDepth": "4"}, "upstreamDepth must be less than or equal to 3"),
            (f"{RESULTS}/search/list", {"after": "x"}, "query param after is not known"),
            (f"{RESULTS}/search/list", {"offset": "-1"}, "offset is not a valid number"),
            (f"{RESULTS}/search/list", {"fields": "owners"}, "Invalid field name owners"),
        ],
    )
    def test_with_status_400_and_the_cause(
        self, server: OpenMetadataServer, path: str, query: dict[str, str], told: str
    ) -> None:
        answer = ask(server, path, **query)
        assert answer.status_code == 400
        body = answer.json()
        assert (body["code"], body["errorType"]) == (400, "BAD_REQUEST")
        assert told in body["message"]

    def test_an_unknown_path_is_not_found(self, server: OpenMetadataServer) -> None:
        answer = ask(server, "tabels")
        assert answer.status_code == 404
        assert answer.json() == {"code": 404, "errorType": "ENTITY_NOT_FOUND", "message": "HTTP 404 Not Found"}

    @pytest.mark.parametrize(
        "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "openmetadata-token"}]
    )
    def test_without_the_token_nothing_is_told(self, server: OpenMetadataServer, headers: dict[str, str]) -> None:
        answer = requests.get(f"{server.api_url}/v1/tables", headers=headers, timeout=10)
        assert answer.status_code == 401
        assert answer.json()["errorType"] == "UNAUTHORIZED"

    def test_an_unknown_entity_is_not_found(self, server: OpenMetadataServer) -> None:
        for unknown in ("00000000-0000-4000-8000-000000000000", "nonsense", server.ids("users")[0]):
            answer = ask(server, f"tables/{unknown}")
            assert (answer.status_code, answer.json()["errorType"]) == (404, "ENTITY_NOT_FOUND")
            assert answer.json()["message"] == f"table instance for {unknown} not found"

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("search/query", {"q": "*"}),
            ("tables", {"tableRegex": "a.*"}),
            (f"{RESULTS}/search/list", {"q": "x"}),
            ("users/online", {}),
        ],
    )
    def test_what_the_server_cannot_do_is_never_an_empty_list(
        self, server: OpenMetadataServer, path: str, query: dict[str, str]
    ) -> None:
        assert ask(server, path, **query).status_code == 501

    def test_only_reading_is_possible(self, server: OpenMetadataServer) -> None:
        headers = {"Authorization": f"Bearer {server.token}"}
        assert requests.post(f"{server.api_url}/v1/tables", headers=headers, timeout=10).status_code == 405

    @pytest.mark.parametrize("path", ["policies", "personas", "services/ingestionPipelines", "drives/files"])
    def test_a_kind_without_entities_is_an_empty_list(self, server: OpenMetadataServer, path: str) -> None:
        assert get(server, path) == {"data": [], "paging": {"total": 0}}
        assert ask(server, f"{path}/00000000-0000-4000-8000-000000000000").status_code == 404


class TestTheTranscriptIsRead:
    def test_a_literal_segment_comes_before_a_placeholder(self) -> None:
        assert endpoint("/tables/history").path == "/tables/history"
        assert endpoint("/tables/other").path == "/tables/{id}"

    def test_a_value_in_the_path_is_decoded(self) -> None:
        assert endpoint("/tables/name/a.%22b%2Fc%22").values == ('a."b/c"',)

    def test_defaults_and_types(self) -> None:
        arguments = endpoint("/tables").arguments({"limit": "5", "includeEmptyTestSuite": "false"})
        assert (arguments["limit"], arguments["includeEmptyTestSuite"]) == (5, False)
        assert (arguments["include"], arguments["after"]) == ("non-deleted", None)

    def test_a_uuid_is_checked(self) -> None:
        with pytest.raises(Refusal, match="testSuiteId is not a valid uuid"):
            endpoint("/dataQuality/testCases").arguments({"testSuiteId": "1"})

    @pytest.mark.parametrize("collection", KINDS)
    def test_every_kind_has_its_paths(self, collection: str) -> None:
        for path in ("", "/history", "/00000000-0000-4000-8000-000000000000"):
            endpoint(f"/{collection}{path}")


class TestPages:
    def test_hold_ten_unless_asked_otherwise(self, server: OpenMetadataServer) -> None:
        assert len(get(server, "tables")["data"]) == 10
        assert len(get(server, "tables", limit=3)["data"]) == 3

    def test_the_first_has_no_before_and_the_last_no_after(self, server: OpenMetadataServer) -> None:
        first, *middle, last = [page["paging"].keys() for page in pages(server, "tables", limit=5)]
        assert first == {"total", "after"}
        assert middle
        assert all(keys == {"total", "before", "after"} for keys in middle)
        assert last == {"total", "before"}

    def test_a_single_page_has_neither(self, server: OpenMetadataServer) -> None:
        assert get(server, "tables", limit=1_000_000)["paging"].keys() == {"total"}

    def test_limit_zero_is_only_the_total(self, server: OpenMetadataServer) -> None:
        total = len(server.ids("tables", "non-deleted"))
        assert get(server, "tables", limit=0) == {"data": [], "paging": {"total": total}}

    def test_hold_each_entity_once_in_the_order_of_name_and_id(self, server: OpenMetadataServer) -> None:
        listed = rows(server, "tables", limit=2)
        keys = [(table["name"], table["id"]) for table in listed]
        assert keys == sorted(set(keys))
        assert len(keys) == get(server, "tables", limit=0)["paging"]["total"]
        assert len({name for name, _ in keys}) < len(keys), "tables in different schemas have the same name"

    def test_a_cursor_is_name_and_id(self, server: OpenMetadataServer) -> None:
        page = get(server, "tables", limit=4)
        last = page["data"][-1]
        key = json.loads(base64.urlsafe_b64decode(page["paging"]["after"]))
        assert key == {"name": last["name"], "id": last["id"]}

    def test_before_leads_back(self, server: OpenMetadataServer) -> None:
        first, second, third = list(pages(server, "tables", limit=5))[:3]
        assert get(server, "tables", limit=5, before=third["paging"]["before"])["data"] == second["data"]
        back = get(server, "tables", limit=5, before=second["paging"]["before"])
        assert back["data"] == first["data"]
        assert back["paging"].keys() == {"total", "after"}

    def test_a_cursor_holds_when_its_entity_is_gone(self, server: OpenMetadataServer) -> None:
        first, second = list(pages(server, "tables", limit=5))[:2]
        server.hard_delete("tables", first["data"][-1]["id"])
        after = first["paging"]["after"]
        assert get(server, "tables", limit=5, after=after)["data"] == second["data"]

    def test_include_says_which(self, server: OpenMetadataServer) -> None:
        kept, deleted, every = (
            {table["id"] for table in rows(server, "tables", include=include, limit=50)}
            for include in ("non-deleted", "deleted", "all")
        )
        assert kept == {table["id"] for table in rows(server, "tables", limit=50)}
        assert deleted, "some are deleted from the start"
        assert kept | deleted == every
        assert not kept & deleted

    def test_filters_by_what_contains(self, server: OpenMetadataServer) -> None:
        schema = get(server, "databaseSchemas", limit=1)["data"][0]["fullyQualifiedName"]
        listed = rows(server, "tables", databaseSchema=schema, include="all", limit=3)
        all_tables = server.truth("tables")
        expected = [table for table in all_tables if table["databaseSchema"]["fullyQualifiedName"] == schema]
        assert listed == expected != []
        assert rows(server, "users", isBot="true") == [user for user in rows(server, "users") if user["isBot"]]

    def test_of_the_search_service_go_by_offset(self, server: OpenMetadataServer) -> None:
        page = get(server, "dataQuality/testCases/search/list", limit=2, offset=1, include="all")
        assert page["data"] == list(server.truth("dataQuality/testCases"))[1:3]
        assert page["paging"] == {"offset": 1, "limit": 2, "total": server.size.test_cases}

    def test_columns_go_by_offset_too(self, server: OpenMetadataServer) -> None:
        table = get(server, "tables", limit=1)["data"][0]
        page = get(server, f"tables/{table['id']}/columns", limit=3, offset=2, sortBy="ordinalPosition")
        assert page["data"] == table["columns"][2:5]
        assert page["paging"]["total"] == server.size.columns


class TestPagesOfOtherServers:
    def test_an_exhausted_cursor_is_an_empty_page(self, server: OpenMetadataServer) -> None:
        after = base64.urlsafe_b64encode(json.dumps({"name": "\uffff", "id": ""}).encode()).decode()
        page = get(server, "tables", after=after)
        assert page["data"] == []
        assert page["paging"].keys() == {"total"}

    def test_or_an_error_of_an_older_server(self) -> None:
        after = base64.urlsafe_b64encode(json.dumps({"name": "\uffff", "id": ""}).encode()).decode()
        with start(exhausted_cursor_fails=True) as server:
            assert ask(server, "tables", after=after).status_code == 500
            assert len(rows(server, "tables")) == len(server.ids("tables", "non-deleted"))

    def test_a_limit_may_be_capped_in_silence(self) -> None:
        with start(caps_limit=4) as server:
            sizes = [len(page["data"]) for page in pages(server, "tables", limit=100, include="all")]
        assert sizes == [4, 4, 4, 4, 4, 4, 1]

    def test_what_cannot_be_read_is_told_beside_the_data(self, server: OpenMetadataServer) -> None:
        wrong = server.ids("tables", "non-deleted")[1]
        server.unreadable.add(wrong)
        page = get(server, "tables", limit=3)
        assert wrong not in {table["id"] for table in page["data"]}
        assert [error["entity"]["id"] for error in page["errors"]] == [wrong]
        assert page["errors"][0]["message"]
        assert "errors" not in get(server, "tables", limit=3, after=page["paging"]["after"])

    def test_an_old_version_has_no_history_and_no_audit_log(self) -> None:
        with start(version="1.11") as server:
            assert ask(server, "tables/history", startTs=0, endTs=1).status_code == 404
            assert ask(server, "audit/logs").status_code == 404
            assert get(server, "system/version")["version"] == "1.11.0"
            assert get(server, "tables")["data"]


class TestAnEntity:
    @pytest.mark.parametrize("collection", KINDS)
    def test_of_every_kind_is_listed_as_the_truth_has_it(self, server: OpenMetadataServer, collection: str) -> None:
        fields = ",".join(sorted(fields_of(f"/{collection}").optional))
        include = {"include": "all"} if "include" in endpoint(f"/{collection}").parameters else {}
        assert rows(server, collection, **include) == list(server.truth(collection)) != []
        assert rows(server, collection, fields=fields, **include) == list(server.truth(collection, fields))

    @pytest.mark.parametrize("collection", KINDS)
    def test_has_only_fields_that_its_kind_has(self, server: OpenMetadataServer, collection: str) -> None:
        fields = fields_of(f"/{collection}")
        for entity in server.truth(collection, ",".join(fields.optional)):
            assert entity.keys() <= fields.known
            assert None not in entity.values()

    def test_has_what_every_entity_has(self, server: OpenMetadataServer) -> None:
        always = {"id", "name", "fullyQualifiedName", "version", "updatedAt", "updatedBy", "href", "deleted"}
        for collection in KINDS:
            for entity in server.truth(collection):
                assert always <= entity.keys()
                assert isinstance(entity["version"], float)

    def test_lacks_what_is_not_asked_for(self, server: OpenMetadataServer) -> None:
        plain = get(server, "tables", limit=1)["data"][0]
        assert "columns" in plain
        assert not plain.keys() & {"owners", "tags", "domains", "extension", "schemaDefinition", "usageSummary"}
        asked = get(server, "tables", limit=1, fields="owners,tags")["data"][0]
        assert asked.keys() - plain.keys() == {"owners", "tags"}

    def test_has_tags_of_columns_only_if_asked_for_tags(self, server: OpenMetadataServer) -> None:
        def tags(**query: str) -> list[Entity]:
            found = rows(server, "tables", **query)
            return [tag for table in found for column in table["columns"] for tag in column["tags"]]

        assert tags() == []
        assert {"tagFQN", "source", "labelType", "state"} <= tags(fields="tags")[0].keys()

    def test_is_found_by_id_and_by_name(self, server: OpenMetadataServer) -> None:
        for table in server.truth("tables", "owners"):
            by_name = quote(table["fullyQualifiedName"], safe="")
            for path in (f"tables/{table['id']}", f"tables/name/{by_name}"):
                assert get(server, path, fields="owners", include="all") == table
                assert ask(server, path).status_code == (404 if table["deleted"] else 200)

    def test_has_references_that_lead_somewhere(self, server: OpenMetadataServer) -> None:
        collections = {kind.type: collection for collection, kind in KINDS.items()}
        for collection in KINDS:
            for entity in server.truth(collection, ",".join(fields_of(f"/{collection}").optional)):
                for reference in references(list(entity.values())):
                    assert reference["id"] in server.ids(collections[reference["type"]])

    def test_has_unusual_names_quoted_in_full_names(self, server: OpenMetadataServer) -> None:
        named = {table["name"]: table["fullyQualifiedName"] for table in server.truth("tables")}
        assert named["table.v3"].endswith('."table.v3"')
        assert named['table "5"'].endswith('."table ""5"""')
        assert any("größe_表" in name for name in named)

    def test_has_nested_and_long_and_absent_values(self) -> None:
        with start(Size(tables=60)) as server:
            tables = list(server.truth("tables"))
        structs = [column for table in tables for column in table["columns"] if column["dataType"] == "STRUCT"]
        assert structs[0]["children"][1]["children"][0]["name"] == "city"
        assert any(len(table.get("description", "")) > 15_000 for table in tables)
        assert any("description" not in table for table in tables)
        assert {table["version"] for table in tables} == {0.1, 0.2, 1.2}


class TestHistory:
    def test_holds_all_versions_of_the_window_newest_first(self, server: OpenMetadataServer) -> None:
        versions = rows(server, "tables/history", startTs=0, endTs=START, limit=7)
        keys = [(version["updatedAt"], version["id"]) for version in versions]
        assert keys == sorted(set(keys), reverse=True)
        assert {id for _, id in keys} == set(server.ids("tables"))
        assert len(keys) > len(server.ids("tables")), "some have earlier versions"

    def test_the_window_includes_both_ends(self, server: OpenMetadataServer) -> None:
        newest, *_, oldest = rows(server, "tables/history", startTs=0, endTs=START, limit=500)
        inside = rows(server, "tables/history", startTs=oldest["updatedAt"], endTs=newest["updatedAt"] - 1, limit=500)
        assert oldest in inside
        assert newest not in inside

    def test_the_default_limit_is_ten_and_the_total_is_told(self, server: OpenMetadataServer) -> None:
        page = get(server, "tables/history", startTs=0, endTs=START)
        assert len(page["data"]) == 10
        assert page["paging"]["total"] == len(rows(server, "tables/history", startTs=0, endTs=START))

    def test_a_cursor_is_updated_at_and_id(self, server: OpenMetadataServer) -> None:
        page = get(server, "tables/history", startTs=0, endTs=START, limit=2)
        last = page["data"][-1]
        assert base64.b64decode(page["paging"]["after"]).decode() == f"{last['updatedAt']}:{last['id']}"

    def test_lacks_what_is_a_relationship(self, server: OpenMetadataServer) -> None:
        for version in rows(server, "tables/history", startTs=0, endTs=START, limit=500):
            assert not version.keys() & {
                "owners",
                "tags",
                "domains",
                "dataProducts",
                "service",
                "database",
                "testSuite",
            }
            assert not any(column["tags"] for column in version["columns"])
            assert version["fullyQualifiedName"]

    def test_a_page_may_be_empty_and_still_go_on(self) -> None:
        with start(history_empty_pages=True) as server:
            query = {"startTs": 0, "endTs": START, "limit": 5}
            found = list(pages(server, "tables/history", **query))
            empty = [page for page in found if not page["data"]]
            assert empty
            assert all("after" in page["paging"] for page in empty)
            server.history_empty_pages = False
            assert [row for page in found for row in page["data"]] == rows(server, "tables/history", **query)

    def test_earlier_versions_are_as_they_were(self, server: OpenMetadataServer) -> None:
        table = server.ids("tables", "non-deleted")[0]
        server.now += DAY
        begun = server.now
        server.update("tables", table, description="first")
        server.update("tables", table, description="second")
        found = rows(server, "tables/history", startTs=begun, endTs=server.now)
        assert [(version["id"], version["description"]) for version in found] == [(table, "second"), (table, "first")]

    def test_the_versions_of_one_entity_are_told_as_json(self, server: OpenMetadataServer) -> None:
        for table in server.truth("tables"):
            told = get(server, f"tables/{table['id']}/versions")
            newest, *_, oldest = [json.loads(text) for text in told["versions"]] * 2
            assert told["entityType"] == "table"
            assert newest["version"] == table["version"]
            assert oldest["version"] == 0.1


class TestEvents:
    def test_are_told_by_time_and_by_what_is_asked_for(self, server: OpenMetadataServer) -> None:
        table, user = server.ids("tables", "non-deleted")[0], server.ids("users", "non-deleted")[0]
        begun = server.now
        server.update("tables", table, description="changed")
        server.update("users", user, displayName="changed")
        added = server.add("tables", name="new")["id"]

        def told(**query: str) -> list[tuple[str, str]]:
            body = get(server, "events", timestamp=begun, **query)
            assert body["paging"] == {"total": len(body["data"])}
            return [(event["eventType"], event["entityId"]) for event in body["data"]]

        assert told(entityUpdated="*", entityCreated="*") == [
            ("entityUpdated", table),
            ("entityUpdated", user),
            ("entityCreated", added),
        ]
        assert told(entityUpdated="user,topic") == [("entityUpdated", user)]
        assert told() == []

    def test_have_the_entity_as_json_in_text(self, server: OpenMetadataServer) -> None:
        table = server.ids("tables", "non-deleted")[0]
        begun, before = server.now, get(server, f"tables/{table}")
        server.update("tables", table, description="changed")
        (event,) = get(server, "events", timestamp=begun, entityUpdated="table")["data"]
        assert {"id", "eventType", "entityType", "entityId", "timestamp"} <= event.keys()
        assert json.loads(event["entity"])["description"] == "changed"
        assert (event["entityType"], event["timestamp"]) == ("table", begun)
        assert (event["previousVersion"], event["currentVersion"]) == (before["version"], before["version"] + 0.1)
        assert event["entityFullyQualifiedName"] == before["fullyQualifiedName"]

    def test_are_kept_for_seven_days(self, server: OpenMetadataServer) -> None:
        every = {"entityCreated": "*", "entityUpdated": "*", "entityDeleted": "*"}
        found = get(server, "events", timestamp=0, **every)["data"]
        times = [event["timestamp"] for event in found]
        assert times == sorted(times)
        assert found
        assert times[0] >= START - 7 * DAY
        server.advance(seconds=7 * 24 * 3600 + 1)
        assert get(server, "events", timestamp=0, **every)["data"] == []

    def test_may_come_newest_first(self, server: OpenMetadataServer) -> None:
        every = {"timestamp": 0, "entityCreated": "*", "entityUpdated": "*"}
        found = get(server, "events", **every)["data"]
        server.events_descending = True
        assert get(server, "events", **every)["data"] == found[::-1]


class TestDeletes:
    def test_a_soft_delete_hides_and_a_restore_shows_again(self, server: OpenMetadataServer) -> None:
        id = server.ids("dashboards", "non-deleted")[0]
        begun = server.now
        before = get(server, f"dashboards/{id}")
        server.soft_delete("dashboards", id)
        assert ask(server, f"dashboards/{id}").status_code == 404
        assert get(server, f"dashboards/{id}", include="deleted")["deleted"] is True
        server.restore("dashboards", id)
        after = get(server, f"dashboards/{id}")
        assert after["deleted"] is False
        assert after["version"] == pytest.approx(before["version"] + 0.2)
        events = get(server, "events", timestamp=begun, entityDeleted="*", entityRestored="*")["data"]
        assert [event["eventType"] for event in events] == ["entitySoftDeleted", "entityRestored"]
        assert [event["entityId"] for event in get(server, "events", timestamp=begun, entityDeleted="*")["data"]] == [
            id
        ]

    def test_the_version_before_a_soft_delete_was_not_deleted(self, server: OpenMetadataServer) -> None:
        id = server.ids("dashboards", "non-deleted")[0]
        server.soft_delete("dashboards", id)
        newest, *earlier = [
            json.loads(text)["deleted"] for text in get(server, f"dashboards/{id}/versions")["versions"]
        ]
        assert newest is True
        assert earlier
        assert not any(earlier)

    def test_a_soft_delete_of_a_container_has_one_event_and_hides_all(self, server: OpenMetadataServer) -> None:
        schema = get(server, "databaseSchemas", limit=1)["data"][0]
        begun = server.now
        server.soft_delete("databaseSchemas", schema["id"])
        assert rows(server, "tables", databaseSchema=schema["fullyQualifiedName"]) == []
        assert rows(server, "tables", databaseSchema=schema["fullyQualifiedName"], include="deleted")
        assert len(get(server, "events", timestamp=begun, entityDeleted="*", entityUpdated="*")["data"]) == 1

    def test_a_recursive_hard_delete_removes_all_and_has_one_event(self, server: OpenMetadataServer) -> None:
        database = get(server, "databases", limit=1)["data"][0]
        inside = {table["id"] for table in server.truth("tables") if table["database"]["id"] == database["id"]}
        begun = server.now
        server.hard_delete("databases", database["id"])
        events = get(server, "events", timestamp=begun, entityDeleted="*", entityUpdated="*")["data"]
        assert [(event["eventType"], event["entityId"]) for event in events] == [("entityDeleted", database["id"])]
        assert inside
        assert not inside & set(server.ids("tables"))
        for id in inside:
            assert ask(server, f"tables/{id}", include="all").status_code == 404
            assert ask(server, f"lineage/table/{id}").status_code == 404
        history = rows(server, "tables/history", startTs=0, endTs=server.now, limit=500)
        assert not inside & {version["id"] for version in history}
        edges = list(server.lineage_truth())
        assert edges
        assert not inside & {edge[end] for edge in edges for end in ("fromEntity", "toEntity")}
        assert not any(
            case["entityFQN"].startswith(database["fullyQualifiedName"])
            for case in rows(server, "dataQuality/testCases")
        )

    def test_earlier_events_of_what_is_removed_are_still_told(self, server: OpenMetadataServer) -> None:
        id = server.ids("users", "non-deleted")[0]
        begun = server.now
        server.update("users", id, displayName="changed")
        server.hard_delete("users", id)
        events = get(server, "events", timestamp=begun, entityUpdated="*", entityDeleted="*")["data"]
        assert [event["eventType"] for event in events] == ["entityUpdated", "entityDeleted"]

    def test_references_to_what_is_removed_vanish(self, server: OpenMetadataServer) -> None:
        owned = next(table for table in server.truth("tables", "owners") if table["owners"])
        owner = next(owner for owner in owned["owners"])
        server.hard_delete("users" if owner["type"] == "user" else "teams", owner["id"])
        left = get(server, f"tables/{owned['id']}", fields="owners", include="all")["owners"]
        assert left == owned["owners"][1:]

    def test_what_is_not_empty_is_not_removed_without_saying_so(self, server: OpenMetadataServer) -> None:
        with pytest.raises(ValueError, match="is not empty"):
            server.hard_delete("databases", server.ids("databases")[0], recursive=False)


class TestChanges:
    def test_an_update_is_a_new_version_at_the_clocks_time(self, server: OpenMetadataServer) -> None:
        id = server.ids("tables", "non-deleted")[0]
        server.now = START + DAY
        before = get(server, f"tables/{id}", fields="owners")
        owner = server.reference(server.ids("users")[-1])
        server.update("tables", id, displayName="changed", owners=[owner], sourceUrl=None)
        after = get(server, f"tables/{id}", fields="owners")
        assert after["updatedAt"] == START + DAY
        assert after["version"] == pytest.approx(before["version"] + 0.1)
        assert (after["displayName"], after["owners"]) == ("changed", [owner])
        assert "sourceUrl" not in after
        change = after["changeDescription"]
        assert change["previousVersion"] == before["version"]
        assert change["fieldsDeleted"] == [{"name": "sourceUrl", "oldValue": before["sourceUrl"]}]
        assert {"owners", "displayName"} <= {field["name"] for kind in list(change.values())[:2] for field in kind}

    def test_versions_are_exact_tenths(self, server: OpenMetadataServer) -> None:
        id = server.add("metrics", name="counted")["id"]
        numbers = [server.update("metrics", id, description=str(turn))["version"] for turn in range(12)]
        assert numbers == [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3]

    def test_a_dropped_column_is_told(self, server: OpenMetadataServer) -> None:
        before = get(server, "tables", limit=1)["data"][0]
        dropped = before["columns"][2]
        server.drop_column(before["id"], dropped["name"])
        after = get(server, f"tables/{before['id']}")
        assert after["columns"] == before["columns"][:2] + before["columns"][3:]
        (change,) = after["changeDescription"]["fieldsDeleted"]
        assert change["name"] == "columns"
        assert json.loads(change["oldValue"])[0]["name"] == dropped["name"]
        assert after["version"] == before["version"] + 1.0
        with pytest.raises(KeyError, match="has no column"):
            server.drop_column(before["id"], dropped["name"])

    def test_what_is_added_is_listed_at_its_place(self, server: OpenMetadataServer) -> None:
        schema = server.ids("databaseSchemas")[0]
        added = server.add("tables", name="a.first", parent=schema, description="new")
        listed = get(server, "tables", limit=1)["data"][0]
        assert (listed["id"], listed["description"]) == (added["id"], "new")
        assert listed["databaseSchema"]["id"] == schema
        assert listed["fullyQualifiedName"].endswith('."a.first"')
        assert (listed["version"], listed["updatedAt"]) == (0.1, START)
        (version,) = rows(server, "tables/history", startTs=START, endTs=server.now)
        assert version["id"] == added["id"]

    def test_names_do_not_change(self, server: OpenMetadataServer) -> None:
        with pytest.raises(ValueError, match="does not change name"):
            server.update("tables", server.ids("tables")[0], name="other")

    def test_each_takes_a_millisecond(self, server: OpenMetadataServer) -> None:
        id = server.ids("tables", "non-deleted")[0]
        first = server.update("tables", id, description="1")["updatedAt"]
        assert server.update("tables", id, description="2")["updatedAt"] == first + 1

    def test_the_date_of_answers_is_the_clock(self, server: OpenMetadataServer) -> None:
        server.now = START + 5000
        dates = ask(server, "tables").headers["Date"].split(", ", 1)
        assert len(dates) == 2
        assert parsedate_to_datetime(", ".join(dates)).timestamp() * 1000 == START + 5000


class TestLineage:
    def test_has_edges_with_details(self, server: OpenMetadataServer) -> None:
        edges = list(server.lineage_truth())
        assert len(edges) > server.size.tables
        found = []
        for id in server.ids("tables"):
            lineage = get(server, f"lineage/table/{id}", upstreamDepth=0, downstreamDepth=1)
            assert lineage["entity"]["id"] == id
            assert lineage["upstreamEdges"] == []
            near = {edge["toEntity"] for edge in lineage.get("downstreamEdges", [])}
            assert near == {node["id"] for node in lineage.get("nodes", [])}
            found += lineage.get("downstreamEdges", [])
        by_ends = {(edge["fromEntity"], edge["toEntity"]): edge for edge in edges}
        assert {(edge["fromEntity"], edge["toEntity"]): edge for edge in found} == by_ends
        details = [edge["lineageDetails"] for edge in edges]
        assert {"Manual", "QueryLineage"} == {each["source"] for each in details}
        columns = next(each["columnsLineage"][0] for each in details if "columnsLineage" in each)
        assert columns.keys() == {"fromColumns", "toColumn", "function"}

    def test_absent_rather_than_empty(self, server: OpenMetadataServer) -> None:
        alone = get(server, f"lineage/topic/{server.ids('topics')[0]}")
        assert alone.keys() == {"entity", "upstreamEdges"}

    def test_goes_as_far_as_asked(self) -> None:
        with start(Size(tables=4, dashboards=0, lineage_edges_per_table=0)) as server:
            a, b, c, d = server.ids("tables")
            for source, target in ((a, b), (b, c), (c, d), (d, a)):
                server.add_lineage(source, target, sqlQuery="SELECT 1")

            def told(**depths: int) -> tuple[int, int, int]:
                lineage = get(server, f"lineage/table/{b}", **depths)
                kinds = ("nodes", "upstreamEdges", "downstreamEdges")
                return tuple(len(lineage.get(kind, [])) for kind in kinds)  # type: ignore[return-value]

            assert told() == (2, 1, 1)
            assert told(upstreamDepth=0, downstreamDepth=0) == (0, 0, 0)
            assert told(upstreamDepth=0, downstreamDepth=2) == (2, 0, 2)
            assert told(upstreamDepth=2, downstreamDepth=2) == (3, 2, 2)

    def test_edges_come_and_go(self, server: OpenMetadataServer) -> None:
        table, topic = server.ids("tables")[0], server.ids("topics")[0]
        server.add_lineage(table, topic, sqlQuery="SELECT 1")
        (edge,) = get(server, f"lineage/topic/{topic}")["upstreamEdges"]
        assert (edge["fromEntity"], edge["toEntity"]) == (table, topic)
        assert edge["lineageDetails"]["sqlQuery"] == "SELECT 1"
        assert edge["lineageDetails"]["createdAt"] == START
        server.remove_lineage(table, topic)
        assert get(server, f"lineage/topic/{topic}")["upstreamEdges"] == []

    def test_of_what_is_not_there_is_not_found(self, server: OpenMetadataServer) -> None:
        user, table = server.ids("users")[0], server.ids("tables")[0]
        for path in (f"table/{user}", f"tables/{table}", "table/00000000-0000-4000-8000-000000000000"):
            assert ask(server, f"lineage/{path}").status_code == 404


class TestResultsOfTestCases:
    PATH = f"{RESULTS}/search/list"

    def test_are_paged_by_offset_newest_first(self, server: OpenMetadataServer) -> None:
        found: list[Entity] = []
        while len(found) < (page := get(server, self.PATH, offset=len(found)))["paging"]["total"]:
            assert page["paging"]["limit"] == 10
            found += page["data"]
        assert found == list(server.truth(RESULTS))
        assert len({result["id"] for result in found}) == len(found)
        times = [result["timestamp"] for result in found]
        assert times == sorted(times, reverse=True)
        assert len(found) == server.size.results * len(server.ids("dataQuality/testCases", "non-deleted"))

    def test_are_filtered_by_time_case_and_status(self, server: OpenMetadataServer) -> None:
        every = list(server.truth(RESULTS))
        first, last = every[8], every[4]
        assert (
            get(server, self.PATH, startTimestamp=first["timestamp"], endTimestamp=last["timestamp"])["data"]
            == (every[4:9])
        )
        fqn = every[0]["testCaseFQN"]
        assert {result["testCaseFQN"] for result in get(server, self.PATH, testCaseFQN=fqn)["data"]} == {fqn}
        failed = [result for result in every if result["testCaseStatus"] == "Failed"]
        assert get(server, self.PATH, testCaseStatus="Failed", limit=100)["data"] == failed

    def test_have_references_only_if_asked_for(self, server: OpenMetadataServer) -> None:
        plain, asked = (
            get(server, self.PATH, limit=1, **query)["data"][0] for query in ({}, {"fields": "testCase,testDefinition"})
        )
        assert asked.keys() - plain.keys() == {"testCase", "testDefinition"}

    def test_a_new_one_is_first(self, server: OpenMetadataServer) -> None:
        case = server.ids("dataQuality/testCases", "non-deleted")[0]
        server.now += DAY
        added = server.add_result(case, "Aborted")
        newest = get(server, self.PATH, limit=1)["data"][0]
        assert (newest["id"], newest["testCaseStatus"], newest["timestamp"]) == (added["id"], "Aborted", START + DAY)


class TestTheServerItself:
    def test_the_same_seed_makes_the_same_data_and_another_other(self) -> None:
        def everything(seed: int) -> str:
            with start(seed=seed) as server:
                return json.dumps([list(server.truth(collection)) for collection in (*KINDS, RESULTS)])

        assert everything(1) == everything(1) != everything(2)

    def test_sizes_are_kept(self) -> None:
        with start(Size(tables=31, columns=100, users=0, dashboards=1)) as server:
            assert len(server.ids("tables")) == 31
            assert {len(table["columns"]) for table in server.truth("tables")} == {100}
            assert get(server, "users")["data"] == []
        with start(Size(schemas=0)) as server:
            assert server.ids("tables") == server.ids("dataQuality/testCases") == []

    def test_ten_thousand_wide_tables_take_little_memory(self) -> None:
        tracemalloc.start()
        try:
            with start(Size(tables=10_000, columns=100)) as server:
                page = get(server, "tables", limit=100)
                get(server, "tables", limit=100, after=page["paging"]["after"])
                get(server, "tables/history", limit=50, startTs=0, endTs=START)
                held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert page["paging"]["total"] > 9_000
        assert held < 50 * 2**20

    def test_latency_is_waited_for(self, server: OpenMetadataServer) -> None:
        server.latency = 0.2
        begun = time.monotonic()
        get(server, "tables", limit=0)
        assert time.monotonic() - begun >= 0.2

    def test_requests_are_recorded(self, server: OpenMetadataServer) -> None:
        get(server, "tables", limit=0)
        assert [(request.path, request.query) for request in server.requests] == [("/api/v1/tables", {"limit": "0"})]

    def test_it_runs_alone_till_ctrl_c(self) -> None:
        command = [sys.executable, "-m", openmetadata_server.__name__, "--port", "0", "--tables", "7"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url, token = process.stdout.readline().strip(), process.stdout.readline().split()[1]
            process.stdout.readline()
            answer = requests.get(
                f"{url}/v1/tables?include=all", headers={"Authorization": f"Bearer {token}"}, timeout=10
            )
            os.kill(process.pid, signal.SIGINT)
            try:
                assert process.wait(10) == 0
            finally:
                process.kill()  # or the block would wait for ever for one that does not end
        assert answer.json()["paging"]["total"] == 7
