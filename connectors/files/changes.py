"""What of a table's files has to be read, and from where: the position in the state beside the files there are now.

The position of a table, of constant size whatever the number of files:

    {"settings": "a1b2…",                     what must be unchanged for the rest to hold
     "upto": [1767225600000000000, "b.csv"],  every file up to this one in the order is delivered,
     "known": "AAEC…",                        and this is the set of them (inventory.py)
     "types": {"amount": "LONG"},             what was inferred, if that is asked for: fixed from then on
     "marks": [{"name": "b.csv", "id": 17…, "size": 900, "reader": "b.csv", "at": {…}, "known": 17…, "done": true}]}

A mark says how far one version of a file is delivered: of one that is being read, or could not be read to its end; and
of those that were delivered last, which may be appended to. "known" is the version of the file that the set holds.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from batches import Place, Target
from catalogue import Catalogue
from columns import written
from content import File
from inventory import Difference, Inventory, id_of
from service_spec import Settings, TableSpec
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.pages import Position

# Files of which it is kept how far they are delivered.
MOST_MARKS = 100

_LATEST = 2**63 - 1  # that a place in the order may be

IsSame = Callable[[File, Place], bool]
Mark = dict[str, Any]


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
        self._start: Position = {"settings": fingerprint(settings, spec), "upto": [0, ""], "known": "", "marks": []}
        self._start["deletes"] = settings.delete_removed
        position = checkpoints.position(spec.name, needs=("settings", "upto", "known")) or self._start
        if position["settings"] != self._start["settings"]:
            op.warning(f"{spec.name}: the settings have changed, so all files are read again")
            position = self._start
        self._position = position
        # Whether all rows that older syncs delivered are in the files, or were deleted since.
        self._deletes = settings.delete_removed and bool(position.get("deletes"))
        if settings.infer_types:
            self._position["types"] = self._fixed_types(target)
        try:
            self._known = Inventory(position["known"])
            self._marks: dict[str, Mark] = {mark["name"]: mark for mark in position["marks"] if _is_mark(mark)}
            self._upto: tuple[int, str] = (min(int(position["upto"][0]), _LATEST), str(position["upto"][1]))
        except (ValueError, TypeError, LookupError, OverflowError):
            raise SourceError(f"the saved state of {spec.name} is damaged: reset the connection") from None

    @property
    def position(self) -> Position:
        """What the state holds now."""
        marks = list(self._marks.values())
        moved = {"upto": list(self._upto), "known": self._known.text(), "marks": marks}
        return {**self._position, **moved, "deletes": self._deletes}

    def is_begun(self, file: File) -> bool:
        """Whether some of this version of a file is delivered, but not all."""
        mark = self._marks.get(file.name)
        return bool(mark and mark["id"] == id_of(file) and mark["at"] is not None and not mark["done"])

    def within(self, file: File, reader: str, place: Place) -> Position:
        """Everything in a file up to a place is delivered; what the state holds then."""
        self._set_mark(file, reader, place, done=False)
        return self.position

    def begin(self, file: File) -> Position:
        """A file is read from its start, whatever of it, or of a version before it, is delivered; what the state holds.

        Its records overwrite those of the version before: that one is no longer what is delivered.
        """
        self._set_mark(file, "", None, done=False)
        return self.position

    def done(self, file: File, place: Place | None) -> Position:
        """All of a file is delivered; what the state holds then. The place, if there is one, is its end."""
        before = self._marks.pop(file.name, None)
        if before and before["known"] is not None:
            self._known.remove(before["known"])
        if file.has_version:  # any other is read by every sync
            self._known.add(id_of(file))
        if self._spec.primary_key:
            self._forget_places()
        if place and place.get("crc") is not None:
            self._set_mark(file, file.name, place, done=True)
        self._upto = max(self._upto, file.place)
        return self.position

    def plan(self, catalogue: Catalogue, is_same: IsSame, can_read: Callable[[File], bool], complete: bool) -> Plan:
        """What there is to read.

        is_same   whether a file still begins with all that was delivered up to a place
        can_read  whether a file can be opened as what it should be
        complete  whether the catalogue holds all files there are: only then one that it lacks was removed
        """
        if not len(catalogue):
            return Plan(lambda: iter(()), 0)  # a disk may not be there: nothing of what is known is forgotten
        change = self._known.difference(Inventory.of(catalogue.up_to(self._upto)))
        if change is None:
            op.warning(f"{self._spec.name}: so many files were changed or removed that all are read again")
            return self._all(catalogue, truncate=self._settings.delete_removed and complete)
        if not self._settings.delete_removed:
            self._tell_of_rows_left(change, catalogue)
            self._forget(change.gone)
        elif complete and not self._deletes:
            log.info(f"{self._spec.name}: delete_removed is set now, so all files are read again")
            return self._all(catalogue, truncate=True)
        elif complete and self._is_any_gone(change, catalogue, is_same):
            log.info(f"{self._spec.name}: files were removed or replaced, so all are read again")
            return self._all(catalogue, truncate=True)
        late = [file for file in catalogue.up_to(self._upto) if id_of(file) in change.late] if change.late else []
        if self._spec.primary_key and (first := next(filter(can_read, late), None)):
            # Which of two records with one key is delivered last must not change: everything behind is read again too.
            log.info(f"{first.name} came late, so it and all files behind it are read again")
            return self._from(first, catalogue, change)
        upto = self._upto

        def files() -> Iterator[File]:
            yield from late
            yield from catalogue.after(upto)

        return Plan(files, len(late) + catalogue.count_after(upto))

    def start_of(self, file: File, is_same: IsSame) -> tuple[str, Place] | None:
        """The reader and the place in a file up to which everything is delivered; None for its start.

        That is where it was interrupted, if it is still the same version; or where it ended, if it was appended to.
        """
        mark = self._marks.get(file.name)
        if mark and mark["at"] is not None and _continues(mark, file, is_same):
            return mark["reader"], mark["at"]
        return None

    def _set_mark(self, file: File, reader: str, place: Place | None, done: bool) -> None:
        """Marks a file, as the newest of all marks. The oldest go, those of files that are delivered first."""
        before = self._marks.pop(file.name, None)
        file_id = id_of(file)
        known = file_id if done and file.has_version else before and before["known"]
        self._marks[file.name] = {
            "name": file.name, "id": file_id, "size": file.size, "reader": reader, "at": place, "known": known,
            "done": done,
        }  # fmt: skip
        if len(self._marks) > MOST_MARKS:
            del self._marks[next((name for name, mark in self._marks.items() if mark["done"]), next(iter(self._marks)))]

    def _forget_places(self) -> None:
        """Has every file be read from its start: records of another that have the same keys came in between."""
        self._marks = {name: {**mark, "at": None} for name, mark in self._marks.items() if not mark["done"]}

    def _forget(self, gone: Collection[int]) -> None:
        """Takes versions that are no longer there out of the set."""
        for file_id in gone:
            self._known.remove(file_id)
        for name, mark in self._marks.items():
            if mark["known"] in gone:
                self._marks[name] = {**mark, "known": None}

    def _tell_of_rows_left(self, change: Difference, catalogue: Catalogue) -> None:
        grown = {
            self._marks[file.name]["known"]
            for file in catalogue.named(self._marks)
            if _has_grown(self._marks[file.name], file)
        }
        if gone := len(change.gone - grown):
            log.warning(
                f"{self._spec.name}: files that were removed or replaced: {gone:,}. Rows of theirs that are in no file "
                "now stay in the table; set delete_removed to have them deleted"
            )

    def _is_any_gone(self, change: Difference, catalogue: Catalogue, is_same: IsSame) -> bool:
        """Whether rows were delivered of files, or of parts of files, that are no longer there."""
        now = {file.name: file for file in catalogue.named(self._marks)}
        kept = [mark for name, mark in self._marks.items() if name in now and _continues(mark, now[name], is_same)]
        lost = [mark for mark in self._marks.values() if not mark["done"] and mark not in kept]
        return bool(lost or change.gone - {mark["known"] for mark in kept})

    def _all(self, catalogue: Catalogue, truncate: bool) -> Plan:
        kept = {"types": self._position["types"]} if "types" in self._position else {}
        self._position, self._known, self._marks, self._upto = {**self._start, **kept}, Inventory(), {}, (0, "")
        self._deletes = truncate
        return Plan(lambda: catalogue.after((0, "")), len(catalogue), truncate)

    def _from(self, first: File, catalogue: Catalogue, change: Difference) -> Plan:
        """Everything from a file on."""
        self._known, before = Inventory(), (0, "")
        for file in catalogue.up_to(first.place):
            if id_of(file) not in change.late:
                self._known.add(id_of(file))
                before = file.place
        self._upto = before
        self._forget_places()
        self._marks = {name: {**mark, "known": None} for name, mark in self._marks.items()}
        return Plan(lambda: catalogue.after(before), catalogue.count_after(before))

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


def _is_mark(mark: Mark) -> bool:
    """Whether a saved mark can be used; raises TypeError or LookupError for what is none at all."""
    kinds = {"name": str, "id": int, "size": int, "reader": str, "at": dict | None, "known": int | None, "done": bool}
    return all(isinstance(mark[name], kind) for name, kind in kinds.items())


def _continues(mark: Mark, file: File, is_same: IsSame) -> bool:
    """Whether a file is still the version that is marked, or that one with more behind."""
    if file.has_version and mark["id"] == id_of(file):
        return True
    return _has_grown(mark, file) and is_same(file, mark["at"])


def _has_grown(mark: Mark, file: File) -> bool:
    """Whether a file may be the version that is marked with more behind."""
    can_grow = mark["at"] is not None and mark["at"].get("crc") is not None and mark["reader"] == file.name
    return bool(can_grow and file.size >= mark["size"] >= 0)
