"""The practice sources, filled and ready to be read: a PostgreSQL server with TPC-H data, and the API Playground.

with Interruption() as interruption, start(interruption, scale=0.01) as practice:
    practice.postgres.port, practice.playground.url
"""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg2 import sql

from tests.sources import playground, postgres_server, tpch
from tests.sources.interruption import Interruption
from tests.sources.playground import Playground
from tests.sources.postgres_server import PostgresServer

DATABASE = "tpch"
READER = "fivetran_reader"


@dataclass(frozen=True)
class Practice:
    """The running sources."""

    postgres: PostgresServer
    playground: Playground


@contextmanager
def start(
    interruption: Interruption, *, scale: float, postgres_port: int | None = None, playground_port: int | None = None
) -> Iterator[Practice]:
    """Starts and fills both sources, on free ports unless others are given; ends them on exit.

    PostgreSQL has TPC-H data of this scale in the database `tpch`, which the role `fivetran_reader` may read without a
    password from this machine. Raises RuntimeError, in one sentence, for a port that is taken.
    """
    with interruption.running(_empty(postgres_port, playground_port)) as practice:
        _fill(practice.postgres, scale)
        _let_in(practice.postgres)
        yield practice


@contextmanager
def _empty(postgres_port: int | None, playground_port: int | None) -> Iterator[Practice]:
    """Starts both sources; ends them on exit."""
    with postgres_server.start(postgres_port, trusted_role=READER) as server, playground.start(playground_port) as api:
        yield Practice(server, api)


def _fill(server: PostgresServer, scale: float) -> None:
    server.create_database(DATABASE)
    with closing(server.connect(DATABASE)) as connection, tempfile.TemporaryDirectory(prefix="tpch-") as folder:
        tpch.load(connection, Path(folder), scale)


def _let_in(server: PostgresServer) -> None:
    """Creates the role that reads the tables, and can do nothing else."""
    statements = (
        "CREATE ROLE {role} LOGIN",
        "GRANT CONNECT ON DATABASE {database} TO {role}",
        "GRANT USAGE ON SCHEMA public TO {role}",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    )
    names = {"role": sql.Identifier(READER), "database": sql.Identifier(DATABASE)}
    with closing(server.connect(DATABASE)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(sql.SQL(statement).format(**names))
