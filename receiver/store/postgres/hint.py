"""The wake-up between processes by LISTEN and NOTIFY. A hint; nothing depends on it, and no commit carries it."""

import asyncio
import contextlib
from typing import Any

import asyncpg

from receiver.errors import ReceiverError
from receiver.store.postgres import faults
from receiver.store.postgres.server import Connection, Server

CHANNEL = "receiver"
NOTIFY = f"NOTIFY {CHANNEL}"
# NOTIFY makes commits wait for each other: so it has one of its own, which need not be on disk, and not often.
LIGHTLY = "SET LOCAL synchronous_commit = off"
PAUSE = 0.01  # seconds between two
AGAIN = 5.0  # seconds until listening is tried again


class Bell:
    """Rings for whoever listens, soon and at most a hundred times a second."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Say that something is new."""
        self._rung.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="bell")

    def close(self) -> None:
        """Ring no more."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            with contextlib.suppress(ReceiverError):
                await self._server.run(_notify)
            await asyncio.sleep(PAUSE)


async def _notify(db: Connection) -> None:
    await db.execute(f"{LIGHTLY}; {NOTIFY}")


class Ear:
    """Listens: everybody who waits wakes up when it rings."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._rung = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Listen, as long as we live; behind a pooler the poll alone wakes."""
        if self._task is None and not self._server.pooled:
            self._task = asyncio.create_task(self._listen(), name="ear")

    async def close(self) -> None:
        """Stop listening."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def abandon(self) -> None:
        """Stop without waiting."""
        if self._task:
            self._task.cancel()

    async def wait(self, seconds: float) -> None:
        """Until it rings, at most so many seconds."""
        rung = self._rung
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await rung.wait()

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(*faults.LOST, asyncpg.PostgresError, ReceiverError):
                db = await self._server.connect()
                try:
                    await self._hear_from(db)
                finally:
                    db.terminate()
            await asyncio.sleep(AGAIN)

    async def _hear_from(self, db: Connection) -> None:
        """Until the connection is lost."""
        lost = asyncio.Event()
        db.add_termination_listener(lambda _: lost.set())
        await db.add_listener(CHANNEL, self._hear)
        self._hear()
        await lost.wait()

    def _hear(self, *_told: Any) -> None:
        self._rung.set()
        self._rung = asyncio.Event()
