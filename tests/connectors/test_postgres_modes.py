"""connectors/postgres in every mode: killed anywhere, and while others write, it ends as the source is."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.errors import SourceError
from tests import stop_and_resume
from tests.connectors.postgres_database import Database, after_each_page, connector
from tests.recording import Destination, sync

MODES = {
    "changes": {"mode": "changes"},
    "full": {"mode": "full"},
    "cursor": {"cursor_columns": "public.t.at", "cursor_overlap": "3"},
    "keyless": {},
}
# What else sees deletes than a pass that truncates first.
SEES_DELETES = ("full", "keyless")
WIDE = "repeat('x', 1500)"


@pytest.fixture
def database(emptied_database: Database) -> Database:
    return emptied_database


def table(database: Database, mode: str, rows: int = 40) -> dict[str, str]:
    """A table `t` with so many rows of a mode; returns the settings."""
    key = "" if mode == "keyless" else "PRIMARY KEY"
    database.run(f"""
        CREATE TABLE t (id int {key}, v text, at bigint, gone timestamptz, wide text);
        INSERT INTO t SELECT n, 'old', n / 4, NULL, {WIDE} FROM generate_series(1, {rows}) n;
        INSERT INTO t SELECT n, 'beyond', NULL, NULL, {WIDE} FROM generate_series({rows + 1}, {rows + 5}) n;
    """)
    return MODES[mode]


def source(database: Database, *, without_gone: bool = True) -> list[tuple[str | None, ...]]:
    where = "WHERE gone IS NULL" if without_gone else ""
    return sorted(database.query(f"SELECT id::text, v, at::text FROM t {where}"), key=repr)


def arrived(destination: Destination) -> list[tuple[str | None, ...]]:
    return sorted(((row["id"], row["v"], row["at"]) for row in destination.table("t")), key=repr)


def assert_equal(database: Database, destination: Destination, mode: str) -> None:
    expected, found = source(database), arrived(destination)
    if mode not in SEES_DELETES:
        ids = {row[0] for row in expected}
        found = [row for row in found if row[0] in ids]
    assert found == expected


@contextmanager
def writing(database: Database) -> Iterator[None]:
    """Others insert, update, delete and change keys, all over the table, as long as the block runs."""
    done = threading.Event()

    def write() -> None:
        with closing(database.server.connect(database.name)) as connection, connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            while not done.is_set():
                cursor.execute(f"""
                    UPDATE t SET v = 'new ' || id, at = (SELECT max(at) + 1 FROM t) WHERE random() < 0.05;
                    INSERT INTO t SELECT max(id) + 1, 'in', max(at) + 1, NULL, {WIDE} FROM t;
                    INSERT INTO t SELECT min(id) - 1, 'before', max(at) + 1, NULL, 'narrow' FROM t;
                    UPDATE t SET id = (SELECT max(id) + 1 FROM t), at = (SELECT max(at) + 1 FROM t)
                    WHERE id = (SELECT id FROM t ORDER BY random() LIMIT 1);
                    UPDATE t SET id = (SELECT min(id) - 1 FROM t), at = (SELECT max(at) + 1 FROM t)
                    WHERE id = (SELECT id FROM t ORDER BY random() LIMIT 1);
                    DELETE FROM t WHERE id = (SELECT id FROM t ORDER BY random() LIMIT 1);
                """)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        done.set()
        writer.join()


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    def test_killed_at_any_operation_it_ends_as_if_nothing_had_happened(self, database: Database, mode: str) -> None:
        settings = table(database, mode, rows=12)
        assert stop_and_resume.check(connector, {**database.configuration, **settings}) > 35

    def test_killed_and_resumed_in_short_transactions_while_others_write_it_ends_equal(
        self, database: Database, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = table(database, mode, rows=120)
        # Every page is read in a transaction of its own.
        monkeypatch.setitem(
            connector.read_pages.__globals__["TablePages"].__init__.__globals__["Scan"].batches.__globals__,
            "time",
            _Leaping(),
        )
        destination = Destination()
        with writing(database):
            for stop_at in (20, 60, 100, 100000):
                database.killed_sync(destination, stop_at, **settings)
        for _ in range(2):  # a pass that was killed is finished, then comes one of what was written since
            database.sync(destination, **settings)
        assert_equal(database, destination, mode)
        database.run("DELETE FROM t WHERE id % 3 = 0")
        database.sync(destination, **settings)
        assert_equal(database, destination, mode)

    def test_a_soft_deleted_row_is_deleted_and_may_come_back(self, database: Database, mode: str) -> None:
        settings = {**table(database, mode), "soft_delete_columns": "public.t.gone"}
        database.run("UPDATE t SET gone = now() WHERE id = 5")
        destination = Destination()
        for change in (
            "SELECT",
            "UPDATE t SET gone = now(), at = (SELECT max(at) FROM t) WHERE id IN (1, 39, 41)",
            "UPDATE t SET gone = NULL, v = 'back', at = (SELECT max(at) FROM t) WHERE id IN (1, 5, 41)",
        ):
            database.run(change)
            database.sync(destination, **settings)
            assert arrived(destination) == source(database)
        database.run("DELETE FROM t WHERE id BETWEEN 9 AND 40")
        assert stop_and_resume.check(connector, {**database.configuration, **settings}) > 20

    def test_a_boolean_tells_of_deletes_too_and_need_not_be_delivered(self, database: Database, mode: str) -> None:
        settings = table(database, mode)
        database.run("ALTER TABLE t ADD deleted bool; UPDATE t SET deleted = id < 10 WHERE id < 20")
        settings = {**settings, "soft_delete_columns": "public.t.deleted", "exclude_columns": "public.t.deleted"}
        destination = database.sync(**settings).destination
        assert {int(row["id"]) for row in destination.table("t")} == set(range(10, 46))
        assert "deleted" not in destination.table("t")[0]

    def test_a_column_that_comes_during_the_pass_arrives_with_the_next_sync(
        self, database: Database, mode: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = table(database, mode)
        if mode != "keyless":  # that is read in one transaction
            monkeypatch.setitem(
                connector.read_pages.__globals__["TablePages"].__init__.__globals__["Scan"].batches.__globals__,
                "time",
                _Leaping(),
            )
        destination, changed = Destination(), threading.Event()

        def change(page: object) -> None:
            if not changed.is_set():
                changed.set()
                threads.append(threading.Thread(target=database.run, args=("ALTER TABLE t ADD w int DEFAULT 7",)))
                threads[0].start()  # which waits for the transaction under way

        threads: list[threading.Thread] = []
        with after_each_page(change):
            database.sync(destination, **settings)
        threads[0].join()
        database.sync(destination, **settings)
        assert {row["w"] for row in destination.table("t")} == {"7"}
        assert len(destination.table("t")) == 45

    def test_an_empty_table_ends_empty(self, database: Database, mode: str) -> None:
        settings = table(database, mode)
        destination = Destination()
        database.sync(destination, **settings)
        database.run("TRUNCATE t")
        database.sync(destination, **settings)
        assert_equal(database, destination, mode)
        database.run("INSERT INTO t VALUES (1, 'again', 1)")
        database.sync(destination, **settings)
        assert_equal(database, destination, mode)


class _Leaping:
    """A clock by which every look is an hour after the one before: each transaction is over at once."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 3600
        return self.now


class TestKeysThatCannotBeCompared:
    def test_are_read_from_the_beginning_and_to_the_end(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Short transactions would begin such a table again and again."""
        settings = table(database, "changes")
        names = connector.read_pages.__globals__["TablePages"].__init__.__globals__["Scan"].batches.__globals__
        monkeypatch.setitem(names, "time", _Leaping())
        monkeypatch.setitem(names, "_behind", lambda *_: names["sql"].SQL("1 / (id - id) = 1"))
        sink = database.sync(**settings)
        assert arrived(sink.destination) == source(database)
        assert sink.warnings == [
            "table public.t is read from its beginning: its key cannot be compared (division by zero)"
        ]


class TestSwitching:
    @pytest.mark.parametrize("before", ["changes", "full", "cursor"])
    @pytest.mark.parametrize("after", ["changes", "full", "cursor"])
    def test_the_mode_between_syncs_or_in_the_middle_of_one_loses_nothing(
        self, database: Database, before: str, after: str
    ) -> None:
        table(database, before)
        for stop_at in (30, 100000):
            destination = Destination()
            database.killed_sync(destination, stop_at, **MODES[before])
            database.run("UPDATE t SET v = v || '+', at = (SELECT max(at) + 1 FROM t) WHERE id IN (2, 30, 44)")
            for _ in range(2):  # the pass under way is finished, then comes one of what was written since
                database.sync(destination, **MODES[after])
            assert arrived(destination) == source(database)

    def test_a_key_that_is_dropped_or_added_makes_the_table_be_read_whole(self, database: Database) -> None:
        table(database, "changes")
        destination = database.sync().destination
        database.run("ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (1, 'twin', 1)")
        database.sync(destination)
        assert arrived(destination) == source(database)
        assert "truncate t" in database.sync(destination).order

    def test_full_tables_are_read_whole_whatever_the_mode(self, database: Database) -> None:
        table(database, "full")
        destination = Destination()
        database.sync(destination, full_tables="public.t")
        database.run("DELETE FROM t WHERE id < 10")
        sink = database.sync(destination, full_tables="public.t")
        assert sink.upserts == {"t": 36}
        assert arrived(destination) == source(database)


class TestFull:
    def test_nothing_is_deleted_by_a_pass_that_cannot_read_a_row(self, database: Database) -> None:
        database.run("CREATE TABLE b (id int, n int); INSERT INTO b VALUES (1, 1), (2, 2)")
        database.run("CREATE VIEW t AS SELECT id, 10 / n AS n FROM b")
        for keys in ("", "public.t=id"):
            destination = Destination()
            settings = {"tables": "public.t", "keys": keys}
            database.run("UPDATE b SET n = 2")
            database.sync(destination, **settings)
            database.run("UPDATE b SET n = 0")
            with pytest.raises(Exception, match="table public.t could not be read to its end: division by zero"):
                database.sync(destination, **settings)
            assert len(destination.table("t")) == 2

    def test_rows_deleted_while_a_killed_pass_waited_are_gone_after_the_next_whole_one(
        self, database: Database
    ) -> None:
        settings = table(database, "full")
        destination = Destination()
        database.killed_sync(destination, 25, **settings)
        database.run("DELETE FROM t WHERE id IN (1, 40)")
        database.sync(destination, **settings)  # goes on, and cannot know of row 1
        database.sync(destination, **settings)
        assert arrived(destination) == source(database)


TYPES = {
    "timestamptz": "now() - (100 - n) * interval '1 minute'",
    "timestamp": "now() - (100 - n) * interval '1 minute'",
    "date": "current_date - (100 - n) / 10",
    "smallint": "n - 50",
    "int": "n",
    "bigint": "n",
    "numeric": "n / 3.0",
    "numeric(5,2)": "n / 3.0",
}


class TestCursor:
    @staticmethod
    def made(database: Database, type_: str, **settings: str) -> dict[str, str]:
        database.run(f"""
            CREATE TABLE t (id int PRIMARY KEY, v text, at {type_});
            INSERT INTO t SELECT n, 'old', {TYPES[type_]} FROM generate_series(1, 100) n; CREATE INDEX ON t (at);
        """)
        return {"cursor_columns": "public.t.at", "cursor_overlap": "30", **settings}

    @pytest.mark.parametrize("type_", TYPES)
    def test_delivers_what_has_grown_and_what_is_beyond_and_little_else(self, database: Database, type_: str) -> None:
        settings, destination = self.made(database, type_), Destination()
        assert database.sync(destination, **settings).upserts == {"t": 100}
        again = database.sync(destination, **settings).upserts["t"]
        assert again == {"date": 19 + 1}.get(type_, 31 if "int" in type_ else 91 if "numeric" in type_ else 1)
        database.run(
            "INSERT INTO t SELECT 101, 'new', max(at) FROM t; INSERT INTO t VALUES (102, 'NULL', NULL);"
            "UPDATE t SET v = 'changed', at = (SELECT max(at) FROM t) WHERE id IN (3, 50)"
        )
        assert database.sync(destination, **settings).upserts["t"] == again + 4 - (type_ in ("numeric", "numeric(5,2)"))
        assert arrived(destination) == _with_text(database)

    @pytest.mark.parametrize("type_", ["timestamptz", "timestamp", "date"])
    def test_infinity_and_the_future_are_read_again_by_every_sync(self, database: Database, type_: str) -> None:
        settings, destination = self.made(database, type_, cursor_overlap="0"), Destination()
        database.run(
            "INSERT INTO t VALUES (201, 'x', 'infinity'), (202, 'x', '9999-12-31'), (203, 'x', now() + interval '2 d'),"
            "(204, 'x', NULL), (205, 'x', '-infinity')"
        )
        database.sync(destination, **settings)
        database.run("UPDATE t SET v = 'y' WHERE id IN (201, 202, 203, 204)")
        database.sync(destination, **settings)
        found = {row["id"]: row["v"] for row in destination.table("t") if int(row["id"]) > 200}
        assert found == {"201": "y", "202": "y", "203": "y", "204": "y", "205": "x"}
        (position,) = destination.committed["streams"].values()
        assert position["from"] < (datetime.now(UTC) + timedelta(hours=1)).isoformat(), (
            "a bound in the future skips all"
        )

    @pytest.mark.parametrize("value", ["'NaN'", "'Infinity'"])
    def test_a_number_beyond_all_others_hides_none_of_them(self, database: Database, value: str) -> None:
        settings, destination = self.made(database, "numeric"), Destination()
        database.run(f"INSERT INTO t VALUES (0, 'x', {value})")
        database.sync(destination, **settings)
        database.run("INSERT INTO t VALUES (101, 'new', 34); UPDATE t SET v = 'y' WHERE id = 0")
        database.sync(destination, **settings)
        assert {row["id"]: row["v"] for row in destination.table("t") if row["v"] != "old"} == {"101": "new", "0": "y"}

    @pytest.mark.parametrize("type_", ["smallint", "int", "bigint", "numeric(5,2)"])
    def test_an_overlap_beyond_what_the_type_holds_is_no_error(self, database: Database, type_: str) -> None:
        settings = self.made(database, type_, cursor_overlap="9999999999")
        destination = database.sync(**settings).destination
        assert database.sync(destination, **settings).upserts == {"t": 100}

    def test_a_thousand_equal_cursors_across_pages_are_read_once(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (b text, a int, at timestamptz, wide text, PRIMARY KEY (b, a));
            INSERT INTO t SELECT n % 3, n, CASE WHEN n < 1000 THEN now() - interval '1 d' ELSE now() END,
                repeat('x', 100)
            FROM generate_series(1, 1020) n;
        """)
        settings = {"cursor_columns": "public.t.at", "cursor_overlap": "60"}
        assert database.sync(**settings).upserts == {"t": 1020}
        destination = Destination()
        for _ in range(5):  # killed among equals again and again
            database.killed_sync(destination, 250, **settings)
        assert len(destination.table("t")) == 1020

    def test_what_commits_late_within_the_overlap_is_not_missed(self, database: Database) -> None:
        settings, destination = self.made(database, "timestamptz", cursor_overlap="60"), Destination()
        with closing(database.server.connect(database.name)) as late, late.cursor() as cursor:
            late.autocommit = False
            cursor.execute("UPDATE t SET v = 'late', at = now() WHERE id = 7")
            database.run("INSERT INTO t VALUES (101, 'later', now() + interval '5 s')")  # commits first
            database.run("INSERT INTO t VALUES (102, 'later', clock_timestamp())")
            database.sync(destination, **settings)
            late.commit()
        database.sync(destination, **settings)
        assert arrived(destination) == _with_text(database)

    def test_rows_that_grow_while_the_table_is_read_arrive_with_this_sync_or_the_next(self, database: Database) -> None:
        settings, destination = self.made(database, "timestamptz", cursor_overlap="1"), Destination()
        database.run(f"UPDATE t SET v = {WIDE}")

        def move(page: object) -> None:
            database.run("""
                UPDATE t SET v = 'moved', at = clock_timestamp()
                WHERE id = (SELECT id FROM t WHERE v <> 'moved' ORDER BY random() LIMIT 1);
                UPDATE t SET v = 'to NULL', at = NULL WHERE id = (SELECT id FROM t ORDER BY random() LIMIT 1);
                UPDATE t SET v = 'from NULL', at = clock_timestamp()
                WHERE id = (SELECT id FROM t WHERE at IS NULL ORDER BY random() LIMIT 1);
            """)

        with after_each_page(move):
            for _ in range(3):
                database.sync(destination, **settings)
        database.sync(destination, **settings)
        assert arrived(destination) == _with_text(database)

    @pytest.mark.parametrize("type_", ["int", "numeric"])
    def test_numbers_that_begin_again_make_the_table_be_read_whole(self, database: Database, type_: str) -> None:
        settings, destination = self.made(database, type_, cursor_overlap="5"), Destination()
        database.sync(destination, **settings)
        database.run("TRUNCATE t; INSERT INTO t SELECT n, 'anew', n / 10 FROM generate_series(1, 200) n")
        sink = database.sync(destination, **settings)
        assert sink.upserts == {"t": 200}
        assert any("table public.t is read whole: all of at is below" in warning for warning in sink.warnings)
        assert arrived(destination) == _with_text(database)

    def test_the_newest_rows_deleted_cost_nothing(self, database: Database) -> None:
        settings, destination = self.made(database, "timestamptz"), Destination()
        database.sync(destination, **settings)
        database.run("DELETE FROM t WHERE id > 80")
        assert database.sync(destination, **settings).upserts == {"t": 1}

    def test_numbers_that_begin_again_in_an_emptied_table_are_read_from_the_first(self, database: Database) -> None:
        settings, destination = self.made(database, "int"), Destination()
        database.sync(destination, **settings)
        database.run("TRUNCATE t")
        database.sync(destination, **settings)
        database.run("INSERT INTO t SELECT n, 'anew', n FROM generate_series(1, 300) n")
        assert database.sync(destination, **settings).upserts == {"t": 300}

    def test_rows_that_a_policy_hid_arrive_when_it_shows_them(self, database: Database) -> None:
        settings, destination = self.made(database, "int"), Destination()
        database.run("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (id > 50)")
        settings = {**database.as_reader("SELECT ON t"), **settings}
        assert database.sync(destination, **settings).upserts == {"t": 50}
        database.run("ALTER POLICY p ON t USING (true)")
        database.sync(destination, **settings)
        assert len(destination.table("t")) == 100

    def test_another_cursor_column_makes_the_table_be_read_whole(self, database: Database) -> None:
        settings, destination = self.made(database, "int"), Destination()
        database.sync(destination, **settings)
        assert database.sync(destination, **{**settings, "cursor_columns": "public.t.id"}).upserts == {"t": 100}

    def test_a_cursor_that_is_the_key_or_a_part_of_it(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY, v text, at bigint)")
        database.run("INSERT INTO t SELECT n, repeat('x', 3000), 0 FROM generate_series(1, 12) n")
        settings = {"cursor_columns": "public.t.id", "cursor_overlap": "2"}
        assert stop_and_resume.check(connector, {**database.configuration, **settings}) > 20

    def test_the_bound_keeps_what_comes_during_a_killed_pass_for_later(self, database: Database) -> None:
        settings, destination = self.made(database, "int", cursor_overlap="0"), Destination()
        database.run(f"UPDATE t SET v = {WIDE}")
        database.killed_sync(destination, 50, **settings)
        assert json.dumps(destination.committed).count('"upto": "100"') == 1
        database.run("UPDATE t SET at = 150, v = 'grown' WHERE id < 10; INSERT INTO t VALUES (500, 'new', 400)")
        database.killed_sync(destination, 30, **settings)
        database.sync(destination, **settings)
        database.sync(destination, **settings)
        assert arrived(destination) == _with_text(database)

    def test_an_index_on_the_cursor_finds_what_is_new(self, database: Database) -> None:
        database.run("""
            CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz);
            INSERT INTO t SELECT n, 'x', now() - (20000 - n) * interval '1 s' FROM generate_series(1, 20000) n;
            CREATE INDEX by_at ON t (at); ANALYZE t;
        """)
        settings, destination = {"cursor_columns": "public.t.at"}, Destination()
        database.sync(destination, **settings)
        before = _rows_read(database)
        assert database.sync(destination, **settings).upserts["t"] < 310
        assert _rows_read(database) - before < 2000, "the second sync reads through the whole table"


def _with_text(database: Database) -> list[tuple[str | None, ...]]:
    """The source's rows with `at` as it is delivered."""
    fresh = database.sync(cursor_columns="public.t.at").destination
    return arrived(fresh)


def _rows_read(database: Database) -> int:
    """Rows that PostgreSQL has read of `t`, through indexes and without."""
    while database.query("SELECT true FROM pg_stat_activity WHERE application_name = 'fivetran connector'"):
        time.sleep(0.01)  # what a session has read is counted when it ends
    database.run("SELECT pg_stat_clear_snapshot()")
    ((rows,),) = database.query(
        "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes "
        "WHERE relname = 't') FROM pg_stat_user_tables WHERE relname = 't'"
    )
    return int(rows)


class TestWhatWouldBeLostInSilence:
    def test_a_table_that_is_rewritten_while_its_lock_is_waited_for_is_read_by_a_new_snapshot(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        database.run(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz); INSERT INTO t SELECT n FROM generate_series(1, 50) n"
        )
        scan = connector.read_pages.__globals__["TablePages"].__init__.__globals__["Scan"]
        begin = scan._begin
        rewritten: list[bool] = []

        def rewrite_and_begin(self: Any) -> None:
            if not rewritten:
                with self._session.connection.cursor() as cursor:
                    cursor.execute("SELECT 1")  # the snapshot is taken, and the lock is not
                database.run("ALTER TABLE t SET UNLOGGED")
                rewritten.append(True)
            begin(self)

        monkeypatch.setattr(scan, "_begin", rewrite_and_begin)
        assert database.sync(cursor_columns="public.t.at").upserts == {"t": 50}

    @pytest.mark.parametrize(
        ("change", "settings"),
        [
            ("SELECT 1", {"hash_columns": "public.t.id", "hash_salt": "salt"}),
            ("SELECT 1", {"text_columns": "public.t.at"}),
            ("ALTER TABLE t ALTER id TYPE text", {}),
            ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (at)", {}),
            (
                "DROP TABLE t; CREATE TABLE t (id char(5), at date, PRIMARY KEY (id, at));"
                "INSERT INTO t VALUES ('z', '2026-01-01')",
                {},
            ),
        ],
    )
    def test_rows_with_keys_of_before_do_not_stay_beside_those_of_now(
        self, database: Database, change: str, settings: dict[str, str]
    ) -> None:
        database.run(
            "CREATE TABLE t (id char(5), at date, PRIMARY KEY (id, at));"
            "INSERT INTO t SELECT n::text, '2026-01-01'::date + n FROM generate_series(1, 5) n"
        )
        destination = Destination()
        database.sync(destination)
        database.run(change)
        database.sync(destination, **settings)
        assert destination.contents() == database.sync(**settings).destination.contents()

    def test_another_server_is_noticed_by_a_cursor(self, database: Database) -> None:
        database.run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 20)")
        settings = {"cursor_columns": "public.t.id", "cursor_overlap": "0"}
        sink = database.sync(**settings)
        state = sink.checkpoints[-1]
        state["streams"]["public.t"]["server"] = "another"
        assert sync(connector, {**database.configuration, **settings}, state=state).upserts == {"t": 20}

    def test_one_table_that_cannot_be_read_keeps_no_other_back(self, database: Database) -> None:
        database.run(
            "CREATE VIEW bad AS SELECT 1 / 0 AS v; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)"
        )
        destination = Destination()
        with pytest.raises(SourceError, match="table public.bad could not be read to its end: division by zero"):
            database.sync(destination)
        assert [row["id"] for row in destination.table("t")] == ["7"]

    def test_an_error_of_the_server_does_not_tell_what_is_hidden(self, database: Database) -> None:
        database.run("""
            CREATE TABLE k (email text PRIMARY KEY); INSERT INTO k VALUES ('secret@example.org');
            CREATE VIEW w AS SELECT email, email::int AS x FROM k;
        """)
        with pytest.raises(SourceError, match="table public.w could not be read to its end: InvalidText") as told:
            database.sync(hash_columns="*.*.email", hash_salt="s")
        assert "secret@" not in str(told.value)
        assert told.value.__cause__ is None

    def test_rows_of_a_table_that_inherits_are_told_when_it_is_not_named(self, database: Database) -> None:
        database.run("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c () INHERITS (p); INSERT INTO c VALUES (1)")
        told = database.sync(tables="public.p").warnings
        assert any("table public.c inherits from public.p, and its rows are left out" in warning for warning in told)

    def test_an_index_that_is_unique_in_another_sense_is_no_key(self, database: Database) -> None:
        database.run(
            "CREATE EXTENSION citext; CREATE TABLE k (id citext NOT NULL); CREATE UNIQUE INDEX ON k (id text_ops)"
        )
        (table,) = connector.schema(database.configuration)
        assert "primary_key" not in table
