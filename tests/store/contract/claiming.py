"""Laws of enrolling and claiming: each handler is given the log once, in its order, from its place on."""

import asyncio
from dataclasses import replace

import pytest
from factories import after, report, reports

from receiver.events import Event
from receiver.store.base import Done

from ..conftest import House


async def test_a_new_handler_starts_at_the_end_of_the_log(house: House) -> None:
    await house.stored(report("before"))
    await house.enrol("crm")
    later = await house.stored(report("after"))
    assert [one.event.id for one in await house.claim()] == later
    assert (await house.counters()).received == 1


async def test_a_known_handler_goes_on_where_it_was(house: House) -> None:
    await house.enrol("crm")
    first, second, third = await house.stored(*reports(3))
    await house.finish(await house.claim(limit=1))
    await house.reopen_dispatch()
    await house.enrol("crm", now=after(3600))
    assert [one.event.id for one in await house.claim()] == [second, third]
    assert (await house.line(first)).state == "done"


async def test_a_registered_handler_is_owed_events_before_anybody_claims_for_it(house: House) -> None:
    await house.stored(report("before"))
    await house.receive.register(["crm"])
    ids = await house.stored(*reports(2))
    assert (await house.counters()).pending == 2
    await house.enrol("crm")
    assert [one.event.id for one in await house.claim()] == ids


async def test_every_handler_is_owed_every_event(house: House) -> None:
    await house.enrol("crm", "audit")
    ids = await house.stored(*reports(3))
    assert [one.event.id for one in await house.claim("crm")] == ids
    assert [one.event.id for one in await house.claim("audit")] == ids


async def test_a_handler_that_is_absent_goes_on_at_its_place_later(house: House) -> None:
    await house.enrol("crm", "audit")
    await house.reopen_dispatch()
    await house.enrol("crm")
    assert (await house.counters("audit")).state == "absent"
    ids = await house.stored(*reports(2))
    await house.reopen_dispatch()
    await house.enrol("crm", "audit")
    assert [one.event.id for one in await house.claim("audit")] == ids


async def test_a_handler_can_be_added_while_another_works(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report("a"))
    (one,) = await house.claim("crm")
    await house.enrol("crm", "audit")
    later = await house.stored(report("b"))
    assert await house.settle(one, Done())
    assert [one.event.id for one in await house.claim("crm")] == later
    assert [one.event.id for one in await house.claim("audit")] == later


async def test_claims_follow_the_log_up_to_the_limit_and_take_nothing_twice(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(5))
    first, second, third = [await house.claim(limit=2) for _ in range(3)]
    assert [one.event.id for one in first + second + third] == ids
    assert await house.claim() == []


async def test_claims_at_the_same_time_share_out_the_log(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(40))
    claims = await asyncio.gather(*(house.claim(limit=7) for _ in range(8)))
    assert sorted(one.event.id for claimed in claims for one in claimed) == sorted(ids)


async def test_a_claimed_dispatch_tells_what_it_is(house: House) -> None:
    await house.enrol("crm", "audit")
    told = report()
    (event_id,) = await house.stored(told)
    (one,) = await house.claim("crm")
    (other,) = await house.claim("audit")
    assert (one.handler, one.number, one.replay, one.first_at, one.alone) == ("crm", 1, 0, None, False)
    assert one.event == replace(told, id=event_id)
    assert one.id != other.id


def every_tenth(event: Event) -> bool:
    return (event.message_id or "").endswith("0")


@pytest.mark.parametrize("ordered", [False, True])
async def test_what_does_not_pass_is_filtered_at_once_and_does_not_count(house: House, *, ordered: bool) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(45))
    claimed = await house.claim(limit=3, ordered=ordered, passes=every_tenth)
    assert [one.event.message_id for one in claimed] == ["m-10", "m-20", "m-30"]
    counters = await house.counters()
    assert (counters.filtered, counters.running, counters.pending) == (27, 3, 15)
    states = [(await house.line(one)).state for one in ids[7:11]]
    assert states == ["filtered", "filtered", "running", "filtered"]
    await house.finish(claimed)
    assert [one.event.message_id for one in await house.claim(passes=every_tenth, ordered=ordered)] == ["m-40"]
    counters = await house.counters()
    assert (counters.done, counters.filtered, counters.running, counters.pending) == (3, 41, 1, 0)


async def test_a_crash_interrupts_what_passed_and_nothing_else(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(25))
    await house.claim(passes=every_tenth)
    await house.crash_dispatch()
    await house.enrol("crm")
    counters = await house.counters()
    assert (counters.filtered, counters.pending, counters.running) == (23, 2, 0)
    assert [one.event.message_id for one in await house.claim(passes=every_tenth)] == ["m-10"]


async def test_where_nothing_passes_nothing_is_claimed_and_the_log_is_walked_on(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(5))
    assert await house.claim(passes=lambda _: False) == []
    counters = await house.counters()
    assert (counters.filtered, counters.pending) == (5, 0)
