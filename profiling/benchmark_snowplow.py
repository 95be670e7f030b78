"""The benchmark of connectors/snowplow: how an organisation's size shows, and whether the performance targets are met.

    make bench CONNECTOR=snowplow            three minutes
    make bench CONNECTOR=snowplow QUICK=1    an organisation of 300 data structures

A first sync is measured on answers that are ready-made, beside its floor (see benchmark.py). There is no documented
pattern for an API like this one.

Scenarios are the organisations of the performance targets (a small one of 50 data structures, a medium one of 500, a
large one of 2,000), and the calls for the deployments of 1,000 structures. The targets are for calls that take 300 ms
each; here they take 100 ms, a third, and the targets for time are a third as well.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial

from profiling import ready_answers
from profiling.benchmark import (
    FLOOR,
    OURS,
    Benchmark,
    DataSet,
    Judgement,
    Result,
    Run,
    Source,
    Variant,
    compare,
    counted,
    floor,
    measure,
    say,
    sync,
)
from profiling.served import Served, served
from tests.loading import load_connector
from tests.sources import snowplow_server
from tests.sources.snowplow_server import Size, SnowplowServer

NAME = "snowplow"
STRUCTURES, QUICK_STRUCTURES = 2_000, 300
ROUNDS = 3
MOST_MB = 64
SCALE = 3  # how many times faster than in the performance targets every call is answered
CALL_SECONDS = 0.3 / SCALE
WORKERS = 10
LEAST_SPEED_UP = 8.0
FAN_OUT_STRUCTURES = 1_000
HISTORIES = {"track_field_versions": "true"}


@dataclass(frozen=True)
class Organisation:
    """An organisation of the performance targets, with what it may take: minutes, and megabytes of memory."""

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


def benchmark(_: None, quick: bool) -> Generator[Result]:
    """All measurements, one after another; a quick one has no scenarios."""
    structures = QUICK_STRUCTURES if quick else STRUCTURES
    with served(partial(start, structures // 10)) as small, served(partial(start, structures)) as large:
        # `dict` answers with a copy of the configuration that `start` yields there.
        yield compare(organisation_of(structures, small.ask(dict), large.ask(dict), fills_buffers=not quick), ROUNDS)
    if not quick:
        yield from fan_out(FAN_OUT_STRUCTURES)
        for organisation in ORGANISATIONS:
            yield seed_organisation(organisation)


def software(_: None) -> str:
    return "a Snowplow server of the tests, with ready-made answers or with a latency"


BENCHMARK = Benchmark(nullcontext, software, benchmark)


# An organisation whose answers are ready-made


def organisation_of(structures: int, small: dict[str, str], large: dict[str, str], fills_buffers: bool) -> DataSet:
    """The organisations that two servers' configurations lead to."""
    few, many = (counted(partial(sync, NAME, {}), configuration) for configuration in (small, large))
    return DataSet(
        f"{NAME} organisation",
        f"{many.rows:,} rows of {structures:,} data structures with their histories",
        few,
        many,
        MOST_MB,
        VARIANTS,
        most_over_floor=None,
        fills_buffers=fills_buffers,
    )


VARIANTS = (
    Variant(OURS, partial(sync, NAME, {}), "sync"),
    Variant(FLOOR, partial(floor, NAME, {}), "floor"),
)


@contextmanager
def start(structures: int) -> Iterator[dict[str, str]]:
    """Starts a server of so many data structures; the connector's configuration for it."""
    size = Size(structures=structures, wide_schemas=0, enrichments=0)
    with snowplow_server.start(size, now=None) as server, ready_answers.start(server.url) as answers:
        yield {**access(server), **HISTORIES, "base_url": answers.url}


# The performance targets


def fan_out(structures: int) -> Iterator[Judgement]:
    """Calls for the deployments of every structure, ten at a time and one by one."""
    say(f"measuring {NAME}, calls for {structures:,} structures")
    # So few deployments of each that one call shows them all.
    size = Size(structures=structures, versions_each=4, pipelines=50, enrichments=50)
    with served(partial(snowplow_server.start, size, latency=CALL_SECONDS, now=None)) as server:
        wanted = {"data_structures", "data_structure_deployment_history", "pipelines", "enrichments"}
        settings = {**HISTORIES, "max_parallel_workers": str(WORKERS)}
        parallel = _snowplow(server, settings, only=wanted)
        counts = server.ask(calls)
        sequential = _snowplow(server, {**settings, "enable_parallel_processing": "false"}, only=wanted)
    expected = {"lists": structures // 100 + 1, "deployments": structures, "enrichments": 50}
    made = {name: counts[name] for name in expected}
    yield Judgement(
        f"{NAME} calls for {structures:,} structures",
        f"are {structures // 100} + {structures:,} + 50, and one for a page that says that there are no more",
        ", ".join(f"{count:,} {name}" for name, count in made.items()),
        made == expected,
        figures={"calls": counts},
    )
    speed_up, in_flight = sequential.seconds / parallel.seconds, counts["in flight"]
    yield Judgement(
        f"{NAME} {WORKERS} calls at a time",
        f"take at most an {LEAST_SPEED_UP:.0f}th of the time, with at most {WORKERS} in flight",
        f"{parallel.seconds:.1f} s, {speed_up:.1f} times as fast as one by one ({sequential.seconds:.1f} s), at most "
        f"{in_flight} in flight",
        speed_up >= LEAST_SPEED_UP and in_flight <= WORKERS,
        figures={"parallel": asdict(parallel), "sequential": asdict(sequential)},
    )


def seed_organisation(organisation: Organisation) -> Judgement:
    """A whole first sync, the history of every structure included."""
    say(f"measuring {NAME}, the {organisation.name} organisation")
    size = Size(structures=organisation.structures, enrichments=organisation.enrichments, pipelines=5)
    with served(partial(snowplow_server.start, size, latency=CALL_SECONDS, now=None)) as server:
        run = _snowplow(server, HISTORIES)
        made = server.ask(calls)["all"]
    seconds = organisation.minutes * 60 / SCALE
    return Judgement(
        f"{NAME} {organisation.name} organisation ({organisation.structures:,} structures)",
        f"takes less than {seconds:.0f} s and {organisation.megabytes:.0f} MB",
        f"{run.seconds:.1f} s, {run.peak_mb:.0f} MB of memory in all, for {run.rows:,} rows by {made:,} calls",
        run.seconds < seconds and run.peak_mb < organisation.megabytes,
        figures={"run": asdict(run), "calls": made},
    )


def _snowplow(server: Served, settings: Mapping[str, str], only: set[str] | None = None) -> Run:
    configuration = {**server.ask(access), **settings}
    if only is not None:
        configuration["exclude_tables"] = ",".join(_others(configuration, only))
    return measure(partial(sync, NAME, {}), Source(configuration))


def _others(configuration: dict[str, str], only: set[str]) -> list[str]:
    declared = load_connector(NAME).schema(dict(configuration))
    return [table["table"] for table in declared if table["table"] not in only and not table["table"].startswith("_")]


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
