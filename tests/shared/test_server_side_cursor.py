"""Rows stay in the database until a page asks for them, and pages are bounded by bytes."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.server_side_cursor import CURSOR_NAME, MOST_ROWS, read_batches
from tests.sources.postgres_server import PostgresServer

PAGE = 50_000


@pytest.fixture
def connection(postgres: PostgresServer) -> Iterator[Any]:
    connection = postgres.connect()
    connection.autocommit = False
    yield connection
    connection.close()


def size(rows: list[tuple[Any, ...]]) -> int:
    """The bytes of their values."""
    return sum(len(str(value)) for row in rows for value in row)


def batches(connection: Any, query: str, widths: str | None = None) -> list[list[tuple[Any, ...]]]:
    """The pages of a query whose rows have the widths that another one tells."""
    return list(read_batches(connection, query, widths, page_bytes=PAGE))


def series(columns: str, width: str, rows: int) -> tuple[str, str]:
    """A query of so many rows, and the one of their widths."""
    source = f"FROM generate_series(1, {rows}) n"
    return f"SELECT {columns.format(width=width)} {source}", f"SELECT {width} {source}"


class TestEveryRowOnceInOrder:
    @pytest.mark.parametrize("rows", [0, 1, 100, 101, 20_000])
    def test_narrow_rows(self, connection: Any, rows: int) -> None:
        read = batches(connection, f"SELECT n FROM generate_series(1, {rows}) n")
        assert [row[0] for batch in read for row in batch] == list(range(1, rows + 1))
        assert all(read)

    def test_rows_of_every_width(self, connection: Any) -> None:
        query, widths = series("n, repeat('x', {width})", "CASE WHEN n % 7 = 0 THEN 30000 ELSE n END", 3000)
        read = batches(connection, query, widths)
        assert [row[0] for batch in read for row in batch] == list(range(1, 3001))
        assert all(read)

    def test_widths_that_tell_of_too_few_rows_lose_none(self, connection: Any) -> None:
        """As from a view that is another one each time it is looked at."""
        query, widths = "SELECT n FROM generate_series(1, 3000) n", "SELECT 10 FROM generate_series(1, 1500)"
        assert sum(map(len, batches(connection, query, widths))) == 3000


class TestPagesAreBoundedByBytes:
    @pytest.mark.parametrize("width", [1, 100, 10_000])
    def test_within_the_bound_whatever_the_width(self, connection: Any, width: int) -> None:
        read = batches(connection, *series("repeat('x', {width})", str(width), 3000))
        assert max(map(size, read)) <= PAGE
        assert max(map(len, read)) <= MOST_ROWS
        assert len(read) <= max(3, 3000 * width / PAGE * 1.3), "pages are filled"

    @pytest.mark.parametrize(
        ("width", "pages"),
        [
            ("CASE n WHEN 5 THEN 200000 ELSE 10 END", [4, 1, 5]),
            ("CASE WHEN n > 8 THEN 50000 ELSE 1 END", [8, 1, 1]),
            ("CASE WHEN n < 3 THEN 50001 ELSE 1 END", [1, 1, 8]),
            ("25000", [2, 2, 2, 2, 2]),
            ("25001", [1] * 10),
        ],
    )
    def test_a_row_that_has_no_room_begins_a_page(self, connection: Any, width: str, pages: list[int]) -> None:
        read = batches(connection, *series("repeat('x', {width})", width, 10))
        assert [len(batch) for batch in read] == pages

    def test_wide_rows_are_fetched_few_at_a_time(self, connection: Any) -> None:
        fetched: list[int] = []

        class Watching:
            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def execute(self, *query: Any) -> None:
                self._cursor.execute(*query)

            def fetchmany(self, count: int) -> Any:
                fetched.append(count)
                return self._cursor.fetchmany(count)

            def close(self) -> None:
                self._cursor.close()

        class Connection:
            Error = connection.Error

            def cursor(self, name: str) -> Watching:
                return Watching(connection.cursor(name))

        query, widths = series("repeat('x', {width})", "CASE WHEN n <= 600 THEN 10000 ELSE 1 END", 1500)
        batches(Connection(), query, widths)
        # Beside those of the widths, no fetch of many before the rows are narrow.
        assert set(fetched[: fetched.index(900)]) == {5, MOST_ROWS}
        assert fetched.count(5) == 120


class TestTheCursorIsServerSide:
    def test_it_has_its_name_while_reading_and_is_closed_with_the_reader(self, connection: Any) -> None:
        query = "SELECT generate_series(1, 10000)"
        reader = read_batches(connection, query, query, page_bytes=PAGE)
        next(reader)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_cursors ORDER BY name")
            assert cursor.fetchall() == [(CURSOR_NAME,), (f"{CURSOR_NAME}_widths",)]
        reader.close()  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_cursors")
            assert cursor.fetchall() == []
