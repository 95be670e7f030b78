"""A query as pages from a named server-side cursor: the rows stay in the database until a page asks for them.

Takes an open DB-API connection whose `cursor(name)` is server-side, as psycopg2's is: this module needs no driver.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

CURSOR_NAME = "ft_server_side_cursor"
Row = tuple[Any, ...]

# Of one fetch. More would save little: a round trip costs less than delivering so many rows.
MOST_ROWS = 1_000


def read_batches(connection: Any, query: Any, widths: Any = None, *, page_bytes: int) -> Iterator[list[Row]]:
    """The query's rows, in order, in lists that hold at most `page_bytes` bytes of values, or a single larger row.

    `widths` is a query of one column: the bytes of each row of `query`, in the same order. A second cursor reads it a
    little ahead, so that no fetch brings more than a page, however suddenly the rows become wider. Without it,
    MOST_ROWS rows have to fit into a page. The transaction must show both queries one snapshot.

    Both queries hold their values already, quoted by the driver's composer: beside parameters, a "%" in the name of a
    column would be taken for one of theirs. The cursors are closed at the end, and when the generator is.
    """
    with _cursor(connection, CURSOR_NAME) as rows:
        rows.execute(query)
        if widths is not None:
            with _cursor(connection, f"{CURSOR_NAME}_widths") as ahead:
                ahead.execute(widths)
                for count in _counts(ahead, page_bytes):
                    yield rows.fetchmany(count)
        while batch := rows.fetchmany(MOST_ROWS):
            yield batch


@contextmanager
def _cursor(connection: Any, name: str) -> Iterator[Any]:
    """A server-side cursor, closed at the end; a connection that is lost has closed it, and its next use says so."""
    cursor = connection.cursor(name)
    try:
        yield cursor
    finally:
        with suppress(connection.Error):
            cursor.close()


def _counts(widths: Any, page_bytes: int) -> Iterator[int]:
    """How many rows make each page."""
    count = filled = 0
    while ahead := widths.fetchmany(MOST_ROWS):
        for (width,) in ahead:
            if count and (count == MOST_ROWS or filled + width > page_bytes):
                yield count
                count = filled = 0
            count += 1
            filled += width
    if count:
        yield count
