"""A proxy that adds TLS to a PostgreSQL server without it, with certificates made for the run.

authority = trustme.CA()
with start(server.port, authority.issue_cert("localhost")) as proxy:
    psycopg2.connect(**{**server.dsn(), "host": "localhost", "port": proxy.port}, sslmode="require")
"""

import asyncio
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trustme

from tests.sources.tcp_proxy import TcpProxy

# How a client asks for TLS: a message of 8 bytes with this code. The answer is one byte.
SSL_REQUEST = 80877103
YES, NO = b"S", b"N"


@dataclass(frozen=True)
class Startup:
    """A client's first message of the session itself: how it came, and the settings it asks for."""

    is_encrypted: bool
    parameters: dict[str, str]


class TlsProxy(TcpProxy):
    """Answers PostgreSQL's request for TLS, and passes on what is said under it. Remembers every startup message."""

    def __init__(self, target_port: int, certificate: trustme.LeafCert | None) -> None:
        """Without a certificate, every request for TLS is answered with no."""
        self.startups: list[Startup] = []
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            certificate.configure_cert(self._context)
        super().__init__(target_port)

    async def _greet(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> bytes:
        is_encrypted = False
        message = await _message(reader)
        if _code(message) == SSL_REQUEST:
            client.write(YES if self._context else NO)
            await client.drain()
            if self._context:
                await client.start_tls(self._context)
                is_encrypted = True
            message = await _message(reader)
        words = message[8:].decode().rstrip("\0").split("\0")
        self.startups.append(Startup(is_encrypted, dict(zip(words[::2], words[1::2], strict=True))))
        return message


async def _message(reader: asyncio.StreamReader) -> bytes:
    """A message before the session: its length, then that many bytes less the four of the length."""
    try:
        length = await reader.readexactly(4)
        return length + await reader.readexactly(struct.unpack("!I", length)[0] - 4)
    except asyncio.IncompleteReadError:
        raise ConnectionResetError("the client has left") from None


def _code(message: bytes) -> int:
    return int(struct.unpack("!I", message[4:8])[0])


@contextmanager
def start(target_port: int, certificate: trustme.LeafCert | None) -> Iterator[TlsProxy]:
    """Starts a proxy to `target_port` on a free port, with a certificate or without TLS; ends it on exit."""
    proxy = TlsProxy(target_port, certificate)
    try:
        yield proxy
    finally:
        proxy.stop()
