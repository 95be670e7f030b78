"""JSON Lines, lists of objects, and objects one after another as batches of records, numbers with the digits written.

A place in a file of lines is that of CSV (csv_format.py). In any other it is {"offset": byte of the stream behind the
last record, "line": number of the next record, from 1, "crc": null}, as nothing can be appended to such a file, and
"ended": true where that was the last.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from batches import BadRow, Batch, Place, Target
from column_names import MOST_COLUMNS, RESERVED
from content import File, FileProblem
from service_spec import FILE, LINE, MODIFIED, Settings
from shared.json_stream import Reading, RecordPath, TooLarge, WrongShape, weight_of
from shared.naming import delivered_name
from shared.pages import Record
from shared.values import UNDECLARED, ColumnType, exact_decoder, exact_text
from text_stream import LONGEST_RECORD, SHOWN, Lines, TextStream, no_text, shown, too_long, without_compression
from text_values import TEXT_TYPES, modified_text, text_converter

_SAMPLE = 1_048_576  # bytes in which columns are looked for
_LINES = (".jsonl", ".ndjson")
_NO_COLUMNS = ("", *RESERVED)
_SOME_KEYS = 10  # that are told
_MOST_KEYS = 10_000  # that are remembered with their columns
_LONG_LINE = 1_048_576  # characters; one that is not longer takes little memory, whatever is in it
_BLANKS = " \t\r"
_NO_OBJECT = "is no JSON object"
_TOO_HEAVY = "is many small values that take too much memory together: split it into several records"


class JsonReader:
    """One JSON file. Raises FileProblem where it is no JSON; but a line of JSON Lines that is none, and any record that
    cannot be delivered as it is, is a BadRow."""

    def __init__(self, stream: TextStream, file: File, settings: Settings) -> None:
        self.name = stream.name
        self._stream, self._file, self._settings = stream, file, settings
        head = stream.head(_SAMPLE)
        self._shape = _shape(stream.name, head, settings)
        self.columns: dict[str, ColumnType] = {}
        for value in self._sample(head):
            for key, _ in _members(value):
                column = delivered_name(key)
                # Keys beyond so many are data; their values go to `_undeclared`.
                if column not in _NO_COLUMNS and len(self.columns) < MOST_COLUMNS:
                    self.columns[column] = "STRING"

    def batches(self, target: Target, place: Place | None = None) -> Iterator[Batch]:
        """The records from a place on, in batches of about `page_bytes` of text."""
        make = _RecordMaker(self.name, self._file, target)
        if self._shape.shape == "lines":
            return self._batches_of_lines(make, place or {"offset": 0, "line": 1, "crc": 0})
        return self._batches_of_values(make, place or {"offset": 0, "line": 1, "crc": None})

    def _sample(self, head: bytes) -> Iterator[Any]:
        """The objects at the file's start. What is wrong there, or cut, is left out: `batches` tells it."""
        if self._shape.shape == "lines":
            for line in head.decode("utf-8", "replace").split("\n"):
                with suppress(ValueError, RecursionError):
                    yield _object_of(line)
        else:
            with suppress(ValueError):
                reading = Reading([head], self._shape, LONGEST_RECORD, _decoder())
                yield from (value for value, _ in reading.records() if _is_object(value))

    def _batches_of_lines(self, make: "_RecordMaker", start: Place) -> Iterator[Batch]:
        lines = Lines(self._stream.chunks(start["offset"]), start)
        while (data := lines.peek(self._settings.page_bytes)) != b"":
            begin = lines.place
            if data is None:
                bad = [BadRow(lines.line, shown(lines.start(4 * SHOWN)), too_long())]
                after = lines.place if lines.skip_line() else {**begin, "unterminated": True}
                yield Batch([], after, bad, lines.offset - begin["offset"])
                continue
            if not data.endswith(b"\n"):
                data = data[: data.rfind(b"\n") + 1] or data
            records, bad = self._of_lines(make, data, lines.line)
            lines.take(data)
            after = lines.place if data.endswith(b"\n") else {**begin, "unterminated": True}
            yield Batch(records, after, bad, len(data), make.undeclared)

    def _of_lines(self, make: "_RecordMaker", data: bytes, first: int) -> tuple[list[Record], list[BadRow]]:
        """The records of some lines, the first of which is `first` of the file."""
        is_text = True
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text, is_text = data.decode("utf-8", "surrogateescape"), False
        records, bad = [], []
        for number, line in enumerate(text.split("\n"), start=first):
            if not line.strip(_BLANKS):
                continue
            try:
                if not is_text:
                    _check(line, self._stream.encoding)
                records.append(make.record(_object_of(line), number))
            except (ValueError, RecursionError) as problem:
                bad.append(BadRow(number, shown(line.encode("utf-8", "surrogateescape")), _reason(problem)))
        return records, bad

    def _batches_of_values(self, make: "_RecordMaker", start: Place) -> Iterator[Batch]:
        """The records of a list or sequence; its place may be behind any of them."""
        if start.get("ended"):
            return
        opening = _opening(self._shape) if start["offset"] else b""
        reading = Reading(self._rest(opening, start["offset"]), self._shape, LONGEST_RECORD, _decoder())
        before: int = start["offset"] - len(opening)
        offset, number = start["offset"], start["line"]
        try:
            for records, bad, is_last in _pages(reading.records(), make, number, self._settings.page_bytes):
                begin, offset = offset, before + reading.offset
                number += len(records) + len(bad)
                after: Place = {"offset": offset, "line": number, "crc": None}
                if is_last:
                    after["ended"] = True
                if records or bad:
                    yield Batch(records, after, bad, offset - begin, make.undeclared)
        except ValueError as error:
            raise self._problem(error, number, before + reading.offset) from None

    def _rest(self, opening: bytes, offset: int) -> Iterator[bytes]:
        """The stream from behind a record on, begun like the whole, so that it can be read as one."""
        chunks = self._stream.chunks(offset)
        if opening:
            first = opening
            for chunk in chunks:
                first += chunk
                if chunk.strip():
                    break
            yield _without_comma(first, len(opening))
        yield from chunks

    def _problem(self, error: ValueError, number: int, offset: int) -> FileProblem:
        if isinstance(error, WrongShape):
            where = f"at the path {self._shape.path!r}" if self._shape.path else "in it"
            return self._stream.problem(f"has no list of records {where}: correct the setting record_path")
        if isinstance(error, TooLarge):
            return self._stream.problem(
                f"cannot be read: record {number}, or what stands beside the records, {too_long()}"
            )
        return self._stream.problem(
            f"is no JSON behind byte {offset:,}, where record {number:,} should be: correct it, or upload it again"
        )


class _RecordMaker:
    """Objects to records: each value as it arrives exactly in the column of its key.

    undeclared  some of the keys that have no column
    """

    def __init__(self, name: str, file: File, target: Target) -> None:
        self.undeclared: set[str] = set()
        self._name, self._modified = name, modified_text(file)
        self._converters: dict[str, Callable[[Any], Any]] = {
            column: _converter(type_) for column, type_ in target.columns.items() if column not in _NO_COLUMNS
        }
        self._to_undeclared = _converter(target.columns.get(UNDECLARED, "JSON"))
        self._plan: dict[str, tuple[str, Callable[[Any], Any] | None]] = {}

    def record(self, value: Any, line: int) -> Record:
        """The record of an object; raises ValueError for what is none, or cannot arrive exactly."""
        if not _is_object(value):
            raise ValueError(_NO_OBJECT)
        record: Record = {}
        undeclared: dict[str, Any] = {}
        plan = self._plan
        for key, item in _members(value):
            column, convert = plan[key] if key in plan else self._planned(key)
            if convert is None or column in record:
                if key in undeclared:
                    raise ValueError(f"has the key {key!r} twice, or more often")
                undeclared[key] = item
                continue
            try:
                record[column] = None if item is None else convert(item)
            except ValueError as problem:
                raise ValueError(f"column {column}: {problem}") from None
        if undeclared:
            if len(self.undeclared) < _SOME_KEYS:
                self.undeclared.update(undeclared)
            record[UNDECLARED] = self._to_undeclared(undeclared)
        record[FILE] = self._name
        record[LINE] = line
        record[MODIFIED] = self._modified
        return record

    def _planned(self, key: str) -> tuple[str, Callable[[Any], Any] | None]:
        """The column of a key, and what makes its values arrive exactly; None for a key without a column."""
        if len(self._plan) >= _MOST_KEYS:  # keys that are data, such as identifiers
            self._plan.clear()
        column = delivered_name(key)
        return self._plan.setdefault(key, (column, self._converters.get(column)))


class Number(str):
    """A number, as it is written."""


class _Repeated:
    """An object that has a key twice, of which a parser of JSON would keep one."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs


def _decoder() -> json.JSONDecoder:
    """A decoder that loses nothing: numbers keep their digits, and objects all their keys."""
    return json.JSONDecoder(
        parse_float=Number,
        parse_int=Number,
        parse_constant=exact_decoder().parse_constant,
        object_pairs_hook=_object,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict | _Repeated)


def _members(value: dict[str, Any] | _Repeated) -> Iterable[tuple[str, Any]]:
    return value.pairs if isinstance(value, _Repeated) else value.items()


_DECODE = _decoder().raw_decode


def _object_of(line: str) -> Any:
    """The object on a line; raises ValueError for what is none."""
    text = line.strip(_BLANKS)
    if len(text) > _LONG_LINE and weight_of(text, 0, len(text)) > LONGEST_RECORD:
        raise ValueError(_TOO_HEAVY)
    try:
        value, end = _DECODE(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON from character {error.pos + 1:,} on: {error.msg}") from None
    if end != len(text):
        raise ValueError(f"is no JSON object alone: something is behind it, from character {end + 1:,} on")
    if not _is_object(value):
        raise ValueError(_NO_OBJECT)
    return value


def _converter(column_type: ColumnType) -> Callable[[Any], Any]:
    """A function from a decoded value to what arrives exactly in a column."""
    if column_type in TEXT_TYPES:
        return _text
    of_text = text_converter(column_type)
    written = _json_text if column_type == "JSON" else _text
    return lambda value: of_text(written(value))


def _text(value: Any) -> str:
    """A value as text: a string as it is, and anything else as its JSON."""
    if type(value) is str and value.isascii() and "\0" not in value:
        return value  # most of them, without a further call
    if type(value) is Number:
        return str(value)
    return exact_text(value if type(value) is str else _json_text(value))


def _json_text(value: Any) -> str:
    """The JSON of a value, each number as it was written."""
    if type(value) is Number:
        return str(value)
    if isinstance(value, dict | _Repeated):
        return "{" + ", ".join(f"{_quoted(key)}: {_json_text(item)}" for key, item in _members(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json_text, value)) + "]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _pages(
    values: Iterator[tuple[Any, int]], make: _RecordMaker, first: int, page_bytes: int
) -> Iterator[tuple[list[Record], list[BadRow], bool]]:
    """The records of about so many bytes together, what is none, and whether these are the last, which may be none.

    The first value has the number `first` in its file. What `values` raises comes behind the records before it.
    """
    records: list[Record] = []
    bad: list[BadRow] = []
    size = 0
    try:
        for number, (value, length) in enumerate(values, start=first):
            try:
                records.append(make.record(value, number))
            except (ValueError, RecursionError) as problem:
                bad.append(BadRow(number, _shown_value(value), _reason(problem)))
            size += length
            if size >= page_bytes:
                yield records, bad, False
                records, bad, size = [], [], 0
    except (ValueError, FileProblem):
        yield records, bad, False
        raise
    yield records, bad, True


def _shown_value(value: Any) -> str:
    """What a value that is no record says, for a bad row."""
    try:
        return shown(_json_text(value).encode("utf-8", "backslashreplace"))
    except RecursionError:
        return "what is nested too deeply to be shown"


def _reason(problem: ValueError | RecursionError) -> str:
    return "is nested too deeply" if isinstance(problem, RecursionError) else str(problem)


def _check(line: str, encoding: str) -> None:
    """Raises ValueError for a line with bytes that are no text."""
    try:
        line.encode()
    except UnicodeEncodeError:
        raise ValueError(no_text(encoding)) from None


def _shape(name: str, head: bytes, settings: Settings) -> RecordPath:
    """Where the records of a file are, by the settings, its name and its start."""
    is_named_lines = without_compression(name).lower().endswith(_LINES)
    if settings.format == "jsonl" or (is_named_lines and settings.format != "json"):
        return RecordPath(shape="lines")
    start = head.lstrip()
    if settings.record_path or start.startswith(b"["):
        return RecordPath(settings.record_path, "values")
    first, line_end, _ = start.partition(b"\n")
    with suppress(ValueError, RecursionError):
        if line_end and _object_of(first.decode()):
            return RecordPath(shape="lines")
    return RecordPath(shape="sequence")


def _opening(where: RecordPath) -> bytes:
    """What begins a list at its path, so that it can be read from behind one of its records."""
    if where.shape == "sequence":
        return b""
    keys = "".join(f"{{{_quoted(key)}:" for key in where.path.split(".") if where.path)
    return f"{keys}[".encode()


def _without_comma(data: bytes, start: int) -> bytes:
    """The data, the comma that is first from `start` on made a blank."""
    rest = data[start:]
    if not rest.lstrip().startswith(b","):
        return data
    return data[:start] + rest.replace(b",", b" ", 1)
