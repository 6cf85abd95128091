"""Where a handler stands: ok, held or paused; in memory at once, in the store soon, and as commands set it there."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from receiver import numbers
from receiver.store.base import Store
from receiver.store.views import Standing

OK, HELD, PAUSED = "ok", "held", "paused"


class Stand:
    """One handler's state. What a command wrote into the store wins over what we were about to write."""

    def __init__(self, handler: str, store: Store, *, clock: Callable[[], datetime]) -> None:
        self.now = Standing(handler)
        self._store, self._clock = store, clock
        self._kept = OK
        self._moved = self._release = self._erred = False

    @property
    def state(self) -> str:
        """ok, held or paused."""
        return self.now.state

    def move(self, state: str, reason: str = "", *, release: bool = False) -> None:
        """Change the state; `release` where a hold ends."""
        self.now.state, self.now.since, self.now.reason = state, self._clock(), numbers.mask_in(reason)
        self._moved, self._release = True, self._release or release

    def err(self, reason: str) -> None:
        """Remember the last error."""
        self.now.last_error, self.now.last_error_at = numbers.mask_in(reason), self._clock()
        self._erred = True

    @property
    def urgent(self) -> bool:
        """Whether there is a change of state that the store does not know yet."""
        return self._moved

    async def meet(self) -> None:
        """Take over what a command set, and write what is ours. Raises StoreUnavailable, and keeps it to be written."""
        kept = (await self._store.standings()).get(self.now.handler)
        if kept:
            self._take_over(kept)
        if self._moved or self._release or self._erred:
            await self._write()

    def _take_over(self, kept: Standing) -> None:
        if not self.now.last_error:
            self.now.last_error, self.now.last_error_at = kept.last_error, kept.last_error_at
        if kept.state != self._kept:
            self.now.state, self.now.since, self.now.reason = kept.state, kept.since, kept.reason
            self._kept, self._moved = kept.state, False

    async def _write(self) -> None:
        wanted, moved, release, erred = replace(self.now), self._moved, self._release, self._erred
        self._moved = self._release = self._erred = False  # calls may move us while this is written
        try:
            await self._store.stand(wanted, release=release, now=self._clock())
        except BaseException:
            self._moved, self._release = self._moved or moved, self._release or release
            self._erred = self._erred or erred
            raise
        self._kept = wanted.state
