"""Which files there are, in the order in which they came or last changed."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from service_spec import Settings
from shared.errors import SourceError

# A file younger than this is left for later: its clock tick may not be over, so another file could still sort before
# it; and it may not be written to its end.
SETTLING_SECONDS = 2.0


@dataclass(frozen=True, order=True)
class ListedFile:
    """A file, ordered by `changed` (nanoseconds) and then by `name`, its path below the folder."""

    changed: int
    name: str
    size: int
    path: Path

    @property
    def place(self) -> tuple[int, str]:
        """Where the file is in the order."""
        return self.changed, self.name


def settled_files(settings: Settings) -> list[ListedFile]:
    """The files to read now, oldest first. Waits once, briefly, for those just written."""
    youngest = max((file.changed for file in list_files(settings)), default=0) / 1e9
    wait = youngest + SETTLING_SECONDS - time.time()
    if 0 < wait <= SETTLING_SECONDS:
        time.sleep(wait)
    settled = (time.time() - SETTLING_SECONDS) * 1e9
    files = list_files(settings, warn=True)
    ready = [file for file in files if file.changed <= settled]
    if not files:
        op.warning(f"no file in {settings.folder} matches {settings.pattern}: nothing to sync")
    if len(ready) < len(files):
        log.info(f"{len(files) - len(ready)} files were written just now: the next sync reads them")
    return ready


def list_files(settings: Settings, warn: bool = False) -> list[ListedFile]:
    """All files that the settings name, oldest first.

    Raises SourceError for a folder that is none or may not be read. Links to folders are not followed; with `warn`, the
    dashboard names those that the pattern would lead into.
    """
    return sorted(_walk(folder_of(settings), PurePosixPath(settings.pattern).parts, warn))


def folder_of(settings: Settings) -> Path:
    """The folder, absolute; raises SourceError where there is none."""
    folder = Path(__file__).parent / settings.folder
    if not folder.is_dir():
        raise SourceError(f"the setting folder names {settings.folder!r}, and {folder} is not a folder")
    return folder.resolve()


def _walk(folder: Path, pattern: Sequence[str], warn: bool) -> Iterator[ListedFile]:
    for root, folders, names in os.walk(folder, onerror=_refused):
        above = Path(root).relative_to(folder).parts
        for name in list(folders):
            if not _leads_on((*above, name), pattern):
                folders.remove(name)
            elif warn and Path(root, name).is_symlink():
                op.warning(f"{Path(root, name)} is a link to a folder, which is not followed: its files are not read")
        for name in names:
            path = Path(root, name)
            if _matches((*above, name), pattern) and (file := _listed(path, folder)):
                yield file


def _listed(path: Path, folder: Path) -> ListedFile | None:
    """The file; None for what is none, such as a pipe."""
    try:
        if not path.is_file():
            return None
        stat, real = path.stat(), path.resolve()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not real.is_relative_to(folder):
        raise SourceError(f"{path} is a link to a file outside of the setting folder: remove it, or name its folder")
    name = path.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise SourceError(f"the name of {name!r} is no UTF-8 text: rename the file") from None
    # Of the times of a file, the one that nobody can set: a copy may claim the date of its original, or any other.
    return ListedFile(stat.st_ctime_ns, name, stat.st_size, path)


def _refused(error: OSError) -> None:
    raise SourceError(f"the folder {error.filename} cannot be read: {error.strerror}")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern, part by part; ** stands for folders of any depth."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        rest = pattern[1:] or ("*",)
        return any(_matches(parts[skipped:], rest) for skipped in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _leads_on(folders: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a file below these folders could match."""
    if not folders or pattern[0] == "**":
        return True
    return len(pattern) > 1 and fnmatchcase(folders[0], pattern[0]) and _leads_on(folders[1:], pattern[1:])
