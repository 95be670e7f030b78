"""A database's tables as pages: each table by its mode, resumed behind the last row delivered.

The modes, and the position of a table's stream in the state, which `shape` and what else has to be unchanged precede:

changes  only rows written since the pass before began, by `xmin`, the transaction that wrote a row. It needs no column
         of the table's own and misses no update; it sees no deletes. What `xmin` cannot show makes a table be read
         whole again: columns or partitions that changed, another database, and a server that was started anew, as
         after a restore or a failover transactions may have been counted anew too.
         {"since": 7310, "pass": {"after": ["7", "1"], "since": 7544}}   transactions before `since` are delivered
cursor   only rows whose cursor column has grown, up to a bound taken when the pass begins; then those beyond the bound,
         which the next pass reads again: NULL, infinity, the future, and what was written a moment ago
         {"from": "2026-01-31 …", "pass": {"upto": "2026-02-01 …", "after": ["2026-01-31 …", "7"], "beyond": false}}
full     a truncate, then every row: the only one of these, beside log, that sees deletes
         {"pass": {"after": ["7"]}}
log      a copy, and from then on the changes and deletes that the server's log names (change_stream.py)
         {"log": "0/16F3D58", "from": "0/16F3E10", "pass": {"after": ["7"]}}
keyless  as full, but begun anew when it is interrupted: nothing tells its rows apart
"""

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from sys import getsizeof

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import errors, sql

from catalog import Column, Mode, Table
from change_stream import follow
from scan import KeyText, Part, Scan
from service_spec import Settings
from session import Patience, Session, reason, told
from shared.checkpoints import Checkpoints
from shared.errors import RecordError, SourceError
from shared.pages import Page, Position, Record, describe
from shared.server_side_cursor import Row

_NOW = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, system_identifier::text, current_database()::text,
        (SELECT oid::text FROM pg_database WHERE datname = current_database()), pg_postmaster_start_time()::text
    FROM pg_control_system()
"""
# By the type of a cursor column: the bound of a pass, which rows it is taken of, and whether numbers have begun again.
_TIMES = ("date", "timestamp", "timestamptz")
_NUMBER = "greatest(max({column})::numeric - {overlap}, min({column}))"  # what is below would not fit every type
_BOUNDS = {
    "time": ("max({column}) - make_interval(secs => {overlap})", "isfinite({column}) AND {column} <= now()", "false"),
    "number": (_NUMBER, "true", "max({column}) < {begin}"),
    "numeric": (_NUMBER, "{column}::text !~ '[a-z]'", "max({column}) < {begin}"),  # no infinity, no NaN
}
# PostgreSQL compares transaction ids within this distance; beyond it, `xmin` says nothing.
_COMPARABLE = 2**31 - 1
# Of so many rows, one is measured for the progress log.
_SAMPLE = 16


def read_pages(
    session: Session, tables: Iterable[Table], checkpoints: Checkpoints, settings: Settings
) -> Generator[Page, None, None]:
    """All tables, one after another, each from where its stream stands. Raises SourceError naming the table."""
    in_log = [Reader(session, table, settings) for table in tables if table.mode == "log"]
    yield from follow(session, in_log, checkpoints, settings)
    for table in (table for table in tables if table.mode != "log"):
        with told(f"table {table.stream} could not be read to its end"):
            try:
                yield from Reader(session, table, settings).pages(checkpoints.position(table.stream, needs=("shape",)))
            except errors.InsufficientPrivilege as error:  # on what a view reads, a function calls, a policy asks
                session.connection.rollback()
                op.warning(f"table {table.stream} is left out until this user may read all of it: {reason(error)}")


class Reader:
    """Reads one table."""

    def __init__(self, session: Session, table: Table, settings: Settings) -> None:
        self.table = table
        self._session, self._table, self._settings = session, table, settings
        self._scan = Scan(session, table, settings)
        self._schema = None if settings.one_schema else table.schema
        self._names = [name for name in table.declared if table.primary_key or name != table.occurrence]
        self._has_told_exact = False

    def pages(self, position: Position | None) -> Iterator[Page]:
        """The table's pages from where its stream stands."""
        if self._table.hides_rows:
            op.warning(
                f"row-level security hides rows of table {self._table.stream} from this user: BYPASSRLS shows them"
            )
        read: Mapping[Mode, Callable[[Position | None], Iterator[Page]]] = {
            "changes": self._changes,
            "cursor": self._cursor,
            "full": self._full,
            "keyless": self._keyless,
        }
        yield from read[self._table.mode](position)

    def kept(self) -> Position:
        """What must be unchanged for a position to hold."""
        return {"mode": self._table.mode, "shape": f"{self._schema or ''} {self._table.shape}"}

    def _changes(self, position: Position | None) -> Iterator[Page]:
        now, server = self._now()
        kept = {**self.kept(), "server": server}
        since, under_way = None, None
        has_other_parts = False
        if position and _holds(position, kept):
            # With other partitions rows may be there that nobody wrote: all is read once more.
            has_other_parts = position.get("parts") != self._table.parts
            since, under_way = position["since"], position.get("pass")
        if has_other_parts or self._table.hides_rows or (since is not None and not 0 <= now - since < _COMPARABLE):
            since = None  # a policy may show rows that were written long ago
        next_since: int | None = now
        if under_way:  # it is finished first, for its progress
            next_since = None if has_other_parts else under_way["since"]
        kept |= {"parts": self._table.parts}
        conditions = () if since is None else (_written_since(since),)
        part = Part(conditions, self._table.key, under_way["after"] if under_way else None)
        if since is None:
            self._check_key()
        for rows, after in self._scan.batches(part):
            moved = {**kept, "since": since, "pass": {"after": after, "since": next_since}}
            yield self._page(rows, self._saved(moved), expected=self._table.about if since is None else 0)
        yield self._page([], {**kept, "since": next_since})

    def _full(self, position: Position | None) -> Iterator[Page]:
        yield from self.copied(position, self.kept())

    def copied(self, position: Position | None, kept: Position) -> Iterator[Page]:
        """A truncate and every row, or what is left of them if the position is inside such a pass with all that must
        be unchanged. At its end the table stands at `kept`."""
        behind = position["pass"]["after"] if position and _holds(position, kept) and "pass" in position else None
        begins = behind is None
        if begins:
            self._check_key()
        for rows, after in self._scan.batches(Part((), self._table.key, behind)):
            moved = {**kept, "pass": {"after": after}}
            # Truncated is what can be read: not before the first rows are here.
            yield self._page(rows, self._saved(moved), truncate=begins, expected=self._table.about)
            begins = False
        yield self._page([], kept, truncate=begins)

    def _cursor(self, position: Position | None) -> Iterator[Page]:
        cursor, key = self._table.cursor, self._table.key
        assert cursor is not None  # of this mode
        kept = {**self.kept(), "cursor": cursor.name}
        if not position or not _holds(position, kept):
            self._check_key()
            position = {"from": None}
        begin, under_way = position["from"], position.get("pass")
        if not under_way:
            upto, has_fallen = self._bound(cursor, begin)
            if has_fallen or self._table.hides_rows:  # a policy may show rows that were written long ago
                begin = None
            under_way = {"upto": upto, "after": None, "beyond": False}
        upto, behind = under_way["upto"], under_way["after"]
        grown: list[sql.Composable] = [sql.SQL("false")]
        rest: list[sql.Composable] = []
        if upto is not None:
            grown = [cursor.compared("<=", upto)]
            # All but those, said so that an index on the cursor finds them.
            rest = [sql.SQL("({} IS NULL OR {})").format(cursor.reference, cursor.compared(">", upto))]
        if begin is not None:
            grown.append(cursor.compared(">=", begin))
        parts = {
            False: Part(tuple(grown), (cursor, *(column for column in key if column != cursor))),
            True: Part(tuple(rest), key, few=begin is not None),
        }
        for beyond in (False, True)[under_way["beyond"] :]:
            for rows, after in self._scan.batches(replace(parts[beyond], after=behind)):
                moved = {**kept, "from": begin, "pass": {"upto": upto, "after": after, "beyond": beyond}}
                yield self._page(rows, self._saved(moved), expected=0 if begin else self._table.about)
            behind = None
        yield self._page([], {**kept, "from": upto})

    def _keyless(self, _: Position | None) -> Iterator[Page]:
        """Every row, with its number among the rows equal to it, so that Fivetran keeps them apart."""
        patience = Patience(self._session, f"table {self._table.stream}, from its beginning")
        is_deleted = self._table.soft_delete
        conditions = [sql.SQL("{} IS NOT TRUE").format(is_deleted)] if is_deleted else []
        is_read = False
        while not is_read:
            begins = True
            try:
                for rows in self._scan.numbered(conditions):
                    page = self._page(rows, None, truncate=begins, expected=self._table.about)
                    page.records = map(self._numbered, page.records, rows)
                    yield page
                    begins = False
            except psycopg2.Error as error:
                patience.after(error)
            else:
                is_read = True
        yield self._page([], self.kept(), truncate=begins)

    def _numbered(self, record: Record, row: Row) -> Record:
        record[self._table.occurrence] = row[-1]
        return record

    def looked_up(self, keys: Sequence[KeyText]) -> Iterator[Page]:
        """What has become of the rows with these keys, which are few: those that are there, and deletes of the others.
        No position moves."""
        names = self._table.primary_key
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
        if self._table.soft_delete and self._table.primary_key:
            flag = len(self._names)
            deletes = self._keys([row for row in rows if row[flag]])
            rows = [row for row in rows if not row[flag]]
        return Page(
            self._table.name,
            self._records(rows),
            position,
            stream=self._table.stream,
            schema=self._schema,
            primary_key=self._table.primary_key,
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
        hashed = [column.name for column in self._table.columns if column.is_hashed]
        return map(self._hasher(hashed), records) if hashed else iter(records)

    def _hasher(self, hashed: list[str]) -> Callable[[Record], Record]:
        salt = self._table.salt.encode()

        def with_hashes(record: Record) -> Record:
            for name in hashed:
                if record.get(name) is not None:  # a delete has the key alone
                    record[name] = hashlib.sha256(salt + record[name].encode()).hexdigest()
            return record

        return with_hashes

    def _keys(self, rows: Iterable[Row]) -> Iterator[Record]:
        return ({name: record[name] for name in self._table.primary_key} for record in self._records(rows))

    def _saved(self, position: Position) -> Position | None:
        """The position, unless it would put into the state what the settings hide."""
        return None if any(column.is_hashed for column in self._table.key) else position

    def _check(self, rows: list[Row]) -> None:
        """Tells of values that their column's type cannot hold; raises RecordError for one in a key."""
        if not self._table.guarded:
            return
        place = len(self._table.columns)
        for row in rows:
            if row[place] is None:
                continue
            columns = ", ".join(row[place])
            record = {**next(self._records([row])), **row[place]}
            described = describe(self._table.stream, self._table.primary_key, record)
            if in_key := [name for name in self._table.primary_key if name in row[place]]:
                raise RecordError(
                    f"{described}, column {in_key[0]}: {row[place][in_key[0]]!r} has no exact form in the type of its "
                    f"column: name it in text_columns"
                )
            if not self._has_told_exact:
                op.warning(
                    f"{described}: what column {columns} holds has no exact form in its type; the column "
                    f"{self._table.exact} has the text of this value, and of each such value of the table"
                )
                self._has_told_exact = True

    def _check_key(self) -> None:
        """Raises SourceError for a key of the settings' that does not tell all rows apart: some would be lost."""
        if not self._table.key_declared:
            return
        key = sql.SQL(", ").join(column.reference for column in self._table.key)
        is_null = sql.SQL(" OR ").join(sql.SQL("{} IS NULL").format(column.reference) for column in self._table.key)
        query = sql.SQL("SELECT true FROM {} GROUP BY {} HAVING count(*) > 1 OR bool_or({}) LIMIT 1").format(
            self._table.source, key, is_null
        )
        if self._session.fetch(query):
            raise SourceError(
                f"keys: {', '.join(self._table.primary_key)} of table {self._table.stream} is no key: rows have it "
                "in common, or it is NULL"
            )

    def _bound(self, cursor: Column, begin: str | None) -> tuple[str | None, bool]:
        """The largest cursor that is not in the future, less the overlap, as text; None without any. And whether
        numbers have begun again below where this pass was to begin: then no row can be told from a new one."""
        kind = "time" if cursor.base_type in _TIMES else "numeric" if cursor.base_type == "numeric" else "number"
        bound, usable, fallen = _BOUNDS[kind]
        parts = {
            "column": cursor.reference,
            "overlap": sql.Literal(self._settings.cursor_overlap),
            "begin": sql.SQL("NULL") if begin is None else cursor.literal(begin),
        }
        query = sql.SQL("SELECT ({})::{}::text, coalesce({}, false) FROM {} WHERE {}").format(
            sql.SQL(bound).format(**parts),
            sql.SQL(cursor.sql_type),
            sql.SQL(fallen).format(**parts),
            self._table.source,
            sql.SQL(usable).format(**parts),
        )
        ((text, has_fallen),) = self._session.fetch(query)
        if has_fallen:
            op.warning(
                f"table {self._table.stream} is read whole: all of {cursor.name} is below {begin}, where this sync was "
                "to begin"
            )
        return text, has_fallen

    def _now(self) -> tuple[int, str]:
        """The oldest transaction that has not ended, and a fingerprint of the server since it was started."""
        ((oldest, *server),) = self._session.fetch(_NOW)
        return oldest, hashlib.blake2b(repr(server).encode(), digest_size=8).hexdigest()


def _holds(position: Position, kept: Position) -> bool:
    return all(position.get(name) == value for name, value in kept.items())


def _written_since(transaction: int) -> sql.Composable:
    oldest = sql.Literal(str(max(transaction % 2**32, 3)))  # 0 to 2 are no transactions
    return sql.SQL("age(t.xmin) <= age({}::xid)").format(oldest)
