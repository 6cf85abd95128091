"""Whether callbacks can be stored, looked at each second: told in the log and to systemd, and when it works again."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from receiver import units
from receiver.errors import StoreUnavailable
from receiver.systemd import Systemd

CANNOT_STORE, STORES_AGAIN = "cannot_store", "stores_again"
LOOK = 1.0
"""Seconds between two looks."""
TURNED_WITHIN = 10.0
"""Seconds; a commit loop that has not turned for longer is not alive. A failed commit is a turn."""

log = structlog.get_logger()


class Store(Protocol):
    """The store, as far as liveness is concerned."""

    def trouble(self) -> str | None: ...
    def idle_for(self) -> float: ...
    async def probe(self, now: datetime) -> None: ...


class Liveness:
    """Looks for ever. While nothing can be stored it tries itself: the end of that is known without a callback."""

    def __init__(
        self,
        store: Store,
        systemd: Systemd,
        *,
        clock: Callable[[], datetime],
        closed: Callable[[], str],
        stored_at: Callable[[], float | None],
    ) -> None:
        """`closed`: why the store is not open yet; `stored_at`: when a callback was last stored, monotonic."""
        self._store, self._systemd, self._clock = store, systemd, clock
        self._closed, self._stored_at = closed, stored_at
        self._since: datetime | None = None
        self._began = 0.0

    async def run(self) -> None:
        """Look, and tell."""
        fed = 0.0
        while True:
            reason = await self._reason()
            self._say(reason)
            turns = self._closed() or self._store.idle_for() < TURNED_WITHIN
            if turns and time.monotonic() - fed >= self._systemd.watchdog.total_seconds() / 3:
                fed = time.monotonic()
                self._systemd.alive()
            await asyncio.sleep(LOOK)

    async def _reason(self) -> str:
        """Why nothing can be stored, after one more try; empty where it can."""
        if reason := self._closed():
            return reason
        if self._store.trouble():
            try:
                await self._store.probe(self._clock())
            except StoreUnavailable as fault:
                return str(fault)
        return ""

    def _say(self, reason: str) -> None:
        """Log the beginning and the end; keep `systemctl status` up to date."""
        if reason and self._since is None:
            self._since, self._began = self._clock(), time.monotonic()
            log.error(CANNOT_STORE, reason=reason, note="callbacks are answered 503; providers will send them again")
        elif not reason and self._since is not None:
            took = units.words(timedelta(seconds=round(time.monotonic() - self._began, 1)))
            log.info(STORES_AGAIN, after=took)
            self._since = None
        if self._since is not None:
            since = f"{self._since.astimezone():%H:%M}"
            self._systemd.status(f"CANNOT STORE since {since}: {reason}. It is tried again and again.")
            return
        stored_at = self._stored_at()
        if stored_at is None:
            self._systemd.status("Ready; no callback yet.")
            return
        last = self._clock() - timedelta(seconds=time.monotonic() - stored_at)
        self._systemd.status(f"Storing callbacks, the last one at {last.astimezone():%H:%M}.")
