"""A folder's files as pages, oldest first, resumed inside the file that was interrupted.

The position of the stream in the state:

    {"settings": "a1b2…",                    what must be unchanged for the rest to hold
     "upto": [1767225600000000000, "b.csv"], every file up to this one in the order is delivered,
     "known": {"3f": "00c0ffee"},            and these are their checksums (inventory.py)
     "open": {"name": "c.csv", "size": 9000, "changed": 1767225600000000000, "offset": 4096, "line": 61}}
"""

import hashlib
from collections.abc import Generator, Iterator
from itertools import groupby
from typing import Any

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from csv_file import Batch, CsvFile
from inventory import Checksums, checksums, group_of, with_file
from listing import ListedFile, settled_files
from service_spec import FILE, LINE, Settings
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Page, Position, Record


def read_pages(settings: Settings, checkpoints: Checkpoints) -> Generator[Page, None, None]:
    """The records of every file that came or changed since the position, file after file."""
    start: Position = {"settings": _fingerprint(settings), "upto": [0, ""], "known": {}}
    position = checkpoints.position(settings.table, needs=start) or start
    if position["settings"] != start["settings"]:
        op.warning(f"{settings.table}: the settings have changed, so all files are read again")
        position = start
    interrupted = position.pop("open", None)
    files = settled_files(settings)
    before = [file for file in files if file.place <= tuple(position["upto"])]
    suspects = _suspects(before, position["known"])
    if suspects and settings.primary_key:
        # Which of two records with one key is delivered last must not change: everything behind is read again too.
        before = before[: before.index(suspects[0])]
        suspects = []
    now = checksums(before)
    for group, files_again in groupby(sorted(suspects, key=group_of), key=group_of):
        for file in files_again:
            log.info(f"{file.name} is read again: files that claim to be older came or went")
            yield from _file_pages(settings, file, interrupted, position)
        position = {**position, "known": {**position["known"], group: now[group]}}
        yield Page(settings.table, (), position)
    position = {**position, "upto": list(before[-1].place) if before else [0, ""], "known": now}
    for file in files[len(before) :]:
        yield from _file_pages(settings, file, interrupted, position)
        if settings.primary_key:
            interrupted = None  # its first records came before this file's: they have to be sent once more
        position = {**position, "upto": list(file.place), "known": with_file(position["known"], file)}
        yield Page(settings.table, (), position)


def _suspects(before: list[ListedFile], known: Checksums) -> list[ListedFile]:
    """The files of every group that is not as it was delivered."""
    now = checksums(before)
    return [file for file in before if known.get(group_of(file)) != now[group_of(file)]]


def _file_pages(
    settings: Settings, file: ListedFile, interrupted: dict[str, Any] | None, position: Position
) -> Iterator[Page]:
    """One file's records, from where it was interrupted if it is the file that was, and unchanged."""
    identity = {"name": file.name, "size": file.size, "changed": file.changed}
    with CsvFile(file.path, file.name, settings.separator) as csv_file:
        missing = [name for name in settings.key if name not in (*csv_file.columns, FILE, LINE)]
        if missing and csv_file.columns:
            raise SourceError(
                f"the setting primary_key names {', '.join(map(repr, missing))}, which {file.name} does not have: "
                f"its columns are {', '.join(csv_file.columns)}"
            )
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
