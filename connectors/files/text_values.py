"""Text as it is written in a file to the Python value that arrives exactly in a column of a declared type."""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from content import File
from shared.values import ColumnType, converter, exact_decoder, exact_number, exact_text, json_problem

TextConverter = Callable[[str], Any]

TEXT_TYPES = ("STRING", "XML")

_WHOLE = re.compile(r"([+-]?[0-9]+)(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_POINT_FIRST = re.compile(r"([+-]?)\.")
_BOOLEANS: Mapping[str, bool] = {
    "true": True, "t": True, "yes": True, "1": True, "false": False, "f": False, "no": False, "0": False,
}  # fmt: skip
# Digits that surely fit no whole number of a column; int() refuses thousands of them in words of its own.
_MANY_DIGITS = 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_converter(column_type: ColumnType) -> TextConverter:
    """A function from a text to the value of a column; it raises ValueError that says why for what is none of the type.

    An empty text is no value (None) of every type but text.
    """
    to_exact = converter(column_type)
    name = column_type if isinstance(column_type, str) else "DECIMAL" if "precision" in column_type else "EPOCH"
    if name in TEXT_TYPES:
        return exact_text
    read = _READERS[name]

    def convert(text: str) -> Any:
        if not text:
            return None
        value = read(text)
        return None if value is None else to_exact(value)

    return convert


def modified_text(file: File) -> str | None:
    """When the file was last changed, as ISO 8601 in UTC with microseconds; None where the place does not tell.

    >>> modified_text(File("a.csv", 1, 0, 1_769_860_800_123_456_789))
    '2026-01-31T12:00:00.123456Z'
    """
    if not file.modified:
        return None
    moment = _EPOCH + timedelta(microseconds=file.modified // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _whole(text: str) -> int:
    """A whole number; zeros may stand behind its point, as where a program kept it as a fraction."""
    found = _WHOLE.fullmatch(text)
    if not found:
        raise ValueError("expected a whole number: declare the column as DECIMAL, DOUBLE or STRING")
    if len(text) > _MANY_DIGITS:
        raise ValueError(f"is a number of more than {_MANY_DIGITS:,} digits: declare the column as STRING")
    return int(found[1])


def _number(text: str) -> Any:
    if not _NUMBER.fullmatch(text):
        raise ValueError("expected a number: declare the column as STRING")
    return int(text) if text.lstrip("+-").isdigit() and len(text) <= _MANY_DIGITS else exact_number(text)


def _digits(text: str) -> str:
    """The text of a number, with the zero before its point that some programs leave out."""
    return _POINT_FIRST.sub(r"\g<1>0.", text, count=1) if text.lstrip("+-").startswith(".") else text


def _boolean(text: str) -> bool:
    value = _BOOLEANS.get(text.lower())
    if value is None:
        raise ValueError("expected true or false, t or f, yes or no, 1 or 0: declare the column as STRING")
    return value


class _RepeatedKey(ValueError):
    """An object with a key twice, of which a parser of JSON would drop one value."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in found if keys.count(key) > 1)
        raise _RepeatedKey(f"an object has the key {repeated!r} twice")
    return found


_JSON = json.JSONDecoder(
    parse_float=exact_number, parse_constant=exact_decoder().parse_constant, object_pairs_hook=_distinct
)


def _json(text: str) -> Any:
    try:
        return _JSON.decode(text)
    except _RepeatedKey as problem:
        raise ValueError(f"expected JSON that keeps all it says, and {problem}: declare the column as STRING") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON ({json_problem(error)}): declare the column as STRING") from None


def _as_it_is(text: str) -> str:
    return text


def _binary(text: str) -> Any:
    raise ValueError("is text, which is no BINARY: declare the column as STRING")


_READERS: Mapping[str, Callable[[str], Any]] = {
    "BOOLEAN": _boolean,
    "SHORT": _whole,
    "INT": _whole,
    "LONG": _whole,
    "DOUBLE": _number,
    "DECIMAL": _digits,
    "EPOCH": _number,
    "JSON": _json,
    "BINARY": _binary,
    "NAIVE_DATE": _as_it_is,
    "NAIVE_DATETIME": _as_it_is,
    "UTC_DATETIME": _as_it_is,
}
