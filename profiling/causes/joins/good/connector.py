"""Orders from PostgreSQL, each with the name and city of its customer.

Good: the database makes the join, as it would a sum or a count: it is made for that, and has an index. Here is one page
of its result, whatever the tables' size. The rows come by their key, so that a sync that fails goes on after the last
page that was sent.
"""

from contextlib import closing
from typing import Any

import psycopg2
from fivetran_connector_sdk import Connector
from fivetran_connector_sdk import Operations as op

PAGE_ROWS = 1_000


def schema(configuration: dict[str, str]) -> list[dict[str, Any]]:
    return [{"table": "orders", "primary_key": ["id"]}]


def update(configuration: dict[str, str], state: dict[str, Any]) -> None:
    with closing(connect(configuration)) as connection, connection.cursor("orders") as cursor:
        cursor.execute(
            """
            SELECT orders.id, orders.amount, customers.name, customers.city
            FROM orders JOIN customers ON customers.id = orders.customer_id
            WHERE orders.id > %s ORDER BY orders.id
            """,
            [state.get("after", 0)],
        )
        while page := cursor.fetchmany(PAGE_ROWS):
            for number, amount, name, city in page:
                op.upsert("orders", {"id": number, "amount": amount, "customer": name, "city": city})
            op.checkpoint({"after": page[-1][0]})


def connect(configuration: dict[str, str]) -> Any:
    return psycopg2.connect(
        host=configuration["host"],
        port=configuration["port"],
        dbname=configuration["database"],
        user=configuration["user"],
    )


connector = Connector(update=update, schema=schema)
