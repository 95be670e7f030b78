"""The servers in `tests.sources` do what the other tests rely on."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import requests
from psycopg2 import sql

from tests.sources import fake_fivetran_api, faulty_http, playground, postgres_server, tcp_proxy, tpch
from tests.sources.faulty_http import (
    Answer,
    Chunked,
    ErrorObject,
    FaultyServer,
    Hang,
    NotFound,
    RateLimited,
    Redirect,
    Reset,
    ServerError,
    Truncated,
    Unauthorized,
    WrongJson,
)
from tests.sources.http_thread import Request
from tests.sources.postgres_server import PostgresServer

PAGE = {"data": [{"id": number} for number in range(100)]}


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server.start() as server:
        yield server


@pytest.fixture
def http() -> Iterator[FaultyServer]:
    with faulty_http.start() as server:
        yield server


def value(server: PostgresServer, query: str | sql.Composable, database: str = "postgres") -> Any:
    """Returns the only value of the only row of a query."""
    connection = server.connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(query)
            row = cursor.fetchone()
            return row[0] if row else None
    finally:
        connection.close()


def run(server: PostgresServer, statement: str) -> None:
    """Runs a statement that returns nothing."""
    connection = server.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


class TestPostgres:
    def test_settings(self, postgres: PostgresServer) -> None:
        assert value(postgres, "SHOW wal_level") == "logical"
        assert value(postgres, "SHOW TimeZone") == "UTC"
        assert value(postgres, "SHOW server_encoding") == "UTF8"
        assert value(postgres, "SELECT max(x) FROM (VALUES ('B'), ('a'), ('ä')) AS t(x)") == "ä"
        assert int(value(postgres, "SHOW server_version_num")) >= 180000

    @pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"password": ""}, {"user": "nobody"}])
    def test_wrong_password_is_refused(self, postgres: PostgresServer, wrong: dict[str, str]) -> None:
        arguments: dict[str, Any] = postgres.dsn(**wrong)
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(**arguments)

    def test_create_database(self, postgres: PostgresServer) -> None:
        postgres.create_database("odd name")
        assert value(postgres, "SELECT current_database()", "odd name") == "odd name"

    def test_data_survives_restart_and_crash(self, postgres: PostgresServer) -> None:
        run(postgres, "CREATE TABLE kept AS SELECT 1 AS id")
        open_connection = postgres.connect()
        postgres.restart()
        with pytest.raises(psycopg2.OperationalError), open_connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        assert value(postgres, "SELECT count(*) FROM kept") == 1

        run(postgres, "SET synchronous_commit = on; INSERT INTO kept VALUES (2)")
        postgres.kill()
        with pytest.raises(psycopg2.OperationalError):
            postgres.connect()
        postgres.restart()
        assert value(postgres, "SELECT count(*) FROM kept") == 2

    def test_taken_port(self, postgres: PostgresServer) -> None:
        with pytest.raises(RuntimeError, match=f"port {postgres.port}"), postgres_server.start(postgres.port):
            pass

    def test_unknown_setting_shows_the_log(self) -> None:
        with (
            pytest.raises(RuntimeError, match='unrecognized configuration parameter "nonsense"'),
            postgres_server.start(settings={"nonsense": "1"}),
        ):
            pass

    def test_folder_and_process_are_gone_afterwards(self) -> None:
        servers = {}

        def interrupted() -> None:
            with postgres_server.start() as server:
                servers[Path(value(server, "SHOW data_directory"))] = server
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        for data, server in servers.items():
            assert not data.parent.exists()
            with pytest.raises(psycopg2.OperationalError):
                server.connect()


class TestTpch:
    def test_load(self, postgres: PostgresServer, tmp_path: Path) -> None:
        rows = tpch.load(postgres, tmp_path, scale=0.01)
        assert set(rows) == set(tpch.TABLES)
        assert (rows["region"], rows["nation"], rows["customer"], rows["orders"]) == (5, 25, 1500, 15000)
        for table, count in rows.items():
            assert value(postgres, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))) == count
        assert (
            value(postgres, "SELECT pg_typeof(l_tax)::text || l_shipdate FROM lineitem LIMIT 1") == "numeric1996-03-13"
        )

    def test_load_some_tables_into_a_database(self, postgres: PostgresServer, tmp_path: Path) -> None:
        postgres.create_database("tpch")
        connection = postgres.connect("tpch")
        assert tpch.load(connection, tmp_path, 0.001, ["nation", "region"]) == {"nation": 25, "region": 5}
        connection.close()

    def test_write_csv_in_parts(self, tmp_path: Path) -> None:
        files = tpch.write_csv(tmp_path, 0.001, ["region", "orders"], parts=3)
        names = [path.relative_to(tmp_path).as_posix() for path in files]
        assert names == [*(f"orders/orders.{part}.csv" for part in (1, 2, 3)), "region/region.1.csv"]
        assert sum(len(path.read_text().splitlines()) - 1 for path in files) == 1500 + 5


class TestPlayground:
    def test_serves_all_items(self) -> None:
        with playground.start() as server:
            data = server.dump()
            seen = []
            url = f"{server.url}/pagination/next_page_url?per_page=50"
            while url:
                page = requests.get(url, timeout=5).json()
                seen += page["data"]
                url = page["next_page_url"]
            assert seen == sorted(data["items"], key=itemgetter("updatedAt"))
            assert len(data["companies"]) == 2
            assert len(data["departments"]) == 8
            for field in ("createdAt", "updatedAt"):
                times = sorted(datetime.fromisoformat(item[field]) for item in data["items"])
                gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
                assert len(gaps) == 199
                assert min(gaps) > 60

    def test_credentials(self) -> None:
        with playground.start() as server:
            authorization = f"Bearer {server.credentials['HTTP_BEARER_TOKEN']}"
            url = f"{server.url}/auth/http_bearer"
            assert requests.get(url, headers={"Authorization": authorization}, timeout=5).status_code == 200
            assert requests.get(url, timeout=5).status_code == 401

    def test_change(self) -> None:
        with playground.start() as server:
            before = {item["id"]: item for item in server.dump()["items"]}
            changed = server.change(3)
            after = {item["id"]: item for item in server.dump()["items"]}
            assert {key for key in before if before[key] != after[key]} == set(changed["changed"])
            assert set(after) - set(before) == {changed["added"]}
            assert after[changed["added"]]["updatedAt"] > max(item["updatedAt"] for item in before.values())
            assert not set(server.change(3)["changed"]) & set(changed["changed"])

    def test_same_shape_each_time_and_dump_changes_nothing(self) -> None:
        with playground.start() as one, playground.start() as other:
            names = [[item["name"] for item in server.dump()["items"]] for server in (one, other)]
            assert names[0] == names[1]
            assert one.dump() == one.dump()

    def test_taken_port(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with pytest.raises(RuntimeError, match=rf"cannot listen on port {port}: Address"), playground.start(port):
                pass

    def test_ends_with_its_input(self) -> None:
        command = [sys.executable, str(playground.APP)]
        assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20).returncode == 0


class TestFaultyHttp:
    def get(self, server: FaultyServer, path: str = "/items", timeout: float = 5) -> requests.Response:
        return requests.get(server.url + path, timeout=timeout, allow_redirects=False)

    def test_steps_follow_each_other(self, http: FaultyServer) -> None:
        steps = [RateLimited("1"), ServerError(503), Unauthorized(), NotFound(), Redirect("http://x/y"), Answer(PAGE)]
        http.script("/items", steps)
        answers = [self.get(http) for _ in steps]
        assert [answer.status_code for answer in answers] == [429, 503, 401, 404, 302, 200]
        assert answers[0].headers["Retry-After"] == "1"
        assert answers[4].headers["Location"] == "http://x/y"
        assert answers[5].json() == PAGE

    def test_unexpected_request(self, http: FaultyServer) -> None:
        http.script("/items", [Answer(PAGE)])
        assert self.get(http).ok
        assert not http.unexpected
        assert self.get(http).status_code == faulty_http.UNEXPECTED_STATUS
        assert self.get(http, "/other").status_code == faulty_http.UNEXPECTED_STATUS
        assert [request.path for request in http.unexpected] == ["/items", "/other"]

    def test_repeat(self, http: FaultyServer) -> None:
        http.script("/items", [Answer(PAGE), ServerError()], repeat=True)
        assert [self.get(http).status_code for _ in range(4)] == [200, 500, 500, 500]
        assert http.unexpected == []

    def test_retry_date(self, http: FaultyServer) -> None:
        http.script("/items", [RateLimited(date_in=3600)])
        retry_at = parsedate_to_datetime(self.get(http).headers["Retry-After"])
        assert 3590 < retry_at.timestamp() - time.time() < 3610

    @pytest.mark.parametrize(
        ("step", "error", "message"),
        [
            (Reset(), requests.ConnectionError, "Connection reset by peer"),
            (Truncated(PAGE), requests.exceptions.ChunkedEncodingError, "IncompleteRead"),
            (Chunked(PAGE, cut=True), requests.exceptions.ChunkedEncodingError, "Response ended prematurely"),
            (Hang(60), requests.ReadTimeout, "timed out"),
            (Hang(0.1), requests.ConnectionError, "Remote end closed connection"),
        ],
    )
    def test_broken_connections(
        self, http: FaultyServer, step: faulty_http.Step, error: type[Exception], message: str
    ) -> None:
        http.script("/items", [step, Answer(PAGE)])
        with pytest.raises(error, match=message):
            self.get(http, timeout=0.5)
        assert self.get(http).json() == PAGE

    def test_wrong_contents(self, http: FaultyServer) -> None:
        http.script("/items", [WrongJson(), ErrorObject({"error": "no"}), Chunked(PAGE)])
        with pytest.raises(requests.JSONDecodeError):
            self.get(http).json()
        assert self.get(http).json() == {"error": "no"}
        assert self.get(http).json() == PAGE

    def test_records_requests(self, http: FaultyServer) -> None:
        http.script("/items", [Answer({})])
        requests.post(f"{http.url}/items?page=2", json={"a": 1}, headers={"X-Key": "secret"}, timeout=5)
        request = http.requests[0]
        assert (request.method, request.path, request.query) == ("POST", "/items", {"page": "2"})
        assert (request.headers["x-key"], request.json) == ("secret", {"a": 1})

    def test_pages(self) -> None:
        with faulty_http.start([{"page": 1}, {"page": 2}]) as server:
            assert [self.get(server, path).json()["page"] for path in ("/a", "/b")] == [1, 2]
            assert self.get(server).status_code == faulty_http.UNEXPECTED_STATUS

    def test_handler(self) -> None:
        def echo(request: Request) -> Answer:
            return Answer(request.query)

        with faulty_http.start(echo) as server:
            assert [self.get(server, f"/?n={n}").json() for n in range(2)] == [{"n": "0"}, {"n": "1"}]

    def test_hang_ends_with_the_server(self) -> None:
        with faulty_http.start() as server:
            server.script("/items", [Hang(60)])
            with pytest.raises(requests.ReadTimeout):
                self.get(server, timeout=0.1)
            started = time.monotonic()
        assert time.monotonic() - started < 1


class TestTcpProxy:
    @pytest.mark.parametrize("reset", [True, False])
    def test_cut(self, postgres: PostgresServer, reset: bool) -> None:
        with tcp_proxy.start(postgres.port) as proxy:
            connection = self.connect(postgres, proxy.port)
            with connection.cursor() as cursor:
                cursor.execute("SELECT repeat('x', 1000000)")
                assert cursor.fetchone() == ("x" * 1000000,)
                proxy.cut(reset)
                with pytest.raises(psycopg2.OperationalError):
                    cursor.execute("SELECT 1")
            self.connect(postgres, proxy.port).close()
            assert proxy.accepted == 2

    @pytest.mark.parametrize("reset", [True, False])
    def test_client_sees_reset_or_end(self, reset: bool) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as target,
            tcp_proxy.start(target.getsockname()[1]) as proxy,
            socket.create_connection(("127.0.0.1", proxy.port)) as client,
            target.accept()[0] as peer,
        ):
            client.sendall(b"ping")
            assert peer.recv(4) == b"ping"
            proxy.cut(reset)
            for side in (client, peer):
                if reset:
                    with pytest.raises(ConnectionResetError):
                        side.recv(1)
                else:
                    assert side.recv(1) == b""

    def test_refuse_and_delay(self, postgres: PostgresServer) -> None:
        with tcp_proxy.start(postgres.port) as proxy:
            proxy.refuse = True
            with pytest.raises(psycopg2.OperationalError, match="refused"):
                self.connect(postgres, proxy.port)
            proxy.refuse = False
            connection = self.connect(postgres, proxy.port)
            proxy.delay_seconds = 0.1
            started = time.monotonic()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            assert time.monotonic() - started >= 0.2  # both ways
            connection.close()

    def connect(self, server: PostgresServer, port: int) -> psycopg2.extensions.connection:
        arguments: dict[str, Any] = {**server.dsn(), "port": port}
        connection: psycopg2.extensions.connection = psycopg2.connect(**arguments)
        connection.autocommit = True
        return connection


class TestFakeFivetranApi:
    def test_wants_the_key(self) -> None:
        with fake_fivetran_api.start() as api:
            assert requests.get(f"{api.url}/v1/groups", timeout=5).status_code == 401
            headers = {"Authorization": f"Basic {api.api_key}"}
            groups = requests.get(f"{api.url}/v1/groups", headers=headers, timeout=5).json()
            assert groups["data"]["items"][0]["name"] == api.destination

    def test_refuses_incomplete_requests(self) -> None:
        with fake_fivetran_api.start() as api, requests.Session() as session:
            session.headers["Authorization"] = f"Basic {api.api_key}"
            body = {"group_id": fake_fivetran_api.GROUP_ID, "service": "connector_sdk", "config": {"schema": "s"}}
            answer = session.post(f"{api.url}/v1/connectors", json=body, timeout=5)
            assert (answer.status_code, answer.json()["code"]) == (400, "InvalidInput")
            assert "package_id" in answer.json()["message"]
            files = {"file": ("code.zip", b"not a zip")}
            assert session.post(f"{api.url}/v1/connector-sdk/packages", files=files, timeout=5).status_code == 400
            assert not api.packages
            assert not api.connections
