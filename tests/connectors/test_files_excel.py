"""Excel files arrive as the README says: rows of one sheet, streamed, every cell as text."""

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import pytest
from openpyxl.utils.datetime import MAC_EPOCH

from shared.memory_profiling import resident_bytes
from tests.loading import load_module

excel_format = load_module("files", "excel_format")
ExcelReader, Target, FileProblem = excel_format.ExcelReader, excel_format.Target, excel_format.FileProblem
File = excel_format.File
UNDECLARED = {"_undeclared": "JSON"}


class InMemory:
    """A content in memory."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.file = File("t.xlsx", len(data) if size is None else size, 0, 1_769_860_800_000_000_000)
        self._data = data

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        yield self._data[start:]

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]


def saved(*rows: list[Any], edit: Callable[[Any], None] | None = None) -> bytes:
    """A workbook with one sheet of these rows, as bytes."""
    workbook: Any = openpyxl.Workbook()
    for row in rows:
        workbook.active.append(row)
    if edit:
        edit(workbook)
    file = io.BytesIO()
    workbook.save(file)
    return file.getvalue()


def with_sheet(data: bytes, sheet: str, strings: str = "") -> bytes:
    """A workbook with other XML in its sheet, and in the list of its texts, as another program would write it."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(set(old.namelist()) - {STRINGS}):
            text = old.read(name).decode()
            if name == "xl/worksheets/sheet1.xml":
                text = f'<worksheet xmlns="{MAIN}">{sheet}</worksheet>'
            if name == "[Content_Types].xml" and STRINGS not in text:
                part = f'<Override PartName="/{STRINGS}" ContentType="{STRINGS_TYPE}"/>'
                text = text.replace("</Types>", f"{part}</Types>")
            new.writestr(name, text)
        new.writestr(STRINGS, f'<sst xmlns="{MAIN}">{strings}</sst>')
    return file.getvalue()


STRINGS = "xl/sharedStrings.xml"
STRINGS_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def reader(data: bytes, **settings: Any) -> Any:
    content = InMemory(data)
    parsed = excel_format.Settings.parse({"location": "sample", "tables": "t = *.xlsx", **settings})
    return ExcelReader(content, content.file, parsed)


def read(
    data: bytes, types: dict[str, Any] | None = None, place: Any = None, **settings: Any
) -> tuple[list[dict[str, Any]], list[Any]]:
    """All records, without the columns that all have, and all bad rows."""
    opened = reader(data, **settings)
    target = Target({**(opened.columns if types is None else types), **UNDECLARED})
    records: list[dict[str, Any]] = []
    bad: list[Any] = []
    for batch in opened.batches(target, place):
        records += batch.records
        bad += batch.bad
    return records, bad


def values(data: bytes, **settings: Any) -> list[list[Any]]:
    """The values of the file's columns, record by record."""
    names = reader(data, **settings).columns
    return [[record[name] for name in names] for record in read(data, **settings)[0]]


class TestEveryCellIsText:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            ("00123", "00123"),
            (" a\nb ü😀", " a\nb ü😀"),
            ("=", "="),
            (3, "3"),
            (3.0, "3"),
            (-0.1, "-0.1"),
            (123456789012345, "123456789012345"),
            (1e20, "1e+20"),
            (True, "true"),
            (False, "false"),
            (date(2026, 1, 31), "2026-01-31"),
            (datetime(2026, 1, 31), "2026-01-31T00:00:00"),
            (datetime(2026, 1, 31, 10, 30), "2026-01-31T10:30:00"),
            (time(10, 30), "10:30:00"),
            (timedelta(hours=36, minutes=15), "36:15:00"),
            ("#N/A", "#N/A"),
            ("#DIV/0!", "#DIV/0!"),
            ("#VALUE!", "#VALUE!"),
        ],
    )
    def test_as_the_table_says(self, value: Any, text: str) -> None:
        assert values(saved(["a", "b"], [value, "x"])) == [[text, "x"]]

    def test_a_formula_is_what_it_was_when_the_file_was_saved(self) -> None:
        title, formula = '<c r="A1" t="str"><v>a</v></c>', '<c r="A2"><f>1+1</f><v>2</v></c>'
        sheet = f'<sheetData><row r="1">{title}</row><row r="2">{formula}</row></sheetData>'
        assert values(with_sheet(saved(), sheet)) == [["2"]]

    def test_texts_that_are_kept_apart_from_the_sheet(self) -> None:
        cells = '<row r="1"><c r="A1" t="s"><v>0</v></c></row><row r="2"><c r="A2" t="s"><v>1</v></c></row>'
        strings = "<si><t>a</t></si><si><r><t>rich</t></r><r><t xml:space='preserve'> text </t></r></si>"
        assert values(with_sheet(saved(), f"<sheetData>{cells}</sheetData>", strings)) == [["rich text "]]

    def test_a_date_of_1904_workbooks(self) -> None:
        def edit(workbook: Any) -> None:
            workbook.epoch = MAC_EPOCH

        assert values(saved(["a"], [date(2026, 1, 31)], edit=edit)) == [["2026-01-31"]]

    def test_a_number_that_is_no_date_is_a_bad_row(self) -> None:
        def edit(workbook: Any) -> None:
            workbook.active["A2"].number_format = "yyyy-mm-dd"

        with pytest.warns(UserWarning, match="outside the limits for dates"):
            records, bad = read(saved(["a"], [1e10], ["x"], edit=edit))
        assert [record["a"] for record in records] == ["x"]
        assert (bad[0].line, bad[0].reason[:7]) == (2, "cell A2")

    def test_a_number_beyond_all_numbers_is_a_bad_row(self) -> None:
        cells = "".join(f'<row r="{n}"><c r="A{n}"><v>{v}</v></c></row>' for n, v in ((1, 7), (2, "1E999"), (3, 8)))
        records, bad = read(with_sheet(saved(), f"<sheetData>{cells}</sheetData>"))
        assert [record["7"] for record in records] == ["8"]
        assert [(row.line, row.reason) for row in bad] == [
            (2, "cell A2 is a number larger than Excel has them: correct the cell")
        ]


class TestRows:
    def test_empty_cells_are_no_values_and_empty_rows_no_records(self) -> None:
        records, bad = read(saved(["a", "b", "c"], [], [1, None, 3], [None, None, None], ["x"]))
        assert bad == []
        assert [(record["a"], record["b"], record["c"], record["_line"]) for record in records] == [
            ("1", None, "3", 3),
            ("x", None, None, 5),
        ]
        assert records[0]["_file"] == "t.xlsx"
        assert records[0]["_modified"] == "2026-01-31T12:00:00.000000Z"

    def test_names_of_columns(self) -> None:
        data = saved(["Order ID", None, "order id", 2026, None], [1, 2, 3, 4])
        assert list(reader(data).columns.items()) == [
            ("order_id", "STRING"),
            ("column_2", "STRING"),
            ("order_id_2", "STRING"),
            ("2026", "STRING"),
        ]

    def test_no_header_and_lines_above_it(self) -> None:
        data = saved(["Report of January"], [], ["a", "b"], [1, 2])
        assert values(data, skip_lines="1") == [["1", "2"]]
        assert values(data, skip_lines="1", header="false") == [["a", "b"], ["1", "2"]]
        assert list(reader(data, skip_lines="1", header="false").columns) == ["column_1", "column_2"]

    def test_a_cell_without_a_column_is_a_bad_row(self) -> None:
        records, bad = read(saved(["a"], [1, None, "note"], [2, ""]))
        assert [record["a"] for record in records] == ["2"]
        assert (bad[0].line, bad[0].raw) == (2, '["1", null, "note"]')
        assert "behind the last of the 1 columns" in bad[0].reason

    def test_sheets_by_name(self) -> None:
        def edit(workbook: Any) -> None:
            workbook.create_sheet("Second").append(["b"])
            workbook["Second"].append([2])

        data = saved(["a"], [1], edit=edit)
        assert values(data) == [["1"]]
        assert values(data, sheet="Second") == [["2"]]
        with pytest.raises(FileProblem, match=r"^t.xlsx has no sheet 'Third': it has Sheet, Second$"):
            reader(data, sheet="Third")

    def test_a_sheet_that_tells_a_wrong_size_is_read_whole(self) -> None:
        cells = "".join(f'<row r="{n}"><c r="A{n}"><v>{n}</v></c><c r="B{n}"><v>0</v></c></row>' for n in range(1, 5))
        data = with_sheet(saved(), f'<dimension ref="A1"/><sheetData>{cells}</sheetData>')
        assert values(data, header="false") == [[str(n), "0"] for n in range(1, 5)]

    @pytest.mark.parametrize(
        ("rows", "at"),
        [
            ('<row r="3"><c r="A3"><v>3</v></c></row><row r="2"><c r="A2"><v>2</v></c></row>', 2),
            ('<row r="2"><c r="A2"><v>1</v></c></row><row r="2"><c r="B2"><v>2</v></c></row>', 2),
            ('<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>2</v></c></row>', 2),
            ('<row r="2"><c r="A2"><v>1</v></c><c r="A2"><v>2</v></c></row>', 2),
            ('<row r="2"><c r="A7"><v>1</v></c></row>', 2),
            ('<row r="0"><c r="A0"><v>1</v></c></row>', 0),
        ],
    )
    def test_rows_and_cells_out_of_order_or_there_twice_are_a_problem_of_the_file(self, rows: str, at: int) -> None:
        data = with_sheet(saved(), f'<sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row>{rows}</sheetData>')
        told = f"t.xlsx cannot be read from row {at} on: rows or cells are there twice, or not in their order"
        with pytest.raises(FileProblem, match=f"^{told}: save it again with Excel$"):
            read(data)

    @pytest.mark.parametrize("place", ['<row r="1048577"><c><v>1</v></c></row>', '<row r="9"><c r="XFE9"/></row>'])
    def test_a_place_that_no_sheet_has_is_a_problem_of_the_file(self, place: str) -> None:
        with pytest.raises(FileProblem, match="a sheet of Excel has 1,048,576 rows and 16,384 columns at most"):
            reader(with_sheet(saved(), f"<sheetData>{place}</sheetData>"))

    def test_rows_and_cells_without_a_number_follow_one_another(self) -> None:
        rows = '<row><c t="str"><v>a</v></c><c t="str"><v>b</v></c></row><row/><row><c r="B3"><v>1</v></c></row>'
        records, bad = read(with_sheet(saved(), f"<sheetData>{rows}</sheetData>"))
        assert [(record["a"], record["b"], record["_line"]) for record in records] == [(None, "1", 3)]
        assert bad == []

    def test_an_empty_sheet_has_nothing(self) -> None:
        assert (dict(reader(saved()).columns), read(saved())) == ({}, ([], []))


class TestDeclaredTypes:
    def test_text_becomes_what_is_declared_or_a_bad_row(self) -> None:
        data = saved(["n", "d", "New One"], [1, date(2026, 1, 31), "x"], ["y", None, None])
        records, bad = read(data, {"n": "LONG", "d": "NAIVE_DATE"})
        assert (records[0]["n"], records[0]["d"], records[0]["_undeclared"]) == (1, date(2026, 1, 31), {"New One": "x"})
        assert (bad[0].line, bad[0].reason[:10]) == (3, "column n: ")

    def test_titles_that_are_there_twice_lose_nothing(self) -> None:
        records, _ = read(saved(["a", "x", "x", "x_2", None], [1, 2, 3, 4], [1, 2, 3, 4]), {"a": "STRING"})
        assert [record["_undeclared"] for record in records] == [{"x": "2", "x_2": "3", "x_2_2": "4"}] * 2


class TestResuming:
    def test_from_the_place_of_any_batch_the_rest_arrives(self) -> None:
        rows: list[list[Any]] = [[n, "x" * 500] if n % 7 else [] for n in range(1, 500)]
        opened = reader(saved(["a", "b"], *rows), page_bytes="10000")
        target = Target({**opened.columns, **UNDECLARED})
        whole = [(list(batch.records), batch.place) for batch in opened.batches(target)]
        assert len(whole) > 10
        for number, (_, place) in enumerate(whole):
            rest = [record for batch in opened.batches(target, place) for record in batch.records]
            assert rest == [record for records, _ in whole[number + 1 :] for record in records]


class TestMemory:
    def test_grows_with_the_rows_by_little(self) -> None:
        sheet = "".join(
            f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{escape("text " * 20)}{n}</t></is></c></row>'
            for n in range(1, 100_000)
        )
        opened = reader(with_sheet(saved(), f'<dimension ref="A1"/><sheetData>{sheet}</sheetData>'), header="false")
        before = highest = resident_bytes()
        for batch in opened.batches(Target(opened.columns)):
            highest = max(highest, resident_bytes())
            assert batch.size < 70_000
        assert highest - before < 30e6


class TestAFileThatIsNoneIsNamed:
    def test_its_name_and_what_to_do(self) -> None:
        good = saved(["a"], *([n] for n in range(2000)))
        for data, said in [
            (b"", "cannot be read as an Excel file .*: it is none, or was not written to its end: save it again"),
            (b"a,b\n1,2\n", "cannot be read as an Excel file .*: it is none, or was not written to its end"),
            (good[: len(good) // 2], "cannot be read as an Excel file .*: it is none, or was not written to its end"),
            (b"\xd0\xcf\x11\xe0" + bytes(1000), "save it as .xlsx without one"),
            (
                with_sheet(good, "<sheetData><row>"),
                "an Excel file .*: it is damaged .*: save it again",
            ),
            (
                with_sheet(good, '<sheetData><row r="1"><c r="A1" t="s"><v>7</v></c></row></sheetData>'),
                "cannot be read",
            ),
            (with_sheet(good, '<sheetData><row r="1"><c r="A1"><v>x</v></c></row></sheetData>'), "cannot be read"),
        ]:
            with pytest.raises(FileProblem, match=f"^t.xlsx .*{said}"):
                read(data)

    @pytest.mark.parametrize(("at", "value"), [(8, 0x1), (8, 0x20), (10, 99)])
    def test_parts_that_are_encrypted_or_of_an_unknown_compression(self, at: int, value: int) -> None:
        data = bytearray(saved(["a"], [1]))
        entry = data.index(b"PK\x01\x02")
        while entry >= 0:
            data[entry + at] = value
            entry = data.find(b"PK\x01\x02", entry + 1)
        with pytest.raises(
            FileProblem, match="^t.xlsx cannot be read .*: a part of it is encrypted, or written as Excel does not"
        ):
            reader(bytes(data))

    def test_an_archive_of_something_else(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.csv", "a\n1\n")
        with pytest.raises(FileProblem, match="^t.xlsx cannot be read .*: it is none, or is damaged: save"):
            reader(file.getvalue())

    def test_a_length_that_the_server_does_not_tell(self) -> None:
        content = InMemory(saved(["a"]), size=-1)
        with pytest.raises(FileProblem, match="the server does not tell its length"):
            ExcelReader(content, content.file, reader(saved(["a"]))._settings)
