"""The publication that mode log reads: which tables' changes the server sends. Created, completed or checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import errors, sql

from service_spec import Settings
from session import Session, connect, reason, told
from shared.errors import SourceError
from tables import Table

# How long a statement may wait for a lock of the table's users, who would wait behind it.
_LOCK_TIMEOUT = "10s"

# What the server answers where another user, or another time, is needed.
_NOT_ALLOWED = (
    *(errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.DuplicateObject),
    errors.LockNotAvailable,
)

# The row's own transaction tells of every change to what the publication sends; of schemas, theirs do.
_PUBLICATION = """
    SELECT concat_ws(' ', oid, xmin, {schemas}), pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot
    FROM pg_publication WHERE pubname = {name}
"""
_SCHEMAS = """
    (SELECT string_agg(concat(s.oid, ' ', s.xmin), ' ' ORDER BY s.oid) FROM pg_publication_namespace s
     WHERE s.pnpubid = pg_publication.oid)
"""
_HAVE_SCHEMAS = 150000  # the server's version from which on a publication can name them
# What it sends of each table that has rows of its own. PostgreSQL 13 and 14 have no columns for the last two.
_PUBLISHED = """
    SELECT c.oid::bigint, to_jsonb(t) ->> 'rowfilter' IS NOT NULL, to_jsonb(t) -> 'attnames'
    FROM pg_publication_tables t
    JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
    WHERE t.pubname = {name}
"""
# A table that is named itself cannot leave the log unseen. Any other, as a partition, can be made unlogged and logged
# again, which gives it new files, or be moved to another schema and back, which writes its type anew.
_MEMBERS = """
    SELECT root.oid::bigint, concat_ws(' ', r.oid, r.xmin, CASE WHEN r.oid IS NULL OR c.relkind = 'p' THEN (
        SELECT string_agg(concat_ws(' ', m.oid, m.relfilenode, t.xmin), ' ' ORDER BY m.oid)
        FROM pg_class m LEFT JOIN pg_type t ON t.oid = m.reltype
        WHERE m.oid = root.oid OR m.oid IN (SELECT relid FROM pg_partition_tree(root.oid))
    ) END)
    FROM unnest({oids}::oid[]) AS root (oid) JOIN pg_class c ON c.oid = root.oid
    LEFT JOIN pg_publication_rel r ON r.prrelid = root.oid
        AND r.prpubid = (SELECT oid FROM pg_publication WHERE pubname = {name})
"""
_LEAVES = """
    SELECT root.oid::bigint, coalesce(array_agg(leaf.relid::oid::bigint), '{{}}')
    FROM unnest({oids}::oid[]) AS root (oid), pg_partition_tree(root.oid) AS leaf
    WHERE leaf.isleaf GROUP BY root.oid
"""


@dataclass(frozen=True)
class Publication:
    """What the server sends.

    is_new    it was created a moment ago
    identity  changes when what the publication sends does: what came before may lack something
    members   by table that is in it, what changes when the table is out of it, or of the log, for a while
    leaves    by table that is in it, the tables that hold its rows: its partitions, or itself
    """

    is_new: bool
    identity: str
    members: Mapping[int, str]
    leaves: Mapping[int, frozenset[int]]


def provided(session: Session, settings: Settings, tables: Sequence[Table]) -> Publication:
    """The publication with all of the tables, or those that this user can add to it: of others, a warning says what
    to run. Raises SourceError for one that cannot be created, or does not send what is needed."""
    name = sql.Identifier(settings.publication)
    found = _found(session, settings)
    is_new = not found
    if is_new:
        create = sql.SQL("CREATE PUBLICATION {} FOR TABLE {}").format(name, _tables(tables))
        refused = _executed(settings, create)
        if refused:
            raise SourceError(
                f"publication {settings.publication} is not there, and user {settings.user} could not create it "
                f"({reason(refused)}); the owner of the tables can run: {create.as_string(session.connection)}"
            ) from refused
        found = _found(session, settings)
    if problems := list(_of_all(session, settings, found, tables)):
        raise SourceError("\n".join(problems))
    leaves = _leaves(session, tables)
    published = _published(session, settings)
    lacking = [table for table in tables if not leaves[table.oid] <= published.keys()]
    if lacking:
        _add(session, settings, lacking)
        published = _published(session, settings)
    there = [table for table in tables if leaves[table.oid] <= published.keys()]
    if problems := list(_of_each(settings, there, leaves, published)):
        raise SourceError("\n".join(problems))
    oids, named = sql.Literal([table.oid for table in there]), sql.Literal(settings.publication)
    members = dict(session.fetch(sql.SQL(_MEMBERS).format(oids=oids, name=named)))
    return Publication(
        is_new,
        found[0][0],
        {table.oid: str(members[table.oid]) for table in there},
        {table.oid: leaves[table.oid] for table in there},
    )


def _add(session: Session, settings: Settings, tables: Sequence[Table]) -> None:
    """Adds tables to the publication: all, or those that this user may add."""
    add = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}")
    name = sql.Identifier(settings.publication)
    if not _executed(settings, add.format(name, _tables(tables))):
        return
    for table in tables:
        statement = add.format(name, _tables([table]))
        if refused := _executed(settings, statement):
            op.warning(
                f"the changes of table {table.stream} are left out ({reason(refused)}) until the owner of publication "
                f"{settings.publication} and of the table runs: {statement.as_string(session.connection)}"
            )


def _found(session: Session, settings: Settings) -> list[tuple[Any, ...]]:
    schemas = sql.SQL(_SCHEMAS if session.connection.server_version >= _HAVE_SCHEMAS else "NULL")
    return session.fetch(sql.SQL(_PUBLICATION).format(name=sql.Literal(settings.publication), schemas=schemas))


def _published(session: Session, settings: Settings) -> dict[int, tuple[bool, list[str] | None]]:
    rows = session.fetch(sql.SQL(_PUBLISHED).format(name=sql.Literal(settings.publication)))
    return {oid: (is_filtered, columns) for oid, is_filtered, columns in rows}


def _leaves(session: Session, tables: Iterable[Table]) -> dict[int, frozenset[int]]:
    oids = sql.Literal([table.oid for table in tables])
    found = {oid: frozenset(leaves) for oid, leaves in session.fetch(sql.SQL(_LEAVES).format(oids=oids))}
    return {table.oid: found.get(table.oid, frozenset([] if table.kind == "p" else [table.oid])) for table in tables}


def _of_all(
    session: Session, settings: Settings, found: list[tuple[Any, ...]], tables: Iterable[Table]
) -> Iterable[str]:
    ((_, sends_all, via_root),) = found
    change = f"ALTER PUBLICATION {sql.Identifier(settings.publication).as_string(session.connection)} SET"
    if not sends_all:
        yield (
            f"publication {settings.publication} does not send every kind of change: run {change} (publish = "
            "'insert, update, delete, truncate')"
        )
    partitioned = [table.stream for table in tables if table.kind == "p"]
    if via_root and partitioned:
        yield (
            f"publication {settings.publication} does not tell when a partition alone is truncated, as of "
            f"{', '.join(partitioned)}: run {change} (publish_via_partition_root = false)"
        )


def _of_each(
    settings: Settings,
    tables: Iterable[Table],
    leaves: Mapping[int, frozenset[int]],
    published: Mapping[int, tuple[bool, list[str] | None]],
) -> Iterable[str]:
    for table in tables:
        sent = [published[oid] for oid in leaves[table.oid]]
        if any(is_filtered for is_filtered, _ in sent):
            yield f"publication {settings.publication} has a row filter on table {table.stream}: take the filter out"
        if any(columns is not None and not {*table.primary_key} <= {*columns} for _, columns in sent):
            yield (
                f"publication {settings.publication} has a list of columns of table {table.stream} without its key, "
                f"{', '.join(table.primary_key)}: add them to the list, or take the list out"
            )


def _tables(tables: Iterable[Table]) -> sql.Composable:
    """The tables as a publication names them: without those that inherit from them, which could lack an identity."""
    return sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(table.schema, table.name)) for table in tables)


def _executed(settings: Settings, statement: sql.Composable) -> psycopg2.Error | None:
    """Runs a statement on a connection of its own, which is not read-only; the error if this user may not."""
    connection = connect(settings, pinned=False)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor, told(f"publication {settings.publication} could not be changed"):
            cursor.execute(sql.SQL("SET lock_timeout TO {}").format(sql.Literal(_LOCK_TIMEOUT)))
            cursor.execute(statement)
    except SourceError as refused:
        if isinstance(refused.__cause__, _NOT_ALLOWED):
            return refused.__cause__
        raise
    finally:
        connection.close()
    return None
