"""The files of all tables as pages: oldest first, file after file, each resumed where it was interrupted."""

import json
import sys
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

from fivetran_connector_sdk import FileUpload
from fivetran_connector_sdk import Logging as log
from fivetran_connector_sdk import Operations as op

from bad_rows import BadRows
from batches import BadRow, Place, Reader, Target
from catalogue import Catalogue
from changes import Progress
from columns import declared_tables, written
from content import ByteStream, Content, File, FileChanged, FileProblem, Loaded, Unavailable
from opening import begins_with, can_grow, parts, readers
from places import Place as Source
from places import open_place
from service_spec import FILE, LINE, MODIFIED, SIZE, Settings, TableSpec
from shared.checkpoints import Checkpoints
from shared.errors import SourceError
from shared.fan_out import FanOut
from shared.metrics import Metrics
from shared.pages import Page, Record
from shared.values import UNDECLARED
from text_values import modified_text

# A local file younger than this is left for later: it may not be written to its end.
SETTLING_SECONDS = 2.0
Warn = Callable[[str], None]

_MOST_YOUNG = 10_000
_SHOWN_CHARACTERS = 10_000  # of a bad row
_SHOWN = 5  # files that are named in an error
# Smaller files are fetched whole, several at a time, before it is their turn.
SMALL_BYTES = 1_048_576
# Larger ones are named in the log.
LARGE_BYTES = 100_000_000


def read_pages(settings: Settings, checkpoints: Checkpoints) -> Generator[Page, None, None]:
    """The records of every file that came or changed since the last sync, table after table.

    Files that cannot be read do not hide the others: they are told at the end, in a SourceError.
    """
    targets = declared_tables(settings)
    problems: list[FileProblem] = []
    bad_rows = BadRows(settings)
    with open_place(settings, op.warning) as place:
        for spec in settings.table_specs:
            table = _Table(settings, spec, targets[spec.name], place, bad_rows, problems)
            yield from table.pages(checkpoints)
    if problems:
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        told = "; ".join(map(str, problems[:_SHOWN]))
        raise SourceError(f"files that could not be read: {len(problems):,}, the others are delivered. {told}{more}")


def try_first_pages(settings: Settings) -> None:
    """Reads the start of every table and delivers nothing; raises ConnectorError for what is wrong there."""
    targets = declared_tables(settings)
    problems: list[FileProblem] = []
    with open_place(settings) as place:
        for spec in settings.table_specs:
            bad_rows = BadRows(settings, log.warning)
            table = _Table(settings, spec, targets[spec.name], place, bad_rows, problems, log.warning)
            # Two that hold no records, the first records, and whether any of those are bad.
            for page in islice(table.pages(Checkpoints({})), 4):
                for _ in page.records:
                    pass
    if problems:
        raise problems[0]


@dataclass
class _Table:
    """One table of a sync."""

    settings: Settings
    spec: TableSpec
    target: Target
    source: Source
    bad_rows: BadRows
    problems: list[FileProblem]
    warn: Warn = op.warning
    told: set[str] = field(default_factory=set)
    unsettled: int = 0
    is_begun: bool = False

    def pages(self, checkpoints: Checkpoints) -> Iterator[Page]:
        progress = Progress(self.settings, self.spec, self.target, checkpoints)
        with self._listed() as catalogue:
            plan = progress.plan(catalogue, self._is_same, self._can_read, complete=not self.unsettled)
            log.info(f"{self.spec.name}: files to be read: {plan.count:,} of {len(catalogue):,}")
            self._tell_of_unused()
            yield Page(self.spec.name, (), progress.position, truncate=plan.truncate)
            for file, fetched in self._fetched(plan.files()):
                try:
                    yield from self._file_pages(fetched(), progress)
                except FileChanged as change:
                    tell = log.info if file.changed > self._settled() else self.warn
                    tell(str(change))
                except FileProblem as problem:
                    if not (yield from self._unreadable(file, problem, progress)):
                        return

    def _unreadable(self, file: File, problem: FileProblem, progress: Progress) -> Generator[Page, None, bool]:
        """What becomes of a file that cannot be read; returns whether the files behind it can be delivered."""
        if self.settings.on_bad_row == "keep" and not isinstance(problem, Unavailable):
            row = BadRow(0, "", str(problem))
            yield self.bad_rows.page(self.spec, file.name, [row], progress.done(file, None))
            return True
        if self.spec.primary_key and progress.is_begun(file):
            # Were it read to its end later, its records would overwrite those of the files behind it.
            self.problems.append(FileProblem(f"{problem} (files of {self.spec.name} that came later wait for it)"))
            return False
        self.problems.append(problem)
        return True

    # Which files there are

    def _listed(self) -> Catalogue:
        """The files to read now. Waits once, briefly, for local ones just written."""
        catalogue = self._catalogue()
        if not self.settings.is_local:
            return catalogue
        wait = catalogue.youngest() / 1e9 + SETTLING_SECONDS - time.time()
        if 0 < wait <= SETTLING_SECONDS:
            catalogue.close()
            time.sleep(wait)
            catalogue = self._catalogue()
        young = list(islice(catalogue.after((self._settled(), "")), _MOST_YOUNG))
        self.unsettled = catalogue.drop(file.name for file in young if not can_grow(file.name, self.settings))
        if self.unsettled:
            log.info(f"{self.spec.name}: files written just now, which the next sync reads: {self.unsettled:,}")
        return catalogue

    def _settled(self) -> int:
        """Local files that changed later may still be written to."""
        return int((time.time() - SETTLING_SECONDS) * 1e9) if self.settings.is_local else sys.maxsize

    def _catalogue(self) -> Catalogue:
        catalogue = Catalogue(self.source.files(self.spec.patterns))
        if not len(catalogue) and "nothing" not in self.told:
            self.told.add("nothing")
            where, patterns = self.source.describe(), ", ".join(self.spec.patterns)
            self.warn(f"no file in {where} matches {patterns}: nothing to sync for {self.spec.name}; is tables right?")
        return catalogue

    def _fetched(self, files: Iterable[File]) -> Iterator[tuple[File, Callable[[], Content]]]:
        """Each file with its content: small ones are fetched ahead, so that none is waited for alone."""
        with FanOut(1 if self.settings.is_local else self.settings.files_at_once, Metrics()) as fan_out:
            yield from fan_out.in_order(files, self._fetch)

    def _fetch(self, file: File) -> Content:
        content = self.source.content(file)
        if not 0 <= file.size <= SMALL_BYTES:
            return content
        data = b"".join(content.chunks())
        if len(data) != file.size:
            raise FileChanged(f"{file.name} has {len(data):,} bytes, where {file.size:,} were listed")
        return Loaded(file, data)

    def _is_same(self, file: File, place: Place) -> bool:
        try:
            return begins_with(self.source.content(file), self.settings, place)
        except FileProblem:
            return False  # it is told when the file is read

    def _can_read(self, file: File) -> bool:
        try:
            return next(iter(readers(self.source.content(file), self.settings)), None) is not None
        except FileProblem:
            return False

    # One file

    def _file_pages(self, content: Content, progress: Progress) -> Iterator[Page]:
        file = content.file
        if file.size >= LARGE_BYTES:
            log.info(f"{self.spec.name}: reading {file.name}, {file.size / 1e6:,.0f} MB")
        if self.spec.is_raw:
            yield self._upload(content, progress)
            return
        start = progress.start_of(file, self._is_same)
        name, end = start or ("", None)
        self.is_begun = start is not None
        problems: list[FileProblem] = []
        reader_name = ""
        for open_reader in parts(content, self.settings):
            try:
                reader = open_reader()
                if name and reader.name != name:
                    continue  # a member of an archive, all of which is delivered
                place, name, reader_name = end if name else None, "", reader.name
                self._tell_of_columns(reader)
                end = yield from self._batch_pages(file, reader, place, progress)
            except (FileChanged, Unavailable):
                raise
            except FileProblem as problem:  # of one member: the others may be all right
                problems.append(problem)
        if problems and reader_name != file.name:
            yield Page(self.spec.name, (), progress.begin(file))
        if problems:
            more = f" (and {len(problems) - 1:,} more members)" if len(problems) > 1 else ""
            raise FileProblem(f"{problems[0]}{more}")
        yield Page(self.spec.name, (), progress.done(file, end if reader_name == file.name else None))

    def _batch_pages(
        self, file: File, reader: Reader, place: Place | None, progress: Progress
    ) -> Generator[Page, None, Place | None]:
        """The records of one reader from a place on; returns the place at which they end."""
        for batch in reader.batches(self.target, place):
            if batch.place.get("unterminated") and file.changed > self._settled():
                raise FileChanged(f"{file.name} is being written: the next sync goes on with its last line")
            if not self.is_begun:
                self.is_begun = True
                yield Page(self.spec.name, (), progress.begin(file))
            records = self._good(batch.records, batch.bad)
            # The state does not move past these records before it is known that none of them is bad.
            yield Page(self.spec.name, records, size=batch.size, primary_key=self.spec.key)
            self._tell_of_undeclared(reader, batch.undeclared)
            place = batch.place
            position = progress.within(file, reader.name, place)
            if batch.bad:
                yield self.bad_rows.page(self.spec, reader.name, batch.bad, position)
            else:
                yield Page(self.spec.name, (), position)
        return place

    def _upload(self, content: Content, progress: Progress) -> Page:
        """A file as it is: its bytes go beside the row that names it."""
        file, chunks = content.file, content.chunks()
        first = next(chunks, b"")  # a file that cannot be had is found here, where it does not hide the others
        record: Record = {FILE: file.name, SIZE: file.size, MODIFIED: modified_text(file)}
        size = file.size if file.size >= 0 else None
        upload = FileUpload(path=file.name, stream=ByteStream(chain((first,), chunks)), expected_bytes=size)
        return Page(
            self.spec.name, [record], progress.done(file, None), primary_key=self.spec.key, size=size or 0, file=upload
        )

    def _good(self, records: Iterable[Record], bad: list[BadRow]) -> Iterable[Record]:
        """The records that may be delivered.

        None without a value in a key column: they would all become one. And none behind a row that stops the sync: the
        file may be corrected by removing it, and those behind it would be there twice.
        """
        if self.spec.primary_key:
            records = _with_key(records, self.spec.primary_key, bad)
        may_stop = self.settings.on_bad_row == "stop" and (bad or self.spec.primary_key)
        return _before_bad(records, bad) if may_stop else records

    def _tell_of_columns(self, reader: Reader) -> None:
        """Raises SourceError for a file without a key column; warns of columns that the table has not, or otherwise."""
        missing = [name for name in self.spec.primary_key if name not in reader.columns]
        if missing and reader.columns:
            raise SourceError(
                f"the setting primary_keys names {', '.join(map(repr, missing))} for {self.spec.name}, which "
                f"{reader.name} does not have: its columns are {', '.join(reader.columns)}"
            )
        for name, type_ in reader.columns.items():
            wanted = self.target.columns.get(name)
            if wanted == type_ or name in self.told or (wanted and type_ == "STRING"):
                continue
            self.told.add(name)
            if wanted is None:
                self._tell_of_undeclared(reader, [name])
            elif name not in self.spec.types:
                self.warn(
                    f"{reader.name}: the column {name!r} is {written(type_)}, and {written(wanted)} in "
                    f"{self.spec.name}: its values are delivered as that"
                )

    def _tell_of_unused(self) -> None:
        """Warns of columns that are declared and no file has: their names may be wrong."""
        if self.target.unused:
            self.warn(
                f"the setting columns declares {', '.join(self.target.unused)} for {self.spec.name}, which no file has "
                f"that was looked at: the columns are {', '.join(self.target.columns)}"
            )

    def _tell_of_undeclared(self, reader: Reader, names: Collection[str]) -> None:
        """Warns once of fields that arrive, but not in a column of their own."""
        if names and UNDECLARED not in self.told:
            self.told.add(UNDECLARED)
            some = ", ".join(repr(name)[:100] for name in islice(names, 10))
            self.warn(
                f"{reader.name} has fields that {self.spec.name} had no column for when this sync began, such as "
                f"{some}: their values are in {UNDECLARED}. Name them in the setting columns, and they get columns"
            )


def _before_bad(records: Iterable[Record], bad: list[BadRow]) -> Iterator[Record]:
    """The records before the first bad row, which may be found on the way."""
    known, first = len(bad), min((row.line for row in bad), default=sys.maxsize)
    for record in records:
        if len(bad) > known or record[LINE] > first:
            return
        yield record


def _with_key(records: Iterable[Record], key: tuple[str, ...], bad: list[BadRow]) -> Iterator[Record]:
    for record in records:
        missing = [name for name in key if record.get(name) is None]
        if missing:
            raw = json.dumps(record, ensure_ascii=False, default=str)[:_SHOWN_CHARACTERS]
            bad.append(BadRow(record[LINE], raw, f"no value in the key column {missing[0]}"))
        else:
            yield record
