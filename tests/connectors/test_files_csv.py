"""CSV files: every field as it is written, or a row that is named as bad."""

import bz2
import csv
import gzip
import io
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.connectors.files_reading import Format, check_resuming
from tests.loading import load_module

csv_format = load_module("files", "csv_format")
CSV = Format(csv_format, csv_format.CsvReader, ".csv")

FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8) | st.sampled_from(
    [
        "",
        "00123",
        "NA",
        "1e5",
        "a\nb",
        "a\r\nb",
        "\r",
        '"',
        '""',
        "\\",
        "\\N",
        ",",
        ";",
        "#",
        "# x",
        " x ",
        "\ufeff",
        "é",
    ]
)
DIALECTS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"delimiter": ","},
        {"delimiter": ";"},
        {"delimiter": "\t", "lineterminator": "\n", "quoting": csv.QUOTE_ALL},
        {"delimiter": ",", "quoting": csv.QUOTE_ALL},
        {"delimiter": "|", "quotechar": "'"},
        {"delimiter": ",", "doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL},
    ]
)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[str]], bytes, dict[str, Any]]:
    """Rows, the text that the standard library writes of them, and the settings that read it."""
    width = draw(st.integers(2, 4))
    rows = draw(st.lists(st.lists(FIELDS, min_size=width, max_size=width), max_size=12))
    dialect = draw(DIALECTS)
    text = io.StringIO(newline="")
    writer = csv.writer(text, **dialect)
    writer.writerow([f"c{number}" for number in range(width)])
    writer.writerows(rows)
    settings = {
        "delimiter": dialect["delimiter"],
        "quote": dialect.get("quotechar", '"'),
        "escape": dialect.get("escapechar", ""),
    }
    return rows, text.getvalue().encode(), settings


class TestEveryFieldAsItIsWritten:
    @given(tables(), st.integers(1, 60), st.integers(1, 70))
    def test_any_table_in_any_dialect_at_any_page_size(
        self, table: tuple[list[list[str]], bytes, dict[str, Any]], page_bytes: int, chunk: int
    ) -> None:
        rows, data, settings = table
        result = CSV.read(data, page_bytes=page_bytes, chunk=chunk, **settings)
        assert [list(values.values()) for values in result.values] == rows
        assert (result.bad, result.problem) == ([], "")

    @given(tables(), st.integers(1, 60))
    def test_resumed_at_any_place(self, table: tuple[list[list[str]], bytes, dict[str, Any]], page_bytes: int) -> None:
        _, data, settings = table
        check_resuming(CSV, data, page_bytes=page_bytes, **settings)

    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("last", ["", "end"])
    def test_any_line_end(self, ending: str, last: str) -> None:
        text = ending.join(["a,b", "1,2", "3,4"]) + (ending if last else "")
        result = CSV.read(text)
        assert (result.values, result.lines) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [2, 3])

    def test_empty_fields_are_empty_text_and_the_null_text_is_none(self) -> None:
        assert CSV.read('a,b\n,""\n').values == [{"a": "", "b": ""}]
        assert CSV.read("a,b\n\\N,\n", null_text="\\N").values == [{"a": None, "b": ""}]

    def test_blank_lines_are_records_of_a_file_with_one_column_only(self) -> None:
        assert CSV.read("a,b\n\n1,2\n\r\n").values == [{"a": "1", "b": "2"}]
        assert CSV.read("a\n1\n\n2\n").values == [{"a": "1"}, {"a": ""}, {"a": "2"}]

    def test_a_record_longer_than_a_page(self) -> None:
        long = "x\n" * 50_000
        result = CSV.read(f'a,b\n1,"{long}"\n2,y\n', page_bytes=10_000)
        assert result.values == [{"a": "1", "b": long}, {"a": "2", "b": "y"}]
        assert result.lines == [2, 50_003]

    def test_file_line_and_time_of_change_are_columns(self) -> None:
        (record,) = CSV.read("a\n1\n", name="x/y.csv").records
        assert record == {"a": "1", "_file": "x/y.csv", "_line": 2, "_modified": None}


class TestHeaders:
    @pytest.mark.parametrize(
        ("header", "columns"),
        [
            ("Order ID,orderDate", ["order_id", "order_date"]),
            ("a,,a,A", ["a", "column_2", "a_2", "a_3"]),
            ('"two\nlines",b', ["two_lines", "b"]),
            ('"a,b",c', ["a_b", "c"]),
            ("_file,_line,_modified,_undeclared", ["_file_2", "_line_2", "_modified_2", "_undeclared_2"]),
            ("_fivetran_synced,x", ["_fivetran_synced_2", "x"]),
        ],
    )
    def test_become_names_no_two_of_which_are_alike(self, header: str, columns: list[str]) -> None:
        result = CSV.read(f"{header}\n" + ",".join("x" * len(columns)) + "\n")
        assert list(result.columns) == columns
        assert len(result.records) == 1

    def test_a_file_without_a_header(self) -> None:
        result = CSV.read("1,2\n3,4\n", header=False)
        assert result.values == [{"column_1": "1", "column_2": "2"}, {"column_1": "3", "column_2": "4"}]
        assert result.lines == [1, 2]

    def test_lines_above_it_are_skipped(self) -> None:
        result = CSV.read('Report of "2026\n\na,b\n1,2\n', skip_lines=2)
        assert (result.values, result.lines) == ([{"a": "1", "b": "2"}], [4])

    def test_comments_are_no_records_but_a_quoted_field_may_hold_what_looks_like_one(self) -> None:
        text = '# made "today\na,b\n#x,"y\n1,"two\n# lines"\n# end\n#2,3\n'
        result = CSV.read(text, comment="#")
        assert (result.values, result.lines, result.bad) == ([{"a": "1", "b": "two\n# lines"}], [4], [])
        assert CSV.read("#\na\n#\n1\n", comment="#").values == [{"a": "1"}]

    def test_empty_files_and_headers_alone_have_no_records(self) -> None:
        for text in ("", "\n\n", "\ufeff", "a,b", "a,b\n", "# only\n"):
            result = CSV.read(text, comment="#")
            assert (result.batches, result.problem) == ([], "")

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (b"a,b\r1,2\r", "line 1: a carriage return stands alone"),
            (b'a,"b\n1,2\n', "line 1: a quote is not closed"),
            (b"a,\xff\n", "line 1: holds bytes that are no text in utf-8"),
            (b"\na,b\0\n", "line 2: holds a NUL"),
        ],
    )
    def test_one_that_cannot_be_read_is_a_problem_of_the_file(self, data: bytes, told: str) -> None:
        assert f"a.csv cannot be read, {told}" in CSV.read(data).problem

    @pytest.mark.parametrize("header", [True, False])
    def test_more_than_ten_thousand_columns_are_a_problem_of_the_file(self, header: bool) -> None:
        assert len(CSV.read("," * 9_999 + "\n", header=header).columns) == 10_000
        told = "a.csv has 10,001 columns in line 1, and at most 10,000 can be read: correct the file, or the setting"
        assert told in CSV.read("," * 10_000 + "\n", header=header).problem


class TestDelimiters:
    @pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
    def test_are_found_out(self, delimiter: str) -> None:
        text = "\n".join(delimiter.join(row) for row in (["a", "b", "c"], ["1,5", "x", "y"], ['"q;,"', "", "2"]))
        text = text.replace("1,5", '"1,5"')
        assert CSV.read(text).values[0] == {"a": "1,5", "b": "x", "c": "y"}

    def test_numbers_with_commas_do_not_hide_the_semicolon(self) -> None:
        assert CSV.read("a;b\n1,5;2,5\n3,5;4\n").values[0] == {"a": "1,5", "b": "2,5"}

    def test_one_column_of_text_with_commas_is_one_column(self) -> None:
        assert list(CSV.read("note\nx\ny\n").columns) == ["note"]

    @pytest.mark.parametrize("name", ["a.tsv", "a.TAB", "a.tsv.gz"])
    def test_the_name_may_say_a_tab(self, name: str) -> None:
        data = b"a,b\tc\n1,2\t3\n"
        result = CSV.read(gzip.compress(data) if name.endswith(".gz") else data, name)
        assert result.values == [{"a_b": "1,2", "c": "3"}]

    def test_a_setting_decides(self) -> None:
        assert CSV.read("a,b;c\n1,2;3\n", delimiter=";").values == [{"a_b": "1,2", "c": "3"}]
        assert CSV.read("a\tb\n1\t2\n", delimiter=r"\t").values == [{"a": "1", "b": "2"}]

    def test_what_encloses_fields_does_not_separate_them(self) -> None:
        assert CSV.read("a,b\n|1,2|,3\n", quote="|").values == [{"a": "1,2", "b": "3"}]

    def test_nothing_may_enclose_fields(self) -> None:
        assert CSV.read('a,b\n"1,2"\n', quote="none").values == [{"a": '"1', "b": '2"'}]


class TestBadRows:
    @pytest.mark.parametrize(
        ("line", "raw", "reason"),
        [
            (b"1,2,3", "1,2,3", "3 fields where the header has 2"),
            (b"1", "1", "1 fields where the header has 2"),
            (b"1,a\xffb", r"1,a\xffb", "holds bytes that are no text in utf-8"),
            (b"1,a\0b", r"1,a\x00b", "holds a NUL character"),
            (b'1,"a"b', '1,"a"b', "',' expected after '\"'"),
            (b"1,a\rb", "1,a\rb", "a carriage return stands alone"),
            (b'1,"x\ny",3', '1,"x\ny",3', "3 fields where the header has 2"),
            (b'1,"x\ny"z', '1,"x\ny"z', "',' expected after '\"'"),
        ],
    )
    @pytest.mark.parametrize("page_bytes", [1, 10_000])
    def test_are_named_and_the_rows_around_them_arrive(
        self, line: bytes, raw: str, reason: str, page_bytes: int
    ) -> None:
        data = b"n,m\n0,a\n" + line + b"\n9,\xc3\xa9\n"
        result = CSV.read(data, page_bytes=page_bytes)
        assert result.values == [{"n": "0", "m": "a"}, {"n": "9", "m": "é"}]
        assert result.lines == [2, 4 + line.count(b"\n")]
        ((number, shown, told),) = result.bad
        assert (number, shown, told.startswith(reason)) == (3, raw, True)
        check_resuming(CSV, data, page_bytes=page_bytes)

    def test_a_quote_that_is_never_closed_is_one_bad_row_and_the_lines_behind_it_arrive(self) -> None:
        text = 'n,m\n1,"open\n2,b\n' + "".join(f"{number},x\n" for number in range(3, 500))
        for page_bytes in (10, 1_000, 100_000):
            result = CSV.read(text, page_bytes=page_bytes)
            assert [bad[:2] for bad in result.bad] == [(2, '1,"open')]
            assert result.lines == list(range(3, 501))
            assert all(batch.place == {**batch.place, "offset": 4, "unterminated": True} for batch in result.batches)

    def test_nor_is_more_than_the_longest_record_read_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limit_records(monkeypatch, 5_000)
        text = 'n,m\n1,"open\n' + "".join(f"{number},x\n" for number in range(2, 3000)) + '7,"a\nb"\n'
        result = CSV.read(text, page_bytes=100)
        assert [bad[:2] for bad in result.bad] == [(2, '1,"open')]
        assert result.values[-1] == {"n": "7", "m": "a\nb"}
        assert len(result.records) == 2999
        assert check_resuming(CSV, text.encode(), page_bytes=100) > 200

    def test_quotes_that_open_in_every_line_cost_no_more_than_lines_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limit_records(monkeypatch, 50_000)
        parsed: list[int] = []
        parse = csv_format._Parser.parse

        def counted(parser: Any, data: bytes, *how: Any, **more: Any) -> Any:
            parsed.append(len(data))
            return parse(parser, data, *how, **more)

        monkeypatch.setattr(csv_format._Parser, "parse", counted)
        text = "n,m\n" + 'a","\n' * 40_000
        result = CSV.read(text, page_bytes=1_000, delimiter=",")
        assert sum(parsed) < 10 * len(text)
        assert len(result.bad) == 40_000

    def test_a_long_fault_of_many_lines_does_not_hide_those_that_are_right(self) -> None:
        rows = "".join(f"{number},x\n" for number in range(3, 3000))
        result = CSV.read(f'n,m\n1,"open\n{rows}8,"y"z\n9,end\n', page_bytes=100_000)
        assert [bad[0] for bad in result.bad] == [2, 3000]
        assert len(result.records) == 2998

    def test_a_long_fault_that_ends_with_an_escape_and_a_blank_line_is_told_line_by_line(self) -> None:
        result = CSV.read(f"n,m\n{'x' * 10_001}\\\n\n3,4\n", escape="\\", delimiter=",")
        assert [bad[0] for bad in result.bad] == [2]
        assert (result.values, result.lines) == ([{"n": "3", "m": "4"}], [4])

    def test_a_line_that_is_too_long_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limit_records(monkeypatch, 20_000)
        data = b"n,m\n1,a\n" + b"x" * 100_000 + b"\n2,b\n"
        result = CSV.read(data, chunk=1_000)
        assert [record["n"] for record in result.records] == ["1", "2"]
        ((line, raw, reason),) = result.bad
        assert (line, raw, reason) == (3, "x" * 10_000, "is longer than 20,000 bytes: is the file of this format?")
        assert result.batches[-1].place["crc"] == zlib.crc32(data)
        check_resuming(CSV, data)

    def test_a_line_of_100_mb_takes_no_more_memory_than_the_longest_record(self) -> None:
        def endless() -> Any:
            yield b"n,m\n"
            for _ in range(100):
                yield b"x" * 1_048_576
            yield b"\n1,2\n"

        stream = csv_format.Lines(endless(), {"offset": 0, "line": 1, "crc": 0})
        settings = CSV.settings()
        tracemalloc.start()
        blocks = [
            block.rows
            for block, _, _ in csv_format._Blocks(stream, csv_format._Parser(settings, ","), 65_536, stream.place)
        ]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert blocks[-1] == [["1", "2"]]
        assert peak < 60 * 2**20

    def test_half_a_gzip_gives_its_whole_lines_and_then_the_problem(self) -> None:
        data = "".join(f"{number},{zlib.crc32(bytes(number % 200))}\n" for number in range(5_000)).encode()
        packed = gzip.compress(b"a,b\n" + data)
        result = CSV.read(packed[: len(packed) // 2], "a.csv.gz", page_bytes=1_000)
        assert "a.csv.gz is cut: its gzip data ends too early" in result.problem
        assert len(result.records) > 500
        assert result.bad == []
        assert [f"{record['a']},{record['b']}" for record in result.records] == data.decode().split("\n")[
            : len(result.records)
        ]


class TestDeclaredTypes:
    def test_values_arrive_exactly_and_what_is_none_of_the_type_is_a_bad_row(self) -> None:
        types = {"n": "LONG", "d": {"type": "DECIMAL", "precision": 5, "scale": 2}}
        result = CSV.read("n,d,t\n1,2.50,x\n,,\n1.5,1,y\n2,1.234,z\n", types=types)
        assert result.values == [{"n": 1, "d": "2.50", "t": "x"}, {"n": None, "d": None, "t": ""}]
        assert [(line, reason.split(":")[0]) for line, _, reason in result.bad] == [(4, "column n"), (5, "column d")]

    def test_columns_that_are_not_declared_are_kept_together_under_their_titles(self) -> None:
        result = CSV.read("Order ID,New One\n1,2\n", columns=["order_id"])
        assert result.values == [{"order_id": "1", "_undeclared": {"New One": "2"}}]

    def test_titles_that_are_there_twice_lose_nothing(self) -> None:
        assert CSV.read("a,x,x\n1,2,3\n", columns=["a"]).values == [{"a": "1", "_undeclared": {"x": "2", "x_2": "3"}}]


class TestPlaces:
    def test_are_offset_line_and_checksum_of_what_is_before(self) -> None:
        data = 'a,b\n1,é\n2,"x\ny"\n3,z\n'.encode()
        result = CSV.read(b"\xef\xbb\xbf" + data, page_bytes=1)
        assert [batch.place for batch in result.batches] == [
            {"offset": end, "line": line, "crc": zlib.crc32(data[:end])} for end, line in ((9, 3), (17, 5), (21, 6))
        ]
        assert sum(batch.size for batch in result.batches) == len(data) - 4

    def test_a_last_line_without_an_end_is_delivered_but_the_place_stays_before_it(self) -> None:
        whole, tail = b"a,b\n1,2\n", b'3,"x\ny"'
        result = CSV.read(whole + tail)
        assert [batch.place.get("unterminated") for batch in result.batches] == [None, True]
        place = result.batches[-1].place
        assert (place["offset"], place["line"]) == (8, 3)
        appended = CSV.read(whole + tail + b"\n5,6\n", place=place)
        assert appended.values == [{"a": "3", "b": "x\ny"}, {"a": "5", "b": "6"}]

    def test_a_checksum_that_is_not_known_stays_so(self) -> None:
        result = CSV.read("a\n1\n2\n", place={"offset": 4, "line": 3, "crc": None})
        assert (result.values, result.batches[0].place["crc"]) == ([{"a": "2"}], None)

    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("a.csv", bytes),
            ("a.csv.gz", lambda data: b"".join(gzip.compress(data[at : at + 700]) for at in range(0, len(data), 700))),
            (
                "a.csv.zst",
                lambda data: b"".join(zstandard.compress(data[at : at + 700]) for at in range(0, len(data), 700)),
            ),
            ("a.csv.bz2", lambda data: b"".join(bz2.compress(data[at : at + 700]) for at in range(0, len(data), 700))),
        ],
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
    def test_resumed_at_any_place_in_any_compression_and_encoding(self, name: str, pack: Any, encoding: str) -> None:
        text = "a,b\r\n" + "".join(f'{number},"é{"x" * (number % 40)}\n"\r\n' for number in range(200))
        data = pack(text.encode(encoding))
        settings: dict[str, Any] = {"encoding": encoding} if encoding == "cp1252" else {}
        result = CSV.read(data, name, **settings)
        assert [record["a"] for record in result.records] == [str(number) for number in range(200)]
        assert result.values[7]["b"] == "éxxxxxxx\n"
        assert check_resuming(CSV, data, name=name, page_bytes=300, **settings) > 15


def limit_records(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    for function in (csv_format.CsvReader.batches, csv_format.Lines.peek):
        monkeypatch.setitem(function.__globals__, "LONGEST_RECORD", size)
