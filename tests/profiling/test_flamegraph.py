"""The flamegraph: every frame where it belongs, as wide as its share, and named."""

import re
from html.parser import HTMLParser

import pytest

from profiling.flamegraph import flamegraph
from profiling.observation import Stack
from tests.profiling.observations import HOSTILE

Frames = list[dict[str, str]]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.frames: Frames = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "b":
            self.frames.append({name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "b":
            self.frames[-1]["text"] = self.frames[-1].get("text", "") + data


def frames_of(*stacks: Stack) -> Frames:
    parser = _Elements()
    parser.feed(flamegraph(stacks))
    parser.close()
    assert parser.open == []
    return parser.frames


def named(frames: Frames, text: str) -> dict[str, str]:
    return next(frame for frame in frames if frame["text"] == text)


def place(frame: dict[str, str]) -> tuple[int, int, int]:
    """First sample, samples, depth."""
    start, samples, depth = map(int, frame["data-at"].split(","))
    return start, samples, depth


class TestFramesAreWhereTheyBelong:
    STACKS = (
        Stack("MainThread", ("update (connector.py:9)", "read (connector.py:3)"), 20),
        Stack("MainThread", ("update (connector.py:9)", "loads (json/__init__.py:346)"), 60),
        Stack("MainThread", ("update (connector.py:9)",), 20),
    )

    def test_the_caller_is_as_wide_as_all_that_it_called(self) -> None:
        frames = frames_of(*self.STACKS)
        assert place(named(frames, "main thread")) == (0, 100, 0)
        assert place(named(frames, "update (connector.py:9)")) == (0, 100, 1)

    def test_the_largest_comes_first(self) -> None:
        frames = frames_of(*self.STACKS)
        assert place(named(frames, "loads (json/__init__.py:346)")) == (0, 60, 2)
        assert place(named(frames, "read (connector.py:3)")) == (60, 20, 2)

    def test_places_are_shares_of_the_width(self) -> None:
        style = named(frames_of(*self.STACKS), "read (connector.py:3)")["style"]
        assert "left:60.000%;width:20.000%" in style

    def test_samples_and_percent_are_told(self) -> None:
        title = named(frames_of(*self.STACKS), "read (connector.py:3)")["title"]
        assert title == "read (connector.py:3): 20 samples, 20 %"

    def test_the_same_function_called_from_two_places_is_two_frames(self) -> None:
        frames = frames_of(
            Stack("MainThread", ("update (connector.py:9)", "get (connector.py:3)"), 1),
            Stack("MainThread", ("update (connector.py:10)", "get (connector.py:3)"), 1),
        )
        assert len([frame for frame in frames if frame["text"] == "get (connector.py:3)"]) == 2


class TestThreadsHaveRootsOfTheirOwn:
    def test_the_main_thread_first(self) -> None:
        frames = frames_of(
            Stack("reader", ("read (connector.py:40)",), 90), Stack("MainThread", ("update (connector.py:9)",), 10)
        )
        assert place(named(frames, "main thread")) == (0, 10, 0)
        assert place(named(frames, "threads reader")) == (10, 90, 0)

    def test_the_threads_of_a_pool_are_one(self) -> None:
        pool = [Stack(f"ThreadPoolExecutor-0_{number}", ("fetch (connector.py:60)",), 5) for number in range(32)]
        roots = [frame for frame in frames_of(*pool) if frame["class"] == "thread"]
        assert [(root["text"], place(root)) for root in roots] == [("threads ThreadPoolExecutor-0", (0, 160, 0))]


class TestColoursTellWhatALineIs:
    @pytest.mark.parametrize(
        ("frame", "colour"),
        [
            ("loads (json/__init__.py:346)", "decoding"),
            ("get (requests/sessions.py:602)", "fetching"),
            ("to_record (connector.py:44)", "own"),
            ("upsert (fivetran_connector_sdk/operations.py:80)", "op"),
        ],
    )
    def test_by_category(self, frame: str, colour: str) -> None:
        frames = frames_of(Stack("MainThread", ("update (connector.py:9)", frame), 1))
        assert named(frames, frame)["class"] == colour


class TestItEndsWhereTheSdkBegins:
    def test_an_operation_is_one_frame(self) -> None:
        upsert = "upsert (fivetran_connector_sdk/operations.py:80)"
        below = "inner (fivetran_connector_sdk/other.py:5)"
        frames = frames_of(
            Stack("MainThread", ("update (connector.py:9)", upsert, below), 30),
            Stack("MainThread", ("update (connector.py:9)", upsert, below, "dumps (json/__init__.py:1)"), 10),
        )
        assert [frame["text"] for frame in frames] == ["main thread", "update (connector.py:9)", upsert]
        assert place(named(frames, upsert)) == (0, 40, 2)


class TestWhatCannotBeSeenIsLeftOut:
    def test_below_two_thousandths(self) -> None:
        frames = frames_of(
            Stack("MainThread", ("update (connector.py:9)",), 9961),
            Stack("MainThread", ("update (connector.py:9)", "kept (connector.py:1)"), 20),
            Stack("MainThread", ("update (connector.py:9)", "dropped (connector.py:2)"), 19),
        )
        names = [frame["text"] for frame in frames]
        assert names == ["main thread", "update (connector.py:9)", "kept (connector.py:1)"]

    def test_a_deep_recursion_is_cut(self) -> None:
        deep = tuple(f"walk (connector.py:{number})" for number in range(900))
        graph = flamegraph([Stack("MainThread", deep, 5)])
        assert graph.count("<b ") == 101
        height = re.search(r'flame-rows" style="height:(\d+)px', graph)
        assert height
        assert int(height[1]) < 2000

    def test_no_stacks_make_no_graph(self) -> None:
        assert flamegraph([]) == ""


class TestNamesDoNoHarm:
    def test_markup_in_names_is_text(self) -> None:
        graph = flamegraph([Stack(HOSTILE, (HOSTILE,), 3)])
        parser = _Elements()
        parser.feed(graph)
        assert parser.tags == {"div", "p", "span", "button", "b"}
        assert all(set(frame) == {"class", "style", "data-at", "title", "text"} for frame in parser.frames)
