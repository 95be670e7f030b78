"""Against a server that misbehaves on demand: an answer in full, or one sentence with address and cause."""

import gzip
import json
import socket
import ssl
import threading
import time
import tracemalloc
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trustme
from fivetran_connector_sdk import Logging

from shared.authentication import ApiKey, Basic, Bearer, SessionToken
from shared.errors import SourceError, TryLater, holds_secret, redacted
from shared.http_client import PART_BYTES, Call, HttpClient, HttpError, Part
from shared.http_messages import is_whole, origin, parse_links
from shared.json_stream import RecordPath
from shared.metrics import Metrics
from shared.values import record_converter
from tests.sources import faulty_http
from tests.sources.faulty_http import (
    Answer,
    Bytes,
    Chunked,
    Dripping,
    Endless,
    FaultyServer,
    ForwardProxy,
    Hang,
    NotFound,
    RateLimited,
    Raw,
    Redirect,
    Reset,
    ServerError,
    Step,
    Streamed,
    Truncated,
    Unauthorized,
    WrongJson,
)
from tests.sources.http_thread import Request, serving

GOOD = {"data": [{"id": 1}]}


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_http.start() as running:
        yield running


def client(server: FaultyServer, **settings: Any) -> HttpClient:
    return HttpClient(server.url, **{"backoff": 0.01, "timeout": (5.0, 0.3), **settings})


class TestWhatCanPassIsTriedAgain:
    @pytest.mark.parametrize(
        "failure",
        [
            RateLimited(retry_after="0"),
            RateLimited(date_in=0.1),
            RateLimited(),
            RateLimited(retry_after="soon"),
            ServerError(500),
            ServerError(503),
            ServerError(408),
            Reset(),
            Hang(1.0),
            Truncated(GOOD),
            Chunked(GOOD, cut=True),
            WrongJson("<html>"),
            WrongJson('{"value": NaN}'),
        ],
        ids=repr,
    )
    def test_one_failure_and_the_answer_arrives(self, server: FaultyServer, failure: Step) -> None:
        server.script("/items", [failure, Answer(GOOD)])
        with client(server) as http:
            assert http.get("/items").body == GOOD
            assert (http.metrics.api_call_count, http.metrics.retries) == (2, 1)
        assert server.unexpected == []

    @pytest.mark.parametrize("asked", [RateLimited(retry_after="1"), RateLimited(date_in=2.0)], ids=repr)
    def test_retry_after_is_waited_for_in_both_forms(self, server: FaultyServer, asked: Step) -> None:
        server.script("/items", [asked, Answer(GOOD)])
        with client(server) as http:
            http.get("/items")
        first, second = server.requests
        assert second.time - first.time >= 0.9

    def test_a_retry_after_beyond_our_patience_ends_cleanly(self, server: FaultyServer) -> None:
        server.script("/items", [RateLimited(retry_after="3600")])
        with client(server, patience=5.0) as http, pytest.raises(TryLater, match="come back in 3600 s .*saved"):
            http.get("/items")
        assert len(server.requests) == 1

    def test_retries_are_bounded_in_number(self, server: FaultyServer) -> None:
        server.script("/items", [ServerError(502)], repeat=True)
        with client(server, attempts=4) as http, pytest.raises(SourceError, match="/items failed after 4 tries: .*502"):
            http.get("/items")
        assert len(server.requests) == 4

    def test_retries_are_bounded_in_time(self, server: FaultyServer) -> None:
        server.script("/items", [RateLimited(retry_after="1")], repeat=True)
        with client(server, patience=1.5) as http, pytest.raises(TryLater):
            http.get("/items")
        assert len(server.requests) == 2

    def test_a_body_that_never_ends_is_given_up(self, server: FaultyServer) -> None:
        server.script("/items", [Hang(60)], repeat=True)
        started = time.monotonic()
        with client(server, attempts=2) as http, pytest.raises(SourceError, match="no answer within"):
            http.get("/items")
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/1.1 200 OK\r\nX-Slow: ",
            b"HTTP/1.1 200 O",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Slow: ",
            b"HTTP/1.1 500 Error\r\nContent-Length: 100000\r\n\r\n",
        ],
        ids=["header", "status line", "chunk line", "trailer", "body of an error"],
    )
    def test_an_answer_of_which_any_part_drips_is_given_up_and_asked_for_again(
        self, server: FaultyServer, start: bytes
    ) -> None:
        server.script("/items", [Dripping(start), Answer(GOOD)])
        started = time.monotonic()
        with client(server, patience=0.6) as http:
            http._patience = 10.0  # for the retries; what is tested is the patience with one answer
            assert http.get("/items").body == GOOD
        assert 0.5 < time.monotonic() - started < 3

    @pytest.mark.parametrize(
        ("start", "endless"),
        [
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"X-Trailer: a\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"X-Header: " + b"a" * 60_000 + b"\r\n"),
        ],
        ids=["interim answers", "trailers", "headers"],
    )
    def test_an_answer_of_which_anything_but_the_body_never_ends_is_given_up_however_fast_it_comes(
        self, server: FaultyServer, start: bytes, endless: bytes
    ) -> None:
        server.script("/items", [Endless(start, endless)], repeat=True)
        started = time.monotonic()
        with client(server, attempts=2) as http, pytest.raises(SourceError, match="1,048,576 bytes of headers"):
            http.get("/items")
        assert time.monotonic() - started < 5
        assert len(server.requests) == 2

    def test_an_answer_that_states_two_lengths_is_the_servers_fault(self, server: FaultyServer) -> None:
        two = Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}")
        server.script("/items", [two], repeat=True)
        with client(server, attempts=2) as http, pytest.raises(SourceError, match="after 2 tries: .*several lengths"):
            http.get("/items")

    @pytest.mark.parametrize("asked", ["9" * 5000, "Fri, 31 Dec 8999 23:59:59 GMT"])
    def test_a_retry_after_beyond_all_bounds_ends_cleanly(self, server: FaultyServer, asked: str) -> None:
        server.script("/items", [RateLimited(asked)])
        with client(server) as http, pytest.raises(TryLater, match="asks to come back"):
            http.get("/items")

    @pytest.mark.parametrize(
        "asked",
        [
            "Fri, 31 Dec 99999 23:59:59 GMT",
            "Fri, 31 Dec 9999 23:59:59 -1200",
            "Fri, 31 Dec 2026 23:59:59 +" + "9" * 4000,
            "-1",
            "1.5",
            "\u0662",
            ",",
        ],
    )
    def test_one_that_cannot_be_read_is_none(self, server: FaultyServer, asked: str) -> None:
        server.script("/items", [Raw(f"HTTP/1.1 503 No\r\nRetry-After: {asked}\r\n\r\n".encode()), Answer(GOOD)])
        with client(server) as http:
            assert http.get("/items").body == GOOD

    def test_a_server_that_only_drips_headers_is_an_error(self, server: FaultyServer) -> None:
        server.script("/items", [Dripping()], repeat=True)
        started = time.monotonic()
        with client(server, patience=0.5) as http, pytest.raises(SourceError, match="not complete after 0.5 s"):
            http.get("/items")
        assert time.monotonic() - started < 3

    def test_a_body_that_drips_is_given_up_when_patience_ends(self) -> None:
        def drip(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                for _ in range(200):
                    connection.sendall(b" ")
                    time.sleep(0.05)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=lambda: drip(listener.accept()[0]), daemon=True).start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            started = time.monotonic()
            with (
                HttpClient(url, patience=0.5, timeout=(5.0, 1.0), attempts=1) as http,
                pytest.raises(SourceError, match="not complete after"),
            ):
                http.get("/items")
            assert time.monotonic() - started < 5


class TestWhatCannotPassIsNotTriedAgain:
    def test_a_4xx_is_an_error_with_status_address_and_body(self, server: FaultyServer) -> None:
        server.script("/items", [NotFound()])
        with (
            client(server) as http,
            pytest.raises(HttpError, match=r"/items\?page=2 .*status 404 .*: .*not found") as told,
        ):
            http.get("/items", params={"page": "2"})
        assert told.value.status == 404
        assert len(server.requests) == 1

    def test_wrong_credentials_say_where_to_look(self, server: FaultyServer) -> None:
        server.script("/items", [Unauthorized()])
        with (
            client(server, auth=Bearer("s3cret")) as http,
            pytest.raises(HttpError, match="check the credentials") as told,
        ):
            http.get("/items")
        assert "s3cret" not in str(told.value)

    def test_a_body_larger_than_the_bound_is_refused(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": "x" * 5000})])
        with client(server, max_body_bytes=1000) as http, pytest.raises(SourceError, match="more than 1,000 bytes"):
            http.get("/items")

    def test_a_refused_connection_says_how_to_start_the_practice_sources(self) -> None:
        with faulty_http.start() as server:
            url = server.url
        with (
            HttpClient(url, backoff=0.01) as http,
            pytest.raises(SourceError, match="refused after 3 tries.*make sources"),
        ):
            http.get("/items")

    @pytest.mark.parametrize(
        ("path", "asked"),
        [
            ("/items:search", "/api/v1/items:search"),
            ("items:search", "/api/v1/items:search"),
            ("/items?next=//x", "/api/v1/items?next=//x"),
            ("/proxy?u=http://a/b", "/api/v1/proxy?u=http://a/b"),
            ("mailto:a", "/api/v1/mailto:a"),
            ("", "/api/v1/"),
        ],
    )
    def test_a_path_is_what_names_no_server(self, path: str, asked: str) -> None:
        with HttpClient("https://host/api/v1") as http:
            assert http.address(path) == f"https://host{asked}"

    def test_an_address_that_is_none_is_named(self) -> None:
        with HttpClient("http://[bad") as http, pytest.raises(SourceError):
            http.get("/items")


class TestNumbersAreExact:
    def test_every_digit_arrives(self, server: FaultyServer) -> None:
        body = '{"a": 52.52000812345, "b": 12345678901234567890, "c": 1e400, "d": 0.1234567890123456789, "e": 1.10}'
        server.script("/items", [WrongJson(body)])  # JSON as text, which json.dumps could not write
        with client(server) as http:
            numbers = http.get("/items").body
        assert numbers["a"] == 52.52000812345
        assert numbers["b"] == 12345678901234567890
        assert numbers["c"] == Decimal("1e400")
        assert numbers["d"] == Decimal("0.1234567890123456789")
        assert numbers["e"] == 1.1


class TestCredentialsStayAtHome:
    auths = pytest.mark.parametrize(
        ("auth", "header", "value"),
        [
            (Bearer("s3cret"), "Authorization", "Bearer s3cret"),
            (Basic("user", "s3cret"), "Authorization", "Basic dXNlcjpzM2NyZXQ="),
            (ApiKey("s3cret"), "X-Api-Key", "s3cret"),
            (ApiKey("s3cret", "Authorization", "apiKey "), "Authorization", "apiKey s3cret"),
        ],
        ids=lambda value: type(value).__name__,
    )

    @auths
    def test_sent_to_their_own_origin(self, server: FaultyServer, auth: Any, header: str, value: str) -> None:
        server.script("/items", [Answer(GOOD)])
        with client(server, auth=auth) as http:
            http.get("/items")
        assert server.requests[0].headers[header] == value

    @auths
    def test_never_to_where_a_link_points(self, server: FaultyServer, auth: Any, header: str, value: str) -> None:
        with faulty_http.start() as other:
            other.script("/items", [Answer(GOOD)])
            with client(server, auth=auth) as http:
                assert http.get(f"{other.url}/items").body == GOOD
            assert header not in other.requests[0].headers

    @auths
    def test_never_to_where_a_redirect_points(self, server: FaultyServer, auth: Any, header: str, value: str) -> None:
        with faulty_http.start() as other:
            other.script("/items", [Answer(GOOD)])
            server.script("/items", [Redirect(f"{other.url}/items", 307)])
            with client(server, auth=auth) as http:
                assert http.get("/items").body == GOOD
            assert header not in other.requests[0].headers
            assert value not in str(other.requests[0].headers)

    def test_a_redirect_at_home_keeps_them(self, server: FaultyServer) -> None:
        server.script("/old", [Redirect("/new")])
        server.script("/new", [Answer(GOOD)])
        with client(server, auth=Bearer("s3cret")) as http:
            assert http.get("/old").body == GOOD
        assert server.requests[1].headers["Authorization"] == "Bearer s3cret"

    def test_a_login_is_not_repeated_to_where_a_redirect_points(self, server: FaultyServer) -> None:
        with faulty_http.start() as other:
            server.script("/login", [Redirect(f"{other.url}/steal", 307)])
            auth = SessionToken("/login", {"username": "user", "password": "s3cret"})
            with (
                client(server, auth=auth) as http,
                pytest.raises(SourceError, match="redirects what it is sent to another"),
            ):
                http.get("/items")
            assert other.requests == []

    @pytest.mark.parametrize(
        "target",
        ["file:///etc/passwd", "ftp://host/x", "http://[::1", "http://host:99999/", "http://a\tb/", "http://a\x7f/"],
    )
    def test_a_redirect_or_link_to_what_is_no_address_is_told(self, server: FaultyServer, target: str) -> None:
        server.script("/items", [Redirect(target)])
        with client(server) as http:
            with pytest.raises(SourceError, match="cannot be asked"):
                http.get("/items")
            with pytest.raises(SourceError, match="cannot be asked"):
                http.get(target)

    def test_nor_does_a_redirect_lead_to_a_mailbox(self, server: FaultyServer) -> None:
        server.script("/items", [Redirect("mailto:a")])
        with client(server) as http, pytest.raises(SourceError, match="cannot be asked"):
            http.get("/items")

    @pytest.mark.parametrize("trick", ["{evil}\\@{home}/items", "{evil}/\\@{home}/items", "/\\{evil}/items"])
    def test_not_to_an_address_that_two_programs_read_as_two_servers(self, server: FaultyServer, trick: str) -> None:
        with faulty_http.start(lambda _: Answer(GOOD)) as evil:
            home = server.url.removeprefix("http://")
            target = trick.format(evil=f"http://localhost:{evil.server_port}", home=home)
            server.script("/items", [Redirect(target)])
            with client(server, auth=Bearer("s3cret")) as http:
                with pytest.raises(SourceError, match="cannot be asked.* backslash"):
                    http.get("/items")
                if is_whole(target):
                    with pytest.raises(SourceError, match="cannot be asked.* backslash"):
                        http.get(target, headers={"X-Token": "s3cret"})
            assert evil.requests == []

    @pytest.mark.parametrize(
        ("url", "where"),
        [
            ("http://one\\@two/x", ("http", "one", 80)),
            ("http://one:1\\@two:2/x", ("http", "one", 1)),
            ("http://user:password@one/x", ("http", "one", 80)),
            ("HTTPS://ONE/x", ("https", "one", 443)),
            ("http://one#@two/x", ("http", "one", 80)),
            ("http://one?@two/x", ("http", "one", 80)),
            ("http://[::1]:8080/x", ("http", "::1", 8080)),
        ],
    )
    def test_the_server_of_an_address_is_the_one_that_is_connected_to(
        self, url: str, where: tuple[str, str, int]
    ) -> None:
        assert origin(url) == where

    def test_a_token_that_no_header_can_carry_is_not_shown(self, server: FaultyServer) -> None:
        for token in ("hunter2\nX: y", "hunter2\u0416"):
            with (
                client(server, auth=Bearer(token)) as http,
                pytest.raises(SourceError, match="cannot be asked") as told,
            ):
                http.get("/items")
            assert "hunter2" not in str(told.value)

    def test_a_redirect_that_goes_round_ends(self, server: FaultyServer) -> None:
        server.script("/items", [Redirect("/items")], repeat=True)
        with client(server) as http, pytest.raises(SourceError, match="redirects more than"):
            http.get("/items")

    def test_a_netrc_file_is_not_read(
        self, server: FaultyServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password s3cret")
        monkeypatch.setenv("NETRC", str(netrc))
        server.script("/items", [Answer(GOOD)])
        with client(server) as http:
            http.get("/items")
        assert "Authorization" not in server.requests[0].headers

    def test_a_very_long_address_is_cut_between_its_parts(self) -> None:
        shown = redacted("https://host/items?page=2&secret=abc&" + "&".join(f"p{n}=value-{n}" for n in range(1000)))
        assert shown.startswith("https://host/items?page=2&secret=***&p0=value-0&")
        assert shown.endswith("&...")
        assert 450 < len(shown) <= 503
        assert redacted("https://host/items?cursor=" + "x" * 100_000) == "https://host/items?..."
        assert not holds_secret("https://host/items?cursor=" + "x" * 100_000)

    def test_any_text_is_shown_without_them(self, server: FaultyServer) -> None:
        with client(server, auth=Bearer("s3cret")) as http:
            assert http.masked("the token s3cret has expired") == "the token *** has expired"

    def test_addresses_in_errors_hold_no_secrets(self) -> None:
        shown = redacted("https://user:s3cret@host/path?page=2&api_key=s3cret&access_token=s3cret")
        assert shown == "https://host/path?page=2&api_key=***&access_token=***"

    def test_a_callers_headers_do_not_go_to_another_origin(self, server: FaultyServer) -> None:
        with faulty_http.start() as other:
            other.script("/items", [Answer(GOOD)], repeat=True)
            server.script("/items", [Redirect(f"{other.url}/items")])
            with client(server) as http:
                http.get("/items", headers={"X-Api-Key": "s3cret", "Accept": "application/json"})
                http.get(f"{other.url}/items", headers={"x-token": "s3cret"})
            assert other.requests[0].headers["Accept"] == "application/json"
            assert all("s3cret" not in str(request.headers) for request in other.requests)

    def test_cookies_are_not_kept(self, server: FaultyServer) -> None:
        server.script("/items", [Answer(GOOD, headers={"Set-Cookie": "session=s3cret"}), Answer(GOOD)])
        with client(server) as http:
            http.get("/items")
            http.get("/items")
        assert server.requests[1].headers["Cookie"] is None

    def test_a_body_that_is_posted_does_not_follow_a_redirect_to_another_origin(self, server: FaultyServer) -> None:
        with faulty_http.start() as other:
            server.script("/items", [Redirect(f"{other.url}/items", 308)])
            call = Call("/items", "POST", json={"query": "all"})
            with (
                client(server) as http,
                pytest.raises(SourceError, match="redirects what it is sent to another server"),
            ):
                http.request(call)
            assert other.requests == []

    def test_a_redirect_with_an_endless_body_is_followed(self, server: FaultyServer) -> None:
        class Away(Step):
            def play(self, handler: Any) -> None:
                handler.send_response(302)
                handler.send_header("Location", "/new")
                handler.send_header("Content-Length", str(10**12))
                handler.end_headers()
                while True:
                    handler.wfile.write(b"x" * 65536)

        server.script("/old", [Away()])
        server.script("/new", [Answer(GOOD)])
        with client(server) as http:
            assert http.get("/old").body == GOOD


class TestSecretsAreNotShown:
    KEY = "s3cret/k&y"

    def told(self, server: FaultyServer, step: Any, path: str = "/items", **settings: Any) -> str:
        server.script("/items", [step], repeat=True)
        with (
            client(server, auth=Bearer(self.KEY), attempts=2, **settings) as http,
            pytest.raises((SourceError, TryLater)) as told,
        ):
            list(http.parts(Call(path), RecordPath()))
        assert told.value.__cause__ is None
        assert told.value.__suppress_context__
        return str(told.value)

    @pytest.mark.parametrize(
        "step",
        [
            Answer({"your key": KEY}, 400),
            Answer({"your key": KEY}, 500),
            Answer({"your key": KEY}),
            Bytes(f"<html>{KEY}".encode()),
            Bytes(("x" * 190 + KEY).encode(), status=400),
            Redirect(f"ftp://host/{KEY}"),
            Redirect("http://host:99999/s3cret%2Fk%26y"),
        ],
        ids=repr,
    )
    def test_by_an_error_that_quotes_the_server(self, server: FaultyServer, step: Step) -> None:
        told = self.told(server, step)
        assert "s3cret" not in told
        assert "***" in told or "xxx" in told

    def test_nor_half_of_one_where_a_body_is_cut(self, server: FaultyServer) -> None:
        for length in range(180, 200):
            told = self.told(server, Answer("x" * length + self.KEY + " " * 100))
            assert "s3cr" not in told

    def test_by_an_error_that_quotes_an_address(self, server: FaultyServer) -> None:
        assert "s3cret" not in self.told(server, NotFound(), "/items?x=s3cret%2fk%26y")
        assert "s3cret" not in self.told(server, RateLimited(retry_after="100000"), "/items?x=s3cret/k%26y")
        assert "s3cret" not in self.told(server, Reset(), "/items?x=s3cret/k%26y")

    def test_by_the_log(self, server: FaultyServer, capsys: pytest.CaptureFixture[str]) -> None:
        server.script("/items/s3cret/k&y", [Answer(GOOD)])
        with client(server, auth=Bearer(self.KEY)) as http:
            http.get("/items/s3cret/k&y")
        logged = capsys.readouterr().out
        assert "/items/***: count=1" in logged
        assert "s3cret" not in logged


def numbered(count: int, width: int = 100) -> Iterator[bytes]:
    """The body {"page": 1, "data": [{"id": 0, "text": "xxx…"}, …], "next": 2} in chunks of about 64 KiB."""
    yield b'{"page": 1, "data": ['
    ids = iter(range(count))
    each = max(1, 65536 // width)
    while chunk := list(islice(ids, each)):
        text = ", ".join(json.dumps({"id": id_, "text": "x" * width}) for id_ in chunk)
        yield (text + (", " if chunk[-1] < count - 1 else "")).encode()
    yield b'], "next": 2}'


DATA = RecordPath("data")


def read(http: HttpClient, call: Call | None = None, records: RecordPath = DATA) -> tuple[list[Any], list[Part]]:
    """What a consumer has that resets when parts begin anew, and all parts."""
    kept: list[Any] = []
    parts = []
    for part in http.parts(call or Call("/items"), records):
        if part.is_first:
            kept.clear()
        kept += part.records
        assert part.rows == len(kept)
        parts.append(part)
    return kept, parts


class TestABodyOfAnySizeIsReadInParts:
    def test_a_small_one_is_one_part(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"id": 1}, {"id": 2}], "next": 7}, headers={"ETag": '"a"'})])
        with client(server) as http:
            kept, [part] = read(http, Call("/items", params={"page": "1"}))
            assert (http.metrics.pages, http.metrics.rows) == (1, 2)
        assert kept == [{"id": 1}, {"id": 2}]
        assert part.is_first
        assert part.where == f"{server.url}/items?page=1"
        assert part.answer
        assert part.answer.body == {"next": 7}
        assert part.answer.headers["etag"] == '"a"'
        assert part.answer.status == 200

    def test_an_empty_one_is_one_part_without_records(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": []})])
        with client(server) as http:
            kept, [part] = read(http)
        assert (kept, part.rows, part.is_first) == ([], 0, True)
        assert part.answer

    def test_a_large_one_is_several_of_bounded_size(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: numbered(50_000))])
        with client(server) as http:
            kept, parts = read(http)
        assert [record["id"] for record in kept] == list(range(50_000))
        assert [part.is_first for part in parts] == [True] + [False] * (len(parts) - 1)
        assert [part.answer is not None for part in parts] == [False] * (len(parts) - 1) + [True]
        assert all(PART_BYTES <= part.size < PART_BYTES + 200 for part in parts[:-1])
        assert len(parts) == 6
        assert parts[-1].answer
        assert parts[-1].answer.body["next"] == 2

    def test_memory_stays_flat(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: numbered(12_000, 3000))])  # 36 MB
        with client(server) as http:
            tracemalloc.start()
            try:
                rows = sum(len(part.records) for part in http.parts(Call("/items"), DATA))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert rows == 12_000
        assert peak < 12 * 1024 * 1024

    @pytest.mark.parametrize(
        ("body", "records", "expected"),
        [
            (b'{"a": {"id": 1}}', RecordPath("a", "object"), [{"id": 1}]),
            (b'{"x": {"v": 1}, "y": {"v": 2}}', RecordPath("", "map", "k"), [{"k": "x", "v": 1}, {"k": "y", "v": 2}]),
            (b'{"id": 1}\n\n{"id": 2}\n', RecordPath("", "lines"), [{"id": 1}, {"id": 2}]),
            (b'[{"n": 0.1234567890123456789}]', RecordPath(), [{"n": Decimal("0.1234567890123456789")}]),
        ],
        ids=["object", "map", "lines", "exact numbers"],
    )
    def test_of_every_shape(self, server: FaultyServer, body: bytes, records: RecordPath, expected: list[Any]) -> None:
        server.script("/items", [Bytes(body)])
        with client(server) as http:
            assert read(http, records=records)[0] == expected

    def test_the_beginning_may_be_read_in_another_thread(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: numbered(50_000)), Answer({"data": [{"id": 1}]})])
        with client(server, connections=2) as http, ThreadPoolExecutor(2) as threads:
            large = threads.submit(http.open, Call("/items")).result()
            small = threads.submit(http.open, Call("/items")).result()
            assert len(server.requests) == 2
            assert sum(len(part.records) for part in http.parts(Call("/items"), DATA, large)) == 50_000
            assert sum(len(part.records) for part in http.parts(Call("/items"), DATA, small)) == 1
        assert len(server.requests) == 2

    def test_what_was_opened_holds_the_beginning_only(self, server: FaultyServer) -> None:
        sent: list[int] = []

        def chunks() -> Iterator[bytes]:
            for chunk in numbered(1_000_000):
                sent.append(len(chunk))
                yield chunk

        server.script("/items", [Streamed(chunks)])
        with client(server) as http, http.open(Call("/items")):
            time.sleep(0.3)
            assert sum(sent) < 20 * PART_BYTES  # the rest waits at the server; what is between is in buffers of sockets

    def test_one_who_stops_early_closes_the_connection(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: numbered(200_000))])
        with client(server) as http:
            parts = http.parts(Call("/items"), DATA)
            next(parts)
            parts.close()  # type: ignore[attr-defined]
            deadline = time.monotonic() + 5
            while server.open_connections and time.monotonic() < deadline:
                time.sleep(0.02)
        assert not server.open_connections

    def test_304_is_an_answer_to_who_asked_for_changes_only(self, server: FaultyServer) -> None:
        server.script("/items", [Bytes(b"", status=304)], repeat=True)
        call = Call("/items", headers={"if-none-match": '"a"'})
        with client(server) as http:
            kept, [part] = read(http, call)
            assert part.answer
            assert (kept, part.answer.status, part.answer.body) == ([], 304, None)
            assert http.request(call).status == 304
            with pytest.raises(HttpError, match="status 304"):
                read(http)

    def test_records_are_counted_and_large_ones_too(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"text": "x" * 2_000_000}, {}]})])
        metrics = Metrics()
        with client(server, metrics=metrics) as http:
            read(http, Call("/items", endpoint="things"))
        assert (metrics.rows, metrics.records_over_1mb) == (2, 1)
        assert 2_000_000 < metrics.max_record_size_bytes < 2_000_100
        assert metrics.endpoints["things"].count == 1


class TestABodyThatBreaksOffIsReadAnew:
    @pytest.mark.parametrize(
        "broken",
        [
            lambda: Streamed(lambda: islice(numbered(30_000), 40), cut=True),
            lambda: Streamed(lambda: islice(numbered(30_000), 40)),
            lambda: Bytes(b"".join(numbered(30_000))[:3_000_000], {"Content-Length": "4000000"}),
            lambda: Bytes(b"".join(numbered(30_000)) + b"garbage"),
            lambda: Bytes(gzip.compress(b"".join(numbered(30_000)))[:-20], {"Content-Encoding": "gzip"}),
        ],
        ids=["no last chunk", "JSON that ends early", "shorter than announced", "garbage", "half of a gzip"],
    )
    def test_from_its_start(self, server: FaultyServer, broken: Callable[[], Step]) -> None:
        good = Streamed(lambda: numbered(30_000))
        hung_up = Bytes(b"{}", {"Content-Length": "9", "Connection": "close"})
        server.script("/items", [broken(), ServerError(), hung_up, broken(), good])
        with client(server) as http:
            kept, parts = read(http)
            assert (http.metrics.rows, http.metrics.pages, http.metrics.retries) == (30_000, 1, 4)
        assert [record["id"] for record in kept] == list(range(30_000))
        assert sum(part.is_first for part in parts) == 3
        assert sum(part.answer is not None for part in parts) == 1

    def test_also_when_it_was_opened_before(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: islice(numbered(30_000), 40), cut=True), Answer({"data": [{}]})])
        with client(server) as http:
            parts = list(http.parts(Call("/items"), DATA, http.open(Call("/items"))))
        assert parts[-1].rows == 1
        assert parts[-1].is_first

    def test_no_more_often_than_the_call_may_be_tried(self, server: FaultyServer) -> None:
        broken = Streamed(lambda: islice(numbered(30_000), 40), cut=True)
        server.script("/items", [ServerError(), broken], repeat=True)
        with client(server, attempts=3) as http, pytest.raises(SourceError, match="failed after 3 tries: .*cut off"):
            read(http)
        assert len(server.requests) == 3

    def test_lines_in_a_compressed_body_that_is_cut_between_two(self, server: FaultyServer) -> None:
        squeeze = zlib.compressobj(wbits=31)
        half = squeeze.compress(b'{"id": 1}\n') + squeeze.flush(zlib.Z_FULL_FLUSH)
        whole = half + squeeze.compress(b'{"id": 2}\n') + squeeze.flush()
        server.script("/items", [Bytes(body, {"Content-Encoding": "gzip"}) for body in (half, whole)])
        with client(server) as http:
            assert read(http, records=RecordPath("", "lines"))[0] == [{"id": 1}, {"id": 2}]

    def test_one_that_pauses_for_too_long(self, server: FaultyServer) -> None:
        def pausing() -> Iterator[bytes]:
            yield from islice(numbered(30_000), 40)
            time.sleep(1.0)

        server.script("/items", [Streamed(pausing, cut=True), Answer({"data": []})])
        with client(server) as http:
            assert read(http)[0] == []

    def test_one_that_drips(self, server: FaultyServer) -> None:
        def dripping() -> Iterator[bytes]:
            yield from islice(numbered(30_000), 40)
            for _ in range(100):
                time.sleep(0.05)
                yield b" "

        server.script("/items", [Streamed(dripping)], repeat=True)
        started = time.monotonic()
        with client(server, patience=0.5, attempts=1) as http, pytest.raises(SourceError, match="not complete after"):
            read(http)
        assert time.monotonic() - started < 3

    def test_but_not_because_its_consumer_takes_time(self, server: FaultyServer) -> None:
        server.script("/items", [Streamed(lambda: numbered(80_000))])
        with client(server, patience=0.5) as http:
            rows = 0
            for part in http.parts(Call("/items"), DATA):
                time.sleep(0.1)
                rows += len(part.records)
        assert rows == 80_000

    def test_nor_because_it_is_long(self, server: FaultyServer) -> None:
        def slowly() -> Iterator[bytes]:
            for chunk in numbered(60_000):
                time.sleep(0.01)
                yield chunk

        server.script("/items", [Streamed(slowly)])
        with client(server, patience=0.7) as http:
            assert len(read(http)[0]) == 60_000


class TestABodyOfAnotherShapeIsAnErrorAtOnce:
    @pytest.mark.parametrize(
        ("body", "records", "told"),
        [
            ({"error": "no such list"}, DATA, r"/items holds no list of records at 'data': .*no such list"),
            ({"data": {"id": 1}}, DATA, r"holds no list of records at 'data': \{\"id\": 1\}"),
            ({"data": [1]}, DATA, "holds no list of records at 'data'"),
            ({"data": None}, DATA, "holds no list of records at 'data': null"),
            ("no", RecordPath(), 'holds no list of records: "no"'),
            ([], RecordPath("", "object"), r"holds no record: \[\]"),
            ([], RecordPath("a", "map", "k"), "holds no object of records at 'a'"),
            ([], RecordPath("", "lines"), "holds no lines of records"),
        ],
        ids=repr,
    )
    def test_that_names_address_and_path(self, server: FaultyServer, body: Any, records: RecordPath, told: str) -> None:
        server.script("/items", [Answer(body)])
        with client(server) as http, pytest.raises(SourceError, match=told):
            read(http, records=records)
        assert len(server.requests) == 1

    def test_so_is_a_record_too_large_for_the_memory(self, server: FaultyServer) -> None:
        server.script("/items", [Answer({"data": [{"text": "x" * 5000}]})])
        with (
            client(server, max_record_bytes=1000) as http,
            pytest.raises(SourceError, match="/items .*1,000 characters"),
        ):
            read(http)
        assert len(server.requests) == 1

    def test_which_is_one_of_more_than_16_mb_of_text(self, server: FaultyServer) -> None:
        for length, is_read in ((16_777_000, True), (16_777_216, False)):
            server.script("/items", [Answer({"data": [{"text": "x" * length}]})])
            with client(server) as http, nullcontext() if is_read else pytest.raises(SourceError, match="16,777,216"):
                read(http)

    def test_or_of_less_with_many_small_values(self, server: FaultyServer) -> None:
        def answer(count: int) -> Step:
            return Bytes(b'{"data": [{"a": [' + b",".join([b'{"a":1}'] * count) + b"]}]}")

        server.script("/items", [answer(295_000), answer(305_000)])
        with client(server) as http:
            tracemalloc.start()
            try:
                [record] = next(http.parts(Call("/items"), DATA)).records
                converted = record_converter({})(record)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            with pytest.raises(SourceError, match="takes as much memory in many small values"):
                read(http)
        assert len(converted["_undeclared"]["a"]) == 295_000
        assert peak < 90_000_000  # of which three may be in memory


class TestCompressedBodiesAreDecodedAsTheyCome:
    BODY = json.dumps({"data": [{"id": n, "text": f"row {n}"} for n in range(20_000)]}).encode()

    @staticmethod
    def bare(body: bytes) -> bytes:
        squeeze = zlib.compressobj(wbits=-15)
        return squeeze.compress(body) + squeeze.flush()

    @pytest.mark.parametrize(
        ("encoding", "compress"),
        [
            ("gzip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("GZIP", lambda body: gzip.compress(body[:1000]) + gzip.compress(body[1000:])),
            ("deflate", zlib.compress),
            ("deflate", bare),
            ("identity", lambda body: body),
        ],
        ids=["gzip", "x-gzip", "gzip of two members", "deflate", "bare deflate", "identity"],
    )
    @pytest.mark.parametrize("piece", [1, 100_000])
    def test_in_full(self, server: FaultyServer, encoding: str, compress: Callable[[bytes], bytes], piece: int) -> None:
        data = compress(self.BODY)
        pieces = [data[:piece], data[piece:]] if piece == 1 else [data]
        server.script("/items", [Streamed(lambda: iter(pieces), headers={"Content-Encoding": encoding})], repeat=True)
        with client(server) as http:
            assert http.get("/items").body == json.loads(self.BODY)
            assert len(read(http)[0]) == 20_000
        assert server.requests[0].headers["Accept-Encoding"] == "gzip, deflate"

    @pytest.mark.parametrize(
        "bad",
        [
            Bytes(b"no gzip", {"Content-Encoding": "gzip"}),
            Bytes(gzip.compress(BODY)[:-9], {"Content-Encoding": "gzip"}),
            Bytes(gzip.compress(BODY)[:-8] + b"12345678", {"Content-Encoding": "gzip"}),
            Bytes(zlib.compress(BODY)[:-9], {"Content-Encoding": "deflate"}),
            Bytes(BODY, {"Content-Encoding": "br"}),
        ],
        ids=["none", "cut", "wrong check sum", "cut deflate", "another encoding"],
    )
    def test_or_asked_for_again(self, server: FaultyServer, bad: Step) -> None:
        server.script("/items", [bad, Answer(GOOD), bad, Answer(GOOD)])
        with client(server) as http:
            assert http.get("/items").body == GOOD
            assert read(http)[0] == GOOD["data"]

    def test_a_small_one_that_becomes_huge_is_refused_early(self, server: FaultyServer) -> None:
        bomb = gzip.compress(b"[" + b" " * 200_000_000 + b"]", compresslevel=1)
        server.script("/items", [Bytes(bomb, {"Content-Encoding": "gzip"})], repeat=True)
        with client(server, max_body_bytes=2_000_000) as http:
            tracemalloc.start()
            try:
                with pytest.raises(SourceError, match="more than 2,000,000 bytes"):
                    http.get("/items")
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak < len(bomb) + 10_000_000


class TestSeveralThreadsShareAClient:
    def test_each_gets_its_answer_over_no_more_connections_than_there_are_threads(self, server: FaultyServer) -> None:
        most = [0]

        def answer(request: Request) -> Step:
            most[0] = max(most[0], len(server.open_connections))
            return Answer({"data": [{"id": request.query["id"]}]})

        server.script("/items", [answer], repeat=True)
        with client(server, connections=8, auth=Bearer("s3cret")) as http, ThreadPoolExecutor(8) as threads:

            def ask(number: int) -> Any:
                return read(http, Call("/items", params={"id": str(number)}))[0][0]["id"]

            assert list(threads.map(ask, range(200))) == [str(number) for number in range(200)]
            assert http.metrics.api_call_count == 200
        assert most[0] <= 8

    def test_a_retry_after_of_one_holds_all(self, server: FaultyServer) -> None:
        server.script("/items", [RateLimited(retry_after="1"), Answer(GOOD)], repeat=True)
        with client(server, connections=4) as http, ThreadPoolExecutor(4) as threads:
            first = threads.submit(http.get, "/items")
            time.sleep(0.3)
            others = [threads.submit(http.get, "/items") for _ in range(3)]
            assert all(future.result().body == GOOD for future in [first, *others])
        assert min(request.time for request in server.requests[1:]) - server.requests[0].time >= 0.9
        assert len(server.requests) == 5

    def test_the_declared_rate_is_kept_by_all(self, server: FaultyServer) -> None:
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, connections=4, requests_per_second=20) as http, ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda _: http.get("/items"), range(11)))
            assert http.metrics.waits >= 10
        assert server.requests[-1].time - server.requests[0].time >= 0.48

    def test_the_end_of_the_sync_ends_every_wait_for_a_turn(self, server: FaultyServer) -> None:
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, connections=4, requests_per_second=0.1) as http, ThreadPoolExecutor(4) as threads:
            http.get("/items")
            waiting = [threads.submit(http.get, "/items") for _ in range(3)]
            time.sleep(0.1)
            started = time.monotonic()
            http.stop()
            assert all("was not sent" in str(future.exception(timeout=5)) for future in waiting)
            assert time.monotonic() - started < 3
        assert len(server.requests) == 1

    def test_a_single_refusal_at_the_start_slows_nobody_down(self, server: FaultyServer) -> None:
        server.script("/items", [*[Answer(GOOD)] * 6, RateLimited("0"), Answer(GOOD)], repeat=True)
        with client(server) as http:
            started = time.monotonic()
            for _ in range(50):
                http.get("/items")
            assert time.monotonic() - started < 3

    def test_a_server_that_says_too_many_requests_is_asked_more_slowly(self, server: FaultyServer) -> None:
        accepted: deque[float] = deque([0.0] * 20, maxlen=20)

        def limited(request: Request) -> Step:
            if request.time - accepted[0] < 1.0:
                return RateLimited(retry_after="0")
            accepted.append(request.time)
            return Answer(GOOD)

        server.script("/items", [limited], repeat=True)
        with client(server, connections=4, backoff=0.3, attempts=10) as http, ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda _: http.get("/items"), range(60)))
            assert len(answers) == 60
            assert 0 < http._limit.requests_per_second < 60
        refused = len(server.requests) - 60
        assert 0 < refused < 60  # without a limit that is learnt, most are refused again and again


class TestTheServersClock:
    def test_is_what_a_time_is_told_by(self, server: FaultyServer) -> None:
        ahead = datetime.now(UTC) + timedelta(hours=5)

        class Ahead(Answer):
            def play(self, handler: Any) -> None:
                handler.date_time_string = lambda *_: format_datetime(ahead, usegmt=True)
                super().play(handler)

        server.script("/items", [Ahead(GOOD)])
        with client(server) as http:
            assert abs(http.now() - datetime.now(UTC)) < timedelta(seconds=1)
            answer = http.get("/items")
            assert timedelta(seconds=-2) < answer.asked_at - ahead < timedelta(seconds=1)
            assert timedelta(seconds=-2) < http.now() - ahead < timedelta(seconds=5)

    @pytest.mark.parametrize(
        "told",
        ["Fri, 31 Dec 9999 23:59:59 -1200", "Mon, 01 Jan 1900 00:00:00 +1200", "soon", "Fri, 99 Foo 2026 99:99:99 GMT"],
    )
    def test_that_no_clock_can_show_is_ignored(self, server: FaultyServer, told: str) -> None:
        body = json.dumps(GOOD).encode()
        head = f"HTTP/1.1 200 OK\r\nDate: {told}\r\nContent-Length: {len(body)}\r\n\r\n"
        server.script("/items", [Raw(head.encode() + body)])
        with client(server) as http:
            http.get("/items")
            assert abs(http.now() - datetime.now(UTC)) < timedelta(seconds=1)


class TestLinksOfAnAnswer:
    @pytest.mark.parametrize(
        ("header", "links"),
        [
            ('</b>; rel="next"', {"next": "/b"}),
            ('</b>; rel="next last"', {"next": "/b", "last": "/b"}),
            ("</b>; rel=NEXT", {"next": "/b"}),
            ("</b>;REL=next", {"next": "/b"}),
            ("</b> ; rel = 'next' ;", {"next": "/b"}),
            ('</b?f=1;2,3>; rel="next"', {"next": "/b?f=1;2,3"}),
            ('</b>; title="a=b"; rel="next"', {"next": "/b"}),
            ('</b>; title="x; y, <z>"; rel="next"', {"next": "/b"}),
            ('</b>; title="say \\"rel=prev\\""; rel="next"', {"next": "/b"}),
            ("</b>; crossorigin; rel=next", {"next": "/b"}),
            ("</b>; title*=UTF-8''%e2%82%ac; rel=next; rel=last", {"next": "/b"}),
            (
                '</a>; rel="prev", </b>; rel="next"; title="b" , </c>;rel=last',
                {"prev": "/a", "next": "/b", "last": "/c"},
            ),
            ("</b>; rel=next, </c>; rel=next", {"next": "/b"}),
            ("</a>, </b>; rel=next,", {"next": "/b"}),
            ("", {}),
            (" , ", {}),
        ],
    )
    def test_are_read_as_the_standard_says(self, header: str, links: dict[str, str]) -> None:
        assert parse_links(header) == links

    @pytest.mark.parametrize(
        "header", ["/b; rel=next", "</b; rel=next", '</b>; title="x; rel=next', "</a> </b>; rel=next", "</a>; rel=a, b"]
    )
    def test_that_cannot_be_read_are_an_error_to_who_asks_for_one(self, server: FaultyServer, header: str) -> None:
        server.script("/items", [Answer(GOOD, headers={"Link": header})])
        with client(server) as http:
            answer = http.get("/items", params={"token": "s3cret"})
            assert answer.body == GOOD
            with pytest.raises(SourceError, match=r"/items\?token=\*\*\* has a Link header that is no link after"):
                answer.links.get("next")

    def test_are_found_by_any_case_of_the_relation_in_several_headers(self, server: FaultyServer) -> None:
        body = json.dumps(GOOD).encode()
        head = b"HTTP/1.1 200 OK\r\nLink: </a>; rel=prev\r\nLink: </b>; rel=next\r\nContent-Length: %d\r\n\r\n"
        server.script("/items", [Raw(head % len(body) + body)])
        with client(server) as http:
            links = http.get("/items").links
        assert (links["next"], links["Next"], links.get("first")) == ("/b", "/b", None)
        assert dict(links) == {"prev": "/a", "next": "/b"}

    def test_cost_no_more_than_their_length(self) -> None:
        for hostile in ("," * 200_000, "</a>," * 100_000, "</a>;" + " " * 200_000, "</a>" + ";a" * 100_000):
            started = time.process_time()
            parse_links(hostile)
            assert time.process_time() - started < 2


class TestAProxyOfTheEnvironment:
    @pytest.fixture(autouse=True)
    def _no_exceptions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)

    def test_is_used(self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        server.script("/items", [Answer(GOOD)], repeat=True)
        with serving(ForwardProxy()) as proxy:
            monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//user:s3cret@"))
            with client(server, auth=Bearer("t0ken")) as http:
                assert http.get("/items", {"page": "1"}).body == GOOD
                assert read(http)[0] == GOOD["data"]
            assert [request.path for request in proxy.requests] == ["/items", "/items"]
            assert proxy.requests[0].headers["Proxy-Authorization"]
        assert [request.headers["Authorization"] for request in server.requests] == ["Bearer t0ken"] * 2

    def test_that_is_down_is_told_without_its_password(
        self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serving(ForwardProxy()) as proxy:
            url = proxy.url.replace("//", "//user:s3cret@")
        monkeypatch.setenv("http_proxy", url)
        with client(server, attempts=2) as http, pytest.raises(SourceError, match="cannot reach") as told:
            http.get("/items")
        assert "s3cret" not in str(told.value)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that is trusted."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    return authority


@contextmanager
def encrypted(certificate: trustme.LeafCert) -> Iterator[FaultyServer]:
    """A server that speaks TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    server = FaultyServer()
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.url = f"https://localhost:{server.server_port}"
    with serving(server):
        yield server


class TestEncryptedConnections:
    def test_a_trusted_server_is_read(self, authority: trustme.CA) -> None:
        with encrypted(authority.issue_cert("localhost")) as server, client(server) as http:
            server.script("/items", [Reset(), Streamed(lambda: numbered(30_000))])
            assert len(read(http)[0]) == 30_000

    def test_one_that_drips_is_given_up(self, authority: trustme.CA) -> None:
        with encrypted(authority.issue_cert("localhost")) as server, client(server, patience=0.5) as http:
            server.script("/items", [Dripping()], repeat=True)
            with pytest.raises(SourceError, match="not complete after 0.5 s"):
                http.get("/items")

    @pytest.mark.parametrize("name", ["localhost", "elsewhere.example.com"], ids=["authority", "name"])
    def test_one_that_cannot_be_trusted_is_told_at_once(self, authority: trustme.CA, name: str) -> None:
        maker = trustme.CA() if name == "localhost" else authority
        with encrypted(maker.issue_cert(name)) as server, client(server, backoff=60.0) as http:
            with pytest.raises(SourceError, match="cannot be trusted: .*certificate"):
                http.get("/items")
            assert http.metrics.api_call_count == 1

    def test_one_that_does_not_speak_tls_is_told(self, server: FaultyServer) -> None:
        url = server.url.replace("http:", "https:")
        with HttpClient(url, backoff=0.01) as http, pytest.raises(SourceError, match="cannot reach GET https://"):
            http.get("/items")

    def test_through_a_proxy(self, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        with encrypted(authority.issue_cert("localhost")) as server, serving(ForwardProxy()) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            server.script("/items", [Answer(GOOD), Dripping(), Answer(GOOD)])
            with client(server, auth=Bearer("t0ken"), patience=0.6) as http:
                http._patience = 10.0  # for the retries
                assert http.get("/items").body == GOOD
                assert http.get("/items").body == GOOD
            assert {request.method for request in proxy.requests} == {"CONNECT"}
            assert "t0ken" not in str([str(request.headers) for request in proxy.requests])


class TestFigures:
    def test_are_logged_in_the_end_by_who_made_them(
        self, server: FaultyServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        server.script("/items", [ServerError(), Answer(GOOD), NotFound()])
        metrics = Metrics()
        with client(server, metrics=metrics) as http:
            http.get("/items")
            with pytest.raises(HttpError):
                http.request(Call("/items", endpoint="things"))
        assert "api_call_count" not in capsys.readouterr().out
        assert (metrics.api_call_count, metrics.retries) == (3, 1)
        assert [(name, it.count, it.errors) for name, it in metrics.endpoints.items()] == [
            ("/items", 2, 1),
            ("things", 1, 1),
        ]
        with client(server):
            pass
        assert "api_call_count=0" in capsys.readouterr().out
