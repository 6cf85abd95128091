"""Laws of pruning: what is old and settled goes, what anybody waits for stays."""

import pytest
from factories import NOW, after, report, reports

from receiver.store.base import Dead, Dispatch, Done, Interrupted, Outcome
from receiver.store.views import Selector

from ..conftest import DEAD, House, retry


async def prune(house: House) -> None:
    """Remove all that may go of what was received before a day from now."""
    while await house.command.prune(after(days=1)):
        await house.balanced()


async def test_prune_removes_what_is_old_and_settled(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(3))
    kept = await house.stored(report("young", received_at=after(days=2)))
    await house.finish(await house.claim())
    await prune(house)
    assert await house.ids() == kept
    assert await house.found("m-1") == []
    assert (await house.command.stats(NOW)).events == 1
    assert (await house.counters()).done == 4


@pytest.mark.parametrize("wait", ["new", "running", "retry", "interrupted", "dead", "replay"])
async def test_prune_keeps_what_a_handler_waits_for(house: House, wait: str) -> None:
    await house.enrol("crm", "audit")
    ids = await house.stored(*reports(2))
    await house.finish(await house.claim("audit"))
    if wait != "new":
        first, second = await house.claim()
        await house.finish([first])
        await _leave(house, wait, second)
    await prune(house)
    assert set(await house.ids()) >= set(ids if wait == "new" else ids[1:])


async def _leave(house: House, wait: str, dispatch: Dispatch) -> None:
    outcomes: dict[str, Outcome] = {
        "retry": retry(),
        "interrupted": Interrupted("exit 1"),
        "dead": Dead("x"),
        "replay": Done(),
    }
    if wait in outcomes:
        await house.settle(dispatch, outcomes[wait], now=after(days=2))
    if wait == "replay":
        await house.command.replay("crm", Selector(message="m-2"), now=NOW)


@pytest.mark.parametrize("given_up", [False, True], ids=["dead", "cancelled"])
async def test_a_dead_letter_that_was_pruned_before_its_event_is_told_as_cancelled(
    house: House, given_up: bool
) -> None:
    """Another handler waits for the event; it must not look as if the first had it."""
    await house.enrol("crm", "audit")
    (event_id,) = await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, Dead("gave up"))
    if given_up:
        await house.command.cancel(DEAD, NOW)
    await prune(house)
    assert (await house.line(event_id)).state == "cancelled"
    counters = await house.counters()
    assert (counters.dead, counters.cancelled, counters.done) == (0, 1, 0)


async def test_the_newest_event_always_stays(house: House) -> None:
    ids = await house.stored(*reports(3))
    await prune(house)
    assert await house.ids() == ids[-1:]


async def test_an_absent_handler_holds_nothing_back(house: House) -> None:
    await house.enrol("crm", "audit")
    ids = await house.stored(*reports(3))
    await house.reopen_dispatch()
    await house.enrol("crm")
    await house.finish(await house.claim())
    await prune(house)
    assert await house.ids() == ids[-1:]
    ids += await house.stored(report("later"))
    await house.reopen_dispatch()
    await house.enrol("crm", "audit")
    assert [one.event.id for one in await house.claim("audit")] == ids[-2:]


async def test_after_everything_was_pruned_new_events_still_reach_handlers_once(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(3))
    await house.finish(await house.claim())
    await prune(house)
    await house.reopen()
    await house.enrol("crm")
    assert await house.claim() == []
    ids = await house.stored(*reports(2, prefix="new"))
    assert [one.event.id for one in await house.claim()] == ids
    assert (await house.counters()).received == 5


async def test_a_pruned_event_is_not_remembered(house: House) -> None:
    first, _ = await house.stored(*reports(2))
    await prune(house)
    recorded = await house.record(report("m-1", received_at=after(days=100)))
    assert recorded.outcome == "stored"
    assert recorded.events != (first,)


async def test_what_was_simulated_can_be_removed_at_any_age_and_nothing_else(house: House) -> None:
    await house.enrol("crm")
    made_up = await house.stored(*reports(2), report("m-3", simulated=True), report("m-4"))
    await house.finish(await house.claim())
    while await house.command.prune(NOW, simulated=True):
        await house.balanced()
    assert await house.ids() == [made_up[0], made_up[1], made_up[3]]
    later = await house.stored(report("m-5"))
    assert [one.event.id for one in await house.claim()] == later


async def test_what_was_simulated_stays_while_a_handler_waits_for_it(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(report("m-1", simulated=True), report("m-2"))
    assert await house.command.prune(NOW, simulated=True) == 0
    assert await house.ids() == ids
