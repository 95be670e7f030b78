"""The benchmark of connectors/openmetadata: a first sync of a catalogue, whose answers are ready-made.

    make bench CONNECTOR=openmetadata            a catalogue of 20,000 tables
    make bench CONNECTOR=openmetadata QUICK=1    one of 1,500 tables

The marks are the floor (see benchmark.py) and the documented pattern: every list is collected, and then sent. Lineage
is left out, since every asset's is a call of its own: connectors/snowplow shows what such calls cost.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import requests
from fivetran_connector_sdk import Operations as op

from profiling import ready_answers
from profiling.benchmark import (
    DOCUMENTED,
    FLOOR,
    OURS,
    Benchmark,
    Comparison,
    DataSet,
    Source,
    Variant,
    Work,
    compare,
    counted,
    floor,
    sync,
    tables_with_keys_only,
)
from profiling.served import served
from tests.loading import load_spec
from tests.sources import openmetadata_server
from tests.sources.openmetadata_server import Size

NAME = "openmetadata"
TABLES, QUICK_TABLES = 20_000, 1_500
ROUNDS = 3
MOST_MB = 64


def benchmark(_: None, quick: bool) -> Generator[Comparison]:
    tables = QUICK_TABLES if quick else TABLES
    with served(partial(start, tables // 10)) as small, served(partial(start, tables)) as large:
        # `dict` answers with a copy of the configuration that `start` yields there.
        yield compare(catalogue(tables, small.ask(dict), large.ask(dict), fills_buffers=not quick), ROUNDS)


def software(_: None) -> str:
    return "an OpenMetadata server of the tests with ready-made answers"


BENCHMARK = Benchmark(nullcontext, software, benchmark)


# The data


def catalogue(tables: int, small: dict[str, str], large: dict[str, str], fills_buffers: bool) -> DataSet:
    """The catalogues that two servers' configurations lead to."""
    few, many = (counted(partial(sync, NAME, {}), configuration) for configuration in (small, large))
    return DataSet(
        f"{NAME} catalogue",
        f"{many.rows:,} rows of {tables:,} tables, their columns, and other entities",
        few,
        many,
        MOST_MB,
        VARIANTS,
        most_over_floor=None,
        is_faster=False,
        fills_buffers=fills_buffers,
    )


@contextmanager
def start(tables: int) -> Iterator[dict[str, str]]:
    """Starts a server of so many tables, and in proportion of everything else; the connector's configuration for it."""
    tenth = tables // 10
    size = Size(
        tables=tables, dashboards=tenth, charts=tenth, glossary_terms=tenth, users=tenth, queries=tenth, results=0
    )
    with openmetadata_server.start(size) as server, ready_answers.start(server.url) as answers:
        yield {"base_url": f"{answers.url}/api", "token": server.token, "lineage": "false"}


# The ways to deliver it


def documented(source: Source) -> Work:
    return Work(tables_with_keys_only(NAME, source), lambda: _documented(source.configuration))


def _documented(configuration: dict[str, str]) -> None:
    # Bare code on purpose: what it spares itself (resuming, deletions, errors told) makes it faster.
    spec = load_spec(NAME)
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {configuration['token']}"
        for table in spec.tables(spec.Settings.parse(configuration)):
            entities = _collected(session, f"{configuration['base_url']}{table.path}", dict(table.params))
            for entity in entities:
                op.upsert(table.name, _row(entity))
                if table.name == "tables":
                    _upsert_columns(entity["id"], entity["columns"], "")
            op.checkpoint({"table": table.name})


def _collected(session: requests.Session, url: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
    entities: list[dict[str, Any]] = []
    while True:
        body = session.get(url, params=parameters).json()
        entities += body["data"]
        if "after" not in body["paging"]:
            return entities
        parameters["after"] = body["paging"]["after"]


def _upsert_columns(table: str, columns: list[dict[str, Any]], above: str) -> None:
    for column in columns:
        path = f"{above}{column['name']}"
        row = {name: value for name, value in column.items() if name != "children"}
        op.upsert("table_columns", {**_row(row), "table_id": table, "path": path, "occurrence": 1})
        _upsert_columns(table, column.get("children", []), f"{path}.")


def _row(record: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in record.items()}


VARIANTS = (
    Variant(OURS, partial(sync, NAME, {}), "sync"),
    Variant(FLOOR, partial(floor, NAME, {}), "floor"),
    Variant(DOCUMENTED, documented, "pattern"),
)
