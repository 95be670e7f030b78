"""A cache that cannot outgrow the memory of a connector. It lives inside one sync."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from shared.metrics import Metrics

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """Keeps what was used last, within a number of entries and of bytes.

    size_of   bytes of a value, about; what a small value takes by itself unless given
    metrics   counts what was found and what was not
    """

    def __init__(
        self,
        metrics: Metrics,
        entries: int = 1024,
        most_bytes: int = 16 * 1024 * 1024,
        size_of: Callable[[Value], int] = sys.getsizeof,
    ) -> None:
        self._metrics, self._entries, self._most_bytes, self._size_of = metrics, entries, most_bytes, size_of
        self._values: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Key, load: Callable[[Key], Value]) -> Value:
        """The value of the key, from `load` if it is not kept. A value larger than the whole cache is not kept."""
        if key in self._values:
            self._metrics.cache(hit=True)
            self._values.move_to_end(key)
            return self._values[key][0]
        self._metrics.cache(hit=False)
        value = load(key)
        self._keep(key, value)
        return value

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Forgets everything: between the scopes that values belong to, and for tests."""
        self._values.clear()
        self._bytes = 0

    def _keep(self, key: Key, value: Value) -> None:
        size = self._size_of(value)
        if size > self._most_bytes:
            return
        self._values[key] = value, size
        self._bytes += size
        while len(self._values) > self._entries or self._bytes > self._most_bytes:
            _, (_, dropped) = self._values.popitem(last=False)
            self._bytes -= dropped
