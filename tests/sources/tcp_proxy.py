"""A TCP proxy that cuts, delays and refuses connections on demand.

with start(server.port) as proxy:
    connection = psycopg2.connect(**{**server.dsn(), "port": proxy.port})
    proxy.cut()
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

HOST = "127.0.0.1"
CHUNK_BYTES = 64 * 1024

T = TypeVar("T")


class TcpProxy:
    """A proxy to a port of this machine. All its work is done in the event loop of a thread of its own."""

    def __init__(self, target_port: int, port: int | None = None) -> None:
        self.delay_seconds = 0.0  # before each piece of data, in either direction
        self.accepted = 0  # connections so far
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener: asyncio.Server | None = None
        self.port = self._run(self._listen(port or 0))

    @property
    def refuse(self) -> bool:
        """Whether new connections are refused. Open ones go on."""
        return self._listener is None

    @refuse.setter
    def refuse(self, refuse: bool) -> None:
        if refuse and not self.refuse:
            self._run(self._unlisten())
        elif not refuse and self.refuse:
            self._run(self._listen(self.port))

    def cut(self, reset: bool = True) -> None:
        """Ends all live connections on both sides: with a reset (TCP RST), or else in order (FIN)."""
        self._run(self._cut(reset))

    def stop(self) -> None:
        """Ends everything."""
        self.refuse = True
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self, port: int) -> int:
        self._listener = await asyncio.start_server(self._serve, HOST, port)
        return int(self._listener.sockets[0].getsockname()[1])

    async def _unlisten(self) -> None:
        if self._listener:
            self._listener.close()
        self._listener = None

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Passes the data of one connection on, in both directions, till both sides or one of them by force end it."""
        self.accepted += 1
        self._open.add(client)
        sides = {client}
        try:
            first = await self._greet(client_reader, client)
            target_reader, target = await asyncio.open_connection(HOST, self._target_port)
            self._open.add(target)
            sides.add(target)
            target.write(first)
            await asyncio.gather(self._pump(client_reader, target), self._pump(target_reader, client))
        except OSError:
            for side in sides:
                _reset(side)
        except asyncio.CancelledError:
            pass  # the proxy is stopped; asyncio would report this connection as one that failed
        finally:
            self._open -= sides
            for side in sides:
                side.close()

    async def _greet(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> bytes:
        """What a proxy settles with a client by itself; returns what it took of the data that the target is to get."""
        return b""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await asyncio.sleep(self.delay_seconds)
            writer.write(data)
            await writer.drain()
        if not writer.can_write_eof():  # TLS knows no half that is closed
            writer.close()
            return
        with suppress(RuntimeError):  # the other direction may have closed it
            writer.write_eof()

    async def _cut(self, reset: bool) -> None:
        for side in list(self._open):
            if reset:
                _reset(side)
            else:
                side.close()

    async def _finish(self) -> None:
        await self._cut(reset=True)
        connections = asyncio.all_tasks() - {asyncio.current_task()}
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@contextmanager
def start(target_port: int, port: int | None = None) -> Iterator[TcpProxy]:
    """Starts a proxy to `target_port` on `port`, or on a free port; ends it on exit."""
    proxy = TcpProxy(target_port, port)
    try:
        yield proxy
    finally:
        proxy.stop()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection with a TCP RST."""
    with suppress(OSError, AttributeError):  # it may be closed already, which TLS has no better word for
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
