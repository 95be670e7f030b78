"""Runs a Python module in a process that may have so much memory and no more; this one syncs a connector.

    ended = run_limited(["-m", "tests.profiling.limited", "files"], 256 * 2**20, json.dumps(configuration))

The limit is a control group of its own where one can be made, within the group that this process is in; what needs more
is killed. Elsewhere it is what the process may allocate (RLIMIT_DATA), and what needs more gets a MemoryError.
"""

import itertools
import json
import os
import resource
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from shared.memory_limit import V1, V2, group_folders
from tests.loading import load_connector
from tests.recording import CountingSink, decoded, with_sink

ROOT = Path(__file__).parents[2]
KILLED = -9

Kind = Literal["control group", "RLIMIT_DATA"]
# What keeps a group from being swapped out in place of being killed.
_NO_SWAP = {V1: "memory.swappiness", V2: "memory.swap.max"}
_numbers = itertools.count(1)
_SECONDS = 300


@dataclass(frozen=True)
class Ended:
    """How the process ended, what kept it to its memory, and what it said."""

    kind: Kind
    returncode: int
    output: str
    errors: str

    @property
    def was_short(self) -> bool:
        """Whether it ended because it needed more memory."""
        return self.returncode == KILLED if self.kind == "control group" else "MemoryError" in self.errors


def run_limited(arguments: Sequence[str], most: int, given: str = "", kind: Kind = "control group") -> Ended:
    """Runs Python with these arguments; `most` is the bytes that it may have, `given` what it reads.

    Where no control group can be made, it is the other kind of limit, whatever `kind` says.
    """
    with _group(most) if kind == "control group" else nullcontext() as folder:
        # RLIMIT_DATA counts every thread's stack too: 8 MB, unless it is told otherwise.
        limited = f'echo $$ > "{folder}/cgroup.procs"' if folder else f"ulimit -s 1024 && ulimit -d {most // 1024}"
        # The shell becomes Python, so that nothing of the process was allocated outside the limit.
        command = ["sh", "-c", f'{limited} && exec "$@"', "sh", sys.executable, *arguments]
        ran = subprocess.run(
            command,
            input=given,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            cwd=ROOT,
        )
    return Ended("control group" if folder else "RLIMIT_DATA", ran.returncode, ran.stdout, ran.stderr)


@contextmanager
def _group(most: int) -> Iterator[Path | None]:
    """The folder of a new control group with this limit, removed at the end; None where none can be made."""
    folder = _new_group(most)
    try:
        yield folder
    finally:
        if folder:
            _remove(folder)


def _new_group(most: int) -> Path | None:
    try:
        innermost = dict(group_folders())
    except (OSError, ValueError, IndexError):  # no Linux
        return None
    for version, parent in innermost.items():
        folder = parent / f"limited-{os.getpid()}-{next(_numbers)}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            # "r+", since a file that the group does not have must not be made.
            with (folder / version.limit).open("r+") as limit:
                limit.write(str(most))
            with suppress(FileNotFoundError), (folder / _NO_SWAP[version]).open("r+") as swap:
                swap.write("0")
            return folder
        except OSError:
            folder.rmdir()
    return None


def _remove(folder: Path) -> None:
    """Removes a group as soon as the last of its processes is gone."""
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"{folder} cannot be removed: end the processes in its cgroup.procs, then rmdir it")


# In the limited process


@dataclass
class Result:
    """What a sync delivered, by table: rows, bytes of values, and the sum of the CRC-32 of a column's values as text;
    and the most memory that its process had, in bytes."""

    rows: dict[str, int]
    sizes: dict[str, int]
    checksums: dict[str, int]
    peak: int


class _AddingSink(CountingSink):
    """Counts and adds up, and keeps nothing."""

    def __init__(self, tables: list[dict[str, Any]], columns: Mapping[str, str]) -> None:
        super().__init__(tables)
        self._columns = columns
        self.rows: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.checksums: Counter[str] = Counter()

    def record(self, record: Any) -> None:
        table, row = record.table, record.row_data
        self.rows[table] += 1
        self.sizes[table] += sum(map(len, row.values()))
        if column := self._columns.get(table):
            self.checksums[table] += checksum(decoded(row[column])[1])


def checksum(value: str) -> int:
    """The CRC-32 of a value's text."""
    return zlib.crc32(value.encode())


def highest_resident() -> int:
    """The most memory that this process has had so far, in bytes; what it was before it became Python left out."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: in bytes


def main() -> None:
    """Syncs connectors/NAME from its beginning, by the configuration on the standard input; writes a Result."""
    name, columns = sys.argv[1], json.loads(sys.argv[2])
    configuration = json.load(sys.stdin)
    connector = load_connector(name)
    sink = _AddingSink(connector.schema(dict(configuration)), columns)
    with_sink(sink, lambda: connector.update(configuration=dict(configuration), state={}))
    print(json.dumps(asdict(Result(dict(sink.rows), dict(sink.sizes), dict(sink.checksums), highest_resident()))))


if __name__ == "__main__":
    main()
