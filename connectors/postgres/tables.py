"""What is read of a database: tables, their columns and keys, as the catalogue and the settings describe them."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from psycopg2 import sql

from column_types import Form, most_bytes, width
from service_spec import Settings
from shared.naming import delivered_name
from shared.values import ColumnType

OCCURRENCE = "_occurrence"
EXACT = "_exact"
Mode = Literal["changes", "full", "cursor", "log", "keyless"]


@dataclass(frozen=True)
class Column:
    """A column as it is read.

    sql_type   its type as PostgreSQL writes it, below any domain
    base_type  the name of that type in the catalogue, behind `namespace`, its schema, unless it is built in
    modifier   its length or precision, as the catalogue packs it
    type, form the Fivetran type, and the SQL that reads it
    definition what its value depends on beside what was written
    """

    name: str
    base_type: str
    modifier: int
    sql_type: str
    namespace: str
    definition: str
    type: ColumnType
    form: Form
    is_hashed: bool = False

    @property
    def reference(self) -> sql.Composable:
        return sql.SQL("t.{}").format(sql.Identifier(self.name))

    @property
    def value(self) -> sql.Composable:
        """SQL of what is fetched."""
        return sql.SQL(self.form.value).format(self.reference)

    @property
    def beyond(self) -> sql.Composable:
        """SQL that is true where the value has no exact form in the column's type."""
        return sql.SQL(self.form.beyond or "false").format(self.reference)

    def literal(self, text: str) -> sql.Composable:
        """SQL of a value of the column's type, from its text."""
        return sql.Composed([sql.Literal(text), sql.SQL(f"::{self.sql_type}")])

    def compared(self, operator: str, text: str) -> sql.Composable:
        """SQL that compares the column with a value given as text."""
        return sql.SQL("{} {} {}").format(self.reference, sql.SQL(operator), self.literal(text))

    @property
    def most_bytes(self) -> int | None:
        return most_bytes(self.base_type, self.modifier)

    @property
    def width(self) -> sql.Composable:
        return width(self.base_type, self.reference)


@dataclass(frozen=True)
class Table:
    """A table, view or foreign table, with all of its partitions if it is partitioned. The key may be empty.

    kind         r, p, v, m or f as in pg_class.relkind
    hides_rows   row-level security lets this user see only some of its rows
    partitions   the oids of all of them
    joined       the same, with the transactions by which they became partitions
    about        how many rows it has, by the statistics; 0 when they do not know
    key_declared the key is the settings', nothing in the database enforces it
    cursor       the column by which changes are read in mode `cursor`
    soft_delete  SQL that is true for a row that counts as deleted
    """

    schema: str
    name: str
    oid: int
    kind: str
    hides_rows: bool
    partitions: str
    joined: str
    about: int
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    key_declared: bool
    mode: Mode
    cursor: Column | None
    soft_delete: sql.Composable | None
    salt: str = field(repr=False)

    @property
    def stream(self) -> str:
        return ".".join(f'"{part}"' if "." in part else part for part in (self.schema, self.name))

    @property
    def source(self) -> sql.Composable:
        """The table as FROM names it: without the rows of tables that inherit from it, which have their own."""
        name = sql.Identifier(self.schema, self.name)
        return sql.SQL("ONLY {} AS t" if self.kind in "rf" else "{} AS t").format(name)

    @cached_property
    def key(self) -> tuple[Column, ...]:
        by_name = {column.name: column for column in self.columns}
        return tuple(by_name[name] for name in self.primary_key)

    @property
    def guarded(self) -> list[Column]:
        """The columns of types that cannot hold all of their values."""
        return [column for column in self.columns if column.form.beyond]

    @property
    def occurrence(self) -> str:
        """The column that numbers equal rows of a table without a key."""
        return self._free_name(OCCURRENCE)

    @property
    def exact(self) -> str:
        """The column with the text of values that the types of their own columns cannot hold."""
        return self._free_name(EXACT)

    @property
    def declared(self) -> dict[str, ColumnType]:
        """The Fivetran type of every column delivered."""
        return {
            **{column.name: column.type for column in self.columns},
            **({self.exact: "JSON"} if self.guarded else {}),
            **({} if self.primary_key else {self.occurrence: "LONG"}),
        }

    @cached_property
    def shape(self) -> str:
        """A fingerprint of what must stay the same for a saved position to hold: all that decides which rows there are
        and what they say, beside what is written into them."""
        columns = [(column.name, column.sql_type, column.definition, column.form) for column in self.columns]
        hashed = [column.name for column in self.columns if column.is_hashed]
        salt = self.salt if hashed else ""
        deciding = (self.oid, self.hides_rows, columns, self.primary_key, hashed, salt, self.soft_delete)
        return _fingerprint(deciding)

    @property
    def parts(self) -> str:
        """A fingerprint of the table's partitions."""
        return _fingerprint(self.joined)

    def _free_name(self, name: str) -> str:
        taken = {delivered_name(column.name) for column in self.columns}
        return next(free for free in (name, *(f"{name}_{number}" for number in range(2, 2000))) if free not in taken)


@dataclass(frozen=True)
class Catalog:
    """What a database holds of what the settings name.

    tables    those that are read
    left_out  tables and columns that this user may not read, each with the GRANT that is missing
    problems  settings that the database cannot meet, each in one sentence
    """

    tables: tuple[Table, ...]
    left_out: tuple[str, ...]
    problems: tuple[str, ...]


def declared(catalog: Catalog, settings: Settings) -> list[dict[str, Any]]:
    """The tables with their keys and the type of every column; with their schema when there are several."""
    return [
        {
            "table": table.name,
            **({} if settings.one_schema else {"schema": table.schema}),
            **({"primary_key": list(table.primary_key)} if table.primary_key else {}),
            "columns": table.declared,
        }
        for table in catalog.tables
    ]


def _fingerprint(value: Any) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=8).hexdigest()
