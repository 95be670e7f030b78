"""A zip archive: each of its members is a file of its own, read as a stream.

The archive's directory is read entry by entry: of an archive of any number of members one is in memory at a time, and
a hash of each name. The standard library's zipfile keeps them all.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from content import Content, FileProblem, RandomAccess
from patterns import matches
from service_spec import Settings

_CHUNK = 1_048_576
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _IN_UTF8 = 0x1, 0x800
_RAW_DEFLATE = -15
# The parts of an archive, each with the mark that it begins with.
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_EXTRA = struct.Struct("<2H")
_LONGEST_COMMENT = 65_535
_IN_EXTRA = 0xFFFFFFFF  # a size or offset that stands behind the entry, in 64 bits
_COUNTED = 65_536
_ZIP64 = 1


@dataclass(frozen=True)
class Member:
    """A file in an archive. `open` gives its bytes, decompressed, in pieces of about a megabyte at most."""

    name: str
    open: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class _Entry:
    """What the directory says of a member. `offset` is that of the header before its data."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def members(content: Content, settings: Settings) -> Iterator[Member]:
    """The members of an archive that the setting `zip_members` names, in the order of its directory.

    Folders are none, nor is what a system puts beside the files: __MACOSX, and names that begin with a dot. What cannot
    be read is a FileProblem that names archive and member. Read one after the other, from one thread.
    """
    if content.file.size < 0:
        raise _problem(content, "is of a size that the server does not tell, which zip needs: unpack it")
    small = RandomAccess(content)
    names: set[int] = set()
    for entry in _directory(content):
        parts = entry.name.split("/")
        is_beside = "__MACOSX" in parts or any(part.startswith(".") for part in parts)
        if not parts[-1] or is_beside or not matches(entry.name, settings.zip_members):
            continue
        if (hashed := hash(entry.name)) in names:
            raise _problem(content, f"has two members of the name {entry.name}: pack it again")
        names.add(hashed)
        yield Member(entry.name, lambda entry=entry: _data(content, small, entry))  # type: ignore[misc]


def _directory(content: Content) -> Iterator[_Entry]:
    """The entries of the directory, which is at the archive's end."""
    archive = RandomAccess(content)
    start, end, number, shift = _find_directory(content, archive)
    archive.seek(start)
    count = 0
    while archive.tell() < end:
        count += 1
        found = _unpacked(_ENTRY, archive.read(_ENTRY.size), b"PK\1\2", content)
        _, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length, *_, offset = found
        name = archive.read(name_length)
        extra = archive.read(extra_length)
        archive.read(comment_length)
        wide = _wide_numbers(extra)
        try:
            text = name.decode("utf-8" if flags & _IN_UTF8 else "cp437")
        except UnicodeDecodeError:
            raise _damaged(content) from None
        size, packed, offset = (next(wide, -1) if value == _IN_EXTRA else value for value in (size, packed, offset))
        if -1 in (size, packed, offset):
            raise _damaged(content)
        if "\0" in text:
            raise _damaged(content)
        yield _Entry(text, flags, method, crc, packed, size, offset + shift)
    if (count - number) % _COUNTED:  # of more members than two bytes can count, the rest is told
        raise _damaged(content)


def _find_directory(content: Content, archive: RandomAccess) -> tuple[int, int, int, int]:
    """Where the directory begins and ends, how many entries it has, and what stands before it, as in an installer."""
    size = content.file.size
    tail_start = max(0, size - _END.size - _LONGEST_COMMENT)
    archive.seek(tail_start)
    tail = archive.read(size - tail_start)
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise _problem(content, "is no zip archive, or is cut: upload it again")
    _, _, _, _, number, length, offset, _ = _unpacked(_END, tail[at : at + _END.size], b"PK\5\6", content)
    end = tail_start + at
    locator = tail[max(0, at - _END64_LOCATOR.size) : at]
    if locator.startswith(b"PK\6\7"):
        # It stands right before its locator; what the locator says is wrong where something precedes the archive.
        end -= _END64_LOCATOR.size + _END64.size
        archive.seek(end)
        *_, number, length, offset = _unpacked(_END64, archive.read(_END64.size), b"PK\6\6", content)
    start = end - length
    if start < offset:
        raise _damaged(content)
    return start, end, number, start - offset


def _wide_numbers(extra: bytes) -> Iterator[int]:
    """The numbers of 64 bits behind an entry."""
    while len(extra) >= _EXTRA.size:
        kind, length = _EXTRA.unpack_from(extra)
        if kind == _ZIP64:
            data = extra[_EXTRA.size : _EXTRA.size + length]
            yield from (number for (number,) in struct.iter_unpack("<Q", data[: len(data) // 8 * 8]))
        extra = extra[_EXTRA.size + length :]


def _data(content: Content, small: RandomAccess, entry: _Entry) -> Iterator[bytes]:
    """The bytes of a member, checked against what the directory says of them."""
    where = f"{content.file.name}/{entry.name}"
    if entry.flags & _ENCRYPTED:
        raise FileProblem(f"{where} is encrypted: pack it without a password")
    if entry.method not in (_STORED, _DEFLATED):
        raise FileProblem(
            f"{where} is compressed in a way that is not read here ({entry.method}): pack it with deflate"
        )
    small.seek(entry.offset)
    *_, name_length, extra_length = _unpacked(_LOCAL, small.read(_LOCAL.size), b"PK\3\4", content)
    start = entry.offset + _LOCAL.size + name_length + extra_length
    size = crc = 0
    packed = _range(content, small, start, entry.packed)
    try:
        for piece in _inflated(packed) if entry.method == _DEFLATED else packed:
            size += len(piece)
            crc = zlib.crc32(piece, crc)
            yield piece
    except zlib.error as error:
        raise FileProblem(f"{where} is damaged ({error}): upload the archive again") from None
    if (size, crc) != (entry.size, entry.crc):
        raise FileProblem(f"{where} is damaged: its bytes are not those that were packed: upload the archive again")


def _range(content: Content, small: RandomAccess, start: int, length: int) -> Iterator[bytes]:
    """Some bytes of the archive: many small members are read at once, a large one as a stream."""
    if length <= _CHUNK:
        small.seek(start)
        yield small.read(length)
        return
    for chunk in content.chunks(start):
        yield chunk[:length]
        length -= len(chunk)
        if length <= 0:
            return


def _inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    for chunk in chunks:
        data = chunk
        while data and not inflater.eof:
            yield inflater.decompress(data, _CHUNK)
            data = inflater.unconsumed_tail
    while piece := inflater.decompress(b"", _CHUNK):
        yield piece


def _unpacked(part: struct.Struct, data: bytes, mark: bytes, content: Content) -> tuple[int, ...]:
    """The numbers of a part of the archive, its mark before them; raises FileProblem where it is another part."""
    if len(data) < part.size or not data.startswith(mark):
        raise _damaged(content)
    return part.unpack(data)


def _damaged(content: Content) -> FileProblem:
    return _problem(content, "is damaged: its directory leads to nothing: upload it again")


def _problem(content: Content, reason: str) -> FileProblem:
    return FileProblem(f"{content.file.name} {reason}")
