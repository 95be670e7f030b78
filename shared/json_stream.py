"""The records of a JSON body of any size, one after the other, in constant memory.

    records = read(chunks, RecordPath("result.items"), max_record=16 * 1024 * 1024)
    for record, size in records: ...    -> each object of {"result": {"items": [{...}, ...], "next": 2}, "total": 5}
                                           and in the end, as the generator's value, {"result": {"next": 2}, "total": 5}

Numbers are exact (shared.values), unless a decoder is given. What is no JSON is a ValueError, found where it stands:
the records before it have been yielded by then, and so the caller must be able to take them again.
"""

import codecs
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

from shared.values import exact_decoder, json_problem

Records = Generator[tuple[Any, int], None, None]

_SHOWN = 200
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_LINE_END = re.compile(r"[ \t\r]*\n[ \t\n\r]*")
_GAP = re.compile(r"[ \t\n\r]*")
_BLANKS = " \t\r"
_WHITE_SPACE = _BLANKS + "\n"
# The decoder stops at most so far before the end of a text that was cut: "-Infinit" and "\ud83d\ude0" are read on.
_LONGEST_TOKEN = 16
# A number that was cut may look like a shorter one: "1.5e-" like 1.5.
_LONGEST_CUT = 2
# What takes as much memory as so many characters of long text: an object, a list, and each further value.
_WEIGHTS = {"{": 40, "[": 18, ",": 16}
_HEAVIEST = 20  # no JSON weighs more than so many times its length


Shape = Literal["list", "object", "map", "lines", "values", "sequence"]


@dataclass(frozen=True)
class RecordPath:
    """Where in an answer's body the records are.

    path    the keys that lead to them, such as "result.items"; "" is the body itself
    shape   list      an array of objects
            object    one object, which is the one record
            map       an object whose values are the records
            lines     JSON Lines, an object on each; the path is ""
            values    an array of anything
            sequence  anything, one after the other, with white space between or none; the path is ""
    key     the field that takes each record's key in a map
    """

    path: str = ""
    shape: Shape = "list"
    key: str = ""

    def __post_init__(self) -> None:
        if self.shape not in get_args(Shape):
            raise ValueError(f"records have no shape {self.shape!r}: there are {', '.join(get_args(Shape))}")
        if self.shape in ("lines", "sequence") and self.path:
            raise ValueError(f"{self.shape} have no path, and the path is {self.path!r}: leave it away")
        if (self.shape == "map") != bool(self.key):
            raise ValueError("a map, and nothing else, needs the name of the field that takes each record's key")


class WrongShape(ValueError):
    """The body is JSON, but has no such records at the path; says the start of what is there."""


class TooLarge(ValueError):
    """A record, or all that stands beside the records, is longer than it may be."""


def read(chunks: Iterable[bytes], where: RecordPath, max_record: int) -> Generator[tuple[Any, int], None, Any]:
    """Yields each record and the length of its JSON; returns the body without the value at the path.

    The value returned is None when the path is "": then there is nothing else. A chunk may end anywhere, within a
    character too. Lengths and `max_record` are in characters; a record of many small values, which takes far more
    memory than text of its length, counts as the text that takes as much.

    Raises WrongShape, TooLarge, or another ValueError for a body that is no JSON or is cut.
    """
    return (yield from Reading(chunks, where, max_record).records())


class Reading:
    """What `read` does, for those who need to know how far it is, or a decoder of their own."""

    def __init__(
        self,
        chunks: Iterable[bytes],
        where: RecordPath,
        max_record: int,
        decoder: json.JSONDecoder | None = None,
    ) -> None:
        self._body = _Text(chunks, max_record, decoder or exact_decoder())
        self._where = where

    def records(self) -> Generator[tuple[Any, int], None, Any]:
        """The records, as `read` has them. Read once."""
        body, where = self._body, self._where
        levels = [_Level(body, key) for key in where.path.split(".") if where.path]
        yield from _SHAPES[where.shape](body, where)
        rest = None
        for level in reversed(levels):
            rest = level.leave(rest)
        body.finish()
        return rest

    @property
    def offset(self) -> int:
        """How many bytes of the body, without a BOM, are behind the last record yielded: the next one begins there,
        or what stands between the two."""
        return self._body.offset


class _Level:
    """An object on the way to the records: what stands in it before the next key of the path, and behind."""

    def __init__(self, body: "_Text", key: str) -> None:
        """Reads up to the value of the key; raises WrongShape without one."""
        body.expect("{")
        self._body, self._key = body, key
        self._start = body.start()
        self._members = body.members()
        self._rest: dict[str, Any] = {}
        for name in self._members:
            if name == key:
                return
            self._rest[name] = body.rest(name)
        raise WrongShape(self._start)

    def leave(self, inner: dict[str, Any] | None) -> dict[str, Any]:
        """Reads up to the end; the object without the records, with what is left of the key's value if that is any."""
        for name in self._members:
            if name == self._key:  # the records of the first were given, where a parser of JSON takes the last
                raise WrongShape(f"the key {name!r} twice in {self._start}")
            self._rest[name] = self._body.rest(name)
        return self._rest if inner is None else {**self._rest, self._key: inner}


def _list(body: "_Text", where: RecordPath) -> Records:
    """The entries of an array, which are objects unless its shape is values."""
    take = body.value if where.shape == "values" else body.record
    body.expect("[")
    for _ in body.entries("[", "]"):
        yield from body.records_before(_COMMA)
        yield take()


def _object(body: "_Text", _where: RecordPath) -> Records:
    yield body.record()


def _map(body: "_Text", where: RecordPath) -> Records:
    body.expect("{")
    for key in body.members():
        record, size = body.record()
        if record.setdefault(where.key, key) != key:
            raise WrongShape(f"the key {key!r} of a record whose field {where.key!r} is {record[where.key]!r}"[:_SHOWN])
        yield record, size


def _lines(body: "_Text", _where: RecordPath) -> Records:
    while body.peek():
        yield from body.records_before(_LINE_END)
        if body.peek():
            yield body.record()
            body.end_line()


def _sequence(body: "_Text", _where: RecordPath) -> Records:
    while body.peek():
        yield from body.records_before(_GAP)
        if body.peek():
            yield body.value()


_SHAPES: Mapping[str, Callable[["_Text", RecordPath], Records]] = {
    "list": _list,
    "object": _object,
    "map": _map,
    "lines": _lines,
    "values": _list,
    "sequence": _sequence,
}


class _Text:
    """The text of a body, of which only what is being read is in memory."""

    def __init__(self, chunks: Iterable[bytes], max_record: int, decoder: json.JSONDecoder) -> None:
        self._chunks = iter(chunks)
        self._max_record = max_record
        self._surely_fits = max_record // _HEAVIEST
        self._utf8 = codecs.getincrementaldecoder("utf-8-sig")()
        self._decode = decoder.raw_decode
        self._text = ""
        self._at = 0  # where in `_text` the next value or mark is
        self._before = 0  # characters of the body before `_text`
        self._bytes_before = 0
        self._ended = False  # whether `_text` is all that is left
        self._beside = 0  # what the values beside the records weigh

    @property
    def offset(self) -> int:
        """How many bytes of the body were taken."""
        return self._bytes_before + _bytes_of(self._text[: self._at])

    def peek(self, skipped: str = _WHITE_SPACE) -> str:
        """The next character that is not white space, without taking it; "" at the end of the body."""
        while True:
            text, at = self._text, self._at
            while (character := text[at : at + 1]) and character in skipped:
                at += 1
            self._at = at
            if character or self._ended:
                return character
            self._read_on(1)

    def start(self) -> str:
        """The start of what is next, for an error."""
        self.peek()
        self._read_on(_SHOWN)
        return self._text[self._at : self._at + _SHOWN]

    def expect(self, opening: str) -> None:
        """Raises WrongShape if the next value does not begin so."""
        if self.peek() == opening:
            return
        start = self.start()
        with suppress(TooLarge):
            self.value()  # what is no JSON at all is told as that
        raise WrongShape(start)

    def entries(self, opening: str, closing: str) -> Iterator[None]:
        """A step for each entry of an array or object; the caller takes the entry before it asks for the next."""
        self._take(opening)
        if self.peek() == closing:
            self._take(closing)
            return
        yield
        while self._take("," + closing) == ",":
            yield

    def members(self) -> Iterator[str]:
        """The key of each member of an object; the caller takes the value before it asks for the next."""
        for _ in self.entries("{", "}"):
            if self.peek() != '"':
                raise self._no_json()
            key, _size = self.value()
            self._take(":")
            yield key

    def record(self) -> tuple[dict[str, Any], int]:
        """The object that is next, and its length; raises WrongShape for any other value."""
        self.expect("{")
        return self.value()

    def value(self, is_beside: bool = False) -> tuple[Any, int]:
        """The value that is next, whatever it is, and its length.

        What it weighs is bounded; for one beside the records, together with all others beside them.
        """
        self.peek()
        longest = self._max_record - (self._beside if is_beside else 0)
        while (decoded := self._decoded()) is None:
            if self._weight(len(self._text)) > longest + _LONGEST_CUT:
                raise TooLarge(self._bound(is_beside))
            # As much again, but for the bound: reading a value costs no more than a few times its length.
            self._read_on(min(2 * (len(self._text) - self._at), longest + _LONGEST_CUT + 1))
        value, end = decoded
        size, weight = end - self._at, self._weight(end)
        if weight > longest:
            raise TooLarge(self._bound(is_beside))
        if is_beside:
            self._beside += weight
        self._at = end
        return value, size

    def records_before(self, separator: re.Pattern[str]) -> Records:
        """The objects with a separator behind them in the text at hand: what `record` gives, at half the cost."""
        self.peek()
        text, at, decode, longest = self._text, self._at, self._decode, self._surely_fits
        mark = ""  # what stands between records, mostly the same throughout a body
        while True:
            try:
                record, end = decode(text, at)
            except (ValueError, RecursionError):
                return  # `record` reads on, or tells it
            size = end - at
            if type(record) is not dict or size > longest:
                return
            if not mark or not text.startswith(mark, end):
                found = separator.match(text, end)
                if not found:
                    return
                mark = found[0]
            self._at = at = end + len(mark)
            yield record, size

    def rest(self, key: str) -> Any:
        """The value that is next, which stands beside the records and is kept till the end of the body."""
        self._beside += len(key)
        value, _size = self.value(is_beside=True)
        return value

    def end_line(self) -> None:
        """Raises ValueError if there is more on the line."""
        if self.peek(_BLANKS) not in ("\n", ""):
            raise self._no_json()

    def finish(self) -> None:
        """Raises ValueError if there is more in the body."""
        if self.peek():
            raise self._no_json()

    def _take(self, allowed: str) -> str:
        """The next character, which must be one of these."""
        mark = self.peek()
        if not mark or mark not in allowed:
            raise self._no_json()
        self._at += 1
        return mark

    def _weight(self, end: int) -> int:
        return weight_of(self._text, self._at, end)

    def _decoded(self) -> tuple[Any, int] | None:
        """The value that is next and where it ends; None if more of the text may be needed to know."""
        try:
            value, end = self._decode(self._text, self._at)
        except json.JSONDecodeError as error:
            if self._ended or self._is_wrong(error.pos):
                raise self._no_json(error.pos) from None
            return None
        except (ValueError, RecursionError) as error:
            raise json_problem(error) from None
        is_cut = not isinstance(value, dict) and not self._ended and end + _LONGEST_CUT >= len(self._text)
        return None if is_cut else (value, end)

    def _is_wrong(self, position: int) -> bool:
        """Whether the decoder stopped at what is no JSON, and not for want of text.

        For want of text it stops close to the end, or at the quotation mark of a string that does not end.
        """
        return position < len(self._text) - _LONGEST_TOKEN and self._text[position] != '"'

    def _no_json(self, position: int | None = None) -> ValueError:
        position = self._before + (self._at if position is None else position)
        total = f" of {self._before + len(self._text):,}: it may be cut off" if self._ended else ""
        return ValueError(f"is no JSON after character {position:,}{total}")

    def _bound(self, is_beside: bool) -> str:
        what = "what stands beside the records" if is_beside else "a record"
        return (
            f"{what} is longer than {self._max_record:,} characters of JSON, or takes as much memory in many small "
            "values: have the server leave fields out, or give what is nested as lists of their own"
        )

    def _read_on(self, length: int) -> None:
        """Drops what was taken, and reads until so many characters are there or the body ends."""
        missing = length - (len(self._text) - self._at)
        if missing <= 0:
            return
        parts = [self._text[self._at :]]
        while missing > 0 and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            try:
                parts.append(self._utf8.decode(chunk or b"", final=self._ended))
            except UnicodeDecodeError:
                raise ValueError(f"is no UTF-8 text after {self._before + self._at:,} characters") from None
            missing -= len(parts[-1])
        self._before += self._at
        self._bytes_before = self.offset
        self._text, self._at = "".join(parts), 0


def weight_of(text: str, start: int, end: int) -> int:
    """What the JSON from `start` to `end` takes of memory once it is decoded, as a number of characters of long text.

    >>> weight_of("[0,0,0]", 0, 7)
    50
    """
    values = sum(weight * text.count(mark, start, end) for mark, weight in _WEIGHTS.items())
    return max(end - start, values)


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
