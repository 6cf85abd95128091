"""Laws of a target that is down or gone, on a real store: hold, its probes and its end, and pause."""

import asyncio
from typing import Any

import pytest
from engine_kit import Scripted, Yard, stands, throw

from drills.waiting import until
from receiver.handler import Pause, Unavailable
from receiver.store.views import Standing

pytestmark = pytest.mark.anyio


# hold


async def test_five_failures_of_the_target_hold_and_the_first_success_lets_everything_go(yard: Yard) -> None:
    down = True
    crm = Scripted(lambda *_: throw(ConnectionRefusedError("refused")) if down else None, concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(20)
        await until(lambda: stands(yard, "held"))
        down = False
        await yard.done(20)
        await until(lambda: stands(yard, "ok"))


async def test_on_hold_only_probes_are_tried_and_nothing_dies(yard: Yard) -> None:
    crm = Scripted(lambda *_: throw(Unavailable("down")), concurrency=4, retries=["10ms"] * 4)
    async with yard.dispatching(crm):
        await yard.add_reports(30)
        await until(lambda: stands(yard, "held"))
        before = len(crm.seen)
        crm.most = 0
        await until(lambda: len(crm.seen) >= before + 12)
        counters = await yard.counters()
    assert crm.most == 1
    assert (counters.dead, counters.pending + counters.running) == (0, 30)


async def test_probes_take_turns_so_that_one_bad_event_cannot_keep_the_hold(yard: Yard) -> None:
    down = True

    def act(event: Any, _: Any) -> None:
        if down or event.message_id == "m-1":
            raise Unavailable("down")

    async with yard.dispatching(Scripted(act, concurrency=1)):
        await yard.add_reports(8)
        await until(lambda: stands(yard, "held"))
        down = False
        await yard.done(7)


async def test_the_end_of_a_hold_charges_one_attempt_to_what_failed_as_a_probe(yard: Yard) -> None:
    down = True
    crm = Scripted(lambda *_: throw(Unavailable("down")) if down else None, concurrency=1)
    async with yard.dispatching(crm):
        ids = await yard.add_reports(6)
        await until(lambda: stands(yard, "held"))
        before = len(crm.seen)
        await until(lambda: len(crm.seen) >= before + 12)
        down = False
        await yard.done(6)
    last = {message_id: attempt.number for message_id, attempt in crm.seen}
    assert len(ids) == 6
    assert max(last.values()) <= 3


async def test_a_hold_outlives_a_restart(yard: Yard) -> None:
    crm = Scripted(lambda *_: throw(Unavailable("down")), concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(9)
        await until(lambda: stands(yard, "held"))
    again = Scripted(lambda *_: asyncio.sleep(30), concurrency=5)
    async with yard.dispatching(again):
        await until(lambda: again.running)
        assert (await yard.counters()).state == "held"
        assert again.running == 1


# pause


async def test_pause_stops_the_handler_and_keeps_the_event_until_it_is_resumed(yard: Yard) -> None:
    gone = True
    crm = Scripted(lambda *_: throw(Pause("410: gone")) if gone else None, concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(5)
        await until(lambda: stands(yard, "paused"))
        assert len(crm.seen) == 1
        gone = False
        await yard.command.stand(Standing("crm", "ok"), now=yard.clock())
        await yard.done(5)
    assert crm.seen[1][1].number == 1


async def test_a_command_pauses_and_resumes_a_handler(yard: Yard) -> None:
    crm, mail = Scripted(), Scripted(name="mail")
    async with yard.dispatching(crm, mail) as dispatcher:
        await yard.command.stand(Standing("crm", "paused", reason="maintenance"), now=yard.clock())
        await until(lambda: dispatcher._lanes[0]._stand.state == "paused")
        await yard.add_reports(3)
        await yard.done(3, "mail")
        assert crm.seen == []
        await yard.command.stand(Standing("crm", "ok"), now=yard.clock())
        await yard.done(3)
