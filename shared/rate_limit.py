"""At most so many requests in a second, as declared or as the server teaches."""

import threading
import time
from collections import deque
from collections.abc import Iterable

from fivetran_connector_sdk import Logging as log

_LOWERED_TO = 0.7  # of the rate that the server took
_LOWERED_AT_MOST_TO = 0.5  # of the limit before: a pause between requests looks like a low rate
_FIRST_AT_LEAST = 1.0  # requests per second
_RAISED_TO = 1.1
_RAISED_EVERY = 5.0  # seconds without a 429
# That is what it took in the last seconds of at least so many requests, the first at least so long ago. Requests of
# the first moment, all sent at once, are no rate.
_LATELY = 10.0
_LONG_ENOUGH = 1.0
_ENOUGH_TO_TELL = 5
_REMEMBERED = 1000


class RateLimit:
    """Spaces the requests of all threads.

    requests_per_second  0 means no limit, until the server teaches one
    stopped              ends every wait
    """

    def __init__(self, requests_per_second: float = 0.0, stopped: threading.Event | None = None) -> None:
        if requests_per_second < 0:
            raise ValueError(f"{requests_per_second} requests per second are none: 0 means no limit")
        self._declared = self._limit = requests_per_second
        self._stopped = stopped or threading.Event()
        self._lock = threading.Lock()
        self._next = 0.0  # when the next request may be sent
        self._held_until = 0.0
        self._changed = time.monotonic()
        self._was_needed = False
        self._sent: deque[float] = deque(maxlen=_REMEMBERED)  # since the limit changed
        self._refused: deque[float] = deque(maxlen=_REMEMBERED)  # of these

    @property
    def requests_per_second(self) -> float:
        """The limit in force; 0 is none."""
        return self._limit

    def wait(self) -> float:
        """Waits until a request may be sent, or till the end of all; returns the seconds that it took."""
        waited = 0.0
        while (too_early := self._take_turn()) > 0:
            waited += too_early
            if self._stopped.wait(too_early):
                break
        return waited

    def hold(self, seconds: float) -> None:
        """Keeps all threads from sending for a while: the server asked one of them to wait."""
        with self._lock:
            self._held_until = max(self._held_until, time.monotonic() + seconds)

    def too_many(self) -> None:
        """The server said that it was asked too often: the limit becomes lower than what it took.

        Threads that were answered so at the same time lower it once.
        """
        now = time.monotonic()
        with self._lock:
            self._refused.append(now)
            sent, refused = _lately(self._sent, now), _lately(self._refused, now)
            if len(sent) < _ENOUGH_TO_TELL or now - sent[0] < _LONG_ENOUGH:
                return
            taken = (len(sent) - len(refused)) / (now - sent[0])
            if self._limit:
                lowered = max(_LOWERED_TO * min(taken, self._limit), _LOWERED_AT_MOST_TO * self._limit)
            else:
                lowered = max(_LOWERED_TO * taken, _FIRST_AT_LEAST)
            self._change(lowered, now)
            limit = self._limit
        log.info(f"the server was asked too often: from now on at most {limit:.3g} requests per second")

    def _take_turn(self) -> float:
        """The seconds after which to ask again for a turn; 0 if this is it."""
        raised = 0.0
        with self._lock:
            now = time.monotonic()
            ready_at = max(self._next, self._held_until)
            if ready_at > now:
                self._was_needed = True
                return ready_at - now
            if self._may_rise(now):
                raised = min(self._limit * _RAISED_TO, self._declared or float("inf"))
                self._change(raised, now)
            self._next = now + (1 / self._limit if self._limit else 0.0)
            self._sent.append(now)
        if raised:
            log.debug(f"the server has not complained for a while: now at most {raised:.3g} requests per second")
        return 0.0

    def _may_rise(self, now: float) -> bool:
        """Whether a limit that was lowered, and that held requests back, has been kept to long enough."""
        lowered = self._limit > 0 and self._limit != self._declared
        return lowered and self._was_needed and now - self._changed >= _RAISED_EVERY

    def _change(self, limit: float, now: float) -> None:
        self._limit, self._changed, self._was_needed = limit, now, False
        self._sent.clear()
        self._refused.clear()


def _lately(moments: Iterable[float], now: float) -> list[float]:
    return [moment for moment in moments if now - moment <= _LATELY]
