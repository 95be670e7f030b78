"""Patterns of file names: part by part as in a shell, and ** for folders of any depth."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

_WILDCARDS = frozenset("*?[")


def matches(name: str, pattern: str) -> bool:
    """Whether a file's path below the location is what a pattern names.

    >>> matches("2026/01/a.csv", "**/*.csv"), matches("2026/01/a.csv", "*.csv"), matches("A.csv", "a.csv")
    (True, False, False)
    """
    return _match(name.split("/"), parts_of(pattern))


def leads_on(folder: str, pattern: str) -> bool:
    """Whether a file below a folder could be what a pattern names."""
    return _could_match(folder.split("/"), parts_of(pattern))


def prefix_of(pattern: str) -> str:
    """The folder that all files are below which a pattern names, as far as the pattern has no wildcards.

    >>> prefix_of("2026/01/*.csv"), prefix_of("2026/*/a.csv"), prefix_of("a/b.csv"), prefix_of("*.csv")
    ('2026/01', '2026', 'a', '')
    """
    folders: list[str] = []
    for part in parts_of(pattern)[:-1]:
        if _WILDCARDS & set(part):
            break
        folders.append(part)
    return "/".join(folders)


def prefixes_of(patterns: Iterable[str]) -> list[str]:
    """The folders to list for several patterns, none of them below another."""
    kept: list[str] = []
    for prefix in sorted(set(map(prefix_of, patterns))):  # a folder sorts before what is below it
        if not any(above == "" or f"{prefix}/".startswith(f"{above}/") for above in kept):
            kept.append(prefix)
    return kept


def parts_of(pattern: str) -> list[str]:
    """The parts of a pattern; ./a//b is a/b."""
    return [part for part in pattern.split("/") if part not in ("", ".")]


def _match(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_match(parts[skipped:], rest) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _match(parts[1:], pattern[1:])


def _could_match(folders: Sequence[str], pattern: Sequence[str]) -> bool:
    if not folders or pattern[0] == "**":
        return True
    return len(pattern) > 1 and fnmatchcase(folders[0], pattern[0]) and _could_match(folders[1:], pattern[1:])
