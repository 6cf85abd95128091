"""One handler's way through the log: claim, filter, call, settle. Lanes share nothing but the store."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from receiver import backoff, numbers
from receiver.dispatch.calls import Calls
from receiver.dispatch.engine import Engine, monotonic
from receiver.dispatch.filters import Sieve, matches
from receiver.dispatch.hands import Hands
from receiver.dispatch.results import Results
from receiver.dispatch.standing import HELD, OK, PAUSED, Stand
from receiver.errors import ConfigFault, StartFault, StoreUnavailable
from receiver.logs import Seldom
from receiver.store.base import Dispatch, Filtered, Settlement, Waiting

LANE_FAILED, NOT_STARTED, STORE_WAITS = "lane_failed", "handler_not_started", "handler_waits_for_store"
LONGEST_WRITE = timedelta(seconds=1)
MOST_UNWRITTEN = 1024

log = structlog.get_logger()


class Lane:
    """Works for one handler until it is stopped. Whatever goes wrong in it is logged, and it goes on."""

    def __init__(self, name: str, hands: Hands, engine: Engine) -> None:
        self.name, self.hands = name, hands
        self.bell = asyncio.Event()
        """Rung when there may be something to do."""
        self._engine, self._store, self._look = engine, engine.store, engine.look.total_seconds()
        self._stand = Stand(name, engine.store, clock=engine.clock)
        self._results = Results(name, engine.store, clock=engine.clock, again=engine.again, on_written=self.bell.set)
        self._calls = Calls(name, hands, engine, results=self._results, stand=self._stand, bell=self.bell)
        self._judge = self._calls.judge
        self._meet_at = 0.0
        self._start_at: float | None = None
        self._seldom = Seldom()
        self._filling = self._stopping = False
        self._no_calls = asyncio.Event()
        hands.on_end = self.bell.set

    def open(self) -> "asyncio.Task[None]":
        """Begin to start the handler. The task raises ConfigFault; another failure is tried again later."""
        self._opening = asyncio.create_task(self._open())
        return self._opening

    async def _open(self) -> None:
        self._judge.restarts.next()
        try:
            await self.hands.start()
        except StartFault as fault:
            self._not_started(fault)

    async def run(self) -> None:
        """Turn until stopped, once the handler has been started or could not be."""
        try:
            await self._opening
        except ConfigFault as fault:
            self._not_started(fault)
        writing = asyncio.create_task(self._results.run())
        try:
            while not self._stopping:
                self.bell.clear()
                await self._rest(await self._turn_safely())
            await self._no_calls.wait()
            await self._results.finish(LONGEST_WRITE)
        finally:
            writing.cancel()

    async def stop(self, running: asyncio.Task[None] | None, *, within: timedelta) -> None:
        """Begin nothing more, give running calls so much time, release what is left, close the handler."""
        self._stopping = True
        self._opening.cancel()
        self.bell.set()
        await self._calls.stop(within)
        self._no_calls.set()
        if running:
            await asyncio.wait({running}, timeout=1.5 * LONGEST_WRITE.total_seconds())
            running.cancel()
        await self.hands.stop()

    async def _rest(self, seconds: float) -> None:
        if seconds > 0 and not self._stopping:
            try:
                await asyncio.wait_for(self.bell.wait(), seconds)
            except TimeoutError:
                return

    async def _turn_safely(self) -> float:
        try:
            return await self._turn()
        except StoreUnavailable as fault:
            self._waits(str(fault))
            return self._engine.again.total_seconds()
        except Exception:  # a lane never ends by itself, and never takes another along
            log.exception(LANE_FAILED, handler=self.name)
            return self._engine.first_delay.total_seconds()

    def _waits(self, reason: str) -> None:
        left_out = self._seldom.allows(STORE_WAITS, monotonic())
        if left_out is not None:
            log.error(STORE_WAITS, handler=self.name, reason=reason, left_out=left_out)

    async def _turn(self) -> float:
        """Do what is to be done next; how many seconds until the next turn, unless the bell rings."""
        await self._meet()
        if self._results.unwritten:
            return self._look
        if not self.hands.alive:
            return await self._start()
        if self._stand.state == PAUSED:
            return self._look
        if self._stand.state == HELD:
            return await self._probe()
        return await self._advance()

    async def _meet(self) -> None:
        """Tell the store where the handler stands, and hear what commands have set."""
        now = monotonic()
        if self._stand.urgent or now >= self._meet_at:
            self._meet_at = now + self._look
            await self._stand.meet()
            self._judge.follow()
            if self._stand.state != OK:
                self._calls.give_back()

    async def _start(self) -> float:
        """Start the handler again: at once, then after delays that double while nothing is settled in between."""
        self._calls.give_back()
        if len(self._calls) or len(self._results):
            return self._look  # the store is to know what was interrupted before anything else is claimed
        now = monotonic()
        if self._start_at is None:
            self._start_at = now + self._judge.restarts.next().total_seconds()
        if now < self._start_at:
            return self._start_at - now
        self._start_at = None
        try:
            await self.hands.start()
        except (ConfigFault, StartFault) as fault:
            self._not_started(fault)
        return 0.0

    def _not_started(self, fault: Exception) -> None:
        self._stand.err(str(fault))
        log.error(NOT_STARTED, handler=self.name, reason=numbers.mask_in(str(fault)))

    async def _advance(self) -> float:
        """Claim what there is room for."""
        self._calls.begin()
        appetite, queue = self._calls.appetite, self._calls.queue
        limit = appetite.limit(calls=len(self._calls), queued=len(queue))
        if limit <= 0 or len(self._results) > MOST_UNWRITTEN:
            return self._look
        if appetite.gathers and not self._filling:
            wait = appetite.patience((await self._waiting()).ready, monotonic())
            if wait > 0:
                return min(wait, self._look)
        sieve = Sieve(self.hands.settings, self.name)
        dispatches = await self._store.claim(
            self.name, **self._claim(), limit=limit, ordered=self.hands.settings.ordered, passes=sieve
        )
        wanted = self._sift(dispatches)
        appetite.claimed(sieve.seen, sieve.passed)
        await self._hand_on(wanted, more=len(dispatches) == limit)
        return 0.0 if dispatches or sieve.seen else await self._until_due()

    async def _hand_on(self, wanted: list[Dispatch], *, more: bool) -> None:
        """Begin with what was claimed; a handler that gathers first takes what else there is, up to its batch."""
        if wanted and wanted[0].alone:
            await self._calls.alone(wanted.pop(0))
        self._calls.queue.extend(wanted)
        appetite = self._calls.appetite
        self._filling = appetite.gathers and more and len(self._calls.queue) < appetite.batch
        if not self._calls.open:
            self._filling = False
            self._calls.give_back()
        elif not self._filling:
            self._calls.begin()

    async def _probe(self) -> float:
        """Try the target with one event, if it is time."""
        if len(self._calls) or len(self._results):
            return self._look
        wait = self._judge.hold.wait(monotonic())
        if wait > 0:
            return wait
        sieve = Sieve(self.hands.settings, self.name)
        claimed = await self._store.probe_claim(self.name, **self._claim(), passes=sieve)
        for dispatch in self._sift(claimed):
            await self._calls.alone(dispatch, probe=True)
        return 0.0 if claimed or sieve.seen else self._look

    async def _until_due(self) -> float:
        """Nothing could be claimed: seconds until that may change by time alone."""
        waiting = await self._waiting()
        if waiting.ready or waiting.next_due is None:
            return self._look
        return min(max((waiting.next_due - self._engine.clock()).total_seconds(), 0.001), self._look)

    async def _waiting(self) -> Waiting:
        return await self._store.waiting(self.name, now=self._engine.clock(), horizon=self._horizon())

    def _horizon(self) -> timedelta:
        return backoff.horizon(self.hands.settings.retries)

    def _claim(self) -> dict[str, Any]:
        engine = self._engine
        return {"owner": engine.owner, "now": engine.clock(), "lease": engine.lease, "horizon": self._horizon()}

    def _sift(self, dispatches: Sequence[Dispatch]) -> list[Dispatch]:
        """Those that are for this handler: its filters may have been changed since a dispatch was tried first."""
        wanted = []
        for dispatch in dispatches:
            if matches(self.hands.settings, dispatch.event, handler=self.name):
                wanted.append(dispatch)
            else:
                self._results.add(Settlement(dispatch, Filtered()))
        return wanted
