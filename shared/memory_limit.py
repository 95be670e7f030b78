"""Ends a sync that runs out of memory with a sentence, before the system ends it without one.

A container has a limit, and a process that needs more is killed at once: no error, no checkpoint, no trace of why. So
between two pages, when all that was delivered is in the state, the sync looks how much is left, and raises
MemoryLimitReached above nine tenths of the limit.

It is raised and no quiet end, because a sync that ends without an error counts as complete: nobody would look, and the
tables would seem up to date. As an error it is shown, the state is saved all the same, and Fivetran tries again soon,
with a process whose memory is empty.

The limit is that of Linux control groups, version 1 or 2. Where there is none, as on most machines that are no
container, nothing is ever looked at.
"""

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shared.errors import MemoryLimitReached
from shared.memory_profiling import resident_bytes

_MOST = 0.9  # of the limit; from here on the sync ends
# What this process holds of the limit itself, at least: else others do, and to end would not help.
_OWN = 0.25
_NEAR = 0.5
# Between two looks, of which each takes some tens of microseconds: usually, and when the limit is near.
_SECONDS_BETWEEN, _SECONDS_BETWEEN_NEAR = 0.2, 0.02
_MIB = 2**20


@dataclass(frozen=True)
class Version:
    """What a version of control groups calls its files, and the entries of its memory.stat that cannot be freed.

    Pages of files do not count: the system drops them when it needs the memory.
    """

    limit: str
    held: tuple[str, ...]


V1 = Version("memory.limit_in_bytes", ("total_rss", "total_shmem"))
V2 = Version("memory.max", ("anon", "shmem"))


@dataclass(frozen=True)
class _Mount:
    """Where control groups are shown: the group at its root, and the folder."""

    version: Version
    root: PurePosixPath
    folder: Path


@dataclass(frozen=True)
class _Limit:
    """The memory that a control group may have, in bytes, and the folder where its use is told."""

    most: int
    folder: Path
    version: Version

    def used(self) -> int:
        """What all processes of the group hold and cannot be freed; of this process alone where that is not told."""
        try:
            entries = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
            held = [int(entries[name]) for name in self.version.held if name in entries]
        except (OSError, ValueError):
            held = []
        return sum(held) if held else resident_bytes()


class MemoryLimit:
    """The limit of the container that this process runs in, if there is one.

    `root` is the folder that /proc and /sys are in.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._limit = min(_limits(root), key=lambda limit: limit.most, default=None)
        self._due = 0.0

    @property
    def most(self) -> int | None:
        """Bytes; None without a limit."""
        return self._limit.most if self._limit else None

    def check(self, table: str, number: int, size: int) -> None:
        """Raises MemoryLimitReached if hardly any memory is left after this page: of a table, its number in the sync,
        and the bytes of its values, 0 where that is not known."""
        if self._limit is None:
            return
        now = time.monotonic()
        if now < self._due:
            return
        used, most = self._limit.used(), self._limit.most
        if used >= _MOST * most and resident_bytes() >= _OWN * most:
            gc.collect()  # what only refers to itself may be all that is too much
            used = self._limit.used()
            if used >= _MOST * most:
                raise MemoryLimitReached(_sentence(used, most, table, number, size))
        self._due = now + (_SECONDS_BETWEEN if used < _NEAR * most else _SECONDS_BETWEEN_NEAR)


def _sentence(used: int, most: int, table: str, number: int, size: int) -> str:
    page = f"page {number:,} of the sync (table {table}" + (f", {size / _MIB:,.1f} MB of values)" if size else ")")
    return (
        f"memory is nearly used up: {used / _MIB:,.0f} MB of the {most / _MIB:,.0f} MB that the container may have, "
        f"after {page}; everything delivered so far is saved and the next sync goes on where this one ended; if this "
        "comes again and again, lower the settings for the size of a page and for calls at a time, or find what holds "
        "the memory with `make profile`"
    )


def _limits(root: Path) -> Iterator[_Limit]:
    """The limits of the process's group and of those that it is in; those that are none left out.

    The outermost comes first: of two that are the same it is the one that more counts for.
    """
    try:
        machine = _machine_bytes(root)
        folders = group_folders(root)
    except (OSError, ValueError, IndexError):  # no Linux, or nothing that can be relied on
        return
    for version, folder in folders:
        most = _number_in(folder / version.limit)
        if most is not None and 0 < most <= machine:
            yield _Limit(most, folder, version)


def _machine_bytes(root: Path) -> int:
    """The memory of the whole machine: "MemTotal:  24683520 kB"."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemTotal")


def group_folders(root: Path = Path("/")) -> list[tuple[Version, Path]]:
    """The folders of the process's control group and of those that it is in, of each version the outermost first.

    Raises OSError, ValueError or IndexError where there are no control groups, or none that can be made out.
    """
    mounts = list(_mounts(root))
    return [
        (version, folder)
        for version, group in _groups(root)
        for folder in _folders(group, [mount for mount in mounts if mount.version is version])
    ]


def _groups(root: Path) -> Iterator[tuple[Version, PurePosixPath]]:
    """The group that the process is in: "4:memory:/docker/3f" in version 1, "0::/docker/3f" in version 2."""
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield V1, PurePosixPath(path)
        elif number == "0":
            yield V2, PurePosixPath(path)


def _mounts(root: Path) -> Iterator[_Mount]:
    """The mounts of both versions: "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"."""
    for line in (root / "proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        kind, options = fields[fields.index("-") + 1], fields[-1].split(",")
        if kind == "cgroup2" or (kind == "cgroup" and "memory" in options):
            version = V2 if kind == "cgroup2" else V1
            yield _Mount(version, PurePosixPath(fields[3]), root / fields[4].lstrip("/"))


def _folders(group: PurePosixPath, mounts: list[_Mount]) -> list[Path]:
    """The folders of a group and of those that it is in, as far as they are shown, the outermost first.

    A container may see its own group as the root of all, under a name that is not in the path: then it is the mount's.
    """
    if not mounts or ".." in group.parts:
        return []
    mount = next((mount for mount in mounts if group.is_relative_to(mount.root)), None)
    if mount is None:
        return [mounts[0].folder]
    folders = [mount.folder]
    for part in group.relative_to(mount.root).parts:
        folders.append(folders[-1] / part)
    return folders


def _number_in(path: Path) -> int | None:
    """The number in a file; None if there is none: "max", or no such file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
