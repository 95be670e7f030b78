"""A sync that leaks: of every page it delivers, as much stays in memory. For a process that may have little of it.

    python -m tests.shared.leaking 300 < state.json

delivers 300 pages, or as many as it can; says what arrived, and how it ended.
"""

import json
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

from shared.checkpoints import Checkpoints
from shared.errors import MemoryLimitReached, reported
from shared.pages import Page, deliver, log_progress, prefetch
from tests.recording import Destination, Sink, declare, with_sink

ROWS = 25  # of a page
_ROW_BYTES = 20_000
_PAGE_SECONDS = 0.005  # as if a source made one wait
TABLES: list[dict[str, Any]] = [{"table": "items", "primary_key": ["id"], "columns": {"id": "INT", "text": "STRING"}}]


def read_pages(position: int, count: int, leaked: list[Any]) -> Generator[Page, None, None]:
    for number in range(position, count):
        time.sleep(_PAGE_SECONDS)
        first = number * ROWS
        records = [{"id": each, "text": f"{each:09}" * (_ROW_BYTES // 9)} for each in range(first, first + ROWS)]
        leaked.append(records)
        yield Page("items", [{"id": record["id"], "text": ""} for record in records], {"at": number + 1}, size=500_000)


@reported()
def update(state: dict[str, Any], count: int) -> None:
    with Checkpoints(state) as checkpoints:
        position = checkpoints.position("items") or {"at": 0}
        with prefetch(read_pages(position["at"], count, [])) as pages:
            for page in log_progress(pages):
                deliver(page)
                checkpoints.save(page)


def main() -> None:
    count, state = int(sys.argv[1]), json.load(sys.stdin)
    sink = Sink(Destination())
    declare(TABLES, sink.destination)
    ended = "complete"
    try:
        with_sink(sink, lambda: update(state, count))
    except MemoryLimitReached as reached:
        ended = str(reached)
    arrived = sink.destination.after_crash()
    said = {
        "ended": ended,
        "errors": sink.errors,
        "state": arrived.committed,
        "ids": sorted(int(row["id"]) for row in arrived.table("items")),
        "upserts": sink.upserts.get("items", 0),
        "threads": threading.active_count(),
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()
