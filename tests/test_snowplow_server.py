"""The Snowplow server answers as Snowplow's documentation says, and refuses what a wrong client asks."""

import hashlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sources import snowplow_server
from tests.sources.snowplow_server import NOW, PREFIX, Size, SnowplowServer

ROOT = Path(__file__).parents[1]
LISTS = {
    "/data-structures/v1": "data_structures",
    "/data-structures/v1/schemas/versions": "schema_versions",
    "/data-structure-drafts/v1/schemas": "drafts",
    "/event-specs/v1": "event_specs",
    "/data-products/v2": "tracking_plans",
    "/data-models/v1/models": "data_models",
    "/source-apps/v1": "source_apps",
    "/pipelines/v1": "pipelines",
    "/destinations/v3": "destinations",
    "/users": "users",
}
BARE = {path for path, resource in LISTS.items() if resource not in {"event_specs", "tracking_plans"}} - {
    "/source-apps/v1",
    "/pipelines/v1",
}
Json = dict[str, Any]


class Client:
    """Asks with a token of its own; `get` returns the body and fails on a refusal."""

    def __init__(self, server: SnowplowServer) -> None:
        self.server = server
        self.headers = {"Authorization": f"Bearer {token(server)}"}

    def ask(self, path: str, **parameters: Any) -> requests.Response:
        query = {name.removesuffix("_"): value for name, value in parameters.items()}
        return requests.get(self.server.api_url + path, params=query, headers=self.headers, timeout=10)

    def get(self, path: str, **parameters: Any) -> Any:
        response = self.ask(path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def status(self, path: str, **parameters: Any) -> int:
        return self.ask(path, **parameters).status_code

    def runs(self, start: datetime, end: datetime) -> Any:
        return self.get("/jobs/v1/runs", from_=iso(start), to=iso(end))


def mint(server: SnowplowServer, **headers: str) -> requests.Response:
    keys = {"X-API-Key-ID": server.api_key_id, "X-API-Key": server.api_key} | headers
    return requests.get(f"{server.api_url}/credentials/v3/token", headers=keys, timeout=10)


def token(server: SnowplowServer) -> str:
    return str(mint(server).json()["accessToken"])


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def rows_of(body: Any) -> Any:
    """The list in whichever envelope it comes."""
    return body if isinstance(body, list) else body.get("data", body.get("pipelines"))


def paths_of(server: SnowplowServer) -> list[str]:
    """A path of every kind that needs nothing more than itself."""
    hash = server.truth("data_structures")[0]["hash"]
    plan, pipeline = server.truth("tracking_plans")[0]["id"], server.truth("pipelines")[0]["id"]
    return [
        "",
        *LISTS,
        f"/data-structures/v1/{hash}",
        f"/data-structures/v1/{hash}/deployments",
        f"/data-structures/v1/{hash}/versions/1-0-0",
        f"/data-products/v2/{plan}/history",
        f"/data-products/v2/{plan}/data-models/v1",
        f"/pipelines/v1/{pipeline}/enrichments",
        f"/resources/v1/pipelines/{pipeline}/configuration/enrichments",
        f"/jobs/v1/runs/{server.truth('job_runs')[0]['runId']}/steps",
    ]


@pytest.fixture
def server() -> Iterator[SnowplowServer]:
    with snowplow_server.start() as running:
        yield running


@pytest.fixture
def client(server: SnowplowServer) -> Client:
    return Client(server)


class TestNobodyGetsInWithoutAToken:
    def test_a_key_is_exchanged_for_a_token_of_a_jwts_form(self, server: SnowplowServer) -> None:
        answer = mint(server)
        assert answer.status_code == 200
        assert answer.json().keys() == {"accessToken"}
        assert answer.json()["accessToken"].count(".") == 2
        assert server.tokens_minted == 1

    @pytest.mark.parametrize("wrong", [{"X-API-Key": "no"}, {"X-API-Key-ID": "no"}], ids=["key", "key id"])
    def test_a_wrong_key_or_id_is_refused(self, server: SnowplowServer, wrong: dict[str, str]) -> None:
        assert mint(server, **wrong).status_code == 401
        assert server.tokens_minted == 0

    def test_an_organisation_that_is_unknown_is_not_found(self, server: SnowplowServer, client: Client) -> None:
        other = f"{server.url}{PREFIX}/another"
        keys = {"X-API-Key-ID": server.api_key_id, "X-API-Key": server.api_key}
        assert requests.get(f"{other}/credentials/v3/token", headers=keys, timeout=10).status_code == 404
        assert requests.get(f"{other}/users", headers=client.headers, timeout=10).status_code == 404

    @pytest.mark.parametrize("header", [None, "Bearer nonsense", "Basic TOKEN", "TOKEN", "Bearer "])
    def test_every_path_needs_a_valid_token(self, server: SnowplowServer, header: str | None) -> None:
        headers = {"Authorization": header.replace("TOKEN", token(server))} if header else {}
        for path in paths_of(server):
            answer = requests.get(server.api_url + path, headers=headers, timeout=10)
            assert (answer.status_code, answer.json().keys()) == (401, {"message"}), path

    def test_a_token_lives_24_hours_by_the_servers_clock(self, server: SnowplowServer, client: Client) -> None:
        server.now += timedelta(hours=24) - timedelta(seconds=1)
        assert client.status("/users") == 200
        server.now += timedelta(seconds=1)
        assert client.status("/users") == 401
        assert Client(server).status("/users") == 200

    def test_expired_on_demand_in_the_middle_of_a_sync(self, server: SnowplowServer, client: Client) -> None:
        server.expire_tokens()
        assert client.status("/users") == 401
        assert Client(server).status("/users") == 200
        assert server.tokens_minted == 2


class TestAWrongClientIsNoticed:
    def test_an_unknown_path_is_not_found(self, server: SnowplowServer, client: Client) -> None:
        for path in ("/users/", "/data-structures/v2", "/event-specs/v1/x/y/z", "/pipelines/v1/x"):
            assert client.status(path) == 404, path
        assert requests.get(f"{server.url}/users", timeout=10).status_code == 404

    def test_what_does_not_exist_is_not_found(self, client: Client, server: SnowplowServer) -> None:
        hash = server.truth("data_structures")[0]["hash"]
        window = {"from_": iso(NOW - timedelta(hours=1)), "to": iso(NOW)}
        assert client.status("/data-structures/v1/none") == 404
        assert client.status("/data-structures/v1/none/deployments") == 404
        assert client.status(f"/data-structures/v1/{hash}/versions/9-9-9") == 404
        assert client.status("/data-products/v2/none/history") == 404
        assert client.status("/data-products/v2/none/data-models/v1") == 404
        assert client.status("/pipelines/v1/none/enrichments") == 404
        assert client.status("/resources/v1/pipelines/none/configuration/enrichments") == 404
        assert client.status("/jobs/v1/runs/none/steps") == 404
        assert client.status("/metrics/v1/pipelines/none/failed-events", **window) == 404

    def test_an_unknown_parameter_is_refused_everywhere(self, server: SnowplowServer, client: Client) -> None:
        for path in paths_of(server):
            assert client.status(path, limit_to="1") == 400, path

    @pytest.mark.parametrize("name", ["limit", "offset", "page", "updatedAt"])
    def test_structures_have_no_such_paging(self, client: Client, name: str) -> None:
        answer = client.ask("/data-structures/v1", **{name: "1"})
        assert answer.status_code == 400
        assert f"no parameter {name} here, only: from, size" in answer.json()["message"]

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("/data-structures/v1", "from=-1"),
            ("/data-structures/v1", "from=a"),
            ("/data-structures/v1", "size=0"),
            ("/data-structures/v1", "size=1.5"),
            ("/data-structures/v1", "size="),
            ("/data-structures/v1", "vendor="),
            ("/data-structures/v1", "size"),
            ("/data-structures/v1", "size=1&size=2"),
            ("/data-structures/v1/schemas/versions", "latest=yes"),
            ("/data-structures/v1/schemas/versions", "env=TEST"),
            ("/event-specs/v1", "status=done"),
            ("/event-specs/v1", "withLatestHistory=1"),
            ("/jobs/v1/runs", "from=2026-01-15&to=2026-01-15T12:00:00Z"),
            ("/jobs/v1/runs", "from=2026-01-15T10:00:00&to=2026-01-15T12:00:00"),
            ("/jobs/v1/runs", "from=PT-12H&to=PT0S"),
            ("/jobs/v1/runs", "from=1768471200&to=1768478400"),
        ],
    )
    def test_a_value_of_another_type_is_refused(self, client: Client, path: str, query: str) -> None:
        assert client.status(f"{path}?{query}") == 400

    @pytest.mark.parametrize("query", ["before=yesterday", "limit=0", "offset=-1", "order=up"])
    def test_and_so_is_one_of_a_plans_history(self, server: SnowplowServer, client: Client, query: str) -> None:
        plan = server.truth("tracking_plans")[0]["id"]
        assert client.status(f"/data-products/v2/{plan}/history?{query}") == 400

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_everything_is_read_by_get_the_token_too(self, server: SnowplowServer, client: Client, method: str) -> None:
        for path in (*paths_of(server), "/credentials/v3/token"):
            answer = requests.request(method, server.api_url + path, headers=client.headers, timeout=10)
            assert answer.status_code == 405, path
        assert server.tokens_minted == 1


class TestEveryResourceHasItsOwnShape:
    def test_lists_hold_what_the_truth_says_each_in_its_envelope(self, server: SnowplowServer, client: Client) -> None:
        for path, resource in LISTS.items():
            body = client.get(path)
            assert isinstance(body, list) == (path in BARE), path
            assert rows_of(body) == server.truth(resource) != [], path

    def test_the_other_envelopes(self, client: Client) -> None:
        assert client.get("/source-apps/v1").keys() == {"data"}
        assert client.get("/pipelines/v1").keys() == {"pipelines"}
        assert client.get("/event-specs/v1").keys() == {"data", "includes", "errors"}
        assert client.get("/data-products/v2").keys() == {"data", "includes", "errors", "metadata"}
        assert client.get("/data-products/v2")["includes"].keys() == {"owners", "eventSpecs", "sourceApplications"}

    def test_the_organisation_is_an_object(self, server: SnowplowServer, client: Client) -> None:
        assert [client.get("")] == server.truth("organization")
        assert client.get("")["id"] == server.organization_id

    def test_a_structure_has_the_true_hash(self, server: SnowplowServer, client: Client) -> None:
        for item in client.get("/data-structures/v1"):
            text = f"{server.organization_id}-{item['vendor']}-{item['name']}-{item['format']}"
            assert item["hash"] == hashlib.sha256(text.encode()).hexdigest()
            assert item["organizationId"] == server.organization_id

    def test_a_listed_structure_has_no_schema_and_no_dates(self, client: Client) -> None:
        keys = {"hash", "organizationId", "vendor", "name", "format", "description", "meta", "deployments"}
        for item in client.get("/data-structures/v1"):
            assert item.keys() == keys
            assert client.get(f"/data-structures/v1/{item['hash']}") == item

    def test_a_schema_body_has_self_at_its_root(self, server: SnowplowServer, client: Client) -> None:
        item = server.truth("data_structures")[4]
        body = client.get(f"/data-structures/v1/{item['hash']}/versions/1-0-2")
        own = {key: item[key] for key in ("vendor", "name", "format")}
        assert body["self"] == {**own, "version": "1-0-2"}
        assert {"$schema", "type", "properties"} <= body.keys()

    def test_enrichments_are_a_pipelines_own(self, server: SnowplowServer, client: Client) -> None:
        rows = []
        for pipeline in rows_of(client.get("/pipelines/v1")):
            some = client.get(f"/pipelines/v1/{pipeline['id']}/enrichments")
            assert all(one.keys() == {"name", "enabled", "schemaKey", "userData"} for one in some)
            rows += [{"pipelineId": pipeline["id"], **one} for one in some]
        assert rows == server.truth("enrichments")
        assert len(rows) == Size().enrichments
        assert len({row["name"] for row in rows}) < len(rows), "the same names are found in several pipelines"

    def test_the_older_path_of_enrichments_has_the_older_items(self, server: SnowplowServer, client: Client) -> None:
        pipeline = server.truth("pipelines")[0]["id"]
        old = client.get(f"/resources/v1/pipelines/{pipeline}/configuration/enrichments")
        new = client.get(f"/pipelines/v1/{pipeline}/enrichments")
        assert all(one.keys() == {"id", "filename", "content", "enabled", "lastUpdate"} for one in old)
        assert [one["enabled"] for one in old] == [one["enabled"] for one in new]
        assert [one["content"] is None for one in old] == [not one["enabled"] for one in new]

    def test_data_models_of_a_plan(self, server: SnowplowServer, client: Client) -> None:
        rows = []
        for plan in server.truth("tracking_plans"):
            rows += client.get(f"/data-products/v2/{plan['id']}/data-models/v1")
        assert rows == server.truth("data_models")

    def test_a_plans_history_is_cut_and_ordered_as_asked(self, server: SnowplowServer, client: Client) -> None:
        plan = server.truth("tracking_plans")[0]
        path = f"/data-products/v2/{plan['id']}/history"
        records = client.get(path)["data"]
        assert records == [one for one in server.truth("tracking_plan_history") if one["dataProductId"] == plan["id"]]
        assert [one["date"] for one in records] == [plan["updatedAt"], plan["createdAt"]]
        assert client.get(path, order="asc")["data"] == records[::-1]
        assert client.get(path, limit=1)["data"] == records[:1]
        assert client.get(path, limit=1, offset=1)["data"] == records[1:]
        assert client.get(path, before=plan["createdAt"])["data"] == records[1:]

    def test_steps_of_a_run(self, server: SnowplowServer, client: Client) -> None:
        rows = []
        for run in server.truth("job_runs"):
            steps = client.get(f"/jobs/v1/runs/{run['runId']}/steps")
            rows += [{"runId": run["runId"], **step} for step in steps]
        assert rows == server.truth("job_run_steps")
        assert len({row["name"] for row in rows}) == Size().steps_each, "names are unique within a run only"

    def test_failed_events_of_a_window(self, server: SnowplowServer, client: Client) -> None:
        rows = []
        for pipeline in server.truth("pipelines"):
            path = f"/metrics/v1/pipelines/{pipeline['id']}/failed-events"
            week = client.get(path, from_=iso(NOW - timedelta(days=7)), to=iso(NOW))
            rows += [{"pipelineId": pipeline["id"], **error} for error in week]
            day = client.get(path, from_="2026-01-14T00:00:00Z", to="2026-01-15T00:00:00Z")
            assert [[one["window"] for one in error["metrics"]] for error in day] == [["2026-01-14T00:00:00Z"]] * 3
            assert client.get(path, from_="2025-01-14T00:00:00Z", to="2025-01-15T00:00:00Z") == []
            assert client.status(path, from_=iso(NOW)) == 400
        assert rows == server.truth("failed_events")


class TestPagesFollowFromAndSize:
    def test_pages_make_up_the_list(self, server: SnowplowServer, client: Client) -> None:
        pages = [client.get("/data-structures/v1", from_=start, size=15) for start in range(0, 61, 15)]
        assert [len(page) for page in pages] == [15, 15, 15, 5, 0]
        assert list(chain.from_iterable(pages)) == server.truth("data_structures")

    def test_either_may_be_left_out(self, server: SnowplowServer, client: Client) -> None:
        structures = server.truth("data_structures")
        assert client.get("/data-structures/v1", from_=40) == structures[40:]
        assert client.get("/data-structures/v1", size=7) == structures[:7]

    def test_filters_come_before_pages(self, server: SnowplowServer, client: Client) -> None:
        structures = server.truth("data_structures")
        acme = [one for one in structures if one["vendor"] == "com.acme"]
        assert client.get("/data-structures/v1", vendor="com.acme", from_=1, size=2) == acme[1:3]
        assert client.get("/data-structures/v1", name="event_0", format="avro") == structures[1:2]
        assert client.get("/data-structures/v1", name="nothing") == []

    def test_a_cap_that_nobody_is_told_of(self, server: SnowplowServer, client: Client) -> None:
        server.caps_size = 10
        assert len(client.get("/data-structures/v1", from_=0, size=100)) == 10
        assert len(client.get("/data-structures/v1", from_=45, size=100)) == 5
        assert len(client.get("/data-structures/v1", from_=45)) == 5
        assert len(client.get("/data-structures/v1")) == 50, "without pages there is nothing to cap"

    def test_a_cap_on_deployments(self, server: SnowplowServer, client: Client) -> None:
        server.caps_size = 1
        path = f"/data-structures/v1/{server.truth('data_structures')[4]['hash']}/deployments"
        assert len(client.get(path, from_=0, size=100)) == 1


class TestDeploymentsHaveTwoShapes:
    def test_with_pages_the_full_history_as_a_bare_array(self, server: SnowplowServer, client: Client) -> None:
        rows = []
        for item in server.truth("data_structures"):
            history = client.get(f"/data-structures/v1/{item['hash']}/deployments", from_=0, size=1000)
            assert [one["ts"] for one in history] == sorted((one["ts"] for one in history), reverse=True)
            rows += [{"hash": item["hash"], **one} for one in history]
        assert rows == server.truth("deployments")
        keys = [(row["hash"], row["env"], row["version"], row["patchLevel"], row["ts"]) for row in rows]
        assert len(set(keys)) == len(keys)

    def test_its_pages_make_it_up(self, server: SnowplowServer, client: Client) -> None:
        path = f"/data-structures/v1/{server.truth('data_structures')[4]['hash']}/deployments"
        whole = client.get(path, from_=0, size=100)
        pages = [client.get(path, from_=start, size=2) for start in range(0, len(whole) + 2, 2)]
        assert len(whole) == 10
        assert list(chain.from_iterable(pages)) == whole

    def test_without_pages_the_current_one_of_each_environment(self, server: SnowplowServer, client: Client) -> None:
        for item in server.truth("data_structures"):
            path = f"/data-structures/v1/{item['hash']}/deployments"
            history = client.get(path, size=1000)
            newest = [next(one for one in history if one["env"] == env) for env in {one["env"] for one in history}]
            answer = client.get(path)
            assert answer.keys() == {"data"}
            assert sorted(answer["data"], key=str) == sorted(newest, key=str)
            assert answer["data"] == item["deployments"], "the list embeds the same"


class TestSchemasComeOneByOneOrAllAtOnce:
    def test_all_versions_at_once_are_those_that_come_one_by_one(self, server: SnowplowServer, client: Client) -> None:
        hashes = {(one["vendor"], one["name"], one["format"]): one["hash"] for one in server.truth("data_structures")}
        schemas = client.get("/data-structures/v1/schemas/versions")
        for schema in schemas:
            own = schema["self"]
            hash = hashes[own["vendor"], own["name"], own["format"]]
            assert client.get(f"/data-structures/v1/{hash}/versions/{own['version']}") == schema
        deployed = {(one["hash"], one["version"]) for one in server.truth("deployments")}
        assert len(schemas) == len(deployed)

    def test_latest_is_one_of_each_by_number_and_not_by_text(self, server: SnowplowServer, client: Client) -> None:
        schemas = client.get("/data-structures/v1/schemas/versions", latest="true")
        assert len(schemas) == len(server.truth("data_structures"))
        versions = {schema["self"]["version"] for schema in schemas}
        assert "1-0-10" in versions, "some go from 1-0-9 to 1-0-10"

    def test_env_leaves_out_what_is_not_there(self, server: SnowplowServer, client: Client) -> None:
        for env in ("DEV", "PROD"):
            schemas = client.get("/data-structures/v1/schemas/versions", env=env)
            rows = {(row["hash"], row["version"]) for row in server.truth("deployments") if row["env"] == env}
            assert len(schemas) == len(rows)
        unreleased = server.truth("data_structures")[0]
        path = f"/data-structures/v1/{unreleased['hash']}/versions/1-0-0"
        assert client.status(path, env="DEV") == 200
        assert client.status(path, env="PROD") == 404

    def test_an_environment_has_its_own_patch_level(self, server: SnowplowServer, client: Client) -> None:
        hash = server.truth("data_structures")[1]["hash"]
        latest = server.deploy(hash, patch=True)["version"]
        path = f"/data-structures/v1/{hash}/versions/{latest}"
        assert client.get(path, env="DEV")["description"].endswith("patch 1")
        assert client.get(path, env="PROD")["description"].endswith("patch 0")


class TestEventSpecsAreFiltered:
    @pytest.mark.parametrize("name", ["dataProductId", "status"])
    def test_by_an_attribute(self, server: SnowplowServer, client: Client, name: str) -> None:
        specs = server.truth("event_specs")
        value = specs[1][name]
        wanted = [spec for spec in specs if spec[name] == value]
        assert client.get("/event-specs/v1", **{name: value})["data"] == wanted
        assert 0 < len(wanted) < len(specs)

    def test_by_the_structure_and_its_version(self, server: SnowplowServer, client: Client) -> None:
        spec, structure = server.truth("event_specs")[4], server.truth("data_structures")[4]
        version = spec["event"]["source"].rpartition("/")[2]
        assert client.get("/event-specs/v1", sourceId=structure["hash"])["data"] == [spec]
        assert client.get("/event-specs/v1", sourceId=structure["hash"], sourceVersion=version)["data"] == [spec]
        assert client.get("/event-specs/v1", sourceId=structure["hash"], sourceVersion="7-0-0")["data"] == []

    def test_the_latest_history_is_included_on_demand(self, client: Client) -> None:
        assert client.get("/event-specs/v1")["includes"] == []
        answer = client.get("/event-specs/v1", withLatestHistory="true")
        assert [one["eventSpecId"] for one in answer["includes"]] == [spec["id"] for spec in answer["data"]]


class TestWindowsOfJobRuns:
    def test_windows_side_by_side_make_up_the_week(self, server: SnowplowServer, client: Client) -> None:
        middle = NOW - timedelta(hours=80)
        runs = client.runs(middle, NOW) + client.runs(NOW - timedelta(days=7), middle)
        assert sorted(runs, key=str) == sorted(server.truth("job_runs"), key=str)
        assert [run["startTime"] for run in runs] == sorted((run["startTime"] for run in runs), reverse=True)

    def test_a_window_begins_with_from_and_ends_before_to(self, server: SnowplowServer, client: Client) -> None:
        moment = NOW - timedelta(hours=2)
        added = server.add_job_runs(1, moment)[0]
        assert added in [run["runId"] for run in client.runs(moment, NOW)]
        assert added not in [run["runId"] for run in client.runs(NOW - timedelta(hours=3), moment)]

    @pytest.mark.parametrize(
        ("start", "end"),
        [(97, 0), (7 * 24 + 1, 7 * 24 - 1), (1, -1), (1, 2)],
        ids=["long", "old", "future", "reversed"],
    )
    def test_others_are_refused(self, client: Client, start: float, end: float) -> None:
        moments = [NOW - timedelta(hours=hours) for hours in (start, end)]
        assert client.status("/jobs/v1/runs", from_=iso(moments[0]), to=iso(moments[1])) == 400

    def test_the_longest_and_the_oldest_that_are_taken(self, client: Client) -> None:
        assert client.runs(NOW - timedelta(hours=96), NOW)
        assert client.runs(NOW - timedelta(days=7), NOW - timedelta(days=6))

    def test_both_ends_are_needed(self, client: Client) -> None:
        assert client.status("/jobs/v1/runs") == 400
        assert client.status("/jobs/v1/runs", from_=iso(NOW - timedelta(hours=1))) == 400

    def test_it_is_cut_to_the_newest_and_nobody_is_told(self, server: SnowplowServer, client: Client) -> None:
        start = NOW - timedelta(hours=96)
        whole = client.runs(start, NOW)
        server.job_run_cap = 5
        assert client.runs(start, NOW) == whole[:5]

    def test_10_000_is_the_most_by_default(self, server: SnowplowServer, client: Client) -> None:
        server.add_job_runs(10_001, NOW - timedelta(hours=5))
        assert len(client.runs(NOW - timedelta(hours=6), NOW)) == 10_000

    def test_the_window_moves_with_the_clock(self, server: SnowplowServer, client: Client) -> None:
        server.now += timedelta(hours=1)
        assert client.runs(NOW, NOW + timedelta(hours=1)) == []
        assert (
            client.status("/jobs/v1/runs", from_=iso(NOW - timedelta(days=7)), to=iso(NOW - timedelta(days=6))) == 400
        )


class TestItMisbehavesOnDemand:
    def test_a_feature_that_is_off_is_not_found(self, server: SnowplowServer, client: Client) -> None:
        server.features_off = {"event_specs", "tracking_plans"}
        assert client.status("/event-specs/v1") == 404
        assert client.status("/data-products/v2") == 404
        assert client.status("/data-structures/v1") == 200
        assert server.truth("event_specs"), "the data are not gone"

    def test_every_resource_can_be_off(self, server: SnowplowServer, client: Client) -> None:
        paths = [path for path in paths_of(server) if path]
        server.features_off = {*LISTS.values(), "deployments", "tracking_plan_history", "enrichments", "job_run_steps"}
        assert {client.status(path) for path in paths} == {404}

    def test_a_warning_comes_beside_the_data(self, server: SnowplowServer, client: Client) -> None:
        assert client.get("/event-specs/v1")["errors"] == client.get("/data-products/v2")["errors"] == []
        server.warns = True
        for path in ("/event-specs/v1", "/data-products/v2"):
            body = client.get(path)
            assert [error["type"] for error in body["errors"]] == ["Warning"]
            assert body["data"] == server.truth(LISTS[path])

    def test_chosen_requests_fail(self, server: SnowplowServer, client: Client) -> None:
        first, second = (one["hash"] for one in server.truth("data_structures")[:2])
        statuses = {f"/{first}/deployments": 500, f"/{second}/deployments": 403}
        server.fails = lambda request: next(
            (status for end, status in statuses.items() if request.path.endswith(end)), None
        )
        assert client.status(f"/data-structures/v1/{first}/deployments") == 500
        assert client.status(f"/data-structures/v1/{second}/deployments") == 403
        assert client.status(f"/data-structures/v1/{first}") == 200

    def test_above_the_rate_limit_it_asks_to_wait(self, server: SnowplowServer, client: Client) -> None:
        server.rate_limit = 3
        answers = [client.ask("/users") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert answers[-1].headers["Retry-After"] == "1"
        time.sleep(1)
        assert client.status("/users") == 200

    def test_every_answer_takes_its_time(self, server: SnowplowServer, client: Client) -> None:
        server.latency = 0.2
        started = time.monotonic()
        assert client.status("/users") == 200
        assert time.monotonic() - started >= 0.2

    def test_a_latency_ends_with_the_server(self) -> None:
        with snowplow_server.start() as server:
            headers = Client(server).headers
            server.latency = 60
            url = f"{server.api_url}/users"
            threading.Thread(target=give_up, args=(url, headers), daemon=True).start()
            while not server.calls("/users"):
                time.sleep(0.01)
            started = time.monotonic()
        assert time.monotonic() - started < 5


def give_up(url: str, headers: dict[str, str]) -> None:
    try:
        requests.get(url, headers=headers, timeout=20)
    except requests.ConnectionError:
        return


class TestRequestsAreCounted:
    def test_calls_by_path(self, server: SnowplowServer, client: Client) -> None:
        hash = server.truth("data_structures")[0]["hash"]
        client.get("/data-structures/v1", from_=0, size=10)
        client.get(f"/data-structures/v1/{hash}/deployments")
        assert server.calls(r"/data-structures/v1$") == 1
        assert server.calls(r"/deployments$") == 1
        assert server.calls("data-structures") == 2
        assert server.calls("/credentials/") == server.tokens_minted == 1
        assert len(server.requests) == 3

    def test_one_after_the_other_is_one_at_a_time(self, server: SnowplowServer, client: Client) -> None:
        for _ in range(20):
            client.get("/users")
        assert server.most_in_flight == 1

    def test_the_most_at_the_same_moment(self, server: SnowplowServer, client: Client) -> None:
        server.latency = 0.2
        with ThreadPoolExecutor(7) as pool:
            list(pool.map(lambda _: client.get("/users"), range(14)))
        assert server.most_in_flight == 7

    def test_latency_passes_side_by_side(self, server: SnowplowServer, client: Client) -> None:
        server.latency = 0.3
        started = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda _: client.get("/users"), range(20)))
        assert 0.6 <= time.monotonic() - started < 3


class TestDataAreTheSameEachTimeAndHoldTheHardCases:
    def test_the_same_seed_gives_the_same_and_another_gives_others(self) -> None:
        resources = ["deployments", "schema_versions", "organization", "job_runs", "failed_events", *LISTS.values()]
        with snowplow_server.start() as one, snowplow_server.start() as same, snowplow_server.start(seed=2) as other:
            for resource in resources:
                assert one.truth(resource) == same.truth(resource) != []
            assert one.truth("data_structures") != other.truth("data_structures")
            assert (one.organization_id, one.api_key) == (same.organization_id, same.api_key)
            assert one.organization_id != other.organization_id

    def test_the_size_is_kept(self) -> None:
        size = Size(structures=9, versions_each=2, enrichments=7, pipelines=3, event_specs=4, tracking_plans=2)
        size = Size(**{**vars(size), "source_apps": 1, "users": 5, "job_runs": 11, "data_models": 6, "destinations": 1})
        with snowplow_server.start(size) as server:
            counts = {"structures": "data_structures"}
            for name in ("structures", "enrichments", "pipelines", "event_specs", "tracking_plans", "source_apps"):
                assert len(server.truth(counts.get(name, name))) == getattr(size, name), name
            for name in ("users", "job_runs", "data_models", "destinations", "drafts"):
                assert len(server.truth(name)) == getattr(size, name), name
            versions = Counter(
                hash for hash, _ in {(one["hash"], one["version"]) for one in server.truth("deployments")}
            )
            assert set(versions.values()) == {1, 2}

    def test_nothing_at_all_is_a_size_too(self) -> None:
        with snowplow_server.start(Size(**dict.fromkeys(vars(Size()), 0) | {"versions_each": 1})) as server:
            client = Client(server)
            for path in LISTS:
                assert rows_of(client.get(path)) == [], path
            assert client.runs(NOW - timedelta(hours=1), NOW) == []

    def test_a_structure_has_one_to_five_versions(self, server: SnowplowServer) -> None:
        pairs = {(one["hash"], one["version"]) for one in server.truth("deployments")}
        assert set(Counter(hash for hash, _ in pairs).values()) == {1, 2, 3, 4, 5}

    def test_two_structures_differ_in_their_format_only(self, server: SnowplowServer) -> None:
        first, second = server.truth("data_structures")[:2]
        assert (first["vendor"], first["name"]) == (second["vendor"], second["name"])
        assert first["format"] != second["format"]
        assert first["hash"] != second["hash"]

    def test_what_may_be_null_or_missing_is(self, server: SnowplowServer) -> None:
        structures = server.truth("data_structures")
        types = {one["meta"].get("schemaType", "missing") for one in structures}
        assert types == {"event", "entity", None, "missing"}
        assert {one["description"] is None for one in structures} == {True, False}
        assert {"lockStatus" in one["meta"] for one in structures} == {True, False}
        deployments = server.truth("deployments")
        assert {"initiatorId" in one for one in deployments} == {True, False}
        assert {one["message"] is None for one in deployments} == {True, False}
        assert {one["patchLevel"] for one in deployments} == {0, 1}

    def test_some_event_specs_have_a_date_only(self, server: SnowplowServer) -> None:
        specs = server.truth("event_specs")
        assert {("createdAt" in spec, "updatedAt" in spec) for spec in specs} == {(True, True), (False, False)}
        assert all("date" in spec for spec in specs)

    def test_users_have_one_or_the_other_set_of_attributes(self, server: SnowplowServer) -> None:
        sets = {frozenset(user) for user in server.truth("users")}
        both = frozenset({"id", "email"})
        assert sets == {
            both | {"name", "displayName", "role", "filters"},
            both | {"firstName", "lastName", "jobTitle", "lastLogin", "permissions", "organizationId"},
        }

    def test_some_schemas_are_wide_and_some_are_deep(self, server: SnowplowServer) -> None:
        schemas = server.truth("schema_versions")
        assert max(len(schema["properties"]) for schema in schemas) >= 500
        assert min(len(schema["properties"]) for schema in schemas) < 50
        assert max(depth_of(schema) for schema in schemas) >= 8

    def test_references_lead_somewhere(self, server: SnowplowServer) -> None:
        uris = {
            "iglu:{vendor}/{name}/{format}/{version}".format(**one["self"]) for one in server.truth("schema_versions")
        }
        specs, plans = server.truth("event_specs"), server.truth("tracking_plans")
        assert {spec["event"]["source"] for spec in specs} <= uris
        assert {one["id"] for plan in plans for one in plan["eventSpecs"]} == {spec["id"] for spec in specs}
        users = {user["id"] for user in server.truth("users")}
        assert {one["initiatorId"] for one in server.truth("deployments") if "initiatorId" in one} <= users
        pipelines = {one["id"] for one in server.truth("pipelines")}
        assert {one["pipelineId"] for one in server.truth("destinations")} <= pipelines

    def test_includes_hold_what_plans_refer_to(self, server: SnowplowServer, client: Client) -> None:
        body = client.get("/data-products/v2")
        specs = {one["id"] for plan in body["data"] for one in plan["eventSpecs"]}
        apps = {one for plan in body["data"] for one in plan["sourceApplications"]}
        assert {one["id"] for one in body["includes"]["eventSpecs"]} == specs
        assert {one["id"] for one in body["includes"]["sourceApplications"]} == apps

    def test_ten_thousand_wide_structures_are_made_within_seconds(self) -> None:
        started = time.monotonic()
        with snowplow_server.start(Size(structures=10_000, fields_per_schema=500)) as server:
            assert len(Client(server).get("/data-structures/v1", size=100)) == 100
        assert time.monotonic() - started < 20


def depth_of(schema: Json) -> int:
    return 1 + max((depth_of(one) for one in schema.get("properties", {}).values()), default=-1)


class TestTheSourceChanges:
    def test_a_new_version(self, server: SnowplowServer, client: Client) -> None:
        item = client.get("/data-structures/v1")[3]
        server.now += timedelta(hours=1)
        deployment = server.deploy(item["hash"])
        assert (deployment["version"], deployment["env"], deployment["ts"]) == ("1-0-12", "DEV", iso(server.now))
        assert "initiatorId" in deployment
        path = f"/data-structures/v1/{item['hash']}"
        before = {one["env"]: one for one in item["deployments"]}
        after = {one["env"]: one for one in client.get(path)["deployments"]}
        assert after == before | {"DEV": deployment}
        assert client.get(f"{path}/deployments", size=1) == [deployment]
        assert client.get(f"{path}/versions/1-0-12")["self"]["version"] == "1-0-12"

    def test_a_version_goes_to_production(self, server: SnowplowServer, client: Client) -> None:
        item = server.truth("data_structures")[0]
        assert [one["env"] for one in item["deployments"]] == ["DEV"]
        server.deploy(item["hash"], "PROD", "1-0-0")
        dev, prod = client.get(f"/data-structures/v1/{item['hash']}")["deployments"]
        assert (prod["env"], prod["version"], prod["contentHash"]) == ("PROD", dev["version"], dev["contentHash"])

    def test_a_patch_keeps_the_version_and_changes_the_content(self, server: SnowplowServer) -> None:
        item = server.truth("data_structures")[1]
        before = next(one for one in item["deployments"] if one["env"] == "DEV")
        after = server.deploy(item["hash"], patch=True)
        assert (after["version"], after["patchLevel"]) == (before["version"], before["patchLevel"] + 1)
        assert after["contentHash"] != before["contentHash"]

    def test_there_are_no_other_environments(self, server: SnowplowServer) -> None:
        hash = server.truth("data_structures")[0]["hash"]
        with pytest.raises(ValueError, match="no environment QA: choose one of DEV, PROD"):
            server.deploy(hash, "QA")

    def test_a_structure_goes(self, server: SnowplowServer, client: Client) -> None:
        structures = server.truth("data_structures")
        server.remove_structure(structures[2]["hash"])
        assert client.get("/data-structures/v1") == structures[:2] + structures[3:]
        assert client.status(f"/data-structures/v1/{structures[2]['hash']}") == 404
        assert structures[2]["hash"] not in {one["hash"] for one in server.truth("deployments")}

    def test_a_structure_comes(self, server: SnowplowServer, client: Client) -> None:
        hash = server.add_structure("com.acme", "refund")
        item = client.get("/data-structures/v1")[-1]
        assert (item["hash"], item["name"], item["deployments"][0]["version"]) == (hash, "refund", "1-0-0")
        with pytest.raises(ValueError, match="refund/jsonschema/1-0-0 exists"):
            server.add_structure("com.acme", "refund")

    def test_job_runs_come_and_end(self, server: SnowplowServer, client: Client) -> None:
        moment = NOW - timedelta(minutes=5)
        ids = server.add_job_runs(3, moment)
        runs = client.runs(moment, NOW)
        assert sorted(run["runId"] for run in runs) == sorted(ids)
        assert {run["startTime"] for run in runs} == {iso(moment)}
        server.set_job_state(ids[0], "RUNNING")
        assert [run["state"] for run in client.runs(moment, NOW) if run["runId"] == ids[0]] == ["RUNNING"]
        assert client.get(f"/jobs/v1/runs/{ids[0]}/steps")[0]["state"] == "RUNNING"

    def test_an_enrichment_is_switched(self, server: SnowplowServer, client: Client) -> None:
        one = server.truth("enrichments")[0]
        assert server.toggle_enrichment(one["pipelineId"], one["name"]) is not one["enabled"]
        path = f"/pipelines/v1/{one['pipelineId']}/enrichments"
        assert client.get(path)[0]["enabled"] is not one["enabled"]
        assert server.toggle_enrichment(one["pipelineId"], one["name"]) is one["enabled"]
        assert server.truth("enrichments")[0] == one

    def test_the_date_header_follows_the_clock(self, server: SnowplowServer, client: Client) -> None:
        assert parsedate_to_datetime(client.ask("/users").headers["Date"]) == NOW
        server.now += timedelta(hours=3)
        assert parsedate_to_datetime(client.ask("/users").headers["Date"]) == NOW + timedelta(hours=3)

    def test_the_real_time_is_kept_on_demand(self) -> None:
        with snowplow_server.start(now=None) as server:
            before = server.now
            assert abs(before - datetime.now(UTC)) < timedelta(seconds=5)
            time.sleep(0.01)
            assert server.now > before
            assert Client(server).runs(server.now - timedelta(hours=96), server.now)

    def test_what_the_truth_gives_is_a_copy(self, server: SnowplowServer, client: Client) -> None:
        structures = server.truth("data_structures")
        structures[0]["meta"]["hidden"] = "spoiled"
        assert client.get("/data-structures/v1")[0]["meta"]["hidden"] is False

    def test_the_truth_names_what_there_is(self, server: SnowplowServer) -> None:
        with pytest.raises(ValueError, match="no resource 'schemas': choose one of organization, data_structures"):
            server.truth("schemas")


class TestItRunsInTheForeground:
    def test_it_tells_its_keys_and_ends_cleanly(self) -> None:
        port = free_port()
        command = [sys.executable, "-m", "tests.sources.snowplow_server", "--port", str(port), "--structures", "3"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            told: dict[str, str] = {}
            for line in process.stdout:
                if line.startswith("Ctrl-C"):
                    break
                if line.startswith("  "):
                    name, _, value = line.strip().rpartition(" ")
                    told[name.strip()] = value
            api = f"{told['address']}{PREFIX}/{told['organization']}"
            keys = {"X-API-Key-ID": told["API key ID"], "X-API-Key": told["API key"]}
            minted = requests.get(f"{api}/credentials/v3/token", headers=keys, timeout=10).json()["accessToken"]
            headers = {"Authorization": f"Bearer {minted}"}
            assert len(requests.get(f"{api}/data-structures/v1", headers=headers, timeout=10).json()) == 3
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=10)
        assert told["address"] == f"http://127.0.0.1:{port}"
        assert (process.returncode, errors) == (0, "")
        assert "The server is stopped." in out

    def test_a_port_in_use_is_told_in_a_sentence(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            command = [sys.executable, "-m", "tests.sources.snowplow_server", "--port", str(port)]
            result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert result.returncode == 1
        assert f"cannot listen on port {port} (Address already in use): end the program" in result.stderr
        assert "Traceback" not in result.stderr


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
