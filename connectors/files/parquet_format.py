"""Parquet files: a few thousand rows at a time, whatever the size of their row groups, from any row on."""

from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import repeat
from typing import Any, BinaryIO, cast

from arro3.core import RecordBatch
from arro3.io import read_parquet

from batches import BadRow, Batch, Place, Target
from column_names import column_names
from content import Content, File, FileProblem, SeekableFile
from parquet_columns import (
    INT96,
    ArrowProblem,
    FileType,
    Refusals,
    Values,
    arrow_problems,
    column_type,
    exact_json_values,
    json_values,
    values_of,
    values_size,
)
from parquet_footer import ENCRYPTED_MAGIC, MAGIC, TAIL_BYTES, Footer, FooterProblem, RowGroup
from service_spec import FILE, LINE, MODIFIED, Settings
from shared.errors import SourceError
from shared.pages import Record
from shared.values import UNDECLARED, ColumnType, dump_json
from text_values import modified_text

_FIRST_READ = 65_536  # from the end of the file: most footers are in it
_LONGEST_FOOTER = 128 * 1_048_576
_WHOLE_GROUP = 8 * 1_048_576  # bytes of a row group that are fetched at once
_WINDOWS = 8 * 1_048_576  # bytes of all columns' windows into a larger row group
_SMALLEST_WINDOW, _LARGEST_WINDOW = 32_768, 1_048_576
# Rows decoded together: as many as make about so many bytes of Arrow's.
_BATCH_BYTES = 500_000
_MOST_ROWS, _FIRST_ROWS = 2_048, 16
_FASTER = 16  # times as many rows as before at most: the next ones may be wider
_TOO_LARGE = 4  # times as many rows as fit are too many
_RAW_CHARACTERS = 10_000

# A column: its name as delivered, its name in the file, its type.
_Column = tuple[str, str, FileType]


class ParquetReader:
    """One Parquet file. Its place is {"row": number of rows before}; `_line` is the number of a row, from 1.

    Raises FileProblem for a file that is none, or is damaged or encrypted.
    """

    def __init__(self, content: Content, file: File, settings: Settings, name: str = "") -> None:
        self.name = name or file.name
        self._content, self._file = content, file
        self._footer_at, footer = self._read_footer()
        try:
            self._footer, self._fields = self._opened(footer)
        except FileProblem:
            # The types of a writer's library, noted beside those of Parquet, may be some that this one cannot read.
            with self._told():
                footer = footer.without_metadata()
            self._footer, self._fields = self._opened(footer)
        self.columns: Mapping[str, ColumnType] = {name: column_type(type_) for name, _, type_ in self._fields}

    def batches(self, target: Target, place: Place | None = None) -> Iterator[Batch]:
        with self._told():
            records = _Records(self._fields, target, {FILE: self.name, MODIFIED: modified_text(self._file)})
        begun = int(place["row"]) if place else 0
        before = 0
        for group in self._footer.row_groups:
            if before + group.rows > begun:
                for first, batch in self._batches_of(group, max(0, begun - before)):
                    with self._told():
                        made = records.batch(batch, before + first)
                    yield made
            before += group.rows

    def _batches_of(self, group: RowGroup, done: int) -> Iterator[tuple[int, RecordBatch]]:
        """The rows of a row group behind the first `done`, with the number of the first of them in the group."""
        with self._told():
            file = self._as_file(self._footer, group)
        rows = min(self._rows_that_fit(file), _rows_of_bytes(group.rows, group.size))
        batches = self._decoded(file, rows, done)
        while (batch := next(batches, None)) is not None:
            fitting = _fitting(batch)
            is_large = rows > _TOO_LARGE * fitting
            step = fitting if is_large else batch.num_rows
            for first in range(0, batch.num_rows, step):
                yield done + first, batch.slice(first, min(step, batch.num_rows - first))
            done += batch.num_rows
            if is_large and done < group.rows:
                rows = fitting
                batches = self._decoded(file, rows, done)  # the group is begun again
        if done != group.rows:
            raise FileProblem(f"{self.name} has fewer rows than it says: was it written to its end?")

    def _rows_that_fit(self, file: "_GroupFile") -> int:
        """How many rows are decoded together, going by the first ones of a row group."""
        rows = _FIRST_ROWS
        while True:
            with closing(self._decoded(file, rows, 0)) as batches:
                batch = next(batches, None)
            fitting = _fitting(batch) if batch else rows
            if fitting <= rows or batch is None or batch.num_rows < rows:
                return fitting
            rows = min(fitting, _FASTER * rows)

    def _decoded(self, file: "_GroupFile", rows: int, skip: int) -> Generator[RecordBatch, None, None]:
        """The row group's batches of so many rows, without the first rows of it."""
        with self._told(file):
            reader = read_parquet(cast(BinaryIO, file), batch_size=rows)
        while True:
            with self._told(file):
                batch = next(reader, None)
            if batch is None:
                return
            dropped = min(skip, batch.num_rows)
            skip -= dropped
            if dropped < batch.num_rows:
                yield batch.slice(dropped) if dropped else batch

    def _opened(self, footer: Footer) -> tuple[Footer, list[_Column]]:
        """The footer with which row groups are read, and the columns that it names."""
        int96 = footer.int96
        with self._told():
            footer = footer.with_int96_as_bytes()
            schema = read_parquet(cast(BinaryIO, self._as_file(footer, None))).schema
        types: list[FileType] = [INT96 if number in int96 else type_ for number, type_ in enumerate(schema.types)]
        return footer, list(zip(column_names(schema.names), schema.names, types, strict=True))

    def _as_file(self, footer: Footer, group: RowGroup | None) -> "_GroupFile":
        spans = footer.chunks(group) if group else []
        # Arrow's library ends the process over some pages that are not where the footer says.
        if any(end > self._footer_at for _, end in spans):
            raise FooterProblem("its columns are longer than the file: was it cut or changed on its way?")
        return _GroupFile(self._content, spans, self._footer_at, footer.only(group))

    def _read_footer(self) -> tuple[int, Footer]:
        """Where the footer begins, and what it says."""
        size = self._file.size
        if size < 0:
            raise FileProblem(f"{self.name}: the server does not tell its length, which Parquet needs")
        end = self._content.read(max(0, size - _FIRST_READ), _FIRST_READ)
        if end[-len(MAGIC) :] == ENCRYPTED_MAGIC:
            raise FileProblem(f"{self.name} is an encrypted Parquet file, which cannot be read here")
        if end[-len(MAGIC) :] != MAGIC or len(end) < TAIL_BYTES:
            raise FileProblem(f"{self.name} is no Parquet file, or was not written to its end: upload it again")
        length = int.from_bytes(end[-TAIL_BYTES : -len(MAGIC)], "little")
        at = size - TAIL_BYTES - length
        if at < 0:
            raise FileProblem(f"{self.name} is no whole Parquet file: its footer is longer than the file")
        if length > _LONGEST_FOOTER:
            raise FileProblem(
                f"{self.name} has a footer of {length:,} bytes, which is more than is read: is it damaged?"
            )
        behind = length + TAIL_BYTES
        data = end[-behind:-TAIL_BYTES] if behind <= len(end) else self._content.read(at, length)
        with self._told():
            return at, Footer(data)

    @contextmanager
    def _told(self, file: "_GroupFile | None" = None) -> Iterator[None]:
        """Raises what went wrong in a footer or in Arrow's library as a FileProblem, or as what reading raised."""
        try:
            with arrow_problems():
                yield
        except (ArrowProblem, FooterProblem) as problem:
            if file and file.failure:
                raise file.failure from None
            raise FileProblem(f"{self.name} cannot be read as Parquet: {problem}") from problem


def _fitting(batch: RecordBatch) -> int:
    """How many rows like these are decoded together."""
    return _rows_of_bytes(batch.num_rows, values_size(batch))


def _rows_of_bytes(rows: int, size: int) -> int:
    """How many rows are decoded together where so many rows have so many bytes."""
    return max(1, min(_MOST_ROWS, _BATCH_BYTES * rows // max(1, size)))


class _Records:
    """Makes records of a file's batches, for the columns of a target."""

    def __init__(self, fields: list[_Column], target: Target, of_file: Record) -> None:
        self._fields, self._of_file = fields, of_file
        titles = [title for _, title, _ in fields]
        is_distinct = all(titles) and len(set(titles)) == len(titles)
        self._titles = titles if is_distinct else [name for name, _, _ in fields]
        self._declared: list[tuple[int, str, Values]] = []
        self._undeclared: list[tuple[int, str, Values]] = []
        for place, (name, _, type_) in enumerate(fields):
            if name in target.columns:
                self._declared.append((place, name, values_of(type_, target.columns[name])))
            else:
                self._undeclared.append((place, self._titles[place], exact_json_values(type_)))

    def batch(self, batch: RecordBatch, before: int) -> Batch:
        """The rows of a batch as records, `before` rows of the file being before them."""
        refused: Refusals = {}
        values = self._values(batch, self._declared, refused)
        if self._undeclared:
            undeclared = self._values(batch, self._undeclared, refused)
            values[UNDECLARED] = [
                dict(zip(undeclared, row, strict=True)) for row in zip(*undeclared.values(), strict=True)
            ]
        lines = range(before + 1, before + batch.num_rows + 1)
        columns: dict[str, Iterable[Any]] = {
            **values, LINE: lines, **{name: repeat(value) for name, value in self._of_file.items()}
        }  # fmt: skip
        bad = [BadRow(lines[row], self._raw(batch.slice(row, 1)), reason) for row, reason in sorted(refused.items())]
        return Batch(_rows(columns, refused), {"row": before + batch.num_rows}, bad, values_size(batch))

    def _values(
        self, batch: RecordBatch, columns: list[tuple[int, str, Values]], refused: Refusals
    ) -> dict[str, list[Any]]:
        found = {}
        for place, name, values in columns:
            wrong: Refusals = {}
            try:
                with arrow_problems():
                    found[name] = values(batch.column(place), wrong)
            except ArrowProblem as problem:
                raise ArrowProblem(f"column {name}: {problem}") from problem
            for row, reason in wrong.items():
                refused.setdefault(row, f"column {name}: {reason}")
        return found

    def _raw(self, row: RecordBatch) -> str:
        """One row as JSON text, cut where it is long."""
        values = {
            self._titles[place]: json_values(type_)(row.column(place), {})[0]
            for place, (_, _, type_) in enumerate(self._fields)
        }
        return dump_json(values)[:_RAW_CHARACTERS]


def _rows(columns: Mapping[str, Iterable[Any]], refused: Refusals) -> Iterator[Record]:
    names = tuple(columns)
    # One of the columns, the line, has an end; those that repeat have none.
    rows = zip(*columns.values(), strict=False)
    if not refused:
        for row in rows:
            yield dict(zip(names, row, strict=False))
        return
    for number, row in enumerate(rows):
        if number not in refused:
            yield dict(zip(names, row, strict=True))


class _GroupFile(SeekableFile):
    """One row group of a content as a file: the content's bytes with another footer behind them.

    A row group that is not large is fetched at once. Of a larger one, a window into each column is in memory: its
    pages are read in their order, a page of each column in turn.
    """

    def __init__(self, content: Content, spans: list[tuple[int, int]], footer_at: int, footer: bytes) -> None:
        super().__init__(footer_at + len(footer))
        self._content, self._footer_at, self._footer = content, footer_at, footer
        self.failure: SourceError | None = None
        if spans and spans[-1][1] - spans[0][0] <= _WHOLE_GROUP:
            spans = [(spans[0][0], spans[-1][1])]
            self._window = _WHOLE_GROUP
        else:
            self._window = max(_SMALLEST_WINDOW, min(_LARGEST_WINDOW, _WINDOWS // max(1, len(spans))))
        self._starts, self._ends = [start for start, _ in spans], [end for _, end in spans]
        self._windows: dict[int, tuple[int, bytes]] = {}

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except SourceError as failure:
            self.failure = failure  # kept as it is: Arrow's library makes a text of it
            raise

    def bytes_at(self, start: int, length: int) -> memoryview:
        """As many bytes as asked for, or fewer where a window ends."""
        if start >= self._footer_at:
            behind = start - self._footer_at
            return memoryview(self._footer)[behind : behind + length]
        column = bisect_right(self._starts, start) - 1
        begun, data = self._windows.get(column, (0, b""))
        if not begun <= start < begun + len(data):
            left = self._ends[column] - start if column >= 0 else 0
            fetched = min(max(length, min(left, self._window)), self._footer_at - start)
            begun, data = self._windows[column] = start, self._content.read(start, fetched)
        return memoryview(data)[start - begun : start - begun + length]
