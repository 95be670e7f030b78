"""What the calls of a sync cost: figures for its log, of constant size."""

import random
import threading
import time
from array import array
from dataclasses import dataclass, field

from fivetran_connector_sdk import Logging as log

MEGABYTE = 1024 * 1024
_MOST_ENDPOINTS = 100
_OTHER = "other"
_SAMPLES = 1000
_SHOWN_ENDPOINTS = 10


@dataclass
class Endpoint:
    """The calls of one endpoint: how many, how many failed, and how long answers took (a sample of at most 1,000)."""

    count: int = 0
    errors: int = 0
    seconds: "array[float]" = field(default_factory=lambda: array("d"))

    def percentile(self, percent: float) -> float:
        """The seconds in which so many percent of the calls were answered; 0.0 without calls.

        >>> Endpoint(seconds=array("d", [0.4, 0.1, 0.2, 0.3])).percentile(50)
        0.2
        """
        ordered = sorted(self.seconds)
        rank = -(-len(ordered) * percent // 100)  # rounded up
        return ordered[int(rank) - 1] if ordered else 0.0


class Metrics:
    """Counts for all threads of a sync.

    api_call_count            requests sent, those that were sent again included
    api_total_time_seconds    until they were answered, over all threads: may be more than the sync took
    parallel_fetch_count      calls made ahead in other threads
    cache_hit_count, cache_miss_count
    max_record_size_bytes     length of the longest record's JSON, in characters
    records_over_1mb, records_over_10mb
    pages, rows               answers read to their end, and the records in them
    retries                   calls sent again
    waits, waited_seconds     pauses before retries and for the limit of requests per second
    """

    def __init__(self, every_seconds: float = 60.0) -> None:
        self.api_call_count = 0
        self.api_total_time_seconds = 0.0
        self.parallel_fetch_count = 0
        self.cache_hit_count = 0
        self.cache_miss_count = 0
        self.max_record_size_bytes = 0
        self.records_over_1mb = 0
        self.records_over_10mb = 0
        self.pages = 0
        self.rows = 0
        self.retries = 0
        self.waits = 0
        self.waited_seconds = 0.0
        self.endpoints: dict[str, Endpoint] = {}
        self._lock = threading.Lock()
        self._random = random.Random(0)  # which samples are kept is the same in every run
        self._every_seconds = every_seconds
        self._due = time.monotonic() + every_seconds

    def called(self, endpoint: str, seconds: float) -> None:
        """A request was answered, or given up, after so long."""
        with self._lock:
            self.api_call_count += 1
            self.api_total_time_seconds += seconds
            figures = self._figures(endpoint)
            figures.count += 1
            if len(figures.seconds) < _SAMPLES:
                figures.seconds.append(seconds)
            elif (place := self._random.randrange(figures.count)) < _SAMPLES:
                figures.seconds[place] = seconds

    def failed(self, endpoint: str) -> None:
        """A request failed, whether or not it is sent again."""
        with self._lock:
            self._figures(endpoint).errors += 1

    def retried(self) -> None:
        """A call is sent again."""
        with self._lock:
            self.retries += 1

    def waited(self, seconds: float) -> None:
        """A thread paused before a request."""
        with self._lock:
            self.waits += 1
            self.waited_seconds += seconds

    def page(self, rows: int) -> None:
        """An answer was read to its end."""
        with self._lock:
            self.pages += 1
            self.rows += rows

    def record(self, endpoint: str, size: int) -> int:
        """A record with so many characters of JSON was read; warns of the first that is very large.

        Returns up to which size a record changes nothing: one that is no larger need not be told.
        """
        with self._lock:
            self.max_record_size_bytes = max(self.max_record_size_bytes, size)
            self.records_over_1mb += size > MEGABYTE
            self.records_over_10mb += size > 10 * MEGABYTE
            is_first = size > 10 * MEGABYTE and self.records_over_10mb == 1
        if is_first:
            log.warning(
                f"{endpoint} has a record of {size / MEGABYTE:.1f} MB, and destinations refuse what is too large: "
                "see whether it is right at the source (further ones are counted only)"
            )
        return min(self.max_record_size_bytes, MEGABYTE)

    def parallel_fetch(self) -> None:
        """A call was made ahead in another thread."""
        with self._lock:
            self.parallel_fetch_count += 1

    def cache(self, hit: bool) -> None:
        """Something was looked up in a cache."""
        with self._lock:
            self.cache_hit_count += hit
            self.cache_miss_count += not hit

    def tick(self) -> None:
        """Logs the figures so far in one line, when that is due."""
        now = time.monotonic()
        with self._lock:
            if now < self._due:
                return
            self._due = now + self._every_seconds
        log.info(self.totals())

    def totals(self) -> str:
        """All figures in one line."""
        with self._lock:
            return (
                f"api_call_count={self.api_call_count} api_total_time_seconds={self.api_total_time_seconds:.1f} "
                f"parallel_fetch_count={self.parallel_fetch_count} "
                f"cache_hit_count={self.cache_hit_count} cache_miss_count={self.cache_miss_count} "
                f"max_record_size_bytes={self.max_record_size_bytes} "
                f"records_over_1mb={self.records_over_1mb} records_over_10mb={self.records_over_10mb} "
                f"pages={self.pages} rows={self.rows} retries={self.retries} "
                f"waits={self.waits} waited_seconds={self.waited_seconds:.1f}"
            )

    def summary(self) -> list[str]:
        """The line of totals, and one for each of the ten slowest endpoints, the slowest first."""
        totals = self.totals()
        with self._lock:
            slowest = sorted(self.endpoints.items(), key=lambda item: item[1].percentile(95), reverse=True)
            return [totals, *(_line(name, figures) for name, figures in slowest[:_SHOWN_ENDPOINTS])]

    def log_summary(self) -> None:
        """Logs the summary, at the end of a sync."""
        for line in self.summary():
            log.info(line)

    def _figures(self, endpoint: str) -> Endpoint:
        """Those of an endpoint; of all others together once there are too many names."""
        if endpoint not in self.endpoints and len(self.endpoints) >= _MOST_ENDPOINTS - 1:
            endpoint = _OTHER
        return self.endpoints.setdefault(endpoint, Endpoint())


def _line(name: str, figures: Endpoint) -> str:
    percentiles = " ".join(f"p{percent}={figures.percentile(percent):.3f}s" for percent in (50, 95, 99))
    return f"{name}: count={figures.count} errors={figures.errors} {percentiles}"
