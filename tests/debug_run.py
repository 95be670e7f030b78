"""Runs `fivetran debug` on a copy of a connector, in an environment of its own and without the network."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.loading import CONNECTORS
from tests.sources.interruption import Interruption

TOOLS = Path(__file__).with_name("tools")
BIN = Path(sys.executable).parent

SIGN_OF_LIFE_SECONDS = 15
MOST_SECONDS = 900
STOP_SECONDS = 5
TAIL_LINES = 40

# Of the person who runs this: their connection's settings, and proxies that a server on this machine is not behind.
_LEFT_OUT = re.compile(r"FIVETRAN_.*|MEMORY_PROFILING|.*_PROXY", re.IGNORECASE)
# As `log_progress` in shared/pages.py says it at the end of a sync.
_COMPLETE = re.compile(r"sync complete: [\d,]+ rows in [\d.]+ s(?:, [\d,]+ rows/s)?(?: \((?P<tables>.*)\))?")
# The demo's output is there to be shown, timings of debug runs are not.
_TIMES = re.compile(r"(— (total )?elapsed )?\d\d:\d\d:\d\d\.\d{3} *| in [\d.]+ s(, [\d,]+ rows/s)?(?= |$)")
_SCHEMA = re.compile(r"^(\"[^\"]*\"|[^.\"]*)\.")
_TABLE = re.compile(r"(\S+) (\d{1,3}(?:,\d{3})*)(?:, |$)")


class Failed(RuntimeError):
    """A run of `fivetran debug` that did not end well; the message ends with the last lines of its output."""


@dataclass(frozen=True)
class Copy:
    """A connector in a folder of its own, where its state and its warehouse are kept from run to run."""

    name: str
    folder: Path

    @property
    def warehouse(self) -> Path:
        """The DuckDB file that `fivetran debug` delivers to."""
        return self.folder / "files" / "warehouse.db"


def copy(name: str, folder: Path, settings: Mapping[str, str]) -> Copy:
    """Copies connectors/NAME with links resolved; its configuration.json is the connector's own, changed by `settings`.

    What earlier runs left in the connector's folder stays there.
    """
    source = CONNECTORS / name
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("files", "__pycache__", ".*"))
    configuration = json.loads((source / "configuration.json").read_text()) | settings
    (folder / "configuration.json").write_text(json.dumps(configuration, indent=2))
    return Copy(name, folder)


def environment(folder: Path) -> dict[str, str]:
    """The environment of the runs: home and temporary files are in `folder`, and nothing asks the network."""
    home, temporary = folder / "home", folder / "tmp"
    settings = home / ".fivetran" / "connector_sdk"
    settings.mkdir(parents=True)
    temporary.mkdir()
    # The command asks for a newer version of itself when this time is long ago.
    (settings / "_last_version_check").write_text(str(int(time.time())))
    return {
        **{name: value for name, value in os.environ.items() if not _LEFT_OUT.fullmatch(name)},
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "DO_NOT_TRACK": "1",
        "PATH": os.pathsep.join([str(TOOLS), str(BIN), os.environ.get("PATH", os.defpath)]),
    }


def debug(
    connector: Copy, log: Path, variables: Mapping[str, str], interruption: Interruption, alive: Callable[[], None]
) -> dict[str, int]:
    """Runs `fivetran debug` on the copy, with its output in `log`; returns how many rows of each table were sent.

    `alive` is called every so often while it runs. Raises Failed.
    """
    command = [str(BIN / "fivetran"), "debug", str(connector.folder)]
    with ExitStack() as running, log.open("wb") as output:
        with interruption.held_back():
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=variables,
                start_new_session=True,  # Ctrl-C is for the demo, which then ends all processes of the session
            )
            running.callback(_end, process)
        code = _wait(process, alive)
    text = log.read_text(errors="replace")
    complete = _COMPLETE.search(text)
    if code != 0 or complete is None:
        how = "did not end in time" if code is None else f"ended with exit code {code}"
        raise Failed(f"fivetran debug connectors/{connector.name} {how}; the end of its output:\n{_tail(text)}")
    counts = _TABLE.findall(complete["tables"] or "")
    return {_SCHEMA.sub("", stream).strip('"'): int(rows.replace(",", "")) for stream, rows in counts}


def _wait(process: subprocess.Popen[bytes], alive: Callable[[], None]) -> int | None:
    """The exit code; None for a process that takes too long."""
    for _ in range(MOST_SECONDS // SIGN_OF_LIFE_SECONDS):
        try:
            return process.wait(SIGN_OF_LIFE_SECONDS)
        except subprocess.TimeoutExpired:
            alive()
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that is still running, and those it has started."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(text: str) -> str:
    """The last lines of the output, without times."""
    return "\n".join(f"    {_TIMES.sub('', line)}" for line in text.splitlines()[-TAIL_LINES:])
