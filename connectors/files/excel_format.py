"""Excel files: the rows of one sheet, one after another, every cell as text.

    cell                   text
    text                   as it is
    number                 its digits: 3, 0.1, 1e+20
    boolean                true, false
    date, date and time    2026-01-31 where the cell shows no time, else 2026-01-31T10:30:00
    time, duration         10:30:00, and hours beyond a day as 36:15:00
    formula                what it was when the file was saved
    error                  #N/A, #DIV/0! and the like
    nothing                no value (NULL)

The texts of all cells are in memory, as Excel keeps them apart from the sheets: a million different ones take about
170 MB. Of the sheets, nothing but about 100 bytes for each row read is, and a sheet has 1,048,576 rows at most.
"""

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import pairwise, zip_longest
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.cell.read_only import EMPTY_CELL, ReadOnlyCell
from openpyxl.styles.numbers import is_datetime
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.worksheet._reader import WorkSheetParser

from batches import BadRow, Batch, Place, Target
from column_names import column_names, distinct_titles
from content import Content, File, FileProblem, RandomAccess
from service_spec import FILE, LINE, MODIFIED, Settings
from shared.pages import Record
from shared.values import UNDECLARED, ColumnType, dump_json
from text_values import TextConverter, modified_text, text_converter

# How the formats before 2007 begin, and encrypted files of today.
_OLD = b"\xd0\xcf\x11\xe0"
# What openpyxl stumbles over where a part of the file is missing or is another: it says nothing of the file.
_STUMBLES = (AttributeError, IndexError, KeyError, TypeError)
# What zipfile raises for a part that is encrypted, and its NotImplementedError for one of an unknown compression.
_FOREIGN = (RuntimeError, lzma.LZMAError)
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, EOFError, ParseError, InvalidFileException, ValueError, *_STUMBLES, *_FOREIGN,
)  # fmt: skip
_MOST_ROWS, _MOST_COLUMNS = 1_048_576, 16_384  # of a sheet of Excel
_NO_DATE = "#VALUE!"
_RAW_CHARACTERS = 10_000
_LARGEST_WHOLE = 10**15  # written without an exponent
_ROW_BYTES = 100  # a row takes at least about so much memory

Texts = list[str | None]


class ExcelReader:
    """One sheet of an Excel file. Its place is {"row": rows of the sheet before}; `_line` is the number Excel shows.

    Rows without any value are none. Raises FileProblem for a file that is no workbook, is damaged, or lacks the sheet.
    """

    def __init__(self, content: Content, file: File, settings: Settings, name: str = "") -> None:
        self.name = name or file.name
        self._file, self._settings = file, settings
        if file.size < 0:
            raise FileProblem(f"{self.name}: the server does not tell its length, which Excel files need")
        if content.read(0, len(_OLD)) == _OLD:
            raise FileProblem(
                f"{self.name} is a workbook with a password, or of before Excel 2007: save it as .xlsx without one"
            )
        with self._told():
            self._workbook = openpyxl.load_workbook(
                RandomAccess(content), read_only=True, data_only=True, keep_links=False
            )
            self._sheet = self._named_sheet()
            # What a sheet says of its size may be wrong, and rows would be cut to it.
            self._sheet.reset_dimensions()
        self._titles, self._first_row = self._header()
        self._names = column_names(self._titles)
        self.columns: Mapping[str, ColumnType] = dict.fromkeys(self._names, "STRING")

    def batches(self, target: Target, place: Place | None = None) -> Iterator[Batch]:
        begun = max(int(place["row"]) if place else 0, self._first_row)
        make = _Records(self._names, self._titles, target, {FILE: self.name, MODIFIED: modified_text(self._file)})
        records: list[Record] = []
        bad: list[BadRow] = []
        size = line = 0
        for line, cells in self._rows():
            if line <= begun:
                continue
            texts = [_text(cell) for cell in cells]
            try:
                _refuse_lost_numbers(cells)
                records.append(make.record(line, texts))
            except ValueError as problem:
                bad.append(BadRow(line, dump_json(texts)[:_RAW_CHARACTERS], str(problem)))
            size += _ROW_BYTES + sum(len(text) for text in texts if text)
            if size >= self._settings.page_bytes:
                yield Batch(records, {"row": line}, bad, size)
                records, bad, size = [], [], 0
        if records or bad:
            yield Batch(records, {"row": line}, bad, size)

    def _named_sheet(self) -> Any:
        sheets = {sheet.title: sheet for sheet in self._workbook.worksheets}
        wanted = self._settings.sheet or next(iter(sheets), "")
        if wanted not in sheets:
            raise FileProblem(f"{self.name} has no sheet {wanted!r}: it has {', '.join(sheets) or 'none'}")
        return sheets[wanted]

    def _header(self) -> tuple[list[str], int]:
        """The columns' titles, and how many rows are above the first record."""
        for line, cells in self._rows():
            if line > self._settings.skip_lines:
                texts = [_text(cell) or "" for cell in cells]
                while not texts[-1]:
                    texts.pop()
                return (texts, line) if self._settings.header else ([""] * len(texts), line - 1)
        return [], 0

    def _rows(self) -> Iterator[tuple[int, Sequence[Any]]]:
        """The number and the cells of each row that has any value."""
        rows = _rows_as_written(self._sheet)
        before = 0
        while True:
            with self._told():
                row = next(rows, None)
            if row is None:
                return
            line, cells = row
            self._refuse_disorder(line, before, cells)
            before = line
            if any(cell.value not in (None, "") for cell in cells):
                yield line, _in_columns(cells)

    def _refuse_disorder(self, line: int, before: int, cells: Sequence[Any]) -> None:
        """Raises FileProblem for a row that is not behind the one `before`, has cells that are not in their order or
        are of another row, or is larger than Excel has them."""
        columns = [cell.column for cell in cells]
        is_ordered = line > before and all(left < right for left, right in pairwise(columns))
        if not is_ordered or any(cell.row != line for cell in cells):
            reason = "rows or cells are there twice, or not in their order"
        elif line > _MOST_ROWS or (columns and columns[-1] > _MOST_COLUMNS):
            reason = f"a sheet of Excel has {_MOST_ROWS:,} rows and {_MOST_COLUMNS:,} columns at most"
        else:
            return
        raise FileProblem(f"{self.name} cannot be read from row {line:,} on: {reason}: save it again with Excel")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as problem:
            if isinstance(problem, zipfile.BadZipFile):
                reason = "it is none, or was not written to its end"
            elif isinstance(problem, _STUMBLES):
                reason = "it is none, or is damaged"
            elif isinstance(problem, _FOREIGN):
                reason = f"a part of it is encrypted, or written as Excel does not ({problem})"
            else:
                reason = f"it is damaged ({problem})"
            raise FileProblem(
                f"{self.name} cannot be read as an Excel file (.xlsx): {reason}: save it again, and upload it"
            ) from problem


class _Records:
    """Makes records of rows of texts, for the columns of a target."""

    def __init__(self, names: list[str], titles: list[str], target: Target, of_file: Record) -> None:
        self._names, self._of_file = names, of_file
        self._titles = dict(zip(names, distinct_titles(titles, names), strict=True))
        self._convert: dict[str, TextConverter] = {
            name: text_converter(target.columns[name]) for name in names if name in target.columns
        }
        self._undeclared = [name for name in names if name not in target.columns]

    def record(self, line: int, texts: Texts) -> Record:
        """The record of a row; raises ValueError, naming the column, where it has none."""
        if any(texts[len(self._names) :]):
            raise ValueError(f"has a cell behind the last of the {len(self._names)} columns: give it a title")
        values = dict(zip_longest(self._names, texts[: len(self._names)]))
        record: Record = {}
        for name, convert in self._convert.items():
            text = values[name]
            try:
                record[name] = None if text is None else convert(text)
            except ValueError as problem:
                raise ValueError(f"column {name}: {problem}") from None
        if self._undeclared:
            record[UNDECLARED] = {self._titles[name]: values[name] for name in self._undeclared}
        return {**record, **self._of_file, LINE: line}


def _rows_as_written(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The number and the cells of each row, as they stand in the sheet: openpyxl's own rows leave out those that are
    not in their order."""
    book = sheet.parent
    with sheet._get_source() as source:
        parser = WorkSheetParser(
            source,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for line, cells in parser.parse():
            yield line, [ReadOnlyCell(sheet, **cell) for cell in cells]


def _in_columns(cells: Sequence[Any]) -> list[Any]:
    """The cells of a row, each at its column, up to the last."""
    row = [EMPTY_CELL] * cells[-1].column
    for cell in cells:
        row[cell.column - 1] = cell
    return row


def _refuse_lost_numbers(cells: Sequence[Any]) -> None:
    """Raises ValueError for a number that a cell shows as a date where there is none, and for one that no cell holds.

    openpyxl gives the first as an error: a cell that has this very error and is formatted as a date cannot be told
    from it.
    """
    for cell in cells:
        if isinstance(cell.value, float) and not math.isfinite(cell.value):
            raise ValueError(f"cell {cell.coordinate} is a number larger than Excel has them: correct the cell")
        if cell.value == _NO_DATE and is_datetime(cell.number_format):
            raise ValueError(f"cell {cell.coordinate} is {_NO_DATE}, or a number that is no date: correct the cell")


def _text(cell: Any) -> str | None:
    """A cell's value as text; None for an empty one."""
    value = cell.value
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < _LARGEST_WHOLE else repr(value)
    if isinstance(value, datetime):
        is_day = value.time() == time() and is_datetime(cell.number_format) == "date"
        return value.date().isoformat() if is_day else value.isoformat()
    if isinstance(value, timedelta):
        return _hours(value)
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _hours(duration: timedelta) -> str:
    """A duration as Excel shows it: hours, minutes and seconds.

    >>> _hours(timedelta(days=1, hours=12, minutes=15, milliseconds=500))
    '36:15:00.500000'
    """
    minutes, rest = divmod(abs(duration), timedelta(minutes=1))
    sign = "-" if duration < timedelta() else ""
    seconds = f"{rest.seconds:02}" + (f".{rest.microseconds:06}" if rest.microseconds else "")
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds}"
