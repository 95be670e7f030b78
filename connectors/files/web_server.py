"""Files of a web server, each named in the settings: a web server has no lists."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from urllib.parse import quote

from content import File, FileChanged, FileProblem, Unavailable
from service_spec import Settings
from shared.authentication import Bearer
from shared.errors import SourceError, redacted
from shared.http_client import Call, HttpClient, HttpError, Opened
from shared.http_messages import Transient
from text_stream import is_compressed

_MOST_TRIES = 20  # to read one file to its end
_GONE = (404, 410)
_SETTLING_SECONDS = 2.0
_AS_STORED = {"Accept-Encoding": "identity"}
_NAME_SAFE = "/%!$&'()*+,;=:@~"  # what stays in an address as it is written; a name may be quoted already
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+|\*)")
# What some servers take for compressed, beside what is decompressed here.
_PACKED = (".tgz", ".zip", ".xlsx", ".parquet")


class WebServer:
    """The files below an address. What can pass is tried again; the token goes to no other server."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.location.rstrip("/")
        self._at_once = settings.files_at_once
        self._client = HttpClient(
            settings.location,
            auth=Bearer(settings.token) if settings.token else None,
            connections=settings.files_at_once,
            allow_plaintext=settings.allow_plaintext,
        )

    def files(self, patterns: Sequence[str]) -> Iterator[File]:
        with ThreadPoolExecutor(self._at_once) as threads:
            yield from threads.map(self._file, dict.fromkeys(patterns))

    def content(self, file: File) -> "WebContent":
        return WebContent(self, file)

    def describe(self) -> str:
        return redacted(self._base)

    def close(self) -> None:
        self._client.close()

    def pieces(self, file: File, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `start` to `end`, all of them; one that breaks off goes on where it was.

        Of a file whose length is unknown, those to its end, and to `end` unless that is negative.
        """
        at = start
        for _ in range(_MOST_TRIES):
            if at >= end >= 0:
                return
            try:
                with self._opened(file, at, end) as opened:
                    for piece in _part(opened, at, end):
                        at += len(piece)
                        yield piece
                if file.size < 0:
                    return
            except _Ended:
                return
            except Transient as failure:
                if not (file.version or file.modified):
                    raise Unavailable(
                        f"{file.name} broke off at byte {at:,} ({failure}), and the server gives it neither an ETag "
                        "nor a date, so that nobody can tell whether another answer is the same file"
                    ) from None
        if not at >= end >= 0:
            raise Unavailable(f"{file.name} broke off {_MOST_TRIES} times, the last time at byte {at:,}")

    def _file(self, name: str) -> File:
        """The file as the server tells it; one that is not there has no length and no version, and fails when read."""
        headers = self._headers(name)
        length = headers.get("Content-Length", "")
        modified = _modified(headers)
        size = int(length) if length.isascii() and length.isdigit() else -1
        version = headers.get("ETag", "").strip()
        # A date says seconds: as long as this one is not over, the file may change without a sign of it.
        is_young = not version and self._client.now().timestamp() - modified / 1e9 < _SETTLING_SECONDS
        return File(name, size, 0 if is_young else modified, modified, version)

    def _headers(self, name: str) -> Mapping[str, str]:
        """What the server says about a file, to HEAD if it answers that, else to GET."""
        try:
            try:
                return self._answered(name, "HEAD")
            except HttpError as error:
                if error.status in (401, *_GONE):
                    raise
                return self._answered(name, "GET")
        except HttpError as error:
            if error.status in _GONE:
                return {}
            raise

    def _answered(self, name: str, method: str) -> Mapping[str, str]:
        with self._client.open(Call(self._address(name), method, headers=_AS_STORED, endpoint=method)) as opened:
            return opened.response.headers

    def _opened(self, file: File, start: int, end: int) -> Opened:
        """The answer with the bytes from `start` on, or from an earlier one on."""
        headers = {**_AS_STORED, **_condition(file)}
        if start or 0 <= end != file.size:
            headers["Range"] = f"bytes={start}-" + (str(end - 1) if end >= 0 else "")
        try:
            opened = self._client.open(Call(self._address(file.name), headers=headers, endpoint="GET"))
        except HttpError as error:
            if error.status in _GONE and file.has_version:
                raise FileChanged(f"{file.name} was removed since it was listed") from None
            if error.status in _GONE:
                raise Unavailable(f"{file.name} is not at {self.describe()}: correct the setting tables") from None
            if error.status == 416 and file.size < 0:
                raise _Ended from None
            if error.status in (412, 416):
                raise _changed(file) from None
            raise
        problem = _problem(file, opened.response.headers, opened.response.status_code)
        if problem:
            opened.close()
            raise problem
        return opened

    def _address(self, name: str) -> str:
        return f"{self._base}/{quote(name, safe=_NAME_SAFE)}"


class WebContent:
    """The bytes of one file."""

    def __init__(self, server: WebServer, file: File) -> None:
        self.file = file
        self._server = server

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        return self._server.pieces(self.file, start, self.file.size)

    def read(self, start: int, length: int) -> bytes:
        end = start + length if self.file.size < 0 else min(start + length, self.file.size)
        return b"".join(self._server.pieces(self.file, start, end))


class _Ended(Exception):
    """A file of unknown length has no bytes there."""


def _part(opened: Opened, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an answer from `start` to `end` of the file: a server may send the whole file, or more of it."""
    at = _first_byte(opened, start)
    for chunk in opened.chunks():
        piece = chunk[max(0, start - at) : max(0, end - at) if end >= 0 else None]
        at += len(chunk)
        if piece:
            yield piece
        if at >= end >= 0:
            return


def _first_byte(opened: Opened, start: int) -> int:
    if opened.response.status_code != 206:
        return 0
    found = _CONTENT_RANGE.match(opened.response.headers.get("Content-Range", ""))
    if not found or int(found[1]) > start:
        raise SourceError(f"{redacted(opened.response.url)} answered with another range than was asked for")
    return int(found[1])


def _condition(file: File) -> dict[str, str]:
    """The header that asks for just this version. A weak ETag never matches there, by the standard."""
    if file.version and not file.version.startswith("W/"):
        return {"If-Match": file.version}
    if file.modified:
        return {"If-Unmodified-Since": formatdate(file.modified // 10**9, usegmt=True)}
    return {}


def _problem(file: File, headers: Mapping[str, str], status: int) -> FileProblem | None:
    """What is wrong with an answer that says yes."""
    encoding = headers.get("Content-Encoding", "identity")
    is_packed = is_compressed(file.name) or file.name.lower().endswith(_PACKED)
    if encoding.lower() != "identity" and not is_packed:
        return Unavailable(
            f"{file.name} is sent as {encoding}, which was not asked for: let the server not compress it"
        )
    return None if _is_same(file, headers, status) else _changed(file)


def _is_same(file: File, headers: Mapping[str, str], status: int) -> bool:
    """Whether an answer is of the version that was listed, whatever the server made of the condition."""
    found = _CONTENT_RANGE.match(headers.get("Content-Range", ""))
    length = (found[2] if found else "") if status == 206 else headers.get("Content-Length", "")
    if file.size >= 0 and length.isdigit() and int(length) != file.size:
        return False
    if file.version and "ETag" in headers:
        return headers["ETag"].strip().removeprefix("W/") == file.version.removeprefix("W/")
    return not file.modified or _modified(headers) == file.modified


def _modified(headers: Mapping[str, str]) -> int:
    """Nanoseconds since 1970; 0 without a date that can be read."""
    try:
        moment = parsedate_to_datetime(headers.get("Last-Modified", ""))
    except (ValueError, OverflowError):
        return 0
    moment = moment.replace(tzinfo=moment.tzinfo or UTC)
    return max(0, int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 10**9)


def _changed(file: File) -> FileChanged:
    return FileChanged(f"{file.name} has changed since it was listed: the next sync reads it")
