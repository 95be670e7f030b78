"""Every line of the README's table of types, from the values that the server shows to what is sent.

The values are the edges of each type, and many random ones; what is expected is the text that the server itself writes
for a plain SELECT, which connectors/postgres does not ask for in this way.
"""

import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import hypothesis
import pytest
from hypothesis import strategies as st
from psycopg2 import extensions
from psycopg2.extensions import cursor as Cursor

from shared.errors import RecordError
from tests import debug_run, stop_and_resume
from tests.connectors.postgres_database import Database, connector
from tests.loading import load_module
from tests.recording import Encoded, Row, decoded, sync
from tests.sources.interruption import Interruption
from tests.sources.postgres_server import PostgresServer

column_types = load_module("postgres", "column_types")

pytestmark = pytest.mark.usefixtures("quick")

# What the types below need.
SETUP = """
    CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube;
    CREATE EXTENSION seg; CREATE EXTENSION isn; CREATE EXTENSION vector; CREATE EXTENSION intarray; CREATE EXTENSION lo;
    CREATE TYPE mood AS ENUM (
        'ok', '', 'so so', 'it''s', 'a,b', 'a"b', 'back\\slash', '{}', 'NULL', '日本', '👩‍👩‍👧', '%s'
    );
    CREATE TYPE "Odd, type" AS (n int, "a b" text, moods mood[], at timestamptz);
    CREATE TYPE nested AS (odd "Odd, type", odds "Odd, type"[], span int4range);
    CREATE TYPE float_range AS RANGE (subtype = float8, subtype_diff = float8mi);
    CREATE DOMAIN cents AS numeric(10, 2); CREATE DOMAIN price AS cents CHECK (VALUE >= 0);
    CREATE DOMAIN prices AS price[]; CREATE DOMAIN price_list AS prices; CREATE DOMAIN day AS date;
    CREATE DOMAIN big AS numeric; CREATE DOMAIN code AS char(4); CREATE DOMAIN pairs AS "Odd, type";
    CREATE TYPE date AS ENUM ('not a day'); CREATE DOMAIN bool AS text; CREATE TYPE bytea AS (a int);
    -- A cast may say anything: it is not what the value is.
    CREATE FUNCTION loud(mood) RETURNS text LANGUAGE sql AS $$ SELECT 'LOUD' $$;
    CREATE CAST (mood AS text) WITH FUNCTION loud(mood);
    -- Without libxml the server takes no XML, but it stores and shows it all the same.
    CREATE FUNCTION as_xml(text) RETURNS xml LANGUAGE internal IMMUTABLE STRICT AS 'xmltotext';
"""
MANY_DIGITS = "1" + "0123456789" * 13_107 + "9"  # 131,072
FINEST = "9876543210" * 1638 + "123"  # 16,383
EVERY_BYTE = bytes(range(256))
# From every plane, from right to left, combining, joined, invisible, the last of all, and what looks like NUL.
UNICODE = (
    "".join(chr(plane * 0x10000 + 0x1234) for plane in range(17))
    + "\u0591\u05e9\u05c1\u202e\u0627\u0644\u0640 e\u0301\u0323 👩‍👩‍👧 "
    + "\u200b\ufeff\u2028\x85\x7f\x01\x1f\ufffe\uffff\U0010ffff \\0 \\x00 \\u0000"
)
TEXTS = (
    "", " ", "  both  ", "00123", "1e5", "true", "2026-01-31", "NULL", "null", "NaN", "-0", "{}", '{"a": 1}', "\\N",
    "it's \"quoted\", 100 % \\ {0} %s", "two\nlines\r\nand\ta tab", UNICODE,
)  # fmt: skip
INFINITE = ("infinity", "-infinity")


@dataclass(frozen=True, eq=False)
class Proof:
    """Values of a column's type.

    line    the line of the README's table that they prove
    type    the type as CREATE TABLE takes it
    values  as PostgreSQL reads them; each is held exactly by the Fivetran type of the column
    beyond  those that are not, or that destinations change
    sent    the Fivetran type, where the line does not say it
    """

    line: str
    type: str
    values: tuple[str, ...]
    beyond: tuple[str, ...] = ()
    sent: Any = None


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "DECIMAL", "precision": precision, "scale": scale}


def lines(*proofs: tuple[str, Sequence[Any]]) -> tuple[Proof, ...]:
    return tuple(Proof(line, *proof) for line, several in proofs for proof in several)


EXACT_DECIMAL = "numeric(p, s) with s from 0 to p, and p up to 38"
DIGITS = "numeric without precision, or any other"
ELSE = "every other type, those of extensions too: cube, vector, ..."
NINES = "9" * 38

PROOFS = lines(
    ("boolean", [("boolean", ("true", "false"))]),
    ("smallint", [("smallint", ("0", "-32768", "32767"))]),
    ("integer", [("integer", ("0", "-2147483648", "2147483647"))]),
    ("bigint", [("bigint", ("0", "-9223372036854775808", "9223372036854775807", "9007199254740993"))]),
    ("oid", [("oid", ("0", "4294967295"))]),
    (EXACT_DECIMAL, [
        ("numeric(4, 2)", ("0", "1.1", "-99.99", "99.99", "0.005"), ("NaN",), decimal(4, 2)),
        ("numeric(38)", ("0", NINES, f"-{NINES}"), ("NaN",), decimal(38, 0)),
        ("numeric(38, 38)", ("0", f"0.{NINES}", f"-0.{'0' * 37}1"), ("NaN",), decimal(38, 38)),
        ("numeric(38, 10)", ("12345678901234567890.0123456789",), (), decimal(38, 10)),
        ("numeric(1)", ("9", "-9"), (), decimal(1, 0)),
    ]),
    (DIGITS, [
        ("numeric", (
            "0", "-0.0", "0.00", "1.10", "1e-16383", f"-{MANY_DIGITS}.{FINEST}", MANY_DIGITS, f"-{MANY_DIGITS}",
            "1e4300", "1e4299", "-1e4300", "NaN", "Infinity", "-Infinity",
        )),
        ("numeric(39, 0)", (NINES + "9", "NaN")),
        ("numeric(1000, 1000)", (f"0.{'0' * 999}1", f"-0.{'9' * 1000}")),
        ("numeric(1000)", ("9" * 1000,)),
        ("numeric(2, -3)", ("99000", "-12345", "0", "NaN")),
        ("numeric(2, -1000)", ("9.9e1001",)),
        ("numeric(3, 5)", ("0.00999", "-0.00123", "0")),
    ]),
    ("real", [("real",
        ("0", "0.1", "1.17549435e-38", "-3.4028235e+38", "16777217", "3.1415927"),
        ("NaN", "Infinity", "-Infinity", "-0", "1e-45", "-1.1754942e-38"),
    )]),
    ("double precision", [("double precision",
        ("0", "0.1", "0.30000000000000004", "2.2250738585072014e-308", "-1.7976931348623157e+308", "9007199254740993",
            "5e22"),
        ("NaN", "Infinity", "-Infinity", "-0", "5e-324", "-2.225073858507201e-308"),
    )]),
    ("money", [("money", ("0", "1234.5", "-1234567.89", "-92233720368547758.08", "92233720368547758.07"))]),
    ("text, varchar(n), name", [
        ("text", (*TEXTS, "😀 é" * 800_000)),
        ("varchar", TEXTS),
        ("varchar(3)", ("abc", "a  ", "👩é日", "")),
        ("name", ("pg_class", "", "x" * 63, "Odd \"name\"")),
        ('text COLLATE "C"', ("ä", "a")),
    ]),
    ("char(n)", [("char(5)", ("ab", "", "     ", "👩é", "abcde")), ("char", ("x", " ")), ("bpchar", ("ab  ", " "))]),
    ('"char"', [('"char"', ("a", "", "\\200", "\\377", "\\011", " "))]),
    ("citext", [("citext", ("MiXed", "mixed", "", "É"))]),
    ("bytea", [("bytea", (
        "", "\\x00", f"\\x{EVERY_BYTE.hex()}", f"\\x{random.Random(0).randbytes(5_000_000).hex()}",
    ))]),
    ("bit(n), bit varying(n)", [
        ("bit(3)", ("000", "101")), ("bit", ("0", "1")), ("bit varying", ("", "0", "01" * 1000)),
        ("varbit(5)", ("10101", "")),
    ]),
    ("date", [("date",
        ("0001-01-01", "9999-12-31", "2024-02-29", "1582-10-10"),
        ("infinity", "-infinity", "0044-03-15 BC", "0001-12-31 BC", "10000-01-01", "4714-11-24 BC", "5874897-12-31"),
    )]),
    ("timestamp", [
        ("timestamp",
            ("0001-01-01 00:00", "9999-12-31 23:59:59.999999", "2026-01-31 10:00:00.5", "2026-01-31 24:00:00"),
            (*INFINITE, "0001-12-31 23:59:59.999999 BC", "10000-01-01", "294276-12-31 23:59:59.999999",
                "4714-11-24 BC")),
        ("timestamp(0)", ("2026-01-31 10:00:00.5",), ("9999-12-31 23:59:59.9",)),
    ]),
    ("timestamp with time zone", [
        ("timestamptz",
            ("0001-01-01 00:00+00", "9999-12-31 23:59:59.999999+00", "2026-01-31 10:00:00.123456+05:30",
             "1900-01-01 00:00:00+00:19:32"),
            (*INFINITE, "0001-01-01 00:00+00:01", "9999-12-31 23:59:59.999999-01", "0044-03-15 12:00+00 BC")),
        ("timestamptz(3)", ("2026-01-31 10:00:00.1239+00",)),
    ]),
    ("time", [("time", ("00:00", "24:00:00", "23:59:59.999999", "10:00:00.1")), ("time(0)", ("12:34:56.7",))]),
    ("time with time zone", [
        ("timetz", ("00:00+00", "24:00:00-15:59:59", "23:59:59.999999+15:59:59", "10:00+05:30", "10:00-00:00:01")),
    ]),
    ("interval", [
        ("interval", (
            "0", "1 year 2 mons -3 days +04:05:06.7", "-1 year -2 mons +3 days -04:05:06.789012", "00:00:00.000001",
            "-178000000 years", "178000000 years", "2147483647 days", "infinity", "-infinity", "36 hours",
            "-1 days +1 hours",
        )),
        ("interval year to month", ("1 year 2 mons",)), ("interval(0)", ("1.6 s",)),
    ]),
    ("uuid", [("uuid", ("6F9619FF-8b86-d011-b42d-00c04fc964ff", "0" * 32, "f" * 32))]),
    ("json", [("json", (
        '{"a": 1.10, "a": 1e400}', ' { "b":\n1 ,"b" : 2}', "123456789012345678901234567890.10", "null", '"text"',
        "[]", "-0",
        '{"\\u0000": "\\ud83d\\ude00"}', f'[{"9" * 5000}]', '{"' + "k" * 100_000 + '": [[[[{}]]]]}', '"日本 👩‍👩‍👧"',
    ))]),
    ("jsonb", [("jsonb", (
        '{"a": 1.10, "b": 123456789012345678901234567890.0}', f'[{MANY_DIGITS}, 1e-16383]', "null", '"text"', "{}",
        "-0", '{"\\ud83d\\ude00": "é\\n\\""}', "true",
    ))]),
    ("jsonpath", [("jsonpath", ('$."a b"[*] ? (@.x > 1.50)', "strict $", "lax $.a"))]),
    ("xml", [("xml", (
        '<a b="1">x</a>', "a <b>fragment</b> ", "", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "  <é>\n\t😀&lt;</é>",
        "1", "true",
    ))]),
    ("arrays", [
        ("int[]", ("{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "[0:1]={7,8}", "[-1:0][2:3]={{1,2},{3,4}}", "{{{{{{1}}}}}}")),
        ("text[]", (
            "{}", '{"","NULL",NULL,"a,b","a\\"b","back\\\\slash","{}"," both ","two\nlines",日本,👩‍👩‍👧}',
            '[3:4]={"a b",c}',
        )),
        ("numeric(5, 2)[]", ("{1.1,NaN,NULL}",)), ("float8[]", ("{NaN,-0,Infinity,0.1,5e-324}",)),
        ("timestamptz[]", ("{infinity,2026-01-31 10:00+05:30,0044-03-15 12:00+00 BC}",)),
        ("date[][]", ("{{infinity}}",)),
        ("bytea[]", ('{"\\\\x00ff",""}',)), ("bool[]", ("{t,f,NULL}",)), ("json[]", ('{"{\\"a\\": 1.10}"}',)),
        ("mood[]", ('{ok,"","a,b","NULL"}',)), ('"Odd, type"[]', ('{"(1,\\"a,b\\",,)","(,,,)"}',)),
        ("char(3)[]", ("{a,abc}",)),
        ("inet[]", ("{10.0.0.1,10.0.0.1/8}",)), ("box[]", ("{(1,1),(0,0);(2,2),(0,0)}",)),
        ("int4range[]", ('{"[1,3)",empty}',)),
        ("hstore[]", ('{"a=>1"}',)), ("int2vector", ("1 2 3", "")), ("oidvector", ("4294967295 0",)),
        ("bool[3]", ("{t}",)),
    ]),
    ("enums", [("mood", (
        "ok", "", "so so", "it's", "a,b", 'a"b', "back\\slash", "{}", "NULL", "日本", "👩‍👩‍👧", "%s",
    ))]),
    ("composite types", [
        ('"Odd, type"', (
            "(,,,)", '(1,"a,b","{ok,\\"a,b\\"}","2026-01-31 10:00+05:30")', '(-1,"(\\"q\\")",{},infinity)',
            '(1,"","{NULL}",)',
            '(1," back\\\\slash ",,)', '(1,NULL,,)',
        )),
        ("nested", (
            '("(1,x,,)","{""(2,\\\\""y,z\\\\"",,)""}","[1,5)")', "(,,)", '("(,,,)",{},empty)',
        )),
    ]),
    ("ranges", [
        ("int4range", ("[1,5]", "empty", "(,)", "[,3]", "(3,)")), ("int8range", ("[1,9223372036854775807)",)),
        ("numrange", ("(1.10,2.2]", "[-Infinity,NaN]", f"[0,{MANY_DIGITS}]")),
        ("daterange", ("[2026-01-01,infinity]", "(,)")),
        ("tsrange", ("[-infinity,0044-03-15 BC]", '["2026-01-01 10:00:00.5",)')),
        ("tstzrange", ("[2026-01-31 10:00+05:30,)",)),
        ("float_range", ("[-0,0.1)", "[NaN,NaN]")),
    ]),
    ("multiranges", [
        ("int4multirange", ("{}", "{[1,3),[5,)}", "{(,)}")), ("int8multirange", ("{[1,2)}",)),
        ("nummultirange", ("{[1.10,2.2],(3,Infinity)}",)), ("datemultirange", ("{[2026-01-01,2026-02-01)}",)),
        ("tsmultirange", ("{[2026-01-01,2026-02-01)}",)), ("tstzmultirange", ("{[2026-01-01 00:00+01,)}",)),
        ("float_multirange", ("{[0.1,0.30000000000000004)}",)),
    ]),
    ("domains", [
        ("price", ("19.9", "0"), ("NaN",), decimal(10, 2)),
        ("price_list", ("{1,2.50,NULL}", "[0:0]={1}"), (), "STRING"),
        ("day", ("2026-01-31",), INFINITE, "NAIVE_DATE"), ("big", ("NaN", "1e4300", "0.10"), (), "STRING"),
        ("code", ("ab", ""), (), "STRING"), ("pairs", ("(,,,)", '(1,"a,b",,)'), (), "STRING"),
    ]),
    ("hstore", [("hstore", ("", "a=>1, b=>NULL", '"a b"=>"it\'s \\"q\\" \\\\", ""=>""', "日=>本"))]),
    ("ltree, lquery, ltxtquery", [
        ("ltree", ("", "Top.Countries.Peru", "a-b.c_d")), ("lquery", ("*.a|b{1,2}.!c*",)), ("ltxtquery", ("a & !b@*",)),
    ]),
    ("point, line, lseg, box, path, polygon, circle", [
        ("point", ("(0.1,-0)", "(NaN,Infinity)", "(5e-324,0.30000000000000004)")), ("line", ("{1,-1,0.1}",)),
        ("lseg", ("[(0,0),(1.5,-2)]",)), ("box", ("(1,1),(0,0.1)",)), ("path", ("((0,0),(1,1))", "[(0,0),(1,1.5)]")),
        ("polygon", ("((0,0),(1,1),(0.1,0))",)), ("circle", ("<(0.1,0),1e300>", "<(0,0),0>")),
    ]),
    ("inet, cidr, macaddr, macaddr8", [
        ("inet", ("10.0.0.1", "10.0.0.1/8", "::1", "2001:db8::/32", "::ffff:1.2.3.4/120", "0.0.0.0/0")),
        ("cidr", ("10.0.0.1", "10.0.0.0/8", "::/0")), ("macaddr", ("08:00:2B:01:02:03",)),
        ("macaddr8", ("08-00-2b-01-02-03-04-05",)),
    ]),
    ("tsvector, tsquery", [
        ("tsvector", ("", "a:1A,2 'it''s':3 'b\\\\c'", "fat cat")),
        ("tsquery", ("", "fat & !(cat | 'it''s') <2> dog:*AB")),
    ]),
    ("pg_lsn, pg_snapshot, txid_snapshot, xid, xid8, cid, tid", [
        ("pg_lsn", ("0/0", "FFFFFFFF/FFFFFFFF", "16/B374D848")), ("pg_snapshot", ("10:20:10,14,15", "1:1:")),
        ("txid_snapshot", ("10:20:10,14,15",)), ("xid", ("0", "4294967295")), ("xid8", ("0", "18446744073709551615")),
        ("cid", ("4294967295",)), ("tid", ("(0,1)", "(4294967295,65535)")),
    ]),
    ("regclass, regtype, regproc, regrole and their like", [
        ("regclass", ("pg_class", "t0", "99999999", "-")), ("regtype", ("integer", '"Odd, type"', "numeric[]", "-")),
        ("regproc", ("now", "as_xml")), ("regprocedure", ("as_xml(text)", "abs(int)")), ("regoper", ("||/",)),
        ("regoperator", ("+(integer,integer)",)), ("regrole", ("postgres",)),
        ("regnamespace", ("public", "pg_catalog")),
        ("regconfig", ("simple",)), ("regdictionary", ("simple",)), ("regcollation", ('"C"',)),
    ]),
    ("aclitem, gtsvector, refcursor",
        [("aclitem", ("postgres=r*w/postgres",)), ("gtsvector", ()), ("refcursor", ("c 1",))]),
    (ELSE, [
        ("cube", ("(0.1,2),(3,4)", "(1)")), ("seg", ("1.50 .. 2", "~5.0")), ("vector(3)", ("[0.1,-2,3e10]",)),
        ("vector", ("[1]",)),
        ("halfvec", ("[0.1,65504]",)), ("sparsevec(5)", ("{1:0.1,5:2}/5",)), ("query_int", ("1&(2|3)",)),
        ("lo", ("4294967295",), (), "LONG"),
        ("isbn13", ("978-0-393-04002-9",)),
        # Types that are called like built-in ones.
        ("public.date", ("not a day",)), ("public.bytea", ("(1)",)), ("public.bool", ("true", "maybe")),
    ]),
)  # fmt: skip

DECLARED = {line.written: line.type for line in column_types.TYPES}


def expected_type(proof: Proof) -> Any:
    return proof.sent or DECLARED[proof.line]


# How both sides are compared, by the Fivetran type: the text that the server shows, and what was sent. Whatever is not
# named here is sent as that text.
SHOWN: Mapping[str, Callable[[str], Any]] = {
    "BOOLEAN": lambda text: {"t": "true", "f": "false"}[text],
    "FLOAT": lambda text: struct.pack("<f", float(text)),
    "DOUBLE": lambda text: float(text).hex(),
    "BINARY": lambda text: bytes.fromhex(text.removeprefix("\\x")),
    "NAIVE_DATETIME": datetime.fromisoformat,
    "UTC_DATETIME": datetime.fromisoformat,
    "STRING": lambda text: f"{text}." if re.fullmatch("-?[0-9]{4301,}", text) else text,
}
SENT: Mapping[str, Callable[[Any], Any]] = {**SHOWN, "BOOLEAN": str, "BINARY": bytes, "STRING": str}
KINDS = {"FLOAT": "float", "DOUBLE": "double", "BINARY": "binary"}


def name_of(type_: Any) -> str:
    return type_ if isinstance(type_, str) else str(type_["type"])


def assert_sent(value: Encoded, text: str | None, type_: Any) -> None:
    """That a value of a column of this Fivetran type is what the server shows as this text."""
    kind, payload = decoded(value)
    name = name_of(type_)
    if text is None:
        assert kind == "null"
    else:
        assert kind == KINDS.get(name, "scalar")
        assert SENT.get(name, str)(payload) == SHOWN.get(name, str)(text)


def exact_of(row: Mapping[str, Encoded]) -> dict[str, str]:
    """What the column for exact values holds of a row."""
    return json.loads(decoded(row["_exact"])[1] or "{}") if "_exact" in row else {}


@contextmanager
def reader(database: Database) -> Iterator[Cursor]:
    """A cursor in a session as the connector pins it."""
    with closing(database.server.connect(database.name)) as connection, connection.cursor() as cursor:
        cursor.execute("SET search_path TO pg_catalog; SET TimeZone TO 'UTC'; SET extra_float_digits TO 1")
        yield cursor


def shown(cursor: Cursor, table: str) -> list[str | None]:
    """What the server writes for each value of a table, in the order of the ids."""
    cursor.execute(f"SELECT value FROM public.{table} LIMIT 0")
    assert cursor.description
    as_it_is = extensions.new_type((cursor.description[0].type_code,), "TEXT AS IT IS", lambda text, _: text)
    extensions.register_type(as_it_is, cursor)
    cursor.execute(f"SELECT value FROM public.{table} ORDER BY id")
    return [text for (text,) in cursor.fetchall()]


@contextmanager
def writer(database: Database) -> Iterator[Cursor]:
    with closing(database.server.connect(database.name)) as connection, connection.cursor() as cursor:
        yield cursor


def insert(cursor: Cursor, table: str, type_: str, values: Sequence[str | None]) -> None:
    """Rows 1, 2, ... with these values, each read by the type's own input function."""
    template = "(%s, public.as_xml(%s))" if type_ == "xml" else "(%s, %s)"
    # One statement each: several rows of VALUES would first have to be of one type.
    for row in enumerate(values, start=1):
        cursor.execute(f"INSERT INTO {table} VALUES {template}", row)


def by_id(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: int(decoded(row["id"])[1]))


class Everything:
    """A database with a table of each proof, and what of it was declared, shown and sent."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.run(SETUP)
        self.tables = {proof: f"t{number}" for number, proof in enumerate(PROOFS)}
        for proof, table in self.tables.items():
            database.run(f"CREATE TABLE {table} (id int PRIMARY KEY, value {proof.type})")
        self.empty = connector.schema(database.configuration)
        with writer(database) as cursor:
            for proof, table in self.tables.items():
                insert(cursor, table, proof.type, [*proof.values, *proof.beyond, None])
        self.full = connector.schema(database.configuration)
        with reader(database) as cursor:
            self.shown = {proof: shown(cursor, table) for proof, table in self.tables.items()}
        self.sink = sync(connector, database.configuration)
        self.as_text = sync(connector, {**database.configuration, "text_columns": "*.*.value"})

    def sent(self, proof: Proof, *, as_text: bool = False) -> list[Row]:
        sink = self.as_text if as_text else self.sink
        rows = sink.destination.rows[self.tables[proof]]
        return by_id(rows.values())

    def declared(self, proof: Proof) -> Mapping[str, Any]:
        (columns,) = (table["columns"] for table in self.full if table["table"] == self.tables[proof])
        return columns  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def everything(postgres: PostgresServer) -> Iterator[Everything]:
    database = Database(postgres)
    yield Everything(database)
    database.close()


# What the table has to name.
NAMED = (
    "domain", "enum", "composite", "array", "range", "multirange", "hstore", "citext", "point", "box", "bit",
    "inet", "macaddr", "money", "xml", "json", "jsonb", "interval", "time", "timetz", "tsvector", "pg_lsn", "uuid",
    "bytea", "numeric", "date", "timestamp", "float8", "extension",
)  # fmt: skip
each_proof = pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.type)


class TestEveryLine:
    @each_proof
    def test_from_select_to_what_is_sent(self, everything: Everything, proof: Proof) -> None:
        type_ = expected_type(proof)
        assert everything.declared(proof)["value"] == type_
        rows, texts = everything.sent(proof), everything.shown[proof]
        assert len(rows) == len(texts) == len(proof.values) + len(proof.beyond) + 1
        for place, (row, text) in enumerate(zip(rows, texts, strict=True)):
            is_beyond = text is not None and place >= len(proof.values)
            assert exact_of(row) == ({"value": text} if is_beyond else {})
            is_null = is_beyond and name_of(type_) not in ("FLOAT", "DOUBLE")
            assert_sent(row["value"], None if is_null else text, type_)

    @each_proof
    def test_as_text(self, everything: Everything, proof: Proof) -> None:
        rows, texts = everything.sent(proof, as_text=True), everything.shown[proof]
        for row, text in zip(rows, texts, strict=True):
            if name_of(expected_type(proof)) == "BOOLEAN":
                text = {"t": "true", "f": "false", None: None}[text]
            assert_sent(row["value"], text, "STRING")
            assert "_exact" not in row

    @each_proof
    def test_what_a_type_cannot_hold_is_told_once_for_a_table(self, everything: Everything, proof: Proof) -> None:
        table = f"table public.{everything.tables[proof]},"
        told = [warning for warning in everything.sink.warnings if warning.startswith(table)]
        assert len(told) == bool(proof.beyond)
        assert all("record id=" in warning and "column value" in warning for warning in told)

    def test_types_come_from_the_catalogue_and_not_from_rows(self, everything: Everything) -> None:
        assert everything.empty == everything.full

    def test_every_line_is_proven(self) -> None:
        assert {proof.line for proof in PROOFS} == set(DECLARED)

    def test_every_built_in_type_is_in_a_line(self, everything: Everything) -> None:
        named = {name for line in column_types.TYPES for name in line.names}
        kinds = {kind for line in column_types.TYPES for kind in line.kinds}
        types = everything.database.query("""
            SELECT typname, typtype, typcategory FROM pg_type
            -- Of category Z are those that the server uses itself, and "char".
            WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype <> 'p'
                AND (typcategory <> 'Z' OR typname = 'char')
        """)
        assert len(types) > 150
        assert not [name for name, *letters in types if name not in named and kinds.isdisjoint(letters)]

    @pytest.mark.parametrize("name", NAMED)
    def test_the_readme_names_it(self, name: str) -> None:
        standard = {"timetz": "time with time zone", "float8": "double precision"}.get(name, name)
        assert standard in column_types.types_table()

    def test_a_value_in_a_row_of_its_own_kind(self, database: Database) -> None:
        """Several columns of one row: each of its values that its column cannot hold, and no other, is named."""
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, a date, b date, "c d" numeric(3, 1), _exact float8, f float8);
            INSERT INTO t VALUES (1, 'infinity', '2026-01-31', 'NaN', '-0', 1), (2, NULL, NULL, NULL, NULL, NULL);
        """)
        first, second = by_id(database.sync().destination.rows["t"].values())
        assert json.loads(decoded(first["_exact_2"])[1]) == {"a": "infinity", "c d": "NaN", "_exact": "-0"}
        assert {name for name, value in first.items() if decoded(value)[0] == "null"} == {"a", "c d"}
        assert {name for name, value in second.items() if decoded(value)[0] == "null"} == set(second) - {"id"}


@pytest.fixture(scope="module")
def one_database(postgres: PostgresServer) -> Iterator[Database]:
    made = Database(postgres)
    made.run("CREATE TYPE pair AS (a text, b text)")
    yield made
    made.close()


@pytest.fixture
def emptied(one_database: Database) -> Iterator[Database]:
    """A database without tables, which costs less than one of the test's own."""
    yield one_database
    one_database.run("DROP TABLE t")


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Random values, edges among them, for one table: a sync for each would take too long."""
    values = []

    @hypothesis.settings(
        max_examples=count, database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(strategy)
    def collect(value: Any) -> None:
        values.append(value)

    collect()
    return values


# Texts of random values, as PostgreSQL reads them.
DIGIT_TEXTS = st.text("0123456789", max_size=60)
NUMBERS = st.builds("{}0{}.{}0".format, st.sampled_from(["", "-"]), DIGIT_TEXTS, DIGIT_TEXTS)
DECIMALS = st.decimals(-(10**28) + 1, 10**28 - 1, places=10).map("{:f}".format)
DOUBLES = st.integers(0, 2**64 - 1).map(lambda bits: repr(struct.unpack("<d", struct.pack("<Q", bits))[0]))
SINGLES = st.integers(0, 2**32 - 1).map(lambda bits: repr(struct.unpack("<f", struct.pack("<L", bits))[0]))
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
INTEGERS = st.integers(-(2**31), 2**31 - 1)
MOMENTS = st.datetimes().map(str)
MOMENTS_WITH_OFFSET = st.builds("{}{:+03d}:{:02d}".format, st.datetimes(), st.integers(-15, 15), st.integers(0, 59))
# From the first day that PostgreSQL knows to the last, which Python does not.
DAYS = st.integers(0, 2_147_483_493).map("J{}".format)


def quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class TestRandomValues:
    @pytest.mark.parametrize(
        ("type_", "strategy"),
        [
            ("numeric", NUMBERS),
            ("numeric(38, 10)", DECIMALS),
            ("float8", DOUBLES),
            ("float8", st.floats().map(repr)),
            ("float4", SINGLES),
            ("bigint", st.integers(-(2**63), 2**63 - 1).map(str)),
            ("text", WORDS),
            ("text[]", st.lists(WORDS.map(quoted)).map(lambda words: "{" + ",".join(words) + "}")),
            ("pair", st.tuples(WORDS, WORDS).map(lambda pair: "(" + ",".join(map(quoted, pair)) + ")")),
            ("jsonb", st.dictionaries(WORDS, WORDS | st.floats(allow_nan=False, allow_infinity=False)).map(json.dumps)),
            ("json", st.recursive(st.none() | WORDS | st.integers(), st.lists).map(json.dumps)),
            ("bytea", st.binary().map(lambda value: f"\\x{value.hex()}")),
            ("timestamp", MOMENTS),
            ("timestamptz", MOMENTS_WITH_OFFSET),
            ("date", st.dates().map(str)),
            ("date", DAYS),
            (
                "interval",
                st.builds("{} months {} days {} microseconds".format, INTEGERS, INTEGERS, INTEGERS),
            ),
            ("uuid", st.uuids().map(str)),
            ("bit varying", st.text("01", max_size=200)),
        ],
    )
    def test_many_from_select_to_what_is_sent(
        self, emptied: Database, type_: str, strategy: st.SearchStrategy[str]
    ) -> None:
        emptied.run(f"CREATE TABLE t (id int PRIMARY KEY, value {type_})")
        values = drawn(strategy, 300)
        if type_ == "jsonb":
            values = [value for value in values if "\\u0000" not in value]
        with writer(emptied) as cursor:
            insert(cursor, "t", type_, values)
        (table,) = connector.schema(emptied.configuration)
        with reader(emptied) as cursor:
            texts = shown(cursor, "t")
        rows = by_id(emptied.sync().destination.rows["t"].values())
        assert len(rows) == len(texts) == len(values)
        fivetran_type = table["columns"]["value"]
        for row, text in zip(rows, texts, strict=True):
            beside = exact_of(row).get("value")
            is_null = beside is not None and fivetran_type not in ("FLOAT", "DOUBLE")
            assert beside in (None, text)
            assert_sent(row["value"], None if is_null else text, fivetran_type)


class TestKeys:
    @pytest.mark.parametrize(
        ("type_", "value", "others"),
        [
            ("date", "0044-03-15 BC", "'2026-01-01'::date + n"),
            ("timestamptz", "-infinity", "now() + n * interval '1 s'"),
            ("numeric(5, 1)", "NaN", "n"),
            ("float8", "NaN", "n"),
        ],
    )
    def test_what_a_key_cannot_hold_stops_until_it_arrives_as_text(
        self, emptied: Database, type_: str, value: str, others: str
    ) -> None:
        emptied.run(f"""
            CREATE TABLE t (id int, key {type_}, wide text, PRIMARY KEY (id, key));
            INSERT INTO t VALUES (7, '{value}', 'x');
            INSERT INTO t SELECT n, {others}, repeat('x', 5000) FROM generate_series(1, 5) n;
        """)
        told = rf"table public.t, record id=7, .*column key: {re.escape(repr(value))} .*text_columns"
        with pytest.raises(RecordError, match=told):
            emptied.sync()
        settings = {**emptied.configuration, "text_columns": "*.t.key"}
        assert value in {row["key"] for row in sync(connector, settings).destination.table("t")}
        assert stop_and_resume.check(connector, settings) > 12

    def test_a_number_that_ends_with_a_point_resumes(self, emptied: Database) -> None:
        emptied.run("""
            CREATE TABLE t (key numeric PRIMARY KEY, wide text);
            INSERT INTO t SELECT sign * (10::numeric ^ 4310 + n), repeat('x', 3000)
            FROM generate_series(1, 5) n, unnest(ARRAY[1, -1]) sign;
            INSERT INTO t VALUES ('Infinity'), ('NaN'), (0.5);
        """)
        assert stop_and_resume.check(connector, {**emptied.configuration, "page_bytes": "20000"}) > 12


# What the warehouse of `fivetran debug` holds: by the Fivetran type, SQL of a value, and what it is compared with.
ARRIVED: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "BOOLEAN": ("{}", lambda text: text == "t"),
    **dict.fromkeys(("SHORT", "INT", "LONG"), ("{}", int)),
    "DECIMAL": ("{}", Decimal),
    "FLOAT": ("{}", lambda text: struct.unpack("<f", struct.pack("<f", float(text)))[0]),
    "DOUBLE": ("{}", float),
    "BINARY": ("{}", SHOWN["BINARY"]),
    "NAIVE_DATE": ("{}", date.fromisoformat),
    "NAIVE_DATETIME": ("{}", datetime.fromisoformat),
    "UTC_DATETIME": (
        "epoch_us({})",
        lambda text: (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
    ),
}


def test_every_type_arrives_through_fivetran_debug(everything: Everything, tmp_path: Path) -> None:
    database = everything.database
    names = {proof: f"c_{number}" for number, proof in enumerate(PROOFS)}
    joins = " ".join(f"LEFT JOIN t{number} ON t{number}.id = n" for number in range(len(PROOFS)))
    columns = ", ".join(f"t{number}.value AS c_{number}" for number in range(len(PROOFS)))
    database.run(f"""
        CREATE SCHEMA every;
        CREATE TABLE every.type AS SELECT n AS id, {columns} FROM generate_series(1, 20) n {joins};
        ALTER TABLE every.type ADD PRIMARY KEY (id);
    """)
    settings = {**database.configuration, "tables": "every.*", "page_bytes": "4000000"}
    copy = debug_run.copy("postgres", tmp_path / "postgres", settings)
    with Interruption() as interruption:
        variables = debug_run.environment(tmp_path)
        sent = debug_run.debug(copy, tmp_path / "log", variables, interruption, lambda: None)
    assert sent == {"type": 20}
    selected = ", ".join(
        ARRIVED.get(name_of(expected_type(proof)), ("{}",))[0].format(name) for proof, name in names.items()
    )
    with closing(duckdb.connect(str(copy.warehouse), read_only=True)) as warehouse:
        rows = warehouse.execute(f"SELECT _exact, {selected} FROM tester.type ORDER BY id").fetchall()
    beside = [json.loads(exact or "{}") for exact, *_ in rows]
    for place, (proof, name) in enumerate(names.items(), start=1):
        type_ = name_of(expected_type(proof))
        read = ARRIVED.get(type_, ("", SHOWN["STRING"]))[1]
        for number, text in enumerate(everything.shown[proof]):
            is_beyond = text is not None and number >= len(proof.values)
            assert beside[number].get(name) == (text if is_beyond else None)
            if not is_beyond or type_ not in ("FLOAT", "DOUBLE"):
                assert rows[number][place] == (None if text is None or is_beyond else read(text)), proof.type
