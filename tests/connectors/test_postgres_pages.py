"""connectors/postgres reads pages that are bounded by measured bytes, and tells how far it is."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fivetran_connector_sdk import Logging

from shared import pages
from tests import recording
from tests.connectors.postgres_database import Database, connector

PAGE = 100_000
NARROW, WIDE = "'x'", "repeat('x', 1000000)"


@pytest.fixture
def database(emptied_database: Database) -> Database:
    return emptied_database


def sizes(database: Database, settings: dict[str, str] | None = None) -> list[tuple[int, int]]:
    """Of each page that is read of the table `t`, how many rows it has and how many bytes of values."""
    spec = connector.Settings.parse({**database.configuration, "page_bytes": str(PAGE), **(settings or {})})
    scan = connector.read_pages.__globals__["TablePages"].__init__.__globals__["Scan"]
    with connector.Session(spec) as opened:
        (table,) = connector.catalog_of(opened, spec).tables
        if table.mode == "keyless":
            read: Iterator[list[Any]] = scan(opened, table, spec).numbered(())
        else:
            part = scan.batches.__globals__["Part"]((), table.key)
            read = (rows for rows, _ in scan(opened, table, spec).batches(part))
        return [(len(rows), sum(map(_bytes, rows))) for rows in read]


def _bytes(row: tuple[Any, ...]) -> int:
    return sum(
        len(value) if isinstance(value, bytes) else len(str(value).encode()) for value in row if value is not None
    )


def assert_bounded(found: list[tuple[int, int]], rows: int) -> None:
    assert sum(count for count, _ in found) == rows
    assert all(size <= PAGE or count == 1 for count, size in found)


class TestPagesAreBoundedByBytes:
    @pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
    @pytest.mark.parametrize(
        ("type_", "narrow", "wide"),
        [
            ("text", NARROW, WIDE),
            ("varchar", NARROW, WIDE),
            ("varchar(2000000)", NARROW, WIDE),
            ("text", NARROW, "repeat('€', 400000)"),
            ("bytea", "'x'", "decode(repeat('ab', 500000), 'hex')"),
            ("jsonb", "'1'", "to_jsonb(repeat('x', 1000000))"),
            ("json", "'1'", "to_json(repeat('x', 1000000))"),
            ("numeric", "1", "repeat('9', 100000)::numeric"),
            ("text[]", "'{}'", "ARRAY[repeat('x', 500000), repeat('y', 500000)]"),
            ("int[]", "'{}'", "(SELECT array_agg(i) FROM generate_series(1, 100000) i)"),
        ],
    )
    def test_whatever_the_type_when_rows_suddenly_become_wide_or_narrow(
        self, database: Database, key: str, type_: str, narrow: str, wide: str
    ) -> None:
        database.run(f"""
            CREATE TABLE t (id int {key}, v {type_});
            INSERT INTO t SELECT n, {narrow} FROM generate_series(1, 1000) n;
            INSERT INTO t SELECT n, {wide} FROM generate_series(1001, 1003) n;
            INSERT INTO t SELECT n, {narrow} FROM generate_series(1004, 2000) n;
        """)
        found = sizes(database)
        assert_bounded(found, 2000)
        assert sum(count == 1 for count, _ in found) >= 3

    @pytest.mark.parametrize("letter", ["x", "ö", "€", "😀"])
    def test_of_text_whatever_its_letters(self, database: Database, letter: str) -> None:
        database.run(f"""
            CREATE TABLE t (id int PRIMARY KEY, a varchar(300), b char(40), c text);
            INSERT INTO t SELECT n, repeat('{letter}', n % 300), '{letter}', repeat('{letter}', n % 7000)
            FROM generate_series(1, 1000) n;
        """)
        found = sizes(database)
        assert_bounded(found, 1000)
        assert len(found) < sum(size for _, size in found) / PAGE * 3, "pages are filled"

    def test_of_values_that_are_stored_compressed(self, database: Database) -> None:
        database.run(
            f"CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, {WIDE}), (2, {WIDE}), (3, '')"
        )
        assert database.query("SELECT max(pg_column_size(v)) < 20000 FROM t") == [(True,)]
        assert [count for count, _ in sizes(database)] == [1, 1, 1]

    def test_of_many_narrow_columns(self, database: Database) -> None:
        columns = ", ".join(f"c{n} bigint DEFAULT {2**62}" for n in range(300))
        database.run(f"CREATE TABLE t (id int PRIMARY KEY, {columns}); INSERT INTO t SELECT generate_series(1, 500)")
        assert_bounded(sizes(database), 500)

    def test_of_columns_that_may_be_wide_and_are_not(self, database: Database) -> None:
        """What is declared is no measure: a page of what could be would hold a row or two."""
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, a varchar(60000), b char(3));
            INSERT INTO t SELECT n, 'narrow', 'x' FROM generate_series(1, 1000) n;
        """)
        found = sizes(database)
        assert_bounded(found, 1000)
        assert len(found) == 1

    def test_in_a_database_of_another_encoding(self, database: Database) -> None:
        name = "database_in_win1252"
        database.run(f"DROP DATABASE IF EXISTS {name}")
        database.run(f"CREATE DATABASE {name} ENCODING 'WIN1252' LOCALE 'C' TEMPLATE template0")
        connection = database.server.connect(name)
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
            cursor.execute("INSERT INTO t SELECT n, repeat('€', 1000) FROM generate_series(1, 300) n")
        connection.close()
        assert_bounded(sizes(database, {"database": name}), 300)


MEMORY = """
import json, resource, sys
from tests.loading import load_connector
from tests.recording import CountingSink, with_sink
connector = load_connector("postgres")
configuration = json.loads(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
peaks = []
for tables in ("public.narrow", "public.wide"):
    configuration["tables"] = tables
    sink = CountingSink(connector.schema(configuration))
    with_sink(sink, lambda: connector.update(configuration=configuration, state={}))
    assert sink.operations > 1
    peaks.append(peak() // 1024)
print(json.dumps(peaks))
"""


class TestMemory:
    @pytest.mark.parametrize(
        ("wide", "rows", "most"),
        [
            ("repeat('x', 1000000)", 150, 45),  # two pages of 4 MB, each also in libpq's memory and in the encoder's
            ("repeat('x', 30000000)", 8, 200),
        ],
    )
    def test_is_bounded_by_the_page_or_the_largest_row(
        self, database: Database, wide: str, rows: int, most: int
    ) -> None:
        database.run(f"""
            CREATE TABLE narrow (id int PRIMARY KEY, v text); INSERT INTO narrow VALUES (1, 'x');
            CREATE TABLE wide (id int PRIMARY KEY, v text);
            INSERT INTO wide SELECT n, 'x' FROM generate_series(1, 1000) n;
            INSERT INTO wide SELECT n, {wide} FROM generate_series(1001, 1000 + {rows}) n;
        """)
        configuration = {**database.configuration, "page_bytes": "4000000"}
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, json.dumps(configuration)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        narrow, after = json.loads(done.stdout.splitlines()[-1])
        assert after - narrow < most


class TestProgress:
    @pytest.fixture
    def lines(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What is logged, with a line for every page."""
        lines: list[str] = []
        monkeypatch.setattr(Logging, "info", lines.append)
        monkeypatch.setattr(connector, "log_progress", lambda read: pages.log_progress(read, every_seconds=0))
        return lines

    def test_tells_rows_of_how_many_speed_memory_and_time_to_go(self, database: Database, lines: list[str]) -> None:
        database.run("""
            CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (v text);
            INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 1500) n;
            INSERT INTO b SELECT n FROM generate_series(1, 20) n; ANALYZE a; ANALYZE b;
            CREATE TABLE new (id int PRIMARY KEY); INSERT INTO new VALUES (1);
        """)
        database.sync(page_bytes="100000")
        speed = r"[\d,]+ rows/s, [\d,]+\.\d MB/s, [\d,]+ MB of memory"
        assert re.fullmatch(rf"public\.a: \d+ rows of about 1,500, {speed}, about \d+ s to go", lines[0])
        told = {line.partition(":")[0]: line for line in lines}
        assert re.fullmatch(rf"public\.b: 20 rows of about 20, {speed}, about 0 s to go", told["public.b"])
        assert re.fullmatch(rf"public\.new: 1 rows, {speed}", told["public.new"])
        of_each = r"\(public\.a 1,500, public\.b 20, public\.new 1\)"
        assert re.fullmatch(rf"sync complete: 1,521 rows in \d+\.\d s, [\d,]+ rows/s {of_each}", lines[-1])
        assert sum("sync complete" in line for line in lines) == 1

    def test_of_what_has_changed_no_end_is_guessed(self, database: Database, lines: list[str]) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 500); ANALYZE t")
        destination = database.sync().destination
        database.run("UPDATE t SET id = -id WHERE id < 10")
        lines.clear()
        database.sync(destination)
        assert lines[0].startswith("public.t: 9 rows, ")

    def test_names_nothing_that_a_row_holds(self, database: Database, lines: list[str]) -> None:
        database.run("CREATE TABLE t (id text PRIMARY KEY, v text); INSERT INTO t VALUES ('secret', 'hidden')")
        database.sync()
        assert "secret" not in str(lines)
        assert "hidden" not in str(lines)


def test_the_speed_of_a_table_of_one_page_is_that_of_reading_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not of the moment between its delivery and the look at the clock."""
    clock, lines = [0.0], list[str]()
    monkeypatch.setattr(Logging, "info", lines.append)
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def read() -> Iterator[pages.Page]:
        for name in "ab":
            clock[0] += 2
            yield pages.Page(name, [{"id": number} for number in range(10)], size=4_000_000)

    def work() -> None:
        for page in pages.log_progress(read(), every_seconds=0):
            pages.deliver(page)

    recording.with_sink(recording.Sink(recording.Destination()), work)
    assert [line.partition(" rows/s")[0] for line in lines] == [
        "a: 10 rows, 5", "b: 10 rows, 5", "sync complete: 20 rows in 4.0 s, 5"
    ]  # fmt: skip
    assert "2.0 MB/s" in lines[1]
