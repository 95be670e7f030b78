"""Measures what the connectors' syncs cost, beside what they cannot cost less than: one table for all of them.

    make bench                    everything: three quarters of an hour (estimated), 10 GB of disk
    make bench QUICK=1            less data and no scenarios, in two minutes
    make bench CONNECTOR=files    one connector
    make bench-check              the quick one, its ratios compared with ratios.json; exit code 1 if any is worse

Every single run is in results/bench.json afterwards, of less data in results/bench-quick.json; a run that fails leaves
there what was measured of the connectors before. A promise that is missed is no failure: figures are the result.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from profiling import bench_check, bench_report
from profiling.bench_check import DamagedFile, Ratios
from profiling.benchmark import Benchmark, Result, say
from tests.sources.interruption import Interruption

# Each is profiling/benchmark_NAME.py.
NAMES = ("postgres", "rest", "openmetadata", "snowplow", "files")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    options = _options(arguments)
    with Interruption() as interruption:
        try:
            return _run(options, interruption)
        except (RuntimeError, DamagedFile) as failure:
            print(f"bench: {failure}", file=sys.stderr)
            return 1
    with suppress(OSError):  # after SIGHUP there is no terminal any more
        print("\nbench: interrupted; everything it started is stopped and removed", file=sys.stderr)
    return 130


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="profiling.bench", description="Measures connectors against their floors.")
    parser.add_argument(
        "connectors",
        nargs="*",
        metavar="connector",
        type=lambda name: name.removesuffix("_api"),  # the folder of rest is called rest_api
        help=f"which to measure: {', '.join(NAMES)}; all by default",
    )
    parser.add_argument("--quick", action="store_true", help="less data, in two minutes")
    parser.add_argument("--check", action="store_true", help="quick, and compared with the stored ratios")
    parser.add_argument("--store", action="store_true", help="quick, and its ratios are stored")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.connectors if name not in NAMES]:
        parser.error(f"there is no benchmark of {', '.join(unknown)}: choose from {', '.join(NAMES)}")
    options.connectors = options.connectors or list(NAMES)
    options.quick |= options.check or options.store
    return options


def _run(options: argparse.Namespace, interruption: Interruption) -> int:
    stored = bench_check.load(bench_check.PATH) if options.check else {}  # a damaged file is told before it takes time
    path = bench_report.RESULTS / ("bench-quick.json" if options.quick else "bench.json")
    machine, results = _measured(options.connectors, options.quick, interruption, path)
    say(f"\n{bench_report.report(results)}")
    if options.quick:
        say("with so little data the promises are only a hint: judge by the full run")
    say(f"\nmeasured on {machine}; every single run: {os.path.relpath(path)}")
    ratios = bench_check.ratios_of(results)
    if options.store:
        _store(machine, ratios, options.connectors)
    if not options.check:
        return 0
    found = bench_check.changes(ratios, bench_check.of_connectors(stored, options.connectors))
    if found.worse:
        say(f"\n{found}\n\nmeasuring again what seems to be worse: it may have been the machine")
        _, again = _measured(found.connectors(), options.quick, interruption)
        found.confirmed(bench_check.changes(bench_check.ratios_of(again), stored))
    say(f"\n{found}")
    return 1 if found.worse else 0


def _measured(
    connectors: Sequence[str], quick: bool, interruption: Interruption, path: Path | None = None
) -> tuple[str, list[Result]]:
    """The machine with the software that was on it, and what was measured; saved at the path after every connector."""
    machine, results = bench_report.machine(), list[Result]()
    for name in connectors:
        # Imported only now: every measured process imports this module, and has no use for the others.
        benchmark: Benchmark[Any] = importlib.import_module(f"profiling.benchmark_{name}").BENCHMARK
        with interruption.running(benchmark.start()) as sources, closing(benchmark.measure(sources, quick)) as found:
            machine = f"{machine}, {benchmark.software(sources)}"
            results += found
        if path is not None:
            bench_report.save(path, machine, results)
    return machine, results


def _store(machine: str, measured: Ratios, connectors: Collection[str]) -> None:
    """Stores what was measured, and keeps what is stored of the connectors that were left out."""
    others = [name for name in NAMES if name not in connectors]
    stored = bench_check.load(bench_check.PATH) if others and bench_check.PATH.exists() else {}
    kept = bench_check.of_connectors(stored, others)
    bench_check.store(bench_check.PATH, machine, {**kept, **measured})
    say(f"stored in {os.path.relpath(bench_check.PATH)}")


if __name__ == "__main__":
    sys.exit(main())
