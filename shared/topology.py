"""The tables of a REST API as a tree, declared. `walk.py` reads what is declared here.

    Table(
        "companies", "/cursors/companies", primary_key=("company_id",), columns={...},
        records="data", pagination=SinglePage(),
        children=(Table("departments", "/cursors/{company_id}/departments", ...),),
    )

A table is one list endpoint, or with `rows` something that lies in its parent's records. Nothing here asks anything of
a server, and `check_tables` refuses what could not work before anything is read.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, Field, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from shared import moments
from shared.errors import ConfigurationError
from shared.json_stream import RecordPath
from shared.pages import Record
from shared.pagination import InTurn, Pagination, SinglePage, TimeWindows, at_path
from shared.values import UNDECLARED, ColumnType, converter, fivetran_type

_PLACEHOLDER = re.compile(r"{(\w+)}")
# Stands for the time, or number, from which on changes are asked for.
SINCE = "since"
ERRORS = "_errors"
ERRORS_KEY = ("table", "key")
_HOW = frozenset({"at_once", "max_pages", "strict", "whole_after"})  # parts of a declaration that say not what is read
RESERVED = (ERRORS, "_rounds")


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How a table is read incrementally: the records that changed since the last complete pass.

    field      the record's field that grows with every change
    format     of that field: "iso", "epoch_s", "epoch_ms", or as for strptime (a time without an offset is taken for
               UTC); "number" for a whole number that grows with every change and is never given late
    parameter  the query parameter that asks for records changed at or since a time. Children are then read only of
               the records that changed: use it where a change of a child changes its parent. "": the list is read
               whole, the children of every record are read, and only the records that changed since are sent
    lookback   seconds (or numbers) before the last change that the next pass asks from, for changes written late
    start      what a first pass asks from, in `format`; "" asks for everything
    ordered    of numbers, whether the list comes in their order. In another, one that is given while the list is read
               may lie behind the page under way, so a pass asks from the highest of the pass before the last
    """

    field: str
    format: str = "%Y-%m-%dT%H:%M:%SZ"
    parameter: str = ""
    lookback: float = 0
    start: str = ""
    ordered: bool = False

    def moment(self, value: Any) -> datetime | int:
        """What a value of the field says, to be compared; raises ValueError or TypeError if it is not of the format."""
        if self.format != "number":
            return moments.parsed(value, self.format)
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError("expected a whole number")
        return int(value)

    def asked_from(self, since: str | int | None) -> str:
        """What a pass asks from when the one before reached `since`; "" asks for everything."""
        if since is None:
            return self.start
        if not self.lookback:
            return str(since)
        moment = self.moment(since)
        if isinstance(moment, int):
            return str(moment - int(self.lookback))
        earliest = datetime.min.replace(tzinfo=UTC) + timedelta(seconds=self.lookback)
        return moments.written(max(moment, earliest) - timedelta(seconds=self.lookback), self.format)

    def in_json(self, since: str) -> str | int:
        """What a pass asks from as it stands in JSON: a number if the format is one."""
        is_number = self.format == "number" or self.format.startswith("epoch")
        return int(since) if since and is_number else since


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One list of an API: what is asked for, and where the records are in its answers.

    records     path of the list in the body, such as "result.items"; "" when the body is the list
    shape       "list"; "object" for a single record; "map" for records under their keys, {"17": {...}}, the keys then
                going to the field `key`; "lines" for JSON Lines
    pagination  where the next page is; SinglePage() when the endpoint answers with everything at once
    params      query parameters of every first request
    headers     of every request
    json        what is posted; without it the request is a GET
    problems    path in the body of what the server has to say against its own answer: a list that is told if not empty

    In params and json, and in the path, {name} is that column of the parent's record, and {since} what the cursor asks
    from.
    """

    records: str = ""
    shape: str = "list"
    key: str = ""
    pagination: Pagination | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    problems: str = ""

    def record_path(self) -> RecordPath:
        """Where the records are in an answer; raises ValueError for a declaration that cannot be."""
        return RecordPath(self.records, self.shape, self.key)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Changes(Endpoint):
    """A feed of what changed, read in place of the whole list once a pass over that was complete.

    The feed says which records changed, and each is then read as it is now: no entry has to be complete, and they may
    come in any order. A record that is gone is deleted. A server that has no such feed (404) is read whole.

    path         of the feed
    entry_key    path in an entry of what names the changed record: a value of the table's primary key
    record       path of one record, with {id} in the place of its key
    record_at    path of the record in that answer's body
    is_beyond    tells of an entry that only a whole pass can show what it did; then one follows
    whole_after  seconds after which the list is read whole all the same; 0 never
    """

    path: str
    entry_key: str
    record: str
    record_at: str = ""
    record_params: Mapping[str, str] = field(default_factory=dict)
    is_beyond: Callable[[Record], bool] = lambda entry: False
    whole_after: float = 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A child endpoint that takes many parents in one call: ?ids=1,2,3.

    Its records say themselves whose they are: none of them can take a column from a parent.

    parameter  of the query
    column     of the parents' records
    size       parents in one call at most
    """

    parameter: str
    column: str
    size: int = 50
    separator: str = ","


@dataclass(frozen=True)
class Table(Endpoint):
    """A table, and the list endpoint or the part of its parent's records that it is made of.

    path         below the base address
    primary_key  tells the table's records apart, those of all parents together
    columns      type of every column, so that none is guessed
    rows         in place of a path: where the parent's record holds these records, a path or a function
    prepare      makes a record of another shape, before anything else looks at it
    cursor       how the table is read incrementally
    changes      or by a feed of changes
    inherit      columns that a child takes from its parent's record: {"order_id": "id"}
    batch        asks for the children of many parents in one call
    deletes      every pass reads all there is: rows that it does not meet are marked as deleted
    tombstone    path of the field that says of a record that it was deleted
    absent       statuses of a feature that is switched off: nothing is read, and nothing deleted
    gone         statuses of a parent that was deleted since it was listed, and of which nothing is left to read
    tolerant     a call of a child that fails, or a record that cannot be delivered, goes to the table `_errors`
    at_once      calls in flight for this table at most, where answers are large; 0 as many as there are workers
    unchanged    asks only for a list that changed since (If-None-Match)
    delivered    whether the records are sent; else they are read for the sake of the children
    after        tables that are read, or made, once a pass over this one and all below it is complete: their parent's
                 record is the pass, with its columns `rows` and `started`
    """

    name: str
    path: str
    primary_key: tuple[str, ...]
    columns: Mapping[str, ColumnType]
    _: KW_ONLY
    rows: str | Callable[[Record], Iterable[Record]] | None = None
    prepare: Callable[[Record], Record] | None = None
    cursor: Cursor | None = None
    changes: Changes | None = None
    inherit: Mapping[str, str] = field(default_factory=dict)
    batch: Batch | None = None
    deletes: bool = False
    tombstone: str = ""
    absent: frozenset[int] = frozenset()
    gone: frozenset[int] = frozenset()
    tolerant: bool = False
    at_once: int = 0
    unchanged: bool = False
    delivered: bool = True
    children: tuple["Table", ...] = ()
    after: tuple["Table", ...] = ()

    def family(self) -> Iterator["Table"]:
        """This table, all below it, parents first, and what comes after a pass."""
        yield self
        for table in (*self.children, *self.after):
            yield from table.family()

    def whole_pass(self) -> "Table":
        """A complete pass over the table, as the parent of what comes after it."""
        columns = {"rows": "LONG", "started": "UTC_DATETIME"}
        return Table(
            f"pass over {self.name}", self.path, ("started",), columns, pagination=SinglePage(), children=self.after
        )


def embedded(
    name: str,
    rows: str | Callable[[Record], Iterable[Record]],
    primary_key: tuple[str, ...],
    columns: Mapping[str, ColumnType],
    **declared: Any,
) -> Table:
    """A table of what lies in its parent's records: no call is made for it."""
    return Table(name, "", primary_key, columns, rows=rows, pagination=SinglePage(), **declared)


def rows_of(table: Table, record: Record) -> Iterable[Record]:
    """The records of an embedded table in its parent's record; raises ValueError where there is no list of them."""
    if callable(table.rows):
        return table.rows(record)
    found = at_path(record, str(table.rows))
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ValueError(f"{table.rows} is no list of objects, which table {table.name} is made of")
    return found


def filled(template: Any, values: Mapping[str, Any]) -> Any:
    """The template with {name} replaced in every text of it.

    A text that is nothing else becomes the value itself, a number for instance; where there is none (""), the member of
    an object goes.
    """
    if isinstance(template, str):
        alone = _PLACEHOLDER.fullmatch(template)
        if alone and alone[1] in values:
            return values[alone[1]]
        return _PLACEHOLDER.sub(lambda name: str(values.get(name[1], name[0])), template)
    if isinstance(template, Mapping):
        members = {key: filled(item, values) for key, item in template.items()}
        return {key: item for key, item in members.items() if item != "" or template[key] == ""}
    return [filled(item, values) for item in template] if isinstance(template, list) else template


def placeholders(table: Table) -> set[str]:
    """The names in braces of what a table asks for."""
    return {
        name for text in _texts([table.path, dict(table.params), table.json]) for name in _PLACEHOLDER.findall(text)
    }


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        yield from _texts(list(template.values()))
    elif isinstance(template, list):
        for item in template:
            yield from _texts(item)


def without(tables: Sequence[Table], names: Iterable[str]) -> list[Table]:
    """The tables, those left out that are named; a named one that others are below is read for their sake only.

    Raises ConfigurationError for a name that no table has.
    """
    left_out = set(names)
    if unknown := left_out - {table.name for root in tables for table in root.family()}:
        known = ", ".join(table.name for root in tables for table in root.family())
        raise ConfigurationError(
            f"exclude_tables: {', '.join(sorted(unknown))}: there is no such table; there are {known}"
        )
    return [kept for table in tables if (kept := _without(table, left_out))]


def _without(table: Table, left_out: set[str]) -> Table | None:
    children = tuple(kept for child in table.children if (kept := _without(child, left_out)))
    after = tuple(kept for later in table.after if (kept := _without(later, left_out)))
    delivered = table.delivered and table.name not in left_out
    if not (delivered or children or after):
        return None
    return replace(table, children=children, after=after, delivered=delivered)


def check_tables(tables: Sequence[Table]) -> Sequence[Table]:
    """The tables; raises ValueError with everything in the declaration that could not work."""
    problems: list[str] = []
    names = [table.name for root in tables for table in root.family()]
    problems += [f"table {name} is declared twice" for name in sorted(set(names)) if names.count(name) > 1]
    for root in tables:
        problems += _problems(root, parents=())
    if problems:
        raise ValueError("; ".join(problems))
    return tables


def _problems(table: Table, parents: tuple[Table, ...]) -> Iterator[str]:
    parent = parents[-1] if parents else None
    yield from _column_problems(table, parent)
    yield from _reading_problems(table, parents)
    for child in table.children:
        yield from _problems(child, (*parents, table))
    if table.after and parents:
        yield f"table {table.name} has no passes of its own: declare what comes after on the table above all"
    for later in table.after:
        yield from _problems(later, (table.whole_pass(),))


def _column_problems(table: Table, parent: Table | None) -> Iterator[str]:
    if not table.primary_key:
        yield f"table {table.name} has no primary key: equal rows would become one"
    for column in (*table.primary_key, *([table.cursor.field] if table.cursor else [])):
        if column not in table.columns:
            yield f"table {table.name} declares no column {column}"
    for column, type_ in table.columns.items():
        try:
            converter(type_)
        except ValueError as problem:
            yield f"table {table.name}, column {column}: {problem}"
    for column, name in table.inherit.items():
        if column not in table.columns or parent is None or name not in parent.columns:
            yield f"table {table.name} cannot take its column {column} from a parent's column {name}"
    for name in sorted(placeholders(table)):
        if name == SINCE and table.cursor and (table.cursor.start or not _needs_start(table)):
            continue
        if name == SINCE:
            yield f"table {table.name} asks from {{since}}: declare its cursor, with the start of a first pass"
        elif parent is None or name not in parent.columns:
            yield f"table {table.name}: no parent has the column {name} of its path {table.path}"


def _reading_problems(table: Table, parents: tuple[Table, ...]) -> Iterator[str]:
    name, family = table.name, (*parents, table)
    parent = parents[-1] if parents else None
    if (table.rows is None) == (not table.path):
        yield f"table {name} is made of a path, or of rows of its parent: declare the one or the other"
    if table.rows is not None and parent is None:
        yield f"table {name} is made of rows of a parent, and has none"
    if table.pagination is None:
        yield f"table {name} declares no pagination: SinglePage() if the endpoint answers with everything at once"
    elif isinstance(table.pagination, InTurn) and table.path != table.pagination.paths[0]:
        yield f"table {name} reads {table.pagination.paths[0]} first: declare it as its path"
    if name in RESERVED:
        yield f"table {name} has a name that is taken: {', '.join(RESERVED)} are"
    yield from _endpoint_problems(name, table)
    if table.changes:
        yield from _endpoint_problems(f"{name}'s feed of changes", table.changes)
    if table.batch and (parent is None or table.inherit or table.batch.column not in parent.columns):
        yield f"table {name} asks for many parents at once: declare the parent's column, and nothing to inherit"
    if table.deletes and any(_asks_since(above) for above in family):
        yield f"table {name} cannot tell what was deleted: it, or a parent, reads only what is new after a first pass"
    if table.deletes and table.tombstone:
        yield f"table {name} tells deletes by complete passes or by a tombstone: declare the one or the other"
    may_be_missing = any(above.tolerant or above.unchanged or above.absent for above in family[1:])
    if table.deletes and (may_be_missing or table.unchanged):
        yield f"table {name} cannot tell what was deleted where a list may be missing (tolerant, unchanged or absent)"
    if (table.tolerant or table.absent) and parent and (table.cursor or isinstance(table.pagination, TimeWindows)):
        yield f"table {name} reads only what is new, and would lose a list that is missing once (tolerant, absent)"
    if table.gone and parent is None:
        yield f"table {name} has no parent that could be gone: declare absent, for a list that may not be there"
    if table.tolerant and parent is None:
        yield f"table {name} has no parent: its list fails the sync, so it cannot be tolerant"
    if table.unchanged and (parent or table.children or not isinstance(table.pagination, SinglePage)):
        yield f"table {name} cannot ask for a list that changed: that needs a single page, without parent or children"
    if table.changes and (parent or table.cursor or len(table.primary_key) != 1):
        yield f"table {name} cannot follow a feed of changes: that needs one key column, no parent and no cursor"
    if table.changes and not isinstance(table.changes.pagination, TimeWindows):
        yield f"table {name} follows a feed of changes: declare the feed's TimeWindows"


def _endpoint_problems(name: str, endpoint: Endpoint) -> Iterator[str]:
    try:
        endpoint.record_path()
    except ValueError as problem:
        yield f"table {name}: {problem}"
    if endpoint.pagination and endpoint.json is None and "body" in endpoint.pagination.places():
        yield f"table {name} asks for pages in what it posts, and posts nothing: declare json, which may be {{}}"


def _asks_since(table: Table) -> bool:
    """Whether the server is asked for a part of the list only, once it was read whole."""
    by_cursor = bool(table.cursor and table.cursor.parameter) or SINCE in placeholders(table)
    return by_cursor or isinstance(table.pagination, TimeWindows)


def _needs_start(table: Table) -> bool:
    """Whether {since} stands where it cannot be left out, in a path or within a text."""
    texts = _texts([dict(table.params), table.json])
    return f"{{{SINCE}}}" in table.path or any(f"{{{SINCE}}}" in text and text != f"{{{SINCE}}}" for text in texts)


def schema(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """What the connector's `schema()` returns for the tables."""
    family = [table for root in tables for table in root.family()]
    declared = [
        {
            "table": table.name,
            "primary_key": list(table.primary_key),
            "columns": {**{name: fivetran_type(type_) for name, type_ in table.columns.items()}, UNDECLARED: "JSON"},
        }
        for table in family
        if table.delivered
    ]
    return [*declared, dict(_ERRORS_TABLE)] if any(table.tolerant for table in family) else declared


_ERRORS_TABLE: Mapping[str, Any] = {
    "table": ERRORS,
    "primary_key": list(ERRORS_KEY),
    "columns": {
        "table": "STRING",
        "key": "STRING",
        "address": "STRING",
        "message": "STRING",
        "failed_at": "UTC_DATETIME",
    },
}


def fingerprint(base_url: str, table: Table) -> str:
    """Changes when what a table reads does, so that a saved position is never taken for one of another list."""
    return hashlib.blake2b(repr((base_url, _described(table))).encode(), digest_size=8).hexdigest()


def _described(value: Any) -> Any:
    """A declaration as plain values that are the same in every process; parts left at their defaults do not count."""
    if is_dataclass(value) and not isinstance(value, type):
        told = [part for part in fields(value) if part.name not in _HOW and not _is_default(value, part)]
        return type(value).__name__, tuple((part.name, _described(getattr(value, part.name))) for part in told)
    if isinstance(value, Mapping):
        return tuple((key, _described(item)) for key, item in value.items())
    if isinstance(value, frozenset):
        return tuple(sorted(value))
    if isinstance(value, tuple | list):
        return tuple(map(_described, value))
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else value


def _is_default(declared: Any, part: "Field[Any]") -> bool:
    default = part.default_factory() if part.default_factory is not MISSING else part.default
    return bool(getattr(declared, part.name) == default)
