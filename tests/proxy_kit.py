"""A proxy before PostgreSQL that interferes with commits: they are lost, their answer is, or they arrive late."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

COMMIT = b"COMMIT\x00"

PASSES, LOST, UNHEARD, LATE = "passes", "lost", "unheard", "late"
"""What becomes of a commit: as usual; it never arrives; its answer does not; it arrives when nobody waits any more."""


@dataclass
class Proxy:
    """Decides for each commit; `url` leads through it."""

    server: str
    decide: Callable[[bytes], str] = lambda _: PASSES
    """What becomes of a commit, by what was sent since the one before."""
    delay: float = 0.3
    """Seconds by which a late commit is late."""
    url: str = ""
    done: list[str] = field(default_factory=list)
    """What became of the commits so far."""

    open: set["asyncio.Task[None]"] = field(default_factory=set)
    """What serves a connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task
        self.open.add(task)
        there, thither = await self._connect()
        try:
            await self._between(reader, writer, there, thither)
        finally:
            for side in (writer, thither):
                side.close()
                with contextlib.suppress(ConnectionError):
                    await side.wait_closed()
            self.open.discard(task)

    async def _between(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        thither: asyncio.StreamWriter,
    ) -> None:
        back = asyncio.create_task(_pump(there, writer))
        with contextlib.suppress(ConnectionError):
            since = b""
            while sent := await reader.read(65536):
                since += sent
                fate = self.decide(since) if sent.endswith(COMMIT) else PASSES
                if sent.endswith(COMMIT):
                    self.done.append(fate)
                    since = b""
                if fate == PASSES:
                    thither.write(sent)
                    await thither.drain()
                    continue
                back.cancel()
                await asyncio.wait({back})
                writer.transport.abort()
                if fate == LATE:
                    await asyncio.sleep(self.delay)
                if fate != LOST:
                    thither.write(sent)
                    await there.read(1)
                break
        back.cancel()
        await asyncio.wait({back})

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.server)
        host = dict(parse_qsl(parts.query)).get("host") or parts.hostname or "localhost"
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{parts.port or 5432}")
        return await asyncio.open_connection(host, parts.port or 5432)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while told := await reader.read(65536):
            writer.write(told)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """A proxy before a server."""
    proxy = Proxy(url)
    listening = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    parts = urlsplit(url)
    keys = {key: value for key, value in parse_qsl(parts.query) if key not in ("host", "port")} | {"sslmode": "disable"}
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    proxy.url = urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{port}", query=urlencode(keys)))
    try:
        yield proxy
    finally:
        listening.close()
        if proxy.open:
            await asyncio.wait(proxy.open, timeout=5)
