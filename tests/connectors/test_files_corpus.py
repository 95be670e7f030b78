"""A corpus of nasty files through connectors/files: each arrives as the README says, beside all the others."""

import bz2
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.loading import load_connector
from tests.recording import Sink, sync

connector = load_connector("files")
reading = connector.read_pages.__globals__

# What a file holds, and what arrives of it: `n` and `t` of its records by line, and the lines of its bad rows.
Corpus = Mapping[str, tuple[bytes, dict[int, tuple[str | None, str | None]], list[int]]]

CORPUS: Corpus = {
    "texts.csv": (
        b"n,t\n00123,NA\n1e5,0.12345678901234567890\n2026-01-31,\n\"\",' '\n",
        {2: ("00123", "NA"), 3: ("1e5", "0.12345678901234567890"), 4: ("2026-01-31", ""), 5: ("", "' '")},
        [],
    ),
    "bom.csv": (b"\xef\xbb\xbfn,t\r\n1,a\r\n2,b", {2: ("1", "a"), 3: ("2", "b")}, []),
    "utf16.csv": ("n,t\n1,Zürich\n".encode("utf-16"), {2: ("1", "Zürich")}, []),
    "quoted.csv": (b'n,t\n1,"two\nlines, ""quoted"""\n2,x\n', {2: ("1", 'two\nlines, "quoted"'), 4: ("2", "x")}, []),
    "header.csv": (b'"n","t"\n1,a\n', {2: ("1", "a")}, []),
    "semicolons.csv": (b"n;t\n1;a,b\n", {2: ("1", "a,b")}, []),
    "tabs.tsv": (b"n\tt\n1\ta,b\n", {2: ("1", "a,b")}, []),
    "ragged.csv": (b"n,t\n1,a\n2\n3,c,d\n4,e\n", {2: ("1", "a"), 5: ("4", "e")}, [3, 4]),
    "nul.csv": (b"n,t\n1,a\n2,\0\n3,c\n", {2: ("1", "a"), 4: ("3", "c")}, [3]),
    "latin.csv": (b"n,t\n1,a\n2,Z\xfcrich\n3,c\n", {2: ("1", "a"), 4: ("3", "c")}, [3]),
    "open.csv": (b'n,t\n1,a\n2,"open\n3,c\n', {2: ("1", "a"), 4: ("3", "c")}, [3]),
    "empty.csv": (b"", {}, []),
    "blank.csv": (b"\n\n", {}, []),
    "only_header.csv": (b"n,t\n", {}, []),
    "long.csv": (b"n,t\n1,a\n2," + b"x" * 100_000_000 + b"\n3,c\n", {2: ("1", "a"), 4: ("3", "c")}, [3]),
    "members.csv.gz": (gzip.compress(b"n,t\n1,a\n") + gzip.compress(b"2,b\n"), {2: ("1", "a"), 3: ("2", "b")}, []),
    "streams.csv.bz2": (bz2.compress(b"n,t\n1,a\n") + bz2.compress(b"2,b\n"), {2: ("1", "a"), 3: ("2", "b")}, []),
    "none.csv.gz": (b"n,t\n1,a\n", {}, [0]),
    "unsaid.csv": (gzip.compress(b"n,t\n1,a\n"), {}, [0]),
    "lines.jsonl": (
        b'\xef\xbb\xbf{"n": 1.00, "t": null}\r\n\r\nbroken\n[1]\n{"n": 10000000000000000000000, "t": true}\n',
        {1: ("1.00", None), 5: ("10000000000000000000000", "true")},
        [3, 4],
    ),
    "nested.json": (
        b'[{"n": -0, "t": {"a": [1.50, "x"]}}, {"t": "\\u00fc"}]',
        {1: ("-0", '{"a": [1.50, "x"]}'), 2: (None, "ü")},
        [],
    ),
    "none.parquet": (b"PAR1 is how it begins, but", {}, [0]),
    "none.xlsx": (b"no workbook", {}, [0]),
    "none.zip": (b"no archive", {}, [0]),
    "picture.dat": (b"\x89PNG", {}, [0]),
}


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Sink:
    folder = tmp_path_factory.mktemp("corpus")
    for name, (data, _, _) in CORPUS.items():
        Path(folder, name).write_bytes(data)
    Path(folder, "cut.csv.gz").write_bytes(_cut())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reading, "SETTLING_SECONDS", 0.0)
        return sync(connector, {"location": str(folder), "tables": "t = *", "on_bad_row": "keep"})


def _cut() -> bytes:
    lines = b"".join(b"%d,%d\n" % (number, number * 7919) for number in range(20_000))
    whole = gzip.compress(b"n,t\n" + lines)
    return whole[: len(whole) // 2]


def _of(sink: Sink, table: str, name: str) -> list[dict[str, Any]]:
    return sorted(
        (row for row in sink.destination.table(table) if row["_file"] == name), key=lambda row: int(row["_line"])
    )


@pytest.mark.parametrize("name", CORPUS)
def test_arrives_as_the_readme_says(name: str, delivered: Sink) -> None:
    _, records, bad = CORPUS[name]
    found = {int(row["_line"]): (row.get("n"), row.get("t")) for row in _of(delivered, "t", name)}
    assert found == records
    assert [int(row["_line"]) for row in _of(delivered, "_bad_rows", name)] == bad


def test_a_file_that_is_cut_gives_what_is_whole_and_says_so(delivered: Sink) -> None:
    found = _of(delivered, "t", "cut.csv.gz")
    assert 5_000 < len(found) < 15_000
    assert all(int(row["t"]) == int(row["n"]) * 7919 for row in found), "half of a line is no record"
    (bad,) = _of(delivered, "_bad_rows", "cut.csv.gz")
    assert "cut.csv.gz is cut" in bad["reason"]


def test_every_bad_row_says_what_is_written_there_and_what_is_wrong(delivered: Sink) -> None:
    rows = delivered.destination.table("_bad_rows")
    assert all(row["reason"] and len(row["raw"]) <= 10_000 for row in rows)
    assert all(row["raw"] for row in rows if row["_line"] != "0")
