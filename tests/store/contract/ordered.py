"""Laws of `ordered`: of one thread, a later event waits for the earlier."""

import pytest
from factories import after, message, report

from receiver.events import Status
from receiver.store.base import Dead, Filtered

from ..conftest import House, retry


async def test_ordered_gives_one_event_of_a_thread_at_a_time(house: House) -> None:
    await house.enrol("crm")
    first, second, other, third = await house.stored(
        report("a", status=Status.SENT),
        report("a", status=Status.DELIVERED),
        report("b"),
        report("a", status=Status.READ),
    )
    one, beside = await house.claim(ordered=True)
    assert [one.event.id, beside.event.id] == [first, other]
    assert await house.claim(ordered=True) == []
    assert (await house.counters()).pending == 2
    await house.finish([one])
    (one,) = await house.claim(ordered=True)
    assert one.event.id == second
    await house.finish([one])
    assert [one.event.id for one in await house.claim(ordered=True)] == [third]


async def test_ordered_waits_for_a_retry_of_its_thread(house: House) -> None:
    await house.enrol("crm")
    first, second = await house.stored(report("a", status=Status.SENT), report("a"))
    (one,) = await house.claim(ordered=True)
    await house.settle(one, retry(60))
    assert await house.claim(ordered=True, now=after(30)) == []
    (one,) = await house.claim(ordered=True, now=after(60))
    assert one.event.id == first
    await house.finish([one])
    assert [one.event.id for one in await house.claim(ordered=True, now=after(60))] == [second]


@pytest.mark.parametrize("outcome", [Dead("gave up"), Filtered()], ids=["dead", "filtered"])
async def test_what_will_not_be_tried_again_releases_its_thread(house: House, outcome: Dead | Filtered) -> None:
    await house.enrol("crm")
    _, second = await house.stored(report("a", status=Status.SENT), report("a"))
    (one,) = await house.claim(ordered=True)
    await house.settle(one, outcome)
    assert [one.event.id for one in await house.claim(ordered=True)] == [second]


async def test_ordered_waits_also_after_a_crash(house: House) -> None:
    await house.enrol("crm")
    first, second = await house.stored(report("a", status=Status.SENT), report("a"))
    await house.claim(ordered=True)
    await house.crash_dispatch()
    await house.enrol("crm", now=after(3600))
    (one,) = await house.claim(ordered=True, now=after(3600))
    assert one.event.id == first
    await house.finish([one])
    assert [one.event.id for one in await house.claim(ordered=True, now=after(3600))] == [second]


async def test_an_event_recorded_later_waits_for_its_thread_too(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report("a", status=Status.SENT))
    (one,) = await house.claim(ordered=True)
    later, free = await house.stored(report("a"), report("b"))
    assert [one.event.id for one in await house.claim(ordered=True)] == [free]
    await house.finish([one])
    assert [one.event.id for one in await house.claim(ordered=True)] == [later]


async def test_conversations_are_the_threads_of_inbound_messages(house: House) -> None:
    await house.enrol("crm")
    first, _, other = await house.stored(message("one"), message("two"), message("one", originator="+31687654321"))
    assert [one.event.id for one in await house.claim(ordered=True)] == [first, other]
