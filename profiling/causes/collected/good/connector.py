"""Customers of an API, page by page.

Good: a page is sent, and its checkpoint too, before the next one is asked for. There is one page in memory, however
many there are, and a sync that fails goes on after the last page that was sent.
"""

from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers"
    after = state.get("after", 0)
    while page := get(url, after=after)["data"]:
        for customer in page:
            op.upsert("customers", customer)
        after = page[-1]["id"]
        op.checkpoint({"after": after})


def get(url: str, **query: int) -> Any:
    """The answer, once its status is one of success."""
    response = requests.get(url, params=query, timeout=60)
    response.raise_for_status()
    return response.json()


connector = Connector(update=update, schema=schema)
