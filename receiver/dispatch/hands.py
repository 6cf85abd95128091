"""What carries out a handler's attempts: its instance in this process, or (in supervise) a process of its own."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Protocol

from receiver.errors import HandlerStuck, StartFault
from receiver.events import Event
from receiver.handler import Attempt, HandlerSettings
from receiver.perform import Call, Performer, Result, described

GRACE = timedelta(seconds=2)
"""How long a call may go on after its time-out cancelled it."""
LONGEST_OPEN = timedelta(seconds=30)
LONGEST_CLOSE = timedelta(seconds=1)


def nobody() -> None:
    """Nobody wants to know."""


class Hands(Protocol):
    """One handler, ready to be given events. A call is cancelled by cancelling `perform`."""

    settings: HandlerSettings
    """As the handler's own class reads them; of effect after the first start."""
    alive: bool
    """Whether it can be given events now."""
    stuck: HandlerStuck | None
    """Why the process we are in must end; only where it is shared."""
    on_end: Callable[[], None]
    """Called when `alive` ends or `stuck` begins."""

    @property
    def batched(self) -> bool:
        """Whether the handler takes batches; of effect after the first start."""

    async def start(self) -> None:
        """Make it ready. Raises ConfigFault where only another configuration helps, StartFault where time may."""

    async def perform(self, events: Sequence[Event], attempt: Attempt) -> list[Result]:
        """One result for each event; `interrupted` where the process ended."""

    async def stop(self) -> None:
        """Close it; returns within two seconds."""


class InProcess:
    """A handler in this process: the built-in ones, and those whose configuration says `isolation = "shared"`."""

    def __init__(self, handler: Any, *, grace: timedelta = GRACE) -> None:
        self.settings: HandlerSettings = handler.settings
        self.alive = False
        self.stuck: HandlerStuck | None = None
        self.on_end: Callable[[], None] = nobody
        self._handler = handler
        self._performer = Performer(handler, self.settings.timeout)
        self._performer.calls.on_late = self._late
        self._grace = grace.total_seconds()

    @property
    def batched(self) -> bool:
        """Whether the handler takes batches."""
        return self._performer.batched

    async def start(self) -> None:
        """Open the handler. Raises StartFault with what it raised."""
        try:
            async with asyncio.timeout(LONGEST_OPEN.total_seconds()):
                await self._handler.open()
        except (Exception, SystemExit) as fault:
            raise StartFault(described(fault)) from fault
        self.alive = True

    async def perform(self, events: Sequence[Event], attempt: Attempt) -> list[Result]:
        """One result for each event. A call that ignores its time-out makes us `stuck`."""
        return await self._performer.perform(events, attempt)

    def _late(self, call: Call) -> None:
        """A call was cancelled: look after the grace whether it heeds that."""
        asyncio.get_running_loop().call_later(self._grace, self._look, call)

    def _look(self, call: Call) -> None:
        if self.alive and call in self._performer.calls:
            self._give_up()

    def _give_up(self) -> None:
        self.stuck = HandlerStuck(f"{self._handler.name}: a call ignored its time-out; the shared process ends with it")
        self.on_end()

    async def stop(self) -> None:
        """Close the handler, for at most a second; what it raises then is of no consequence."""
        if not self.alive:
            return
        self.alive = False
        with suppress(Exception, SystemExit):
            await asyncio.wait_for(self._handler.close(), LONGEST_CLOSE.total_seconds())
