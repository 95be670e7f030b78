"""Customers from a CSV file that a server offers.

Good: the file comes in pieces (`stream=True`), is read row by row, and each row is sent before the next is read. There
is one piece in memory, however large the file is. The state says how many rows were sent: a sync that fails goes on
after them, and a later one sends the rows that were added to the file.
"""

import csv
import io
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

CHECKPOINT_ROWS = 1_000


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers.csv"
    sent = state.get("rows", 0)
    with requests.get(url, stream=True, timeout=60) as response:
        response.raise_for_status()
        raw: Any = response.raw
        raw.decode_content = True  # unpack it if the server has compressed it
        raw.auto_close = False  # the text reader looks once more after the end
        customers = csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline=""))
        for row, customer in enumerate(customers, start=1):
            if row <= sent:
                continue
            op.upsert("customers", customer)
            sent = row
            if row % CHECKPOINT_ROWS == 0:
                op.checkpoint({"rows": row})
    op.checkpoint({"rows": sent})


connector = Connector(update=update, schema=schema)
