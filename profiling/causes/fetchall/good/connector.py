"""Customers from a PostgreSQL table.

Good: a cursor with a name stays at the server, which sends a page of rows whenever one is asked for. There is one page
in memory, however large the table is. The rows come by their key, so that a sync that fails goes on after the last page
that was sent.
"""

from contextlib import closing
from typing import Any

import psycopg2
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

COLUMNS = ("id", "name", "email", "city", "active", "balance", "created", "notes")
PAGE_ROWS = 1_000


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    with closing(connect(configuration)) as connection, connection.cursor("customers") as cursor:
        cursor.execute(
            "SELECT id, name, email, city, active, balance, created, notes FROM customers WHERE id > %s ORDER BY id",
            [state.get("after", 0)],
        )
        while page := cursor.fetchmany(PAGE_ROWS):
            for row in page:
                op.upsert("customers", dict(zip(COLUMNS, row, strict=True)))
            op.checkpoint({"after": page[-1][0]})


def connect(configuration: dict[str, str]) -> Any:
    return psycopg2.connect(
        host=configuration["host"],
        port=configuration["port"],
        dbname=configuration["database"],
        user=configuration["user"],
    )


connector = Connector(update=update, schema=schema)
