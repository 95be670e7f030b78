"""The tables of a REST API as a tree, declared; and the runner that walks it depth first, one page at a time.

    Table(
        "companies", "/cursors/companies", primary_key=("company_id",), columns={...},
        children=(Table("departments", "/cursors/{company_id}/departments", ...),), ...
    )

A page of companies is delivered, then the departments of each of its companies, and only then does the state move past
that page. A stream is one root table with everything below it; its position in the state is constant in size:

    {"declared": "a1b2…",                                     what must be unchanged for the rest to hold
     "since": {"departments": "2026-01-31T00:00:00Z"},        where the pass before left each table's cursor
     "pass": {"at": 3, "rows": 40, "total": 95,               the next page of the pass under way, if one is
              "started": "…", "highest": {"departments": "…"}}}
"""

import hashlib
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from shared.checkpoints import Checkpoints
from shared.errors import RecordError, SourceError, holds_secret, redacted
from shared.http_client import HttpAnswer, HttpClient, HttpError, shown_json
from shared.pages import Page, Position, Record, describe
from shared.pagination import Answer, PageGuard, PagePosition, Pagination, at_path
from shared.values import UNDECLARED, ColumnType, converter, record_converter

_PLACEHOLDER = re.compile(r"{(\w+)}")
# What a server says to a position that it no longer knows.
_POSITION_REFUSED = frozenset({400, 401, 403, 404, 410, 422})
_NOT_YET = datetime.max.replace(tzinfo=UTC)
# The server's clock is read from a header of whole seconds.
_CLOCK_GRAIN = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How a table is read incrementally: the records that changed since the last complete pass.

    field      the record's field that grows with every change
    format     of that field, as for strptime; a time without an offset is taken for UTC
    parameter  the query parameter that asks for records changed at or since a time. Children are then read only of
               the records that changed: use it where a change of a child changes its parent. "": the list is read
               whole, the children of every record are read, and only the records that changed since are sent
    """

    field: str
    format: str = "%Y-%m-%dT%H:%M:%SZ"
    parameter: str = ""

    def moment(self, text: Any) -> datetime:
        """The time that a value of the field says; raises ValueError or TypeError if it is not of the format."""
        moment = datetime.strptime(text, self.format)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Table:
    """One list endpoint and the table it becomes.

    path         below the base address; {name} in a child's path is that column of the parent's record
    primary_key  tells the table's records apart, those of all parents together
    columns      type of every column, so that none is guessed
    records      path of the list in the body, such as "result.items"; "" when the body is the list
    pagination   where the next page is; SinglePage() when the endpoint answers with everything at once
    params       query parameters of every first request
    inherit      columns that a child takes from its parent's record: {"order_id": "id"}
    """

    name: str
    path: str
    primary_key: tuple[str, ...]
    columns: Mapping[str, ColumnType]
    _: KW_ONLY
    records: str
    pagination: Pagination
    params: Mapping[str, str] = field(default_factory=dict)
    cursor: Cursor | None = None
    inherit: Mapping[str, str] = field(default_factory=dict)
    children: tuple["Table", ...] = ()

    def family(self) -> Iterator["Table"]:
        """This table and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.family()


def check_tables(tables: Sequence[Table]) -> Sequence[Table]:
    """The tables; raises ValueError with everything in the declaration that could not work."""
    problems: list[str] = []
    names = [table.name for root in tables for table in root.family()]
    problems += [f"table {name} is declared twice" for name in sorted(set(names)) if names.count(name) > 1]
    for root in tables:
        problems += _problems(root, parent=None)
    if problems:
        raise ValueError("; ".join(problems))
    return tables


def _problems(table: Table, parent: Table | None) -> Iterator[str]:
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
    for name in _PLACEHOLDER.findall(table.path):
        if parent is None or name not in parent.columns:
            yield f"table {table.name}: no parent has the column {name} of its path {table.path}"
    for column, name in table.inherit.items():
        if column not in table.columns or parent is None or name not in parent.columns:
            yield f"table {table.name} cannot take its column {column} from a parent's column {name}"
    for child in table.children:
        yield from _problems(child, table)


def schema(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """What the connector's `schema()` returns for the tables."""
    return [
        {
            "table": table.name,
            "primary_key": list(table.primary_key),
            "columns": {**table.columns, UNDECLARED: "JSON"},
        }
        for root in tables
        for table in root.family()
    ]


def read_pages(client: HttpClient, tables: Sequence[Table], checkpoints: Checkpoints) -> Generator[Page, None, None]:
    """All tables, one after another, each from where its stream stands."""
    for table in tables:
        declared = hashlib.blake2b(repr((client.base_url, table)).encode(), digest_size=8).hexdigest()
        position = checkpoints.position(table.name, needs=("declared", "since")) or {}
        if position and position.get("declared") != declared:
            op.warning(f"{table.name}: its declaration or the API's address has changed, so it is read whole again")
            position = {}
        yield from _Pass(client, table, declared, position).pages()


@dataclass(frozen=True)
class _Listed:
    """A page of a list with the position that follows it, the rows of the list so far, and its stated total."""

    answer: HttpAnswer
    records: list[dict[str, Any]]
    following: PagePosition
    rows: int
    total: int | None


class _Pass:
    """One pass over a root table and all below it: new, or the rest of one that was interrupted."""

    def __init__(self, client: HttpClient, root: Table, declared: str, position: Mapping[str, Any]) -> None:
        self._client, self._root, self._declared = client, root, declared
        self._since: dict[str, str] = dict(position.get("since", {}))
        interrupted = position.get("pass") or {}
        self._at: PagePosition = interrupted.get("at")
        self._rows: int = interrupted.get("rows", 0)
        self._total: int | None = interrupted.get("total")
        self._resumed = "started" in interrupted
        self._started = datetime.fromisoformat(interrupted["started"]) if self._resumed else _NOT_YET
        self._highest: dict[str, str] = dict(interrupted.get("highest", {}))
        self._converters = {table.name: record_converter(table.columns) for table in root.family()}
        self._told: set[str] = set()

    def pages(self) -> Iterator[Page]:
        """Every page of the root table, each followed by its children and then by the move of the state past them."""
        root = self._root
        for listed in self._resumed_list():
            yield self._page(root, listed)
            yield from self._child_pages(root, listed.records, may_be_new=False)
            yield Page(root.name, (), position=self._position(listed), stream=root.name)

    def _child_pages(self, parent: Table, records: list[Record], may_be_new: bool) -> Iterator[Page]:
        """The children of each record, and theirs, depth first; whole below a record that may be new."""
        for record in records:
            whole = may_be_new or self._has_changed(parent, record)
            for table in parent.children:
                path = _child_path(table, parent, record)
                taken = {column: record.get(name) for column, name in table.inherit.items()}
                for listed in self._list(table, path, incremental=not whole):
                    listed = replace(listed, records=[{**child, **taken} for child in listed.records])
                    yield self._page(table, listed, whole)
                    yield from self._child_pages(table, listed.records, whole)

    def _has_changed(self, table: Table, record: Record) -> bool:
        """Whether a record may be new: then its children may be older than their cursor, and are read whole."""
        since = self._since.get(table.name)
        changed = record.get(table.cursor.field) if table.cursor else None
        if table.cursor is None or since is None or changed is None:
            return True
        return table.cursor.moment(changed) >= table.cursor.moment(since)

    def _resumed_list(self) -> Iterator[_Listed]:
        """The root's list from where it was interrupted; from its start, and said so, if the server refuses that."""
        root = self._root
        resumed = self._list(root, root.path, self._at, self._rows, self._total)
        if not self._resumed:
            yield from resumed
            return
        log.info(f"{root.name}: goes on after {self._rows:,} rows of an interrupted pass")
        try:
            first = next(resumed)
        except HttpError as error:
            if error.status not in _POSITION_REFUSED:
                raise
            op.warning(f"{root.name}: the server no longer accepts the saved position, the pass starts again: {error}")
            yield from self._list(root, root.path)
            return
        yield first
        yield from resumed

    def _list(
        self,
        table: Table,
        path: str,
        position: PagePosition = None,
        rows: int = 0,
        total: int | None = None,
        incremental: bool = True,
    ) -> Iterator[_Listed]:
        """The pages of one list. Warns when it ends with fewer rows than the server stated at its beginning."""
        guard = PageGuard(table.pagination)
        while True:
            answer = self._ask(table, path, position, incremental)
            where = redacted(answer.url)
            records = _records_at(answer, table, where)
            page = Answer(records, answer.body, answer.links, answer.url)
            rows += len(records)
            total = table.pagination.stated_total(page) if total is None else total
            try:
                following = table.pagination.next(position, page, rows)
            except ValueError as problem:
                raise SourceError(f"{where}: {problem}") from problem
            guard.check(page, following, where)
            yield _Listed(answer, records, following, rows, total)
            if following is None:
                break
            position = following
        if total is not None and rows < total:
            op.warning(f"{table.name}: {where} promised {total:,} rows and gave {rows:,}")

    def _ask(self, table: Table, path: str, position: PagePosition, incremental: bool) -> HttpAnswer:
        request = table.pagination.request(position)
        params: dict[str, str] = {} if request.alone else dict(table.params)
        since = self._since.get(table.name)
        if incremental and since and table.cursor and table.cursor.parameter and not request.alone:
            params[table.cursor.parameter] = since
        answer = self._client.get(request.url or path, {**params, **request.params}, request.headers)
        if self._started is _NOT_YET:
            self._started = answer.asked_at
        return answer

    def _page(self, table: Table, listed: _Listed, whole: bool = False) -> Page:
        """The list's page as it is delivered: its changed records, or the `whole` of them, as they arrive exactly."""
        where = redacted(listed.answer.url)
        changed = self._changed(table, listed.records, where)
        changed = listed.records if whole else changed
        return Page(
            table.name, [self._converted(table, record, where) for record in changed], primary_key=table.primary_key
        )

    def _changed(self, table: Table, records: list[Record], where: str) -> list[Record]:
        """The records that changed since the pass before; the highest value of the cursor is kept on the way."""
        if (cursor := table.cursor) is None:
            return records
        moments = [_moment(record, cursor, table, where) for record in records]
        known = [self._highest[table.name]] if table.name in self._highest else []
        values = [record[cursor.field] for record, moment in zip(records, moments, strict=True) if moment]
        if values:
            self._highest[table.name] = max([*known, *values], key=cursor.moment)
        since = self._since.get(table.name)
        if cursor.parameter or since is None:
            return records
        start = cursor.moment(since)
        return [record for record, moment in zip(records, moments, strict=True) if moment is None or moment >= start]

    def _converted(self, table: Table, record: Record, where: str) -> Record:
        if any(record.get(column) is None for column in table.primary_key):
            described = describe(table.name, table.primary_key, record)
            raise RecordError(f"{described}: {where} holds it without its whole primary key")
        try:
            converted: Record = self._converters[table.name](record)
        except ValueError as problem:
            raise RecordError(f"{describe(table.name, table.primary_key, record)}: {problem}") from problem
        if converted[UNDECLARED] and table.name not in self._told:
            self._told.add(table.name)
            fields = ", ".join(sorted(converted[UNDECLARED]))
            op.warning(f"{table.name}: fields that no column is declared for are kept in {UNDECLARED}: {fields}")
        return converted

    def _position(self, listed: _Listed) -> Position | None:
        """What the state holds once `listed` and all its children are delivered."""
        if listed.following is None:
            return {"declared": self._declared, "since": {**self._since, **self._reached()}}
        if holds_secret(str(listed.following)):
            return None  # the state is not encrypted: an interrupted pass starts again instead
        under_way = {"at": listed.following, "rows": listed.rows, "total": listed.total}
        return {
            "declared": self._declared,
            "since": self._since,
            "pass": {**under_way, "started": self._started.isoformat(), "highest": dict(self._highest)},
        }

    def _reached(self) -> dict[str, str]:
        """Up to where each table's changes are delivered for certain: no further than the pass's start.

        A record that changed behind the page under way is not in this pass; the next one asks from here, at or before
        that change. A table without changes keeps its cursor.
        """
        reached = {}
        for table in self._root.family():
            if (cursor := table.cursor) and table.name in self._highest:
                started = (self._started - _CLOCK_GRAIN).strftime(cursor.format)
                earlier = min(self._highest[table.name], started, key=cursor.moment)
                reached[table.name] = max(earlier, self._since.get(table.name, earlier), key=cursor.moment)
        return reached


def _moment(record: Record, cursor: Cursor, table: Table, where: str) -> datetime | None:
    """When a record changed; raises SourceError for a value that is not of the cursor's format."""
    value = record.get(cursor.field)
    try:
        return None if value is None else cursor.moment(value)
    except (TypeError, ValueError):
        raise SourceError(
            f"{where}: table {table.name} has {value!r} in its cursor field {cursor.field}, "
            f"which is not of its format {cursor.format!r}: declare Cursor(format=...) as it is"
        ) from None


def _child_path(table: Table, parent: Table, record: Record) -> str:
    """The child's path below one record; raises RecordError where the record has nothing that can stand in it."""

    def value(name: re.Match[str]) -> str:
        text = str(record.get(name[1]) if record.get(name[1]) is not None else "")
        if text in ("", ".", ".."):
            keys = ", ".join(f"{column}={record.get(column)!r}" for column in parent.primary_key)
            raise RecordError(
                f"table {parent.name}, record {keys}: {name[1]} is {text!r}, which {table.path} cannot take"
            )
        return quote(text, safe="")

    return _PLACEHOLDER.sub(value, table.path)


def _records_at(answer: HttpAnswer, table: Table, where: str) -> list[dict[str, Any]]:
    """The list of records in the body; what is no list of objects is an error, never an empty page."""
    records = at_path(answer.body, table.records)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        place = f"at records={table.records!r} "
        raise SourceError(f"{where} holds no list of records {place}for table {table.name}: {shown_json(answer.body)}")
    return records
