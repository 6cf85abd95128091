"""What the dispatch side does for the log behind its back: checkpoints, and the runs by which events are found."""

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial
from pathlib import Path

from receiver.errors import StoreUnavailable
from receiver.store.sqlite import files, lookup
from receiver.store.sqlite.desk import Desk

ROUND = 1.0  # seconds between two looks
# The writer never checkpoints its own log while we do: answers wait less (PASSIVE never waits for anybody).
WAL_BYTES = 4 * 1024**2
READ = 1_000  # events whose terms are read in one job

_log = logging.getLogger(__name__)


class Caretaker:
    """A background task of the dispatch role."""

    def __init__(self, path: Path, desk: Desk) -> None:
        self._path = path
        self._desk = desk
        self._task: asyncio.Task[None] | None = None

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
            except (StoreUnavailable, sqlite3.Error) as fault:
                _log.debug("caretaking_failed: %s", fault)
            await asyncio.sleep(ROUND)

    def _checkpoint(self) -> None:
        wal = self._path.with_name(f"{self._path.name}-wal")
        if not wal.exists() or wal.stat().st_size < WAL_BYTES:
            return
        with contextlib.closing(files.connect(self._path, "log")) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    async def _build(self) -> bool:
        """Build one run, if the log has grown enough. Small jobs, so that handlers do not wait for it."""
        bounds = await self._desk.read(lookup.next_run)
        if bounds is None:
            return False
        first, last = bounds
        pairs: list[tuple[int, int]] = []
        for start in range(first, last + 1, READ):
            pairs += await self._desk.read(partial(lookup.terms, first=start, last=min(start + READ - 1, last)))
        await asyncio.to_thread(pairs.sort)
        run = await self._desk.write(lambda at: lookup.begin(at, first, last))
        for some in lookup.slices(pairs):
            await self._desk.write(partial(lookup.write, run=run, some=some))
        await self._desk.write(lambda at: lookup.finish(at, run))
        return True
