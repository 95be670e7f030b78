"""Moments as APIs write them, in one of four formats:

"iso"              2026-01-31T08:00:00+01:00, as of ISO 8601; written in UTC with a Z
"epoch_s"          whole seconds since 1970
"epoch_ms"         whole milliseconds since 1970
"%Y-%m-%d %H:%M"   any other, as for strptime; without an offset it is taken for UTC
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Mapping[str, timedelta] = {"epoch_s": timedelta(seconds=1), "epoch_ms": timedelta(milliseconds=1)}


def parsed(value: Any, format_: str) -> datetime:
    """The moment that a value says; raises ValueError or TypeError for one that is not of the format."""
    if unit := _UNITS.get(format_):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise TypeError("expected a whole number")
        try:
            return _EPOCH + int(value) * unit
        except OverflowError:
            raise ValueError("is beyond the year 9999") from None
    moment = datetime.fromisoformat(value) if format_ == "iso" else datetime.strptime(value, format_)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def written(moment: datetime, format_: str) -> str:
    """The moment as text of the format; what is finer than the format says is cut.

    >>> written(datetime(2026, 1, 31, 8, 0, 0, 999_999, tzinfo=UTC), "epoch_ms")
    '1769846400999'
    """
    if unit := _UNITS.get(format_):
        return str((moment - _EPOCH) // unit)
    if format_ == "iso":
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    return moment.strftime(format_)
