"""An OpenMetadata server for tests, made from its documentation and its OpenAPI description (version 1.13).

    with start(Size(tables=200)) as server:
        requests.get(f"{server.api_url}/v1/tables", headers={"Authorization": f"Bearer {server.token}"})
        server.update("tables", table_id, description="changed")
        assert delivered == list(server.truth("tables", "owners,tags"))

It is stricter than the real server, so that a wrong client is noticed: a query parameter that the OpenAPI description
does not have for the path is refused with status 400 (the real server ignores it), and `fields=*` is too. Where the
description has more than this server can do, the answer is status 501 and never a wrong or an empty list.

Collections are named by their path: "tables", "dashboard/datamodels", "services/databaseServices". The same size and
seed make the same data. Only names and ids are held; an entity is made when it is served, unless it was changed.
Run alone: python -m tests.sources.openmetadata_server --port 8585 --tables 200
"""

import argparse
import base64
import hashlib
import json
import random
import threading
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from .http_thread import Handler, HttpThread, Request, serving
from .openmetadata_api import Endpoint, Refusal, bad_request, endpoint, fields_of, not_found

Entity = dict[str, Any]
Version = tuple[int, str, float]  # updatedAt, id, version: in the order of the history, read backwards

START = 1_767_225_600_000  # what the clock shows at first: 2026-01-01, in milliseconds since 1970
HOUR = 3_600_000
DAY = 24 * HOUR
EVENTS_ARE_KEPT = 7 * DAY
RESULTS = "dataQuality/testCases/testCaseResults"
# A server behind a proxy names itself otherwise than its clients do; so `href` is the same in every run.
HREF = "http://openmetadata.example/api/v1"


@dataclass(frozen=True)
class Size:
    """How many there are of each kind; `services` is for each kind of service, `columns` for each table.

    A kind has none if the kind that contains it has none. `results` is for each test case. A table has at most
    `lineage_edges_per_table` edges to other tables, and every fifth one more to a dashboard.
    """

    services: int = 2
    databases: int = 2
    schemas: int = 4
    tables: int = 25
    columns: int = 8
    stored_procedures: int = 3
    dashboards: int = 12
    charts: int = 15
    data_models: int = 3
    pipelines: int = 4
    topics: int = 4
    containers: int = 4
    search_indexes: int = 3
    ml_models: int = 2
    api_collections: int = 2
    api_endpoints: int = 4
    glossaries: int = 2
    glossary_terms: int = 12
    classifications: int = 2
    tags: int = 12
    users: int = 15
    teams: int = 4
    roles: int = 3
    domains: int = 3
    data_products: int = 3
    test_suites: int = 5
    test_cases: int = 12
    test_definitions: int = 4
    results: int = 3
    metrics: int = 3
    queries: int = 6
    lineage_edges_per_table: int = 2


@dataclass(frozen=True)
class Kind:
    """A kind of entity.

    type      what references and events call it
    count     the attribute of Size
    parent    the collection that contains it
    field     the field in which what it contains refers to it
    refers    whether it refers to all that contains it
    leaf      whether some are deleted from the start
    """

    type: str
    count: str
    parent: str = ""
    field: str = ""
    refers: bool = True
    leaf: bool = False


_DATABASE_SERVICES = "services/databaseServices"
_DASHBOARD_SERVICES = "services/dashboardServices"
_TEST_CASES = "dataQuality/testCases"
_TEST_SUITES = "dataQuality/testSuites"
_TEST_DEFINITIONS = "dataQuality/testDefinitions"

# In an order in which what contains comes before what is contained.
KINDS: Mapping[str, Kind] = {
    _DATABASE_SERVICES: Kind("databaseService", "services", field="service"),
    _DASHBOARD_SERVICES: Kind("dashboardService", "services", field="service"),
    "services/messagingServices": Kind("messagingService", "services", field="service"),
    "services/pipelineServices": Kind("pipelineService", "services", field="service"),
    "services/storageServices": Kind("storageService", "services", field="service"),
    "services/mlmodelServices": Kind("mlmodelService", "services", field="service"),
    "services/searchServices": Kind("searchService", "services", field="service"),
    "services/apiServices": Kind("apiService", "services", field="service"),
    "databases": Kind("database", "databases", _DATABASE_SERVICES, "database"),
    "databaseSchemas": Kind("databaseSchema", "schemas", "databases", "databaseSchema"),
    "tables": Kind("table", "tables", "databaseSchemas", leaf=True),
    "storedProcedures": Kind("storedProcedure", "stored_procedures", "databaseSchemas"),
    "dashboards": Kind("dashboard", "dashboards", _DASHBOARD_SERVICES, leaf=True),
    "charts": Kind("chart", "charts", _DASHBOARD_SERVICES, leaf=True),
    "dashboard/datamodels": Kind("dashboardDataModel", "data_models", _DASHBOARD_SERVICES),
    "pipelines": Kind("pipeline", "pipelines", "services/pipelineServices", leaf=True),
    "topics": Kind("topic", "topics", "services/messagingServices", leaf=True),
    "containers": Kind("container", "containers", "services/storageServices"),
    "searchIndexes": Kind("searchIndex", "search_indexes", "services/searchServices"),
    "mlmodels": Kind("mlmodel", "ml_models", "services/mlmodelServices"),
    "apiCollections": Kind("apiCollection", "api_collections", "services/apiServices", "apiCollection"),
    "apiEndpoints": Kind("apiEndpoint", "api_endpoints", "apiCollections"),
    "glossaries": Kind("glossary", "glossaries", field="glossary"),
    "glossaryTerms": Kind("glossaryTerm", "glossary_terms", "glossaries", leaf=True),
    "classifications": Kind("classification", "classifications", field="classification"),
    "tags": Kind("tag", "tags", "classifications"),
    "users": Kind("user", "users", leaf=True),
    "teams": Kind("team", "teams"),
    "roles": Kind("role", "roles"),
    "domains": Kind("domain", "domains"),
    "dataProducts": Kind("dataProduct", "data_products"),
    _TEST_DEFINITIONS: Kind("testDefinition", "test_definitions"),
    _TEST_SUITES: Kind("testSuite", "test_suites", "tables", refers=False),
    _TEST_CASES: Kind("testCase", "test_cases", "tables", refers=False),
    "metrics": Kind("metric", "metrics"),
    "queries": Kind("query", "queries", _DATABASE_SERVICES),
}
_COLLECTIONS = {kind.type: collection for collection, kind in KINDS.items()}
_SERVICE_TYPES = {
    "databaseService": ("Snowflake", "Postgres", "BigQuery"),
    "dashboardService": ("Superset", "Tableau"),
    "messagingService": ("Kafka", "Kinesis"),
    "pipelineService": ("Airflow", "Dagster"),
    "storageService": ("S3", "GCS"),
    "mlmodelService": ("Mlflow", "SageMaker"),
    "searchService": ("ElasticSearch", "OpenSearch"),
    "apiService": ("Rest",),
}
_COLUMN_TYPES = ("BIGINT", "VARCHAR", "TIMESTAMP", "DECIMAL", "BOOLEAN", "DOUBLE", "STRUCT", "ARRAY", "JSON")
_DESCRIBED = {"glossary", "glossaryTerm", "classification", "tag", "domain", "dataProduct"}
# Kept as relationships beside an entity's stored JSON, and so not in its history; so are all other references.
_NOT_STORED = {
    "href",
    "owners",
    "tags",
    "domains",
    "dataProducts",
    "followers",
    "reviewers",
    "experts",
    "usageSummary",
    "votes",
}
# The filters of lists that name what contains an entity, by fullyQualifiedName (by id for a glossary).
_CONTAINER_FILTERS = {"service", "database", "databaseSchema", "apiCollection", "glossary"}
_INCIDENTS = "/dataQuality/testCases/testCaseIncidentStatus"
# What these paths answer is made of the entities, yet not by this server.
_NOT_SERVED = ("/audit", "/columns", "/lineage", "/permissions", "/rdf", "/search", "/usage")


@dataclass(slots=True, eq=False)
class Row:
    """What is held of an entity: `index` makes the rest of it, `parent` contains it; `deleted` is as of now."""

    id: str
    collection: str
    index: int
    name: str
    fqn: str
    parent: "Row | None"
    deleted: bool = False


class Catalog:
    """The entities, their versions and events, and the lineage; and what tests change in them.

    `now` is the clock in milliseconds since 1970. It stands still until it is set or advanced, except that each
    change takes a millisecond. `lock` is held while something is read or changed.
    """

    def __init__(self, size: Size, seed: int) -> None:
        self.size = size
        self.seed = seed
        self.now = START
        self.lock = threading.RLock()
        self._rows: dict[str, Row] = {}
        self._first: dict[str, list[Row]] = {}  # of a collection, as they were made: references count in these
        self._made: dict[str, int] = {}
        self._children: dict[str, list[Row]] = defaultdict(list)
        self._keys: dict[str, dict[str, list[tuple[str, str]]]] = {}
        self._changed: dict[str, Entity] = {}
        self._snapshots: dict[tuple[str, float], Entity] = {}
        self._event_types: dict[tuple[str, float], str | None] = {}
        self._versions: dict[str, list[Version]] = {}
        self._events_of_removed: list[Entity] = []
        self._lineage: dict[str, dict[str, Entity | None]] = defaultdict(dict)
        self._upstream: dict[str, set[str]] = defaultdict(set)
        self._added_results: list[Entity] = []
        self._results_are: _Results | None = None  # till a test case or a result comes or goes
        for collection in KINDS:
            self._fill(collection)
        self._connect()

    # What tests ask

    def ids(self, collection: str, include: str = "all") -> list[str]:
        """The ids in the order of the list: by name, then id."""
        with self.lock:
            return [id for _, id in self._keys[collection][include]]

    def truth(self, collection: str, fields: str = "") -> Iterator[Entity]:
        """All entities, the deleted ones too, as the list delivers them with these `fields` (separated by commas).

        RESULTS is a collection here too.
        """
        asked = frozenset(filter(None, fields.split(",")))
        if collection == RESULTS:
            for index in range(len(self._results())):
                with self.lock:
                    entity = self._result(index, asked)
                yield entity
            return
        for id in self.ids(collection):
            with self.lock:
                entity = self._delivered(self._rows[id], asked)
            yield entity  # without the lock: the caller may ask the server before it goes on

    def lineage_truth(self) -> Iterator[Entity]:
        """All edges."""
        for source, targets in list(self._lineage.items()):
            for target in list(targets):
                yield self._edge(source, target)

    def reference(self, id: str) -> Entity:
        """The reference to an entity, as `owners` and the like take it."""
        row = self._rows[id]
        return {
            "id": id,
            "type": KINDS[row.collection].type,
            "name": row.name,
            "fullyQualifiedName": row.fqn,
            "deleted": row.deleted,
            "href": f"{HREF}/{row.collection}/{id}",
        }

    # What tests change

    def advance(self, seconds: float) -> None:
        """Sets the clock forward."""
        with self.lock:
            self.now += round(seconds * 1000)

    def add(self, collection: str, name: str | None = None, parent: str | None = None, **values: Any) -> Entity:
        """Adds an entity below `parent` (an id), with made up values for what is not given. Returns it.

        Raises ValueError if the collection's entities need a parent and there is none.
        """
        with self.lock:
            containers = [self._rows[parent]] if parent else self._containers(collection)
            if KINDS[collection].parent and not containers:
                raise ValueError(f"nothing is there that could contain one of {collection}")
            index = self._made[collection]
            row = self._add_row(collection, index, containers[index % len(containers)] if containers else None, name)
            entity = {**self._generated(row), "version": 0.1, "updatedAt": self.now, **values}
            entity.pop("changeDescription", None)
            self._keep(row, entity, "entityCreated")
            return entity

    def update(self, collection: str, id: str, **changes: Any) -> Entity:
        """Sets fields, or removes those that are None; name and place stay. Returns the entity, all fields.

        Raises KeyError for an unknown id, ValueError for what cannot be changed this way.
        """
        fixed = changes.keys() & {"id", "name", "fullyQualifiedName", "version", "updatedAt", "deleted"}
        if fixed:
            raise ValueError(f"update() does not change {', '.join(sorted(fixed))}")
        with self.lock:
            row = self._row(collection, id)
            before = self._current(row)
            after = {name: value for name, value in {**before, **changes}.items() if value is not None}
            return self._save(row, before, after, "entityUpdated")

    def drop_column(self, table_id: str, name: str) -> Entity:
        """Removes a column, which is a new major version. Raises KeyError if there is none of that name."""
        with self.lock:
            row = self._row("tables", table_id)
            before = self._current(row)
            dropped = [column for column in before["columns"] if column["name"] == name]
            if not dropped:
                raise KeyError(f"table {row.fqn} has no column {name}")
            after = {**before, "columns": [column for column in before["columns"] if column["name"] != name]}
            change = {"fieldsUpdated": [], "fieldsDeleted": [{"name": "columns", "oldValue": json.dumps(dropped)}]}
            return self._save(row, before, after, "entityUpdated", change, major=True)

    def soft_delete(self, collection: str, id: str) -> None:
        """Marks an entity and all it contains as deleted; there is one event, for the entity itself."""
        self._mark(self._row(collection, id), deleted=True, event="entitySoftDeleted")

    def restore(self, collection: str, id: str) -> None:
        """Takes soft_delete back."""
        self._mark(self._row(collection, id), deleted=False, event="entityRestored")

    def hard_delete(self, collection: str, id: str, recursive: bool = True) -> None:
        """Removes an entity, all it contains, their history and lineage; there is one event, for the entity itself.

        Raises ValueError if it contains something and the delete is not recursive.
        """
        with self.lock:
            root = self._row(collection, id)
            if self._children[id] and not recursive:
                raise ValueError(f"{KINDS[collection].type} {root.fqn} is not empty")
            removed = {row.id: row for row in self._contents(root)}
            self._events_of_removed += [event for event in self._kept_events() if event["entityId"] in removed]
            self._events_of_removed.append(self._event(root, self._current(root), "entityDeleted", self.now))
            if root.parent:
                self._children[root.parent.id].remove(root)
            for row in removed.values():
                self._remove(row)
            for name in {row.collection for row in removed.values()} & self._versions.keys():
                self._versions[name] = [version for version in self._versions[name] if version[1] not in removed]
            self.now += 1

    def add_lineage(self, source: str, target: str, **details: Any) -> None:
        """Adds the edge between two ids, or replaces its details."""
        with self.lock:
            stamps = {"createdAt": self.now, "createdBy": "admin", "updatedAt": self.now, "updatedBy": "admin"}
            self._lineage[self._rows[source].id][self._rows[target].id] = {"source": "Manual", **stamps, **details}
            self._upstream[target].add(source)
            self.now += 1

    def remove_lineage(self, source: str, target: str) -> None:
        """Removes the edge between two ids. Raises KeyError if there is none."""
        with self.lock:
            del self._lineage[source][target]
            self._upstream[target].discard(source)
            self.now += 1

    def add_result(self, test_case_id: str, status: str = "Success") -> Entity:
        """Adds a result of a test case, as of now. Returns it."""
        with self.lock:
            case = self._row(_TEST_CASES, test_case_id)
            result = self._made_result(case, f"added {len(self._added_results)}", self.now)
            result["testCaseStatus"] = status
            self._added_results.insert(0, result)
            self._results_are = None
            self.now += 1
            return result

    # Rows

    def _fill(self, collection: str) -> None:
        """Makes the rows of a collection whose containers are there already."""
        kind = KINDS[collection]
        self._first[collection] = []
        self._made[collection] = 0
        self._keys[collection] = {"all": [], "non-deleted": [], "deleted": []}
        count = getattr(self.size, kind.count)
        if kind.parent:
            count = count if self._first[kind.parent] else 0
        if collection == _TEST_SUITES:
            count = min(count, len(self._first["tables"]))  # a basic suite is of one table
        containers = self._containers(collection)
        for index in range(count):
            parent = containers[index % len(containers)] if containers else None
            self._first[collection].append(self._add_row(collection, index, parent))

    def _containers(self, collection: str) -> list[Row]:
        """What contains the entities of a collection, in turn."""
        containers = [row for row in self._first.get(KINDS[collection].parent, []) if row.id in self._rows]
        return containers[: self.size.test_suites] or containers if collection == _TEST_CASES else containers

    def _add_row(self, collection: str, index: int, parent: Row | None, name: str | None = None) -> Row:
        kind = KINDS[collection]
        digest = hashlib.blake2b(f"{self.seed}/{collection}/{index}".encode(), digest_size=16).digest()
        name = name or self._name(collection, index, parent)
        fqn = ".".join([parent.fqn] * bool(parent) + [_quoted(name)]) if parent else _quoted(name)
        if collection == _TEST_SUITES and parent:
            fqn = name
        row = Row(str(UUID(bytes=digest, version=4)), collection, index, name, fqn, parent)
        row.deleted = index < getattr(self.size, kind.count) and self._was_deleted(row)
        self._made[collection] += 1
        self._rows[row.id] = row
        if parent:
            self._children[parent.id].append(row)
        self._list(row)
        return row

    def _name(self, collection: str, index: int, parent: Row | None) -> str:
        """Up to three in different containers have the same name; some have what must be quoted or escaped."""
        if collection == _TEST_SUITES and parent:
            return f"{parent.fqn}.testSuite"
        alike = min(3, len(self._first[parent.collection])) if parent else 1
        number = index // alike
        word = KINDS[collection].type
        unusual = {
            3: f"{word}.v{number}",
            5: f'{word} "{number}"',
            7: f"größe_表_{word}_{number}",
            9: f"{word}/{number}+a&b%20",
            11: f"{word.upper()}_{number}",
        }
        return unusual.get(number % 13, f"{word}_{number:05d}")

    def _was_deleted(self, row: Row) -> bool:
        """Whether an entity that was there from the start was marked as deleted then."""
        contained = row.parent is not None and self._was_deleted(row.parent)
        return contained or (KINDS[row.collection].leaf and _number(row.id, "deleted") % 12 == 0)

    def _row(self, collection: str, id: str) -> Row:
        """Raises KeyError for an id that the collection does not have."""
        row = self._rows[id]
        if row.collection != collection:
            raise KeyError(f"{id} is not in {collection}")
        return row

    def _list(self, row: Row) -> None:
        """Enters a row in the lists of its collection."""
        lists = self._keys[row.collection]
        insort(lists["all"], (row.name, row.id))
        insort(lists["deleted" if row.deleted else "non-deleted"], (row.name, row.id))
        if row.collection == _TEST_CASES:
            self._results_are = None

    def _unlist(self, row: Row) -> None:
        lists = self._keys[row.collection]
        for keys in (lists["all"], lists["deleted" if row.deleted else "non-deleted"]):
            del keys[bisect_left(keys, (row.name, row.id))]
        if row.collection == _TEST_CASES:
            self._results_are = None

    def _contents(self, row: Row) -> list[Row]:
        """The row and all that it contains."""
        return [row, *(inner for child in self._children[row.id] for inner in self._contents(child))]

    def _remove(self, row: Row) -> None:
        self._unlist(row)
        del self._rows[row.id]
        self._children.pop(row.id, None)
        self._changed.pop(row.id, None)
        for target in self._lineage.pop(row.id, {}):
            self._upstream[target].discard(row.id)
        for source in self._upstream.pop(row.id, set()):
            del self._lineage[source][row.id]
        self._added_results = [result for result in self._added_results if result["testCase"]["id"] != row.id]

    def _mark(self, root: Row, deleted: bool, event: str) -> None:
        with self.lock:
            for row in self._contents(root):
                if row.deleted != deleted:
                    before = self._current(row)
                    self._unlist(row)
                    row.deleted = deleted
                    self._list(row)
                    self._save(row, before, {**before, "deleted": deleted}, event if row is root else None)

    # Versions

    def _save(
        self,
        row: Row,
        before: Entity,
        after: Entity,
        event: str | None,
        change: Mapping[str, Any] | None = None,
        major: bool = False,
    ) -> Entity:
        """Keeps a new version of an entity and lets a millisecond pass; without `event` nobody is told."""
        after["version"] = round(before["version"] + (1.0 if major else 0.1), 1)
        after["updatedAt"] = self.now
        after["updatedBy"] = "admin"
        after["changeDescription"] = {
            **_difference(before, after),
            **(change or {}),
            "previousVersion": before["version"],
        }
        self._keep(row, after, event)
        return after

    def _keep(self, row: Row, entity: Entity, event: str | None) -> None:
        key = (row.id, entity["version"])
        if row.collection in self._versions:
            insort(self._versions[row.collection], (entity["updatedAt"], *key))
        self._changed[row.id] = entity
        self._snapshots[key] = entity
        self._event_types[key] = event
        self.now += 1

    def _is_first(self, row: Row) -> bool:
        """Whether an entity was there from the start."""
        return row.index < len(self._first[row.collection])

    def _first_versions(self, row: Row) -> list[Version]:
        """The versions that an entity has from the start, the newest last; none of those that were added."""
        if not self._is_first(row):
            return []
        last = START - _number(row.id, "updated") % (365 * DAY)
        numbers = [[0.1], [0.1, 0.2], [0.1, 1.1, 1.2], [0.1, 0.2]][_number(row.id, "versions") % 4]
        if self._was_deleted(row):
            numbers = [0.1, 0.2]  # what is deleted was there before
        return [(last - HOUR * back, row.id, number) for back, number in enumerate(reversed(numbers))][::-1]

    def _history(self, collection: str) -> list[Version]:
        """All versions of a collection, the oldest first."""
        if collection not in self._versions:
            rows = [self._rows[id] for _, id in self._keys[collection]["all"]]
            versions = [version for row in rows for version in self._first_versions(row)]
            kept = [(entity["updatedAt"], *key) for key, entity in self._snapshots.items()]
            versions += [
                version for version in kept if version[1] in self._rows and self._is_in(version[1], collection)
            ]
            self._versions[collection] = sorted(versions)
        return self._versions[collection]

    def _is_in(self, id: str, collection: str) -> bool:
        return self._rows[id].collection == collection

    def _version(self, id: str, number: float) -> Entity:
        """An entity as it was, all fields."""
        if (id, number) in self._snapshots:
            return self._snapshots[id, number]
        row = self._rows[id]
        versions = self._first_versions(row)
        entity = self._generated(row)
        place = [version for _, _, version in versions].index(number)
        if place == len(versions) - 1:
            return entity
        del entity["changeDescription"]
        return entity | {
            "version": number,
            "updatedAt": versions[place][0],
            "deleted": False,
            **_described(place, versions),
        }

    # Events

    def _all_events(self) -> Iterator[Entity]:
        """The events of the last seven days, in no order."""
        oldest = self.now - EVENTS_ARE_KEPT
        yield from (event for event in self._events_of_removed if event["timestamp"] >= oldest)
        yield from self._kept_events()

    def _kept_events(self) -> Iterator[Entity]:
        """Those of them that are about entities that are there."""
        for collection in KINDS:
            versions = self._history(collection)
            for _, id, number in versions[bisect_left(versions, (self.now - EVENTS_ARE_KEPT,)) :]:
                yield from self._events_of_version(self._rows[id], number)

    def _events_of_version(self, row: Row, number: float) -> Iterator[Entity]:
        """One event, or none for what was deleted or restored together with its container."""
        entity = self._version(row.id, number)
        usual = "entityUpdated" if "changeDescription" in entity else "entityCreated"
        if entity["deleted"]:
            usual = "" if row.parent and self._was_deleted(row.parent) else "entitySoftDeleted"
        event_type = self._event_types.get((row.id, number), usual)
        if event_type:
            yield self._event(row, entity, event_type, entity["updatedAt"])

    def _event(self, row: Row, entity: Entity, event_type: str, timestamp: int) -> Entity:
        event = {
            "id": str(UUID(int=_number(row.id, event_type, timestamp) << 64, version=4)),
            "eventType": event_type,
            "entityType": KINDS[row.collection].type,
            "entityId": row.id,
            "entityFullyQualifiedName": row.fqn,
            "currentVersion": entity["version"],
            "userName": entity["updatedBy"],
            "timestamp": timestamp,
            "entity": json.dumps(_stored(entity), ensure_ascii=False),
        }
        if "changeDescription" in entity:
            event["changeDescription"] = entity["changeDescription"]
            event["previousVersion"] = entity["changeDescription"]["previousVersion"]
        return event

    # Entities

    def _current(self, row: Row) -> Entity:
        """An entity as it is, all fields."""
        return self._changed.get(row.id) or self._generated(row)

    def _delivered(self, row: Row, asked: frozenset[str]) -> Entity:
        """An entity with the fields that are always there and those asked for; references are brought up to date."""
        optional = fields_of(f"/{row.collection}").optional - asked
        entity = {name: value for name, value in self._current(row).items() if name not in optional}
        if "tags" not in asked and "columns" in entity:
            entity["columns"] = _without_tags(entity["columns"])
        for name, value in list(entity.items()):
            if _is_reference(value):
                if value["id"] not in self._rows:
                    del entity[name]
                else:
                    entity[name] = self.reference(value["id"])
            elif isinstance(value, list) and value and _is_reference(value[0]):
                entity[name] = [self.reference(each["id"]) for each in value if each["id"] in self._rows]
        return entity

    def _generated(self, row: Row) -> Entity:
        """An entity as it was made, all fields. The same row makes the same entity."""
        kind = KINDS[row.collection]
        draw = random.Random(row.id)
        versions = self._first_versions(row) or [(self.now, row.id, 0.1)]
        entity: Entity = {
            "id": row.id,
            "name": row.name,
            "fullyQualifiedName": row.fqn,
            "version": versions[-1][2],
            "updatedAt": versions[-1][0],
            "updatedBy": draw.choice(["admin", "ingestion-bot", "jane.smith"]),
            "href": f"{HREF}/{row.collection}/{row.id}",
            "deleted": self._is_first(row) and self._was_deleted(row),
            **_described(len(versions) - 1, versions),
        }
        if draw.random() < 0.6:
            entity["displayName"] = f"{kind.type} {row.index}, größer"
        if kind.type in _DESCRIBED:
            entity.setdefault("description", f"About {row.name}")
        if kind.refers:
            self._refer_to_containers(row, entity)
        entity.update(_OWN.get(row.collection, _service_fields)(self, row, draw))
        self._relate(row, entity, draw)
        return entity

    def _refer_to_containers(self, row: Row, entity: Entity) -> None:
        container = row.parent
        while container:
            kind = KINDS[container.collection]
            entity[kind.field] = self.reference(container.id)
            if kind.field == "service" and row.collection != "queries":
                entity["serviceType"] = _service_type(container)
            container = container.parent

    def _relate(self, row: Row, entity: Entity, draw: random.Random) -> None:
        """Adds those of the common optional fields that the kind has and that are not there yet."""
        made: dict[str, Callable[[], Any]] = {
            "owners": lambda: self._some("users", draw) + self._some("teams", draw),
            "followers": lambda: self._some("users", draw),
            "reviewers": lambda: self._some("users", draw),
            "experts": lambda: self._some("users", draw),
            "domains": lambda: self._some("domains", draw),
            "dataProducts": lambda: self._some("dataProducts", draw),
            "tags": lambda: self._labels(draw.randrange(10**6)),
            "extension": lambda: {"costCenter": f"K-{draw.randrange(100)}", "größe": draw.randrange(100) / 10},
            "usageSummary": lambda: {"dailyStats": {"count": draw.randrange(100)}, "date": "2025-12-31"},
            "votes": lambda: {"upVotes": draw.randrange(5), "downVotes": 0, "upVoters": [], "downVoters": []},
            "sourceHash": lambda: f"{draw.getrandbits(64):016x}",
        }
        optional = fields_of(f"/{row.collection}").optional
        for name, make in made.items():
            if name in optional and name not in entity:
                entity[name] = make()

    def _some(self, collection: str, draw: random.Random) -> list[Entity]:
        """References to none, one or two different ones."""
        rows = self._first[collection]
        chosen = draw.sample(rows, min(len(rows), draw.randrange(3)))
        return [self.reference(row.id) for row in chosen if row.id in self._rows]

    def _labels(self, number: int) -> list[Entity]:
        """The labels of what is tagged: none, or one tag."""
        tags = self._first["tags"]
        if not tags or number % 3:
            return []
        tag = tags[number % len(tags)]
        common = {"source": "Classification", "labelType": "Manual", "state": "Confirmed"}
        return [{"tagFQN": tag.fqn, "name": tag.name, **common}]

    def _one(self, collection: str, index: int) -> list[Entity]:
        """The reference to the entity of this index, counted round and round."""
        rows = self._first[collection]
        row = rows[index % len(rows)] if rows else None
        return [self.reference(row.id)] if row and row.id in self._rows else []

    def _each(self, collection: str, among: str, index: int) -> list[Entity]:
        """The references to those that `_one` leads from to the entity of this index in `among`."""
        rows = self._first[collection][index :: max(1, len(self._first[among]))]
        return [self.reference(row.id) for row in rows if row.id in self._rows]

    def _inside(self, row: Row, collection: str) -> list[Entity]:
        """The references to what the row contains of a collection."""
        return [self.reference(child.id) for child in self._children[row.id] if child.collection == collection]

    def _columns(self, fqn: str, count: int, number: int) -> list[Entity]:
        """Columns below `fqn`: each seventh is a STRUCT with children, some have no description, some have tags."""
        columns = []
        for place in range(count):
            name = _column_name(place)
            data_type = _COLUMN_TYPES[place % len(_COLUMN_TYPES)]
            column: Entity = {
                "name": name,
                "dataType": data_type,
                "dataTypeDisplay": data_type.lower(),
                "fullyQualifiedName": f"{fqn}.{_quoted(name)}",
                "tags": self._labels(number + place),
                "ordinalPosition": place + 1,
            }
            if place % 3 == 0:
                column["description"] = f"Column {place}: größe in m²"
            if data_type == "VARCHAR":
                column["dataLength"] = 100
            elif data_type == "DECIMAL":
                column |= {"precision": 38, "scale": 9}
            elif data_type == "ARRAY":
                column["arrayDataType"] = "STRUCT"
            if data_type == "STRUCT":
                column["children"] = self._children_of_column(column["fullyQualifiedName"], number)
            columns.append(column)
        return columns

    def _children_of_column(self, fqn: str, number: int) -> list[Entity]:
        leaf = {"name": "city", "dataType": "STRING", "fullyQualifiedName": f"{fqn}.address.city", "tags": []}
        address = {"name": "address", "dataType": "STRUCT", "fullyQualifiedName": f"{fqn}.address", "tags": []}
        first = {"name": "a.b", "dataType": "INT", "fullyQualifiedName": f'{fqn}."a.b"', "tags": self._labels(number)}
        return [first, {**address, "children": [leaf]}]

    # Lineage

    def _connect(self) -> None:
        """Makes the edges: from a table to some of those after it, and from each fifth one to a dashboard."""
        tables, dashboards = self._first["tables"], self._first["dashboards"]
        for row in tables:
            after = range(row.index + 1, len(tables), 7)[: self.size.lineage_edges_per_table]
            targets = [tables[index] for index in after]
            if dashboards and row.index % 5 == 0:
                targets.append(dashboards[row.index // 5 % len(dashboards)])
            for target in targets:
                self._lineage[row.id][target.id] = None
                self._upstream[target.id].add(row.id)

    def _edge(self, source: str, target: str) -> Entity:
        details = self._lineage[source][target]
        if details is None:
            details = self._made_details(self._rows[source], self._rows[target])
        return {"fromEntity": source, "toEntity": target, "description": None, "lineageDetails": details}

    def _made_details(self, source: Row, target: Row) -> Entity:
        number = _number(source.id, target.id)
        if number % 4 == 0:
            return {"source": "Manual"}
        stamp = START - number % (30 * DAY)
        details: Entity = {
            "sqlQuery": f"INSERT INTO {target.fqn} SELECT * FROM {source.fqn}",
            "source": "QueryLineage",
            "createdAt": stamp,
            "createdBy": "ingestion-bot",
            "updatedAt": stamp,
            "updatedBy": "ingestion-bot",
        }
        if self.size.columns and target.collection == "tables":
            name = _quoted(_column_name(0))
            columns = {"fromColumns": [f"{source.fqn}.{name}"], "toColumn": f"{target.fqn}.{name}", "function": None}
            details["columnsLineage"] = [columns]
        pipelines = self._one("pipelines", number)
        if pipelines and number % 4 == 1:
            details["pipeline"] = pipelines[0]
        return details

    def _edges(self, id: str, depth: int, neighbours: Callable[[str], Iterable[str]]) -> list[tuple[str, str]]:
        """The steps (from here, to there) that lead away from an entity, each once, to at most this depth."""
        steps: list[tuple[str, str]] = []
        reached, near = {id}, [id]
        for _ in range(depth):
            fresh = [(here, there) for here in near for there in sorted(neighbours(here))]
            steps += fresh
            near = list(dict.fromkeys(there for _, there in fresh if there not in reached))
            reached.update(near)
        return steps

    # Results of test cases

    def _results(self) -> "_Results":
        """Where the results of the test cases are that are not deleted."""
        if self._results_are is None:
            rows = [self._rows[id] for _, id in self._keys[_TEST_CASES]["non-deleted"]]
            added = [result for result in self._added_results if not self._rows[result["testCase"]["id"]].deleted]
            self._results_are = _Results(added, rows, self.size.results)
        return self._results_are

    def _result(self, index: int, asked: frozenset[str]) -> Entity:
        """The result at this place, the newest first, with `testCase` and `testDefinition` if asked for."""
        results = self._results()
        if index < len(results.added):
            result = results.added[index]
        else:
            case, which = results.made(index)
            result = self._made_result(case, which, -results[index])
        optional = {"testCase", "testDefinition"} - asked
        return {name: value for name, value in result.items() if name not in optional}

    def _made_result(self, case: Row, which: str, timestamp: int) -> Entity:
        number = _number(case.id, which)
        failed = number % 7 == 0
        result: Entity = {
            "id": str(UUID(int=number << 64, version=4)),
            "testCaseFQN": case.fqn,
            "timestamp": timestamp,
            "testCaseStatus": "Failed" if failed else "Success",
            "result": f"Found {number % 100} rows",
            "testResultValue": [{"name": "rowCount", "value": str(number % 100)}],
            "testCase": self.reference(case.id),
        }
        if failed:
            result |= {"failedRows": number % 100, "failedRowsPercentage": number % 1000 / 10}
        definitions = self._one(_TEST_DEFINITIONS, case.index)
        return result | ({"testDefinition": definitions[0]} if definitions else {})


class _Results(Sequence[int]):
    """The negated times of all results, the newest result first: those added, each case's newest, each one's next."""

    def __init__(self, added: list[Entity], cases: list[Row], results: int) -> None:
        self.added = added
        self._cases = sorted((_number(row.id, "result") % DAY, row.id, row) for row in cases)
        self._length = len(added) + len(cases) * results

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: Any) -> Any:
        if index < len(self.added):
            return -self.added[index]["timestamp"]
        back, place = divmod(index - len(self.added), len(self._cases))
        return self._cases[place][0] + back * DAY - START

    def made(self, index: int) -> tuple[Row, str]:
        """The test case of a result that was not added, and which of its results it is."""
        back, place = divmod(index - len(self.added), len(self._cases))
        return self._cases[place][2], str(back)


# The fields that a kind has of its own


def _service_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    service_type = _service_type(row)
    return {"serviceType": service_type, "connection": {"config": {"type": service_type, "hostPort": "db:5432"}}}


def _database_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {"default": False, "databaseSchemas": catalog._inside(row, "databaseSchemas")}


def _schema_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {"tables": catalog._inside(row, "tables")}


def _table_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    suites = catalog._inside(row, _TEST_SUITES)
    is_view = draw.random() < 0.1
    return {
        "tableType": "View" if is_view else "Regular",
        "columns": catalog._columns(row.fqn, catalog.size.columns, draw.randrange(10**6)),
        "tableConstraints": [{"constraintType": "PRIMARY_KEY", "columns": [_column_name(0)]}],
        "schemaDefinition": f"CREATE {'VIEW' if is_view else 'TABLE'} {row.fqn}",
        "sourceUrl": f"https://warehouse.example/{row.index}",
        **({"testSuite": suites[0]} if suites else {}),
    }


def _procedure_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {"storedProcedureCode": {"language": "SQL", "code": "BEGIN\n  SELECT 'it''s';\nEND"}}


def _dashboard_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "dashboardType": "Dashboard",
        "sourceUrl": f"https://bi.example/dashboards/{row.index}",
        "charts": catalog._each("charts", "dashboards", row.index),
        "dataModels": catalog._each("dashboard/datamodels", "dashboards", row.index),
    }


def _chart_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "chartType": draw.choice(["Line", "Bar", "Pie"]),
        "sourceUrl": f"https://bi.example/charts/{row.index}",
        "dashboards": catalog._one("dashboards", row.index),
    }


def _data_model_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "dataModelType": "SupersetDataModel",
        "columns": catalog._columns(row.fqn, catalog.size.columns, draw.randrange(10**6)),
        "sql": "SELECT 1",
    }


def _pipeline_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    status = {"timestamp": START - DAY, "executionStatus": "Successful", "taskStatus": []}
    return {
        "sourceUrl": f"https://pipelines.example/{row.index}",
        "tasks": [{"name": f"task_{number}", "fullyQualifiedName": f"{row.fqn}.task_{number}"} for number in range(3)],
        "scheduleInterval": "0 3 * * *",
        "pipelineStatus": status,
    }


def _topic_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    fields = [{"name": "id", "dataType": "LONG", "fullyQualifiedName": f"{row.fqn}.id", "tags": []}]
    return {
        "partitions": draw.randrange(1, 64),
        "retentionTime": 604_800_000.0,
        "replicationFactor": 3,
        "messageSchema": {"schemaType": "Avro", "schemaText": '{"type":"record"}', "schemaFields": fields},
    }


def _container_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    columns = catalog._columns(row.fqn, 2, draw.randrange(10**6))
    return {
        "prefix": f"/data/{row.index}",
        "fullPath": f"s3://bucket/data/{row.index}",
        "numberOfObjects": float(draw.randrange(10**6)),
        "size": float(draw.randrange(10**15)),
        "fileFormats": ["parquet"],
        "dataModel": {"isPartitioned": False, "columns": columns},
    }


def _search_index_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    fields = [{"name": "name", "dataType": "TEXT", "fullyQualifiedName": f"{row.fqn}.name", "tags": []}]
    return {"fields": fields, "searchIndexSettings": {"number_of_shards": "1"}}


def _model_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    features = [{"name": "age", "dataType": "numerical", "fullyQualifiedName": f"{row.fqn}.age"}]
    dashboards = catalog._one("dashboards", row.index)
    return {
        "algorithm": "Gradient Boosting",
        "mlFeatures": features,
        "mlHyperParameters": [{"name": "depth", "value": "3"}],
        **({"dashboard": dashboards[0]} if dashboards else {}),
    }


def _api_collection_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {"endpointURL": "https://api.example/docs", "apiEndpoints": catalog._inside(row, "apiEndpoints")}


def _api_endpoint_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    fields = [{"name": "id", "dataType": "INT", "tags": []}]
    return {
        "requestMethod": draw.choice(["GET", "POST"]),
        "endpointURL": f"https://api.example/{row.index}",
        "responseSchema": {"schemaType": "JSON", "schemaFields": fields},
    }


def _glossary_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    terms = len(catalog._inside(row, "glossaryTerms"))
    return {"provider": "user", "mutuallyExclusive": False, "disabled": False, "termCount": terms, "usageCount": 0}


def _term_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "synonyms": ["turnover", "Umsatz"][: draw.randrange(3)],
        "references": [{"name": "wiki", "endpoint": "https://wiki.example/a?b=c&d"}],
        "relatedTerms": catalog._one("glossaryTerms", row.index + 1),
        "mutuallyExclusive": False,
        "disabled": False,
        "entityStatus": draw.choice(["Draft", "Approved"]),
        "children": [],
        "childrenCount": 0,
        "usageCount": draw.randrange(50),
    }


def _classification_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    tags = len(catalog._inside(row, "tags"))
    return {"provider": "user", "mutuallyExclusive": False, "disabled": False, "termCount": tags, "usageCount": 0}


def _tag_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    style = {"color": "#FF0000"}
    flags = {"deprecated": False, "disabled": False, "mutuallyExclusive": False}
    return {"provider": "user", "style": style, "usageCount": draw.randrange(50), "children": [], **flags}


def _user_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    user: Entity = {
        "email": f"user{row.index}@example.com",  # the schema has no user without
        "isAdmin": row.index == 0,
        "isBot": row.index % 5 == 4,
        "teams": catalog._one("teams", row.index),
        "roles": catalog._one("roles", row.index),
        "personas": [],
        "follows": catalog._one("tables", row.index),
        "owns": [],
    }
    if draw.random() < 0.5:
        user["profile"] = {"images": {"image": "https://images.example/größe.png"}}
        user["lastLoginTime"] = START - draw.randrange(30 * DAY)
    return user


def _team_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    users = catalog._each("users", "teams", row.index)
    return {
        "teamType": "Group",
        "isJoinable": draw.random() < 0.5,
        "users": users,
        "userCount": len(users),
        "childrenCount": 0,
        "children": [],
        "parents": [],
        "defaultRoles": catalog._one("roles", row.index),
        "policies": [],
        "owns": [],
    }


def _role_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    users = catalog._each("users", "roles", row.index)
    return {"provider": "user", "users": users, "teams": catalog._each("teams", "roles", row.index), "policies": []}


def _domain_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {"domainType": draw.choice(["Source-aligned", "Aggregate"]), "children": [], "childrenCount": 0}


def _no_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {}


def _case_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    table = row.parent
    assert table is not None  # a test case is of a table
    suites = catalog._inside(table, _TEST_SUITES)
    definitions = catalog._one(_TEST_DEFINITIONS, row.index)
    status = draw.choice(["Success", "Failed"])
    return {
        "entityLink": f"<#E::table::{table.fqn}>",
        "entityFQN": table.fqn,
        "parameterValues": [{"name": "minValue", "value": "1"}, {"name": "maxValue", "value": "1e3"}],
        "testCaseStatus": status,
        "testCaseResult": {"timestamp": START - DAY, "testCaseStatus": status},
        **({"testDefinition": definitions[0]} if definitions else {}),
        **({"testSuite": suites[0], "testSuites": suites} if suites else {}),
    }


def _suite_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    table = row.parent
    assert table is not None  # a basic suite is of a table
    tests = catalog._inside(table, _TEST_CASES)
    summary = {"total": len(tests), "success": len(tests), "failed": 0, "aborted": 0, "queued": 0}
    reference = catalog.reference(table.id)
    return {"basic": True, "basicEntityReference": reference, "tests": tests, "summary": summary, "pipelines": []}


def _definition_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "entityType": draw.choice(["TABLE", "COLUMN"]),
        "testPlatforms": ["OpenMetadata"],
        "supportedDataTypes": ["INT", "BIGINT"],
        "parameterDefinition": [{"name": "minValue", "dataType": "INT", "required": False}],
        "enabled": True,
    }


def _metric_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    expression = {"language": "SQL", "code": "SUM(amount)"}
    related = catalog._one("metrics", row.index + 1)
    return {"metricExpression": expression, "metricType": "SUM", "granularity": "DAY", "relatedMetrics": related}


def _query_fields(catalog: Catalog, row: Row, draw: random.Random) -> Entity:
    return {
        "query": f"SELECT *\nFROM t{row.index} -- größe",
        "duration": draw.randrange(10**6) / 1000,
        "queryDate": START - DAY,
        "users": catalog._one("users", row.index),
        "queryUsedIn": catalog._one("tables", row.index),
    }


_OWN: Mapping[str, Callable[[Catalog, Row, random.Random], Entity]] = {
    "databases": _database_fields,
    "databaseSchemas": _schema_fields,
    "tables": _table_fields,
    "storedProcedures": _procedure_fields,
    "dashboards": _dashboard_fields,
    "charts": _chart_fields,
    "dashboard/datamodels": _data_model_fields,
    "pipelines": _pipeline_fields,
    "topics": _topic_fields,
    "containers": _container_fields,
    "searchIndexes": _search_index_fields,
    "mlmodels": _model_fields,
    "apiCollections": _api_collection_fields,
    "apiEndpoints": _api_endpoint_fields,
    "glossaries": _glossary_fields,
    "glossaryTerms": _term_fields,
    "classifications": _classification_fields,
    "tags": _tag_fields,
    "users": _user_fields,
    "teams": _team_fields,
    "roles": _role_fields,
    "domains": _domain_fields,
    "dataProducts": _no_fields,
    _TEST_CASES: _case_fields,
    _TEST_SUITES: _suite_fields,
    _TEST_DEFINITIONS: _definition_fields,
    "metrics": _metric_fields,
    "queries": _query_fields,
}


class _Handler(Handler):
    """The answers' Date is the server's clock."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        assert isinstance(self.server, OpenMetadataServer)
        return super().date_time_string(self.server.now / 1000)


class OpenMetadataServer(HttpThread, Catalog):
    """Answers as OpenMetadata does. These may be changed at any time:

    latency                 seconds before each answer
    version                 below "1.12" there is no history and no audit log
    unreadable              ids of entities that a list tells among `errors`, in place of delivering them
    exhausted_cursor_fails  status 500 for an `after` behind which nothing is left, as older servers answer
    caps_limit              the most that a page holds, whatever `limit` asks for
    history_empty_pages     each third page of a history is preceded by one without data that still has an `after`
    events_descending       the newest event comes first
    """

    def __init__(
        self,
        size: Size,
        seed: int = 0,
        latency: float = 0.0,
        version: str = "1.13",
        token: str = "openmetadata-token",
        port: int | None = None,
        exhausted_cursor_fails: bool = False,
        caps_limit: int | None = None,
        history_empty_pages: bool = False,
        events_descending: bool = False,
    ) -> None:
        HttpThread.__init__(self, port)
        Catalog.__init__(self, size, seed)
        self.RequestHandlerClass = _Handler
        self.api_url = f"{self.url}/api"
        self.latency = latency
        self.version = version
        self.token = token
        self.unreadable: set[str] = set()
        self.exhausted_cursor_fails = exhausted_cursor_fails
        self.caps_limit = caps_limit
        self.history_empty_pages = history_empty_pages
        self.events_descending = events_descending

    def respond(self, request: Request, handler: Handler) -> None:
        self.stopping.wait(self.latency)
        try:
            with self.lock:
                status, body = 200, self._answer(request)
        except Refusal as refusal:
            status, body = refusal.status, refusal.body
        handler.reply_json(status, body)

    def _answer(self, request: Request) -> Entity:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refusal(401, "UNAUTHORIZED", "Not authorized; a valid token is needed")
        if request.method != "GET":
            raise Refusal(405, "BAD_REQUEST", "HTTP 405 Method Not Allowed")
        if not request.path.startswith("/api/v1/"):
            raise not_found("HTTP 404 Not Found")
        asked = endpoint(request.path.removeprefix("/api/v1"))
        collection, place = _split(asked.path)
        if self._is_old() and (place == "/history" or asked.path.startswith("/audit")):
            raise not_found("HTTP 404 Not Found")
        return self._route(asked, collection, place, _Arguments(asked, request.query))

    def _is_old(self) -> bool:
        return tuple(map(int, self.version.split("."))) < (1, 12)

    def _route(self, asked: Endpoint, collection: str, place: str, arguments: "_Arguments") -> Entity:
        if asked.path == "/system/version":
            return {"version": f"{self.version}.0", "revision": "0" * 40, "timestamp": START}
        if asked.path == "/events":
            return self._events(arguments)
        if asked.path in ("/lineage/{entity}/{id}", "/lineage/{entity}/name/{fqn}"):
            return self._lineage_of(asked, arguments)
        if asked.path == f"/{RESULTS}/search/list":
            return self._results_page(arguments)
        if not collection:
            return self._unserved(asked)
        fields = _asked_fields(asked, collection, arguments)
        if place == "":
            return self._page(collection, fields, arguments)
        if place == "/search/list":
            return self._searched(collection, fields, arguments)
        if place == "/history":
            return self._history_page(collection, arguments)
        if place in ("/{id}", "/name/{fqn}", "/name/{name}"):
            arguments.only("fields", "include")
            return self._delivered(self._found(collection, asked, arguments["include"] or "non-deleted"), fields)
        if place == "/{id}/versions":
            return self._versions_of(self._found(collection, asked, "all"))
        if place in ("/{id}/columns", "/name/{fqn}/columns") and collection in ("tables", "dashboard/datamodels"):
            return self._columns_page(self._found(collection, asked, arguments["include"]), arguments)
        raise Refusal(501, "NOT_IMPLEMENTED", f"The test server does not serve {asked.path}")

    def _unserved(self, asked: Endpoint) -> Entity:
        """The answer for a kind that the server has nothing of."""
        if asked.path.startswith((*_NOT_SERVED, f"/{RESULTS}")):
            raise Refusal(501, "NOT_IMPLEMENTED", f"The test server does not serve {asked.path}")
        if asked.values:
            raise not_found(f"{asked.path.split('/')[1]} instance for {asked.values[0]} not found")
        return {"data": [], "paging": {"total": 0}}

    def _page(self, collection: str, fields: frozenset[str], arguments: "_Arguments") -> Entity:
        filters = (
            _CONTAINER_FILTERS | ({"parent"} if collection == "tags" else set()) | {"isBot", "isAdmin", "isJoinable"}
        )
        arguments.only("fields", "include", "limit", "before", "after", *filters)
        keys = self._keys[collection][arguments["include"] or "non-deleted"]
        for name in sorted(filters):
            if arguments[name] is not None:
                keys = [key for key in keys if self._passes(self._rows[key[1]], name, arguments[name])]
        before, after = (_decoded_key(arguments[name]) for name in ("before", "after"))
        start, end = self._window(keys, before, after, arguments["limit"])
        if after and start == len(keys) and self.exhausted_cursor_fails:
            raise Refusal(500, "INTERNAL_ERROR", "Index 0 out of bounds for length 0")
        page = self._listed([self._rows[id] for _, id in keys[start:end]], fields)
        paging: Entity = {"total": len(keys)}
        if start < end:
            paging |= {"before": _encoded_key(keys[start])} if start > 0 else {}
            paging |= {"after": _encoded_key(keys[end - 1])} if end < len(keys) else {}
        return page | {"paging": paging}

    def _window(self, keys: Sequence[Any], before: Any, after: Any, limit: int) -> tuple[int, int]:
        """Where the page starts and ends in `keys`."""
        size = min(limit, self.caps_limit or limit)
        if before is not None:
            end = bisect_left(keys, before)
            return max(0, end - size), end
        start = bisect_right(keys, after) if after is not None else 0
        return start, min(len(keys), start + size)

    def _listed(self, rows: Iterable[Row], fields: frozenset[str]) -> Entity:
        """The data of a page; what cannot be read is among its errors."""
        page: Entity = {"data": []}
        for row in rows:
            if row.id in self.unreadable:
                error = {"message": f"{row.fqn} cannot be read", "entity": {"id": row.id, "name": row.name}}
                page.setdefault("errors", []).append(error)
            else:
                page["data"].append(self._delivered(row, fields))
        return page

    def _passes(self, row: Row, name: str, wanted: Any) -> bool:
        """Whether an entity is in what a filter names, or has the value that it names."""
        if name not in _CONTAINER_FILTERS | {"parent"}:
            return bool(self._current(row).get(name) == wanted)
        container = row.parent
        while container:
            kind = KINDS[container.collection]
            if name in (kind.field, "parent") and wanted in (container.fqn, container.id):
                return True
            container = container.parent
        return False

    def _searched(self, collection: str, fields: frozenset[str], arguments: "_Arguments") -> Entity:
        arguments.only("fields", "include", "limit", "offset")
        keys = self._keys[collection][arguments["include"]]
        start, end = self._offset_window(len(keys), arguments)
        page = self._listed([self._rows[id] for _, id in keys[start:end]], fields)
        return page | {"paging": {"offset": start, "limit": arguments["limit"], "total": len(keys)}}

    def _offset_window(self, total: int, arguments: "_Arguments") -> tuple[int, int]:
        start = _offset(arguments["offset"])
        return start, min(total, start + min(arguments["limit"], self.caps_limit or arguments["limit"]))

    def _columns_page(self, row: Row, arguments: "_Arguments") -> Entity:
        arguments.only("fields", "include", "limit", "offset", "sortBy", "sortOrder")
        sort_by = arguments["sortBy"] or "name"
        columns = sorted(self._current(row)["columns"], key=lambda column: column[sort_by])
        if arguments["sortOrder"] == "desc":
            columns.reverse()
        start, end = self._offset_window(len(columns), arguments)
        asked = (arguments["fields"] or "").split(",")
        data = columns[start:end] if "tags" in asked else _without_tags(columns[start:end])
        return {"data": data, "paging": {"offset": start, "limit": arguments["limit"], "total": len(columns)}}

    def _found(self, collection: str, asked: Endpoint, include: str) -> Row:
        """The entity that the path names by its id or its fully qualified name. Raises Refusal."""
        named = asked.values[0]
        if "/name/" in asked.path:
            row = next((row for row in self._rows.values() if row.fqn == named and row.collection == collection), None)
        else:
            row = self._rows.get(named)
        hidden = {"all": None, "deleted": False, "non-deleted": True}[include]
        if row is None or row.collection != collection or row.deleted == hidden:
            raise not_found(f"{KINDS[collection].type} instance for {named} not found")
        return row

    def _versions_of(self, row: Row) -> Entity:
        numbers = [number for _, id, number in reversed(self._history(row.collection)) if id == row.id]
        texts = [json.dumps(_stored(self._version(row.id, number)), ensure_ascii=False) for number in numbers]
        return {"entityType": KINDS[row.collection].type, "versions": texts}

    def _history_page(self, collection: str, arguments: "_Arguments") -> Entity:
        """All versions from startTs to endTs, both included, the newest first."""
        versions = self._history(collection)
        first = bisect_left(versions, (arguments["startTs"],))
        last = bisect_left(versions, (arguments["endTs"] + 1,))
        window = [_Descending(version) for version in reversed(versions[first:last])]
        before, after = (_decoded_version(arguments[name]) for name in ("before", "after"))
        start, end = self._window(window, before, after, arguments["limit"])
        paging: Entity = {"total": len(window)}
        if after and start < len(window) and self._is_empty_page(after, start // arguments["limit"]):
            # Still in front of the same version, yet another cursor: the next request goes on.
            return {"data": [], "paging": paging | {"after": _encoded_version(after.updated_at, after.id[:-1])}}
        if start < end:
            paging |= {"before": window[start].cursor()} if start > 0 else {}
            paging |= {"after": window[end - 1].cursor()} if end < len(window) else {}
        data = [_stored(self._version(version.id, version.number)) for version in window[start:end]]
        return {"data": data, "paging": paging}

    def _is_empty_page(self, after: "_Descending", number: int) -> bool:
        return self.history_empty_pages and number % 3 == 1 and len(after.id) == len(str(UUID(int=0)))

    def _events(self, arguments: "_Arguments") -> Entity:
        """Those asked for, all in one answer."""
        groups = {
            "entityCreated": "entityCreated",
            "entityUpdated": "entityUpdated",
            "entityRestored": "entityRestored",
            "entityDeleted": "entityDeleted",
            "entitySoftDeleted": "entityDeleted",
        }
        wanted = {name: (arguments[name] or "").split(",") for name in set(groups.values())}
        events = [
            event
            for event in self._all_events()
            if event["timestamp"] >= arguments["timestamp"]
            and not {"*", event["entityType"]}.isdisjoint(wanted[groups[event["eventType"]]])
        ]
        events.sort(key=lambda event: (event["timestamp"], event["id"]), reverse=self.events_descending)
        return {"data": events, "paging": {"total": len(events)}}

    def _lineage_of(self, asked: Endpoint, arguments: "_Arguments") -> Entity:
        """As in the documentation's example; `nodes` and `downstreamEdges` are absent when there are none."""
        entity_type, named = asked.values
        if entity_type not in _COLLECTIONS:
            raise not_found(f"Entity type {entity_type} not found")
        by = "/name/{fqn}" if "/name/" in asked.path else "/{id}"
        row = self._found(_COLLECTIONS[entity_type], Endpoint(by, (named,), {}), "all")
        up = self._edges(row.id, arguments["upstreamDepth"], lambda id: self._upstream.get(id, ()))
        down = self._edges(row.id, arguments["downstreamDepth"], lambda id: self._lineage.get(id, ()))
        others = dict.fromkeys(there for _, there in up + down if there != row.id)
        lineage: Entity = {"entity": self.reference(row.id)}
        if others:
            lineage["nodes"] = [self.reference(id) for id in others]
        lineage["upstreamEdges"] = [self._edge(there, here) for here, there in up]
        if down:
            lineage["downstreamEdges"] = [self._edge(here, there) for here, there in down]
        return lineage

    def _results_page(self, arguments: "_Arguments") -> Entity:
        """The results of all test cases that are not deleted, the newest first."""
        names = ("startTimestamp", "endTimestamp", "testCaseFQN", "testCaseStatus")
        arguments.only("fields", "limit", "offset", *names)
        fields = frozenset(filter(None, (arguments["fields"] or "").split(",")))
        for name in fields - {"testCase", "testDefinition"}:
            raise bad_request(f"Invalid field name {name}")
        start_time, end_time, fqn, status = (arguments[name] for name in names)
        times = self._results()
        first = 0 if end_time is None else bisect_left(times, -end_time)
        last = len(times) if start_time is None else bisect_right(times, -start_time)
        places: Sequence[int] = range(first, max(first, last))
        if fqn is not None or status is not None:
            results = ((place, self._result(place, frozenset())) for place in places)
            places = [place for place, result in results if _is_wanted(result, fqn, status)]
        start, end = self._offset_window(len(places), arguments)
        data = [self._result(place, fields) for place in places[start:end]]
        return {"data": data, "paging": {"offset": start, "limit": arguments["limit"], "total": len(places)}}


class _Arguments:
    """The arguments of a request, by name; None for those that have neither a value nor a default."""

    def __init__(self, asked: Endpoint, query: Mapping[str, str]) -> None:
        self._values = asked.arguments(query)
        self._given = {name for name in query if query[name] != asked.parameters[name].default}

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name)

    def only(self, *names: str) -> None:
        """Raises Refusal if another one is given: better no answer than one that does not heed it."""
        for name in sorted(self._given.difference(names)):
            raise Refusal(501, "NOT_IMPLEMENTED", f"The test server does not heed the query param {name}")


class _Descending:
    """A version (or the place of one), in the order of the history: the newest first, then the greatest id."""

    def __init__(self, version: Version) -> None:
        self.updated_at, self.id, self.number = version

    def cursor(self) -> str:
        """What stands for this place in `before` and `after`."""
        return _encoded_version(self.updated_at, self.id)

    def __lt__(self, other: "_Descending") -> bool:
        return (self.updated_at, self.id) > (other.updated_at, other.id)


@contextmanager
def start(size: Size | None = None, **settings: Any) -> Iterator[OpenMetadataServer]:
    """Starts a server in a thread; ends it on exit.

    Args:
        size: How many entities there are; a few of each kind by default.
        settings: Those of OpenMetadataServer: seed, latency, version, token, port, and how it misbehaves.
    """
    with serving(OpenMetadataServer(size or Size(), **settings)) as server:
        yield server


def _split(path: str) -> tuple[str, str]:
    """The collection that a path of the API is about, "" if the server has none such, and the rest of the path.

    >>> _split("/tables/{id}/columns")
    ('tables', '/{id}/columns')
    """
    if path.startswith((f"/{RESULTS}", _INCIDENTS)):
        return "", path
    collections = [name for name in KINDS if f"{path}/".startswith(f"/{name}/")]
    collection = max(collections, key=len, default="")
    return collection, path.removeprefix(f"/{collection}") if collection else path


def _asked_fields(asked: Endpoint, collection: str, arguments: _Arguments) -> frozenset[str]:
    """The names in `fields`. Raises Refusal for one that the kind of entity does not have."""
    names = frozenset(name.strip() for name in (arguments["fields"] or "").split(",") if name.strip())
    known = fields_of(f"/{collection}").known
    if asked.path.endswith("/columns"):
        known = frozenset({"tags", "customMetrics"})
    for name in sorted(names - known):
        raise bad_request(f"Invalid field name {name}")
    return names


def _encoded_key(key: tuple[str, str]) -> str:
    name, id = key
    return base64.urlsafe_b64encode(json.dumps({"name": name, "id": id}).encode()).decode()


def _decoded_key(cursor: str | None) -> tuple[str, str] | None:
    """The name and id in a cursor of a list. Raises Refusal if it is none."""
    if cursor is None:
        return None
    try:
        key = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        name, id = key["name"], key["id"]
    except (ValueError, TypeError, KeyError):
        raise bad_request(f"Invalid cursor {cursor}") from None
    return str(name), str(id)


def _encoded_version(updated_at: int, id: str) -> str:
    return base64.b64encode(f"{updated_at}:{id}".encode()).decode()


def _decoded_version(cursor: str | None) -> _Descending | None:
    """The place in a history that a cursor stands for. Raises Refusal if it is none."""
    if cursor is None:
        return None
    try:
        updated_at, _, id = base64.b64decode(cursor, validate=True).decode().partition(":")
        return _Descending((int(updated_at), id, 0.0))
    except ValueError:
        raise bad_request(f"Invalid cursor {cursor}") from None


def _offset(text: str | int) -> int:
    """An offset, which the API takes as text in places. Raises Refusal."""
    if not str(text).isdecimal():
        raise bad_request(f"query param offset is not a valid number: {text}")
    return int(text)


def _is_wanted(result: Entity, fqn: str | None, status: str | None) -> bool:
    return fqn in (None, result["testCaseFQN"]) and status in (None, result["testCaseStatus"])


def _is_reference(value: object) -> bool:
    return isinstance(value, dict) and "id" in value and "type" in value


def _stored(entity: Entity) -> Entity:
    """An entity as its history has it: without what is kept as relationships."""
    kept = {}
    for name, value in entity.items():
        refers = _is_reference(value) or (isinstance(value, list) and value and _is_reference(value[0]))
        if name not in _NOT_STORED and not refers:
            kept[name] = _without_tags(value) if name == "columns" else value
    return kept


def _without_tags(columns: Iterable[Entity]) -> list[Entity]:
    """Columns, and their children, with empty lists of tags."""
    return [
        {**column, "tags": [], "children": _without_tags(column["children"])}
        if "children" in column
        else {**column, "tags": []}
        for column in columns
    ]


def _described(place: int, versions: Sequence[Version]) -> Entity:
    """The description that an entity has from the start in this one of its versions, and how it came about."""
    _, id, number = versions[place]
    descriptions = [_description(id, version) for _, _, version in versions]
    entity = {"description": descriptions[place]} if descriptions[place] else {}
    if place == 0:
        return entity
    previous = versions[place - 1][2]
    before = {"description": descriptions[place - 1], "version": previous}
    return entity | {
        "changeDescription": {
            **_difference(before, {"description": descriptions[place], "version": number}),
            "previousVersion": previous,
        }
    }


def _description(id: str, version: float) -> str | None:
    """Absent, long, with what is not ASCII, or plain."""
    number = _number(id, "description") % 20
    if number < 4:
        return None
    if number == 4:
        return f"Version {version}: " + "very long " * 2000
    return f'Version {version}: größe "表" <b>bold</b> \U0001f4ca\nline 2' if number < 8 else f"Version {version}"


def _difference(before: Entity, after: Entity) -> Entity:
    """The fields that differ, as a change description tells them: with values as JSON unless they are text."""
    changes: dict[str, list[Entity]] = {"fieldsAdded": [], "fieldsUpdated": [], "fieldsDeleted": []}
    for name in sorted((before.keys() | after.keys()) - {"version", "updatedAt", "updatedBy", "changeDescription"}):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            changes["fieldsAdded"].append({"name": name, "newValue": _as_text(new)})
        elif old is not None and new is None:
            changes["fieldsDeleted"].append({"name": name, "oldValue": _as_text(old)})
        elif old != new:
            changes["fieldsUpdated"].append({"name": name, "oldValue": _as_text(old), "newValue": _as_text(new)})
    return changes


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _service_type(service: Row) -> str:
    types = _SERVICE_TYPES[KINDS[service.collection].type]
    return types[service.index % len(types)]


def _column_name(place: int) -> str:
    return {4: f"amount.net_{place}", 9: f'col "{place}"'}.get(place % 11, f"col_{place:03d}")


def _quoted(name: str) -> str:
    """A name as a fully qualified name has it.

    >>> _quoted('a.b"c')
    '"a.b""c"'
    """
    return '"' + name.replace('"', '""') + '"' if "." in name or '"' in name else name


def _number(*parts: object) -> int:
    """A number of 64 bits that always is the same for the same parts."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest())


def _main() -> None:
    """Runs a server in the foreground till Ctrl-C."""
    parser = argparse.ArgumentParser(description="An OpenMetadata server for tests.")
    parser.add_argument("--port", type=int, default=8585)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--version", default="1.13")
    given = parser.parse_args()
    size = Size(tables=given.tables, columns=given.columns)
    try:
        with start(size, port=given.port, seed=given.seed, latency=given.latency, version=given.version) as server:
            print(f"{server.api_url}\ntoken: {server.token}\nCtrl-C ends it", flush=True)
            server.stopping.wait()
    except KeyboardInterrupt:
        print("ended")


if __name__ == "__main__":
    _main()
