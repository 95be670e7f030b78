"""Customers of an API, several pages at a time.

Good: at most `PAGES_AHEAD` pages are under way or wait to be sent. The next one is asked for only when the first of
them is taken, so that fetching never gets ahead of sending. Pages are sent in their order, and the state says which is
next: a sync that fails goes on there.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

PAGES_AHEAD = 4


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers"
    first = state.get("page", 0)
    pages = get(f"{url}/count")["pages"]
    for page, customers in enumerate(in_order(url, range(first, pages)), start=first):
        for customer in customers:
            op.upsert("customers", customer)
        op.checkpoint({"page": min(page + 1, pages - 1)})  # the last page may get longer until the next sync


def in_order(url: str, pages: range) -> Iterator[list[dict[str, Any]]]:
    """The customers of each page."""
    ahead: deque[Future[list[dict[str, Any]]]] = deque()
    with ThreadPoolExecutor(PAGES_AHEAD) as pool:
        for page in pages:
            ahead.append(pool.submit(fetch, url, page))
            if len(ahead) == PAGES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def fetch(url: str, page: int) -> list[dict[str, Any]]:
    return list(get(url, page=page)["data"])


def get(url: str, **query: int) -> Any:
    """The answer, once its status is one of success."""
    response = requests.get(url, params=query, timeout=60)
    response.raise_for_status()
    return response.json()


connector = Connector(update=update, schema=schema)
