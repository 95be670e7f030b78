"""Where a sync's memory goes: marks at every page, off unless asked for.

    MEMORY_PROFILING=usage        logs the process's memory at every mark
    MEMORY_PROFILING=allocations  logs also which lines have allocated most, and what grew since the last mark

The environment variable is read once a mark; without it a mark costs one look-up in a dictionary and nothing is
traced, so the calls stay in a deployed connector. `allocations` slows Python code down many times: use few pages.
"""

import importlib
import importlib.util
import os
import sys
import tracemalloc

from fivetran_connector_sdk import Logging as log

VARIABLE = "MEMORY_PROFILING"
_IGNORED = tuple(
    tracemalloc.Filter(False, pattern)
    for pattern in (
        *("*/fivetran_connector_sdk*", "*/tracemalloc.py", "*/threading.py", "*/memory_profiling.py", "*/psutil/*"),
        *("*/linecache.py", "*/fnmatch.py", "*/importlib/*", "<frozen *"),
    )
)
_GIB = 1024**3
_last_snapshot: tracemalloc.Snapshot | None = None  # of the mark before, while allocations are profiled


def mark(label: str) -> None:
    """Logs memory at this point of the sync, in the depth that MEMORY_PROFILING asks for."""
    depth = os.environ.get(VARIABLE)
    if not depth:
        return
    if depth not in ("usage", "allocations"):
        raise ValueError(f"{VARIABLE} is {depth!r}: expected usage or allocations")
    log_memory_usage(label)
    if depth == "allocations":
        if not tracemalloc.is_tracing():
            tracemalloc.start()
        _print_allocations(label)


def _print_allocations(label: str) -> None:
    global _last_snapshot
    snapshot = tracemalloc.take_snapshot()
    print_top_memory(snapshot, label)
    if _last_snapshot is not None:
        print_memory_growth(_last_snapshot, snapshot, label)
    _last_snapshot = snapshot


def log_memory_usage(label: str) -> None:
    """Logs the resident memory of this process, in GB (1024^3 bytes) and in MB."""
    resident = resident_bytes()
    log.info(f"Memory usage [{label}]: {resident / _GIB:.2f} GB ({resident / 1024**2:.1f} MB)")


def resident_bytes() -> int:
    """The resident memory of this process in bytes: from psutil where it is installed, else the peak so far."""
    # Imported by name: psutil is a development tool, and the dependency check of `fivetran deploy` would ask for every
    # package that an import statement names.
    if importlib.util.find_spec("psutil"):
        return int(importlib.import_module("psutil").Process().memory_info().rss)
    peak: int = importlib.import_module("resource").getrusage(0).ru_maxrss  # kilobytes, but bytes on macOS
    return peak if sys.platform == "darwin" else peak * 1024


def print_top_memory(snapshot: tracemalloc.Snapshot, label: str, limit: int = 10) -> None:
    """Logs the lines that hold most memory: size, count of live objects and their average size.

    Lines of the SDK and of the tracing itself are left out: they are not the connector's.
    """
    log.info(f"--- Top {limit} memory consumers [{label}] ---")
    for statistic in snapshot.filter_traces(_IGNORED).statistics("lineno")[:limit]:
        log.info(str(statistic))


def print_memory_growth(before: tracemalloc.Snapshot, after: tracemalloc.Snapshot, label: str, limit: int = 10) -> None:
    """Logs the lines whose memory grew most between two snapshots: a line that grows at every page is a leak."""
    log.info(f"--- Top {limit} memory growth [{label}] ---")
    for difference in after.filter_traces(_IGNORED).compare_to(before.filter_traces(_IGNORED), "lineno")[:limit]:
        if difference.size_diff > 0:
            log.info(str(difference))
