"""Which files are delivered, in a state of constant size.

Files are read in the order in which they came, so one place in that order says what is delivered: all up to it. But
a folder that is moved here brings files whose times are older, and so does a clock that is set back. So the files up to
that place are counted in as well: each, by the hash of its name, belongs to one of 1,024 groups, and a group keeps one
checksum of its files. A group whose checksum is another than it was may have files that were not delivered, and is read
again.
"""

import hashlib
from collections.abc import Iterable, Mapping

from listing import ListedFile

GROUPS = 1024

Checksums = dict[str, str]


def checksums(files: Iterable[ListedFile]) -> Checksums:
    """The checksum of every group that has files."""
    totals: dict[str, int] = {}
    for file in files:
        totals[group_of(file)] = totals.get(group_of(file), 0) ^ _checksum(file)
    return {group: f"{total:08x}" for group, total in totals.items()}


def with_file(known: Mapping[str, str], file: ListedFile) -> Checksums:
    """The checksums with one file more."""
    group = group_of(file)
    return {**known, group: f"{int(known.get(group, '0'), 16) ^ _checksum(file):08x}"}


def group_of(file: ListedFile) -> str:
    """The name of the file's group."""
    return f"{int.from_bytes(_hash(file.name), 'big') % GROUPS:x}"


def _checksum(file: ListedFile) -> int:
    return int.from_bytes(_hash(f"{file.changed} {file.size} {file.name}"), "big")


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=4).digest()
