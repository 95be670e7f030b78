"""Rows of one table as pages: records, deletes and what must be told of them, whatever the mode."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from sys import getsizeof

from fivetran_connector_sdk import Operations as op
from psycopg2 import sql

from scan import KeyText, Part, Scan
from service_spec import Settings
from session import Session
from shared.errors import RecordError, SourceError
from shared.pages import Page, Position, Record, describe
from shared.server_side_cursor import Row
from tables import Table

# Of so many rows, one is measured for the progress log.
_SAMPLE = 16


class TablePages:
    """Makes the pages of one table."""

    def __init__(self, session: Session, table: Table, settings: Settings) -> None:
        self.table = table
        self._session, self._settings = session, settings
        self._scan = Scan(session, table, settings)
        self._schema = None if settings.one_schema else table.schema
        self._names = list(table.declared)
        self._has_told_exact = False

    def kept(self) -> Position:
        """What must be unchanged for a position to hold."""
        return {"mode": self.table.mode, "shape": f"{self._schema or ''} {self.table.shape}"}

    def copied(self, position: Position | None, kept: Position) -> Iterator[Page]:
        """A truncate and every row, or what is left of them if the position is inside such a pass with all that must
        be unchanged. At its end the table stands at `kept`."""
        behind = position["pass"]["after"] if position and holds(position, kept) and "pass" in position else None
        begins = behind is None
        if begins:
            self._check_key()
        for rows, after in self._scan.batches(Part((), self.table.key, behind)):
            moved = {**kept, "pass": {"after": after}}
            # Truncated is what can be read: not before the first rows are here.
            yield self._page(rows, self._saved(moved), truncate=begins, expected=self.table.about)
            begins = False
        yield self._page([], kept, truncate=begins)

    def looked_up(self, keys: Sequence[KeyText]) -> Iterator[Page]:
        """What has become of the rows with these keys, which are few: those that are there, and deletes of the others.
        No position moves."""
        names = self.table.primary_key
        # A key that its column's type cannot hold was never delivered.
        gone = (row for row in self._scan.missing(keys) if None not in row)
        page = self._page([], None)
        page.deletes = list(self._hashed(dict(zip(names, row, strict=True)) for row in gone))
        if page.deletes:
            yield page
        for rows in self._scan.keyed(keys):
            yield self._page(rows, None)

    def emptied(self) -> Page:
        """The table has no rows any more. No position moves."""
        return self._page([], None, truncate=True)

    def moved(self, position: Position) -> Page:
        """Nothing is delivered, and the table stands at the position."""
        return self._page([], position)

    def _page(self, rows: list[Row], position: Position | None, *, truncate: bool = False, expected: int = 0) -> Page:
        self._check(rows)
        deletes: Iterable[Record] = ()
        if self.table.soft_delete and self.table.primary_key:
            flag = len(self._names)
            deletes = self._keys([row for row in rows if row[flag]])
            rows = [row for row in rows if not row[flag]]
        return Page(
            self.table.name,
            self._records(rows),
            position,
            stream=self.table.stream,
            schema=self._schema,
            primary_key=self.table.primary_key,
            truncate=truncate,
            deletes=deletes,
            size=sum(map(getsizeof, chain.from_iterable(rows[::_SAMPLE]))) * _SAMPLE,
            expected=expected,
        )

    def _records(self, rows: Iterable[Row]) -> Iterator[Record]:
        # What only the scan needs stands behind the names. Without a frame of Python's own: this is run for every row.
        records: Iterator[Record] = map(dict, map(zip, repeat(self._names), rows))
        return self._hashed(records)

    def _hashed(self, records: Iterable[Record]) -> Iterator[Record]:
        hashed = [column.name for column in self.table.columns if column.is_hashed]
        return map(self._hasher(hashed), records) if hashed else iter(records)

    def _hasher(self, hashed: list[str]) -> Callable[[Record], Record]:
        salt = self.table.salt.encode()

        def with_hashes(record: Record) -> Record:
            for name in hashed:
                if record.get(name) is not None:  # a delete has the key alone
                    record[name] = hashlib.sha256(salt + record[name].encode()).hexdigest()
            return record

        return with_hashes

    def _keys(self, rows: Iterable[Row]) -> Iterator[Record]:
        return ({name: record[name] for name in self.table.primary_key} for record in self._records(rows))

    def _saved(self, position: Position) -> Position | None:
        """The position, unless it would put into the state what the settings hide."""
        return None if any(column.is_hashed for column in self.table.key) else position

    def _check(self, rows: list[Row]) -> None:
        """Tells of values that their column's type cannot hold; raises RecordError for one in a key."""
        if not self.table.guarded:
            return
        place = len(self.table.columns)
        for row in rows:
            if row[place] is None:
                continue
            columns = ", ".join(row[place])
            record = {**next(self._records([row])), **row[place]}
            described = describe(self.table.stream, self.table.primary_key, record)
            if in_key := [name for name in self.table.primary_key if name in row[place]]:
                raise RecordError(
                    f"{described}, column {in_key[0]}: {row[place][in_key[0]]!r} has no exact form in the type of its "
                    f"column: name it in text_columns"
                )
            if not self._has_told_exact:
                op.warning(
                    f"{described}: what column {columns} holds has no exact form in its type; the column "
                    f"{self.table.exact} has the text of this value, and of each such value of the table"
                )
                self._has_told_exact = True

    def _check_key(self) -> None:
        """Raises SourceError for a key of the settings' that does not tell all rows apart: some would be lost."""
        if not self.table.key_declared:
            return
        key = sql.SQL(", ").join(column.reference for column in self.table.key)
        is_null = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(column.reference) for column in self.table.key)
        query = sql.SQL("SELECT true FROM {} GROUP BY {} HAVING count(*) > 1 OR bool_or({}) LIMIT 1").format(
            self.table.source, key, is_null
        )
        if self._session.fetch(query):
            raise SourceError(
                f"keys: {', '.join(self.table.primary_key)} of table {self.table.stream} is no key: rows have it "
                "in common, or it is NULL"
            )


def holds(position: Position, kept: Position) -> bool:
    """Whether all that must be unchanged for a position is unchanged."""
    return all(position.get(name) == value for name, value in kept.items())
