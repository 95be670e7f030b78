"""The benchmark of connectors/rest_api, against a server of its own whose latency is stated.

    make bench CONNECTOR=rest            100 pages, light and heavy ones, and an answer of a gigabyte
    make bench CONNECTOR=rest QUICK=1    12 light and 10 heavy ones

Two questions: what a paged list costs beside waiting for it and upserting it, whichever takes longer; and what one
answer of a gigabyte costs in memory. The documented pattern collects all pages, and then sends them.
"""

from collections.abc import Generator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import requests
from fivetran_connector_sdk import Operations as op

from profiling import list_server
from profiling.benchmark import (
    DOCUMENTED,
    FLOOR,
    OURS,
    Benchmark,
    Comparison,
    DataSet,
    Judgement,
    Result,
    Source,
    Variant,
    Work,
    compare,
    floor_of,
    measure,
    say,
)
from profiling.list_server import COLUMNS
from profiling.served import served
from shared import topology, walk
from shared.checkpoints import Checkpoints
from shared.http_client import HttpClient
from shared.pages import deliver, prefetch
from shared.pagination import SinglePage, Token
from shared.topology import Table, check_tables

NAME = "rest"
ROUNDS = 3
PAGE_SECONDS = 0.05
MOST_OVER_LARGER = 1.1
MOST_MB = 64
LARGE_BYTES = 1_000_000_000
WAITING = "waiting for the pages"


@dataclass(frozen=True)
class Pages:
    """A list of so many pages of so many rows."""

    name: str
    pages: int
    rows: int


FULL = (Pages("light pages", 100, 500), Pages("heavy pages", 100, 10_000))
QUICK = (Pages("light pages", 12, 500), Pages("heavy pages", 10, 3_000))


def benchmark(_: None, quick: bool) -> Generator[Result]:
    """All measurements, one after another; a quick one has no large answer."""
    for pages in QUICK if quick else FULL:
        yield paged(pages, ROUNDS, fills_buffers=not quick)
    if not quick:
        yield large(LARGE_BYTES)


def software(_: None) -> str:
    return "a list server of the tests"


BENCHMARK = Benchmark(nullcontext, software, benchmark)


# A list of pages, and one large answer


def paged(pages: Pages, rounds: int, fills_buffers: bool) -> Comparison:
    """Pages that are each answered after 50 ms, read one ahead."""
    tenth = pages.pages // 10
    with (
        served(partial(list_server.start, tenth, pages.rows, PAGE_SECONDS)) as small,
        served(partial(list_server.start, pages.pages, pages.rows, PAGE_SECONDS)) as large,
    ):
        data_set = DataSet(
            f"{NAME} {pages.name}",
            f"{pages.pages} pages of {pages.rows:,} rows at {PAGE_SECONDS * 1000:.0f} ms",
            Source({"base_url": small.ask(attrgetter("url"))}, tenth * pages.rows),
            Source({"base_url": large.ask(attrgetter("url"))}, pages.pages * pages.rows),
            MOST_MB,
            VARIANTS,
            most_over_floor=MOST_OVER_LARGER,
            aim_over_floor=None,
            fills_buffers=fills_buffers,
        )
        return compare(data_set, rounds)


def large(size: int) -> Judgement:
    """One answer of so many bytes."""
    say(f"measuring {NAME}, one answer of {size / 1e6:,.0f} MB")
    with served(partial(list_server.start, large_bytes=size)) as server:
        url, rows = server.ask(attrgetter("url", "large_rows"))
        run = measure(large_sync, Source({"base_url": url}, rows))
    return Judgement(
        f"{NAME} one answer of {size / 1e6:,.0f} MB",
        f"grows by at most {MOST_MB} MB",
        f"{run.growth_mb:.0f} MB, for {run.rows:,} rows in {run.seconds:.1f} s",
        run.growth_mb <= MOST_MB,
        figures={"run": asdict(run)},
    )


# The ways to deliver it


def paged_sync(source: Source) -> Work:
    pagination = Token(next_token="next", parameter="at")
    return _sync_of(Table("items", "/pages", ("id",), COLUMNS, records="data", pagination=pagination), source)


def large_sync(source: Source) -> Work:
    return _sync_of(Table("items", "/large", ("id",), COLUMNS, records="data", pagination=SinglePage()), source)


def _sync_of(table: Table, source: Source) -> Work:
    """What connectors/rest_api does, with this one table."""
    tables = check_tables([table])

    def deliver_all() -> None:
        with (
            HttpClient(source.configuration["base_url"]) as client,
            Checkpoints({}) as checkpoints,
            prefetch(walk.read_pages(client, tables, checkpoints), ahead=2) as pages,
        ):
            for page in pages:
                deliver(page)
                checkpoints.save(page)

    return Work(topology.schema(tables), deliver_all)


def paged_floor(source: Source) -> Work:
    return floor_of(paged_sync(source), source.rows)


def waiting(source: Source) -> Work:
    """The pages one after another, by the bare library, with nothing done with them but finding the next."""

    def fetch() -> None:
        with requests.Session() as session:
            at: bytes | None = b"0"
            while at is not None:
                body = session.get(f"{source.configuration['base_url']}/pages", params={"at": at}).content
                following = body.rpartition(b'"next": ')[2].rstrip(b"}")
                at = None if following == b"null" else following

    return Work([], fetch)


def documented(source: Source) -> Work:
    """The documented pattern: the type of a column is inferred from its values, but for that of the primary key."""
    tables = [{"table": "items", "primary_key": ["id"], "columns": {"id": "LONG"}}]
    return Work(tables, lambda: _documented(f"{source.configuration['base_url']}/pages"))


def _documented(address: str) -> None:
    # Bare code on purpose: what it spares itself (resuming, errors told) makes it faster.
    records: list[dict[str, Any]] = []
    at: int | None = 0
    with requests.Session() as session:
        while at is not None:
            body = session.get(address, params={"at": at}).json()
            records += body["data"]
            at = body["next"]
    for record in records:
        op.upsert("items", record)
    op.checkpoint({"done": True})


VARIANTS = (
    Variant(OURS, paged_sync, "sync", (FLOOR, WAITING)),
    Variant(FLOOR, paged_floor, "floor"),
    Variant(WAITING, waiting, "reading"),
    Variant(DOCUMENTED, documented, "pattern", (FLOOR, WAITING)),
)
