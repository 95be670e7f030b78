"""A query as pages from a named server-side cursor: the rows stay in the database until a page asks for them.

Takes an open DB-API connection whose `cursor(name)` is server-side, as psycopg2's is: this module needs no driver.
"""

import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any

CURSOR_NAME = "ft_server_side_cursor"
Row = tuple[Any, ...]

# Of one fetch. The first is small, as nothing is known of the rows' width yet; from then on as many rows are fetched as
# fill a page at the width seen last. So rows that are suddenly wider cost at most MOST_ROWS of them in memory, once.
FIRST_ROWS = 10
MOST_ROWS = 1_000


def read_batches(connection: Any, query: Any, *, page_bytes: int, name: str = CURSOR_NAME) -> Iterator[list[Row]]:
    """The query's rows, in order, in lists that hold at most `page_bytes` bytes of values, or a single larger row.

    `query` holds its values already, quoted by the driver's composer: beside parameters, a "%" in the name of a column
    would be taken for one of theirs. The cursor is closed at the end, and when the generator is.
    """
    with connection.cursor(name) as cursor:
        cursor.execute(query)
        count = FIRST_ROWS
        while rows := cursor.fetchmany(count):
            size = _bytes(rows)
            yield from _split(rows, size, page_bytes)
            width = max(1, size // len(rows))
            count = max(1, min(page_bytes // width, count * 4, MOST_ROWS))
            del rows  # or they would stay in memory while the next ones arrive


def _split(rows: list[Row], size: int, page_bytes: int) -> Iterator[list[Row]]:
    """The rows in lists within the bound; nearly always the one list that they are."""
    if size <= page_bytes:
        yield rows
        return
    page: list[Row] = []
    filled = 0
    for row in rows:
        width = _bytes([row])
        if page and filled + width > page_bytes:
            yield page
            page, filled = [], 0
        page.append(row)
        filled += width
    yield page


def _bytes(rows: list[Row]) -> int:
    """What the rows' values take in memory."""
    return sum(map(sys.getsizeof, chain.from_iterable(rows)))
