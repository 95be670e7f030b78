"""connectors/postgres: encrypted connections, read-only sessions, secrets shown nowhere, SQL without pasting."""

import socket
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import trustme
from psycopg2 import sql
from psycopg2.extras import LogicalReplicationConnection

from shared.errors import ConfigurationError, ConnectorError, SourceError
from tests.connectors.postgres_database import Database, connector
from tests.connectors.postgres_database import session as session_module
from tests.recording import Destination, Sink, declare, sync, with_sink
from tests.sources import tls_proxy
from tests.sources.postgres_server import PostgresServer
from tests.sources.tls_proxy import TlsProxy

pytestmark = pytest.mark.usefixtures("quick")

AUTHORITY, ANOTHER_AUTHORITY = trustme.CA(), trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("localhost", "127.0.0.1")
PEM = AUTHORITY.cert_pem.bytes().decode()
OTHER_PEM = ANOTHER_AUTHORITY.cert_pem.bytes().decode()

# Ends a literal, an identifier, a parameter's place, a format's, and a statement.
NASTY = r"""x'; DROP TABLE canary; --" %s {} {0} \' $$ ?"""
PASSWORD = r"""hunter2'"\ %s {0} = é"""


@pytest.fixture(scope="class")
def shared_database(postgres: PostgresServer) -> Iterator[Database]:
    """A database for all tests of a class, which change nothing in it."""
    made = Database(postgres)
    made.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    yield made
    made.close()


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server counts as one of another machine."""
    monkeypatch.setitem(session_module, "is_this_machine", lambda _: False)


@contextmanager
def served(
    database: Database, certificate: trustme.LeafCert | None = CERTIFICATE
) -> Iterator[tuple[TlsProxy, dict[str, str]]]:
    """The database behind TLS (or behind a server without it), and the configuration for it."""
    with tls_proxy.start(int(database.configuration["port"]), certificate) as proxy:
        yield proxy, {**database.configuration, "host": "localhost", "port": str(proxy.port)}


def session(configuration: dict[str, str]) -> Any:
    return connector.Session(connector.Settings.parse(configuration))


def is_encrypted(configuration: dict[str, str]) -> bool:
    with session(configuration) as opened:
        assert opened.fetch("SELECT 1") == [(1,)]
        return bool(opened.connection.info.ssl_in_use)


def refusal(configuration: dict[str, str]) -> str:
    with pytest.raises(SourceError) as refused:
        session(configuration)
    return str(refused.value)


def interrupted(configuration: dict[str, str]) -> Sink:
    """A sync that was killed in the middle of its last table, and went on behind a row of it as if it had not been."""
    undisturbed = sync(connector, configuration)
    killed = sync(connector, configuration, stop_at=undisturbed.operations - 5)
    resumed = sync(connector, configuration, killed.destination.after_crash())
    assert resumed.destination.contents() == undisturbed.destination.contents()
    assert 0 < resumed.operations < undisturbed.operations
    return undisturbed


class TestTls:
    @pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
    @pytest.mark.usefixtures("_elsewhere")
    def test_every_mode_encrypts_all_of_a_sync(self, shared_database: Database, sslmode: str) -> None:
        with served(shared_database) as (proxy, configuration):
            sink = sync(connector, {**configuration, "sslmode": sslmode, "sslrootcert": PEM})
        assert sink.upserts == {"t": 1}
        assert [startup.is_encrypted for startup in proxy.startups] == [True, True]  # schema() and update()

    @pytest.mark.parametrize(
        "form",
        [
            PEM,
            PEM.replace("\n", "\r\n"),
            PEM.replace("\n", " "),
            PEM.replace("\n", "\\n"),
            PEM.replace("\n", "\\r\\n"),
            PEM.replace("\n", ""),
            f"  {PEM.strip()}  ",
            f"subject=an authority\n{OTHER_PEM}\nsubject=another\n{PEM}",
            OTHER_PEM.replace("\n", "") + PEM.replace("\n", ""),
        ],
    )
    def test_the_authority_is_taken_however_it_was_pasted(self, shared_database: Database, form: str) -> None:
        with served(shared_database) as (_, configuration):
            assert is_encrypted({**configuration, "sslmode": "verify-full", "sslrootcert": form})

    @pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
    def test_a_server_of_another_authority_is_told_nothing(self, shared_database: Database, sslmode: str) -> None:
        """On this machine too: what is to be checked is not followed by plaintext when it fails."""
        with served(shared_database) as (proxy, configuration):
            told = refusal({**configuration, "sslmode": sslmode, "sslrootcert": OTHER_PEM})
        assert "certificate verify failed; its certificate has expired, or is not signed by the authority" in told
        assert proxy.startups == []

    def test_only_verify_full_asks_for_the_name_of_the_host(self, shared_database: Database) -> None:
        with served(shared_database, AUTHORITY.issue_cert("db.example.com")) as (proxy, configuration):
            assert is_encrypted({**configuration, "sslmode": "verify-ca", "sslrootcert": PEM})
            proxy.startups.clear()
            told = refusal({**configuration, "sslmode": "verify-full", "sslrootcert": PEM})
        assert '"db.example.com" does not match host name "localhost"; set host to the name in the certificate' in told
        assert proxy.startups == []

    def test_an_expired_certificate_is_refused(self, shared_database: Database) -> None:
        begin, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (2020, 2021))
        with served(shared_database, AUTHORITY.issue_cert("localhost", not_before=begin, not_after=end)) as (
            _,
            configuration,
        ):
            assert "has expired" in refusal({**configuration, "sslmode": "verify-full", "sslrootcert": PEM})

    @pytest.mark.parametrize("extra", [{}, {"sslmode": "verify-full", "allow_plaintext": "true"}])
    @pytest.mark.usefixtures("_elsewhere")
    def test_a_server_elsewhere_without_tls_is_told_nothing(
        self, shared_database: Database, extra: dict[str, str]
    ) -> None:
        with served(shared_database, certificate=None) as (proxy, configuration):
            told = refusal({**configuration, **extra})
        assert "server does not support SSL, but SSL was required; switch TLS on at the server" in told
        assert "set allow_plaintext to true" in told
        assert proxy.startups == []

    @pytest.mark.usefixtures("_elsewhere")
    def test_plaintext_is_a_setting_and_tls_is_used_all_the_same_where_it_is_offered(
        self, shared_database: Database
    ) -> None:
        with served(shared_database, certificate=None) as (_, configuration):
            assert not is_encrypted({**configuration, "allow_plaintext": "true"})
        with served(shared_database) as (_, configuration):
            assert is_encrypted({**configuration, "allow_plaintext": "true"})

    def test_a_server_on_this_machine_may_do_without(self, shared_database: Database) -> None:
        with served(shared_database, certificate=None) as (_, configuration):
            assert not is_encrypted(configuration)
        with served(shared_database) as (_, configuration):
            assert is_encrypted(configuration)

    @pytest.mark.usefixtures("_elsewhere")
    def test_a_connection_made_anew_is_encrypted_too(self, shared_database: Database) -> None:
        with (
            served(shared_database) as (proxy, configuration),
            session({**configuration, "sslmode": "verify-full", "sslrootcert": PEM}) as opened,
        ):
            proxy.cut()
            assert opened.fetch("SELECT 1") == [(1,)]
        assert [startup.is_encrypted for startup in proxy.startups] == [True, True]


class TestAuthorities:
    def test_without_one_verify_full_trusts_those_of_this_machine(
        self, shared_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(PEM)
        with served(shared_database) as (_, configuration):
            assert "verify failed" in refusal({**configuration, "sslmode": "verify-full"})
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            assert is_encrypted({**configuration, "sslmode": "verify-full"})

    def test_a_machine_without_a_file_of_them_has_those_of_requests(
        self, shared_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """As plain Debian, which has a folder, and Python of python.org on macOS, which has none before it is told."""
        trusted = tmp_path / "trusted.pem"
        trusted.write_text(PEM)
        nothing = ssl.DefaultVerifyPaths("", "", "", "", "", "")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
        with served(shared_database) as (_, configuration):
            assert "verify failed" in refusal({**configuration, "sslmode": "verify-full"})
            monkeypatch.setitem(session_module, "DEFAULT_CA_BUNDLE_PATH", str(trusted))
            assert is_encrypted({**configuration, "sslmode": "verify-full"})

    def test_the_file_is_ours_alone_and_gone_afterwards(
        self, shared_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        modes = []
        connect = psycopg2.connect

        def look(**arguments: Any) -> Any:
            modes.append(Path(arguments["sslrootcert"]).stat().st_mode & 0o777)
            return connect(**arguments)

        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        monkeypatch.setattr(psycopg2, "connect", look)
        with served(shared_database) as (_, configuration):
            assert is_encrypted({**configuration, "sslmode": "verify-full", "sslrootcert": PEM})
            refusal({**configuration, "sslmode": "verify-full", "sslrootcert": OTHER_PEM})
        assert modes == [0o600, 0o600]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "text",
        [
            "/home/of/a/user/who/thinks/of/a/file/ca.pem",
            "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nhunter2é\n-----END CERTIFICATE-----",
            PEM[:-40],
            CERTIFICATE.private_key_pem.bytes().decode(),
        ],
    )
    def test_what_is_no_certificate_is_told_and_not_repeated(self, shared_database: Database, text: str) -> None:
        with pytest.raises(ConfigurationError, match="- sslrootcert: expected a certificate as PEM text") as told:
            connector.Settings.parse({**shared_database.configuration, "sslrootcert": text})
        assert text[30:50] not in str(told.value)

    def test_verify_ca_without_one_is_told(self, shared_database: Database) -> None:
        with pytest.raises(ConfigurationError, match="- sslrootcert: is required with sslmode verify-ca"):
            connector.Settings.parse({**shared_database.configuration, "sslmode": "verify-ca"})


@pytest.fixture(scope="class")
def configuration(shared_database: Database) -> dict[str, str]:
    database = shared_database
    configuration = database.as_reader()
    database.run(f"ALTER ROLE {database.reader} PASSWORD {_literal(database, PASSWORD)}")
    database.run(f"""
        ALTER TABLE t ADD COLUMN v text;
        INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(2, 100) n;
        CREATE TABLE closed (id int PRIMARY KEY); CREATE TABLE keyless (v text);
        CREATE VIEW broken AS SELECT id, 1 / (id - id) AS v FROM t;
        GRANT SELECT ON t, keyless, broken TO {database.reader};
    """)
    hashing = {"hash_columns": "public.t.v", "hash_salt": f"salt {PASSWORD}"}
    return {**configuration, "password": PASSWORD, "exclude_tables": "public.broken", **hashing}


class TestSecrets:
    """A password and a salt that would be recognised, in whatever a person or a log may see."""

    @pytest.mark.parametrize(
        "wrong",
        [
            {"database": "nowhere"},
            {"user": "nobody"},
            {"password": f"{PASSWORD}!"},
            {"port": "1"},
            {"host": "nowhere.invalid"},
            {"sslmode": "verify-full"},
            {"pasword": PASSWORD},
            {"password": f"{PASSWORD}\0"},
            {"hash_salt": f"{PASSWORD}\n"},
            {"host": f"postgresql://reader:{PASSWORD}@localhost/db"},
            {"host": f"reader:{PASSWORD}@localhost"},
            {"host": "host=localhost password=hunter2"},
            {"database": "postgresql://reader:hunter2@localhost/db"},
            {"user": "postgresql://reader:hunter2@localhost/db"},
            {"tables": "public.nowhere"},
            {"cursor_columns": "public.t.v"},
            {"exclude_tables": ""},
            {"exclude_tables": "", "keys": "public.broken=id"},
            {},
        ],
    )
    def test_are_in_no_log_error_warning_or_state(
        self, configuration: dict[str, str], wrong: dict[str, str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        seen = _everything_shown({**configuration, **wrong})
        assert seen
        output = capfd.readouterr()
        assert "hunter2" not in seen + output.out + output.err

    def test_nor_when_the_connection_is_lost(
        self, shared_database: Database, configuration: dict[str, str], capfd: pytest.CaptureFixture[str]
    ) -> None:
        def end_them() -> None:
            shared_database.run(f"""
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{configuration["user"]}'
            """)

        seen = _everything_shown(configuration, end_them)
        output = capfd.readouterr()
        assert "going on in" in output.out
        assert "hunter2" not in seen + output.out + output.err

    def test_nor_in_the_settings_as_text(self, configuration: dict[str, str]) -> None:
        assert "hunter2" not in repr(connector.Settings.parse(configuration))

    def test_a_server_that_speaks_another_encoding_before_we_are_in_is_told(self) -> None:
        """As one whose messages are in French and LATIN1."""
        fields = b"SFATAL\0VFATAL\0C28P01\0M" + "mot de passe refusé".encode("latin1") + b"\0\0"
        with _answering(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields) as port:
            configuration = {"host": "127.0.0.1", "port": str(port), "database": "d", "user": "u", "password": PASSWORD}
            told = refusal(configuration)
        assert "would not let user u into d" in told
        assert "mot de passe refus" in told
        assert "hunter2" not in told


@pytest.fixture(scope="class")
def hostile(postgres: PostgresServer) -> Iterator[Database]:
    """A database, a user, tables, columns and values whose names and texts try to be SQL."""
    made = Database(postgres)
    made.close()
    name = f"{NASTY} {made.name}"
    postgres.create_database(name)
    made.name, made._connection = name, postgres.connect(name)
    made.configuration |= {"database": name, "user": name, "password": NASTY}
    nasty, text = _identifier(made, NASTY), _literal(made, NASTY)
    odd = _identifier(made, 'a.b,c\n\t"d"\'; DROP TABLE canary; --')
    made.run(f"""
        CREATE TABLE canary (id int PRIMARY KEY); INSERT INTO canary VALUES (1);
        CREATE SCHEMA {nasty};
        CREATE TABLE {nasty}.{nasty} ({nasty} text PRIMARY KEY, wide text, {odd} numeric, "u.{NASTY[:9]}" date);
        INSERT INTO {nasty}.{nasty}
        SELECT {text} || n, repeat('x', 500), CASE n WHEN 3 THEN 'NaN'::numeric ELSE n END, '2026-01-01'
        FROM generate_series(1, 40) n;
        CREATE TABLE {nasty}.{odd} ({odd} text, {nasty} int);
        INSERT INTO {nasty}.{odd} VALUES ({text}, 1), ({text}, 1), ({text}, NULL);
        CREATE VIEW {nasty}.a_view AS SELECT n AS {nasty}, n AS {odd} FROM generate_series(1, 5) n;
        CREATE ROLE {_identifier(made, name)} LOGIN PASSWORD {text};
        GRANT USAGE ON SCHEMA {nasty} TO {_identifier(made, name)};
        GRANT ALL ON ALL TABLES IN SCHEMA public, {nasty} TO {_identifier(made, name)};
    """)
    yield made
    made.run(f"REASSIGN OWNED BY {_identifier(made, name)} TO postgres; DROP OWNED BY {_identifier(made, name)}")
    made.close()


class TestSqlIsNeverPasted:
    @pytest.fixture(autouse=True)
    def _the_canary_lives(self, hostile: Database) -> Iterator[None]:
        yield
        assert hostile.query("SELECT * FROM canary") == [(1,)]

    # As patterns name them: `?` for the characters that are of the pattern's own.
    WHOLE = NASTY.replace("[", "?")
    TABLE = f"{WHOLE}.{WHOLE}"

    @pytest.mark.parametrize("mode", ["changes", "full"])
    def test_in_names_of_databases_users_tables_and_columns_and_in_keys(self, hostile: Database, mode: str) -> None:
        configuration = {**hostile.configuration, "mode": mode, "tables": f"{self.WHOLE}.*,public.canary"}
        configuration |= {"keys": f"{self.WHOLE}.a_view={NASTY}", "hash_salt": NASTY}
        destination = interrupted(configuration).destination
        keys = {row[NASTY] for row in destination.table(f"{NASTY}.{NASTY}")}
        assert keys == {f"{NASTY}{number}" for number in range(1, 41)}
        assert {len(rows) for rows in destination.contents().values()} == {40, 3, 5, 1}

    def test_in_every_setting_that_names_something(self, hostile: Database) -> None:
        column = f"{self.TABLE}.{self.WHOLE}"
        configuration = {**hostile.configuration, "tables": f"{self.TABLE},{self.WHOLE}.a_view"}
        configuration |= {"keys": f"{self.WHOLE}.a_view={NASTY}", "cursor_columns": f"{self.WHOLE}.a_view.{self.WHOLE}"}
        configuration |= {"include_columns": f"{self.TABLE}.*", "exclude_columns": f"{self.TABLE}.wide"}
        configuration |= {"hash_columns": column, "hash_salt": NASTY, "publication": NASTY}
        configuration |= {"full_tables": self.TABLE, "soft_delete_columns": f"{self.TABLE}.u*"}
        configuration |= {"text_columns": f"{self.TABLE}.a*"}
        destination = Destination()
        for _ in range(2):
            sync(connector, configuration, destination)
        assert len(destination.table(f"{NASTY}.a_view")) == 5
        assert destination.table(f"{NASTY}.{NASTY}") == []  # each is marked as deleted

    @pytest.mark.parametrize(
        "settings",
        [
            {"tables": f"public.{NASTY}"},
            {"tables": f"public.*,no {NASTY}.*"},
            {"exclude_tables": f"public.{NASTY}"},
            {"tables": f"{NASTY}.a_view", "keys": f"{NASTY}.a_view=no {NASTY}"},
            {"cursor_columns": f"public.canary.{NASTY}"},
            {"hash_columns": f"public.canary.{NASTY}", "hash_salt": NASTY},
            {"database": NASTY},
            {"database": "postgres host=nowhere.invalid"},
            {"user": f"{NASTY} host=nowhere.invalid"},
            {"slot": NASTY},
        ],
    )
    def test_in_settings_that_name_nothing(self, hostile: Database, settings: dict[str, str]) -> None:
        configuration = {**hostile.configuration, "tables": "public.*", **settings}
        if settings.keys() & {"exclude_tables"}:
            assert sync(connector, configuration).upserts == {"canary": 1}
            return
        with pytest.raises(ConnectorError) as told:
            sync(connector, configuration)
        assert "nowhere.invalid" not in str(told.value).replace(str(settings.get("database")), "").replace(
            str(settings.get("user")), ""
        )

    def test_with_strings_that_do_not_conform_to_the_standard(self, hostile: Database) -> None:
        """Where a backslash escapes the quote behind it."""
        hostile.run(f"ALTER ROLE {_identifier(hostile, hostile.name)} SET standard_conforming_strings = off")
        interrupted({**hostile.configuration, "tables": self.TABLE})
        hostile.run(f"ALTER ROLE {_identifier(hostile, hostile.name)} RESET ALL")


# What a role or a database may set, and what we must find all the same.
OTHER_SETTINGS = {
    "search_path": "evil, public",
    "DateStyle": "'German, DMY'",
    "IntervalStyle": "sql_standard",
    "bytea_output": "escape",
    "TimeZone": "'Asia/Kolkata'",
    "extra_float_digits": "-5",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "client_encoding": "LATIN1",
    "idle_in_transaction_session_timeout": "100",
    "default_transaction_read_only": "off",
    "default_transaction_isolation": "'read committed'",
    "default_transaction_deferrable": "on",
}
EXPECTED_SETTINGS = {
    "search_path": '"pg_catalog"',
    "DateStyle": "ISO, DMY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "TimeZone": "UTC",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": "0",
    "transaction_read_only": "on",
    "transaction_isolation": "repeatable read",
}


class TestTheSession:
    @pytest.mark.parametrize("whose", ["ROLE {reader}", "DATABASE {name}", "ROLE {reader} IN DATABASE {name}"])
    def test_is_as_it_should_be_whatever_role_and_database_say(self, database: Database, whose: str) -> None:
        configuration = database.as_reader()
        for name, value in OTHER_SETTINGS.items():
            database.run(f"ALTER {whose.format(reader=database.reader, name=database.name)} SET {name} = {value}")
        with session(configuration) as opened:
            opened.renew()
            for _ in range(2):  # in every transaction
                found = {name: opened.fetch(f"SHOW {name}")[0][0] for name in EXPECTED_SETTINGS}
                assert found == EXPECTED_SETTINGS

    def test_functions_of_our_names_in_another_schema_are_not_called(self, database: Database) -> None:
        configuration = database.as_reader()
        database.run(f"""
            CREATE TABLE t (id text PRIMARY KEY, v text); INSERT INTO t VALUES ('a', 'b');
            CREATE FUNCTION octet_length(text) RETURNS int LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$;
            CREATE FUNCTION has_any_column_privilege(oid, text) RETURNS bool LANGUAGE sql AS 'SELECT false';
            ALTER ROLE {database.reader} SET search_path = public, pg_catalog;
            GRANT SELECT ON t TO {database.reader};
        """)
        assert sync(connector, configuration).upserts == {"t": 1}

    @pytest.mark.parametrize(
        "statement",
        ["CREATE TABLE public.u ()", "CREATE TEMP TABLE u ()", "DELETE FROM public.t", "SELECT nextval('public.s')"],
    )
    def test_cannot_write(self, database: Database, statement: str) -> None:
        database.run("CREATE SEQUENCE s; CREATE TABLE t (id int)")
        with session(database.configuration) as opened, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            opened.fetch(statement)

    def test_asks_for_nothing_that_a_pooler_refuses(self, database: Database) -> None:
        """PgBouncer takes these four, and ends a connection that brings `options`."""
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        with served(database) as (proxy, configuration):
            sync(connector, configuration)
        asked = {name for startup in proxy.startups for name in startup.parameters}
        assert asked == {"user", "database", "application_name", "client_encoding"}

    def test_mode_log_encrypts_every_connection_and_only_its_stream_has_options(self, database: Database) -> None:
        """A stream of the log does not go through poolers anyway."""
        database.run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE canary (id int PRIMARY KEY)")
        slot = {"mode": "log", "publication": NASTY, "slot": f"of_{database.name}"}
        with served(database) as (proxy, configuration):
            settings = {**configuration, "sslmode": "verify-full", "sslrootcert": PEM, **slot}
            destination = sync(connector, settings).destination
            database.run("INSERT INTO t VALUES (1)")
            assert sync(connector, settings, destination).upserts == {"t": 1}
        assert all(startup.is_encrypted for startup in proxy.startups)
        streams = ["replication" in startup.parameters for startup in proxy.startups]
        assert any(streams)
        assert streams == ["options" in startup.parameters for startup in proxy.startups]
        assert database.query("SELECT pubname FROM pg_publication") == [(NASTY,)]
        assert database.query("SELECT * FROM canary") == []
        # WAIT: the server may not have missed the last reader yet.
        arguments: dict[str, Any] = database.server.dsn(database.name)
        with closing(psycopg2.connect(**arguments, connection_factory=LogicalReplicationConnection)) as stream:
            stream.cursor().execute(f"DROP_REPLICATION_SLOT {slot['slot']} WAIT")

    def test_a_server_that_knows_none_of_our_settings_is_told(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(session_module["_PINNED"], "unknown_to_others", "1")
        assert 'unrecognized configuration parameter "unknown_to_others"' in refusal(database.configuration)


def _everything_shown(configuration: dict[str, str], meanwhile: Callable[[], None] | None = None) -> str:
    """What a sync leaves for people to see, beside what it logs: warnings, errors with all their causes, states."""
    sink = Sink(Destination())
    errors = []

    def work() -> None:
        for call in (connector.schema, lambda settings: connector.update(configuration=settings, state={})):
            try:
                declare(call(dict(configuration)) or [], sink.destination)
            except ConnectorError as error:
                errors.append("".join(traceback.format_exception(error)))
            if meanwhile and call is connector.schema:
                _once(connector.Checkpoints, "save", meanwhile)

    with_sink(sink, work, verbose=True)
    return repr((errors, sink.errors, sink.warnings, sink.checkpoints))


def _once(owner: Any, name: str, meanwhile: Callable[[], None]) -> None:
    """Calls something before the first call of a method, which is as it was from then on."""
    method = getattr(owner, name)

    def first(*arguments: Any) -> Any:
        setattr(owner, name, method)
        meanwhile()
        return method(*arguments)

    setattr(owner, name, first)


@contextmanager
def _answering(answer: bytes) -> Iterator[int]:
    """A server that has no TLS and one answer; its port."""

    def serve() -> None:
        for reply in (b"N", answer):
            client.append(listener.accept()[0]) if not client else None
            client[0].recv(1000)
            client[0].sendall(reply)
        client[0].close()

    client: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def _identifier(database: Database, name: str) -> str:
    return str(sql.Identifier(name).as_string(database._connection))


def _literal(database: Database, text: str) -> str:
    return str(sql.Literal(text).as_string(database._connection))
