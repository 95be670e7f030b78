"""connectors/postgres finds tables, keys and columns as settings and catalogue say, and tells what it cannot read."""

import hashlib
import json
from typing import Any

import pytest
from fivetran_connector_sdk import Logging

from shared.errors import ConfigurationError, SourceError
from tests import stop_and_resume
from tests.connectors.postgres_database import Database, connector
from tests.recording import Destination


@pytest.fixture
def database(emptied_database: Database) -> Database:
    return emptied_database


def found(database: Database, **settings: str) -> dict[str, Any]:
    """Every table that `schema()` declares, by name."""
    return {table["table"]: table for table in connector.schema({**database.configuration, **settings})}


def key_of(database: Database, statements: str, **settings: str) -> list[str] | None:
    """The key of the table `t` that the statements create."""
    database.run(statements)
    key: list[str] | None = found(database, **{"tables": "public.t", **settings})["t"].get("primary_key")
    return key


def problems(database: Database, **settings: str) -> list[str]:
    with pytest.raises(SourceError) as told:
        connector.schema({**database.configuration, **settings})
    return str(told.value).splitlines()


class TestPatterns:
    @pytest.mark.parametrize(
        ("tables", "exclude", "expected"),
        [
            ("public.*", "", {"orders", "order_lines", "odd.name"}),
            ("public.order_*", "", {"order_lines"}),
            ("public.order*", "public.*lines", {"orders"}),
            ("public.order?", "", {"orders"}),
            ("*.orders", "", {"orders", "Orders"} - {"Orders"}),
            ("sales.*,public.orders", "", {"Orders", "orders"}),
            ("sales.Orders", "", {"Orders"}),
            ("public.odd?name", "", {"odd.name"}),
            ("*.*", "sales.*,public.o*[sr]", {"odd.name"}),
            ("public.*,public.orders,public.order*", "", {"orders", "order_lines", "odd.name"}),
        ],
    )
    def test_name_what_is_delivered(self, database: Database, tables: str, exclude: str, expected: set[str]) -> None:
        database.run("""
            CREATE SCHEMA sales; CREATE TABLE sales."Orders" (id int PRIMARY KEY);
            CREATE TABLE orders (id int PRIMARY KEY); CREATE TABLE order_lines (id int PRIMARY KEY);
            CREATE TABLE "odd.name" (id int PRIMARY KEY);
        """)
        assert set(found(database, tables=tables, exclude_tables=exclude)) == expected

    def test_that_match_nothing_are_all_told(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text)")
        wrong = {
            "tables": "public.*,public.orders,sales.*", "exclude_tables": "public.secrets,public.tmp_*",
            "keys": "public.v=id", "full_tables": "public.big", "include_columns": "public.nothing.id",
            "exclude_columns": "public.t.pasword", "hash_columns": "public.t.emial", "hash_salt": "s",
            "text_columns": "public.t.x", "cursor_columns": "public.*.updated_at", "soft_delete_columns": "*.*.deleted",
        }  # fmt: skip
        told = problems(database, **wrong)
        assert told[1:] == [
            "- tables: public.orders matches no table",
            "- tables: sales.* matches no table",
            "- keys: public.v matches no table",
            "- full_tables: public.big matches no table",
            *(
                f"- {setting}: {wrong[setting]} matches no column of a table delivered"
                for setting in (
                    *("include_columns", "exclude_columns", "hash_columns", "text_columns"),
                    *("cursor_columns", "soft_delete_columns"),
                )
            ),
            # A pattern may keep out what comes later; a name that is not there is a mistake.
            "- exclude_tables: public.secrets matches no table",
        ]

    def test_of_columns_of_a_partition_are_told_as_its_parent_is_delivered(self, database: Database) -> None:
        database.run(TestPartitions.TREE)
        told = problems(database, hash_columns="public.leaf.v", hash_salt="s")
        assert told[1:] == ["- hash_columns: public.leaf.v matches no column of a table delivered"]

    def test_that_match_the_same_are_each_told_apart(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, email text, mail text)")
        settings = {"hash_columns": "public.*.*mail,public.t.email", "hash_salt": "s"}
        assert set(found(database, **settings)) == {"t"}

    @pytest.mark.parametrize("setting", ["tables", "cursor_columns", "keys"])
    def test_without_all_parts_are_refused_before_connecting(self, setting: str) -> None:
        with pytest.raises(ConfigurationError, match=f"{setting}: expected schema.table"):
            connector.schema({"host": "127.0.0.1", "port": "1", "database": "d", "user": "u", setting: "orders"})

    @pytest.mark.parametrize(
        ("tables", "schemas"),
        [
            ("public.*", [None, None]),
            ("public.a,public.b", [None, None]),
            ("public.*,sales.*", ["public", "public"]),
            ("publi?.*", ["public", "public"]),
            ("*.a,*.b", ["public", "public"]),
        ],
    )
    def test_of_one_schema_alone_need_no_schema_in_the_destination(
        self, database: Database, tables: str, schemas: list[str | None]
    ) -> None:
        """By the patterns, not by what is there: a schema that comes later must not move the tables."""
        database.run(
            "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a VALUES (1)"
        )
        if "sales" in tables:
            database.run("CREATE SCHEMA sales; CREATE TABLE sales.c (id int PRIMARY KEY)")
        tables_found = found(database, tables=tables)
        assert [tables_found[name].get("schema") for name in "ab"] == schemas
        sink = database.sync(tables=tables)
        assert set(sink.destination.contents()) == {f"{schemas[0]}.a" if schemas[0] else "a"}


class TestPartitions:
    TREE = """
        CREATE SCHEMA parts; CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE parts.middle PARTITION OF root FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
        CREATE TABLE leaf PARTITION OF parts.middle FOR VALUES FROM (0) TO (50);
        CREATE TABLE leaf_2 PARTITION OF parts.middle FOR VALUES FROM (50) TO (100);
        INSERT INTO root SELECT n, 'x' FROM generate_series(0, 99) n;
    """

    @pytest.mark.parametrize(
        ("tables", "exclude", "expected"),
        [
            ("public.root", "", {"root": 100}),
            ("public.*", "", {"root": 100}),  # the parent between is in no pattern
            ("*.*", "", {"public.root": 100}),
            ("parts.*", "", {"middle": 100}),
            ("public.leaf*", "", {"leaf": 50, "leaf_2": 50}),
            ("public.*,parts.*", "public.leaf", {"public.root": 100}),  # a part is no table of its own
        ],
    )
    def test_are_delivered_once_with_the_uppermost_parent(
        self, database: Database, tables: str, exclude: str, expected: dict[str, int]
    ) -> None:
        database.run(self.TREE)
        assert database.sync(tables=tables, exclude_tables=exclude).upserts == expected

    def test_are_left_out_with_a_parent_that_is(self, database: Database) -> None:
        database.run(self.TREE + "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        assert database.sync(tables="*.*", exclude_tables="public.root").upserts == {"public.t": 1}

    def test_are_left_out_with_a_parent_that_we_may_not_read(self, database: Database) -> None:
        database.run(self.TREE + "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        sink = database.sync(**database.as_reader("SELECT ON t, leaf"))
        assert sink.upserts == {"t": 1}
        assert any(f"GRANT SELECT ON public.root TO {database.reader}" in warning for warning in sink.warnings)


class TestWhatIsNoTable:
    def test_views_and_materialised_views_are_delivered(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n % 2 FROM generate_series(1, 6) n;
            CREATE VIEW odd AS SELECT * FROM t WHERE v = 1; CREATE VIEW keyless AS SELECT v FROM t;
            CREATE MATERIALIZED VIEW sums AS SELECT v, sum(id) FROM t GROUP BY v;
        """)
        destination = Destination()
        settings = {"keys": "public.odd=id,public.sums=v"}
        assert database.sync(destination, **settings).upserts == {"t": 6, "odd": 3, "keyless": 6, "sums": 2}
        database.run("DELETE FROM t WHERE id = 1; REFRESH MATERIALIZED VIEW sums")
        database.sync(destination, **settings)
        assert {row["id"] for row in destination.table("odd")} == {"3", "5"}
        assert len(destination.table("keyless")) == 5
        assert {row["v"]: row["sum"] for row in destination.table("sums")} == {"0": "12", "1": "8"}

    def test_foreign_tables_are_delivered(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'), (2, 'x'), (3, 'x')")
        database.run(f"""
            CREATE SCHEMA far; CREATE EXTENSION postgres_fdw;
            CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw
                OPTIONS (host '{database.server.host}', port '{database.server.port}', dbname '{database.name}');
            CREATE USER MAPPING FOR postgres SERVER self OPTIONS (user 'postgres', password 'postgres');
            IMPORT FOREIGN SCHEMA public LIMIT TO (t) FROM SERVER self INTO far;
            CREATE TABLE parted (id int, v text) PARTITION BY RANGE (id);
            CREATE TABLE near PARTITION OF parted FOR VALUES FROM (100) TO (200);
            ALTER TABLE parted ATTACH PARTITION far.t FOR VALUES FROM (0) TO (100);
            INSERT INTO parted VALUES (100, 'near');
        """)
        destination = Destination()
        settings = {"tables": "far.*,public.parted", "keys": "public.parted=id"}
        assert database.sync(destination, **settings).upserts == {"public.parted": 4}
        database.run("UPDATE t SET v = 'new' WHERE id = 2; DELETE FROM t WHERE id = 3")
        database.sync(destination, **settings)
        rows = {row["id"]: row["v"] for row in destination.table("public.parted")}
        assert rows == {"1": "x", "2": "new", "100": "near"}, "of rows elsewhere no transaction is known here"
        assert database.sync(tables="far.*", keys="far.t=id").upserts == {"t": 2}

    def test_a_materialised_view_without_rows_yet_is_told_and_the_others_go_on(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
            CREATE MATERIALIZED VIEW "Sums" AS SELECT count(*) FROM t WITH NO DATA;
        """)
        sink = database.sync()
        assert sink.upserts == {"t": 1}
        assert sink.warnings == [
            'table public.Sums is left out until this is run: REFRESH MATERIALIZED VIEW public."Sums"'
        ]


class TestKeys:
    @pytest.mark.parametrize(
        ("statements", "key"),
        [
            ("CREATE TABLE t (a int NOT NULL UNIQUE, b int)", ["a"]),
            ("CREATE TABLE t (a int UNIQUE, b int)", None),
            ("CREATE TABLE t (a int, b int NOT NULL, UNIQUE (a, b))", None),
            ("CREATE TABLE t (a int, b int NOT NULL, UNIQUE NULLS NOT DISTINCT (a, b))", None),
            ("CREATE TABLE t (b int NOT NULL, a int NOT NULL, UNIQUE (a, b))", ["a", "b"]),
            ("CREATE TABLE t (a int NOT NULL); CREATE UNIQUE INDEX ON t (a) WHERE a > 0", None),
            ("CREATE TABLE t (a text NOT NULL); CREATE UNIQUE INDEX ON t (lower(a))", None),
            ("CREATE TABLE t (a text NOT NULL, b int NOT NULL); CREATE UNIQUE INDEX ON t (b, lower(a))", None),
            ("CREATE TABLE t (a int NOT NULL, b int); CREATE UNIQUE INDEX ON t (a) INCLUDE (b)", ["a"]),
            # In every snapshot that others see it holds.
            ("CREATE TABLE t (a int NOT NULL UNIQUE DEFERRABLE INITIALLY DEFERRED)", ["a"]),
            ("CREATE TABLE t (a int NOT NULL UNIQUE, id int PRIMARY KEY)", ["id"]),
            ("CREATE TABLE t (a int NOT NULL, b int NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b))", ["c"]),
            (
                "CREATE TABLE t (a int NOT NULL UNIQUE, b int NOT NULL CONSTRAINT chosen UNIQUE);"
                "ALTER TABLE t REPLICA IDENTITY USING INDEX chosen",
                ["b"],
            ),
            ("CREATE TABLE t (a int CHECK (a IS NOT NULL) UNIQUE)", None),
            ("CREATE DOMAIN d AS int NOT NULL; CREATE TABLE t (a d UNIQUE)", None),  # an outer join could be NULL
            (
                "CREATE TABLE t (a int UNIQUE); INSERT INTO t VALUES (NULL), (NULL);"
                "ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID",
                None,
            ),
            ("CREATE TABLE t (a int NOT NULL UNIQUE) PARTITION BY RANGE (a)", ["a"]),
        ],
    )
    def test_are_what_tells_every_row_apart(self, database: Database, statements: str, key: list[str] | None) -> None:
        assert key_of(database, statements) == key

    def test_of_an_index_that_was_not_finished_do_not_serve(self, database: Database) -> None:
        database.run("CREATE TABLE t (a int NOT NULL); INSERT INTO t VALUES (1), (1)")
        with pytest.raises(Exception, match="could not create unique index"):
            database.run("CREATE UNIQUE INDEX CONCURRENTLY ON t (a)")
        assert "primary_key" not in found(database)["t"]

    def test_a_unique_index_serves_as_a_key(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (a text, b int NOT NULL UNIQUE DEFERRABLE, c text);
            INSERT INTO t SELECT 'x', n, repeat('x', 3000) FROM generate_series(1, 15) n;
        """)
        assert stop_and_resume.check(connector, database.configuration) > 30

    def test_are_declared_where_the_database_has_none(self, database: Database) -> None:
        database.run("CREATE TABLE t (a int, b text, c int PRIMARY KEY); CREATE VIEW v AS SELECT * FROM t")
        tables = found(database, keys="public.v = b + a")
        assert [tables[name]["primary_key"] for name in "tv"] == [["c"], ["b", "a"]]

    def test_of_the_database_come_first(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v int); CREATE TABLE u (v int)")
        tables = found(database, keys="public.*=v")
        assert [tables[name]["primary_key"] for name in "tu"] == [["id"], ["v"]]

    def test_of_columns_that_are_not_there_are_told(self, database: Database) -> None:
        database.run("CREATE TABLE t (a int)")
        assert problems(database, keys="public.t=a+x+y")[1:] == ["- keys: table public.t has no column x, y"]

    @pytest.mark.parametrize("rows", ["(1, 'a'), (1, 'b')", "(NULL, 'a')"])
    @pytest.mark.parametrize("mode", ["changes", "full", "cursor"])
    def test_that_are_no_keys_are_told_and_nothing_is_lost(self, database: Database, mode: str, rows: str) -> None:
        database.run(f"CREATE TABLE t (a int, b text, c int); INSERT INTO t VALUES {rows}")
        settings = {"cursor_columns": "public.t.c"} if mode == "cursor" else {"mode": mode}
        with pytest.raises(SourceError, match="keys: a of table public.t is no key: rows have it in common, or it is"):
            database.sync(keys="public.t=a", **settings)


class TestColumns:
    TABLE = "CREATE TABLE t (id int PRIMARY KEY, name text, email text, born date); INSERT INTO t VALUES (1, 'n', 'e')"

    @pytest.mark.parametrize(
        ("settings", "columns"),
        [
            ({}, ["id", "name", "email", "born"]),
            ({"include_columns": "public.t.id,public.t.n*"}, ["id", "name"]),
            ({"exclude_columns": "*.*.email,public.t.born"}, ["id", "name"]),
            ({"include_columns": "public.t.*", "exclude_columns": "public.t.[eb]*"}, ["id", "name"]),
        ],
    )
    def test_are_included_and_excluded(self, database: Database, settings: dict[str, str], columns: list[str]) -> None:
        database.run(self.TABLE + "; CREATE TABLE other (id int PRIMARY KEY, email text, born text)")
        assert [name for name in found(database, **settings)["t"]["columns"] if name != "_exact"] == columns
        (row,) = database.sync(**settings).destination.table("t")
        assert [name for name in row if name != "_exact"] == columns

    def test_include_says_nothing_of_other_tables(self, database: Database) -> None:
        database.run(self.TABLE + "; CREATE TABLE other (id int PRIMARY KEY, v text)")
        assert list(found(database, include_columns="public.t.id")["other"]["columns"]) == ["id", "v"]

    @pytest.mark.parametrize("settings", [{"exclude_columns": "public.t.id"}, {"include_columns": "public.t.name"}])
    def test_of_a_key_cannot_be_left_out(self, database: Database, settings: dict[str, str]) -> None:
        database.run(self.TABLE)
        (problem,) = problems(database, **settings)[1:]
        assert problem.startswith("- table public.t cannot be delivered without id, a part of its key: leave it in")

    def test_are_hashed_with_the_salt(self, database: Database) -> None:
        database.run(self.TABLE + "; INSERT INTO t VALUES (2, NULL, 'ö€😀', '2000-02-03')")
        settings = {"hash_columns": "public.t.name,public.t.email,public.t.born", "hash_salt": "salt"}
        assert found(database, **settings)["t"]["columns"] == dict.fromkeys(["name", "email", "born"], "STRING") | {
            "id": "INT"
        }
        rows = {row["id"]: row for row in database.sync(**settings).destination.table("t")}
        assert rows["2"] == {
            "id": "2", "name": None,
            "email": hashlib.sha256("saltö€😀".encode()).hexdigest(),
            "born": hashlib.sha256(b"salt2000-02-03").hexdigest(),
        }  # fmt: skip

    def test_are_hashed_only_with_a_salt(self, database: Database) -> None:
        with pytest.raises(ConfigurationError, match="hash_salt: is required with hash_columns"):
            found(database, hash_columns="public.t.name")

    def test_hashed_with_another_salt_are_delivered_again(self, database: Database) -> None:
        database.run(self.TABLE)
        destination = Destination()
        settings = {"hash_columns": "public.t.name", "hash_salt": "salt"}
        database.sync(destination, **settings)
        assert database.sync(destination, **settings).upserts == {}
        assert database.sync(destination, **{**settings, "hash_salt": "other"}).upserts == {"t": 1}

    @pytest.mark.parametrize("mode", ["changes", "full", "keyless", "cursor"])
    def test_hashed_in_a_key_reach_no_state_log_or_error(
        self, database: Database, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = "" if mode == "keyless" else "PRIMARY KEY"
        database.run(f"""
            CREATE TABLE t (email text {key}, n int, wide text);
            INSERT INTO t SELECT 'person' || n || '@example.com', n, repeat('x', 1000) FROM generate_series(1, 50) n;
        """)
        logged: list[str] = []
        for level in ("info", "warning", "error", "fine"):
            monkeypatch.setattr(Logging, level, logged.append)
        settings = {"hash_columns": "public.t.email", "hash_salt": "salt"}
        settings |= {"cursor_columns": "public.t.n"} if mode == "cursor" else {"mode": mode.replace("keyless", "full")}
        destination = Destination()
        for stop_at in (30, 45):  # killed twice, and then to the end
            killed = database.killed_sync(destination, stop_at, **settings)
            assert "person" not in json.dumps(killed.checkpoints)
        sink = database.sync(destination, **settings)
        assert "person" not in json.dumps([sink.checkpoints, sink.warnings, sink.errors, logged])
        hashed = {hashlib.sha256(f"saltperson{n}@example.com".encode()).hexdigest() for n in range(1, 51)}
        assert {row["email"] for row in destination.table("t")} == hashed
        database.run("ALTER TABLE t ADD CONSTRAINT broken CHECK (true); UPDATE t SET n = 2147483647 WHERE n = 7")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(connector.op, "upsert", _refuse)
            with pytest.raises(Exception, match="cannot be delivered") as told:
                database.sync(Destination(), **settings)
        assert "person" not in str(told.value)

    def test_hashed_are_equal_wherever_they_are_keys(self, database: Database) -> None:
        database.run("""
            CREATE TABLE a (email text PRIMARY KEY, gone bool); CREATE TABLE b (id int PRIMARY KEY, email text);
            INSERT INTO a VALUES ('x', false), ('y', false); INSERT INTO b VALUES (1, 'x');
        """)
        settings = {"hash_columns": "*.*.email", "hash_salt": "s", "soft_delete_columns": "public.a.gone"}
        destination = Destination()
        database.sync(destination, **settings)
        (b,) = destination.table("b")
        assert b["email"] in {row["email"] for row in destination.table("a")}
        database.run("UPDATE a SET gone = true WHERE email = 'x'")
        database.sync(destination, **settings)
        assert b["email"] not in {row["email"] for row in destination.table("a")}
        assert len(destination.table("a")) == 1


def _refuse(*_: Any, **__: Any) -> None:
    raise ValueError("of what it holds")


class TestGrants:
    def test_of_some_columns_deliver_these_and_name_the_others(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, name text, "E-mail" text); INSERT INTO t VALUES (1, 'n', 'e');
            CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);
        """)
        destination = Destination()
        settings = database.as_reader("SELECT (id, name) ON t", "SELECT ON u")
        sink = database.sync(destination, **settings)
        assert sink.upserts == {"t": 1, "u": 1}
        assert destination.table("t") == [{"id": "1", "name": "n"}]
        to = f"TO {database.reader}"
        assert sink.warnings == [
            f'column E-mail of table public.t is left out until this is run: GRANT SELECT ("E-mail") ON public.t {to}',
            f"table public.t is read whole by every sync until this is run: GRANT SELECT (xmin) ON public.t {to}",
        ]
        database.run("DELETE FROM t; INSERT INTO t VALUES (2, 'm', 'e')")
        database.sync(destination, **settings)
        assert destination.table("t") == [{"id": "2", "name": "m"}]
        database.run(f"GRANT SELECT (xmin) ON t {to}")
        database.sync(destination, **settings)
        assert database.sync(destination, **settings).upserts == {}

    @pytest.mark.parametrize(
        "settings",
        [
            {"keys": "public.closed=id"},
            {"full_tables": "public.closed"},
            {"hash_columns": "public.closed.email", "hash_salt": "s"},
            {"exclude_columns": "public.closed.email"},
            {"cursor_columns": "public.closed.id"},
        ],
    )
    def test_that_are_missing_make_no_setting_wrong(self, database: Database, settings: dict[str, str]) -> None:
        database.run("""
            CREATE TABLE closed (id int, email text); CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        """)
        sink = database.sync(**database.as_reader("SELECT ON t"), **settings)
        assert sink.upserts == {"t": 1}
        assert len(sink.warnings) == 1

    @pytest.mark.parametrize(
        "settings", [{}, {"cursor_columns": "public.t.at"}, {"soft_delete_columns": "public.t.gone"}]
    )
    def test_of_columns_that_reading_needs_are_named(self, database: Database, settings: dict[str, str]) -> None:
        database.run("""
            CREATE TABLE t (id int, name text, at int, gone bool, PRIMARY KEY (id));
            CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1);
        """)
        grants = "id, name" if settings else "name, at"
        sink = database.sync(**database.as_reader(f"SELECT ({grants}) ON t", "SELECT ON u"), **settings)
        assert sink.upserts == {"u": 1}
        lacking = next(iter(settings.values())).rpartition(".")[2] if settings else "id"
        grant = f"GRANT SELECT ({lacking}) ON public.t TO {database.reader}"
        assert sink.warnings == [f"table public.t is left out until this is run: {grant}"]

    @pytest.mark.parametrize("keys", ["", "public.a=id"])
    def test_that_a_view_lacks_are_told_and_the_others_go_on(self, database: Database, keys: str) -> None:
        database.run("""
            CREATE TABLE base (id int); INSERT INTO base VALUES (1);
            CREATE VIEW a WITH (security_invoker) AS SELECT id FROM base;
            CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
        """)
        settings = {**database.as_reader("SELECT ON a, t, base"), "keys": keys, "tables": "public.a,public.t"}
        destination = Destination()
        assert database.sync(destination, **settings).upserts == {"a": 1, "t": 1}
        database.run(f"REVOKE SELECT ON base FROM {database.reader}; INSERT INTO t VALUES (2)")
        sink = database.sync(destination, **settings)
        assert sink.upserts == {"t": 1}
        assert any("public.a is left out until" in told and "denied for table base" in told for told in sink.warnings)
        assert len(destination.table("a")) == 1, "what could not be read is not deleted"
