"""The files of one table, in the order in which they are read: on disk, so that their number takes no memory."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Self

from content import File


class Catalogue:
    """Files by (changed, name), in a temporary database of SQLite; use it in a `with` block."""

    def __init__(self, files: Iterable[File]) -> None:
        # A database without a name is a temporary file, of which at most 2 MB are in memory.
        self._database = sqlite3.connect("")
        self._database.execute(
            "CREATE TABLE file (name TEXT, size INTEGER, changed INTEGER, modified INTEGER, version TEXT, "
            "PRIMARY KEY (changed, name)) WITHOUT ROWID"
        )
        rows = ((file.name, file.size, file.changed, file.modified, file.version) for file in files)
        self._database.executemany("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?, ?)", rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Deletes it."""
        self._database.close()

    def __len__(self) -> int:
        (count,) = self._database.execute("SELECT count(*) FROM file").fetchone()
        return int(count)

    def up_to(self, place: tuple[int, str]) -> Iterator[File]:
        """The files up to a place, that place included."""
        return self._files("SELECT * FROM file WHERE (changed, name) <= (?, ?) ORDER BY changed, name", *place)

    def after(self, place: tuple[int, str]) -> Iterator[File]:
        """The files behind a place."""
        return self._files("SELECT * FROM file WHERE (changed, name) > (?, ?) ORDER BY changed, name", *place)

    def count_after(self, place: tuple[int, str]) -> int:
        """How many files are behind a place."""
        query = "SELECT count(*) FROM file WHERE (changed, name) > (?, ?)"
        (count,) = self._database.execute(query, place).fetchone()
        return int(count)

    def named(self, names: Iterable[str]) -> list[File]:
        """The files that have one of these names: at most some hundred."""
        query = "SELECT * FROM file WHERE name IN (SELECT value FROM json_each(?))"
        return list(self._files(query, json.dumps(list(names))))

    def first(self) -> File | None:
        """The first of all."""
        return next(self._files("SELECT * FROM file ORDER BY changed, name LIMIT 1"), None)

    def sample(self, newest: int, evenly: int) -> list[File]:
        """So many of the newest files, and of all others so many at even distances, the oldest included."""
        found = list(self._files("SELECT * FROM file ORDER BY changed DESC, name DESC LIMIT ?", newest))
        older = len(self) - len(found)
        step = max(1, -(-older // evenly))
        found += self._files(
            "SELECT * FROM file WHERE (changed, name) IN (SELECT changed, name FROM (SELECT changed, name, "
            "row_number() OVER (ORDER BY changed, name) - 1 AS position FROM file) "
            "WHERE position < ? AND position % ? = 0)",
            older,
            step,
        )
        return found

    def drop(self, names: Iterable[str]) -> int:
        """Leaves files out; returns how many they were."""
        query = "DELETE FROM file WHERE name IN (SELECT value FROM json_each(?))"
        return self._database.execute(query, (json.dumps(list(names)),)).rowcount

    def youngest(self) -> int:
        """When the last of the files came, in nanoseconds since 1970; 0 if there are none."""
        (changed,) = self._database.execute("SELECT max(changed) FROM file").fetchone()
        return changed or 0

    def _files(self, query: str, *values: object) -> Iterator[File]:
        for row in self._database.execute(query, values):
            yield File(*row)
