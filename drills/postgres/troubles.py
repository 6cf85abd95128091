"""What befalls a database and the way to it, each for as long as a block lasts."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from drills.faults import mount
from drills.postgres.server import DATABASE, OWNER, Server
from drills.postgres.wire import Wire

HELD, TAKEN_OVER, SHORT = 6.0, 22.0, 3.0
"""Seconds: longer than a receiver waits for an answer; than a lease lasts; than a lock is waited for."""
EACH = 0.25
"""Seconds between two locks that lie across each other: less than the server waits before it looks for such."""
OTHERS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1"


@dataclass
class Stage:
    """Where it happens: a server, the wire that the first receiver has to it, and the disk of its tables."""

    server: Server
    wire: Wire
    disk: Path | None

    async def connect(self, user: str = OWNER) -> Any:
        """A connection of somebody else."""
        return await asyncpg.connect(self.server.url(user, DATABASE), timeout=10)


class Trouble(NamedTuple):
    """One of them. `why` is what the receivers have to say while it lasts; "" where they may not notice."""

    work: Callable[[Stage], AbstractAsyncContextManager[None]]
    why: str
    first_only: bool = False
    """Whether only the first receiver is behind it."""

    @property
    def name(self) -> str:
        """As people write it."""
        return self.work.__name__.replace("_", "-")


@asynccontextmanager
async def network_silent(stage: Stage) -> AsyncIterator[None]:
    """Nothing arrives for a while, then all of it does, late commits too."""
    stage.wire.hold()
    await asyncio.sleep(HELD)
    yield
    await stage.wire.mend()


@asynccontextmanager
async def network_silent_for_long(stage: Stage) -> AsyncIterator[None]:
    """The same, for longer than a lease: another takes over meanwhile."""
    stage.wire.hold()
    await asyncio.sleep(TAKEN_OVER)
    yield
    await stage.wire.mend()


@asynccontextmanager
async def network_cut(stage: Stage) -> AsyncIterator[None]:
    """Every connection ends, and there is no new one."""
    await stage.wire.cut()
    await asyncio.sleep(SHORT)
    yield
    await stage.wire.mend()


@asynccontextmanager
async def no_connection_left(stage: Stage) -> AsyncIterator[None]:
    """The server gives no connection any more, and ends those there are."""
    await stage.server.value(f"ALTER ROLE {OWNER} CONNECTION LIMIT 0")
    await stage.server.value(OTHERS, OWNER)
    await asyncio.sleep(SHORT)
    yield
    await stage.server.value(f"ALTER ROLE {OWNER} CONNECTION LIMIT -1")


@asynccontextmanager
async def log_locked(stage: Stage) -> AsyncIterator[None]:
    """Somebody holds a lock on the log, as a careless migration does."""
    db = await stage.connect()
    try:
        async with db.transaction():
            await db.execute("SET LOCAL lock_timeout = '30s'")
            await db.execute("LOCK TABLE events")  # one alone: of several the server might end this one
            await asyncio.sleep(HELD)
            yield
    finally:
        await db.close()


@asynccontextmanager
async def deadlocks(stage: Stage) -> AsyncIterator[None]:
    """Somebody takes locks across ours, so that the server ends our transactions, again and again."""
    db = await stage.connect("postgres")
    try:
        await db.execute("SET deadlock_timeout = '20s'")
        for _ in range(4):
            with suppress(asyncpg.PostgresError):
                async with db.transaction():
                    await db.execute("LOCK TABLE events IN SHARE MODE")
                    await asyncio.sleep(EACH)
                    await db.execute("LOCK TABLE keys IN ACCESS EXCLUSIVE MODE")
        yield
    finally:
        await db.close()


@asynccontextmanager
async def server_restarted(stage: Stage) -> AsyncIterator[None]:
    """The server is stopped in an orderly way, and is away for a while."""
    await stage.server.stop(signal.SIGINT)
    await asyncio.sleep(SHORT)
    yield
    await stage.server.start()


@asynccontextmanager
async def server_killed(stage: Stage) -> AsyncIterator[None]:
    """The server dies, and recovers from its log."""
    await stage.server.kill()
    await asyncio.sleep(SHORT)
    yield
    await stage.server.start()


@asynccontextmanager
async def disk_full(stage: Stage) -> AsyncIterator[None]:
    """The disk of the server's tables is full."""
    assert stage.disk
    with mount.filled(stage.disk):
        await asyncio.sleep(HELD)
        yield


TROUBLES = {
    one.name: one
    for one in (
        Trouble(network_silent, "does not answer", first_only=True),
        Trouble(network_silent_for_long, "does not answer", first_only=True),
        Trouble(network_cut, "cannot be reached|connection was lost", first_only=True),
        Trouble(no_connection_left, "no connection left"),
        Trouble(log_locked, "locked by another session"),
        Trouble(deadlocks, ""),
        Trouble(server_restarted, "cannot be reached|connection was lost|starting, stopping"),
        Trouble(server_killed, "cannot be reached|connection was lost|starting, stopping"),
        Trouble(disk_full, "disk is full"),
    )
}
SHORT_RUN = ("network-silent", "log-locked", "server-killed", "disk-full")
