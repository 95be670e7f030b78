"""Rows of one table as bounded lists, in the order of a key, through short transactions and lost connections."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import sql

from catalog import Column, Table
from column_types import PLAIN, TEXT
from service_spec import Settings
from session import Patience, Session, reason
from shared.server_side_cursor import MOST_ROWS, Row, read_batches

After = list[str]


@dataclass(frozen=True)
class Part:
    """Some rows of a table: those that meet all conditions, in the order of some columns that tell them apart.

    after  the values of those columns in the last row that was read, as text; None for none. Reading goes on behind it
    """

    conditions: tuple[sql.Composable, ...]
    order: tuple[Column, ...]
    after: After | None = None


class Scan:
    """Reads one table. A row is a tuple of `values`, with what only `Scan` needs behind them.

    A list of rows holds at most `page_bytes` of values, or a single row that is larger. No snapshot is held for longer
    than `snapshot_seconds` and one list, and a lost connection costs nothing of what was read: reading goes on behind
    the last row.
    """

    def __init__(self, session: Session, table: Table, settings: Settings) -> None:
        self._session, self._table, self._settings = session, table, settings

    def batches(self, part: Part) -> Iterator[tuple[list[Row], After]]:
        """The rows of `part` in lists, each with its last row's place in the order. Raises psycopg2.Error for what will
        not pass."""
        patience = Patience(self._session, f"table {self._table.stream}")
        after, is_read = part.after, False
        while not is_read:
            begun = time.monotonic()
            try:
                for rows in self._read(part, after):
                    patience.progress()
                    after = self._place(part.order, rows[-1])
                    yield rows, after
                    if time.monotonic() - begun > self._settings.snapshot_seconds:
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
        widths = _select([sql.SQL("octet_length({})").format(row)], self._table, conditions, row)
        yield from self._fetch(query, widths)
        self._session.connection.rollback()

    def keyed(self, conditions: Iterable[sql.Composable]) -> list[Row]:
        """The rows that meet the conditions, which are few."""
        return self._session.fetch(
            self._operators(self._table.key), _select(self._flagged, self._table, conditions, None)
        )

    @property
    def values(self) -> list[sql.Composable]:
        """What is fetched of every row: the columns, and what their types cannot hold."""
        values = [column.value for column in self._table.columns]
        return [*values, _exact(self._table.guarded)] if self._table.guarded else values

    @property
    def _flagged(self) -> list[sql.Composable]:
        """`values`, and whether the row counts as deleted."""
        return [*self.values, self._table.soft_delete] if self._table.soft_delete else self.values

    def _read(self, part: Part, after: After | None) -> Iterator[list[Row]]:
        """The rows behind `after`; all of the part, and said so, where the server cannot compare with it."""
        if after is None:
            yield from self._ordered(part, None)
            return
        batches = self._ordered(part, after)
        try:
            first = next(batches, None)
        except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError) as error:
            self._session.connection.rollback()
            what = f"table {self._table.stream} is read from its beginning: its key cannot be compared"
            op.warning(f"{what} ({reason(error)})")
            batches = self._ordered(part, None)
        else:
            batches = chain([first] if first else [], batches)
        yield from batches

    def _ordered(self, part: Part, after: After | None) -> Iterator[list[Row]]:
        with self._session.connection.cursor() as cursor:
            cursor.execute(self._operators(part.order))
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
        measured = [sql.SQL("coalesce({}, 0)").format(width) for width in unbounded]
        return sql.SQL(" + ").join([sql.Literal(bounded), *measured])

    def _operators(self, order: Sequence[Column]) -> sql.Composable:
        """A statement that makes the key compare by its types' own operators, in the schemas of their extensions."""
        namespaces = dict.fromkeys(["pg_catalog", *(column.namespace for column in order)])
        return sql.SQL("SET LOCAL search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, namespaces)))


def _select(
    columns: Sequence[sql.Composable],
    table: Table,
    conditions: Iterable[sql.Composable],
    order: sql.Composable | None,
) -> sql.Composable:
    where = sql.SQL(" AND ").join([sql.SQL("true"), *conditions])
    query = sql.SQL("SELECT {} FROM {} WHERE {}").format(sql.SQL(", ").join(columns), table.source, where)
    return query if order is None else sql.SQL("{} ORDER BY {}").format(query, order)


def _behind(order: Sequence[Column], after: After) -> sql.Composable:
    """SQL that is true for rows behind a place; its values are constants, never pasted."""
    values = [column.literal(text) for column, text in zip(order, after, strict=True)]
    return sql.SQL("({}) > ({})").format(
        sql.SQL(", ").join(column.reference for column in order), sql.SQL(", ").join(values)
    )


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
