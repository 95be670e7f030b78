"""A text file of any compression and encoding as one stream of UTF-8, from any offset in it.

    name ends in    what is read
    .gz .gzip       gzip, of any number of members
    .zst .zstd      zstd, of any number of frames
    .bz2            bzip2, of any number of streams
    anything else   the bytes as they are

Offsets count the bytes of the stream: decompressed, in UTF-8, without a BOM.
"""

import bz2
import codecs
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import zstandard

from archives import Member
from batches import Place
from content import Content, FileProblem
from service_spec import AUTO, Settings

# A longer record is none, but a file of another kind, or a quote that nobody closed.
LONGEST_RECORD = 16 * 1024 * 1024
SHOWN = 10_000  # characters of a bad row

_CHUNK = 1_048_576
# A byte of zstd may become 32 KB of text, and all that its input makes comes at once: so little is given at once.
_ZSTD_STEP = 256
_GZIP_WRAPPED = 31
_LONGEST_BOM = _LONGEST_MARK = 4
# In the order in which they are tried: the BOM of UTF-32 begins with that of UTF-16.
_BOMS: Mapping[bytes, str] = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_UTF8 = ("utf-8", "utf-8-sig", "ascii")


class TextStream:
    """The text of a file, or of a member of an archive. What cannot be read is a FileProblem, after what came before.

    name      as `_file` has it
    encoding  that of the file, known once its first bytes were read
    """

    def __init__(self, content: Content, settings: Settings, member: Member | None = None) -> None:
        self._content, self._member = content, member
        self.name = f"{content.file.name}/{member.name}" if member else content.file.name
        self._codec = _codec_of(self.name)
        self._declared = settings.encoding
        self._encoding = ""
        self._bom = 0

    @property
    def is_seekable(self) -> bool:
        """Whether reading from an offset costs no more than what is behind it."""
        return self._member is None and self._codec is None and self.encoding == "utf-8"

    @property
    def encoding(self) -> str:
        """The encoding of the file: as the settings say it, or as its BOM does."""
        if not self._encoding:
            for _ in self._decompressed():
                break
        return self._encoding

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        """The stream from an offset on; where the file is not seekable, what is before is read and dropped."""
        if start and self.is_seekable:
            yield from self._content.chunks(self._bom + start)
            return
        for chunk in self._in_utf8():
            if start < len(chunk):
                yield chunk[start:] if start else chunk
            start = max(0, start - len(chunk))

    def head(self, size: int) -> bytes:
        """The first so many bytes: fewer where the file ends, or where something is wrong that `chunks` tells."""
        parts: list[bytes] = []
        with suppress(FileProblem):
            for chunk in self.chunks():
                parts.append(chunk)
                size -= len(chunk)
                if size <= 0:
                    break
        data = b"".join(parts)
        return data[:size] if size < 0 else data

    def problem(self, reason: str) -> FileProblem:
        """The error that tells what is wrong with this file."""
        return FileProblem(f"{self.name} {reason}")

    def _in_utf8(self) -> Iterator[bytes]:
        chunks = self._decompressed()
        first = next(chunks, b"")
        if self._encoding == "utf-8":
            yield from filter(None, (first[self._bom :],))
            yield from chunks
            return
        # What is no text of the encoding becomes bytes that are no UTF-8, and with them a bad row.
        errors = "surrogatepass" if self._encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        decoder = codecs.getincrementaldecoder(self._encoding)(errors)
        is_start = True
        for chunk in _and_end(first, chunks):
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                raise self.problem(
                    f"is no text in {self._encoding}, or is cut ({error}): correct the setting encoding"
                ) from None
            if is_start and text:
                text, is_start = text.removeprefix("\ufeff"), False
            if text:
                yield text.encode("utf-8", "surrogatepass")

    def _decompressed(self) -> Iterator[bytes]:
        """The file's bytes, the first piece long enough to hold a BOM, and the encoding found out from it."""
        pieces = self._pieces()
        first = b""
        for piece in pieces:
            first += piece
            if len(first) >= _LONGEST_BOM:
                break
        self._find_encoding(first)
        yield first
        yield from pieces

    def _pieces(self) -> Iterator[bytes]:
        chunks = self._member.open() if self._member else self._content.chunks(0)
        return _decompressed(chunks, self._codec, self.problem) if self._codec else chunks

    def _find_encoding(self, first: bytes) -> None:
        declared = codecs.lookup("utf-8" if self._declared == AUTO else self._declared).name
        self._encoding = "utf-8" if declared in _UTF8 else declared
        if self._encoding != "utf-8":
            return
        codec = _codec_of_bytes(first)
        if codec:
            raise self.problem(f"is compressed, which its name does not say: name it {codec.suffixes[0]}")
        bom = next((mark for mark in _BOMS if first.startswith(mark)), b"")
        if self._declared == AUTO and bom:
            self._encoding = _BOMS[bom]
        self._bom = len(bom) if bom == codecs.BOM_UTF8 else 0


class Lines:
    """The bytes of a stream that were not taken yet, and the place at which they begin."""

    def __init__(self, chunks: Iterator[bytes], start: Place) -> None:
        self._chunks = chunks
        self.offset: int = start["offset"]
        self.line: int = start["line"]
        self._crc: int | None = start["crc"]
        self._data = b""
        self._at = 0
        self._ended = False
        self._problem: FileProblem | None = None

    @property
    def place(self) -> Place:
        return {"offset": self.offset, "line": self.line, "crc": self._crc}

    def peek(self, size: int) -> bytes | None:
        """Whole lines, of about so many bytes but at least one; the last of a file may lack its end.

        Empty at the end; None where a line is longer than any record. Raises the FileProblem with which the stream
        ended, once all before it was taken.
        """
        self._read_on(size + 1)
        if self._problem and not self._left:
            raise self._problem
        if self._left <= size:
            return self._data[self._at :]
        end = self._data.rfind(b"\n", self._at, self._at + size) + 1
        searched = size
        while not end and searched < LONGEST_RECORD:
            self._read_on(2 * searched)
            end = self._data.find(b"\n", self._at + searched) + 1
            if not end and self._ended and self._left <= LONGEST_RECORD:
                end = len(self._data)
            searched = self._left
        return self._data[self._at : end] if end else None

    def is_all(self, data: bytes) -> bool:
        """Whether nothing follows the data that `peek` gave; raises the FileProblem that does."""
        self._read_on(len(data) + 1)
        is_all = self._left == len(data)
        if is_all and self._problem:
            raise self._problem
        return is_all

    def take(self, data: bytes) -> None:
        """Goes on behind data that `peek` gave."""
        self._at += len(data)
        self.offset += len(data)
        self.line += data.count(b"\n")
        if self._crc is not None:
            self._crc = zlib.crc32(data, self._crc)

    def skip_line(self) -> bool:
        """Goes on behind the line that begins here, however long it is; whether it has an end."""
        while True:
            self._read_on(1)
            end = self._data.find(b"\n", self._at) + 1
            self.take(self._data[self._at : end or len(self._data)])
            if end or self._ended:
                return bool(end)

    def start(self, size: int) -> bytes:
        """What begins here, so many bytes of it."""
        return self._data[self._at : self._at + size]

    @property
    def _left(self) -> int:
        return len(self._data) - self._at

    def _read_on(self, size: int) -> None:
        """Reads until so many bytes are there, or all."""
        missing = size - self._left
        if missing <= 0 or self._ended:
            return
        parts = [self._data[self._at :]]
        while missing > 0 and not self._ended:
            parts.append(self._next_chunk())
            missing -= len(parts[-1])
        self._data, self._at = b"".join(parts), 0
        if self._problem:
            self._data = self._data[: self._data.rfind(b"\n") + 1]  # the rest of a line that is cut is no line

    def _next_chunk(self) -> bytes:
        try:
            chunk = next(self._chunks, None)
        except FileProblem as problem:
            self._problem, chunk = problem, None
        self._ended = chunk is None
        return chunk or b""


def shown(data: bytes) -> str:
    """What is written in a bad row, as text that every destination keeps, cut where it is long."""
    # No character has more than four bytes.
    text = data[: 4 * SHOWN].decode("utf-8", "backslashreplace")
    return text.replace("\0", r"\x00").rstrip("\r\n")[:SHOWN]


def too_long() -> str:
    """What is wrong with a record that is none."""
    return f"is longer than {LONGEST_RECORD:,} bytes: is the file of this format?"


def no_text(encoding: str) -> str:
    """What is wrong with a record that holds bytes that are no text."""
    return f"holds bytes that are no text in {encoding}: save the file as UTF-8, or correct the setting encoding"


def stream_crc(stream: TextStream, offset: int) -> int | None:
    """The CRC-32 of the stream's bytes before an offset; None if it is shorter."""
    crc = 0
    for chunk in stream.chunks(0):
        crc = zlib.crc32(chunk[:offset], crc)
        offset -= min(offset, len(chunk))
        if not offset:
            break
    return None if offset else crc


def is_compressed(name: str) -> bool:
    """Whether a file of this name is decompressed before it is read.

    >>> is_compressed("orders.csv.GZ"), is_compressed("orders.csv")
    (True, False)
    """
    return _codec_of(name) is not None


def without_compression(name: str) -> str:
    """The name that the file has once it is decompressed.

    >>> without_compression("orders.csv.gz"), without_compression("orders.csv")
    ('orders.csv', 'orders.csv')
    """
    return name[: name.rindex(".")] if is_compressed(name) else name


def _and_end(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks that hold anything, and an empty one in the end."""
    yield from filter(None, (first,))
    yield from filter(None, chunks)
    yield b""


@dataclass(frozen=True)
class _Codec:
    """A compression whose parts, each complete in itself, may follow one another.

    marks    how such a file begins
    begin    a new part's decompressor, which has `eof`
    pieces   yields what it makes of some bytes, a megabyte or so at a time; returns those behind the part's end
    error    what it raises for bytes that are none of its own
    padding  what may follow the last part
    """

    name: str
    suffixes: tuple[str, ...]
    marks: tuple[bytes, ...]
    begin: Callable[[], Any]
    pieces: Callable[[Any, bytes], Generator[bytes, None, bytes]]
    error: type[Exception]
    padding: bytes = b""


def _gzip_pieces(member: Any, data: bytes) -> Generator[bytes, None, bytes]:
    while data and not member.eof:
        yield member.decompress(data, _CHUNK)
        data = member.unconsumed_tail
    return bytes(member.unused_data)


def _bzip2_pieces(stream: Any, data: bytes) -> Generator[bytes, None, bytes]:
    yield stream.decompress(data, _CHUNK)
    while not (stream.needs_input or stream.eof):
        yield stream.decompress(b"", _CHUNK)
    return bytes(stream.unused_data)


def _zstd_pieces(frame: Any, data: bytes) -> Generator[bytes, None, bytes]:
    """As the others, though this decompressor gives at once all that it makes of its input."""
    gathered: list[bytes] = []
    size = 0
    for start in range(0, len(data), _ZSTD_STEP):
        try:
            gathered.append(frame.decompress(data[start : start + _ZSTD_STEP]))
        except zstandard.ZstdError:
            yield b"".join(gathered)
            raise
        size += len(gathered[-1])
        if frame.eof:
            yield b"".join(gathered)
            return bytes(frame.unused_data) + data[start + _ZSTD_STEP :]
        if size >= _CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)
    return b""


_CODECS = (
    _Codec(
        "gzip",
        (".gz", ".gzip"),
        (b"\x1f\x8b",),
        lambda: zlib.decompressobj(_GZIP_WRAPPED),
        _gzip_pieces,
        zlib.error,
        padding=b"\0",
    ),
    _Codec(
        "zstd",
        (".zst", ".zstd"),
        (b"\x28\xb5\x2f\xfd", *(bytes([low]) + b"\x2a\x4d\x18" for low in range(0x50, 0x60))),
        lambda: zstandard.ZstdDecompressor().decompressobj(),
        _zstd_pieces,
        zstandard.ZstdError,
    ),
    _Codec("bzip2", (".bz2",), (b"BZh",), bz2.BZ2Decompressor, _bzip2_pieces, OSError),
)


def _codec_of(name: str) -> _Codec | None:
    return next((codec for codec in _CODECS if name.lower().endswith(codec.suffixes)), None)


def _codec_of_bytes(first: bytes) -> _Codec | None:
    """The compression of data that begins so; None where a text may begin so."""
    for codec in _CODECS:
        if any(first.startswith(mark) and not _is_utf8(mark) for mark in codec.marks):
            return codec
    return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decompressed(chunks: Iterator[bytes], codec: _Codec, problem: Callable[[str], FileProblem]) -> Iterator[bytes]:
    """The bytes that were compressed; raises what `problem` makes of damage."""
    part = codec.begin()
    start = b""
    size = 0
    for chunk in chunks:
        start = start or chunk[:_LONGEST_MARK]
        data = chunk
        while data:
            if part.eof:
                data = data.lstrip(codec.padding) if codec.padding else data
                if not data:
                    break
                part = codec.begin()
            pieces = codec.pieces(part, data)
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    data = end.value
                    break
                except codec.error as error:
                    raise problem(_damage(codec, start, size, error)) from None
                size += len(piece)
                if piece:
                    yield piece
    if not part.eof:
        raise problem(f"is cut: its {codec.name} data ends too early, after {size:,} bytes of text: upload it again")


def _damage(codec: _Codec, start: bytes, size: int, error: Exception) -> str:
    if not any(start.startswith(mark[: len(start)]) for mark in codec.marks):
        return f"is named like {codec.name}, but is none: name it for what it is, or upload it again"
    return f"is damaged: its {codec.name} data is wrong after {size:,} bytes of text ({error}): upload it again"
