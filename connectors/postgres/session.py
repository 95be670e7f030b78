"""The connection to the database: read-only, in known settings, encrypted, and made anew when it is lost."""

import random
import re
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg2
from fivetran_connector_sdk import Logging as log
from psycopg2 import errors, extensions, sql
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from service_spec import Settings, pem
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
# that has to apply changes), a lock or a transaction has to be tried for again.
_PASSING = re.compile("08...|40...|53300|55P03|57014|57P0[1-5]|25P0[34]")
# The classes of errors that quote values: of data, of constraints, and what functions raise.
_QUOTING = ("22", "23", "P0")
_ASKED = re.compile("^connection to server .*? failed: (FATAL: +)?")
# What libpq says of a server that does not answer; and what to do about what else it says, by a part of it.
_UNREACHABLE = re.compile(
    "Connection refused|could not translate|timeout expired|timed out|No route|Network is unreachable|No such file"
)
_HINTS = {
    "does not support SSL": "switch TLS on at the server (ssl = on), or, if everyone on the way there may read along, "
    "set allow_plaintext to true",
    "certificate verify failed": "its certificate has expired, or is not signed by the authority in sslrootcert (by "
    "one that this machine trusts, if sslrootcert is empty)",
    "does not match host name": "set host to the name in the certificate, or sslmode to verify-ca",
    "password authentication failed": "check user and password",
    "no pg_hba.conf entry": "let this user and address in with a line in the server's pg_hba.conf",
    "permission denied for database": "GRANT CONNECT ON DATABASE lets this user in",
}


class Session:
    """One connection at a time to the database of the settings. Every transaction on it sees one snapshot.

    Raises SourceError that says why the server would not have us.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.connection = connect(settings)
        # What else is connected, and has to let go of a server that wants to stop.
        self.before_renewal: Callable[[], None] = lambda: None

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
        self.before_renewal()
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
    except psycopg2.Error as error:
        raise _refused(settings, reason(error)) from error
    except UnicodeDecodeError as error:  # the server speaks in an encoding of its own until we are in
        raise _refused(settings, ascii(error.object)) from error
    if pinned:
        try:
            _pin(connection)
        except psycopg2.Error as error:
            connection.close()
            raise _refused(settings, reason(error)) from error
    return connection


def _refused(settings: Settings, cause: str) -> SourceError:
    where = f"PostgreSQL at {settings.host}:{settings.port}"
    if _UNREACHABLE.search(cause):
        return unreachable(where, settings.host, cause)
    hint = next((f"; {hint}" for word, hint in _HINTS.items() if word in cause), "")
    return SourceError(f"{where} would not let user {settings.user} into {settings.database}: {cause}{hint}")


def pin_values(cursor: Any) -> None:
    """Settles how the server writes values and names, outside of any transaction. Raises psycopg2.Error."""
    # Statements, and not options of the connection: poolers such as PgBouncer refuse those.
    pin = sql.SQL("SET {} TO {}")
    cursor.execute(
        sql.SQL("; ").join(pin.format(sql.Identifier(name), sql.Literal(value)) for name, value in _PINNED.items())
    )


def _pin(connection: Any) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        pin_values(cursor)
    connection.autocommit = False
    connection.set_session(readonly=True, isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ)
    extensions.register_type(_BYTES, connection)


def _sslmode(settings: Settings) -> str:
    plaintext = settings.allow_plaintext or is_this_machine(settings.host)
    # With `prefer`, a certificate that is refused would be followed by plaintext: not where one is to be checked.
    return "prefer" if plaintext and settings.sslmode == "require" and not settings.sslrootcert else settings.sslmode


@contextmanager
def _authority(settings: Settings) -> Iterator[dict[str, str]]:
    """The settings' certificate in a file, as libpq wants it, for as long as connecting takes."""
    if not settings.sslrootcert:
        yield {"sslrootcert": _trusted()} if settings.sslmode == "verify-full" else {}
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem(settings.sslrootcert))
        file.flush()
        yield {"sslrootcert": file.name}


def _trusted() -> str:
    """The file of the authorities that this machine trusts, or else of those that come with requests.

    libpq's own `sslrootcert=system` looks where its OpenSSL was built, and for psycopg2-binary that is a folder of no
    machine but the one it was built on.
    """
    return ssl.get_default_verify_paths().cafile or DEFAULT_CA_BUNDLE_PATH


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turns an error of the database into a SourceError: what failed, and why, in the server's words."""
    try:
        yield
    except psycopg2.Error as error:
        hint = ": ALTER ROLE ... SET statement_timeout = 0 gives this user more time" if _is_timeout(error) else ""
        raise SourceError(f"{what}: {reason(error)}{hint}") from error
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{what}: the database holds bytes that are no text in its encoding ({error.reason})"
        ) from error


def _is_timeout(error: psycopg2.Error) -> bool:
    return isinstance(error, errors.QueryCanceled) and "statement timeout" in str(error)


class TableError(SourceError):
    """What is wrong with one table, while others may be read."""


@contextmanager
def told_without_values(what: str, settings: Settings) -> Iterator[None]:
    """As `told`, for what reads rows: raises TableError for what is no fault of the connection. Where the settings hide
    columns, the server's words are left out when they may quote a value."""
    try:
        with told(what):
            yield
    except SourceError as failure:
        error = failure.__cause__
        if not isinstance(error, psycopg2.Error) or _passes(error):
            raise
        if isinstance(error, errors.InsufficientPrivilege):
            raise error from None
        hides = settings.hash_columns or settings.exclude_columns or settings.include_columns
        if hides and str(error.pgcode)[:2] in _QUOTING:
            raise TableError(f"{what}: {type(error).__name__} (its text may quote a value that is hidden)") from None
        raise TableError(str(failure)) from error


def reason(error: psycopg2.Error) -> str:
    """The server's reason, without where it was asked: our sentence has said that."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # A host may have several addresses, with a line for each: the one that answered says more than those that did not.
    answered = (line for line in lines if _ASKED.match(line) and not _UNREACHABLE.search(line))
    return _ASKED.sub("", next(answered, lines[0]))


def _bytes(text: Any, _: Any) -> Any:
    return None if text is None else bytes.fromhex(text[2:])


# psycopg2's own value of a bytea is a memoryview, which the SDK would send as its repr.
_BYTES = extensions.new_type((17,), "exact bytea", _bytes)
