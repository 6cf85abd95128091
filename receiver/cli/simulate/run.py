"""A run: when which callback is sent, how refused ones come again, and whether each answer is right."""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

from receiver.cli.simulate.sender import Answer, Refused, Sender, Sending
from receiver.cli.simulate.shape import Making, Shape
from receiver.cli.simulate.tally import Tally
from receiver.cli.simulate.target import Target

SOON = 0.3
"""Seconds within which a planned duplicate follows."""


class NothingThere(Exception):
    """The very first connection failed; the message is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be sent, and how."""

    shape: Shape
    target: Target
    count: int
    mix: Mapping[str, float]
    duplicates: float
    """Of a hundred callbacks, how many come again although they were answered."""
    rate: float
    """Callbacks a second; 0: as fast as possible."""
    speedup: float
    """How much faster than the provider refused callbacks come again."""
    give_up: timedelta | None
    """None: when the provider does, divided by `speedup`."""
    connections: int
    seed: int | None


class Run:
    """Sends what is planned, at most `connections` at a time; what waits to be sent again holds up nothing."""

    def __init__(self, plan: Plan, *, moved: Callable[[Tally], None] = lambda _: None) -> None:
        self.plan = plan
        self.tally = Tally()
        self._moved = moved
        """Called when the fate of a callback is known."""
        self._random = random.Random(plan.seed)
        self._run = int(datetime.now(UTC).timestamp() * 1000) % 10**12
        self._made = 0
        self._later: list[tuple[float, int, Sending]] = []
        """A heap of what comes again: when, its turn, and what."""
        self._turns = 0
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(plan.connections)
        self._nobody = ""
        self._stopped = False

    def stop(self) -> None:
        """Make no more callbacks; what was begun comes to its end, with its repeats."""
        self._stopped = True
        self._changed.set()

    async def run(self) -> Tally:
        """Send everything and wait for its fate. Raises NothingThere where nobody listens from the beginning."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        async with Sender(self.plan.target) as sender:
            await self._first(sender)
            async with asyncio.TaskGroup() as group:
                while (sending := await self._next()) is not None:
                    await self._slots.acquire()
                    group.create_task(self._send_in_slot(sender, sending))
        self.tally.seconds = self._loop.time() - self._began
        return self.tally

    async def _first(self, sender: Sender) -> None:
        """The first callback goes alone: it shows whether anybody is there."""
        sending = self._make()
        await self._send(sender, sending)
        if self._nobody:
            raise NothingThere(self._nobody)

    # what is next

    async def _next(self) -> Sending | None:
        """What to send, when it is time; None when the fate of all is known."""
        while True:
            now = self._loop.time()
            if self._later and self._later[0][0] <= now:
                return heappop(self._later)[2]
            fresh_at = self._fresh_at(now)
            if fresh_at is not None and fresh_at <= now:
                return self._make()
            if fresh_at is None and self.tally.finished == self.tally.sent:
                return None
            due = [moment for moment in (fresh_at, self._later[0][0] if self._later else None) if moment is not None]
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(due, default=None)):
                    await self._changed.wait()

    def _fresh_at(self, now: float) -> float | None:
        """When the next new callback is due; None when all were made, or no more are wanted."""
        if self._stopped or self._made >= self.plan.count:
            return None
        return self._began + self._made / self.plan.rate if self.plan.rate else now

    def _make(self) -> Sending:
        (kind,) = self._random.choices(list(self.plan.mix), weights=list(self.plan.mix.values()))
        request = self.plan.shape.make[kind](Making(self._made, self._run, datetime.now(UTC), self._random))
        before, share = self._made, self.plan.duplicates / 100
        self._made += 1
        self.tally.sent += 1
        return Sending(request, comes_again=int(self._made * share) > int(before * share))

    def _send_later(self, sending: Sending, seconds: float) -> None:
        self._turns += 1
        heappush(self._later, (self._loop.time() + seconds, self._turns, sending))

    # what becomes of it

    async def _send_in_slot(self, sender: Sender, sending: Sending) -> None:
        try:
            await self._send(sender, sending)
        finally:
            self._slots.release()
            self._changed.set()

    async def _send(self, sender: Sender, sending: Sending) -> None:
        began = self._loop.time()
        sending.begun_at = sending.begun_at or began
        self.tally.retried += bool(sending.refusals)
        try:
            answer = await sender.send(sending)
        except Refused as refused:
            if refused.nobody and self.tally.sent == 1 and not sending.refusals:
                self._nobody = refused.reason
            self._refused(sending, refused.reason)
            return
        self.tally.times.append(self._loop.time() - began)
        self._answered(sending, answer)
        self._moved(self.tally)

    def _refused(self, sending: Sending, reason: str) -> None:
        """Send it again after the provider's pause, or give it up."""
        self.tally.refusal(reason)
        sending.refusals += 1
        repeating = self.plan.shape.repeating[sending.request.kind]
        pause = (repeating.pause(sending.refusals) / self.plan.speedup).total_seconds()
        give_up = self.plan.give_up or repeating.give_up / self.plan.speedup
        if self._loop.time() + pause - sending.begun_at > give_up.total_seconds():
            self.tally.given_up += 1
            self._moved(self.tally)
            return
        self._send_later(sending, pause)

    def _answered(self, sending: Sending, answer: Answer) -> None:
        """Check an answer and count it; after a right one a planned duplicate follows."""
        fault = _fault(sending, answer)
        if fault:
            self.tally.fault(fault)
            return
        sending.event = answer.event
        if answer.outcome == "stored":
            self.tally.stored += 1
        else:
            self.tally.duplicates += 1
        if sending.comes_again:
            self.tally.sent += 1
            self._send_later(Sending(sending.request, repeats=sending), self._random.uniform(0, SOON))


def _fault(sending: Sending, answer: Answer) -> str:
    """What is wrong with an answer; "" where it is right."""
    if answer.status == 404:
        return "answered 404: unknown source or wrong secret"
    if answer.status != 200:
        return f"answered {answer.status}"
    if answer.outcome not in sending.right:
        return f"{answer.outcome or 'no Receiver-Outcome'} instead of {' or '.join(sorted(sending.right))}"
    if not answer.event:
        return "no Receiver-Event"
    if sending.repeats and answer.outcome == "duplicate" and answer.event != sending.repeats.event:
        return "a duplicate that names another event"
    return ""
