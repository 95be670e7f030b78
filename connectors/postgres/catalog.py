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
OCCURRENCE = "_occurrence"
# The most digits that every destination keeps in a DECIMAL.
_MOST_DIGITS = 38

# A partition is delivered with its parent, unless that is in a schema that is not.
_TABLES = """
    SELECT n.nspname, c.relname, c.oid::bigint, c.relkind = 'p', row_security_active(c.oid),
        (SELECT string_agg(leaf.relid::oid::text, ' ' ORDER BY leaf.relid::oid) FROM pg_partition_tree(c.oid) AS leaf),
        CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
            THEN format('USAGE ON SCHEMA %%I TO %%I', n.nspname, current_user)
            WHEN NOT has_table_privilege(c.oid, 'SELECT')
            THEN format('SELECT ON %%I.%%I TO %%I', n.nspname, c.relname, current_user) END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (%(schemas)s) AND c.relkind IN ('r', 'p') AND NOT (
        c.relispartition AND EXISTS (
            SELECT FROM pg_inherits i
            JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
            WHERE i.inhrelid = c.oid AND pn.nspname = ANY (%(schemas)s)
        )
    )
    ORDER BY n.nspname, c.relname
"""
# A domain is read as the type below it, however deep. The last column is what else decides on the value of a row that
# nobody writes: the number of the column, the parts of its type with the labels of enums, the expression of a generated
# column.
_COLUMNS = """
    WITH RECURSIVE base (attrelid, attnum, attname, attgenerated, typid, typmod) AS (
        SELECT attrelid, attnum, attname, attgenerated, atttypid, atttypmod FROM pg_attribute
        WHERE attrelid = ANY (%(oids)s::oid[]) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attrelid, b.attnum, b.attname, b.attgenerated, t.typbasetype, t.typtypmod
        FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
    )
    SELECT b.attrelid::bigint, b.attname, t.typname, b.typmod, format_type(t.oid, b.typmod), n.nspname,
        concat_ws(' ', b.attnum, CASE WHEN t.typtype <> 'b' OR element.typtype <> 'b' THEN (
            WITH RECURSIVE part (oid, typelem, typbasetype, typrelid) AS (
                SELECT t.oid, t.typelem, t.typbasetype, t.typrelid
                UNION
                SELECT inner_type.oid, inner_type.typelem, inner_type.typbasetype, inner_type.typrelid
                FROM part JOIN pg_type inner_type ON inner_type.oid IN (part.typelem, part.typbasetype)
                    OR inner_type.oid IN (
                        SELECT rngsubtype FROM pg_range r
                        -- PostgreSQL 13 has no multiranges, and so no column of that name.
                        WHERE part.oid IN (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
                    )
                    OR inner_type.oid IN (
                        SELECT atttypid FROM pg_attribute
                        WHERE attrelid = part.typrelid AND attnum > 0 AND NOT attisdropped AND part.typrelid <> 0
                    )
            )
            SELECT string_agg(concat_ws(' ', part.oid,
                (SELECT string_agg(quote_literal(enumlabel), ' ' ORDER BY e.oid)
                 FROM pg_enum e WHERE enumtypid = part.oid),
                (SELECT string_agg(attnum::text, ' ' ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = part.typrelid AND part.typrelid <> 0 AND attnum > 0 AND NOT attisdropped)
            ), ' ' ORDER BY part.oid) FROM part
        ) END,
        CASE WHEN b.attgenerated <> '' THEN (
            SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = b.attrelid AND adnum = b.attnum
        ) END)
    FROM base b JOIN pg_type t ON t.oid = b.typid JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_type element ON element.oid = t.typelem
    WHERE t.typtype <> 'd'
    ORDER BY b.attrelid, b.attnum
"""
_PRIMARY_KEYS = """
    SELECT i.indrelid::bigint, a.attname
    FROM pg_index i
    CROSS JOIN LATERAL unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indisprimary AND i.indrelid = ANY (%(oids)s::oid[])
    ORDER BY i.indrelid, k.place
"""


def _fingerprint(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Column:
    """A column, its Fivetran type, and whether it is read as its text form.

    sql_type   its type as PostgreSQL writes it
    namespace  the schema of its type, where its operators are
    definition what its value depends on beside what was written
    """

    name: str
    sql_type: str
    namespace: str
    type: ColumnType
    as_text: bool
    definition: str

    @property
    def is_decimal(self) -> bool:
        return not isinstance(self.type, str)

    @property
    def is_temporal(self) -> bool:
        return isinstance(self.type, str) and self.type in _TEMPORAL


@dataclass(frozen=True)
class Table:
    """A table that can be read, with all of its partitions if it is partitioned. The primary key may be empty.

    hides_rows  row-level security lets this user see only some of its rows
    partitions  the oids of all of them
    """

    schema: str
    name: str
    oid: int
    is_partitioned: bool
    hides_rows: bool
    partitions: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]

    @property
    def stream(self) -> str:
        return ".".join(f'"{part}"' if "." in part else part for part in (self.schema, self.name))

    @property
    def occurrence(self) -> str:
        """The column that numbers equal rows of a table without a key; a name that the table does not have."""
        name = OCCURRENCE
        while name in {column.name for column in self.columns}:
            name += "_"
        return name

    @property
    def shape(self) -> str:
        """A fingerprint of what must stay the same for a saved position to hold: all that decides which rows there are
        and what they say, beside what is written into them."""
        columns = [(column.name, column.sql_type, column.definition) for column in self.columns]
        deciding = (self.oid, self.hides_rows, columns, self.primary_key)
        return _fingerprint(deciding)

    @property
    def parts(self) -> str:
        """A fingerprint of the table's partitions."""
        return _fingerprint(self.partitions)


@dataclass(frozen=True)
class Catalog:
    """The tables of some schemas: those that can be read, and those left out, each with the reason and the way out."""

    tables: tuple[Table, ...]
    left_out: tuple[str, ...]
    missing_schemas: tuple[str, ...]
    existing_schemas: tuple[str, ...]


def read_catalog(connection: Any, schemas: Sequence[str]) -> Catalog:
    """Everything the catalogue says of the tables of `schemas`, in the order of their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)' ORDER BY nspname"
        )
        existing = [name for (name,) in cursor.fetchall()]
        cursor.execute(_TABLES, {"schemas": list(schemas)})
        found = cursor.fetchall()
        oids = [oid for _, _, oid, *_ in found]
        columns = _by_table(cursor, _COLUMNS, oids)
        keys = _by_table(cursor, _PRIMARY_KEYS, oids)
    left_out, tables = [], []
    for schema, name, oid, is_partitioned, hides_rows, partitions, lacks in found:
        if lacks:
            left_out.append(f"table {schema}.{name} is left out until this is run: GRANT {lacks}")
        elif oid not in columns:
            left_out.append(f"table {schema}.{name} is left out: it has no columns")
        else:
            described = tuple(_column(*column) for column in columns[oid])
            key = tuple(column for (column,) in keys.get(oid, []))
            tables.append(Table(schema, name, oid, is_partitioned, hides_rows, partitions or "", described, key))
    missing = tuple(name for name in schemas if name not in existing)
    return Catalog(tuple(tables), tuple(left_out), missing, tuple(existing))


def _by_table(cursor: Any, query: str, oids: list[int]) -> dict[int, list[tuple[Any, ...]]]:
    cursor.execute(query, {"oids": oids})
    grouped: dict[int, list[tuple[Any, ...]]] = {}
    for oid, *described in cursor.fetchall():
        grouped.setdefault(oid, []).append(tuple(described))
    return grouped


def _column(name: str, base_type: str, modifier: int, sql_type: str, namespace: str, definition: str) -> Column:
    if base_type == "numeric":
        return Column(name, sql_type, namespace, _numeric(modifier), as_text=True, definition=definition)
    as_text = base_type not in _TYPES and base_type not in _TEXT_TYPES
    return Column(name, sql_type, namespace, _TYPES.get(base_type, "STRING"), as_text, definition)


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
