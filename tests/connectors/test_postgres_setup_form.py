"""The setup form of connectors/postgres: what each of its tests needs to pass, and what it says when it does not."""

import json
import os
import subprocess
import sysconfig
import time
from pathlib import Path

import pytest
from fivetran_connector_sdk import Logging

from tests.connectors.postgres_database import Database, connector
from tests.loading import CONNECTORS
from tests.sources import tcp_proxy

CONNECT, FIND, READ, INDEX, LOG = connector.TESTS

TABLE = """
    CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz, secret text);
    INSERT INTO t VALUES (1, '2026-01-01', 's');
"""


@pytest.fixture(autouse=True)
def _log_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Fivetran sets it before it runs a test."""
    monkeypatch.setattr(Logging, "LOG_LEVEL", Logging.Level.INFO)


def failure(label: str, configuration: dict[str, str]) -> str:
    result = connector.TESTS[label](configuration)
    assert result.failure is not None
    return str(result.failure)


def passes(label: str, configuration: dict[str, str]) -> bool:
    result = connector.TESTS[label](configuration)
    return result.success is True and result.failure is None


class TestConnect:
    def test_passes_with_no_more_than_the_right_to_connect(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        configuration = database.as_reader()
        assert passes(CONNECT, configuration)
        where = f"at 127.0.0.1:{configuration['port']} as {configuration['user']}, without TLS"
        assert "connected to PostgreSQL 18." in (told := capsys.readouterr().out)
        assert where in told

    def test_says_what_to_do(self, database: Database) -> None:
        configuration = database.as_reader()
        database.run(f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC")
        assert failure(CONNECT, configuration).endswith("; GRANT CONNECT ON DATABASE lets this user in")
        database.run(f"GRANT CONNECT ON DATABASE {database.name} TO {database.reader}")
        assert passes(CONNECT, configuration)

    def test_says_that_the_password_is_wrong(self, database: Database) -> None:
        told = failure(CONNECT, {**database.configuration, "password": "hunter2"})
        assert f"would not let user postgres into {database.name}: password authentication failed" in told
        assert told.endswith("check user and password")

    def test_says_that_nobody_listens(self, database: Database) -> None:
        with tcp_proxy.start(1) as proxy:
            port = str(proxy.port)
        assert f"127.0.0.1:{port}: Connection refused" in failure(CONNECT, {**database.configuration, "port": port})

    def test_says_that_there_is_no_such_host(self, database: Database) -> None:
        told = failure(CONNECT, {**database.configuration, "host": "nowhere.invalid"})
        assert "cannot reach PostgreSQL at nowhere.invalid" in told
        assert told.endswith("check the address, and whether a firewall keeps this machine out")

    def test_says_every_setting_that_is_wrong(self) -> None:
        told = failure(CONNECT, {"host": "h", "port": "x", "sslmode": "off", "tables": "t"})
        assert told.startswith("5 settings need attention:")

    def test_says_that_a_server_is_too_old(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connector.TESTS[CONNECT].__wrapped__.__globals__, "OLDEST_VERSION", 99)
        assert "only 99 or later can be read: upgrade it" in failure(CONNECT, database.configuration)


class TestFindTables:
    def test_tells_how_many_there_are_by_how_they_are_read(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        database.run(f"""{TABLE}
            CREATE TABLE u (id int PRIMARY KEY); CREATE TABLE v (id int PRIMARY KEY);
            CREATE TABLE w (id int PRIMARY KEY, n bigint); CREATE TABLE keyless (id int);
        """)
        settings = {"full_tables": "public.v", "cursor_columns": "public.w.n"}
        assert passes(FIND, {**database.configuration, **settings})
        told = capsys.readouterr().out
        assert f"5 tables are delivered from database {database.name}" in told
        assert "2 of them by the rows written since the last sync" in told
        assert "1 of them by a cursor column" in told
        assert "1 of them whole by every sync" in told
        assert "1 of them whole by every sync, for want of a key (the setting keys could name one)" in told

    def test_suggests_indexed_columns_as_they_can_be_pasted_into_the_setting(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        database.run(f"""{TABLE}
            CREATE INDEX ON t (updated_at); CREATE INDEX ON t (updated_at, id);
            CREATE TABLE "o.d[d], %" (id int PRIMARY KEY, "lastModified" timestamp);
            CREATE INDEX ON "o.d[d], %" USING brin ("lastModified");
            CREATE TABLE not_indexed (id int PRIMARY KEY, updated_at timestamptz);
            CREATE TABLE partly (id int PRIMARY KEY, updated_at timestamptz);
            CREATE INDEX ON partly (updated_at) WHERE id > 0;
            CREATE TABLE second (id int PRIMARY KEY, updated_at timestamptz); CREATE INDEX ON second (id, updated_at);
            CREATE TABLE text (id int PRIMARY KEY, updated_at text); CREATE INDEX ON text (updated_at);
            CREATE TABLE h (id int PRIMARY KEY, updated_at timestamptz); CREATE INDEX ON h USING hash (updated_at);
            CREATE TABLE created (id int PRIMARY KEY, created_at timestamptz); CREATE INDEX ON created (created_at);
        """)
        assert passes(FIND, database.configuration)
        told = capsys.readouterr().out
        suggested = told.partition("cursor_columns could be ")[2].partition(" if ")[0]
        assert suggested == "public.o?d?d?? %.lastModified,public.t.updated_at"
        assert passes(INDEX, {**database.configuration, "cursor_columns": suggested})
        passes(FIND, {**database.configuration, "cursor_columns": suggested})
        assert "cursor_columns could be" not in capsys.readouterr().out

    def test_suggests_nothing_that_is_not_delivered_as_it_is(
        self, database: Database, capsys: pytest.CaptureFixture[str]
    ) -> None:
        database.run(f"{TABLE} CREATE INDEX ON t (updated_at)")
        for settings in (
            {"exclude_columns": "public.t.updated_at"},
            {"hash_columns": "public.t.updated_at", "hash_salt": "x"},
            {"mode": "full"},
        ):
            assert passes(FIND, {**database.configuration, **settings})
        assert "cursor_columns could be" not in capsys.readouterr().out

    def test_warns_of_rows_that_are_hidden(self, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
        database.run(f"{TABLE} ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (false)")
        assert passes(FIND, database.as_reader("SELECT ON t"))
        assert "row-level security hides rows of public.t from this user" in capsys.readouterr().out

    def test_says_that_there_are_none(self, database: Database) -> None:
        assert "tables: public.* matches no table" in failure(FIND, database.configuration)

    def test_says_that_none_may_be_read(self, database: Database) -> None:
        database.run(TABLE)
        told = failure(FIND, database.as_reader())
        assert f"has nothing that {database.reader} may read" in told
        assert f"GRANT SELECT ON public.t TO {database.reader}" in told

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            (
                {"cursor_columns": "public.t.secret"},
                "public.t.secret is of type text: expected a date, a timestamp or a",
            ),
            ({"cursor_columns": "public.t.updated"}, "cursor_columns: public.t.updated matches no column"),
            ({"cursor_columns": "public.t.*d*"}, "can have only one of id, updated_at"),
            ({"keys": "public.a_view=nothing"}, "keys: table public.a_view has no column nothing"),
            ({"exclude_columns": "public.t.id"}, "table public.t cannot be delivered without id, a part of its key"),
        ],
    )
    def test_says_which_settings_the_database_does_not_fit(
        self, database: Database, settings: dict[str, str], told: str
    ) -> None:
        database.run(f"{TABLE} CREATE VIEW a_view AS SELECT * FROM t")
        if "*d*" in settings.get("cursor_columns", ""):
            settings = {**settings, "exclude_tables": "public.a_view"}
        assert told in failure(FIND, {**database.configuration, **settings})


class TestReadEveryTable:
    def test_passes_with_the_right_to_read_what_is_delivered(self, database: Database) -> None:
        database.run(TABLE)
        configuration = database.as_reader("SELECT (id, updated_at, xmin) ON t")
        assert passes(READ, {**configuration, "exclude_columns": "public.t.secret"})

    def test_says_each_grant_that_is_missing_and_each_helps(self, database: Database) -> None:
        database.run(f"""{TABLE}
            CREATE TABLE "Closed" (id int PRIMARY KEY);
            CREATE SCHEMA hidden; CREATE TABLE hidden.h (id int PRIMARY KEY);
        """)
        configuration = {**database.as_reader("SELECT (id, updated_at) ON t"), "tables": "public.*,hidden.*"}
        asked = []
        while (result := connector.TESTS[READ](configuration)).failure:
            *lines, last = result.failure.splitlines()
            assert last.startswith("Or name what is not to be delivered in exclude_tables or exclude_columns")
            grants = [line.partition("GRANT ")[2] for line in lines]
            asked += grants
            for grant in grants:
                database.run(f"GRANT {grant}")
        to = f"TO {database.reader}"
        assert asked == [
            f"USAGE ON SCHEMA hidden {to}",
            f'SELECT ON public."Closed" {to}',
            f"SELECT (secret) ON public.t {to}",
            f"SELECT (xmin) ON public.t {to}",
            f"SELECT ON hidden.h {to}",
        ]

    def test_says_what_fails_in_spite_of_every_grant(self, database: Database) -> None:
        database.run(f"""{TABLE}
            CREATE VIEW broken AS SELECT id, 1 / (id - id) AS n FROM t; CREATE VIEW whole AS SELECT * FROM t;
            CREATE MATERIALIZED VIEW empty AS SELECT * FROM t WITH NO DATA;
        """)
        told = failure(READ, database.configuration).splitlines()
        assert told[:-1] == [
            "table public.empty is left out until this is run: REFRESH MATERIALIZED VIEW public.empty",
            "table public.broken cannot be read: division by zero",
        ]


class TestCursorIndexes:
    @pytest.mark.parametrize("kind", ["plain", "partitioned"])
    def test_says_the_statement_that_helps(self, database: Database, kind: str) -> None:
        partition = "PARTITION BY RANGE (id)" if kind == "partitioned" else ""
        database.run(f'CREATE TABLE "T 1" (id int PRIMARY KEY, "At" timestamptz) {partition}')
        configuration = {**database.configuration, "cursor_columns": "public.T 1.At"}
        statement = 'ON "public"."T 1" ("At", "id")'
        told = failure(INDEX, configuration)
        assert "cursor_columns: public.T 1.At has no index, so that every sync reads through the whole table" in told
        create = told.splitlines()[0].partition(": run ")[2]
        assert create == ("CREATE INDEX " if partition else "CREATE INDEX CONCURRENTLY ") + statement
        database.run(create)
        assert passes(INDEX, configuration)

    def test_passes_without_cursor_columns(self, database: Database) -> None:
        database.run(TABLE)
        assert passes(INDEX, database.configuration)

    def test_of_a_view_cannot_tell(self, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
        database.run(f"{TABLE} CREATE VIEW a_view AS SELECT * FROM t")
        settings = {"keys": "public.a_view=id", "cursor_columns": "public.a_view.updated_at"}
        assert passes(INDEX, {**database.configuration, **settings})
        assert (
            "public.a_view is a view: whether an index helps to find its updated_at cannot" in capsys.readouterr().out
        )


class TestTheChangeLog:
    def test_is_no_matter_in_other_modes(self, database: Database) -> None:
        assert passes(LOG, database.as_reader())

    def test_can_be_read_by_a_user_with_replication(self, database: Database) -> None:
        settings = {**database.as_reader(), "mode": "log"}
        assert f"ALTER ROLE {database.reader} REPLICATION" in failure(LOG, settings)
        database.run(f"ALTER ROLE {database.reader} REPLICATION")
        assert passes(LOG, settings)


class TestTheRealCommand:
    """`fivetran configuration --test`, with a home of its own."""

    def run(self, folder: Path, configuration: dict[str, str]) -> subprocess.CompletedProcess[str]:
        home = folder / "home"
        settings = home / ".fivetran" / "connector_sdk"
        settings.mkdir(parents=True)
        (settings / "_last_version_check").write_text(str(int(time.time())))
        project = folder / "postgres"
        project.mkdir()
        for part in (CONNECTORS / "postgres").iterdir():
            if part.suffix in (".py", ".txt") or part.name == "shared":
                (project / part.name).symlink_to(part.resolve())
        (project / "configuration.json").write_text(json.dumps(configuration))
        return subprocess.run(
            [Path(sysconfig.get_path("scripts")) / "fivetran", "configuration", project, "--test"],
            env={"HOME": str(home), "PATH": os.environ["PATH"], "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"},
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=60,
        )

    def test_runs_every_test_and_tells_what_was_found(self, database: Database, tmp_path: Path) -> None:
        database.run(f"{TABLE} CREATE INDEX ON t (updated_at)")
        result = self.run(tmp_path, database.as_reader("SELECT ON t"))
        assert result.returncode == 0, result.stdout
        assert result.stdout.count("PASSED") == len(connector.TESTS)
        assert "1 table is delivered" in result.stdout
        assert "cursor_columns could be public.t.updated_at" in result.stdout

    def test_stops_at_what_is_wrong_without_a_traceback(self, database: Database, tmp_path: Path) -> None:
        database.run(f"{TABLE} CREATE TABLE closed (id int PRIMARY KEY)")
        result = self.run(tmp_path, {**database.as_reader("SELECT ON t"), "hash_salt": "hunter2"})
        assert result.returncode == 1
        assert f"GRANT SELECT ON public.closed TO {database.reader}" in result.stdout
        assert "Traceback" not in result.stdout
        assert "hunter2" not in result.stdout
