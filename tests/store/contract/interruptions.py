"""Laws of interruptions and crashes: what was in hand comes first and alone, and the third time it dies."""

from factories import NOW, after, report, reports

from receiver.store.base import MOST_INTERRUPTIONS, Dead, Done, Interrupted, Released

from ..conftest import LEASE, House, retry


async def test_interrupted_ones_come_first_and_one_alone(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(3))
    first, second, third = await house.claim()
    await house.settle(second, Interrupted("exit 139"))
    await house.settle(first, Interrupted("exit 139"))
    await house.settle(third, retry(0))
    ids += await house.stored(report("new"))
    for event_id in ids[:2]:
        (one,) = await house.claim(now=after(1))
        assert (one.event.id, one.alone, one.number) == (event_id, True, 1)
        await house.finish([one])
    assert [(one.event.id, one.alone) for one in await house.claim(now=after(1))] == [
        (event_id, False) for event_id in ids[2:]
    ]


async def test_the_third_interruption_is_a_dead_letter(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    for _ in range(MOST_INTERRUPTIONS):
        (one,) = await house.claim()
        assert await house.settle(one, Interrupted("exit 139"))
    assert await house.claim() == []
    line = await house.line(event_id)
    assert line.state == "dead"
    assert "killed" in line.reason
    assert (await house.counters()).dead == 1


async def test_a_trace_tells_an_interruption(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, Interrupted("exit 139"))
    (told,) = (await house.line(event_id)).lines
    assert (told.verdict, told.answer) == ("interrupted", "exit 139")


async def test_a_crash_interrupts_what_was_claimed_and_not_settled(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(4))
    first, *_ = await house.claim(limit=3)
    await house.finish([first])
    await house.crash_dispatch()
    await house.enrol("crm", now=after(3600))
    counters = await house.counters()
    assert (counters.done, counters.running, counters.pending) == (1, 0, 3)
    for event_id in ids[1:3]:
        (one,) = await house.claim(now=after(3600))
        assert (one.event.id, one.alone, one.number) == (event_id, True, 1)
        await house.finish([one])
    assert [one.event.id for one in await house.claim(now=after(3600))] == ids[3:]


async def test_three_crashes_over_one_event_make_it_a_dead_letter(house: House) -> None:
    await house.enrol("crm")
    poison, good = await house.stored(*reports(2))
    for crash in range(1, MOST_INTERRUPTIONS + 1):
        assert [one.event.id for one in await house.claim(limit=1, now=after(hours=crash))] == [poison]
        await house.crash_dispatch()
        await house.enrol("crm", now=after(hours=crash + 1))
    assert (await house.line(poison)).state == "dead"
    assert [one.event.id for one in await house.claim(now=after(hours=9))] == [good]


async def test_an_order_to_stop_interrupts_nothing(house: House) -> None:
    """What was released before the end is no interruption after it."""
    await house.enrol("crm")
    await house.stored(*reports(2))
    for one in await house.claim():
        await house.settle(one, Released(), began_at=None)
    await house.reopen_dispatch()
    await house.enrol("crm")
    assert [one.alone for one in await house.claim()] == [False, False]


async def test_an_owner_that_is_gone_can_settle_nothing(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (late,) = await house.claim()
    await house.crash_dispatch()
    await house.enrol("crm", now=after(3600))
    assert not await house.settle(late, Done())
    (held,) = await house.claim(now=after(3600))
    assert not await house.settle(late, Dead("too late"))
    assert (await house.line(event_id)).state == "running"
    assert await house.settle(held, Done())


async def test_a_renewed_lease_holds_beyond_its_first_end(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.dispatch.renew(house.owner, now=NOW + LEASE * 0.8, lease=LEASE)
    assert await house.claim(now=NOW + LEASE * 1.5) == []
    assert await house.settle(one, Done(), now=NOW + LEASE * 1.5)


async def test_a_retry_survives_a_crash_with_its_number_and_its_time(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(7200))
    await house.crash_dispatch()
    await house.enrol("crm", now=after(3600))
    assert await house.claim(now=after(3600)) == []
    (again,) = await house.claim(now=after(7200))
    assert (again.number, again.alone) == (2, False)
