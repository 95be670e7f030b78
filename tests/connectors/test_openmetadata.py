"""connectors/openmetadata against a server made from OpenMetadata's documentation, which refuses what the API lacks."""

import base64
import copy
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, SourceError
from tests import stop_and_resume
from tests.loading import load_connector, load_module
from tests.recording import CountingSink, Destination, Sink, sync, with_sink
from tests.sources import faulty_http, openmetadata_server
from tests.sources.faulty_http import Answer
from tests.sources.openmetadata_server import RESULTS, OpenMetadataServer, Size

connector = load_connector("openmetadata")
records = load_module("openmetadata", "records")
deletions = load_module("openmetadata", "deletions")
ENTITIES = load_module("openmetadata", "entities").ENTITIES

MINUTE, HOUR, WEEK = 60, 3600, 7 * 86_400
# Without what refers to tables, charts and terms: a reference says whether what it names is deleted, and that changes
# without a new version of who refers.
APART = Size(queries=0, test_suites=0, test_cases=0, charts=0, ml_models=0, users=0)
FEW = Size(
    services=1, databases=1, schemas=2, tables=5, columns=4, dashboards=2, charts=1, glossary_terms=2, tags=2, users=2,
    teams=1, roles=1, domains=1, data_products=1, test_suites=1, test_cases=2, results=1, metrics=1, queries=1,
    stored_procedures=1, data_models=1, pipelines=1, topics=1, containers=1, search_indexes=1, ml_models=1,
    api_collections=1, api_endpoints=1, glossaries=1, classifications=1, test_definitions=1, lineage_edges_per_table=1,
)  # fmt: skip

# Tables that are read unlike others; the rest of them only takes time where syncs are killed again and again.
UNLIKE = {
    "tables",
    "dashboards",
    "storage_services",
    "containers",
    "glossary_terms",
    "test_case_results",
    "table_columns",
}


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


@pytest.fixture
def server() -> Iterator[OpenMetadataServer]:
    with openmetadata_server.start(APART) as started:
        yield started


def configuration(server: OpenMetadataServer, **settings: str) -> dict[str, str]:
    return {"base_url": server.api_url, "token": server.token, **settings}


def later(server: OpenMetadataServer, destination: Destination, seconds: float = HOUR, **settings: str) -> Sink:
    """A further sync, so many seconds after what happened at the server."""
    server.advance(seconds)
    server.requests.clear()
    return sync(connector, configuration(server, **settings), destination)


def calls(server: OpenMetadataServer, path: str) -> int:
    return sum(request.path == f"/api/v1/{path}" for request in server.requests)


def as_sent(value: Any, type_: str | Mapping[str, Any]) -> Any:
    """A value of the API as a destination has it: objects and lists to be compared as such, all else as text."""
    if value is None:
        return None
    if type_ == "UTC_DATETIME":
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
    if type_ == "BOOLEAN":
        return "true" if value else "false"
    return value if type_ == "JSON" else str(value)


def as_received(value: Any, type_: str | Mapping[str, Any]) -> Any:
    if value is None:
        return None
    if type_ == "UTC_DATETIME":
        return datetime.fromisoformat(value)
    return json.loads(value) if type_ == "JSON" else value


def declared(server: OpenMetadataServer, **settings: str) -> dict[str, Any]:
    return {table["table"]: table for table in connector.schema(configuration(server, **settings))}


def by_key(rows: list[dict[str, Any]], *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {tuple(str(row[column]) for column in key): row for row in rows}
    assert len(found) == len(rows), "two rows have one key"
    return found


def assert_rows(destination: Destination, table: Mapping[str, Any], truth: list[dict[str, Any]]) -> None:
    """Whether a table holds exactly these records: each column, and nothing undeclared."""
    types, key = table["columns"], table["primary_key"]
    unknown = {name for record in truth for name in record} - types.keys()
    assert not unknown, f"{table['table']} declares no column for {unknown}"
    expected = [{name: as_sent(record.get(name), type_) for name, type_ in types.items()} for record in truth]
    found = [
        {name: as_received(row[name], type_) for name, type_ in types.items()}
        for row in destination.table(table["table"])
    ]
    assert by_key(found, *key) == by_key(expected, *key), table["table"]


def entity_truth(server: OpenMetadataServer, entity: Any) -> list[dict[str, Any]]:
    """What the list of a kind of entity has, with the ids of its references, and without what holds passwords."""
    rows = []
    for record in server.truth(entity.collection, ",".join(entity.fields.split())):
        ids = {records.id_column(name): (record.get(name) or {}).get("id") for name in entity.refers_to}
        rows.append({name: value for name, value in record.items() if name not in entity.secrets} | ids)
    return rows


def columns_truth(server: OpenMetadataServer) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(table: str, column: dict[str, Any], above: list[str]) -> None:
        names = [*above, column["name"]]
        paths = [".".join(map(quoted, part)) or None for part in (names, above)]
        own = {name: value for name, value in column.items() if name != "children"}
        rows.append({**own, "table_id": table, "path": paths[0], "parent_path": paths[1], "occurrence": 1})
        for child in column.get("children", ()):
            add(table, child, names)

    for table in server.truth("tables", "tags"):
        for column in table["columns"]:
            add(table["id"], column, [])
    return rows


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "." in name or '"' in name else name


def lineage_truth(server: OpenMetadataServer) -> list[dict[str, Any]]:
    names = ("source", "sqlQuery", "createdAt", "createdBy", "updatedAt", "updatedBy")
    rows = []
    for edge in server.lineage_truth():
        details = edge["lineageDetails"]
        pipeline = details.get("pipeline", {}).get("id")
        rows.append({**edge, **{name: details.get(name) for name in names}, "pipeline_id": pipeline})
    return rows


def results_truth(server: OpenMetadataServer) -> list[dict[str, Any]]:
    return [
        {**result, "test_case_id": result["testCase"]["id"], "test_definition_id": result["testDefinition"]["id"]}
        for result in server.truth(RESULTS, "testCase,testDefinition")
    ]


def assert_equal_to_truth(destination: Destination, server: OpenMetadataServer) -> None:
    tables = declared(server)
    for entity in ENTITIES:
        assert_rows(destination, tables[entity.table], entity_truth(server, entity))
    assert_rows(destination, tables["table_columns"], columns_truth(server))
    assert_rows(destination, tables["lineage_edges"], lineage_truth(server))
    assert_rows(destination, tables["test_case_results"], results_truth(server))


class TestEveryEntityArrives:
    def test_with_exactly_the_values_of_the_server(self) -> None:
        with openmetadata_server.start(Size(tables=40, results=20)) as server:
            sink = sync(connector, configuration(server))
            assert_equal_to_truth(sink.destination, server)
            assert not sink.warnings
            assert all(sink.destination.table(name) for name in declared(server)), "a table of which nothing is shown"

    @pytest.mark.parametrize(("page_size", "most"), [(1, None), (7, None), (1000, None), (100, 1), (10, 3)])
    def test_once_whatever_the_size_of_pages_and_where_the_server_caps_them(
        self, page_size: int, most: int | None
    ) -> None:
        with openmetadata_server.start(Size(), caps_limit=most) as server:
            sink = sync(connector, configuration(server, page_size=str(page_size)))
            assert_equal_to_truth(sink.destination, server)
            for name in declared(server):
                assert sink.upserts[name] == len(sink.destination.table(name)), f"{name}: a record came twice"

    def test_those_marked_as_deleted_too(self, server: OpenMetadataServer) -> None:
        sink = sync(connector, configuration(server))
        deleted = {row["id"] for row in sink.destination.table("tables") if row["deleted"] == "true"}
        assert deleted == set(server.ids("tables", "deleted"))
        assert deleted

    def test_unusual_values_unchanged(self, server: OpenMetadataServer) -> None:
        table = server.ids("tables")[0]
        values = {
            "description": 'quo"te, back\\slash, \U0001f4ca, größe, \u2028, line\r\nline\ttab, {"a": 1}, 00123',
            "displayName": "",
            "extension": {"rate": 0.1, "big": 12345678901234567890, "exact": 1.10, "none": None, "größe": ["", " "]},
            "sourceUrl": "https://host/a?b=c&d=%20e#f",
        }
        server.update("tables", table, **values)
        sink = sync(connector, configuration(server))
        assert_equal_to_truth(sink.destination, server)
        row = next(row for row in sink.destination.table("tables") if row["id"] == table)
        assert row["description"] == values["description"]
        assert json.loads(row["extension"])["big"] in (12345678901234567890, "12345678901234567890")

    def test_the_time_of_an_update_to_the_millisecond(self, server: OpenMetadataServer) -> None:
        server.now = 1_700_000_000_001
        topic = server.add("topics")
        server.now = openmetadata_server.START
        row = next(
            row
            for row in sync(connector, configuration(server)).destination.table("topics")
            if row["id"] == topic["id"]
        )
        assert row["updatedAt"] == "2023-11-14T22:13:20.001Z"
        assert row["version"] == "0.1"

    def test_columns_within_columns_have_a_path_of_their_own(self, server: OpenMetadataServer) -> None:
        rows = sync(connector, configuration(server)).destination.table("table_columns")
        paths = {(row["path"], row["parent_path"]) for row in rows if row["table_id"] == server.ids("tables")[0]}
        assert {
            ("col_006", None),
            ('col_006."a.b"', "col_006"),
            ("col_006.address", "col_006"),
            ("col_006.address.city", "col_006.address"),
        } <= paths

    def test_columns_of_one_name_do_not_become_one(self, server: OpenMetadataServer) -> None:
        table = server.ids("tables")[0]
        twin = {"name": "twin", "dataType": "INT", "tags": []}
        server.update("tables", table, columns=[twin, {**twin, "dataType": "TEXT"}])
        rows = sync(connector, configuration(server)).destination.table("table_columns")
        found = [(row["path"], row["occurrence"], row["dataType"]) for row in rows if row["table_id"] == table]
        assert found == [("twin", "1", "INT"), ("twin", "2", "TEXT")]

    def test_more_results_than_the_servers_search_shows(self) -> None:
        """10,000 and no more: the tests of a day have to be asked for in parts."""
        with openmetadata_server.start(Size(test_cases=1100, results=2, test_suites=25)) as server:
            for case in server.ids("dataQuality/testCases", "non-deleted")[:20]:
                for _ in range(10):
                    server.add_result(case)
            server.advance(HOUR)
            sink = sync(connector, configuration(server, page_size="1000", lineage="false"))
            assert_rows(sink.destination, declared(server)["test_case_results"], results_truth(server))
            offsets = [int(request.query["offset"]) for request in server.requests if "offset" in request.query]
            assert max(offsets) < 9000

    def test_results_only_as_far_back_as_the_settings_say(self) -> None:
        with openmetadata_server.start(Size(results=20)) as server:
            sink = sync(connector, configuration(server, test_results_days="5"))
            oldest = min(row["timestamp"] for row in sink.destination.table("test_case_results"))
            assert "2025-12-27T00" < oldest < "2025-12-28"


class TestPasswordsStayWhereTheyAre:
    def test_unless_the_settings_ask_for_them(self, server: OpenMetadataServer) -> None:
        service = server.ids("services/databaseServices")[0]
        server.update("services/databaseServices", service, connection={"config": {"password": "hunter2"}})
        sink = sync(connector, configuration(server))
        assert "hunter2" not in repr(sink.destination.contents())
        assert "connection" not in declared(server)["database_services"]["columns"]
        sink = sync(connector, configuration(server, connections="true"))
        assert "hunter2" in repr(sink.destination.rows["database_services"])


class TestAFurtherSync:
    """Delivers what changed, and ends equal to the server."""

    def test_with_nothing_new_reads_no_list(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        again = later(server, destination, lineage="false")
        assert not again.upserts
        lists = [request for request in server.requests if request.query.get("limit") == "100"]
        assert all("offset" in request.query for request in lists), "only test results are asked for"
        assert len(server.requests) < 2 * len(ENTITIES) + 40

    @pytest.mark.parametrize("empty_pages", [False, True])
    def test_after_many_changes_of_every_kind(self, empty_pages: bool) -> None:
        with openmetadata_server.start(APART, history_empty_pages=empty_pages) as server:
            destination = sync(connector, configuration(server)).destination
            server.advance(HOUR)
            for entity in ENTITIES:
                for id in server.ids(entity.collection)[:2]:
                    server.update(entity.collection, id, description=f"new, of {id}")
            for _ in range(3):
                table = server.add("tables")
                server.update("tables", table["id"], owners=[])
                server.advance(MINUTE)
            server.soft_delete("tables", server.ids("tables", "non-deleted")[3])
            server.restore("tables", server.ids("tables", "deleted")[0])
            server.soft_delete("topics", server.ids("topics", "non-deleted")[0])
            server.hard_delete("containers", server.ids("containers")[0])
            sink = later(server, destination)
            assert_equal_to_truth(destination, server)
            assert sink.upserts["tables"] < len(server.ids("tables"))
            assert not sink.warnings

    def test_after_more_changes_than_a_page_of_history_holds(self) -> None:
        with openmetadata_server.start(APART, caps_limit=7, history_empty_pages=True) as server:
            destination = sync(connector, configuration(server)).destination
            server.advance(HOUR)
            for round_ in range(4):
                for id in server.ids("tables"):
                    server.update("tables", id, description=f"{round_}")
            sink = later(server, destination)
            assert_equal_to_truth(destination, server)
            assert sink.upserts["tables"] == len(server.ids("tables")), "each is delivered once, as it is now"
            assert calls(server, "tables/history") > 100 / 7

    def test_weeks_later(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server, whole_every_days="0")).destination
        for days in range(20):
            server.advance(86_400)
            server.update("topics", server.ids("topics")[days % 4], description=f"day {days}")
        later(server, destination, whole_every_days="0")
        assert_equal_to_truth(destination, server)

    def test_a_change_during_the_sync_before_is_not_missed(self, server: OpenMetadataServer) -> None:
        """What changes behind the page under way is asked for again by the next sync."""
        destination = Destination()
        server.now += 500
        sync(connector, configuration(server), destination)
        server.update("topics", server.ids("topics")[0], description="in the same second")
        later(server, destination)
        assert_equal_to_truth(destination, server)

    def test_what_was_written_late_arrives(self) -> None:
        """The server dates a change, or a result, with a time before the last sync, and shows it after that."""
        with openmetadata_server.start(Size(results=10)) as server:
            server.advance(HOUR)
            destination = sync(connector, configuration(server)).destination
            server.now -= 2 * MINUTE * 1000
            server.update("topics", server.ids("topics")[0], description="late")
            server.now -= HOUR * 1000
            server.add_result(server.ids("dataQuality/testCases", "non-deleted")[0])
            later(server, destination, 2 * HOUR)
            assert_equal_to_truth(destination, server)

    def test_a_dropped_column_is_gone(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        table = server.ids("tables")[0]
        server.advance(HOUR)
        server.drop_column(table, "col_002")
        later(server, destination)
        assert_equal_to_truth(destination, server)
        assert not [row for row in destination.table("table_columns") if row["path"] == "col_002"
                    and row["table_id"] == table]  # fmt: skip

    def test_changed_lineage_is_as_it_is_now(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        edges = list(server.lineage_truth())
        server.remove_lineage(edges[0]["fromEntity"], edges[0]["toEntity"])
        server.add_lineage(edges[1]["fromEntity"], edges[1]["toEntity"], description="by hand")
        server.add_lineage(server.ids("topics")[0], server.ids("dashboard/datamodels")[0])
        later(server, destination)
        assert_equal_to_truth(destination, server)

    def test_lineage_of_an_asset_that_is_gone_by_then_is_no_error(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        edges = list(server.lineage_truth())
        gone = edges[0]["fromEntity"]
        without(server, f"/api/v1/lineage/table/{gone}")
        assert not later(server, destination).warnings
        left = {(edge["fromEntity"], edge["toEntity"]) for edge in edges if edge["fromEntity"] != gone}
        assert {(row["fromEntity"], row["toEntity"]) for row in destination.table("lineage_edges")} == left

    def test_delivers_new_results_and_those_of_the_day_before(self) -> None:
        with openmetadata_server.start(Size(results=10)) as server:
            destination = sync(connector, configuration(server)).destination
            server.advance(HOUR)
            cases = server.ids("dataQuality/testCases", "non-deleted")
            for case in cases:
                server.add_result(case, "Failed")
            sink = later(server, destination)
            assert_rows(destination, declared(server)["test_case_results"], results_truth(server))
            assert sink.upserts["test_case_results"] <= 2 * len(cases)

    def test_after_so_many_days_reads_every_list_whole(self, server: OpenMetadataServer) -> None:
        """So what changes without a version arrives: here a reference to something that is deleted now."""
        destination = sync(connector, configuration(server)).destination
        schema = server.ids("databaseSchemas")[0]
        later(server, destination, 3 * 86_400)
        assert calls(server, "tables") == 2, "how many there are, and the sources of lineage"
        sink = later(server, destination, 5 * 86_400)
        assert schema in {row["id"] for row in destination.table("database_schemas")}
        assert sink.upserts["tables"] == len(server.ids("tables"))
        assert_equal_to_truth(destination, server)


class TestWhatIsDeletedForGood:
    @pytest.mark.parametrize(
        "collection",
        ["topics", "tables", "databaseSchemas", "databases", "services/databaseServices", "services/apiServices",
         "glossaries", "glossaryTerms", "classifications", "tags", "domains", "dataProducts", "teams", "metrics"],
    )  # fmt: skip
    def test_is_gone_with_all_that_it_contained(self, server: OpenMetadataServer, collection: str) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        before = {entity.collection: len(server.ids(entity.collection)) for entity in ENTITIES}
        server.hard_delete(collection, server.ids(collection)[0])
        for entity in ENTITIES:  # there are as many as before, so that only the event tells
            for _ in range(before[entity.collection] - len(server.ids(entity.collection))):
                server.add(entity.collection)
        later(server, destination)
        tables = declared(server)
        for entity in ENTITIES:
            assert set(server.ids(entity.collection)) == {row["id"] for row in destination.table(entity.table)}
        assert_rows(destination, tables["lineage_edges"], lineage_truth(server))
        assert_rows(destination, tables["table_columns"], columns_truth(server))

    def test_only_the_lists_that_it_was_in_are_read_whole(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.hard_delete("apiCollections", server.ids("apiCollections")[0])
        sink = later(server, destination, lineage="false")
        assert set(sink.upserts) == {"api_collections", "api_endpoints"}
        assert not later(server, destination, lineage="false").upserts, "and once only"

    def test_what_is_only_marked_makes_no_list_be_read_whole(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.soft_delete("topics", server.ids("topics", "non-deleted")[0])
        assert later(server, destination, lineage="false").upserts == {"topics": 1}
        assert_rows(destination, declared(server)["topics"], entity_truth(server, entity_of("topics")))

    def test_is_noticed_without_an_event_when_there_are_fewer(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.hard_delete("topics", server.ids("topics")[0])
        server._events_of_removed.clear()
        later(server, destination)
        assert_equal_to_truth(destination, server)

    def test_is_noticed_when_the_events_of_that_time_are_gone(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server, whole_every_days="0")).destination
        server.advance(HOUR)
        server.hard_delete("topics", server.ids("topics")[0])
        server.add("topics")
        later(server, destination, 8 * 86_400, whole_every_days="0")
        assert not calls(server, "events")
        assert_equal_to_truth(destination, server)

    @pytest.mark.parametrize("status", [403, 404])
    def test_is_noticed_where_no_events_are_to_be_had(self, server: OpenMetadataServer, status: int) -> None:
        destination = sync(connector, configuration(server)).destination
        server.hard_delete("topics", server.ids("topics")[0])
        server.add("topics")
        without(server, "/api/v1/events", status=status)
        sink = later(server, destination)
        assert_equal_to_truth(destination, server)
        assert [told for told in sink.warnings if "every list is read whole" in told and f"status {status}" in told]

    def test_is_noticed_in_a_table_that_was_left_out_for_a_while(self, server: OpenMetadataServer) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.hard_delete("topics", server.ids("topics")[0])
        server.add("topics")
        later(server, destination, exclude_tables="topics")
        later(server, destination)
        assert_equal_to_truth(destination, server)

    def test_during_a_sync_is_noticed_by_the_next(self, server: OpenMetadataServer) -> None:
        """A list that was read already when a sync was interrupted is not read again when it goes on."""
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.hard_delete("topics", server.ids("topics")[0])
        killed = sync(connector, configuration(server), destination, stop_at=operations_till(server, destination))
        assert killed.upserts["topics"]
        server.advance(MINUTE)
        server.hard_delete("topics", server.ids("topics")[0])
        server.add("topics")
        later(server, destination, MINUTE)
        later(server, destination, MINUTE)
        assert_equal_to_truth(destination, server)

    def test_makes_a_list_be_read_whole_once_however_often_the_sync_is_stopped(
        self, server: OpenMetadataServer
    ) -> None:
        destination = sync(connector, configuration(server)).destination
        server.advance(HOUR)
        server.hard_delete("topics", server.ids("topics")[0])
        killed = sync(connector, configuration(server), destination, stop_at=operations_till(server, destination))
        assert "truncate topics" in killed.order
        assert "truncate topics" not in later(server, destination, 2 * HOUR).order
        assert_equal_to_truth(destination, server)


def entity_of(table: str) -> Any:
    return next(entity for entity in ENTITIES if entity.table == table)


def operations_till(server: OpenMetadataServer, destination: Destination) -> int:
    """How many operations a sync makes up to its first of lineage."""
    order = sync(connector, configuration(server), copy.deepcopy(destination)).order
    return order.index("truncate lineage_edges")


def without(server: OpenMetadataServer, *paths: str, status: int = 404) -> None:
    """Makes the server one that does not have these paths."""
    respond = server.respond

    def respond_without(request: Any, handler: Any) -> None:
        if request.path in paths:
            handler.reply_json(status, {"code": status, "message": "no"})
        else:
            respond(request, handler)

    server.respond = respond_without  # type: ignore[method-assign]


class TestOlderServers:
    def test_a_server_that_lacks_a_kind_of_asset_has_lineage_all_the_same(self) -> None:
        with openmetadata_server.start(APART) as server, pytest.MonkeyPatch.context() as patch:
            respond = server.respond

            def without_metrics(request: Any, handler: Any) -> None:
                missing = request.path.startswith("/api/v1/metrics")
                handler.reply_json(404, {"code": 404}) if missing else respond(request, handler)

            patch.setattr(server, "respond", without_metrics)
            assert sync(connector, configuration(server)).upserts["lineage_edges"] > 0

    def test_without_a_history_every_list_is_read_whole(self) -> None:
        with openmetadata_server.start(APART, version="1.11") as server:
            destination = sync(connector, configuration(server)).destination
            server.update("tables", server.ids("tables")[0], description="new")
            server.hard_delete("topics", server.ids("topics")[0])
            server.add("topics")
            later(server, destination)
            assert_equal_to_truth(destination, server)

    def test_without_a_list_of_some_kind_its_table_stays_empty(self, server: OpenMetadataServer) -> None:
        without(server, "/api/v1/queries", "/api/v1/queries/history")
        destination = sync(connector, configuration(server)).destination
        assert not later(server, destination, lineage="false").upserts
        assert_equal_to_truth(destination, server)

    def test_that_do_not_know_a_field_are_not_asked_for_it(self, server: OpenMetadataServer) -> None:
        sink = sync(connector, configuration(server, exclude_fields="votes,lifeCycle"))
        asked = {name for request in server.requests for name in request.query.get("fields", "").split(",")}
        assert not asked & {"votes", "lifeCycle"}
        assert sink.destination.table("tables")

    def test_that_fail_behind_the_last_entity_are_asked_from_the_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A saved position may be behind the last entity by the time the sync goes on."""
        monkeypatch.setattr("shared.http_client.random.uniform", lambda *_: 0.0)
        with openmetadata_server.start(APART, exhausted_cursor_fails=True) as server:
            settings = configuration(server, page_size="10")
            stop_at = sync(connector, settings).order.index("truncate tables") + 150
            destination = sync(connector, settings, stop_at=stop_at).destination.after_crash()
            cursor = destination.committed["streams"]["tables"]["pass"]["at"]
            last = tuple(json.loads(base64.urlsafe_b64decode(cursor)).values())
            for table in list(server.truth("tables")):
                if (table["name"], table["id"]) > last:
                    server.hard_delete("tables", table["id"])
            sink = later(server, destination, page_size="10")
            assert_equal_to_truth(destination, server)
            assert any("the pass starts again" in warning for warning in sink.warnings)


def of_few_tables(server: OpenMetadataServer) -> dict[str, str]:
    left_out = declared(server).keys() - UNLIKE - {"lineage_edges"}
    return configuration(server, page_size="3", exclude_tables=",".join(sorted(left_out)))


class TestStopAndResume:
    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self) -> None:
        with openmetadata_server.start(FEW) as server:
            assert stop_and_resume.check(connector, of_few_tables(server)) > 100

    def test_so_does_a_further_sync_with_changes_deletions_and_dropped_columns(self) -> None:
        with openmetadata_server.start(FEW) as server:
            settings = of_few_tables(server)
            before = sync(connector, settings).destination
            change_a_little(server)
            undisturbed = sync(connector, settings, copy.deepcopy(before))
            for stop_at in stop_and_resume.stops(undisturbed.operations):
                killed = sync(connector, settings, copy.deepcopy(before), stop_at=stop_at)
                for destination in (killed.destination.after_crash(), killed.destination):
                    sync(connector, settings, destination)
                    assert destination.contents() == undisturbed.destination.contents(), stop_at

    def test_dying_again_and_again_still_ends(self) -> None:
        with openmetadata_server.start(FEW) as server:
            settings = of_few_tables(server)
            assert stop_and_resume.check_dying_again_and_again(connector, settings, operations=25) > 3
            destination = sync(connector, settings).destination
            change_a_little(server)
            attempts = 1
            while sync(connector, settings, destination, stop_at=25).operations == 25:
                attempts += 1
                server.advance(2 * HOUR)
            assert 1 < attempts < 20
            server.advance(HOUR)
            sync(connector, settings, destination)
            assert_rows(destination, declared(server)["tables"], entity_truth(server, entity_of("tables")))


def change_a_little(server: OpenMetadataServer) -> None:
    server.advance(HOUR)
    server.update("dashboards", server.ids("dashboards")[0], description="new")
    server.add("glossaryTerms")
    server.drop_column(server.ids("tables")[0], "col_002")
    server.hard_delete("tables", server.ids("tables")[1])
    server.hard_delete("services/storageServices", server.ids("services/storageServices")[0])
    server.advance(HOUR)


class TestSideBySide:
    def test_rows_and_their_order_are_the_same(self) -> None:
        with openmetadata_server.start(Size(), latency=0.001) as server:
            sinks = [
                sync(connector, configuration(server, enable_parallel_processing=parallel))
                for parallel in ("true", "false")
            ]
            one, other = ([(name, list(rows.items())) for name, rows in it.destination.rows.items()] for it in sinks)
            assert one == other
            assert sinks[0].order == sinks[1].order
            server.update("tables", server.ids("tables")[0], description="new")
            server.update("tables", server.ids("tables")[1], description="new")
            server.advance(HOUR)
            orders = [
                sync(connector, configuration(server, max_concurrent_api_calls=most), it.destination).order
                for most, it in zip(("50", "1"), sinks, strict=True)
            ]
            assert orders[0] == orders[1]
            assert sinks[0].destination.contents() == sinks[1].destination.contents()


class TestWhatItCosts:
    def test_a_first_sync_asks_for_each_page_once(self) -> None:
        with openmetadata_server.start(Size(tables=95)) as server:
            sync(connector, configuration(server, page_size="10"))
            asked = Counter((request.path, tuple(request.query.items())) for request in server.requests)
            assert [call for call, times in asked.items() if times > 1] == []
            assert calls(server, "tables") == 1 + 10 + 10, "how many there are, their pages, and the sources of lineage"

    def test_lineage_is_one_call_an_asset_and_can_be_left_out(self, server: OpenMetadataServer) -> None:
        sync(connector, configuration(server))
        assets = sum(len(server.ids(entity.collection)) for entity in ENTITIES if entity.has_lineage)
        assert sum(request.path.startswith("/api/v1/lineage/") for request in server.requests) == assets
        server.requests.clear()
        sink = sync(connector, configuration(server, lineage="false"))
        assert not [request for request in server.requests if "lineage" in request.path]
        assert not sink.destination.table("lineage_edges")

    def test_lineage_that_is_excluded_is_not_read_either(self, server: OpenMetadataServer) -> None:
        sync(connector, configuration(server, exclude_tables="lineage_edges"))
        assert not [request for request in server.requests if "lineage" in request.path]

    def test_memory_does_not_grow_with_what_is_read(self) -> None:
        peaks = [peak_of_a_sync(tables) for tables in (120, 360)]  # more than is held back at first
        assert peaks[1] < 1.5 * peaks[0]


def peak_of_a_sync(tables: int) -> int:
    """Bytes that a sync of so many tables holds at most, and the server in this process beside it."""
    with openmetadata_server.start(Size(tables=tables, columns=60)) as server:
        settings = configuration(server, page_size="20", max_concurrent_api_calls="2")
        sink = CountingSink(connector.schema(settings))
        tracemalloc.start()
        try:
            with_sink(sink, lambda: connector.update(configuration=settings, state={}))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


class TestWhatIsWrongIsTold:
    def test_what_a_page_says_against_itself(self, server: OpenMetadataServer) -> None:
        server.unreadable = set(server.ids("tables")[:2])
        warnings = sync(connector, configuration(server, lineage="false")).warnings
        assert any(told.startswith("tables: ") and "(2)" in told and "cannot be read" in told for told in warnings)

    def test_a_wrong_token_in_one_sentence_without_the_token(self, server: OpenMetadataServer) -> None:
        settings = configuration(server, token="hunter2-is-the-token")
        with pytest.raises(SourceError, match=r"status 401 \(check the credentials in the settings\)") as told:
            sync(connector, settings)
        assert "hunter2" not in str(told.value)
        assert "\n" not in str(told.value)

    def test_an_address_without_the_api(self, server: OpenMetadataServer) -> None:
        with pytest.raises(SourceError, match="/v1/system/version answered with status 404 .check the address"):
            sync(connector, {"base_url": server.url, "token": server.token})

    def test_an_address_of_something_else(self) -> None:
        with faulty_http.start() as other:
            other.script("/v1/system/version", [Answer({"hello": "world"})])
            with pytest.raises(SourceError, match="tells no version: base_url has to be the address"):
                sync(connector, {"base_url": other.url, "token": "token"})

    def test_a_field_that_the_server_does_not_know(self, server: OpenMetadataServer) -> None:
        reply: Callable[..., None] = server.respond

        def respond(request: Any, handler: Any) -> None:
            if "votes" in request.query.get("fields", ""):
                handler.reply_json(400, {"code": 400, "message": "Invalid field name votes"})
            else:
                reply(request, handler)

        server.respond = respond  # type: ignore[method-assign]
        with pytest.raises(SourceError, match="Invalid field name votes"):
            sync(connector, configuration(server))

    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            ({"base_url": "https://host/api"}, "token: is required"),
            ({"base_url": "https://host/api", "token": "t", "page_size": "1001"}, "page_size: .* from 1 to 1000"),
            ({"base_url": "http://host/api", "token": "t"}, "base_url: http:// sends everything readable"),
            ({"base_url": "https://host/api", "token": "t", "exclude_tables": "table"}, "there is no such table"),
            (
                {"base_url": "https://host/api", "token": "t", "exclude_fields": "vote"},
                "exclude_fields: vote: nothing is",
            ),
        ],
    )
    def test_a_wrong_setting_before_anything_is_read(self, settings: dict[str, str], problem: str) -> None:
        with pytest.raises(ConfigurationError, match=problem):
            connector.schema(settings)


class TestDroppedColumnsAreSeenInAHistory:
    """Only a whole pass can take them out of table_columns."""

    @pytest.mark.parametrize(
        ("change", "drops"),
        [
            ({"name": "columns", "oldValue": '[{"name": "a", "dataType": "INT"}]'}, True),
            ({"name": "columns", "oldValue": [{"name": "a", "dataType": "INT"}]}, True),
            ({"name": "columns"}, True),
            ({"name": "columns.address", "oldValue": '[{"name": "city", "dataType": "INT"}]'}, True),
            ({"name": "columns.address"}, True),
            ({"name": "columns.address.tags", "oldValue": '[{"tagFQN": "a.b"}]'}, False),
            ({"name": "columns.address.description", "oldValue": "a text"}, False),
            ({"name": "columns.address.description", "oldValue": '"1"'}, False),
            ({"name": "tags", "oldValue": "[]"}, False),
        ],
    )
    def test_by_what_was_deleted(self, change: dict[str, Any], drops: bool) -> None:
        assert records.drops_columns({"changeDescription": {"fieldsDeleted": [change]}}) is drops
        assert records.drops_columns({"incrementalChangeDescription": {"fieldsDeleted": [change]}}) is drops

    def test_a_version_without_a_change(self) -> None:
        assert not records.drops_columns({"id": "1", "changeDescription": None})
        assert not records.drops_columns({"changeDescription": {"fieldsDeleted": None}})


class TestWhatContainsWhat:
    def test_a_service_contains_all_that_is_below_it(self) -> None:
        below = deletions.with_contents(["databaseService"])
        assert {"databaseService", "database", "databaseSchema", "table", "storedProcedure", "testCase"} <= below
        assert "dashboard" not in below

    def test_what_is_not_known_contains_nothing_that_is(self) -> None:
        assert deletions.with_contents(["persona"]) == {"persona"}


class TestSetupForm:
    def test_finds_the_server_and_reads_with_the_token(self, server: OpenMetadataServer) -> None:
        assert connector.server_test(configuration(server)).success
        assert connector.token_test(configuration(server)).success

    def test_says_what_is_wrong(self, server: OpenMetadataServer) -> None:
        assert "status 401" in connector.token_test(configuration(server, token="wrong-token")).failure
        assert "status 404" in connector.server_test({"base_url": server.url, "token": server.token}).failure
