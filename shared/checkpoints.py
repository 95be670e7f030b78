"""The state of a connector: one small position per stream, moved only after delivery.

{"version": 1, "streams": {"public.orders": {"key": ["7", "2026-01-31"]}}}
"""

import copy
import json
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from fivetran_connector_sdk import Operations as op

from shared.errors import ConnectorError, SourceError
from shared.pages import Page, Position

VERSION = 1
# From the version in the key to the next one. A change of the state's shape adds a line here, so that no connection
# has to start over after an upgrade.
MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

# A checkpoint makes the destination commit, so pages share one: it is sent when this much time or this many records
# have passed since the last, whichever is first. It bounds what a crash can make the next sync repeat.
SECONDS_BETWEEN = 5.0
RECORDS_BETWEEN = 100_000

# Fivetran refuses a state of 10 MB; one that grows toward it is a defect that has to be seen long before.
WARN_BYTES = 1_000_000
REFUSE_BYTES = 9_000_000


class Checkpoints:
    """Where every stream of a sync stands, and when to tell Fivetran.

    `state` is what `update()` was given; it is not changed. Leaving the `with` block saves what was delivered, also
    after a `ConnectorError`. Raises SourceError for a state that is not of this collection.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._streams: dict[str, Position] = _migrated(state)["streams"]
        self._unsaved_records = 0
        self._moved = self._sent = False
        self._warned = False
        self._saved_at = time.monotonic()

    def position(self, stream: str, needs: Iterable[str] = ()) -> Position | None:
        """Where the stream stands: everything up to here is delivered. None when nothing is.

        Raises SourceError for a position that lacks one of the parts in `needs`: it was written by something else.
        """
        position = self._streams.get(stream)
        if position is not None and not (isinstance(position, dict) and position.keys() >= set(needs)):
            raise SourceError(
                f"the saved state of {stream} is damaged or of another connector: reset the connection to sync "
                "everything again"
            )
        return copy.deepcopy(position)

    def save(self, page: Page) -> None:
        """Moves the state past a page that was delivered, and sends a checkpoint when one is due."""
        self._unsaved_records += page.delivered
        if page.position is None:
            return
        self._streams[page.stream] = page.position
        self._moved = True
        elapsed = time.monotonic() - self._saved_at
        if elapsed >= SECONDS_BETWEEN or self._unsaved_records >= RECORDS_BETWEEN:
            self.flush()

    def flush(self) -> None:
        """Sends a checkpoint if the state has moved since the last one."""
        if self._moved:
            self._send()

    def _send(self) -> None:
        state = {"version": VERSION, "streams": self._streams}
        self._guard_size(len(json.dumps(state)))
        # The checkpoint: Fivetran commits every record sent before it, and the next sync starts from this state.
        op.checkpoint(state)
        self._moved, self._sent = False, True
        self._unsaved_records = 0
        self._saved_at = time.monotonic()

    def _guard_size(self, size: int) -> None:
        if size < WARN_BYTES:
            return
        largest = max(self._streams, key=lambda stream: len(json.dumps(self._streams[stream])))
        if size >= REFUSE_BYTES:
            raise SourceError(
                f"the state has grown to {size:,} bytes, most of it for {largest!r}; Fivetran refuses 10 MB: "
                "reset this connection and report it"
            )
        if not self._warned:
            op.warning(f"the state has grown to {size:,} bytes, most of it for {largest!r}; Fivetran refuses 10 MB")
            self._warned = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an unknown error nothing is known of the connection to Fivetran either: the last checkpoint stands.
        if kind is None and not self._sent:
            self._send()  # a sync without a checkpoint looks unfinished, also where there was nothing new
        elif kind is None or issubclass(kind, ConnectorError):
            self.flush()


def _migrated(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `state` in today's shape."""
    if not state:
        return {"version": VERSION, "streams": {}}
    current = copy.deepcopy(dict(state))
    while (version := current.get("version", 0)) != VERSION:
        if not isinstance(version, int) or version not in MIGRATIONS:
            raise SourceError(
                f"the saved state has version {version!r} and this connector reads version {VERSION}: deploy the "
                "connector that wrote it, or reset the connection to sync everything again"
            )
        current = MIGRATIONS[version](current)
    if not isinstance(current.get("streams"), dict):
        raise SourceError("the saved state is damaged: reset the connection to sync everything again")
    return current
