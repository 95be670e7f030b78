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

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import count, zip_longest
from typing import Any
from xml.etree.ElementTree import ParseError

import openpyxl
from openpyxl.styles.numbers import is_datetime
from openpyxl.utils.exceptions import InvalidFileException

from batches import BadRow, Batch, Place, Target
from column_names import column_names
from content import Content, File, FileProblem, RandomAccess
from service_spec import FILE, LINE, MODIFIED, Settings
from shared.pages import Record
from shared.values import UNDECLARED, ColumnType, dump_json
from text_values import TextConverter, modified_text, text_converter

# How the formats before 2007 begin, and encrypted files of today.
_OLD = b"\xd0\xcf\x11\xe0"
# What openpyxl stumbles over where a part of the file is missing or is another: it says nothing of the file.
_STUMBLES = (AttributeError, IndexError, KeyError, TypeError)
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ParseError, InvalidFileException, ValueError, *_STUMBLES)
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
                _refuse_no_dates(cells)
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
        rows = self._sheet.iter_rows()
        for line in count(1):
            with self._told():
                cells = next(rows, None)
            if cells is None:
                return
            if any(cell.value not in (None, "") for cell in cells):
                yield line, cells

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except _DAMAGED as problem:
            if isinstance(problem, zipfile.BadZipFile):
                reason = "it is none, or was not written to its end"
            elif isinstance(problem, _STUMBLES):
                reason = "it is none, or is damaged"
            else:
                reason = f"it is damaged ({problem})"
            raise FileProblem(
                f"{self.name} cannot be read as an Excel file (.xlsx): {reason}: save it again, and upload it"
            ) from problem


class _Records:
    """Makes records of rows of texts, for the columns of a target."""

    def __init__(self, names: list[str], titles: list[str], target: Target, of_file: Record) -> None:
        self._names, self._of_file = names, of_file
        self._titles = dict(zip(names, titles, strict=True))
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
            record[UNDECLARED] = {self._titles[name] or name: values[name] for name in self._undeclared}
        return {**record, **self._of_file, LINE: line}


def _refuse_no_dates(cells: Sequence[Any]) -> None:
    """Raises ValueError for a number that a cell shows as a date where there is none.

    openpyxl gives it as an error: a cell that has this very error and is formatted as a date cannot be told from it.
    """
    for cell in cells:
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
