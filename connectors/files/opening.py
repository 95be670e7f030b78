"""From a file's name to readers of its format: what archives it, what compresses it, and what it is."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import PurePosixPath

from archives import members
from batches import Place, Reader
from content import Content, File, FileProblem
from csv_format import CsvReader
from excel_format import ExcelReader
from json_format import JsonReader
from parquet_format import ParquetReader
from service_spec import AUTO, Settings
from text_stream import TextStream, stream_crc, without_compression

ARCHIVE = ".zip"
FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
}
_READ_AS = {
    "csv": "CSV: rows of text, the delimiter found out from the first 64 KB (a tab for `.tsv` and `.tab`)",
    "jsonl": "JSON Lines: an object on each line",
    "json": "JSON: a list of objects, at `record_path` if that is set; or objects one after another",
    "parquet": "Parquet",
    "excel": "Excel: the rows of one sheet, every cell as text",
}
_OF_TEXT: Mapping[str, Callable[[TextStream, File, Settings], Reader]] = {
    "csv": CsvReader,
    "jsonl": JsonReader,
    "json": JsonReader,
}
_OF_PARTS: Mapping[str, Callable[[Content, File, Settings], Reader]] = {
    "parquet": ParquetReader,
    "excel": ExcelReader,
}


def formats_table() -> str:
    """The formats by name of file, as the README shows them."""
    lines = ["| a name that ends in | is read as |", "|---|---|"]
    for format_ in dict.fromkeys(FORMATS.values()):
        endings = ", ".join(f"`{suffix}`" for suffix, found in FORMATS.items() if found == format_)
        lines.append(f"| {endings} | {_READ_AS[format_]} |")
    lines.append("| one of those of text, and then `.gz`, `.zst` or `.bz2` | the same, decompressed |")
    lines.append(f"| `{ARCHIVE}` | an archive, each member of which is a file by the same rules |")
    return "\n".join(lines) + "\n"


def parts(content: Content, settings: Settings) -> Iterator[Callable[[], Reader]]:
    """What opens a reader of the file, or one of each member of an archive.

    Both raise FileProblem for a file whose format is not known, or that is not of it.
    """
    file = content.file
    if file.name.lower().endswith(ARCHIVE):
        for member in members(content, settings):
            yield partial(_text_reader, TextStream(content, settings, member), file, settings)
        return
    format_ = format_of(file.name, settings)
    if format_ in _OF_PARTS:
        yield partial(_OF_PARTS[format_], content, file, settings)
    else:
        yield partial(_text_reader, TextStream(content, settings), file, settings)


def readers(content: Content, settings: Settings) -> Iterator[Reader]:
    """A reader of each part; raises FileProblem for the first that cannot be read."""
    return (open_reader() for open_reader in parts(content, settings))


def _text_reader(stream: TextStream, file: File, settings: Settings) -> Reader:
    name = without_compression(stream.name)
    format_ = format_of(name, settings)
    if format_ not in _OF_TEXT:
        raise FileProblem(f"{stream.name} is {format_} that is compressed or in an archive: unpack it first")
    return _OF_TEXT[format_](stream, file, settings)


def format_of(name: str, settings: Settings) -> str:
    """The format of a file; raises FileProblem where neither the settings nor its name tell it.

    >>> format_of("2026/orders.csv", Settings(location="sample", tables="orders = **/*.csv"))
    'csv'
    """
    if settings.format != AUTO:
        return settings.format
    suffix = PurePosixPath(without_compression(name)).suffix.lower()
    if suffix not in FORMATS:
        raise FileProblem(f"the name of {name} does not tell its format: set the setting format")
    return FORMATS[suffix]


def can_grow(name: str, settings: Settings) -> bool:
    """Whether a file may be read while lines are still written to its end."""
    try:
        is_text = format_of(name, settings) in ("csv", "jsonl")
    except FileProblem:
        return False
    return is_text and without_compression(name) == name and not name.lower().endswith(ARCHIVE)


def begins_with(content: Content, settings: Settings, place: Place) -> bool:
    """Whether the file still begins with all the text that was before a place when that was saved."""
    return bool(stream_crc(TextStream(content, settings), place["offset"]) == place["crc"])
