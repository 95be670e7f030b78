"""Where a sync's memory goes: marks for code of one's own, off unless asked for.

    MEMORY_PROFILING=usage        logs the process's memory at every mark
    MEMORY_PROFILING=allocations  logs also which lines have allocated most, and what grew

    from shared import memory_profiling

    with memory_profiling.measured("decoding"):
        records = decode(answer)
    memory_profiling.log_memory_usage("decoded")

The environment variable is read once, when this is imported. Without it nothing is traced and every function returns at
once: a call costs tens of nanoseconds, a `with` block about a hundred (measured), so marks may stay in a deployed
connector. `allocations` makes Python code several times slower: use it on little data.

Every page is marked already (shared/pages.py). `make profile` looks from outside, and needs no marks.
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fivetran_connector_sdk import Logging as log

from shared.errors import ConfigurationError

if TYPE_CHECKING:  # tracemalloc is imported where it is used: a deployed connector does not need it
    from tracemalloc import Snapshot

VARIABLE = "MEMORY_PROFILING"
_DEPTH = os.environ.get(VARIABLE, "")
_GIB, _MIB = 1024**3, 1024**2
_NOTHING = nullcontext()
_STATM = Path("/proc/self/statm")
_IGNORED = (
    *("*/fivetran_connector_sdk*", "*/tracemalloc.py", "*/threading.py", "*/memory_profiling.py", "*/psutil/*"),
    *("*/linecache.py", "*/fnmatch.py", "*/importlib/*", "<frozen *"),
)
_last_snapshot: "Snapshot | None" = None  # of the mark before, while allocations are profiled


def mark(label: str) -> None:
    """Logs memory at this point of the sync; with `allocations` also what grew since the mark before."""
    if not _DEPTH:
        return
    global _last_snapshot
    log_memory_usage(label)
    snapshot = take_snapshot()
    print_top_memory(snapshot, label)
    print_memory_growth(_last_snapshot, snapshot, label)
    _last_snapshot = snapshot


def measured(label: str) -> AbstractContextManager[None]:
    """Logs memory before and after the block; with `allocations` also the lines that grew in it."""
    return _measured(label) if _DEPTH else _NOTHING


@contextmanager
def _measured(label: str) -> Iterator[None]:
    log_memory_usage(f"{label}: before")
    before = take_snapshot()
    try:
        yield
    finally:
        log_memory_usage(f"{label}: after")
        print_memory_growth(before, take_snapshot(), label)


def log_memory_usage(label: str) -> None:
    """Logs the resident memory of this process, in GB (1024^3 bytes) and in MB."""
    if not _DEPTH:
        return
    _check_depth()
    resident = resident_bytes()
    log.info(f"Memory usage [{label}]: {resident / _GIB:.2f} GB ({resident / _MIB:.1f} MB)")


def take_snapshot() -> "Snapshot | None":
    """What is allocated now, by line; None unless MEMORY_PROFILING=allocations. The first one starts the tracing."""
    if not _DEPTH:
        return None
    _check_depth()
    if _DEPTH != "allocations":
        return None
    import tracemalloc

    if not tracemalloc.is_tracing():
        tracemalloc.start()
    return tracemalloc.take_snapshot()


def print_top_memory(snapshot: "Snapshot | None", label: str, limit: int = 10) -> None:
    """Logs the lines that hold most memory: size, count of live objects and their average size.

    Lines of the SDK and of the tracing itself are left out: they are not the connector's.
    """
    if snapshot is None:
        return
    log.info(f"--- Top {limit} memory consumers [{label}] ---")
    for statistic in _own(snapshot).statistics("lineno")[:limit]:
        log.info(str(statistic))


def print_memory_growth(before: "Snapshot | None", after: "Snapshot | None", label: str, limit: int = 10) -> None:
    """Logs the lines whose memory grew most between two snapshots: a line that grows at every page is a leak."""
    if before is None or after is None:
        return
    log.info(f"--- Top {limit} memory growth [{label}] ---")
    for difference in _own(after).compare_to(_own(before), "lineno")[:limit]:
        if difference.size_diff > 0:
            log.info(str(difference))


def resident_bytes() -> int:
    """The resident memory of this process in bytes; the peak so far where nothing tells more; 0 if nothing tells."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return _resident_elsewhere()


def _resident_elsewhere() -> int:
    """The same where there is no /proc."""
    # Imported by name: psutil is a development tool, and the dependency check of `fivetran deploy` would ask for every
    # package that an import statement names.
    if importlib.util.find_spec("psutil"):
        return int(importlib.import_module("psutil").Process().memory_info().rss)
    if importlib.util.find_spec("resource"):  # Windows has none
        peak: int = importlib.import_module("resource").getrusage(0).ru_maxrss  # kilobytes, but bytes on macOS
        return peak if sys.platform == "darwin" else peak * 1024
    return 0


def _check_depth() -> None:
    if _DEPTH not in ("usage", "allocations"):
        raise ConfigurationError(
            f"the environment variable {VARIABLE} is {_DEPTH!r}: set it to usage or allocations, or remove it"
        )


def _own(snapshot: "Snapshot") -> "Snapshot":
    """A snapshot without the lines that are not the connector's."""
    import tracemalloc

    return snapshot.filter_traces([tracemalloc.Filter(False, pattern) for pattern in _IGNORED])
