"""The Console API of Snowplow BDP for one organisation with seeded data, as a server for tests.

    with start(Size(structures=200), latency=0.2) as server:
        headers = {"X-API-Key-ID": server.api_key_id, "X-API-Key": server.api_key}
        requests.get(f"{server.api_url}/credentials/v3/token", headers=headers)
        ...
        assert server.calls(r"/deployments$") == 200
        assert server.truth("data_structures") == ...

It is stricter than the real one, so that a client's mistake is noticed: a query parameter that a path does not have,
one that is empty or given twice, and a value of another type are answered with 400; the real one ignores them.

A shape or rule that Snowplow does not document is a choice of this server:
- histories and job runs come newest first; the other lists in the order in which their items were created
- a window holds what begins in [from, to); it needs both, as timestamps with a zone: the durations that Snowplow also
  takes are refused
- the items of drafts and of a tracking plan's history, and what `includes` of event specs holds
- an error's body is {"message": ...}

Run `python -m tests.sources.snowplow_server --port 8686 --structures 200` to have it in the foreground.
"""

import argparse
import base64
import copy
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from uuid import NAMESPACE_URL, uuid5

from .http_thread import Handler, HttpThread, Request, serving
from .interruption import Interruption

Json = dict[str, Any]
Parameters = Mapping[str, Any]
Answer = tuple[int, Any, Mapping[str, str]]

PREFIX = "/api/msc/v1/organizations"
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
TOKEN_LIFETIME = timedelta(hours=24)
LONGEST_WINDOW = timedelta(hours=96)
RETENTION = timedelta(days=7)
JOB_RUN_CAP = 10_000

ENVIRONMENTS = ("DEV", "PROD")
STATUSES = ("draft", "published", "deprecated", "archived")
WIDE_SCHEMA_FIELDS = 520
NESTING_DEPTH = 8
SELF_DESCRIBING = "http://iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0#"
VENDORS = ("com.acme", "com.acme.checkout", "org.example-shop")
ENRICHMENTS = ("event-fingerprint", "ip-lookups", "campaign-attribution", "ua-parser-config", "pii-enrichment-config")
FIELD_TYPES: tuple[Json, ...] = (
    {"type": "string", "maxLength": 255, "description": "Ein Text, auch mit Umlauten: äöü"},
    {"type": "integer", "minimum": 0, "maximum": 9007199254740993},
    {"type": ["string", "null"], "enum": ["new", "returning", None]},
    {"type": "boolean"},
    {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}},
    {"type": ["number", "null"], "multipleOf": 0.01},
)


@dataclass(frozen=True)
class Size:
    """How much there is of everything.

    versions_each   a structure has 1 to this many versions
    wide_schemas    how many structures have at least 520 fields, whatever `fields_per_schema` says
    enrichments     of all pipelines together
    steps_each      steps of every job run
    failed_events   different errors of every pipeline, each with a count for every day of the last week
    """

    structures: int = 50
    versions_each: int = 5
    fields_per_schema: int = 12
    wide_schemas: int = 2
    drafts: int = 3
    event_specs: int = 12
    tracking_plans: int = 4
    data_models: int = 4
    source_apps: int = 3
    users: int = 8
    pipelines: int = 2
    enrichments: int = 5
    destinations: int = 2
    job_runs: int = 30
    steps_each: int = 3
    failed_events: int = 3


@dataclass
class Structure:
    """A data structure; `history` holds its deployments, oldest first. The schemas are made when they are asked for."""

    organization_id: str
    vendor: str
    name: str
    format: str
    description: str | None
    meta: Json
    fields: int
    nested: bool
    history: list[Json] = field(default_factory=list)

    @property
    def hash(self) -> str:
        """The hash as Snowplow computes it."""
        return _sha256(f"{self.organization_id}-{self.vendor}-{self.name}-{self.format}")

    def item(self) -> Json:
        """The structure as lists show it: without schema and dates, with the current deployments only."""
        return {
            "hash": self.hash,
            "organizationId": self.organization_id,
            "vendor": self.vendor,
            "name": self.name,
            "format": self.format,
            "description": self.description,
            "meta": self.meta,
            "deployments": self.current(),
        }

    def current(self) -> list[Json]:
        """The latest deployment of each environment that has one."""
        latest = {deployment["env"]: deployment for deployment in self.history}
        return [latest[env] for env in ENVIRONMENTS if env in latest]

    def versions(self, env: str | None = None) -> list[str]:
        """The versions ever deployed, to `env` if it is given, in the order of their numbers."""
        deployed = {deployment["version"] for deployment in self.history if env in (None, deployment["env"])}
        return sorted(deployed, key=_version_numbers)

    def schema(self, version: str, env: str | None = None) -> Json:
        """The JSON Schema of a deployed version, as last deployed (to `env` if it is given)."""
        deployed = [one for one in self.history if one["version"] == version and env in (None, one["env"])]
        return self.schema_of(version, patch_level=deployed[-1]["patchLevel"])

    def schema_of(self, version: str, patch_level: int = 0) -> Json:
        """The JSON Schema of any version; each addition has one field more than the one before."""
        names = [f"field_{number}" for number in range(self.fields + _version_numbers(version)[2])]
        properties = {name: FIELD_TYPES[number % len(FIELD_TYPES)] for number, name in enumerate(names)}
        if self.nested:
            properties["details"] = _nested(NESTING_DEPTH)
        return {
            "$schema": SELF_DESCRIBING,
            "self": {"vendor": self.vendor, "name": self.name, "format": self.format, "version": version},
            "description": f"{self.name} {version}, patch {patch_level}",
            "type": "object",
            "properties": properties,
            "required": names[:1],
            "additionalProperties": False,
        }

    def uri(self, version: str) -> str:
        """How event specs refer to a version."""
        return f"iglu:{self.vendor}/{self.name}/{self.format}/{version}"

    def deploy(self, version: str, patch_level: int, env: str, at: datetime, user: Json | None) -> Json:
        """Adds a deployment, by `user`; without one it was the registry itself, which has no id."""
        deployment = {
            "version": version,
            "patchLevel": patch_level,
            "contentHash": _sha256(f"{self.hash}-{version}-{patch_level}"),
            "env": env,
            "ts": _iso(at),
            "message": None if user else "Inserted via registry bootstrapping",
            "initiator": _user_name(user) if user else "Registry bootstrapping",
            **({"initiatorId": user["id"]} if user else {}),
        }
        self.history.append(deployment)
        return deployment


class Organization:
    """The data: the same for the same size, seed and time."""

    def __init__(self, size: Size, seed: int, now: datetime) -> None:
        self._seed, self._size, self._now = seed, size, now
        self.id = self._uuid("organization", 0)
        self.users = [self._user(number) for number in range(size.users)]
        structures = [self._structure(number) for number in range(size.structures)]
        self.structures = {structure.hash: structure for structure in structures}
        drafts = [self.new_structure("com.acme", f"draft_{number}") for number in range(size.drafts)]
        self.drafts = [structure.schema_of("1-0-0") for structure in drafts]
        self.source_apps = [self._source_app(number) for number in range(size.source_apps)]
        self.event_specs = [self._event_spec(number, structures) for number in range(size.event_specs)]
        self.tracking_plans = [self._tracking_plan(number) for number in range(size.tracking_plans)]
        self.pipelines = [self._pipeline(number) for number in range(size.pipelines)]
        self.enrichments = {one["id"]: self._enrichments(number) for number, one in enumerate(self.pipelines)}
        self.failed_events = {one["id"]: self._failed_events(number) for number, one in enumerate(self.pipelines)}
        self.destinations = [self._destination(number) for number in range(size.destinations)]
        self.data_models = [self._data_model(number) for number in range(size.data_models)]
        job_runs = [self.new_job_run(number, self._job_start(number)) for number in range(size.job_runs)]
        self.job_runs = {run["runId"]: run for run in job_runs}

    def shown(self) -> Json:
        """The organisation itself."""
        return {"id": self.id, "name": "Acme", "region": "eu-central-1", "createdAt": self._past(900)}

    def new_structure(self, vendor: str, name: str, format: str = "jsonschema") -> Structure:
        """A structure that was never deployed and belongs nowhere yet."""
        meta: Json = {"hidden": False, "schemaType": "event", "customData": {}}
        return Structure(self.id, vendor, name, format, None, meta, self._size.fields_per_schema, nested=False)

    def new_job_run(self, number: int, at: datetime) -> Json:
        """A finished run that started at `at`."""
        job = number % 3
        return {
            "runId": _sha256(f"{self._seed}-run-{number}"),
            "jobId": self._uuid("job", job),
            "jobName": f"model_{job}",
            "environment": "com.acme-prod1",
            "state": "FAILED" if number % 5 == 4 else "SUCCEEDED",
            "startTime": _iso(at),
        }

    def steps(self, run: Json) -> list[Json]:
        """The steps of a job run; their names are unique within it only."""
        return [
            {
                "name": f"step-{number}",
                "state": run["state"],
                "dependencies": [f"step-{number - 1}"] if number else [],
                "duration": f"PT{number + 1}M",
            }
            for number in range(self._size.steps_each)
        ]

    def plan_history(self, plan: Json) -> list[Json]:
        """What happened to a tracking plan, newest first."""
        return [
            {"id": f"{plan['id']}-{change}", "dataProductId": plan["id"], "message": change, "date": plan[at]}
            for change, at in (("updated", "updatedAt"), ("created", "createdAt"))
        ]

    def spec_changes(self, spec: Json) -> Json:
        """The latest change of an event spec."""
        return {"eventSpecId": spec["id"]} | {key: spec[key] for key in ("version", "author", "message", "date")}

    def plan_includes(self, plans: list[Json]) -> Json:
        """What tracking plans refer to, in short."""
        specs = {one["id"] for plan in plans for one in plan["eventSpecs"]}
        apps = {one for plan in plans for one in plan["sourceApplications"]}
        return {
            "owners": [],
            "eventSpecs": [
                {key: spec[key] for key in ("id", "version", "name", "status")}
                for spec in self.event_specs
                if spec["id"] in specs
            ],
            "sourceApplications": [
                {key: app[key] for key in ("id", "name", "description")}
                for app in self.source_apps
                if app["id"] in apps
            ],
        }

    def old_enrichments(self, pipeline_id: str) -> list[Json]:
        """The enrichments in the shape of the older path; one that is off was never configured."""
        return [
            {
                "id": _sha256(f"{pipeline_id}-{one['name']}")[:32],
                "filename": f"{one['name'].replace('-', '_')}.json",
                "content": _old_content(one) if one["enabled"] else None,
                "enabled": one["enabled"],
                "lastUpdate": self._past(30),
            }
            for one in self.enrichments[pipeline_id]
        ]

    def _uuid(self, kind: str, number: int) -> str:
        return str(uuid5(NAMESPACE_URL, f"{self._seed}/{kind}/{number}"))

    def _past(self, days: float) -> str:
        return _iso(self._now - timedelta(days=days))

    def _user(self, number: int) -> Json:
        """A user with one or the other of the two sets of attributes that are documented."""
        user = {"id": self._uuid("user", number), "email": f"person{number}@acme.example"}
        if number % 2 == 0:
            name = f"Person {number}"
            return user | {"name": name, "displayName": name, "role": "admin", "filters": []}
        return user | {
            "firstName": "Person",
            "lastName": str(number),
            "jobTitle": None if number % 3 == 0 else "Analyst",
            "lastLogin": self._past(number),
            "permissions": [{"resourceType": "DATA-STRUCTURES", "action": "VIEW"}],
            "organizationId": self.id,
        }

    def _structure(self, number: int) -> Structure:
        """The first two differ in their format only; the wide ones come first."""
        structure = self.new_structure(
            VENDORS[max(number - 1, 0) % len(VENDORS)],
            f"event_{max(number - 1, 0)}",
            "avro" if number == 1 else "jsonschema",
        )
        structure.description = None if number % 5 == 4 else f"What happens at point {number} of the shop"
        structure.meta = _meta(number)
        structure.nested = number % 5 == 0
        if number < self._size.wide_schemas:
            structure.fields = max(WIDE_SCHEMA_FIELDS, structure.fields)
        self._deploy_versions(structure, number)
        return structure

    def _deploy_versions(self, structure: Structure, number: int) -> None:
        """Deploys to DEV, a day later to PROD; the last version of every third one is not in PROD yet."""
        count = 1 + number % self._size.versions_each
        first = 8 if number % 4 == 3 else 0  # so that some go from 1-0-9 to 1-0-10, which sort wrongly as text
        for index in range(count):
            version = f"1-0-{first + index}"
            at = self._now - timedelta(days=30 * (count - index), minutes=number)
            structure.deploy(version, 0, "DEV", at, self._initiator(number + index))
            if index == 0 and number % 6 == 0:
                structure.deploy(version, 1, "DEV", at + timedelta(hours=1), self._initiator(number))
            if index < count - 1 or number % 3:
                patch_level = structure.history[-1]["patchLevel"]
                structure.deploy(version, patch_level, "PROD", at + timedelta(days=1), self._initiator(number))

    def _initiator(self, number: int) -> Json | None:
        return self.users[number % len(self.users)] if self.users and number % 3 else None

    def _source_app(self, number: int) -> Json:
        return {
            "id": self._uuid("source-app", number),
            "name": f"App {number}",
            "description": None if number % 3 == 2 else f"Tracks application {number}",
            "owner": "team@acme.example",
            "appIds": [f"app-{number}", f"app-{number}-qa"],
            "entities": {"tracked": [], "enriched": []},
        }

    def _event_spec(self, number: int, structures: list[Structure]) -> Json:
        """Every third has no createdAt and updatedAt, only the `date` that all have."""
        spec = {
            "id": self._uuid("event-spec", number),
            "version": 1 + number % 4,
            "name": f"Spec {number}",
            "description": None if number % 5 == 4 else f"When event {number} is sent",
            "status": STATUSES[number % 2],
            "entities": {"tracked": [], "enriched": []},
            "triggers": [{"id": self._uuid("trigger", number), "description": "On click", "appIds": [], "url": ""}],
            "author": self._uuid("user", 0),
            "message": "published",
            "date": self._past(number + 1),
        }
        if self._size.tracking_plans:
            spec["dataProductId"] = self._uuid("tracking-plan", number % self._size.tracking_plans)
        if structures:
            structure = structures[number % len(structures)]
            spec["event"] = {"source": structure.uri(structure.versions()[-1])}
        if number % 3 != 2:
            spec |= {"createdAt": self._past(number + 100), "updatedAt": self._past(number + 1)}
        return spec

    def _tracking_plan(self, number: int) -> Json:
        plan_id = self._uuid("tracking-plan", number)
        specs = [spec["id"] for spec in self.event_specs if spec["dataProductId"] == plan_id]
        return {
            "id": plan_id,
            "name": f"Plan {number}",
            "description": None if number % 4 == 3 else f"All tracking of area {number}",
            "organizationId": self.id,
            "domain": "Analytics",
            "owner": "team@acme.example",
            "status": "published",
            "eventSpecs": [{"id": one, "url": f"{PREFIX}/{self.id}/event-specs/v1/{one}"} for one in specs],
            "sourceApplications": [app["id"] for app in self.source_apps[number % 2 :: 2]],
            "type": "custom",
            "lockStatus": "unlocked",
            "createdAt": self._past(number + 200),
            "updatedAt": self._past(number + 2),
        }

    def _pipeline(self, number: int) -> Json:
        return {
            "id": self._uuid("pipeline", number),
            "name": "Default" if number == 0 else f"Pipeline {number}",
            "status": "ready",
            "label": "qa" if number % 2 else "prod",
            "workspaceId": self._uuid("workspace", 0),
            "k8sNamespaceId": self._uuid("namespace", number),
            "k8sClusterId": self._uuid("cluster", 0),
            "cloudSetupId": self._uuid("cloud-setup", 0),
            "config": {
                "collectorEndpoints": [f"collector-{number}.acme.example"],
                "incompleteStreamDeployed": False,
                "enrichAcceptInvalid": False,
                "enrichAtomicFieldsLimits": {},
            },
        }

    def _enrichments(self, pipeline: int) -> list[Json]:
        """The share of one pipeline; the same names are found in the others."""
        count = len(range(pipeline, self._size.enrichments, self._size.pipelines))
        names = [*ENRICHMENTS, *(f"api-request-{number}" for number in range(count))][:count]
        return [
            {
                "name": name,
                "enabled": number % 3 != 2,
                "schemaKey": f"iglu:com.snowplowanalytics.snowplow/{name.replace('-', '_')}/jsonschema/1-0-1",
                "userData": {"hashAlgorithm": "MD5", "excludeParameters": ["eid", "stm"][:number]},
            }
            for number, name in enumerate(names)
        ]

    def _failed_events(self, pipeline: int) -> list[Json]:
        midnight = self._now.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [midnight - timedelta(days=day) for day in range(6, -1, -1)]
        return [
            {
                "errorId": self._uuid(f"error-{pipeline}", number),
                "schemaKey": f"iglu:com.acme/event_{number}/jsonschema/1-0-0",
                "classification": "Enrichment" if number % 2 else "Validation",
                "metrics": [
                    {"window": _iso(day), "count": number + 1, "lastSeen": _iso(day + timedelta(hours=9))}
                    for day in days
                ],
            }
            for number in range(self._size.failed_events)
        ]

    def _destination(self, number: int) -> Json:
        return {
            "id": self._uuid("destination", number),
            "pipelineId": self.pipelines[number % len(self.pipelines)]["id"] if self.pipelines else None,
            "loaderName": f"loader-{number}",
            "loaderType": "snowflake_loader",
            "destinationType": "snowflake",
            "status": "ready",
            "target": {
                "id": self._uuid("target", number),
                "label": "prod",
                "name": f"Warehouse {number}",
                "status": "ready",
                "envName": "prod1",
                "targetType": "snowflake",
                "config": {"database": "SNOWPLOW", "schema": "ATOMIC"},
            },
            "createdAt": self._past(number + 300),
        }

    def _data_model(self, number: int) -> Json:
        plans = self.tracking_plans
        return {
            "id": self._uuid("data-model", number),
            "organizationId": self.id,
            "dataProductId": plans[number % len(plans)]["id"] if plans else None,
            "name": f"model_{number}",
            "owner": "team@acme.example",
            "description": None if number % 3 == 2 else f"Builds table {number}",
            "destination": self.destinations[0]["id"] if self.destinations else None,
            "queryEngine": "snowflake",
            "tableName": f"SNOWPLOW.DERIVED.TABLE_{number}",
            "modelType": "table",
            "createdAt": self._past(number + 50),
            "updatedAt": self._past(number + 5),
        }

    def _job_start(self, number: int) -> datetime:
        """The runs are spread evenly over the last week."""
        return self._now - RETENTION + (number + 0.5) / self._size.job_runs * RETENTION


@dataclass
class ApiError(Exception):
    """An answer other than success."""

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Route:
    """A path below the organisation's, who answers it, and how each query parameter it knows is read."""

    resource: str
    pattern: str
    answer: Callable[..., Any]
    parameters: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)


class _ClockedHandler(Handler):
    """Sends the server's own time in the Date header."""

    server: "SnowplowServer"

    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(self.server.now, usegmt=True)


class SnowplowServer(HttpThread):
    """The API of one organisation. What is set here takes effect with the next request.

    now               the server's clock; once set, it stands still till it is set again
    latency           seconds that every answer takes
    caps_size         a page has at most this many items, whatever `size` asks for, and nobody is told
    job_run_cap       a window of job runs is cut to this many of the newest, and nobody is told
    features_off      names as for `truth`: their paths answer 404, as those of a feature that was not bought
    warns             event specs and tracking plans come with a warning in `errors`, with status 200
    fails             function of a request that gives the status with which to refuse it, or None
    rate_limit        requests a second; above it the answer is 429
    tokens_minted     tokens handed out so far
    most_in_flight    the most requests that were being answered at the same moment so far
    """

    def __init__(
        self, size: Size, seed: int = 1, latency: float = 0.0, now: datetime | None = NOW, port: int | None = None
    ) -> None:
        super().__init__(port)
        self.RequestHandlerClass = _ClockedHandler
        self._now, self.latency = now, latency
        self.caps_size: int | None = None
        self.job_run_cap = JOB_RUN_CAP
        self.features_off: set[str] = set()
        self.warns = False
        self.fails: Callable[[Request], int | None] = lambda request: None
        self.rate_limit: int | None = None
        self.tokens_minted = self.most_in_flight = 0
        self._organization = Organization(size, seed, self.now)
        self.organization_id = self._organization.id
        self.api_url = f"{self.url}{PREFIX}/{self.organization_id}"
        self.api_key_id = f"key-{seed}"
        self.api_key = _sha256(f"key-{seed}")
        self._tokens: dict[str, datetime] = {}
        self._in_flight = 0
        self._accepted: deque[float] = deque()
        self._counting = threading.Lock()
        self._lock = threading.Lock()  # of data and tokens
        self._routes = self._all_routes()

    @property
    def now(self) -> datetime:
        return self._now or datetime.now(UTC)

    @now.setter
    def now(self, moment: datetime) -> None:
        self._now = moment

    def calls(self, pattern: str) -> int:
        """How many requests had a path in which the regular expression is found."""
        return sum(1 for request in list(self.requests) if re.search(pattern, request.path))

    def expire_tokens(self) -> None:
        """Makes all tokens handed out so far invalid."""
        with self._lock:
            self._tokens.clear()

    def truth(self, resource: str) -> list[Json]:
        """Everything there is of a resource, as the API shows it.

        Where the API shows a parent's key in the path only, it is added: `hash` to deployments, `pipelineId` to
        enrichments and failed_events, `runId` to job_run_steps.
        """
        with self._lock:
            rows = self._truths().get(resource)
            if rows is None:
                raise ValueError(f"There is no resource {resource!r}: choose one of {', '.join(self._truths())}")
            return copy.deepcopy(list(rows))

    # What happens at the source

    def add_structure(self, vendor: str, name: str, format: str = "jsonschema") -> str:
        """Adds a structure with version 1-0-0 in DEV; returns its hash."""
        with self._lock:
            structure = self._organization.new_structure(vendor, name, format)
            if structure.hash in self._organization.structures:
                raise ValueError(f"{structure.uri('1-0-0')} exists: give the new structure another name")
            structure.deploy("1-0-0", 0, "DEV", self.now, None)
            self._organization.structures[structure.hash] = structure
            return structure.hash

    def remove_structure(self, hash: str) -> None:
        """Removes a structure with all its versions; event specs still refer to it."""
        with self._lock:
            del self._organization.structures[hash]

    def deploy(self, hash: str, env: str = "DEV", version: str | None = None, patch: bool = False) -> Json:
        """Deploys the next version of a structure, or another one, now; returns the deployment.

        version  another one, at its latest patch level: how a version gets from DEV to PROD
        patch    whether to deploy the version anew (the latest one by default), with the next patch level
        """
        if env not in ENVIRONMENTS:
            raise ValueError(f"There is no environment {env}: choose one of {', '.join(ENVIRONMENTS)}")
        with self._lock:
            structure = self._organization.structures[hash]
            latest = structure.versions()[-1]
            chosen = version or (latest if patch else _next_version(latest))
            levels = [one["patchLevel"] for one in structure.history if one["version"] == chosen]
            level = max(levels, default=0) + patch
            user = next(iter(self._organization.users), None)
            return dict(structure.deploy(chosen, level, env, self.now, user))

    def add_job_runs(self, count: int, at: datetime) -> list[str]:
        """Adds runs that started at `at`; returns their ids."""
        with self._lock:
            runs = self._organization.job_runs
            added = [self._organization.new_job_run(len(runs) + index, at) for index in range(count)]
            runs.update({run["runId"]: run for run in added})
            return [run["runId"] for run in added]

    def set_job_state(self, run_id: str, state: str) -> None:
        """Changes the state of a run and of its steps, as when one that was RUNNING ends."""
        with self._lock:
            runs = self._organization.job_runs
            runs[run_id] = {**runs[run_id], "state": state}

    def toggle_enrichment(self, pipeline_id: str, name: str) -> bool:
        """Switches an enrichment on or off; returns whether it is on now."""
        with self._lock:
            enrichments = self._organization.enrichments[pipeline_id]
            index = next(index for index, one in enumerate(enrichments) if one["name"] == name)
            enabled = not enrichments[index]["enabled"]
            enrichments[index] = {**enrichments[index], "enabled": enabled}  # the old one may be on its way to a client
            return enabled

    # Requests

    def respond(self, request: Request, handler: Handler) -> None:
        with self._counted():
            self.stopping.wait(self.latency)
            status, content, headers = self._answered(request, urlsplit(handler.path).query)
        handler.reply_json(status, content, headers)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Counts a request as in flight till its answer begins: then its client may send the next one."""
        with self._counting:
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._counting:
                self._in_flight -= 1

    def _answered(self, request: Request, query: str) -> Answer:
        try:
            self._check_rate()
            if (failure := self.fails(request)) is not None:
                raise ApiError(failure, "This request was made to fail")
            return 200, self._content(request, query), {}
        except ApiError as error:
            return error.status, {"message": error.message}, error.headers

    def _check_rate(self) -> None:
        """Raises ApiError for a request above the limit, which counts those taken within the last second."""
        if self.rate_limit is None:
            return
        with self._counting:
            moment = time.monotonic()
            while self._accepted and self._accepted[0] <= moment - 1:
                self._accepted.popleft()
            if len(self._accepted) >= self.rate_limit:
                raise ApiError(429, f"More than {self.rate_limit} requests in a second", {"Retry-After": "1"})
            self._accepted.append(moment)

    def _content(self, request: Request, query: str) -> Any:
        """What a request is answered with; raises ApiError for one that is refused."""
        found = re.fullmatch(rf"{PREFIX}/([^/]+)(/.*)?", request.path)
        organization_id, path = found.groups(default="") if found else ("", "")
        routes = [(route, match) for route in self._routes if (match := re.fullmatch(route.pattern, path))]
        if not found or not routes:
            raise ApiError(404, f"There is nothing at {request.path}")
        route, match = routes[0]
        if request.method != "GET":
            raise ApiError(405, f"{request.method} is not allowed for {request.path}")
        with self._lock:
            if route.resource != "token":
                self._check_token(request)
            if organization_id != self.organization_id:
                raise ApiError(404, f"There is no organization {organization_id}")
            if route.resource in self.features_off:
                raise ApiError(404, f"The organization does not have the feature at {request.path}")
            parameters = _read_parameters(route.parameters, query)
            if route.resource == "token":
                return route.answer(request)
            return route.answer(parameters, *map(unquote, match.groups()))

    def _check_token(self, request: Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        expires = self._tokens.get(token)
        if scheme.lower() != "bearer" or expires is None or expires <= self.now:
            raise ApiError(401, "The token is missing, unknown or expired")

    def _mint_token(self, request: Request) -> Json:
        keys = (request.headers.get("X-API-Key-ID"), request.headers.get("X-API-Key"))
        if keys != (self.api_key_id, self.api_key):
            raise ApiError(401, "The key or its id is wrong")
        self.tokens_minted += 1
        expires = self.now + TOKEN_LIFETIME
        token = _jwt({"org": self.organization_id, "jti": self.tokens_minted, "exp": int(expires.timestamp())})
        self._tokens[token] = expires
        return {"accessToken": token}

    # Answers

    def _all_routes(self) -> list[_Route]:
        page = {"from": _count, "size": _positive}
        window = {"from": _timestamp, "to": _timestamp}
        structure, plan, pipeline = r"/data-structures/v1/([^/]+)", r"/data-products/v2/([^/]+)", "/([^/]+)"
        return [
            _Route("token", "/credentials/v3/token", self._mint_token),
            _Route("organization", "", lambda _: self._organization.shown()),
            _Route(
                "data_structures",
                "/data-structures/v1",
                self._list_structures,
                page | {"vendor": str, "name": str, "format": str},
            ),
            _Route(
                "schema_versions",
                "/data-structures/v1/schemas/versions",
                self._list_schemas,
                {"latest": _boolean, "env": _one_of(ENVIRONMENTS)},
            ),
            _Route("data_structures", structure, lambda _, hash: self._structure(hash).item()),
            _Route("deployments", f"{structure}/deployments", self._list_deployments, page),
            _Route(
                "schema_versions",
                f"{structure}/versions/([^/]+)",
                self._get_schema,
                {"env": _one_of(ENVIRONMENTS)},
            ),
            _Route("drafts", "/data-structure-drafts/v1/schemas", lambda _: self._organization.drafts),
            _Route(
                "event_specs",
                "/event-specs/v1",
                self._list_event_specs,
                {
                    "dataProductId": str,
                    "sourceId": str,
                    "sourceVersion": str,
                    "withLatestHistory": _boolean,
                    "status": _one_of(STATUSES),
                },
            ),
            _Route("tracking_plans", "/data-products/v2", self._list_plans),
            _Route(
                "tracking_plan_history",
                f"{plan}/history",
                self._list_plan_history,
                {"before": _timestamp, "limit": _positive, "offset": _count, "order": _one_of(("asc", "desc"))},
            ),
            _Route("data_models", f"{plan}/data-models/v1", self._list_plan_models),
            _Route("data_models", "/data-models/v1/models", lambda _: self._organization.data_models),
            _Route("source_apps", "/source-apps/v1", lambda _: {"data": self._organization.source_apps}),
            _Route("pipelines", "/pipelines/v1", lambda _: {"pipelines": self._organization.pipelines}),
            _Route("enrichments", f"/pipelines/v1{pipeline}/enrichments", self._list_enrichments),
            _Route(
                "enrichments",
                f"/resources/v1/pipelines{pipeline}/configuration/enrichments",
                self._list_old_enrichments,
            ),
            _Route("destinations", "/destinations/v3", lambda _: self._organization.destinations),
            _Route("users", "/users", lambda _: self._organization.users),
            _Route("job_runs", "/jobs/v1/runs", self._list_job_runs, window),
            _Route("job_run_steps", "/jobs/v1/runs/([^/]+)/steps", self._list_steps),
            _Route("failed_events", f"/metrics/v1/pipelines{pipeline}/failed-events", self._list_failed_events, window),
        ]

    def _list_structures(self, parameters: Parameters) -> list[Json]:
        filters = {key: parameters[key] for key in ("vendor", "name", "format") if key in parameters}
        structures = [
            structure
            for structure in self._organization.structures.values()
            if all(getattr(structure, key) == value for key, value in filters.items())
        ]
        return [structure.item() for structure in self._page(structures, parameters)]

    def _list_deployments(self, parameters: Parameters, hash: str) -> Any:
        structure = self._structure(hash)
        if not parameters:
            return {"data": structure.current()}
        return self._page(structure.history[::-1], parameters)

    def _page(self, items: list[Any], parameters: Parameters) -> list[Any]:
        """The part that `from` and `size` ask for; without them everything."""
        start = parameters.get("from", 0)
        size = parameters.get("size", len(items))
        if self.caps_size is not None and parameters.keys() & {"from", "size"}:
            size = min(size, self.caps_size)
        return items[start : start + size]

    def _get_schema(self, parameters: Parameters, hash: str, version: str) -> Json:
        structure, env = self._structure(hash), parameters.get("env")
        if version not in structure.versions(env):
            raise ApiError(404, f"Version {version} is not deployed to {env or 'any environment'}")
        return structure.schema(version, env)

    def _list_schemas(self, parameters: Parameters) -> list[Json]:
        env = parameters.get("env")
        return [
            structure.schema(version, env)
            for structure in self._organization.structures.values()
            for version in structure.versions(env)[-1 if parameters.get("latest") else 0 :]
        ]

    def _list_event_specs(self, parameters: Parameters) -> Json:
        specs = [spec for spec in self._organization.event_specs if self._is_wanted(spec, parameters)]
        history = [self._organization.spec_changes(spec) for spec in specs]
        return {
            "data": specs,
            "includes": history if parameters.get("withLatestHistory") else [],
            "errors": self._warnings(),
        }

    def _is_wanted(self, spec: Json, parameters: Parameters) -> bool:
        source, _, version = spec.get("event", {}).get("source", "").rpartition("/")
        values = {
            "dataProductId": spec.get("dataProductId"),
            "sourceId": _sha256("-".join([self.organization_id, *source.removeprefix("iglu:").split("/")])),
            "sourceVersion": version,
            "status": spec["status"],
        }
        return all(value == parameters.get(key, value) for key, value in values.items())

    def _list_plans(self, parameters: Parameters) -> Json:
        plans = self._organization.tracking_plans
        includes = self._organization.plan_includes(plans)
        return {"data": plans, "includes": includes, "errors": self._warnings(), "metadata": None}

    def _warnings(self) -> list[Json]:
        return [{"type": "Warning", "message": "An item refers to a version that is deprecated"}] if self.warns else []

    def _list_plan_history(self, parameters: Parameters, plan_id: str) -> Json:
        records = self._organization.plan_history(_find(self._organization.tracking_plans, "id", plan_id))
        if "before" in parameters:
            records = [one for one in records if _timestamp(one["date"]) <= parameters["before"]]
        if parameters.get("order") == "asc":
            records.reverse()
        start = parameters.get("offset", 0)
        stop = start + parameters.get("limit", len(records))
        return {"data": records[start:stop], "includes": [], "errors": [], "metadata": None}

    def _list_plan_models(self, parameters: Parameters, plan_id: str) -> list[Json]:
        _find(self._organization.tracking_plans, "id", plan_id)
        return [model for model in self._organization.data_models if model["dataProductId"] == plan_id]

    def _list_enrichments(self, parameters: Parameters, pipeline_id: str) -> list[Json]:
        _find(self._organization.pipelines, "id", pipeline_id)
        return list(self._organization.enrichments[pipeline_id])

    def _list_old_enrichments(self, parameters: Parameters, pipeline_id: str) -> list[Json]:
        _find(self._organization.pipelines, "id", pipeline_id)
        return self._organization.old_enrichments(pipeline_id)

    def _list_job_runs(self, parameters: Parameters) -> list[Json]:
        start, end = self._window(parameters)
        if end - start > LONGEST_WINDOW or start < self.now - RETENTION or end > self.now:
            raise ApiError(400, f"A window has at most 96 hours and lies within the week before {_iso(self.now)}")
        runs = [run for run in self._organization.job_runs.values() if start <= _timestamp(run["startTime"]) < end]
        return sorted(runs, key=lambda run: str(run["startTime"]), reverse=True)[: self.job_run_cap]

    def _list_steps(self, parameters: Parameters, run_id: str) -> list[Json]:
        if run_id not in self._organization.job_runs:
            raise ApiError(404, f"There is no job run {run_id}")
        return self._organization.steps(self._organization.job_runs[run_id])

    def _list_failed_events(self, parameters: Parameters, pipeline_id: str) -> list[Json]:
        _find(self._organization.pipelines, "id", pipeline_id)
        start, end = self._window(parameters)
        errors = [
            error | {"metrics": [one for one in error["metrics"] if start <= _timestamp(one["window"]) < end]}
            for error in self._organization.failed_events[pipeline_id]
        ]
        return [error for error in errors if error["metrics"]]

    def _window(self, parameters: Parameters) -> tuple[datetime, datetime]:
        if parameters.keys() != {"from", "to"}:
            raise ApiError(400, "Both from and to are needed")
        if parameters["from"] > parameters["to"]:
            raise ApiError(400, "from is after to")
        return parameters["from"], parameters["to"]

    def _structure(self, hash: str) -> Structure:
        if hash not in self._organization.structures:
            raise ApiError(404, f"There is no data structure {hash}")
        return self._organization.structures[hash]

    def _truths(self) -> dict[str, Iterator[Json]]:
        """The rows of each resource, made only when they are iterated over."""
        data = self._organization
        structures = data.structures.values()
        return {
            "organization": iter([data.shown()]),
            "data_structures": (structure.item() for structure in structures),
            "deployments": (
                {"hash": structure.hash, **one} for structure in structures for one in reversed(structure.history)
            ),
            "schema_versions": (
                structure.schema(version) for structure in structures for version in structure.versions()
            ),
            "drafts": iter(data.drafts),
            "event_specs": iter(data.event_specs),
            "tracking_plans": iter(data.tracking_plans),
            "tracking_plan_history": (one for plan in data.tracking_plans for one in data.plan_history(plan)),
            "data_models": iter(data.data_models),
            "source_apps": iter(data.source_apps),
            "pipelines": iter(data.pipelines),
            "enrichments": ({"pipelineId": key, **one} for key, some in data.enrichments.items() for one in some),
            "destinations": iter(data.destinations),
            "users": iter(data.users),
            "job_runs": iter(data.job_runs.values()),
            "job_run_steps": ({"runId": key, **one} for key, run in data.job_runs.items() for one in data.steps(run)),
            "failed_events": ({"pipelineId": key, **one} for key, some in data.failed_events.items() for one in some),
        }


@contextmanager
def start(
    size: Size | None = None, seed: int = 1, latency: float = 0.0, now: datetime | None = NOW, port: int | None = None
) -> Iterator[SnowplowServer]:
    """Starts a server in a thread; ends it on exit.

    Args:
        size: How much data it has; Size() by default.
        seed: Another one gives other ids and hashes, keys and an organisation of its own.
        latency: Seconds that every answer takes.
        now: The server's clock, which stands still and which the data's times are relative to; None for the real time.
        port: The port; a free one by default.
    """
    with serving(SnowplowServer(size or Size(), seed, latency, now, port)) as server:
        yield server


# Query parameters


def _read_parameters(known: Mapping[str, Callable[[str], Any]], query: str) -> Json:
    """The values of a query; raises ApiError for a parameter that is unknown, empty, repeated or of another type."""
    parameters: Json = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ApiError(400, f"There is no parameter {name} here, only: {', '.join(known) or 'none'}")
        if name in parameters or not text:
            raise ApiError(400, f"The parameter {name} is empty or given twice")
        try:
            parameters[name] = known[name](text)
        except ValueError as error:
            raise ApiError(400, f"The parameter {name} cannot be {text!r}") from error
    return parameters


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError(text)
    return int(text)


def _positive(text: str) -> int:
    if _count(text) == 0:
        raise ValueError(text)
    return int(text)


def _boolean(text: str) -> bool:
    return _one_of(("false", "true"))(text) == "true"


def _one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(text)
        return text

    return read


def _timestamp(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


# Pieces of data


def _find(items: list[Json], key: str, value: str) -> Json:
    for item in items:
        if item[key] == value:
            return item
    raise ApiError(404, f"There is none with {key} {value}")


def _meta(number: int) -> Json:
    """With every state of schemaType there is: event, entity, null and missing."""
    meta: Json = {"hidden": number % 10 == 9, "customData": {"team": "web"} if number % 3 == 0 else {}}
    if number % 4 != 3:
        meta["schemaType"] = ("event", "entity", None)[number % 4]
    if number % 7 == 1:
        meta |= {"lockStatus": "locked", "managedFrom": "repository"}
    return meta


def _nested(depth: int) -> Json:
    if depth == 0:
        return {"type": "string"}
    return {"type": "object", "properties": {f"level_{depth}": _nested(depth - 1)}}


def _old_content(enrichment: Json) -> Json:
    data = {
        "enabled": enrichment["enabled"],
        "name": enrichment["name"].replace("-", "_"),
        "parameters": enrichment["userData"],
        "vendor": "com.snowplowanalytics.snowplow",
    }
    return {"schema": enrichment["schemaKey"], "data": data}


def _user_name(user: Json) -> str:
    return str(user["name"]) if "name" in user else f"{user['firstName']} {user['lastName']}"


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split("-")))


def _next_version(version: str) -> str:
    model, revision, addition = _version_numbers(version)
    return f"{model}-{revision}-{addition + 1}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _jwt(claims: Json) -> str:
    """A token of a JWT's form; its signature is worth nothing."""
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    parts.append(hashlib.sha256(b".".join(parts)).digest())
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


# In the foreground

READY = """
The Snowplow Console API is ready:

  address       {server.url}
  organization  {server.organization_id}
  API key ID    {server.api_key_id}
  API key       {server.api_key}

Ctrl-C stops it.
"""


def main() -> int:
    """Serves till it is interrupted, with the real time; returns the exit code."""
    options = _options()
    with Interruption():
        try:
            size = Size(structures=options.structures)
            with start(size, latency=options.latency, now=None, port=options.port) as server:
                print(READY.format(server=server), flush=True)
                while True:
                    time.sleep(1)
        except OSError as error:
            print(
                f"The server cannot listen on port {options.port} ({os.strerror(error.errno or 0)}): end the program "
                "that does so, or choose another port with --port.",
                file=sys.stderr,
            )
            return 1
    with suppress(OSError):  # there may be no terminal any more
        print("\nThe server is stopped.", flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sources.snowplow_server", description="Run a Snowplow Console API with made-up data."
    )
    parser.add_argument("--port", type=int, default=8686, help="default: %(default)s")
    parser.add_argument("--structures", type=int, default=Size().structures, help="default: %(default)s")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds that every answer takes; default: none")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
