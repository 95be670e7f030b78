"""Runs a connector's `schema()` and `update()` under the SDK's own encoder and records exactly what would be sent.

This is the one file that uses internal names of the SDK (its MIT part): the sink that operations go to, the registry of
declared tables, and the bytes that mark each kind of value.
"""

import json
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from fivetran_connector_sdk import Logging
from fivetran_connector_sdk_cli import runtime, schema_processing, type_coercion
from fivetran_connector_sdk_common import constants

Encoded = bytes
Row = dict[str, Encoded]

_KINDS: Mapping[bytes, str] = {
    getattr(type_coercion, name): kind
    for name, kind in {
        "_NULL_V": "null",
        "_PFX_SCALAR": "scalar",
        "_PFX_JSON": "json",
        "_PFX_BINARY": "binary",
        "_PFX_FLOAT": "float",
        "_PFX_DOUBLE": "double",
    }.items()
}


class Killed(BaseException):
    """The process dies here. Not an Exception: nothing may catch it and go on."""


def decoded(value: Encoded) -> tuple[str, Any]:
    """An encoded value as (kind, payload): text for all kinds but binary, None for null."""
    kind, payload = _KINDS[value[:1]], value[1:]
    if kind == "null":
        return kind, None
    return kind, payload if kind == "binary" else payload.decode()


@dataclass
class Destination:
    """What the operations make of the tables, by the rules Fivetran states: upsert by key, truncate, delete.

    keys      primary key columns by table; a table without one is told apart by its whole row, as Fivetran does
    rows      by table (with its schema, if it has one), the encoded rows by key
    committed the state of the last checkpoint
    durable   the rows as they were at it
    """

    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rows: dict[str, dict[Hashable, Row]] = field(default_factory=dict)
    committed: dict[str, Any] = field(default_factory=dict)
    durable: dict[str, dict[Hashable, Row]] = field(default_factory=dict)

    def commit(self, state: dict[str, Any]) -> None:
        """A checkpoint: the state, and every row sent before it, outlive a crash."""
        self.committed = state
        self.durable = {name: dict(rows) for name, rows in self.rows.items()}

    def after_crash(self) -> "Destination":
        """What is left when nothing that was sent after the last checkpoint arrived."""
        rows = {name: dict(rows) for name, rows in self.durable.items()}
        return Destination(dict(self.keys), rows, self.committed, self.durable)

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table with the payload of each value, in no order that a test may rely on."""
        rows = self.rows.get(name, {}).values()
        return [{column: decoded(value)[1] for column, value in row.items()} for row in rows]

    def contents(self) -> dict[str, dict[Hashable, Row]]:
        """All tables that have rows, for comparison."""
        return {name: rows for name, rows in self.rows.items() if rows}


@dataclass
class Sink:
    """Receives the operations of one sync, applies them to a destination, and dies at operation `stop_at`."""

    destination: Destination
    stop_at: float = math.inf
    operations: int = 0
    upserts: dict[str, int] = field(default_factory=dict)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def _count(self, what: str) -> None:
        self.operations += 1
        self.order.append(what)
        if self.operations >= self.stop_at:
            raise Killed

    def record(self, record: Any) -> None:
        self._count(f"record {record.table}")
        name = f"{record.schema}.{record.table}" if record.schema else record.table
        key = self.destination.keys.get(name) or tuple(record.row_data)
        identity = tuple(record.row_data.get(column) for column in key)
        rows = self.destination.rows.setdefault(name, {})
        if record.type.name == "DELETE":
            rows.pop(identity, None)
        else:
            rows[identity] = dict(record.row_data)
            self.upserts[name] = self.upserts.get(name, 0) + 1

    def truncate(self, truncate: Any) -> None:
        self._count(f"truncate {truncate.table}")
        name = f"{truncate.schema}.{truncate.table}" if truncate.schema else truncate.table
        self.destination.rows[name] = {}

    def checkpoint(self, checkpoint: Any) -> None:
        self._count("checkpoint")
        state = json.loads(checkpoint.state_json)
        self.destination.commit(state)
        self.checkpoints.append(state)

    def warning(self, warning: Any) -> None:
        self.warnings.append(json.loads(warning.message)["message"])

    def task(self, task: Any) -> None:
        self.errors.append(json.loads(task.message)["message"])

    def file_chunk(self, chunk: Any) -> None:
        self._count(f"file {chunk.file_path}")
        key = (chunk.storage_name, chunk.file_path)
        self.files[key] = self.files.get(key, b"") + chunk.chunk_data


def sync(
    connector: ModuleType,
    configuration: Mapping[str, str],
    destination: Destination | None = None,
    *,
    stop_at: float = math.inf,
    state: Mapping[str, Any] | None = None,
) -> Sink:
    """One sync from the destination's last checkpoint (or `state`), as Fivetran would run it.

    `stop_at` kills it at that operation. Any other exception of the connector passes.
    """
    destination = Destination() if destination is None else destination
    sink = Sink(destination, stop_at)
    Logging.LOG_LEVEL = Logging.Level.WARNING  # schema() may log as well
    declare(connector.schema(dict(configuration)), destination)
    with_sink(
        sink,
        lambda: connector.update(
            configuration=dict(configuration), state=dict(destination.committed if state is None else state)
        ),
    )
    return sink


class CountingSink:
    """Counts the operations of one sync and keeps nothing of them, for profiles and benchmarks."""

    def __init__(self, tables: list[dict[str, Any]]) -> None:
        declare(tables, Destination())
        self.operations = 0

    def count(self, _: Any) -> None:
        self.operations += 1

    record = truncate = checkpoint = file_chunk = count

    def warning(self, warning: Any) -> None:
        Logging.warning(json.loads(warning.message)["message"])

    def task(self, task: Any) -> None:
        """An error that the connector reports: it is raised as well."""


def with_sink(sink: Sink | CountingSink, work: Callable[[], Any], verbose: bool = False) -> None:
    """Runs `work` with its operations going to `sink`; a kill ends it without a word."""
    Logging.LOG_LEVEL = Logging.Level.INFO if verbose else Logging.Level.WARNING
    constants.DEBUGGING = verbose  # log lines for people instead of for Fivetran
    runtime.install(sink)
    try:
        work()
    except Killed:
        pass
    finally:
        runtime.install(None)


def declare(tables: list[dict[str, Any]], destination: Destination) -> None:
    """Registers what `schema()` returned, so that values are encoded by their declared types."""
    schema_processing.reset()
    schema_processing.process_tables(tables, {})
    for table in tables:
        name = f"{table['schema']}.{table['table']}" if "schema" in table else table["table"]
        destination.keys[name] = tuple(table.get("primary_key", ()))
