"""A CSV file as batches of rows, exactly as written, from any byte offset at which a record begins."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service_spec import FILE, LINE
from shared.errors import SourceError
from shared.naming import delivered_name

# A longer line is no line of a CSV file, but a file of another kind, or a quote that nobody closed.
LONGEST_LINE = 16 * 1024 * 1024
# Columns that Fivetran writes itself, as in a file that was exported from a destination.
FIVETRANS_OWN = ("_fivetran_deleted", "_fivetran_id", "_fivetran_synced")
_BOM = b"\xef\xbb\xbf"
csv.field_size_limit(LONGEST_LINE)


@dataclass(frozen=True)
class Batch:
    """Rows with the line each begins on, and where the next one begins: byte offset and line number (from 1)."""

    rows: list[tuple[int, list[str]]]
    offset: int
    line: int


class CsvFile:
    """One open CSV file with a header. Use it in a `with` block.

    Raises SourceError, naming file and line, for what is not as the header says: it skips nothing but blank lines.
    """

    def __init__(self, path: Path, name: str, delimiter: str) -> None:
        self._name, self._delimiter = name, delimiter
        self._offset = self._line = 0
        self._file: BinaryIO = _open(path, name)
        self.columns = column_names(self._header())
        self.start = (self._offset, self._line + 1)

    def __enter__(self) -> "CsvFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def batches(self, offset: int, line: int, batch_bytes: int) -> Iterator[Batch]:
        """The rows from a record's border on, in batches that end with the record that fills `batch_bytes`."""
        self._file.seek(offset)
        self._offset, self._line = offset, line - 1
        width = len(self.columns)
        rows: list[tuple[int, list[str]]] = []
        for begins, row in self._records():
            if len(row) == width:
                rows.append((begins, row))
            elif row or width == 1:
                rows.append((begins, self._fitting(row, begins)))
            if self._offset - offset >= batch_bytes:
                yield Batch(rows, self._offset, self._line + 1)
                rows, offset = [], self._offset
        if rows:
            yield Batch(rows, self._offset, self._line + 1)

    def _fitting(self, row: list[str], line: int) -> list[str]:
        """A row of another width than the header's: the empty line that is a record of one empty field, or an error."""
        if not row:
            return [""]
        raise SourceError(
            f"{self._name}, line {line}: {len(row)} fields where the header has {len(self.columns)}: "
            "correct the line, or quote the field that holds the delimiter"
        )

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Each record's fields with the line it begins on."""
        reader = csv.reader(self._lines(), delimiter=self._delimiter, strict=True)
        while True:
            begins = self._line + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                raise SourceError(f"{self._name}, line {begins}: {_in_words(error)}") from error
            if row is None:
                return
            yield begins, row

    def _lines(self) -> Iterator[str]:
        """The file's lines as text. Only the reader pulls them, so offset and line are those of its last record."""
        while raw := self._file.readline(LONGEST_LINE):
            self._line += 1
            if raw.startswith(_BOM) and self._offset == 0:
                self._offset, raw = len(_BOM), raw[len(_BOM) :]
            self._offset += len(raw)
            yield self._decoded(raw)

    def _decoded(self, raw: bytes) -> str:
        if len(raw) >= LONGEST_LINE:
            raise SourceError(
                f"{self._name}, line {self._line}: is longer than {LONGEST_LINE:,} bytes: is it a CSV file?"
            )
        if b"\0" in raw:
            raise SourceError(
                f"{self._name}, line {self._line}: holds a NUL byte, which destinations cannot store: is it a CSV file?"
            )
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{self._name}, line {self._line}: byte {error.start + 1} is not UTF-8: save the file as UTF-8"
            ) from error

    def _header(self) -> list[str]:
        for _, row in self._records():
            if row:
                return row
        return []


def _in_words(error: csv.Error) -> str:
    """What the reader's error means for the person who has the file."""
    if "new-line character" in str(error) or "new line" in str(error):
        return "a carriage return stands alone: end the lines with LF or CRLF, or quote the field that holds it"
    return f"{error}: is a quote not closed, or not doubled inside a field?"


def _open(path: Path, name: str) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{name} cannot be opened: {error.strerror}") from error


def column_names(header: list[str]) -> list[str]:
    """One name a field: lower case and underscores, as Fivetran would make them, and no two alike.

    >>> column_names(["Order ID", "amount", "", "Amount"])
    ['order_id', 'amount', 'column_3', 'amount_2']
    """
    counts: Counter[str] = Counter()
    names: list[str] = []
    for place, title in enumerate(header, start=1):
        plain = delivered_name(title) or f"column_{place}"
        name = plain
        while name in names or name in (FILE, LINE) or name in FIVETRANS_OWN:
            counts[plain] += 1
            name = f"{plain}_{counts[plain] + 1}"
        names.append(name)
    return names
