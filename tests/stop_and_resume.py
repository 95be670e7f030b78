"""Kills a sync at operations all over it and shows that the next one ends as if nothing had happened."""

from collections.abc import Iterable, Mapping
from types import ModuleType

from tests.recording import Destination, sync

# With more operations than this, a sample is taken: all of the first and last ones, and every so many between.
EVERY_ONE = 60


def stops(operations: int) -> Iterable[int]:
    """The operations to stop at."""
    if operations <= EVERY_ONE:
        return range(1, operations + 1)
    step = max(1, operations // EVERY_ONE)
    return sorted({*range(1, 11), *range(10, operations, step), *range(operations - 9, operations + 1)})


def check(connector: ModuleType, configuration: Mapping[str, str]) -> int:
    """Compares an undisturbed sync with ones that were killed and resumed; returns how many were.

    What was sent after the last checkpoint may or may not have reached the destination: both are tried.
    """
    undisturbed = sync(connector, configuration)
    expected = undisturbed.destination.contents()
    assert expected, "a sync of nothing proves nothing"
    tried = 0
    for stop_at in stops(undisturbed.operations):
        killed = sync(connector, configuration, stop_at=stop_at)
        assert killed.operations == stop_at, "the sync was not killed where it should have been"
        for destination in (killed.destination.after_crash(), killed.destination):
            sync(connector, configuration, destination)
            assert destination.contents() == expected, f"stopped at operation {stop_at}"
            tried += 1
    return tried


def check_dying_again_and_again(connector: ModuleType, configuration: Mapping[str, str], operations: int) -> int:
    """Kills every sync after so many operations until one reaches the end; returns how many syncs that took."""
    expected = sync(connector, configuration).destination.contents()
    destination = Destination()
    for attempt in range(1, 10_000):
        sink = sync(connector, configuration, destination, stop_at=operations)
        if sink.operations < operations:
            assert destination.contents() == expected
            return attempt
    raise AssertionError(f"a sync killed after every {operations} operations never ends")
