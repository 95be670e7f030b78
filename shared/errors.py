"""The errors a person reads: one sentence that says what, where, and what to do."""

import ipaddress
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from fivetran_connector_sdk import Operations as op

# Parameters of an address that are secrets. A page's token is none: it has to be saved and shown.
_SECRET_PARAMETER = re.compile(
    r"((?:^|&)(?:[^=&]*(?:api[-_]?key|secret|passw|pwd|auth|signature|session|jwt|credential|hmac|bearer"
    r"|(?:access|refresh|id|security|session)[-_]?token)[^=&]*|key|token|sid|sig)=)[^&]*",
    re.IGNORECASE,
)


_LONGEST_ADDRESS = 500  # characters that are shown


class ConnectorError(Exception):
    """A sync that cannot go on, told in one sentence. Everything delivered before it is saved."""


class ConfigurationError(ConnectorError):
    """The settings are wrong; the message names every one of them."""


class SourceError(ConnectorError):
    """The source does not answer, or not as it should; the message names the place."""


class RecordError(ConnectorError):
    """A record that cannot be delivered exactly; the message names its table and key."""


class MemoryLimitReached(ConnectorError):
    """Hardly any memory is left: the sync ends before the system ends it without a word."""


class TryLater(ConnectorError):
    """The source asks for more time than this sync may wait. Not a failure: the next sync goes on from here."""


@contextmanager
def reported() -> Iterator[None]:
    """Shows a `ConnectorError` raised inside it on the dashboard as one sentence, without a traceback.

    `TryLater` becomes a warning and a clean end: what was delivered is saved, the next sync goes on.
    Any other exception is a defect of the connector and passes unchanged, with its traceback.
    """
    try:
        yield
    except TryLater as later:
        op.warning(str(later))
    except ConnectorError as error:
        op.error(str(error))
        raise  # op.error ends the sync; should it ever return, the sync must fail all the same


@contextmanager
def plainly() -> Iterator[None]:
    """Lets a `ConnectorError` out of `schema()`, where nothing can be reported yet, without what led to it."""
    try:
        yield
    except ConnectorError as error:
        raise error.with_traceback(None) from None


def redacted(address: str) -> str:
    """An address that may be shown: without user information and the values of parameters that name secrets.

    A very long one is cut, but only between its parts: half of a secret would not be recognized as one.
    """
    try:
        shown = _without_secrets(address)
    except ValueError:
        return "an address that is none"
    if len(shown) <= _LONGEST_ADDRESS:
        return shown
    last = max(shown.rfind(mark, 0, _LONGEST_ADDRESS) for mark in "/?&")
    return shown[: last + 1] + "..."


def holds_secret(address: str) -> bool:
    """Whether an address has a part that may be neither shown nor saved; one that cannot be read counts as such."""
    try:
        return _without_secrets(address) != urlunsplit((*urlsplit(address)[:4], ""))
    except ValueError:
        return True


def _without_secrets(address: str) -> str:
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, _SECRET_PARAMETER.sub(r"\1***", parts.query), ""))


def is_this_machine(host: str) -> bool:
    """Whether a host name or address can only mean the machine the connector runs on."""
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.startswith("/") and "," not in host  # a folder of Unix sockets, and no further hosts


def unreachable(what: str, host: str, cause: str) -> SourceError:
    """The error for a server that cannot be reached, with the way out; also for this repository's practice sources."""
    if is_this_machine(host):
        hint = "the practice sources of this repository are started with: make sources"
    else:
        hint = "check the address, and whether a firewall keeps this machine out"
    return SourceError(f"cannot reach {what}: {cause}; {hint}")
