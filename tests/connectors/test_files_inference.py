"""Types inferred from texts: one is given only where it keeps what every text means."""

import time
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.memory_profiling import resident_bytes
from tests.loading import load_module

Inference = load_module("files", "inference").Inference
text_converter: Callable[[Any], Callable[[str], Any]] = load_module("files", "text_values").text_converter


def inferred(*texts: str | None, portions: int = 1) -> Any:
    """The type of a column of these texts, given in so many portions."""
    inference = Inference()
    for portion in range(portions):
        inference.add([{"a": text} for text in texts[portion::portions]])
    return inference.types()["a"]


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "DECIMAL", "precision": precision, "scale": scale}


class TestATypeIsGivenWhereItKeepsWhatIsMeant:
    @pytest.mark.parametrize(
        ("texts", "expected"),
        [
            (["true", "false"], "BOOLEAN"),
            (["TRUE", "False"], "BOOLEAN"),
            (["0", "1", "-5"], "LONG"),
            ([str(2**63 - 1), str(-(2**63))], "LONG"),
            ([str(2**63)], decimal(19, 0)),
            (["1" * 38], decimal(38, 0)),
            (["1.50", "-12.5", "3"], decimal(21, 2)),
            (["0." + "1" * 19], decimal(38, 19)),
            (["0." + "1" * 30], decimal(31, 30)),
            (["1.5e7", "1E-05", "2", "0.25"], "DOUBLE"),
            (["2026-01-31", "0001-01-01", "9999-12-31"], "NAIVE_DATE"),
            (["2026-01-31T10:30:00Z", "2026-01-31 10:30+02:00", "9999-12-31T23:59:59Z"], "UTC_DATETIME"),
            (["2026-01-31T10:30:00", "2026-01-31 10:30", "2026-01-31T10:30:00.123456"], "NAIVE_DATETIME"),
        ],
        ids=repr,
    )
    def test_the_narrowest_type_of_all_texts(self, texts: list[str], expected: Any) -> None:
        assert inferred(*texts) == expected
        assert inferred(*texts, None, "", portions=2) == expected
        convert = text_converter(expected)
        assert None not in [convert(text) for text in texts]

    def test_empty_texts_and_missing_ones_say_nothing(self) -> None:
        assert inferred("", None, "7", "") == "LONG"
        assert inferred("", None) == "STRING"
        inference = Inference()
        inference.add([{"a": "1"}, {"b": "x"}])
        inference.add([])
        assert inference.types() == {"a": "LONG", "b": "STRING"}


class TestWhatWouldLoseItsMeaningStaysText:
    @pytest.mark.parametrize(
        "text",
        [
            *["00123", "+1", "1_000", "1,000", "-0", "-0.00", ".5", "5.", " 1", "1 ", "1\n", "٣", "0x10", "1" * 39],
            *["0." + "1" * 39, "NA", "NaN", "inf", "null", "yes", "t"],
            *["1e5", "12E4", "1.0e400", "1.0e-400", "1.2345678901234567e10", "-0.0e+0", "01.5e+3"],
            *["2026-02-30", "2026-1-1", "0000-01-01", "31.01.2026", "2026-W01-1"],
            *["2026-01-31T24:00:00", "2026-01-31T23:59:60", "2026-01-31T10:30:00.1234567", "2026-01-31T10"],
            *["0001-01-01T00:00:00+02:00", "9999-12-31T23:00:00-05:00", "2026-01-31T10:30:00+0200", "10:30:00"],
        ],
    )
    def test_one_such_text_makes_the_column_text(self, text: str) -> None:
        assert inferred(text) == "STRING"

    @pytest.mark.parametrize(
        "texts", [("1", "x"), ("1", "true"), ("2026-01-31", "2026-01-31T10:30:00"), ("1", "00123"), ("1.5", "1e5")]
    )
    def test_texts_of_two_kinds_are_text_however_they_are_portioned(self, texts: tuple[str, ...]) -> None:
        assert inferred(*texts) == inferred(*texts, portions=2) == inferred(*texts[::-1], portions=2) == "STRING"

    def test_digits_are_counted_over_all_portions(self) -> None:
        assert inferred("1" * 30, "0." + "1" * 10, portions=2) == "STRING"
        assert inferred("1" * 30, "0." + "1" * 8, portions=2) == decimal(38, 8)


TEXTS = st.one_of(
    st.text(max_size=6),
    st.text(alphabet="0123456789+-.eE", max_size=24),
    st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats(allow_nan=False).map(repr),
    st.booleans().map(str),
    st.dates().map(str),
    st.datetimes(timezones=st.none() | st.timezones()).map(str),
)


class TestAnyText:
    @given(st.lists(TEXTS, min_size=1, max_size=5))
    def test_every_text_of_an_inferred_type_is_converted_to_what_it_says(self, texts: list[str]) -> None:
        found = inferred(*texts)
        if found == "STRING":
            return
        convert = text_converter(found)
        for text in filter(None, texts):
            value = convert(text)
            if isinstance(value, bool):
                assert str(value).lower() == text.lower()
            elif isinstance(value, int | float | str):
                assert Decimal(str(value)) == Decimal(text)
            elif isinstance(value, datetime):
                assert value == datetime.fromisoformat(text)
                value.utctimetuple()
            else:
                assert value == date.fromisoformat(text)


class TestWholeFilesAreLookedAt:
    def test_a_megabyte_takes_milliseconds_and_memory_does_not_grow(self) -> None:
        records = [
            {"id": str(row), "price": f"{row}.25", "day": "2026-01-31", "text": f"the number {row}", "empty": ""}
            for row in range(20_000)
        ]
        inference = Inference()
        inference.add(records)
        before, started = resident_bytes(), time.perf_counter()
        for _ in range(20):
            inference.add(records)
        seconds = time.perf_counter() - started
        assert inference.types() == {
            "id": "LONG", "price": decimal(21, 2), "day": "NAIVE_DATE", "text": "STRING", "empty": "STRING"
        }  # fmt: skip
        assert seconds / 20 < 0.5
        assert resident_bytes() - before < 20e6
