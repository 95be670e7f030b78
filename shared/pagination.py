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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

from shared.errors import SourceError, redacted

PagePosition = str | int | None


@dataclass(frozen=True)
class PageRequest:
    """What to send for a page, on top of the endpoint's own request.

    url     the whole address, in place of the endpoint's path and parameters
    alone   the endpoint's own parameters are left out: the server takes these alone
    """

    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    alone: bool = False


@dataclass(frozen=True)
class Answer:
    """A page as it came: its records, the whole JSON body, the `Link` header by relation, and its own address."""

    records: Sequence[Any]
    body: Any
    links: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


def at_path(body: Any, path: str) -> Any:
    """The value at a path such as "paging.next", None where the path ends early; "" is the body itself."""
    for name in path.split(".") if path else ():
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


@dataclass(frozen=True, kw_only=True)
class Pagination:
    """Base of all paginations.

    total       path in the body of the number of rows that the server promises, "" if it says none
    max_pages   a list longer than this is an error, never an end
    """

    total: str = ""
    max_pages: int = 100_000

    def request(self, position: PagePosition) -> PageRequest:
        """What to ask for at a position."""
        raise NotImplementedError

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        """The position after `answer`, None at the end. `rows` counts the list's rows so far, this page's included."""
        raise NotImplementedError

    def stated_total(self, answer: Answer) -> int | None:
        """The number of rows that the server says the whole list has."""
        total = at_path(answer.body, self.total) if self.total else None
        return total if isinstance(total, int) and not isinstance(total, bool) else None


def _required(**values: str) -> None:
    for name, value in values.items():
        if not value:
            raise ValueError(f"a pagination without {name} could never find its next page: name it")


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
    """The body holds a token for the next page, which goes back as `parameter` in the query or in a header.

    alone   the server refuses the endpoint's other parameters beside the token
    """

    next_token: str
    parameter: str
    place: str = "query"
    alone: bool = False

    def __post_init__(self) -> None:
        _required(next_token=self.next_token, parameter=self.parameter)
        if self.place not in ("query", "header"):
            raise ValueError(f"a token goes in the query or in a header, not in {self.place!r}")

    def request(self, position: PagePosition) -> PageRequest:
        if position is None:
            return PageRequest()
        value = {self.parameter: str(position)}
        if self.place == "header":
            return PageRequest(headers=value, alone=self.alone)
        return PageRequest(params=value, alone=self.alone)

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        return _stated(at_path(answer.body, self.next_token))


@dataclass(frozen=True, kw_only=True)
class Offset(Pagination):
    """The request says how many rows to skip: ?offset=100&limit=50.

    Steps by the rows received: a server may cap its pages below `size` without saying so. Ends on an empty page, or
    when the stated total is reached on a page behind the first.
    """

    offset: str = "offset"
    limit: str = "limit"
    size: int = 100

    def __post_init__(self) -> None:
        _required(offset=self.offset)
        if self.size < 1:
            raise ValueError(f"pages of {self.size} rows never reach an end: size must be at least 1")

    def request(self, position: PagePosition) -> PageRequest:
        limit = {self.limit: str(self.size)} if self.limit else {}
        return PageRequest(params={self.offset: str(position or 0), **limit})

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        return None if _is_last(self, answer, rows) else int(position or 0) + len(answer.records)


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

    def __post_init__(self) -> None:
        _required(page=self.page)
        if self.first not in (0, 1):
            raise ValueError(f"page numbers begin with 0 or 1, not with {self.first}")

    def request(self, position: PagePosition) -> PageRequest:
        size = {self.size_parameter: str(self.size)} if self.size_parameter else {}
        return PageRequest(params={self.page: str(self.first if position is None else position), **size})

    def next(self, position: PagePosition, answer: Answer, rows: int) -> PagePosition:
        number = self.first if position is None else int(position)
        pages = at_path(answer.body, self.total_pages) if self.total_pages else None
        if (
            isinstance(pages, int)
            and not isinstance(pages, bool)
            and (pages > number - self.first or not answer.records)
        ):
            return None if number >= pages - 1 + self.first else number + 1
        return None if _is_last(self, answer, rows) else number + 1


def _stated(value: Any) -> PagePosition:
    """A next that the server states. Only a missing, null or empty one ends the list: a token 0 is a token."""
    if value is None or value == "" or value is False:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"the next page is stated as a {type(value).__name__}: expected text or a whole number")
    return value


def _link(answer: Answer, value: Any) -> PagePosition:
    """The address of the next page; a relative one is relative to the page that names it."""
    link = _stated(value)
    return None if link is None else urljoin(answer.url, str(link))


def _is_last(pagination: Pagination, answer: Answer, rows: int) -> bool:
    """Whether a list that states no next has ended: on an empty page, or where its stated total is reached.

    A total that is no more than the first page holds may be that page's own count: then the next page shows.
    """
    is_first = rows == len(answer.records)
    return not answer.records or (rows == pagination.stated_total(answer) and not is_first)


class PageGuard:
    """Watches one walk through a list and refuses one that cannot be right; about 100 bytes of memory a page.

    A next seen before at any distance, a page that repeats the one before it, and a list without an end are each a
    SourceError that names it.
    """

    def __init__(self, pagination: Pagination) -> None:
        self._max_pages = pagination.max_pages
        self._seen: set[bytes] = set()
        self._last_page = b""

    def check(self, answer: Answer, following: PagePosition, where: str) -> None:
        """Called for every page with the position that follows it; `where` is its address, for the error."""
        page = _fingerprint(answer.records) if answer.records else b""
        if page and page == self._last_page:
            raise SourceError(f"{where} answered with the same {len(answer.records)} records as the page before it")
        self._last_page = page
        if following is None:
            return
        token = _fingerprint(following)
        if token in self._seen:
            shown = redacted(str(following))
            raise SourceError(f"{where} names a next page that was read before ({shown!r}): the list goes round")
        self._seen.add(token)
        if len(self._seen) >= self._max_pages:
            raise SourceError(f"{where} has more than {self._max_pages:,} pages: raise max_pages if that is right")


def _fingerprint(value: Any) -> bytes:
    return hashlib.blake2b(repr(value).encode(errors="surrogatepass"), digest_size=16).digest()
