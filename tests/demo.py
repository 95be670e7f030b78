"""Shows that what the three connectors deliver is what their sources hold, value by value, after changes too.

    python -m tests.demo

It starts a PostgreSQL server, Fivetran's API Playground and a folder of CSV files, and runs `fivetran debug` on a copy
of each connector: once, and once more after each source has changed. Nothing outside of a temporary folder is written.
"""

import csv
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from tests import comparing, debug_run
from tests.comparing import Comparison, SourceTable
from tests.debug_run import Copy
from tests.sources import practice, tpch
from tests.sources.interruption import Interruption
from tests.sources.practice import DATABASE, Practice

SCALE = 0.05
CSV_TABLE = "orders"
CSV_PARTS = 8
CHANGED_ITEMS = 25

# Every kind of change that the PostgreSQL connector sees, in tables with one key column and with two. Deletes are not
# among them: it asks for rows that were written since the last sync, and a deleted one is not there to be found.
POSTGRES_CHANGES = (
    "UPDATE nation SET n_comment = NULL WHERE n_nationkey < 3",
    "UPDATE customer SET c_acctbal = -c_acctbal, c_comment = '' WHERE c_custkey % 100 = 0",
    "UPDATE orders SET o_totalprice = o_totalprice + 0.01, o_orderdate = o_orderdate + 1 WHERE o_orderkey % 500 = 1",
    "UPDATE lineitem SET l_comment = 'für Zoë: \"7\\8\", ''9''' WHERE l_orderkey % 1000 = 1 AND l_linenumber = 2",
    "UPDATE partsupp SET ps_availqty = 0 WHERE ps_partkey % 200 = 0",
    "INSERT INTO nation VALUES (25, 'CÔTE D''IVOIRE', 0, E'two\\nlines'), (26, '日本', 2, NULL)",
    "INSERT INTO orders SELECT 10000000 + n, n, 'O', 0.10 * n, '2024-02-29', '5-LOW', '00123', 0, ' blanks '"
    " FROM generate_series(1, 250) AS n",
    "INSERT INTO lineitem SELECT 10000000 + n, 1, 2, line, 1, 9999999999999.99, 0.07, 0, 'N', 'O', '2024-02-29',"
    " '2024-03-01', '2024-12-31', 'NONE', 'RAIL', '' FROM generate_series(1, 250) AS n, generate_series(1, 4) AS line",
    "INSERT INTO partsupp VALUES (1, 9000001, -1, 0.00, '1e5'), (1, 9000002, 2147483647, 0.01, 'NULL')",
)

# Values that a reader of CSV files may get wrong, for the columns of the files.
ODD_RECORDS = (
    ("00123", "1e5", "O", "0.10", "2024-02-29", "5-LOW", "Clerk#000000001", "0", "leading zeros"),
    ("10000002", "", "", "", "", "", "", "", ""),
    ("10000003", "7", "F", "1.00", "", "", "", "0", 'a "quoted" word'),
    ("10000004", "8", "F", "+1,000.00", "", "", "", "0", "a comma, and\ntwo\r\nline ends"),
    ("10000005", "NULL", "null", "NaN", "Infinity", "true", "\\N", "-0", " blanks around "),
    ("10000006", "٣", "ß", "½", "日本", "👩‍👩‍👧", "Zoë", "\u00a0", "\\\\ \\n \t"),
)
ADDED_RECORDS = (
    ("10000007", "9", "P", "3.50", "2024-03-01", "1-URGENT", "Clerk#000000002", "0", "appended"),
    ("10000008", "9", "P", "3.50", "2024-03-01", "1-URGENT", "Clerk#000000002", "0", "appended\ntoo"),
)


@dataclass(frozen=True)
class Connection:
    """A connector's copy with what it reads: how the source changes, and the tables it holds when asked."""

    copy: Copy
    change: Callable[[], object]
    tables: Callable[[], Sequence[SourceTable]]


@dataclass(frozen=True)
class Runs:
    """Runs `fivetran debug`: the folder of the logs, the environment of the runs, and what may end them."""

    folder: Path
    environment: Mapping[str, str]
    interruption: Interruption

    def sync_all(self, connections: Sequence[Connection], which: str) -> dict[str, dict[str, int]]:
        """Syncs the connections one after another; returns the rows sent, by connector and table."""
        return {connection.copy.name: self._sync(connection.copy, which) for connection in connections}

    def _sync(self, copy: Copy, which: str) -> dict[str, int]:
        _say(f"fivetran debug connectors/{copy.name}, {which} sync ...")
        log = self.folder / f"{copy.name}, {which} sync.log"
        return debug_run.debug(copy, log, self.environment, self.interruption, lambda: _say("  still running ..."))


@dataclass(frozen=True)
class Result:
    """A table's comparison, and how many of its rows the second sync sent."""

    connector: str
    comparison: Comparison
    second_sync: int


def main() -> int:
    """Runs the demo; returns the exit code."""
    with Interruption() as interruption:
        try:
            return _demo(interruption)
        except RuntimeError as failure:
            print(f"demo: {failure}", file=sys.stderr)
            return 1
    with suppress(OSError):  # after SIGHUP there is no terminal any more
        print("\ndemo: interrupted; everything it started is stopped and removed", file=sys.stderr)
    return 130


def _demo(interruption: Interruption) -> int:
    with ExitStack() as running:
        folder = Path(running.enter_context(interruption.running(tempfile.TemporaryDirectory(prefix="demo-"))))
        _say(
            f"Starting PostgreSQL and the API Playground, filling both and a folder of files (TPC-H, scale {SCALE}) ..."
        )
        sources = running.enter_context(practice.start(interruption, scale=SCALE))
        connections = _connections(sources, folder)
        runs = Runs(folder, debug_run.environment(folder), interruption)
        runs.sync_all(connections, "first")
        _say("Changing the sources ...")
        for connection in connections:
            connection.change()
        second = runs.sync_all(connections, "second")
        _say("Comparing every row and column with the sources ...")
        results = [result for connection in connections for result in _results(connection, second)]
        interruption.hold()
    return _report(results)


def _connections(sources: Practice, folder: Path) -> list[Connection]:
    """The three connectors' copies below `folder`, set to the sources."""
    files = _write_files(folder / "csv")
    settings: Mapping[str, dict[str, str]] = {
        "postgres": {"port": str(sources.postgres.port)},
        "rest_api": {"base_url": sources.playground.url},
        "files": {"location": str(files), "tables": f"{CSV_TABLE} = *.csv"},
    }
    copies = {name: debug_run.copy(name, folder / name, values) for name, values in settings.items()}
    return [
        Connection(
            copies["postgres"],
            lambda: _change_postgres(sources),
            lambda: comparing.postgres_tables(sources.postgres, DATABASE),
        ),
        Connection(
            copies["rest_api"],
            lambda: sources.playground.change(CHANGED_ITEMS),
            lambda: comparing.playground_tables(sources.playground),
        ),
        Connection(copies["files"], lambda: _change_files(files), lambda: [comparing.file_table(CSV_TABLE, files)]),
    ]


def _results(connection: Connection, second: Mapping[str, Mapping[str, int]]) -> Iterator[Result]:
    name = connection.copy.name
    for comparison in comparing.compare(connection.tables(), connection.copy.warehouse):
        yield Result(name, comparison, second[name].get(comparison.table, 0))


# What the sources hold


def _write_files(folder: Path) -> Path:
    """Writes the CSV files of the first sync; returns their folder."""
    parts = tpch.write_csv(folder, SCALE, [CSV_TABLE], CSV_PARTS)
    # With a byte order mark and line ends as some spreadsheets write them.
    _append(parts[0].with_name("odd.csv"), [_header(parts[0]), *ODD_RECORDS], encoding="utf-8-sig", line_end="\r\n")
    return parts[0].parent


def _change_files(folder: Path) -> None:
    """Adds a file, appends to one, and changes a record of another; the other files stay as they are."""
    appended, changed = (folder / f"{CSV_TABLE}.{part}.csv" for part in (2, 3))
    _append(folder / "new.csv", [_header(changed), *ADDED_RECORDS])
    _append(appended, ADDED_RECORDS)
    lines = changed.read_text().split("\n")
    # On the same line: file and line are the key of the records.
    lines[1] = ",".join(ODD_RECORDS[0])
    changed.write_text("\n".join(lines))


def _header(path: Path) -> list[str]:
    return path.read_text().partition("\n")[0].split(",")


def _append(path: Path, records: Sequence[Sequence[str]], encoding: str = "utf-8", line_end: str = "\n") -> None:
    with path.open("a", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator=line_end).writerows(records)


def _change_postgres(sources: Practice) -> None:
    with closing(sources.postgres.connect(DATABASE)) as connection, connection.cursor() as cursor:
        for statement in POSTGRES_CHANGES:
            cursor.execute(statement)


# What a person sees


def _say(line: str) -> None:
    print(line, flush=True)


def _report(results: Sequence[Result]) -> int:
    """Prints the table of results and the differences; returns the exit code."""
    headings = ("connector", "table", "source rows", "delivered rows", "equal", "rows of second sync")
    rows = [_cells(result) for result in results]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    _say("")
    for row in (headings, tuple("-" * width for width in widths), *rows):
        _say("  ".join(_aligned(cell, place, widths[place]) for place, cell in enumerate(row)).rstrip())
    _say("")
    different = [result for result in results if result.comparison.difference]
    for result in different:
        _say(f"{result.connector}, table {result.comparison.table}: {result.comparison.difference}")
    if different:
        _say(f"demo: {len(different)} of {len(results)} tables differ from their sources")
        return 1
    total = sum(result.comparison.source_rows for result in results)
    _say(f"demo: {len(results)} tables, {total:,} rows, all equal to their sources")
    return 0


def _cells(result: Result) -> tuple[str, ...]:
    comparison = result.comparison
    counts = (comparison.source_rows, comparison.delivered_rows, result.second_sync)
    source, delivered, second = (f"{count:,}" for count in counts)
    return result.connector, comparison.table, source, delivered, "NO" if comparison.difference else "yes", second


def _aligned(cell: str, place: int, width: int) -> str:
    """Text to the left, numbers to the right."""
    return cell.rjust(width) if place in (2, 3, 5) else cell.ljust(width)


if __name__ == "__main__":
    sys.exit(main())
