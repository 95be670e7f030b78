"""A proxy that makes a server on this machine as far away as one elsewhere: every answer comes so much later.

The bandwidth stays what it is: data on its way does not hold back the data behind it, as it would in TcpProxy.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from tests.sources.tcp_proxy import CHUNK_BYTES, TcpProxy


class LatencyProxy(TcpProxy):
    """Passes on each piece of data `delay_seconds` after it came: half of that time there, half of it back."""

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK_BYTES):
            loop.call_later(self.delay_seconds / 2, _write, writer, data)
            await writer.drain()
        await asyncio.sleep(self.delay_seconds)  # all is written by now
        writer.close()


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():  # who was to have it may have gone meanwhile
        writer.write(data)


@contextmanager
def start(target_port: int, delay_seconds: float) -> Iterator[LatencyProxy]:
    """Starts a proxy on a free port; ends it on exit."""
    proxy = LatencyProxy(target_port)
    proxy.delay_seconds = delay_seconds
    try:
        yield proxy
    finally:
        proxy.stop()
