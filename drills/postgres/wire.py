"""The network between a receiver and its database: it carries everything, holds everything back, or is cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 64 * 1024


class Wire:
    """Listens on a port of its own, and leads to another."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self.port = 0

    @classmethod
    @asynccontextmanager
    async def laid(cls, to: int) -> AsyncIterator["Wire"]:
        """It carries until the block ends."""
        wire = cls(to)
        await wire.mend()
        try:
            yield wire
        finally:
            await wire.cut()

    def hold(self) -> None:
        """From now on nothing arrives, and nobody is told; what was sent meanwhile arrives when it is mended."""
        self._flows.clear()

    async def cut(self) -> None:
        """Every connection ends, and none is taken any more."""
        if self._server:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def mend(self) -> None:
        """It carries again."""
        self._flows.set()
        if self._server is None or not self._server.is_serving():
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.ensure_future(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            writers.append(back)
            async with asyncio.TaskGroup() as both:  # where one side is reset, so is the other
                both.create_task(self._carry(reader, back))
                both.create_task(self._carry(there, writer))
        except* OSError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(MOST):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        await self._flows.wait()
        writer.write_eof()
