"""The dispatcher: gives every handler what it is owed, a lane each, until it is stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from receiver.dispatch.engine import Engine
from receiver.dispatch.hands import Hands
from receiver.dispatch.lane import Lane
from receiver.drift import Drift
from receiver.errors import ConfigFault, StoreUnavailable
from receiver.patience import patiently
from receiver.store.base import Store

STARTED, STOPPED, WATCH_FAILED = "dispatch_started", "dispatch_stopped", "dispatch_watch_failed"
CLOCK_SET = "clock_set"
CLOCK_STEP = timedelta(seconds=1)

log = structlog.get_logger()


class Dispatcher:
    """Runs the handlers it is given. Their processes start with `start` and end with `run`."""

    def __init__(
        self,
        store: Store,
        handlers: Mapping[str, Hands],
        *,
        owner: str,
        clock: Callable[[], datetime],
        random: Callable[[], float],
        **waits: Any,
    ) -> None:
        """`owner` names this process in claims, for ever; `waits` are those of Engine, for tests."""
        self.engine = Engine(store=store, owner=owner, clock=clock, random=random, **waits)
        self._store, self._handlers = store, handlers
        self._lanes: list[Lane] = []
        self._stop = asyncio.Event()
        self._drift, self._step = Drift(clock), timedelta(0)

    async def start(self) -> None:
        """Give each handler its place in the log, and start it.

        Raises ConfigFault with every fault that only another configuration cures; a handler that fails otherwise is
        tried again while the others work, and one that takes long to open holds up nobody. A store that cannot take
        anything is waited for.
        """
        await patiently(self._enrol, every=self.engine.again)
        self._lanes = [Lane(name, hands, self.engine) for name, hands in self._handlers.items()]
        opening = [lane.open() for lane in self._lanes]
        done = (await asyncio.wait(opening, timeout=self.engine.opening.total_seconds()))[0] if opening else ()
        failed = [fault for task in done if (fault := task.exception())]
        if not failed:
            log.info(STARTED, handlers=sorted(self._handlers), owner=self.engine.owner)
            return
        for task in opening:
            task.cancel()
        await asyncio.gather(*(lane.hands.stop() for lane in self._lanes))
        wrong = [line for fault in failed if isinstance(fault, ConfigFault) for line in fault.faults]
        raise ConfigFault(*wrong) if wrong else failed[0]

    async def _enrol(self) -> None:
        await self._store.enrol(list(self._handlers), owner=self.engine.owner, now=self.engine.clock())

    async def run(self) -> None:
        """Dispatch until `stop`; everything has ended on return, within six seconds.

        Raises HandlerStuck where a call in this process ignored its time-out: then the process has to end, by
        `os._exit`, because nothing else ends such a call.
        """
        running = {lane: asyncio.create_task(lane.run()) for lane in self._lanes}
        steps = (self._ring, self._renew, self._watch_clock)
        watching = [asyncio.create_task(self._for_ever(step)) for step in steps]
        stuck = asyncio.create_task(self._find_stuck())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({stuck, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await asyncio.gather(*(lane.stop(task, within=self.engine.finish) for lane, task in running.items()))
            for task in (*watching, stopped):
                task.cancel()
        log.info(STOPPED)
        if stuck.done():
            stuck.result()
        stuck.cancel()

    def stop(self) -> None:
        """Let `run` come to its end."""
        self._stop.set()

    async def _ring(self) -> None:
        """Wake the lanes when there may be something new."""
        await self._store.changed(self.engine.look)
        for lane in self._lanes:
            lane.bell.set()

    async def _renew(self) -> None:
        """Keep what is claimed ours; four tries in the time of a lease."""
        await asyncio.sleep(self.engine.lease.total_seconds() / 4)
        await self._store.renew(self.engine.owner, now=self.engine.clock(), lease=self.engine.lease)

    async def _watch_clock(self) -> None:
        """A clock that is set back must not make retries wait for the old time."""
        await asyncio.sleep(self.engine.look.total_seconds())
        self._step += self._drift.step()
        if abs(self._step) < CLOCK_STEP:
            self._step = timedelta(0)  # it drifts, as clocks do
            return
        if self._step < timedelta(0):
            await self._store.set_back(-self._step, now=self.engine.clock())
        log.warning(CLOCK_SET, by=str(self._step), note="retries keep their pauses")
        self._step = timedelta(0)

    async def _for_ever(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except StoreUnavailable:
                await asyncio.sleep(self.engine.again.total_seconds())
            except Exception:  # without wake-ups and leases the lanes still work, only slower
                log.exception(WATCH_FAILED)
                await asyncio.sleep(self.engine.first_delay.total_seconds())

    async def _find_stuck(self) -> None:
        while True:
            for lane in self._lanes:
                if lane.hands.stuck:
                    raise lane.hands.stuck
            await asyncio.sleep(self.engine.look.total_seconds())
