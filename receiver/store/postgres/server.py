"""The server as this process has it: connections, transactions on them, and what becomes of both when one fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from receiver.errors import ReceiverError, StoreUnusable
from receiver.store.postgres import faults
from receiver.store.postgres.hosts import Hosts

BUSY = 2.0  # seconds to wait for a lock before callbacks are answered 503
PATIENCE = 4.0  # seconds after which a transaction that does not end is given up, and its connection with it
LONG = 60.0  # the same for what reads or removes a lot
CONNECT = 3.0  # seconds for a connection to one host
TRIES = 5  # of a transaction that others were in the way of
STANDSTILL = 10_000  # milliseconds after which the server ends a transaction in which we say nothing
DURABLE = ("on", "remote_apply")
# Keys of a libpq URL that asyncpg would hand to the server as settings.
FOREIGN = {
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "channel_binding",
    "gssencmode",
    "load_balance_hosts",
}
POOLED = "pgbouncer"
"""The key of our own: `?pgbouncer=1` where a pooler in transaction mode stands in between."""

Connection = Any  # asyncpg.Connection, which has no types
T = TypeVar("T")
Job = Callable[[Connection], Awaitable[T]]


class Server:
    """A pool of connections, opened as they are needed and anew after they broke; so it finds a new primary too."""

    def __init__(self, url: str, *, most: int, name: str) -> None:
        """At most so many connections at once; `name` is what the server lists them under."""
        parts = urlsplit(url)
        keys = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.pooled = keys.pop(POOLED, "0") not in ("0", "false", "")
        """Whether sessions are not ours: no settings, no prepared statements, no LISTEN."""
        self._connect_within = float(keys.get("connect_timeout") or CONNECT)
        kept = {key: value for key, value in keys.items() if key not in FOREIGN}
        self._hosts = Hosts(urlunsplit(parts._replace(query=urlencode(kept))))
        self.where = _shown(url)
        """The server without user and password, as it is told to people."""
        self._name = name
        self._idle: list[Connection] = []
        self._free = asyncio.Semaphore(most)
        self._busy: set[Connection] = set()
        self._closed = False

    async def run(self, job: Job[T], *, within: float = PATIENCE, reading: bool = False) -> T:
        """Do some work in a transaction of its own; durable on return. With `reading` it sees one moment.

        Raises StoreUnavailable, and nothing is written; Unknown where that is not known. An error of a value comes
        through as it is.
        """
        for left in reversed(range(TRIES)):
            try:
                async with self.transaction(within=within, reading=reading) as db:
                    return await job(db)
            except faults.Unknown:
                raise
            except Exception as fault:
                if faults.is_one_of(fault.__cause__ or fault, faults.AGAIN) and left:
                    continue
                raise
        raise AssertionError

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """What a query gives; it may take its time."""
        found: list[Any] = await self.run(lambda db: db.fetch(query, *arguments), within=LONG, reading=True)
        return found

    @contextlib.asynccontextmanager
    async def transaction(self, *, within: float = PATIENCE, reading: bool = False) -> AsyncIterator[Connection]:
        """A connection inside a transaction, which ends with the block."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" if reading else "BEGIN"
        if self.pooled:
            begin += "".join(f"; SET LOCAL {key} = '{value}'" for key, value in _settings().items())
        db, committing = None, False
        try:
            async with asyncio.timeout(within):
                await self._free.acquire()
                try:
                    db = await self._begin(begin)
                    yield db
                    committing = True
                    await _commit(db)
                finally:
                    self._free.release()
        except BaseException as fault:
            await self._end(db, fault)
            if isinstance(fault, ReceiverError) or not faults.is_the_servers(fault):
                raise
            told = faults.unavailable(fault, self.where)
            raise (faults.Unknown(str(told)) if committing and faults.breaks(fault) else told) from fault
        self._busy.discard(db)
        self._idle.append(db)

    async def connect(self) -> Connection:
        """A connection of the caller's own. Raises OSError, TimeoutError, asyncpg's errors; StoreUnusable where what
        is committed would not be durable."""
        settings = {} if self.pooled else {"application_name": f"receiver {self._name}"} | _settings()
        cache = {"statement_cache_size": 0} if self.pooled else {}
        db = await self._hosts.connect(within=self._connect_within, server_settings=settings, **cache)
        try:
            level, flushed = await db.fetchval("SHOW synchronous_commit"), await db.fetchval("SHOW fsync")
            if level not in DURABLE or flushed != "on":
                raise StoreUnusable(
                    f"PostgreSQL runs with synchronous_commit={level} fsync={flushed}; both must be on: {self.where}"
                )
        except BaseException:
            db.terminate()
            raise
        return db

    async def close(self) -> None:
        """Close what is idle; what is busy ends with what it does."""
        self._closed = True
        await asyncio.gather(*(db.close(timeout=1.0) for db in self._take_idle()), return_exceptions=True)

    def abandon(self) -> None:
        """Let go of everything as a crash would."""
        self._closed = True
        for db in (*self._take_idle(), *self._busy):
            db.terminate()

    async def _begin(self, begin: str) -> Connection:
        """A connection in a transaction. Of idle ones many may have died together: then it is a new one."""
        while self._idle:
            db = self._idle.pop()
            try:
                return await self._begun(db, begin)
            except TimeoutError:
                raise
            except (*faults.LOST, asyncpg.PostgresError):
                continue
        return await self._begun(await self.connect(), begin)

    async def _begun(self, db: Connection, begin: str) -> Connection:
        self._busy.add(db)
        try:
            await db.execute(begin)
        except BaseException:
            self._busy.discard(db)
            db.terminate()
            raise
        return db

    async def _end(self, db: Connection, fault: BaseException) -> None:
        """Roll back; a connection that broke, or was interrupted, is not used again."""
        if isinstance(fault, TimeoutError):  # who does not answer here does not answer those that are idle either
            for idle in self._take_idle():
                idle.terminate()
        if db is None:
            return
        self._busy.discard(db)
        if isinstance(fault, Exception) and (isinstance(fault, ReceiverError) or not faults.breaks(fault)):
            with contextlib.suppress(*faults.LOST, asyncpg.PostgresError):
                await db.execute("ROLLBACK", timeout=1.0)
                self._idle.append(db)
                return
        db.terminate()

    def _take_idle(self) -> list[Connection]:
        idle, self._idle = self._idle, []
        return idle


async def _commit(db: Connection) -> None:
    """COMMIT. A warning is no success: the server commits without its standbys where somebody cancels the wait."""
    warned: list[str] = []

    def hear(_connection: Any, message: Any) -> None:
        warned.append(message.message)

    db.add_log_listener(hear)
    try:
        done = await db.execute("COMMIT")
    finally:
        db.remove_log_listener(hear)
    if warned or done != "COMMIT":
        raise faults.Unknown(f"the server did not commit as it should: {warned[0] if warned else done}")


def plain(text: str) -> str:
    """What a handler or a target said, as PostgreSQL's text takes it."""
    return text.replace("\x00", "\ufffd")


def _settings() -> dict[str, str]:
    """What every session says. No statement_timeout: it would end the wait for a standby, and call that a success."""
    return {
        "lock_timeout": f"{BUSY * 1000:.0f}",
        "idle_in_transaction_session_timeout": str(STANDSTILL),
        # A plan made while a table was empty must do when it holds a million rows; and none is worth compiling.
        "enable_seqscan": "off",
        "jit": "off",
    }


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"
