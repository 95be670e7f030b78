"""Orders from PostgreSQL, each with the name and city of its customer.

Bad: the join is made here, so that the whole other table has to be in memory, with all its columns. The cursors are
those that take one page of rows at a time: that does not help.
"""

from contextlib import closing
from typing import Any

import psycopg2
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "orders", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    with closing(connect(configuration)) as connection:
        with connection.cursor("customers") as cursor:
            cursor.execute("SELECT * FROM customers")
            customers = {row[0]: row for row in cursor}  # BAD: the whole other table
        with connection.cursor("orders") as cursor:
            cursor.execute("SELECT id, customer_id, amount FROM orders")
            for number, customer_id, amount in cursor:
                _, name, _, city, *_ = customers[customer_id]
                op.upsert("orders", {"id": number, "amount": amount, "customer": name, "city": city})
    op.checkpoint({})


def connect(configuration: dict[str, str]) -> Any:
    return psycopg2.connect(
        host=configuration["host"],
        port=configuration["port"],
        dbname=configuration["database"],
        user=configuration["user"],
    )


connector = Connector(update=update, schema=schema)
