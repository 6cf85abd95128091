"""Somebody who asks a receiver ten times a second whether it is ready, and remembers what it said."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import SystemRandom
from typing import NamedTuple

PAUSE = 0.1
NO_ANSWER = 8.0
"""Seconds: a supervisor would not wait longer."""


class Look(NamedTuple):
    """One answer, or none: then it is not ready."""

    at: float
    ready: bool
    reasons: str


class Readiness:
    """Asks /readyz on the admin listener."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.looks: list[Look] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Ask until the block ends."""
        asking = asyncio.create_task(self._ask_on())
        try:
            yield
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _ask_on(self) -> None:
        while True:
            self.looks.append(await self.look())
            await asyncio.sleep(PAUSE)

    async def look(self) -> Look:
        """Ask once. The time is that of the question."""
        at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(NO_ANSWER):
                status, body = await get(self.port, "/readyz")
        except (OSError, EOFError, TimeoutError) as fault:
            return Look(at, ready=False, reasons=f"no answer: {type(fault).__name__}")
        return Look(at, status == 200, "; ".join(json.loads(body)["reasons"]))


async def get(port: int, path: str) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        return int(head.split()[1]), body
    except (IndexError, ValueError) as fault:
        raise EOFError from fault
    finally:
        writer.close()


def free_port() -> int:
    """A port that nobody listens on. Linux gives none of these to connections that go out, which could be faster."""
    for port in SystemRandom().sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")
