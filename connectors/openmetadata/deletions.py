"""Which lists have to be read whole, as something was deleted that only a whole list shows to be gone.

Histories do not tell of what was deleted for good: it is gone with its history. Two things tell:

- The server's events. They name a deleted database once and none of its tables, so an event stands for the kind that
  it names and for all that this contains.
- How many entities a list has. What is deleted in the server's own pages makes no event in some versions, and an event
  may bear the time of the entity's last change; but a list that has fewer than at the sync before has lost some.

A list that was read whole since then is not read again: so a sync that is interrupted gets ahead.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from entities import ENTITIES, Entity
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.http_client import Call, HttpClient, HttpError
from shared.json_stream import RecordPath
from shared.moments import parsed, written
from shared.pages import Page, Position
from shared.pagination import at_path

STREAM = "events"
# Servers keep events for seven days, unless told otherwise, and drop older ones once a day.
_KEPT = timedelta(days=6)
# The server tells its clock in whole seconds, and our reckoning of it depends on how long each answer took.
_CLOCK_GRAIN = timedelta(seconds=2)
_MS = "epoch_ms"
_FORBIDDEN, _NOT_FOUND = 403, 404
_DELETED = "entityDeleted"


class Deletions:
    """What one sync has to read whole. Where that stands is a stream of its own in the state:

    {"timestamp": 1767225600000,   up to when deletions are in the destination; 0 before a first sync ended
     "totals": {"tables": 40},     how many there were then
     "checking": {"timestamp": …, "totals": {…}}}   the same, as of the first of the syncs since, none of which ended

    tables   the names of the lists that this sync reads
    now      the server's clock
    missing  collections that the server does not have, as older ones lack some
    """

    def __init__(self, client: HttpClient, checkpoints: Checkpoints, tables: Iterable[str], now: datetime) -> None:
        self._client, self._now = client, now
        names = set(tables)
        self._entities = [entity for entity in ENTITIES if entity.table in names]
        self._passes = {entity.table: checkpoints.position(entity.table) or {} for entity in self._entities}
        nothing: Position = {"timestamp": 0, "totals": {}}
        self._position = checkpoints.position(STREAM, needs=nothing) or nothing
        totals = {entity.table: self._total(entity) for entity in self._entities}
        self.missing = frozenset(entity.collection for entity in self._entities if totals[entity.table] is None)
        self._totals = {table: total or 0 for table, total in totals.items()}
        checking = {"timestamp": int(written(now - _CLOCK_GRAIN, _MS)), "totals": self._totals}
        self._checking: Position = self._position.get("checking") or checking

    def begun(self) -> Page:
        """The move of the state to "a sync has begun"."""
        return Page(STREAM, (), position={**self._position, "checking": self._checking})

    def completed(self) -> Page:
        """The move of the state to "a sync ran to its end": to when the first of those began that made it up, as an
        interrupted pass does not look again at what it had read by then."""
        return Page(STREAM, (), position=self._checking)

    def lists_to_read_whole(self) -> set[str]:
        """The names of the lists in which something may have been deleted, but for those read whole since."""
        if not self._position["timestamp"]:
            return set()  # the first sync reads all of them whole
        types = self._types_with_deletions()
        found = {
            entity.table
            for entity in self._entities
            if (entity.type in types or self._has_shrunk(entity) or self._was_left_out(entity))
            and not self._began_since(entity, "whole", self._checking["timestamp"])
        }
        if found:
            log.info(f"read whole, as something may have been deleted: {', '.join(sorted(found))}")
        return found

    def _types_with_deletions(self) -> set[str]:
        """As the events say; all types where they cannot say it."""
        last = parsed(self._position["timestamp"], _MS)
        if self._now - last > _KEPT:
            log.info(f"deletions were last looked at on {last:%Y-%m-%d %H:%M} UTC: the server has dropped events since")
            return {entity.type for entity in self._entities}
        deleted: set[str] = set()
        call = Call("/v1/events", params={"timestamp": written(last, _MS), "entityDeleted": "*"}, endpoint=STREAM)
        try:
            for part in self._client.parts(call, RecordPath("data")):
                # A mark (entitySoftDeleted) is among them too: that is a change, which the history tells.
                deleted |= {
                    str(event.get("entityType")) for event in part.records if event.get("eventType") == _DELETED
                }
        except HttpError as error:
            if error.status not in (_FORBIDDEN, _NOT_FOUND):
                raise
            op.warning(f"every list is read whole, as no events tell what was deleted: {error}")
            return {entity.type for entity in self._entities}
        return with_contents(deleted)

    def _has_shrunk(self, entity: Entity) -> bool:
        return bool(self._totals[entity.table] < self._position["totals"].get(entity.table, 0))

    def _was_left_out(self, entity: Entity) -> bool:
        """Whether the last sync did not read the list: then nobody looked for what was deleted from it."""
        return not self._began_since(entity, "complete", self._position["timestamp"])

    def _began_since(self, entity: Entity, which: str, timestamp: int) -> bool:
        """Whether the list's last "complete" pass, or the last over the "whole", began since; so if there was none, as
        the list is read whole then in any case."""
        began = self._passes[entity.table].get(which)
        return began is None or datetime.fromisoformat(began) >= parsed(timestamp, _MS)

    def _total(self, entity: Entity) -> int | None:
        """How many a list has, those marked as deleted too; None if the server has no such list."""
        params = {"limit": "0", **({"include": "all"} if entity.has_include else {})}
        try:
            body = self._client.get(f"/v1/{entity.collection}", params=params).body
        except HttpError as error:
            if error.status != _NOT_FOUND:
                raise
            return None
        total = at_path(body, "paging.total")
        if not isinstance(total, int):
            raise SourceError(f"/v1/{entity.collection} does not say how many it has at paging.total")
        return total


def with_contents(types: Iterable[str]) -> set[str]:
    """The types, and those of all that they contain.

    >>> sorted(with_contents(["database"]))
    ['database', 'databaseSchema', 'storedProcedure', 'table', 'testCase', 'testSuite']
    """
    contains = {entity.type: entity.contains for entity in ENTITIES}
    found: set[str] = set()
    left = list(types)
    while left:
        type_ = left.pop()
        if type_ not in found:
            found.add(type_)
            left += contains.get(type_, ())
    return found
