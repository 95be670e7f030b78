"""The state moves only past what was delivered, stays small, and survives errors."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from shared import checkpoints
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Page, deliver
from tests.recording import Destination, Killed, Sink, with_sink


@pytest.fixture
def sink() -> Sink:
    return Sink(Destination())


@pytest.fixture
def every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


def deliver_pages(sink: Sink, pages: list[Page], state: dict[str, Any] | None = None) -> None:
    def work() -> None:
        with Checkpoints(state or {}) as saved:
            for page in pages:
                deliver(page)
                saved.save(page)

    with_sink(sink, work)


def page(number: int, rows: int = 1) -> Page:
    return Page("t", [{"id": number, "n": row} for row in range(rows)], {"at": number})


class TestTheStateMovesOnlyAfterDelivery:
    @pytest.mark.usefixtures("every_page")
    def test_records_first_then_the_checkpoint_of_their_page(self, sink: Sink) -> None:
        deliver_pages(sink, [page(1, 2), page(2)])
        assert sink.order == ["record t", "record t", "checkpoint", "record t", "checkpoint"]
        assert [state["streams"]["t"]["at"] for state in sink.checkpoints] == [1, 2]

    @pytest.mark.usefixtures("every_page")
    def test_killed_inside_a_page_the_state_is_before_it(self) -> None:
        sink = Sink(Destination(), stop_at=4)
        deliver_pages(sink, [page(1, 2), page(2, 2)])
        assert sink.destination.committed["streams"]["t"] == {"at": 1}

    def test_a_page_without_a_position_moves_nothing(self, sink: Sink) -> None:
        deliver_pages(sink, [Page("child", [{"id": 1}])], {"version": 1, "streams": {"t": {"at": 1}}})
        assert sink.checkpoints == [{"version": 1, "streams": {"t": {"at": 1}}}]

    def test_other_streams_keep_their_positions(self, sink: Sink) -> None:
        state = {"version": 1, "streams": {"other": {"at": 9}}}
        deliver_pages(sink, [page(1)], state)
        assert sink.checkpoints[-1]["streams"] == {"other": {"at": 9}, "t": {"at": 1}}
        assert state == {"version": 1, "streams": {"other": {"at": 9}}}


class TestCheckpointsAreShared:
    def test_small_pages_share_one_at_the_end(self, sink: Sink) -> None:
        deliver_pages(sink, [page(number) for number in range(50)])
        assert len(sink.checkpoints) == 1

    def test_never_more_than_a_bounded_number_of_records_unsaved(
        self, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoints, "RECORDS_BETWEEN", 10)
        deliver_pages(sink, [page(number, 5) for number in range(4)])
        assert sink.order.count("checkpoint") == 2

    def test_a_sync_of_nothing_sends_the_state_it_was_given(self, sink: Sink) -> None:
        deliver_pages(sink, [], {"version": 1, "streams": {"t": {"at": 1}}})
        assert sink.checkpoints == [{"version": 1, "streams": {"t": {"at": 1}}}]


class TestErrors:
    def failing(self, error: BaseException) -> Iterator[Page]:
        yield page(1)
        raise error

    def test_a_source_that_fails_leaves_its_progress_saved(self, sink: Sink) -> None:
        with pytest.raises(SourceError):
            deliver_pages(sink, self.failing(SourceError("gone")))  # type: ignore[arg-type]
        assert sink.checkpoints[-1]["streams"]["t"] == {"at": 1}

    @pytest.mark.parametrize("error", [ZeroDivisionError(), Killed()], ids=repr)
    def test_after_an_unknown_error_the_last_checkpoint_stands(self, sink: Sink, error: BaseException) -> None:
        with suppress(ZeroDivisionError):
            deliver_pages(sink, self.failing(error))  # type: ignore[arg-type]
        assert sink.checkpoints == []


class TestTheStateItself:
    def test_a_state_of_another_version_is_refused_with_the_way_out(self) -> None:
        with pytest.raises(SourceError, match="version 99 and this connector reads version 1: deploy .* or reset"):
            Checkpoints({"version": 99, "streams": {}})

    def test_a_state_of_another_connector_is_refused(self) -> None:
        with pytest.raises(SourceError, match="version 0"):
            Checkpoints({"last_page": 7})

    def test_an_older_state_is_migrated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        upgrade = {0: lambda state: {"version": 1, "streams": {"t": {"at": state["last_page"]}}}}
        monkeypatch.setattr(checkpoints, "MIGRATIONS", upgrade)
        assert Checkpoints({"last_page": 7}).position("t") == {"at": 7}

    def test_a_position_is_a_copy(self) -> None:
        saved = Checkpoints({"version": 1, "streams": {"t": {"at": [1]}}})
        position = saved.position("t")
        assert position is not None
        position["at"].append(2)
        assert saved.position("t") == {"at": [1]}

    def test_a_large_state_warns_once_and_a_huge_one_is_refused(
        self, sink: Sink, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
        monkeypatch.setattr(checkpoints, "WARN_BYTES", 100)
        monkeypatch.setattr(checkpoints, "REFUSE_BYTES", 1000)
        large = [Page("t", [], {"at": "x" * 100}), Page("t", [], {"at": "y" * 100}), Page("t", [], {"at": "x" * 1000})]
        with pytest.raises(SourceError, match="state has grown to .* most of it for 't'"):
            deliver_pages(sink, large)
        assert len(sink.warnings) == 1
        assert len(sink.checkpoints) == 2
