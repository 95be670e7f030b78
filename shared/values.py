"""A source's value to the Python value that arrives exactly.

Every column has a declared type (a Fivetran type, as in `schema()`), and a converter for that type gives the SDK the
one Python value that its encoder takes over unchanged. What no value of the type can say exactly is refused with a
ValueError that says why: never rounded, never turned to NULL. The cases the SDK would change in silence:

    type            what would be lost                                    what is done
    (none)          text such as "00123" is inferred to be a number       every column is declared
    STRING          a number, boolean, list or dict arrives as its repr   delivered as its JSON text
    DECIMAL         refuses float and Decimal; too many digits are cut    delivered as its digits; refused
    DOUBLE          digits beyond 64 bits are rounded                     refused
    LONG            fractions are cut, booleans become 0 and 1            refused
    UTC_DATETIME    no offset is taken for UTC, nanoseconds are refused   refused, both by name
    JSON            a Decimal inside raises                               delivered as text with the same digits
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

ColumnType = str | Mapping[str, Any]
Converter = Callable[[Any], Any]

# Where the fields go that a declaration does not name: nothing of a record is lost, and no type is guessed.
UNDECLARED = "_undeclared"

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_FINER_THAN_MICROSECONDS = re.compile(r"[.,][0-9]{7}")


def exact_number(text: str) -> float | Decimal:
    """A JSON number with a fraction or exponent: a float where that is exact, else a Decimal that keeps every digit.

    >>> exact_number("52.52000812345"), exact_number("1e400")
    (52.52000812345, Decimal('1E+400'))
    """
    number = float(text)
    try:
        exact = Decimal(text)
    except ArithmeticError:
        raise ValueError("holds a number with an exponent beyond all bounds") from None
    return number if exact == Decimal(repr(number)) else exact


def parse_json(text: str | bytes) -> Any:
    """The JSON document with numbers exact; raises ValueError for what is none, NaN and Infinity included."""
    try:
        return json.loads(text, parse_float=exact_number, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def dump_json(value: Any) -> str:
    """JSON text of a value from `parse_json`; a number that no float holds keeps its digits."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {dump_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dump_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def record_converter(columns: Mapping[str, ColumnType]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function from a source's record to one that arrives exactly, with every declared column in it.

    Fields that `columns` does not name are kept together in the column `_undeclared`, as a JSON object.
    The function raises ValueError naming the column, never the value.
    """
    converters = {name: converter(type_) for name, type_ in {**columns, UNDECLARED: "JSON"}.items()}

    def convert(record: Mapping[str, Any]) -> dict[str, Any]:
        undeclared = {name: value for name, value in record.items() if name not in columns}
        given = {**record, UNDECLARED: undeclared or None}
        result = {}
        for column, to_exact in converters.items():
            value = given.get(column)
            try:
                result[column] = None if value is None else to_exact(value)
            except ValueError as problem:
                raise ValueError(f"column {column}: {problem}") from None
            except RecursionError:
                raise ValueError(f"column {column}: is nested too deeply") from None
        return result

    return convert


def converter(column_type: ColumnType) -> Converter:
    """The function that makes a value of the declared type arrive exactly; raises ValueError for a type unknown here.

    FLOAT is none of them: its 32 bits hold few of the numbers that a source may send.
    """
    unknown = column_type not in _CONVERTERS if isinstance(column_type, str) else "precision" not in column_type
    if unknown:
        known = ", ".join(_CONVERTERS)
        raise ValueError(f"{column_type!r} is no type: there are {known}, and DECIMAL with precision and scale")
    if isinstance(column_type, str):
        return _CONVERTERS[column_type]
    return _decimal(int(column_type["precision"]), int(column_type["scale"]))


def exact_text(value: str) -> str:
    """Text that every destination keeps; NUL and lone surrogates would vanish or fail far downstream."""
    if "\0" in value:
        raise ValueError("holds a NUL character, which destinations cannot store: remove it at the source")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character: repair it at the source") from None
    return value


def _string(value: Any) -> str:
    return exact_text(value if isinstance(value, str) else dump_json(value))


def _whole(bits: int, larger: str) -> Converter:
    """A converter to integers of so many bits, which names the larger type in its refusal."""
    limit = 2 ** (bits - 1)

    def convert(value: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"expected a whole number, got {_kind(value)}")
        if not -limit <= value < limit:
            raise ValueError(f"is a whole number beyond {bits} bits: declare the column as {larger}")
        return value

    return convert


def _double(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise ValueError(f"expected a number, got {_kind(value)}")
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53):
        return float(value)
    raise ValueError("has more digits than a DOUBLE holds: declare the column as DECIMAL or STRING")


def _decimal(precision: int, scale: int) -> Converter:
    """A converter to the digits of numbers that DECIMAL(precision, scale) holds without rounding."""

    def convert(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
            raise ValueError(f"expected a number, got {_kind(value)}")
        digits = repr(value) if isinstance(value, float) else str(value)
        if not _NUMBER.fullmatch(digits):
            raise ValueError("expected a number: declare the column as STRING")
        number = Decimal(digits)
        _, figures, exponent = number.normalize().as_tuple()
        too_fine = -int(exponent) > scale
        if number and (too_fine or len(figures) + int(exponent) > precision - scale):
            raise ValueError(
                f"has more digits than DECIMAL({precision}, {scale}) holds: declare a larger one, or STRING"
            )
        return digits

    return convert


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {_kind(value)}")
    return value


def _utc_datetime(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is None:
        raise ValueError("is a time without an offset: declare the column as NAIVE_DATETIME")
    return moment


def _naive_datetime(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is not None:
        raise ValueError("is a time with an offset: declare the column as UTC_DATETIME")
    return moment


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError(f"expected a time as ISO 8601 text, got {_kind(value)}")
    # fromisoformat cuts what follows the sixth digit of a second, without a word.
    if _FINER_THAN_MICROSECONDS.search(value):
        raise ValueError("is finer than a microsecond: declare the column as STRING")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a time as ISO 8601 text: declare the column as STRING") from None


def _naive_date(value: Any) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("expected a date as YYYY-MM-DD: declare the column as STRING") from None


def _binary(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise ValueError(f"expected bytes, got {_kind(value)}")
    return bytes(value)


def _json(value: Any) -> Any:
    """The value with numbers that no float holds, and text, checked: the SDK encodes the rest itself."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return exact_text(value)
    if isinstance(value, dict):
        return {exact_text(key): _json(item) for key, item in value.items()}
    return [_json(item) for item in value] if isinstance(value, list) else value


def _kind(value: Any) -> str:
    return {bool: "a boolean", str: "text", dict: "an object", list: "a list", float: "a fraction"}.get(
        type(value), type(value).__name__
    )


_CONVERTERS: Mapping[str, Converter] = {
    "BOOLEAN": _boolean,
    "SHORT": _whole(16, "INT"),
    "INT": _whole(32, "LONG"),
    "LONG": _whole(64, "DECIMAL or STRING"),
    "DOUBLE": _double,
    "STRING": _string,
    "XML": _string,
    "JSON": _json,
    "BINARY": _binary,
    "NAIVE_DATE": _naive_date,
    "NAIVE_DATETIME": _naive_datetime,
    "UTC_DATETIME": _utc_datetime,
}
