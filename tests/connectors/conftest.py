"""What the tests of several connectors share."""

from collections.abc import Iterator

import pytest

from shared import checkpoints
from tests.connectors.postgres_database import Database, session
from tests.sources.postgres_server import PostgresServer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after every page, and hardly a pause before a connection is made anew."""
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    monkeypatch.setitem(session, "FIRST_PAUSE", 0.002)


@pytest.fixture(scope="session")
def _one_database(postgres: PostgresServer) -> Iterator[Database]:
    made = Database(postgres)
    yield made
    made.close()


@pytest.fixture
def emptied_database(_one_database: Database, quick: None) -> Database:
    """A database that the tests share, emptied: for the many that leave nothing else behind."""
    _one_database.empty()
    return _one_database


@pytest.fixture
def database(postgres: PostgresServer, quick: None) -> Iterator[Database]:
    """A database of the test's own."""
    made = Database(postgres)
    yield made
    made.close()
