"""A database's tables as pages: in key order, only the rows that changed, resumed after the last key delivered.

Which rows changed is read from `xmin`, the transaction that wrote a row: rows of transactions that had ended when the
pass before began are not sent again. It needs no column of the table's own and misses no update; it sees no deletes.

What `xmin` cannot show makes a table be read whole again: columns or partitions that changed, another database, and a
server that was started anew, as after a restore or a failover transactions may have been counted anew too.

The position of a table's stream in the state:

    {"shape": "a1b2…", "server": "c3d4…",     what must be unchanged for the rest to hold
     "parts": "e5f6…",                        the partitions; with others, rows may be there that nobody wrote
     "since": 7310,                           transactions before this one are delivered
     "pass": {"after": ["7", "1"], "since": 7544}}   the pass under way: the last key, and what `since` becomes
"""

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import chain
from operator import itemgetter
from typing import Any

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import extensions, sql

from catalog import Column, Table
from service_spec import Settings
from shared.checkpoints import Checkpoints
from shared.errors import RecordError, SourceError, is_this_machine, unreachable
from shared.pages import Page, Position, describe
from shared.server_side_cursor import Row, read_batches

_NOW = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, system_identifier::text, current_database()::text,
        (SELECT oid::text FROM pg_database WHERE datname = current_database()), pg_postmaster_start_time()::text
    FROM pg_control_system()
"""
# PostgreSQL compares transaction ids within this distance; beyond it, `xmin` says nothing.
_COMPARABLE = 2**31 - 1


def connect(settings: Settings) -> Any:
    """A read-only session in UTC; raises SourceError that says why the server would not have it."""
    plaintext = settings.allow_plaintext or is_this_machine(settings.host)
    where = f"PostgreSQL at {settings.host}:{settings.port}"
    try:
        connection = psycopg2.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=settings.password,
            sslmode="prefer" if plaintext and settings.sslmode == "require" else settings.sslmode,
            connect_timeout=15,
            application_name="fivetran connector",
            # What a role or a database may have set otherwise, and values would arrive changed.
            options="-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c bytea_output=hex"
            " -c extra_float_digits=1 -c client_encoding=UTF8"
            # And what decides how names and types are written and found: all of ours are written in full.
            " -c search_path=pg_catalog -c quote_all_identifiers=off"
            # Compiling the catalogue's queries would take longer than running them.
            " -c jit=off"
            # While a page is delivered the session is idle, and the cursor has to live on.
            " -c idle_in_transaction_session_timeout=0",
            # A connection that is gone without a word is noticed after a minute.
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
    except psycopg2.OperationalError as error:
        reason = _first_line(error)
        if "Connection refused" in reason or "could not translate" in reason or "timeout" in reason:
            raise unreachable(where, settings.host, reason) from error
        raise SourceError(f"{where} would not let user {settings.user} into {settings.database}: {reason}") from error
    connection.set_session(readonly=True)
    for oids, name, convert in _EXACT:
        extensions.register_type(extensions.new_type(oids, name, convert), connection)
    return connection


def read_pages(
    connection: Any, tables: Iterable[Table], checkpoints: Checkpoints, settings: Settings
) -> Generator[Page, None, None]:
    """All tables, one after another, each from where its stream stands. Raises SourceError naming the table."""
    for table in tables:
        schema = table.schema if len(settings.schemas) > 1 else None
        reader = _Reader(connection, table, schema, settings.page_bytes)
        with told(f"table {table.stream} could not be read to its end"):
            yield from reader.pages(checkpoints.position(table.stream, needs=("shape", "server")))
            connection.commit()  # ends the transaction with the table: no snapshot is held longer than one table takes


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns an error of the database into a SourceError: what failed, and why, in the server's words."""
    try:
        yield
    except psycopg2.Error as error:
        raise SourceError(f"{what}: {_first_line(error)}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{what}: the database holds bytes that are no text in its encoding ({error.reason})"
        ) from error


@dataclass(frozen=True)
class _Pass:
    """What a pass reads: rows written since a transaction, after a key. None means from the beginning.

    `next_since` is where the pass behind it begins.
    """

    since: int | None
    after: list[str] | None
    next_since: int | None


class _Reader:
    """Reads one table."""

    def __init__(self, connection: Any, table: Table, schema: str | None, page_bytes: int) -> None:
        self._connection, self._table, self._schema, self._page_bytes = connection, table, schema, page_bytes
        self._names = [column.name for column in table.columns]
        self._key = [self._names.index(name) for name in table.primary_key]

    def pages(self, position: Position | None) -> Iterator[Page]:
        """The table's pages in key order; a table without a key is delivered whole, after a truncate."""
        now, server = self._now()
        kept = {"shape": f"{self._schema or ''} {self._table.shape}", "server": server}
        parts = {"parts": self._table.parts}
        if self._table.hides_rows:
            op.warning(
                f"row-level security hides rows of table {self._table.stream} from this user: BYPASSRLS shows them"
            )
        if not self._table.primary_key:
            yield from self._whole(kept)
            return
        going = _going_on(position, kept, parts, now)
        if self._table.hides_rows:  # a policy may show rows that were written long ago
            going = replace(going, since=None)
        kept |= parts
        for rows in self._batches(going):
            self._check(rows)
            after = [_text(rows[-1][place]) for place in self._key]
            under_way = {"since": going.since, "pass": {"after": after, "since": going.next_since}}
            yield self._page(rows, {**kept, **under_way})
        yield self._page([], {**kept, "since": going.next_since})

    def _batches(self, going: _Pass) -> Iterator[list[Row]]:
        """The rows of a pass; from the table's beginning, and said so, where the server cannot go on after the key."""
        self._find_operators()
        batches = read_batches(self._connection, self._query(going), page_bytes=self._page_bytes)
        if going.after is not None:
            try:
                first = next(batches, None)
            except (psycopg2.ProgrammingError, psycopg2.DataError, psycopg2.NotSupportedError) as error:
                self._connection.rollback()
                self._find_operators()
                what = f"table {self._table.stream} is read from its beginning: its key cannot be compared"
                op.warning(f"{what} ({_first_line(error)})")
                batches = read_batches(
                    self._connection, self._query(replace(going, after=None)), page_bytes=self._page_bytes
                )
            else:
                batches = chain([first] if first else [], batches)
        yield from batches

    def _find_operators(self) -> None:
        """Makes the key compare by its types' own operators, in the schemas that their extensions are in."""
        namespaces = dict.fromkeys(["pg_catalog", *(self._table.columns[place].namespace for place in self._key)])
        with self._connection.cursor() as cursor:
            cursor.execute(
                sql.SQL("SET LOCAL search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, namespaces)))
            )

    def _whole(self, kept: Position) -> Iterator[Page]:
        """Every row, with its number among the rows equal to it, so that Fivetran keeps them apart."""
        query = sql.SQL("SELECT {columns}, row_number() OVER (PARTITION BY t::text) FROM {table} AS t").format(
            columns=self._columns(), table=self._from()
        )
        names = [*self._names, self._table.occurrence]
        yield self._page([], None, truncate=True)
        for rows in read_batches(self._connection, query, page_bytes=self._page_bytes):
            self._check(rows)
            yield self._page(rows, None, names)
        yield self._page([], kept)

    def _page(
        self, rows: list[Row], position: Position | None, names: list[str] | None = None, truncate: bool = False
    ) -> Page:
        columns = names or self._names
        return Page(
            self._table.name,
            (dict(zip(columns, row, strict=True)) for row in rows),
            position,
            stream=self._table.stream,
            schema=self._schema,
            primary_key=self._table.primary_key,
            truncate=truncate,
        )

    def _query(self, going: _Pass) -> sql.Composable:
        """The rows that `going` asks for, in key order."""
        key = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in self._table.primary_key)
        conditions: list[sql.Composable] = [sql.SQL("true")]
        if going.since is not None:
            oldest = sql.Literal(str(max(going.since % 2**32, 3)))  # 0 to 2 are no transactions
            conditions.append(sql.SQL("age(t.xmin) <= age({}::xid)").format(oldest))
        if going.after is not None:
            values = sql.SQL(", ").join(
                sql.Composed([sql.Literal(value), sql.SQL(f"::{self._table.columns[place].sql_type}")])
                for place, value in zip(self._key, going.after, strict=True)
            )
            conditions.append(sql.SQL("({}) > ({})").format(key, values))
        return sql.SQL("SELECT {columns} FROM {table} AS t WHERE {conditions} ORDER BY {key}").format(
            columns=self._columns(), table=self._from(), conditions=sql.SQL(" AND ").join(conditions), key=key
        )

    def _columns(self) -> sql.Composable:
        return sql.SQL(", ").join(
            sql.SQL("t.{}::text" if column.as_text else "t.{}").format(sql.Identifier(column.name))
            for column in self._table.columns
        )

    def _from(self) -> sql.Composable:
        # Without ONLY, the rows of tables that inherit from this one would be in both.
        name = sql.Identifier(self._table.schema, self._table.name)
        return name if self._table.is_partitioned else sql.SQL("ONLY {}").format(name)

    def _now(self) -> tuple[int, str]:
        """The oldest transaction that has not ended, and a fingerprint of the server since it was started."""
        with self._connection.cursor() as cursor:
            cursor.execute(_NOW)
            oldest, *server = cursor.fetchone()
            return oldest, hashlib.blake2b(repr(server).encode(), digest_size=8).hexdigest()

    def _check(self, rows: list[Row]) -> None:
        """Raises RecordError for a value that its column's type cannot say, before any row of the page is sent."""
        for place, column in enumerate(self._table.columns):
            if column.is_temporal and str in set(map(type, map(itemgetter(place), rows))):
                self._refuse(rows, place, column, lambda value: isinstance(value, str))
            if column.is_decimal and "NaN" in map(itemgetter(place), rows):
                self._refuse(rows, place, column, lambda value: value == "NaN")

    def _refuse(self, rows: list[Row], place: int, column: Column, wrong: Callable[[Any], bool]) -> None:
        row = next(row for row in rows if wrong(row[place]))
        described = describe(self._table.stream, self._table.primary_key, dict(zip(self._names, row, strict=True)))
        raise RecordError(
            f"{described}, column {column.name}: {row[place]!r} has no exact form in the "
            f"destination's type for {column.sql_type}: change the value in the source"
        )


def _going_on(position: Position | None, kept: Position, parts: Position, now: int) -> _Pass:
    """The pass that a saved position asks for: from the beginning if the table or the server is another by now."""
    if not position or any(position.get(name) != value for name, value in kept.items()):
        return _Pass(None, None, now)
    since = position["since"]
    if since is not None and not 0 <= now - since < _COMPARABLE:
        since = None
    has_other_parts = position.get("parts") != parts["parts"]
    under_way = position.get("pass")
    if under_way is None:
        return _Pass(None if has_other_parts else since, None, now)
    if has_other_parts:  # the pass is finished, for its progress, and then all is read once more
        return _Pass(None, under_way["after"], None)
    return _Pass(since, under_way["after"], under_way["since"])


def _text(value: Any) -> str:
    """A key's value as PostgreSQL reads it back without loss."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    return value.isoformat() if isinstance(value, date) else str(value)


def _first_line(error: psycopg2.Error) -> str:
    """The server's reason, without where it was asked: our sentence has said that."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"^connection to server .* failed: (FATAL: +)?", "", line)


# Python has no value for infinity, years before 1 and after 9999: such a date stays text, which `_check` names.
def _date(text: Any, _: Any) -> Any:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return text


def _datetime(text: Any, _: Any) -> Any:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return text


def _bytes(text: Any, _: Any) -> Any:
    return None if text is None else bytes.fromhex(text[2:])


# What psycopg2 would change: bytea is its own memoryview, infinity becomes the last day of the year 9999.
_EXACT = (
    ((1082,), "exact date", _date),
    ((1114, 1184), "exact timestamp", _datetime),
    ((17,), "exact bytea", _bytes),
)
