"""What every format makes of a file: batches of records, each with the place in the file where the next one begins."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from shared.pages import Record
from shared.values import ColumnType

# Where in a file a batch begins, as a small JSON object of the format's own; None is the start.
Place = dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be delivered as it is.

    line    where it begins: the line of a text file, the row of another, from 1; 0 is the file as a whole
    raw     what is written there, as text that every destination keeps, cut where it is long
    reason  what is wrong with it, in words that go behind "NAME, line N: "
    """

    line: int
    raw: str
    reason: str


@dataclass
class Batch:
    """Some records of a file, to be read once, and where the next ones begin.

    size        bytes of the file, decompressed, that these records were
    undeclared  names of some fields that have no column, where only the records tell
    """

    records: Iterable[Record]
    place: Place
    bad: list[BadRow] = field(default_factory=list)
    size: int = 0
    undeclared: Collection[str] = ()


@dataclass(frozen=True)
class Target:
    """The table as it is declared: every column with its type. What has no column goes to `_undeclared`, as JSON.

    unused  columns that the settings declare and no file has that was looked at
    """

    columns: Mapping[str, ColumnType]
    unused: tuple[str, ...] = ()


class Reader(Protocol):
    """One open file (or member of an archive) of a certain format. Raises FileProblem, naming the file, for one that
    is not of the format, is cut or damaged; a single row that is wrong is a BadRow instead, and reading goes on.

    name     as `_file` has it: the file's name, with the member's behind it where it is in an archive
    columns  the columns of this file with their types; text is STRING. Complete where the format has a header or a
             schema, else those of the file's first megabyte
    """

    name: str

    @property
    def columns(self) -> Mapping[str, ColumnType]: ...

    def batches(self, target: Target, place: Place | None = None) -> Iterator[Batch]:
        """The records from a place on, as they arrive exactly in the target's columns, `_file`, `_line`, `_modified`
        included. A column of the target that the file lacks is not in its records."""
