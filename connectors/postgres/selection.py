"""Patterns such as `sales.*` and `public.users.email`: which tables and columns the settings mean.

The parts of a name are between dots; `*` stands for any characters, `?` for one, `[ab]` for one of these. A part with
a dot or a comma of its own is written with `?` for it. Letters match as PostgreSQL stores them.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase


def parts_of(pattern: str) -> list[str]:
    """The parts of a pattern.

    >>> parts_of("public.order_*")
    ['public', 'order_*']
    """
    return pattern.split(".")


def is_wild(pattern: str) -> bool:
    """Whether a pattern may match more than one name."""
    return bool(set("*?[") & set(pattern))


class Patterns:
    """Some patterns of one setting; remembers which of them have matched something."""

    def __init__(self, setting: str, patterns: Iterable[str]) -> None:
        self.setting = setting
        self._unmatched = dict.fromkeys(patterns)
        self._patterns = [(pattern, parts_of(pattern)) for pattern in self._unmatched]

    def match(self, *name: str) -> str | None:
        """The first pattern that the name (schema, table and perhaps column) matches; None for none.

        A pattern longer than the name is compared with as many parts as the name has.
        """
        matching = [pattern for pattern, parts in self._patterns if all(map(fnmatchcase, name, parts))]
        for pattern in matching:
            if len(parts_of(pattern)) == len(name):
                self._unmatched.pop(pattern, None)
        return next(iter(matching), None)

    @property
    def unmatched(self) -> list[str]:
        """The patterns that nothing has matched."""
        return list(self._unmatched)
