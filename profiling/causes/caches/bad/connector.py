"""Orders of an API, each with the name of its product, which takes a call of its own.

Bad: the cache spares calls, and is never emptied. It holds the whole answer for every product that was ever asked for,
though orders of one day are of few products, and two fields of each are needed. Since it is the module's, it even
outlives the sync where several run in one process.
"""

from functools import cache
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "orders", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = configuration["base_url"]
    after = state.get("after", 0)
    while page := requests.get(f"{url}/orders", params={"after": after}, timeout=60).json()["data"]:
        for order in page:
            product = product_of(f"{url}/products/{order['product_id']}")
            op.upsert("orders", {**order, "product": product["name"], "category": product["category"]})
        after = page[-1]["id"]
        op.checkpoint({"after": after})


@cache  # BAD: kept here, without end
def product_of(url: str) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(url, timeout=60).json()  # BAD: made here
    return answer


connector = Connector(update=update, schema=schema)
