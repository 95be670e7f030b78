"""What becomes of rows that cannot be delivered: the first one ends the sync, or all go to a table of their own."""

from collections.abc import Callable
from dataclasses import dataclass

from fivetran_connector_sdk import Operations as op

from batches import BadRow
from service_spec import BAD_ROWS, FILE, LINE, Settings, TableSpec
from shared.errors import SourceError
from shared.pages import Page, Position
from shared.values import ColumnType

KEY = ("_table", FILE, LINE)
COLUMNS: dict[str, ColumnType] = {"_table": "STRING", FILE: "STRING", LINE: "LONG", "raw": "STRING", "reason": "STRING"}


@dataclass
class BadRows:
    """The bad rows of a sync, as the setting `on_bad_row` says."""

    settings: Settings
    warn: Callable[[str], None] = op.warning
    kept: int = 0

    def page(self, spec: TableSpec, name: str, bad: list[BadRow], position: Position) -> Page:
        """The page that keeps the bad rows of a file; raises SourceError where they are to stop the sync."""
        first = min(bad, key=lambda row: row.line)
        if self.settings.on_bad_row == "stop":
            raise SourceError(
                f"{_sentence(name, first)}. Correct the file; or set on_bad_row to keep: then such rows go to "
                f"the table {BAD_ROWS}"
            )
        if not self.kept:
            self.warn(f"{_sentence(name, first)}. It is kept in the table {BAD_ROWS}, as are further bad rows")
        self.kept += len(bad)
        if self.kept > self.settings.most_bad_rows:
            raise SourceError(
                f"{_sentence(name, bad[-1])}. These are more than {self.settings.most_bad_rows:,} bad rows in one "
                "sync: are the settings right for this file? If so, raise most_bad_rows"
            )
        records = [
            {"_table": spec.name, FILE: name, LINE: row.line, "raw": row.raw, "reason": row.reason} for row in bad
        ]
        return Page(BAD_ROWS, records, position, stream=spec.name, primary_key=KEY)


def _sentence(name: str, row: BadRow) -> str:
    return f"{name}, line {row.line}: {row.reason}" if row.line else row.reason
