"""Finds the tables that the settings name in the catalogue of a database: how each is read, and what cannot be."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg2 import sql

from column_types import form_of, text_form
from replica_identity import logged_columns
from selection import Patterns, is_wild
from service_spec import Settings
from session import Session, told
from shared.errors import SourceError
from tables import Catalog, Column, Mode, Table

# Tables, partitioned tables, views, materialised views and foreign tables; and why one cannot be read.
_RELATIONS = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind::text,
        CASE WHEN NOT has_schema_privilege(n.oid, 'USAGE')
            THEN format('until this is run: GRANT USAGE ON SCHEMA %I TO %I', n.nspname, current_user)
            WHEN NOT has_any_column_privilege(c.oid, 'SELECT')
            THEN format('until this is run: GRANT SELECT ON %I.%I TO %I', n.nspname, c.relname, current_user)
            WHEN NOT c.relispopulated
            THEN format('until this is run: REFRESH MATERIALIZED VIEW %I.%I', n.nspname, c.relname)
            WHEN c.relpersistence = 'u' AND pg_is_in_recovery()
            THEN 'as it is unlogged, and a standby has none of its rows' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND c.relpersistence <> 't'
    ORDER BY n.nspname, c.relname
"""
# The transaction that wrote a row is known of tables here, and shown to whoever may read the system column (number -2).
_DETAILS = """
    SELECT c.oid::bigint, row_security_active(c.oid),
        tree.oids, tree.joined, coalesce(tree.rows, greatest(c.reltuples, 0))::bigint,
        c.relkind IN ('r', 'p', 'm') AND tree.foreign_tables IS NOT TRUE,
        coalesce(has_column_privilege(c.oid, (-2)::int2, 'SELECT'), false),
        ARRAY(SELECT relid::oid::bigint FROM pg_partition_ancestors(c.oid) AS relid WHERE relid <> c.oid)
    FROM pg_class c, LATERAL (
        SELECT string_agg(member.oid::text, ' ' ORDER BY member.oid) AS oids,
            -- A partition that was away for a while has joined by another transaction.
            string_agg(concat(member.oid, ' ', i.xmin), ' ' ORDER BY member.oid) AS joined,
            bool_or(member.relkind = 'f') AS foreign_tables,
            sum(greatest(member.reltuples, 0)) FILTER (WHERE t.isleaf) AS rows
        FROM pg_partition_tree(c.oid) AS t JOIN pg_class member ON member.oid = t.relid
            LEFT JOIN pg_inherits i ON i.inhrelid = t.relid
    ) AS tree
    WHERE c.oid = ANY ({oids}::oid[])
"""
# Tables that inherit from others, with what they inherit from; partitions are no such tables.
_CHILDREN = """
    SELECT i.inhparent::bigint, n.nspname, c.relname, c.oid::bigint FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT c.relispartition AND i.inhparent = ANY ({oids}::oid[]) ORDER BY c.oid
"""
# A domain is read as the type below it, however deep. The definition is what else decides on the value of a row that
# nobody writes: the number of the column, the parts of its type with the labels of enums, the expression of a generated
# column.
_COLUMNS = """
    WITH RECURSIVE base (attrelid, attnum, attname, attgenerated, attcollation, typid, typmod) AS (
        SELECT attrelid, attnum, attname, attgenerated, attcollation, atttypid, atttypmod FROM pg_attribute
        WHERE attrelid = ANY ({oids}::oid[]) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT b.attrelid, b.attnum, b.attname, b.attgenerated, b.attcollation, t.typbasetype, t.typtypmod
        FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
    )
    SELECT b.attrelid::bigint, b.attname,
        -- Types of other schemas may have the names of built-in ones.
        CASE n.nspname WHEN 'pg_catalog' THEN t.typname ELSE n.nspname || '.' || t.typname END,
        b.typmod, format_type(t.oid, b.typmod), n.nspname,
        concat_ws(' ', b.attnum, b.attcollation, CASE WHEN t.typtype <> 'b' OR element.typtype <> 'b' THEN (
            WITH RECURSIVE part (oid, typelem, typbasetype, typrelid) AS (
                SELECT t.oid, t.typelem, t.typbasetype, t.typrelid
                UNION
                SELECT inner_type.oid, inner_type.typelem, inner_type.typbasetype, inner_type.typrelid
                FROM part JOIN pg_type inner_type ON inner_type.oid IN (part.typelem, part.typbasetype)
                    OR inner_type.oid IN (
                        SELECT rngsubtype FROM pg_range r
                        -- PostgreSQL 13 has no multiranges, and so no column of that name.
                        WHERE part.oid IN (r.rngtypid, (to_jsonb(r) ->> 'rngmultitypid')::oid)
                    )
                    OR inner_type.oid IN (
                        SELECT atttypid FROM pg_attribute
                        WHERE attrelid = part.typrelid AND attnum > 0 AND NOT attisdropped AND part.typrelid <> 0
                    )
            )
            SELECT string_agg(concat_ws(' ', part.oid,
                (SELECT string_agg(quote_literal(enumlabel), ' ' ORDER BY e.oid)
                 FROM pg_enum e WHERE enumtypid = part.oid),
                (SELECT string_agg(attnum::text, ' ' ORDER BY attnum) FROM pg_attribute
                 WHERE attrelid = part.typrelid AND part.typrelid <> 0 AND attnum > 0 AND NOT attisdropped)
            ), ' ' ORDER BY part.oid) FROM part
        ) END,
        CASE WHEN b.attgenerated <> '' THEN (
            SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = b.attrelid AND adnum = b.attnum
        ) END),
        has_column_privilege(b.attrelid, b.attnum, 'SELECT')
    FROM base b JOIN pg_type t ON t.oid = b.typid JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_type element ON element.oid = t.typelem
    WHERE t.typtype <> 'd'
    ORDER BY b.attrelid, b.attnum
"""
# Of each table the best key: its primary key, else the columns of a unique index that cannot be NULL.
_KEYS = """
    SELECT DISTINCT ON (i.indrelid) i.indrelid::bigint, ARRAY(
        SELECT a.attname::text
        FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        ORDER BY k.place
    )
    FROM pg_index i
    WHERE i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indrelid = ANY ({oids}::oid[])
        AND NOT EXISTS (
            SELECT FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) AS k (attnum)
            LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
            WHERE a.attnotnull IS NOT TRUE OR k.attnum <= 0 OR EXISTS (
                -- From PostgreSQL 18 on, NULLs may be older than NOT NULL.
                SELECT FROM pg_constraint c WHERE c.conrelid = i.indrelid AND c.contype = 'n'
                    AND NOT c.convalidated AND k.attnum = ANY (c.conkey)
            )
        )
        AND (i.indisprimary OR NOT EXISTS (
            -- One that is unique in another sense than the type's own would have equal keys.
            SELECT FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1], i.indclass::oid[], i.indcollation::oid[])
                AS k (attnum, class, collation_oid)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum JOIN pg_type t ON t.oid = a.atttypid
            JOIN pg_opclass used ON used.oid = k.class
            WHERE k.collation_oid <> a.attcollation OR NOT used.opcdefault OR EXISTS (
                SELECT FROM pg_opclass own WHERE own.opcdefault AND own.opcmethod = used.opcmethod
                    AND own.oid <> used.oid AND own.opcintype IN (t.oid, t.typbasetype)
            )
        ))
    ORDER BY i.indrelid, i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, i.indexrelid
"""
_CURSOR_TYPES = frozenset({"timestamptz", "timestamp", "date", "int2", "int4", "int8", "numeric"})


def catalog_of(session: Session, settings: Settings) -> Catalog:
    """What the database holds of what the settings name; raises SourceError with all that is wrong, or if it is
    nothing."""
    with told(f"the tables of database {settings.database} could not be found"):
        catalog = _Reader(session, settings).catalog()
    if catalog.problems:
        raise SourceError(
            "\n".join(
                [f"database {settings.database} does not fit the settings:", *(f"- {p}" for p in catalog.problems)]
            )
        )
    if not catalog.tables:
        reasons = "".join(f"\n- {reason}" for reason in catalog.left_out)
        raise SourceError(f"database {settings.database} has nothing that {settings.user} may read{reasons}")
    return catalog


class _Reader:
    """Reads the catalogue once, by the patterns of the settings."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        self._wanted = Patterns("tables", settings.tables)
        self._unwanted = Patterns("exclude_tables", settings.exclude_tables)
        keys = [key.partition("=") for key in settings.keys]
        self._declared_keys = {pattern.strip(): columns for pattern, _, columns in reversed(keys)}
        self._keys = Patterns("keys", (pattern.strip() for pattern, _, _ in keys))
        self._full = Patterns("full_tables", settings.full_tables)
        self._included = Patterns("include_columns", settings.include_columns)
        self._excluded = Patterns("exclude_columns", settings.exclude_columns)
        self._hashed = Patterns("hash_columns", settings.hash_columns)
        self._text = Patterns("text_columns", settings.text_columns)
        self._cursors = Patterns("cursor_columns", settings.cursor_columns)
        self._soft_deletes = Patterns("soft_delete_columns", settings.soft_delete_columns)
        self._of_columns = (
            self._included, self._excluded, self._hashed, self._text, self._cursors, self._soft_deletes
        )  # fmt: skip
        self._logged: Mapping[int, frozenset[str]] = {}
        self._left_out: list[str] = []
        self._problems: list[str] = []

    def catalog(self) -> Catalog:
        relations = self._session.fetch(_RELATIONS)
        unwanted = {oid for oid, schema, name, *_ in relations if self._unwanted.match(schema, name)}
        found = [
            relation for relation in relations if self._wanted.match(*relation[1:3]) and relation[0] not in unwanted
        ]
        oids = sql.Literal([relation[0] for relation in found])
        details = {oid: rest for oid, *rest in self._session.fetch(sql.SQL(_DETAILS).format(oids=oids))}
        columns: dict[int, list[tuple[Any, ...]]] = {}
        for oid, *described in self._session.fetch(sql.SQL(_COLUMNS).format(oids=oids)):
            columns.setdefault(oid, []).append(tuple(described))
        keys = {oid: tuple(key) for oid, key in self._session.fetch(sql.SQL(_KEYS).format(oids=oids))}
        if self._settings.mode == "log":
            self._logged = logged_columns(self._session, [relation[0] for relation in found])
        tables = []
        for relation in found:
            oid = relation[0]
            if oid not in details:
                continue  # it was dropped a moment ago
            *about, ancestors = details[oid]
            if not (details.keys() | unwanted).isdisjoint(ancestors):
                continue  # a partition is delivered with its parent, or left out with it
            tables.append(self._table(relation, about, columns.get(oid, []), keys.get(oid, ())))
        self._tell_unmatched()
        self._tell_children([table for table in tables if table], oids)
        return Catalog(tuple(filter(None, tables)), tuple(self._left_out), tuple(self._problems))

    def _table(
        self, relation: tuple[Any, ...], details: list[Any], columns: list[tuple[Any, ...]], found_key: tuple[str, ...]
    ) -> Table | None:
        """The table as it is read; None, and the reason in `left_out`, if it cannot be."""
        oid, schema, name, kind, obstacle = relation
        hides_rows, partitions, joined, about, *_ = details
        if obstacle := obstacle or self._withheld(schema, name, found_key, columns):
            self._left_out.append(f"table {schema}.{name} is left out {obstacle}")
            self._met(schema, name, [column for column, *_ in columns])
            return None
        described = list(self._columns(schema, name, columns))
        if not described:
            self._left_out.append(f"table {schema}.{name} is left out: it has no columns")
            return None
        key, declared = self._key(schema, name, found_key, described)
        cursor = self._cursor(schema, name, described)
        mode, why = self._mode(relation, details, key, declared, cursor)
        if why:
            self._left_out.append(f"table {schema}.{name} is read whole by every sync {why}")
        return Table(
            schema, name, oid, kind, hides_rows, partitions or "", joined or "", about or 0,
            tuple(described), key, declared, mode, cursor,
            self._soft_delete(schema, name, columns), self._settings.hash_salt,
        )  # fmt: skip

    def _withheld(self, schema: str, table: str, key: tuple[str, ...], columns: list[tuple[Any, ...]]) -> str | None:
        """Why a table cannot be read, if the user may not read columns that it cannot be read without."""
        key = key or self._declared_key(schema, table)
        leading = (self._cursors, self._soft_deletes)
        needed = [
            name
            for name, *_, may_read in columns
            if not may_read and (name in key or any(patterns.match(schema, table, name) for patterns in leading))
        ]
        return f"until this is run: {self._grant(schema, table, needed)}" if needed else None

    def _met(self, schema: str, table: str, columns: list[str]) -> None:
        """Takes note that patterns match something, although it is not delivered."""
        for patterns in (self._keys, self._full):
            patterns.match(schema, table)
        for patterns in self._of_columns:
            for column in columns:
                patterns.match(schema, table, column)

    def _grant(self, schema: str, table: str, columns: list[str]) -> str:
        names = ", ".join(map(_quoted, columns))
        return f"GRANT SELECT ({names}) ON {_quoted(schema)}.{_quoted(table)} TO {_quoted(self._settings.user)}"

    def _columns(self, schema: str, table: str, described: list[tuple[Any, ...]]) -> Iterator[Column]:
        only_some = self._included.match(schema, table)
        for name, base_type, modifier, sql_type, namespace, definition, may_read in described:
            place = (schema, table, name)
            is_included = not only_some or self._included.match(*place)
            if self._excluded.match(*place) or not is_included:
                continue
            if not may_read:
                grant = self._grant(schema, table, [name])
                self._left_out.append(f"column {name} of table {schema}.{table} is left out until this is run: {grant}")
                self._met(schema, table, [name])
                continue
            is_hashed, is_text = bool(self._hashed.match(*place)), bool(self._text.match(*place))
            type_, form = form_of(base_type, modifier)
            if is_hashed or is_text:
                type_, form = "STRING", text_form(base_type, modifier)
            yield Column(name, base_type, modifier, sql_type, namespace, definition, type_, form, is_hashed)

    def _key(
        self, schema: str, table: str, found: tuple[str, ...], columns: list[Column]
    ) -> tuple[tuple[str, ...], bool]:
        """The table's key, and whether it is the settings' alone."""
        declared = self._declared_key(schema, table)
        key = found or declared
        missing = [name for name in key if name not in {column.name for column in columns}]
        if missing and found:
            self._problems.append(
                f"table {schema}.{table} cannot be delivered without {', '.join(missing)}, a part of its key: "
                "leave it in, or leave out the table; hash_columns can hide its values"
            )
        elif missing:
            self._problems.append(f"keys: table {schema}.{table} has no column {', '.join(missing)}")
        return (() if missing else key), not found

    def _declared_key(self, schema: str, table: str) -> tuple[str, ...]:
        columns = self._declared_keys.get(self._keys.match(schema, table) or "", "")
        return tuple(column.strip() for column in columns.split("+") if column)

    def _cursor(self, schema: str, table: str, columns: list[Column]) -> Column | None:
        chosen = [column for column in columns if self._cursors.match(schema, table, column.name)]
        for column in chosen:
            if column.base_type not in _CURSOR_TYPES or column.is_hashed:
                self._problems.append(
                    f"cursor_columns: {schema}.{table}.{column.name} is of type {column.sql_type}"
                    f"{', and hashed' if column.is_hashed else ''}: expected a date, a timestamp or a number"
                )
                return None
        if len(chosen) > 1:
            names = ", ".join(column.name for column in chosen)
            self._problems.append(f"cursor_columns: table {schema}.{table} can have only one of {names}")
        return chosen[0] if chosen else None

    def _soft_delete(self, schema: str, table: str, columns: list[tuple[Any, ...]]) -> sql.Composable | None:
        conditions = [
            sql.SQL("t.{} IS TRUE" if base_type == "bool" else "t.{} IS NOT NULL").format(sql.Identifier(name))
            for name, base_type, *_ in columns
            if self._soft_deletes.match(schema, table, name)
        ]
        return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions)) if conditions else None

    def _mode(
        self,
        relation: tuple[Any, ...],
        details: list[Any],
        key: tuple[str, ...],
        is_declared: bool,
        cursor: Column | None,
    ) -> tuple[Mode, str]:
        """How the table is read; and why it is not as the settings say, with the way out, if there is one."""
        _, schema, name, kind, _ = relation
        hides_rows, *_, has_xmin, may_read_xmin = details
        is_full = self._full.match(schema, name)
        if not key:
            return "keyless", ""
        if cursor:
            return "cursor", ""
        if is_full or kind in "vf":  # what wrote a row of a view or of a foreign table is not known
            return "full", ""
        if self._settings.mode == "log" and kind != "m":
            lack = self._lack(relation, hides_rows, key, is_declared)
            return ("full", lack) if lack else ("log", "")
        if self._settings.mode == "changes" and has_xmin:
            grant = "" if may_read_xmin else f"until this is run: {self._grant(schema, name, ['xmin'])}"
            return ("full", grant) if grant else ("changes", "")
        return "full", ""

    def _lack(self, relation: tuple[Any, ...], hides_rows: bool, key: tuple[str, ...], is_declared: bool) -> str | None:
        """Why the change log does not tell which rows of a table have changed; None if it does."""
        oid, schema, name, kind, _ = relation
        if hides_rows:
            return "as row-level security may show other rows of it without a change"
        if is_declared:
            return "as nothing in the database keeps its key unique: mode log needs one with an index"
        if set(key) <= self._logged.get(oid, frozenset()):
            return None
        place = f"{_quoted(schema)}.{_quoted(name)}"
        if kind == "p":
            return (
                f"until it has a primary key that is its replica identity, and that of each partition: ALTER TABLE "
                f"{place} ADD PRIMARY KEY ({', '.join(map(_quoted, key))})"
            )
        return (
            f"as the log does not name the rows that are updated or deleted, until it has a primary key, or this is "
            f"run: ALTER TABLE {place} REPLICA IDENTITY FULL"
        )

    def _tell_children(self, tables: list[Table], oids: sql.Composable) -> None:
        """The rows of a table that inherits from another are its own, and not delivered with the other's."""
        delivered = {table.oid: table for table in tables}
        for parent, schema, name, child in self._session.fetch(sql.SQL(_CHILDREN).format(oids=oids)):
            if parent in delivered and child not in delivered:
                self._left_out.append(
                    f"table {schema}.{name} inherits from {delivered[parent].stream}, and its rows are left out until "
                    "tables names it too"
                )

    def _tell_unmatched(self) -> None:
        """A pattern that matches nothing is a mistake: of columns to hide, one that would be found too late."""
        for patterns in (self._wanted, self._keys, self._full, *self._of_columns):
            what = "column of a table delivered" if patterns in self._of_columns else "table"
            for pattern in patterns.unmatched:
                self._problems.append(f"{patterns.setting}: {pattern} matches no {what}")
        for pattern in self._unwanted.unmatched:
            if not is_wild(pattern):  # what a pattern is to keep out may come later
                self._problems.append(f"{self._unwanted.setting}: {pattern} matches no table")


def _quoted(name: str) -> str:
    """An identifier as a person may paste it into psql."""
    return name if re.fullmatch("[a-z_][a-z0-9_]*", name) else '"' + name.replace('"', '""') + '"'
