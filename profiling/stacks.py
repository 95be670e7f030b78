"""Call stacks of a run: where its time goes, by what a line of code is.

Frames are shown as `function (file:line)`: a file of the connector from its folder on, others from their package on.
"""

import linecache
import os
import re
import sysconfig
from collections.abc import Sequence
from itertools import dropwhile
from pathlib import Path

from profiling.allocations import short
from profiling.observation import Category, Frame, Observation, Place, Stack

CATEGORIES: tuple[Category, ...] = ("fetching", "decoding", "own code", "op.*")
WAITING = "waiting"

# A file's path from its package on tells what it does.
_SDK = ("fivetran_connector_sdk",)
_PROFILER = ("profiling/profiled.py", "profiling/allocations.py", "tests/recording.py", "memray/")
_FETCHING = (
    *(
        "requests/",
        "urllib3/",
        "http/",
        "socket.py",
        "ssl.py",
        "httpx/",
        "httpcore/",
        "aiohttp/",
        "urllib/",
        "ftplib.py",
    ),
    *("psycopg2/", "psycopg/", "pymysql/", "mysql/", "sqlalchemy/", "pymongo/", "snowflake/", "pyodbc", "oracledb/"),
    *("boto3/", "botocore/", "s3transfer/", "obstore/", "fsspec/", "s3fs/", "google/", "azure/", "paramiko/"),
    *("certifi/", "idna/", "shared/http_", "shared/list_reader.py", "shared/server_side_cursor.py"),
)
_DECODING = (
    *(
        "json/",
        "csv.py",
        "codecs.py",
        "encodings/",
        "gzip.py",
        "zipfile",
        "bz2.py",
        "lzma.py",
        "_compression.py",
        "xml/",
    ),
    *("compression/", "decimal.py", "_pydecimal.py", "datetime.py", "_strptime.py", "base64.py", "io.py", "pickle.py"),
    *("ijson/", "polars/", "pandas/", "numpy/", "pyarrow/", "arro3/", "openpyxl/", "zstandard/", "lxml/", "bs4/"),
    *("dateutil/", "charset_normalizer/", "shared/json_stream.py", "shared/values.py", "shared/moments.py"),
)
# What a line calls that has no frames of Python: most drivers and decoders are written in C.
_FETCHES = re.compile(r"\.(fetch(all|many|one)|execute|recv(_into)?|read(line|lines|into|_all)?|copy_expert)\(")
_DECODES = re.compile(r"\b(loads?|raw_decode|decode|decompress|read_\w+|csv|reader|iter_batches|to_dicts|to_pylist)\(")
_FRAME = re.compile(r"(?P<name>.*) \((?P<file>.*):(?P<line>\d+)\)")
_THREAD = re.compile(r"thread \(\S+\): (?P<name>.*)")
_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_ROOT = f"{Path(__file__).parents[1]}{os.sep}"


def place(folder: Path, file: str, line: int) -> Place:
    """A line with its text, its file from the connector's folder on or from its package on."""
    return Place(_shown(file, f"{folder}{os.sep}"), line, linecache.getline(file, line).strip())


def read(raw: str, folder: Path) -> list[Stack]:
    """The stacks that py-spy has written: `frame;frame;frame samples`, a line each, outermost first."""
    stacks: dict[tuple[str, tuple[Frame, ...]], int] = {}
    for line in raw.splitlines():
        text, _, samples = line.rpartition(" ")
        thread, frames = _thread(text.split(";"))
        shown = tuple(_frame(frame, f"{folder}{os.sep}") for frame in frames)
        stacks[thread, shown] = stacks.get((thread, shown), 0) + int(samples)
    return [Stack(thread, frames, samples) for (thread, frames), samples in stacks.items()]


def _thread(frames: list[str]) -> tuple[str, list[str]]:
    found = _THREAD.fullmatch(frames[0])
    return (found["name"], frames[1:]) if found else ("MainThread", frames)


def _frame(text: str, folder: str) -> Frame:
    found = _FRAME.fullmatch(text)
    return f"{found['name']} ({_shown(found['file'], folder)}:{found['line']})" if found else text


def _shown(file: str, folder: str) -> str:
    if file.startswith(folder):
        return file.removeprefix(folder)
    return short(file.removeprefix(_ROOT) if ".venv" not in file else file, _STDLIB)


def is_of_profiler(file: str) -> bool:
    """Whether a file is one that runs the connector."""
    return file.removeprefix(_ROOT).startswith(_PROFILER)


def file_of(frame: Frame) -> str:
    """The file of a frame.

    >>> file_of("update (connector.py:31)")
    'connector.py'
    """
    found = _FRAME.fullmatch(frame)
    return found["file"] if found else frame


def category_of(frames: Sequence[Frame]) -> Category:
    """What the innermost of these frames does; what an operation does to send a record is the operation's."""
    files = [file_of(frame) for frame in frames]
    if files and files[-1].startswith(_PROFILER):
        return "profiler"
    if any(file.startswith(_SDK) for file in files):
        return "op.*"
    for file in reversed(files):
        if file.startswith(_FETCHING):
            return "fetching"
        if file.startswith(_DECODING):
            return "decoding"
    return "own code"


def update_stacks(observation: Observation) -> list[Stack]:
    """The stacks from update() on; a worker thread's from what it was given to do."""
    found = []
    for stack in observation.stacks:
        frames = stack.frames
        if stack.thread == "MainThread":
            frames = _from_update(frames)
        elif stack.thread in ("profiler", "tracing"):
            frames = ()
        else:
            frames = tuple(dropwhile(_is_of_a_pool, frames))
        if frames:
            found.append(Stack(stack.thread, frames, stack.samples))
    return found


def _is_of_a_pool(frame: Frame) -> bool:
    """Whether it is what runs a thread, below what the thread was given to do."""
    return file_of(frame).startswith(("threading.py", "concurrent/futures/"))


def _from_update(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """What lies inside the profiler's call of update()."""
    for number, frame in enumerate(frames):
        if frame.startswith("run (profiling/profiled.py"):
            return frames[number + 1 :]
    return ()


def time_split(observation: Observation) -> dict[str, float]:
    """Seconds of update() in the main thread, by what it did; `waiting` is the time without a processor.

    Empty without stacks. The profiler's own time is left out.
    """
    samples = dict.fromkeys(CATEGORIES, 0)
    all_samples = 0
    for stack in update_stacks(observation):
        if stack.thread != "MainThread":
            continue
        all_samples += stack.samples
        category = category_of(stack.frames)
        if category == "own code":
            category = _by_its_line(stack.frames[-1], observation.folder)
        if category in samples:
            samples[category] += stack.samples
    if not all_samples:
        return {}
    # py-spy may be behind on a busy machine: what the system counted is the measure of the whole.
    busy = all_samples / observation.rate
    if observation.main_cpu is not None:
        busy = min(observation.main_cpu, observation.seconds)
    split: dict[str, float] = {category: busy * count / all_samples for category, count in samples.items()}
    return {**split, WAITING: max(observation.seconds - busy, 0.0)}


def _by_its_line(frame: Frame, folder: Path) -> Category:
    """What a line does that calls something without frames of its own."""
    found = _FRAME.fullmatch(frame)
    if not found:
        return "own code"
    source = linecache.getline(str(folder / found["file"]), int(found["line"]))
    if _FETCHES.search(source):
        return "fetching"
    return "decoding" if _DECODES.search(source) else "own code"
