"""What the dispatch side does for the log behind its back: checkpoints, and the runs by which events are found."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from functools import partial
from pathlib import Path

from receiver.errors import StoreUnavailable
from receiver.store.sqlite import files, lookup
from receiver.store.sqlite.desk import Desk

ROUND = 1.0  # seconds between two looks
# The writer never checkpoints its own log while we do: answers wait less (PASSIVE never waits for anybody).
WAL_BYTES = 4 * 1024**2
FLUSH = 10.0  # seconds of what handlers did that a power cut may take: then the dispatch file is checkpointed too
SELDOM = 60.0  # seconds
READ = 250  # events whose terms are read in one job

FAILED = "caretaking_failed"

_log = logging.getLogger(__name__)


class Caretaker:
    """A background task of the dispatch role."""

    def __init__(self, path: Path, desk: Desk) -> None:
        self._path = path
        self._desk = desk
        self._task: asyncio.Task[None] | None = None
        self._flushed_at = time.monotonic()
        self._told_at = -SELDOM

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="caretaker")

    async def close(self) -> None:
        """End at once; a run that was not finished is built anew."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def abandon(self) -> None:
        """End without waiting."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._checkpoint)
                while await self._build():
                    pass
            except (StoreUnavailable, sqlite3.Error, OSError) as fault:
                self._tell(fault)
            await asyncio.sleep(ROUND)

    def _tell(self, fault: Exception) -> None:
        """Once a minute: it is tried again every second, and a full disk may last a night."""
        if time.monotonic() - self._told_at >= SELDOM:
            self._told_at = time.monotonic()
            reason = files.unavailable(fault, self._path) if isinstance(fault, sqlite3.Error) else fault
            _log.warning("%s: %s", FAILED, reason)

    def _checkpoint(self) -> None:
        """Carry the log's journal over when it is large, that of the dispatch file when it is old."""
        if _size_of_journal(self._path) >= WAL_BYTES:
            _carry_over(self._path, "log")
        if time.monotonic() - self._flushed_at >= FLUSH:
            self._flushed_at = time.monotonic()
            if _size_of_journal(files.dispatch_path(self._path)):
                _carry_over(files.dispatch_path(self._path), "dispatch")

    async def _build(self) -> bool:
        """Build one run, if the log has grown enough. Small jobs, so that handlers do not wait for it."""
        bounds = await self._desk.read(lookup.next_run)
        if bounds is None:
            return False
        first, last = bounds
        parts = lookup.parts()
        for start in range(first, last + 1, READ):
            pairs = await self._desk.read(partial(lookup.terms, first=start, last=min(start + READ - 1, last)))
            lookup.share_out(pairs, parts)
        run = await self._desk.write(lambda at: lookup.begin(at, first, last))
        for part in parts:
            await self._desk.write(partial(lookup.write, run=run, part=part), size=len(part))
        await self._desk.write(lambda at: lookup.finish(at, run))
        return True


def _size_of_journal(path: Path) -> int:
    wal = path.with_name(f"{path.name}-wal")
    return wal.stat().st_size if wal.exists() else 0


def _carry_over(path: Path, file: str) -> None:
    with contextlib.closing(files.connect(path, file)) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")
