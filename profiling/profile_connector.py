"""Profiles a connector: where its memory and its time go, in one report.

    make profile CONNECTOR=files
    .venv/bin/python -m profiling.profile_connector FOLDER --configuration FILE --state FILE

Nothing is pasted into the connector. Its update() runs in a process of its own, ends in a sink that counts what it
sends, and is looked at from outside; a second, slower run traces its allocations. The report is one HTML file.
"""

import argparse
import io
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiling import report, terminal
from profiling.running import HUNG_SECONDS, MB, SLOWER_SECONDS, ProfileError, Request, observe
from tests.sources.interruption import Interruption

CONNECTORS = Path(__file__).parents[1] / "connectors"
RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Profiles what the command line says; returns 0, or 1 when the connector did not end well."""
    arguments = _parser().parse_args()
    say = _Terminal().say
    try:
        request = _request(arguments)
        output = _writable(arguments.output or RESULTS / f"{_label(request.folder)}.html")
        observation = None
        with Interruption():  # it stops the connector: the report up to there is written then
            observation = observe(request, say)
    except ProfileError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    if observation is None:
        print("profile: interrupted before anything was seen", file=sys.stderr)
        return 130
    report.write(observation, output)
    say(terminal.text(observation))
    say(f"\nreport: {output}")
    for name, path in observation.files.items():
        say(f"{name}: {path}")
    return 1 if observation.ending.is_bad else 0


class _Terminal:
    """Prints as long as somebody reads: a closed pipe or a full disk is no reason to lose the report."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")

    def say(self, line: str) -> None:
        try:
            print(line, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Profiles a connector's memory and time, and writes a report.",
        epilog="It ends with 1 if the connector did not end well, and with 2 if there was none to run.",
    )
    parser.add_argument("connector", help="one of connectors/ by its name, or any folder with a connector.py")
    parser.add_argument("--configuration", type=Path, help="a JSON file; default: configuration.json of the folder")
    parser.add_argument("--state", type=Path, help="a JSON file with the state to start from; default: none")
    parser.add_argument("--output", type=Path, help="where to write the report; default: profiling/results/NAME.html")
    parser.add_argument(
        "--limit", type=_count, default=1024, help="MB of memory at which it is stopped, 0: none; default: %(default)s"
    )
    parser.add_argument("--seconds", type=_duration, default=600, help="it is stopped then; default: %(default)s")
    parser.add_argument(
        "--slower-seconds",
        type=_duration,
        default=SLOWER_SECONDS,
        help="the same for each of the slower runs; default: %(default)s",
    )
    parser.add_argument(
        "--hung", type=_duration, default=HUNG_SECONDS, help="seconds without a sign of life; default: %(default)s"
    )
    parser.add_argument("--no-allocations", action="store_true", help="leave out the slower runs, which name lines")
    parser.add_argument("--memray", action="store_true", help="one more run under memray, if it is installed")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no number from 0 on")
    return int(text)


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return seconds


def _writable(output: Path) -> Path:
    """The file, once it is sure that it can be written: a profile may take long."""
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("a"):
            return output
    except OSError as error:
        raise ProfileError(f"the report {output} cannot be written: {error.strerror}") from error


def _request(arguments: argparse.Namespace) -> Request:
    folder = Path(arguments.connector)
    if not (folder / "connector.py").is_file() and (CONNECTORS / arguments.connector / "connector.py").is_file():
        folder = CONNECTORS / arguments.connector
    if not (folder / "connector.py").is_file():
        there = ", ".join(sorted(path.parent.name for path in CONNECTORS.glob("*/connector.py")))
        what = "has no connector.py" if folder.is_dir() else "is no folder"
        raise ProfileError(f"{folder} {what}: name a folder with one, or one of {there}")
    if arguments.memray:
        _check_memray()
    return Request(
        Path(os.path.abspath(folder)),
        _configuration(arguments.configuration, folder),
        _object(arguments.state, "state") if arguments.state else {},
        limit=arguments.limit * MB,
        seconds=arguments.seconds,
        slower_seconds=arguments.slower_seconds,
        hung=arguments.hung,
        allocations=not arguments.no_allocations,
        memray=RESULTS / f"{_label(folder.absolute())}-memray.html" if arguments.memray else None,
    )


def _check_memray() -> None:
    from importlib.util import find_spec

    if not find_spec("memray"):
        raise ProfileError("memray is not installed: run .venv/bin/pip install memray, or leave out --memray")


def _configuration(given: Path | None, folder: Path) -> Mapping[str, str]:
    path = given or folder / "configuration.json"
    if given is None and not path.exists():
        raise ProfileError(f"{folder} has no configuration.json: name one with --configuration FILE")
    return _object(path, "configuration")


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise ProfileError(f"the {what} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"the {what} {path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ProfileError(f"the {what} {path} is no JSON object, such as {{}}")
    return found


def _label(folder: Path) -> str:
    """Of the report's file: two names tell bad and good ones of the gallery apart."""
    is_ours = folder.parent == CONNECTORS.absolute()
    return folder.name if is_ours else f"{folder.parent.name}-{folder.name}"


if __name__ == "__main__":
    sys.exit(main())
