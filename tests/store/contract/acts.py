"""Laws of what people do: dead letters retried or given up, replays, handlers forgotten or renamed."""

from factories import NOW, after, message, report, reports

from receiver.store.base import MOST_INTERRUPTIONS, Dead, Filtered, Interrupted
from receiver.store.views import DispatchSelector, Selector

from ..conftest import DEAD, PENDING, House, retry


async def died(house: House, count: int = 1, reason: str = "gave up") -> list[str]:
    """That many dead letters of crm; their events."""
    await house.enrol("crm")
    ids = await house.stored(*reports(count))
    for one in await house.claim():
        await house.settle(one, retry(0))
    for one in await house.claim(now=after(1)):
        await house.settle(one, Dead(reason), now=after(1), began_at=after(1))
    return ids


async def test_dead_letters_are_listed_oldest_first_with_their_reason(house: House) -> None:
    ids = await died(house, 2, "404 Not Found")
    lines = await house.lines("dead")
    assert [one.event for one in lines] == ids
    assert {(one.handler, one.state, one.attempts, one.reason) for one in lines} == {
        ("crm", "dead", 2, "404 Not Found")
    }
    assert {one.died_at for one in lines} == {after(1)}


async def test_waiting_dispatches_are_listed_with_their_due_time(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(60))
    (line,) = await house.lines("pending")
    assert (line.id, line.event, line.due_at, line.attempts, line.reason) == (one.id, event_id, after(60), 1, "503")


async def test_dead_letters_are_selected_by_every_condition(house: House) -> None:
    _, second = await died(house, 2)
    line = await house.line(second)
    assert [one.event for one in await house.lines("dead", ids=(line.id,))] == [second]
    assert await house.lines("dead", handler="audit") == []
    assert len(await house.lines("dead", handler="crm", reason="GAVE")) == 2
    assert await house.lines("dead", reason="time-out") == []
    assert len(await house.lines("dead", since=after(0))) == 2
    assert await house.lines("dead", since=after(2)) == []


async def test_a_requeued_dead_letter_begins_anew(house: House) -> None:
    (event_id,) = await died(house)
    assert await house.command.requeue(DEAD, after(60)) == 1
    counters = await house.counters()
    assert (counters.dead, counters.pending) == (0, 1)
    (one,) = await house.claim(now=after(60))
    assert (one.event.id, one.number) == (event_id, 1)
    await house.finish([one])
    assert (await house.line(event_id)).state == "done"


async def test_a_letter_that_was_killed_gets_all_its_interruptions_again(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    for _ in range(MOST_INTERRUPTIONS):
        (one,) = await house.claim()
        await house.settle(one, Interrupted("exit 139"))
    assert await house.command.requeue(DEAD, NOW) == 1
    (one,) = await house.claim()
    await house.settle(one, Interrupted("exit 139"))
    assert (await house.line(event_id)).state == "pending"


async def test_a_requeued_waiting_dispatch_is_due_now_with_the_attempts_it_had(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(3600))
    assert await house.command.requeue(PENDING, after(1)) == 1
    (again,) = await house.claim(now=after(1))
    assert again.number == 2


async def test_only_what_is_selected_is_requeued(house: House) -> None:
    _, second = await died(house, 2)
    line = await house.line(second)
    assert await house.command.requeue(DispatchSelector(state="dead", ids=(line.id,)), after(60)) == 1
    assert [one.event.id for one in await house.claim(now=after(60))] == [second]
    assert (await house.counters()).dead == 1


async def test_a_cancelled_dead_letter_is_given_up_for_good(house: House) -> None:
    (event_id,) = await died(house)
    assert await house.command.cancel(DEAD, after(60)) == 1
    assert await house.command.cancel(DEAD, after(60)) == 0
    assert await house.command.requeue(DEAD, after(60)) == 0
    counters = await house.counters()
    assert (counters.dead, counters.cancelled) == (0, 1)
    assert (await house.line(event_id)).state == "cancelled"
    assert await house.claim(now=after(60)) == []


async def test_a_replay_owes_selected_events_again_in_the_order_of_the_log(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(report("a"), message("hello"), report("b"))
    done = await house.claim()
    await house.finish(done)
    assert await house.command.replay("crm", Selector(kind="dlr"), now=after(60)) == 2
    counters = await house.counters()
    assert (counters.received, counters.done, counters.pending) == (5, 3, 2)
    again = await house.claim(now=after(60))
    assert [(one.event.id, one.number, one.replay) for one in again] == [(ids[0], 1, 1), (ids[2], 1, 1)]
    assert not {one.id for one in again} & {one.id for one in done}
    await house.finish(again)
    assert (await house.counters()).done == 5


async def test_a_dry_run_counts_and_changes_nothing(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(3))
    await house.finish(await house.claim())
    before = await house.counters()
    assert await house.command.replay("crm", Selector(), now=after(60), dry_run=True) == 3
    assert await house.counters() == before
    assert await house.claim(now=after(60)) == []


async def test_replays_of_an_event_are_numbered(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    await house.finish(await house.claim())
    for number in (1, 2):
        await house.command.replay("crm", Selector(), now=after(60))
        (one,) = await house.claim(now=after(60))
        assert one.replay == number
        await house.finish([one])
    assert [one.replay for one in (await house.trace(event_id)).dispatches] == [0, 1, 2]


async def test_a_replay_that_was_filtered_is_told_and_counted_in_the_numbers(house: House) -> None:
    await house.enrol("crm")
    (event_id,) = await house.stored(report())
    await house.finish(await house.claim())
    await house.command.replay("crm", Selector(), now=after(60))
    (one,) = await house.claim(now=after(60))
    await house.settle(one, Filtered(), began_at=None)
    assert (await house.line(event_id, replay=1)).state == "filtered"
    await house.command.replay("crm", Selector(), now=after(120))
    assert [one.replay for one in await house.claim(now=after(120))] == [2]


async def test_a_replay_gives_a_new_handler_history(house: House) -> None:
    ids = await house.stored(*reports(2))
    await house.enrol("crm")
    assert await house.command.replay("crm", Selector(), now=NOW) == 2
    assert [one.event.id for one in await house.claim()] == ids


async def test_a_forgotten_handler_begins_as_a_new_one(house: House) -> None:
    await died(house, 2)
    await house.reopen_dispatch()
    assert await house.command.forget("crm")
    assert not await house.command.forget("crm")
    assert (await house.command.stats(NOW)).handlers == ()
    assert await house.lines("dead") == []
    await house.enrol("crm")
    assert await house.claim() == []
    assert (await house.counters()).received == 0


async def test_a_renamed_handler_keeps_its_place_and_its_counters(house: House) -> None:
    (dead,) = await died(house)
    (later,) = await house.stored(report("later"))
    await house.reopen_dispatch()
    assert await house.command.rename("crm", "sales")
    await house.enrol("sales")
    assert [one.handler for one in (await house.command.stats(NOW)).handlers] == ["sales"]
    assert [one.event.id for one in await house.claim("sales")] == [later]
    assert [one.event for one in await house.lines("dead", handler="sales")] == [dead]
    counters = await house.counters("sales")
    assert (counters.received, counters.dead, counters.running) == (2, 1, 1)


async def test_a_handler_is_not_renamed_over_another_nor_from_nothing(house: House) -> None:
    await house.enrol("crm", "audit")
    await house.reopen_dispatch()
    assert not await house.command.rename("crm", "audit")
    assert not await house.command.rename("sales", "other")
