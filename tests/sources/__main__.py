"""Keeps the practice sources running in the foreground, at the addresses of the connectors' configuration.json.

python -m tests.sources
"""

import argparse
import gzip
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import polars as pl

from tests.loading import load_spec
from tests.sources import openmetadata_server, practice, s3_server, snowplow_server, tpch
from tests.sources.interruption import Interruption
from tests.sources.openmetadata_server import OpenMetadataServer
from tests.sources.postgres_server import PostgresServer
from tests.sources.practice import DATABASE, READER, Practice
from tests.sources.s3_server import S3Server
from tests.sources.snowplow_server import SnowplowServer

# Enough to see pages and changes, and filled within seconds: 86,805 rows in 8 tables.
SCALE = 0.01
# As in connectors/postgres/configuration.json and connectors/rest_api/configuration.json.
POSTGRES_PORT = 5432
PLAYGROUND_PORT = 5001

READY = """
The practice sources are ready:

  PostgreSQL   {postgres.host}:{postgres.port}, database {database} with TPC-H data of scale {scale}
               {reader} reads it without a password
               {postgres.user} may change it, with the password {postgres.password}
  Playground   {playground.url}
               its endpoints below /auth ask for
{credentials}
  OpenMetadata {openmetadata.url} and
  Snowplow     {snowplow.url}, both servers of the tests: the real ones do not run here
  S3           {s3.url}, with customers as compressed CSV and orders as Parquet

In a second terminal, in this folder and the same Python environment:

  fivetran debug connectors/postgres
  fivetran debug connectors/rest_api
  fivetran debug connectors/files
  fivetran debug connectors/files --configuration {folder}/files.json
  fivetran debug connectors/openmetadata --configuration {folder}/openmetadata.json
  fivetran debug connectors/snowplow --configuration {folder}/snowplow.json

The configuration files hold what else must not be in a repository: a token, and keys.
{elsewhere}
Ctrl-C stops them.
"""


def main() -> int:
    """Serves till it is interrupted; returns the exit code."""
    ports = _ports()
    with Interruption() as interruption:
        try:
            _check_free(ports.postgres_port, "PostgreSQL", "--postgres-port", "port in connectors/postgres")
            _check_free(ports.playground_port, "The Playground", "--playground-port", "base_url in connectors/rest_api")
            print("Starting and filling the practice sources ...", flush=True)
            with (
                practice.start(
                    interruption, scale=SCALE, postgres_port=ports.postgres_port, playground_port=ports.playground_port
                ) as sources,
                openmetadata_server.start() as openmetadata,
                snowplow_server.start(now=None) as snowplow,
                s3_server.start() as s3,
                tempfile.TemporaryDirectory(prefix="practice-") as folder,
            ):
                _fill(s3, Path(folder))
                _write_configurations(Path(folder), openmetadata, snowplow, s3)
                print(_ready(sources, openmetadata, snowplow, s3, folder), flush=True)
                while True:
                    time.sleep(1)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    with suppress(OSError):  # after SIGHUP there is no terminal any more
        print("\nThe practice sources are stopped, and their files removed.", flush=True)
    return 0


def _ports() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.sources",
        description="Run a source for every connector: PostgreSQL with TPC-H data, the API Playground, and more.",
    )
    parser.add_argument("--postgres-port", type=int, default=POSTGRES_PORT, help="default: %(default)s")
    parser.add_argument("--playground-port", type=int, default=PLAYGROUND_PORT, help="default: %(default)s")
    return parser.parse_args()


def _check_free(port: int, who: str, option: str, setting: str) -> None:
    """Raises RuntimeError, before anything is started, for a port that cannot be listened on."""
    try:
        socket.create_server((PostgresServer.host, port)).close()
    except OSError as error:
        raise RuntimeError(
            f"{who} cannot listen on port {port} ({os.strerror(error.errno or 0)}): end the program that does so, or "
            f"choose another port with {option} and set {setting}/configuration.json to it."
        ) from error


def _fill(s3: S3Server, folder: Path) -> None:
    """Puts TPC-H data into the bucket: many small compressed files, and a Parquet file."""
    for path in tpch.write_csv(folder, SCALE, ["customer"], parts=4):
        s3.put(f"customers/{path.name}.gz", gzip.compress(path.read_bytes()))
    (orders,) = tpch.write_csv(folder, SCALE, ["orders"])
    parquet = folder / "orders.parquet"
    pl.read_csv(orders, try_parse_dates=True).write_parquet(parquet)
    s3.put("orders.parquet", parquet)


def _write_configurations(
    folder: Path, openmetadata: OpenMetadataServer, snowplow: SnowplowServer, s3: S3Server
) -> None:
    """Writes the configuration files of the connectors that need a secret."""
    settings: Mapping[str, Mapping[str, str]] = {
        "files": {**s3.configuration, "tables": "customers = customers/*.csv.gz; orders = *.parquet"},
        "openmetadata": {"base_url": openmetadata.api_url, "token": openmetadata.token},
        "snowplow": {
            "base_url": snowplow.url,
            "organization_id": snowplow.organization_id,
            "api_key_id": snowplow.api_key_id,
            "api_key": snowplow.api_key,
        },
    }
    for name, given in settings.items():
        configuration = {**load_spec(name).Settings.sample(), **given}
        (folder / f"{name}.json").write_text(json.dumps(configuration, indent=2))


def _ready(
    sources: Practice, openmetadata: OpenMetadataServer, snowplow: SnowplowServer, s3: S3Server, folder: str
) -> str:
    """What to know of the running sources."""
    credentials = sources.playground.credentials.items()
    return READY.format(
        postgres=sources.postgres,
        playground=sources.playground,
        openmetadata=openmetadata,
        snowplow=snowplow,
        s3=s3,
        folder=folder,
        database=DATABASE,
        scale=SCALE,
        reader=READER,
        credentials="\n".join(f"                 {name:<21} {value}" for name, value in credentials),
        elsewhere=_elsewhere(sources),
    )


def _elsewhere(sources: Practice) -> str:
    """What has to be set before, for ports other than those of the configuration files; or nothing."""
    lines = []
    if sources.postgres.port != POSTGRES_PORT:
        lines.append(f'after setting "port": "{sources.postgres.port}" in connectors/postgres/configuration.json')
    if not sources.playground.url.endswith(f":{PLAYGROUND_PORT}"):
        lines.append(f'after setting "base_url": "{sources.playground.url}" in connectors/rest_api/configuration.json')
    return "".join(f"  ({line})\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
