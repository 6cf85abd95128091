"""The log's file as its one writer has it open: transactions one at a time, and what becomes of it when one fails."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from receiver.store.sqlite import files

T = TypeVar("T")


class LogFile:
    """One connection. After an error that may have cost pages it is opened anew, so that nothing rests on them."""

    def __init__(self, path: Path) -> None:
        self.trouble: str | None = None
        """Why the last write failed; None where it went well."""
        self.turned = time.monotonic()
        """When a write last ended, well or not."""
        self._path = path
        self._db: aiosqlite.Connection | None = None
        self._turn = asyncio.Lock()
        self._began: float | None = None

    def busy_for(self) -> float:
        """Seconds that the present write has taken so far."""
        return 0.0 if self._began is None else time.monotonic() - self._began

    async def write(self, work: Callable[[sqlite3.Connection], T], *, checkpoint: bool = False) -> T:
        """Do some work in a transaction of its own, in the connection's thread. Raises StoreUnavailable; nothing is
        then written.

        A violated key comes through as it is: somebody else wrote, or something repeats. With `checkpoint` the log's
        journal is carried over behind it, so that it does not grow on a full disk.
        """
        async with self._turn:
            self._began = time.monotonic()
            try:
                db = self._db or await self.connect()
                # The door by which all of aiosqlite's own methods go: one hop for the whole transaction.
                result: T = await db._execute(_transaction, db._conn, work)  # type: ignore[no-untyped-call]
                if checkpoint:
                    await db.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
                self.trouble = None
                return result
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as fault:
                if files.code(fault) not in files.HARMLESS:
                    await self.disconnect()
                unavailable = files.unavailable(fault, self._path)
                self.trouble = str(unavailable)
                raise unavailable from fault
            finally:
                self._began = None
                self.turned = time.monotonic()

    async def connect(self) -> aiosqlite.Connection:
        """Open it. Raises sqlite3.Error, StoreUnusable where it would not be durable."""
        db = await aiosqlite.connect(self._path, isolation_level=None, timeout=files.BUSY)
        try:
            for pragma in files.pragmas("log"):
                await db.execute(pragma)
            mode, level = await _one(db, "PRAGMA journal_mode"), await _one(db, "PRAGMA synchronous")
            files.verify(mode[0], level[0], "log")
        except BaseException:
            await db.close()
            raise
        self._db = db
        return db

    async def disconnect(self) -> None:
        """Let go of it."""
        if self._db:
            db, self._db = self._db, None
            with contextlib.suppress(sqlite3.Error):
                await db.close()

    def abandon(self) -> None:
        """Let go of it as a crash would."""
        if self._db:
            self._db.stop()


def _transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


async def _one(db: aiosqlite.Connection, sql: str) -> Any:
    async with db.execute(sql) as cursor:
        return await cursor.fetchone()
