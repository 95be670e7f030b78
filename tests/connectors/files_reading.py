"""Reads bytes as a file of the connector files, from any place on, in chunks of any size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

OWN = ("_file", "_line", "_modified")


class Bytes:
    """A content that is in memory, in chunks of any size."""

    def __init__(self, file: Any, data: bytes, chunk: int = 1_048_576) -> None:
        self.file, self._data, self._chunk = file, data, chunk

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        for at in range(start, len(self._data), self._chunk):
            yield self._data[at : at + self._chunk]

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]


@dataclass
class Batch:
    """What one batch was."""

    records: list[dict[str, Any]]
    bad: list[Any]
    place: dict[str, Any]
    size: int


@dataclass
class Result:
    """What a file was, and the problem with which it ended."""

    columns: dict[str, Any] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    problem: str = ""

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for batch in self.batches for record in batch.records]

    @property
    def values(self) -> list[dict[str, Any]]:
        """The records without the columns that the connector adds."""
        return [{name: value for name, value in record.items() if name not in OWN} for record in self.records]

    @property
    def lines(self) -> list[int]:
        return [record["_line"] for record in self.records]

    @property
    def bad(self) -> list[tuple[int, str, str]]:
        return [(row.line, row.raw, row.reason) for batch in self.batches for row in batch.bad]


@dataclass
class Format:
    """A format's reader, with the classes of the load of modules that it is of."""

    module: ModuleType
    reader: Any
    suffix: str

    def settings(self, **given: Any) -> Any:
        return self.module.Settings(**{"location": "sample", "tables": "t = *", **given})

    def read(
        self,
        data: bytes | str,
        name: str = "",
        place: dict[str, Any] | None = None,
        types: dict[str, Any] | None = None,
        columns: list[str] | None = None,
        chunk: int = 1_048_576,
        **given: Any,
    ) -> Result:
        """Everything from a place on; `columns` are those that are declared, if not all."""
        content_of_file = data if isinstance(data, bytes) else data.encode()
        settings = self.settings(**given)
        file = self.module.File(name or f"a{self.suffix}", len(content_of_file), 0, 0)
        content = Bytes(file, content_of_file, chunk)
        result = Result()
        problem_class = self.module.TextStream.problem.__globals__["FileProblem"]
        try:
            reader = self.reader(self.module.TextStream(content, settings), file, settings)
            result.columns = dict(reader.columns)
            declared = dict.fromkeys(reader.columns if columns is None else columns, "STRING")
            own = {"_file": "STRING", "_line": "LONG", "_modified": "STRING", "_undeclared": "JSON"}
            target = self.module.Target({**declared, **own, **(types or {})})
            for batch in reader.batches(target, place):
                result.batches.append(Batch(list(batch.records), list(batch.bad), batch.place, batch.size))
        except problem_class as problem:
            result.problem = str(problem)
        return result


def check_resuming(format_: Format, data: bytes, **how: Any) -> int:
    """Asserts that reading on from each batch's place gives all that is behind it; how many places there were."""
    whole = format_.read(data, **how)
    for batch in whole.batches:
        rest = format_.read(data, place=batch.place, **how)
        assert rest.records == [record for record in whole.records if record["_line"] >= batch.place["line"]]
        assert rest.bad == [row for row in whole.bad if row[0] >= batch.place["line"]]
        assert rest.problem == whole.problem
        assert [found.place for found in rest.batches[-1:]] in ([], [whole.batches[-1].place])
    return len(whole.batches)
