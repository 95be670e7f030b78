"""A file of a place, and its bytes: from any offset on, or a range of them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from shared.errors import SourceError

_CHUNK = 1_048_576


@dataclass(frozen=True, slots=True)
class File:
    """One version of a file.

    name      its path below the location, with slashes
    size      in bytes; -1 where the server does not tell
    changed   nanoseconds since 1970: when it came or was last changed, by a clock that no writer can set; 0 if unknown
    modified  nanoseconds since 1970: the time of change that the place shows; 0 if unknown
    version   tells two contents under one name and size apart where the place knows (an ETag); else ""
    """

    name: str
    size: int
    changed: int
    modified: int
    version: str = ""

    @property
    def has_version(self) -> bool:
        """Whether a change of the file can be told: some web servers give neither a time nor an ETag."""
        return bool(self.changed or self.version)

    @property
    def place(self) -> tuple[int, str]:
        """Where the file is in the order in which files are read."""
        return self.changed, self.name


class FileProblem(SourceError):
    """A file that cannot be read as it should, told by its name; other files may be all right."""


class Unavailable(FileProblem):
    """The file cannot be had now, whatever is in it: every sync tries again."""


class FileChanged(FileProblem):
    """The file is no longer the version that was listed: the next sync reads the new one."""


class Content(Protocol):
    """The bytes of one version of a file. What fails is a FileProblem that names it, or a SourceError of the place."""

    file: File

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The bytes from `start` on, in pieces of about a megabyte at most; closing the iterator ends the reading."""

    def read(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on; fewer only at the file's end."""


class Loaded:
    """The content of a small file that was fetched whole."""

    def __init__(self, file: File, data: bytes) -> None:
        self.file, self._data = file, data

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        if start < len(self._data):
            yield self._data[start:] if start else self._data

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]


class ByteStream:
    """Chunks of bytes as a stream that is read from its start to its end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes, none at the end; all that is left without a size."""
        if size < 0:
            left, self._left = self._left + b"".join(self._chunks), b""
            return left
        while not self._left and (chunk := next(self._chunks, None)) is not None:
            self._left = chunk
        taken, self._left = self._left[:size], self._left[size:]
        return taken


class SeekableFile(io.RawIOBase):
    """A binary file of a known size that is read at any place: a subclass says which bytes are there."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._at = size, 0

    def bytes_at(self, start: int, length: int) -> bytes | memoryview:
        """At most so many bytes from a place on; none only at the end."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        data = self.bytes_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


class RandomAccess(SeekableFile):
    """A content as a file, for formats whose parts are not in order: zip, Excel.

    Small reads are answered from a window of a megabyte behind them, so that each is no request of its own.
    """

    def __init__(self, content: Content) -> None:
        super().__init__(content.file.size)
        self._content = content
        self._start, self._bytes = 0, b""

    def bytes_at(self, start: int, length: int) -> bytes:
        length = min(length, self._size - start)
        if length <= 0:
            return b""
        if not self._start <= start < start + length <= self._start + len(self._bytes):
            self._start, self._bytes = start, self._content.read(start, max(length, _CHUNK))
        return self._bytes[start - self._start : start - self._start + length]
