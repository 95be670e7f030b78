"""Credentials go where they belong and nowhere else; tokens are fetched once, whatever the number of threads."""

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest
import requests
from fivetran_connector_sdk import Logging

from shared.authentication import ApiKey, Authentication, Basic, Bearer, ExpiringToken, OAuth2, SessionToken
from shared.errors import ConfigurationError, SourceError, TryLater
from shared.http_client import HttpClient, HttpError
from tests.sources import faulty_http
from tests.sources.faulty_http import (
    Answer,
    FaultyServer,
    NotFound,
    RateLimited,
    Redirect,
    ServerError,
    Step,
    Unauthorized,
)
from tests.sources.http_thread import Request

GOOD = {"data": [{"id": 1}]}


@pytest.fixture(autouse=True)
def _logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with faulty_http.start() as running:
        yield running


def client(server: FaultyServer, auth: Authentication, **settings: Any) -> HttpClient:
    return HttpClient(server.url, auth=auth, **{"backoff": 0.01, "timeout": (5.0, 1.0), **settings})


def form(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


def minting(token: str, minted: list[str]) -> Callable[[Request], Step]:
    """A login whose tokens are numbered."""

    def step(_: Request) -> Step:
        minted.append(f"token-{len(minted) + 1}")
        return Answer({token: minted[-1]})

    return step


def only(valid: Callable[[], str]) -> Callable[[Request], Step]:
    """An answer to those who have the token that is valid now."""
    return lambda request: Answer(GOOD) if request.headers["Authorization"].endswith(valid()) else Unauthorized()


class TestKeysInHeaders:
    def test_a_user_and_password_that_are_not_ascii(self, server: FaultyServer) -> None:
        server.script("/items", [Answer(GOOD)])
        with client(server, Basic("jürgen", "pässwört")) as http:
            http.get("/items")
        encoded = server.requests[0].headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(encoded).decode() == "jürgen:pässwört"

    def test_a_key_in_the_place_of_the_user_is_a_secret(self) -> None:
        assert "key-12345" in Basic("key-12345", "").secrets
        assert "user-name" not in Basic("user-name", "s3cret").secrets


class TestAKeyInTheQuery:
    auth = ApiKey("k&y =1", parameter="api_key")

    def test_is_on_every_request_and_never_doubled(self, server: FaultyServer) -> None:
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, self.auth) as http:
            http.get("/items", {"page": "1"})
            http.get(f"{server.url}/items?api_key=old&page=2&api%5Fkey=older")
            http.get("/items")
        assert [request.query for request in server.requests] == [
            {"page": "1", "api_key": "k&y =1"},
            {"page": "2", "api_key": "k&y =1"},
            {"api_key": "k&y =1"},
        ]

    def test_leaves_the_rest_of_the_address_as_it_is(self) -> None:
        request = requests.Request("GET", "http://host/a%2Fb?x=%2F&y&z=1%202&api_key=a#part").prepare()
        assert self.auth(request).url == "http://host/a%2Fb?x=%2F&y&z=1%202&api_key=k%26y+%3D1#part"

    def test_is_not_in_what_may_be_saved_or_shown(self, server: FaultyServer) -> None:
        link = f"<{server.url}/items?api_key=abcd1234&page=2>; rel=next"
        server.script("/items", [Answer(GOOD, headers={"Link": link}), NotFound()])
        with client(server, ApiKey("abcd1234", parameter="api_key")) as http:
            answer = http.get("/items", {"page": "1"})
            assert answer.url == f"{server.url}/items?page=1"
            assert answer.links["next"] == f"{server.url}/items?page=2"
            assert http.strip(f"{server.url}/items?api_key=abcd1234") == f"{server.url}/items"
            with pytest.raises(HttpError) as told:
                http.get("/items", {"page": "3"})
        assert "page=3" in str(told.value)
        assert "abcd1234" not in str(told.value)

    def test_strip_takes_away_the_key_only(self) -> None:
        for url in (
            "/items",
            "http://host/a?",
            "http://host/?my_api_key=1&page=2#top",
            "not an address",
            "http://[x?a",
        ):
            assert self.auth.strip(url) == url.removesuffix("?")
        for url, stripped in {
            "/a?x=1&api_key=2&y=#z": "/a?x=1&y=#z",
            "/a?api%5Fkey=2": "/a",
            "?api_key=k%26y%20%3D1&page=2": "?page=2",
            "a/b?page=2&api_key": "a/b?page=2",
            "//host/a?api_key=%6B&x=1": "//host/a?x=1",
            "/a?API_KEY=k%26y+%3d1&page=2": "/a?page=2",  # a server may call it otherwise
        }.items():
            assert self.auth.strip(url) == stripped
            assert ApiKey("key").strip(url) == url

    def test_a_short_one_is_told_by_its_name_only(self) -> None:
        url = "/a?page=1&key=1"
        assert ApiKey("1", parameter="key").strip(url) == "/a?page=1"

    def test_never_goes_to_another_origin(self, server: FaultyServer) -> None:
        with faulty_http.start() as other:
            other.script("/items", [Answer(GOOD)], repeat=True)
            server.script("/items", [Redirect(f"{other.url}/items?api_key=abcd1234&page=2")])
            with client(server, ApiKey("abcd1234", parameter="api_key")) as http:
                http.get("/items")
                http.get(f"{other.url}/items?api_key=abcd1234&page=3")
            assert [request.query for request in other.requests] == [{"page": "2"}, {"page": "3"}]


class TestSessionToken:
    def auth(self) -> SessionToken:
        return SessionToken("/login", {"username": "user", "password": "s3cret"})

    def test_logs_in_before_the_first_request_and_only_then(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"})])
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, self.auth()) as http:
            http.get("/items")
            http.get("/items")
        assert [request.path for request in server.requests] == ["/login", "/items", "/items"]
        assert server.requests[0].json == {"username": "user", "password": "s3cret"}
        assert server.requests[1].headers["Authorization"] == "Token one"

    def test_by_get_with_headers_and_a_token_further_down(self, server: FaultyServer) -> None:
        server.script("/token", [Answer({"data": {"accessToken": "one"}})])
        server.script("/items", [Answer(GOOD)])
        headers = {"X-API-Key-ID": "id-1", "X-API-Key": "s3cret"}
        auth = SessionToken("/token", token="data.accessToken", scheme="Bearer", method="GET", headers=headers)
        with client(server, auth) as http:
            http.get("/items")
        login, items = server.requests
        assert (login.method, login.body) == ("GET", b"")
        assert (login.headers["X-API-Key-ID"], login.headers["X-API-Key"]) == ("id-1", "s3cret")
        assert items.headers["Authorization"] == "Bearer one"
        assert items.headers["X-API-Key"] is None

    def test_a_session_that_expired_is_renewed_once(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"}), Answer({"token": "two"})])
        server.script("/items", [Unauthorized(), Answer(GOOD)])
        with client(server, self.auth()) as http:
            assert http.get("/items").body == GOOD
        assert server.requests[-1].headers["Authorization"] == "Token two"
        assert server.unexpected == []

    def test_a_session_refused_twice_is_an_error(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "one"})], repeat=True)
        server.script("/items", [Unauthorized()], repeat=True)
        with client(server, self.auth()) as http, pytest.raises(HttpError, match="401"):
            http.get("/items")
        assert len(server.requests) == 4

    def test_one_that_is_refused_even_when_it_is_new_is_not_fetched_for_each_call(
        self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        minted: list[str] = []
        server.script("/login", [minting("token", minted)], repeat=True)
        server.script("/items", [Answer(GOOD)], repeat=True)
        server.script("/closed", [Unauthorized()], repeat=True)
        with client(server, self.auth()) as http:
            for _ in range(20):
                with pytest.raises(HttpError, match="401"):
                    http.get("/closed")
                assert http.get("/items").body == GOOD
            assert len(minted) == 2
            later = time.monotonic() + 61
            monkeypatch.setattr("shared.authentication.time.monotonic", lambda: later)
            server.script("/items", [Unauthorized(), Answer(GOOD)])
            assert http.get("/items").body == GOOD  # the session may have expired since
        assert len(minted) == 3

    def test_one_that_expires_again_soon_is_renewed_again(self, server: FaultyServer) -> None:
        server.script("/login", [minting("token", [])], repeat=True)
        server.script("/items", [Unauthorized(), Answer(GOOD)] * 3)
        with client(server, self.auth()) as http:
            for _ in range(3):
                assert http.get("/items").body == GOOD

    def test_a_path_of_the_login_is_below_the_base_address(self, server: FaultyServer) -> None:
        server.script("/api/auth:login", [Answer({"token": "one"})])
        server.script("/api/items", [Answer(GOOD)])
        with HttpClient(f"{server.url}/api", auth=SessionToken("auth:login", {"password": "s3cret"})) as http:
            assert http.get("/items").body == GOOD

    def test_a_login_without_a_token_names_the_address(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"error": "no"})])
        with client(server, self.auth()) as http, pytest.raises(SourceError, match=re.escape("/login answered")):
            http.get("/items")

    def test_a_login_refused_is_told_without_its_body_and_never_as_the_status_of_a_page(
        self, server: FaultyServer
    ) -> None:
        server.script("/login", [Answer({"said": "wrong password s3cret"}, 404)])
        with (
            client(server, self.auth()) as http,
            pytest.raises(SourceError, match="/login answered with status 404") as told,
        ):
            http.get("/items")
        assert not isinstance(told.value, HttpError)
        assert "said" not in str(told.value)

    def test_a_login_refused_is_not_tried_again(self, server: FaultyServer) -> None:
        server.script("/login", [Unauthorized()], repeat=True)
        with client(server, self.auth()) as http:
            for _ in range(3):
                with pytest.raises(SourceError, match="check the credentials"):
                    http.get("/items")
        assert len(server.requests) == 1

    def test_a_login_that_asks_to_come_back_later_ends_cleanly_in_every_thread(self, server: FaultyServer) -> None:
        server.script("/login", [RateLimited(retry_after="3600")])
        with client(server, self.auth(), patience=5.0) as http:
            for _ in range(2):
                with pytest.raises(TryLater):
                    http.get("/items")

    @pytest.mark.parametrize("target", ["/elsewhere", "http://127.0.0.1:1/steal"])
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_login_follows_no_redirect_at_all(
        self, server: FaultyServer, target: str, status: int, method: str
    ) -> None:
        server.script("/login", [Redirect(target, status)])
        auth = SessionToken("/login", method=method, headers={"X-API-Key": "s3cret"})
        with client(server, auth) as http, pytest.raises(SourceError, match="a login is not sent on"):
            http.get("/items")
        assert [request.path for request in server.requests] == ["/login"]


class TestATokenIsFetchedOnce:
    def auths(self) -> list[ExpiringToken]:
        return [SessionToken("/login", {"password": "s3cret"}, token="access_token"), OAuth2("/login", "id", "s3cret")]

    @pytest.mark.parametrize("which", [0, 1])
    def test_for_ten_threads_at_the_start_and_after_it_expired(self, server: FaultyServer, which: int) -> None:
        minted: list[str] = []
        server.script("/login", [minting("access_token", minted)], repeat=True)
        server.script("/items", [only(lambda: minted[-1])], repeat=True)
        barrier = threading.Barrier(10)
        with client(server, self.auths()[which], connections=10) as http, ThreadPoolExecutor(10) as threads:

            def ask(_: int) -> Any:
                barrier.wait()
                return http.get("/items").body

            assert list(threads.map(ask, range(10))) == [GOOD] * 10
            assert len(minted) == 1
            server.script("/items", [only(lambda: "token-2")], repeat=True)
            assert list(threads.map(ask, range(10))) == [GOOD] * 10
        assert len(minted) == 2
        assert len([request for request in server.requests if request.path == "/login"]) == 2

    def test_even_if_the_server_gives_the_same_token_again(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"access_token": "same"})], repeat=True)
        refused = threading.Barrier(10)

        def refuse(_: Request) -> Step:
            refused.wait(5)
            return Unauthorized()

        server.script("/items", [refuse], repeat=True)
        with client(server, self.auths()[1], connections=10) as http, ThreadPoolExecutor(10) as threads:
            futures = [threads.submit(http.get, "/items") for _ in range(10)]
            failures = [future.exception() for future in futures]
        assert all(isinstance(failure, HttpError) and failure.status == 401 for failure in failures)
        assert [request.path for request in server.requests].count("/login") == 2

    def test_that_cannot_be_fetched_by_any_thread_is_asked_for_once(self, server: FaultyServer) -> None:
        server.script("/login", [Unauthorized()], repeat=True)
        with client(server, self.auths()[0]) as http, ThreadPoolExecutor(10) as threads:
            futures = [threads.submit(http.get, "/items") for _ in range(10)]
            assert all(isinstance(future.exception(), SourceError) for future in futures)
        assert len(server.requests) == 1


class TestOAuth2:
    def ask(self, server: FaultyServer, auth: OAuth2, answer: Any = None) -> Request:
        """The request for a token that a client makes."""
        server.script("/token", [Answer(answer or {"access_token": "one", "token_type": "Bearer"})])
        server.script("/items", [Answer(GOOD)])
        with client(server, auth) as http:
            assert http.get("/items").body == GOOD
        assert server.requests[1].headers["Authorization"] == "Bearer one"
        return server.requests[0]

    def test_client_credentials_in_the_form(self, server: FaultyServer) -> None:
        request = self.ask(server, OAuth2("/token", "me", "s3cret & more", scope="read all", extra={"audience": "api"}))
        assert request.method == "POST"
        assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert request.headers["Authorization"] is None
        assert form(request) == {
            "grant_type": "client_credentials",
            "client_id": "me",
            "client_secret": "s3cret & more",
            "scope": "read all",
            "audience": "api",
        }

    def test_client_credentials_in_the_header(self, server: FaultyServer) -> None:
        request = self.ask(server, OAuth2("/token", "me:you", "s3cret%", style="basic"))
        encoded = request.headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(encoded) == b"me%3Ayou:s3cret%25"
        assert form(request) == {"grant_type": "client_credentials"}

    def test_a_refresh_token(self, server: FaultyServer) -> None:
        request = self.ask(server, OAuth2("/token", "me", "", refresh_token="refresh-1"))
        assert form(request) == {"grant_type": "refresh_token", "refresh_token": "refresh-1", "client_id": "me"}

    @pytest.mark.parametrize(
        ("expires_in", "minted"),
        [(3600, 1), ("3600", 1), (0.01, 3), (None, 1), (0, 1), (-5, 1), ("soon", 1), ([1], 1), (True, 1), (10**400, 1)],
    )
    def test_is_renewed_ahead_of_time(self, server: FaultyServer, expires_in: Any, minted: int) -> None:
        server.script("/token", [Answer({"access_token": "one", "expires_in": expires_in})], repeat=True)
        server.script("/items", [Answer(GOOD)], repeat=True)
        with client(server, OAuth2("/token", "me", "s3cret")) as http:
            for _ in range(3):
                http.get("/items")
                threading.Event().wait(0.02)
        assert [request.path for request in server.requests].count("/token") == minted

    def test_is_renewed_a_minute_ahead(self, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
        auth = OAuth2("/token", "me", "s3cret")
        self.ask(server, auth, {"access_token": "one", "expires_in": 3600})
        server.script("/token", [Answer({"access_token": "two"})])
        with client(server, auth) as http:
            now = [0.0]
            monkeypatch.setattr("shared.authentication.time.monotonic", lambda: now[0])
            server.script("/items", [Answer(GOOD)], repeat=True)
            http.get("/items")
            assert server.requests[-1].headers["Authorization"] == "Bearer one"
            now[0] = 10**9
            http.get("/items")
        assert server.requests[-1].headers["Authorization"] == "Bearer two"

    def test_a_refusal_says_why_without_secrets(self, server: FaultyServer) -> None:
        said = {
            "error": "invalid_client",
            "error_description": f"client me gave s3cret/1, that is {quote('s3cret/1', safe='')}",
            "client_secret": "s3cret/1",
            "request": "hidden",
        }
        server.script("/token", [Answer(said, 400)])
        with (
            client(server, OAuth2("/token", "me", "s3cret/1")) as http,
            pytest.raises(
                SourceError, match=r"status 400.*invalid_client, client me gave \*\*\*, that is \*\*\*$"
            ) as told,
        ):
            http.get("/items")
        assert "hidden" not in str(told.value)
        assert not isinstance(told.value, HttpError)

    @pytest.mark.parametrize("body", [["no"], "no", None, {"error": {"deep": 1}}])
    def test_a_refusal_that_says_nothing_is_told_all_the_same(self, server: FaultyServer, body: Any) -> None:
        server.script("/token", [Answer(body, 400)])
        with client(server, OAuth2("/token", "me", "s3cret")) as http, pytest.raises(SourceError, match="status 400$"):
            http.get("/items")

    def test_a_server_that_is_down_for_a_moment_is_asked_again(self, server: FaultyServer) -> None:
        server.script("/token", [ServerError(503), Answer({"access_token": "one"})])
        server.script("/items", [Answer(GOOD)])
        with client(server, OAuth2("/token", "me", "s3cret")) as http:
            assert http.get("/items").body == GOOD

    def test_a_refresh_token_that_the_server_replaces_is_used_and_warned_of_once(
        self, server: FaultyServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr("shared.authentication.op.warning", warnings.append)
        answers = [Answer({"access_token": f"access-{n}", "refresh_token": f"refresh-{n}"}) for n in (2, 3, 4)]
        server.script("/token", answers)
        server.script("/items", [Unauthorized(), Answer(GOOD), Unauthorized(), Answer(GOOD)])
        auth = OAuth2("/token", "me", "s3cret", refresh_token="refresh-1")
        with client(server, auth) as http:
            http.get("/items")
            http.get("/items")
        sent = [form(request)["refresh_token"] for request in server.requests if request.path == "/token"]
        assert sent == ["refresh-1", "refresh-2", "refresh-3"]
        assert len(warnings) == 1
        assert f"{server.url}/token gave a new refresh token" in warnings[0]
        assert {"refresh-1", "refresh-4", "access-4"} <= set(auth.secrets)

    def test_the_token_may_come_from_another_origin_and_goes_only_home(self, server: FaultyServer) -> None:
        with faulty_http.start() as login:
            login.script("/token", [Answer({"access_token": "one"})])
            server.script("/items", [Answer(GOOD)])
            with client(server, OAuth2(f"{login.url}/token", "me", "s3cret", style="basic")) as http:
                http.get("/items")
            assert form(login.requests[0]) == {"grant_type": "client_credentials"}
            assert login.requests[0].headers["Authorization"].startswith("Basic ")
        assert server.requests[0].headers["Authorization"] == "Bearer one"

    def test_a_page_of_another_origin_is_asked_for_without_a_token(self, server: FaultyServer) -> None:
        with faulty_http.start() as other:
            other.script("/items", [Unauthorized()])
            with client(server, OAuth2("/token", "me", "s3cret")) as http, pytest.raises(HttpError, match="401"):
                http.get(f"{other.url}/items")
            assert other.requests[0].headers["Authorization"] is None
        assert server.requests == []


class TestCredentialsAreNotSentInClearText:
    @pytest.mark.parametrize(
        "url",
        [
            "http://login.example.com/token",
            "HTTP://10.0.0.1/token",
            "//host/x",
            "http://[x/",
            "http://evil:1\\\\@localhost/x",
        ],
    )
    def test_to_an_address_without_tls(self, url: str) -> None:
        for make in (lambda: OAuth2(url, "me", "s3cret"), lambda: SessionToken(url, {"password": "s3cret"})):
            with pytest.raises(ConfigurationError, match="use https://"):
                make()

    def test_to_a_path_below_a_base_address_without_tls(self) -> None:
        with (
            HttpClient("http://api.example.com", auth=OAuth2("/token", "me", "s3cret")) as http,
            pytest.raises(ConfigurationError, match="http://api.example.com/token .*use https://"),
        ):
            http.get("/items")

    @pytest.mark.parametrize("url", ["https://login.example.com/token", "http://localhost:1/t", "http://[::1]:1/t"])
    def test_but_with_tls_or_to_this_machine(self, url: str) -> None:
        OAuth2(url, "me", "s3cret")


class TestSecretsAreMasked:
    @pytest.mark.parametrize(
        "auth", [Bearer('a/b+c d"é<'), ApiKey('a/b+c d"é<', parameter="key")], ids=["header", "query"]
    )
    def test_in_every_way_they_are_written(self, auth: Authentication) -> None:
        for written in (
            'a/b+c d"é<',
            "a%2Fb%2Bc%20d%22%C3%A9%3C",
            "a%2fb%2bc+d%22%c3%a9%3c",
            'a/b+c d\\"\\u00e9<',
            "a/b+c d&quot;é&lt;",
            'a/b+c%20d"é%3C',
        ):
            assert auth.masked(f"before {written} after {written}") == "before *** after ***"

    def test_but_not_what_is_too_short_to_be_one(self) -> None:
        assert Bearer("abc").masked("abc in abcdef") == "abc in abcdef"
        assert Basic("user", "").masked("user") == "***"

    def test_names_of_users_and_the_like_are_none(self) -> None:
        auth = SessionToken("/login", {"username": "user", "Email": "a@b.c", "password": "s3cret", "pin_code": "12345"})
        assert auth.secrets == ("s3cret", "12345")
        assert (
            OAuth2("/token", "my-client", "s3cret", scope="read").masked("my-client s3cret read")
            == "my-client *** read"
        )

    def test_the_longer_one_of_two_that_begin_alike(self) -> None:
        auth = SessionToken("/login", {"one": "abcd", "two": "abcdefgh"})
        assert auth.masked("abcdefgh abcd") == "*** ***"

    def test_tokens_fetched_on_the_way_too(self, server: FaultyServer) -> None:
        server.script("/login", [Answer({"token": "t0ken-1"})])
        server.script("/items", [Answer({"you sent": "t0ken-1"}, 400)])
        with (
            client(server, SessionToken("/login", {"password": "s3cret"})) as http,
            pytest.raises(HttpError, match=r"you sent.*\*\*\*") as told,
        ):
            http.get("/items")
        assert "t0ken" not in str(told.value)

    def test_a_key_of_the_query_in_the_form_it_is_sent(self, server: FaultyServer) -> None:
        server.script("/items", [lambda request: Answer({"query": request.query}, 400)])
        with client(server, ApiKey("k&y=1234", parameter="unknown_name")) as http, pytest.raises(HttpError) as told:
            http.get("/items")
        assert "unknown_name=***" in str(told.value)
        assert "1234" not in str(told.value)
