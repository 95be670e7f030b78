"""connectors/files is stopped at operations all over a sync, in every format and at every place: nothing is lost."""

import bz2
import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
import zstandard
from openpyxl import Workbook

from shared import checkpoints
from tests import stop_and_resume
from tests.loading import load_connector
from tests.recording import Destination, sync
from tests.sources import s3_server
from tests.sources.file_server import FileServer
from tests.sources.http_thread import serving
from tests.sources.s3_server import S3Server

connector = load_connector("files")
reading = connector.read_pages.__globals__

ROWS = 1200
RECORDS = [{"n": number, "text": f'{number:05}, "{"x" * (number % 60)}"\nend'} for number in range(ROWS)]


def _csv(delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["n", "text"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(RECORDS)
    return text.getvalue().encode()


def _parquet() -> bytes:
    data = io.BytesIO()
    pl.DataFrame(RECORDS).write_parquet(data, row_group_size=500)
    return data.getvalue()


def _excel() -> bytes:
    workbook = Workbook()
    workbook.active.append(["n", "text"])
    for record in RECORDS:
        workbook.active.append(list(record.values()))
    data = io.BytesIO()
    workbook.save(data)
    return data.getvalue()


def _zip() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/one.csv", _csv())
        archive.writestr("two.jsonl", _lines())
    return data.getvalue()


def _lines() -> bytes:
    return "\n".join(map(json.dumps, RECORDS)).encode()


FILES: Mapping[str, Callable[[], bytes]] = {
    "plain.csv": _csv,
    "tabs.tsv": lambda: _csv("\t"),
    "sixteen.csv": lambda: _csv().decode().encode("utf-16"),
    "gzip.csv.gz": lambda: gzip.compress(_csv()[:30_000]) + gzip.compress(_csv()[30_000:]),
    "bzip2.csv.bz2": lambda: bz2.compress(_csv()),
    "zstd.csv.zst": lambda: zstandard.compress(_csv()),
    "lines.jsonl": _lines,
    "lines.jsonl.gz": lambda: gzip.compress(_lines()),
    "list.json": lambda: json.dumps(RECORDS).encode(),
    "path.json": lambda: json.dumps({"before": 1, "result": {"items": RECORDS, "next": None}}, indent=1).encode(),
    "list.json.zst": lambda: zstandard.compress(json.dumps(RECORDS).encode()),
    "table.parquet": _parquet,
    "sheet.xlsx": _excel,
    "archive.zip": _zip,
}


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    monkeypatch.setitem(reading, "SETTLING_SECONDS", 0.0)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with s3_server.start() as server:
        yield server


@contextmanager
def _in_a_folder(name: str, data: bytes, tmp_path: Path, s3: S3Server) -> Iterator[dict[str, str]]:
    (tmp_path / name).write_bytes(data)
    yield {"location": str(tmp_path)}


@contextmanager
def _in_a_bucket(name: str, data: bytes, tmp_path: Path, s3: S3Server) -> Iterator[dict[str, str]]:
    s3.put(f"resume/{name}", data)
    yield {**s3.configuration, "location": f"s3://{s3.bucket}/resume"}


@contextmanager
def _on_a_web_server(name: str, data: bytes, tmp_path: Path, s3: S3Server) -> Iterator[dict[str, str]]:
    with serving(FileServer()) as server:
        server.put(name, data)
        yield {"location": f"{server.url}/files"}


PLACES = {"folder": _in_a_folder, "bucket": _in_a_bucket, "web server": _on_a_web_server}


def _everywhere(operations: int) -> list[int]:
    return sorted({1, 2, operations // 4, operations // 2, operations * 3 // 4, operations - 2, operations})


def _inside(operations: int) -> list[int]:
    return [operations // 3, operations - 3]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FILES)
class TestStoppedAnywhere:
    def test_it_ends_as_if_nothing_had_happened(
        self, name: str, place: str, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stop_and_resume, "stops", _everywhere if place == "folder" else _inside)
        with PLACES[place](name, FILES[name](), tmp_path, s3) as configuration:
            settings = {"tables": f"records = {name}", "page_bytes": "10000", **configuration}
            if name == "path.json":
                settings["record_path"] = "result.items"
            expected = ROWS * 2 if name == "archive.zip" else ROWS
            assert len(sync(connector, settings).destination.table("records")) == expected
            stop_and_resume.check(connector, settings)

    def test_it_goes_on_inside_the_file(self, name: str, place: str, tmp_path: Path, s3: S3Server) -> None:
        with PLACES[place](name, FILES[name](), tmp_path, s3) as configuration:
            settings = {"tables": f"records = {name}", "page_bytes": "10000", **configuration}
            if name == "path.json":
                settings["record_path"] = "result.items"
            whole = sync(connector, settings)
            destination = Destination()
            sync(connector, settings, destination, stop_at=whole.operations - 5)
            resumed = sync(connector, settings, destination)
            assert resumed.upserts["records"] < ROWS, "it began again"
            assert destination.contents() == whole.destination.contents()
