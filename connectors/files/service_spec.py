"""What the connector is: its settings. Its table is what the files' headers say (listing.py, csv_file.py)."""

from dataclasses import dataclass
from pathlib import Path

from shared.configuration import SettingsBase, setting

FILE, LINE = "_file", "_line"
TAB = r"\t"  # as one types it into a form


def _one_character(text: str) -> str | None:
    allowed = text == TAB or (len(text) == 1 and text not in '"\r\n')
    return None if allowed else "expected one character that is no quote, or \\t for a tab"


def _relative(pattern: str) -> str | None:
    path = Path(pattern)
    outside = path.is_absolute() or ".." in path.parts or not path.parts
    return "expected a pattern below the folder, like *.csv or **/*.csv" if outside else None


@dataclass(frozen=True)
class Settings(SettingsBase):
    folder: str = setting("Folder of the files; a relative one is in the connector's own folder", example="sample")
    pattern: str = setting("Which files of the folder; ** means folders of any depth", default="*.csv", check=_relative)
    table: str = setting("Table that all records go to", default="records", example="stations")
    primary_key: tuple[str, ...] = setting(
        f"Columns that tell records apart, as delivered (Order ID is order_id); none means {FILE} and {LINE}",
        default=(),
    )
    delimiter: str = setting("What separates the fields of a line; \\t is a tab", default=",", check=_one_character)
    page_bytes: int = setting(
        "Bytes of a file in memory as one page", default=1_000_000, minimum=10_000, maximum=100_000_000
    )

    @property
    def separator(self) -> str:
        """The delimiter as it stands in the file."""
        return "\t" if self.delimiter == TAB else self.delimiter

    @property
    def key(self) -> tuple[str, ...]:
        """The table's primary key."""
        return self.primary_key or (FILE, LINE)
