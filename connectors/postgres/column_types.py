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


@dataclass(frozen=True)
class Line:
    """Some types of PostgreSQL whose values arrive alike: a line of the README's table.

    written  the types as a person writes them
    names    the types as pg_type names them
    type     the Fivetran type
    form     how such a column is read
    note     what a reader of the values has to know
    kinds    types that are named by nothing but what they are, by the letters of pg_type: r and m for ranges and
             multiranges (typtype), e, c and d for enums, composites and domains, A for arrays (typcategory)
    """

    written: str
    names: tuple[str, ...]
    type: str
    form: Form
    note: str = ""
    kinds: str = ""


def _between(low: str, high: str, type_: str) -> Form:
    within = f"{{0}} BETWEEN '{low}'::{type_} AND '{high}'::{type_}"
    return Form(f"CASE WHEN {within} THEN {{0}} END", f"NOT {within}")


def _floating(type_: str, least: str, most: str) -> Form:
    """Sent as it is; what destinations are known to change, -0.0 and what is no normal number, is said beside it."""
    zero = f"{type_}send({{0}}) = {type_}send(0)"
    return Form("{0}", f"NOT (abs({{0}}::float8) BETWEEN {least} AND {most} OR {zero})")


PLAIN = Form("{0}")
# What the type itself writes, as psql shows it. A cast to text is not that for every type: it strips the blanks of a
# char(n), adds /32 to an address, and runs whatever a CREATE CAST names. The condition is true for a row of NULLs too.
TEXT = Form("CASE WHEN {0} IS DISTINCT FROM NULL THEN concat({0}) END")
# "true" is known to more readers than the "t" that psql shows.
BOOLEAN_TEXT = Form("{0}::text")
DECIMAL = Form("nullif({0}, 'NaN')::text", "{0} = 'NaN'")
# A whole number of more than 4,300 digits ends with a point: without one it is taken for an integer on the way, and
# that many digits stop Python from reading it. The scale of infinity is NULL.
DIGITS = Form("{0}::text || CASE WHEN abs({0}) >= 1e4300 AND scale({0}) = 0 THEN '.' ELSE '' END")
DATE = _between("0001-01-01", "9999-12-31", "date")
TIMESTAMP = _between("0001-01-01 00:00", "9999-12-31 23:59:59.999999", "timestamp")
TIMESTAMPTZ = _between("0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00", "timestamptz")
REAL = _floating("float4", "1.1754943e-38", "3.4028235e+38")
DOUBLE = _floating("float8", "2.2250738585072014e-308", "1.7976931348623157e+308")

_BESIDE = "before year 1, after 9999 and infinity: NULL, and the text in `_exact`"
_NUMBERS = "to the last bit; NaN, ±infinity, -0.0 and subnormal numbers stand in `_exact` too"
_DECIMAL_LINE = Line(
    f"numeric(p, s) with s from 0 to p, and p up to {_MOST_DIGITS}", ("numeric",), "DECIMAL(p, s)", DECIMAL,
    "NaN: NULL, and the text in `_exact`",
)  # fmt: skip
_DIGITS_LINE = Line(
    "numeric without precision, or any other", ("numeric",), "STRING", DIGITS,
    "every digit, NaN and ±Infinity; a whole number of more than 4,300 digits ends with a point",
)  # fmt: skip
_ELSE = Line("every other type, those of extensions too: cube, vector, ...", (), "STRING", TEXT)

# What each type arrives as. A domain is the type below it. The README's table is written from this.
TYPES = (
    Line("boolean", ("bool",), "BOOLEAN", PLAIN),
    Line("smallint", ("int2",), "SHORT", PLAIN),
    Line("integer", ("int4",), "INT", PLAIN),
    Line("bigint", ("int8",), "LONG", PLAIN),
    Line("oid", ("oid",), "LONG", PLAIN, "never negative"),
    _DECIMAL_LINE,
    _DIGITS_LINE,
    Line("real", ("float4",), "FLOAT", REAL, _NUMBERS),
    Line("double precision", ("float8",), "DOUBLE", DOUBLE, _NUMBERS),
    Line("money", ("money",), "STRING", TEXT, "as the database's lc_monetary writes it: `$1,234.50`"),
    # Fetched as they are, which is the same text and costs the server least.
    Line("text, varchar(n), name", ("text", "varchar", "name"), "STRING", PLAIN),
    Line("char(n)", ("bpchar",), "STRING", PLAIN, "with the blanks that pad it"),
    Line('"char"', ("char",), "STRING", TEXT, 'a byte beyond ASCII in octal: `\\351`'),
    Line("citext", ("citext",), "STRING", TEXT, "as it was written"),
    Line("bytea", ("bytea",), "BINARY", PLAIN),
    Line("bit(n), bit varying(n)", ("bit", "varbit"), "STRING", TEXT, "zeros and ones: `0101`"),
    Line("date", ("date",), "NAIVE_DATE", DATE, _BESIDE),
    Line("timestamp", ("timestamp",), "NAIVE_DATETIME", TIMESTAMP, _BESIDE),
    Line("timestamp with time zone", ("timestamptz",), "UTC_DATETIME", TIMESTAMPTZ, _BESIDE),
    Line("time", ("time",), "STRING", TEXT, "`24:00:00` is one of them"),
    Line("time with time zone", ("timetz",), "STRING", TEXT, "with the offset it was written with"),
    Line("interval", ("interval",), "STRING", TEXT, "`1 year 2 mons -3 days +04:05:06.7`"),
    Line("uuid", ("uuid",), "STRING", PLAIN),
    Line("json", ("json",), "STRING", TEXT, "as it was written: every digit, blank, and key that is there twice"),
    Line("jsonb", ("jsonb",), "STRING", TEXT, "every digit"),
    Line("jsonpath", ("jsonpath",), "STRING", TEXT),
    Line("xml", ("xml",), "XML", TEXT, "documents and fragments, without the declaration of an encoding"),
    Line("arrays", (), "STRING", TEXT, 'of any depth: `{{1,NULL},{"a,b",""}}`, with bounds `[0:1]={1,2}`', "A"),
    Line("enums", (), "STRING", TEXT, "the label", "e"),
    Line("composite types", (), "STRING", TEXT, '`(1,"a,b",)`', "c"),
    Line("ranges", (), "STRING", TEXT, "`[1,5)`, `(,)`, `empty`", "r"),
    Line("multiranges", (), "STRING", TEXT, "`{[1,3),[5,)}`", "m"),
    Line("domains", (), "the same as the type below", TEXT, "however deep", "d"),
    Line("hstore", ("hstore",), "STRING", TEXT, '`"key"=>"value", "other"=>NULL`'),
    Line("ltree, lquery, ltxtquery", ("ltree", "lquery", "ltxtquery"), "STRING", TEXT),
    Line(
        "point, line, lseg, box, path, polygon, circle", ("point", "line", "lseg", "box", "path", "polygon", "circle"),
        "STRING", TEXT, "numbers to the last bit: `(0.1,-0)`",
    ),
    Line(
        "inet, cidr, macaddr, macaddr8", ("inet", "cidr", "macaddr", "macaddr8"), "STRING", TEXT,
        "an address of all bits without them: `10.0.0.1`",
    ),
    Line("tsvector, tsquery", ("tsvector", "tsquery"), "STRING", TEXT),
    Line(
        "pg_lsn, pg_snapshot, txid_snapshot, xid, xid8, cid, tid",
        ("pg_lsn", "pg_snapshot", "txid_snapshot", "xid", "xid8", "cid", "tid"), "STRING", TEXT,
    ),
    Line(
        "regclass, regtype, regproc, regrole and their like",
        (
            "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator",
            "regproc", "regprocedure", "regrole", "regtype",
        ),
        "STRING", TEXT, "the name, with its schema, as it is when the row is read",
    ),
    Line("aclitem, gtsvector, refcursor", ("aclitem", "gtsvector", "refcursor"), "STRING", TEXT),
    _ELSE,
)  # fmt: skip
# By the name of the base type in pg_catalog. A type of another schema arrives as its text, whatever it is called.
_LINES: Mapping[str, Line] = {
    name: line for line in TYPES if line not in (_DECIMAL_LINE, _DIGITS_LINE) for name in line.names
}

# The most bytes that a value takes as text, by the name of the base type; that of any other type has no bound.
_MOST_BYTES: Mapping[str, int] = {
    "bool": 5, "int2": 6, "int4": 11, "int8": 20, "oid": 10, "float4": 15, "float8": 24, "date": 16, "timestamp": 32,
    "timestamptz": 40, "time": 15, "timetz": 24, "uuid": 36, "name": 64, "char": 4, "macaddr": 17, "macaddr8": 23,
    "inet": 50, "cidr": 50, "pg_lsn": 17, "xid": 10, "cid": 10, "tid": 20, "money": 32,
}  # fmt: skip
_BYTES_OF_A_CHARACTER = 4
# Where more is allowed, it is seldom there: counting on it would make pages of a few rows. What is there is measured.
_LARGEST_BOUND = 1_000


def form_of(base_type: str, modifier: int) -> tuple[ColumnType, Form]:
    """The Fivetran type of a base type with its modifier, and how its columns are read."""
    if base_type == "numeric":
        decimal = _decimal(modifier)
        return (decimal, DECIMAL) if decimal else ("STRING", DIGITS)
    line = _LINES.get(base_type, _ELSE)
    return line.type, line.form


def text_form(base_type: str, modifier: int) -> Form:
    """How columns of a type are read that arrive as text whatever their type is."""
    type_, form = form_of(base_type, modifier)
    if type_ == "STRING":
        return form
    return BOOLEAN_TEXT if base_type == "bool" else TEXT


def types_table() -> str:
    """What each type arrives as, as a table for the README."""
    rows = [f"| {line.written} | {line.type} | {f'{line.note} ' if line.note else ''}|\n" for line in TYPES]
    return "| PostgreSQL | arrives as | |\n|---|---|---|\n" + "".join(rows)


def most_bytes(base_type: str, modifier: int) -> int | None:
    """The most bytes that a value of the type takes as text; None where there is no bound, or one of no use."""
    if base_type in ("varchar", "bpchar"):
        bound = (modifier - 4) * _BYTES_OF_A_CHARACTER
        return bound if 0 <= bound <= _LARGEST_BOUND else None
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
