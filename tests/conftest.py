"""The real servers of the tests, one of each for a whole run."""

from collections.abc import Iterator

import pytest

from tests.sources import playground as playground_source
from tests.sources import postgres_server
from tests.sources.playground import Playground
from tests.sources.postgres_server import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server without databases of ours."""
    with postgres_server.start() as server:
        yield server


@pytest.fixture(scope="session")
def playground() -> Iterator[Playground]:
    """Fivetran's practice API."""
    with playground_source.start() as server:
        yield server
