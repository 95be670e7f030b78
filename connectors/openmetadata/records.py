"""What is made of the API's records: ids out of references, and rows out of the columns of a table."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from entities import columns
from shared.naming import delivered_name
from shared.pages import Record
from shared.pagination import at_path

COLUMNS_OF_COLUMNS = columns(
    strings=(
        "table_id path parent_path name displayName fullyQualifiedName dataType dataTypeDisplay arrayDataType "
        "description constraint jsonSchema"
    ),
    longs="occurrence ordinalPosition dataLength precision scale",
    json="tags profile customMetrics extension",
)


_CHANGES = ("changeDescription", "incrementalChangeDescription")


@dataclass(frozen=True)
class Prepared:
    """Adds the ids of references as columns of their own, and takes out what is withheld."""

    refers_to: tuple[str, ...]
    withheld: tuple[str, ...] = ()

    def __call__(self, record: Record) -> Record:
        ids = {id_column(name): at_path(record, f"{name}.id") for name in self.refers_to}
        if self.withheld:
            record = {name: self._shown(name, value) for name, value in record.items() if name not in self.withheld}
        return record | ids

    def _shown(self, name: str, value: Any) -> Any:
        """A value, a description of changes without those of what is withheld: it may tell the values."""
        if name not in _CHANGES or not isinstance(value, dict):
            return value
        return {
            part: [change for change in changes if str(change.get("name")).partition(".")[0] not in self.withheld]
            if isinstance(changes, list)
            else changes
            for part, changes in value.items()
        }


def id_column(reference: str) -> str:
    """The column with the id of a reference.

    >>> id_column("databaseSchema")
    'database_schema_id'
    """
    return f"{delivered_name(reference)}_id"


def columns_of(table: Record) -> Iterator[Record]:
    """The columns of a table and those within them, each with its path; raises ValueError for what is no column."""
    seen: Counter[str] = Counter()
    for path, parent, column in _columns_within(table, "columns", ""):
        seen[path] += 1
        own = {name: value for name, value in column.items() if name != "children"}
        yield {**own, "table_id": table["id"], "path": path, "parent_path": parent, "occurrence": seen[path]}


def _columns_within(record: Mapping[str, Any], where: str, above: str) -> Iterator[tuple[str, str | None, Record]]:
    """Each column, below the path of its parent, with its own path and its parent's."""
    for column in record.get(where) or ():
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            raise ValueError(f"{where} has an entry without a name, which is no column")
        path = ".".join(filter(None, (above, _quoted(column["name"]))))
        yield path, above or None, column
        yield from _columns_within(column, "children", path)


def _quoted(name: str) -> str:
    """A name as a part of a path, quoted as in fullyQualifiedName if it has a dot or a quotation mark.

    >>> _quoted("city"), _quoted("a.b")
    ('city', '"a.b"')
    """
    return '"' + name.replace('"', '""') + '"' if "." in name or '"' in name else name


def never(version: Record) -> bool:
    """For lists whose history shows all that changed."""
    return False


def drops_columns(version: Record) -> bool:
    """Whether a version of a table, as its history has it, lacks columns that the version before it had."""
    return any(
        _is_of_columns(change)
        for description in _CHANGES
        for change in at_path(version, f"{description}.fieldsDeleted") or ()
    )


def _is_of_columns(change: Mapping[str, Any]) -> bool:
    """Whether a deleted field is columns: "columns" itself, or "columns.address" for what was within one of them.

    "columns.address.tags" and the like are named in the same way, and differ in what was deleted.
    """
    name = str(change.get("name"))
    if name == "columns" or not name.startswith("columns."):
        return name == "columns"
    deleted = change.get("oldValue")
    if isinstance(deleted, str):
        try:
            deleted = json.loads(deleted)
        except ValueError:
            return False  # a text, such as a description
    entries = deleted if isinstance(deleted, list) else [deleted]
    return deleted is None or any(isinstance(entry, dict) and "dataType" in entry for entry in entries)
