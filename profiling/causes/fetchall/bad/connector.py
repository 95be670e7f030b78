"""Customers from a PostgreSQL table.

Bad: `fetchall` makes a list of all rows, and the driver has received them all before that, when the query was executed:
the table is in memory twice.
"""

from contextlib import closing
from typing import Any

import psycopg2
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

COLUMNS = ("id", "name", "email", "city", "active", "balance", "created", "notes")


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "customers", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    with closing(connect(configuration)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, name, email, city, active, balance, created, notes FROM customers")
        rows = cursor.fetchall()  # BAD: the whole table
        for row in rows:
            op.upsert("customers", dict(zip(COLUMNS, row, strict=True)))
    op.checkpoint({})


def connect(configuration: dict[str, str]) -> Any:
    return psycopg2.connect(
        host=configuration["host"],
        port=configuration["port"],
        dbname=configuration["database"],
        user=configuration["user"],
    )


connector = Connector(update=update, schema=schema)
