"""How the values of each PostgreSQL type arrive: the Fivetran type of a column, and the SQL that reads it exactly.

The type follows from the catalogue alone, never from rows. Where some values of a PostgreSQL type have no exact form in
the Fivetran type (infinity as a date, NaN as a decimal), the column arrives as NULL in those rows and the text of the
value stands in the column `_exact` beside it. A column that is read as text (`text_columns`) holds every value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql

from shared.values import ColumnType

# The most digits that every destination keeps in a DECIMAL.
_MOST_DIGITS = 38


@dataclass(frozen=True)
class Form:
    """How a column is read.

    value   SQL of what is fetched, with {0} for the column
    beyond  SQL that is true for a value with no exact form in the Fivetran type; empty if there are none
    """

    value: str
    beyond: str = ""


def _between(low: str, high: str, type_: str) -> Form:
    within = f"{{0}} BETWEEN '{low}'::{type_} AND '{high}'::{type_}"
    return Form(f"CASE WHEN {within} THEN {{0}} END", f"NOT {within}")


def _floating(type_: str, least: str, most: str) -> Form:
    """Sent as it is; what destinations are known to change, -0.0 and what is no normal number, is said beside it."""
    zero = f"{type_}send({{0}}) = {type_}send(0)"
    return Form("{0}", f"NOT (abs({{0}}::float8) BETWEEN {least} AND {most} OR {zero})")


PLAIN = Form("{0}")
TEXT = Form("{0}::text")
DECIMAL = Form("nullif({0}, 'NaN')::text", "{0} = 'NaN'")
DATE = _between("0001-01-01", "9999-12-31", "date")
TIMESTAMP = _between("0001-01-01 00:00", "9999-12-31 23:59:59.999999", "timestamp")
TIMESTAMPTZ = _between("0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00", "timestamptz")
REAL = _floating("float4", "1.1754944e-38", "3.4028235e+38")
DOUBLE = _floating("float8", "2.2250738585072014e-308", "1.7976931348623157e+308")

# By the name of the base type. Whatever is not named here arrives as its text form, which is exact for every type.
_FORMS: Mapping[str, tuple[ColumnType, Form]] = {
    "bool": ("BOOLEAN", PLAIN),
    "int2": ("SHORT", PLAIN),
    "int4": ("INT", PLAIN),
    "int8": ("LONG", PLAIN),
    "oid": ("LONG", PLAIN),
    "float4": ("FLOAT", REAL),
    "float8": ("DOUBLE", DOUBLE),
    "bytea": ("BINARY", PLAIN),
    "date": ("NAIVE_DATE", DATE),
    "timestamp": ("NAIVE_DATETIME", TIMESTAMP),
    "timestamptz": ("UTC_DATETIME", TIMESTAMPTZ),
    # Their plain value is text already; a cast would strip the blanks that pad a char(n).
    **dict.fromkeys(("text", "varchar", "bpchar", "name", "uuid"), ("STRING", PLAIN)),
}

# The most bytes that a value takes as text, by the name of the base type; that of any other type has no bound.
_MOST_BYTES: Mapping[str, int] = {
    "bool": 5, "int2": 6, "int4": 11, "int8": 20, "oid": 10, "float4": 15, "float8": 24, "date": 16, "timestamp": 32,
    "timestamptz": 40, "time": 15, "timetz": 24, "uuid": 36, "name": 64, "char": 4, "macaddr": 17, "macaddr8": 23,
    "inet": 50, "cidr": 50, "pg_lsn": 17, "xid": 10, "cid": 10, "tid": 20, "money": 32,
}  # fmt: skip
_BYTES_OF_A_CHARACTER = 4


def form_of(base_type: str, modifier: int) -> tuple[ColumnType, Form]:
    """The Fivetran type of a base type with its modifier, and how its columns are read."""
    if base_type == "numeric":
        decimal = _decimal(modifier)
        return (decimal, DECIMAL) if decimal else ("STRING", TEXT)
    return _FORMS.get(base_type, ("STRING", TEXT))


def most_bytes(base_type: str, modifier: int) -> int | None:
    """The most bytes that a value of the type takes as text; None where there is no bound, or one of no use."""
    if base_type in ("varchar", "bpchar"):
        return (modifier - 4) * _BYTES_OF_A_CHARACTER if modifier >= 4 else None
    if base_type == "numeric":
        decimal = _decimal(modifier)
        return decimal["precision"] + 3 if decimal else None
    return _MOST_BYTES.get(base_type)


def width(base_type: str, column: sql.Composable) -> sql.Composable:
    """SQL of the bytes that a value takes on its way: of what is stored as text, without reading it."""
    if base_type in ("text", "varchar", "bpchar"):
        return sql.SQL("octet_length({})").format(column)
    if base_type == "bytea":  # travels as two digits a byte
        return sql.SQL("2 * octet_length({})").format(column)
    return sql.SQL("octet_length({}::text)").format(column)


def _decimal(modifier: int) -> dict[str, Any] | None:
    """DECIMAL where precision and scale are declared and every destination holds them.

    How PostgreSQL packs both into a type modifier: src/backend/utils/adt/numeric.c, numeric_typmod_precision.
    """
    if modifier < 4:
        return None
    precision = ((modifier - 4) >> 16) & 0xFFFF
    scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
    if not 0 <= scale <= precision <= _MOST_DIGITS:
        return None
    return {"type": "DECIMAL", "precision": precision, "scale": scale}
