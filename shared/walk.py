"""Reads the tables that a topology declares: depth first, one page at a time.

A page of companies is delivered, then the departments of each of its companies, and only then does the state move past
that page. With several workers the lists below a page are asked for side by side; what arrives, and in which order, is
the same. A stream is one root table with everything below it; its position in the state is constant in size:

    {"declared": "a1b2…",                                     what must be unchanged for the rest to hold
     "since": {"departments": "2026-01-31T00:00:00Z"},        where the passes before left each table's cursor
     "complete": "…", "whole": "…",                           when the last pass began, and the last over everything
     "round": 7, "ended": "…",                                in which, and when, the last pass was completed
     "pass": {"kind": "whole", "at": 3, "rows": 40, "total": 95,   the next page of the pass under way, if one is
              "started": "…", "highest": {"departments": "…"}}}

A round is what one sync does when nothing stops it: all streams. What one that was stopped had completed is not read
again at once by the next, so that syncs which are stopped again and again reach the last stream too.
"""

from collections import Counter
from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from shared.bounded_cache import BoundedCache
from shared.checkpoints import Checkpoints
from shared.errors import RecordError, SourceError, holds_secret
from shared.fan_out import FanOut
from shared.http_client import HttpClient, HttpError
from shared.http_messages import NOT_MODIFIED, NoRecords
from shared.list_reader import ListPart, ListReader
from shared.outgoing import Outgoing, is_gone
from shared.pages import Page, Position, Record, describe
from shared.pagination import PagePosition, SinglePage, TimeWindows, at_path
from shared.topology import SINCE, Changes, Endpoint, Table, filled, fingerprint, placeholders, rows_of
from shared.values import converter

# What a server says to a position that it no longer knows. Some answer 500 to one behind the last record.
_POSITION_REFUSED = frozenset({400, 401, 403, 404, 410, 422, 500})
# What concerns all calls, and no single list: never tolerated.
_NOT_OF_ONE_CALL = frozenset({401, 429})
# So many lists in a row that are not even answered are no failures of single lists.
_MOST_UNANSWERED = 5
_NOT_FOUND = 404
_GONE = frozenset({404, 410})
# So much JSON of a pass that is to show what was deleted is held back: a list that fails early deletes nothing.
_HELD_BYTES = 2 * 1024 * 1024
_REMEMBERED_CHANGES = 20_000
_ROUNDS = "_rounds"  # the stream that says which round was the last to end
_RECENT = timedelta(hours=1)


def read_pages(
    client: HttpClient,
    tables: Sequence[Table],
    checkpoints: Checkpoints,
    *,
    workers: int = 1,
    whole: Container[str] = (),
) -> Generator[Page, None, None]:
    """All tables, one after another, each from where its stream stands.

    workers  calls in flight at most, where many lists are to be read
    whole    names of root tables that are to be read whole in this sync, whatever a feed says of their changes
    """
    with FanOut(workers, client.metrics) as calls:
        ended = (checkpoints.position(_ROUNDS, needs=("ended",)) or {"ended": 0})["ended"]
        number = ended + 1 if isinstance(ended, int) else 1
        try:
            for table in tables:
                standing = _standing(client, table, checkpoints)
                if standing.is_done_in(number, client.now()):
                    log.info(f"{table.name}: was completed by the sync before, which was stopped later on")
                    continue
                yield from _stream(client, calls, table, replace(standing, round=number), table.name in whole)
        except BaseException:
            client.stop()  # or calls that are of no use any more would be waited for
            raise
        yield Page(_ROUNDS, (), position={"ended": number})


def read_first_page(client: HttpClient, table: Table) -> None:
    """Asks for the first page of a table, to see whether it can be read; raises SourceError if not."""
    with FanOut(1, client.metrics) as calls:
        next(_WholePass(client, calls, table, _Standing("")).reader().parts())


@dataclass
class _Standing:
    """Where a stream stands, as the state holds it."""

    declared: str
    since: dict[str, Any] = field(default_factory=dict)
    complete: str = ""
    whole: str = ""
    etag: str = ""
    round: int = 0
    ended: str = ""
    before: dict[str, Any] = field(default_factory=dict)
    under_way: dict[str, Any] = field(default_factory=dict)

    def is_done_in(self, number: int, now: datetime) -> bool:
        """Whether the stream was completed in the round, a short while ago: if one stream fails every sync for days,
        the others have to go on all the same."""
        done = self.round == number and self.ended and not self.under_way
        return bool(done) and timedelta() <= now - datetime.fromisoformat(self.ended) < _RECENT

    def position(self) -> Position:
        parts = asdict(self)
        parts["pass"] = parts.pop("under_way")
        return {name: part for name, part in parts.items() if part or name in ("declared", "since")}

    def completed_at(self) -> datetime | None:
        """When the last complete pass began."""
        return datetime.fromisoformat(self.complete) if self.complete else None


def _standing(client: HttpClient, table: Table, checkpoints: Checkpoints) -> _Standing:
    declared = fingerprint(client.base_url, table)
    position = checkpoints.position(table.name, needs=("declared", "since"))
    if position is None:
        return _Standing(declared)
    if position["declared"] != declared:
        op.warning(f"{table.name}: its declaration or the API's address has changed, so it is read whole again")
        return _Standing(declared)
    position["under_way"] = position.pop("pass", {})
    known = {part.name: position[part.name] for part in fields(_Standing) if part.name in position}
    return _checked(_Standing(**known), table)


def _checked(standing: _Standing, table: Table) -> _Standing:
    """The standing; raises SourceError for one that this walk cannot have written."""
    try:
        usable = _is_usable(standing, table)
    except (LookupError, TypeError, ValueError, AttributeError):
        usable = False
    if not usable:
        raise SourceError(f"the saved state of {table.name} is damaged: reset the connection to sync everything again")
    return standing


def _is_usable(standing: _Standing, table: Table) -> bool:
    under_way = standing.under_way
    moments = [standing.complete, standing.whole, standing.ended, *([under_way["started"]] if under_way else [])]
    cursors = {below.name: below.cursor for below in table.family() if below.cursor}
    for name, since in standing.since.items():
        if name in cursors:
            cursors[name].moment(since)
    return (
        all(datetime.fromisoformat(moment).tzinfo for moment in moments if moment)
        and isinstance(standing.before, dict)
        and isinstance(standing.round, int)
        and (not under_way or {"kind", "at", "rows", "total"} <= under_way.keys())
    )


def _stream(
    client: HttpClient, calls: FanOut, table: Table, standing: _Standing, whole: bool
) -> Generator[Page, None, None]:
    """One root table with all below it: what changed, if a feed tells, or else the whole."""
    kind = standing.under_way.get("kind")
    by_changes = table.changes and standing.complete and kind != _WholePass.kind and not whole
    if table.changes and by_changes and not _is_due(client, standing, table.changes):
        feed = _ChangesPass(client, calls, table, standing, table.changes)
        yield from feed.pages()
        if not feed.whole_is_needed:
            return
        standing = _Standing(standing.declared, round=standing.round)
    elif kind == _ChangesPass.kind:
        standing = replace(standing, under_way={})
    if whole:
        standing = replace(standing, etag="")
    yield from _WholePass(client, calls, table, standing).pages()


def _is_due(client: HttpClient, standing: _Standing, changes: Changes) -> bool:
    """Whether the list is to be read whole although a feed tells what changed."""
    if not standing.whole:
        return True
    age = client.now() - datetime.fromisoformat(standing.whole)
    return bool(changes.whole_after) and age > timedelta(seconds=changes.whole_after)


@dataclass(frozen=True)
class _Below:
    """A list below a record: of which table, how it is read, and whether all of it counts as new.

    asked  what tells it from the other lists of its table
    """

    table: Table
    reader: ListReader
    asked: str
    parent: Mapping[str, Any]
    whole: bool


class _Pass:
    """One pass over a root table and all below it: new, or the rest of one that was interrupted."""

    kind = ""

    def __init__(self, client: HttpClient, calls: FanOut, root: Table, standing: _Standing) -> None:
        self._client, self._calls, self._root, self._standing = client, calls, root, standing
        under_way = standing.under_way
        self._started = datetime.fromisoformat(under_way["started"]) if under_way else self._now()
        self._outgoing = Outgoing(
            root,
            standing.since,
            standing.before,
            under_way.get("highest", {}),
            under_way.get("unsorted", ()),
            client.now,
        )
        self._names = {table.name: placeholders(table) - {SINCE} for table in root.family()}
        self._asked: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._unanswered = 0

    def _now(self) -> datetime:
        """What happens from here on is the next pass's: by our clock or the server's, whichever is behind."""
        return min(datetime.now(UTC), self._client.now())

    def _parts(self, reader: Callable[[], ListReader]) -> Iterator[ListPart]:
        """The parts of the list that the pass goes along, from where it was interrupted; from its start, and said so,
        if the server refuses that."""
        name, under_way = self._root.name, self._standing.under_way
        going_on = reader()
        if under_way:
            going_on.position, going_on.rows, going_on.total = (under_way[part] for part in ("at", "rows", "total"))
            log.info(f"{name}: goes on after {going_on.rows:,} rows of an interrupted pass")
        parts = going_on.parts()
        try:
            first = next(parts)
        except (HttpError, NoRecords) as error:
            if not under_way or (isinstance(error, HttpError) and error.status not in _POSITION_REFUSED):
                raise
            op.warning(f"{name}: the server no longer accepts the saved position, the pass starts again: {error}")
            self._standing = replace(self._standing, under_way={})
            self._started = self._now()
            yield from self._parts(reader)
            return
        yield self._dated(first)
        yield from map(self._dated, parts)

    def _dated(self, part: ListPart) -> ListPart:
        """The part; the pass began no later than the server's clock said at any of its answers."""
        if part.answer:
            self._started = min(self._started, part.answer.asked_at)
        return part

    def _past(self, part: ListPart) -> Position | None:
        """What the state holds once a page and all below it are delivered."""
        return self._completed(part).position() if part.following is None else self._under_way(part)

    def _under_way(self, part: ListPart) -> Position | None:
        told = repr(part.following)
        if _holds_secret(part.following) or told != self._client.masked(told):
            return None  # the state is not encrypted: an interrupted pass starts again instead
        under_way = {
            "kind": self.kind,
            "at": part.following,
            "rows": part.rows,
            "total": part.total,
            "started": self._started.isoformat(),
            "highest": dict(self._outgoing.highest),
            "unsorted": sorted(self._outgoing.unsorted),
        }
        return replace(self._standing, under_way=under_way).position()

    def _completed(self, part: ListPart) -> _Standing:
        return replace(
            self._standing,
            since=self._outgoing.reached(self._started),
            before=self._outgoing.numbers(),
            complete=self._started.isoformat(),
            ended=self._client.now().isoformat(),
            under_way={},
        )

    def _below(self, parent: Table, records: Sequence[Record], where: str, may_be_new: bool) -> Iterator[Page]:
        """What lies below the records, depth first; whole below a record that may be new."""
        self._outgoing.tell_what_stays(parent, records)
        for table in parent.children:
            if table.rows is not None:
                yield from self._embedded(table, parent, records, where)
        for most, tables in self._called(parent):
            lists = self._lists_below(parent, tables, records, may_be_new)
            yield from self._side_by_side(lists, most)

    def _called(self, parent: Table) -> Iterator[tuple[int, list[Table]]]:
        """The tables below that calls are made for, those together that have the same limit of their own."""
        called = [table for table in parent.children if table.rows is None]
        for most in dict.fromkeys(table.at_once for table in called):
            yield most, [table for table in called if table.at_once == most]

    def _side_by_side(self, lists: Iterator[_Below], most: int) -> Iterator[Page]:
        for below, opened in self._calls.in_order(lists, lambda below: below.reader.open(), most):
            self._asked[below.table.name] += 1
            for part in self._tolerated(below, opened):
                taken = _taken(below.table, below.parent)
                children = [{**child, **taken} for child in part.records] if taken else part.records
                yield from self._outgoing.pages(below.table, children, part.where, below.whole)
                yield from self._below(below.table, children, part.where, below.whole)
            yield from self._outgoing.failures()

    def _embedded(self, table: Table, parent: Table, records: Sequence[Record], where: str) -> Iterator[Page]:
        """What lies in the records themselves, made while it is sent if nothing lies below it: it may be much."""
        for record in records:
            if is_gone(parent, record):
                yield from self._outgoing.deletes(table, _rows_in(record, table, parent), where)
                continue
            if not table.children:
                yield from self._outgoing.pages(table, _rows_in(record, table, parent), where, whole=True)
                continue
            rows = list(_rows_in(record, table, parent))
            yield from self._outgoing.pages(table, rows, where, whole=True)
            yield from self._below(table, rows, where, may_be_new=True)

    def _lists_below(
        self, parent: Table, tables: Sequence[Table], records: Sequence[Record], may_be_new: bool
    ) -> Iterator[_Below]:
        single = [table for table in tables if table.batch is None]
        for record in records if single else ():
            whole = may_be_new or self._outgoing.has_changed(parent, record)
            for table in single:
                if is_gone(parent, record) and not table.tombstone:
                    continue
                try:
                    values = {name: _text_of(name, table, parent, record) for name in self._names[table.name]}
                except RecordError as error:
                    if not table.tolerant:
                        raise
                    self._outgoing.failed(table, describe(parent.name, parent.primary_key, record), table.path, error)
                    continue
                reader = self._reader(table, values, {}, whole)
                in_params = {name: text for name, text in values.items() if f"{{{name}}}" not in table.path}
                yield _Below(table, reader, _asked(reader.path, in_params), record, whole)
        for table in tables:
            if table.batch:
                yield from self._batches(table, parent, records, may_be_new)

    def _batches(self, table: Table, parent: Table, records: Sequence[Record], may_be_new: bool) -> Iterator[_Below]:
        """One call for many parents."""
        batch = table.batch
        assert batch
        records = [record for record in records if table.tombstone or not is_gone(parent, record)]
        for start in range(0, len(records), batch.size):
            some = records[start : start + batch.size]
            whole = may_be_new or any(self._outgoing.has_changed(parent, record) for record in some)
            texts = [_text_of(batch.column, table, parent, record) for record in some]
            if mixed := next((text for text in texts if batch.separator in text), None):
                raise RecordError(
                    f"table {parent.name} has {mixed!r} in {batch.column}, which holds the separator of {table.name}'s "
                    "batch: choose another one, or ask without a batch"
                )
            params = {batch.parameter: batch.separator.join(texts)}
            reader = self._reader(table, {}, params, whole)
            yield _Below(table, reader, _asked(reader.path, params), {}, whole)

    def _reader(self, table: Table, values: Mapping[str, str], params: Mapping[str, str], whole: bool) -> ListReader:
        """How a table's list is read: from its cursor on, or the `whole` of it."""
        cursor, pagination = table.cursor, table.pagination
        assert pagination  # check_tables refuses a table without
        since = cursor.asked_from(None if whole else self._standing.since.get(table.name)) if cursor else ""
        if cursor and cursor.parameter and since:
            params = {**params, cursor.parameter: since}
        values = {**values, SINCE: since}
        before = None if whole else self._standing.completed_at()
        if isinstance(pagination, TimeWindows) and (lost := pagination.lost(before, self._started)):
            days = pagination.reach / 86_400
            op.warning(f"{table.name}: the server keeps {days:.1f} days, and {lost} before these were not read")
        return ListReader(
            self._client,
            table,
            table.name,
            filled(table.path, {name: quote(value, safe="") for name, value in values.items()}),
            values=values,
            in_json={SINCE: cursor.in_json(since)} if cursor else {},
            params=params,
            keys=table.primary_key,
            prepare=table.prepare,
            position=pagination.start(before, self._started),
        )

    def _tolerated(self, below: _Below, opened: Callable[[], None]) -> Iterator[ListPart]:
        """The parts of a list below a record; none if it is off, its parent gone, or if it fails and may."""
        table, has_begun = below.table, False
        try:
            opened()
            for part in below.reader.parts():
                has_begun = True
                yield part
            self._unanswered = 0
        except SourceError as error:
            status = error.status if isinstance(error, HttpError) else 0
            if status in table.absent | table.gone and not has_begun:
                self._missing[table.name] += 1
                return
            self._unanswered = 0 if status or isinstance(error, NoRecords) else self._unanswered + 1
            if not table.tolerant or status in _NOT_OF_ONE_CALL or self._unanswered > _MOST_UNANSWERED:
                raise
            self._outgoing.failed(table, below.asked, below.reader.path, error)

    def _tell_missing(self) -> None:
        """Says how many lists were not there. If none of them was, then not for what happened to their parents."""
        for table in self._root.family():
            missing, asked = self._missing[table.name], self._asked[table.name]
            if table.deletes and missing == asked > 1:
                raise SourceError(f"{table.name}: none of its {asked:,} lists is there: check its path {table.path}")
            if missing:
                log.info(f"{table.name}: {missing:,} of {asked:,} lists below a record were not there")


class _WholePass(_Pass):
    """Reads all that the lists have, or with cursors all that changed."""

    kind = "whole"
    _reading: ListReader | None = None

    def pages(self) -> Iterator[Page]:
        """Every page of the root table, each followed by what lies below it, and then by the move of the state."""
        pages = self._all_pages()
        shows_deletes = any(table.deletes and table.delivered for table in self._root.family())
        yield from self._held_back(pages) if shows_deletes else pages

    def _held_back(self, pages: Iterator[Page]) -> Iterator[Page]:
        """The pages, the first of them only when there are more than a little, or all: what fails before deletes
        nothing. Then all rows count as deleted until they come again."""
        held, size = [], 0
        for page in pages:
            held.append(page)
            size += page.size
            if size > _HELD_BYTES:
                break
        if held and not self._standing.under_way and not self._has_problems():
            yield from self._outgoing.truncates()
        held.reverse()
        while held:
            yield held.pop()
        yield from pages

    def _has_problems(self) -> bool:
        """Whether the list says that it may be partial: then nothing is deleted."""
        return self._reading is not None and self._reading.has_problems

    def _all_pages(self) -> Iterator[Page]:
        root, has_begun = self._root, False
        try:
            for part in self._parts(self.reader):
                has_begun = True
                yield from self._with_all_below(part)
        except HttpError as error:
            if has_begun or error.status not in root.absent:
                raise
            log.info(f"{root.name}: nothing is read, and nothing deleted: {error}")

    def _with_all_below(self, part: ListPart) -> Iterator[Page]:
        """The pages of a part, those of what lies below it, and the move of the state with the last of them."""
        root = self._root
        pages = list(self._outgoing.pages(root, part.records, part.where, whole=False))
        if pages:
            pages[0].size = part.size
        is_end = part.is_last and part.following is None and part.answer is not None and part.answer.status == 200
        if root.children or (root.after and is_end):
            yield from pages
            yield from self._below(root, part.records, part.where, may_be_new=False)
            pages = []
        if root.after and is_end:
            done = {"rows": part.rows, "started": self._started}
            yield from self._below(root.whole_pass(), [done], part.where, may_be_new=True)
        if part.is_last:
            if part.following is None:
                self._tell_missing()
            pages = pages or [Page(root.name, ())]
            pages[-1].position, pages[-1].expected = self._past(part), part.total or 0
        yield from pages

    def reader(self) -> ListReader:
        """How the root's list is read from its beginning."""
        reader = self._reading = self._reader(self._root, {}, {}, whole=False)
        if self._standing.etag and not self._standing.under_way:
            reader.headers = {"If-None-Match": self._standing.etag}
        return reader

    def _completed(self, part: ListPart) -> _Standing:
        standing = replace(super()._completed(part), whole=self._started.isoformat())
        if self._root.unchanged and part.answer and part.answer.status != NOT_MODIFIED:
            standing.etag = part.answer.headers.get("ETag", "")
        return standing


class _ChangesPass(_Pass):
    """Reads what changed since the last complete pass: a feed says which records, and each is read as it is now."""

    kind = "changes"

    def __init__(self, client: HttpClient, calls: FanOut, root: Table, standing: _Standing, changes: Changes) -> None:
        super().__init__(client, calls, root, standing)
        self._changes = changes
        self._key = root.primary_key[0]
        self._exact_key = converter(root.columns[self._key])
        self._known = BoundedCache[Any, bool](client.metrics, _REMEMBERED_CHANGES)
        self.whole_is_needed = False

    def pages(self) -> Iterator[Page]:
        """The changed records and what lies below them. Stops as soon as `whole_is_needed` to tell what happened."""
        has_begun = False
        try:
            for part in self._parts(self._feed):
                has_begun = True
                self.whole_is_needed = any(self._is_beyond(entry, part.where) for entry in part.records)
                if not self.whole_is_needed:
                    yield from self._as_they_are_now(part)
                if self.whole_is_needed:
                    log.info(f"{self._root.name}: changed in a way that only the whole list shows")
                    yield Page(self._root.name, (), position=_Standing(self._standing.declared).position())
                    return
                if part.is_last:
                    yield Page(self._root.name, (), position=self._past(part))
        except HttpError as error:
            if has_begun or error.status != _NOT_FOUND:
                raise
            log.info(f"{self._root.name}: the server has no feed of changes, so the whole list is read: {error}")
            self.whole_is_needed = True

    def _feed(self) -> ListReader:
        feed = self._changes
        assert feed.pagination  # check_tables refuses a feed without
        position = feed.pagination.start(self._standing.completed_at(), self._started)
        return ListReader(self._client, feed, f"{self._root.name} changes", feed.path, position=position)

    def _as_they_are_now(self, part: ListPart) -> Iterator[Page]:
        """The records that a part of the feed names, each looked up once in a pass: that shows all its changes."""
        keys = dict.fromkeys(self._key_of(entry, part.where) for entry in part.records)
        readers = ((key, self._record(key)) for key in keys if not self._was_read(key))
        for (key, reader), opened in self._calls.in_order(readers, lambda item: item[1].open()):
            try:
                opened()
                found = list(reader.parts())
            except HttpError as error:
                if error.status not in _GONE:
                    raise
                if self._root.delivered:
                    yield Page(self._root.name, (), deletes=[{self._key: key}])
                # What was below it is known to the destination alone.
                self.whole_is_needed = self.whole_is_needed or bool(self._root.children)
                continue
            for record in found:
                yield from self._outgoing.pages(self._root, record.records, record.where, whole=True)
                yield from self._below(self._root, record.records, record.where, may_be_new=True)

    def _is_beyond(self, entry: Record, where: str) -> bool:
        try:
            return self._changes.is_beyond(entry)
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            told = f"{where} has a change of table {self._root.name} that its is_beyond() cannot take: {problem!r}"
            raise SourceError(told) from problem

    def _key_of(self, entry: Record, where: str) -> Any:
        """The key of the record that an entry names, as the table holds it; raises SourceError where there is none."""
        key = at_path(entry, self._changes.entry_key)
        try:
            if key is None or key == "":
                raise ValueError("names no record")
            if isinstance(key, str) and self._root.columns[self._key] in ("SHORT", "INT", "LONG"):
                key = int(key)
            return self._exact_key(key)
        except ValueError as problem:
            told = (
                f"{where} has a change of table {self._root.name} at {self._changes.entry_key} that cannot be looked up"
            )
            raise SourceError(f"{told}: {problem}") from problem

    def _was_read(self, key: Any) -> bool:
        was_read = key in self._known
        self._known.get(key, lambda _: True)
        return was_read

    def _record(self, key: Any) -> ListReader:
        feed = self._changes
        single = Endpoint(records=feed.record_at, shape="object", pagination=SinglePage(), params=feed.record_params)
        path = filled(feed.record, {"id": quote(str(key), safe="")})
        return ListReader(self._client, single, f"{self._root.name} record", path, prepare=self._root.prepare)


def _rows_in(record: Record, table: Table, parent: Table) -> Iterator[Record]:
    """The records of an embedded table in its parent's; raises RecordError where there is no list of them."""
    try:
        for row in rows_of(table, record):
            yield {**row, **_taken(table, record)}
    except (LookupError, TypeError, ValueError, AttributeError) as problem:
        described = describe(parent.name, parent.primary_key, record)
        told = problem if isinstance(problem, ValueError) else repr(problem)
        raise RecordError(f"{described}: {told}") from problem


def _taken(table: Table, parent: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a record takes from its parent's."""
    return {column: parent.get(name) for column, name in table.inherit.items()}


def _text_of(name: str, table: Table, parent: Table, record: Record) -> str:
    """A parent's column as it stands in a request; raises RecordError where the record has nothing that can."""
    value = record.get(name)
    if isinstance(value, bool):
        value = str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    text = "" if value is None or isinstance(value, dict | list) else str(value)
    if text in ("", ".", ".."):
        told = f"{name} is {record.get(name)!r}, which {table.path} cannot take"
        raise RecordError(f"{describe(parent.name, parent.primary_key, record)}: {told}")
    return text


def _asked(path: str, values: Mapping[str, str]) -> str:
    """A list in one line that tells it from the others of its table."""
    return f"{path}?{urlencode(values)}" if values else path


def _holds_secret(position: PagePosition) -> bool:
    """Whether a position has an address with a part that may not be saved."""
    if isinstance(position, dict | list):
        return any(map(_holds_secret, position.values() if isinstance(position, dict) else position))
    return isinstance(position, str) and holds_secret(position)
