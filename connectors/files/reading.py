"""A folder's files as pages, oldest first, resumed inside the file that was interrupted.

The position of the stream in the state:

    {"settings": "a1b2…",                    what must be unchanged for the rest to hold
     "upto": [1767225600000000000, "b.csv"], every file up to this one is delivered
     "open": {"name": "c.csv", "size": 9000, "modified": 1767225600000000000, "offset": 4096, "line": 61}}
"""

import hashlib
from collections.abc import Generator, Iterator
from typing import Any

from fivetran_connector_sdk import Operations as op

from csv_file import Batch, CsvFile
from listing import ListedFile, settled_files
from service_spec import FILE, LINE, Settings
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Page, Position, Record


def read_pages(settings: Settings, checkpoints: Checkpoints) -> Generator[Page, None, None]:
    """The records of every file that came or changed since the position, file after file."""
    position = checkpoints.position(settings.table) or {}
    kept = {"settings": _fingerprint(settings)}
    if position and position["settings"] != kept["settings"]:
        op.warning(f"{settings.table}: the settings have changed, so all files are read again")
        position = {}
    files = settled_files(settings)
    if not files:
        op.warning(f"no file in {settings.folder} matches {settings.pattern}: nothing to sync")
    upto = tuple(position.get("upto", (0, "")))
    for file in files:
        if (file.modified, file.name) <= upto:
            continue
        yield from _file_pages(settings, file, position.get("open"), {**kept, "upto": list(upto)})
        upto = (file.modified, file.name)
        yield Page(settings.table, (), {**kept, "upto": list(upto)})


def _file_pages(
    settings: Settings, file: ListedFile, interrupted: dict[str, Any] | None, position: Position
) -> Iterator[Page]:
    """One file's records, from where it was interrupted if it is the file that was, and unchanged."""
    identity = {"name": file.name, "size": file.size, "modified": file.modified}
    with CsvFile(file.path, file.name, settings.separator) as csv_file:
        missing = [name for name in settings.primary_key if name not in csv_file.columns]
        if missing and csv_file.columns:
            raise SourceError(f"{file.name} has no column {', '.join(missing)}, which the setting primary_key names")
        start = csv_file.start
        if interrupted and identity.items() <= interrupted.items():
            start = (interrupted["offset"], interrupted["line"])
        for batch in csv_file.batches(*start, settings.page_bytes):
            place = {**identity, "offset": batch.offset, "line": batch.line}
            yield Page(
                settings.table,
                _records(batch, csv_file.columns, file.name),
                {**position, "open": place},
                primary_key=settings.key,
            )


def _records(batch: Batch, columns: list[str], name: str) -> Iterator[Record]:
    for line, row in batch.rows:
        record: Record = dict(zip(columns, row, strict=True))
        record[FILE], record[LINE] = name, line
        yield record


def _fingerprint(settings: Settings) -> str:
    """Of the settings that decide which records there are, and how each is keyed."""
    deciding = (settings.folder, settings.pattern, settings.table, settings.primary_key, settings.delimiter)
    return hashlib.blake2b(repr(deciding).encode(), digest_size=8).hexdigest()
