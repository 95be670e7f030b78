"""Records of a table as the pages that are sent: exact values, deletes, what changed, and what failed."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from fivetran_connector_sdk import Operations as op

from shared.errors import RecordError, SourceError
from shared.moments import written
from shared.pages import Page, Record, describe
from shared.pagination import at_path
from shared.topology import ERRORS, ERRORS_KEY, Cursor, Table
from shared.values import UNDECLARED, record_converter

# The server's clock is read from a header of whole seconds.
_CLOCK_GRAIN = timedelta(seconds=1)


class Outgoing:
    """The pages of one root table and all below it, during one pass.

    since     where the passes before left each table's cursor
    before    the highest value of each cursor that is a number, in the pass before
    highest   the highest value of each table's cursor in this pass so far, kept up to date
    unsorted  tables whose numbers did not come in ascending order, kept up to date
    now       the server's clock
    """

    def __init__(
        self,
        root: Table,
        since: Mapping[str, Any],
        before: Mapping[str, Any],
        highest: Mapping[str, Any],
        unsorted: Iterable[str],
        now: Callable[[], datetime],
    ) -> None:
        self._root, self._since, self._before, self._now = root, since, before, now
        self.highest, self.unsorted = dict(highest), set(unsorted)
        self._converters = {table.name: record_converter(table.columns) for table in root.family()}
        self._below = {table.name: _fields_below(table) for table in root.family()}
        self._told: set[str] = set()
        self._failures: list[Record] = []

    def truncates(self) -> Iterator[Page]:
        """The beginning of a pass that is to show what was deleted."""
        for table in self._root.family():
            if table.deletes and table.delivered:
                yield Page(table.name, (), stream=self._root.name, truncate=True)

    def pages(self, table: Table, records: Iterable[Record], where: str, whole: bool) -> Iterator[Page]:
        """The records that changed since the pass before, or the `whole` of them; and then what failed.

        Raises RecordError for one that cannot be delivered exactly, unless the table is tolerant.
        """
        records = list(records) if table.cursor else records  # they are looked at twice
        changed = self._changed(table, records, where)
        chosen = records if whole or table.deletes else changed  # what is not sent again would count as deleted
        if table.delivered and not (table.tombstone or table.tolerant):
            # Made exact only while they are sent, when the next page is already asked for.
            exact = (self._converted(table, record, where) for record in chosen)
            yield Page(table.name, exact, stream=self._root.name, primary_key=table.primary_key)
        elif table.delivered:
            alive, gone = self._alive_and_gone(table, chosen, where)
            yield Page(table.name, alive, stream=self._root.name, primary_key=table.primary_key, deletes=gone)
            yield from self.failures()

    def deletes(self, table: Table, records: Iterable[Record], where: str) -> Iterator[Page]:
        """The deletes of records whose parent is gone."""
        if table.delivered:
            gone = [self._key_of(table, self._converted(table, record, where)) for record in records]
            yield Page(table.name, (), stream=self._root.name, deletes=gone)

    def tell_what_stays(self, table: Table, records: Sequence[Record]) -> None:
        """Warns once of rows that came from lists below records that are gone: their keys are not known here."""
        left = [child.name for child in table.children if child.rows is None and not child.tombstone]
        if left and any(is_gone(table, record) for record in records):
            self._tell(
                f"{table.name} below", f"{table.name}: below records that are gone, rows of {', '.join(left)} stay"
            )

    def failed(self, table: Table, key: str, where: str, error: Exception) -> None:
        """Takes down a failure that the table tolerates, and says once that there is one; no other has its key."""
        self._tell(
            f"{table.name} {ERRORS}",
            f"{table.name}: not all of it could be read or delivered, and {ERRORS} names what; the first: {error}",
        )
        self._failures.append(
            {"table": table.name, "key": key, "address": where, "message": str(error), "failed_at": self._now()}
        )

    def failures(self) -> Iterator[Page]:
        """What has failed since this was last asked."""
        if self._failures:
            failures, self._failures = self._failures, []
            yield Page(ERRORS, failures, stream=self._root.name, primary_key=ERRORS_KEY)

    def has_changed(self, table: Table, record: Record) -> bool:
        """Whether a record may be new: then its children may be older than their cursor, and are read whole."""
        since = self._since.get(table.name)
        changed = record.get(table.cursor.field) if table.cursor else None
        if table.cursor is None or since is None or changed is None:
            return True
        moment: Any = table.cursor.moment(changed)
        return bool(moment >= table.cursor.moment(table.cursor.asked_from(since)))

    def reached(self, started: datetime) -> dict[str, Any]:
        """Up to where each table's changes are delivered for certain.

        For times no further than the pass's start: a record that changed behind the page under way is not in this pass.
        For numbers up to the highest only if the list has their order, else up to the highest of the pass before. A
        table without changes keeps its cursor.
        """
        reached = dict(self._since)
        for table in self._root.family():
            if (cursor := table.cursor) and table.name in self.highest:
                certain = self._certain(table.name, cursor, started)
                if certain is not None:
                    reached[table.name] = max(certain, self._since.get(table.name, certain), key=cursor.moment)
        return reached

    def numbers(self) -> dict[str, Any]:
        """The highest value of each cursor that is a number, for the next pass."""
        numbered = [table.name for table in self._root.family() if table.cursor and table.cursor.format == "number"]
        return {**self._before, **{name: self.highest[name] for name in numbered if name in self.highest}}

    def _certain(self, name: str, cursor: Cursor, started: datetime) -> Any:
        highest = self.highest[name]
        if cursor.format == "number":
            return highest if cursor.ordered and name not in self.unsorted else self._before.get(name)
        return min(highest, written(started - _CLOCK_GRAIN, cursor.format), key=cursor.moment)

    def _changed(self, table: Table, records: Iterable[Record], where: str) -> Iterable[Record]:
        """The records that changed since the pass before; the highest value of the cursor is kept on the way."""
        if (cursor := table.cursor) is None:
            return records
        found: list[Any] = [_moment(record, cursor, table, where) for record in records]
        known = [self.highest[table.name]] if table.name in self.highest else []
        values = [record[cursor.field] for record, moment in zip(records, found, strict=True) if moment is not None]
        if values:
            self.highest[table.name] = max([*known, *values], key=cursor.moment)
            order = [cursor.moment(value) for value in (*known, *values)] if cursor.format == "number" else []
            if any(one > other for one, other in pairwise(order)):  # type: ignore[operator]
                self.unsorted.add(table.name)
        since = self._since.get(table.name)
        if cursor.parameter or since is None:
            return records
        start: Any = cursor.moment(cursor.asked_from(since))
        return [record for record, moment in zip(records, found, strict=True) if moment is None or moment >= start]

    def _alive_and_gone(self, table: Table, records: Iterable[Record], where: str) -> tuple[list[Record], list[Record]]:
        """Records as they arrive exactly, and the keys of those that are gone. The last word on a key counts."""
        alive: list[Record] = []
        gone: dict[tuple[Any, ...], Record] = {}
        for record in records:
            try:
                converted = self._converted(table, record, where)
            except RecordError as error:
                if not table.tolerant:
                    raise
                self.failed(table, _print(where, record), where, error)
                continue
            key = self._key_of(table, converted)
            gone.pop(tuple(key.values()), None)
            if is_gone(table, record):
                gone[tuple(key.values())] = key
            else:
                alive.append(converted)
        if gone:
            alive = [record for record in alive if tuple(record[name] for name in table.primary_key) not in gone]
        return alive, list(gone.values())

    def _converted(self, table: Table, record: Record, where: str) -> Record:
        for column in table.primary_key:
            if record.get(column) is None:
                described = describe(table.name, table.primary_key, record)
                raise RecordError(f"{described}: {where} holds it without its whole primary key")
        if below := self._below[table.name]:
            record = {name: value for name, value in record.items() if name not in below}
        try:
            converted: Record = self._converters[table.name](record)
        except ValueError as problem:
            raise RecordError(f"{describe(table.name, table.primary_key, record)}: {problem}") from problem
        if converted[UNDECLARED]:
            fields = ", ".join(sorted(converted[UNDECLARED]))
            self._tell(
                table.name, f"{table.name}: fields that no column is declared for are kept in {UNDECLARED}: {fields}"
            )
        return converted

    def _key_of(self, table: Table, converted: Record) -> Record:
        return {column: converted[column] for column in table.primary_key}

    def _tell(self, once: str, warning: str) -> None:
        if once not in self._told:
            self._told.add(once)
            op.warning(warning)


def _print(where: str, record: Record) -> str:
    """Tells a record that may have no key from others, without telling what is in it."""
    return f"{where} {hashlib.blake2b(repr(record).encode(errors='surrogatepass'), digest_size=8).hexdigest()}"


def _fields_below(table: Table) -> frozenset[str]:
    """Fields that are tables of their own, and no column of this one."""
    rows = {child.rows for child in table.children if isinstance(child.rows, str) and child.delivered}
    return frozenset(rows - table.columns.keys())


def is_gone(table: Table, record: Record) -> bool:
    """Whether a record's tombstone says that it was deleted."""
    return bool(table.tombstone and at_path(record, table.tombstone))


def _moment(record: Record, cursor: Cursor, table: Table, where: str) -> datetime | int | None:
    """When a record changed; raises SourceError for a value that is not of the cursor's format."""
    value = record.get(cursor.field)
    try:
        return None if value is None else cursor.moment(value)
    except (TypeError, ValueError):
        raise SourceError(
            f"{where}: table {table.name} has {value!r} in its cursor field {cursor.field}, "
            f"which is not of its format {cursor.format!r}: declare Cursor(format=...) as it is"
        ) from None
