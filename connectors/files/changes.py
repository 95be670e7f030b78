"""What of a table's files has to be read, and from where: the position in the state beside the files there are now.

The position of a table, of constant size whatever the number of files:

    {"settings": "a1b2…",                     what must be unchanged for the rest to hold
     "upto": [1767225600000000000, "b.csv"],  every file up to this one in the order is delivered,
     "known": "AAEC…",                        and this is the set of them (inventory.py)
     "types": {"amount": "LONG"},             what was inferred, if that is asked for: fixed from then on
     "tails": [{"id": 17…, "name": "b.csv", "size": 900, "reader": "b.csv", "at": {…}}],
                                              where the files ended that were delivered last: they may be appended to
     "open": {…}}                             the same of the file that is being read: how far it is delivered
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from batches import Place, Target
from catalogue import Catalogue
from columns import written
from content import File
from inventory import Inventory, id_of
from service_spec import Settings, TableSpec
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Position

# Files that may be appended to, of which it is known where they ended.
MOST_TAILS = 100

IsSame = Callable[[File, Place], bool]
Mark = dict[str, Any]  # one of "tails", or "open"


@dataclass(frozen=True)
class Plan:
    """The files to read, in order; and whether all rows are marked as deleted first."""

    files: Callable[[], Iterator[File]]
    count: int
    truncate: bool = False


class Progress:
    """The position of one table while its files are read.

    Raises SourceError for a saved position that is damaged, or of types that are no longer inferred so.
    """

    def __init__(self, settings: Settings, spec: TableSpec, target: Target, checkpoints: Checkpoints) -> None:
        self._settings, self._spec = settings, spec
        self._start: Position = {"settings": fingerprint(settings, spec), "upto": [0, ""], "known": "", "tails": []}
        position = checkpoints.position(spec.name, needs=("settings", "upto", "known")) or self._start
        if position["settings"] != self._start["settings"]:
            op.warning(f"{spec.name}: the settings have changed, so all files are read again")
            position = self._start
        self._open: Mark | None = position.pop("open", None)
        self._position = position
        if settings.infer_types:
            self._position["types"] = self._fixed_types(target)
        try:
            self._known = Inventory(position["known"])
        except (ValueError, TypeError):
            raise SourceError(f"the saved state of {spec.name} is damaged: reset the connection") from None

    @property
    def position(self) -> Position:
        """What the state holds between two files."""
        return {**self._position, "known": self._known.text()}

    def within(self, file: File, reader: str, place: Place) -> Position:
        """What the state holds inside a file, once everything up to the place is delivered."""
        return {**self.position, "open": _mark(file, reader, place)}

    def done(self, file: File, place: Place | None) -> Position:
        """What the state holds when all of a file is delivered, whose last record ended at the place, if it has one."""
        if file.has_version:  # any other is read by every sync
            self._known.add(id_of(file))
        tails = [] if self._spec.primary_key else [tail for tail in self._tails if tail["name"] != file.name]
        if place and place.get("crc") is not None:
            tails.append(_mark(file, file.name, place))
        if self._spec.primary_key:
            self._open = None  # its first records came before this file's: they have to be sent once more
        upto = max(self._upto, file.place)
        self._position = {**self._position, "upto": list(upto), "tails": tails[-MOST_TAILS:]}
        return self.position

    def plan(self, catalogue: Catalogue, is_same: IsSame, can_read: Callable[[File], bool]) -> Plan:
        """What there is to read.

        is_same   whether a file still begins with all that was delivered up to a place
        can_read  whether a file can be opened as what it should be
        """
        change = self._known.difference(Inventory.of(catalogue.up_to(self._upto)))
        if change is None:
            op.warning(f"{self._spec.name}: so many files were changed or removed that all are read again")
            return self._all(catalogue, truncate=False)
        gone = change.gone - self._appended(catalogue, is_same) if self._settings.delete_removed else ()
        if gone and len(catalogue):
            log.info(f"{self._spec.name}: {len(gone):,} files were removed or replaced, so all are read again")
            return self._all(catalogue, truncate=True)
        for file_id in change.gone:
            self._known.remove(file_id)
        late = [file for file in catalogue.up_to(self._upto) if id_of(file) in change.late] if change.late else []
        if self._spec.primary_key and (first := next(filter(can_read, late), None)):
            # Which of two records with one key is delivered last must not change: everything behind is read again too.
            log.info(f"{first.name} came late, so it and all files behind it are read again")
            return self._from(first, catalogue)
        upto = self._upto

        def files() -> Iterator[File]:
            yield from late
            yield from catalogue.after(upto)

        return Plan(files, len(late) + catalogue.count_after(upto))

    def start_of(self, file: File, is_same: IsSame) -> tuple[str, Place] | None:
        """The reader and the place in a file up to which everything is delivered; None for its start.

        That is where it was interrupted, if it is still the same version; or where it ended, if it was appended to.
        """
        marks = [mark for mark in (self._open, *self._tails) if mark and mark["name"] == file.name]
        for mark in marks:
            is_same_version = file.has_version and mark["id"] == id_of(file)
            if is_same_version or (_may_be_appended(mark, file) and is_same(file, mark["at"])):
                return mark["reader"], mark["at"]
        return None

    @property
    def _upto(self) -> tuple[int, str]:
        changed, name = self._position["upto"]
        return changed, name

    @property
    def _tails(self) -> list[Mark]:
        tails: list[Mark] = self._position.get("tails", [])
        return tails

    def _all(self, catalogue: Catalogue, truncate: bool) -> Plan:
        kept = {"types": self._position["types"]} if "types" in self._position else {}
        self._position, self._known, self._open = {**self._start, **kept}, Inventory(), None
        return Plan(lambda: catalogue.after((0, "")), len(catalogue), truncate)

    def _from(self, first: File, catalogue: Catalogue) -> Plan:
        """Everything from a file on."""
        self._known, before = Inventory(), (0, "")
        for file in catalogue.up_to(first.place):
            if file != first:
                self._known.add(id_of(file))
                before = file.place
        self._position = {**self._position, "upto": list(before), "tails": []}
        return Plan(lambda: catalogue.after(before), catalogue.count_after(before))

    def _appended(self, catalogue: Catalogue, is_same: IsSame) -> set[int]:
        """The ids of the versions that were delivered of files that were appended to since."""
        tails = {tail["name"]: tail for tail in (*self._tails, *([self._open] if self._open else []))}
        now = catalogue.named(tails)
        return {
            tails[file.name]["id"]
            for file in now
            if _may_be_appended(tails[file.name], file) and is_same(file, tails[file.name]["at"])
        }

    def _fixed_types(self, target: Target) -> dict[str, str]:
        """The types of the first sync; raises SourceError if others are inferred now."""
        fixed: dict[str, str] = self._position.get("types", {})
        now = {name: written(type_) for name, type_ in target.columns.items()}
        changed = [name for name in fixed.keys() & now if fixed[name] != now[name]]
        if changed:
            words = ", ".join(f"{name} was {fixed[name]} and is {now[name]}" for name in sorted(changed))
            raise SourceError(
                f"{self._spec.name}: the first file, whose types are inferred, is another than at first: "
                f"{words}. Put the first types into the setting columns, or reset the connection"
            )
        return {**now, **fixed}


def fingerprint(settings: Settings, spec: TableSpec) -> str:
    """Of the settings that decide which records there are, what they hold and how each is keyed."""
    deciding = (
        spec, settings.location, settings.format, settings.infer_types, settings.delimiter, settings.quote,
        settings.escape, settings.encoding, settings.header, settings.skip_lines, settings.comment,
        settings.null_text, settings.record_path, settings.sheet, settings.zip_members,
    )  # fmt: skip
    return hashlib.blake2b(repr(deciding).encode(), digest_size=8).hexdigest()


def _mark(file: File, reader: str, place: Place) -> Mark:
    return {"id": id_of(file), "name": file.name, "size": file.size, "reader": reader, "at": place}


def _may_be_appended(mark: Mark, file: File) -> bool:
    return file.size >= mark["size"] >= 0 and mark["reader"] == file.name and mark["at"].get("crc") is not None
