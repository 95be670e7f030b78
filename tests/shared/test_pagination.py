"""Every record exactly once, or an error that names the place."""

import re
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.pagination import (
    Answer,
    InTurn,
    Keyset,
    LinkHeader,
    NextLink,
    Offset,
    PageGuard,
    PageNumber,
    PagePosition,
    PagePrint,
    Pagination,
    SinglePage,
    TimeWindows,
    Token,
    at_path,
)


def windows(**declared: Any) -> TimeWindows:
    given = {"start_parameter": "from", "end_parameter": "to", "format": "epoch_ms", "window": 60, "reach": 60}
    return TimeWindows(**{**given, **declared})


def answer(records: list[Any], /, **said: Any) -> Answer:
    """A page of these records, with `headers`, `links` and `url`, and all else in its body."""
    marks = [record.get("day", record.get("id")) if isinstance(record, dict) else record for record in records]
    page = PagePrint()
    page.add(records)
    first, last = (marks[0], marks[-1]) if marks else (None, None)
    own = {name: said.pop(name) for name in ("headers", "links", "url") if name in said}
    return Answer(len(records), {"data": records, **said}, first=first, last=last, print=page.value(), **own)


class TestToken:
    token = Token(next_token="paging.after", parameter="after")

    def test_first_request_sends_nothing_of_its_own(self) -> None:
        assert self.token.request(None).params == {}

    def test_next_token_goes_back_in_the_query(self) -> None:
        following = self.token.next(None, answer([1], paging={"after": "abc"}), 1)
        assert self.token.request(following).params == {"after": "abc"}

    @pytest.mark.parametrize("records", [[], [1]])
    def test_empty_or_short_page_with_a_next_goes_on(self, records: list[Any]) -> None:
        assert self.token.next(None, answer(records, paging={"after": "abc"}), len(records)) == "abc"

    def test_token_zero_is_a_token(self) -> None:
        assert self.token.next(None, answer([1], paging={"after": 0}), 1) == 0

    def test_a_next_that_is_only_said_to_exist_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="states the next page as a bool"):
            self.token.next(None, answer([1], paging={"after": True}), 1)

    @pytest.mark.parametrize("body", [{}, {"paging": None}, {"paging": {}}, {"paging": {"after": ""}}])
    def test_only_an_absent_next_ends_the_list(self, body: dict[str, Any]) -> None:
        assert self.token.next(None, answer([1], **body), 1) is None

    def test_token_may_go_in_a_header(self) -> None:
        assert Token(next_token="n", parameter="X-Next", place="header").request("a").headers == {"X-Next": "a"}

    def test_a_next_of_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match="states the next page as a dict"):
            self.token.next(None, answer([1], paging={"after": {"page": 2}}), 1)

    def test_token_may_go_into_the_posted_json_at_a_path(self) -> None:
        token = Token(next_token="n", parameter="page.after", place="body")
        assert token.request(7).json == {"page.after": 7}

    def test_token_may_come_in_a_header_of_the_answer(self) -> None:
        token = Token(next_header="X-Next-Page", parameter="page")
        assert token.next(None, answer([1], headers={"X-Next-Page": "2"}), 1) == "2"
        assert token.next(None, answer([1], headers={"X-Next-Page": ""}), 1) is None
        assert token.next(None, answer([1]), 1) is None

    def test_no_more_ends_a_list_whose_token_never_ends(self) -> None:
        token = Token(next_token="n", parameter="n", has_more="more")
        assert token.next(None, answer([1], n="a", more=False), 1) is None
        assert token.next(None, answer([1], n="a", more=True), 1) == "a"

    def test_more_without_a_token_is_an_error(self) -> None:
        with pytest.raises(ValueError, match=re.escape("says that there is more (more) and names no next page at n")):
            Token(next_token="n", parameter="n", has_more="more").next(None, answer([1], more=True), 1)


class TestLinks:
    def test_next_link_replaces_the_parameters(self) -> None:
        request = NextLink(next_link="next").request("https://a/b?page=2")
        assert (request.url, request.alone) == ("https://a/b?page=2", True)

    def test_a_relative_link_is_relative_to_the_page_that_names_it(self) -> None:
        page = answer([1], next="?page=2", url="https://a/api/items?page=1")
        assert NextLink(next_link="next").next(None, page, 1) == "https://a/api/items?page=2"

    def test_link_header_is_followed_by_its_relation(self) -> None:
        page = answer([1], links={"next": "/b?page=2", "last": "/b?page=9"})
        assert LinkHeader().next(None, page, 1) == "/b?page=2"


class TestOffset:
    def test_steps_by_the_rows_received_not_by_the_size_asked_for(self) -> None:
        assert Offset(size=100).next(0, answer([1] * 30), 30) == 30

    def test_ends_on_an_empty_page(self) -> None:
        assert Offset().next(30, answer([]), 30) is None

    def test_a_total_of_the_first_page_s_own_count_ends_nothing(self) -> None:
        """Some APIs state a page's count as the total, and cap their pages: the next page shows."""
        assert Offset(size=100, total="total").next(None, answer([1] * 50, total=50), 50) == 50

    def test_a_page_that_no_server_caps_so_low_is_the_last(self) -> None:
        short = Offset(size=100, least_page=10)
        assert short.next(None, answer([1] * 9), 9) is None
        assert short.next(None, answer([1] * 10), 10) == 10

    def test_ends_when_the_stated_total_is_reached(self) -> None:
        assert Offset(total="total").next(10, answer([1] * 10, total=20), 20) is None
        assert Offset(total="total").next(0, answer([1] * 10, total=20), 10) == 10

    @pytest.mark.parametrize("total", [-1, 0, 1, 10, True])
    def test_a_total_that_is_too_low_ends_nothing(self, total: Any) -> None:
        """Some APIs state the page's own count, or -1 for unknown."""
        assert Offset(size=10, total="total").next(0, answer([1] * 10, total=total), 10) == 10


class TestPageNumber:
    @pytest.mark.parametrize("pages", [0, -1, True, None])
    def test_a_number_of_pages_that_is_too_low_ends_nothing(self, pages: Any) -> None:
        assert PageNumber(total_pages="pages", size=10).next(None, answer([1] * 10, pages=pages), 10) == 2

    @pytest.mark.parametrize("first", [0, 1])
    def test_counts_from_its_first_number_to_the_stated_last(self, first: int) -> None:
        pages = PageNumber(first=first, total_pages="pages")
        assert pages.request(None).params == {"page": str(first)}
        assert pages.next(None, answer([1], pages=2), 1) == first + 1
        assert pages.next(first + 1, answer([1], pages=2), 2) is None

    def test_without_a_stated_end_only_an_empty_page_ends_it(self) -> None:
        assert PageNumber().next(1, answer([1]), 1) == 2
        assert PageNumber().next(2, answer([]), 1) is None

    def test_no_pages_at_all(self) -> None:
        assert PageNumber(total_pages="pages").next(None, answer([], pages=0), 0) is None


class TestKeyset:
    keyset = Keyset(field="id", parameter="after_id")

    def test_goes_on_after_the_last_record(self) -> None:
        assert self.keyset.next(None, answer([{"id": 3}, {"id": 7}]), 2) == 7
        assert self.keyset.request(7).params == {"after_id": "7"}

    def test_only_an_empty_page_ends_it(self) -> None:
        assert self.keyset.next(7, answer([]), 2) is None

    @pytest.mark.parametrize("last", [{}, {"id": None}, {"id": 1.5}, {"id": True}])
    def test_a_last_record_without_the_field_is_an_error(self, last: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="no text or whole number in id of its last record"):
            self.keyset.next(None, answer([last]), 1)

    def test_a_whole_page_of_one_value_is_an_error_never_an_end(self) -> None:
        inclusive = Keyset(field="day", parameter="since", inclusive=True, size=2)
        first = inclusive.next(None, answer([{"day": "1"}, {"day": "2"}]), 2)
        with pytest.raises(ValueError, match="has 2 records with the same day, a whole page"):
            inclusive.next(first, answer([{"day": "2"}, {"day": "2"}]), 4)

    def test_a_server_that_caps_its_pages_cannot_hide_the_rest_of_one_value(self) -> None:
        inclusive = Keyset(field="day", parameter="since", inclusive=True, size=100)
        position = inclusive.next(None, answer([{"day": "1"}, {"day": "2"}]), 2)
        position = inclusive.next(position, answer([{"day": "2"}, {"day": "3"}]), 4)
        with pytest.raises(ValueError, match="a whole page"):
            inclusive.next(position, answer([{"day": "3"}, {"day": "3"}]), 6)

    def test_a_server_that_ignores_the_parameter_is_noticed(self) -> None:
        inclusive = Keyset(field="day", parameter="since", inclusive=True, size=100)
        page = answer([{"day": "1"}, {"day": "2"}])
        with pytest.raises(ValueError, match="does not go on from since"):
            inclusive.next(inclusive.next(None, page, 2), page, 4)
        with pytest.raises(SourceError, match="the same 2 records as the page before"):
            walk(self.keyset, lambda _: answer([{"id": 1}, {"id": 2}]))


class TestTimeWindows:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def windows(self, **declared: Any) -> TimeWindows:
        given = {"start_parameter": "from", "end_parameter": "to", "format": "epoch_ms", "window": 3600, **declared}
        return TimeWindows(**{"reach": 7 * 86_400, **given})

    def position(self, windows: TimeWindows, hours: float) -> PagePosition:
        return windows.start(self.start, self.start + timedelta(hours=hours))

    def test_a_first_pass_begins_as_far_back_as_the_server_keeps(self) -> None:
        asked = self.windows(reach=60).request(self.windows(reach=60).start(None, self.start)).params
        assert int(asked["to"]) == self.start.timestamp() * 1000
        assert int(asked["to"]) - int(asked["from"]) == 60_000

    def test_a_further_pass_begins_before_the_end_of_the_last_one(self) -> None:
        windows = self.windows(lookback=600)
        begin = datetime.fromisoformat(self.position(windows, 1)["from"])
        assert begin == self.start - timedelta(minutes=10)

    def test_a_clock_that_was_ahead_loses_no_time(self) -> None:
        ahead, now = self.start + timedelta(days=1), self.start
        begin = self.windows(lookback=600).start(ahead, now)["from"]
        assert datetime.fromisoformat(begin) == now - timedelta(minutes=10)

    def test_what_the_server_no_longer_keeps_is_known(self) -> None:
        windows = self.windows(reach=86_400)
        assert windows.lost(self.start, self.start + timedelta(hours=25)) == timedelta(hours=1)
        assert windows.lost(self.start, self.start + timedelta(hours=23)) == timedelta()
        assert windows.lost(None, self.start) == timedelta()

    def test_windows_follow_each_other_to_the_end(self) -> None:
        windows = self.windows()
        position, spans = self.position(windows, 2.5), []
        while position is not None:
            spans.append(windows.request(position).params)
            position = windows.next(position, answer([1]), 1)
        assert [int(span["to"]) - int(span["from"]) for span in spans] == [3_600_000, 3_600_000, 1_800_000]
        assert all(one["to"] == other["from"] for one, other in pairwise(spans))

    def test_two_windows_with_the_same_record_are_no_repeated_page(self) -> None:
        assert walk(self.windows(), lambda _: answer([1]), self.position(self.windows(), 3)) == [1, 1, 1]

    def test_a_window_that_is_cut_off_at_the_shortest_time_is_an_error(self) -> None:
        windows = self.windows(cap=1)
        with pytest.raises(ValueError, match="has 1 rows or more between .* those beyond cannot be read"):
            walk(windows, lambda _: answer([1]), self.position(windows, 0.001))

    @given(
        st.lists(st.integers(0, 5_000), max_size=60, unique=True),
        st.integers(3, 9),  # the shortest window has two moments, the last one of the window before among them
        st.integers(1, 3),
        st.booleans(),
    )
    def test_every_record_though_the_server_keeps_only_the_newest(
        self, times: list[int], cap: int, size: int, paged: bool
    ) -> None:
        windows = self.windows(window=1, cap=cap, pages=Offset(size=size) if paged else SinglePage())
        base = int(self.start.timestamp() * 1000)

        def serve(request: Any) -> Answer:
            begin, end = int(request.params["from"]) - base, int(request.params["to"]) - base
            newest = sorted((time for time in times if begin <= time <= end), reverse=True)[:cap]
            skipped = int(request.params.get("offset", 0))
            return answer(newest[skipped : skipped + size] if paged else newest)

        found = walk(windows, serve, self.position(windows, 5_000 / 3_600_000))
        assert set(found) == set(times)


class TestDeclarationsThatCannotEndAreRefused:
    @pytest.mark.parametrize(
        ("declare", "message"),
        [
            (lambda: Token(next_token="", parameter="a"), "next_token"),
            (lambda: Token(next_token="a", parameter=""), "parameter"),
            (lambda: Token(next_token="a", parameter="b", place="cookie"), "cookie"),  # type: ignore[arg-type]
            (lambda: NextLink(next_link=""), "next_link"),
            (lambda: LinkHeader(relation=""), "relation"),
            (lambda: Offset(size=0), "never reach an end"),
            (lambda: Offset(size=5, least_page=6), "would be the last"),
            (lambda: Offset(offset=""), "offset"),
            (lambda: PageNumber(page=""), "page"),
            (lambda: PageNumber(first=2), "begin with 0 or 1"),
            (lambda: Token(next_token="a", next_header="b", parameter="c"), "not both"),
            (lambda: Offset(place="path"), "not in 'path'"),  # type: ignore[arg-type]
            (lambda: Keyset(field="", parameter="a"), "field"),
            (lambda: Keyset(field="a", parameter="a", inclusive=True, size=1), "never move on"),
            (lambda: InTurn(paths=(), pages=SinglePage()), "name paths"),
            (lambda: InTurn(paths=("/a/{id}",), pages=SinglePage()), "without braces"),
            (lambda: InTurn(paths=("/a",), pages=windows()), "windows or endpoints, not both"),
            (lambda: windows(pages=InTurn(paths=("/a",), pages=Offset())), "windows or endpoints, not both"),
            (lambda: windows(total="total"), "belong to its pages"),
            (lambda: windows(window=0), "never reach the present"),
            (lambda: windows(reach=0), "needs a beginning"),
            (lambda: windows(start_parameter=""), "start_parameter"),
            (lambda: windows(first="soon"), "invalid literal"),
        ],
    )
    def test_refused_with_a_sentence(self, declare: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            declare()


class TestPageGuard:
    def guard(self, **declared: Any) -> PageGuard:
        return PageGuard(Token(next_token="n", parameter="n", **declared))

    def test_a_next_seen_before_at_any_distance_is_an_error_that_names_it(self) -> None:
        guard = self.guard()
        guard.check(None, answer([1]), "A", "url")
        guard.check(None, answer([2]), "B", "url")
        with pytest.raises(SourceError, match="url names a next page that was read before .'A'.: the list goes round"):
            guard.check(None, answer([3]), "A", "url")

    def test_a_page_that_repeats_the_one_before_is_an_error(self) -> None:
        guard = self.guard()
        guard.check(None, answer([{"id": 1}]), "A", "url")
        with pytest.raises(SourceError, match="same 1 records as the page before"):
            guard.check(None, answer([{"id": 1}]), "B", "url")

    def test_empty_pages_may_follow_each_other(self) -> None:
        guard = self.guard()
        guard.check(None, answer([]), "A", "url")
        guard.check(None, answer([]), "B", "url")

    def test_the_cap_on_pages_is_an_error_never_an_end(self) -> None:
        guard = self.guard(max_pages=2)
        guard.check(None, answer([1]), "A", "url")
        with pytest.raises(SourceError, match="more than 2 pages"):
            guard.check(None, answer([2]), "B", "url")


class TestAtPath:
    @pytest.mark.parametrize(
        ("path", "value"), [("", {"a": {"b": 1}}), ("a.b", 1), ("a.c", None), ("a.b.c", None), ("x", None)]
    )
    def test_path_ends_early_with_none(self, path: str, value: Any) -> None:
        assert at_path({"a": {"b": 1}}, path) == value


def walk(pagination: Pagination, serve: Any, start: PagePosition = None) -> list[Any]:
    """All records that a client gets from a server that answers `serve(request)`."""
    position = start
    guard, records = PageGuard(pagination), []
    while True:
        page = serve(pagination.request(position))
        records += page.body["data"]
        following = pagination.next(position, page, len(records))
        guard.check(position, page, following, "url")
        if following is None:
            return records
        position = following


pages_of_records = st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=12).map(
    lambda pages: [[f"{number}.{place}" for place, _ in enumerate(page)] for number, page in enumerate(pages)]
)


class TestEveryRecordExactlyOnce:
    """For any sequence of pages that a server can produce, empty and short ones at any place."""

    @given(pages_of_records)
    def test_token(self, pages: list[list[str]]) -> None:
        def serve(request: Any) -> Answer:
            number = int(request.params.get("n", 0))
            return answer(pages[number], n=number + 1 if number + 1 < len(pages) else None)

        assert walk(Token(next_token="n", parameter="n"), serve) == list(chain(*pages))

    @given(pages_of_records)
    def test_next_link(self, pages: list[list[str]]) -> None:
        def serve(request: Any) -> Answer:
            number = int(request.url or 0)
            return answer(pages[number], next=str(number + 1) if number + 1 < len(pages) else "")

        assert walk(NextLink(next_link="next"), serve) == list(chain(*pages))

    @given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 9), st.booleans())
    def test_offset_even_when_the_server_caps_its_pages(self, rows: int, size: int, cap: int, says_total: bool) -> None:
        table = [f"row {number}" for number in range(rows)]

        def serve(request: Any) -> Answer:
            start = int(request.params["offset"])
            return answer(table[start : start + min(cap, int(request.params["limit"]))], total=rows)

        assert walk(Offset(size=size, total="total" if says_total else ""), serve) == table

    @given(st.integers(0, 50), st.integers(1, 9), st.sampled_from([0, 1]), st.sampled_from(["", "pages"]))
    def test_page_number(self, rows: int, size: int, first: int, total_pages: str) -> None:
        table = [f"row {number}" for number in range(rows)]

        def serve(request: Any) -> Answer:
            start = (int(request.params["page"]) - first) * size
            return answer(table[start : start + size], pages=-(-rows // size))

        assert walk(PageNumber(first=first, total_pages=total_pages), serve) == table

    @given(st.lists(st.integers(0, 6), max_size=30).map(sorted), st.integers(2, 9), st.integers(2, 9))
    def test_keyset_with_equal_values_or_a_named_error(self, days: list[int], size: int, cap: int) -> None:
        """A value that fills a page has more behind it than can be reached: that is told, never passed over."""
        table = [{"day": day, "id": number} for number, day in enumerate(days)]
        keyset = Keyset(field="day", parameter="since", inclusive=True, limit="limit", size=size)

        def serve(request: Any) -> Answer:
            since = int(request.params.get("since", -1))
            return answer([record for record in table if record["day"] >= since][: min(size, cap)])

        try:
            found = walk(keyset, serve)
        except ValueError as error:
            told = str(error)
            assert "a whole page" in told
            return
        missing = len(table) - len({record["id"] for record in found})
        # Only where one value fills the very first page of a server that caps in silence, nothing shows it.
        assert not missing or (cap < size and len(set(days[:cap])) == 1)

    @given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 9))
    def test_keyset(self, rows: int, size: int, cap: int) -> None:
        table = [{"id": number * 7} for number in range(rows)]

        def serve(request: Any) -> Answer:
            after = int(request.params.get("after", -1))
            return answer([record for record in table if record["id"] > after][: min(size, cap)])

        assert walk(Keyset(field="id", parameter="after", limit="n", size=size), serve) == table

    @given(pages_of_records)
    def test_token_in_a_posted_body(self, pages: list[list[str]]) -> None:
        def serve(request: Any) -> Answer:
            number = request.json.get("page.after", 0)
            return answer(pages[number], n=number + 1 if number + 1 < len(pages) else None)

        assert walk(Token(next_token="n", parameter="page.after", place="body"), serve) == list(chain(*pages))

    @given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 9))
    def test_several_lists_in_turn_that_state_totals(self, rows: list[int], size: int, cap: int) -> None:
        def serve(request: Any) -> Answer:
            number, start = int(request.url[1:]), int(request.params["offset"])
            table = [f"{number}.{row}" for row in range(rows[number])]
            return answer(table[start : start + min(size, cap)], total=len(table))

        paths = tuple(f"/{number}" for number in range(len(rows)))
        found = walk(InTurn(paths=paths, pages=Offset(size=size, total="total")), serve)
        assert found == [f"{number}.{row}" for number, count in enumerate(rows) for row in range(count)]

    @given(st.lists(pages_of_records, min_size=1, max_size=4))
    def test_several_lists_in_turn(self, lists: list[list[list[str]]]) -> None:
        paths = tuple(f"/{number}" for number in range(len(lists)))

        def serve(request: Any) -> Answer:
            pages, number = lists[int(request.url[1:])], int(request.params.get("n", 0))
            return answer(pages[number], n=number + 1 if number + 1 < len(pages) else None)

        pagination = InTurn(paths=paths, pages=Token(next_token="n", parameter="n"))
        assert walk(pagination, serve) == [record for pages in lists for record in chain(*pages)]

    def test_single_page(self) -> None:
        assert walk(SinglePage(), lambda _: answer([1, 2])) == [1, 2]
