"""The set of files that are delivered, in a state of constant size, and how another set differs from it.

Files are read in the order in which they came, so one place in that order nearly says what is delivered: all up to it.
But a file may come late (a folder moved here with older files in it, an upload that took hours), and others are removed
or replaced. So the files up to the place are also added to an invertible Bloom lookup table (Goodrich and Mitzenmacher,
2011): three cells for each file, and in every cell the number of its files, the XOR of their ids and the XOR of their
checksums. Of two tables subtracted from one another, files that both have vanish, and the rest can be taken out one by
one, starting with cells that are left with a single file: about `MOST_CHANGES` of them, among any number of files.
"""

import base64
import hashlib
import struct
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import starmap

from content import File

_ROWS = 3  # cells of each file, in as many parts of the table
_ROW_CELLS = 341
_CELLS = _ROWS * _ROW_CELLS
# Above this share of the cells, taking out begins to fail by chance.
MOST_CHANGES = 750
_MASK = 0xFFFF
_CELL = struct.Struct("<HHHQ")  # a cell in the text: its number, count, check and id
_SPREADER = 0x9E3779B97F4A7C15  # an odd number without a pattern: products with it are not linear in XOR


@dataclass(frozen=True)
class Difference:
    """Ids of the files that are only in the one inventory, and only in the other."""

    gone: frozenset[int]
    late: frozenset[int]


class Inventory:
    """A set of files. `text` is what `text()` of an earlier one gave; raises ValueError for anything else."""

    def __init__(self, text: str = "") -> None:
        self._counts, self._checks = array("H", bytes(2 * _CELLS)), array("H", bytes(2 * _CELLS))
        self._ids = array("Q", bytes(8 * _CELLS))
        self._text: str | None = text
        data = base64.b64decode(text, validate=True)
        if len(data) % _CELL.size or len(data) > _CELL.size * _CELLS:
            raise ValueError("is no inventory")
        for cell, count, check, file_id in _CELL.iter_unpack(data):
            if cell >= _CELLS:
                raise ValueError("is no inventory")
            self._counts[cell], self._checks[cell], self._ids[cell] = count, check, file_id

    @classmethod
    def of(cls, files: Iterable[File]) -> "Inventory":
        """The inventory of these files."""
        inventory = cls()
        for file in files:
            inventory.add(id_of(file))
        return inventory

    def text(self) -> str:
        """The inventory as text: 20 characters for each cell that is used, 19 kB when all are."""
        if self._text is None:
            cells = zip(range(_CELLS), self._counts, self._checks, self._ids, strict=True)
            used = (cell for cell in cells if cell[1] or cell[3])
            self._text = base64.b64encode(b"".join(starmap(_CELL.pack, used))).decode()
        return self._text

    def add(self, file_id: int) -> None:
        """Adds a file that is not in it."""
        self._toggle(file_id, 1)

    def remove(self, file_id: int) -> None:
        """Removes a file that is in it."""
        self._toggle(file_id, -1)

    def difference(self, now: "Inventory") -> Difference | None:
        """Which files this one has and `now` has not, and the other way round; None if there are too many of them."""
        rest = Inventory()
        for cell in range(_CELLS):
            rest._counts[cell] = (self._counts[cell] - now._counts[cell]) & _MASK
            rest._checks[cell] = self._checks[cell] ^ now._checks[cell]
            rest._ids[cell] = self._ids[cell] ^ now._ids[cell]
        return rest._taken_out()

    def _taken_out(self) -> Difference | None:
        """The files of a subtracted inventory, which is empty afterwards; None if they cannot be told apart."""
        found: dict[int, set[int]] = {1: set(), _MASK: set()}  # by count: here only, and there only (minus one)
        cells = list(range(_CELLS))
        while cells:
            cell = cells.pop()
            count, file_id = self._counts[cell], self._ids[cell]
            if count not in found or _check(file_id) != self._checks[cell] or cell not in _cells(file_id):
                continue
            if file_id in found[count]:
                return None  # a cell that looks like one file by chance, or a text that was edited
            found[count].add(file_id)
            self._toggle(file_id, -count)
            cells.extend(_cells(file_id))
        is_empty = not (any(self._counts) or any(self._ids))
        return Difference(frozenset(found[1]), frozenset(found[_MASK])) if is_empty else None

    def _toggle(self, file_id: int, count: int) -> None:
        check = _check(file_id)
        self._text = None
        for cell in _cells(file_id):
            self._counts[cell] = (self._counts[cell] + count) & _MASK
            self._checks[cell] ^= check
            self._ids[cell] ^= file_id


def id_of(file: File) -> int:
    """64 bits that tell this version of the file from any other file and version."""
    text = f"{file.changed} {file.size} {file.version} {file.name}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _cells(file_id: int) -> tuple[int, int, int]:
    """A cell in each of the three parts."""
    first, second, third = file_id & 0xFFFFF, file_id >> 20 & 0xFFFFF, file_id >> 40 & 0xFFFFF
    return first % _ROW_CELLS, _ROW_CELLS + second % _ROW_CELLS, 2 * _ROW_CELLS + third % _ROW_CELLS


def _check(file_id: int) -> int:
    return (file_id * _SPREADER >> 48) & _MASK
