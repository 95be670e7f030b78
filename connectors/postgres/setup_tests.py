"""What the setup form tries before the first sync. A test that passes can say nothing there: it tells the log."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import psycopg2
from fivetran_connector_sdk import Logging as log
from psycopg2 import sql

import slot
from catalog import catalog_of
from service_spec import Settings
from session import Session, reason, told
from shared.configuration import setup_test
from shared.errors import SourceError
from tables import Catalog, Mode, Table

Check = Callable[[Session, Settings], None]

OLDEST_VERSION = 13

_READ: Mapping[Mode, str] = {
    "changes": "by the rows written since the last sync",
    "cursor": "by a cursor column",
    "full": "whole by every sync",
    "keyless": "whole by every sync, for want of a key (the setting keys could name one)",
    "log": "by the server's change log",
}
# The first columns of indexes that hold every row and find a range of values.
_INDEXED = """
    SELECT DISTINCT i.indrelid::bigint, a.attname::text
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indisvalid AND i.indpred IS NULL AND m.amname IN ('btree', 'brin') AND i.indrelid = ANY ({oids}::oid[])
"""
# Columns that look as if every change of a row moved them.
_TELLING = re.compile("updat|modif|chang|last_?(seen|write|edit)", re.IGNORECASE)


def can_connect(session: Session, settings: Settings) -> None:
    """Tells what it is connected to; raises SourceError for a server that is too old."""
    info = session.connection.info
    version = f"PostgreSQL {info.server_version // 10_000}.{info.server_version % 10_000}"
    if info.server_version < OLDEST_VERSION * 10_000:
        raise SourceError(f"the server is {version}, and only {OLDEST_VERSION} or later can be read: upgrade it")
    encryption = f"with {info.ssl_attribute('protocol')}" if info.ssl_in_use else "without TLS"
    log.info(f"connected to {version} at {settings.host}:{settings.port} as {settings.user}, {encryption}")


def finds_tables(session: Session, settings: Settings) -> None:
    """Tells how many tables there are and how they are read, and what else could be set."""
    catalog = catalog_of(session, settings)
    count = len(catalog.tables)
    log.info(f"{count} {'table is' if count == 1 else 'tables are'} delivered from database {settings.database}")
    for mode, of_mode in Counter(table.mode for table in catalog.tables).most_common():
        log.info(f"{of_mode} of them {_READ[mode]}")
    hiding = [table.stream for table in catalog.tables if table.hides_rows]
    if hiding:
        log.warning(f"row-level security hides rows of {', '.join(hiding)} from this user: BYPASSRLS shows them")
    suggested = _suggested(session, catalog)
    if suggested:
        log.info(
            f"cursor_columns could be {','.join(suggested)} if every insert and update of a row moves these columns "
            "forward: an index of theirs finds what is new, where otherwise every sync reads through the whole table"
        )


def may_read(session: Session, settings: Settings) -> None:
    """Raises SourceError naming each GRANT that is missing, and what cannot be read in spite of all GRANTs."""
    catalog = catalog_of(session, settings)
    unreadable = [*catalog.left_out, *_unreadable(session, catalog)]
    if unreadable:
        otherwise = (
            "Or name what is not to be delivered in exclude_tables or exclude_columns, and what may be read whole by "
            "every sync in full_tables."
        )
        raise SourceError("\n".join([*unreadable, otherwise]))


def cursors_have_indexes(session: Session, settings: Settings) -> None:
    """Raises SourceError naming each cursor column whose table would be read through by every sync."""
    tables = [table for table in catalog_of(session, settings).tables if table.cursor]
    indexed = _indexed(session, tables)
    lacking = []
    for table in tables:
        assert table.cursor  # of those chosen
        if table.kind in "vf":
            log.info(
                f"{table.stream} is a {'view' if table.kind == 'v' else 'foreign table'}: whether an index helps to "
                f"find its {table.cursor.name} cannot be seen from here"
            )
        elif (table.oid, table.cursor.name) not in indexed:
            lacking.append(
                f"cursor_columns: {table.stream}.{table.cursor.name} has no index, so that every sync reads through "
                f"the whole table: run {_create_index(session, table)}"
            )
    if lacking:
        raise SourceError("\n".join([*lacking, "Without an index, a table is better not named in cursor_columns."]))


def log_can_be_read(session: Session, settings: Settings) -> None:
    """Raises SourceError for what mode log lacks at the server; what it creates there, the first sync does."""
    if settings.mode == "log":
        slot.checked_server(session)
        slot.check_role(session, settings)


def _unreadable(session: Session, catalog: Catalog) -> Iterator[str]:
    """What is wrong with tables that can fail in spite of all GRANTs: where others' rights, functions or servers are
    behind them. For all other tables, the catalogue has answered."""
    for table in catalog.tables:
        if table.kind not in "vmf" and not table.hides_rows:
            continue
        values = sql.SQL(", ").join(column.value for column in table.columns)
        try:
            session.fetch(sql.SQL("SELECT {} FROM {} LIMIT 1").format(values, table.source))
        except psycopg2.Error as error:
            session.connection.rollback()
            yield f"table {table.stream} cannot be read: {reason(error)}"


def _create_index(session: Session, table: Table) -> str:
    """The statement for an index that serves the order of reading: by the cursor, then by the key."""
    columns = dict.fromkeys([*([table.cursor.name] if table.cursor else []), *table.primary_key])
    # A partitioned table can have no index that is made without a lock.
    create = "CREATE INDEX ON {} ({})" if table.kind == "p" else "CREATE INDEX CONCURRENTLY ON {} ({})"
    statement = sql.SQL(create).format(
        sql.Identifier(table.schema, table.name), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    return str(statement.as_string(session.connection))


def _indexed(session: Session, tables: Iterable[Table]) -> set[tuple[int, str]]:
    """The oid of a table and the name of a column, for each column that an index of the table begins with."""
    oids = sql.Literal([table.oid for table in tables])
    return {(oid, name) for oid, name in session.fetch(sql.SQL(_INDEXED).format(oids=oids))}


def _suggested(session: Session, catalog: Catalog) -> list[str]:
    """Columns that look as if tables could be read by them, as cursor_columns would name them."""
    tables = [table for table in catalog.tables if table.mode == "changes"]
    indexed = _indexed(session, tables)
    return [
        ".".join(_pattern(part) for part in (table.schema, table.name, column.name))
        for table in tables
        for column in table.columns
        if (table.oid, column.name) in indexed
        and column.base_type in ("timestamptz", "timestamp")
        and not column.is_hashed
        and _TELLING.search(column.name)
    ]


def _pattern(name: str) -> str:
    """A pattern that the name matches, as selection.py reads it."""
    return re.sub(r"[][.,*?]", "?", name)


def _tried(check: Check) -> Callable[[dict[str, str]], Any]:
    """The check as the setup form calls it."""

    @setup_test
    def test(configuration: dict[str, str]) -> None:
        settings = Settings.parse(configuration)
        with Session(settings) as session, told(f"database {settings.database} could not be asked"):
            check(session, settings)

    test.__name__ = check.__name__
    return test


TESTS: Mapping[str, Callable[[dict[str, str]], Any]] = {
    "Connect to the database": _tried(can_connect),
    "Find tables": _tried(finds_tables),
    "Read every table": _tried(may_read),
    "Cursor columns have an index": _tried(cursors_have_indexes),
    "The change log can be read": _tried(log_can_be_read),
}
