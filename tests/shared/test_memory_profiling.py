"""Marks say where memory goes when they are asked to, and are nothing at all when they are not."""

import json
import os
import subprocess
import sys
import timeit
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from fivetran_connector_sdk import Logging

from shared import memory_profiling
from shared.errors import ConfigurationError
from shared.memory_profiling import (
    log_memory_usage,
    mark,
    measured,
    print_memory_growth,
    print_top_memory,
    resident_bytes,
    take_snapshot,
)

ROOT = Path(__file__).parents[2]

# A sync of connectors/files in a process of its own, and then what it has imported and whether it traces.
SYNC = """
import json, sys
from tests.loading import CONNECTORS, load_connector
from tests.recording import CountingSink, with_sink
connector = load_connector("files")
configuration = {"location": str(CONNECTORS / "files" / "sample"), "tables": "stations = *.csv"}
sink = CountingSink(connector.schema(configuration))
with_sink(sink, lambda: connector.update(configuration=configuration, state={}), verbose=True)
assert sink.operations > 1
names = ("psutil", "tracemalloc")
imported = [name for name in names if name in sys.modules]
import tracemalloc
print(json.dumps({"imported": imported, "traces": tracemalloc.is_tracing()}))
"""


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    logged: list[str] = []
    monkeypatch.setattr(Logging, "info", logged.append)
    return logged


@pytest.fixture
def usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_profiling, "_DEPTH", "usage")


@pytest.fixture
def allocations(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(memory_profiling, "_DEPTH", "allocations")
    monkeypatch.setattr(memory_profiling, "_last_snapshot", None)
    yield
    tracemalloc.stop()


def synced(variable: str | None) -> subprocess.CompletedProcess[str]:
    """The process of SYNC with MEMORY_PROFILING set so."""
    variables = {name: value for name, value in os.environ.items() if name != memory_profiling.VARIABLE}
    if variable is not None:
        variables[memory_profiling.VARIABLE] = variable
    return subprocess.run(
        [sys.executable, "-c", SYNC], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


class TestInProduction:
    @pytest.mark.parametrize("variable", [None, ""])
    def test_a_sync_traces_nothing_and_imports_nothing_for_it(self, variable: str | None) -> None:
        ran = synced(variable)
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout.splitlines()[-1]) == {"imported": [], "traces": False}
        assert "Memory usage" not in ran.stdout + ran.stderr

    def test_nothing_is_logged_or_traced(self, lines: list[str]) -> None:
        with measured("a"):
            mark("b")
            log_memory_usage("c")
            snapshot = take_snapshot()
            print_top_memory(snapshot, "d")
            print_memory_growth(snapshot, snapshot, "e")
        assert snapshot is None
        assert lines == []
        assert not tracemalloc.is_tracing()

    @pytest.mark.parametrize(
        "call", ["mark('')", "log_memory_usage('')", "take_snapshot()", "print_top_memory(None, '')"]
    )
    def test_a_call_costs_no_more_than_a_few_lines_of_python(self, call: str) -> None:
        # The best of many, as a machine is never slower than it is when it is not disturbed.
        seconds = min(timeit.repeat(call, number=10_000, repeat=20, globals=vars(memory_profiling))) / 10_000
        assert seconds < 1e-6, "it should be some tens of nanoseconds"


class TestWhenAskedFor:
    def test_a_sync_logs_memory_at_every_page(self) -> None:
        ran = synced("usage")
        assert ran.returncode == 0, ran.stderr
        said = ran.stdout + ran.stderr
        assert "Memory usage [page 1, stations: read]: 0." in said
        assert "Memory usage [page 1, stations: delivered]: 0." in said
        assert json.loads(ran.stdout.splitlines()[-1]) == {"imported": [], "traces": False}

    def test_and_the_lines_that_hold_it(self) -> None:
        ran = synced("allocations")
        assert ran.returncode == 0, ran.stderr
        said = ran.stdout + ran.stderr
        assert "--- Top 10 memory consumers [page 1, stations: read] ---" in said
        assert "--- Top 10 memory growth [page 1, stations: delivered] ---" in said
        assert json.loads(ran.stdout.splitlines()[-1])["traces"]

    def test_a_wrong_value_is_one_sentence(self) -> None:
        ran = synced("yes")
        assert ran.returncode == 1
        sentence = "the environment variable MEMORY_PROFILING is 'yes': set it to usage or allocations, or remove it"
        assert sentence in ran.stderr

    @pytest.mark.parametrize("call", [lambda: log_memory_usage(""), take_snapshot, lambda: measured("").__enter__()])
    def test_whatever_is_called_first(self, monkeypatch: pytest.MonkeyPatch, call: object) -> None:
        monkeypatch.setattr(memory_profiling, "_DEPTH", "everything")
        assert callable(call)
        with pytest.raises(ConfigurationError, match="MEMORY_PROFILING is 'everything'"):
            call()

    def test_usage_is_told_in_gigabytes_and_megabytes(
        self, usage: None, lines: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory_profiling, "resident_bytes", lambda: 53_687_091)
        log_memory_usage("decoded")
        assert lines == ["Memory usage [decoded]: 0.05 GB (51.2 MB)"]

    def test_usage_alone_traces_nothing(self, usage: None, lines: list[str]) -> None:
        with measured("decoding"):
            mark("page 1")
        assert [line.partition("]")[0] for line in lines] == [
            "Memory usage [decoding: before",
            "Memory usage [page 1",
            "Memory usage [decoding: after",
        ]
        assert take_snapshot() is None
        assert not tracemalloc.is_tracing()

    def test_the_lines_that_hold_most_with_size_count_and_average(self, allocations: None, lines: list[str]) -> None:
        take_snapshot()
        held = [bytes(1_000_000 + number) for number in range(5)]
        print_top_memory(take_snapshot(), "held", limit=3)
        assert lines[0] == "--- Top 3 memory consumers [held] ---"
        assert "test_memory_profiling.py" in lines[1]
        assert "size=4883 KiB, count=" in lines[1]
        assert "average=" in lines[1]
        assert len(lines) <= 4
        assert len(held) == 5

    def test_what_grew_in_a_stretch_of_code(self, allocations: None, lines: list[str]) -> None:
        held = []
        with measured("decoding"):
            held.append(bytes(3_000_000))
        growth = lines[lines.index("--- Top 10 memory growth [decoding] ---") + 1]
        assert "test_memory_profiling.py" in growth
        assert "+2930 KiB" in growth

    def test_what_grew_from_mark_to_mark(self, allocations: None, lines: list[str]) -> None:
        held = []
        mark("page 1")
        assert "--- Top 10 memory growth [page 1] ---" not in lines
        held.append(bytes(3_000_000))
        mark("page 2")
        growth = lines[lines.index("--- Top 10 memory growth [page 2] ---") + 1]
        assert "+2930 KiB" in growth

    def test_an_error_in_the_stretch_passes_and_memory_is_told_all_the_same(
        self, usage: None, lines: list[str]
    ) -> None:
        with pytest.raises(KeyError), measured("decoding"):
            raise KeyError
        assert len(lines) == 2


class TestResidentMemory:
    def test_is_what_the_system_says(self) -> None:
        assert resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)

    def test_comes_from_elsewhere_where_there_is_no_proc(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(memory_profiling, "_STATM", tmp_path / "statm")
        assert resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)

    def test_is_the_peak_where_there_is_no_psutil(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(memory_profiling, "_STATM", tmp_path / "statm")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "resource" or None)
        assert resident_bytes() >= 0.9 * psutil.Process().memory_info().rss

    def test_is_0_where_nothing_tells(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(memory_profiling, "_STATM", tmp_path / "statm")
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert resident_bytes() == 0
