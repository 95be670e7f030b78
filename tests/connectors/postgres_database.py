"""A database of a test's own, and the connector's configuration for it."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psycopg2
import pytest

from tests.loading import load_connector
from tests.recording import Destination, Sink, sync
from tests.sources.postgres_server import PostgresServer

connector = load_connector("postgres")
# The names of the modules that the connector was loaded with.
session: dict[str, Any] = connector.Session.__init__.__globals__
names = (f"database_{number}" for number in itertools.count(1))


class Database:
    """A database of a test's own, and the connector's configuration for it."""

    def __init__(self, server: PostgresServer) -> None:
        self.name = next(names)
        self.server = server
        server.create_database(self.name)
        self._connection = server.connect(self.name)
        self.configuration = {
            "host": server.host,
            "port": str(server.port),
            "database": self.name,
            "user": server.user,
            "password": server.password,
            "page_bytes": "10000",
        }

    def run(self, statements: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statements)

    def empty(self) -> None:
        """Drops everything in it."""
        for (schema,) in self.query(
            "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ):
            self.run(f"DROP SCHEMA {schema} CASCADE")
        self.run("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    def as_reader(self, *grants: str) -> dict[str, str]:
        """The configuration of a new role, `reader`, that has these grants and no others."""
        self.reader = f"reader_of_{next(names)}"
        self.run(f"CREATE ROLE {self.reader} LOGIN PASSWORD 'reader'")
        for grant in grants:
            self.run(f"GRANT {grant} TO {self.reader}")
        return {**self.configuration, "user": self.reader, "password": "reader"}

    def sync(self, destination: Destination | None = None, /, **settings: str) -> Sink:
        """One sync with these settings beside those of the database."""
        return sync(connector, {**self.configuration, **settings}, destination)

    def killed_sync(self, destination: Destination, stop_at: int, /, **settings: str) -> Sink:
        """A sync that is killed at an operation, unless it ends before."""
        return sync(connector, {**self.configuration, **settings}, destination, stop_at=stop_at)

    def disconnect(self) -> None:
        """Ends the test's own connection; the database stays."""
        self._connection.close()

    def close(self) -> None:
        """Drops the database, so that hundreds of them do not fill the disk."""
        self.disconnect()
        with suppress(psycopg2.Error), closing(self.server.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {self.name} WITH (FORCE)")


@contextmanager
def after_each_page(work: Callable[[Any], None]) -> Iterator[None]:
    """Runs `work` with every page that was delivered, before the state moves past it."""
    deliver = connector.deliver

    def deliver_and_work(page: Any) -> None:
        deliver(page)
        work(page)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connector, "deliver", deliver_and_work)
        yield
