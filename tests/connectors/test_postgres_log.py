"""connectors/postgres in mode `log`, against a real PostgreSQL.

The soak writes for SOAK_SECONDS; for a longer one with other random numbers:

    SOAK_SECONDS=60 SOAK_SEED=7 pytest tests/connectors/test_postgres_log.py -k soak -s
"""

import itertools
import os
import random
import re
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any

import psutil
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2 import errors
from psycopg2.extras import LogicalReplicationConnection

from shared import checkpoints
from shared.errors import SourceError
from tests import stop_and_resume
from tests.loading import load_connector, load_module
from tests.recording import Destination, Sink, sync
from tests.sources import postgres_server, tcp_proxy
from tests.sources.postgres_server import PostgresServer

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "5"))
SOAK_SEED = int(os.environ.get("SOAK_SEED", "1"))

connector = load_connector("postgres")
pgoutput = load_module("postgres", "pgoutput")
names = (f"log_{number}" for number in itertools.count(1))
# The variables of the connector's modules, which every loading has of its own.
reading: dict[str, Any] = connector.read_pages.__globals__
change_stream: dict[str, Any] = reading["follow"].__globals__
slot_module = change_stream["slot"]
session_module: dict[str, Any] = connector.Session.renew.__globals__


def sender(server: PostgresServer, database: str) -> Any:
    """A connection that can read the log, in the place of one of somebody else."""
    arguments: dict[str, Any] = server.dsn(database)
    return psycopg2.connect(**arguments, connection_factory=LogicalReplicationConnection)


class Database:
    """A database, and the connector's configuration for it."""

    def __init__(self, server: PostgresServer, name: str = "") -> None:
        """`name` is of one that is there; without it, a new one is created."""
        self.name = name or next(names)
        if not name:
            server.create_database(self.name)
        self._server = server
        self._connection = server.connect(self.name)
        self.slot = f"slot_{next(names)}"
        self.configuration = {
            "host": server.host,
            "port": str(server.port),
            "database": self.name,
            "user": server.user,
            "password": server.password,
            "page_bytes": "10000",
            "mode": "log",
            "slot": self.slot,
        }

    def run(self, statements: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statements)
            return cursor.fetchall() if cursor.description else []

    def connect(self) -> Any:
        return self._server.connect(self.name)

    def confirmed(self) -> str:
        """Up to where the server was told that it may forget its log."""
        ((lsn,),) = self.run(f"SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '{self.slot}'")
        return str(lsn)

    def as_reader(self, *grants: str, attributes: str = "") -> dict[str, str]:
        """The configuration of a new role, `reader`, that has these grants and no others."""
        self.reader = f"reader_{next(names)}"
        self.run(f"CREATE ROLE {self.reader} LOGIN {attributes} PASSWORD 'reader'")
        for grant in grants:
            self.run(f"GRANT {grant} TO {self.reader}")
        return {**self.configuration, "user": self.reader, "password": "reader"}

    def drop_slot(self) -> None:
        self.run(
            f"""
            SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
            WHERE slot_name = '{self.slot}' AND active_pid IS NOT NULL
            """
        )
        for _ in range(50):
            with suppress(errors.ObjectInUse):
                self.run(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                    f"WHERE slot_name = '{self.slot}'"
                )
                return
            time.sleep(0.1)

    def empty(self) -> None:
        """Leaves nothing behind, for the next test."""
        self.drop_slot()
        for (publication,) in self.run("SELECT quote_ident(pubname) FROM pg_publication"):
            self.run(f"DROP PUBLICATION {publication}")
        schemas = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema$)'"
        for (schema,) in self.run(schemas):
            self.run(f"DROP SCHEMA {schema} CASCADE")
        self.run("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")

    def reconnect(self) -> None:
        self.close()
        self._connection = self.connect()

    def close(self) -> None:
        self._connection.close()

    def whole(self, **settings: str) -> dict[str, Any]:
        """What a destination holds that has read everything just now."""
        return sync(connector, {**self.configuration, "mode": "full", **settings}).destination.contents()


@pytest.fixture(scope="module")
def small_postgres() -> Iterator[PostgresServer]:
    """A server with little room, which a test may restart."""
    settings = {
        "max_replication_slots": "1",
        "max_wal_senders": "1",
        "max_slot_wal_keep_size": "1MB",
        "max_wal_size": "32MB",
        "max_prepared_transactions": "5",
        "wal_writer_delay": "10ms",
    }
    with postgres_server.start(settings=settings) as server:
        yield server


@pytest.fixture
def small_database(small_postgres: PostgresServer) -> Iterator[Database]:
    made = Database(small_postgres)
    yield made
    made.drop_slot()
    made.close()


@pytest.fixture(scope="module")
def _name(postgres: PostgresServer) -> str:
    """A database for all tests: to create one takes longer than most of them."""
    name = next(names)
    postgres.create_database(name)
    return name


@pytest.fixture
def database(postgres: PostgresServer, _name: str) -> Iterator[Database]:
    database = Database(postgres, _name)
    yield database
    database.empty()
    database.close()


@pytest.fixture(autouse=True, scope="module")
def _written_soon(postgres: PostgresServer) -> Iterator[None]:
    """Transactions reach the log on disk, from where they are sent, within ten milliseconds and not two hundred."""
    with closing(postgres.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET wal_writer_delay = '10ms'")
        cursor.execute("SELECT pg_reload_conf()")
        yield
        cursor.execute("ALTER SYSTEM RESET wal_writer_delay")
        cursor.execute("SELECT pg_reload_conf()")


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    monkeypatch.setitem(session_module, "FIRST_PAUSE", 0.02)


def follow(database: Database, before: str, *changes: str, **settings: str) -> tuple[Destination, Sink]:
    """A first sync, then one after each change; the destination must end as one that has read everything."""
    configuration = {**database.configuration, **settings}
    database.run(before)
    destination = Destination()
    sink = sync(connector, configuration, destination)
    for change in changes:
        database.run(change)
        sink = sync(connector, configuration, destination)
    assert destination.contents() == database.whole(**settings)
    return destination, sink


class TestCopyAndStream:
    def test_a_copy_then_only_what_changed(self, database: Database) -> None:
        destination, sink = follow(
            database,
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'a' FROM generate_series(1, 500) n",
            """
            INSERT INTO t VALUES (1000, 'new'); UPDATE t SET v = 'b' WHERE id = 7; DELETE FROM t WHERE id = 9;
            UPDATE t SET id = 2000 WHERE id = 11;
            """,
        )
        assert sink.upserts == {"t": 3}
        assert len(destination.table("t")) == 500
        assert sink.warnings == []

    def test_with_nothing_new_nothing_is_delivered(self, database: Database) -> None:
        _, sink = follow(database, "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", "SELECT 1")
        assert [what for what in sink.order if what != "checkpoint"] == []

    def test_what_is_written_while_the_copy_runs_is_neither_lost_nor_doubled(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 1000) n;
        """)
        destination, deliver = Destination(), connector.deliver
        numbers = itertools.count(1)

        def deliver_and_write(page: Any) -> None:
            n = next(numbers)
            database.run(f"""
                UPDATE t SET v = 'p{n}' WHERE id = {n}; UPDATE t SET v = 'q{n}' WHERE id = {1001 - n};
                DELETE FROM t WHERE id IN ({n * 7}, {1001 - n * 7}); UPDATE t SET id = id + 5000 WHERE id = {n * 11};
                INSERT INTO t VALUES ({-n}, 'in'), ({3000 + n}, 'in');
            """)
            deliver(page)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector, "deliver", deliver_and_write)
            sync(connector, database.configuration, destination)
        assert next(numbers) > 20
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()

    def test_a_transaction_is_looked_up_only_once_it_can_be_seen(self, database: Database) -> None:
        """The log has a commit before it is visible, and long before where standbys have to confirm it."""
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        writer = database.connect()
        writer.autocommit = True
        with writer.cursor() as cursor:
            cursor.execute("SET synchronous_commit TO on")
        database.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; ")
        database.run("SELECT pg_reload_conf()")
        time.sleep(0.5)

        def write() -> None:
            with writer.cursor() as cursor:
                cursor.execute("INSERT INTO t VALUES (2)")

        thread = threading.Thread(target=write)
        thread.start()
        try:
            time.sleep(0.5)
            assert database.run("SELECT id FROM t") == [(1,)]
            syncing = threading.Thread(target=sync, args=(connector, database.configuration, destination))
            syncing.start()
            time.sleep(1)
            assert syncing.is_alive()
        finally:
            database.run("ALTER SYSTEM RESET synchronous_standby_names")
            database.run("SELECT pg_reload_conf()")
            thread.join()
        syncing.join()
        writer.close()
        assert {row["id"] for row in destination.table("t")} == {"1", "2"}

    def test_a_transaction_that_began_before_its_table_was_published_is_not_missed(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("CREATE TABLE late (id int PRIMARY KEY)")
        early = database.connect()
        early.autocommit = False
        with early.cursor() as cursor:
            cursor.execute("INSERT INTO late VALUES (1)")
            timer = threading.Timer(0.7, early.commit)
            timer.start()
            sync(connector, database.configuration, destination)
        timer.join()
        early.close()
        assert [row["id"] for row in destination.table("late")] == ["1"]

    def test_a_table_that_is_written_to_for_long_is_copied_later(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(change_stream, "WRITERS_SECONDS", 0.2)
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("CREATE TABLE late (id int PRIMARY KEY)")
        early = database.connect()
        early.autocommit = False
        with early.cursor() as cursor:
            cursor.execute("INSERT INTO late VALUES (1)")
        database.run("INSERT INTO t VALUES (2)")
        sink = sync(connector, database.configuration, destination)
        assert sink.upserts == {"t": 1}
        assert any("table public.late is copied by a later sync" in warning for warning in sink.warnings)
        early.commit()
        early.close()
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()

    def test_prepared_transactions_and_rolled_back_ones(self, small_database: Database) -> None:
        database = small_database
        follow(
            database,
            "CREATE TABLE t (id int PRIMARY KEY)",
            "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'p'",
            "BEGIN; INSERT INTO t VALUES (2); ROLLBACK; BEGIN; INSERT INTO t VALUES (3); SAVEPOINT s;"
            "INSERT INTO t VALUES (4); ROLLBACK TO s; COMMIT",
            "COMMIT PREPARED 'p'",
        )


class TestRows:
    def test_large_values_that_an_update_leaves_alone_are_kept(self, database: Database) -> None:
        destination, _ = follow(
            database,
            """
            CREATE TABLE t (id int PRIMARY KEY, v int, wide text); ALTER TABLE t ALTER wide SET STORAGE EXTERNAL;
            INSERT INTO t SELECT n, 0, repeat(chr(64 + n), 20000) FROM generate_series(1, 3) n;
            """,
            "UPDATE t SET v = 1 WHERE id = 1; UPDATE t SET id = 20 WHERE id = 2",
        )
        rows = {row["id"]: (row["v"], row["wide"]) for row in destination.table("t")}
        assert rows == {"1": ("1", "A" * 20000), "20": ("0", "B" * 20000), "3": ("0", "C" * 20000)}

    @pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
    def test_large_keys_that_an_update_leaves_alone_are_found(self, database: Database, identity: str) -> None:
        follow(
            database,
            f"""
            CREATE TABLE t (k text PRIMARY KEY, v int, w text);
            ALTER TABLE t ALTER k SET STORAGE EXTERNAL, REPLICA IDENTITY {identity};
            INSERT INTO t VALUES (repeat('k', 2200), 0, repeat('w', 2200)), (repeat('l', 2200), 0, 'x');
            """,
            "UPDATE t SET v = 1; UPDATE t SET k = repeat('m', 2300) WHERE v = 1 AND w = 'x'",
            "DELETE FROM t WHERE w <> 'x'",
        )

    @pytest.mark.parametrize(
        "truncate",
        [
            "TRUNCATE t",
            "BEGIN; INSERT INTO t VALUES (500); TRUNCATE t; INSERT INTO t VALUES (7); COMMIT",
            "INSERT INTO t VALUES (600); TRUNCATE t; INSERT INTO t VALUES (1); TRUNCATE t; INSERT INTO t VALUES (2)",
            "TRUNCATE t, u; INSERT INTO u VALUES (5)",
        ],
    )
    def test_truncates(self, database: Database, truncate: str) -> None:
        follow(
            database,
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);"
            "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (2)",
            truncate,
            "INSERT INTO t VALUES (1000)",
        )

    def test_a_truncate_in_a_transaction_that_is_rolled_back_does_nothing(self, database: Database) -> None:
        follow(
            database,
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)",
            "BEGIN; TRUNCATE t; ROLLBACK; INSERT INTO t VALUES (1000)",
        )

    def test_keys_of_several_columns_and_odd_characters(self, database: Database) -> None:
        odd = (
            r"""E'it''s', E'a\\b', '%s %', '{"a", "b"}', '', ' ', E'tab\t', E'new\nline', '(1,2)', 'NULL', '😀', '$1'"""
        )
        destination, sink = follow(
            database,
            f"""
            CREATE TABLE t (a text, "b % c" date, n numeric, v int, PRIMARY KEY (a, "b % c", n));
            INSERT INTO t SELECT x, date '2026-01-31', 1.50, 0 FROM unnest(ARRAY[{odd}]) x;
            """,
            """UPDATE t SET v = 1""",
            """UPDATE t SET a = a || '!', "b % c" = "b % c" + 1, n = n + 0.01""",
            """DELETE FROM t WHERE a <> '!'""",
        )
        assert [row["a"] for row in destination.table("t")] == ["!"]
        assert sink.upserts == {}

    @pytest.mark.parametrize(
        ("type_", "first", "second"),
        [
            ("timestamptz", "'2026-01-01 00:00:00.123456+02'", "'2026-07-01 00:00:00+02'"),
            ("float8", "0.1::float8 + 0.2::float8", "1e300"),
            ("bytea", r"'\x00ff'", r"'\xff00'"),
            ("uuid", "'6f9619ff-8b86-d011-b42d-00c04fc964ff'", "'6f9619ff-8b86-d011-b42d-00c04fc964fe'"),
            ("interval", "'1 mon -2 days'", "'3 years'"),
            ("boolean", "true", "false"),
            ("char(5)", "'ab'", "'abc'"),
            ("int[]", "'{1,2}'", "'{}'"),
            ("mood", "'it''s'", "'b'"),
            ("cents", "1.10", "2.20"),
            ("numeric", "1.0", "1.00"),
            ("extensions.citext", "'K'", "'k'"),
        ],
    )
    def test_keys_of_any_type(self, database: Database, type_: str, first: str, second: str) -> None:
        prepare = (
            "CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions;"
            "CREATE TYPE mood AS ENUM ('it''s', 'b'); CREATE DOMAIN cents AS numeric(10,2);"
        )
        _, sink = follow(
            database,
            f"{prepare} CREATE TABLE t (k {type_} PRIMARY KEY, v int); INSERT INTO t VALUES ({first}, 0)",
            "UPDATE t SET v = 1",
            f"UPDATE t SET k = {second}",
            "DELETE FROM t",
        )
        assert sink.upserts == {}

    def test_hashed_keys_and_soft_deletes(self, database: Database) -> None:
        destination, sink = follow(
            database,
            """
            CREATE TABLE t (email text PRIMARY KEY, gone bool); INSERT INTO t VALUES ('a', false), ('b', false);
            CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);
            """,
            "DELETE FROM t WHERE email = 'a'; UPDATE t SET gone = true; INSERT INTO t VALUES ('c', false)",
            hash_columns="public.t.email",
            hash_salt="salt",
            soft_delete_columns="public.t.gone",
        )
        assert len(destination.table("t")) == 1
        assert "'a'" not in repr(sink.checkpoints)

    def test_several_schemas_are_kept_apart(self, database: Database) -> None:
        destination, _ = follow(
            database,
            """
            CREATE SCHEMA "odd, ""name"; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
            CREATE TABLE "odd, ""name".t (id int PRIMARY KEY); INSERT INTO "odd, ""name".t VALUES (1);
            """,
            """DELETE FROM t; INSERT INTO "odd, ""name".t VALUES (2)""",
            tables='public.*,odd? "name.*',
        )
        assert len(destination.table('odd, "name.t')) == 2

    def test_rows_of_inheriting_tables_stay_in_their_own(self, database: Database) -> None:
        follow(
            database,
            """
            CREATE TABLE city (id int PRIMARY KEY, name text);
            CREATE TABLE capital (PRIMARY KEY (id)) INHERITS (city);
            INSERT INTO city VALUES (1, 'Zug'); INSERT INTO capital VALUES (1, 'Bern');
            """,
            "INSERT INTO capital VALUES (2, 'Rom'); DELETE FROM ONLY city",
        )

    def test_a_database_in_another_encoding(self, postgres: PostgresServer) -> None:
        name = next(names)
        with closing(postgres.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        database = Database(postgres, name)
        destination, _ = follow(
            database,
            "CREATE TABLE été (clé text PRIMARY KEY, v int); INSERT INTO été VALUES ('Zoë', 0)",
            "UPDATE été SET v = 1; INSERT INTO été VALUES ('Noël', 0)",
        )
        assert {row["clé"] for row in destination.table("été")} == {"Zoë", "Noël"}
        database.drop_slot()
        database.close()


class TestPartitions:
    TABLE = """
        CREATE TABLE t (id int, day int, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10);
        CREATE TABLE t2 (v text, day int NOT NULL, extra int, id int NOT NULL);
        ALTER TABLE t2 DROP COLUMN extra; ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20);
        CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (20) TO (40) PARTITION BY RANGE (day);
        CREATE TABLE t3a PARTITION OF t3 FOR VALUES FROM (20) TO (30);
        INSERT INTO t SELECT n, n % 30, 'a' FROM generate_series(1, 60) n;
    """

    def test_rows_that_change_and_move_between_partitions(self, database: Database) -> None:
        _, sink = follow(
            database,
            self.TABLE,
            "UPDATE t SET v = 'b' WHERE id = 5; UPDATE t SET day = 15 WHERE id = 6; DELETE FROM t2 WHERE id = 12;"
            "INSERT INTO t3 VALUES (100, 25, 'c')",
        )
        assert sink.upserts == {"t": 3}

    def test_a_truncate_of_all(self, database: Database) -> None:
        _, sink = follow(database, self.TABLE, "TRUNCATE t; INSERT INTO t VALUES (1, 1, 'z')")
        assert sink.upserts == {"t": 1}

    def test_after_a_truncate_of_one_partition_the_table_is_copied_again(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("TRUNCATE t2")  # it has new files then
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()

    @pytest.mark.parametrize(
        "change",
        [
            "CREATE TABLE t4 PARTITION OF t FOR VALUES FROM (40) TO (50); INSERT INTO t VALUES (400, 45, 'new')",
            "ALTER TABLE t DETACH PARTITION t1; INSERT INTO t1 VALUES (700, 5, 'apart')",
            "DROP TABLE t2",
            """
            CREATE TABLE t4 (LIKE t INCLUDING ALL); INSERT INTO t4 VALUES (400, 45, 'new');
            ALTER TABLE t ATTACH PARTITION t4 FOR VALUES FROM (40) TO (50);
            """,
        ],
    )
    def test_partitions_that_come_and_go(self, database: Database, change: str) -> None:
        follow(database, self.TABLE, change, "UPDATE t SET v = 'again' WHERE id > 50", tables="public.t")

    def test_a_partition_alone_is_a_table(self, database: Database) -> None:
        _, sink = follow(
            database, self.TABLE, "UPDATE t SET v = 'b' WHERE id IN (5, 15); TRUNCATE t1", tables="public.t1"
        )
        assert sink.upserts == {}


class TestColumnsThatChange:
    TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, n FROM generate_series(1, 100) n;"

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE t ADD COLUMN w int DEFAULT 5",
            "ALTER TABLE t DROP COLUMN v",
            "ALTER TABLE t ALTER v TYPE int USING v::int",
            "ALTER TABLE t ALTER v TYPE text USING v || '!'",
            "ALTER TABLE t RENAME COLUMN v TO w",
            "ALTER TABLE t RENAME COLUMN id TO key",
            "ALTER TABLE t ALTER id TYPE text",
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD COLUMN id2 int GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        ],
    )
    def test_what_no_change_of_a_row_shows_is_copied(self, database: Database, change: str) -> None:
        others = "INSERT INTO t DEFAULT VALUES" if "IDENTITY" in change else "INSERT INTO t VALUES ('1000', '1000')"
        _, sink = follow(
            database,
            self.TABLE,
            f"UPDATE t SET v = '7' WHERE id = 1; {change}; SELECT 1" if "DROP CONS" in change
            else f"UPDATE t SET v = '7' WHERE id = 1; {change}; "
            + ("INSERT INTO t VALUES ('1000')" if "DROP COLUMN" in change else others),
        )  # fmt: skip
        assert sink.upserts["t"] >= 100
        assert sink.warnings == []  # what the log has of the old columns does not matter any more

    def test_a_table_that_is_only_packed_anew_is_not_copied(self, database: Database) -> None:
        _, sink = follow(database, self.TABLE, "VACUUM FULL t", "ANALYZE t", "UPDATE t SET v = 'x' WHERE id = 3")
        assert sink.upserts == {"t": 1}

    def during(self, database: Database, change: str) -> Sink:
        """A change of the table after a sync has read the catalogue and before it looks at the log."""
        provided = slot_module.provided
        done: list[Any] = []

        def provided_and_changed(*arguments: Any) -> Any:
            if not done:
                done.append(database.run(change))
            return provided(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(slot_module, "provided", provided_and_changed)
            return sync(connector, database.configuration, self.destination)

    @pytest.mark.parametrize(
        "change",
        [
            "ALTER TABLE t DROP COLUMN v; INSERT INTO t VALUES (1000)",
            "ALTER TABLE t RENAME COLUMN id TO key; INSERT INTO t VALUES (1000, '')",
            "ALTER TABLE t ALTER id TYPE text; INSERT INTO t VALUES ('x', '')",
            "ALTER TABLE t ADD COLUMN w int DEFAULT 5; UPDATE t SET w = 6 WHERE id = 5",
            "INSERT INTO t VALUES (7777, ''); DROP TABLE t; CREATE TABLE t (id text PRIMARY KEY, q int);"
            "INSERT INTO t VALUES ('x', 1)",
        ],
    )
    def test_a_change_while_a_sync_runs_does_not_stop_it(self, database: Database, change: str) -> None:
        database.run(self.TABLE)
        self.destination = Destination()
        sync(connector, database.configuration, self.destination)
        self.during(database, change)
        sync(connector, database.configuration, self.destination)
        assert self.destination.contents() == database.whole()
        assert sync(connector, database.configuration, self.destination).upserts == {}


class TestLookingUp:
    @pytest.mark.parametrize("analyze", ["", "ANALYZE t"])
    def test_finds_rows_by_the_index_of_the_key(self, database: Database, analyze: str) -> None:
        database.run(f"""
            CREATE TABLE t (a text, b int, v int, PRIMARY KEY (a, b)) WITH (autovacuum_enabled = off);
            INSERT INTO t SELECT 'k' || n % 100, n, 0 FROM generate_series(1, 20000) n; {analyze};
        """)
        destination = Destination()
        configuration = {**database.configuration, "page_bytes": "4000000"}
        sync(connector, configuration, destination)
        database.run("UPDATE t SET v = 1 WHERE b % 40 = 0")
        database.run("SELECT pg_stat_force_next_flush()")
        read = "SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 't'"
        ((scanned, found),) = database.run(read)
        assert sync(connector, configuration, destination).upserts == {"t": 500}
        ((scanned_then, found_then),) = database.run(read)
        assert scanned_then == scanned
        assert found_then - found < 3000

    def test_wide_rows_make_small_pages(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, wide text)")
        destination, deliver, largest = Destination(), connector.deliver, []
        sync(connector, database.configuration, destination)
        database.run("INSERT INTO t SELECT n, repeat('x', 4000) FROM generate_series(1, 30) n")

        def measured(page: Any) -> None:
            deliver(page)
            largest.append(page.delivered)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector, "deliver", measured)
            assert sync(connector, database.configuration, destination).upserts == {"t": 30}
        assert max(largest) == 2


class TestLargeTransactions:
    def test_memory_is_bounded_and_a_sync_killed_inside_goes_on_inside(self, database: Database) -> None:
        rows = 200_000
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
        configuration = {**database.configuration, "page_bytes": "4000000"}
        destination = Destination()
        sync(connector, configuration, destination)
        database.run(f"INSERT INTO t SELECT n, 'x' FROM generate_series(1, {rows}) n")
        looked_up, largest = reading["TablePages"].looked_up, []

        def measured(reader: Any, keys: list[Any]) -> Any:
            largest.append(len(keys))
            return looked_up(reader, keys)

        process = psutil.Process()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(reading["TablePages"], "looked_up", measured)
            # The destination of the tests is in memory: what the connector takes shows without it.
            patch.setattr(Destination, "commit", lambda self, state: setattr(self, "committed", state))
            patch.setattr(Sink, "record", lambda self, record: self._count("record"))
            patch.setattr(Sink, "_count", lambda self, _: _counted(self))
            before = process.memory_info().rss
            killed = sync(connector, configuration, destination, stop_at=rows // 2)
            resumed = sync(connector, configuration, destination)
            grown = process.memory_info().rss - before
        assert max(largest) <= 1_000
        assert "inside" in killed.checkpoints[-1]["streams"]["log"]
        assert rows // 2 < resumed.operations < rows * 0.52
        assert grown < 60_000_000

    def test_dying_again_and_again_inside_one_still_ends(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, '')")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("""
            BEGIN; INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 500) n;
            UPDATE t SET v = 'y' WHERE id % 2 = 0; COMMIT
        """)
        killed = 0
        while sync(connector, database.configuration, destination, stop_at=150).operations == 150:
            killed += 1
        assert 3 < killed < 20
        assert destination.contents() == database.whole()


def _counted(sink: Sink) -> None:
    from tests.recording import Killed

    sink.operations += 1
    if sink.operations >= sink.stop_at:
        raise Killed


class TestSlot:
    TABLE = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50)"

    def test_it_is_advanced_only_past_what_was_saved(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        first = database.confirmed()
        for number in range(5):
            database.run(f"INSERT INTO t VALUES ({1000 + number}); SELECT pg_switch_wal()")
            given = destination.committed["streams"]["log"]["lsn"]
            sink = sync(connector, database.configuration, destination, stop_at=[2, 1, 3, 2, 99][number])
            assert database.confirmed() == given
            assert all(_lsn(state["streams"]["log"]["lsn"]) >= _lsn(given) for state in sink.checkpoints)
        assert _lsn(database.confirmed()) > _lsn(first)
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()

    def test_it_moves_on_when_only_other_tables_are_written_to(self, database: Database) -> None:
        database.run("CREATE TABLE other (id int)")
        configuration = {**database.configuration, "tables": "public.t"}
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, configuration, destination)
        for _ in range(3):
            database.run("INSERT INTO other VALUES (1)")
            # Not compared with where the log ends now: every database of the server writes to it.
            ((written,),) = database.run("SELECT pg_current_wal_insert_lsn()::text")
            sync(connector, configuration, destination)  # reads it
            sync(connector, configuration, destination)  # tells the server that it may forget it
            assert _lsn(database.confirmed()) >= _lsn(written)

    def test_one_that_was_dropped_is_made_anew_and_everything_copied(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.drop_slot()
        database.run("DELETE FROM t WHERE id < 10; INSERT INTO t VALUES (100)")
        sink = sync(connector, database.configuration, destination)
        assert sink.warnings == [f"slot {database.slot} is gone: every table of mode log is copied again"]
        assert destination.contents() == database.whole()
        database.run("DELETE FROM t WHERE id < 20")
        sink = sync(connector, database.configuration, destination)
        assert sink.upserts == {}
        assert destination.contents() == database.whole()

    def test_one_that_lost_its_log_is_made_anew_and_everything_copied(self, small_database: Database) -> None:
        database = small_database
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("DELETE FROM t WHERE id < 10")
        for _ in range(6):
            database.run("SELECT pg_logical_emit_message(false, '', 'x')")
            database.run("SELECT pg_switch_wal()")
        database.run("CHECKPOINT")
        sink = sync(connector, database.configuration, destination)
        assert any(f"slot {database.slot} was lost" in warning for warning in sink.warnings)
        assert destination.contents() == database.whole()

    def test_one_that_something_else_read_is_told_and_everything_copied(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("DELETE FROM t WHERE id < 10")
        database.run("SELECT pg_switch_wal()")
        database.run(f"SELECT pg_replication_slot_advance('{database.slot}', pg_current_wal_lsn())")
        sink = sync(connector, database.configuration, destination)
        assert any("was read by something else" in warning for warning in sink.warnings)
        assert destination.contents() == database.whole()

    def test_one_of_another_plugin_is_told(self, database: Database) -> None:
        database.run(self.TABLE)
        database.run(f"SELECT pg_create_logical_replication_slot('{database.slot}', 'test_decoding')")
        with pytest.raises(SourceError, match=rf"slot {database.slot} is one of test_decoding in database log_"):
            sync(connector, database.configuration)

    def test_one_that_is_in_use_is_told_with_its_process(
        self, database: Database, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slot_module, "ACTIVE_SECONDS", 0.3)
        database.run(self.TABLE)
        sync(connector, database.configuration)
        other = sender(postgres, database.name)
        with closing(other):
            other.cursor().start_replication(
                slot_name=database.slot,
                options={"proto_version": "1", "publication_names": "fivetran_connector"},
            )
            pid = other.info.backend_pid
            with pytest.raises(SourceError, match=rf"slot {database.slot} is read by process {pid} of the server"):
                sync(connector, database.configuration)

    def test_another_name_begins_anew_and_the_old_one_is_told(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        old, database.slot = database.slot, f"{database.slot}_b"
        database.configuration["slot"] = database.slot
        sink = sync(connector, database.configuration, destination)
        assert any(f"run SELECT pg_drop_replication_slot('{old}')" in warning for warning in sink.warnings)
        database.run(f"SELECT pg_drop_replication_slot('{old}')")

    def test_a_server_that_stops_is_not_held_up(self, small_database: Database, small_postgres: PostgresServer) -> None:
        database = small_database
        database.run(self.TABLE)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("INSERT INTO t SELECT generate_series(100, 400)")
        deliver, took = connector.deliver, []

        def restart() -> None:
            began = time.monotonic()
            small_postgres.restart()
            took.append(time.monotonic() - began)

        restarting = threading.Thread(target=restart)

        def deliver_while_it_restarts(page: Any) -> None:
            if page.table == "t" and not restarting.ident:
                restarting.start()
            time.sleep(0.1)
            deliver(page)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector, "deliver", deliver_while_it_restarts)
            patch.setitem(session_module, "FIRST_PAUSE", 0.3)
            sync(connector, database.configuration, destination)
        restarting.join()
        assert took[0] < 10
        assert len(destination.table("t")) == 351
        small_database.reconnect()


def _lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


class TestPublication:
    TABLES = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 50);"

    @pytest.mark.parametrize(
        "table",
        [
            "CREATE TABLE bare (id int NOT NULL, v int); CREATE UNIQUE INDEX ON bare (id)",
            "CREATE TABLE bare (id int PRIMARY KEY DEFERRABLE, v int)",
            "CREATE TABLE bare (id int PRIMARY KEY, v int); ALTER TABLE bare REPLICA IDENTITY NOTHING",
            "CREATE TABLE bare (id int NOT NULL UNIQUE, v int) PARTITION BY RANGE (id);"
            "CREATE TABLE b1 PARTITION OF bare FOR VALUES FROM (0) TO (10);"
            "ALTER TABLE b1 REPLICA IDENTITY USING INDEX b1_id_key",
            "CREATE UNLOGGED TABLE bare (id int PRIMARY KEY, v int)",
        ],
    )
    def test_a_table_without_replica_identity_is_never_published_and_read_whole(
        self, database: Database, table: str
    ) -> None:
        _, sink = follow(
            database, f"{self.TABLES} {table}; INSERT INTO bare VALUES (1, 1)", "UPDATE bare SET v = 2; DELETE FROM t"
        )
        assert any("table public.bare is read whole by every sync" in warning for warning in sink.warnings)
        members = {name for (name,) in database.run("SELECT tablename FROM pg_publication_tables")}
        assert members == {"t"}
        assert sink.upserts == {"bare": 1}

    def test_any_identity_that_holds_the_key_will_do(self, database: Database) -> None:
        _, sink = follow(
            database,
            """
            CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);
            ALTER TABLE t REPLICA IDENTITY FULL;
            CREATE TABLE u (id int NOT NULL, v int); CREATE UNIQUE INDEX i ON u (id); INSERT INTO u VALUES (1, 1);
            ALTER TABLE u REPLICA IDENTITY USING INDEX i;
            """,
            "UPDATE t SET id = 5, v = 9 WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE u SET id = 3",
        )
        assert sink.upserts == {"t": 1, "u": 1}
        assert sink.warnings == []

    def test_what_has_no_log_is_read_as_in_mode_full(self, database: Database) -> None:
        _, sink = follow(
            database,
            f"""
            {self.TABLES} CREATE TABLE keyless (n int); INSERT INTO keyless VALUES (1), (1);
            CREATE VIEW v AS SELECT 1 AS id; CREATE MATERIALIZED VIEW m AS SELECT id FROM t WHERE id < 5;
            CREATE UNIQUE INDEX ON m (id); CREATE TABLE f (id int PRIMARY KEY); INSERT INTO f VALUES (1);
            """,
            "DELETE FROM t WHERE id = 3; REFRESH MATERIALIZED VIEW m; DELETE FROM f",
            keys="public.v=id",
            full_tables="public.f",
        )
        assert sink.upserts == {"keyless": 2, "v": 1, "m": 3}

    def test_a_table_added_to_the_database_later_is_copied_and_followed(self, database: Database) -> None:
        _, sink = follow(
            database,
            self.TABLES,
            "CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1); DELETE FROM t WHERE id = 2",
            "DELETE FROM late; INSERT INTO late VALUES (2)",
        )
        assert sink.upserts == {"late": 1}

    def test_a_table_that_was_excluded_for_a_while_is_copied_again(self, database: Database) -> None:
        database.run(f"{self.TABLES} CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (2)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("DELETE FROM u WHERE id = 1")
        sync(connector, {**database.configuration, "exclude_tables": "public.u"}, destination)
        database.run("INSERT INTO u VALUES (3)")
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()

    @pytest.mark.parametrize(
        "change",
        [
            "DROP PUBLICATION fivetran_connector; DELETE FROM t WHERE id = 1",
            "DROP PUBLICATION fivetran_connector; DELETE FROM t WHERE id = 1; CREATE PUBLICATION fivetran_connector "
            "FOR TABLE t",
            "ALTER PUBLICATION fivetran_connector DROP TABLE t; DELETE FROM t WHERE id = 1",
            "ALTER PUBLICATION fivetran_connector DROP TABLE t; DELETE FROM t WHERE id = 1; ALTER PUBLICATION "
            "fivetran_connector ADD TABLE t",
            "ALTER PUBLICATION fivetran_connector SET (publish = 'insert'); DELETE FROM t WHERE id = 1; ALTER "
            "PUBLICATION fivetran_connector SET (publish = 'insert, update, delete, truncate')",
        ],
    )
    def test_what_was_not_published_for_a_while_is_copied_again(self, database: Database, change: str) -> None:
        database.run(self.TABLES)
        destination = Destination()
        sync(connector, database.configuration, destination)
        for statement in change.split("; "):
            database.run(statement)
        sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()
        database.run("DELETE FROM t WHERE id = 2")
        assert sync(connector, database.configuration, destination).upserts == {}
        assert destination.contents() == database.whole()

    @pytest.mark.parametrize(
        ("publication", "told"),
        [
            ("FOR TABLE t WITH (publish = 'insert')", """run ALTER PUBLICATION "fivetran_connector" SET (publish = """),
            ("FOR TABLE t WHERE (id > 5)", "has a row filter on table public.t"),
            ("FOR TABLE t, p WITH (publish_via_partition_root = true)", "SET (publish_via_partition_root = false)"),
        ],
    )
    def test_one_that_does_not_send_enough_is_told(self, database: Database, publication: str, told: str) -> None:
        database.run(
            f"{self.TABLES} CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);"
            f"CREATE TABLE p1 PARTITION OF p DEFAULT; CREATE PUBLICATION fivetran_connector {publication}"
        )
        with pytest.raises(SourceError, match=re.escape(told)):
            sync(connector, database.configuration)

    def test_one_for_all_tables_will_do(self, database: Database) -> None:
        database.run("CREATE PUBLICATION fivetran_connector FOR ALL TABLES")
        follow(database, self.TABLES, "DELETE FROM t WHERE id = 2")


class TestPrivileges:
    def test_without_replication_the_role_attribute_is_named(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION fivetran_connector FOR TABLE t")
        settings = database.as_reader("SELECT ON t")
        with pytest.raises(SourceError, match=f"ALTER ROLE {database.reader} REPLICATION"):
            sync(connector, settings)
        database.run(f"SELECT pg_create_logical_replication_slot('{database.slot}', 'pgoutput')")
        with pytest.raises(SourceError, match=f"ALTER ROLE {database.reader} REPLICATION"):
            sync(connector, settings)

    def test_without_the_right_to_publish_the_statement_is_named(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        settings = database.as_reader("SELECT ON t", attributes="REPLICATION")
        with pytest.raises(SourceError) as refused:
            sync(connector, settings)
        statement = 'CREATE PUBLICATION "fivetran_connector" FOR TABLE ONLY "public"."t"'
        assert statement in str(refused.value)
        database.run(statement)
        assert sync(connector, settings).upserts == {"t": 1}

    def test_a_table_that_only_its_owner_can_publish_is_left_out_with_the_statement(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE "U 2" (id int PRIMARY KEY);
            INSERT INTO "U 2" VALUES (1); CREATE PUBLICATION fivetran_connector FOR TABLE t;
        """)
        settings = database.as_reader('SELECT ON t, "U 2"', attributes="REPLICATION")
        destination = Destination()
        sink = sync(connector, settings, destination)
        statement = 'ALTER PUBLICATION "fivetran_connector" ADD TABLE ONLY "public"."U 2"'
        assert any(statement in warning for warning in sink.warnings)
        assert sink.upserts == {"t": 1}
        database.run(statement)
        assert sync(connector, settings, destination).upserts == {"U 2": 1}

    def test_a_server_that_keeps_too_little_in_its_log_is_told(self) -> None:
        with postgres_server.start(settings={"wal_level": "replica"}) as server:
            database = Database(server)
            database.run("CREATE TABLE t (id int PRIMARY KEY)")
            with pytest.raises(SourceError, match="needs wal_level = logical, and this server has replica"):
                sync(connector, database.configuration)
            database.close()

    def test_a_server_without_free_slots_or_senders_is_told(
        self, small_database: Database, small_postgres: PostgresServer
    ) -> None:
        database = small_database
        database.run("CREATE TABLE t (id int PRIMARY KEY)")
        database.run("SELECT pg_create_physical_replication_slot('other')")
        with pytest.raises(SourceError, match="all max_replication_slots of the server are taken"):
            sync(connector, database.configuration)
        database.run("SELECT pg_drop_replication_slot('other')")
        other = sender(small_postgres, database.name)
        with closing(other), pytest.raises(SourceError, match="all max_wal_senders of the server are taken"):
            sync(connector, database.configuration)
        sync(connector, database.configuration)

    def test_a_server_whose_transactions_would_wait_for_a_sync_is_told(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY)")
        for names_of_standbys, told in (("ANY 1 (*)", True), ('"a*b"', False)):
            database.run(f"ALTER SYSTEM SET synchronous_standby_names = '{names_of_standbys}'")
            database.run("SELECT pg_reload_conf()")
            time.sleep(0.3)
            try:
                if told:
                    with pytest.raises(SourceError, match="would wait for every sync of mode log"):
                        sync(connector, database.configuration)
                else:
                    sync(connector, database.configuration)
            finally:
                database.run("ALTER SYSTEM RESET synchronous_standby_names")
                database.run("SELECT pg_reload_conf()")

    def test_a_standby_is_told(self) -> None:
        class Standby:
            def fetch(self, *_: Any) -> list[tuple[Any, ...]]:
                return [("logical", True, "database", "server", False)]

        with pytest.raises(SourceError, match="this one is a standby: set host to the primary"):
            slot_module.provided(Standby(), None, None, None)


class TestLostConnections:
    def test_the_stream_goes_on_where_it_was(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, '')")
        destination = Destination()
        with tcp_proxy.start(int(database.configuration["port"])) as proxy:
            settings = {**database.configuration, "port": str(proxy.port)}
            sync(connector, settings, destination)
            database.run("INSERT INTO t SELECT n, repeat('x', 300) FROM generate_series(1, 400) n")
            database.run("DELETE FROM t WHERE id = 0; UPDATE t SET v = 'y' WHERE id % 3 = 0")
            deliver, numbers = connector.deliver, itertools.count()

            def deliver_and_cut(page: Any) -> None:
                if next(numbers) % 4 == 3:
                    proxy.cut()
                deliver(page)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(connector, "deliver", deliver_and_cut)
                sink = sync(connector, settings, destination)
            assert proxy.accepted > 10
        assert destination.contents() == database.whole()
        assert sink.upserts["t"] <= 400 + 150

    def test_a_sender_that_is_ended_is_started_again(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (0, '')")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("INSERT INTO t SELECT n, repeat('x', 300) FROM generate_series(1, 200) n")
        deliver = connector.deliver

        def deliver_and_end(page: Any) -> None:
            database.run(f"""
                SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{database.slot}'
            """)
            deliver(page)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector, "deliver", deliver_and_end)
            sync(connector, database.configuration, destination)
        assert destination.contents() == database.whole()


class TestStopAndResume:
    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self, database: Database) -> None:
        database.run("""
            CREATE TABLE a (id int PRIMARY KEY, wide text);
            INSERT INTO a SELECT n, repeat('x', 2000) FROM generate_series(1, 15) n;
            CREATE TABLE b (x text, y date, PRIMARY KEY (x, y));
            INSERT INTO b SELECT chr(65 + n % 3), '2026-01-01'::date + n FROM generate_series(1, 8) n;
        """)
        assert stop_and_resume.check(connector, database.configuration) > 50

    def test_stopped_at_any_operation_of_the_stream(self, database: Database) -> None:
        database.run("""
            CREATE TABLE a (id int PRIMARY KEY, wide text); CREATE TABLE b (id int PRIMARY KEY);
            INSERT INTO a SELECT n, 'x' FROM generate_series(1, 30) n; INSERT INTO b SELECT generate_series(1, 10);
        """)
        first = Destination()
        sync(connector, database.configuration, first)
        database.run("""
            UPDATE a SET wide = repeat('y', 3000) WHERE id < 10; TRUNCATE b; INSERT INTO b VALUES (100), (101);
            UPDATE a SET id = id + 1000 WHERE id < 5; DELETE FROM a WHERE id BETWEEN 20 AND 25; TRUNCATE b;
            INSERT INTO b VALUES (200), (201);
        """)
        expected = database.whole()
        given = first.after_crash()
        operations = sync(connector, database.configuration, given).operations
        assert given.contents() == expected
        for stop_at in range(1, operations + 1):
            killed = sync(connector, database.configuration, first.after_crash(), stop_at=stop_at)
            for destination in (killed.destination.after_crash(), killed.destination):
                sync(connector, database.configuration, destination)
                assert destination.contents() == expected, f"stopped at operation {stop_at}"


def _value(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"t" + struct.pack(">I", len(value)) + value
    return b"n" if value is None else b"u"


def _values(values: tuple[Any, ...]) -> bytes:
    return struct.pack(">H", len(values)) + b"".join(map(_value, values))


def _message(message: Any) -> bytes:
    """A message as the server writes it."""
    if isinstance(message, pgoutput.Begin):
        return b"B" + struct.pack(">QqI", message.commit_lsn, 0, message.xid)
    if isinstance(message, pgoutput.Commit):
        return b"C" + struct.pack(">BQQq", 0, 0, message.end_lsn, 0)
    if isinstance(message, pgoutput.Truncate):
        return b"T" + struct.pack(f">IB{len(message.oids)}I", len(message.oids), 0, *message.oids)
    if isinstance(message, pgoutput.Relation):
        columns = (b"\1" + name.encode() + b"\0" + struct.pack(">Ii", oid, -1) for name, oid in message.columns)
        names = b"".join(name.encode() + b"\0" for name in (message.schema, message.name))
        count = struct.pack(">H", len(message.columns))
        return b"R" + struct.pack(">I", message.oid) + names + b"d" + count + b"".join(columns)
    old, new = message.old, message.new
    kind = b"I" if old is None else b"D" if new is None else b"U"
    parts = [b"" if old is None else b"K" + _values(old), b"" if new is None else b"N" + _values(new)]
    return kind + struct.pack(">I", message.oid) + b"".join(parts)


OIDS, LSNS = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
VALUES = st.lists(st.one_of(st.binary(max_size=20), st.none(), st.just(pgoutput.UNCHANGED)), max_size=5).map(tuple)
MESSAGES = st.one_of(
    st.builds(pgoutput.Begin, LSNS, OIDS),
    st.builds(pgoutput.Commit, LSNS),
    st.builds(pgoutput.Truncate, st.lists(OIDS, max_size=4).map(tuple)),
    st.builds(pgoutput.Relation, OIDS, NAMES, NAMES, st.lists(st.tuples(NAMES, OIDS), max_size=4).map(tuple)),
    st.builds(pgoutput.Change, OIDS, VALUES, st.one_of(VALUES, st.none())),
    st.builds(pgoutput.Change, OIDS, st.none(), VALUES),
)


class TestMessages:
    @given(MESSAGES)
    def test_each_is_read_as_it_was_written(self, message: Any) -> None:
        assert pgoutput.parsed(_message(message)) == message

    @given(MESSAGES, st.data())
    def test_one_that_is_cut_short_or_too_long_is_refused(self, message: Any, data: st.DataObject) -> None:
        written = _message(message)
        short = written[: data.draw(st.integers(0, len(written) - 1))]
        for damaged in (short, written + b"x"):
            with pytest.raises(SourceError, match="is none of pgoutput's"):
                pgoutput.parsed(damaged)

    @given(st.binary(max_size=60))
    def test_what_is_no_message_is_read_or_refused(self, payload: bytes) -> None:
        with suppress(SourceError):
            pgoutput.parsed(payload)

    @pytest.mark.parametrize("payload", [b"", b"Z", b"S\0\0\0\1\1", b"I\0\0\0\1N\0\1b\0\0\0\0"])
    def test_an_unknown_one_is_refused_without_its_values(self, payload: bytes) -> None:
        with pytest.raises(SourceError, match="is none of pgoutput's"):
            pgoutput.parsed(payload)

    @given(LSNS)
    def test_places_in_the_log_are_written_as_the_server_does(self, lsn: int) -> None:
        assert pgoutput.lsn_of(pgoutput.lsn_text(lsn)) == lsn


class TestSoak:
    """Random writes by several threads while syncs run, are killed and cut off: in the end all is equal."""

    TABLES = """
        CREATE TABLE plain (id int PRIMARY KEY, v text, wide text);
        ALTER TABLE plain ALTER wide SET STORAGE EXTERNAL;
        INSERT INTO plain SELECT n, 'start', repeat('w', 3000) FROM generate_series(1, 300) n;
        CREATE TABLE pairs (a text, b numeric, v int, PRIMARY KEY (a, b));
        INSERT INTO pairs SELECT 'it''s ' || n % 7, n / 10.0, 0 FROM generate_series(1, 300) n;
        CREATE TABLE parted (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
        CREATE TABLE parted1 PARTITION OF parted FOR VALUES FROM (-100000) TO (150);
        CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (150) TO (1000000);
        INSERT INTO parted SELECT n, 0 FROM generate_series(1, 300) n;
        ALTER TABLE parted1 REPLICA IDENTITY FULL;
    """
    WRITES = (
        ("INSERT INTO plain VALUES ({n}, 'in {n}', repeat('{c}', {m})) ON CONFLICT (id) DO UPDATE SET v = 'again'", 10),
        ("UPDATE plain SET v = 'u' || {n} WHERE id % 50 = {n} % 50", 8),
        ("UPDATE plain SET wide = repeat('{c}', {m}) WHERE id = {n}", 5),
        ("UPDATE plain SET id = id + 7 WHERE id = {n} AND NOT EXISTS (SELECT FROM plain WHERE id = {n} + 7)", 8),
        ("DELETE FROM plain WHERE id % 40 = {n} % 40", 8),
        ("INSERT INTO plain SELECT i, 'many', '' FROM generate_series({n}, {n} + 150) i ON CONFLICT DO NOTHING", 4),
        ("INSERT INTO pairs VALUES (E'\\\\ %s \"{c}', {n} / 10.0, {m}) ON CONFLICT DO NOTHING", 8),
        ("UPDATE pairs SET a = a || '{c}' WHERE b = {n} / 10.0 AND length(a) < 20", 8),
        ("UPDATE pairs SET v = v + 1 WHERE v % 30 = {n} % 30", 5),
        ("DELETE FROM pairs WHERE b = {n} / 10.0", 5),
        ("INSERT INTO parted VALUES ({n}, {m}) ON CONFLICT (id) DO UPDATE SET v = {m}", 8),
        ("UPDATE parted SET id = 301 - id WHERE id = {n} AND NOT EXISTS (SELECT FROM parted WHERE id = 301 - {n})", 8),
        ("DELETE FROM parted WHERE id % 30 = {n} % 30", 5),
        ("ALTER TABLE plain ADD COLUMN IF NOT EXISTS extra int DEFAULT {m}", 0.2),
        ("ALTER TABLE plain DROP COLUMN IF EXISTS extra", 0.2),
        ("ALTER TABLE pairs ALTER v TYPE int USING v + 1", 0.2),
        ("TRUNCATE plain", 0.4),
        ("TRUNCATE pairs, parted", 0.4),
    )

    def write(self, database: Database, seed: int, until: float, count: Callable[[], Any]) -> None:
        """Transactions of one to five random statements; some are rolled back, some wait before they commit."""
        rng = random.Random(seed)
        statements, weights = zip(*self.WRITES, strict=True)
        with closing(database.connect()) as connection:
            connection.autocommit = False
            while time.monotonic() < until:
                try:
                    with connection.cursor() as cursor:
                        for statement in rng.choices(statements, weights, k=rng.choice((1, 1, 1, 2, 5))):
                            values = {"n": rng.randint(1, 320), "m": rng.randint(1, 9000), "c": rng.choice("abc#'é'")}
                            values["c"] = str(values["c"]).replace("'", "''")
                            cursor.execute(statement.format(**values))
                            count()
                        if rng.random() < 0.05:
                            time.sleep(0.3)
                    (connection.rollback if rng.random() < 0.1 else connection.commit)()
                except (errors.UniqueViolation, errors.DeadlockDetected, errors.SerializationFailure):
                    connection.rollback()
                time.sleep(rng.uniform(0, 0.01))

    def test_source_and_destination_end_equal(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = random.Random(SOAK_SEED)
        database.run(self.TABLES)
        statements = itertools.count()
        until = time.monotonic() + SOAK_SECONDS
        writers = [
            threading.Thread(
                target=self.write, args=(database, SOAK_SEED * 100 + number, until, lambda: next(statements))
            )
            for number in range(3)
        ]
        for writer in writers:
            writer.start()
        destination, syncs, kills, told = Destination(), 0, 0, []
        with tcp_proxy.start(int(database.configuration["port"])) as proxy:
            configuration = {**database.configuration, "port": str(proxy.port)}
            cutter = threading.Thread(target=self.cut, args=(proxy, rng.random(), until))
            cutter.start()
            while time.monotonic() < until:
                monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", rng.choice((0, 0, 5)))
                stop_at = rng.choice((rng.randint(1, 60), rng.randint(1, 1500), 10**9))
                try:
                    sink = sync(connector, configuration, destination, stop_at=stop_at)
                except SourceError as error:  # a cut while the sync begins
                    told.append(str(error))
                else:
                    syncs += 1
                    kills += sink.operations >= stop_at
                    told += sink.warnings
                if rng.random() < 0.5:
                    destination = destination.after_crash()
            cutter.join()
        for writer in writers:
            writer.join()
        monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
        last = sync(connector, database.configuration, destination)
        print(f"seed {SOAK_SEED}: {next(statements)} statements, {syncs} syncs, {kills} killed, told {set(told)}")
        assert last.errors == []
        assert not [warning for warning in told if "every table of mode log is copied again" in warning]
        contents, expected = destination.contents(), database.whole()
        assert contents.keys() == expected.keys()
        for name, rows in expected.items():
            assert contents[name] == rows, name

    def cut(self, proxy: tcp_proxy.TcpProxy, seed: float, until: float) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.3, 2))
            proxy.cut(reset=rng.random() < 0.7)


class TestTablesThatWereAway:
    @pytest.mark.parametrize(
        ("publication", "change"),
        [
            ("FOR TABLE parted", "ALTER TABLE p1 SET UNLOGGED; {}; ALTER TABLE p1 SET LOGGED"),
            ("FOR ALL TABLES", "ALTER TABLE t SET UNLOGGED; {}; ALTER TABLE t SET LOGGED"),
            ("FOR TABLES IN SCHEMA public", "ALTER TABLE t SET SCHEMA z; {}; ALTER TABLE z.t SET SCHEMA public"),
            (
                "FOR TABLES IN SCHEMA public",
                "ALTER PUBLICATION {name} DROP TABLES IN SCHEMA public; {};"
                "ALTER PUBLICATION {name} ADD TABLES IN SCHEMA public",
            ),
        ],
    )
    def test_what_was_deleted_while_the_log_did_not_name_them_is_deleted(
        self, database: Database, publication: str, change: str
    ) -> None:
        database.run(f"""
            CREATE SCHEMA z; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5);
            CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE p1 PARTITION OF parted FOR VALUES FROM (0) TO (10); INSERT INTO parted TABLE t;
            CREATE PUBLICATION away {publication};
        """)
        settings = {**database.configuration, "publication": "away", "full_tables": ""}
        settings["tables"] = "public.parted" if "FOR TABLE parted" in publication else "public.t"
        destination = Destination()
        sync(connector, settings, destination)
        table = "p1" if "p1" in change else "z.t" if "z.t" in change else "t"
        for statement in change.replace("{name}", "away").format(f"DELETE FROM {table} WHERE id < 3").split(";"):
            database.run(statement)
        sync(connector, settings, destination)
        assert {row["id"] for row in destination.table(settings["tables"][7:])} == {"3", "4", "5"}

    def test_what_happened_to_a_detached_partition_arrives(self, database: Database) -> None:
        database.run("""
            CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p SELECT generate_series(1, 5);
        """)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("""
            ALTER TABLE p DETACH PARTITION p1; DELETE FROM p1 WHERE id < 3;
            ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
        """)
        sync(connector, database.configuration, destination)
        assert {row["id"] for row in destination.table("p")} == {"3", "4", "5"}


class TestASlotThatIsLeft:
    @pytest.mark.parametrize("left", [{"mode": "changes"}, {"full_tables": "public.*"}])
    def test_is_told_until_it_is_dropped(self, database: Database, left: dict[str, str]) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        destination = Destination()
        assert sync(connector, database.configuration, destination).warnings == []
        for _ in range(2):
            told = sync(connector, {**database.configuration, **left}, destination).warnings
            assert any(f"run SELECT pg_drop_replication_slot('{database.slot}')" in warning for warning in told)
        database.drop_slot()
        assert sync(connector, {**database.configuration, **left}, destination).warnings == []
