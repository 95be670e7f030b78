"""Compares what was delivered with its source: every row and every column, by value.

Both sides are read as text that says each value exactly, in the order of the key, a few rows at a time.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import duckdb
from psycopg2 import sql

from shared.naming import delivered_name
from tests.sources.playground import Playground
from tests.sources.postgres_server import PostgresServer

Text = str | None
Row = tuple[Text, ...]

SCHEMA = "tester"
# Columns that Fivetran adds.
DELETED = "_fivetran_deleted"
ADDED = {DELETED, "_fivetran_synced"}
FETCHED_ROWS = 5_000
SHOWN_CHARACTERS = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The tables of the REST connector, and the list of the Playground that each is read from, with its key.
PLAYGROUND_TABLES = {
    **dict.fromkeys(
        ("users_by_next_link", "users_by_page_number", "users_by_offset", "users_by_keyset", "users_since"),
        ("items", ("id",)),
    ),
    "companies": ("companies", ("company_id",)),
    "departments": ("departments", ("company_id", "department_id")),
}


@dataclass(frozen=True)
class SourceTable:
    """A table as it should have been delivered: the columns' names in the destination, and its rows in key order.

    besides  columns that are delivered as well and not compared
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    rows: Callable[[], Iterator[Row]]
    besides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """How many rows there are on either side, and the first difference: "" when there is none."""

    table: str
    source_rows: int
    delivered_rows: int
    difference: str


def text_of(value: Any) -> Text:
    """The value as text that differs for different values; raises KeyError for a type that no source here has."""
    return None if value is None else _TEXTS[type(value)](value)


_TEXTS: Mapping[type, Callable[[Any], str]] = {
    str: str,
    bool: str,
    int: str,
    Decimal: "{:f}".format,
    date: date.isoformat,
    datetime: datetime.isoformat,
}


def compare(source: Iterable[SourceTable], warehouse: Path) -> Iterator[Comparison]:
    """Each table of the source with the delivered one of its name; then those that the source does not have."""
    with closing(duckdb.connect(str(warehouse), read_only=True)) as connection:
        delivered = _delivered_columns(connection)
        for table in source:
            yield _compared(table, connection, delivered.pop(table.name, {}))
        for name in delivered:
            yield Comparison(name, 0, _count(connection, name), "the source has no such table")


def _compared(table: SourceTable, connection: duckdb.DuckDBPyConnection, types: Mapping[str, str]) -> Comparison:
    if {*table.columns, *table.besides} != types.keys():
        what = f"the source has the columns {sorted(table.columns)}, delivered are {sorted(types)}"
        return Comparison(
            table.name, sum(1 for _ in table.rows()), _count(connection, table.name) if types else 0, what
        )
    source_rows = delivered_rows = 0
    difference = ""
    for expected, found in zip_longest(table.rows(), _delivered(table, connection, types)):
        source_rows += expected is not None
        delivered_rows += found is not None
        if expected != found and not difference:
            difference = _difference(table, expected, found)
    return Comparison(table.name, source_rows, delivered_rows, difference)


def _difference(table: SourceTable, expected: Row | None, found: Row | None) -> str:
    """In words, how two rows in the same place differ."""
    keys = [_key(table, row) for row in (expected, found)]
    if expected is None or found is None or keys[0] != keys[1]:
        return f"in the same place the source has {keys[0]}, delivered is {keys[1]}"
    columns = zip(table.columns, expected, found, strict=True)
    values = [f"{name} is {_shown(one)}, delivered is {_shown(other)}" for name, one, other in columns if one != other]
    return f"in {keys[0]}, {'; '.join(values)}"


def _key(table: SourceTable, row: Row | None) -> str:
    if row is None:
        return "no row"
    values = dict(zip(table.columns, row, strict=True))
    return "the row " + ", ".join(f"{name}={values[name]}" for name in table.key)


def _shown(value: Text) -> str:
    text = "NULL" if value is None else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


# What was delivered


def _delivered_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """The delivered tables with the names and types of their columns."""
    tables: dict[str, dict[str, str]] = {}
    query = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = ?"
    for table, column, kind in connection.execute(query, [SCHEMA]).fetchall():
        columns = tables.setdefault(table, {})
        if column not in ADDED:
            columns[column] = kind
    return tables


def _rows_of(connection: duckdb.DuckDBPyConnection, table: str) -> duckdb.DuckDBPyRelation:
    """A delivered table without the rows that are marked as deleted."""
    return connection.table(f"{SCHEMA}.{_quoted(table)}").filter(f"NOT {DELETED}")


def _count(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return len(_rows_of(connection, table))


def _delivered(table: SourceTable, connection: duckdb.DuckDBPyConnection, types: Mapping[str, str]) -> Iterator[Row]:
    """The delivered rows in key order, with the source's columns in the source's order."""
    moments = [types[name] == "TIMESTAMP WITH TIME ZONE" for name in table.columns]
    columns = [
        f"epoch_us({_quoted(name)})" if is_moment else _quoted(name)
        for name, is_moment in zip(table.columns, moments, strict=True)
    ]
    texts = [_moment if is_moment else text_of for is_moment in moments]
    ordered = _rows_of(connection, table.name).order(", ".join(map(_quoted, table.key)))
    relation = ordered.project(", ".join(columns))
    while rows := relation.fetchmany(FETCHED_ROWS):
        for row in rows:
            yield tuple(text(value) for text, value in zip(texts, row, strict=True))


def _moment(microseconds: int | None) -> Text:
    return None if microseconds is None else text_of(_EPOCH + timedelta(microseconds=microseconds))


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


# PostgreSQL

_COLUMNS = """
    SELECT table_name, column_name FROM information_schema.columns
    WHERE table_schema = 'public' ORDER BY table_name, ordinal_position
"""
# Types that cannot hold all of a source's values: such a table arrives with a column for what they leave over, and
# nothing in TPC-H does.
_GUARDED = """
    SELECT DISTINCT table_name, '_exact' FROM information_schema.columns
    WHERE table_schema = 'public' AND data_type IN ('numeric', 'date')
"""
_KEYS = """
    SELECT table_name, column_name
    FROM information_schema.key_column_usage JOIN information_schema.table_constraints
        USING (constraint_schema, constraint_name, table_name)
    WHERE constraint_schema = 'public' AND constraint_type = 'PRIMARY KEY' ORDER BY table_name, ordinal_position
"""


def postgres_tables(server: PostgresServer, database: str) -> list[SourceTable]:
    """All tables of the schema `public`."""
    with closing(server.connect(database)) as connection, connection.cursor() as cursor:
        columns, guarded, keys = (_grouped(cursor, query) for query in (_COLUMNS, _GUARDED, _KEYS))
    return [
        SourceTable(
            name,
            (*map(delivered_name, columns[name]), *guarded.get(name, [])),
            tuple(map(delivered_name, keys[name])),
            lambda name=name: _postgres_rows(  # type: ignore[misc]
                server, database, name, columns[name], keys[name], (None,) * len(guarded.get(name, []))
            ),
        )
        for name in columns
    ]


def _grouped(cursor: Any, query: str) -> dict[str, list[str]]:
    cursor.execute(query)
    grouped: dict[str, list[str]] = {}
    for table, column in cursor.fetchall():
        grouped.setdefault(table, []).append(column)
    return grouped


def _postgres_rows(
    server: PostgresServer, database: str, table: str, columns: Sequence[str], key: Sequence[str], behind: Row
) -> Iterator[Row]:
    comma = sql.SQL(", ")
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        comma.join(map(sql.Identifier, columns)), sql.Identifier(table), comma.join(map(sql.Identifier, key))
    )
    with closing(server.connect(database)) as connection:
        connection.autocommit = False  # a cursor of the server's lives in a transaction
        with connection.cursor("rows") as cursor:
            cursor.itersize = FETCHED_ROWS
            cursor.execute(query)
            for row in cursor:
                yield (*map(text_of, row), *behind)


# The Playground


def playground_tables(playground: Playground) -> list[SourceTable]:
    """The tables of the REST connector as they should be now. Nothing is requested, as that would change the data."""
    data = playground.dump()
    return [_playground_table(name, data[of], key) for name, (of, key) in PLAYGROUND_TABLES.items()]


def _playground_table(name: str, records: list[dict[str, Any]], key: tuple[str, ...]) -> SourceTable:
    ordered = sorted(records, key=lambda record: [record[field] for field in key])
    fields = list(records[0])

    def rows() -> Iterator[Row]:
        for record in ordered:
            # Nothing may be in the column for fields that the connector does not declare.
            yield (*(_playground_text(field, record[field]) for field in fields), None)

    return SourceTable(name, (*map(delivered_name, fields), "_undeclared"), key, rows)


def _playground_text(field: str, value: Any) -> Text:
    return text_of(datetime.fromisoformat(value) if field.endswith("At") else value)


# Files


def file_table(name: str, folder: Path) -> SourceTable:
    """The one table that all CSV files of a folder go to; raises ValueError if their headers are not the same."""
    files = sorted(folder.glob("*.csv"))
    headers = {tuple(next(_csv_records(path))[1]) for path in files}
    if len(headers) != 1:
        raise ValueError(f"expected one header in all files, got {headers}")

    def rows() -> Iterator[Row]:
        for path in files:
            for line, record in islice(_csv_records(path), 1, None):
                yield (*record, path.name, str(line), None)

    columns = (*map(delivered_name, headers.pop()), "_file", "_line", "_undeclared")
    # Of a record that was there before its file was appended to, it is when the file was changed before that.
    return SourceTable(name, columns, ("_file", "_line"), rows, besides=("_modified",))


def _csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Each record of a file, the header first, with the number of the line on which it begins."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        line = 1
        for record in reader:
            yield line, record
            line = reader.line_num + 1
