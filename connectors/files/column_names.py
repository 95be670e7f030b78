"""What the columns of a file are called."""

from collections import Counter
from collections.abc import Sequence

from service_spec import FILE, LINE, MODIFIED
from shared.naming import delivered_name, folded_name
from shared.values import UNDECLARED

# Columns that Fivetran writes itself, as in a file that was exported from a destination.
_FIVETRANS_OWN = ("_fivetran_deleted", "_fivetran_id", "_fivetran_synced")
# No column of a file has one of these names.
RESERVED = (FILE, LINE, MODIFIED, UNDECLARED, *_FIVETRANS_OWN)
# More are no table, but data where names should be, and would take memory without bound.
MOST_COLUMNS = 10_000


def column_names(titles: Sequence[str]) -> list[str]:
    """One name a field: lower case and underscores, as Fivetran would make them, and no two alike in a destination.

    >>> column_names(["Order ID", "amount", "", "Amount", "数量", "1st", "_1st"])
    ['order_id', 'amount', 'column_3', 'amount_2', 'column_5', '1st', '_1st_2']
    """
    counts: Counter[str] = Counter()
    names: list[str] = []
    taken = set(RESERVED)
    for place, title in enumerate(titles, start=1):
        plain = delivered_name(title) if folded_name(title) else f"column_{place}"
        name = plain
        while folded_name(name) in taken:
            counts[plain] += 1
            name = f"{plain}_{counts[plain] + 1}"
        taken.add(folded_name(name))
        names.append(name)
    return names


def distinct_titles(titles: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """What the fields are called in `_undeclared`: their titles, or, where two are alike or one is empty, their names.

    >>> distinct_titles(["ID", "x", "x"], ["id", "x", "x_2"])
    ['id', 'x', 'x_2']
    """
    return titles if all(titles) and len(set(titles)) == len(titles) else names
