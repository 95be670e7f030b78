"""Customers from a CSV file that a server offers.

Bad: `.text` and `.splitlines()` take the whole file, and that several times: as bytes, as text and as lines. Memory is
a multiple of the file's size.
"""

import csv
from typing import Any

import requests
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    url = f"{configuration['base_url']}/customers.csv"
    lines = requests.get(url, timeout=60).text.splitlines()  # BAD: the whole file
    for customer in csv.DictReader(lines):
        op.upsert("customers", customer)
    op.checkpoint({})


connector = Connector(update=update, schema=schema)
