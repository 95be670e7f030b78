"""connectors/postgres against a real PostgreSQL."""

import threading
import time
from contextlib import closing
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, ConnectorError, SourceError
from tests import stop_and_resume
from tests.connectors.postgres_database import Database, connector, names, session
from tests.recording import Destination, decoded, sync
from tests.sources import postgres_server, tcp_proxy
from tests.sources.postgres_server import PostgresServer

pytestmark = pytest.mark.usefixtures("quick")


def column(database: Database, type_: str, value: str) -> tuple[str, Any]:
    """What a column of the type sends for a value written as SQL."""
    database.run(f"CREATE TABLE t (id int PRIMARY KEY, value {type_}); INSERT INTO t VALUES (1, {value})")
    (row,) = sync(connector, database.configuration).destination.rows["t"].values()
    return decoded(row["value"])


class TestTables:
    def test_every_table_with_its_primary_key_is_found_in_the_catalogue(self, database: Database) -> None:
        database.run("""
            CREATE TABLE plain (id bigint PRIMARY KEY, name text);
            CREATE TABLE pairs (b int, a text, PRIMARY KEY (b, a));
            CREATE TABLE "Odd % name" ("a % b" int PRIMARY KEY, "select" text);
            CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
            INSERT INTO plain VALUES (1, 'x'); INSERT INTO pairs VALUES (1, 'a'), (1, 'b'), (0, 'c');
            INSERT INTO "Odd % name" VALUES (7, '100 %'); INSERT INTO parted VALUES (1), (2);
        """)
        tables = {table["table"]: table for table in connector.schema(database.configuration)}
        assert {name: table["primary_key"] for name, table in tables.items()} == {
            "plain": ["id"], "pairs": ["b", "a"], "Odd % name": ["a % b"], "parted": ["id"],
        }  # fmt: skip
        sink = sync(connector, database.configuration)
        assert sink.upserts == {"plain": 1, "pairs": 3, "Odd % name": 1, "parted": 2}

    def test_equal_rows_of_a_table_without_a_key_are_kept_apart(self, database: Database) -> None:
        database.run("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
        sink = sync(connector, database.configuration)
        rows = sorted((row["a"], row["b"], row["_occurrence"]) for row in sink.destination.table("t"))
        assert rows == [("1", "x", "1"), ("1", "x", "2"), ("2", None, "1")]

    def test_a_table_without_a_key_is_replaced_as_a_whole(self, database: Database) -> None:
        database.run("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("DELETE FROM t WHERE a = 1; UPDATE t SET a = 3")
        sync(connector, database.configuration, destination)
        assert [row["a"] for row in destination.table("t")] == ["3"]

    def test_rows_of_inheriting_tables_stay_in_their_own(self, database: Database) -> None:
        database.run("""
            CREATE TABLE city (id int PRIMARY KEY, name text);
            CREATE TABLE capital (PRIMARY KEY (id)) INHERITS (city);
            INSERT INTO city VALUES (1, 'Zug'); INSERT INTO capital VALUES (1, 'Bern');
        """)
        sink = sync(connector, database.configuration)
        assert [row["name"] for row in sink.destination.table("city")] == ["Zug"]
        assert [row["name"] for row in sink.destination.table("capital")] == ["Bern"]

    def test_names_that_become_one_in_the_destination_are_told(self, database: Database) -> None:
        database.run("""
            CREATE TABLE "orderLines" (id int PRIMARY KEY, "createdAt" date, created_at date);
            CREATE TABLE order_lines (id int PRIMARY KEY);
        """)
        told = sync(connector, database.configuration).warnings
        assert any("the tables 'orderLines' and 'order_lines'" in warning for warning in told)
        assert any("the columns 'createdAt' and 'created_at' of table orderLines" in warning for warning in told)

    def test_several_schemas_are_kept_apart(self, database: Database) -> None:
        database.run("""
            CREATE SCHEMA sales;
            CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE sales.t (id int PRIMARY KEY);
            INSERT INTO t VALUES (1); INSERT INTO sales.t VALUES (2);
        """)
        sink = sync(connector, {**database.configuration, "tables": "public.*,sales.*"})
        assert set(sink.destination.contents()) == {"public.t", "sales.t"}

    def test_a_table_we_may_not_read_is_named_and_the_others_go_on(self, database: Database) -> None:
        database.run("""
            CREATE TABLE closed (id int PRIMARY KEY);
            CREATE TABLE open (id int PRIMARY KEY); INSERT INTO open VALUES (1);
        """)
        sink = sync(connector, database.as_reader("SELECT ON open"))
        assert sink.upserts == {"open": 1}
        grant = f"public.closed is left out until this is run: GRANT SELECT ON public.closed TO {database.reader}"
        assert any(grant in warning for warning in sink.warnings)

    def test_a_schema_we_may_not_enter_is_told_with_its_grant(self, database: Database) -> None:
        database.run("""
            CREATE SCHEMA "Hidden"; CREATE TABLE "Hidden".h (id int PRIMARY KEY);
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        """)
        settings = database.as_reader('SELECT ON t, "Hidden".h')
        sink = sync(connector, {**settings, "tables": "public.*,Hidden.*"})
        assert sink.upserts == {"public.t": 1}
        assert any(f'GRANT USAGE ON SCHEMA "Hidden" TO {database.reader}' in warning for warning in sink.warnings)


class TestWhatTransactionsCannotShow:
    """Rows that say something else, or are there, without having been written: the table is read whole again."""

    def check(self, database: Database, before: str, change: str, table: str = "t", **settings: str) -> Destination:
        database.run(before)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run(change)
        changed = {**database.configuration, **settings}
        sync(connector, changed, destination)
        fresh = sync(connector, changed).destination.contents()
        assert {name: rows for name, rows in destination.contents().items() if name in fresh} == fresh
        assert table in fresh
        return destination

    def test_a_partition_that_is_attached(self, database: Database) -> None:
        self.check(
            database,
            "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10); INSERT INTO t VALUES (1);"
            "CREATE TABLE t2 (id int PRIMARY KEY); INSERT INTO t2 VALUES (11), (12)",
            "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20)",
        )

    @pytest.mark.parametrize("type_", ["mood[]", "moods", "pair", "mood_range"])
    def test_a_label_of_an_enum_inside_another_type(self, database: Database, type_: str) -> None:
        values = {"mood[]": "'{a}'", "moods": "'{a}'", "pair": "'(1,a)'", "mood_range": "'[a,b]'"}
        self.check(
            database,
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE DOMAIN moods AS mood[]; CREATE TYPE pair AS (n int, m mood);"
            f"CREATE TYPE mood_range AS RANGE (subtype = mood); CREATE TABLE t (id int PRIMARY KEY, m {type_});"
            f"INSERT INTO t VALUES (1, {values[type_]})",
            "ALTER TYPE mood RENAME VALUE 'a' TO 'z'",
        )

    def test_rows_hidden_before_arrive_when_the_user_may_see_them(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
            ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1);
        """)
        settings, destination = database.as_reader("SELECT ON t"), Destination()
        sync(connector, settings, destination)
        database.run(f"ALTER ROLE {database.reader} BYPASSRLS")
        sync(connector, settings, destination)
        assert len(destination.table("t")) == 2

    def test_partitions_that_come_during_a_pass_do_not_cost_its_progress(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
            CREATE TABLE t0 PARTITION OF t FOR VALUES FROM (0) TO (1000);
            INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(100, 400) n;
        """)
        destination = Destination()
        for number in range(1, 7):
            sync(connector, database.configuration, destination, stop_at=100)
            low = number * 1000
            database.run(f"CREATE TABLE t{number} PARTITION OF t FOR VALUES FROM ({low}) TO ({low + 1000})")
        database.run(
            "CREATE TABLE late (LIKE t); INSERT INTO late VALUES (-5, 'x'); ALTER TABLE late ADD PRIMARY KEY (id)"
        )
        database.run("ALTER TABLE t ATTACH PARTITION late FOR VALUES FROM (-10) TO (0)")
        for _ in range(3):
            sync(connector, database.configuration, destination)
        assert destination.contents() == sync(connector, database.configuration).destination.contents()

    def test_a_column_dropped_and_added_again(self, database: Database) -> None:
        self.check(
            database,
            "CREATE TABLE t (id int PRIMARY KEY, c text); INSERT INTO t VALUES (1, 'old')",
            "ALTER TABLE t DROP COLUMN c, ADD COLUMN c text DEFAULT 'new'",
        )

    def test_a_label_of_an_enum_that_is_renamed(self, database: Database) -> None:
        self.check(
            database,
            "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id int PRIMARY KEY, m mood);"
            "INSERT INTO t VALUES (1, 'a')",
            "ALTER TYPE mood RENAME VALUE 'a' TO 'z'",
        )

    def test_a_generated_column_with_another_expression(self, database: Database) -> None:
        self.check(
            database,
            "CREATE TABLE t (id int PRIMARY KEY, c int GENERATED ALWAYS AS (id * 2) VIRTUAL); INSERT INTO t VALUES (1)",
            "ALTER TABLE t ALTER c SET EXPRESSION AS (id * 100)",
        )

    def test_one_more_schema_moves_every_table(self, database: Database) -> None:
        self.check(
            database,
            "CREATE SCHEMA other; CREATE TABLE other.o (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY);"
            "INSERT INTO t VALUES (1), (2)",
            "INSERT INTO t VALUES (3); INSERT INTO other.o VALUES (1)",
            table="public.t",
            tables="public.*,other.*",
        )

    def test_another_database_of_the_same_server(self, database: Database, postgres: PostgresServer) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        copy = f"{database.name}_copy"
        database.disconnect()
        with closing(postgres.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {copy} TEMPLATE {database.name}")
        with closing(postgres.connect(copy)) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (99)")
        destination = Destination()
        sync(connector, database.configuration, destination)
        sync(connector, {**database.configuration, "database": copy}, destination)
        assert {row["id"] for row in destination.table("t")} == {"1", "99"}

    def test_a_server_that_was_started_anew(self) -> None:
        """After a restore or a failover, transactions may have been counted anew."""
        with postgres_server.start() as server:
            database = Database(server)
            database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
            database.disconnect()
            destination = Destination()
            sync(connector, database.configuration, destination)
            server.restart()
            assert sync(connector, database.configuration, destination).upserts == {"t": 2}
            assert sync(connector, database.configuration, destination).upserts == {}

    def test_rows_that_a_policy_hid_arrive_when_it_shows_them(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);
            ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id = 1);
        """)
        settings, destination = database.as_reader("SELECT ON t"), Destination()
        sink = sync(connector, settings, destination)
        assert any("row-level security hides rows of table public.t" in warning for warning in sink.warnings)
        database.run("ALTER POLICY p ON t USING (true)")
        sync(connector, settings, destination)
        assert len(destination.table("t")) == 2


class TestOddTables:
    def test_a_column_of_the_name_of_the_occurrence_keeps_its_values(self, database: Database) -> None:
        database.run("CREATE TABLE t (_occurrence int); INSERT INTO t VALUES (77), (77)")
        rows = sync(connector, database.configuration).destination.table("t")
        assert sorted((row["_occurrence"], row["_occurrence_2"]) for row in rows) == [("77", "1"), ("77", "2")]

    def test_a_column_that_fivetran_overwrites_is_told(self, database: Database) -> None:
        database.run('CREATE TABLE t (id int PRIMARY KEY, "_fivetran_synced" text)')
        told = sync(connector, database.configuration).warnings
        assert any("'_fivetran_synced' of table t is overwritten" in warning for warning in told)

    def test_a_table_without_columns_is_left_out_and_told(self, database: Database) -> None:
        database.run("CREATE TABLE nothing (); CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        sink = sync(connector, database.configuration)
        assert sink.upserts == {"t": 1}
        assert any("public.nothing is left out: it has no columns" in warning for warning in sink.warnings)

    def test_a_partition_in_a_schema_without_its_parent_is_a_table(self, database: Database) -> None:
        database.run("""
            CREATE SCHEMA archive; CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);
            CREATE TABLE archive.t1 PARTITION OF t FOR VALUES FROM (0) TO (10); INSERT INTO t VALUES (1);
        """)
        assert sync(connector, {**database.configuration, "tables": "archive.*"}).upserts == {"t1": 1}
        assert sync(connector, {**database.configuration, "tables": "archive.*,public.*"}).upserts == {"public.t": 1}

    def test_columns_that_a_key_only_includes_are_no_part_of_it(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int, v json, PRIMARY KEY (id) INCLUDE (v)); INSERT INTO t VALUES (1, '1')")
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("UPDATE t SET v = '2'")
        sync(connector, database.configuration, destination)
        assert [(row["id"], row["v"]) for row in destination.table("t")] == [("1", "2")]

    def test_a_key_of_an_extension_in_a_schema_of_its_own_compares_as_the_extension_says(
        self, database: Database
    ) -> None:
        database.run("""
            CREATE SCHEMA extensions; CREATE EXTENSION citext SCHEMA extensions;
            CREATE TABLE t (k extensions.citext, n int, wide text, PRIMARY KEY (k, n));
            INSERT INTO t SELECT CASE WHEN n % 2 = 0 THEN 'k' ELSE 'K' END || n / 3, n, repeat('x', 1000)
            FROM generate_series(1, 60) n;
        """)
        assert stop_and_resume.check(connector, database.configuration) > 50

    def test_a_keyless_table_under_row_level_security_is_told_too(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2);
            ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (a = 1);
        """)
        sink = sync(connector, database.as_reader("SELECT ON t"))
        assert any("row-level security hides rows of table public.t" in warning for warning in sink.warnings)

    @pytest.mark.parametrize(
        ("type_", "values"),
        [("hstore", "hstore('k', n::text)"), ("pair", "ROW(n, 'x')::pair"), ("regclass", "(1000 + n)::oid::regclass")],
    )
    def test_a_key_that_is_hard_to_compare_still_ends(self, database: Database, type_: str, values: str) -> None:
        database.run(f"""
            CREATE EXTENSION hstore; CREATE TYPE pair AS (a int, b text);
            CREATE TABLE t (key {type_} PRIMARY KEY, wide text);
            INSERT INTO t SELECT {values}, repeat('x', 3000) FROM generate_series(1, 20) n;
        """)
        assert stop_and_resume.check(connector, database.configuration) > 20

    def test_a_role_that_shortens_floats_changes_nothing(self, database: Database) -> None:
        database.run(f"ALTER DATABASE {database.name} SET extra_float_digits = -5")
        assert column(database, "float8", "0.1::float8 + 0.2::float8") == ("double", "0.30000000000000004")

    def test_a_session_that_waits_for_the_destination_is_not_ended(self, database: Database) -> None:
        database.run(f"""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 80) n;
            ALTER DATABASE {database.name} SET idle_in_transaction_session_timeout = 100;
        """)
        deliver = connector.deliver

        def slowly(page: Any) -> None:
            time.sleep(0.3)
            deliver(page)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector, "deliver", slowly)
            assert sync(connector, database.configuration).upserts == {"t": 80}

    def test_a_database_in_another_encoding(self, postgres: PostgresServer) -> None:
        name = next(names)
        with closing(postgres.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        with closing(postgres.connect(name)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE été (id int PRIMARY KEY, v text); INSERT INTO été VALUES (1, 'Zoë')")
        settings = {"host": postgres.host, "port": str(postgres.port), "database": name, "user": postgres.user}
        sink = sync(connector, {**settings, "password": postgres.password})
        assert [row["v"] for row in sink.destination.table("été")] == ["Zoë"]


class TestStopAndResume:
    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self, database: Database) -> None:
        database.run("""
            CREATE TABLE a (id int PRIMARY KEY, wide text);
            INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 120) n;
            CREATE TABLE b (x text, y date, PRIMARY KEY (x, y));
            INSERT INTO b SELECT chr(65 + n % 3), '2026-01-01'::date + n FROM generate_series(1, 300) n;
            CREATE TABLE keyless (n int); INSERT INTO keyless SELECT n / 2 FROM generate_series(1, 50) n;
        """)
        assert stop_and_resume.check(connector, database.configuration) > 100

    def test_dying_again_and_again_still_ends(self, database: Database) -> None:
        database.run("""
            CREATE TABLE a (id int PRIMARY KEY, wide text);
            INSERT INTO a SELECT n, repeat('x', 500) FROM generate_series(1, 500) n;
        """)
        assert stop_and_resume.check_dying_again_and_again(connector, database.configuration, operations=150) > 3

    @pytest.mark.parametrize(
        ("type_", "values"),
        [
            ("text", "'it''s \\ %s ' || n"),
            ("numeric", "n / 7.0"),
            ("float8", "n / 7.0"),
            ("timestamptz", "'2026-01-01'::timestamptz + n * interval '1.000001 s'"),
            ("date", "'2026-01-01'::date + n"),
            ("uuid", "md5(n::text)::uuid"),
            ("bytea", "decode(md5(n::text), 'hex')"),
            ("boolean", "n = 1"),
            ("interval", "n * interval '1 day'"),
            ("int[]", "ARRAY[n]"),
        ],
    )
    def test_a_key_of_any_type_resumes_after_the_last_row(self, database: Database, type_: str, values: str) -> None:
        database.run(f"""
            CREATE TABLE t (key {type_} PRIMARY KEY, wide text);
            INSERT INTO t SELECT {values}, repeat('x', 3000) FROM generate_series(1, 9) n ON CONFLICT DO NOTHING;
        """)
        undisturbed = sync(connector, database.configuration)
        killed = sync(connector, database.configuration, stop_at=undisturbed.operations - 2)
        resumed = sync(connector, database.configuration, killed.destination)
        assert killed.destination.contents() == undisturbed.destination.contents()
        assert 0 < resumed.upserts["t"] < undisturbed.upserts["t"] or type_ == "boolean"


class TestTheSecondSync:
    def table(self, database: Database) -> Destination:
        database.run(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 500) n"
        )
        destination = Destination()
        sync(connector, database.configuration, destination)
        return destination

    def test_with_nothing_new_nothing_is_delivered(self, database: Database) -> None:
        destination = self.table(database)
        assert sync(connector, database.configuration, destination).upserts == {}

    def test_delivers_what_was_written_and_only_that(self, database: Database) -> None:
        destination = self.table(database)
        database.run("UPDATE t SET v = 1 WHERE id % 100 = 0; INSERT INTO t VALUES (501, 1)")
        assert sync(connector, database.configuration, destination).upserts == {"t": 6}
        assert sum(int(row["v"]) for row in destination.table("t")) == 6

    def test_a_transaction_that_commits_late_is_not_missed(self, database: Database, postgres: PostgresServer) -> None:
        destination = self.table(database)
        late = postgres.connect(database.name)
        late.autocommit = False
        with late.cursor() as cursor:
            cursor.execute("UPDATE t SET v = 7 WHERE id = 1")
        database.run("UPDATE t SET v = 8 WHERE id = 2")  # a later transaction that commits first
        sync(connector, database.configuration, destination)
        late.commit()
        late.close()
        sync(connector, database.configuration, destination)
        assert {row["id"]: row["v"] for row in destination.table("t") if row["v"] != "0"} == {"1": "7", "2": "8"}

    def test_rows_of_a_partitioned_table_that_changed_are_found(self, database: Database) -> None:
        database.run("""
            CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
            CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10); INSERT INTO p VALUES (1, 0), (2, 0);
        """)
        destination = Destination()
        sync(connector, database.configuration, destination)
        database.run("UPDATE p SET v = 1 WHERE id = 2")
        assert sync(connector, database.configuration, destination).upserts == {"p": 1}

    def test_a_column_added_with_a_default_is_delivered_for_old_rows_too(self, database: Database) -> None:
        destination = self.table(database)
        database.run("ALTER TABLE t ADD COLUMN w int DEFAULT 5")
        assert sync(connector, database.configuration, destination).upserts == {"t": 500}
        assert {row["w"] for row in destination.table("t")} == {"5"}

    def test_a_table_made_anew_under_the_same_name_is_read_whole(self, database: Database) -> None:
        destination = self.table(database)
        database.run("""
            CREATE TABLE s AS SELECT * FROM t; ALTER TABLE s ADD PRIMARY KEY (id);
            DROP TABLE t; ALTER TABLE s RENAME TO t;
        """)
        assert sync(connector, database.configuration, destination).upserts == {"t": 500}

    def test_changes_during_a_sync_arrive_with_the_next(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 2000) n;
        """)
        destination, done = Destination(), threading.Event()

        def write() -> None:
            while not done.is_set():
                database.run(
                    "UPDATE t SET v = 'new ' || id WHERE random() < 0.02; INSERT INTO t SELECT max(id) + 1, 'in' FROM t"
                )

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(3):
            sync(connector, database.configuration, destination)
        done.set()
        writer.join()
        sync(connector, database.configuration, destination)
        fresh = sync(connector, database.configuration).destination
        assert destination.contents() == fresh.contents()


class TestBadInput:
    def test_wrong_missing_and_unknown_settings_are_told_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as told:
            connector.schema({"host": "h", "port": "x", "pasword": "secret"})
        lines = str(told.value).splitlines()
        assert lines[0] == "4 settings need attention:"
        assert "- port: expected a whole number from 1 to 65535, got 'x'" in lines
        assert "- pasword: is not a setting; did you mean password?" in lines

    def test_a_refused_connection_says_where_and_how_to_start_a_server(self, database: Database) -> None:
        with tcp_proxy.start(1) as proxy:
            port = str(proxy.port)
        with pytest.raises(SourceError, match=rf"127.0.0.1:{port}: .*refused.*make sources"):
            connector.schema({**database.configuration, "port": port})

    def test_a_wrong_password_is_told_without_it(self, database: Database) -> None:
        with pytest.raises(
            SourceError, match="would not let user postgres into .* password authentication failed"
        ) as told:
            connector.schema({**database.configuration, "password": "hunter2"})
        assert "hunter2" not in str(told.value)

    def test_a_database_that_is_not_there_is_named(self, database: Database) -> None:
        with pytest.raises(SourceError, match='database "nowhere" does not exist'):
            connector.schema({**database.configuration, "database": "nowhere"})

    def test_a_host_with_a_port_in_it_is_told(self, database: Database) -> None:
        with pytest.raises(ConfigurationError, match="host: expected the host alone"):
            connector.schema({**database.configuration, "host": "127.0.0.1:5432"})

    def test_a_statement_timeout_is_told(self, database: Database) -> None:
        database.run("CREATE VIEW v AS SELECT pg_sleep(1) IS NULL AS slow")
        database.run(f"ALTER DATABASE {database.name} SET statement_timeout = 100")
        with pytest.raises(
            SourceError, match="table public.v could not .*: canceling statement due to statement timeout"
        ):
            database.sync()

    def test_a_schema_that_is_not_there_is_named(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY)")
        with pytest.raises(SourceError, match=r"tables: nowhere\.\* matches no table") as told:
            connector.schema({**database.configuration, "tables": "public.*,nowhere.*"})
        assert "public" not in str(told.value)

    def test_a_database_without_tables_is_told(self, database: Database) -> None:
        with pytest.raises(SourceError, match=r"tables: public\.\* matches no table"):
            connector.schema(database.configuration)

    def test_plaintext_to_another_machine_is_refused(self, database: Database) -> None:
        used: dict[str, Any] = {}

        def refuse(**settings: Any) -> None:
            used.update(settings)
            raise session["psycopg2"].OperationalError("stop here")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(session["psycopg2"], "connect", refuse)
            for host, extra, mode in (
                ("db.example.com", {}, "require"),
                ("db.example.com", {"sslmode": "verify-full"}, "verify-full"),
                ("db.example.com", {"allow_plaintext": "true"}, "prefer"),
                ("127.0.0.1", {}, "prefer"),
            ):
                with pytest.raises(ConnectorError):
                    connector.schema({**database.configuration, "host": host, **extra})
                assert used["sslmode"] == mode

    def test_a_server_that_stays_away_names_the_table_and_the_next_sync_goes_on(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v text);
            INSERT INTO t SELECT n, repeat('x', 500) FROM generate_series(1, 2000) n;
        """)
        destination = Destination()
        with tcp_proxy.start(int(database.configuration["port"])) as proxy:
            settings = {**database.configuration, "port": str(proxy.port)}
            original = checkpoints.Checkpoints.save

            def save_and_cut(self: Any, page: Any) -> None:
                original(self, page)
                proxy.refuse = True
                proxy.cut()

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(checkpoints.Checkpoints, "save", save_and_cut)
                with pytest.raises(SourceError, match="table public.t could not be read to its end"):
                    sync(connector, settings, destination)
            assert 0 < len(destination.table("t")) < 2000
            proxy.refuse = False
            resumed = sync(connector, settings, destination)
        assert resumed.upserts["t"] < 2000
        assert len(destination.table("t")) == 2000

    def test_the_session_cannot_write(self, database: Database) -> None:
        settings = connector.Settings.parse(database.configuration)
        connection = session["connect"](settings)
        with pytest.raises(Exception, match="read-only transaction"), connection.cursor() as cursor:
            cursor.execute("CREATE TABLE t (id int)")
        connection.close()


class TestSetupForm:
    def test_connects_and_finds_tables(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY)")
        for test in connector.TESTS.values():
            assert test(database.configuration).success

    def test_says_what_is_wrong(self, database: Database) -> None:
        for test in connector.TESTS.values():
            result = test({**database.configuration, "password": "wrong"})
            assert "password authentication failed" in result.failure
