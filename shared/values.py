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
    {"epoch": "s"}  a number is no time: seconds, or "ms", since 1970     delivered as UTC_DATETIME
    JSON            a Decimal inside raises                               delivered as text with the same digits
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

ColumnType = str | Mapping[str, Any]
Converter = Callable[[Any], Any]

# Where the fields go that a declaration does not name: nothing of a record is lost, and no type is guessed.
UNDECLARED = "_undeclared"

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = 10**15  # more seconds or milliseconds than there are from 1970 to any year from 1 to 9999
_NO_TIME = "is beyond the years 1 to 9999: is the column's epoch in the right unit, s or ms?"
_EDGE_YEARS = (1, 9999)  # whose times may be in another year in UTC, which no time can say
_SHORTEST_FRACTION = len("2026W05T100000.1234567")
_FINER_THAN_MICROSECONDS = re.compile(r"[.,][0-9]{7}")

# Characters of a number: a point and at most 15 digits, which every float gives back as they were.
_ALWAYS_EXACT = 16


def exact_number(text: str) -> float | Decimal:
    """A JSON number with a fraction or exponent: a float where that is exact, else a Decimal that keeps every digit.

    >>> exact_number("52.52000812345"), exact_number("1e400")
    (52.52000812345, Decimal('1E+400'))
    """
    number = float(text)
    if len(text) <= _ALWAYS_EXACT and "e" not in text and "E" not in text:
        return number
    try:
        exact = Decimal(text)
    except ArithmeticError:
        raise _RefusedNumber("holds a number with an exponent beyond all bounds") from None
    return number if exact == Decimal(repr(number)) else exact


def exact_decoder() -> json.JSONDecoder:
    """A decoder of JSON with numbers exact; `json_problem` tells what it raises."""
    return json.JSONDecoder(parse_float=exact_number, parse_constant=_refuse_constant)


def parse_json(text: str | bytes) -> Any:
    """The JSON document with numbers exact; raises ValueError for what is none, NaN and Infinity included."""
    try:
        return json.loads(text, parse_float=exact_number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise json_problem(error) from None


def json_problem(error: ValueError | RecursionError) -> ValueError:
    """What a decoder of JSON raised, in words that say nothing of Python."""
    if isinstance(error, RecursionError):
        return ValueError("is nested too deeply")
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, _RefusedNumber)):
        return error
    # The one other is that of int(), whose time grows with the square of the digits.
    return ValueError(f"holds a whole number of more than {sys.get_int_max_str_digits():,} digits")


class _RefusedNumber(ValueError):
    """A number that is none in JSON, or that cannot be read."""


def _refuse_constant(name: str) -> Any:
    raise _RefusedNumber(f"{name} is not JSON")


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
    converters = {name: converter(type_) for name, type_ in columns.items() if name != UNDECLARED}
    empty: dict[str, Any] = dict.fromkeys([*converters, UNDECLARED])

    def convert(record: Mapping[str, Any]) -> dict[str, Any]:
        result = empty.copy()
        undeclared = {}
        for column, value in record.items():
            to_exact = converters.get(column)
            if to_exact is None:
                undeclared[column] = value
            elif value is not None:
                try:
                    result[column] = to_exact(value)
                except (ValueError, RecursionError) as problem:
                    raise _refusal(column, problem) from None
        if undeclared:
            try:
                result[UNDECLARED] = _json(undeclared)
            except (ValueError, RecursionError) as problem:
                raise _refusal(UNDECLARED, problem) from None
        return result

    return convert


def _refusal(column: str, problem: ValueError | RecursionError) -> ValueError:
    reason = "is nested too deeply" if isinstance(problem, RecursionError) else problem
    return ValueError(f"column {column}: {reason}")


def converter(column_type: ColumnType) -> Converter:
    """The function that makes a value of the declared type arrive exactly; raises ValueError for a type unknown here.

    FLOAT is none of them: its 32 bits hold few of the numbers that a source may send.
    """
    match column_type:
        case str() if column_type in _CONVERTERS:
            return _CONVERTERS[column_type]
        case {"precision": precision, "scale": scale}:
            return _decimal(int(precision), int(scale))
        case {"epoch": "s" | "ms" as unit}:
            return _epoch(unit)
    known = ", ".join(_CONVERTERS)
    raise ValueError(
        f"{column_type!r} is no type: there are {known}, DECIMAL with precision and scale, "
        'and times as {"epoch": "s"} or {"epoch": "ms"}'
    )


def fivetran_type(column_type: ColumnType) -> ColumnType:
    """What `schema()` declares for a column: the type itself, but UTC_DATETIME for a time as a number.

    >>> fivetran_type({"epoch": "ms"}), fivetran_type("LONG")
    ('UTC_DATETIME', 'LONG')
    """
    return column_type if isinstance(column_type, str) or "epoch" not in column_type else "UTC_DATETIME"


def exact_text(value: str) -> str:
    """Text that every destination keeps; NUL and lone surrogates would vanish or fail far downstream."""
    if value.isascii() and "\0" not in value:
        return value
    if "\0" in value:
        raise ValueError("holds a NUL character, which destinations cannot store: remove it at the source")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character: repair it at the source") from None
    return value


def _string(value: Any) -> str:
    if type(value) is str and value.isascii() and "\0" not in value:
        return value  # most text, without a further call
    return exact_text(value if isinstance(value, str) else dump_json(value))


def _whole(bits: int, larger: str) -> Converter:
    """A converter to integers of so many bits, which names the larger type in its refusal."""
    limit = 2 ** (bits - 1)

    def convert(value: Any) -> int:
        if type(value) is int and -limit <= value < limit:
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"expected a whole number, got {_kind(value)}")
        if not -limit <= value < limit:
            raise ValueError(f"is a whole number beyond {bits} bits: declare the column as {larger}")
        return value

    return convert


def _double(value: Any) -> float:
    if type(value) is float:
        return value
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
        try:
            number = Decimal(digits)
        except ArithmeticError:
            raise ValueError("holds a number with an exponent beyond all bounds") from None
        if number and (_is_finer(number, scale) or number.adjusted() >= precision - scale):
            raise ValueError(
                f"has more digits than DECIMAL({precision}, {scale}) holds: declare a larger one, or STRING"
            )
        return digits

    return convert


def _is_finer(number: Decimal, scale: int) -> bool:
    """Whether a number has digits, other than zeros, beyond so many after its point."""
    _, figures, exponent = number.as_tuple()
    beyond = -int(exponent) - scale
    return beyond > 0 and any(figures[-beyond:])


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {_kind(value)}")
    return value


def _utc_datetime(value: Any) -> datetime:
    moment = _moment(value)
    if moment.tzinfo is None:
        raise ValueError("is a time without an offset: declare the column as NAIVE_DATETIME")
    if moment.year in _EDGE_YEARS:
        try:
            moment.astimezone(UTC)
        except OverflowError:
            raise ValueError("is beyond the years 1 to 9999 in UTC: declare the column as STRING") from None
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
    if len(value) >= _SHORTEST_FRACTION and _FINER_THAN_MICROSECONDS.search(value):
        raise ValueError("is finer than a microsecond: declare the column as STRING")
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("expected a time as ISO 8601 text: declare the column as STRING") from None


def _epoch(unit: str) -> Converter:
    """A converter of seconds ("s") or milliseconds ("ms") since 1970 in UTC, whole or with fractions."""
    digits = {"s": 6, "ms": 3}[unit]  # after the point, for whole microseconds
    microseconds = 10**digits

    def convert(value: Any) -> datetime:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError(f"expected a time as a number, got {_kind(value)}")
        if not -_ANY_TIME < value < _ANY_TIME:  # NaN is neither
            raise ValueError(_NO_TIME)
        if not isinstance(value, int):
            number = Decimal(repr(value)) if isinstance(value, float) else value
            if _is_finer(number, digits):
                raise ValueError("is finer than a microsecond: declare the column as DECIMAL or STRING")
            return _since_1970(int(number * microseconds))
        return _since_1970(value * microseconds)

    return convert


def _since_1970(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise ValueError(_NO_TIME) from None


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
    """The value with numbers that no float holds as text, and all text checked: the SDK encodes the rest itself.

    It is the value itself where nothing has to change, and never changed in place: a copy would take as much memory.
    """
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return exact_text(value)
    if isinstance(value, dict):
        changed = {}
        for key, item in value.items():
            exact_text(key)
            if (exact := _json(item)) is not item:
                changed[key] = exact
        return {**value, **changed} if changed else value
    if isinstance(value, list):
        changes = {place: exact for place, item in enumerate(value) if (exact := _json(item)) is not item}
        return [changes.get(place, item) for place, item in enumerate(value)] if changes else value
    return value


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
