"""The values of a Parquet file's column as they arrive exactly: the types of Arrow, Fivetran's, and Python's values.

    Parquet (Arrow)                            Fivetran        what arrives
    bool                                       BOOLEAN         the same
    int8, int16, uint8                         SHORT           the same
    int32, uint16                              INT             the same
    int64, uint32                              LONG            the same
    uint64                                     DECIMAL(20, 0)  its digits
    float, double, half                        DOUBLE          the same; NaN and infinity are bad rows
    decimal of at most 38 digits               DECIMAL(p, s)   its digits
    decimal of more digits                     STRING          its digits
    string, enum, JSON text, dictionary        STRING          the same; a NUL character makes a bad row
    binary of any kind                         BINARY          the same
    date                                       NAIVE_DATE      the same; beyond the years 1 to 9999 a bad row
    timestamp without a zone                   NAIVE_DATETIME  the same; nanoseconds and other years are bad rows
    timestamp of 12 bytes (INT96)              NAIVE_DATETIME  as without a zone: old Spark and Hive mean UTC;
                                                               inside lists and structs the file is refused
    timestamp with a zone                      UTC_DATETIME    the same moment; otherwise as without a zone
    time                                       STRING          10:30:00.123456789, with as many digits as it has
    duration                                   STRING          PT1.5S
    interval                                   STRING          1 mons 2 days 0.000000003 secs
    list, struct                               JSON            decimals and times as text, bytes as base64, NaN as text
    map                                        JSON            an object; a list of pairs where keys repeat
    null                                       STRING          NULL

Declared as STRING, every one of them is text with all its digits: nanoseconds, NaN and any year too; a binary column is
taken for UTF-8 text then. Any other declared type takes the values that it holds exactly.
"""

import base64
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, Literal

import polars as pl
from arro3.core import Array, DataType, Field, RecordBatch, Schema

from shared.values import ColumnType, converter, dump_json, exact_text
from text_values import text_converter

# Stands for a column of times of 12 bytes: nanoseconds of the day, and the Julian day. Arrow's own type of it is wrong
# for years before 1678 and after 2262.
INT96: Literal["INT96"] = "INT96"
FileType = DataType | Literal["INT96"]
Refusals = dict[int, str]  # what is wrong with a row of the batch, by its number there
# The values of a column of a batch; those of refused rows are None.
Values = Callable[[Array, Refusals], list[Any]]

_MOST_DIGITS = 38
_WHOLE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (DataType.is_int8, "SHORT"),
    (DataType.is_int16, "SHORT"),
    (DataType.is_uint8, "SHORT"),
    (DataType.is_int32, "INT"),
    (DataType.is_uint16, "INT"),
    (DataType.is_int64, "LONG"),
    (DataType.is_uint32, "LONG"),
)
_TEXTS = (DataType.is_string, DataType.is_large_string, DataType.is_string_view)
_BINARIES = (
    DataType.is_binary,
    DataType.is_large_binary,
    DataType.is_binary_view,
    DataType.is_fixed_size_binary,
)
_NESTED = (
    DataType.is_struct,
    DataType.is_map,
    DataType.is_list,
    DataType.is_large_list,
    DataType.is_fixed_size_list,
    DataType.is_list_view,
    DataType.is_large_list_view,
)
_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_FIRST_DAY = (date.min - date(1970, 1, 1)).days
_LAST_DAY = (date.max - date(1970, 1, 1)).days
_FIRST_SECOND = _FIRST_DAY * 86_400
_LAST_SECOND = (_LAST_DAY + 1) * 86_400 - 1
_JULIAN_1970 = 2_440_588
_BEYOND_YEARS = "is beyond the years 1 to 9999: declare the column as STRING in the setting columns"
_TOO_FINE = "is finer than a microsecond: declare the column as STRING in the setting columns"
_NOT_SHOWN = "is beyond what its type can show"
_NUL = "holds a NUL character, which destinations cannot store: remove it at the source"
_NO_NUMBER = "is NaN or infinite, which no column of numbers keeps: declare the column as STRING in the setting columns"


class ArrowProblem(ValueError):
    """What the Arrow library says of bytes or values that it cannot take."""


@contextmanager
def arrow_problems() -> Iterator[None]:
    """Raises ArrowProblem for what arro3 and Polars raise: Exception itself, Polars' own, or a panic, which is none.

    Each of the two has a class of its own for panics, and only Polars' can be imported.
    """
    try:
        yield
    except BaseException as error:
        is_panic = type(error).__name__ == "PanicException"
        if is_panic or type(error) is Exception or isinstance(error, pl.exceptions.PolarsError):
            raise ArrowProblem(str(error).partition("\n")[0]) from error
        raise


def values_size(batch: RecordBatch) -> int:
    """Bytes of a batch's values, those counted again that share their bytes in memory: a text of a dictionary, say."""
    return sum(
        int(pl.Series(_looked_up(column)).estimated_size()) if _shares_bytes(column.type) else column.nbytes
        for column in batch.columns
    )


def _shares_bytes(arrow: DataType) -> bool:
    return DataType.is_string_view(arrow) or DataType.is_binary_view(arrow) or DataType.is_dictionary(arrow)


def _looked_up(column: Array) -> Array:
    """A column as it is, or the values of one that refers to a dictionary."""
    if not DataType.is_dictionary(column.type) or column.type.value_type is None:
        return column
    values = column.type.value_type
    # A view refers to the bytes of the dictionary: a copy of each of them may not fit into memory.
    return column.cast(
        DataType.string_view() if DataType.is_string(values) or DataType.is_large_string(values) else values
    )


def column_type(arrow: FileType) -> ColumnType:
    """The Fivetran type that holds every value of the Arrow type, or, of floats and times, all but the rarest."""
    if isinstance(arrow, str):
        return "NAIVE_DATETIME"
    if DataType.is_dictionary(arrow) and arrow.value_type is not None:
        return column_type(arrow.value_type)
    for is_it, name in _WHOLE:
        if is_it(arrow):
            return name
    if DataType.is_uint64(arrow):
        return {"type": "DECIMAL", "precision": 20, "scale": 0}
    if DataType.is_decimal(arrow):
        precision, scale = _digits(arrow)
        fits = precision <= _MOST_DIGITS and 0 <= scale <= precision
        return {"type": "DECIMAL", "precision": precision, "scale": scale} if fits else "STRING"
    if DataType.is_timestamp(arrow):
        return "UTC_DATETIME" if arrow.tz else "NAIVE_DATETIME"
    if _is_binary(arrow):
        return "BINARY"
    if _is_nested(arrow):
        return "JSON"
    for is_it, name in (
        (DataType.is_boolean, "BOOLEAN"),
        (DataType.is_floating, "DOUBLE"),
        (DataType.is_date, "NAIVE_DATE"),
    ):
        if is_it(arrow):
            return name
    return "STRING"


def values_of(arrow: FileType, target: ColumnType) -> Values:
    """The function that gives a column's values as they arrive exactly in a column of the target's type."""
    natural = column_type(arrow)
    if isinstance(arrow, str):
        if target in ("STRING", "XML"):
            return _int96_texts
        return _int96_times if target == natural else _converted(_int96_times, converter(target))
    if target == natural:
        return _natural(arrow, natural)
    if target in ("STRING", "XML"):
        return _as_text(arrow, natural)
    return _converted(_natural(arrow, natural), _conversion(natural, target))


def json_values(arrow: FileType) -> Values:
    """The function that gives a column's values as what JSON has: numbers, text, lists and objects."""
    if isinstance(arrow, str):
        return _int96_texts
    if DataType.is_null(arrow):
        return _nothing
    exact, convert = _json_form(arrow)

    def values(column: Array, refused: Refusals) -> list[Any]:
        return [_or_none(convert, value) for value in _cast(column, exact, refused).to_pylist()]

    return values


def exact_json_values(arrow: FileType) -> Values:
    """As `json_values`, with rows refused whose text no destination keeps."""
    return _converted(json_values(arrow), converter("JSON"))


def _natural(arrow: DataType, natural: ColumnType) -> Values:
    if DataType.is_dictionary(arrow) and arrow.value_type is not None:
        return _of_dictionary(_natural(arrow.value_type, natural))
    if DataType.is_date64(arrow):
        return lambda column, refused: _dates(column.cast(DataType.date32()), refused)
    if natural == "JSON":
        return exact_json_values(arrow)
    if natural == "DOUBLE":
        return _doubles
    if natural == "NAIVE_DATE":
        return _dates
    if natural in ("NAIVE_DATETIME", "UTC_DATETIME"):
        return _times(arrow)
    if natural == "STRING" or not isinstance(natural, str):
        return _as_text(arrow, natural)
    return _plain


def _plain(column: Array, refused: Refusals) -> list[Any]:
    return pl.Series(column).to_list()


def _nothing(column: Array, refused: Refusals) -> list[Any]:
    return [None] * len(column)


def _of_dictionary(values: Values) -> Values:
    return lambda column, refused: values(_looked_up(column), refused)


def _doubles(column: Array, refused: Refusals) -> list[Any]:
    series = pl.Series(column).cast(pl.Float64)
    return _without(series, ~series.is_finite(), _NO_NUMBER, refused).to_list()


def _dates(column: Array, refused: Refusals) -> list[Any]:
    series = pl.Series(column)
    days = series.to_physical()
    beyond = (days < _FIRST_DAY) | (days > _LAST_DAY)
    return _without(series, beyond, _BEYOND_YEARS, refused).to_list()


def _times(arrow: DataType) -> Values:
    unit = arrow.time_unit or "us"
    a_second = _A_SECOND[unit]
    # The same moment whatever the zone is: only what is shown differs.
    in_utc = DataType.timestamp(unit, tz="UTC" if arrow.tz else None)

    def values(column: Array, refused: Refusals) -> list[Any]:
        series = pl.Series(column.cast(in_utc))
        counts = series.to_physical()
        seconds = counts // a_second
        series = _without(series, (seconds < _FIRST_SECOND) | (seconds > _LAST_SECOND), _BEYOND_YEARS, refused)
        if unit == "ns":
            series = _without(series, counts % 1_000 != 0, _TOO_FINE, refused)
        return series.to_list()

    return values


def _int96_times(column: Array, refused: Refusals) -> list[Any]:
    times, nanoseconds = _of_int96(column, refused)
    return _without(times, nanoseconds != 0, _TOO_FINE, refused).to_list()


def _int96_texts(column: Array, refused: Refusals) -> list[Any]:
    times, nanoseconds = _of_int96(column, refused)
    return [
        None
        if moment is None
        else moment.isoformat(timespec="microseconds") + f"{beyond:03}"
        if beyond
        else moment.isoformat()
        for moment, beyond in zip(times.to_list(), nanoseconds.to_list(), strict=True)
    ]


def _of_int96(column: Array, refused: Refusals) -> tuple[pl.Series, pl.Series]:
    """Times in microseconds, and the nanoseconds beyond them."""
    series = pl.Series(column)
    nanoseconds = series.bin.slice(0, 8).bin.reinterpret(dtype=pl.Int64)
    days = series.bin.slice(8, 4).bin.reinterpret(dtype=pl.Int32).cast(pl.Int64) - _JULIAN_1970
    beyond = (days < _FIRST_DAY) | (days > _LAST_DAY) | (nanoseconds < 0) | (nanoseconds >= 86_400 * _A_SECOND["ns"])
    times = (days * 86_400 * _A_SECOND["us"] + nanoseconds // 1_000).cast(pl.Datetime("us"))
    return _without(times, beyond, _BEYOND_YEARS, refused), nanoseconds % 1_000


def _without(series: pl.Series, wrong: pl.Series, reason: str, refused: Refusals) -> pl.Series:
    """The series with None where something is wrong, which is said in `refused`."""
    if not wrong.any():
        return series
    refused.update(dict.fromkeys(wrong.fill_null(False).arg_true().to_list(), reason))
    return pl.select(pl.when(~wrong).then(series)).to_series()


def _as_text(arrow: DataType, natural: ColumnType) -> Values:
    """Values as text; text itself, and whatever needs no more than a cast, goes without a look at each value."""
    if DataType.is_null(arrow):
        return _nothing
    if DataType.is_dictionary(arrow) and arrow.value_type is not None:
        return _of_dictionary(_as_text(arrow.value_type, natural))
    if natural == "JSON":
        return _converted(json_values(arrow), lambda value: exact_text(dump_json(value)))
    if natural == "BINARY":
        return _converted(_plain, _decoded)

    is_text = any(is_it(arrow) for is_it in _TEXTS)

    def values(column: Array, refused: Refusals) -> list[Any]:
        if not is_text:
            return pl.Series(_cast(column, DataType.utf8(), refused)).to_list()
        # A cast to the same type drops the mark of JSON text, of which Polars would make a type of its own.
        series = pl.Series(column.cast(column.type))
        return _without(series, series.str.contains("\0", literal=True), _NUL, refused).to_list()

    return values


def _decoded(value: bytes) -> str:
    try:
        return exact_text(value.decode())
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text: declare the column as BINARY in the setting columns") from None


def _converted(values: Values, convert: Callable[[Any], Any]) -> Values:
    """Values of which each is converted; what ValueError says of one is the refusal of its row."""

    def converted(column: Array, refused: Refusals) -> list[Any]:
        found: list[Any] = []
        for row, value in enumerate(values(column, refused)):
            try:
                found.append(None if value is None else convert(value))
            except (ValueError, RecursionError) as problem:
                found.append(None)
                refused[row] = "is nested too deeply" if isinstance(problem, RecursionError) else str(problem)
        return found

    return converted


def _conversion(natural: ColumnType, target: ColumnType) -> Callable[[Any], Any]:
    """From a value of one type to one of another that says the same; it raises ValueError where there is none."""
    is_text = natural == "STRING" or not isinstance(natural, str)  # a decimal is its digits
    return text_converter(target) if is_text else converter(target)


def _cast(column: Array, arrow: DataType, refused: Refusals) -> Array:
    """The column as another type of Arrow, with None for values that it cannot show."""
    if column.type == arrow:
        return column
    try:
        with arrow_problems():
            return column.cast(arrow)
    except ArrowProblem:
        rows = [row if _can_be_cast(column.slice(row, 1), arrow) else None for row in range(len(column))]
        refused.update({row: _NOT_SHOWN for row, kept in enumerate(rows) if kept is None})
        return column.take(Array(rows, DataType.uint32())).cast(arrow)


def _can_be_cast(value: Array, arrow: DataType) -> bool:
    try:
        with arrow_problems():
            value.cast(arrow)
    except ArrowProblem:
        return False
    return True


def _json_form(arrow: DataType) -> tuple[DataType, Callable[[Any], Any]]:
    """The type to cast to, so that Python's values say all that Arrow's do, and from those to what JSON has."""
    if DataType.is_dictionary(arrow) and arrow.value_type is not None:
        return _json_form(arrow.value_type)
    if DataType.is_struct(arrow):
        forms = {field.name: _json_form(field.type) for field in arrow.fields}
        exact = DataType.struct([field.with_type(forms[field.name][0]) for field in arrow.fields])
        return exact, lambda value: {name: _or_none(forms[name][1], item) for name, item in value.items()}
    if DataType.is_map(arrow):
        return _json_form_of_map(arrow)
    if _is_nested(arrow) and arrow.value_field is not None:
        item_type, of_item = _json_form(arrow.value_field.type)
        exact = DataType.large_list(arrow.value_field.with_type(item_type).with_nullable(True))
        return exact, lambda value: [_or_none(of_item, item) for item in value]
    if DataType.is_floating(arrow):
        return arrow, _finite_or_text
    if _is_binary(arrow):
        return arrow, lambda value: base64.b64encode(value).decode()
    if DataType.is_temporal(arrow) or DataType.is_decimal(arrow):
        return DataType.utf8(), _same
    return arrow, _same


def _json_form_of_map(arrow: DataType) -> tuple[DataType, Callable[[Any], Any]]:
    key, value = _types_in_map(arrow)
    key_type, of_key = _json_form(key)
    value_type, of_value = _json_form(value)
    exact = DataType.map(Field("key", key_type, nullable=False), Field("value", value_type), False)

    def convert(pairs: list[tuple[Any, Any]]) -> Any:
        found = [(of_key(key), _or_none(of_value, value)) for key, value in pairs]
        by_name = {key if isinstance(key, str) else dump_json(key): value for key, value in found}
        return by_name if len(by_name) == len(found) else [{"key": key, "value": value} for key, value in found]

    return exact, convert


def _types_in_map(arrow: DataType) -> tuple[DataType, DataType]:
    """The types of a map's keys and values; raises ArrowProblem for those that Polars lacks."""
    try:
        with arrow_problems():
            # Only Polars tells the types inside a map; its Series of none has them without a value.
            inner: Any = pl.Series(Schema([Field("map", arrow)]).empty_table().column(0)).dtype
            return _arrow_type(inner.key), _arrow_type(inner.value)
    except ArrowProblem as problem:
        raise ArrowProblem(f"a map holds a type that is not read here ({problem}): write it as text") from problem


def _arrow_type(of_polars: Any) -> DataType:
    if isinstance(of_polars, pl.Decimal):  # Polars refuses values of more than 38 digits
        return DataType.decimal256(of_polars.precision, of_polars.scale)
    return Array.from_arrow(pl.Series([], dtype=of_polars)).type


def _or_none(convert: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else convert(value)


def _same(value: Any) -> Any:
    return value


def _finite_or_text(value: float) -> Any:
    """The number, or the text that Arrow has for what is none in JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else str(value)


def _is_binary(arrow: DataType) -> bool:
    return any(is_it(arrow) for is_it in _BINARIES)


def _is_nested(arrow: DataType) -> bool:
    return any(is_it(arrow) for is_it in _NESTED)


def _digits(arrow: DataType) -> tuple[int, int]:
    """Precision and scale of a decimal, which only its name tells: Decimal128(15, 2)."""
    precision, scale = str(arrow).partition("(")[2].partition(")")[0].split(",")
    return int(precision), int(scale)
