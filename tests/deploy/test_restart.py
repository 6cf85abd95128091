"""Restarts under load, with the sockets held as systemd holds them: no request fails, and nothing is stored twice.

A longer run: `RESTARTS=10 REQUESTS=1000 pytest -m drill tests/deploy/test_restart.py`
"""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from deploy_kit import Activated, Answer, Proxy, exchange, message, report

from drills.waiting import until
from drills.yard import Yard

pytestmark = [pytest.mark.anyio, pytest.mark.drill]
RESTARTS = int(os.environ.get("RESTARTS", "3"))
REQUESTS = int(os.environ.get("REQUESTS", "300"))
AT_ONCE = 20


@dataclass
class Load:
    """Reports and messages in turn, each on a connection of its own, some of them at the same moment."""

    ask: Callable[[bytes], Awaitable[Answer]]
    answers: dict[int, Answer] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send until the block ends, and at least as many as asked for."""
        numbers = itertools.count()
        lines = [asyncio.create_task(self._send(numbers)) for _ in range(AT_ONCE)]
        try:
            yield
        finally:
            self.stop.set()
            await asyncio.gather(*lines)

    async def _send(self, numbers: "itertools.count[int]") -> None:
        while not self.stop.is_set() or len(self.answers) < REQUESTS:
            number = next(numbers)
            self.answers[number] = await self.ask(message(number) if number % 2 else report(f"m-{number}"))

    def has(self, count: int) -> bool:
        """Whether so many were answered."""
        return len(self.answers) >= count

    def others(self) -> dict[int, str]:
        """Answers that are not a stored callback."""
        return {number: each.head or "none" for number, each in self.answers.items() if each.outcome != "stored"}


async def through_restarts(activated: Activated, load: Load, yard: Yard) -> None:
    await activated.ready()
    async with load.running():
        for count in range(1, RESTARTS + 1):
            await activated.restart()
            assert activated.command
            await activated.command.says("ready")
            await until(partial(load.has, REQUESTS * count // RESTARTS))
    assert load.others() == {}
    assert len(load.answers) >= REQUESTS
    assert len(await yard.events()) == len(load.answers)


async def test_directly(activated: Activated, yard: Yard) -> None:
    host, port = activated.listeners[0].getsockname()[:2]

    async def ask(raw: bytes) -> Answer:
        return await exchange(*await asyncio.open_connection(host, port), raw)

    await through_restarts(activated, Load(ask), yard)


async def test_through_a_proxy(front: Proxy, activated: Activated, yard: Yard) -> None:
    await through_restarts(activated, Load(front.ask), yard)


async def test_a_kill_is_no_loss_and_what_is_sent_again_is_a_duplicate(
    front: Proxy, activated: Activated, yard: Yard
) -> None:
    command = await activated.ready()
    load = Load(front.ask)
    async with load.running():
        await until(partial(load.has, 50))
        command.process.send_signal(signal.SIGKILL)
        await command.ended()
        await activated.start()
    odd = {each.outcome or each.status for each in load.answers.values()} - {"stored"}
    assert odd <= {"duplicate", 502}
    lost = {number for number, each in load.answers.items() if each.status == 502}
    assert len(lost) <= AT_ONCE
    for number in lost:
        again = await front.ask(message(number) if number % 2 else report(f"m-{number}"))
        assert again.outcome in ("stored", "duplicate")
    assert len(await yard.events()) == len(load.answers)
