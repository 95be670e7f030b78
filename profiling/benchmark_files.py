"""The benchmark of connectors/files: TPC-H lineitem in four formats, from disk and from an S3 server of its own.

    make bench CONNECTOR=files            6 M rows of each, and 5 GB of CSV: about 25 minutes (estimated), 10 GB of disk
    make bench CONNECTOR=files QUICK=1    30 k rows of three, without small files and the 5 GB

The marks are the floor (see benchmark.py), for CSV the standard library's `csv` alone, and the documented patterns: a
file in batches, for which Polars stands, and `readlines()` for JSON Lines. What is read has just been written: the
disk's own speed counts for nothing. The S3 server is moto, a process beside: it cuts every range that is asked for
out of the whole object, so that Parquet waits for it more than it would for another.
"""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any

import polars as pl
from fivetran_connector_sdk import Operations as op

from profiling import latency_proxy
from profiling.benchmark import (
    DOCUMENTED,
    FLOOR,
    OURS,
    Benchmark,
    Comparison,
    DataSet,
    Source,
    Variant,
    Work,
    compare,
    floor,
    say,
    sync,
)
from profiling.served import served
from tests.sources import s3_server, tpch
from tests.sources.s3_server import S3Server

NAME = "files"
TABLE = "lineitem"
MOST_MB = 64
MOST_OVER_FLOOR = 1.25  # for CSV
MOST_OVER_ONE = 1.3  # for many small files, beside a large one
LATENCY_SECONDS = 0.02
BATCH_ROWS = 10_000  # of the documented patterns
# The connector waits for files that were written just now; these are dated back instead.
SETTLED_SECONDS = 60

OURS_S3, CSV_ALONE = "ours, from S3", "csv module alone"
SMALL_FILES, ONE_FILE = "many small files", "floor, one large file"

_BLOCK = 1_048_576


@dataclass(frozen=True)
class Size:
    """How much is measured.

    scale    TPC-H scale of the larger files; 1 is 6 M rows and 766 MB of CSV
    rounds   of each format
    is_full  whether the full set of ways is measured. Floors (but for that of CSV) and documented patterns are then
             measured at the smaller size only, to save time; a quick run measures them at the larger size, and leaves
             out gzip, S3 for JSON Lines, and the csv module alone
    files    into how many small ones the large CSV file is cut; 0: none
    longest  TPC-H scale of the CSV file that shows whether memory is flat, beside one of a fiftieth; 0: none does
    """

    scale: float
    rounds: int
    is_full: bool
    files: int
    longest: float


FULL = Size(1, 1, True, 10_000, 6.53)
QUICK = Size(0.005, 3, False, 0, 0)


@dataclass(frozen=True)
class Places:
    """Where the files are: a folder, and a server."""

    folder: Path
    server: S3Server


@dataclass(frozen=True)
class Lines:
    """The rows of a TPC-H scale in a CSV file."""

    path: Path
    scale: float
    rows: int

    def source(self, suffix: str = ".csv") -> Source:
        """The file of these rows that has this suffix."""
        name = self.path.with_suffix(suffix).name
        return Source({"location": str(self.path.parent), "tables": f"{TABLE} = {name}"}, self.rows)


@dataclass(frozen=True)
class Format:
    """A format that the rows are measured in.

    make        writes them to a path
    documented  the records of a path in batches, read as is usual
    only_small  whether only the smaller file is read from S3: what of that depends on size, another format shows
    """

    name: str
    suffix: str
    make: Callable[[Lines, Path], None]
    documented: Callable[[Path], Iterable[Iterable[dict[str, Any]]]]
    only_small: bool = False


@contextmanager
def start() -> Iterator[Places]:
    """An empty folder and an S3 server; removes and ends them on exit."""
    with tempfile.TemporaryDirectory(prefix="bench-files-") as folder, s3_server.start() as server:
        yield Places(Path(folder), server)


def software(_: Places) -> str:
    return f"Polars {pl.__version__}, moto {version('moto')}"


def benchmark(places: Places, quick: bool) -> Generator[Comparison]:
    """Makes the data sets, one after another, and measures each."""
    size = QUICK if quick else FULL
    folder, server = places.folder, places.server
    small, large = lineitem(folder, "small", size.scale / 10), lineitem(folder, "large", size.scale)
    for form in QUICK_FORMATS if quick else FORMATS:
        with data_set(server, form, small, large, size.is_full) as measured:
            yield compare(measured, size.rounds)
    if size.files:
        with small_files(server, large, size.files) as measured:
            yield compare(measured, 1)
    if size.longest:
        yield compare(long(folder, size.longest), 1)


BENCHMARK = Benchmark(start, software, benchmark)


# The data


def lineitem(folder: Path, name: str, scale: float) -> Lines:
    """FOLDER/NAME.csv."""
    say(f"writing {name}.csv")
    [made] = tpch.write_csv(folder, scale, [TABLE])
    path = made.rename(folder / f"{name}.csv")
    with path.open("rb") as file:
        rows = sum(block.count(b"\n") for block in iter(partial(file.read, _BLOCK), b"")) - 1  # the header's line
    return Lines(path, scale, rows)


def date_back(path: Path) -> None:
    written = time.time() - SETTLED_SECONDS
    os.utime(path, (written, written))


def write_gzip(lines: Lines, path: Path) -> None:
    with lines.path.open("rb") as file, gzip.open(path, "wb", compresslevel=6) as compressed:
        shutil.copyfileobj(file, compressed, _BLOCK)


def write_json_lines(lines: Lines, path: Path) -> None:
    pl.scan_csv(lines.path).sink_ndjson(path)


def write_parquet(lines: Lines, path: Path) -> None:
    """Another file of the same rows, not one made of the CSV file: its columns have the types of TPC-H."""
    command = [str(Path(sys.executable).with_name("tpchgen-cli")), "parquet", "--quiet", "--overwrite"]
    command += ["--scale-factor", str(lines.scale), "--output-dir", str(path.parent), "--tables", TABLE]
    subprocess.run(command, check=True)
    (path.parent / f"{TABLE}.parquet").rename(path)


@contextmanager
def data_set(server: S3Server, form: Format, small: Lines, large: Lines, is_full: bool) -> Iterator[DataSet]:
    """The rows in one format, on disk and on the server; what was made for it is removed on exit."""
    say(f"storing {form.name}")
    paths = [lines.path.with_suffix(form.suffix) for lines in (small, large)]
    stored = paths
    if form.only_small:
        stored = paths[:1] if is_full else []
    for lines, path in zip((small, large), paths, strict=True):
        form.make(lines, path)
        date_back(path)
    for path in stored:
        server.put(path.name, path)
    yield DataSet(
        f"{NAME} {form.name}",
        f"{large.rows:,} rows of TPC-H lineitem, {paths[1].stat().st_size / 1e6:,.0f} MB",
        small.source(form.suffix),
        large.source(form.suffix),
        MOST_MB,
        variants(server, form, is_full),
        most_over_floor=MOST_OVER_FLOOR if form is CSV else None,
        aim_over_floor=None,
        is_faster=False,
        fills_buffers=is_full,
    )
    if form is not CSV:  # which the others are made of
        for path in paths:
            path.unlink()
        for path in stored:
            server.delete(path.name)


@contextmanager
def small_files(server: S3Server, lines: Lines, count: int) -> Iterator[DataSet]:
    """The rows of the CSV file, which is on the server, in so many small files, at a distance.

    What is compared in memory is every tenth of them.
    """
    say(f"storing {count:,} small files")
    tenth = sum(rows for number, rows in enumerate(_stored_in_parts(server, lines, count)) if number % 10 == 0)
    with served(partial(latency_proxy.start, server.port, LATENCY_SECONDS)) as proxy:
        configuration = server.configuration_at(proxy.ask(attrgetter("port")))
        large_file = {"tables": f"{TABLE} = {lines.path.name}"}
        yield DataSet(
            f"{NAME} {count:,} small ones",
            f"beside a large one of the same {lines.rows:,} rows, from S3 with a latency of "
            f"{LATENCY_SECONDS * 1000:.0f} ms",
            Source({**configuration, "tables": f"{TABLE} = parts/*0.csv"}, tenth),
            Source({**configuration, "tables": f"{TABLE} = parts/*.csv"}, lines.rows),
            MOST_MB,
            (
                Variant(SMALL_FILES, partial(sync, NAME, {}), "sync", (ONE_FILE,)),
                Variant(ONE_FILE, partial(sync, NAME, large_file), "floor", ()),
            ),
            most_over_floor=MOST_OVER_ONE,
            aim_over_floor=None,
        )


def _stored_in_parts(server: S3Server, lines: Lines, count: int) -> Iterator[int]:
    """Cuts the CSV file into objects with a header each; yields how many rows each has."""
    rows_each = -(-lines.rows // count)
    with lines.path.open("rb") as file:
        header = next(file)
        number = 0
        while rows := list(islice(file, rows_each)):
            server.put(f"parts/{number:06}.csv", header + b"".join(rows))
            yield len(rows)
            number += 1


def long(folder: Path, scale: float) -> DataSet:
    """A CSV file that is larger than most, beside one of a fiftieth: only their memory is compared."""
    small, large = lineitem(folder, "short", scale / 50), lineitem(folder, "long", scale)
    for lines in (small, large):
        date_back(lines.path)
    sizes = [f"{lines.path.stat().st_size / 1e6:,.0f} MB" for lines in (small, large)]
    return DataSet(
        f"{NAME} flat memory",
        f"{' and '.join(sizes)} of CSV",
        small.source(),
        large.source(),
        MOST_MB,
        (Variant(OURS, partial(sync, NAME, {}), "sync", ()),),
        times="fifty",
    )


# The ways to deliver it


def variants(server: S3Server, form: Format, is_full: bool) -> tuple[Variant, ...]:
    from_s3 = Variant(OURS_S3, partial(sync, NAME, server.configuration), "sync", small_only=form.only_small)
    return (
        Variant(OURS, partial(sync, NAME, {}), "sync"),
        *([from_s3] if is_full or not form.only_small else []),
        Variant(FLOOR, partial(floor, NAME, {}), "floor", small_only=is_full and form is not CSV),
        Variant(DOCUMENTED, partial(documented, form), "pattern", small_only=is_full),
        *([Variant(CSV_ALONE, csv_alone, "reading")] if form is CSV and is_full else []),
    )


def csv_alone(source: Source) -> Work:
    """Every record as a dict, by the standard library, and nothing done with it."""

    def read() -> None:
        with _path(source).open(newline="") as file:
            rows = csv.reader(file)
            names = next(rows)
            for row in rows:
                dict(zip(names, row, strict=False))

    return Work([], read)


def documented(form: Format, source: Source) -> Work:
    """The documented pattern: the type of a column is inferred from its values, but for those of the primary key."""
    key = ["l_orderkey", "l_linenumber"]
    tables = [{"table": TABLE, "primary_key": key, "columns": dict.fromkeys(key, "LONG")}]

    def deliver() -> None:
        # Bare code on purpose: what it spares itself (values as written, resuming, errors told) makes it faster.
        for number, batch in enumerate(form.documented(_path(source))):
            for record in batch:
                op.upsert(TABLE, record)
            op.checkpoint({"batch": number})

    return Work(tables, deliver)


def csv_batches(path: Path) -> Iterator[Iterable[dict[str, Any]]]:
    return _rows_of(pl.scan_csv(path))


def parquet_batches(path: Path) -> Iterator[Iterable[dict[str, Any]]]:
    return _rows_of(pl.scan_parquet(path))


def json_lines_batches(path: Path) -> Iterator[Iterable[dict[str, Any]]]:
    with path.open() as file:
        lines = file.readlines()
    for start in range(0, len(lines), BATCH_ROWS):
        yield map(json.loads, lines[start : start + BATCH_ROWS])


def _rows_of(frame: pl.LazyFrame) -> Iterator[Iterable[dict[str, Any]]]:
    return (batch.iter_rows(named=True) for batch in frame.collect_batches(chunk_size=BATCH_ROWS))


def _path(source: Source) -> Path:
    return Path(source.configuration["location"], source.configuration["tables"].removeprefix(f"{TABLE} = "))


def _keep_csv(lines: Lines, path: Path) -> None:
    """The CSV file is there already."""


CSV = Format("CSV", ".csv", _keep_csv, csv_batches)
GZIP = Format("CSV, gzip", ".csv.gz", write_gzip, csv_batches, only_small=True)
JSON_LINES = Format("JSON Lines", ".jsonl", write_json_lines, json_lines_batches, only_small=True)
PARQUET = Format("Parquet", ".parquet", write_parquet, parquet_batches)
FORMATS = (CSV, GZIP, JSON_LINES, PARQUET)
QUICK_FORMATS = (CSV, JSON_LINES, PARQUET)
