"""The narrowest type that keeps what every text of a column means, found by Polars, in memory that does not grow.

type            texts
BOOLEAN         true and false, in small letters or not
LONG            whole numbers of 64 bits, as a program writes them: 00123, +1, -0 and 1_000 are none
DECIMAL(p, s)   numbers with a point, and larger whole numbers, of at most 38 digits; room for 19 digits before
                the point is left where 38 allow it, so that a later value as long as a LONG is no bad row
DOUBLE          numbers of which some have an exponent, as a program writes it (1.5e7, 1e-05, but not 1e5, which may
                be a code), with at most 15 digits: a double gives back every one of these
NAIVE_DATE      2026-01-31
UTC_DATETIME    2026-01-31T10:30:00Z, or with an offset; a blank may stand for the T, seconds and up to six digits
                behind them may lack. The moment is kept, not in which zone it was written
NAIVE_DATETIME  the same without an offset
STRING          all else, and columns without any text: an empty one is no value of any type
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from shared.values import ColumnType

_MOST_DIGITS = 38
_LONG_DIGITS = 19
_EXACT_DIGITS = 15  # of a decimal number, that every double gives back
_LARGEST_EXPONENT = 280  # of ten, with fifteen digits, far from where doubles end or lose digits

_WHOLE = "(?:0|-?[1-9][0-9]*)"
_PLAIN = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"
_POWER = rf"(?:{_PLAIN}[eE][+-][0-9]{{1,3}}|-?(?:0|[1-9][0-9]*)\.[0-9]+[eE][0-9]{{1,3}})"
_ZERO_WITH_SIGN = r"^-[0.]+(?:[eE]|$)"
_DAY = "(?:[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = r"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,6})?)?"
_OFFSET = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
# Their moment in UTC may be in a year that no date has.
_FIRST_OR_LAST_YEAR = "^(?:0001|9999).*(?:[+-][0-9]{2}:[0-9]{2})$"


@dataclass
class _Column:
    """What is known of one column so far: which types are still possible, and the most digits of a number."""

    possible: list[str] = field(default_factory=lambda: list(_CHECKS))
    has_texts: bool = False
    whole_digits: int = 1
    scale: int = 0

    def add(self, texts: pl.Series) -> None:
        """Takes in texts, none of them empty."""
        self.has_texts = True
        self.possible = [name for name in self.possible if _CHECKS[name](texts)]
        if "DECIMAL" in self.possible:
            self._measure(texts)
            if self.whole_digits + self.scale > _MOST_DIGITS:
                self.possible.remove("DECIMAL")

    def type(self) -> ColumnType:
        if not self.has_texts or not self.possible:
            return "STRING"
        if self.possible[0] != "DECIMAL":
            return self.possible[0]
        whole = self.whole_digits
        if _LONG_DIGITS + self.scale <= _MOST_DIGITS:
            whole = max(whole, _LONG_DIGITS)
        return {"type": "DECIMAL", "precision": whole + self.scale, "scale": self.scale}

    def _measure(self, texts: pl.Series) -> None:
        parts = texts.str.strip_chars_start("-").str.split_exact(".", 1).struct
        self.whole_digits = max(self.whole_digits, _longest(parts.field("field_0")))
        self.scale = max(self.scale, _longest(parts.field("field_1")))


class Inference:
    """The types of a file's text columns, from all of its records: `add` them in any portions, then ask for `types`."""

    def __init__(self) -> None:
        self._columns: dict[str, _Column] = {}

    def add(self, records: Sequence[Mapping[str, str | None]]) -> None:
        """Takes in some records. A value is a text as it is written, or None."""
        for name in dict.fromkeys(name for record in records for name in record):
            column = self._columns.setdefault(name, _Column())
            if column.possible or not column.has_texts:
                texts = pl.Series([record.get(name) for record in records], dtype=pl.String)
                texts = texts.filter(texts != "")
                if len(texts):
                    column.add(texts)

    def types(self) -> dict[str, ColumnType]:
        """The type of each column, in the order in which they came."""
        return {name: column.type() for name, column in self._columns.items()}


def _all(texts: pl.Series, pattern: str) -> bool:
    return bool(texts.str.contains(f"^(?:{pattern})$").all())


def _are_booleans(texts: pl.Series) -> bool:
    return _all(texts, "(?i:true|false)")


def _are_long(texts: pl.Series) -> bool:
    return _all(texts, _WHOLE) and texts.cast(pl.Int64, strict=False).null_count() == 0


def _are_decimal(texts: pl.Series) -> bool:
    return _all(texts, _PLAIN) and not texts.str.contains(_ZERO_WITH_SIGN).any()


def _are_double(texts: pl.Series) -> bool:
    if not _all(texts, f"{_PLAIN}|{_POWER}") or texts.str.contains(_ZERO_WITH_SIGN).any():
        return False
    number = texts.str.to_lowercase().str.split_exact("e", 1).struct
    digits = number.field("field_0").str.replace_all("[-.]", "").str.strip_chars_start("0")
    exponents = number.field("field_1").cast(pl.Int64, strict=False).fill_null(0)
    return _longest(digits) <= _EXACT_DIGITS and bool((exponents.abs() <= _LARGEST_EXPONENT).all())


def _are_dates(texts: pl.Series) -> bool:
    return _all(texts, _DAY) and _exist(texts)


def _are_moments(texts: pl.Series) -> bool:
    return _all(texts, _DAY + _TIME + _OFFSET) and _exist(texts) and not texts.str.contains(_FIRST_OR_LAST_YEAR).any()


def _are_times(texts: pl.Series) -> bool:
    return _all(texts, _DAY + _TIME) and _exist(texts)


def _exist(texts: pl.Series) -> bool:
    """Whether the dates with which the texts begin are in the calendar, from the year 1 on."""
    days = texts.str.slice(0, 10)
    return not days.str.starts_with("0000").any() and days.str.to_date("%Y-%m-%d", strict=False).null_count() == 0


def _longest(texts: pl.Series) -> int:
    lengths = texts.str.len_bytes().max()
    return lengths if isinstance(lengths, int) else 0


# The first that is possible is taken.
_CHECKS: Mapping[str, Callable[[pl.Series], bool]] = {
    "BOOLEAN": _are_booleans,
    "LONG": _are_long,
    "DECIMAL": _are_decimal,
    "DOUBLE": _are_double,
    "NAIVE_DATE": _are_dates,
    "UTC_DATETIME": _are_moments,
    "NAIVE_DATETIME": _are_times,
}
