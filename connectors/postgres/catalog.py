"""The tables of a database as its catalogue describes them, and the Fivetran type of every column."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.values import ColumnType

# By the name of the base type. Whatever is not named here arrives as its text form, which is exact for every type.
_TYPES: Mapping[str, str] = {
    "bool": "BOOLEAN",
    "int2": "SHORT",
    "int4": "INT",
    "int8": "LONG",
    "oid": "LONG",
    "float4": "FLOAT",
    "float8": "DOUBLE",
    "bytea": "BINARY",
    "date": "NAIVE_DATE",
    "timestamp": "NAIVE_DATETIME",
    "timestamptz": "UTC_DATETIME",
}
# Types whose plain value is its text already. A cast would strip the blanks that pad a char(n).
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name", "uuid"})
_TEMPORAL = frozenset({"NAIVE_DATE", "NAIVE_DATETIME", "UTC_DATETIME"})
# The most digits that every destination keeps in a DECIMAL.
_MOST_DIGITS = 38

_TABLES = """
    SELECT n.nspname, c.relname, c.oid::bigint, c.relkind = 'p', has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    ORDER BY n.nspname, c.relname
"""
# A domain is read as the type below it, however deep.
_COLUMNS = """
    WITH RECURSIVE base (attrelid, attnum, attname, typid, typmod) AS (
        SELECT attrelid, attnum, attname, atttypid, atttypmod FROM pg_attribute
        WHERE attrelid = ANY (%s::oid[]) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attrelid, b.attnum, b.attname, t.typbasetype, t.typtypmod
        FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
    )
    SELECT b.attrelid::bigint, b.attname, t.typname, b.typmod
    FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype <> 'd'
    ORDER BY b.attrelid, b.attnum
"""
_PRIMARY_KEYS = """
    SELECT i.indrelid::bigint, a.attname
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisprimary AND i.indrelid = ANY (%s::oid[])
    ORDER BY i.indrelid, k.place
"""


@dataclass(frozen=True)
class Column:
    """A column, its Fivetran type, and whether it is read as its text form."""

    name: str
    source_type: str
    type: ColumnType
    as_text: bool

    @property
    def is_decimal(self) -> bool:
        return not isinstance(self.type, str)

    @property
    def is_temporal(self) -> bool:
        return isinstance(self.type, str) and self.type in _TEMPORAL


@dataclass(frozen=True)
class Table:
    """A table that can be read, with all of its partitions if it is partitioned. The primary key may be empty."""

    schema: str
    name: str
    oid: int
    is_partitioned: bool
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def stream(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def shape(self) -> str:
        """A fingerprint of what must stay the same for a saved position to hold: the table itself, and its columns."""
        columns = [(column.name, column.source_type) for column in self.columns]
        return hashlib.blake2b(repr((self.oid, columns, self.primary_key)).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Catalog:
    """The tables of some schemas: those that can be read, and the names of those that may not be."""

    tables: tuple[Table, ...]
    forbidden: tuple[str, ...]
    missing_schemas: tuple[str, ...]


def read_catalog(connection: Any, schemas: Sequence[str]) -> Catalog:
    """Everything the catalogue says of the tables of `schemas`, in the order of their names."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname = ANY (%s)", [list(schemas)])
        existing = {name for (name,) in cursor.fetchall()}
        cursor.execute(_TABLES, [list(schemas)])
        found = cursor.fetchall()
        readable = [row for *row, may_read in found if may_read]
        oids = [oid for _, _, oid, _ in readable]
        columns = _by_table(cursor, _COLUMNS, oids)
        keys = _by_table(cursor, _PRIMARY_KEYS, oids)
    return Catalog(
        tables=tuple(
            Table(
                schema,
                name,
                oid,
                is_partitioned,
                columns=tuple(_column(*described) for described in columns.get(oid, [])),
                primary_key=tuple(column for (column,) in keys.get(oid, [])),
            )
            for schema, name, oid, is_partitioned in readable
        ),
        forbidden=tuple(f"{schema}.{name}" for schema, name, *_, may_read in found if not may_read),
        missing_schemas=tuple(name for name in schemas if name not in existing),
    )


def _by_table(cursor: Any, query: str, oids: list[int]) -> dict[int, list[tuple[Any, ...]]]:
    cursor.execute(query, [oids])
    grouped: dict[int, list[tuple[Any, ...]]] = {}
    for oid, *described in cursor.fetchall():
        grouped.setdefault(oid, []).append(tuple(described))
    return grouped


def _column(name: str, source_type: str, modifier: int) -> Column:
    if source_type == "numeric":
        return Column(name, f"numeric {modifier}", _numeric(modifier), as_text=True)
    as_text = source_type not in _TYPES and source_type not in _TEXT_TYPES
    return Column(name, source_type, _TYPES.get(source_type, "STRING"), as_text)


def _numeric(modifier: int) -> ColumnType:
    """DECIMAL where precision and scale are declared and every destination holds them, else STRING with every digit.

    How PostgreSQL packs both into a type modifier: src/backend/utils/adt/numeric.c, numeric_typmod_precision.
    """
    if modifier < 4:
        return "STRING"
    precision = ((modifier - 4) >> 16) & 0xFFFF
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    if not 0 <= scale <= precision <= _MOST_DIGITS:
        return "STRING"
    return {"type": "DECIMAL", "precision": precision, "scale": scale}
