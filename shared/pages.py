"""A source is read as pages, and a page is delivered whole before the next is asked for.

Every connector's `update()` is this loop:

    with Checkpoints(state) as checkpoints, prefetch(read_pages(...)) as pages:
        for page in log_progress(pages):
            deliver(page)
            checkpoints.save(page)

with `prefetch` where the source makes one wait: a database or an API, not a file. The loop stands in each connector,
and not here, so that its reader sees the whole sync.
"""

import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fivetran_connector_sdk import FileUpload
from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from shared import memory_profiling
from shared.errors import RecordError
from shared.memory_limit import MemoryLimit

# How long one of the two threads of a sync runs before the other may; Python's own 0.005 is a tenth of a slow answer.
_TURN_SECONDS = 0.0005

Record = dict[str, Any]
Position = dict[str, Any]


@dataclass(slots=True)
class Page:
    """A bounded number of records of one table, and where its stream stands once they are delivered.

    records   read once, in order; a generator is fine
    deletes   the keys of rows to mark as deleted, before the records; no record has one of these keys
    position  what the state holds for `stream` after this page: a small JSON object, constant in size. None
              leaves the state where it is: the children of a record do, their parent's page moves past them all
    stream    whose position it is; the table's own name unless another is given
    truncate  mark every row delivered before as deleted first: the start of a complete pass
    size      bytes of the page's values, about, where the source tells
    expected  how many records the table has, about, where the source tells and all of them are read
    file      the file that goes beside the page's one record
    """

    table: str
    records: Iterable[Record]
    position: Position | None = None
    stream: str = ""
    schema: str | None = None
    primary_key: tuple[str, ...] = ()
    truncate: bool = False
    deletes: Iterable[Record] = ()
    size: int = 0
    expected: int = 0
    file: FileUpload | None = None
    delivered: int = 0

    def __post_init__(self) -> None:
        self.stream = self.stream or self.table


def deliver(page: Page) -> None:
    """Sends the page's deletes and records, each as soon as it is read, and counts them in `page.delivered`.

    Raises RecordError, naming table and key, for a record that the SDK refuses.
    """
    table, schema = page.table, page.schema
    upsert = op.upsert if page.file is None else partial(op.upsert, file=page.file)
    if page.truncate:
        op.truncate(table, schema=schema)
    for key in page.deletes:
        op.delete(table, key, schema=schema)
        page.delivered += 1
    delivered = 0  # counted here, as this is run for every record
    try:
        for record in page.records:
            try:
                # The record is sent to Fivetran at once: nothing is collected here.
                upsert(table, record, schema=schema)
            except (TypeError, ValueError, OverflowError, RecursionError) as refusal:
                where = describe(table, page.primary_key, record)
                raise RecordError(f"{where} cannot be delivered: {refusal}") from refusal
            delivered += 1
    finally:
        page.delivered += delivered


def describe(table: str, primary_key: Iterable[str], record: Mapping[str, Any]) -> str:
    """A record in words that name it and hold nothing but its key: values may be personal."""
    keys = ", ".join(f"{column}={record.get(column)!r:.200}" for column in primary_key)
    return f"table {table}, record {keys or 'without a key'}"


@contextmanager
def prefetch(pages: Generator[Page, None, None], ahead: int = 1) -> Iterator[Iterator[Page]]:
    """Reads `ahead` pages ahead in a thread while the page before them is delivered: so many more are in memory.

    An error of the source is raised where its page would have come. Leaving the block waits for the read under
    way and closes the source.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as reader:

        def from_ahead() -> Iterator[Page]:
            coming = deque(reader.submit(next, pages, None) for _ in range(ahead))
            while (page := coming.popleft().result()) is not None:
                coming.append(reader.submit(next, pages, None))
                yield page
                del page  # or it would stay in memory beside those that are needed

        usual = sys.getswitchinterval()
        # The reader has only to send its next request: it must not wait until the records before are all delivered.
        sys.setswitchinterval(_TURN_SECONDS)
        try:
            yield from_ahead()
        finally:
            sys.setswitchinterval(usual)
            reader.submit(pages.close).result()


def log_progress(pages: Iterable[Page], every_seconds: float = 10.0) -> Iterator[Page]:
    """Passes the pages on, logs how far their table is at a steady pace, and a summary at the end.

    Raises MemoryLimitReached between two pages when hardly any memory is left.
    """
    memory = MemoryLimit()
    rows: Counter[str] = Counter()
    started = time.monotonic()
    table = _Progress("", started)
    done = started
    due = started + every_seconds
    for number, page in enumerate(pages, start=1):
        memory_profiling.mark(f"page {number}, {page.table}: read")
        yield page
        memory_profiling.mark(f"page {number}, {page.table}: delivered")
        if page.stream != table.stream:
            table = _Progress(page.stream, done)  # its first page was begun when the one before was done
        table.add(page)
        # Tables of one stream, such as a list's children, are counted by their own names.
        rows[page.stream if page.stream.endswith(page.table) else page.table] += page.delivered
        done = time.monotonic()
        if done >= due:
            log.info(table.sentence())
            due = done + every_seconds
        memory.check(page.table, number, page.size)
    seconds = time.monotonic() - started
    rate = f", {rows.total() / seconds:,.0f} rows/s" if rows else ""
    changed = ", ".join(f"{stream} {count:,}" for stream, count in rows.items() if count)
    log.info(f"sync complete: {rows.total():,} rows in {seconds:.1f} s{rate}" + (f" ({changed})" if changed else ""))


class _Progress:
    """How far one stream is since it was started."""

    def __init__(self, stream: str, started: float) -> None:
        self.stream = stream
        self._started = started
        self._rows = self._bytes = self._expected = 0

    def add(self, page: Page) -> None:
        self._rows += page.delivered
        self._bytes += page.size
        self._expected = page.expected or self._expected

    def sentence(self) -> str:
        seconds = max(time.monotonic() - self._started, 1e-6)
        rate = self._rows / seconds
        known = self._expected >= self._rows > 0  # statistics may be old
        resident = memory_profiling.resident_bytes()
        parts = [
            f"{self.stream}: {self._rows:,} rows" + (f" of about {self._expected:,}" if known else ""),
            f"{rate:,.0f} rows/s",
            f"{self._bytes / seconds / 1e6:,.1f} MB/s" if self._bytes else "",
            f"{resident / 2**20:,.0f} MB of memory" if resident else "",
            f"about {_duration((self._expected - self._rows) / rate)} to go" if known else "",
        ]
        return ", ".join(filter(None, parts))


def _duration(seconds: float) -> str:
    """In words that a person estimates with.

    >>> _duration(40), _duration(600), _duration(9000)
    ('40 s', '10 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
