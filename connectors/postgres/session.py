"""The connection to the database: read-only, in known settings, encrypted, and made anew when it is lost."""

import random
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg2
from fivetran_connector_sdk import Logging as log
from psycopg2 import extensions, sql

from service_spec import Settings
from shared.errors import SourceError, is_this_machine, unreachable

APPLICATION_NAME = "fivetran connector"
# How often in a row, with nothing read between, a connection is made anew; and the pauses before, in seconds.
TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0

# What a role or a database may have set otherwise, and values would arrive changed. And what decides how names and
# types are written and found: all of ours are written in full.
_PINNED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "xmlbinary": "base64",
    "search_path": "pg_catalog",
    "quote_all_identifiers": "off",
    # Compiling the catalogue's queries would take longer than running them.
    "jit": "off",
    # While a page is delivered the session is idle, and the cursor has to live on.
    "idle_in_transaction_session_timeout": "0",
}
# Errors that pass: the server goes down, comes up or is full, a statement is cancelled (by a timeout, or by a standby
# that has to apply changes), a transaction has to be tried again.
_PASSING = re.compile("08...|40...|53300|57014|57P0[1-5]|25P0[34]")


class Session:
    """One connection at a time to the database of the settings. Every transaction on it sees one snapshot.

    Raises SourceError that says why the server would not have us.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.connection = connect(settings)

    def fetch(self, *statements: Any) -> list[tuple[Any, ...]]:
        """All rows of the last of some statements, which are few, in a transaction of their own. Raises psycopg2.Error
        for what will not pass."""
        patience = Patience(self, "a query")
        while True:
            try:
                with self.connection.cursor() as cursor:
                    for statement in statements:
                        cursor.execute(statement)
                    rows = list(cursor.fetchall())
                self.connection.rollback()
                return rows
            except psycopg2.Error as error:
                patience.after(error)

    def renew(self) -> None:
        """A new connection in the place of one that was lost."""
        self.close()
        self.connection = connect(self._settings)

    def close(self) -> None:
        with suppress(psycopg2.Error):
            self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Patience:
    """How often a lost connection may be made anew without any progress."""

    def __init__(self, session: Session, what: str) -> None:
        """`what` is being read, for the log."""
        self._session, self._what = session, what
        self._failures = 0

    def after(self, error: psycopg2.Error) -> None:
        """Waits, and makes the connection anew; raises the error if it will not pass, or has come too often."""
        if not _passes(error):
            raise error
        while True:
            self._failures += 1
            if self._failures > TRIES:
                raise error
            pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1)))
            log.info(f"{self._what}: {reason(error)}; going on in {pause:.1f} s")
            time.sleep(pause)
            try:
                self._session.renew()
            except SourceError as refused:  # the server may still be starting
                log.info(str(refused))
            else:
                return

    def progress(self) -> None:
        """Something was read: the next loss is the first again."""
        self._failures = 0


def _passes(error: psycopg2.Error) -> bool:
    """Whether it is of use to try again."""
    if error.pgcode is None:  # the connection is lost
        return type(error) in (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError)
    return bool(_PASSING.fullmatch(error.pgcode))


def connect(settings: Settings, *, pinned: bool = True, **further: Any) -> Any:
    """A read-only session in UTC; `further` are arguments of psycopg2.connect. Raises SourceError that says why not."""
    where = f"PostgreSQL at {settings.host}:{settings.port}"
    try:
        with _authority(settings) as authority:
            further = {**authority, **further}
            connection: Any = psycopg2.connect(
                host=settings.host,
                port=settings.port,
                dbname=settings.database,
                user=settings.user,
                password=settings.password,
                sslmode=_sslmode(settings),
                connect_timeout=15,
                application_name=APPLICATION_NAME,
                client_encoding="UTF8",
                # A connection that is gone without a word is noticed after a minute.
                keepalives_idle=30,
                keepalives_interval=10,
                keepalives_count=3,
                **further,
            )
        if pinned:
            _pin(connection)
    except psycopg2.OperationalError as error:
        cause = reason(error)
        if any(word in cause for word in ("Connection refused", "could not translate", "timeout", "No route")):
            raise unreachable(where, settings.host, cause) from error
        raise SourceError(f"{where} would not let user {settings.user} into {settings.database}: {cause}") from error
    return connection


def _pin(connection: Any) -> None:
    # Statements, and not options of the connection: poolers such as PgBouncer refuse those.
    connection.autocommit = True
    with connection.cursor() as cursor:
        pin = sql.SQL("SET {} TO {}")
        cursor.execute(
            sql.SQL("; ").join(pin.format(sql.Identifier(name), sql.Literal(value)) for name, value in _PINNED.items())
        )
    connection.autocommit = False
    connection.set_session(readonly=True, isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ)
    extensions.register_type(_BYTES, connection)


def _sslmode(settings: Settings) -> str:
    plaintext = settings.allow_plaintext or is_this_machine(settings.host)
    return "prefer" if plaintext and settings.sslmode == "require" else settings.sslmode


@contextmanager
def _authority(settings: Settings) -> Iterator[dict[str, str]]:
    """The settings' certificate in a file, as libpq wants it, for as long as connecting takes."""
    if not settings.sslrootcert:
        yield {"sslrootcert": "system"} if settings.sslmode == "verify-full" else {}
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(_pem(settings.sslrootcert))
        file.flush()
        yield {"sslrootcert": file.name}


def _pem(text: str) -> str:
    """Certificates in lines again, as a form of one line makes blanks of line breaks."""
    blocks = re.findall("-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", text, re.DOTALL)
    return "".join(
        "\n".join(["-----BEGIN CERTIFICATE-----", *block.replace("\\n", " ").split(), "-----END CERTIFICATE-----", ""])
        for block in blocks
    )


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns an error of the database into a SourceError: what failed, and why, in the server's words."""
    try:
        yield
    except psycopg2.Error as error:
        raise SourceError(f"{what}: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{what}: the database holds bytes that are no text in its encoding ({error.reason})"
        ) from error


def reason(error: psycopg2.Error) -> str:
    """The server's reason, without where it was asked: our sentence has said that."""
    line = str(error).strip().partition("\n")[0] or type(error).__name__
    return re.sub(r"^connection to server .* failed: (FATAL: +)?", "", line)


def _bytes(text: Any, _: Any) -> Any:
    return None if text is None else bytes.fromhex(text[2:])


# psycopg2's own value of a bytea is a memoryview, which the SDK would send as its repr.
_BYTES = extensions.new_type((17,), "exact bytea", _bytes)
