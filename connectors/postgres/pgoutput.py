"""The messages of PostgreSQL's output plugin `pgoutput`, protocol version 1, as they come in a replication stream.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from struct import Struct

from shared.errors import SourceError


class Unsent(Enum):
    """The one value that is neither bytes nor NULL."""

    UNCHANGED = "a large value that the update left alone, and the log does not repeat"


UNCHANGED = Unsent.UNCHANGED
# A value as the text that PostgreSQL writes, in the encoding of the client; None for NULL.
Value = bytes | None | Unsent
Values = tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """A transaction starts that committed at `commit_lsn`; `xid` is the lower half of its number."""

    commit_lsn: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The transaction is complete; the log goes on at `end_lsn`."""

    end_lsn: int


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when the changes after this message were made. `columns` are names with oids of types."""

    oid: int
    schema: str
    name: str
    columns: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was inserted (no old values), updated or deleted (no new values).

    old  the values before: all of them, or those of the replica identity and NULL for the others. None for an update
         that left the replica identity alone
    """

    oid: int
    old: Values | None
    new: Values | None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Tables that were emptied together."""

    oids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """What changes no row: the origin of a transaction, a type, a message of an application."""


Message = Begin | Commit | Relation | Change | Truncate | Note

_BEGIN = Struct(">QqI")
_COMMIT = Struct(">BQQq")
_COLUMN_TYPE = Struct(">Ii")
_MESSAGE = Struct(">BQ")
_LONG = Struct(">Q")
_INT = Struct(">I")
_SHORT = Struct(">H")


class _Reader:
    """Takes one part after another off a message. Raises SourceError where it ends too soon."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 1  # behind the letter that says which message it is

    def take(self, size: int) -> bytes:
        taken = self._payload[self._at : self._at + size]
        if len(taken) != size:
            raise self.damaged()
        self._at += size
        return taken

    def numbers(self, form: Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def number(self, form: Struct) -> int:
        return self.numbers(form)[0]

    def text(self) -> str:
        end = self._payload.find(b"\0", self._at)
        if end < 0:
            raise self.damaged()
        taken = self.take(end - self._at)
        self._at += 1
        try:
            return taken.decode()
        except UnicodeDecodeError as error:
            raise self.damaged() from error

    def values(self) -> Values:
        return tuple(self._value() for _ in range(self.number(_SHORT)))

    def _value(self) -> Value:
        kind = self.take(1)
        if kind == b"t":
            return self.take(self.number(_INT))
        if kind == b"n":
            return None
        if kind == b"u":
            return UNCHANGED
        raise self.damaged()

    def end(self) -> None:
        if self._at != len(self._payload):
            raise self.damaged()

    def damaged(self) -> SourceError:
        # Never the message itself: it holds values of rows.
        return SourceError(
            f"the change log holds a message {self._payload[:1]!r} of {len(self._payload)} bytes that is none of "
            f"pgoutput's, at byte {self._at}"
        )


def parsed(payload: bytes) -> Message:
    """The message. Raises SourceError for one that is unknown, too short or too long."""
    reader = _Reader(payload)
    parse = _PARSERS.get(payload[:1])
    if parse is None:
        raise reader.damaged()
    message = parse(reader)
    reader.end()
    return message


def _begin(reader: _Reader) -> Begin:
    commit_lsn, _, xid = reader.numbers(_BEGIN)
    return Begin(commit_lsn, xid)


def _commit(reader: _Reader) -> Commit:
    _, _, end_lsn, _ = reader.numbers(_COMMIT)
    return Commit(end_lsn)


def _relation(reader: _Reader) -> Relation:
    oid, schema, name = reader.number(_INT), reader.text(), reader.text()
    reader.take(1)  # which replica identity the table has
    columns = []
    for _ in range(reader.number(_SHORT)):
        reader.take(1)  # whether the column is part of it
        column = reader.text()
        type_oid, _ = reader.numbers(_COLUMN_TYPE)
        columns.append((column, type_oid))
    # The schema pg_catalog is sent as an empty name.
    return Relation(oid, schema or "pg_catalog", name, tuple(columns))


def _insert(reader: _Reader) -> Change:
    oid = reader.number(_INT)
    _expect(reader, b"N")
    return Change(oid, None, reader.values())


def _update(reader: _Reader) -> Change:
    oid, old = reader.number(_INT), None
    if _expect(reader, b"KON") != b"N":
        old = reader.values()
        _expect(reader, b"N")
    return Change(oid, old, reader.values())


def _delete(reader: _Reader) -> Change:
    oid = reader.number(_INT)
    _expect(reader, b"KO")
    return Change(oid, reader.values(), None)


def _truncate(reader: _Reader) -> Truncate:
    count = reader.number(_INT)
    reader.take(1)  # whether others were emptied by it and sequences restarted
    return Truncate(tuple(reader.number(_INT) for _ in range(count)))


def _origin(reader: _Reader) -> Note:
    reader.number(_LONG)
    reader.text()
    return Note()


def _type(reader: _Reader) -> Note:
    reader.number(_INT)
    reader.text()
    reader.text()
    return Note()


def _logical_message(reader: _Reader) -> Note:
    reader.numbers(_MESSAGE)
    reader.text()
    reader.take(reader.number(_INT))
    return Note()


def _expect(reader: _Reader, letters: bytes) -> bytes:
    letter = reader.take(1)
    if letter not in letters:
        raise reader.damaged()
    return letter


_PARSERS: Mapping[bytes, Callable[[_Reader], Message]] = {
    b"B": _begin,
    b"C": _commit,
    b"R": _relation,
    b"I": _insert,
    b"U": _update,
    b"D": _delete,
    b"T": _truncate,
    b"O": _origin,
    b"Y": _type,
    b"M": _logical_message,
}


def lsn_of(text: str) -> int:
    """A place in the log, as PostgreSQL writes it, as a number.

    >>> lsn_of("1/A0")
    4294967456
    """
    high, _, low = text.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def lsn_text(lsn: int) -> str:
    """
    >>> lsn_text(4294967456)
    '1/A0'
    """
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
