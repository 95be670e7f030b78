"""Pages are delivered whole, one ahead at most, and errors arrive where they belong."""

import threading
import time
import traceback
from collections.abc import Generator
from typing import Any

import pytest
from fivetran_connector_sdk import Logging

from shared.errors import RecordError, SourceError, TryLater, plainly, reported
from shared.pages import Page, deliver, log_progress, prefetch
from tests.recording import Destination, Sink, declare, with_sink


def numbered(count: int, read: list[int], error: BaseException | None = None) -> Generator[Page, None, None]:
    for number in range(count):
        read.append(number)
        yield Page("t", [{"id": number}], {"at": number})
    if error:
        raise error


class TestDeliver:
    def test_sends_each_record_before_the_next_is_read(self) -> None:
        sink = Sink(Destination())
        seen: list[int] = []

        def records() -> Any:
            for number in range(3):
                seen.append(sink.operations)
                yield {"id": number}

        with_sink(sink, lambda: deliver(Page("t", records())))
        assert seen == [0, 1, 2]

    def test_a_record_the_sdk_refuses_is_named_by_table_and_key_only(self) -> None:
        sink = Sink(Destination())
        declare([{"table": "t", "primary_key": ["id"], "columns": {"id": "INT", "n": "INT"}}], sink.destination)
        page = Page("t", [{"id": 1, "n": 1}, {"id": 2, "n": 2**40, "name": "personal"}], primary_key=("id",))
        with pytest.raises(RecordError, match="table t, record id=2 cannot be delivered") as told:
            with_sink(sink, lambda: deliver(page))
        assert "personal" not in str(told.value)
        assert page.delivered == 1

    def test_truncate_comes_before_the_rows(self) -> None:
        sink = Sink(Destination())
        with_sink(sink, lambda: deliver(Page("t", [{"id": 1}], truncate=True)))
        assert sink.order == ["truncate t", "record t"]

    def test_the_schema_goes_with_every_operation(self) -> None:
        sink = Sink(Destination())
        with_sink(sink, lambda: deliver(Page("t", [{"id": 1}], schema="sales", truncate=True)))
        assert list(sink.destination.rows) == ["sales.t"]


class TestPrefetch:
    def test_same_pages_in_the_same_order(self) -> None:
        with prefetch(numbered(5, [])) as pages:
            assert [page.position["at"] for page in pages if page.position] == [0, 1, 2, 3, 4]

    def test_reads_one_page_ahead_and_no_more(self) -> None:
        read: list[int] = []
        with prefetch(numbered(10, read)) as pages:
            next(pages)
            time.sleep(0.1)
            assert read == [0, 1]

    def test_an_error_is_raised_where_its_page_would_have_come(self) -> None:
        with prefetch(numbered(2, [], SourceError("gone"))) as pages:
            assert next(pages)
            assert next(pages)
            with pytest.raises(SourceError, match="gone"):
                next(pages)

    def test_leaving_early_closes_the_source_and_ends_the_thread(self) -> None:
        closed = threading.Event()

        def source() -> Generator[Page, None, None]:
            try:
                yield from numbered(10, [])
            finally:
                closed.set()

        before = threading.active_count()
        with prefetch(source()) as pages:
            next(pages)
        assert closed.is_set()
        assert threading.active_count() == before


class TestLogProgress:
    def test_pages_pass_and_rows_are_counted_by_table(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lines: list[str] = []
        monkeypatch.setattr(Logging, "info", lines.append)

        def work() -> None:
            for page in log_progress(numbered(3, []), every_seconds=0):
                deliver(page)

        with_sink(Sink(Destination()), work)
        assert lines[0].startswith("t: 1 rows, ")
        assert "sync complete: 3 rows" in lines[-1]
        assert lines[-1].endswith("(t 3)")


class TestPlainly:
    def test_an_error_of_schema_comes_without_what_led_to_it(self) -> None:
        @plainly()
        def schema() -> None:
            try:
                raise KeyError("what led here")
            except KeyError as error:
                raise SourceError("one sentence") from error

        with pytest.raises(SourceError, match="one sentence") as told:
            schema()
        assert "what led here" not in "".join(traceback.format_exception(told.value))


class TestReported:
    def test_an_error_is_one_sentence_on_the_dashboard_and_the_sync_fails(self) -> None:
        sink = Sink(Destination())

        @reported()
        def update() -> None:
            raise SourceError("the server is gone")

        with pytest.raises(SourceError):
            with_sink(sink, update)
        assert sink.errors == ["the server is gone"]

    def test_try_later_is_a_warning_and_a_clean_end(self) -> None:
        sink = Sink(Destination())

        @reported()
        def update() -> None:
            raise TryLater("come back in an hour")

        with_sink(sink, update)
        assert (sink.warnings, sink.errors) == (["come back in an hour"], [])

    def test_a_defect_keeps_its_traceback(self) -> None:
        sink = Sink(Destination())

        @reported()
        def update() -> None:
            raise KeyError("defect")

        with pytest.raises(KeyError):
            with_sink(sink, update)
        assert sink.errors == []
