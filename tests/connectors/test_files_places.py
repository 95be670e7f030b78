"""The places of connectors/files: folders, a real S3 server, and web servers that misbehave."""

import gzip
import os
import re
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import trustme
from fivetran_connector_sdk import Logging

from shared.errors import ConfigurationError, SourceError
from tests.loading import load_module
from tests.sources import s3_server, tcp_proxy
from tests.sources.faulty_http import Bytes, FaultyServer, Hang, Redirect, Reset, ServerError, Step, Unauthorized
from tests.sources.file_server import FileHandler, FileServer
from tests.sources.http_thread import Handler, Request, serving
from tests.sources.s3_server import S3Server

places = load_module("files", "places")
object_store = places.ObjectStore.files.__globals__
Settings = places.Settings
FileChanged = object_store["FileChanged"]
FileProblem = object_store["Unavailable"]
MB = 1_000_000


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)


def settings(**configuration: str) -> Any:
    return Settings.parse({"tables": "t = a.csv", **configuration})


def names(place: Any, *patterns: str) -> list[str]:
    return sorted(file.name for file in place.files(patterns))


def file_of(place: Any, name: str) -> Any:
    (file,) = place.files([name])
    return file


def whole(place: Any, file: Any, start: int = 0) -> bytes:
    return b"".join(place.content(file).chunks(start))


def numbered(size: int) -> bytes:
    """Bytes that are different everywhere."""
    return b"".join(b"%15d\n" % number for number in range(size // 16))


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.csv", ["a.csv"]),
            ("./*.csv", ["a.csv"]),
            ("**/*.csv", ["a.csv", "x/b.csv", "x/y/c.csv"]),
            ("x/*.csv", ["x/b.csv"]),
            ("x//*.csv", ["x/b.csv"]),
            ("x/**", ["x/b.csv", "x/y/c.csv"]),
            ("x/**/*.csv", ["x/b.csv", "x/y/c.csv"]),
            ("**/y/*", ["x/y/c.csv"]),
            ("*/*/[a-c].csv", ["x/y/c.csv"]),
            ("?.csv", ["a.csv"]),
            ("A.csv", []),
        ],
    )
    def test_name_the_same_files_in_every_place(
        self, tmp_path: Path, bucket: S3Server, pattern: str, found: list[str]
    ) -> None:
        for name in ("a.csv", "x/b.csv", "x/y/c.csv", "a.csv.d/e.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"1")
            bucket.put(name, b"1")
        assert [name for name in ("a.csv", "x/b.csv", "x/y/c.csv") if object_store["matches"](name, pattern)] == found
        for configuration in ({"location": str(tmp_path)}, bucket.configuration):
            with places.open_place(settings(**configuration)) as place:
                assert names(place, pattern) == found

    def test_only_folders_that_can_hold_such_files_are_listed(self) -> None:
        prefixes_of = object_store["prefixes_of"]
        assert prefixes_of(["2026/01/*.csv"]) == ["2026/01"]
        assert prefixes_of(["a/*.csv", "a/b/*.csv", "ab/*.csv", "a b/c.csv"]) == ["a", "a b", "ab"]
        assert prefixes_of(["a/*.csv", "*.csv"]) == [""]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "folder"


@pytest.fixture
def local(folder: Path) -> Iterator[Any]:
    folder.mkdir()
    with places.open_place(settings(location=str(folder))) as place:
        yield place


class TestAFolder:
    def test_files_are_as_the_file_system_says(self, local: Any, folder: Path) -> None:
        (folder / "a.csv").write_bytes(b"12345")
        os.utime(folder / "a.csv", ns=(1_000_000_007, 1_000_000_007))
        file = file_of(local, "*.csv")
        assert (file.name, file.size, file.modified) == ("a.csv", 5, 1_000_000_007)
        assert file.changed == (folder / "a.csv").stat().st_ctime_ns
        assert abs(file.changed / 1e9 - time.time()) < 60
        assert local.describe() == f"the folder {folder}"

    def test_a_file_that_two_patterns_name_comes_once(self, local: Any, folder: Path) -> None:
        (folder / "a.csv").write_bytes(b"1")
        assert names(local, "*.csv", "a.*") == ["a.csv"]

    def test_bytes_come_in_pieces_from_any_offset_and_by_range(self, local: Any, folder: Path) -> None:
        data = numbered(3 * MB)
        (folder / "a.csv").write_bytes(data)
        file = file_of(local, "a.csv")
        assert all(len(chunk) <= 1_048_576 for chunk in local.content(file).chunks())
        for start in (0, 1, 1_048_576, len(data) - 1, len(data)):
            assert whole(local, file, start) == data[start:]
        content = local.content(file)
        assert content.read(100, 50) == data[100:150]
        assert content.read(len(data) - 10, 50) == data[-10:]
        assert content.read(len(data) + 10, 50) == b""

    @pytest.mark.parametrize("change", ["appended", "replaced", "truncated", "removed"])
    def test_a_file_that_is_another_than_was_listed_is_told(self, local: Any, folder: Path, change: str) -> None:
        path = folder / "a.csv"
        path.write_bytes(b"12345")
        file = file_of(local, "a.csv")
        time.sleep(0.02)
        if change == "appended":
            path.write_bytes(b"123456")
        elif change == "replaced":
            path.write_bytes(b"54321")
        elif change == "truncated":
            path.write_bytes(b"")
        else:
            path.unlink()
        with pytest.raises(FileChanged, match="a.csv (has changed|was removed) since it was listed"):
            whole(local, file)
        with pytest.raises(FileChanged):
            local.content(file).read(0, 3)

    def test_a_file_that_changes_while_it_is_read_is_told_at_its_end(self, local: Any, folder: Path) -> None:
        path = folder / "a.csv"
        path.write_bytes(numbered(3 * MB))
        chunks = local.content(file_of(local, "a.csv")).chunks()
        next(chunks)
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(FileChanged, match="a.csv has changed"):
            list(chunks)

    def test_a_folder_that_is_none_is_named(self) -> None:
        with (
            pytest.raises(SourceError, match="the setting location names '/no/such', and /no/such is not a folder"),
            places.open_place(settings(location="/no/such")),
        ):
            pass

    def test_a_relative_folder_is_in_the_connectors_own(self) -> None:
        with places.open_place(settings(location="sample")) as place:
            assert names(place, "*.csv")

    def test_a_link_to_a_folder_is_not_followed_and_told_once(self, folder: Path) -> None:
        (folder / "real").mkdir(parents=True)
        (folder / "real" / "a.csv").write_bytes(b"1")
        (folder / "link").symlink_to(folder / "real")
        told: list[str] = []
        with places.open_place(settings(location=str(folder)), warn=told.append) as place:
            assert names(place, "real/*.csv") == ["real/a.csv"]
            assert told == []
            assert names(place, "**/*.csv") == names(place, "*/*.csv") == ["real/a.csv"]
        assert told == [f"{folder}/link is a link to a folder, which is not followed: its files are not read"]

    def test_a_link_to_a_file_inside_is_read_and_one_that_leads_out_is_refused(
        self, local: Any, folder: Path, tmp_path: Path
    ) -> None:
        (folder / "a.csv").write_bytes(b"1")
        (folder / "link.csv").symlink_to(folder / "a.csv")
        assert whole(local, file_of(local, "link.csv")) == b"1"
        (tmp_path / "secret.csv").write_bytes(b"1")
        (folder / "out.csv").symlink_to(tmp_path / "secret.csv")
        with pytest.raises(SourceError, match="out.csv is a link to a file outside of the setting location"):
            names(local, "*.csv")

    def test_what_is_no_file_is_left_out(self, local: Any, folder: Path) -> None:
        os.mkfifo(folder / "pipe.csv")
        (folder / "broken.csv").symlink_to(folder / "nowhere")
        assert names(local, "**") == []

    def test_a_link_that_leads_in_a_circle_is_named(self, local: Any, folder: Path) -> None:
        (folder / "circle.csv").symlink_to(folder / "circle.csv")
        assert names(local, "*.txt") == []
        with pytest.raises(SourceError, match="circle.csv cannot be read: Too many levels of symbolic links"):
            names(local, "*.csv")

    def test_a_name_that_is_no_text_is_told(self, local: Any, folder: Path) -> None:
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.csv")).write_bytes(b"1")
        with pytest.raises(SourceError, match="is no UTF-8 text: rename the file"):
            names(local, "*.csv")

    def test_a_folder_that_may_not_be_read_is_named(
        self, local: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "closed").mkdir()
        scan = os.scandir

        def refuse(path: Any) -> Any:
            if str(path).rstrip("/").endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)  # root, who runs some tests, may read everything
        with pytest.raises(SourceError, match="the folder .*closed cannot be read: Permission denied"):
            names(local, "*/*.csv")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    with s3_server.start() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> S3Server:
    s3.empty()
    return s3


@pytest.fixture
def store(bucket: S3Server) -> Iterator[Any]:
    with places.open_place(settings(**bucket.configuration)) as place:
        yield place


class TestABucket:
    def test_files_are_as_the_store_says(self, bucket: S3Server, store: Any) -> None:
        bucket.put("2026/a.csv", b"12345")
        file = file_of(store, "**/*.csv")
        assert (file.name, file.size) == ("2026/a.csv", 5)
        assert file.version.startswith('"')
        assert file.changed == file.modified
        assert file.changed % 1000 == 0
        assert abs(file.changed / 1e9 - time.time()) < 60
        assert store.describe() == "s3://bucket"

    def test_a_folder_of_it_may_be_the_location(self, bucket: S3Server) -> None:
        for name in ("year 1/a.csv", "year 1/b/c.csv", "year 10/d.csv"):
            bucket.put(name, name.encode())
        configuration = {**bucket.configuration, "location": "s3://bucket/year 1/"}
        with places.open_place(settings(**configuration)) as place:
            assert names(place, "**/*.csv") == ["a.csv", "b/c.csv"]
            assert names(place, "b/*.csv", "**/c.csv") == ["b/c.csv"]
            assert whole(place, file_of(place, "b/c.csv")) == b"year 1/b/c.csv"

    def test_more_objects_than_a_page_are_listed_in_constant_memory(self, bucket: S3Server, store: Any) -> None:
        for number in range(2500):
            bucket.put(f"many/{number:04}.csv", b"1")
        bucket.put("other/a.csv", b"1")
        count = sum(1 for _ in store.files(["many/*.csv"]))
        assert count == 2500
        tracemalloc.start()
        first = sum(1 for _ in store.files(["many/0*.csv"]))
        one_page = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert (first, sum(1 for _ in store.files(["many/*.csv"]))) == (1000, 2500)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.2 * one_page < 2 * MB

    @pytest.mark.parametrize(
        "name", ["a b/ü+%20 c.csv", "pct%2Fx.csv", "x?y*#.csv", "quo\"te'&<>.csv", "日本.csv", "a\\b.csv", "~$a.csv"]
    )
    def test_any_name_is_listed_and_read(self, bucket: S3Server, store: Any, name: str) -> None:
        bucket.put_named(name, name.encode())
        (file,) = store.files(["**/*.csv"])
        assert file.name == name
        assert whole(store, file) == name.encode()

    def test_folders_that_are_objects_are_no_files_and_empty_files_are(self, bucket: S3Server, store: Any) -> None:
        bucket.put_named("folder/", b"")
        bucket.put_named("folder/v1.2/", b"")
        bucket.put("folder/empty.csv", b"")
        assert names(store, "**") == ["folder/empty.csv"]
        assert whole(store, file_of(store, "folder/*")) == b""

    @pytest.mark.parametrize("name", ["x/a//b.csv", "x/./b.csv"])
    def test_a_name_that_cannot_be_read_is_told(self, bucket: S3Server, store: Any, name: str) -> None:
        bucket.put_named(name, b"1")
        bucket.put("y/a.csv", b"1")
        with pytest.raises(SourceError, match=f"s3://bucket holds the object {name!r}, whose name has an empty part"):
            names(store, "**/*.csv")
        assert names(store, "y/*.csv") == ["y/a.csv"]

    def test_bytes_come_in_pieces_from_any_offset_and_by_range(self, bucket: S3Server, store: Any) -> None:
        data = numbered(3 * MB)
        bucket.put("a.csv", data)
        file = file_of(store, "a.csv")
        assert all(len(chunk) < MB for chunk in store.content(file).chunks())
        for start in (0, 1, 1_048_576, len(data) - 1, len(data)):
            assert whole(store, file, start) == data[start:]
        content = store.content(file)
        assert content.read(100, 50) == data[100:150]
        assert content.read(len(data) - 10, 50) == data[-10:]
        assert content.read(len(data) + 10, 50) == b""

    @pytest.mark.parametrize("change", [b"54321", b"123456", b"1", None])
    def test_an_object_that_is_another_than_was_listed_is_told(
        self, bucket: S3Server, store: Any, change: bytes | None
    ) -> None:
        bucket.put("a.csv", b"12345")
        file = file_of(store, "a.csv")
        if change is None:
            bucket.delete("a.csv")
        else:
            bucket.put("a.csv", change)
        with pytest.raises(FileChanged, match="^a.csv (has changed|was removed) since it was listed"):
            whole(store, file)
        with pytest.raises(FileChanged):
            store.content(file).read(1, 3)

    @pytest.mark.parametrize("retries", [6, 0])
    @pytest.mark.parametrize("reset", [True, False])
    def test_a_body_that_breaks_off_goes_on_where_it_was(
        self, bucket: S3Server, reset: bool, retries: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(object_store["_RETRIES"], "max_retries", retries)
        data = numbered(30 * MB)
        bucket.put("a.csv", data)
        with (
            tcp_proxy.start(bucket.port) as proxy,
            places.open_place(settings(**bucket.configuration_at(proxy.port))) as place,
        ):
            file = file_of(place, "a.csv")
            read, cuts = bytearray(), 0
            for chunk in place.content(file).chunks(1000):
                read += chunk
                if cuts < 3 and len(read) > cuts * 5 * MB:
                    cuts += 1
                    proxy.cut(reset)
            assert proxy.accepted > 2
        assert bytes(read) == data[1000:]

    def test_an_object_that_is_replaced_while_its_body_breaks_off_is_told(self, bucket: S3Server) -> None:
        bucket.put("a.csv", numbered(30 * MB))
        with (
            tcp_proxy.start(bucket.port) as proxy,
            places.open_place(settings(**bucket.configuration_at(proxy.port))) as place,
        ):
            chunks = place.content(file_of(place, "a.csv")).chunks()
            next(chunks)
            bucket.put("a.csv", b"x" * 30 * MB)
            proxy.cut()
            with pytest.raises(FileChanged, match="a.csv has changed"):
                list(chunks)

    def test_closing_the_iterator_ends_the_reading(self, bucket: S3Server, store: Any) -> None:
        bucket.put("a.csv", numbered(30 * MB))
        with closing(store.content(file_of(store, "a.csv")).chunks()) as chunks:
            next(chunks)
        assert names(store, "*") == ["a.csv"]

    @pytest.mark.parametrize("name", ["/a.csv", "a.csv/"])
    def test_a_name_with_a_slash_at_an_end_is_told(self, bucket: S3Server, store: Any, name: str) -> None:
        bucket.put_named(name, b"1")
        with pytest.raises(
            FileChanged, match="^a.csv was removed .* begins or ends with a slash, which cannot be read"
        ):
            whole(store, file_of(store, "*"))

    def test_several_threads_read_at_once(self, bucket: S3Server, store: Any) -> None:
        many = [f"{number}.csv" for number in range(50)]
        for name in many:
            bucket.put(name, name.encode())
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda file: whole(store, file), store.files(["*.csv"])))
        assert sorted(found) == sorted(name.encode() for name in many)

    def test_unsigned_requests_read_what_is_public(self, bucket: S3Server) -> None:
        bucket.put_named("open.csv", b"1", is_public=True)
        bucket.put("closed.csv", b"1")
        with places.open_place(settings(**bucket.configuration)) as place:
            listed, closed = file_of(place, "open.csv"), file_of(place, "closed.csv")
        unsigned = {name: bucket.configuration[name] for name in ("location", "endpoint")}
        with places.open_place(settings(**unsigned)) as place:
            assert whole(place, listed) == b"1"
            with pytest.raises(FileProblem, match="^closed.csv may not be read"):
                whole(place, closed)


LISTING = """<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated>
<Contents><Key>folder/a b.csv</Key><LastModified>2026-01-31T12:00:00.123Z</LastModified><ETag>&quot;v1&quot;</ETag>
<Size>5</Size></Contents></ListBucketResult>"""
BLOBS = """<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob><Name>folder/a b.csv</Name>
<Properties>
<Last-Modified>Sat, 31 Jan 2026 12:00:00 GMT</Last-Modified><Etag>v1</Etag><Content-Length>5</Content-Length>
<Content-Type>text/csv</Content-Type></Properties></Blob></Blobs><NextMarker /></EnumerationResults>"""
OBJECT = {"ETag": '"v1"', "Last-Modified": "Sat, 31 Jan 2026 12:00:00 GMT"}


class Page(FileServer):
    """Answers everything with a page, as some proxies do, after the `answers` that come first."""

    answers: tuple[bytes, ...] = ()

    def respond(self, request: Request, handler: Handler) -> None:
        body, *_ = *self.answers, b"<html>hello</html>"
        self.answers = self.answers[1:]
        handler.reply(200, body, OBJECT if self.has_dates else {})


class FaultyStore(FaultyServer):
    """By a script, except for HEAD, which it refuses; an object that is sure to be none is none."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = FileHandler

    def respond(self, request: Request, handler: Handler) -> None:
        if request.method == "HEAD":
            handler.reply(404 if "no-such-object" in unquote(request.path) else 405)
        else:
            super().respond(request, handler)


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    """A store, or another server."""
    with serving(FaultyStore()) as server:
        yield server


def refusal(status: int, code: str) -> Step:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>private words</Message></Error>"
    return Bytes(body.encode(), {"Content-Type": "application/xml"}, status)


class TestABucketThatCannotBeRead:
    def told(self, server: FaultyServer, steps: list[Step], **configuration: str) -> str:
        keys = {"access_key_id": "key", "secret_access_key": "s3cret"}
        server.script("/bucket", steps, repeat=True)
        found = settings(**{"location": "s3://bucket/in", "endpoint": server.url, **keys, **configuration})
        with places.open_place(found) as place, pytest.raises(SourceError) as told:
            names(place, "*")
        assert type(told.value) is SourceError
        assert "\n" not in str(told.value)
        assert not any(secret in str(told.value) for secret in ("s3cret", "private words"))
        return str(told.value)

    @pytest.mark.parametrize(
        ("status", "code", "sentence"),
        [
            (403, "InvalidAccessKeyId", "s3://bucket/in refuses access (InvalidAccessKeyId): check the keys"),
            (403, "SignatureDoesNotMatch", "s3://bucket/in refuses access (SignatureDoesNotMatch): check the keys"),
            (403, "AccessDenied", "s3://bucket/in refuses access (AccessDenied): check the keys"),
            (404, "NoSuchBucket", "s3://bucket/in does not exist: check the settings location and endpoint"),
            (301, "PermanentRedirect", "s3://bucket/in is in another region: correct the setting region"),
            (400, "AuthorizationHeaderMalformed", "s3://bucket/in is in another region: correct the setting region"),
            (400, "InvalidArgument", "s3://bucket/in answered with status 400 InvalidArgument"),
        ],
    )
    def test_is_one_sentence(self, faulty: FaultyServer, status: int, code: str, sentence: str) -> None:
        assert self.told(faulty, [refusal(status, code)]).startswith(sentence)
        assert len(faulty.requests) == 1

    def test_that_is_busy_is_asked_again_and_then_told(self, faulty: FaultyServer, quick: None) -> None:
        assert self.told(faulty, [refusal(503, "SlowDown")]) == "s3://bucket/in answered with status 503 SlowDown"
        assert len(faulty.requests) == 3

    @pytest.mark.parametrize("has_dates", [True, False])
    def test_that_is_no_store_is_told(self, faulty: FaultyServer, has_dates: bool) -> None:
        """Its page with status 200 is no empty list: files would be missing, or taken for removed."""
        with serving(Page()) as page:
            page.has_dates = has_dates
            told = self.told(faulty, [], endpoint=page.url)
        assert re.match("s3://bucket/in (answers, but not|does not answer) as a store of objects", told)

    def test_whose_list_ends_in_a_page_of_a_proxy_is_told(self) -> None:
        """The list would be a part of itself, and the other files would count as removed."""
        more = "<IsTruncated>true</IsTruncated><NextContinuationToken>2</NextContinuationToken>"
        with serving(Page()) as page:
            page.answers = (LISTING.replace("<IsTruncated>false</IsTruncated>", more).encode(),)
            with (
                places.open_place(settings(location="s3://bucket", endpoint=page.url)) as place,
                pytest.raises(SourceError, match="s3://bucket answers, but not as a store of objects"),
            ):
                names(place, "**")
            assert [request.method for request in page.requests] == ["GET", "GET", "HEAD"]

    def test_that_is_empty_is_read(self, bucket: S3Server) -> None:
        with places.open_place(settings(**bucket.configuration)) as place:
            assert names(place, "**", "*") == []

    @pytest.mark.parametrize(
        ("endpoint", "cause"),
        [
            ("http://127.0.0.1:1", "Connection refused"),
            ("https://no.such.invalid", "its name is unknown"),
        ],
    )
    def test_that_cannot_be_reached_is_told(self, faulty: FaultyServer, quick: None, endpoint: str, cause: str) -> None:
        assert self.told(faulty, [], endpoint=endpoint).startswith(f"cannot reach s3://bucket/in: {cause}")

    def test_that_does_not_answer_is_told(self, faulty: FaultyServer, quick: None) -> None:
        assert self.told(faulty, [Hang(3)]).startswith("cannot reach s3://bucket/in: no answer in time")

    def test_that_cannot_be_trusted_is_told(self, quick: None) -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        server = FaultyServer()
        server.socket = context.wrap_socket(server.socket, server_side=True)
        with serving(server):
            told = self.told(server, [], endpoint=f"https://localhost:{server.server_port}")
        assert told.startswith("cannot reach s3://bucket/in: its certificate cannot be trusted (UnknownIssuer)")

    def test_that_does_not_speak_tls_is_told(self, faulty: FaultyServer, quick: None) -> None:
        told = self.told(faulty, [], endpoint=faulty.url.replace("http:", "https:"))
        assert told.startswith("cannot reach s3://bucket/in: it does not speak TLS")

    def test_that_fails_in_passing_is_read(self, faulty: FaultyServer, quick: None) -> None:
        faulty.script("/bucket", [ServerError(500), Reset(), Bytes(LISTING.encode())])
        with places.open_place(settings(location="s3://bucket", endpoint=faulty.url)) as place:
            assert names(place, "**") == ["folder/a b.csv"]

    @pytest.mark.parametrize(
        ("configuration", "sentence"),
        [
            ({"location": "s3://buc ket"}, "location: 'buc ket' is no name of a bucket"),
            ({"access_key_id": ""}, "access_key_id and secret_access_key: expected both or none"),
            ({"endpoint": "localhost:9000"}, "endpoint: expected an address like https://HOST"),
            ({"location": "az://bucket"}, "account_name: expected the storage account"),
            ({"location": "az://bucket", "account_name": "a", "account_key": "s3cret%"}, "check the keys"),
            ({"location": "gs://bucket", "service_account_key": '{"private_key": "s3cret"'}, "check the keys"),
            ({"location": "gs://bucket", "service_account_key": '{"private_key": "s3cret"}'}, "check the keys"),
        ],
    )
    def test_settings_that_are_none_are_told_at_once(self, configuration: dict[str, str], sentence: str) -> None:
        keys = {"access_key_id": "key", "secret_access_key": "s3cret"}
        with (
            pytest.raises(ConfigurationError) as told,
            places.open_place(settings(**{"location": "s3://bucket", **keys, **configuration})),
        ):
            pass
        assert sentence in str(told.value)
        assert "s3cret" not in str(told.value)


class TestAnObjectThatCannotBeRead:
    @pytest.fixture
    def place(self, faulty: FaultyServer, quick: None) -> Iterator[Any]:
        faulty.script("/bucket", [Bytes(LISTING.encode())], repeat=True)
        with places.open_place(settings(location="s3://bucket/folder", endpoint=faulty.url)) as place:
            yield place

    @pytest.mark.parametrize(
        ("status", "code", "sentence"),
        [
            (403, "AccessDenied", "a b.csv may not be read (AccessDenied): allow the key to read it"),
            (403, "InvalidObjectState", "a b.csv is archived: restore it"),
            (500, "InternalError", "s3://bucket/folder answered with status 500 InternalError"),
            (404, "NoSuchBucket", "s3://bucket/folder does not exist"),
        ],
    )
    def test_is_one_sentence(self, faulty: FaultyServer, place: Any, status: int, code: str, sentence: str) -> None:
        faulty.script("/bucket/folder/a%20b.csv", [refusal(status, code)], repeat=True)
        with pytest.raises(SourceError) as told:
            whole(place, file_of(place, "*.csv"))
        assert str(told.value).startswith(sentence)
        assert isinstance(told.value, FileProblem) == (status == 403)

    def test_that_always_ends_early_is_never_taken_as_whole(self, faulty: FaultyServer, place: Any) -> None:
        headers = {**OBJECT, "Content-Range": "bytes 0-4/5", "Content-Length": "5"}
        faulty.script("/bucket/folder/a%20b.csv", [Cut(b"123", headers)], repeat=True)
        file = file_of(place, "*.csv")
        with pytest.raises(SourceError):
            whole(place, file)

    def test_of_a_store_that_ignores_conditions_is_compared(self, faulty: FaultyServer, place: Any) -> None:
        headers = {**OBJECT, "ETag": '"v2"', "Content-Range": "bytes 0-4/5"}
        faulty.script("/bucket/folder/a%20b.csv", [Bytes(b"54321", headers, 206)])
        with pytest.raises(FileChanged):
            whole(place, file_of(place, "*.csv"))


@dataclass(frozen=True)
class Cut(Step):
    """A range whose body ends before its length."""

    body: bytes
    headers: dict[str, str]

    def play(self, handler: Handler) -> None:
        handler.reply(206, self.body, self.headers)
        handler.close_connection = True


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two retries, hardly a pause before each, and little patience."""
    once = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=2), "base": 2}
    retries = {"max_retries": 2, "retry_timeout": timedelta(seconds=5), "backoff": once}
    monkeypatch.setitem(object_store, "_RETRIES", retries)
    monkeypatch.setitem(object_store, "_SILENCE", "300ms")


class TestEveryStore:
    @pytest.mark.parametrize(
        ("configuration", "path", "listing"),
        [
            ({"location": "s3://bucket"}, "/bucket", LISTING),
            ({"location": "gs://bucket"}, "/bucket", LISTING),
            ({"location": "az://bucket", "account_name": "account"}, "/bucket", BLOBS),
            ({"location": "az://bucket", "account_name": "account", "account_key": "a2V5"}, "/bucket", BLOBS),
        ],
        ids=["Amazon", "Google", "Azure", "Azure with a key"],
    )
    def test_is_listed_and_read(
        self, faulty: FaultyServer, configuration: dict[str, str], path: str, listing: str
    ) -> None:
        def answer(request: Request) -> Step:
            if request.headers["If-Match"] != '"v1"':
                return refusal(412, "ConditionNotMet")
            headers = {**OBJECT, "Content-Range": "bytes 1-4/5"}
            return Bytes(b"2345", headers, 206) if request.headers["Range"] == "bytes=1-4" else Bytes(b"", status=416)

        faulty.script(path, [Bytes(listing.encode(), {"Content-Type": "application/xml"})], repeat=True)
        faulty.script(f"{path}/folder/a%20b.csv", [answer], repeat=True)
        faulty.script(f"{path}/folder%2Fa%20b%2Ecsv", [answer], repeat=True)
        with places.open_place(settings(endpoint=faulty.url, **configuration)) as place:
            file = file_of(place, "folder/*.csv")
            assert (file.name, file.size) == ("folder/a b.csv", 5)
            assert whole(place, file, 1) == b"2345"

    def test_takes_nothing_from_the_environment(self, faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of the environment")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the environment")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the environment")
        faulty.script("/bucket", [Bytes(LISTING.encode())], repeat=True)
        keys = {"access_key_id": "key", "secret_access_key": "s3cret"}
        for configuration in (keys, {}):
            with places.open_place(settings(location="s3://bucket", endpoint=faulty.url, **configuration)) as place:
                names(place, "**")
        signed, unsigned = [request for request in faulty.requests if request.method == "GET"]
        assert signed.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
        assert signed.headers["X-Amz-Security-Token"] is None
        assert unsigned.headers["Authorization"] is None


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer()) as running:
        yield running


def web(server: FileServer, **configuration: str) -> Any:
    """A context with the place."""
    return places.open_place(settings(location=f"{server.url}/files/", **configuration))


class TestAWebServer:
    def test_files_are_as_the_server_says(self, server: FileServer) -> None:
        server.put("year 1/a.csv", b"12345", modified=1_700_000_000)
        with web(server) as place:
            file = file_of(place, "year 1/a.csv")
            assert (file.name, file.size, file.modified) == ("year 1/a.csv", 5, 1_700_000_000 * 10**9)
            assert file.changed == file.modified
            assert file.version.startswith('"')
            assert whole(place, file) == b"12345"
            assert place.describe() == f"{server.url}/files"
        assert [request.method for request in server.requests] == ["HEAD", "GET"]

    @pytest.mark.parametrize("name", ["a b.csv", "ü.csv", "a#b.csv", "a+b%20c.csv", "a//b.csv", "http://other/a.csv"])
    def test_a_name_is_a_path_on_this_server_alone(self, server: FileServer, name: str) -> None:
        server.put(unquote(name), b"1")
        with web(server) as place:
            assert whole(place, file_of(place, name)) == b"1"

    def test_several_files_are_asked_for_at_once_and_come_in_order(self, server: FileServer) -> None:
        many = [f"{number}.csv" for number in range(30)]
        for name in many:
            server.put(name, name.encode())
        with web(server) as place:
            assert [file.name for file in place.files([*many, "3.csv"])] == many

    def test_what_a_server_does_not_tell_is_unknown(self, server: FileServer) -> None:
        server.has_lengths = server.has_etags = server.has_dates = False
        data = numbered(3 * MB)
        server.put("a.csv", data)
        with web(server) as place:
            file = file_of(place, "a.csv")
            assert (file.size, file.changed, file.modified, file.version) == (-1, 0, 0, "")
            for start in (0, 1, len(data) - 1, len(data), len(data) + 5):
                assert whole(place, file, start) == data[start:]
            assert place.content(file).read(len(data) - 10, 50) == data[-10:]
            assert place.content(file).read(10, 5) == data[10:15]

    def test_a_server_without_head_is_asked_otherwise(self, server: FileServer) -> None:
        server.answers_head = False
        server.put("a.csv", b"12345")
        with web(server) as place:
            file = file_of(place, "a.csv")
            assert (file.size, whole(place, file)) == (5, b"12345")

    @pytest.mark.parametrize("answers_head", [True, False])
    def test_a_file_that_is_not_there_is_named(self, server: FileServer, answers_head: bool) -> None:
        server.answers_head = answers_head
        server.put("b.csv", b"1")
        with web(server) as place:
            assert names(place, "a.csv", "b.csv") == ["a.csv", "b.csv"], "it does not hide the others"
            with pytest.raises(FileProblem, match="^a.csv is not at .*/files: correct the setting tables"):
                whole(place, file_of(place, "a.csv"))

    @pytest.mark.parametrize("has_ranges", [True, False])
    def test_bytes_come_in_pieces_from_any_offset_and_by_range(self, server: FileServer, has_ranges: bool) -> None:
        server.has_ranges = has_ranges
        data = numbered(3 * MB)
        server.put("a.csv", data)
        with web(server) as place:
            file = file_of(place, "a.csv")
            content = place.content(file)
            assert all(len(chunk) < 1.2 * MB for chunk in content.chunks())
            for start in (0, 1, 1_048_576, len(data) - 1, len(data)):
                assert whole(place, file, start) == data[start:]
            assert content.read(100, 50) == data[100:150]
            assert content.read(len(data) - 10, 50) == data[-10:]
            assert content.read(len(data) + 10, 50) == b""

    @pytest.mark.parametrize("has_etags", [True, False])
    @pytest.mark.parametrize("checks_conditions", [True, False])
    @pytest.mark.parametrize("change", [b"54321", b"123456", b"1", None])
    def test_a_file_that_is_another_than_was_listed_is_told(
        self, server: FileServer, has_etags: bool, checks_conditions: bool, change: bytes | None
    ) -> None:
        server.has_etags, server.checks_conditions = has_etags, checks_conditions
        server.put("a.csv", b"12345", modified=1_700_000_000)
        with web(server) as place:
            file = file_of(place, "a.csv")
            if change is None:
                server.delete("a.csv")
            else:
                server.put("a.csv", change)
            with pytest.raises(FileChanged, match="^a.csv (has changed|was removed) since it was listed"):
                whole(place, file)
            with pytest.raises(FileChanged):
                place.content(file).read(3, 2)

    @pytest.mark.parametrize("has_ranges", [True, False])
    @pytest.mark.parametrize("has_etags", [True, False])
    @pytest.mark.parametrize("has_lengths", [True, False])
    def test_a_body_that_breaks_off_goes_on_where_it_was(
        self, server: FileServer, has_ranges: bool, has_etags: bool, has_lengths: bool
    ) -> None:
        server.has_ranges, server.has_etags, server.has_lengths = has_ranges, has_etags, has_lengths
        data = numbered(9 * MB)
        server.put("a.csv", data)
        with web(server) as place:
            file = file_of(place, "a.csv")
            server.cuts = [2 * MB, 3 * MB, 4 * MB]
            assert whole(place, file, 1000) == data[1000:]
        assert server.cuts == []

    def test_a_body_that_always_breaks_off_is_never_taken_as_whole(self, server: FileServer) -> None:
        server.put("a.csv", numbered(9 * MB))
        server.has_ranges = False
        with web(server) as place:
            file = file_of(place, "a.csv")
            server.cuts = [5 * MB] * 100
            with pytest.raises(FileProblem, match="^a.csv broke off 20 times, the last time at byte 5,"):
                whole(place, file)

    def test_a_body_that_breaks_off_is_not_continued_with_what_may_be_another(self, server: FileServer) -> None:
        server.has_etags = server.has_dates = False
        server.put("a.csv", numbered(9 * MB))
        with web(server) as place:
            file = file_of(place, "a.csv")
            server.cuts = [5 * MB]
            with pytest.raises(FileProblem, match="^a.csv broke off at byte 5,.*neither an ETag nor a date"):
                whole(place, file)

    def test_a_file_that_is_replaced_while_its_body_breaks_off_is_told(self, server: FileServer) -> None:
        server.put("a.csv", numbered(9 * MB))
        with web(server) as place:
            server.cuts = [5 * MB]
            chunks = place.content(file_of(place, "a.csv")).chunks()
            next(chunks)
            server.put("a.csv", b"x" * 9 * MB)
            with pytest.raises(FileChanged, match="^a.csv has changed"):
                list(chunks)

    def test_a_compressed_file_that_the_server_calls_encoded_arrives_as_it_is_stored(self, server: FileServer) -> None:
        stored = gzip.compress(b"n\n1\n")
        server.extra_headers = {"Content-Encoding": "gzip"}
        server.put("a.csv.gz", stored)
        server.put("a.csv", stored)
        with web(server) as place:
            assert whole(place, file_of(place, "a.csv.gz")) == stored
            with pytest.raises(FileProblem, match="^a.csv is sent as gzip, which was not asked for"):
                whole(place, file_of(place, "a.csv"))

    def test_the_token_goes_to_this_server_and_a_range_wherever_it_redirects_to(
        self, server: FileServer, faulty: FaultyServer
    ) -> None:
        server.put("a.csv", b"12345")
        faulty.script("/files/a.csv", [Redirect(f"{server.url}/files/a.csv")], repeat=True)
        found = settings(location=f"{faulty.url}/files", token="t0ken")
        with places.open_place(found) as place:
            file = file_of(place, "a.csv")
            assert whole(place, file, 2) == b"345"
        assert {request.headers["Authorization"] for request in faulty.requests} == {"Bearer t0ken"}
        assert {request.headers["Authorization"] for request in server.requests} == {None}
        assert server.requests[-1].headers["Range"] == "bytes=2-4"
        assert server.requests[-1].headers["If-Match"] == file.version
        assert {request.headers["Accept-Encoding"] for request in server.requests} == {"identity"}

    def test_a_refused_login_is_told_without_the_token(self, faulty: FaultyServer) -> None:
        faulty.script("/files/a.csv", [Unauthorized()], repeat=True)
        with (
            places.open_place(settings(location=f"{faulty.url}/files", token="t0ken")) as place,
            pytest.raises(SourceError, match="answered with status 401 .check the credentials") as told,
        ):
            names(place, "a.csv")
        assert "t0ken" not in str(told.value)

    def test_a_location_that_is_no_folder_is_told(self) -> None:
        with (
            pytest.raises(ConfigurationError, match="location: expected a folder, s3://BUCKET/PREFIX"),
            places.open_place(settings(location="https://example.com/a?b=c")),
        ):
            pass
