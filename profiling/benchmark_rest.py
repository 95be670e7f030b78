"""The benchmark of the REST connectors, against servers of their own whose latency is stated and scaled.

    make bench CONNECTOR=rest            four minutes
    make bench CONNECTOR=rest QUICK=1    smaller sizes, one minute

Three questions: what a paged list costs beside waiting for it and upserting it; what one answer of a gigabyte costs in
memory; and how connectors/snowplow does on the organisations of the review that names its load: 50 data structures, 500
and 2,000, with 1,000 calls for their deployments. That review's calls take 200 to 500 ms each; here they take a third
of 300 ms, and its targets are a third as well.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import requests

from profiling import list_server
from profiling.benchmark import RESULTS, Run, Source, Spread, Work, floor_of, machine, measure, say, sync
from profiling.list_server import COLUMNS, ListServer
from profiling.served import Served, served
from shared import topology, walk
from shared.checkpoints import Checkpoints
from shared.http_client import HttpClient
from shared.pages import deliver, prefetch
from shared.pagination import SinglePage, Token
from shared.topology import Table, check_tables
from tests.loading import load_connector
from tests.sources import snowplow_server
from tests.sources.interruption import Interruption
from tests.sources.snowplow_server import Size, SnowplowServer

ROUNDS = 3
PAGE_SECONDS = 0.05
MOST_OVER_LARGER = 1.1
MOST_GROWTH_MB = 64
SCALE = 3  # how many times faster than in the review every call is answered
CALL_SECONDS = 0.3 / SCALE
WORKERS = 10
LEAST_SPEED_UP = 8.0


@dataclass(frozen=True)
class Organisation:
    """One of the review's organisations, with what it may take: minutes, and megabytes of memory."""

    name: str
    structures: int
    enrichments: int
    minutes: float
    megabytes: float


ORGANISATIONS = (
    Organisation("small", 50, 5, 2, 100),
    Organisation("medium", 500, 25, 10, 250),
    Organisation("large", 2_000, 100, 30, 500),
)


@dataclass
class Finding:
    """One line of the result: what was measured, and whether it is what was promised."""

    name: str
    measured: str
    promise: str
    met: bool
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{'MET' if self.met else 'MISSED':<7} {self.name}: {self.measured}; promised: {self.promise}"


def main() -> int:
    """Runs the benchmark; returns the exit code. A target that is missed is no failure: the figures are the result."""
    parser = argparse.ArgumentParser(description="Measures the REST connectors against servers with a latency.")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    quick = parser.parse_args().quick
    with Interruption():
        try:
            _run(quick)
        except RuntimeError as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
        return 0
    with suppress(OSError):  # after SIGHUP there is no terminal any more
        print("\nbench: interrupted; everything it started is stopped", file=sys.stderr)
    return 130


def _run(quick: bool) -> None:
    described = machine("servers of the tests, each in a process of its own")
    say(described)
    findings = []
    for finding in benchmark(quick):
        findings.append(finding)
        say(str(finding))
    path = RESULTS / "rest.json"
    path.parent.mkdir(exist_ok=True)
    content = {"machine": described, "findings": [asdict(finding) for finding in findings]}
    path.write_text(json.dumps(content, indent=2) + "\n")
    say(f"\nevery figure: {os.path.relpath(path)}")


def benchmark(quick: bool) -> Iterator[Finding]:
    """All measurements, one after another."""
    pages = 20 if quick else 100
    for name, rows in (("a list that makes one wait", 500), ("a list that makes one work", 10_000)):
        yield paged(name, pages, rows)
    yield large(100_000_000 if quick else 1_000_000_000)
    yield from fan_out(200 if quick else 1_000)
    for organisation in ORGANISATIONS[: 2 if quick else 3]:
        yield seed_organisation(organisation)


# A list of pages, and one large answer


def paged(name: str, pages: int, rows: int) -> Finding:
    """Pages of so many rows, each answered after 50 ms, read one ahead."""
    with served(partial(list_server.start, pages, rows, PAGE_SECONDS)) as server:
        source = Source({"base_url": server.ask(url)}, pages * rows)
        alone = Source(source.configuration)
        runs = [
            (measure(paged_sync, source), measure(waiting, alone), measure(paged_floor, source)) for _ in range(ROUNDS)
        ]
    over = Spread.of(ours.seconds / max(wait.seconds, floor.seconds) for ours, wait, floor in runs)
    ours, wait, floor = runs[-1]
    measured = (
        f"{pages} pages of {rows:,} rows at {PAGE_SECONDS * 1000:.0f} ms took {over} times the larger of waiting "
        f"({wait.seconds:.1f} s) and upserting ({floor.seconds:.1f} s), +{ours.growth_mb:.0f} MB"
    )
    promise = f"at most {MOST_OVER_LARGER} times"
    rounds = [dict(zip(("ours", "waiting", "upserting"), map(asdict, three), strict=True)) for three in runs]
    return Finding(name, measured, promise, over.median <= MOST_OVER_LARGER, {"rounds": rounds})


def large(size: int) -> Finding:
    """One answer of so many bytes."""
    with served(partial(list_server.start, large_bytes=size)) as server:
        source = Source({"base_url": server.ask(url)}, server.ask(large_rows))
        run = measure(large_sync, source)
    measured = f"{size / 1e6:,.0f} MB, {run.rows:,} rows in {run.seconds:.1f} s, +{run.growth_mb:.0f} MB"
    promise = f"at most {MOST_GROWTH_MB} MB more"
    return Finding("one large answer", measured, promise, run.growth_mb <= MOST_GROWTH_MB, {"run": asdict(run)})


def paged_sync(source: Source) -> Work:
    pagination = Token(next_token="next", parameter="at")
    return _sync_of(Table("items", "/pages", ("id",), COLUMNS, records="data", pagination=pagination), source)


def large_sync(source: Source) -> Work:
    return _sync_of(Table("items", "/large", ("id",), COLUMNS, records="data", pagination=SinglePage()), source)


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


# The review's organisations


def fan_out(structures: int) -> Iterator[Finding]:
    """Calls for the deployments of every structure, ten at a time and one by one."""
    # So few deployments of each that one call shows them all.
    size = Size(structures=structures, versions_each=4, pipelines=50, enrichments=50)
    with served(partial(snowplow_server.start, size, latency=CALL_SECONDS, now=None)) as server:
        wanted = {"data_structures", "data_structure_deployment_history", "pipelines", "enrichments"}
        settings = {"track_field_versions": "true", "max_parallel_workers": str(WORKERS)}
        parallel = _snowplow(server, settings, only=wanted)
        counts = server.ask(calls)
        sequential = _snowplow(server, {**settings, "enable_parallel_processing": "false"}, only=wanted)
    expected = {"lists": structures // 100 + 1, "deployments": structures, "enrichments": 50}
    promise = f"{structures // 100} + {structures:,} + 50 calls, and one page that says that there are no more"
    made = {name: counts[name] for name in expected}
    yield Finding(
        "calls for every structure",
        ", ".join(f"{count:,} {name}" for name, count in made.items()),
        promise,
        made == expected,
        {"calls": counts},
    )
    speed_up, in_flight = sequential.seconds / parallel.seconds, counts["in flight"]
    yield Finding(
        f"{WORKERS} calls at a time",
        f"{parallel.seconds:.1f} s, {speed_up:.1f} times as fast as one by one ({sequential.seconds:.1f} s); at most "
        f"{in_flight} in flight",
        f"at least {LEAST_SPEED_UP:.0f} times as fast, at most {WORKERS} in flight",
        speed_up >= LEAST_SPEED_UP and in_flight <= WORKERS,
        {"parallel": asdict(parallel), "sequential": asdict(sequential)},
    )


def seed_organisation(organisation: Organisation) -> Finding:
    """A whole first sync, the history of every structure included."""
    size = Size(structures=organisation.structures, enrichments=organisation.enrichments, pipelines=5)
    with served(partial(snowplow_server.start, size, latency=CALL_SECONDS, now=None)) as server:
        run = _snowplow(server, {"track_field_versions": "true"})
        made = server.ask(calls)["all"]
    seconds = organisation.minutes * 60 / SCALE
    measured = f"{run.rows:,} rows by {made:,} calls in {run.seconds:.1f} s with {run.peak_mb:.0f} MB of memory in all"
    promise = f"under {seconds:.0f} s and {organisation.megabytes:.0f} MB"
    met = run.seconds < seconds and run.peak_mb < organisation.megabytes
    name = f"{organisation.name} organisation ({organisation.structures:,} structures)"
    return Finding(name, measured, promise, met, {"run": asdict(run), "calls": made})


def _snowplow(server: Served, settings: dict[str, str], only: set[str] | None = None) -> Run:
    configuration = {**server.ask(access), **settings}
    if only is not None:
        configuration["exclude_tables"] = ",".join(_others(configuration, only))
    return measure(partial(sync, "snowplow", {}), Source(configuration))


def _others(configuration: dict[str, str], only: set[str]) -> list[str]:
    declared = load_connector("snowplow").schema(dict(configuration))
    return [table["table"] for table in declared if table["table"] not in only and not table["table"].startswith("_")]


# Questions to the servers


def url(server: ListServer) -> str:
    return server.url


def large_rows(server: ListServer) -> int:
    return server.large_rows


def access(server: SnowplowServer) -> dict[str, str]:
    return {
        "base_url": server.url,
        "organization_id": server.organization_id,
        "api_key_id": server.api_key_id,
        "api_key": server.api_key,
    }


def calls(server: SnowplowServer) -> dict[str, int]:
    return {
        "lists": server.calls(r"/data-structures/v1$"),
        "deployments": server.calls(r"/deployments$"),
        "enrichments": server.calls(r"/enrichments$"),
        "all": len(server.requests),
        "in flight": server.most_in_flight,
    }


if __name__ == "__main__":
    sys.exit(main())
