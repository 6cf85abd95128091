"""What attempts came to, kept in memory until the store has it."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from receiver.errors import StoreUnavailable
from receiver.store.base import Settlement, Store

UNWRITTEN, WRITTEN, LOST = "results_unwritten", "results_written", "result_lost"

log = structlog.get_logger()


class Results:
    """One handler's settlements on their way to the store, in batches of what came together meanwhile.

    Where they cannot be written they stay, are tried again, and `unwritten` says that nothing more should be begun.
    """

    def __init__(
        self,
        handler: str,
        store: Store,
        *,
        clock: Callable[[], datetime],
        again: timedelta = timedelta(seconds=0.5),
        on_written: Callable[[], None],
    ) -> None:
        self.unwritten = False
        self._handler, self._store, self._clock = handler, store, clock
        self._again, self._on_written = again.total_seconds(), on_written
        self._waiting: list[Settlement] = []
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, settlement: Settlement) -> None:
        """Keep a settlement until it is written."""
        self._waiting.append(settlement)
        self._none.clear()
        self._some.set()

    async def run(self) -> None:
        """Write what there is, for ever."""
        while True:
            await self._some.wait()
            if not await self._write():
                await asyncio.sleep(self._again)

    async def finish(self, within: timedelta) -> bool:
        """Wait until all is written; False where the time was not enough."""
        try:
            await asyncio.wait_for(self._none.wait(), within.total_seconds())
        except TimeoutError:
            return False
        return True

    async def _write(self) -> bool:
        batch = self._waiting[:]
        try:
            held = await self._store.settle(batch, now=self._clock())
        except StoreUnavailable as fault:
            self._keep(str(fault))
            return False
        except Exception:  # whatever it is, the results must not be lost with it
            log.exception(UNWRITTEN, handler=self._handler)
            self._keep("")
            return False
        self._let_go(batch, lost=len(batch) - sum(held))
        return True

    def _keep(self, reason: str) -> None:
        if reason and not self.unwritten:
            log.error(UNWRITTEN, handler=self._handler, results=len(self._waiting), reason=reason)
        self.unwritten = True

    def _let_go(self, batch: list[Settlement], *, lost: int) -> None:
        del self._waiting[: len(batch)]
        if lost:
            log.warning(LOST, handler=self._handler, results=lost, reason="the lease ended; they will be repeated")
        if self.unwritten:
            log.info(WRITTEN, handler=self._handler, results=len(batch))
        self.unwritten = False
        if not self._waiting:
            self._some.clear()
            self._none.set()
        self._on_written()
