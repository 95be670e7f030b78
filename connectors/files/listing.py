"""Which files there are, in the order in which they are read: by when they came or last changed.

That order is what lets one small position stand for any number of files: everything up to it is delivered, and a file
that comes or changes later is behind it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fivetran_connector_sdk import Logging as log

from service_spec import Settings
from shared.errors import SourceError

# A file younger than this is left for later: its clock tick may not be over, so another file could still sort before
# it; and it may not be written to its end.
SETTLING_SECONDS = 2.0


@dataclass(frozen=True, order=True)
class ListedFile:
    """A file, ordered by `modified` (nanoseconds) and then by `name`, its path below the folder."""

    modified: int
    name: str
    size: int
    path: Path


def settled_files(settings: Settings) -> list[ListedFile]:
    """The files to read now, oldest first. Waits once, briefly, for those just written."""
    files = list_files(settings)
    youngest = max((file.modified for file in files), default=0) / 1e9
    wait = youngest + SETTLING_SECONDS - time.time()
    if 0 < wait <= SETTLING_SECONDS:
        time.sleep(wait)
    settled = (time.time() - SETTLING_SECONDS) * 1e9
    files = list_files(settings)
    ready = [file for file in files if file.modified <= settled]
    if len(ready) < len(files):
        log.info(f"{len(files) - len(ready)} files are still being written: the next sync reads them")
    return ready


def list_files(settings: Settings) -> list[ListedFile]:
    """All files that the settings name, oldest first; raises SourceError for a folder that is none."""
    folder = folder_of(settings)
    return sorted(_list(folder, settings.pattern))


def folder_of(settings: Settings) -> Path:
    """The folder, absolute; raises SourceError where there is none."""
    folder = Path(__file__).parent / settings.folder
    if not folder.is_dir():
        raise SourceError(f"the setting folder names {settings.folder!r}, and {folder} is not a folder")
    return folder.resolve()


def _list(folder: Path, pattern: str) -> Iterator[ListedFile]:
    for path in folder.glob(pattern):
        if not path.is_file():
            continue
        if not path.resolve().is_relative_to(folder):
            raise SourceError(
                f"{path} is a link to a file outside of the setting folder: remove it, or name its folder"
            )
        stat = path.stat()
        # A copy may keep the time of its original; the time of its arrival here is the later of the two.
        modified = max(stat.st_mtime_ns, stat.st_ctime_ns)
        yield ListedFile(modified, path.relative_to(folder).as_posix(), stat.st_size, path)
