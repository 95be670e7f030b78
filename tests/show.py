"""Shows what the last `fivetran debug` of a connector delivered: every table's rows and columns, and its first records.

python -m tests.show files
"""

import argparse
import sys
from contextlib import closing

import duckdb

from tests.comparing import DELETED, SCHEMA
from tests.loading import CONNECTORS, NAMES

RECORDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows what the last `fivetran debug` of a connector delivered.")
    parser.add_argument("connector", choices=NAMES)
    name = parser.parse_args().connector
    warehouse = CONNECTORS / name / "files" / "warehouse.db"
    if not warehouse.exists():
        sys.exit(f"nothing is delivered yet: run `fivetran debug connectors/{name}` first")
    with closing(duckdb.connect(str(warehouse), read_only=True)) as connection:
        for schema, table in _tables(connection):
            _show(connection, schema, table)


def _tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    query = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE ? ORDER BY ALL"
    return connection.execute(query, [f"{SCHEMA}%"]).fetchall()


def _show(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> None:
    rows = connection.table(f'"{schema}"."{table}"')
    if DELETED in rows.columns:  # a table whose first sync failed has it not yet
        rows = rows.filter(f"NOT {DELETED}")
    print(f"\n{schema}.{table}: {len(rows):,} rows")
    # As text: reading a time with its zone into Python would need one more package.
    shown = rows.limit(RECORDS).project("COLUMNS(*)::text")
    for record in shown.fetchall():
        print("  " + ", ".join(f"{column}={value!r}" for column, value in zip(rows.columns, record, strict=True)))


if __name__ == "__main__":
    main()
