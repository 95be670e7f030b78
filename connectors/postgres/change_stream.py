"""Mode `log`: what happened to the rows of tables, deletes too, from the server's log as `pgoutput` decodes it.

The log is asked only WHICH KEYS were touched. Each of them is then looked up in its table, later than it was touched:
a row that is there is delivered as it is by now, by the SQL that reads it in every other mode, and a key without a row
is deleted. So it does no harm to meet a change twice, or one that the first copy of the table has seen already, and
copy and stream need no common snapshot: a copy begins once the log is kept, and the stream delivers what came later.

The stream's own position in the state, under the name `log`:

{"server": …, "slot": …, "publication": …, "begun": "0/16F3D58", "tables": [16384], "lsn": "0/1713470",
 "inside": ["0/1722F60", 5000]}

lsn     every transaction that was committed before is delivered
inside  and of the one committed there, so many changes: the server sends them in the same order again
tables  the oids of those whose changes were read: another one cannot go on from where it once stood
begun   since when nothing of the log is missing. Tables hold it too (`log`), and are copied again when it has changed

The server is told that the log is delivered, and may forget it, only by the next sync: up to the `lsn` it was given,
which Fivetran has saved.
"""

import hashlib
import select
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import psycopg2
from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op
from psycopg2 import errors, sql
from psycopg2.extras import LogicalReplicationConnection

import publication
import slot
from pgoutput import (
    UNCHANGED,
    Begin,
    Change,
    Commit,
    Relation,
    Truncate,
    Value,
    Values,
    lsn_of,
    lsn_text,
    parsed,
)
from publication import Publication
from scan import KeyText
from service_spec import Settings
from session import Patience, Session, connect, pin_values, reason, told
from shared.checkpoints import Checkpoints
from shared.errors import SourceError, TryLater
from shared.pages import Page, Position
from table_pages import TablePages
from tables import Table

STREAM = "log"
# Of one table, how many keys are looked up together; and what a key takes in memory beside its text, in bytes.
MOST_KEYS = 1_000
KEY_BYTES = 200
# How many transactions' changes wait for a look-up: their numbers are in memory too.
MOST_TRANSACTIONS = 10_000
# How long, in seconds, the position may stand where it was while nothing is found that concerns us.
FLUSH_SECONDS = 10.0
# After how long without a word, in seconds, the server is nudged.
IDLE_SECONDS = 0.5
# How long to wait for transactions that wrote to a table before a copy of it can begin; and for a transaction of the
# log to be seen by others, which it is once standbys that the server waits for have it.
WRITERS_SECONDS = 60.0
VISIBLE_SECONDS = 120.0
# A slow destination is no dead client. And one that is gone without a word must not keep the slot for hours.
_OPTIONS = "-c wal_sender_timeout=0 -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"

# By table, the names of its columns with the oids of their types and the transactions that defined them: other values
# of the same type, as after ALTER COLUMN ... TYPE ... USING, are in no change of a row.
_COLUMNS = """
    SELECT a.attrelid::bigint, a.attname::text, a.atttypid::bigint, a.xmin::text,
        CASE WHEN t.typtype <> 'd' THEN format_type(a.atttypid, a.atttypmod) END
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = ANY ({oids}::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
"""
# The transactions that may have written to some tables, or still may, by table.
_WRITERS = """
    SELECT relation::bigint, virtualtransaction, pid FROM pg_locks
    WHERE relation = ANY ({oids}::oid[]) AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        AND granted AND pid IS DISTINCT FROM pg_backend_pid()
"""
# The position of a table that has lost its place.
_NOWHERE: Position = {"mode": "log", "shape": ""}
_SNAPSHOT = "SELECT pg_current_snapshot()::text"


def follow(
    session: Session, readers: Sequence[TablePages], checkpoints: Checkpoints, settings: Settings
) -> Generator[Page, None, None]:
    """The tables of mode log: copies of those that need one, then the changes of all, up to the log's end as it is
    after the copies. Raises SourceError."""
    if not readers:
        if left := checkpoints.position(STREAM):
            with told("the slots of the server could not be found"):
                slot.tell_of_slot_left(session, left["slot"])
        return
    with told("the change log could not be followed"):
        published = publication.provided(session, settings, [reader.table for reader in readers])
        saved = checkpoints.position(STREAM, needs=("server", "slot", "publication", "begun", "lsn"))
        position = slot.provided(session, settings, published, saved)
    readers = [reader for reader in readers if reader.table.oid in published.members]
    oids = [reader.table.oid for reader in readers]
    for reader in readers:
        if reader.table.oid not in position.get("tables", oids):
            yield reader.moved(_NOWHERE)
    may_forget = lsn_of(position["lsn"]) if position is saved else 0
    position = {**position, "tables": oids}
    yield Page(STREAM, [], position)
    tables = _Tables(session, readers, published)
    yield from tables.copies(checkpoints, position["begun"])
    with told("the change log could not be read to its end"):
        stream = _Stream(session, settings, tables.followed, position, may_forget)
        try:
            yield from stream.pages(slot.end_of_log(session))
        finally:
            stream.close()


@dataclass
class _Followed:
    """A table whose changes are looked up.

    kept    its position once it is copied
    since   what was committed before this place in the log, the copy has seen
    types   of each column of the key, the oid of its type
    leaves  the tables that hold its rows
    """

    reader: TablePages
    kept: Position
    since: int
    types: Mapping[str, int]
    leaves: frozenset[int]

    @property
    def table(self) -> Table:
        return self.reader.table


@dataclass(frozen=True)
class _Definition:
    """A column by now: its type, and the transaction that defined it. A domain has no name of its base type here."""

    type_oid: int
    xmin: str
    sql_type: str | None


class _Tables:
    """The tables and their copies."""

    def __init__(self, session: Session, readers: Iterable[TablePages], published: Publication) -> None:
        self._session, self._readers, self._published = session, list(readers), published
        self.followed: list[_Followed] = []

    def copies(self, checkpoints: Checkpoints, begun: str) -> Iterator[Page]:
        """Copies the tables that do not stand in this stream yet, and collects in `followed` all that do then."""
        with told("the columns of tables could not be found"):
            columns = self._columns()
        new: list[_Followed] = []
        standing: list[tuple[_Followed, Position | None]] = []
        for reader in self._readers:
            if not _is_described(reader.table, columns[reader.table.oid]):
                self._warn(reader.table, "its columns have changed a moment ago")
                yield reader.moved(_NOWHERE)
                continue
            position = checkpoints.position(reader.table.stream, needs=("shape",))
            kept = self._kept(reader, columns[reader.table.oid], begun)
            holds = position is not None and "from" in position and position.items() >= kept.items()
            since = position["from"] if position and holds else ""
            types = {name: columns[reader.table.oid][name].type_oid for name in reader.table.primary_key}
            leaves = self._published.leaves[reader.table.oid]
            followed = _Followed(reader, {**kept, "from": since}, lsn_of(since or "0/0"), types, leaves)
            if holds:
                standing.append((followed, position))
            else:
                new.append(followed)
        with told("who writes to tables could not be found"):
            ready = list(self._ready(new))
        for followed, position in [*standing, *((followed, None) for followed in ready)]:
            if position is None or "pass" in position:
                with told(f"table {followed.table.stream} could not be copied to its end"):
                    yield from followed.reader.copied(position, followed.kept)
            self.followed.append(followed)

    def _kept(self, reader: TablePages, columns: Mapping[str, "_Definition"], begun: str) -> Position:
        """What must be unchanged for a table's position to hold."""
        table = reader.table
        defined = [columns[column.name].xmin for column in table.columns]
        deciding = repr((defined, table.parts, self._published.members[table.oid]))
        fingerprint = hashlib.blake2b(deciding.encode(), digest_size=8).hexdigest()
        return {**reader.kept(), "log": begun, "defined": fingerprint}

    def _columns(self) -> dict[int, dict[str, "_Definition"]]:
        oids = sql.Literal([reader.table.oid for reader in self._readers])
        found: dict[int, dict[str, _Definition]] = {reader.table.oid: {} for reader in self._readers}
        for oid, name, *definition in self._session.fetch(sql.SQL(_COLUMNS).format(oids=oids)):
            found[oid][name] = _Definition(*definition)
        return found

    def _ready(self, new: Sequence[_Followed]) -> Iterator[_Followed]:
        """The tables whose copies can begin: no transaction writes to them any more that did so before.

        Such a one may have begun before the table was published, and none of its changes would be in the stream. Its
        locks last until others can see what it did.
        """
        if not new:
            return
        since = slot.end_of_log(self._session)
        waiting = {followed.table.oid: followed for followed in new}
        before = self._writers(waiting.values())
        deadline = time.monotonic() + WRITERS_SECONDS
        now = before
        while (busy := {oid: before[oid] & now.get(oid, set()) for oid in before}) and any(busy.values()):
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
            now = self._writers(waiting.values())
        for oid, followed in waiting.items():
            if writers := busy.get(oid):
                pids = ", ".join(str(pid or "of a prepared one") for _, pid in sorted(writers, key=str))
                self._warn(
                    followed.table, f"a transaction that wrote to it is still open (process {pids} of the server)"
                )
                continue
            followed.since, followed.kept["from"] = since, lsn_text(since)
            yield followed

    def _warn(self, table: Table, why: str) -> None:
        op.warning(f"table {table.stream} is copied by a later sync: {why}")

    def _writers(self, tables: Iterable[_Followed]) -> dict[int, set[tuple[str, int]]]:
        """By table, the transactions with a lock on it or a part of it that lets them write."""
        owners = {part: followed.table.oid for followed in tables for part in _parts(followed.table)}
        found: dict[int, set[tuple[str, int]]] = {}
        query = sql.SQL(_WRITERS).format(oids=sql.Literal(list(owners)))
        for oid, transaction, pid in self._session.fetch(query):
            found.setdefault(owners[oid], set()).add((transaction, pid))
        return found


def _is_described(table: Table, columns: Mapping[str, _Definition]) -> bool:
    """Whether the columns are still those that the catalogue described at the beginning of the sync."""
    found = [(column.sql_type, columns.get(column.name)) for column in table.columns]
    return all(by_now and by_now.sql_type in (None, sql_type) for sql_type, by_now in found)


def _parts(table: Table) -> set[int]:
    """The oids of the table and all of its partitions."""
    return {table.oid, *map(int, table.partitions.split())}


@dataclass
class _Window:
    """The keys that wait for a look-up, and the transactions that touched them."""

    keys: dict[int, dict[KeyText, None]] = field(default_factory=dict)
    transactions: set[int] = field(default_factory=set)
    size: int = 0

    def add(self, oid: int, key: KeyText) -> bool:
        """Adds a key of a table; whether that makes as many of the table as are looked up together."""
        keys = self.keys.setdefault(oid, {})
        if key not in keys:
            keys[key] = None
            self.size += KEY_BYTES + sum(map(len, key))
        return len(keys) >= MOST_KEYS

    def drop(self, oid: int) -> None:
        self.keys.pop(oid, None)


@dataclass
class _Layout:
    """A table of the stream as its latest Relation message describes it.

    places  where the columns of the key are among all; None if they are no more what they were
    """

    followed: _Followed
    places: tuple[int, ...] | None


class _Stream:
    """Reads the log from a position on."""

    def __init__(
        self, session: Session, settings: Settings, tables: Iterable[_Followed], position: Position, saved: int
    ) -> None:
        """`saved` is up to where the server may forget the log."""
        self._session, self._settings, self._position, self._saved = session, settings, position, saved
        self._tables = {part: followed for followed in tables for part in _parts(followed.table)}
        self._by_table = {followed.table.oid: followed for followed in self._tables.values()}
        self._layouts: dict[int, _Layout] = {}
        self._lsn = lsn_of(position["lsn"])
        inside = position.get("inside")
        self._inside: tuple[int, int] | None = (lsn_of(inside[0]), inside[1]) if inside else None
        # Of the transaction that is being read: where it was committed, its number, and its changes so far.
        self._transaction: Begin | None = None
        self._changes = self._skipped = 0
        self._window = _Window()
        self._is_full = False
        self._ready: list[Page] = []
        self._connection: Any = None
        self._cursor: Any = None
        self._has_connected = False
        self._patience = Patience(session, "the change log")
        session.before_renewal = self.close

    def pages(self, end: int) -> Iterator[Page]:
        """All that was committed before `end`, perhaps a little more. Raises psycopg2.Error for what will not pass."""
        flushed = told_at = time.monotonic()
        while not self._is_at(end):
            payload = self._next()
            if payload is not None:
                self._take(payload)
                yield from self._pages_ready()
            now = time.monotonic()
            is_due = now - flushed > FLUSH_SECONDS
            if self._is_full or is_due:
                yield from self._flushed()
                flushed = now
            if payload is None and is_due and now - told_at > 6 * FLUSH_SECONDS:
                log.info(f"waiting for changes at {lsn_text(self._lsn)} of the log, which is read to {lsn_text(end)}")
                told_at = now
        yield from self._flushed()

    def close(self) -> None:
        """Lets go of the slot. What was read and not delivered stays in memory; reading can go on."""
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()

    def _is_at(self, end: int) -> bool:
        """Whether all is read. Transactions come in the order in which they were committed."""
        if self._transaction:
            if self._transaction.commit_lsn < end:
                return False
            self._lsn, self._inside = max(self._lsn, end), None
            return True
        return self._lsn >= end

    # The connection

    def _next(self) -> bytes | None:
        """The next message; None if there is none right now. A connection that is lost is made anew."""
        try:
            if self._cursor is None:
                self._connect()
            message = self._cursor.read_message()
            if message is not None:
                payload: bytes = message.payload
                return payload
            # Between transactions, all that was committed before the place that the server names has come.
            has_moved = not self._transaction and self._reached(self._cursor.wal_end)
            is_silent = not has_moved and not select.select([self._cursor], [], [], IDLE_SECONDS)[0]
        except psycopg2.Error as error:
            self.close()
            self._patience.after(error)
            return None
        except SourceError as refused:
            self.close()
            if not self._has_connected or not _is_lost(refused.__cause__):
                raise self._explained(refused) from refused.__cause__
            self._patience.after(refused.__cause__)
            return None
        if is_silent:
            # Now and then the server sleeps though there is more to send: what is written next wakes it.
            slot.end_of_log(self._session)
        return None

    def _connect(self) -> None:
        """Starts the stream where reading stands. Raises psycopg2.Error, or SourceError that says what is lacking."""
        self._transaction, self._layouts = None, {}
        self._connection = connect(
            self._settings, pinned=False, connection_factory=LogicalReplicationConnection, options=_OPTIONS
        )
        self._cursor = self._connection.cursor()
        pin_values(self._cursor)
        deadline = time.monotonic() + slot.ACTIVE_SECONDS
        while True:
            try:
                self._cursor.start_replication(
                    slot_name=self._settings.slot,
                    decode=False,
                    start_lsn=self._lsn,
                    options={
                        "proto_version": "1",
                        "publication_names": sql.Identifier(self._settings.publication).as_string(self._connection),
                    },
                )
                break
            except errors.ObjectInUse as error:  # by a connection of ours that the server has not missed yet
                if time.monotonic() > deadline:
                    raise SourceError(slot.in_use(self._settings, None)) from error
                time.sleep(0.2)
        if self._saved:
            # The one feedback there is. What psycopg2 would send later could name more than is saved.
            self._cursor.send_feedback(flush_lsn=self._saved, force=True)
        self._has_connected = True

    def _explained(self, refused: SourceError) -> SourceError:
        """What to do where the server takes no further reader of its log, or not this one."""
        text = str(refused)
        if "max_wal_senders" in text:
            return SourceError(
                "the change log cannot be read, as all max_wal_senders of the server are taken: raise it and restart "
                "the server, or end a connection of pg_stat_replication"
            )
        # In the words of the versions up to 15, and of those from 16 on.
        if any(words in text for words in ("replication role to start", "permission denied to start WAL sender")):
            return SourceError(slot.lacks_replication(self._settings))
        return refused

    # What the messages say

    def _take(self, payload: bytes) -> None:
        message = parsed(payload)
        if isinstance(message, Begin):
            self._transaction, self._changes = message, 0
            is_resumed = self._inside is not None and self._inside[0] == message.commit_lsn
            self._skipped = self._inside[1] if self._inside and is_resumed else 0
        elif isinstance(message, Commit):
            self._transaction = None
            self._reached(message.end_lsn)
        elif isinstance(message, Relation):
            self._describe(message)
        elif isinstance(message, Change | Truncate):
            self._changes += 1
            if self._transaction and self._changes > self._skipped:
                self._apply(message, self._transaction)
                self._inside = (self._transaction.commit_lsn, self._changes)
                self._patience.progress()

    def _reached(self, lsn: int) -> bool:
        """Moves on; whether that is any further."""
        if lsn <= self._lsn:
            return False
        self._lsn, self._inside = lsn, None
        self._patience.progress()
        return True

    def _describe(self, relation: Relation) -> None:
        followed = self._tables.get(relation.oid)
        if not followed:
            return
        places = {column: place for place, column in enumerate(relation.columns)}
        wanted = [places.get((name, type_oid)) for name, type_oid in followed.types.items()]
        found = tuple(place for place in wanted if place is not None)
        self._layouts[relation.oid] = _Layout(followed, found if len(found) == len(wanted) else None)

    def _apply(self, message: Change | Truncate, transaction: Begin) -> None:
        if isinstance(message, Truncate):
            self._truncate(message, transaction)
            return
        layout = self._layouts.get(message.oid)
        if not layout or transaction.commit_lsn < layout.followed.since:
            return
        if layout.places is None:
            self._forsake(layout.followed, "its key is of other columns")
            return
        keys = {_key(values, message.old, layout.places) for values in (message.old, message.new) if values}
        if None in keys:
            self._forsake(layout.followed, "its replica identity is without its key")
            return
        for key in filter(None, keys):
            self._is_full |= self._window.add(layout.followed.table.oid, key)
        self._window.transactions.add(transaction.xid)
        self._is_full |= (
            self._window.size >= self._settings.page_bytes or len(self._window.transactions) >= MOST_TRANSACTIONS
        )

    def _truncate(self, message: Truncate, transaction: Begin) -> None:
        truncated = frozenset(message.oids)
        tables = {self._tables[oid].table.oid: self._tables[oid] for oid in truncated if oid in self._tables}
        for oid, followed in tables.items():
            if transaction.commit_lsn < followed.since:
                continue
            if not (followed.leaves <= truncated or oid in truncated):
                self._forsake(followed, "one of its partitions was truncated")
                continue
            self._window.drop(oid)
            self._ready.append(followed.reader.emptied())

    def _forsake(self, followed: _Followed, why: str) -> None:
        """The table cannot be followed from here on: it loses its place, and is copied again by the next sync."""
        self._tables = {oid: other for oid, other in self._tables.items() if other is not followed}
        self._layouts = {oid: layout for oid, layout in self._layouts.items() if layout.followed is not followed}
        self._window.drop(followed.table.oid)
        op.warning(f"table {followed.table.stream} is copied again by the next sync: {why}")
        self._ready.append(followed.reader.moved(_NOWHERE))

    # What is delivered

    def _pages_ready(self) -> Iterator[Page]:
        ready, self._ready = self._ready, []
        yield from ready

    def _flushed(self) -> Iterator[Page]:
        """Looks up the keys of the window, and moves the position behind all that was read."""
        window, self._window, self._is_full = self._window, _Window(), False
        if window.keys:
            self._await(window.transactions)
        for oid, keys in window.keys.items():
            try:
                yield from self._by_table[oid].reader.looked_up(list(keys))
            except (psycopg2.ProgrammingError, psycopg2.DataError) as error:
                self._session.connection.rollback()
                self._forsake(self._by_table[oid], f"its columns have changed ({reason(error)})")
        yield from self._pages_ready()
        position = {**self._position, "lsn": lsn_text(self._lsn)}
        position.pop("inside", None)
        if self._inside:
            position["inside"] = [lsn_text(self._inside[0]), self._inside[1]]
        if position != self._position:
            self._position = position
            yield Page(STREAM, [], position)

    def _await(self, transactions: Iterable[int]) -> None:
        """Waits until all of the transactions are seen by others: the log has them a moment before, or much longer
        where the server waits for standbys. Raises TryLater."""
        deadline = time.monotonic() + VISIBLE_SECONDS
        pause = 0.002
        while True:
            ((snapshot,),) = self._session.fetch(_SNAPSHOT)
            if not _unseen(transactions, snapshot):
                return
            if time.monotonic() > deadline:
                raise TryLater(
                    "transactions in the change log cannot be seen yet, as when the server waits for a standby; the "
                    "next sync goes on from here"
                )
            time.sleep(pause)
            pause = min(1.0, pause * 2)


def _key(values: Values, old: Values | None, places: Sequence[int]) -> KeyText | None:
    """The key among some values; None if they are without it. A large value that an update left alone stands among the
    old ones alone."""
    found: list[str] = []
    for place in places:
        value: Value = values[place]
        if value is UNCHANGED and old is not None:
            value = old[place]
        if not isinstance(value, bytes):
            return None
        found.append(value.decode())
    return tuple(found)


def _is_lost(error: BaseException | None) -> TypeGuard[psycopg2.Error]:
    """Whether a connection broke, or could not be made: not what the server said on it."""
    return isinstance(error, psycopg2.Error) and error.pgcode is None


def _unseen(transactions: Iterable[int], snapshot: str) -> bool:
    """Whether a snapshot, as PostgreSQL writes it, does not show one of some transactions. Of their numbers the log has
    the lower 32 bits.

    >>> _unseen([8], "7:9:7"), _unseen([7], "7:9:7"), _unseen([9], "7:9:")
    (False, True, True)
    """
    _, ceiling, under_way = snapshot.split(":")
    low = 2**32 - 1
    running = {int(number) & low for number in under_way.split(",") if number}
    return any(xid in running or (xid - int(ceiling)) & low < 2**31 for xid in transactions)
