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
# Fields of FileMetaData, of SchemaElement, of RowGroup, of ColumnChunk and of ColumnMetaData.
_SCHEMA, _ROW_GROUPS, _NOTED = 2, 4, 5
_TYPE, _LENGTH, _REPETITION, _NAME, _CHILDREN = 1, 2, 3, 4, 5
_CHUNKS, _SIZE, _ROWS = 1, 2, 3
_META_DATA = 3
_COMPRESSED, _DATA_PAGES, _DICTIONARY = 7, 9, 11
_EMPTY_LIST, _LIST_OF_ONE = b"\x0c", b"\x1c"  # of structs
# Types of a column, and a repetition, in the schema.
_INT96, _REPEATED = 3, 2
# What stands in a schema for 12 bytes in each row: the type, and the field of its length with 12 in it.
_TWELVE_BYTES = b"\x0e\x15\x18"
# Deeper is nothing that Parquet defines.
_DEEPEST = 16
# Lists and structs in one another, of which a list counts twice; thousands would end the process in Arrow's library.
_DEEPEST_COLUMN = 200


class FooterProblem(ValueError):
    """The bytes are no footer of a Parquet file, or that of one that cannot be read exactly."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group: how many rows and bytes, decompressed, it has, and where its metadata is in the footer."""

    rows: int
    size: int
    start: int
    end: int


class Footer:
    """The footer of one file, without the length and the magic behind it.

    Raises FooterProblem for bytes that are none, and for columns whose names or fields cannot be read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.row_groups: list[RowGroup] = []
        self._before = self._after = 0
        self._noted = (0, 0)
        self._int96: dict[int, int] = {}  # where the type of each such column is
        self._inner_int96: str | None = None  # a column that has such times inside
        try:
            self._find_row_groups()
        except (IndexError, OverflowError) as error:
            raise FooterProblem("its footer is cut or damaged") from error

    def only(self, group: RowGroup | None) -> bytes:
        """The footer of a file that has this row group only, or none, with the length and the magic behind it."""
        part = _LIST_OF_ONE + self._data[group.start : group.end] if group else _EMPTY_LIST
        data = self._data[: self._before] + part + self._data[self._after :]
        return data + len(data).to_bytes(4, "little") + MAGIC

    @property
    def int96(self) -> list[int]:
        """The numbers of the columns that are times of 12 bytes, those inside of others left out."""
        return [] if self._has_types_of_arrow else list(self._int96)

    def with_int96_as_bytes(self) -> "Footer":
        """The footer with those columns declared as 12 bytes, which is what they are.

        Arrow would make nanoseconds since 1970 of them, which are other times before 1678 and after 2262; those inside
        of lists and structs raise FooterProblem. Where the writer noted Arrow's types, times are what these say.
        """
        if self._has_types_of_arrow:
            return self
        if self._inner_int96 is not None:
            raise FooterProblem(
                f"column {self._inner_int96} has timestamps of 12 bytes (INT96) inside lists or structs, "
                "which cannot be read exactly: write them as INT64"
            )
        data = self._data
        for at in sorted(self._int96.values(), reverse=True):
            cursor = _Cursor(data, at)
            cursor.integer()
            field, type_ = next(cursor.fields(_TYPE), (0, 0))
            if not _LENGTH <= field <= _LENGTH + 15:  # a header has four bits for the step to its field
                raise FooterProblem("its footer is cut or damaged")
            if field == _LENGTH:
                cursor.skip(type_)
                data = data[:at] + _TWELVE_BYTES + data[cursor.at :]
            else:
                header = (field - _LENGTH) << 4 | type_
                data = data[:at] + _TWELVE_BYTES + bytes([header]) + data[cursor.at :]
        return Footer(data) if self._int96 else self

    def without_metadata(self) -> "Footer":
        """The footer without what the writer noted beside the schema, such as the types that its own library has."""
        start, end = self._noted
        return Footer(self._data[:start] + _EMPTY_LIST + self._data[end:]) if end else self

    def chunks(self, group: RowGroup) -> list[tuple[int, int]]:
        """Where each column of the row group begins and ends in the file, in the order of their places."""
        cursor = _Cursor(self._data, group.start)
        found = []
        for field, type_ in cursor.fields():
            if field == _CHUNKS and type_ == _LIST:
                try:
                    found = [_span(cursor) for _ in range(cursor.list_size())]
                except IndexError as error:
                    raise FooterProblem("its footer is cut or damaged") from error
            else:
                cursor.skip(type_)
        return sorted(found)

    def _find_row_groups(self) -> None:
        cursor = _Cursor(self._data)
        for field, type_ in cursor.fields():
            if field == _SCHEMA and type_ == _LIST:
                self._read_schema(cursor)
                continue
            if field != _ROW_GROUPS or type_ != _LIST:
                start = cursor.at
                cursor.skip(type_)
                if field == _NOTED:
                    self._noted = (start, cursor.at)
                continue
            self._before = cursor.at
            for _ in range(cursor.list_size()):
                start = cursor.at
                rows, size = _rows_and_size(cursor)
                self.row_groups.append(RowGroup(rows, size, start, cursor.at))
            self._after = cursor.at
        if not self._after:
            raise FooterProblem("its footer names no row groups")

    @property
    def _has_types_of_arrow(self) -> bool:
        return b"ARROW:schema" in self._data[slice(*self._noted)]

    def _read_schema(self, cursor: "_Cursor") -> None:
        column, title = -1, ""
        groups: list[_Group] = []  # what the element at hand is in, none for a column itself
        for number in range(cursor.list_size()):
            element = _element(cursor)
            if number == 0:
                continue  # the root
            while groups and groups[-1].left <= 0:
                groups.pop()
            if not groups:
                column, title = column + 1, element.name
            elif element.name in groups[-1].names:
                raise FooterProblem(f"column {title} has two fields named {element.name}: rename one at the source")
            else:
                groups[-1].add(element.name)
            if "\0" in element.name:  # it would end the process in Arrow's library
                raise FooterProblem(f"column {title!r} has a NUL character in a name: rename it at the source")
            if element.numbers.get(_TYPE) == _INT96:
                if groups or element.numbers.get(_REPETITION) == _REPEATED:
                    self._inner_int96 = title
                else:
                    self._int96[column] = element.type_at
            if len(groups) > _DEEPEST_COLUMN:
                raise FooterProblem(f"column {title} has lists or structs nested too deeply")
            if _CHILDREN in element.numbers:
                groups.append(_Group(element.numbers[_CHILDREN], set()))


@dataclass(slots=True)
class _Group:
    """An element of the schema that has others in it: how many are to come, and the names of those that came."""

    left: int
    names: set[str]

    def add(self, name: str) -> None:
        self.left -= 1
        self.names.add(name)


@dataclass(frozen=True, slots=True)
class _Element:
    """An element of the schema: its fields that are numbers, its name, and where its type is in the footer."""

    numbers: dict[int, int]
    name: str
    type_at: int


class _Cursor:
    """A place in bytes of Thrift's compact protocol. Raises IndexError at their end."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data, self.at = data, at

    def fields(self, number: int = 0) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct, behind a field of it; the caller reads or skips each value."""
        while header := self._byte():
            step, type_ = header >> 4, header & 15
            number = number + step if step else self.integer()
            yield number, type_

    def integer(self) -> int:
        """A signed number."""
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        """A text, with a mark for what is no UTF-8."""
        length = self._possible(self._unsigned())
        self.at += length
        return self._data[self.at - length : self.at].decode(errors="replace")

    def list_size(self) -> int:
        """How many elements a list has: the cursor is at the first of them then."""
        header = self._byte()
        self._element = header & 15
        return self._possible(header >> 4 if header >> 4 < 15 else self._unsigned())

    def _possible(self, size: int) -> int:
        """A number of elements or bytes, of which each takes a byte at least: a damaged one may be infinite."""
        if size > len(self._data) - self.at:
            raise FooterProblem("its footer is cut or damaged")
        return size

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
        size = self._possible(self._unsigned())
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


def _element(cursor: _Cursor) -> _Element:
    """The element of the schema at the cursor, which is behind it then."""
    numbers: dict[int, int] = {}
    name, type_at = "", 0
    for field, type_ in cursor.fields():
        if field == _TYPE:
            type_at = cursor.at
        if type_ in _INTEGERS:
            numbers[field] = cursor.integer()
        elif field == _NAME and type_ == _BINARY:
            name = cursor.text()
        else:
            cursor.skip(type_)
    return _Element(numbers, name, type_at)


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
    if not all(0 <= number < 1 << 62 for number in found.values()):
        raise FooterProblem("its footer is cut or damaged")  # a negative one would end the process in Arrow's library
    pages = found.get(_DATA_PAGES, 0)
    # Some writers give 0 for a dictionary that is not there.
    start = min(pages, found.get(_DICTIONARY) or pages)
    return start, start + found.get(_COMPRESSED, 0)
