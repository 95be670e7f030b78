"""A declaration that could not work is refused when it is loaded, with a sentence."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from shared.errors import ConfigurationError
from shared.pagination import InTurn, Offset, Pagination, TimeWindows, Token
from shared.topology import Batch, Changes, Cursor, Table, check_tables, embedded, fingerprint, schema, without
from tests.shared.rest_tables import items, table

KEY = {"id": "LONG"}
SINCE = Cursor(field="changed", parameter="since")
WINDOWS = TimeWindows(start_parameter="from", end_parameter="to", format="epoch_ms", window=60, reach=60)


def part(**declared: Any) -> Table:
    return table("parts", "/items/{id}/parts", ("id",), KEY, **declared)


def feed(pagination: Pagination) -> Changes:
    return Changes(path="/feed", entry_key="id", record="/items/{id}", pagination=pagination)


def windows_of(pages: Pagination) -> TimeWindows:
    return TimeWindows(start_parameter="a", end_parameter="b", format="iso", window=60, reach=60, pages=pages)


class TestDeclarationsThatCannotWorkAreRefused:
    @pytest.mark.parametrize(
        ("declare", "message"),
        [
            (lambda: [items(), items()], "table items is declared twice"),
            (lambda: [table("t", "/t", (), {})], "table t has no primary key"),
            (lambda: [table("t", "", ("id",), KEY)], "made of a path, or of rows"),
            (lambda: [table("t", "/t", ("id",), KEY, rows="x")], "made of a path, or of rows"),
            (lambda: [embedded("t", "x", ("id",), KEY)], "made of rows of a parent, and has none"),
            (lambda: [table("t", "/t", ("id",), KEY, pagination=None)], "table t declares no pagination"),
            (lambda: [table("t", "/t/{since}", ("id",), KEY)], "asks from {since}: declare its cursor"),
            (lambda: [table("t", "/t", ("id",), KEY, shape="tree")], "tree"),
            (lambda: [table("t", "/t", ("id",), KEY, shape="map")], "key"),
            (
                lambda: [items(deletes=True, cursor=SINCE)],
                "cannot tell what was deleted: it, or a parent, reads only what is new",
            ),
            (lambda: [items(WINDOWS, deletes=True)], "cannot tell what was deleted"),
            (lambda: [items(WINDOWS, children=(part(deletes=True),))], "table parts cannot tell what was deleted"),
            (lambda: [items(children=(part(tolerant=True, cursor=SINCE),))], "would lose a list that is missing once"),
            (lambda: [items(children=(part(absent=frozenset({404}), pagination=WINDOWS),))], "would lose a list"),
            (lambda: [table("_rounds", "/r", ("id",), KEY)], "has a name that is taken"),
            (lambda: [items(shape="lines")], "path"),
            (lambda: [items(cursor=SINCE, children=(part(deletes=True),))], "table parts cannot tell what was deleted"),
            (lambda: [items(deletes=True, tombstone="gone")], "by complete passes or by a tombstone"),
            (lambda: [items(children=(part(deletes=True, tolerant=True),))], "where a list may be missing"),
            (lambda: [items(children=(part(deletes=True, absent=frozenset({404})),))], "where a list may be missing"),
            (
                lambda: [
                    items(children=(part(tolerant=True, children=(embedded("p", "x", ("id",), KEY, deletes=True),)),))
                ],
                "table p cannot tell what was deleted where a list may be missing",
            ),
            (lambda: [items(Offset(place="body"))], "table items asks for pages in what it posts, and posts nothing"),
            (lambda: [items(windows_of(Offset(place="body")))], "asks for pages in what it posts"),
            (
                lambda: [items(InTurn(paths=("/a",), pages=Offset()))],
                "table items reads /a first: declare it as its path",
            ),
            (lambda: [items(children=(part(after=(part(),)),))], "table parts has no passes of its own"),
            (lambda: [items(after=(part(),))], "table parts: no parent has the column id"),
            (lambda: [items(gone=frozenset({404}))], "table items has no parent that could be gone"),
            (lambda: [items(tolerant=True)], "table items has no parent: its list fails the sync"),
            (lambda: [items(Offset(), unchanged=True)], "cannot ask for a list that changed"),
            (lambda: [items(batch=Batch(parameter="ids", column="id"))], "asks for many parents at once"),
            (lambda: [items(children=(part(batch=Batch(parameter="ids", column="no")),))], "asks for many parents"),
            (lambda: [items(changes=feed(Token(next_token="n", parameter="n")))], "declare the feed's TimeWindows"),
            (lambda: [items(cursor=SINCE, changes=feed(WINDOWS))], "cannot follow a feed of changes"),
            (lambda: [table("t", "/t", ("id",), {})], "table t declares no column id"),
            (lambda: [items(cursor=Cursor(field="when"))], "table items declares no column when"),
            (lambda: [table("t", "/x/{id}", ("id",), {"id": "LONG"})], "no parent has the column id"),
            (lambda: [table("t", "/t", ("id",), {"id": "INTEGER"})], "table t, column id: 'INTEGER' is no type"),
            (lambda: [items(inherit={"id": "id"})], "cannot take its column id from a parent's column id"),
            (
                lambda: [items(children=(table("t", "/x/{no}", ("id",), {"id": "LONG"}),))],
                "no parent has the column no",
            ),
        ],
    )
    def test_with_a_sentence(self, declare: Callable[[], Sequence[Table]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            check_tables(declare())

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        with pytest.raises(ValueError, match="table a has no primary key.*; table b declares no column id"):
            check_tables([table("a", "/a", (), {}), table("b", "/b", ("id",), {})])


class TestTablesThatAreLeftOut:
    tree = (items(children=(part(),)), table("others", "/others", ("id",), KEY))

    def test_are_not_read(self) -> None:
        assert [kept.name for kept in without(self.tree, ["others"])] == ["items"]
        assert [kept.name for kept in without(self.tree, ["parts"])[0].family()] == ["items"]

    def test_are_read_only_for_what_is_below_them(self) -> None:
        kept = without(self.tree, ["items"])
        assert [declared["table"] for declared in schema(kept)] == ["parts", "others"]

    def test_what_was_read_only_for_them_is_not_read_either(self) -> None:
        sources = items(delivered=False, children=(part(),))
        assert without([sources], ["parts"]) == []

    def test_a_name_that_no_table_has_is_an_error_that_lists_them(self) -> None:
        with pytest.raises(
            ConfigurationError, match="exclude_tables: part: there is no such table; there are items, p"
        ):
            without(self.tree, ["part"])


class TestAPositionIsOfOneDeclaration:
    def test_another_address_path_or_filter_has_another_fingerprint(self) -> None:
        declared = items(params={"a": "1"})
        others = [items(), items(params={"a": "2"}), table("items", "/x", ("id",), KEY), items(prepare=dict)]
        prints = {fingerprint("http://a/", other) for other in [declared, *others]}
        assert len(prints | {fingerprint("http://b/", declared)}) == 6

    def test_what_is_left_at_its_default_does_not_count(self) -> None:
        """A later version of the toolkit may know more: no table has to be read whole again for that."""
        assert fingerprint("http://a/", items()) == fingerprint("http://a/", items(params={}, at_once=0, tombstone=""))

    def test_functions_count_by_their_name(self) -> None:
        assert fingerprint("", items(prepare=feed)) == fingerprint("", items(prepare=feed))
