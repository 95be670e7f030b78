"""Against a server that misbehaves on demand: an answer in full, or one sentence with address and cause."""

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from shared.errors import SourceError, TryLater, redacted
from shared.http_client import ApiKey, Basic, Bearer, HttpClient, HttpError, SessionToken
from tests.sources import faulty_http
from tests.sources.faulty_http import (
    Answer,
    Chunked,
    FaultyServer,
    Hang,
    NotFound,
    RateLimited,
    Redirect,
    Reset,
    ServerError,
    Step,
    Truncated,
    Unauthorized,
    WrongJson,
)

GOOD = {"data": [{"id": 1}]}


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
            assert (http.metrics.calls, http.metrics.retries) == (2, 1)
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
        "target", ["file:///etc/passwd", "ftp://host/x", "http://[::1", "http://host:99999/", "mailto:a"]
    )
    def test_a_redirect_or_link_to_what_is_no_address_is_told(self, server: FaultyServer, target: str) -> None:
        server.script("/items", [Redirect(target)])
        with client(server) as http:
            with pytest.raises(SourceError, match="cannot be asked"):
                http.get("/items")
            with pytest.raises(SourceError, match="cannot be asked"):
                http.get(target)

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

    def test_addresses_in_errors_hold_no_secrets(self) -> None:
        shown = redacted("https://user:s3cret@host/path?page=2&api_key=s3cret&access_token=s3cret")
        assert shown == "https://host/path?page=2&api_key=***&access_token=***"


class TestSessionToken:
    def auth(self) -> SessionToken:
        return SessionToken("/login", {"username": "user", "password": "s3cret"})

    def test_logs_in_before_the_first_request_and_only_then(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"})])
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, auth=self.auth()) as http:
            http.get("/items")
            http.get("/items")
        assert [request.path for request in server.requests] == ["/login", "/items", "/items"]
        assert server.requests[0].json == {"username": "user", "password": "s3cret"}
        assert server.requests[1].headers["Authorization"] == "Token one"

    def test_a_session_that_expired_is_renewed_once(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"}), Answer({"token": "two"})])
        server.script("/items", [Unauthorized(), Answer(GOOD)])
        with client(server, auth=self.auth()) as http:
            assert http.get("/items").body == GOOD
        assert server.requests[-1].headers["Authorization"] == "Token two"
        assert server.unexpected == []

    def test_a_session_refused_twice_is_an_error(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"})], repeat=True)
        server.script("/items", [Unauthorized()], repeat=True)
        with client(server, auth=self.auth()) as http, pytest.raises(HttpError, match="401"):
            http.get("/items")
        assert len(server.requests) == 4

    def test_many_threads_log_in_once(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"})])
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, auth=self.auth()) as http:
            threads = [threading.Thread(target=http.get, args=("/items",)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [request.path for request in server.requests].count("/login") == 1

    def test_a_login_without_a_token_names_the_address(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"error": "no"})])
        with client(server, auth=self.auth()) as http, pytest.raises(SourceError, match=re.escape("/login answered")):
            http.get("/items")
