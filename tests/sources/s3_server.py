"""An S3 server of one's own with an empty bucket, `moto_server`, in a process beside ours.

with start() as server:
    server.put("2026/a.csv", b"n\n1\n")
    sync(connector, {**server.configuration, "tables": "numbers = **/*.csv"})
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import obstore
import requests
from obstore.store import S3Store

START_SECONDS = 60
STOP_SECONDS = 10


class S3Server:
    """A running server: it keeps objects in memory, and takes any login.

    url  its address; put a tests.sources.tcp_proxy in front of it with `configuration_at`
    """

    bucket = "bucket"

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.configuration = self.configuration_at(port)
        self._store = S3Store(
            self.bucket,
            endpoint=self.url,
            region="us-east-1",
            access_key_id=self.configuration["access_key_id"],
            secret_access_key=self.configuration["secret_access_key"],
            client_options={"allow_http": True, "timeout": "10m"},
        )
        self._client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.configuration["access_key_id"],
            aws_secret_access_key=self.configuration["secret_access_key"],
        )

    def configuration_at(self, port: int) -> dict[str, str]:
        """The settings of a connector that reads the bucket through a port of this machine."""
        return {
            "location": f"s3://{self.bucket}",
            "endpoint": f"http://127.0.0.1:{port}",
            "access_key_id": "key",
            "secret_access_key": "the secret of the key",
        }

    def put(self, name: str, data: bytes | Path) -> None:
        """Stores an object; a large file is sent in parts."""
        obstore.put(self._store, name, data)

    def put_named(self, name: str, data: bytes, is_public: bool = False) -> None:
        """Stores an object under any name, also those that few clients would make, such as a//b or c/."""
        self._client.put_object(Bucket=self.bucket, Key=name, Body=data, ACL="public-read" if is_public else "private")

    def delete(self, name: str) -> None:
        """Removes an object."""
        obstore.delete(self._store, name)

    def empty(self) -> None:
        """Removes all objects."""
        requests.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()
        self.create_bucket()

    def create_bucket(self) -> None:
        """Creates the bucket."""
        self._client.create_bucket(Bucket=self.bucket)


@contextmanager
def start() -> Iterator[S3Server]:
    """Starts a server on a free port, and ends it on exit."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(process, port)
        server = S3Server(port)
        server.create_bucket()
        yield server
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    """Returns when the server listens."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"moto_server ended with code {process.returncode}: is moto[s3,server] installed?")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"moto_server did not listen within {START_SECONDS} s")
