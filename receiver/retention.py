"""Retention: once an hour what is older than `keep` is removed in small batches; a reserve for a full disk."""

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from receiver.drift import Drift
from receiver.errors import StoreUnavailable
from receiver.store.base import Store

PRUNED, CLOCK_SET = "store_pruned", "clock_set"
HOURLY = timedelta(hours=1)
SETTLING = timedelta(minutes=10)
"""After a start nothing is removed for so long: a machine may boot with a wrong clock."""
STEP = timedelta(hours=1)
"""A clock that is set further than this may be wrong now."""
DISTRUST = timedelta(days=1)
"""For so long nothing is removed then: who set it by mistake has a day to notice."""
BREATH = 0.05  # seconds between two batches, for those who wait for the disk
ROOM = 4  # the reserve is made only where this many times its size is free

log = structlog.get_logger()


class Reserve:
    """A file that holds room on the disk: SQLite cannot delete on a full one."""

    def __init__(self, store: Path | None, size: int) -> None:
        """Beside SQLite's file; a store that is none has no reserve."""
        self._path = store and store.with_name(f"{store.name}.reserve")
        self._size = size

    def make(self) -> None:
        """Allocate it, where it is wanted, missing and there is room; without a word where that cannot be told."""
        with suppress(OSError):
            if self._path:
                self._make(self._path)

    def _make(self, path: Path) -> None:
        if path.exists() and path.stat().st_size == self._size:
            return
        self.give_up()
        if not self._size or shutil.disk_usage(path.parent).free < self._size * ROOM:
            return
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            self.give_up()
        finally:
            os.close(handle)

    def give_up(self) -> None:
        """Let its room go."""
        if self._path:
            self._path.unlink(missing_ok=True)


async def prune(store: Store, before: datetime, reserve: Reserve, *, simulated: bool = False) -> int:
    """Remove all that was received before, or was simulated. On a full disk the reserve is given up first. How much."""
    removed, retried = 0, False
    while True:
        try:
            count = await store.prune(before, simulated=simulated)
        except StoreUnavailable:
            if retried:
                raise
            retried = True
            reserve.give_up()
            continue
        removed += count
        if not count:
            return removed
        await asyncio.sleep(BREATH)


class Trust:
    """Whether the clock can be trusted with removing what is old."""

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float], settling: timedelta) -> None:
        self._drift, self._monotonic = Drift(clock, monotonic), monotonic
        self._from = monotonic() + settling.total_seconds()

    def holds(self) -> bool:
        """False for some time after a start, and for a day after the clock was set by more than an hour."""
        step = self._drift.step()
        if abs(step) > STEP:
            self._from = self._monotonic() + DISTRUST.total_seconds()
            log.warning(CLOCK_SET, by=str(step), note="nothing is pruned for a day: the clock may be wrong")
        return self._monotonic() >= self._from


async def prune_hourly(
    store: Store,
    keep: Callable[[], timedelta],
    reserve: Reserve,
    *,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float] = time.monotonic,
    every: timedelta = HOURLY,
    settling: timedelta = SETTLING,
) -> None:
    """For ever: prune, hold the reserve, wait. A clock that was set is not trusted for a day."""
    trust = Trust(clock, monotonic, settling)
    reserve.make()
    await asyncio.sleep(settling.total_seconds())
    while True:
        try:
            removed = await prune(store, clock() - keep(), reserve) if trust.holds() else 0
            reserve.make()
            if removed:
                log.info(PRUNED, removed=removed)
        except (StoreUnavailable, OSError) as fault:
            log.warning(PRUNED, removed=0, reason=str(fault))
        await asyncio.sleep(every.total_seconds())
