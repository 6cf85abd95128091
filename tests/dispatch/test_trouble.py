"""Laws of trouble, on a real store: stops, faults, and a bad handler beside a good one."""

import asyncio
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import Scripted, Yard, one_dead, worker

from drills.waiting import is_running, until
from receiver import Retry
from receiver.errors import ConfigFault, HandlerStuck, StoreUnavailable
from receiver.store.base import Settlement

pytestmark = pytest.mark.anyio


# stops and faults


async def test_stop_releases_what_was_not_finished_and_charges_nothing(yard: Yard) -> None:
    crm = Scripted(lambda *_: asyncio.sleep(60), concurrency=2)
    loop = asyncio.get_running_loop()
    async with yard.dispatching(crm):
        await yard.add_reports(5)
        await until(lambda: crm.running == 2)
        begun = loop.time()
    assert loop.time() - begun < 6
    assert crm.closed
    counters = await yard.counters()
    assert (counters.pending, counters.running) == (5, 0)
    again = Scripted()
    async with yard.dispatching(again):
        await yard.done(5)
    assert {attempt.number for _, attempt in again.seen} == {1}


async def test_a_handler_that_takes_long_to_open_holds_up_nobody(yard: Yard) -> None:
    opened = asyncio.Event()

    class Slow(Scripted):
        async def open(self) -> None:
            await opened.wait()

    slow, quick = Slow(name="slow"), Scripted(name="quick")
    async with yard.dispatching(slow, quick, opening=timedelta(milliseconds=50)):
        await yard.add_reports(2)
        await yard.done(2, "quick")
        assert slow.ids == []
        opened.set()
        await yard.done(2, "slow")


async def test_a_clock_that_is_set_back_holds_up_no_retry(yard: Yard) -> None:
    async def fails_first(_event: Any, attempt: Any) -> None:
        if attempt.number == 1:
            raise Retry("not yet", after=timedelta(seconds=1))

    crm = Scripted(fails_first)
    async with yard.dispatching(crm):
        await yard.add_reports(1)
        await until(lambda: crm.ids)
        yard.shift = -timedelta(hours=3)
        await yard.done(1)
    assert [attempt.number for _, attempt in crm.seen] == [1, 2]


async def test_a_result_that_cannot_be_written_stays_and_stops_claiming_until_it_can(yard: Yard) -> None:
    store = Unwritable(yard.store)
    crm = Scripted(concurrency=2)
    async with yard.dispatching(crm, store=store):
        await yard.add_reports(40)
        await until(lambda: store.refused > 3)
        seen = len(crm.seen)
        await until(lambda: store.refused > 10)
        assert len(crm.seen) == seen < 40
        store.broken = False
        await yard.done(40)
    assert len(crm.seen) == 40


async def test_a_call_that_ignores_its_time_out_ends_a_shared_process(yard: Yard) -> None:
    async def stubborn(*_: Any) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    over = asyncio.Event()
    crm = Scripted(stubborn, timeout="50ms")

    async def dispatch() -> None:
        async with yard.dispatching(crm) as dispatcher:
            await yard.add_reports(1)
            await until(lambda: dispatcher._lanes[0].hands.stuck)

    with pytest.raises(HandlerStuck, match="crm"):
        await dispatch()
    assert (await yard.counters()).running == 1
    over.set()
    await until(lambda: crm.running == 0)


async def test_a_fault_of_the_configuration_is_told_before_anything_starts(yard: Yard) -> None:
    own = worker(yard.folder, GOOD, colour="blue")
    with pytest.raises(ConfigFault, match=r"handlers\.own\.colour"):
        async with yard.dispatching(own, Scripted()):
            pass
    assert not is_running(own.pid)


async def test_a_handler_that_cannot_start_is_tried_again_and_shows_why(yard: Yard) -> None:
    own = worker(yard.folder, FAILS_TO_OPEN_TWICE)
    async with yard.dispatching(own):
        await yard.add_reports(2)
        await yard.done(2, "own")
    assert "OSError: no licence" in (await yard.counters("own")).standing.last_error


class Unwritable:
    """The real store, but its disk takes no results for a while."""

    def __init__(self, store: Any) -> None:
        self._store, self.broken, self.refused = store, True, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def settle(self, settlements: Sequence[Settlement], **given: Any) -> Any:
        if self.broken:
            self.refused += 1
            raise StoreUnavailable("read-only disk")
        return await self._store.settle(settlements, **given)


# trouble of one beside another


GOOD = """
async def handle(event, attempt):
    return "ok"
"""
FAILS_TO_OPEN_TWICE = """
import pathlib
from receiver import BaseHandler
class Own(BaseHandler):
    async def open(self):
        tries = pathlib.Path(__file__).with_suffix(".tries")
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        if count < 2:
            raise OSError("no licence")
    async def handle(self, event, attempt):
        return "ok"
"""
BAD = """
import os, time
from receiver import BaseHandler
class Own(BaseHandler):
    async def handle(self, event, attempt):
        if event.message_id == "m-2":
            {does}
"""
TROUBLES = {
    "spins": ("while True: pass", r"killed: blocked for \d+ s"),
    "exits": ("os._exit(1)", "killed: exit status 1"),
    "crashes": ("os.kill(os.getpid(), 11)", r"killed: signal 11 \(SIGSEGV\)"),
    "leaks": (
        "hoard = []\n            while True: hoard.append(bytearray(1 << 20)); time.sleep(.001)",
        "killed: over max_memory",
    ),
    "swallows memory": ("bytearray(1 << 40)", r"killed: over max_memory \(96 MiB\)"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_third_interruption_is_a_dead_letter_and_nobody_else_is_touched(yard: Yard, trouble: str) -> None:
    does, reason = TROUBLES[trouble]
    own = worker(yard.folder, BAD.format(does=does), timeout="300ms", max_memory="96 MiB")
    good = Scripted()
    async with yard.dispatching(own, good):
        ids = await yard.add_reports(5)
        await yard.done(5)
        await yard.done(4, "own")
        await until(lambda: one_dead(yard, "own"))
    line = await yard.line(ids[1], "own")
    assert len(line.lines) == 3
    assert re.match(reason, line.reason)


async def test_a_handler_that_raises_touches_nobody_else(yard: Yard) -> None:
    own = worker(yard.folder, BAD.format(does="raise RuntimeError('no')"), retries=["10ms"])
    async with yard.dispatching(own, Scripted()):
        ids = await yard.add_reports(5)
        await yard.done(5)
        await yard.done(4, "own")
        await until(lambda: one_dead(yard, "own"))
    assert (await yard.line(ids[1], "own")).reason == "RuntimeError: no"


async def test_an_interrupted_event_is_repeated_alone_and_before_new_ones(yard: Yard) -> None:
    code = """
import os, pathlib
async def handle(event, attempt):
    diary = pathlib.Path(__file__).with_suffix(".diary")
    with diary.open("a") as page:
        page.write(event.message_id + "\\n")
    if event.message_id == "m-1" and len(diary.read_text().split()) < 2:
        os._exit(3)
"""
    own = worker(yard.folder, code, concurrency=1)
    async with yard.dispatching(own):
        await yard.add_reports(3)
        await yard.done(3, "own")
    diary = (yard.folder / "handlers.d" / "own.diary").read_text().split()
    assert diary == ["m-1", "m-1", "m-2", "m-3"]
