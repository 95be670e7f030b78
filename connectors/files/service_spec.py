"""What the connector is: its settings, and the tables they name. Columns are what the files say (columns.py)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

from shared.configuration import SettingsBase, setting
from shared.errors import is_this_machine
from shared.naming import delivered_name, folded_name
from shared.values import ColumnType

FILE, LINE, MODIFIED, SIZE = "_file", "_line", "_modified", "_size"
BAD_ROWS = "_bad_rows"
TAB = r"\t"  # as one types it into a form
TYPES = (
    "STRING", "BOOLEAN", "SHORT", "INT", "LONG", "DOUBLE", "NAIVE_DATE", "NAIVE_DATETIME", "UTC_DATETIME", "JSON",
    "BINARY",
)  # fmt: skip
AUTO = "auto"
NONE = "none"

_DECIMAL = re.compile(r"DECIMAL\(\s*([0-9]{1,2})\s*,\s*([0-9]{1,2})\s*\)")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SCHEMES = ("", "s3", "gs", "az", "https", "http")


@dataclass(frozen=True)
class TableSpec:
    """One table: the files that its patterns name, its key, and the columns whose types are declared."""

    name: str
    patterns: tuple[str, ...]
    primary_key: tuple[str, ...]
    types: Mapping[str, ColumnType]
    is_raw: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        """The table's primary key."""
        return self.primary_key or ((FILE,) if self.is_raw else (FILE, LINE))


def entries(text: str) -> list[tuple[str, str]]:
    """The lines "NAME = VALUE" of a setting, in order; a semicolon separates as a line break does.

    >>> entries("orders = *.csv; items = items/*.csv")
    [('orders', '*.csv'), ('items', 'items/*.csv')]

    Raises ValueError for a line that is none.
    """
    found = []
    for line in filter(None, (part.strip() for part in re.split(r"[\n;]", text))):
        name, mark, value = (part.strip() for part in line.partition("="))
        if not (name and mark and value):
            raise ValueError(f"expected lines like NAME = VALUE, found {line!r}")
        found.append((name, value))
    return found


def column_type(text: str) -> ColumnType:
    """A type as it is written in the setting `columns`; raises ValueError for what is none.

    >>> column_type("decimal(15, 2)"), column_type("LONG")
    ({'type': 'DECIMAL', 'precision': 15, 'scale': 2}, 'LONG')
    """
    name = text.strip().upper()
    found: ColumnType = name
    if decimal := _DECIMAL.fullmatch(name):
        precision, scale = int(decimal[1]), int(decimal[2])
        if not 1 <= precision <= 38 or scale > precision:
            raise ValueError(f"{text} is no DECIMAL: it has 1 to 38 digits, and no more of them after the point")
        found = {"type": "DECIMAL", "precision": precision, "scale": scale}
    if isinstance(found, str) and found not in TYPES:
        raise ValueError(f"{text!r} is no type: there are {', '.join(TYPES)} and DECIMAL(P,S)")
    return found


def _are_entries(text: str) -> str | None:
    try:
        entries(text)
    except ValueError as problem:
        return str(problem)
    return None


def _one_character(text: str) -> str | None:
    allowed = text in (TAB, AUTO) or (len(text) == 1 and text not in "\r\n")
    return None if allowed else "expected one character, or \\t for a tab"


def _is_codec(text: str) -> str | None:
    try:
        known = text == AUTO or "a".encode(text) is not None
    except LookupError:
        known = False
    return None if known else "expected an encoding like utf-8, latin-1, cp1252 or utf-16"


def _is_location(text: str) -> str | None:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return "expected an address without brackets and with a number as its port"
    is_usable = parts.scheme in _SCHEMES and (not parts.scheme or parts.netloc) and "@" not in parts.netloc
    if is_usable and not (parts.scheme in ("https", "http") and (parts.query or parts.fragment)):
        return None
    return "expected a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or https://HOST/PATH"


def _is_endpoint(text: str) -> str | None:
    try:
        address = urlsplit(text)
        usable = address.scheme in ("https", "http") and _BUCKET.match(address.hostname or "") and address.port != 0
    except ValueError:  # a port that is none, or half of an IPv6 address
        usable = None
    return None if usable else "expected an address like https://HOST"


def _names_in(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _not_delivered(column: str) -> str | None:
    name = delivered_name(column)
    return None if name == column else f"{column!r} is delivered as {name!r}: name it so"


def _is_inside(pattern: str) -> bool:
    path = PurePosixPath(pattern)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@dataclass(frozen=True)
class Settings(SettingsBase):
    location: str = setting(
        "Where the files are: a folder (a relative one is in the connector's own folder), s3://BUCKET/PREFIX, "
        "gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or https://HOST/PATH",
        example="sample",
        check=_is_location,
    )
    tables: str = setting(
        "A line for each table: NAME = PATTERN. ** means folders of any depth; several lines may name one table",
        example="stations = *.csv",
        lines=True,
        check=_are_entries,
    )
    primary_keys: str = setting(
        "A line for each table that has a key of its own: NAME = COLUMN, COLUMN, as delivered (Order ID is order_id). "
        f"Others have the key {FILE}, {LINE}",
        default="",
        lines=True,
        check=_are_entries,
    )
    columns: str = setting(
        "A line for each column that is no text: TABLE.COLUMN = TYPE, with a type such as LONG or DECIMAL(15,2)",
        default="",
        lines=True,
        check=_are_entries,
    )
    infer_types: bool = setting(
        "Give text columns the types that all values of the table's first file have; a later value of another type is "
        "a bad row",
        default=False,
    )
    format: Literal["auto", "csv", "jsonl", "json", "parquet", "excel", "raw"] = setting(
        "What the files are; auto goes by their names, such as .csv.gz", default="auto"
    )
    on_bad_row: Literal["stop", "keep"] = setting(
        f"At a row that cannot be read: stop the sync, or keep the row in the table {BAD_ROWS} and go on",
        default="stop",
    )
    most_bad_rows: int = setting("Bad rows of one sync that are kept; one more stops it", default=1000, minimum=1)
    delete_removed: bool = setting(
        "When files were removed or replaced, mark the table's rows as deleted and read all files again",
        default=False,
    )
    delimiter: str = setting("CSV: what separates fields; \\t is a tab", default=AUTO, check=_one_character)
    quote: str = setting("CSV: what encloses a field; none means nothing does", default='"')
    escape: str = setting(
        "CSV: what stands before a character that is meant as it is, such as a quote in a field; the mark itself goes",
        default="",
    )
    encoding: str = setting(
        "Text: the encoding; auto is UTF-8, or UTF-16 where a BOM says so", default=AUTO, check=_is_codec
    )
    header: bool = setting("CSV and Excel: the first row names the columns; else they are column_1, ...", default=True)
    skip_lines: int = setting("CSV and Excel: lines above the header", default=0, minimum=0)
    comment: str = setting("CSV: lines that begin with this are skipped", default="")
    null_text: str = setting("CSV: a field of just this, such as \\N or NULL, is no value", default="")
    record_path: str = setting("JSON: the keys that lead to the list of records, such as result.items", default="")
    sheet: str = setting("Excel: the name of the sheet; without, the first", default="")
    zip_members: str = setting("Zip: a pattern for the members that are read, as in tables", default="**/*")
    endpoint: str = setting("S3-compatible stores and emulators: address of the server", default="", check=_is_endpoint)
    region: str = setting("S3: region of the bucket", default="us-east-1")
    access_key_id: str = setting("S3: access key; without one, nothing is signed", default="")
    secret_access_key: str = setting("S3: secret of the access key", default="", secret=True)
    session_token: str = setting("S3: session token of temporary keys", default="", secret=True)
    account_name: str = setting("Azure: storage account", default="")
    account_key: str = setting("Azure: key of the account", default="", secret=True)
    service_account_key: str = setting(
        "Google Cloud Storage: the service account's key, as JSON; without one, nothing is signed",
        default="",
        secret=True,
        lines=True,
    )
    token: str = setting("HTTPS: bearer token", default="", secret=True)
    allow_plaintext: bool = setting("Read over http:// from another machine, readable on the way", default=False)
    files_at_once: int = setting("Small files fetched side by side", default=8, minimum=1, maximum=64)
    page_bytes: int = setting("Bytes of text in memory as one page", default=65_536, minimum=10_000, maximum=16_000_000)

    def problems(self) -> list[str]:
        found = [*self._table_problems(), *self._column_problems(), *self._csv_problems(), *self._plaintext_problems()]
        return found if self.is_local or self.is_web else [*found, *self._store_problems()]

    def _table_problems(self) -> Iterator[str]:
        for name, pattern in entries(self.tables):
            if not _is_inside(pattern):
                yield f"tables: {pattern!r} leads out of the location: expected a pattern like **/*.csv"
            if not re.fullmatch(r"[\w -]+", name):
                yield f"tables: {name!r} is no name of a table: expected letters, digits and _"
            if self.is_web and re.search(r"[*?\[]", pattern):
                yield f"tables: a web server does not list its files: name each of them instead of {pattern!r}"
        named = {name for name, _ in entries(self.tables)}
        if len({folded_name(name).strip("_") for name in (*named, BAD_ROWS)}) <= len(named):
            yield f"tables: two names become one, or {BAD_ROWS}, in the destination: rename one"

    def _column_problems(self) -> Iterator[str]:
        named = {name for name, _ in entries(self.tables)}
        for name, columns in entries(self.primary_keys):
            if name not in named:
                yield f"primary_keys: {name!r} is no table: the tables are {', '.join(named)}"
            yield from (f"primary_keys: {problem}" for problem in map(_not_delivered, _names_in(columns)) if problem)
        for place, type_name in entries(self.columns):
            table, _, column = place.partition(".")
            if table not in named or not column:
                yield f"columns: expected TABLE.COLUMN = TYPE, the tables being {', '.join(named)}, found {place!r}"
            elif problem := _not_delivered(column):
                yield f"columns: {problem}"
            try:
                column_type(type_name)
            except ValueError as problem:
                yield f"columns: {place}: {problem}"
        if self.format == "raw" and (self.primary_keys or self.columns):
            yield "format: raw files have neither columns nor keys of their own: leave primary_keys and columns empty"

    def _csv_problems(self) -> Iterator[str]:
        marks = {"delimiter": self.separator, "quote": self.quote, "escape": self.escape}
        used = {name: mark for name, mark in marks.items() if mark not in ("", NONE)}
        for name in ("quote", "escape"):
            if name in used and (len(used[name]) != 1 or used[name] in "\r\n"):
                yield f"{name}: expected one character, or none"
        if len(set(used.values())) < len(used):
            yield "delimiter: it, quote and escape have to be different characters"
        if self.null_text and "escape" in used and self.null_text.startswith(self.escape):
            yield f"null_text: {self.null_text!r} begins with the escape, and so is read without it"

    def _plaintext_problems(self) -> Iterator[str]:
        for name in ("location", "endpoint"):
            parts = urlsplit(getattr(self, name))
            if parts.scheme == "http" and not is_this_machine(parts.hostname or "") and not self.allow_plaintext:
                yield f"{name}: http:// sends everything readable: use https://, or set allow_plaintext to true"

    def _store_problems(self) -> list[str]:
        """What the library for object stores would fail at without a word."""
        found = []
        bucket = urlsplit(self.location).netloc
        if not _BUCKET.fullmatch(bucket):
            found.append(f"location: {bucket!r} is no name of a bucket")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            found.append("access_key_id and secret_access_key: expected both or none")
        if self.location.startswith("az:") and not self.account_name:
            found.append("account_name: expected the storage account of the container")
        return found

    @property
    def is_web(self) -> bool:
        """Whether the files are on a web server, which has no lists of files."""
        return urlsplit(self.location).scheme in ("https", "http")

    @property
    def separator(self) -> str:
        """The delimiter as it stands in a file, or auto."""
        return "\t" if self.delimiter == TAB else self.delimiter

    @property
    def is_local(self) -> bool:
        """Whether the files are in a folder of this machine."""
        return not urlsplit(self.location).scheme

    @property
    def table_specs(self) -> list[TableSpec]:
        """The tables, in the order in which they are named first."""
        patterns: dict[str, list[str]] = {}
        for name, pattern in entries(self.tables):
            patterns.setdefault(name, []).append(pattern)
        keys = {name: _names_in(columns) for name, columns in entries(self.primary_keys)}
        types: dict[str, dict[str, ColumnType]] = {}
        for place, type_name in entries(self.columns):
            table, _, column = place.partition(".")
            types.setdefault(table, {})[column] = column_type(type_name)
        return [
            TableSpec(name, tuple(found), keys.get(name, ()), types.get(name, {}), self.format == "raw")
            for name, found in patterns.items()
        ]
