"""The same call for many items: a bounded number in flight, results in the order of the items."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from shared.metrics import Metrics

Item = TypeVar("Item")
Result = TypeVar("Result")


class FanOut:
    """Runs calls in at most `workers` threads; use it in a `with` block.

    With one worker there are no threads: each call is made when its result is asked for. The results are the same, and
    in the same order, whatever the number of workers.
    """

    def __init__(self, workers: int, metrics: Metrics) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers would call nothing: at least 1 is needed")
        self._workers, self._metrics = workers, metrics
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fan-out") if workers > 1 else None

    def in_order(
        self, items: Iterable[Item], call: Callable[[Item], Result], most: int = 0
    ) -> Generator[tuple[Item, Callable[[], Result]], None, None]:
        """Each item with a function that returns its result, or raises what the call raised; at most so many at a time,
        if that is less than the workers.

        At most as many results as there are workers wait to be taken, and items are read only so far ahead. Within one
        walk another may be started: all of them share the workers, so that no more calls are in flight.
        """
        if self._pool is None:
            for item in items:
                yield item, partial(call, item)
            return
        source = iter(items)
        ahead: deque[tuple[Item, Future[Result]]] = deque()
        try:
            while True:
                for item in islice(source, min(self._workers, most or self._workers) - len(ahead)):
                    ahead.append((item, self._pool.submit(call, item)))
                    self._metrics.parallel_fetch()
                if not ahead:
                    return
                item, future = ahead.popleft()
                yield item, future.result
                del future  # or its result would stay in memory beside those that wait
        finally:
            for _, future in ahead:
                future.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
