"""Orders of an API, each with the name of its product, which takes a call of its own.

Good: the cache holds so many products and no more, the least recently used one goes first, and of each it holds what is
needed. It is made by `update` and ends with it.
"""

from functools import lru_cache
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

CACHED_PRODUCTS = 1_000


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "orders", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = configuration["base_url"]
    product_at = lru_cache(maxsize=CACHED_PRODUCTS)(get_product)
    after = state.get("after", 0)
    while page := get(f"{url}/orders", after=after)["data"]:
        for order in page:
            name, category = product_at(f"{url}/products/{order['product_id']}")
            op.upsert("orders", {**order, "product": name, "category": category})
        after = page[-1]["id"]
        op.checkpoint({"after": after})


def get_product(url: str) -> tuple[str, str]:
    """Name and category."""
    product = get(url)
    return product["name"], product["category"]


def get(url: str, **query: int) -> Any:
    """The answer, once its status is one of success."""
    response = requests.get(url, params=query, timeout=60)
    response.raise_for_status()
    return response.json()


connector = Connector(update=update, schema=schema)
