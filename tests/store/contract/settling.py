"""Laws of settling: what an attempt ended in, and when the event is given again."""

from datetime import timedelta

import pytest
from factories import NOW, after, report, reports

from receiver.store.base import HORIZON, Dead, Done, Filtered, Outcome, Released, RetryAt, Settlement

from ..conftest import House, retry

OUTCOMES: dict[str, Outcome] = {
    "done": Done("200 OK"),
    "filtered": Filtered(),
    "pending": RetryAt(after(60), "503"),
    "dead": Dead("gave up"),
}


@pytest.mark.parametrize("state", OUTCOMES)
async def test_an_outcome_moves_the_dispatch_from_running_to_its_state(house: House, state: str) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(2))
    claimed = await house.claim(limit=1)
    counters = await house.counters()
    assert (counters.received, counters.running, counters.pending) == (2, 1, 1)
    assert await house.settle(claimed[0], OUTCOMES[state], began_at=None if state == "filtered" else NOW)
    counters = await house.counters()
    assert counters.running == 0
    assert getattr(counters, state) == (2 if state == "pending" else 1)
    assert (await house.line(ids[0])).state == state


async def test_what_is_running_is_told(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    assert (await house.line(event_id)).state == "pending"
    await house.claim()
    assert (await house.line(event_id)).state == "running"


async def test_a_dispatch_is_settled_once(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    assert await house.settle(one, Done())
    assert not await house.settle(one, Dead("too late"))
    assert (await house.counters()).done == 1


async def test_what_is_filtered_at_a_later_attempt_is_told_as_filtered(house: House) -> None:
    """The filters were changed in between."""
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(0))
    (one,) = await house.claim(now=after(1))
    await house.settle(one, Filtered(), began_at=None)
    assert (await house.line(event_id)).state == "filtered"
    assert (await house.counters()).filtered == 1


async def test_many_are_settled_at_once_each_in_its_way(house: House) -> None:
    await house.enrol("crm", "audit")
    await house.stored(*reports(3))
    claimed = await house.claim("crm") + await house.claim("audit")
    ways = [Done(), Dead("x"), Filtered(), Filtered(), Done(), Done()]
    settlements = [Settlement(one, way, began_at=NOW) for one, way in zip(claimed, ways, strict=True)]
    assert list(await house.dispatch.settle(settlements, now=NOW)) == [True] * 6
    crm, audit = await house.counters("crm"), await house.counters("audit")
    assert (crm.done, crm.dead, crm.filtered) == (1, 1, 1)
    assert (audit.done, audit.dead, audit.filtered) == (2, 0, 1)


async def test_a_retry_is_given_again_only_when_it_is_due_and_with_its_next_number(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(60), began_at=after(1))
    assert await house.claim(now=after(59)) == []
    (again,) = await house.claim(now=after(60))
    assert (again.id, again.number, again.first_at) == (one.id, 2, after(1))


async def test_a_retry_does_not_hold_up_later_events(house: House) -> None:
    await house.enrol("crm")
    first, second, third = await house.stored(*reports(3))
    (one,) = await house.claim(limit=1)
    await house.settle(one, retry(60))
    assert [one.event.id for one in await house.claim(now=after(30))] == [second, third]
    assert [one.event.id for one in await house.claim(now=after(60))] == [first]


async def test_what_is_due_again_comes_before_new_events_in_the_order_of_the_log(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(2))
    first, second = await house.claim()
    await house.settle(first, retry(60))
    await house.settle(second, retry(30))
    ids += await house.stored(report("new"))
    assert [one.event.id for one in await house.claim(now=after(90))] == ids


async def test_waiting_tells_what_is_ready_and_when_there_will_be_more(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(4))
    first, second = await house.claim(limit=2)
    await house.settle(first, retry(60))
    await house.settle(second, retry(30))
    assert await house.dispatch.waiting("crm", now=NOW) == (2, after(30))
    assert await house.dispatch.waiting("crm", now=after(30)) == (3, after(60))


async def test_nothing_waits_where_all_is_done(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    await house.finish(await house.claim())
    assert await house.dispatch.waiting("crm", now=NOW) == (0, None)


async def test_a_due_time_beyond_the_horizon_is_due_now(house: House) -> None:
    """The clock was set back since it was written."""
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, RetryAt(NOW + HORIZON * 2, "503"))
    assert (await house.dispatch.waiting("crm", now=NOW)).ready == 1
    assert [one.event.id for one in await house.claim()] == [event_id]


async def test_a_clock_set_back_brings_forward_what_waits_for_a_time(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(2))
    soon, now = await house.claim()
    await house.settle(soon, RetryAt(after(hours=3, seconds=5), "503"))
    await house.settle(now, RetryAt(after(-5), "503"))
    await house.dispatch.set_back(timedelta(hours=3), now=NOW)
    assert await house.dispatch.waiting("crm", now=NOW) == (1, after(5))


async def test_a_clock_set_back_while_nothing_ran_is_noticed_by_the_newest_event(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report(received_at=after(hours=3)))
    (one,) = await house.claim(now=after(hours=3))
    await house.settle(one, RetryAt(after(hours=3, seconds=5), "503"), now=after(hours=3))
    await house.reopen_dispatch()
    await house.enrol("crm", now=NOW)
    assert await house.dispatch.waiting("crm", now=NOW) == (0, after(5))


async def test_what_is_released_is_pending_as_before_without_an_attempt(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(2))
    for one in await house.claim():
        assert await house.settle(one, Released(), began_at=None)
    again = await house.claim()
    assert [one.event.id for one in again] == ids
    assert [(one.number, one.alone, one.first_at) for one in again] == [(1, False, None)] * 2
    assert (await house.line(ids[0])).lines == ()


async def test_an_attempt_that_is_not_charged_uses_up_no_retry(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(10, charged=False))
    (again,) = await house.claim(now=after(10))
    assert again.number == 1


async def test_a_trace_tells_every_attempt_with_answer_and_duration(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(60), began_at=after(1))
    (one,) = await house.claim(now=after(60))
    await house.settle(one, Done("200 OK"), now=after(62), began_at=after(61))
    line = await house.line(event_id)
    told = [(one.number, one.began_at, one.verdict, one.answer) for one in line.lines]
    assert told == [(1, after(1), "retry", "503"), (2, after(61), "done", "200 OK")]
    assert [one.took for one in line.lines] == [timedelta(milliseconds=7)] * 2
    assert (line.state, line.attempts) == ("done", 2)
