"""Runs as they are seen, made up: one for every kind of report. Sizes are MB unless another unit is said."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiling.growth import Growth
from profiling.observation import Ending, Grown, Holding, Mark, Observation, Place, Sample, Snapshot, Stack
from profiling.units import MB

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x1b[31m\x00"

APPEND = Place("connector.py", 24, "orders.extend(response.json()['orders'])")
UPSERT = Place("connector.py", 31, "op.upsert('orders', order)")
READ = Place("connector.py", 19, "frame = polars.read_csv(path)")
PARSE = Place("reading.py", 57, "return json.loads(line)")
CACHE = Place("connector.py", 8, "_SEEN: dict[str, dict[str, Any]] = {}")

FINISHED = Ending("finished", "update() returned")

# What the judge of growth says of each of these runs.
FLAT = Growth("flat", 9 * MB, 0.0, "memory stays flat: 82 MB at most, 9 MB above the start")
ROWS = Growth(
    "rows", 456 * MB, 38.0 * MB, "memory grows with the rows: +38 MB per 100,000; 1 GB is reached at about 2.5 M rows"
)
COLLECTS = Growth(
    "collects", 610 * MB, 0.0, "it collects before it sends: +610 MB before the first row was sent, in 14 s"
)
WIDTH = Growth("width", 120 * MB, 0.0, "memory grows with the widest rows: 40 MB each")
SHORT = Growth("short", 2 * MB, 0.0, "too little was seen to say how memory grows")


def samples(
    seconds: float, resident: Callable[[float], float], rows: Callable[[float], float] = lambda _: 0.0, rate: int = 20
) -> list[Sample]:
    """Looks at a process whose memory, in MB, and rows are functions of the share of the time that has passed."""
    count = int(seconds * rate)
    found = []
    for number in range(count + 1):
        share = number / count
        sent = int(rows(share))
        found.append(Sample(number / rate, int(resident(share) * MB), 0.85 * number / rate, sent, sent * 140))
    return found


def marks(kind: Any, count: int, looks: Sequence[Sample], label: str = "") -> list[Mark]:
    """So many marks, evenly over the looks."""
    step = len(looks) / (count + 1)
    chosen = [looks[int(step * (number + 1))] for number in range(count)]
    return [
        Mark(look.seconds, kind, f"{kind} {number}{label}", look.rows, look.resident)
        for number, look in enumerate(chosen, 1)
    ]


def example(looks: Sequence[Sample], **values: Any) -> Observation:
    """An observation of these looks; without other values it finished, and nothing else was seen."""
    rows = looks[-1].rows if looks else 0
    base = Observation(
        name="orders",
        folder=Path("/connectors/orders"),
        machine="2 cores, 8 GB of memory, Linux, Python 3.11.7",
        settings={"base_url": "https://orders.example.com", "page_size": "500", "api_key": "***"},
        state_given=False,
        baseline=73 * MB,
        limit=1024 * MB,
        samples=looks,
        marks=[],
        rows={"orders": rows} if rows else {},
        widest=1240,
        ending=FINISHED,
        log=["INFO orders: 1,000 rows", "INFO orders: 2,000 rows"],
    )
    return replace(base, **values)


def snapshot(label: str, seconds: float, rows: int, *holdings: Holding, other: float = 4.0) -> Snapshot:
    """What was traced: the holdings and some MB of others."""
    return Snapshot(label, seconds, rows, sum(holding.size for holding in holdings) + int(other * MB), holdings)


def holding(place: Place, size: float, count: int, via: str = "") -> Holding:
    return Holding(place, int(size * MB), count, via)


def call_stacks() -> list[Stack]:
    """A sync of an API that reads ahead in two worker threads."""
    run = ("<module> (profiling/profiled.py:270)", "run (profiling/profiled.py:180)")
    update = (*run, "update (connector.py:31)")
    return [
        Stack("MainThread", (*update, "upsert (fivetran_connector_sdk/operations.py:80)"), 420),
        Stack("MainThread", (*update, "deliver (shared/pages.py:70)", "loads (json/__init__.py:346)"), 180),
        Stack(
            "MainThread",
            (
                *update,
                "deliver (shared/pages.py:70)",
                "loads (json/__init__.py:346)",
                "raw_decode (json/decoder.py:353)",
            ),
            240,
        ),
        Stack("MainThread", (*update, "to_record (connector.py:44)"), 160),
        Stack("MainThread", (*update, "to_record (connector.py:47)", "<genexpr> (connector.py:47)"), 90),
        Stack("MainThread", (*update, "get (requests/sessions.py:602)", "send (requests/adapters.py:644)"), 110),
        Stack("MainThread", (*update, "seldom (connector.py:90)"), 1),
        Stack("ThreadPoolExecutor-0_0", ("fetch (connector.py:60)", "get (requests/sessions.py:602)"), 130),
        Stack("ThreadPoolExecutor-0_1", ("fetch (connector.py:60)", "get (requests/sessions.py:602)"), 110),
    ]


def flat() -> Observation:
    """1.2 million rows in 48 s with 82 MB at most."""
    looks = samples(48, lambda share: 73 + 8 * min(1, share * 12) + (share * 480 % 1), lambda share: share * 1_200_000)
    tables = [
        Mark(0.1, "table", "customers", 0, looks[2].resident),
        Mark(9.0, "table", "orders", 220_000, looks[180].resident),
        Mark(38.0, "table", "order_lines_of_the_last_two_years", 900_000, looks[760].resident),
    ]
    return example(
        looks,
        marks=[*tables, *marks("checkpoint", 240, looks), *marks("page", 2400, looks, ", orders")],
        rows={"customers": 220_000, "orders": 680_000, "order_lines_of_the_last_two_years": 300_000},
        snapshots=(
            snapshot("at the start", 0.0, 0, holding(PARSE, 0.1, 40)),
            snapshot(
                "at the peak", 9.0, 40_000, holding(PARSE, 3.1, 9_000, "json/decoder.py:353"), holding(UPSERT, 0.4, 12)
            ),
            snapshot("at the end", 210.0, 1_200_000, holding(UPSERT, 0.4, 12)),
        ),
        allocations_ending=FINISHED,
        grown=(Grown(UPSERT, 7 * MB), Grown(PARSE, 2 * MB)),
        stacks=call_stacks(),
    )


def rows_growing() -> Observation:
    """Every row leaves something in a dictionary that is never emptied: 456 MB after 1.2 million."""
    looks = samples(60, lambda share: 73 + 456 * share + (share * 900 % 1) * 3, lambda share: share * 1_200_000)
    cached = "requests/models.py:974"
    return example(
        looks,
        marks=[Mark(0.2, "table", "orders", 0, looks[4].resident), *marks("checkpoint", 24, looks)],
        snapshots=(
            snapshot("at the start", 0.0, 0, holding(CACHE, 0.1, 3)),
            snapshot(
                "at the peak", 298.0, 1_200_000, holding(PARSE, 410.0, 4_800_000, cached), holding(CACHE, 42.0, 2)
            ),
            snapshot("at the end", 300.0, 1_200_000, holding(PARSE, 410.0, 4_800_000, cached), holding(CACHE, 42.0, 2)),
        ),
        allocations_ending=FINISHED,
        grown=(Grown(PARSE, 400 * MB), Grown(CACHE, 50 * MB)),
        stacks=call_stacks(),
    )


def collecting() -> Observation:
    """Everything is in a list before the first row is sent."""
    looks = samples(
        21,
        lambda share: 73 + 610 * min(1, share * 1.5) - 80 * max(0, share - 0.8),
        lambda share: max(0, share - 0.67) * 3 * 800_000,
    )
    return example(
        looks,
        marks=[
            Mark(14.1, "table", "orders", 0, looks[282].resident),
            Mark(21.0, "checkpoint", "", 792_000, looks[-1].resident),
        ],
        snapshots=(
            snapshot("at the start", 0.0, 0),
            snapshot(
                "at the peak",
                61.0,
                0,
                holding(APPEND, 540.0, 7_200_000, "json/decoder.py:353"),
                holding(UPSERT, 0.2, 4),
            ),
            snapshot("at the end", 90.0, 792_000, holding(APPEND, 540.0, 7_200_000, "json/decoder.py:353")),
        ),
        allocations_ending=FINISHED,
        grown=(Grown(APPEND, 600 * MB),),
        stacks=call_stacks(),
    )


def at_the_limit() -> Observation:
    """A library reads a whole file, and it is stopped at 1 GB."""
    looks = samples(7, lambda share: 73 + 951 * share**1.5)
    return example(
        looks,
        ending=Ending(
            "limit",
            "it reached 1,024 MB after 7.0 s, with no row sent",
            READ,
            (
                '  File "/connectors/orders/connector.py", line 19, in update',
                '  File "polars/io/csv.py", line 480, in read_csv',
            ),
        ),
        snapshots=(
            snapshot("at the start", 0.0, 0, holding(READ, 0.1, 3)),
            snapshot("at the peak", 7.0, 0, holding(READ, 2.2, 60)),
        ),
        allocations_ending=Ending("limit", "it reached 1,536 MB after 9.1 s, with no row sent", READ),
        grown=(Grown(READ, 948 * MB),),
        stacks=call_stacks(),
    )


def raised() -> Observation:
    """It stops at an answer that it does not understand."""
    looks = samples(6, lambda share: 73 + 4 * share, lambda share: share * 41_000)
    return example(
        looks,
        marks=[Mark(0.1, "table", "orders", 0, looks[2].resident), *marks("checkpoint", 4, looks)],
        ending=Ending(
            "raised",
            "update() raised KeyError: 'items'",
            Place("connector.py", 22, "page = answer['items']"),
            (
                "Traceback (most recent call last):",
                '  File "connector.py", line 31, in update',
                "    for record in read(session):",
                '  File "connector.py", line 22, in read',
                "    page = answer['items']",
                "KeyError: 'items'",
            ),
        ),
        stacks=call_stacks(),
    )


def failed() -> Observation:
    """It could not be started."""
    trace = ("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'pandas'")
    return example(
        [], ending=Ending("failed", "connector.py could not be imported: No module named 'pandas'", None, trace)
    )


def without_stacks() -> Observation:
    note = "no flamegraph, as py-spy may not look at the process: permission denied; run this with sudo"
    return replace(rows_growing(), stacks=(), notes=(note,))


def hostile() -> Observation:
    """Every text that comes from outside does harm where it is not escaped."""
    place = Place(f"{HOSTILE}.py", 3, HOSTILE)
    held = Holding(place, 400 * MB, 7, HOSTILE)
    ending = Ending("raised", f"update() raised {HOSTILE}", place, (HOSTILE,))
    return replace(
        rows_growing(),
        name=HOSTILE,
        folder=Path("/connectors") / HOSTILE.replace("/", "").replace("\x00", ""),
        machine=HOSTILE,
        settings={HOSTILE: HOSTILE},
        rows={HOSTILE: 1_200_000},
        marks=[Mark(0.1, kind, HOSTILE, 1, 80 * MB) for kind in ("table", "page", "checkpoint")],
        ending=ending,
        grown=(Grown(place, 400 * MB),),
        stacks=[
            Stack("MainThread", ("run (profiling/profiled.py:1)", f"{HOSTILE} (connector.py:1)", HOSTILE), 50),
            Stack(HOSTILE, (HOSTILE,), 50),
        ],
        snapshots=(Snapshot(HOSTILE, 0.0, 0, 0, ()), Snapshot(HOSTILE, 1.0, 1, 400 * MB, (held,))),
        allocations_ending=Ending("raised", HOSTILE),
        log=(HOSTILE,),
        notes=(HOSTILE,),
        files={HOSTILE: Path("/reports/memray.html")},
    )


RUNS: dict[str, tuple[Callable[[], Observation], Growth]] = {
    "flat": (flat, FLAT),
    "rows_growing": (rows_growing, ROWS),
    "collecting": (collecting, COLLECTS),
    "at_the_limit": (at_the_limit, replace(COLLECTS, total=951 * MB)),
    "raised": (raised, FLAT),
    "failed": (failed, SHORT),
    "without_stacks": (without_stacks, ROWS),
    "hostile": (hostile, replace(ROWS, sentence=HOSTILE)),
}
