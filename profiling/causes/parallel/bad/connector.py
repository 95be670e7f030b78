"""Customers of an API, several pages at a time.

Bad: eight threads fetch, but all pages are asked for at once. Nothing holds the threads back when rows are sent more
slowly than pages come, so that the pages wait in their futures, and `futures` keeps even those that were sent.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

THREADS = 8


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers"
    pages = requests.get(f"{url}/count", timeout=60).json()["pages"]
    with ThreadPoolExecutor(THREADS) as pool:
        futures = [pool.submit(fetch, url, page) for page in range(pages)]  # BAD: kept here
        for future in futures:
            for customer in future.result():
                op.upsert("customers", customer)
    op.checkpoint({})


def fetch(url: str, page: int) -> list[dict[str, Any]]:
    answer = requests.get(url, params={"page": page}, timeout=60).json()  # BAD: made here, ahead of what is sent
    return list(answer["data"])


connector = Connector(update=update, schema=schema)
