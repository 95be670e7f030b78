"""How one list endpoint says where its next page is. State only, no HTTP.

A pagination is declared once, holds no state of its own and answers two questions: what to ask for at a position, and
which position comes next. A position is a small JSON value, so it is what a checkpoint saves; None is the first page.

    pagination = Token(parameter="cursor", next_token="paging.after")
    pagination.request(None)              -> PageRequest()
    pagination.next(None, answer)         -> "abc"     the answer's body said {"paging": {"after": "abc"}}
    pagination.request("abc")             -> PageRequest(params={"cursor": "abc"})
    pagination.next("abc", last_answer)   -> None      the end

Lost pages are the worst bug of a connector, because nothing fails. So an empty or short page ends nothing while a next
is stated, offsets step by the rows received, and `PageGuard` refuses a list that goes round or stands still.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import urljoin

from shared import moments
from shared.errors import SourceError, redacted

PagePosition = Any  # text, a whole number or a JSON object; None is the first page
# Where a parameter goes: into the query, a header, or the JSON that is posted, there at a path such as "page.after".
Place = Literal["query", "header", "body"]
_PLACES = ("query", "header", "body")


@dataclass(frozen=True)
class PageRequest:
    """What to send for a page, on top of the endpoint's own request.

    json    values by their path in the JSON that is posted
    url     the whole address, in place of the endpoint's path and parameters
    alone   the endpoint's own parameters are left out: the server takes these alone
    """

    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Answer:
    """What a page says of itself, once its records are read.

    records  how many they are
    first    what the pagination looks at in the first of them, see `Pagination.mark`
    last     and in the last
    print    tells two pages of other records apart
    body     the JSON body; its records may be gone
    links    the `Link` header by relation
    headers  all headers, whatever the case of their names
    """

    records: int
    body: Any = None
    _: KW_ONLY
    first: Any = None
    last: Any = None
    print: bytes = b""
    links: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


class PagePrint:
    """Tells two pages of other records apart; 16 bytes, whatever the page's size."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)

    def add(self, keys: Sequence[Any]) -> None:
        """Takes the keys of more records of the page."""
        if keys:
            self._hash.update(repr(keys).encode(errors="surrogatepass"))

    def value(self) -> bytes:
        return self._hash.digest()


def at_path(body: Any, path: str) -> Any:
    """The value at a path such as "paging.next", None where the path ends early; "" is the body itself."""
    for name in path.split(".") if path else ():
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


@dataclass(frozen=True, kw_only=True)
class Pagination:
    """Base of all paginations.

    total       path in the body of the number of rows that the server promises, "" if it says none
    strict      fewer rows than promised fail the sync, instead of a warning
    max_pages   a list longer than this is an error, never an end
    """

    total: str = ""
    strict: bool = False
    max_pages: int = 100_000

    def start(self, since: datetime | None, now: datetime) -> PagePosition:
        """The position of the first page of a pass, `since` the start of the pass before. None for all but windows."""
        return None

    def request(self, position: PagePosition) -> PageRequest:
        """What to ask for at a position."""
        raise NotImplementedError

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        """The position after `answer`, None at the end. `rows` counts the list's rows so far, this page's included.

        Raises ValueError for an answer that cannot be right, in words that follow its address.
        """
        raise NotImplementedError

    def mark(self, record: Any) -> Any:
        """What the pagination has to know of a page's first and last record."""
        return None

    def stated_total(self, answer: Answer) -> int | None:
        """The number of rows that the server says the list has, or the part of it that the page is of."""
        return _whole_number(at_path(answer.body, self.total)) if self.total else None

    def rows_of_part(self, position: PagePosition, answer: Answer, rows: int) -> int:
        """Of the list's `rows`, those of the part that the page at a position is of, this page's included."""
        return rows

    def ends_part(self, position: PagePosition, following: PagePosition) -> bool:
        """Whether the page at a position is the last of its part of the list: then a stated total has to be reached."""
        return following is None

    def begins_part(self, position: PagePosition) -> bool:
        """Whether another part of the list begins at a position, with a total of its own."""
        return False

    def is_strict(self) -> bool:
        """Whether a total that is not reached fails the sync."""
        return self.strict

    def places(self) -> set[str]:
        """Where it puts what it asks for."""
        inner: Pagination | None = getattr(self, "pages", None)
        own: str = getattr(self, "place", "query")
        return {own} | (inner.places() if inner else set())

    def stretch(self, position: PagePosition) -> Hashable:
        """What part of the list a page is of: in the same part, a repeated page means that the list stands still."""
        return None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _required(**values: str) -> None:
    for name, value in values.items():
        if not value:
            raise ValueError(f"a pagination without {name} could never find its next page: name it")


def _check_place(place: str) -> None:
    if place not in _PLACES:
        raise ValueError(f"a page is asked for in the query, in a header or in the body, not in {place!r}")


def _placed(place: Place, values: Mapping[str, Any], alone: bool = False) -> PageRequest:
    """The request that says `values` in their place: as text, but in JSON as they are."""
    if place == "body":
        return PageRequest(json=values, alone=alone)
    texts = {name: str(value) for name, value in values.items()}
    return PageRequest(headers=texts, alone=alone) if place == "header" else PageRequest(params=texts, alone=alone)


@dataclass(frozen=True, kw_only=True)
class SinglePage(Pagination):
    """The endpoint answers with everything at once."""

    def request(self, position: PagePosition) -> PageRequest:
        return PageRequest()

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        return None


@dataclass(frozen=True, kw_only=True)
class NextLink(Pagination):
    """The body holds the next page's address: {"data": [...], "next_page_url": "https://…?page=2"}.

    The address may be relative; it replaces the endpoint's parameters.
    """

    next_link: str

    def __post_init__(self) -> None:
        _required(next_link=self.next_link)

    def request(self, position: PagePosition) -> PageRequest:
        return PageRequest() if position is None else PageRequest(url=str(position), alone=True)

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        return _link(answer, at_path(answer.body, self.next_link))


@dataclass(frozen=True, kw_only=True)
class LinkHeader(Pagination):
    """The answer's `Link` header holds the next page's address: Link: <https://…?page=2>; rel="next"."""

    relation: str = "next"

    def __post_init__(self) -> None:
        _required(relation=self.relation)

    def request(self, position: PagePosition) -> PageRequest:
        return PageRequest() if position is None else PageRequest(url=str(position), alone=True)

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        return _link(answer, answer.links.get(self.relation))


@dataclass(frozen=True, kw_only=True)
class Token(Pagination):
    """The answer holds a token for the next page, which goes back as `parameter`.

    next_token   path of the token in the body
    next_header  or the header that holds it: X-Next-Page
    place        where `parameter` goes; in the body, it is a path
    has_more     path of a boolean in the body: false ends the list whatever the token is, true needs a token
    alone        the server refuses the endpoint's other parameters beside the token
    """

    parameter: str
    next_token: str = ""
    next_header: str = ""
    place: Place = "query"
    has_more: str = ""
    alone: bool = False

    def __post_init__(self) -> None:
        _required(parameter=self.parameter, next_token=self.next_token or self.next_header)
        if self.next_token and self.next_header:
            raise ValueError("a token is in the body or in a header: name next_token or next_header, not both")
        _check_place(self.place)

    def request(self, position: PagePosition) -> PageRequest:
        return PageRequest() if position is None else _placed(self.place, {self.parameter: position}, self.alone)

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        more = at_path(answer.body, self.has_more) if self.has_more else None
        if more is False:
            return None
        if self.next_header:
            token = _stated(answer.headers.get(self.next_header))
        else:
            token = _stated(at_path(answer.body, self.next_token))
        if more is True and token is None:
            where = self.next_token or self.next_header
            raise ValueError(f"says that there is more ({self.has_more}) and names no next page at {where}")
        return token


@dataclass(frozen=True, kw_only=True)
class Offset(Pagination):
    """The request says how many rows to skip: ?offset=100&limit=50.

    Steps by the rows received: a server may cap its pages below `size` without saying so. Ends on an empty page, or
    when the stated total is reached on a page behind the first.

    least_page  rows below which the server is sure not to cap a page: one of fewer is the last. It spares a second
                call for every list that is so short
    """

    offset: str = "offset"
    limit: str = "limit"
    size: int = 100
    least_page: int = 0
    place: Place = "query"

    def __post_init__(self) -> None:
        _required(offset=self.offset)
        _check_place(self.place)
        if self.size < 1:
            raise ValueError(f"pages of {self.size} rows never reach an end: size must be at least 1")
        if self.least_page > self.size:
            raise ValueError(f"every page of {self.size} rows would be the last: least_page is {self.least_page}")

    def request(self, position: PagePosition) -> PageRequest:
        limit = {self.limit: self.size} if self.limit else {}
        return _placed(self.place, {self.offset: _number(position, 0), **limit})

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        if answer.records < self.least_page or _is_last(self, answer, rows):
            return None
        return _number(position, 0) + answer.records


@dataclass(frozen=True, kw_only=True)
class PageNumber(Pagination):
    """The request names the page: ?page=3. Ends on an empty page, the stated last page, or the stated total.

    first        the number of the first page, 0 or 1
    total_pages  path in the body of the number of pages, "" if the server says none
    """

    page: str = "page"
    first: int = 1
    total_pages: str = ""
    size_parameter: str = ""
    size: int = 100
    place: Place = "query"

    def __post_init__(self) -> None:
        _required(page=self.page)
        _check_place(self.place)
        if self.first not in (0, 1):
            raise ValueError(f"page numbers begin with 0 or 1, not with {self.first}")

    def request(self, position: PagePosition) -> PageRequest:
        size = {self.size_parameter: self.size} if self.size_parameter else {}
        return _placed(self.place, {self.page: _number(position, self.first), **size})

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        number = _number(position, self.first)
        pages = _whole_number(at_path(answer.body, self.total_pages)) if self.total_pages else None
        if pages is not None and (pages > number - self.first or not answer.records):
            return None if number >= pages - 1 + self.first else number + 1
        return None if _is_last(self, answer, rows) else number + 1


@dataclass(frozen=True, kw_only=True)
class Keyset(Pagination):
    """The request names the last record that was read: ?after_id=1234. The list is in the order of that field.

    field       of the records, a path; no two records share its value, unless the list is `inclusive`
    inclusive   the server sends the record with that value again, as ?created_from=2026-01-31 does. Ends on a page
                that holds nothing else; when a page is full of one value, what lies behind it cannot be reached
    size        how many records are asked for, with `limit`
    """

    field: str
    parameter: str
    inclusive: bool = False
    limit: str = ""
    size: int = 100
    place: Place = "query"

    def __post_init__(self) -> None:
        _required(field=self.field, parameter=self.parameter)
        _check_place(self.place)
        if self.inclusive and self.size < 2:
            raise ValueError(f"pages of {self.size} rows that repeat the last one never move on: size must be above 1")

    def request(self, position: PagePosition) -> PageRequest:
        after = {} if position is None else {self.parameter: position["after"] if self.inclusive else position}
        limit = {self.limit: self.size} if self.limit else {}
        return _placed(self.place, {**after, **limit})

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        if not answer.records:
            return None
        value = answer.last
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"has no text or whole number in {self.field} of its last record, to go on from")
        return self._inclusive(position, answer, value) if self.inclusive else value

    def _inclusive(self, position: PagePosition, answer: Answer, value: str | int) -> PagePosition:
        """`full` is the most records of a page so far: a server may cap pages at so many. One that has the same value
        throughout tells nothing, as it may be all there is."""
        full, is_of_one_value = position["full"] if position else 0, answer.first == value
        if position is None or value != position["after"]:
            return {"after": value, "full": full if is_of_one_value else max(full, answer.records)}
        if not is_of_one_value:
            raise ValueError(f"does not go on from {self.parameter}: it is the page before, or in another order")
        if answer.records >= min(self.size, full or self.size):
            raise ValueError(
                f"has {answer.records:,} records with the same {self.field}, a whole page: what follows cannot be "
                "reached; ask for larger pages, or page by a field that no two records share"
            )
        return None

    def mark(self, record: Any) -> Any:
        return at_path(record, self.field)

    def stretch(self, position: PagePosition) -> Hashable:
        return position["after"] if self.inclusive and position else None


@dataclass(frozen=True, kw_only=True)
class TimeWindows(Pagination):
    """The request names a span of time: ?from=…&to=…. The list is read window by window, oldest first.

    A first pass begins at `first`, or `first_reach` seconds ago, or as far back as the server keeps records (`reach`).
    A further one begins `lookback` before the start of the pass before, for records that were written late.

    start, end   the parameters
    format       how they are written, see moments.py
    window       seconds that one request may span
    first        moment of the oldest record, in `format`
    first_reach  seconds back to where a first pass begins
    reach        seconds that the server looks back at most; what is older is lost to it
    lookback     seconds that two passes overlap
    cap          rows that the server answers with at most, cutting the others off in silence: a window that has so
                 many is read again in halves
    pages        how a window's list is paged
    """

    start_parameter: str
    end_parameter: str
    format: str
    window: float
    first: str = ""
    first_reach: float = 0.0
    reach: float = 0.0
    lookback: float = 0.0
    cap: int = 0
    pages: Pagination = field(default_factory=SinglePage)
    place: Place = "query"

    def __post_init__(self) -> None:
        _required(start_parameter=self.start_parameter, end_parameter=self.end_parameter, format=self.format)
        _check_place(self.place)
        if self.window <= 0:
            raise ValueError(f"windows of {self.window} seconds never reach the present: window must be above 0")
        if not (self.first or self.first_reach or self.reach):
            raise ValueError("the first pass over time windows needs a beginning: name first, first_reach or reach")
        if self.first:
            moments.parsed(self.first, self.format)
        _check_inner(self, self.pages)

    def start(self, since: datetime | None, now: datetime) -> PagePosition:
        oldest = [now - timedelta(seconds=self.reach)] if self.reach else []
        if since is not None:
            oldest.append(since - timedelta(seconds=self.lookback))
        elif self.first:
            oldest.append(moments.parsed(self.first, self.format))
        elif self.first_reach:
            oldest.append(now - timedelta(seconds=self.first_reach))
        # A clock that was ahead once must not make a window that ends before it begins.
        begin = min(max(oldest), now - timedelta(seconds=self.lookback))
        return self._window(begin, now, self.window)

    def lost(self, since: datetime | None, now: datetime) -> timedelta:
        """The time between two passes that the server no longer looks back to."""
        gap = now - timedelta(seconds=self.reach) - since if since and self.reach else timedelta()
        return max(gap, timedelta())

    def request(self, position: PagePosition) -> PageRequest:
        page = self.pages.request(position["at"])
        if page.alone:
            return page
        span = {self.start_parameter: self._text(position["from"]), self.end_parameter: self._text(position["to"])}
        asked = _placed(self.place, span)
        return PageRequest(
            {**asked.params, **page.params},
            {**asked.headers, **page.headers},
            {**asked.json, **page.json},
        )

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        begin, end, until = (datetime.fromisoformat(position[name]) for name in ("from", "to", "until"))
        rows = position["rows"] + answer.records
        if self.cap and rows >= self.cap:
            return self._half(begin, end, until)
        following = self.pages.next(position["at"], answer, rows)
        if following is not None:
            return {**position, "at": following, "rows": rows}
        # After a window that was halved, the next one is twice as long again.
        return None if end >= until else self._window(end, until, min(self.window, (end - begin).total_seconds() * 2))

    def mark(self, record: Any) -> Any:
        return self.pages.mark(record)

    def stated_total(self, answer: Answer) -> int | None:
        return self.pages.stated_total(answer)

    def rows_of_part(self, position: PagePosition, answer: Answer, rows: int) -> int:
        return int(position["rows"]) + answer.records

    def ends_part(self, position: PagePosition, following: PagePosition) -> bool:
        return following is None or following["from"] != position["from"]  # else it goes on, or is halved

    def begins_part(self, position: PagePosition) -> bool:
        return position is not None and position["rows"] == 0 and position["at"] is None

    def is_strict(self) -> bool:
        return self.pages.strict

    def stretch(self, position: PagePosition) -> Hashable:
        return position["from"], position["to"], self.pages.stretch(position["at"])

    def _half(self, begin: datetime, end: datetime, until: datetime) -> PagePosition:
        middle = moments.parsed(moments.written(begin + (end - begin) / 2, self.format), self.format)
        if not begin < middle < end:
            raise ValueError(
                f"has {self.cap:,} rows or more between {begin.isoformat()} and {end.isoformat()}, the shortest time "
                "that can be asked for: those beyond cannot be read"
            )
        return self._window(begin, until, (middle - begin).total_seconds())

    def _window(self, begin: datetime, until: datetime, seconds: float) -> PagePosition:
        end = min(begin + timedelta(seconds=seconds), until)
        return {
            "from": begin.isoformat(), "to": end.isoformat(), "until": until.isoformat(), "at": None, "rows": 0
        }  # fmt: skip

    def _text(self, moment: str) -> Any:
        text = moments.written(datetime.fromisoformat(moment), self.format)
        return int(text) if self.place == "body" and self.format.startswith("epoch") else text


@dataclass(frozen=True, kw_only=True)
class InTurn(Pagination):
    """Several endpoints of the same shape, read one after the other as one list.

    paths  of the endpoints; the table's own path is the first of them
    pages  how each is paged
    """

    paths: tuple[str, ...]
    pages: Pagination

    def __post_init__(self) -> None:
        if not self.paths:
            raise ValueError("a list of no endpoints has no first page: name paths")
        if any("{" in path for path in self.paths):
            raise ValueError("endpoints that are read in turn take nothing from a parent: name paths without braces")
        _check_inner(self, self.pages)

    def request(self, position: PagePosition) -> PageRequest:
        number, at, _ = position or _FIRST
        request = self.pages.request(at)
        return replace(request, url=request.url or self.paths[number])

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        number, at, before = position or _FIRST
        following = self.pages.next(at, answer, rows - before)
        if following is not None:
            return [number, following, before]
        return [number + 1, None, rows] if number + 1 < len(self.paths) else None

    def mark(self, record: Any) -> Any:
        return self.pages.mark(record)

    def stated_total(self, answer: Answer) -> int | None:
        return self.pages.stated_total(answer)

    def rows_of_part(self, position: PagePosition, answer: Answer, rows: int) -> int:
        return rows - (position or _FIRST)[2]

    def ends_part(self, position: PagePosition, following: PagePosition) -> bool:
        return following is None or following[0] != (position or _FIRST)[0]

    def begins_part(self, position: PagePosition) -> bool:
        return position is not None and position[1] is None

    def is_strict(self) -> bool:
        return self.pages.strict

    def stretch(self, position: PagePosition) -> Hashable:
        number, at, _ = position or _FIRST
        return number, self.pages.stretch(at)


# Of endpoints in turn: the number of the endpoint, the position there, and the rows of those before it.
_FIRST = (0, None, 0)


def _check_inner(outer: Pagination, inner: Pagination) -> None:
    if isinstance(inner, InTurn | TimeWindows):
        raise ValueError(
            f"pages of {type(outer).__name__} cannot be {type(inner).__name__}: windows or endpoints, not both"
        )
    if outer.total or outer.strict:
        raise ValueError(f"total and strict of {type(outer).__name__} belong to its pages: declare them there")


def _number(position: PagePosition, first: int) -> int:
    return first if position is None else int(position)


def _stated(value: Any) -> PagePosition:
    """A next that the server states. Only a missing, null or empty one ends the list: a token 0 is a token."""
    if value is None or value == "" or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"states the next page as a {type(value).__name__}: expected text or a whole number")
    return value


def _link(answer: Answer, value: Any) -> PagePosition:
    """The address of the next page; a relative one is relative to the page that names it."""
    link = _stated(value)
    return None if link is None else urljoin(answer.url, str(link))


def _is_last(pagination: Pagination, answer: Answer, rows: int) -> bool:
    """Whether a list that states no next has ended: on an empty page, or where its stated total is reached.

    A total that is no more than the first page holds may be that page's own count: then the next page shows.
    """
    is_first = rows == answer.records
    return not answer.records or (rows == pagination.stated_total(answer) and not is_first)


class PageGuard:
    """Watches one walk through a list and refuses one that cannot be right; about 100 bytes of memory a page.

    A next seen before at any distance, a page that repeats the one before it, and a list without an end are each a
    SourceError that names it.
    """

    def __init__(self, pagination: Pagination) -> None:
        self._pagination = pagination
        self._seen: set[bytes] = set()
        self._last_page: tuple[Hashable, bytes] | None = None

    def check(self, position: PagePosition, answer: Answer, following: PagePosition, where: str) -> None:
        """Called for the page at every position with the one that follows; `where` is its address, for the error."""
        page = (self._pagination.stretch(position), answer.print) if answer.records else None
        if page and page == self._last_page:
            raise SourceError(f"{where} answered with the same {answer.records} records as the page before it")
        self._last_page = page
        if following is None:
            return
        token = _digest(following)
        if token in self._seen:
            shown = redacted(str(following))
            raise SourceError(f"{where} names a next page that was read before ({shown!r}): the list goes round")
        self._seen.add(token)
        if len(self._seen) >= self._pagination.max_pages:
            most = self._pagination.max_pages
            raise SourceError(f"{where} has more than {most:,} pages: raise max_pages if that is right")


def _digest(value: Any) -> bytes:
    return hashlib.blake2b(repr(value).encode(errors="surrogatepass"), digest_size=16).digest()
