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
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import replace

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import errors, sql

from change_stream import follow
from scan import Part
from service_spec import Settings
from session import Patience, Session, TableError, reason, told_without_values
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Page, Position
from table_pages import TablePages, holds
from tables import Column, Mode, Table

_NOW = """
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint, system_identifier::text, current_database()::text,
        (SELECT oid::text FROM pg_database WHERE datname = current_database()), pg_postmaster_start_time()::text
    FROM pg_control_system()
"""
# What tells a server from others, and from itself after a restore or a failover, which begin a new timeline.
_SERVER = """
    SELECT concat_ws(
        ' ', system_identifier, timeline_id, (SELECT oid FROM pg_database WHERE datname = current_database())
    )
    FROM pg_control_system(), pg_control_checkpoint()
"""
# By the type of a cursor column: the bound of a pass, which rows it is taken of, and whether numbers have begun again.
_TIMES = ("date", "timestamp", "timestamptz")
_NUMBER = "greatest(max({column})::numeric - {overlap}, min({column}))"  # what is below would not fit every type
_BOUNDS = {
    "time": ("max({column}) - make_interval(secs => {overlap})", "isfinite({column}) AND {column} <= now()", "false"),
    "number": (_NUMBER, "true", "max({column}) < {begin}"),
    "numeric": (_NUMBER, "{column}::text !~ '[a-z]'", "max({column}) < {begin}"),  # no infinity, no NaN
}
_CENTURY = 3_155_760_000  # seconds: what is longer could be below the first timestamp
# PostgreSQL compares transaction ids within this distance; beyond it, `xmin` says nothing.
_COMPARABLE = 2**31 - 1


def read_pages(
    session: Session, tables: Iterable[Table], checkpoints: Checkpoints, settings: Settings
) -> Generator[Page, None, None]:
    """All tables, one after another, each from where its stream stands. Raises SourceError naming the table; one that
    fails by itself keeps none of the others back."""
    in_log = [TablePages(session, table, settings) for table in tables if table.mode == "log"]
    yield from follow(session, in_log, checkpoints, settings)
    failures = []
    for table in (table for table in tables if table.mode != "log"):
        what = f"table {table.stream} could not be read to its end"
        try:
            with told_without_values(what, settings):
                yield from Reader(session, table, settings).pages(checkpoints.position(table.stream, needs=("shape",)))
        except errors.InsufficientPrivilege as error:  # on what a view reads, a function calls, a policy asks
            session.connection.rollback()
            op.warning(f"table {table.stream} is left out until this user may read all of it: {reason(error)}")
        except TableError as failure:
            session.connection.rollback()
            failures.append(str(failure))
    if failures:
        raise SourceError("\n".join(failures))


class Reader(TablePages):
    """Reads one table by its mode."""

    def pages(self, position: Position | None) -> Iterator[Page]:
        """The table's pages from where its stream stands."""
        if self.table.hides_rows:
            op.warning(
                f"row-level security hides rows of table {self.table.stream} from this user: BYPASSRLS shows them"
            )
        read: Mapping[Mode, Callable[[Position | None], Iterator[Page]]] = {
            "changes": self._changes,
            "cursor": self._cursor,
            "full": lambda position: self.copied(position, self.kept()),
            "keyless": self._keyless,
        }
        # Rows whose keys are delivered in another way by now would stay beside the new ones.
        begins_anew = position is not None and not holds(position, self.kept())
        for page in read[self.table.mode](position):
            page.truncate |= begins_anew
            begins_anew = False
            yield page

    def _changes(self, position: Position | None) -> Iterator[Page]:
        now, server = self._now()
        kept = {**self.kept(), "server": server}
        if not position or not holds(position, kept):
            position = {"since": None, "parts": self.table.parts}
        since, under_way = position["since"], position.get("pass", {"after": None, "since": now})
        if position["parts"] != self.table.parts:
            # Rows may be there that nobody wrote: all is read; and once more by the next sync, if this one only
            # finishes a pass, for its progress.
            since = None
            under_way["since"] = None if under_way["after"] else now
        elif self.table.hides_rows or (since is not None and not 0 <= now - since < _COMPARABLE):
            since = None  # a policy may show rows that were written long ago
        kept |= {"parts": self.table.parts}
        part = Part(() if since is None else (_written_since(since),), self.table.key, under_way["after"])
        if since is None:
            self._check_key()
        for rows, after in self._scan.batches(part):
            moved = {**kept, "since": since, "pass": {"after": after, "since": under_way["since"]}}
            yield self._page(rows, self._saved(moved), expected=self.table.about if since is None else 0)
        yield self._page([], {**kept, "since": under_way["since"]})

    def _cursor(self, position: Position | None) -> Iterator[Page]:
        cursor, key = self.table.cursor, self.table.key
        assert cursor is not None  # of this mode
        ((server,),) = self._session.fetch(_SERVER)
        kept = {**self.kept(), "server": server, "cursor": cursor.name}
        if not position or not holds(position, kept):
            self._check_key()
            position = {"from": None}
        begin, under_way = position["from"], position.get("pass")
        if not under_way:
            upto, has_fallen = self._bound(cursor, begin)
            if has_fallen or self.table.hides_rows:  # a policy may show rows that were written long ago
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
                yield self._page(rows, self._saved(moved), expected=0 if begin else self.table.about)
            behind = None
        yield self._page([], {**kept, "from": upto})

    def _keyless(self, _: Position | None) -> Iterator[Page]:
        """Every row, with its number among the rows equal to it, so that Fivetran keeps them apart."""
        patience = Patience(self._session, f"table {self.table.stream}, from its beginning")
        is_deleted = self.table.soft_delete
        conditions = [sql.SQL("{} IS NOT TRUE").format(is_deleted)] if is_deleted else []
        is_read = False
        while not is_read:
            begins = True
            try:
                for rows in self._scan.numbered(conditions):
                    yield self._page(rows, None, truncate=begins, expected=self.table.about)
                    begins = False
            except psycopg2.Error as error:
                patience.after(error)
            else:
                is_read = True
        yield self._page([], self.kept(), truncate=begins)

    def _bound(self, cursor: Column, begin: str | None) -> tuple[str | None, bool]:
        """The largest cursor that is not in the future, less the overlap, as text; None without any. And whether
        numbers have begun again below where this pass was to begin: then no row can be told from a new one."""
        kind = "time" if cursor.base_type in _TIMES else "numeric" if cursor.base_type == "numeric" else "number"
        bound, usable, fallen = _BOUNDS[kind]
        overlap = min(self._settings.cursor_overlap, _CENTURY) if kind == "time" else self._settings.cursor_overlap
        parts = {
            "column": cursor.reference,
            "overlap": sql.Literal(overlap),
            "begin": sql.SQL("NULL") if begin is None else cursor.literal(begin),
        }
        query = sql.SQL("SELECT ({})::{}::text, coalesce({}, false) FROM {} WHERE {}").format(
            sql.SQL(bound).format(**parts),
            sql.SQL(cursor.sql_type),
            sql.SQL(fallen).format(**parts),
            self.table.source,
            sql.SQL(usable).format(**parts),
        )
        ((text, has_fallen),) = self._session.fetch(query)
        if has_fallen:
            op.warning(
                f"table {self.table.stream} is read whole: all of {cursor.name} is below {begin}, where this sync was "
                "to begin"
            )
        return text, has_fallen

    def _now(self) -> tuple[int, str]:
        """The oldest transaction that has not ended, and a fingerprint of the server since it was started."""
        ((oldest, *server),) = self._session.fetch(_NOW)
        return oldest, hashlib.blake2b(repr(server).encode(), digest_size=8).hexdigest()


def _written_since(transaction: int) -> sql.Composable:
    oldest = sql.Literal(str(max(transaction % 2**32, 3)))  # 0 to 2 are no transactions
    return sql.SQL("age(t.xmin) <= age({}::xid)").format(oldest)
