"""Every record exactly once, or an error that names the place."""

from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import SourceError
from shared.pagination import (
    Answer,
    LinkHeader,
    NextLink,
    Offset,
    PageGuard,
    PageNumber,
    PagePosition,
    Pagination,
    SinglePage,
    Token,
    at_path,
)


def answer(records: list[Any], **body: Any) -> Answer:
    return Answer(records, {"data": records, **body})


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
        with pytest.raises(ValueError, match="stated as a bool"):
            self.token.next(None, answer([1], paging={"after": True}), 1)

    @pytest.mark.parametrize("body", [{}, {"paging": None}, {"paging": {}}, {"paging": {"after": ""}}])
    def test_only_an_absent_next_ends_the_list(self, body: dict[str, Any]) -> None:
        assert self.token.next(None, answer([1], **body), 1) is None

    def test_token_may_go_in_a_header(self) -> None:
        assert Token(next_token="n", parameter="X-Next", place="header").request("a").headers == {"X-Next": "a"}

    def test_a_next_of_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match="stated as a dict"):
            self.token.next(None, answer([1], paging={"after": {"page": 2}}), 1)


class TestLinks:
    def test_next_link_replaces_the_parameters(self) -> None:
        request = NextLink(next_link="next").request("https://a/b?page=2")
        assert (request.url, request.alone) == ("https://a/b?page=2", True)

    def test_a_relative_link_is_relative_to_the_page_that_names_it(self) -> None:
        page = Answer([1], {"next": "?page=2"}, url="https://a/api/items?page=1")
        assert NextLink(next_link="next").next(None, page, 1) == "https://a/api/items?page=2"

    def test_link_header_is_followed_by_its_relation(self) -> None:
        page = Answer([1], [1], links={"next": "/b?page=2", "last": "/b?page=9"})
        assert LinkHeader().next(None, page, 1) == "/b?page=2"


class TestOffset:
    def test_steps_by_the_rows_received_not_by_the_size_asked_for(self) -> None:
        assert Offset(size=100).next(0, answer([1] * 30), 30) == 30

    def test_ends_on_an_empty_page(self) -> None:
        assert Offset().next(30, answer([]), 30) is None

    def test_a_total_of_the_first_page_s_own_count_ends_nothing(self) -> None:
        """Some APIs state a page's count as the total, and cap their pages: the next page shows."""
        assert Offset(size=100, total="total").next(None, answer([1] * 50, total=50), 50) == 50

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


class TestDeclarationsThatCannotEndAreRefused:
    @pytest.mark.parametrize(
        ("declare", "message"),
        [
            (lambda: Token(next_token="", parameter="a"), "next_token"),
            (lambda: Token(next_token="a", parameter=""), "parameter"),
            (lambda: Token(next_token="a", parameter="b", place="cookie"), "cookie"),
            (lambda: NextLink(next_link=""), "next_link"),
            (lambda: LinkHeader(relation=""), "relation"),
            (lambda: Offset(size=0), "never reach an end"),
            (lambda: Offset(offset=""), "offset"),
            (lambda: PageNumber(page=""), "page"),
            (lambda: PageNumber(first=2), "begin with 0 or 1"),
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
        guard.check(answer([1]), "A", "url")
        guard.check(answer([2]), "B", "url")
        with pytest.raises(SourceError, match="url names a next page that was read before .'A'.: the list goes round"):
            guard.check(answer([3]), "A", "url")

    def test_a_page_that_repeats_the_one_before_is_an_error(self) -> None:
        guard = self.guard()
        guard.check(answer([{"id": 1}]), "A", "url")
        with pytest.raises(SourceError, match="same 1 records as the page before"):
            guard.check(answer([{"id": 1}]), "B", "url")

    def test_empty_pages_may_follow_each_other(self) -> None:
        guard = self.guard()
        guard.check(answer([]), "A", "url")
        guard.check(answer([]), "B", "url")

    def test_the_cap_on_pages_is_an_error_never_an_end(self) -> None:
        guard = self.guard(max_pages=2)
        guard.check(answer([1]), "A", "url")
        with pytest.raises(SourceError, match="more than 2 pages"):
            guard.check(answer([2]), "B", "url")


class TestAtPath:
    @pytest.mark.parametrize(
        ("path", "value"), [("", {"a": {"b": 1}}), ("a.b", 1), ("a.c", None), ("a.b.c", None), ("x", None)]
    )
    def test_path_ends_early_with_none(self, path: str, value: Any) -> None:
        assert at_path({"a": {"b": 1}}, path) == value


def walk(pagination: Pagination, serve: Any) -> list[Any]:
    """All records that a client gets from a server that answers `serve(request)`."""
    position: PagePosition = None
    guard, records = PageGuard(pagination), []
    while True:
        page = serve(pagination.request(position))
        records += page.records
        following = pagination.next(position, page, len(records))
        guard.check(page, following, "url")
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

    def test_single_page(self) -> None:
        assert walk(SinglePage(), lambda _: answer([1, 2])) == [1, 2]
