"""What the setup form tries before the first sync."""

from collections.abc import Callable, Mapping
from typing import Any

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Test
from psycopg2 import sql

from catalog import Catalog, Table, catalog_of
from service_spec import Settings
from session import Session, told
from shared.errors import ConnectorError, SourceError

Check = Callable[[Session, Settings], None]

# Columns that look as if every change moved them: the first of an index, of a type with a time, of a telling name.
_SUGGESTED = """
    SELECT n.nspname, c.relname, a.attname
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
    WHERE i.indisvalid AND i.indpred IS NULL AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)
        AND a.attname ~* '(updat|modif|chang|last_?(seen|write|edit))' AND c.oid = ANY ({oids}::oid[])
"""
_INDEXED = """
    SELECT true FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indisvalid AND i.indpred IS NULL AND i.indrelid = {oid} AND a.attname = {name}
"""


def can_connect(session: Session, settings: Settings) -> None:
    """Nothing more: the session is open."""


def finds_tables(session: Session, settings: Settings) -> None:
    """Tells how many tables there are, and what else could be set."""
    catalog = catalog_of(session, settings)
    with_key = sum(bool(table.primary_key) for table in catalog.tables)
    log.info(f"{len(catalog.tables)} tables found, {with_key} of them with a key")
    for suggestion in _suggestions(session, catalog):
        log.info(suggestion)


def may_read(session: Session, settings: Settings) -> None:
    """Raises SourceError naming each GRANT that is missing."""
    catalog = catalog_of(session, settings)
    if catalog.left_out:
        raise SourceError("\n".join(catalog.left_out))
    for table in catalog.tables:
        with told(f"table {table.stream} cannot be read"):
            session.fetch(sql.SQL("SELECT true FROM {} LIMIT 1").format(table.source))


def cursors_have_indexes(session: Session, settings: Settings) -> None:
    """Raises SourceError naming each cursor column whose table would be read through by every sync."""
    tables = [table for table in catalog_of(session, settings).tables if table.cursor]
    lacking = [table for table in tables if table.kind in "rpm" and not _is_indexed(session, table)]
    if lacking:
        raise SourceError(
            "\n".join(
                f"cursor_columns: {table.stream}.{table.cursor.name} has no index, so every sync reads through the "
                f"whole table: CREATE INDEX ON {table.stream} ({table.cursor.name})"
                for table in lacking
                if table.cursor
            )
        )


def _is_indexed(session: Session, table: Table) -> bool:
    name = table.cursor.name if table.cursor else ""
    return bool(session.fetch(sql.SQL(_INDEXED).format(oid=sql.Literal(table.oid), name=sql.Literal(name))))


def _suggestions(session: Session, catalog: Catalog) -> list[str]:
    free = [table.oid for table in catalog.tables if table.mode == "changes"]
    found = session.fetch(sql.SQL(_SUGGESTED).format(oids=sql.Literal(free)))
    return [f"cursor_columns could name {'.'.join(names)}, if every change of a row moves it" for names in found]


def _tried(check: Check) -> Callable[[dict[str, str]], Any]:
    """The check as the setup form calls it."""

    def test(configuration: dict[str, str]) -> Any:
        try:
            settings = Settings.parse(configuration)
            with Session(settings) as session:
                check(session, settings)
        except ConnectorError as error:
            return Test().failure(str(error))
        return Test().success()

    test.__name__ = check.__name__
    return test


TESTS: Mapping[str, Callable[[dict[str, str]], Any]] = {
    "Connect to the database": _tried(can_connect),
    "Find tables": _tried(finds_tables),
    "Read every table": _tried(may_read),
    "Cursor columns have an index": _tried(cursors_have_indexes),
}
