"""Runs a connector as often as it takes to see where its memory and its time go: the observation that a report is of.

It may raise, hang, exit, start others or be killed: what was seen up to there is the observation.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from profiling import seen
from profiling.growth import is_traced
from profiling.observation import Observation
from profiling.process import HUNG_SECONDS, MB, SLOWER_SECONDS, Request, watch

__all__ = ["HUNG_SECONDS", "MB", "SLOWER_SECONDS", "ProfileError", "Request", "observe"]

_LEAST_GROWTH = 16 * MB


class ProfileError(Exception):
    """It cannot be profiled; the message is one sentence that says what to do."""


def observe(request: Request, tell: Callable[[str], None] = lambda _: None) -> Observation:
    """Runs the connector as it is, then slower to see which lines hold its memory; `tell` is given a line now and then.

    Raises ProfileError when there is no connector to run.
    """
    folder = request.folder.absolute()
    if not (folder / "connector.py").is_file():
        what = "has no connector.py" if folder.is_dir() else "is no folder"
        raise ProfileError(f"{folder} {what}: name the folder of a connector, or one of connectors/ by its name")
    request = replace(request, folder=folder)
    with tempfile.TemporaryDirectory(prefix="profile-", ignore_cleanup_errors=True) as temporary:
        work = Path(temporary)
        first = watch(request, "time", work / "time", tell)
        observation = seen.observation_of(request, first)
        if not observation.samples or first.interrupted:  # update() was never called
            return observation
        interrupted = False
        if request.allocations:
            observation, interrupted = _with_lines(request, observation, work, tell)
        if request.memray and not interrupted:
            observation = _with_memray(request, observation, work, tell)
        return observation


def _with_lines(
    request: Request, observation: Observation, work: Path, tell: Callable[[str], None]
) -> tuple[Observation, bool]:
    """Which lines hold the memory: as Python traces it, and where that explains too little, as the system counts it.

    Says also whether it was interrupted.
    """
    slower = replace(request, seconds=min(request.seconds, request.slower_seconds))
    tell(f"running it again, ten times as slow, to trace allocations: for at most {slower.seconds:.0f} s")
    traced = watch(slower, "allocations", work / "allocations", tell)
    observation = seen.with_snapshots(request, observation, traced)
    growth = observation.peak.resident - observation.baseline
    if traced.interrupted or growth < _LEAST_GROWTH or is_traced(observation):
        return observation, traced.interrupted
    tell("running it once more, to be stopped at every line: most of the memory is not traced by Python")
    stopped_at = watch(slower, "lines", work / "lines", tell)
    return seen.with_grown_lines(request, observation, stopped_at), stopped_at.interrupted


def _with_memray(request: Request, observation: Observation, work: Path, tell: Callable[[str], None]) -> Observation:
    """One more run under memray, which sees the memory of libraries too, and its own flamegraph of the peak."""
    assert request.memray is not None
    tell("running it again under memray")
    watch(request, "memray", work / "memray", tell)
    command = [sys.executable, "-m", "memray", "flamegraph", "--no-web", "--force", "-o", str(request.memray)]
    command.append(str(work / "memray" / "memray.bin"))
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        note = f"memray made no flamegraph: {(made.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
        return replace(observation, notes=[*observation.notes, note])
    return replace(observation, files={**observation.files, "memray flamegraph": request.memray})
