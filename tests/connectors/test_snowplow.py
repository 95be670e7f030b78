"""connectors/snowplow against a server that answers as the Console's API is documented to."""

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, RecordError, SourceError
from shared.metrics import Metrics
from tests import stop_and_resume
from tests.loading import load_connector, load_module
from tests.recording import Destination, Sink, sync
from tests.sources import snowplow_server
from tests.sources.http_thread import Request
from tests.sources.snowplow_server import Size, SnowplowServer

connector = load_connector("snowplow")
enrichment_inputs = load_module("snowplow", "enrichment_inputs")
schema_fields = load_module("snowplow", "schema_fields")

Row = dict[str, Any]

# The table of each resource, and its key. The other tables are made of parts of these.
TABLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "data_structures": ("data_structures", ("hash",)),
    "event_specs": ("event_specifications", ("id",)),
    "tracking_plans": ("tracking_plans", ("id",)),
    "data_models": ("data_models", ("dataProductId", "name")),
    "source_apps": ("source_apps", ("id",)),
    "users": ("users", ("id",)),
    "pipelines": ("pipelines", ("id",)),
    "enrichments": ("enrichments", ("pipelineId", "name")),
    "destinations": ("destinations", ("id",)),
    "job_runs": ("job_runs", ("runId",)),
    "job_run_steps": ("job_run_steps", ("runId", "name")),
    "deployments": ("data_structure_deployment_history", ("hash", "env", "version", "patchLevel", "ts")),
}
DEPLOYMENT_KEY = TABLES["deployments"][1]
SCHEMA_KEY = ("vendor", "name", "format", "version")
EVERYTHING = {"track_field_versions": "true", "job_run_steps": "true"}
SMALL = Size(
    structures=6, versions_each=2, fields_per_schema=3, wide_schemas=0, event_specs=3, tracking_plans=2, data_models=2,
    source_apps=2, users=2, enrichments=3, destinations=1, job_runs=3, steps_each=1, failed_events=0
)  # fmt: skip


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


def serve(size: Size | None = None, latency: float = 0.0) -> AbstractContextManager[SnowplowServer]:
    """The API with a clock that goes."""
    return snowplow_server.start(size, latency=latency, now=None)


@pytest.fixture
def server() -> Iterator[SnowplowServer]:
    with serve() as running:
        yield running


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, server: SnowplowServer, path: str, status: int) -> Iterator[None]:
    """Makes every request of a path that ends so fail, without a pause before it is sent again."""
    before = server.fails
    with monkeypatch.context() as patch:
        patch.setattr("shared.http_client._LONGEST_WAIT", 0.0)
        server.fails = lambda request: status if request.path.endswith(path) else None
        yield
    server.fails = before


def configuration(server: SnowplowServer, **settings: str) -> dict[str, str]:
    return {
        "base_url": server.url,
        "organization_id": server.organization_id,
        "api_key_id": server.api_key_id,
        "api_key": server.api_key,
        **settings,
    }


def rows(destination: Destination, table: str, *key: str) -> list[Row]:
    """The rows of a table with every value as the source had it, in the order of their keys."""
    return by_key([{name: plain(value) for name, value in row.items()} for row in destination.table(table)], *key)


def by_key(some: list[Row], *key: str) -> list[Row]:
    return sorted(some, key=lambda row: [str(row[column]) for column in key])


def plain(value: Any) -> Any:
    """A value as text that two ways of writing it have in common."""
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    text = str(value) if value is not None else None
    if isinstance(value, bool):
        return str(value).lower()
    if text and text[:1] in "[{":
        return json.dumps(json.loads(text), sort_keys=True)
    if text and len(text) >= 20 and text[4:5] == "-" and text[10:11] == "T":
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    return text


def expected(some: list[Row], like: list[Row], *key: str) -> list[Row]:
    """The rows of the source with all columns that the destination has."""
    names = like[0] if like else {}
    return by_key([{name: plain(row.get(name)) for name in names} | plain_row(row) for row in some], *key)


def plain_row(row: Row) -> Row:
    return {name: plain(value) for name, value in row.items()}


def assert_equal_to_source(destination: Destination, server: SnowplowServer, leaves_out: tuple[str, ...] = ()) -> None:
    for resource, (table, key) in TABLES.items():
        if resource in leaves_out:
            continue
        arrived = rows(destination, table, *key)
        assert arrived == expected(server.truth(resource), arrived, *key), table
        assert all(row["_undeclared"] is None for row in arrived), table
    structures, plans = server.truth("data_structures"), server.truth("tracking_plans")
    current = rows(destination, "data_structure_deployments", *DEPLOYMENT_KEY)
    known = [{"hash": one["hash"], **deployment} for one in structures for deployment in one["deployments"]]
    assert current == expected(known, current, *DEPLOYMENT_KEY)
    specs = [{"trackingPlanId": plan["id"], **one} for plan in plans for one in plan["eventSpecs"]]
    arrived = rows(destination, "tracking_plan_event_specs", "trackingPlanId", "id")
    assert arrived == expected(specs, arrived, "trackingPlanId", "id")
    apps = [{"trackingPlanId": plan["id"], "id": app} for plan in plans for app in plan["sourceApplications"]]
    arrived = rows(destination, "tracking_plan_source_apps", "trackingPlanId", "id")
    assert arrived == expected(apps, arrived, "trackingPlanId", "id")


def schemas_of(destination: Destination) -> list[Row]:
    found = [json.loads(row["schema"]) for row in destination.table("schema_versions")]
    return by_key(found, "self")


def edges(destination: Destination) -> set[tuple[str, str, str]]:
    return {
        (row["pipelineId"], row["enrichmentName"], row["hash"]) for row in destination.table("enrichment_schema_edges")
    }


def inputs_of_each(destination: Destination) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for pipeline, name, structure in edges(destination):
        found.setdefault((pipeline, name), set()).add(structure)
    return found


def event_structures(server: SnowplowServer) -> list[str]:
    return [one["hash"] for one in server.truth("data_structures") if one["meta"].get("schemaType") == "event"]


def enabled(server: SnowplowServer) -> set[tuple[str, str]]:
    return {(one["pipelineId"], one["name"]) for one in server.truth("enrichments") if one["enabled"]}


def many_events(count: int, **size: Any) -> Size:
    """A size with at least so many event schemas: every fourth structure is one."""
    return Size(structures=4 * count, versions_each=1, fields_per_schema=1, wide_schemas=0, job_runs=0, **size)


class TestEveryRecordArrives:
    def test_of_every_table_with_every_value(self, server: SnowplowServer) -> None:
        sink = sync(connector, configuration(server, **EVERYTHING))
        assert_equal_to_source(sink.destination, server)
        assert schemas_of(sink.destination) == by_key(server.truth("schema_versions"), "self")

    def test_and_so_it_does_after_everything_changed(self, server: SnowplowServer) -> None:
        destination = Destination()
        sync(connector, configuration(server, **EVERYTHING), destination)
        structures = server.truth("data_structures")
        server.deploy(structures[0]["hash"], "DEV")
        server.deploy(structures[1]["hash"], "PROD", patch=True)
        server.add_structure("com.acme", "a_new_one")
        server.add_job_runs(3, datetime.now(UTC) - timedelta(minutes=5))
        first = server.truth("enrichments")[0]
        server.toggle_enrichment(first["pipelineId"], first["name"])
        sync(connector, configuration(server, **EVERYTHING), destination)
        assert_equal_to_source(destination, server)
        assert inputs_of_each(destination).keys() == enabled(server)

    def test_from_a_server_that_caps_its_pages_and_tells_nobody(self, server: SnowplowServer) -> None:
        server.caps_size = 10
        sink = sync(connector, configuration(server, **EVERYTHING, page_size="50"))
        assert_equal_to_source(sink.destination, server)

    def test_lists_also_from_one_that_caps_them_at_three(self, server: SnowplowServer) -> None:
        server.caps_size = 3  # a history is taken for whole below ten, a list never
        sink = sync(connector, configuration(server, page_size="50"))
        assert len(sink.destination.table("data_structures")) == len(server.truth("data_structures")) > 3

    def test_types_are_declared_for_every_column(self, server: SnowplowServer) -> None:
        for table in connector.schema(configuration(server, **EVERYTHING)):
            assert set(table["primary_key"]) <= set(table["columns"])

    def test_a_record_without_its_key_is_named(self) -> None:
        with serve(SMALL) as server:
            server._organization.users[0]["id"] = None
            with pytest.raises(RecordError, match="table users, record id=None: .* without its whole primary"):
                sync(connector, configuration(server))

    def test_data_models_of_two_plans_may_share_a_name_and_need_no_id(self) -> None:
        with serve(SMALL) as server:
            first, second = server._organization.data_models
            second["name"] = first["name"]
            for model in (first, second):
                del model["id"]
            arrived = sync(connector, configuration(server)).destination.table("data_models")
        assert {(row["dataProductId"], row["name"], row["id"]) for row in arrived} == {
            (model["dataProductId"], first["name"], None) for model in (first, second)
        }

    def test_warnings_beside_the_records_are_told(self, server: SnowplowServer) -> None:
        server.warns = True
        told = [
            line for line in sync(connector, configuration(server)).warnings if "problems beside its records" in line
        ]
        assert [line.partition(":")[0] for line in told] == ["event_specifications", "tracking_plans"]
        assert all("An item refers to a version that is deprecated" in line for line in told)


class TestEveryListIsReadOnce:
    def test_in_a_sync(self) -> None:
        with serve(Size(structures=250, pipelines=3)) as server:
            sync(connector, configuration(server))
            paths = [request.path for request in server.requests]
            assert server.calls("/data-structures/v1$") == 4, "three pages, and the empty one that ends the list"
            assert server.calls("/jobs/v1/runs$") == 2, "two windows make up a week"
            others = [path for path in paths if not path.endswith(("/data-structures/v1", "/jobs/v1/runs"))]
            assert sorted(others) == sorted(set(others))
            assert len(others) == 12, "a token, eight lists and three pipelines' enrichments"

    def test_and_the_data_structures_twice_without_the_cache(self, server: SnowplowServer) -> None:
        sync(connector, configuration(server, enable_caching="false"))
        assert server.calls("/data-structures/v1$") == 4, "twice a page and the empty one, however many enrichments"

    def test_the_edges_are_the_same_without_the_cache(self, server: SnowplowServer) -> None:
        with_cache = edges(sync(connector, configuration(server)).destination)
        assert with_cache
        assert edges(sync(connector, configuration(server, enable_caching="false")).destination) == with_cache
        without_table = sync(connector, configuration(server, exclude_tables="data_structures")).destination
        assert edges(without_table) == with_cache

    def test_no_call_is_made_for_deployments_unless_their_history_is_asked_for(self) -> None:
        with serve(Size(structures=1000, versions_each=1, wide_schemas=0)) as server:
            sync(connector, configuration(server))
            assert server.calls("/deployments$") == 0
            assert server.calls("/data-structures/v1$") == 11, "ten pages, and the empty one that ends the list"

    def test_a_thousand_histories_are_a_thousand_calls(self) -> None:
        """An empty page ends each: a short one may be the server's cap."""
        with serve(Size(structures=1000, versions_each=1, wide_schemas=0)) as server:
            destination = sync(connector, configuration(server, track_field_versions="true")).destination
            assert server.calls("/deployments$") == 1000
            assert server.calls("/versions") == 1, "all versions of all schemas come in one call"
            assert len(destination.rows["data_structure_deployment_history"]) == len(server.truth("deployments"))


class TestSideBySide:
    SIZE = Size(structures=60, versions_each=2, fields_per_schema=2, wide_schemas=0, pipelines=8, enrichments=20)

    @pytest.mark.parametrize("most", [10, 3, 1])
    def test_no_more_calls_are_in_flight_than_allowed(self, most: int) -> None:
        with serve(self.SIZE, latency=0.01) as server:
            sync(connector, configuration(server, **EVERYTHING, max_concurrent_api_calls=str(most)))
            assert most / 2 < server.most_in_flight <= most

    def test_and_fewer_for_enrichments_and_steps(self) -> None:
        with serve(self.SIZE, latency=0.03) as server:
            sync(connector, configuration(server, job_run_steps="true", max_parallel_workers="4"))
            assert 2 < server.most_in_flight <= 4

    def test_the_rows_and_their_order_are_the_same_one_after_the_other(self) -> None:
        with serve(self.SIZE, latency=0.002) as server:
            parallel = sync(connector, configuration(server, **EVERYTHING))
            assert server.most_in_flight > 1
            server.most_in_flight = 0
            one_by_one = sync(connector, configuration(server, **EVERYTHING, enable_parallel_processing="false"))
            assert server.most_in_flight == 1
        assert parallel.order == one_by_one.order
        assert parallel.destination.contents() == one_by_one.destination.contents()

    def test_a_token_that_expires_among_ten_calls_is_renewed_once(self) -> None:
        with serve(self.SIZE, latency=0.005) as server:
            left = [40]

            def expire(request: Request) -> None:
                left[0] -= request.path.endswith("/deployments")
                if left[0] == 0:
                    left[0] = -1
                    server.expire_tokens()

            server.fails = expire
            sink = sync(connector, configuration(server, **EVERYTHING))
            assert server.tokens_minted == 2
            assert_equal_to_source(sink.destination, server)

    def test_a_server_that_refuses_too_many_is_asked_more_slowly(self) -> None:
        with serve(SMALL) as server:
            server.rate_limit = 20
            sink = sync(connector, configuration(server, **EVERYTHING))
            assert_equal_to_source(sink.destination, server)


class TestAFailedCallIsNoEmptyList:
    def test_deployments_that_cannot_be_read_are_named_and_the_current_ones_stay(
        self, server: SnowplowServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        structure = server.truth("data_structures")[3]["hash"]
        destination = Destination()
        settings = configuration(server, track_field_versions="true")
        sync(connector, settings, destination)
        with failing(monkeypatch, server, f"/{structure}/deployments", 403):
            sink = sync(connector, settings, destination)
        assert_equal_to_source(destination, server, leaves_out=("job_run_steps",))
        [failure] = destination.table("_errors")
        assert failure["table"] == "data_structure_deployment_history"
        assert structure in failure["address"]
        assert "status 403" in failure["message"]
        assert any("_errors names what" in line for line in sink.warnings)

    def test_a_list_that_cannot_be_read_stops_the_sync(
        self, server: SnowplowServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with (
            failing(monkeypatch, server, "/enrichments", 500),
            pytest.raises(SourceError, match="/enrichments failed after 6 tries: status 500"),
        ):
            sync(connector, configuration(server))


class TestWhatIsGoneDisappears:
    def test_with_all_that_belonged_to_it(self, server: SnowplowServer) -> None:
        destination = Destination()
        sync(connector, configuration(server), destination)
        gone = event_structures(server)[0]
        assert gone in {edge[2] for edge in edges(destination)}
        before = len(destination.rows["schema_fields"])
        server.remove_structure(gone)
        sync(connector, configuration(server), destination)
        for table in ("data_structures", "data_structure_deployments", "enrichment_schema_edges"):
            assert gone not in {row["hash"] for row in destination.table(table)}, table
        assert len(destination.rows["data_structures"]) == len(server.truth("data_structures"))
        assert len(destination.rows["schema_fields"]) < before

    def test_a_deployment_that_another_one_has_taken_the_place_of(self, server: SnowplowServer) -> None:
        destination = Destination()
        sync(connector, configuration(server), destination)
        structure = server.truth("data_structures")[0]
        server.deploy(structure["hash"], "DEV")
        sync(connector, configuration(server), destination)
        in_dev = [
            row["version"]
            for row in destination.table("data_structure_deployments")
            if (row["hash"], row["env"]) == (structure["hash"], "DEV")
        ]
        assert in_dev == [server.truth("data_structures")[0]["deployments"][0]["version"]]

    def test_but_nothing_of_a_feature_that_is_off(self, server: SnowplowServer) -> None:
        destination = Destination()
        sync(connector, configuration(server), destination)
        before = destination.contents()
        server.features_off = {
            "event_specs", "tracking_plans", "data_models", "source_apps", "users", "pipelines", "destinations",
            "job_runs",
        }  # fmt: skip
        sync(connector, configuration(server), destination)
        assert destination.contents() == before

    def test_and_not_the_history(self, server: SnowplowServer) -> None:
        destination = Destination()
        settings = configuration(server, track_field_versions="true")
        sync(connector, settings, destination)
        gone = server.truth("data_structures")[0]["hash"]
        server.remove_structure(gone)
        sync(connector, settings, destination)
        assert gone in {row["hash"] for row in destination.table("data_structure_deployment_history")}


class TestEdgesOfEnrichments:
    def test_an_enabled_enrichment_is_linked_to_all_event_schemas_of_a_small_organisation(
        self, server: SnowplowServer
    ) -> None:
        sink = sync(connector, configuration(server))
        events = set(event_structures(server))
        assert events
        assert inputs_of_each(sink.destination) == dict.fromkeys(enabled(server), events)
        assert not any("event schemas" in line for line in sink.warnings)

    def test_names_of_schemas_come_along(self, server: SnowplowServer) -> None:
        arrived = sync(connector, configuration(server)).destination.table("enrichment_schema_edges")
        known = {one["hash"]: one for one in server.truth("data_structures")}
        for row in arrived:
            structure = known[row["hash"]]
            assert [row[name] for name in ("vendor", "name", "format")] == [
                structure[name] for name in ("vendor", "name", "format")
            ]

    def test_no_more_inputs_than_allowed(self) -> None:
        with serve(many_events(120)) as server:
            sink = sync(connector, configuration(server))
            assert {len(some) for some in inputs_of_each(sink.destination).values()} == {50}
            [told] = [line for line in sink.warnings if "event schemas" in line]
            assert "too many event schemas (120), every enabled enrichment is linked to a sample of 50" in told
            samples = list(map(frozenset, inputs_of_each(sink.destination).values()))
            assert len(set(samples)) > 1, "each enrichment has a sample of its own"

    def test_what_is_left_out_is_told_below_a_hundred_too(self, server: SnowplowServer) -> None:
        sink = sync(connector, configuration(server, max_enrichment_inputs="3"))
        assert any("is linked to a sample of 3" in line for line in sink.warnings)

    def test_a_structure_that_comes_or_goes_changes_one_input_at_most(self) -> None:
        with serve(many_events(80)) as server:
            settings = configuration(server)
            before = inputs_of_each(sync(connector, settings).destination)
            assert inputs_of_each(sync(connector, settings).destination) == before
            server.add_structure("com.acme", "another_event")
            added = inputs_of_each(sync(connector, settings).destination)
            server.remove_structure(event_structures(server)[0])
            removed = inputs_of_each(sync(connector, settings).destination)
        for enrichment, inputs in before.items():
            assert len(inputs - added[enrichment]) <= 1
            assert len(added[enrichment] - removed[enrichment]) <= 1
            assert len(removed[enrichment]) == 50

    def test_without_sampling_the_first_of_the_list_are_taken(self) -> None:
        with serve(many_events(80)) as server:
            sink = sync(connector, configuration(server, sample_enrichment_inputs="false"))
            first = set(event_structures(server)[:50])
            assert all(inputs == first for inputs in inputs_of_each(sink.destination).values())
        assert any("is linked to the first 50" in line for line in sink.warnings)

    def test_all_may_be_linked_with_a_warning_above_a_hundred(self) -> None:
        with serve(many_events(101)) as server:
            sink = sync(connector, configuration(server, link_all_schemas="true"))
            events = set(event_structures(server))
            assert all(inputs == events for inputs in inputs_of_each(sink.destination).values())
        assert any("linked to all 101 event schemas" in line for line in sink.warnings)

    def test_or_none_at_all(self, server: SnowplowServer) -> None:
        settings = configuration(server, max_enrichment_inputs="0")
        assert "enrichment_schema_edges" not in {table["table"] for table in connector.schema(settings)}
        destination = sync(connector, settings).destination
        assert "enrichment_schema_edges" not in destination.contents()
        assert len(destination.rows["enrichments"]) == len(server.truth("enrichments"))

    def test_fifty_enrichments_of_500_schemas_are_2500_edges(self) -> None:
        with serve(many_events(500, pipelines=1, enrichments=75)) as server:
            sink = sync(connector, configuration(server))
            assert len(enabled(server)) == 50
            assert len(edges(sink.destination)) == 2500
            assert server.calls("/data-structures/v1$") == 21

    def test_edges_are_made_one_by_one(self) -> None:
        """25,000 edges of 500 bytes and more would be 12 MB."""
        schemas = enrichment_inputs.EventSchemas(SimpleNamespace(metrics=Metrics()), "", 100)
        schemas.begin()
        for number in range(100):
            schemas.take({"hash": f"{number:064}", "vendor": "v", "name": "n", "meta": {"schemaType": "event"}})
        inputs = enrichment_inputs.EnrichmentInputs(schemas, None, True)
        tracemalloc.start()
        count = sum(
            1 for name in range(250) for _ in inputs.rows({"pipelineId": "p", "name": str(name), "enabled": True})
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 25_000
        assert peak < 200_000


class TestFieldsOfSchemas:
    def test_of_every_depth_with_their_types(self) -> None:
        schema = {
            "properties": {
                "id": {"type": ["string", "null"], "description": "An id"},
                "basket": {
                    "type": "object",
                    "required": ["items"],
                    "properties": {
                        "items": {"type": "array", "items": {"type": "object", "properties": {"sku": {}}}},
                        "matrix": {"items": {"items": {"properties": {"cell": {"type": "integer"}}}}},
                        "pair": {"items": [{"properties": {"left": {}}}, True]},
                    },
                },
                "a.b": True,
            },
            "required": ["id", 7],
        }
        found = list(schema_fields.fields(schema))
        assert [field["path"] for field in found] == [
            "id", "basket", "basket.items", "basket.items[].sku", "basket.matrix", "basket.matrix[][].cell",
            "basket.pair", "basket.pair[0].left", r"a\.b",
        ]  # fmt: skip
        assert [field["path"] for field in found if field["isRequired"]] == ["id", "basket.items"]
        assert found[0]["type"] == ["string", "null"]
        assert found[0]["description"] == "An id"
        assert found[2]["itemType"] == "object"

    def test_no_two_share_a_path(self) -> None:
        leaf: Row = {"properties": {"b": {}}}
        schema = {"properties": {"a": {**leaf, "items": leaf}, "a.b": {}, "a[].b": {}, "a\\": leaf, "": leaf, ".b": {}}}
        paths = [field["path"] for field in schema_fields.fields(schema)]
        assert len(paths) == len(set(paths)) == 10

    def test_a_schema_may_be_as_deep_as_its_author_likes(self) -> None:
        schema: Row = {}
        for _ in range(5_000):
            schema = {"properties": {"a": schema}}
        assert sum(1 for _ in schema_fields.fields(schema)) == 5_000

    def test_no_more_are_delivered_than_allowed_and_the_others_are_counted(self, server: SnowplowServer) -> None:
        sink = sync(connector, configuration(server))
        delivered: dict[tuple[str, ...], int] = {}
        for row in sink.destination.table("schema_fields"):
            schema = tuple(row[part] for part in SCHEMA_KEY)
            delivered[schema] = delivered.get(schema, 0) + 1
        counts = {tuple(row[part] for part in SCHEMA_KEY): row for row in sink.destination.table("schema_versions")}
        assert max(delivered.values()) == 200
        for schema, row in counts.items():
            assert int(row["fieldCount"]) == delivered[schema] + int(row["fieldsLeftOut"])
        assert sum(int(row["fieldsLeftOut"]) > 300 for row in counts.values()) == 2
        [told] = [line for line in sink.warnings if "max_fields_per_lineage" in line]
        assert "has 615 fields, of which the first 200 are delivered" in told

    def test_all_of_a_wide_schema_if_that_is_asked_for(self, server: SnowplowServer) -> None:
        sink = sync(connector, configuration(server, max_fields_per_lineage="1000"))
        wide = [row for row in sink.destination.table("schema_fields") if row["name"] == "event_0"]
        assert len(wide) > 2 * 520
        assert {"field_519", "details.level_8.level_7.level_6"} <= {row["path"] for row in wide}
        assert not any("max_fields_per_lineage" in line for line in sink.warnings)

    def test_only_the_latest_version_unless_versions_are_tracked(self, server: SnowplowServer) -> None:
        latest: dict[tuple[str, ...], Row] = {}
        for schema in server.truth("schema_versions"):  # the versions of each in the order of their numbers
            latest[tuple(schema["self"][part] for part in SCHEMA_KEY[:3])] = schema
        destination = Destination()
        sync(connector, configuration(server), destination)
        assert schemas_of(destination) == by_key(list(latest.values()), "self")
        sync(connector, configuration(server, track_field_versions="true"), destination)
        assert schemas_of(destination) == by_key(server.truth("schema_versions"), "self")


class TestJobRunsAreReadInWindows:
    def test_a_window_that_is_cut_is_read_in_halves(self) -> None:
        with serve(Size(structures=2, job_runs=24_000, steps_each=0)) as server:
            sink = sync(connector, configuration(server))
            runs = server.truth("job_runs")
            oldest = datetime.now(UTC) - timedelta(days=7, minutes=-10)
            readable = {run["runId"] for run in runs if datetime.fromisoformat(run["startTime"]) >= oldest}
            assert len(readable) > 23_000
            assert readable <= {row["runId"] for row in sink.destination.table("job_runs")}
            assert server.calls("/jobs/v1/runs$") > 2

    def test_one_that_was_running_is_read_again(self) -> None:
        with serve(SMALL) as server:
            [run] = server.add_job_runs(1, datetime.now(UTC) - timedelta(hours=20))
            server.set_job_state(run, "RUNNING")
            destination = Destination()
            assert self.state(sync(connector, configuration(server), destination), run) == "RUNNING"
            server.set_job_state(run, "SUCCEEDED")
            sink = sync(connector, configuration(server), destination)
            assert self.state(sink, run) == "SUCCEEDED"
            assert sink.upserts["job_runs"] < len(server.truth("job_runs")), "only the last day is read again"

    def test_but_not_one_that_began_before_the_hours_that_are_read_again(self) -> None:
        with serve(SMALL) as server:
            [run] = server.add_job_runs(1, datetime.now(UTC) - timedelta(hours=20))
            server.set_job_state(run, "RUNNING")
            destination = Destination()
            settings = configuration(server, job_run_lookback_hours="12")
            sync(connector, settings, destination)
            server.set_job_state(run, "SUCCEEDED")
            assert self.state(sync(connector, settings, destination), run) == "RUNNING"

    def test_time_that_the_server_no_longer_shows_is_told(self) -> None:
        with serve(SMALL) as server:
            state = sync(connector, configuration(server)).destination.committed
            standing = state["streams"]["job_runs"]
            standing["complete"] = (datetime.fromisoformat(standing["complete"]) - timedelta(days=9)).isoformat()
            sink = sync(connector, configuration(server), state=state)
        assert any(line.startswith("job_runs: the server keeps 7.0 days, and") for line in sink.warnings)

    def test_steps_are_read_only_if_asked_for(self) -> None:
        with serve(SMALL) as server:
            sync(connector, configuration(server))
            assert server.calls("/steps$") == 0

    @staticmethod
    def state(sink: Sink, run: str) -> str:
        [found] = [row["state"] for row in sink.destination.table("job_runs") if row["runId"] == run]
        return str(found)


class TestStopAndResume:
    SIZE = Size(
        structures=5, versions_each=1, fields_per_schema=1, wide_schemas=0, event_specs=1, tracking_plans=1,
        data_models=1, source_apps=1, users=1, pipelines=1, enrichments=2, destinations=1, job_runs=2, steps_each=1
    )  # fmt: skip

    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self) -> None:
        with serve(self.SIZE) as server:
            settings = configuration(server, track_field_versions="true", page_size="2")
            assert stop_and_resume.check(connector, settings) > 100

    def test_a_sync_that_goes_on_in_the_middle_of_the_list_links_all_event_schemas(self) -> None:
        with serve(self.SIZE) as server:
            settings = configuration(server, page_size="2")
            whole = sync(connector, settings)
            stop_at = whole.order.index("checkpoint") + 2
            destination = Destination()
            sync(connector, settings, destination, stop_at=stop_at)
            assert destination.committed["streams"]["data_structures"]["pass"]["at"] == 2
            calls = server.calls("/data-structures/v1$")
            sync(connector, settings, destination)
            assert server.calls("/data-structures/v1$") - calls == 3 + 4, "the rest of the list, and then all of it"
            assert edges(destination) == edges(whole.destination) != set()


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            ({"organization_id": ""}, "organization_id: is required"),
            ({"api_key": ""}, "api_key: is required"),
            ({"base_url": "http://console.example.com"}, "base_url: http:// sends everything readable"),
            ({"max_enrichment_inputs": "0", "link_all_schemas": "true"}, "link_all_schemas: links all event schemas"),
            ({"max_fields_per_lineage": "0"}, "max_fields_per_lineage: expected a whole number of at least 1"),
            ({"exclude_tables": "schemas"}, "exclude_tables: schemas: there is no such table"),
        ],
    )
    def test_a_wrong_setting_is_told_before_anything_is_read(self, settings: dict[str, str], problem: str) -> None:
        given = {"organization_id": "o", "api_key_id": "i", "api_key": "k", **settings}
        with pytest.raises(ConfigurationError, match=problem):
            connector.schema(given)

    def test_the_address_of_the_console_is_known(self) -> None:
        assert connector.schema({"organization_id": "o", "api_key_id": "i", "api_key": "k"})

    def test_a_wrong_key_is_told_in_one_sentence(self, server: SnowplowServer) -> None:
        with pytest.raises(SourceError) as told:
            sync(connector, configuration(server, api_key="not-the-right-key"))
        assert "/credentials/v3/token answered with status 401 (check the credentials" in str(told.value)
        assert "\n" not in str(told.value)
        assert "not-the-right-key" not in str(told.value)
        assert server.calls("token$") == 1, "a key is not tried again"

    def test_so_is_an_organisation_that_there_is_not(self, server: SnowplowServer) -> None:
        with pytest.raises(SourceError, match="status 404 .*knows no such organisation, see organization_id"):
            sync(connector, configuration(server, organization_id="nobody"))

    def test_no_secret_is_in_a_log_a_message_or_the_state(
        self, server: SnowplowServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        tokens = list(_tokens_of(server))
        sink = sync(connector, configuration(server, **EVERYTHING))
        tokens += _tokens_of(server)
        assert tokens
        server.fails = lambda request: 403 if request.path.endswith("/users") else None
        with pytest.raises(SourceError) as told:
            sync(connector, configuration(server))
        shown = "".join([str(told.value), str(sink.checkpoints), *sink.warnings, *capfd.readouterr()])
        assert not [secret for secret in (server.api_key, server.api_key_id, *tokens) if secret in shown]


def _tokens_of(server: SnowplowServer) -> list[str]:
    headers = [request.headers.get("Authorization", "") for request in server.requests]
    return sorted({header.removeprefix("Bearer ") for header in headers if header})


class TestSetupForm:
    def test_gets_a_token_and_reads_a_first_page(self, server: SnowplowServer) -> None:
        assert connector.first_page_test(configuration(server)).success
        assert [request.path.rpartition("/")[2] for request in server.requests] == ["token", "v1"]

    @pytest.mark.parametrize(
        ("setting", "problem"), [("api_key", "status 401"), ("organization_id", "no such organisation")]
    )
    def test_says_what_is_wrong(self, server: SnowplowServer, setting: str, problem: str) -> None:
        result = connector.first_page_test(configuration(server, **{setting: "wrong"}))
        assert problem in result.failure
