"""Rows stay in the database until a page asks for them, and pages are bounded by bytes."""

import sys
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
    return sum(sys.getsizeof(value) for row in rows for value in row)


def batches(connection: Any, query: str, page_bytes: int = PAGE) -> list[list[tuple[Any, ...]]]:
    return list(read_batches(connection, query, page_bytes=page_bytes))


class TestEveryRowOnceInOrder:
    @pytest.mark.parametrize("rows", [0, 1, 100, 101, 20_000])
    def test_narrow_rows(self, connection: Any, rows: int) -> None:
        read = batches(connection, f"SELECT n FROM generate_series(1, {rows}) n")
        assert [row[0] for batch in read for row in batch] == list(range(1, rows + 1))
        assert all(read)

    def test_rows_of_every_width(self, connection: Any) -> None:
        query = "SELECT n, repeat('x', CASE WHEN n % 7 = 0 THEN 30000 ELSE n END) FROM generate_series(1, 1000) n"
        read = batches(connection, query)
        assert [row[0] for batch in read for row in batch] == list(range(1, 1001))


class TestPagesAreBoundedByBytes:
    @pytest.mark.parametrize("width", [1, 100, 10_000])
    def test_within_the_bound_whatever_the_width(self, connection: Any, width: int) -> None:
        read = batches(connection, f"SELECT repeat('x', {width}) FROM generate_series(1, 3000)")
        assert max(map(size, read)) <= PAGE
        assert max(map(len, read)) <= MOST_ROWS

    def test_a_row_larger_than_a_page_is_a_page_of_its_own(self, connection: Any) -> None:
        query = "SELECT repeat('x', CASE n WHEN 5 THEN 200000 ELSE 10 END) FROM generate_series(1, 10) n"
        read = batches(connection, query)
        assert [len(batch) for batch in read] == [4, 1, 5]

    def test_wide_rows_are_fetched_few_at_a_time(self, connection: Any) -> None:
        fetched: list[int] = []

        class Watching:
            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def __enter__(self) -> Any:
                self._cursor.__enter__()
                return self

            def __exit__(self, *error: Any) -> None:
                self._cursor.__exit__(*error)

            def execute(self, *query: Any) -> None:
                self._cursor.execute(*query)

            def fetchmany(self, count: int) -> Any:
                fetched.append(count)
                return self._cursor.fetchmany(count)

        class Connection:
            def cursor(self, name: str) -> Watching:
                return Watching(connection.cursor(name))

        batches(Connection(), "SELECT repeat('x', 10000) FROM generate_series(1, 500)")
        assert max(fetched[1:]) <= PAGE // 10_000


class TestTheCursorIsServerSide:
    def test_it_has_its_name_while_reading_and_is_closed_with_the_reader(self, connection: Any) -> None:
        reader = read_batches(connection, "SELECT generate_series(1, 10000)", page_bytes=PAGE)
        next(reader)
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_cursors")
            assert cursor.fetchall() == [(CURSOR_NAME,)]
        reader.close()  # type: ignore[attr-defined]
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_cursors")
            assert cursor.fetchall() == []
