"""One list of an API, read to its end: its pages in parts that fit into memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fivetran_connector_sdk import Operations as op

from shared.errors import SourceError
from shared.http_client import Call, HttpAnswer, HttpClient, Opened, Part, shown_json
from shared.pages import Record
from shared.pagination import Answer, PageGuard, PagePosition, PagePrint, Pagination, at_path
from shared.topology import Endpoint, filled

NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class ListPart:
    """Some records of a page; most pages have one part.

    where      the page's address, as it may be shown
    size       characters of the records' JSON
    is_last    of its page; only then is what follows known:
    following  the position of the next page, None after the last
    rows       of the list so far
    total      rows that the server promised for the whole list
    answer     what the page said beside its records
    """

    records: list[Record]
    where: str
    size: int
    is_last: bool = False
    following: PagePosition = None
    rows: int = 0
    total: int | None = None
    answer: HttpAnswer | None = None


@dataclass
class ListReader:
    """Reads a list from a position on.

    name      of the table, for messages and figures
    path      with everything filled in
    values    what stands for the names in braces of params and json
    in_json   what stands for some of them in json alone
    params    beside the endpoint's own
    keys      columns by which two pages are told apart
    prepare   makes a record of another shape
    position, rows, total   of a list that is read on
    has_problems  whether the server said something against its own answer: the list may be partial
    """

    client: HttpClient
    endpoint: Endpoint
    name: str
    path: str
    values: Mapping[str, str] = field(default_factory=dict)
    in_json: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Sequence[str] = ()
    prepare: Callable[[Record], Record] | None = None
    position: PagePosition = None
    rows: int = 0
    total: int | None = None
    _opened: Opened | None = None
    has_problems: bool = False

    def open(self) -> None:
        """Makes the first call, in any thread; `parts` goes on from there."""
        self._opened = self.client.open(self._call())

    def parts(self) -> Iterator[ListPart]:
        """Everything from the position on; raises SourceError for what cannot be right.

        Warns of a list that ends with fewer rows than the server promised, or is an error if that is declared.
        """
        guard = PageGuard(self._pagination)
        while True:
            opened, self._opened = self._opened, None
            page = _PageSoFar(self.keys, self._pagination)
            for part in self.client.parts(self._call(), self.endpoint.record_path(), opened):
                if part.is_first:  # also when the answer broke off and was asked for again
                    page = _PageSoFar(self.keys, self._pagination)
                records = self._prepared(part)
                page.add(records)
                if part.answer:
                    yield self._end_of_page(guard, page, part, records)
                else:
                    yield ListPart(records, part.where, part.size)
            if self.position is None:
                return

    def _end_of_page(self, guard: PageGuard, page: "_PageSoFar", part: Part, records: list[Record]) -> ListPart:
        """The last part of a page; moves the position past it."""
        assert part.answer
        if part.answer.status == NOT_MODIFIED:
            self.position = None
            return ListPart(records, part.where, part.size, True, answer=part.answer)
        answer, pagination = page.answer(part.answer), self._pagination
        self.rows += answer.records
        self._tell_problems(answer, part.where)
        if self.total is None:
            self.total = pagination.stated_total(answer)
        try:
            following = pagination.next(self.position, answer, self.rows)
        except ValueError as problem:
            raise SourceError(f"{part.where} {problem}") from problem
        following = self._without_credentials(following)
        guard.check(self.position, answer, following, part.where)
        if pagination.ends_part(self.position, following):
            self._compare_with_total(pagination.rows_of_part(self.position, answer, self.rows), part.where)
        if pagination.begins_part(following):
            self.total = None
        self.position = following
        return ListPart(records, part.where, part.size, True, following, self.rows, self.total, part.answer)

    def _tell_problems(self, answer: Answer, where: str) -> None:
        """Says once a list what its server says against an answer: a page of status 200 may be partial."""
        found = at_path(answer.body, self.endpoint.problems) if self.endpoint.problems else None
        if found and not self.has_problems:
            self.has_problems = True
            some = found if isinstance(found, list) else [found]
            count, first = len(some), self.client.masked(shown_json(some[0]))
            op.warning(f"{self.name}: {where} has problems beside its records ({count}), the first: {first}")

    def _compare_with_total(self, rows: int, where: str) -> None:
        if self.total is None or rows >= self.total:
            return
        difference = f"{self.name}: {where} promised {self.total:,} rows and gave {rows:,}"
        if self._pagination.is_strict():
            raise SourceError(difference)
        op.warning(difference)

    def _without_credentials(self, position: PagePosition) -> PagePosition:
        """A position that may be saved and shown: a link may repeat the key that the client puts into addresses."""
        if isinstance(position, dict):
            return {name: self._without_credentials(part) for name, part in position.items()}
        if isinstance(position, list):
            return [self._without_credentials(part) for part in position]
        return self.client.strip(position) if isinstance(position, str) and "?" in position else position

    def _prepared(self, part: Part) -> list[Record]:
        if not self.prepare:
            return part.records
        try:
            prepared = [self.prepare(record) for record in part.records]
            if not all(isinstance(record, dict) for record in prepared):
                raise TypeError("it returned no record")
            return prepared
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise SourceError(
                f"{part.where} has a record for table {self.name} that its prepare() cannot take: "
                f"{type(problem).__name__} {problem}"
            ) from problem

    @property
    def _pagination(self) -> Pagination:
        assert self.endpoint.pagination  # check_tables refuses a table without
        return self.endpoint.pagination

    def _call(self) -> Call:
        try:
            request = self._pagination.request(self.position)
        except (LookupError, TypeError, ValueError) as problem:
            told = f"the saved state of {self.name} is damaged: reset the connection to sync everything again"
            raise SourceError(told) from problem
        own: Mapping[str, Any] = {} if request.alone else {**self.endpoint.params, **self.params}
        posted = self.endpoint.json
        json = (
            None
            if posted is None
            else _with_paths(filled({} if request.alone else posted, {**self.values, **self.in_json}), request.json)
        )
        return Call(
            request.url or self.path,
            method="GET" if json is None else "POST",
            params={**filled(own, self.values), **request.params},
            headers={**self.endpoint.headers, **self.headers, **request.headers},
            json=json,
            endpoint=self.name,
        )


class _PageSoFar:
    """What is known of a page while its parts come."""

    def __init__(self, keys: Sequence[str], pagination: Pagination) -> None:
        self._keys, self._mark = keys, pagination.mark
        self._records = 0
        self._first: Any = None
        self._last: Any = None
        self._print = PagePrint()

    def add(self, records: list[Record]) -> None:
        if not records:
            return
        self._first = self._first if self._records else self._mark(records[0])
        self._last = self._mark(records[-1])
        self._records += len(records)
        self._print.add([[record.get(key) for record in records] for key in self._keys] or records)

    def answer(self, said: HttpAnswer) -> Answer:
        return Answer(
            self._records,
            said.body,
            first=self._first,
            last=self._last,
            print=self._print.value(),
            links=said.links,
            headers=said.headers,
            url=said.url,
        )


def _with_paths(document: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The document with each value at its path, such as "page.after"."""
    for path, value in values.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return document
