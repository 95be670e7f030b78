"""Rows of one table as bounded lists, in the order of a key, through short transactions and lost connections."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import sql

from column_types import PLAIN, TEXT
from service_spec import Settings
from session import Patience, Session, reason
from shared.errors import SourceError
from shared.server_side_cursor import MOST_ROWS, Row, read_batches
from tables import Column, Table

# One key after another, whatever the statistics say: of a table that has grown since, they may be far off.
_BY_INDEX = "SET LOCAL enable_hashjoin TO off; SET LOCAL enable_mergejoin TO off"

After = list[str]
# The values of a key, as text that PostgreSQL reads back.
KeyText = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Some rows of a table: those that meet all conditions, in the order of some columns that tell them apart.

    after  the values of those columns in the last row that was read, as text; None for none. Reading goes on behind it
    few    the rows are few: better found by an index and sorted than met on the way through the table in order
    keyed  the rows are those of a list of keys: each is found by the index of the key
    """

    conditions: tuple[sql.Composable, ...]
    order: tuple[Column, ...]
    after: After | None = None
    few: bool = False
    keyed: bool = False


# Whether the table still has its name, and its snapshot (of pg_class) is as new as its files (of the functions).
_IS_CURRENT = """
    SELECT coalesce(to_regclass({name})::oid = {oid}::oid, false) AND NOT EXISTS (
        SELECT FROM pg_class c WHERE c.oid = ANY ({oids}::oid[]) AND c.relkind IN ('r', 'm')
            AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)
    )
"""
# How often in a row a table may be rewritten while its lock is waited for.
_REWRITES = 5


class Scan:
    """Reads one table. A row is a tuple of `values`, with what only `Scan` needs behind them.

    A list of rows holds at most `page_bytes` of values, or a single row that is larger. No snapshot is held for longer
    than `snapshot_seconds` and one list, and a lost connection costs nothing of what was read: reading goes on behind
    the last row.
    """

    def __init__(self, session: Session, table: Table, settings: Settings) -> None:
        self._session, self._table, self._settings = session, table, settings
        self._resumes = True  # whether the server can compare with a place in the order

    def batches(self, part: Part) -> Iterator[tuple[list[Row], After]]:
        """The rows of `part` in lists, each with its last row's place in the order. Raises psycopg2.Error for what will
        not pass."""
        patience = Patience(self._session, f"table {self._table.stream}")
        after, is_read = part.after, False
        while not is_read:
            begun = time.monotonic()
            try:
                for rows in self._read(part, after):
                    if self._resumes:  # else the next transaction would not get any further
                        patience.progress()
                    after = self._place(part.order, rows[-1])
                    yield rows, after
                    if self._resumes and time.monotonic() - begun > self._settings.snapshot_seconds:
                        break
                else:
                    is_read = True
                self._session.connection.rollback()  # ends the transaction: its cursors and its snapshot
            except psycopg2.Error as error:
                patience.after(error)

    def numbered(self, conditions: Sequence[sql.Composable]) -> Iterator[list[Row]]:
        """The rows in one snapshot, each with its number among the rows equal to it behind its values: for a table
        without a key, where nothing tells behind which row to go on. Raises psycopg2.Error."""
        columns = sql.SQL(", ").join(column.reference for column in self._table.columns)
        row = sql.SQL('ROW({})::text COLLATE "C"').format(columns)
        number = sql.SQL("row_number() OVER (PARTITION BY {})").format(row)
        query = _select([*self.values, number], self._table, conditions, row)
        width = sql.SQL("{} * octet_length({})").format(self._growth, row)
        widths = _select([width], self._table, conditions, row)
        self._begin()
        yield from self._fetch(query, widths)
        with suppress(psycopg2.Error):  # all is read: whatever is asked for next will find the connection lost
            self._session.connection.rollback()

    def missing(self, keys: Sequence[KeyText]) -> list[Row]:
        """Those of some keys that no row has, letter for letter: types may call values equal that are delivered as
        different ones. As values of the key's columns. Raises psycopg2.Error for what will not pass."""
        key = self._table.key
        of_row, given = (
            [sql.SQL("{}.{}").format(sql.SQL(alias), sql.Identifier(column.name)) for column in key] for alias in "tk"
        )
        same = [sql.SQL("{} = {}").format(*pair) for pair in zip(of_row, given, strict=True)]
        alike = [sql.SQL('{}::text = {}::text COLLATE "C"').format(*pair) for pair in zip(of_row, given, strict=True)]
        query = sql.SQL("SELECT {} FROM ({}) AS k ({}) WHERE NOT EXISTS (SELECT FROM {} WHERE {})").format(
            sql.SQL(", ").join(
                sql.SQL(column.form.value).format(reference) for column, reference in zip(key, given, strict=True)
            ),
            _listed(key, keys),
            sql.SQL(", ").join(sql.Identifier(column.name) for column in key),
            self._table.source,
            sql.SQL(" AND ").join([*same, *alike]),
        )
        return self._session.fetch(self._operators(key), _BY_INDEX, query)

    def keyed(self, keys: Sequence[KeyText]) -> Iterator[list[Row]]:
        """The rows that have one of some keys, which are few, in bounded lists. Raises psycopg2.Error."""
        key = self._table.key
        columns = sql.SQL(", ").join(column.reference for column in key)
        is_one = sql.SQL("({}) IN ({})").format(columns, _listed(key, keys))
        return (rows for rows, _ in self.batches(Part((is_one,), key, few=True, keyed=True)))

    @property
    def values(self) -> list[sql.Composable]:
        """What is fetched of every row: the columns, and what their types cannot hold."""
        values = [column.value for column in self._table.columns]
        return [*values, _exact(self._table.guarded)] if self._table.guarded else values

    @property
    def _flagged(self) -> list[sql.Composable]:
        """`values`, and whether the row counts as deleted."""
        return [*self.values, self._table.soft_delete] if self._table.soft_delete else self.values

    def _begin(self) -> None:
        """Begins a transaction in which the table is locked, and not newer than the snapshot.

        A table that was rewritten between the two, as by ALTER TABLE, would have no rows for that snapshot. Raises
        SourceError for one that stays so: another table has its name.
        """
        if self._table.kind in "vf":
            return
        for _ in range(_REWRITES):
            with self._session.connection.cursor() as cursor:
                cursor.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(self._table.source))  # locks it
                name = sql.Identifier(self._table.schema, self._table.name).as_string(cursor)
                oids = [self._table.oid, *map(int, self._table.partitions.split())]
                cursor.execute(
                    sql.SQL(_IS_CURRENT).format(
                        name=sql.Literal(name), oid=sql.Literal(self._table.oid), oids=sql.Literal(oids)
                    )
                )
                ((is_current,),) = cursor.fetchall()
            if is_current:
                return
            self._session.connection.rollback()
        raise SourceError(f"table {self._table.stream} was replaced while it was read: the next sync reads it whole")

    def _read(self, part: Part, after: After | None) -> Iterator[list[Row]]:
        """The rows behind `after`; all of the part, and said so, where the server cannot compare with it."""
        if after is None or not self._resumes:
            yield from self._ordered(part, None)
            return
        batches = self._ordered(part, after)
        try:
            first = next(batches, None)
        except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError) as error:
            self._session.connection.rollback()
            batches = self._ordered(part, None)
            first = next(batches, None)  # raises what has nothing to do with the key
            self._resumes = False
            why = "" if any(column.is_hashed for column in part.order) else f" ({reason(error)})"
            op.warning(f"table {self._table.stream} is read from its beginning: its key cannot be compared{why}")
        yield from chain([first] if first else [], batches)

    def _ordered(self, part: Part, after: After | None) -> Iterator[list[Row]]:
        self._begin()
        with self._session.connection.cursor() as cursor:
            cursor.execute(self._operators(part.order))
            if part.few:  # PostgreSQL plans for the first tenth of what a cursor would bring, unless it is told
                cursor.execute("SET LOCAL cursor_tuple_fraction TO 1")
            if part.keyed:
                cursor.execute(_BY_INDEX)
        conditions = [*part.conditions, *([_behind(part.order, after)] if after is not None else [])]
        order = sql.SQL(", ").join(column.reference for column in part.order)
        hidden = [sql.SQL("{}::text").format(column.reference) for column in self._hidden(part.order)]
        query = _select([*self._flagged, *hidden], self._table, conditions, order)
        widths = _select([self._width()], self._table, conditions, order) if self._has_wide_rows else None
        yield from self._fetch(query, widths)

    def _hidden(self, order: Sequence[Column]) -> list[Column]:
        """The columns of an order whose text the values fetched do not tell: they are fetched once more, as text."""
        return [column for column in order if column.form not in (PLAIN, TEXT) or column.base_type == "bytea"]

    def _place(self, order: Sequence[Column], row: Row) -> After:
        """The row's place in the order, as text that PostgreSQL reads back."""
        hidden = self._hidden(order)
        values = dict(zip((column.name for column in self._table.columns), row, strict=False))
        texts = dict(zip((column.name for column in hidden), row[len(row) - len(hidden) :], strict=True))
        return [str({**values, **texts}[column.name]) for column in order]

    def _fetch(self, query: sql.Composable, widths: sql.Composable | None) -> Iterator[list[Row]]:
        return read_batches(self._session.connection, query, widths, page_bytes=self._settings.page_bytes)

    @property
    def _has_wide_rows(self) -> bool:
        """Whether as many rows as a fetch may bring could be larger than a page."""
        widths = [column.most_bytes for column in self._table.columns]
        return None in widths or sum(filter(None, widths)) * MOST_ROWS > self._settings.page_bytes

    def _width(self) -> sql.Composable:
        """SQL of the bytes of a row: measured where a column has no bound."""
        bounded = sum(column.most_bytes or 0 for column in self._table.columns)
        unbounded = [column.width for column in self._table.columns if column.most_bytes is None]
        measured = [sql.SQL("coalesce({} * {}, 0)").format(self._growth, width) for width in unbounded]
        return sql.SQL(" + ").join([sql.Literal(bounded), *measured])

    @property
    def _growth(self) -> sql.Composable:
        """How many times longer text can be here than in the encoding of the database, which is what is measured."""
        encoding = self._session.connection.info.parameter_status("server_encoding")
        return sql.Literal(1 if encoding in ("UTF8", "SQL_ASCII") else 3)

    def _operators(self, order: Sequence[Column]) -> sql.Composable:
        """A statement that makes the key compare by its types' own operators, in the schemas of their extensions."""
        namespaces = dict.fromkeys(["pg_catalog", *(column.namespace for column in order)])
        return sql.SQL("SET LOCAL search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, namespaces)))


def _select(
    columns: Sequence[sql.Composable],
    table: Table,
    conditions: Iterable[sql.Composable],
    order: sql.Composable,
) -> sql.Composable:
    where = sql.SQL(" AND ").join([sql.SQL("true"), *conditions])
    return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
        sql.SQL(", ").join(columns), table.source, where, order
    )


def _behind(order: Sequence[Column], after: After) -> sql.Composable:
    """SQL that is true for rows behind a place; its values are constants, never pasted."""
    values = [column.literal(text) for column, text in zip(order, after, strict=True)]
    return sql.SQL("({}) > ({})").format(
        sql.SQL(", ").join(column.reference for column in order), sql.SQL(", ").join(values)
    )


def _listed(columns: Sequence[Column], keys: Sequence[KeyText]) -> sql.Composable:
    """SQL of a table of keys; each is a constant, never pasted. The server knows how many they are."""
    names = [sql.Identifier(f"c{number}") for number in range(len(columns))]
    values = [
        sql.SQL("u.{}::{}").format(name, sql.SQL(column.sql_type)) for name, column in zip(names, columns, strict=True)
    ]
    # One constant for a column: one for each value would take longer to write than to look up.
    texts = [sql.SQL("{}::text[]").format(sql.Literal(list(of_column))) for of_column in zip(*keys, strict=True)]
    lists = [sql.SQL(", ").join(parts) for parts in (values, texts, names)]
    return sql.SQL("SELECT {} FROM unnest({}) AS u ({})").format(*lists)


def _exact(guarded: Sequence[Column]) -> sql.Composable:
    """SQL of an object with the text of each value that has no exact form in its column's type; NULL if none has."""
    texts = [
        sql.SQL("jsonb_build_object({}, CASE WHEN {} THEN {}::text END)").format(
            sql.Literal(column.name), column.beyond, column.reference
        )
        for column in guarded
    ]
    return sql.SQL("CASE WHEN {} THEN jsonb_strip_nulls({}) END").format(
        sql.SQL(" OR ").join(column.beyond for column in guarded), sql.SQL(" || ").join(texts)
    )
