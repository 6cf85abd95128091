"""The calls of one handler that run now, and the queue of what is to be called next."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from receiver.dispatch.appetite import Appetite
from receiver.dispatch.engine import Engine, monotonic
from receiver.dispatch.hands import Hands
from receiver.dispatch.judge import Judge
from receiver.dispatch.results import Results
from receiver.dispatch.standing import OK, Stand
from receiver.handler import Attempt
from receiver.perform import Result, described
from receiver.store.base import Dispatch, Released, Settlement

CALL_FAILED = "call_failed"
LONGEST_CANCEL = 0.5

log = structlog.get_logger()


class Calls:
    """Gives a handler its events in the order they were claimed, `concurrency` calls at a time."""

    def __init__(
        self, name: str, hands: Hands, engine: Engine, *, results: Results, stand: Stand, bell: asyncio.Event
    ) -> None:
        self.judge = Judge(name, engine, results, stand)
        self.queue: deque[Dispatch] = deque()
        self._name, self._hands, self._engine, self._bell = name, hands, engine, bell
        self._results, self._stand = results, stand
        self._running: set[asyncio.Task[None]] = set()
        self._appetite: Appetite | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def appetite(self) -> Appetite:
        """Known once the handler has told its settings, which a worker does at its start."""
        if self._appetite is None:
            settings = self._hands.settings
            self._appetite = Appetite(settings, batch=settings.batch if self._hands.batched else 1)
        return self._appetite

    @property
    def open(self) -> bool:
        """Whether events may be claimed and calls begun."""
        return not self._stopping and self._hands.alive and self._stand.state == OK

    def begin(self) -> None:
        """Let as many calls run as there is work and room for."""
        free = self._hands.settings.concurrency - len(self._running)
        for _ in range(min(free, -(-len(self.queue) // self.appetite.batch))):
            self._spawn(self._work())

    async def alone(self, dispatch: Dispatch, *, probe: bool = False) -> None:
        """Call with one event when nothing else of this handler runs; give it back where that is not to be."""
        while self._running:
            await asyncio.wait(self._running)
        if self._stopping or not self._hands.alive or (self._stand.state != OK and not probe):
            self.give_back([dispatch])
        else:
            await asyncio.wait({self._spawn(self._attempt([dispatch], probe=probe))})

    def give_back(self, dispatches: Iterable[Dispatch] = ()) -> None:
        """Release what was claimed and not begun: these, and the queue."""
        for dispatch in (*dispatches, *self.queue):
            self._results.add(Settlement(dispatch, Released()))
        self.queue.clear()

    async def stop(self, within: timedelta) -> None:
        """Begin nothing more, give what runs so much time, then cancel it. What ignores that stays claimed."""
        self._stopping = True
        self.give_back()
        if self._running:
            await asyncio.wait(self._running, timeout=within.total_seconds())
        for call in self._running:
            call.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=LONGEST_CANCEL)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        call = asyncio.create_task(work)
        self._running.add(call)
        call.add_done_callback(self._finished)
        return call

    def _finished(self, call: asyncio.Task[None]) -> None:
        self._running.discard(call)
        self._bell.set()
        if not call.cancelled() and (fault := call.exception()):
            log.error(CALL_FAILED, handler=self._name, exc_info=fault)

    async def _work(self) -> None:
        """Take from the queue until it is empty, or until results cannot be written any more."""
        while self.queue and self.open and not self._results.unwritten:
            batch = [self.queue.popleft() for _ in range(min(self.appetite.batch, len(self.queue)))]
            await self._attempt(batch)
            if len(self.queue) <= self.appetite.ahead // 2:
                self._bell.set()

    async def _attempt(self, batch: Sequence[Dispatch], *, probe: bool = False) -> None:
        began, start = self._engine.clock(), monotonic()
        try:
            results = await self._hands.perform([each.event for each in batch], self._describe(batch, began))
        except asyncio.CancelledError:
            self.give_back(batch)
            raise
        except Exception as fault:  # trouble of our own with a call must not lose its events
            log.exception(CALL_FAILED, handler=self._name)
            results = [Result("again", described(fault))] * len(batch)
        took = monotonic() - start
        self.appetite.performed(took)
        settings = self._hands.settings
        self.judge.judge(batch, results, settings, began=began, took=timedelta(seconds=took), probe=probe)
        if not self.open:
            self.give_back()

    def _describe(self, batch: Sequence[Dispatch], now: datetime) -> Attempt:
        """For a batch, the attempt of the one that was tried most."""
        settings = self._hands.settings
        most = batch[0] if len(batch) == 1 else max(batch, key=lambda dispatch: dispatch.number)
        return Attempt(
            number=most.number,
            of=len(settings.retries) + 1,
            handler=self._name,
            dispatch_id=most.id,
            replay=most.replay,
            deadline=now + settings.timeout,
            first_at=most.first_at or now,
        )
