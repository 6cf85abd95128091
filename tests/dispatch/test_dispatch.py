"""Laws of "events out", on a real store: every event once, in the order of the log, and again when it has to be."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from engine_kit import Batched, Scripted, Yard, one_dead, retried, throw
from factories import message, report

from drills.waiting import until
from receiver.handler import Discard, Retry, Unavailable

pytestmark = pytest.mark.anyio


# going well


async def test_every_event_reaches_the_handler_in_the_order_of_the_log(yard: Yard) -> None:
    crm = Scripted(concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(50)
        await yard.done(50)
    assert crm.ids == [f"m-{number}" for number in range(1, 51)]


async def test_what_the_handler_returns_is_the_answer_in_the_attempt_log(yard: Yard) -> None:
    async with yard.dispatching(Scripted(lambda *_: "204")):
        (event_id,) = await yard.add_reports(1)
        await yard.done(1)
    (attempt,) = (await yard.line(event_id)).lines
    assert (attempt.verdict, attempt.answer, attempt.number) == ("done", "204", 1)


async def test_no_more_calls_run_than_the_concurrency(yard: Yard) -> None:
    crm = Scripted(lambda *_: asyncio.sleep(0.005), concurrency=3)
    async with yard.dispatching(crm):
        await yard.add_reports(30)
        await yard.done(30)
    assert crm.most == 3


async def test_a_slow_handler_is_given_no_more_than_its_concurrency(yard: Yard) -> None:
    gate = asyncio.Event()
    crm = Scripted(lambda *_: gate.wait(), concurrency=2)
    await yard.enrol("crm")
    await yard.add_reports(20)
    async with yard.dispatching(crm):
        await until(lambda: crm.running == 2)
        counters = await yard.counters()
        assert (counters.running, counters.pending) == (2, 18)
        gate.set()
        await yard.done(20)


async def test_what_a_filter_keeps_away_is_counted_and_never_seen(yard: Yard) -> None:
    crm = Scripted(kinds=["mo"])
    async with yard.dispatching(crm):
        await yard.add(report("m-1"), message("STOP", message_id="m-2"))
        counters = await yard.done(1)
    assert crm.ids == ["m-2"]
    assert counters.filtered == 1


async def test_the_attempt_says_which_it_is_of_how_many_and_since_when(yard: Yard) -> None:
    crm = Scripted(lambda event, attempt: throw(Retry("no")) if attempt.number == 1 else None, retries=["10ms"])
    async with yard.dispatching(crm):
        await yard.add_reports(1)
        await yard.done(1)
    (_, first), (_, second) = crm.seen
    assert [(first.number, first.of), (second.number, second.of)] == [(1, 2), (2, 2)]
    assert abs(second.first_at - first.first_at) < timedelta(milliseconds=1)
    assert second.deadline > first.deadline
    assert first.handler == "crm"


# again, dead


async def test_n_retries_make_n_plus_one_attempts_then_a_dead_letter(yard: Yard) -> None:
    crm = Scripted(lambda *_: throw(KeyError("nope")), retries=["10ms", "10ms"])
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: one_dead(yard))
    line = await yard.line(event_id)
    assert (line.state, line.reason, len(line.lines)) == ("dead", "KeyError: 'nope'", 3)


async def test_discard_is_a_dead_letter_now(yard: Yard) -> None:
    async with yard.dispatching(Scripted(lambda *_: throw(Discard("no such customer")))):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: one_dead(yard))
    assert (await yard.line(event_id)).reason == "no such customer"


async def test_one_bad_event_does_not_hold_up_the_rest(yard: Yard) -> None:
    def act(event: Any, _: Any) -> None:
        if event.message_id == "m-1":
            raise Unavailable("it always fails")

    crm = Scripted(act, concurrency=1, retries=["10ms"] * 9)
    async with yard.dispatching(crm):
        await yard.add_reports(20)
        counters = await yard.done(19)
        await until(lambda: one_dead(yard))
    assert counters.state == "ok"


async def test_an_event_to_be_tried_again_waits_as_long_as_the_target_asks(yard: Yard) -> None:
    crm = Scripted(lambda *_: throw(Retry("busy", after=3600)), retries=["10ms"])
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        line = await until(lambda: retried(yard, event_id))
        assert timedelta(minutes=59) < line.due_at - yard.clock() <= timedelta(hours=1)


async def test_a_clock_set_back_does_not_strand_a_retry(yard: Yard) -> None:
    crm = Scripted(lambda _, attempt: throw(Retry("later")) if attempt.number == 1 else None, retries=["1h"])
    yard.shift = timedelta(days=3)
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: retried(yard, event_id))
        yard.shift = timedelta(0)
        await yard.done(1)


# order


async def test_ordered_lets_a_later_report_of_a_message_wait_for_the_earlier(yard: Yard) -> None:
    def act(event: Any, attempt: Any) -> None:
        if event.error_code == "1" and attempt.number < 3:
            raise Retry("not yet")

    crm = Scripted(act, ordered=True, retries=["150ms"] * 5)
    async with yard.dispatching(crm):
        await yard.add(report("m-1", error_code="1"), report("m-1", error_code="2"), report("m-2", error_code="3"))
        await yard.done(3)
    assert crm.ids == ["m-1", "m-2", "m-1", "m-1", "m-1"]


# batches


async def test_a_batch_settles_together(yard: Yard) -> None:
    crm = Batched(batch=10)
    await yard.enrol("crm")
    await yard.add_reports(25)
    async with yard.dispatching(crm):
        await yard.done(25)
    assert [len(batch) for batch in crm.batches] == [10, 10, 5]


async def test_a_batch_settles_one_by_one_where_the_handler_says_so(yard: Yard) -> None:
    def act(events: Sequence[Any]) -> Any:
        return {event.id: Discard("odd") for event in events if event.message_id == "m-2"}

    async with yard.dispatching(Batched(act, batch=10)):
        ids = await yard.add_reports(3)
        await yard.done(2)
    assert (await yard.line(ids[1])).reason == "odd"


async def test_a_batch_waits_for_more_before_anything_of_it_is_claimed(yard: Yard) -> None:
    crm = Batched(batch=100, batch_wait="300ms")
    async with yard.dispatching(crm):
        await yard.add_reports(3)
        counters = await yard.counters()
        assert (counters.running, counters.pending) == (0, 3)
        await yard.add_reports(2, prefix="n")
        await yard.done(5)
    assert crm.batches == [["m-1", "m-2", "m-3", "n-1", "n-2"]]


async def test_a_full_batch_does_not_wait(yard: Yard) -> None:
    crm = Batched(batch=4, batch_wait="1h", concurrency=1)
    await yard.enrol("crm")
    await yard.add_reports(8)
    async with yard.dispatching(crm):
        await yard.done(8)
    assert [len(batch) for batch in crm.batches] == [4, 4]
