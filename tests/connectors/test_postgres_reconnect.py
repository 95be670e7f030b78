"""connectors/postgres goes on behind the last row when its connection is lost, however that happens."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from fivetran_connector_sdk import Logging

from shared.errors import RecordError, SourceError
from tests.connectors.postgres_database import Database, after_each_page, session
from tests.recording import Destination, Sink
from tests.sources import postgres_server, tcp_proxy
from tests.sources.postgres_server import PostgresServer

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
MODES = {
    "changes": {"mode": "changes"},
    "full": {"mode": "full"},
    "cursor": {"cursor_columns": "public.t.at", "cursor_overlap": "10"},
    "keyless": {},
}
ROWS = 60


@pytest.fixture
def database(emptied_database: Database) -> Database:
    return emptied_database


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged."""
    lines: list[str] = []
    monkeypatch.setattr(Logging, "info", lines.append)
    return lines


def table(database: Database, mode: str = "changes") -> dict[str, str]:
    """A table `t` of about 20 pages; returns the settings of the mode."""
    key = "" if mode == "keyless" else "PRIMARY KEY"
    database.run(f"""
        CREATE TABLE t (id int {key}, at int, wide text);
        INSERT INTO t SELECT n, nullif(n / 2, 7), repeat('x', 3000) FROM generate_series(1, {ROWS}) n;
    """)
    return MODES[mode]


def every(pages: int, work: Callable[[], None], *, at_most: int = 1000) -> Any:
    """Runs `work` after every so many pages of rows."""
    count = 0

    def count_and_work(page: Any) -> None:
        nonlocal count
        count += bool(page.delivered)
        if page.delivered and count % pages == 0 and count // pages <= at_most:
            work()

    return after_each_page(count_and_work)


def assert_whole(sink: Sink, *, doubled: bool = False) -> None:
    """Every row has arrived, and was sent only once unless the table had to be begun anew."""
    assert sorted(int(row["id"]) for row in sink.destination.table("t")) == list(range(1, ROWS + 1))
    assert sink.upserts["t"] == ROWS or doubled


def ended(database: Database) -> None:
    """Ends the connector's sessions, as an administrator may."""
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'fivetran connector'")


@pytest.mark.parametrize("mode", MODES)
class TestEveryMode:
    @pytest.mark.parametrize("reset", [True, False])
    def test_goes_on_after_cuts(self, database: Database, mode: str, reset: bool, told: list[str]) -> None:
        settings = table(database, mode)
        with tcp_proxy.start(database.server.port) as proxy:
            # A table without a key is begun anew, so it has to stay connected for some time.
            with every(1, lambda: proxy.cut(reset), at_most=5 if mode == "keyless" else 1000):
                sink = database.sync(**settings, port=str(proxy.port))
            assert proxy.accepted > 5
        assert_whole(sink, doubled=mode == "keyless")
        assert any("going on in" in line for line in told)

    def test_goes_on_when_its_session_is_ended(self, database: Database, mode: str) -> None:
        settings = table(database, mode)
        with every(4, lambda: ended(database), at_most=3):
            sink = database.sync(**settings)
        assert_whole(sink, doubled=mode == "keyless")

    def test_a_server_that_stays_away_ends_the_sync_with_its_progress_saved(
        self, database: Database, mode: str, told: list[str]
    ) -> None:
        settings, destination = table(database, mode), Destination()
        with tcp_proxy.start(database.server.port) as proxy:

            def away() -> None:
                proxy.refuse = True
                proxy.cut()

            settings = {**settings, "port": str(proxy.port)}
            with (
                every(5, away),
                pytest.raises(SourceError, match="^table public.t could not be read to its end: .+") as why,
            ):
                database.sync(destination, **settings)
            assert "\n" not in str(why.value)
            assert sum("going on in" in line for line in told) == session["TRIES"]
            delivered = len(destination.table("t"))
            assert 0 < delivered < ROWS
            proxy.refuse = False
            resumed = database.sync(destination, **settings)
        assert_whole(resumed, doubled=True)
        assert resumed.upserts["t"] == (ROWS if mode == "keyless" else ROWS - delivered)


@contextmanager
def longest_transaction(database: Database) -> Iterator[dict[Any, float]]:
    """How long each transaction of the connector took, in seconds, by when it was begun."""
    seen: dict[Any, float] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            transactions = database.query(
                "SELECT xact_start::text, extract(epoch FROM clock_timestamp() - xact_start)::float8 "
                "FROM pg_stat_activity WHERE application_name = 'fivetran connector' AND xact_start IS NOT NULL"
            )
            seen.update(dict(transactions))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


def test_a_slow_destination_keeps_no_snapshot(database: Database) -> None:
    settings = table(database, "cursor")
    with longest_transaction(database) as seen, every(1, lambda: time.sleep(0.12)):
        sink = database.sync(**settings, snapshot_seconds="1")
    assert_whole(sink)
    # One that is over waits for the page under way, and for the one read ahead.
    assert 1 < max(seen.values()) < 1.7
    assert len(seen) >= 3


class TestWhatPasses:
    def test_a_statement_timeout_that_strikes_now_and_then(self, database: Database, told: list[str]) -> None:
        database.run("CREATE TABLE base (id int PRIMARY KEY, wide text)")
        database.run(f"INSERT INTO base SELECT n, repeat('x', 3000) FROM generate_series(1, {ROWS}) n")
        # Rows are slow while someone holds an advisory lock.
        database.run("""
            CREATE FUNCTION slow(int) RETURNS int STABLE LANGUAGE plpgsql AS $$
                BEGIN
                    PERFORM pg_sleep(9) FROM pg_locks WHERE locktype = 'advisory';
                    RETURN $1;
                END
            $$;
            CREATE VIEW t AS SELECT id, wide, slow(id) AS slow FROM base;
        """)
        database.run(f"ALTER DATABASE {database.name} SET statement_timeout = 100")

        def let_go(line: str) -> None:
            told.append(line)
            if "going on in" in line:
                database.run("SELECT pg_advisory_unlock_all()")

        with pytest.MonkeyPatch.context() as patch, every(3, lambda: database.run("SELECT pg_advisory_lock(42)")):
            patch.setattr(Logging, "info", let_go)
            try:
                sink = database.sync(tables="public.t", keys="public.t=id")
            finally:
                database.run(f"ALTER DATABASE {database.name} RESET statement_timeout")
                database.run("SELECT pg_advisory_unlock_all()")
        assert_whole(sink)
        assert sum("canceling statement due to statement timeout" in line for line in told) > 3

    def test_a_lock_that_is_held_for_a_while(self, database: Database, told: list[str]) -> None:
        table(database)
        database.run(f"ALTER DATABASE {database.name} SET lock_timeout = 50")
        with closing(database.server.connect(database.name)) as other, other.cursor() as cursor:
            other.autocommit = False
            cursor.execute("LOCK TABLE t")
            timer = threading.Timer(0.2, other.rollback)
            timer.start()
            try:
                sink = database.sync()
            finally:
                timer.join()
                database.run(f"ALTER DATABASE {database.name} RESET lock_timeout")
        assert_whole(sink)
        assert any("canceling statement due to lock timeout" in line for line in told)

    def test_a_connection_cut_as_soon_as_it_is_made(
        self, database: Database, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table(database)
        with tcp_proxy.start(database.server.port) as proxy:
            connect, left = session["connect"], [4]

            def connect_and_cut(*arguments: Any, **further: Any) -> Any:
                connection = connect(*arguments, **further)
                if left[0]:
                    left[0] -= 1
                    proxy.cut()
                return connection

            monkeypatch.setitem(session, "connect", connect_and_cut)
            sink = database.sync(port=str(proxy.port))
        assert_whole(sink)
        assert sum("a query: " in line for line in told) == 4

    def test_too_many_sessions_for_a_while(
        self, database: Database, told: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(session, "FIRST_PAUSE", 0.05)  # or the tries would be over before the timer
        table(database)
        settings = database.as_reader("SELECT ON t")
        with every(5, lambda: ended_and_crowded(database), at_most=1):
            threading.Timer(0.3, lambda: database.run(f"ALTER ROLE {database.reader} CONNECTION LIMIT -1")).start()
            sink = database.sync(**settings)
        assert_whole(sink)

    @pytest.mark.parametrize("mode", ["changes", "keyless"])
    def test_a_record_that_cannot_be_delivered_is_what_is_told_though_the_connection_is_lost_too(
        self, database: Database, mode: str
    ) -> None:
        table(database, mode)
        with tcp_proxy.start(database.server.port) as proxy:

            def refuse() -> None:
                time.sleep(0.1)  # the page ahead is read, and its cursor waits
                proxy.cut()
                raise RecordError("table t, record id=9 cannot be delivered")

            with every(2, refuse), pytest.raises(RecordError, match="record id=9 cannot be delivered"):
                database.sync(port=str(proxy.port))

    def test_what_will_not_pass_is_told_at_once(self, database: Database, told: list[str]) -> None:
        database.run("CREATE TABLE base (id int PRIMARY KEY); INSERT INTO base VALUES (0)")
        database.run("CREATE VIEW t AS SELECT id, 1 / id AS n FROM base")
        with pytest.raises(SourceError, match="table public.t could not be read to its end: division by zero"):
            database.sync(tables="public.t", keys="public.t=id")
        assert not any("going on" in line for line in told)


def ended_and_crowded(database: Database) -> None:
    database.run(f"ALTER ROLE {database.reader} CONNECTION LIMIT 0")
    ended(database)


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server that may be stopped."""
    with postgres_server.start() as server:
        yield server


class TestServers:
    @pytest.fixture
    def database(self, own_server: PostgresServer, quick: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
        monkeypatch.setitem(session, "FIRST_PAUSE", 0.1)  # a server takes its time to come back
        made = Database(own_server)
        yield made
        made.close()

    @pytest.mark.parametrize("mode", MODES)
    def test_that_are_restarted_are_waited_for(self, database: Database, mode: str) -> None:
        settings = table(database, mode)
        database.run("CHECKPOINT")
        database.disconnect()  # or the server would not be stopped in order

        def crash() -> None:
            database.server.kill()
            database.server.restart()

        with every(6, crash if mode in ("full", "cursor") else database.server.restart, at_most=1):
            sink = database.sync(**settings)
        assert_whole(sink, doubled=mode == "keyless")

    def test_that_follow_another_may_cancel_what_is_in_the_way(self, database: Database, told: list[str]) -> None:
        """The first server removes rows that the copy still shows; the copy ends whoever looks at them."""
        settings = table(database, "full")
        with (
            database.server.standby({"max_standby_streaming_delay": "0"}) as standby,
            closing(standby.connect(database.name)) as connection,
            connection.cursor() as cursor,
        ):

            def conflict() -> None:
                database.run("UPDATE t SET at = at + 1")
                database.run("VACUUM t")
                database.run("CHECKPOINT")  # writes the log, which is not flushed with every transaction here
                ((written,),) = database.query("SELECT pg_current_wal_lsn()")
                replayed = [(False,)]
                while replayed != [(True,)]:
                    time.sleep(0.02)
                    cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s", (written,))
                    replayed = cursor.fetchall()

            with every(4, conflict, at_most=1):
                sink = database.sync(**settings, port=str(standby.port))
            cursor.execute("SELECT sum(confl_snapshot)::int FROM pg_stat_database_conflicts")
            assert cursor.fetchall() == [(1,)]
        assert_whole(sink)
        assert any("going on in" in line for line in told)
