"""CSV as batches of records, exactly as written, from any byte at which a record begins.

A place in a file is {"offset": byte of the stream at which the next record begins, "line": its line, from 1,
"crc": CRC-32 of the stream before it}, and further, where they are needed:

    "unterminated": true  the file ends within the record that begins here, or without a line end behind it: more of it
                          may come, so what there is of it is delivered, but the place stays before it
    "apart_until": byte   up to there every line is a record of its own, as a quote before it was never closed
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from batches import BadRow, Batch, Place, Target
from column_names import MOST_COLUMNS, column_names, distinct_titles
from content import File
from service_spec import AUTO, FILE, LINE, MODIFIED, TAB, Settings
from shared.pages import Record
from shared.values import UNDECLARED, ColumnType, converter
from text_stream import LONGEST_RECORD, SHOWN, Lines, TextStream, no_text, shown, too_long, without_compression
from text_values import TEXT_TYPES, modified_text, text_converter

_SAMPLE = 65_536  # bytes in which the header is looked for, and the delimiter
_LONG_TEXT = 1_048_576
_DELIMITERS = ",\t;|"
_OPEN = "a quote is not closed: close it, or double the quote inside the field"
_LONE = "a quote stands alone in a line behind one that was not closed: close it"
_NUL = "holds a NUL character, which destinations cannot store: remove it at the source"
_Row = list[str] | str | None
csv.field_size_limit(LONGEST_RECORD)


class CsvReader:
    """One CSV file. Raises FileProblem for one whose header cannot be read; what else is wrong is a BadRow."""

    def __init__(self, stream: TextStream, file: File, settings: Settings) -> None:
        self.name = stream.name
        self._stream, self._file, self._settings = stream, file, settings
        lines = Lines(stream.chunks(0), {"offset": 0, "line": 1, "crc": 0})
        for _ in range(settings.skip_lines):
            lines.skip_line()
        self._parser = _Parser(settings, self._delimiter(lines))
        titles = self._header(lines)
        self._start = lines.place
        self.columns: Mapping[str, ColumnType] = dict.fromkeys(column_names(titles), "STRING")
        self._parser.width = len(titles)
        self._titles = distinct_titles(titles, list(self.columns))

    def batches(self, target: Target, place: Place | None = None) -> Iterator[Batch]:
        """The records from a place on, in batches of about `page_bytes` of text."""
        if not self.columns:
            return
        make = _RecordMaker(self, self._titles, target, self._file, self._settings, self._stream.encoding)
        start = place or self._start
        lines = Lines(self._stream.chunks(start["offset"]), start)
        for block, size, begin_next in _Blocks(lines, self._parser, self._settings.page_bytes, start):
            records, bad = make.records(block)
            yield Batch(records, begin_next, bad, size)

    def _delimiter(self, lines: Lines) -> str:
        declared = self._settings.delimiter
        if declared != AUTO:
            return "\t" if declared == TAB else declared
        if without_compression(self.name).lower().endswith((".tsv", ".tab")):
            return "\t"
        sample = lines.peek(_SAMPLE) or b""
        marks = (self._settings.quote, self._settings.escape)
        parsers = [_Parser(self._settings, delimiter) for delimiter in _DELIMITERS if delimiter not in marks]
        # The first of those that fit equally well.
        return max(parsers, key=lambda parser: _fit(parser.parse(sample, 1))).delimiter

    def _header(self, lines: Lines) -> list[str]:
        """The titles of the columns; `lines` is then where the first record begins."""
        size = _SAMPLE
        while data := lines.peek(size):
            block = self._parser.parse(data, lines.line)
            for number, row in enumerate(block.rows):
                if not row:
                    continue
                self._refuse_header(row, block.line_of(number))
                if not self._settings.header:
                    return [""] * len(row)
                lines.take(block.up_to(block.ends[number]))
                return list(row)
            if not block.is_open:
                lines.take(data)
            elif size < LONGEST_RECORD and not lines.is_all(data):
                size *= 2
            else:
                self._refuse_header(_OPEN, lines.line)
        if data is None:
            self._refuse_header(too_long(), lines.line)
        return []

    def _refuse_header(self, row: list[str] | str, line: int) -> None:
        """Raises FileProblem for a first row that is none, is too wide, or holds what is no text."""
        if isinstance(row, str):
            raise self._stream.problem(f"cannot be read, line {line}: {row}")
        if len(row) > MOST_COLUMNS:
            raise self._stream.problem(
                f"has {len(row):,} columns in line {line}, and at most {MOST_COLUMNS:,} can be read: "
                "correct the file, or the setting delimiter"
            )
        try:
            _check(row, self._stream.encoding)
        except ValueError as reason:
            raise self._stream.problem(f"cannot be read, line {line}: {reason}") from None


@dataclass
class _Block:
    """Some whole lines of a file, and the rows that they are.

    line     of the file, in which the block begins
    rows     the fields of each record, no fields for a blank line, or what is wrong with it; None for a comment
    ends     how many of the block's lines there are up to the end of each record
    is_open  whether the lines behind the last record are the start of one whose end is not in the block
    is_text  whether all of it is valid text
    """

    data: bytes
    line: int
    rows: list[_Row]
    ends: Sequence[int]
    is_open: bool = False
    is_text: bool = True

    def line_of(self, number: int) -> int:
        """The line of the file in which a record begins."""
        return self.line + (self.ends[number - 1] if number else 0)

    @property
    def lines(self) -> Sequence[int]:
        """The line of the file in which each record begins."""
        if isinstance(self.ends, range):
            return range(self.line, self.line + len(self.ends))
        return [self.line, *(self.line + end for end in self.ends[:-1])]

    def raw(self, number: int) -> str:
        """What is written for a record, as text that every destination keeps."""
        start = self.ends[number - 1] if number else 0
        data = b"\n".join(self._raw_lines[start : self.ends[number]])
        return shown(data)

    def text(self, start: int, end: int) -> str:
        """The text of some of the block's lines; bytes that are none are half surrogates in it."""
        return b"\n".join(self._raw_lines[start:end]).decode("utf-8", "surrogateescape")

    def without_last(self) -> bytes:
        """Drops the record that has no end, and gives the data before it."""
        if not self.is_open:
            self.rows.pop()
            self.ends = self.ends[:-1]
        return self.up_to(self.ends[-1])

    def up_to(self, lines: int) -> bytes:
        """The data of the first so many lines."""
        parts = self.data.split(b"\n", lines)
        return self.data[: len(self.data) - len(parts[lines])] if lines < len(parts) else self.data

    @cached_property
    def _raw_lines(self) -> list[bytes]:
        return self.data.split(b"\n")


class _Parser:
    """Text to rows, as the settings say it is written.

    width  how many fields a record has; 0 while that is not known
    """

    def __init__(self, settings: Settings, delimiter: str) -> None:
        self.delimiter = delimiter
        self.width = 0
        self._quote = "" if settings.quote == "none" else settings.quote
        self._escape = "" if settings.escape == "none" else settings.escape
        self._comment = settings.comment
        self._has_long_records = False  # over several lines

    def parse(self, data: bytes, line: int, is_apart: bool = False) -> _Block:
        """The rows of some lines, the first of which is `line` of the file; `is_apart`: each line is a record."""
        try:
            text, is_text = data.decode(), b"\0" not in data
        except UnicodeDecodeError:
            text, is_text = data.decode("utf-8", "surrogateescape"), False
        if is_apart:
            block = self._apart(data, line, text)
        else:
            block = self._plain(data, line, text) or self._marked(data, line, text)
        block.is_text = is_text
        return block

    def _plain(self, data: bytes, line: int, text: str) -> _Block | None:
        """Each line is a record: the fast way for most files. None if one is not, or cannot be read."""
        has_marks = self._quote and self._quote in text
        if (has_marks and self._has_long_records) or self._has_comments(text):
            return None
        reader = self._reader(_lines_of(text))
        try:
            rows: list[_Row] = [*reader]
        except csv.Error:
            return None
        if reader.line_num != len(rows):
            self._has_long_records = True  # so have its other blocks, most likely
            return None
        return _Block(data, line, rows, range(1, len(rows) + 1))

    def _has_comments(self, text: str) -> bool:
        comment = self._comment
        return bool(comment) and (text.startswith(comment) or f"\n{comment}" in text)

    def _marked(self, data: bytes, line: int, text: str) -> _Block:
        """Records may go over several lines, be faulty, or stand between comments."""
        comments = _CommentedLines(text, self._comment) if self._comment else None
        reader = self._reader(comments or _lines_of(text))
        rows: list[_Row] = []
        ends: list[int] = []
        block = _Block(data, line, rows, ends)
        while True:
            try:
                for row in reader:
                    rows.append(comments.checked(row) if comments else row)
                    ends.append(reader.line_num)
                break
            except csv.Error as error:
                if _is_open(error):
                    block.is_open = True
                    break
                rows.append(_in_words(error))
                ends.append(reader.line_num)
                if comments:
                    comments.checked([])
        return self._without_long_faults(block)

    def _without_long_faults(self, block: _Block) -> _Block:
        """The block with each line a record of its own where a faulty one of several lines is longer than is shown:
        it began with a quote that was not closed where it should, and every other line may be all right."""
        if not block.ends or block.ends[-1] == len(block.ends):
            return block
        rows: list[_Row] = []
        ends: list[int] = []
        start = 0
        for row, end in zip(block.rows, block.ends, strict=True):
            is_fault = isinstance(row, str) or (self.width and row and len(row) != self.width)
            if is_fault and end - start > 1 and len(text := block.text(start, end)) > SHOWN:
                rows += self._rows_apart(text.split("\n"))
                ends += range(start + 1, end + 1)
            else:
                rows.append(row)
                ends.append(end)
            start = end
        block.rows, block.ends = rows, ends
        return block

    def _apart(self, data: bytes, line: int, text: str) -> _Block:
        rows = self._rows_apart(text.removesuffix("\n").split("\n"))
        return _Block(data, line, rows, range(1, len(rows) + 1))

    def _rows_apart(self, lines: Iterable[str]) -> list[_Row]:
        return [self._row_apart(line) for line in lines]

    def _row_apart(self, line: str) -> _Row:
        if self._comment and line.startswith(self._comment):
            return None
        try:
            row = next(self._reader([line]))
        except csv.Error as error:
            return _in_words(error)
        return _LONE if self._quote and line.count(self._quote) % 2 else row

    def _reader(self, lines: Iterable[str]) -> Any:
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self._quote or None,
            escapechar=self._escape or None,
            quoting=csv.QUOTE_MINIMAL if self._quote else csv.QUOTE_NONE,
            strict=True,
        )


class _CommentedLines:
    """The lines of a text, of which those that are comments are empty. A quoted field may hold what looks like one."""

    def __init__(self, text: str, comment: str) -> None:
        self._lines = _lines_of(text)
        self._comment = comment
        self._begins_record = True
        self._is_comment = False

    def __iter__(self) -> "_CommentedLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._is_comment = self._begins_record and line.startswith(self._comment)
        self._begins_record = False
        return "\n" if self._is_comment else line

    def checked(self, row: list[str]) -> list[str] | None:
        """The row that was made of the lines since the last; None if that was a comment."""
        self._begins_record = True
        return None if self._is_comment else row


class _Blocks:
    """The rows from a place on, block after block, with its bytes and the place of the next."""

    def __init__(self, lines: Lines, parser: _Parser, page_bytes: int, start: Place) -> None:
        self._lines, self._parser, self._page_bytes = lines, parser, page_bytes
        self._size = page_bytes  # of the lines that are parsed together: more for a record that is longer
        self._apart_until: int = start.get("apart_until", 0)
        self._unclosed: Place | None = None  # the place of a quote that is not closed up to the end of the file

    def __iter__(self) -> Iterator[tuple[_Block, int, Place]]:
        while (data := self._peek()) != b"":
            found = self._too_long() if data is None else self._parsed(data)
            if found:
                yield found

    def _peek(self) -> bytes | None:
        left_apart = self._apart_until - self._lines.offset
        return self._lines.peek(min(self._size, left_apart) if left_apart > 0 else self._size)

    def _parsed(self, data: bytes) -> tuple[_Block, int, Place] | None:
        """The records of some lines, which are taken; None if these are the start of one, and more has to be parsed."""
        lines = self._lines
        block = self._parser.parse(data, lines.line, is_apart=lines.offset < self._apart_until)
        if block.is_open and not block.rows:
            self._parse_more(data)
            return None
        self._size = self._page_bytes
        if block.is_open or (not data.endswith(b"\n") and len(block.rows) > 1):
            data = block.without_last()
        begin = lines.place
        lines.take(data)
        return block, len(data), self._place_behind(begin, has_end=data.endswith(b"\n"))

    def _parse_more(self, data: bytes) -> None:
        """Goes on with twice the data; where that is too much or all, with each line of it as a record of its own."""
        is_all = self._lines.is_all(data)
        if self._size < LONGEST_RECORD and not is_all:
            self._size = min(2 * self._size, LONGEST_RECORD)
            return
        self._size = self._page_bytes
        self._apart_until = self._lines.offset + len(data)
        self._unclosed = _unterminated(self._lines.place) if is_all else None

    def _too_long(self) -> tuple[_Block, int, Place]:
        """A line that is longer than any record."""
        lines, begin = self._lines, self._lines.place
        block = _Block(lines.start(4 * SHOWN), lines.line, [too_long()], range(1, 2))
        has_end = lines.skip_line()
        return block, lines.offset - begin["offset"], self._place_behind(begin, has_end)

    def _place_behind(self, begin: Place, has_end: bool) -> Place:
        """The place of the next block; `has_end`: whether the block that began at a place ends with a line end."""
        if self._unclosed or not has_end:
            return self._unclosed or _unterminated(begin)
        place = self._lines.place
        if self._lines.offset < self._apart_until:
            place["apart_until"] = self._apart_until
        return place


def _unterminated(place: Place) -> Place:
    return {**place, "unterminated": True}


class _RecordMaker:
    """Rows to records: every value as it is written, or as it arrives exactly in a column of a declared type."""

    def __init__(
        self, reader: CsvReader, titles: Sequence[str], target: Target, file: File, settings: Settings, encoding: str
    ) -> None:
        self._name, self._modified = reader.name, modified_text(file)
        self._columns = list(reader.columns)
        self._encoding = encoding
        self._null = settings.null_text
        types = target.columns
        self._convert = {
            place: (column, text_converter(types[column]))
            for place, column in enumerate(self._columns)
            if column in types and types[column] not in TEXT_TYPES
        }
        self._undeclared = {
            place: title
            for place, (title, column) in enumerate(zip(titles, self._columns, strict=True))
            if column not in types
        }
        self._to_undeclared = converter(types.get(UNDECLARED, "JSON"))

    def records(self, block: _Block) -> tuple[Iterable[Record], list[BadRow]]:
        """The records of a block, and what is none."""
        width = len(self._columns)
        is_text = block.is_text and not (self._convert or self._undeclared)
        has_nulls = self._null and self._null.encode() in block.data
        if is_text and not has_nulls and _are_rows(block.rows, width):
            return self._texts(block), []
        records, bad = [], []
        for number, (row, line) in enumerate(zip(block.rows, block.lines, strict=True)):
            fields = [""] if row == [] and width == 1 else row
            if fields is None or fields == []:
                continue
            try:
                record = self._record(fields, block.is_text)
            except ValueError as reason:
                bad.append(BadRow(line, block.raw(number), str(reason)))
                continue
            record[FILE], record[LINE], record[MODIFIED] = self._name, line, self._modified
            records.append(record)
        return records, bad

    def _texts(self, block: _Block) -> Iterator[Record]:
        """The records where all is text and nothing is wrong: as little as can be is done for each."""
        columns, name, modified = self._columns, self._name, self._modified
        for row, line in zip(block.rows, block.lines, strict=True):
            record: Record = dict(zip(columns, row, strict=False))  # type: ignore[arg-type]  # no row is a fault here
            record[FILE] = name
            record[LINE] = line
            record[MODIFIED] = modified
            yield record

    def _record(self, row: list[str] | str, is_text: bool) -> Record:
        """The record of a row; raises ValueError for what is none."""
        if isinstance(row, str):
            raise ValueError(row)
        if len(row) != len(self._columns):
            raise ValueError(
                f"{len(row)} fields where the header has {len(self._columns)}: "
                "correct the line, or quote the field that holds the delimiter"
            )
        if not is_text:
            _check(row, self._encoding)
        null = self._null
        fields = [None if field == null else field for field in row] if null else row
        record: Record = dict(zip(self._columns, fields, strict=True))
        for place, (column, convert) in self._convert.items():
            field = fields[place]
            if field is not None:
                try:
                    record[column] = convert(field)
                except ValueError as problem:
                    raise ValueError(f"column {column}: {problem}") from None
        if self._undeclared:
            for place in self._undeclared:
                del record[self._columns[place]]
            record[UNDECLARED] = self._to_undeclared(
                {title: fields[place] for place, title in self._undeclared.items()}
            )
        return record


def _lines_of(text: str) -> Iterator[str]:
    """The lines of a text. StringIO is fast, but takes four bytes a character, which is much for a very long record."""
    return io.StringIO(text, newline="\n") if len(text) <= _LONG_TEXT else _cut_lines(text)


def _cut_lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _are_rows(rows: list[_Row], width: int) -> bool:
    """Whether each row has so many fields, and none is a fault, a comment or blank."""
    return set(map(type, rows)) <= {list} and set(map(len, rows)) <= {width}  # type: ignore[arg-type]


def _check(row: list[str], encoding: str) -> None:
    """Raises ValueError for a field that is no text, or none that destinations keep."""
    for field in row:
        if "\0" in field:
            raise ValueError(_NUL)
        try:
            field.encode()
        except UnicodeEncodeError:
            raise ValueError(no_text(encoding)) from None


def _fit(block: _Block) -> tuple[float, int]:
    """How well a delimiter fits: the share of rows with as many fields as the first, and their number."""
    widths = [len(row) for row in block.rows if isinstance(row, list) and row]
    if not widths or widths[0] == 1:
        return (0.0, 0)
    return (widths.count(widths[0]) / len(block.rows), widths[0])


def _is_open(error: csv.Error) -> bool:
    return "unexpected end of data" in str(error)


def _in_words(error: csv.Error) -> str:
    """What the reader's error means for the person who has the file."""
    if _is_open(error):
        return _OPEN
    if "new-line character" in str(error):
        return "a carriage return stands alone: end the lines with LF or CRLF, or quote the field that holds it"
    if "field limit" in str(error):
        return too_long()
    return f"{error}: is a quote not closed, or not doubled inside a field?"
