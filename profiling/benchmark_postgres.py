"""The benchmark of connectors/postgres, against a PostgreSQL server of its own.

    make bench CONNECTOR=postgres            1 M narrow rows, 100 k of 10 kB, 2 k of 1 MB: six minutes, 4 GB of disk
    make bench CONNECTOR=postgres QUICK=1    30 k narrow rows and 10 k of 10 kB

The marks are the floors (see benchmark.py) and the documented pattern: the example of Fivetran's that reads PostgreSQL
through a named cursor.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import psycopg2
from fivetran_connector_sdk import Operations as op
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from profiling.benchmark import (
    DOCUMENTED,
    FLOOR,
    OURS,
    TEXT_FLOOR,
    Benchmark,
    Comparison,
    DataSet,
    Source,
    Variant,
    Watch,
    Work,
    compare,
    floor,
    say,
    sync,
    tables_with_keys_only,
    text_floor,
)
from tests.sources import postgres_server, tpch
from tests.sources.postgres_server import PostgresServer

NAME = "postgres"
ROUNDS = 3
BATCH_ROWS = 5000  # of the documented pattern
WIDE_BYTES, VERY_WIDE_BYTES = 10_000, 1_000_000

# Dates are what the SDK's encoder takes longest over; as text they cost no more than other columns.
DATES_AS_TEXT = {"text_columns": "*.*.*date"}
OURS_TEXT_DATES, FLOOR_TEXT_DATES = f"{OURS}, dates as text", "floor, dates as text"

_SAMPLES_PER_SECOND = 10
# A session that is not active has ended its last query when its state changed. The databases are the benchmark's own,
# so that all their sessions are those of the run.
_SESSIONS = """
    SELECT extract(epoch FROM max(CASE WHEN state = 'active' THEN now.at ELSE state_change END - query_start)),
        extract(epoch FROM max(now.at - xact_start))
    FROM pg_stat_activity, clock_timestamp() AS now (at)
    WHERE datname = %s AND backend_type = 'client backend'
"""
# Stored as it is: PostgreSQL would compress text that repeats to nothing, and reading it would be no work. The log that
# a crash is recovered from is left out, it would only be as much again to write.
_WIDE_TABLE = """
    CREATE UNLOGGED TABLE items (
        id bigint PRIMARY KEY, name text NOT NULL, amount numeric(12, 2) NOT NULL, body text STORAGE EXTERNAL NOT NULL
    );
    INSERT INTO items
    SELECT n, 'item ' || n, n * 0.01, left(repeat(md5(n::text), %(bytes)s / 32 + 1), %(bytes)s)
    FROM generate_series(1, %(rows)s) AS n
"""


@dataclass(frozen=True)
class Size:
    """How large the larger ones of the data sets are: TPC-H scale of the narrow rows, number of the others.

    very_wide  0: they are not measured
    is_full    whether beside the marks there are also the floor of plain text, and dates as text
    """

    scale: float
    wide: int
    very_wide: int
    is_full: bool = True


FULL = Size(0.1667, 100_000, 2_000)
QUICK = Size(0.005, 10_000, 0, is_full=False)


def benchmark(server: PostgresServer, quick: bool) -> Generator[Comparison]:
    """Fills the data sets, one after another, and measures each."""
    size = QUICK if quick else FULL
    makers: list[Callable[[], DataSet]] = [
        lambda: narrow(server, size),
        lambda: replace(wide(server, "wide", size.wide, WIDE_BYTES, most_mb=64), fills_buffers=size.is_full),
    ]
    if size.very_wide:
        makers.append(lambda: wide(server, "very wide", size.very_wide, VERY_WIDE_BYTES, most_mb=96))
    with closing(server.connect()) as connection:
        for make in makers:
            yield compare(make(), ROUNDS, partial(SessionWatch, connection))


def software(server: PostgresServer) -> str:
    with closing(server.connect()) as connection:
        return f"PostgreSQL {connection.info.parameter_status('server_version')}"


BENCHMARK = Benchmark(postgres_server.start, software, benchmark)


# The data


def narrow(server: PostgresServer, size: Size) -> DataSet:
    """TPC-H lineitem: 16 columns, three of them dates."""
    small, large = (lineitem(server, part) for part in (size.scale / 10, size.scale))
    described = f"{large.rows:,} rows of 16 columns (TPC-H lineitem)"
    ways = (*MARKS, *EXTRA) if size.is_full else MARKS
    return DataSet(f"{NAME} narrow", described, small, large, 32, ways, fills_buffers=size.is_full)


def wide(server: PostgresServer, name: str, rows: int, width: int, most_mb: float) -> DataSet:
    """Rows with one text of so many bytes."""
    small, large = (_items(server, f"{name} {count}", count, width) for count in (rows // 10, rows))
    held = 2.5 * min(rows, BATCH_ROWS) * width  # the driver's copy of a batch and Python's, for a moment both
    ways = MARKS
    if held > psutil.virtual_memory().available:
        say(f"  the documented pattern is left out: it would take {held / 2**30:.0f} GB of memory")
        ways = tuple(variant for variant in ways if variant.name != DOCUMENTED)
    return DataSet(f"{NAME} {name}", f"{rows:,} rows of {width:,} bytes", small, large, most_mb, ways)


def lineitem(server: PostgresServer, scale: float) -> Source:
    name = f"lineitem {scale:g}"
    say(f"filling {name}")
    server.create_database(name)
    with closing(server.connect(name)) as connection, tempfile.TemporaryDirectory(prefix="tpch-") as folder:
        rows = tpch.load(connection, Path(folder), scale, ["lineitem"])["lineitem"]
        _settle(connection)
    return _source(server, name, rows)


def _items(server: PostgresServer, name: str, rows: int, width: int) -> Source:
    say(f"filling {name}")
    server.create_database(name)
    with closing(server.connect(name)) as connection:
        with connection.cursor() as cursor:
            cursor.execute(_WIDE_TABLE, {"rows": rows, "bytes": width})
        _settle(connection)
    return _source(server, name, rows)


def _settle(connection: Connection) -> None:
    """Does what the server would do later, at the cost of the run that comes first."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


def _source(server: PostgresServer, database: str, rows: int) -> Source:
    configuration = {
        "host": server.host,
        "port": str(server.port),
        "database": database,
        "user": server.user,
        "password": server.password,
    }
    return Source(configuration, rows)


# The ways to deliver it


def documented(source: Source) -> Work:
    tables = tables_with_keys_only(NAME, source)
    return Work(tables, lambda: _documented(source.configuration, [table["table"] for table in tables]))


def _documented(configuration: dict[str, str], tables: list[str]) -> None:
    # Bare code on purpose: what it spares itself (order, resuming, errors told) makes it faster.
    connection = psycopg2.connect(
        host=configuration["host"],
        port=configuration["port"],
        dbname=configuration["database"],
        user=configuration["user"],
        password=configuration["password"],
    )
    with closing(connection), connection.cursor(name="ft_server_side_cursor") as cursor:
        for table in tables:
            cursor.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table)))
            while rows := cursor.fetchmany(BATCH_ROWS):
                columns = [column.name for column in cursor.description or ()]
                batch = [dict(zip(columns, row, strict=False)) for row in rows]
                for record in batch:
                    op.upsert(table, record)
                op.checkpoint({"table": table})


MARKS: tuple[Variant, ...] = (
    Variant(OURS, partial(sync, NAME, {}), "sync"),
    Variant(FLOOR, partial(floor, NAME, {}), "floor"),
    Variant(DOCUMENTED, documented, "pattern"),
)
EXTRA = (
    Variant(TEXT_FLOOR, partial(text_floor, NAME, {}), "floor"),
    Variant(OURS_TEXT_DATES, partial(sync, NAME, DATES_AS_TEXT), "sync", (FLOOR_TEXT_DATES,)),
    Variant(FLOOR_TEXT_DATES, partial(floor, NAME, DATES_AS_TEXT), "floor"),
)


class SessionWatch(Watch):
    """The longest query and the longest open transaction of the sessions that read a source's database.

    Looked at ten times a second; a session that has ended is not seen any more.
    """

    def __init__(self, connection: Connection, source: Source) -> None:
        """Takes a superuser's connection to another database, which sees all sessions."""
        self._connection, self._database = connection, source.configuration["database"]
        self._due = 0.0
        self._longest = (0.0, 0.0)

    def sample(self) -> None:
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + 1 / _SAMPLES_PER_SECOND
        with self._connection.cursor() as cursor:
            cursor.execute(_SESSIONS, [self._database])
            seen = cursor.fetchone() or (None, None)
        query, transaction = (max(longest, float(now or 0)) for longest, now in zip(self._longest, seen, strict=True))
        self._longest = query, transaction

    def figures(self) -> dict[str, float]:
        return dict(zip(("query s", "transaction s"), self._longest, strict=True))
