"""Customers of an API, page by page.

Bad: `customers` has them all before the first one is sent. Every page makes it longer, and nothing makes it shorter, so
that memory is as large as the list at the source. A sync that fails in the middle has sent nothing, and begins anew.
"""

from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers"
    customers: list[dict[str, Any]] = []
    after = 0
    while page := requests.get(url, params={"after": after}, timeout=60).json()["data"]:  # BAD: made here,
        customers.extend(page)  # BAD: and kept here
        after = page[-1]["id"]
    for customer in customers:
        op.upsert("customers", customer)
    op.checkpoint({})


connector = Connector(update=update, schema=schema)
