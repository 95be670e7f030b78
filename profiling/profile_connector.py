"""Profiles a connector: where its memory and its time go, in one report.

    make profile CONNECTOR=files
    .venv/bin/python -m profiling.profile_connector FOLDER --configuration FILE --state FILE

Nothing is pasted into the connector. Its update() runs in a process of its own, ends in a sink that counts what it
sends, and is looked at from outside; a second, slower run traces its allocations. The report is one HTML file.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from profiling import report, terminal
from profiling.running import HUNG_SECONDS, MB, ProfileError, Request, observe

CONNECTORS = Path(__file__).parents[1] / "connectors"
RESULTS = Path(__file__).with_name("results")


def main() -> int:
    """Profiles what the command line says; returns 0, or 1 when the connector did not end well."""
    arguments = _parser().parse_args()
    try:
        request = _request(arguments)
        output = arguments.output or RESULTS / f"{_label(request.folder)}.html"
        observation = observe(request, lambda line: print(line, flush=True))
    except ProfileError as error:
        print(f"profile: {error}", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    report.write(observation, output)
    print(terminal.text(observation))
    print(f"\nreport: {output}")
    for name, path in observation.files.items():
        print(f"{name}: {path}")
    return 0 if observation.ending.kind in ("finished", "stopped") else 1


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
        "--limit", type=int, default=1024, help="MB of memory at which it is stopped, 0: none; default: %(default)s"
    )
    parser.add_argument("--seconds", type=float, default=600, help="it is stopped then; default: %(default)s")
    parser.add_argument(
        "--hung", type=float, default=HUNG_SECONDS, help="seconds without a sign of life; default: %(default)s"
    )
    parser.add_argument("--no-allocations", action="store_true", help="leave out the second, slower run")
    parser.add_argument("--memray", action="store_true", help="one more run under memray, if it is installed")
    return parser


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
        folder.absolute(),
        _configuration(arguments.configuration, folder),
        _object(arguments.state, "state") if arguments.state else {},
        limit=arguments.limit * MB,
        seconds=arguments.seconds,
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
    except ValueError as error:
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
