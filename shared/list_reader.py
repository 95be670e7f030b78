"""One list of an API, read to its end: its pages in parts that fit into memory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fivetran_connector_sdk import Operations as op

from shared.errors import SourceError
from shared.http_client import Call, HttpAnswer, HttpClient, Opened, Part, shown_json
from shared.pages import Record
from shared.pagination import Answer, Fingerprint, PageGuard, PagePosition, Pagination, at_path
from shared.topology import Endpoint, filled

NOT_MODIFIED = 304


@dataclass(frozen=True, slots=True)
class ListPart:
    """Some records of a page; most pages have one part.

    where      the page's address, as it may be shown
    is_last    of its page; only then is what follows known:
    following  the position of the next page, None after the last
    rows       of the list so far
    total      rows that the server promised for the whole list
    answer     what the page said beside its records
    """

    records: list[Record]
    where: str
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
    params    beside the endpoint's own
    keys      columns by which two pages are told apart
    prepare   makes a record of another shape
    position, rows, total   of a list that is read on
    """

    client: HttpClient
    endpoint: Endpoint
    name: str
    path: str
    values: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Sequence[str] = ()
    prepare: Callable[[Record], Record] | None = None
    position: PagePosition = None
    rows: int = 0
    total: int | None = None
    _opened: Opened | None = None
    _told_problems: bool = False

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
            page = _PageSoFar(self.keys)
            for part in self.client.parts(self._call(), self.endpoint.where, opened):
                if part.is_first:  # also when the answer broke off and was asked for again
                    page = _PageSoFar(self.keys)
                records = self._prepared(part)
                page.add(records)
                yield self._end_of_page(guard, page, part, records) if part.answer else ListPart(records, part.where)
            if self.position is None:
                return

    def _end_of_page(self, guard: PageGuard, page: "_PageSoFar", part: Part, records: list[Record]) -> ListPart:
        """The last part of a page; moves the position past it."""
        assert part.answer
        if part.answer.status == NOT_MODIFIED:
            self.position = None
            return ListPart(records, part.where, True, answer=part.answer)
        answer = page.answer(part.answer)
        self.rows += answer.records
        self._tell_problems(answer, part.where)
        if self.total is None:
            self.total = self._pagination.stated_total(answer)
        try:
            following = self._pagination.next(self.position, answer, self.rows)
        except ValueError as problem:
            raise SourceError(f"{part.where} {problem}") from problem
        guard.check(self.position, answer, following, part.where)
        if following is None:
            self._compare_with_total(part.where)
        self.position = following
        return ListPart(records, part.where, True, following, self.rows, self.total, part.answer)

    def _tell_problems(self, answer: Answer, where: str) -> None:
        """Says once a list what its server says against an answer: a page of status 200 may be partial."""
        found = at_path(answer.body, self.endpoint.problems) if self.endpoint.problems else None
        if found and not self._told_problems:
            self._told_problems = True
            some = found if isinstance(found, list) else [found]
            count, first = len(some), shown_json(some[0])
            op.warning(f"{self.name}: {where} has problems beside its records ({count}), the first: {first}")

    def _compare_with_total(self, where: str) -> None:
        if self.total is None or self.rows >= self.total:
            return
        difference = f"{self.name}: {where} promised {self.total:,} rows and gave {self.rows:,}"
        if self._pagination.strict:
            raise SourceError(difference)
        op.warning(difference)

    def _prepared(self, part: Part) -> list[Record]:
        if not self.prepare:
            return part.records
        try:
            return [self.prepare(record) for record in part.records]
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise SourceError(
                f"{part.where} has a record for table {self.name} that its prepare() cannot take: "
                f"{type(problem).__name__} {problem}"
            ) from problem

    @property
    def _pagination(self) -> Pagination:
        assert self.endpoint.pagination  # check_tables refuses a table without
        return self.endpoint.pagination

    def _call(self) -> Call:
        request = self._pagination.request(self.position)
        own: Mapping[str, Any] = {} if request.alone else {**self.endpoint.params, **self.params}
        posted = self.endpoint.json
        json = (
            None if posted is None else _with_paths(filled({} if request.alone else posted, self.values), request.json)
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

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = keys
        self._records = 0
        self._first: Record | None = None
        self._last: Record | None = None
        self._print = Fingerprint()

    def add(self, records: list[Record]) -> None:
        if not records:
            return
        self._first = self._first or records[0]
        self._last = records[-1]
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
