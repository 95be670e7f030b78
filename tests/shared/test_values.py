"""What a value of each declared type becomes, and what is refused instead of changed."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fivetran_connector_sdk import Operations as op
from hypothesis import given
from hypothesis import strategies as st

from shared.values import converter, dump_json, exact_number, fivetran_type, parse_json, record_converter
from tests.recording import Destination, Sink, declare, decoded, with_sink

DECIMAL = {"type": "DECIMAL", "precision": 38, "scale": 10}


def sent(column_type: Any, value: Any) -> Any:
    """What the SDK's encoder makes of a value that the converter let through."""
    sink = Sink(Destination())
    columns = {"id": "INT", "value": fivetran_type(column_type)}
    declare([{"table": "t", "primary_key": ["id"], "columns": columns}], sink.destination)
    convert = record_converter({"id": "INT", "value": column_type})
    with_sink(sink, lambda: op.upsert("t", convert({"id": 1, "value": value})))
    (row,) = sink.destination.rows["t"].values()
    return decoded(row["value"])


class TestArrivesExactly:
    @pytest.mark.parametrize(
        ("column_type", "value", "arrives"),
        [
            ("STRING", "00123", ("scalar", "00123")),
            ("STRING", "", ("scalar", "")),
            ("STRING", "true", ("scalar", "true")),
            ("STRING", 12345678901234567890, ("scalar", "12345678901234567890")),
            ("STRING", Decimal("0.1234567890123456789"), ("scalar", "0.1234567890123456789")),
            ("STRING", True, ("scalar", "true")),
            ("STRING", {"a": [1, None, Decimal("1e400")]}, ("scalar", '{"a": [1, null, 1E+400]}')),
            ("LONG", 2**63 - 1, ("scalar", "9223372036854775807")),
            ("LONG", -(2**63), ("scalar", "-9223372036854775808")),
            ("LONG", 5.0, ("scalar", "5")),
            ("DOUBLE", 52.52000812345, ("double", "52.52000812345")),
            ("DOUBLE", 3, ("double", "3.0")),
            (DECIMAL, Decimal("12345678901234567890.0123456789"), ("scalar", "12345678901234567890.0123456789")),
            (DECIMAL, 0.1, ("scalar", "0.1")),
            (DECIMAL, "1.10", ("scalar", "1.10")),
            ({"type": "DECIMAL", "precision": 4, "scale": 2}, Decimal("99.99000"), ("scalar", "99.99000")),
            ({"type": "DECIMAL", "precision": 4, "scale": 2}, 0, ("scalar", "0")),
            ({"type": "DECIMAL", "precision": 4, "scale": 2}, "1e1", ("scalar", "1e1")),
            ("BOOLEAN", False, ("scalar", "false")),
            ("UTC_DATETIME", "2026-01-31T10:00:00.123456+02:00", ("scalar", "2026-01-31T08:00:00.123456Z")),
            ("UTC_DATETIME", "2026-01-31T10:00:00Z", ("scalar", "2026-01-31T10:00:00Z")),
            ({"epoch": "s"}, 0, ("scalar", "1970-01-01T00:00:00Z")),
            ({"epoch": "s"}, 1769853600, ("scalar", "2026-01-31T10:00:00Z")),
            ({"epoch": "s"}, 1769853600.123456, ("scalar", "2026-01-31T10:00:00.123456Z")),
            ({"epoch": "s"}, Decimal("1769853600.12345600000000000000"), ("scalar", "2026-01-31T10:00:00.123456Z")),
            ({"epoch": "s"}, 253402300799, ("scalar", "9999-12-31T23:59:59Z")),
            ({"epoch": "ms"}, 1769853600123, ("scalar", "2026-01-31T10:00:00.123Z")),
            ({"epoch": "ms"}, 1769853600123.25, ("scalar", "2026-01-31T10:00:00.123250Z")),
            ({"epoch": "ms"}, 1.7e12, ("scalar", "2023-11-14T22:13:20Z")),
            ({"epoch": "ms"}, -1, ("scalar", "1969-12-31T23:59:59.999Z")),
            ({"epoch": "ms"}, None, ("null", None)),
            ("NAIVE_DATETIME", "2026-01-31T10:00:00.5", ("scalar", "2026-01-31T10:00:00.500000")),
            ("NAIVE_DATE", "2026-01-31", ("scalar", "2026-01-31")),
            ("JSON", {"a": [1, 0.5, "x"]}, ("json", '{"a": [1, 0.5, "x"]}')),
            ("JSON", Decimal("1e400"), ("json", '"1E+400"')),
            ("BINARY", b"\x00\xff", ("binary", b"\x00\xff")),
            ("STRING", None, ("null", None)),
        ],
    )
    def test_as_it_is(self, column_type: Any, value: Any, arrives: Any) -> None:
        assert sent(column_type, value) == arrives

    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
    def test_any_text(self, text: str) -> None:
        assert converter("STRING")(text) == text

    @given(st.decimals(allow_nan=False, allow_infinity=False))
    def test_any_json_number_keeps_its_digits(self, number: Decimal) -> None:
        parsed = parse_json(f"[{number:f}]") if abs(number.adjusted()) < 400 else [number]
        assert Decimal(dump_json(parsed[0])) == number

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_any_float_to_the_last_bit(self, number: float) -> None:
        assert exact_number(repr(number)) == number
        assert sent("DOUBLE", number) == ("double", repr(number))

    @given(st.datetimes(timezones=st.just(UTC)))
    def test_any_time_as_a_number(self, moment: datetime) -> None:
        microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        (seconds,) = parse_json(f"[{Decimal(microseconds).scaleb(-6):f}]")
        assert converter({"epoch": "s"})(seconds) == moment
        (milliseconds,) = parse_json(f"[{Decimal(microseconds).scaleb(-3):f}]")
        assert converter({"epoch": "ms"})(milliseconds) == moment

    @given(st.integers(1, 38).flatmap(lambda precision: st.tuples(st.just(precision), st.integers(0, precision))))
    def test_a_decimal_of_any_declared_size(self, size: tuple[int, int]) -> None:
        precision, scale = size
        convert = converter({"type": "DECIMAL", "precision": precision, "scale": scale})
        largest = Decimal(f"{10**precision - 1}e-{scale}")
        assert convert(largest) == str(largest)
        for larger in (f"{10**precision}e-{scale}", f"{10 ** (precision + 1) - 1}e-{scale + 1}"):
            with pytest.raises(ValueError, match="has more digits"):
                convert(larger)


class TestIsRefusedInsteadOfChanged:
    @pytest.mark.parametrize(
        ("column_type", "value", "message"),
        [
            ("STRING", "a\0b", "NUL"),
            ("STRING", "\ud800", "surrogate"),
            ("LONG", 2**63, "beyond 64 bits"),
            ("INT", 2**31, "beyond 32 bits: declare the column as LONG"),
            ("SHORT", 2**15, "beyond 16 bits: declare the column as INT"),
            ("LONG", 1.5, "expected a whole number, got a fraction"),
            ("LONG", True, "got a boolean"),
            ("LONG", "5", "got text"),
            ("DOUBLE", Decimal("0.1234567890123456789"), "more digits than a DOUBLE"),
            ("DOUBLE", 2**53 + 1, "more digits than a DOUBLE"),
            ("DOUBLE", 10**400, "more digits than a DOUBLE"),
            ("DOUBLE", "1.5", "expected a number, got text"),
            ({"type": "DECIMAL", "precision": 12, "scale": 2}, 1.239, r"more digits than DECIMAL\(12, 2\) holds"),
            ({"type": "DECIMAL", "precision": 4, "scale": 2}, 100, r"more digits than DECIMAL\(4, 2\) holds"),
            (DECIMAL, "1_000", "expected a number"),
            (DECIMAL, "NaN", "expected a number"),
            ("BOOLEAN", "true", "expected true or false"),
            ("BOOLEAN", 1, "expected true or false"),
            ("UTC_DATETIME", "2026-01-31T10:00:00", "without an offset: declare the column as NAIVE_DATETIME"),
            ("UTC_DATETIME", "2026-01-31T10:00:00.123456789Z", "finer than a microsecond"),
            ("UTC_DATETIME", "", "ISO 8601"),
            ("UTC_DATETIME", 1700000000, "got int"),
            ("UTC_DATETIME", "20260131T100000.1234567Z", "finer than a microsecond"),
            ("UTC_DATETIME", "2026W05T100000.1234567", "finer than a microsecond"),
            (DECIMAL, "1e99999999999999999999", "exponent beyond all bounds"),
            (DECIMAL, Decimal("1234567890123456789012345678.01234567891"), r"more digits than DECIMAL\(38, 10\) holds"),
            ({"epoch": "s"}, 1769853600.1234567, "finer than a microsecond"),
            ({"epoch": "s"}, Decimal("1e-999999999"), "finer than a microsecond"),
            ({"epoch": "ms"}, Decimal("1769853600123.0001"), "finer than a microsecond"),
            ({"epoch": "s"}, 253402300800, "beyond the years 1 to 9999: is the column's epoch in the right unit"),
            ({"epoch": "s"}, 1769853600123, "beyond the years 1 to 9999"),
            ({"epoch": "ms"}, Decimal("1e999999999"), "beyond the years 1 to 9999"),
            ({"epoch": "ms"}, 10**400, "beyond the years 1 to 9999"),
            ({"epoch": "ms"}, float("nan"), "beyond the years 1 to 9999"),
            ({"epoch": "s"}, "1769853600", "expected a time as a number, got text"),
            ({"epoch": "s"}, True, "got a boolean"),
            ("NAIVE_DATETIME", "2026-01-31T10:00:00Z", "declare the column as UTC_DATETIME"),
            ("NAIVE_DATE", "31.01.2026", "YYYY-MM-DD"),
            ("NAIVE_DATE", datetime(2026, 1, 31), "YYYY-MM-DD"),
            ("JSON", {"a": "b\0"}, "NUL"),
            ("BINARY", "text", "expected bytes"),
        ],
    )
    def test_with_the_column_and_the_reason(self, column_type: Any, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=f"column value: .*{message}"):
            record_converter({"value": column_type})({"value": value})

    def test_a_type_that_does_not_exist_fails_at_once(self) -> None:
        for unknown in ("NUMBER", "FLOAT", "DECIMAL", {"type": "DECIMAL"}, {"precision": 4}, {"epoch": "us"}, {}):
            with pytest.raises(ValueError, match="is no type: there are BOOLEAN, SHORT, INT"):
                converter(unknown)


class TestRecord:
    def test_fields_without_a_column_are_kept_together(self) -> None:
        record = record_converter({"id": "LONG"})({"id": 1, "new": "00123", "other": {"a": 1}})
        assert record == {"id": 1, "_undeclared": {"new": "00123", "other": {"a": 1}}}

    def test_a_field_called_undeclared_is_kept_in_it(self) -> None:
        record = {"id": 1, "_undeclared": "x"}
        for columns in ({"id": "LONG"}, {"id": "LONG", "_undeclared": "JSON"}):
            assert record_converter(columns)(record) == {"id": 1, "_undeclared": {"_undeclared": "x"}}

    def test_an_undeclared_null_is_kept(self) -> None:
        assert record_converter({})({"new": None}) == {"_undeclared": {"new": None}}

    def test_the_record_given_is_left_as_it_is(self) -> None:
        given = {"id": 5.0, "new": {"a": Decimal("1e400")}}
        record_converter({"id": "LONG", "more": "STRING"})(given)
        assert given == {"id": 5.0, "new": {"a": Decimal("1e400")}}

    def test_what_is_right_as_it_is_is_not_copied(self) -> None:
        value = {"a": [{"b": 1}, ["ä", None, True, 1.5]]}
        assert converter("JSON")(value) is value
        assert record_converter({})({"x": value})["_undeclared"]["x"] is value

    def test_beside_what_has_to_change_everything_stays_in_its_place(self) -> None:
        long = Decimal("1e400")
        value: dict[str, Any] = {"a": 1, "b": [1, long, {"c": "x", "d": long}, long], "e": {"f": [2]}}
        changed = converter("JSON")(value)
        assert changed == {"a": 1, "b": [1, "1E+400", {"c": "x", "d": "1E+400"}, "1E+400"], "e": {"f": [2]}}
        assert list(changed) == ["a", "b", "e"]
        assert changed["e"] is value["e"]
        assert value["b"][1] is long

    def test_a_key_that_cannot_arrive_is_refused_like_text(self) -> None:
        with pytest.raises(ValueError, match="column x: holds a NUL"):
            record_converter({"x": "JSON"})({"x": [{"a\0": 1}]})

    @pytest.mark.parametrize("columns", [{"deep": "JSON"}, {"deep": "STRING"}, {}])
    def test_what_is_nested_too_deeply_is_told(self, columns: dict[str, str]) -> None:
        deep: list[Any] = []
        for _ in range(5000):
            deep = [deep]
        with pytest.raises(ValueError, match="column .*: is nested too deeply"):
            record_converter(columns)({"deep": deep})

    def test_an_undeclared_field_that_cannot_arrive_names_its_column(self) -> None:
        with pytest.raises(ValueError, match="column _undeclared: holds a NUL"):
            record_converter({"id": "LONG"})({"id": 1, "x": "a\0b"})

    def test_a_missing_field_is_null(self) -> None:
        assert record_converter({"id": "LONG", "name": "STRING"})({"id": 1})["name"] is None

    def test_python_dates_pass(self) -> None:
        moment = datetime(2026, 1, 31, tzinfo=UTC)
        assert converter("UTC_DATETIME")(moment) is moment
        assert converter("NAIVE_DATE")(date(2026, 1, 31)) == date(2026, 1, 31)

    def test_a_whole_number_too_long_for_python_is_told_so(self) -> None:
        with pytest.raises(ValueError, match="holds a whole number of more than 4,300 digits"):
            parse_json("[" + "9" * 5000 + "]")

    @pytest.mark.parametrize(
        "text", ["NaN", "[Infinity]", "{", "", "1e999999999999999999999", "[" * 100_000, "9" * 5000]
    )
    def test_what_is_not_json_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match=r".+"):
            parse_json(text)
