"""Names as Fivetran writes them, and what to say of two that become one."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from fivetran_connector_sdk import Operations as op


def delivered_name(name: str) -> str:
    """A table's or column's name in the destination: lower case, words apart by underscores.

    >>> delivered_name("createdAt"), delivered_name("Order ID (%)")
    ('created_at', 'order_id')
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"\W+", "_", words).lower().rstrip("_")


def folded_name(name: str) -> str:
    """What every destination keeps of a name: two names of which this is the same become one. Nothing may be left.

    >>> folded_name("Größe"), folded_name("1st") == folded_name("__1st"), folded_name("数量")
    ('gro_e', True, '')
    """
    letters = unicodedata.normalize("NFKD", delivered_name(name))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    folded = re.sub("[^a-z0-9]+", "_", plain).rstrip("_")
    return f"_{folded}" if folded[:1].isdigit() else folded


def warn_of_names_alike(tables: Iterable[Mapping[str, Any]]) -> None:
    """Warns of tables, and of columns of one table, whose values would end in one place: one of them would be lost.
    So would a column that has the name of one of Fivetran's own.

    `tables` is what `schema()` returns.
    """
    tables = list(tables)
    for schema in {table.get("schema", "") for table in tables}:
        within = f"in schema {schema}" if schema else "of this connection"
        _warn("tables", [table["table"] for table in tables if table.get("schema", "") == schema], within)
    for table in tables:
        _warn("columns", table["columns"], f"of table {table['table']}")
        for name in table["columns"]:
            if delivered_name(name).startswith("_fivetran_"):
                op.warning(f"the column {name!r} of table {table['table']} is overwritten by Fivetran's own: rename it")


def _warn(kind: str, names: Iterable[str], within: str) -> None:
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(delivered_name(name), name)
        if other != name:
            op.warning(
                f"the {kind} {other!r} and {name!r} {within} have one name in the destination, where one of them is "
                "lost: rename one, or deploy the connection with --naming SOURCE"
            )
