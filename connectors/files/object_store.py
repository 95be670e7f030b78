"""A bucket of Amazon S3 or what speaks its language, of Google Cloud Storage, or a container of Azure Blob Storage."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, InvalidPathError, PermissionDeniedError, PreconditionError
from obstore.store import AzureStore, GCSStore, S3Store

from content import File, FileChanged, Unavailable
from patterns import matches, prefixes_of
from service_spec import Settings
from shared.errors import ConfigurationError, SourceError, unreachable

Store = S3Store | GCSStore | AzureStore

_PAGE = 1000  # objects of a listing in memory
_PIECE = 262_144
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FAILURES = (BaseError, OSError, ValueError)
_SILENCE = "60s"
_RETRIES: Any = {
    "max_retries": 6,
    "retry_timeout": timedelta(seconds=120),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 2},
}
_STATUS = re.compile(r"status code: ([0-9]{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_MESSAGE = re.compile(r'message: "([^"]+)"')
_CAUSES = {
    "kind: Timeout": "no answer in time",
    "failed to lookup": "its name is unknown",
    "InvalidMessage": "it does not speak TLS",
}
_OTHER_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"})


class ObjectStore:
    """The objects of a bucket, or of one folder of it.

    What can pass (5xx, timeouts, resets, bodies that break off) is tried again by obstore, and by `pieces`.
    """

    def __init__(self, settings: Settings) -> None:
        scheme, _, rest = settings.location.partition("://")
        self._bucket, _, prefix = rest.partition("/")
        self._prefix = prefix.strip("/")
        self._name = f"{scheme}://{self._bucket}" + (f"/{self._prefix}" if self._prefix else "")
        self._endpoint = settings.endpoint
        try:
            self._store: Store = _MAKERS[scheme](settings, self._bucket)
        except _FAILURES:
            # The library's own words may hold a part of the key.
            raise ConfigurationError(
                f"{self._name} cannot be opened: check the keys in the settings, which are not of the expected form"
            ) from None

    def files(self, patterns: Sequence[str]) -> Iterator[File]:
        """Raises SourceError for a bucket that cannot be listed, or an object whose name cannot be read."""
        for folder in prefixes_of(patterns):
            for meta in self._objects(self._path(folder)):
                path = meta["path"]
                name = path[len(self._prefix) + 1 :] if self._prefix else path
                if any(matches(name, pattern) for pattern in patterns) and (meta["size"] or self._is_there(path)):
                    changed = (meta["last_modified"] - _EPOCH) // timedelta(microseconds=1) * 1000
                    yield File(name, meta["size"], changed, changed, meta["e_tag"] or "")

    def content(self, file: File) -> "ObjectContent":
        return ObjectContent(self, file)

    def describe(self) -> str:
        return self._name

    def close(self) -> None:
        """The library closes its connections by itself."""

    def pieces(self, file: File, start: int, end: int) -> Iterator[bytes]:
        """The bytes of a file from `start` to `end`, all of them; one that breaks off goes on where it was."""
        at = start
        while at < end:
            opened_at, failure = at, None
            try:
                for piece in self._opened(file, at, end).stream(min_chunk_size=_PIECE):
                    at += len(piece)
                    yield piece
            except _FAILURES as error:
                failure = self._failed(file, error)
            if at < end and (at - opened_at < _PIECE or isinstance(failure, FileChanged)):
                raise failure or Unavailable(f"{file.name} ends at byte {at:,} of {end:,}, again and again")

    def _opened(self, file: File, start: int, end: int) -> Any:
        options: Any = {"range": (start, end)}
        if file.version:
            options["if_match"] = _quoted(file.version)
        result = obstore.get(self._store, self._path(file.name), options=options)
        meta = result.meta
        if meta["size"] != file.size or (file.version and _quoted(meta["e_tag"] or "") != _quoted(file.version)):
            raise FileChanged(f"{file.name} has changed since it was listed: the next sync reads it")
        return result

    def _objects(self, prefix: str) -> Iterator[Any]:
        try:
            for page in obstore.list(self._store, prefix or None, chunk_size=_PAGE):
                yield from page
        except InvalidPathError as error:
            found = re.search(r'[Pp]ath "(.*?)"', str(error))
            raise SourceError(
                f"{self._name} holds the object {found[1] if found else ''!r}, whose name has an empty part or one of "
                "dots only, which cannot be read: rename it, or name folders without it in the settings"
            ) from None
        except _FAILURES as error:
            raise self._refused(error) from None
        self._check_that_it_is_a_store()

    def _check_that_it_is_a_store(self) -> None:
        """Raises SourceError for a server that has every object: a proxy's page with status 200.

        Taken for a page of a list, it would end the list early, and files that are there would count as removed.
        """
        try:
            obstore.head(self._store, self._path(f"no-such-object-{uuid4().hex}"))
        except (FileNotFoundError, PermissionDeniedError):
            return
        except _FAILURES as error:
            raise self._refused(error) from None
        raise SourceError(f"{self._name} answers, but not as a store of objects; check the setting endpoint")

    def _is_there(self, path: str) -> bool:
        """Whether there is an object of just this name. A folder may be one too, but its name ends with a slash."""
        try:
            obstore.head(self._store, path)
        except FileNotFoundError:
            return False
        except _FAILURES as error:
            raise self._refused(error) from None
        return True

    def _path(self, name: str) -> str:
        return "/".join(filter(None, (self._prefix, name)))

    def _failed(self, file: File, error: Exception) -> SourceError:
        """What is wrong with one file, in a sentence."""
        status, code, _ = _reason(error)
        if isinstance(error, PreconditionError) or status == 416:
            return FileChanged(f"{file.name} has changed since it was listed: the next sync reads it")
        if isinstance(error, FileNotFoundError) and code != "NoSuchBucket":
            return FileChanged(
                f"{file.name} was removed since it was listed (or its name in the bucket begins or ends with a slash, "
                "which cannot be read: rename it)"
            )
        if code == "InvalidObjectState":
            return Unavailable(f"{file.name} is archived: restore it, or name other files in the setting tables")
        if status == 403:
            return Unavailable(f"{file.name} may not be read ({code or status}): allow the key to read it")
        return self._refused(error)

    def _refused(self, error: Exception) -> SourceError:
        """What is wrong with the place, in a sentence."""
        status, code, cause = _reason(error)
        if code in _OTHER_REGION or status == 301:
            return SourceError(f"{self._name} is in another region: correct the setting region")
        if status in (401, 403):
            return SourceError(
                f"{self._name} refuses access ({code or f'status {status}'}): check the keys in the settings, "
                "and that they may list the bucket and read its objects"
            )
        if status == 404:
            return SourceError(f"{self._name} does not exist: check the settings location and endpoint")
        if status:
            return SourceError(f"{self._name} answered with status {status} {code}".rstrip())
        if cause:
            return unreachable(self._name, urlsplit(self._endpoint).hostname or self._bucket, cause)
        first = str(error).partition("\n")[0].rpartition(": ")[2]
        return SourceError(f"{self._name} does not answer as a store of objects: {first}; check the setting endpoint")


class ObjectContent:
    """The bytes of one object."""

    def __init__(self, store: ObjectStore, file: File) -> None:
        self.file = file
        self._store = store

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        return self._store.pieces(self.file, start, self.file.size)

    def read(self, start: int, length: int) -> bytes:
        return b"".join(self._store.pieces(self.file, start, min(start + length, self.file.size)))


def _client(settings: Settings) -> Any:
    """How the library connects. A body may take long, so the request as a whole has no limit; silence has one."""
    return {
        "allow_http": settings.endpoint.startswith("http:"),
        "connect_timeout": "10s",
        "read_timeout": _SILENCE,
        "timeout": "7d",
    }


def _s3(settings: Settings, bucket: str) -> S3Store:
    # Through a provider: of keys alone, the library would use them together with a session of the environment.
    keys = {"access_key_id": settings.access_key_id, "secret_access_key": settings.secret_access_key}
    login: Any = {"skip_signature": True}
    if settings.access_key_id:
        login = {"credential_provider": lambda: {**keys, "token": settings.session_token or None, "expires_at": None}}
    if settings.endpoint:
        login["endpoint"] = settings.endpoint
    return S3Store(bucket, region=settings.region, client_options=_client(settings), retry_config=_RETRIES, **login)


def _google(settings: Settings, bucket: str) -> GCSStore:
    login: Any = {"skip_signature": True}
    if settings.service_account_key:
        json.loads(settings.service_account_key)
        login = {"service_account_key": settings.service_account_key}
    if settings.endpoint:
        login["base_url"] = settings.endpoint
    return GCSStore(bucket, client_options=_client(settings), retry_config=_RETRIES, **login)


def _azure(settings: Settings, bucket: str) -> AzureStore:
    login: Any = {"skip_signature": True}
    if settings.account_key:
        login = {"account_key": settings.account_key, "credential_type": "access_key"}
    if settings.endpoint:
        login["endpoint"] = settings.endpoint
    return AzureStore(
        bucket,
        account_name=settings.account_name,
        client_options=_client(settings),
        retry_config=_RETRIES,
        **login,
    )


_MAKERS: dict[str, Callable[[Settings, str], Store]] = {"s3": _s3, "gs": _google, "az": _azure}


def _quoted(version: str) -> str:
    """An ETag as it is sent: some listings leave the quotes out."""
    return version if version.endswith('"') else f'"{version}"'


def _reason(error: Exception) -> tuple[int, str, str]:
    """The HTTP status (0 without an answer), the store's code for what is wrong, and why there is no answer."""
    text = str(error)
    status, code = _STATUS.search(text), _CODE.search(text)
    if status:
        return int(status[1]), code[1] if code else "", ""
    # A redirect without an address: the library does not tell its status.
    return (301, "", "") if "BareRedirect" in text else (0, "", _cause(text))


def _cause(text: str) -> str:
    """Why there is no answer, from the library's description; nothing where it is for another reason."""
    if certificate := _CERTIFICATE.search(text):
        return f"its certificate cannot be trusted ({certificate[1]})"
    for mark, words in _CAUSES.items():
        if mark in text:
            return words
    message = _MESSAGE.search(text)
    return message[1] if message else ""
