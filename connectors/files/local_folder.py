"""A folder of this machine. A file's version is its size and the time at which the file system last changed it."""

import os
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from pathlib import Path
from stat import S_ISREG

from content import File, FileChanged, Unavailable
from patterns import leads_on, matches
from shared.errors import SourceError

_CHUNK = 1_048_576


class LocalFolder:
    """The files below a folder; a relative one is in the connector's own folder.

    warn  is told of what is left out

    Raises SourceError for a folder that is none.
    """

    def __init__(self, location: str, warn: Callable[[str], None]) -> None:
        folder = Path(__file__).parent / Path(location).expanduser()
        if not folder.is_dir():
            raise SourceError(f"the setting location names {location!r}, and {folder} is not a folder")
        self._folder = folder.resolve()
        self._warn = warn
        self._links: set[str] = set()  # that were told

    def files(self, patterns: Sequence[str]) -> Iterator[File]:
        """Raises SourceError for what may not be read. Links to folders are not followed, and told once."""
        folders = [""]
        while folders:
            above = folders.pop()
            for entry in self._entries(above):
                name = above + entry.name
                if _is_folder(entry):
                    if any(leads_on(name, pattern) for pattern in patterns):
                        if entry.is_symlink():
                            self._tell_of_link(entry.path)
                        else:
                            folders.append(f"{name}/")
                elif any(matches(name, pattern) for pattern in patterns) and (file := self._listed(entry, name)):
                    yield file

    def content(self, file: File) -> "LocalContent":
        return LocalContent(file, self._folder / file.name)

    def describe(self) -> str:
        return f"the folder {self._folder}"

    def close(self) -> None:
        """Nothing is open."""

    def _entries(self, above: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self._folder / above) as entries:
                yield from entries
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError as error:
            raise SourceError(f"the folder {error.filename} cannot be read: {error.strerror}") from error

    def _listed(self, entry: os.DirEntry[str], name: str) -> File | None:
        """The file; None for what is none, such as a pipe, or is gone."""
        try:
            stat = entry.stat()
            if not S_ISREG(stat.st_mode):
                return None
            inside = not entry.is_symlink() or Path(entry.path).resolve().is_relative_to(self._folder)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{entry.path} cannot be read: {error.strerror}") from error
        if not inside:
            raise SourceError(
                f"{entry.path} is a link to a file outside of the setting location: remove it, or name its folder"
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise SourceError(f"the name of {name!r} is no UTF-8 text: rename the file") from None
        # Of the times of a file, one that nobody can set tells what came since: a copy may claim any date.
        return File(name, stat.st_size, stat.st_ctime_ns, stat.st_mtime_ns)

    def _tell_of_link(self, path: str) -> None:
        if path not in self._links:
            self._links.add(path)
            self._warn(f"{path} is a link to a folder, which is not followed: its files are not read")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere: told as a file, if a pattern names it
        return False


class LocalContent:
    """The bytes of one file."""

    def __init__(self, file: File, path: Path) -> None:
        self.file = file
        self._path = path

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        with self._opened() as opened:
            at = start
            while at < self.file.size and (chunk := self._read(opened, at, min(_CHUNK, self.file.size - at))):
                at += len(chunk)
                yield chunk
            self._check(opened)

    def read(self, start: int, length: int) -> bytes:
        with self._opened() as opened:
            data = self._read(opened, start, min(length, max(0, self.file.size - start)))
            self._check(opened)
            return data

    def _opened(self) -> FileIO:
        try:
            opened = self._path.open("rb", buffering=0)
        except FileNotFoundError:
            raise FileChanged(f"{self.file.name} was removed since it was listed") from None
        except OSError as error:
            raise Unavailable(f"{self.file.name} cannot be read: {error.strerror}") from error
        try:
            self._check(opened)
        except FileChanged:
            opened.close()
            raise
        return opened

    def _read(self, opened: FileIO, start: int, length: int) -> bytes:
        try:
            return os.pread(opened.fileno(), length, start)
        except OSError as error:
            raise Unavailable(f"{self.file.name} cannot be read at byte {start:,}: {error.strerror}") from error

    def _check(self, opened: FileIO) -> None:
        """Whether what is read is the version that was listed: changed while it is read, it would be a mixture."""
        stat = os.fstat(opened.fileno())
        if (stat.st_size, stat.st_ctime_ns) != (self.file.size, self.file.changed):
            raise FileChanged(f"{self.file.name} has changed since it was listed: the next sync reads it")
