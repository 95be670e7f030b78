"""The footer of a Parquet file: where its row groups are, and footers of its like that name one of them only.

A reader that is given such a footer reads one row group of a file: none before it is touched, and none of the others'
metadata is in memory. The footer is Thrift's compact protocol, of which this is what it takes to find a part of it;
the reader of the row group checks all the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass

MAGIC, ENCRYPTED_MAGIC = b"PAR1", b"PARE"
# At the end of the file: the footer's length, four bytes, and the magic.
TAIL_BYTES = 8

# Thrift's types in the compact protocol.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 11, 12
_INTEGERS = (4, 5, 6)
# Fields of FileMetaData, of RowGroup, of ColumnChunk and of ColumnMetaData.
_ROW_GROUPS = 4
_CHUNKS, _SIZE, _ROWS = 1, 2, 3
_META_DATA = 3
_COMPRESSED, _DATA_PAGES, _DICTIONARY = 7, 9, 11
# Deeper is nothing that Parquet defines.
_DEEPEST = 16


class FooterProblem(ValueError):
    """The bytes are no footer of a Parquet file."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: how many rows and bytes, decompressed, it has, and where its metadata is in the footer."""

    rows: int
    size: int
    start: int
    end: int


class Footer:
    """The footer of one file, without the length and the magic behind it.

    Raises FooterProblem for bytes that are none.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.row_groups: list[RowGroup] = []
        self._before = self._after = 0
        try:
            self._find_row_groups()
        except (IndexError, OverflowError) as error:
            raise FooterProblem("its footer is cut or damaged") from error

    def only(self, group: RowGroup | None) -> bytes:
        """The footer of a file that has this row group only, or none, with the length and the magic behind it."""
        part = bytes([0x1C]) + self._data[group.start : group.end] if group else bytes([0x0C])
        data = self._data[: self._before] + part + self._data[self._after :]
        return data + len(data).to_bytes(4, "little") + MAGIC

    def chunks(self, group: RowGroup) -> list[tuple[int, int]]:
        """Where each column of the row group begins and ends in the file, in the order of their places."""
        cursor = _Cursor(self._data, group.start)
        found = []
        for field, type_ in cursor.fields():
            if field == _CHUNKS and type_ == _LIST:
                found = [_span(cursor) for _ in range(cursor.list_size())]
            else:
                cursor.skip(type_)
        return sorted(found)

    def _find_row_groups(self) -> None:
        cursor = _Cursor(self._data)
        for field, type_ in cursor.fields():
            if field != _ROW_GROUPS or type_ != _LIST:
                cursor.skip(type_)
                continue
            self._before = cursor.at
            for _ in range(cursor.list_size()):
                start = cursor.at
                rows, size = _rows_and_size(cursor)
                self.row_groups.append(RowGroup(rows, size, start, cursor.at))
            self._after = cursor.at
        if not self._after:
            raise FooterProblem("its footer names no row groups")


class _Cursor:
    """A place in bytes of Thrift's compact protocol. Raises IndexError at their end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; the caller reads or skips its value before the next."""
        number = 0
        while header := self._byte():
            step, type_ = header >> 4, header & 15
            number = number + step if step else self.integer()
            yield number, type_

    def integer(self) -> int:
        """A signed number."""
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def list_size(self) -> int:
        """How many elements a list has: the cursor is at the first of them then."""
        header = self._byte()
        self._element = header & 15
        return header >> 4 if header >> 4 < 15 else self._unsigned()

    def skip(self, type_: int, depth: int = 0) -> None:
        """Goes behind a value of the type."""
        if depth > _DEEPEST:
            raise FooterProblem("its footer is nested too deeply")
        if type_ in (_TRUE, _FALSE):
            return
        if type_ in _INTEGERS:
            self._unsigned()
        elif type_ in (_BYTE, _DOUBLE):
            self.at += 1 if type_ == _BYTE else 8
        elif type_ == _BINARY:
            length = self._unsigned()
            self.at += length
        elif type_ in (_LIST, _SET):
            size, element = self.list_size(), self._element
            for _ in range(size):
                self._skip_element(element, depth + 1)
        elif type_ == _STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif type_ == _MAP:
            self._skip_map(depth + 1)
        else:
            raise FooterProblem("its footer is cut or damaged")

    def _skip_map(self, depth: int) -> None:
        size = self._unsigned()
        types = self._byte() if size else 0
        for _ in range(size):
            self._skip_element(types >> 4, depth)
            self._skip_element(types & 15, depth)

    def _skip_element(self, type_: int, depth: int) -> None:
        if type_ in (_TRUE, _FALSE):
            self.at += 1  # a boolean of a list is a byte, that of a struct is its field's type
        else:
            self.skip(type_, depth)

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7


def _rows_and_size(cursor: _Cursor) -> tuple[int, int]:
    """Rows and bytes of the row group that begins at the cursor, which is behind it then."""
    found: dict[int, int] = {}
    for field, type_ in cursor.fields():
        if field in (_ROWS, _SIZE) and type_ in _INTEGERS:
            found[field] = cursor.integer()
        else:
            cursor.skip(type_)
    return found.get(_ROWS, 0), found.get(_SIZE, 0)


def _span(cursor: _Cursor) -> tuple[int, int]:
    """Where the pages of the column chunk at the cursor begin and end in the file."""
    found: dict[int, int] = {}
    for field, type_ in cursor.fields():
        if field != _META_DATA or type_ != _STRUCT:
            cursor.skip(type_)
            continue
        for inner, inner_type in cursor.fields():
            if inner in (_COMPRESSED, _DATA_PAGES, _DICTIONARY) and inner_type in _INTEGERS:
                found[inner] = cursor.integer()
            else:
                cursor.skip(inner_type)
    pages = found.get(_DATA_PAGES, 0)
    # Some writers give 0 for a dictionary that is not there.
    start = min(pages, found.get(_DICTIONARY) or pages)
    return start, start + found.get(_COMPRESSED, 0)
