"""A tiny run of the benchmark of files has every figure, and its files and its distance are what they say."""

import csv
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import requests

from profiling import benchmark_files, latency_proxy, list_server
from profiling.bench_report import judgements, summaries
from profiling.benchmark import DOCUMENTED, FLOOR, OURS, Judgement, Run, compare, measure
from profiling.benchmark_files import CSV, CSV_ALONE, FORMATS, ONE_FILE, OURS_S3, SMALL_FILES, Format, Lines
from tests.sources import s3_server
from tests.sources.s3_server import S3Server

SMALL_SCALE, LARGE_SCALE = 0.0002, 0.001

each_format = pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.suffix)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server.start() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineitem")


@pytest.fixture(scope="module")
def small(folder: Path) -> Lines:
    return benchmark_files.lineitem(folder, "small", SMALL_SCALE)


@pytest.fixture(scope="module")
def large(folder: Path) -> Lines:
    return benchmark_files.lineitem(folder, "large", LARGE_SCALE)


class TestTheSameRowsInEveryFormat:
    def test_are_as_many_as_is_said(self, large: Lines) -> None:
        with large.path.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == large.rows > 5_000

    def test_gzip_is_the_csv_file(self, large: Lines, tmp_path: Path) -> None:
        benchmark_files.write_gzip(large, tmp_path / "large.csv.gz")
        assert gzip.decompress((tmp_path / "large.csv.gz").read_bytes()) == large.path.read_bytes()

    def test_json_lines_have_numbers_as_numbers(self, large: Lines, tmp_path: Path) -> None:
        benchmark_files.write_json_lines(large, tmp_path / "large.jsonl")
        records = [json.loads(line) for line in (tmp_path / "large.jsonl").read_text().splitlines()]
        assert len(records) == large.rows
        with large.path.open(newline="") as file:
            [first, *_] = csv.DictReader(file)
        assert {name: str(value) for name, value in records[0].items()} == first
        assert {type(records[0][name]) for name in ("l_orderkey", "l_discount")} == {int, float}

    def test_parquet_has_the_types_of_tpc_h(self, large: Lines, tmp_path: Path) -> None:
        benchmark_files.write_parquet(large, tmp_path / "large.parquet")
        frame = pl.read_parquet(tmp_path / "large.parquet")
        assert frame.height == large.rows
        assert frame.schema["l_tax"] == pl.Decimal(15, 2)
        assert frame["l_comment"].to_list() == pl.read_csv(large.path)["l_comment"].to_list()

    def test_small_files_are_the_rows_of_the_large_one_with_a_header_each(
        self, large: Lines, server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored: dict[str, bytes] = {}
        monkeypatch.setattr(server, "put", stored.__setitem__)
        with benchmark_files.small_files(server, large, 25) as measured:
            assert (measured.large.rows, len(stored)) == (large.rows, 25)
        header, *rows = large.path.read_bytes().splitlines(keepends=True)
        parts = [stored[name].splitlines(keepends=True) for name in sorted(stored)]
        assert {part[0] for part in parts} == {header}
        assert [row for part in parts for row in part[1:]] == rows
        assert measured.small.rows == sum(len(parts[number]) - 1 for number in (0, 10, 20))


class TestDistance:
    def test_every_answer_comes_so_much_later(self) -> None:
        with (
            list_server.start() as server,
            latency_proxy.start(_port(server.url), 0.1) as proxy,
            requests.Session() as session,
        ):
            session.get(f"http://127.0.0.1:{proxy.port}/pages", timeout=10)  # connects
            started = time.perf_counter()
            session.get(f"http://127.0.0.1:{proxy.port}/pages", timeout=10)
            assert 0.1 <= time.perf_counter() - started < 0.25

    def test_does_not_hold_back_what_comes_behind(self) -> None:
        with list_server.start(large_bytes=20_000_000) as server:
            direct = requests.get(f"{server.url}/large", timeout=60).content
            with latency_proxy.start(_port(server.url), 0.1) as proxy:
                started = time.perf_counter()
                distant = requests.get(f"http://127.0.0.1:{proxy.port}/large", timeout=60).content
        assert distant == direct
        assert time.perf_counter() - started < 5  # more than 300 pieces


class TestATinyRun:
    @each_format
    def test_has_every_figure(self, form: Format, small: Lines, large: Lines, server: S3Server) -> None:
        with benchmark_files.data_set(server, form, small, large, is_full=True) as data_set:
            measured = compare(data_set, 1)
        assert (CSV_ALONE in measured.large) == (form is CSV)
        for variant, summary in zip(data_set.variants, summaries(measured), strict=True):
            assert summary.over_floor or variant.name in (FLOOR, DOCUMENTED)
            assert summary.speed_up or variant.name not in (OURS, OURS_S3)
            assert (summary.rows_per_second is None) == variant.small_only
        assert (OURS_S3 in measured.large) != form.only_small
        assert {run.rows for runs in measured.small.values() for run in runs} == {small.rows}
        over_floor = [_variant(judgement) for judgement in judgements(measured) if "its floor" in judgement.promise]
        assert over_floor == ([OURS, OURS_S3] if form is CSV else [])
        grown = [_variant(judgement) for judgement in judgements(measured) if "grows" in judgement.promise]
        assert grown == ([OURS, OURS, OURS_S3] if form.only_small else [OURS, OURS, OURS_S3, OURS_S3])
        assert form is CSV or {path.suffix for path in large.path.parent.iterdir()} == {".csv"}

    @each_format
    def test_that_is_quick_measures_everything_at_the_larger_size(self, form: Format, server: S3Server) -> None:
        quick = benchmark_files.variants(server, form, is_full=False)
        assert not [variant for variant in quick if variant.small_only]
        assert (OURS_S3 in [variant.name for variant in quick]) != form.only_small

    def test_of_many_small_files(self, large: Lines, server: S3Server) -> None:
        server.put(large.path.name, large.path)
        with benchmark_files.small_files(server, large, 25) as data_set:
            measured = compare(data_set, 1)
        assert _rows(measured.large, SMALL_FILES) == _rows(measured.large, ONE_FILE) == large.rows
        assert [judgement.promise for judgement in judgements(measured)] == [
            "takes at most 1.3 times its floor",
            "grows by at most 64 MB",
            "grows no more for ten times the rows",
        ]

    def test_of_a_file_that_is_larger_than_most(self, tmp_path: Path) -> None:
        data_set = benchmark_files.long(tmp_path, 0.01)
        assert measure(data_set.variants[0].prepare, data_set.small).rows == data_set.small.rows
        assert 40 < data_set.large.rows / data_set.small.rows < 60


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _rows(measured: dict[str, list[Run]], name: str) -> int:
    [run] = measured[name]
    return run.rows


def _variant(judgement: Judgement) -> str:
    """The part of "files CSV, gzip, ours, from S3" that names the variant."""
    return max((name for name in (OURS, OURS_S3) if judgement.subject.endswith(name)), key=len)
