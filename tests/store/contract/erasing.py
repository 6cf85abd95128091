"""Laws of erasing a person: what is theirs goes, wherever it has got to, and nothing else changes."""

import pytest
from factories import NOW, PHONE, after, callback, message, notice, report, reports

from receiver.store.base import Dead, Done, Interrupted, Outcome, Released
from receiver.store.views import Erased, Selector

from ..conftest import House, retry

OTHER = "+31687654321"


async def erase(house: House, number: str = PHONE, *, dry_run: bool = False) -> Erased:
    told = await house.command.erase(number, now=NOW, dry_run=dry_run)
    await house.balanced()
    return told


async def test_what_is_to_or_from_a_number_goes_and_the_rest_stays(house: House) -> None:
    kept = await house.stored(report("m-1", recipient=OTHER))
    await house.stored(report("m-2"), message("hello"), report("m-3"))
    kept += await house.stored(message("hi", originator=OTHER))
    told = await erase(house)
    assert (told.events, told.callbacks, told.mentions, told.traces) == (3, 3, 0, 0)
    assert await house.ids() == kept
    assert (await house.command.stats(NOW)).events == 2
    assert await house.found(PHONE) == await house.found("m-2") == []


@pytest.mark.parametrize("written", ["31612345678", "0031612345678", "+31 6 1234-5678"])
async def test_a_number_is_the_same_however_it_is_written(house: House, written: str) -> None:
    await house.stored(report())
    assert (await erase(house, written)).events == 1
    assert await house.ids() == []


async def test_one_of_several_recipients_is_meant_too(house: House) -> None:
    await house.stored(message("to all", originator=OTHER, recipients=["3010", PHONE]))
    assert (await erase(house)).events == 1


async def test_repetitions_go_along_and_one_that_comes_later_is_new(house: House) -> None:
    (first,) = await house.stored(report())
    assert (await house.record(report())).outcome == "duplicate"
    assert (await erase(house)).callbacks == 2
    assert await house.ids() == []
    again = await house.record(report())
    assert again.outcome == "stored"
    assert again.events != (first,)


async def test_a_message_without_identity_is_not_remembered_either(house: House) -> None:
    recorded = await house.record(message(certain=False))
    house.receive.mark(recorded, answered=False)
    await house.receive.probe(NOW)
    await erase(house)
    assert (await house.record(message(certain=False, received_at=after(60)))).outcome == "stored"


async def test_what_cannot_be_read_and_names_the_number_goes(house: House) -> None:
    await house.receive.record(callback(query=b"RECIPIENT=%2B31+6+12345678"), [], fault="x")
    await house.receive.record(callback(query=b"RECIPIENT=" + OTHER.encode()), [], fault="x")
    assert (await erase(house)).quarantined == 1
    (kept,) = [one async for one in house.command.quarantine()]
    assert OTHER.encode() in kept.callback.query


async def test_other_peoples_words_stay_and_are_counted(house: House) -> None:
    kept = await house.stored(message("call him: 0031 6 12345678", originator=OTHER))
    assert (await erase(house)).mentions == 1
    assert await house.ids() == kept


OUTCOMES: dict[str, Outcome] = {
    "retry": retry(),
    "interrupted": Interrupted("exit 1"),
    "released": Released(),
    "dead": Dead("no such number"),
}


@pytest.mark.parametrize("state", ["new", "running", *OUTCOMES])
async def test_what_is_not_settled_of_it_is_cancelled(house: House, state: str) -> None:
    await house.enrol("crm")
    await house.stored(report("m-1"))
    (later,) = await house.stored(report("m-2", recipient=OTHER))
    running = [] if state == "new" else await house.claim(limit=1)
    if state in OUTCOMES:
        await house.settle(running[0], OUTCOMES[state])
    assert (await erase(house)).cancelled == 1
    assert [one.event.id for one in await house.claim(now=after(3600))] == [later]
    counters = await house.counters()
    assert (counters.cancelled, counters.pending, counters.running) == (1, 0, 1)


async def test_whoever_had_it_in_hand_settles_nothing_any_more(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(2), report("m-3", recipient=OTHER))
    erased, _, other = await house.claim()
    await erase(house)
    assert not await house.settle(erased, Done(PHONE))
    assert await house.settle(other, Done())
    counters = await house.counters()
    assert (counters.done, counters.cancelled, counters.running) == (1, 2, 0)


async def test_whoever_comes_late_with_it_settles_nothing_of_what_was_claimed_since(house: House) -> None:
    await house.enrol("crm", "audit")
    await house.stored(*reports(2))
    erased = await house.claim()
    await erase(house)
    await house.stored(*reports(2, prefix="new", recipient=OTHER))
    claimed = [*await house.claim(), *await house.claim("audit")]
    for late in erased:
        assert not await house.settle(late, Done())
    for one in claimed:
        assert await house.settle(one, Done())
    assert (await house.counters()).done == (await house.counters("audit")).done == 2


async def test_a_crash_of_the_handlers_after_it_repeats_only_what_is_left(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report("m-1"))
    (left,) = await house.stored(report("m-2", recipient=OTHER))
    await house.claim()
    await erase(house)
    await house.crash_dispatch()
    await house.enrol("crm")
    assert [one.event.id for one in await house.claim()] == [left]


async def test_what_was_done_stays_counted_as_done(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*reports(2))
    await house.finish(await house.claim())
    assert (await erase(house)).cancelled == 0
    counters = await house.counters()
    assert (counters.received, counters.done) == (2, 2)


async def test_after_all_of_the_log_was_erased_new_events_reach_handlers_once(house: House) -> None:
    """A place in the log is never given again, also where the newest event was erased."""
    await house.enrol("crm", "audit")
    await house.stored(*reports(3))
    await house.finish(await house.claim())
    await erase(house)
    await house.reopen()
    await house.enrol("crm", "audit")
    assert await house.claim() == await house.claim("audit") == []
    ids = await house.stored(*reports(2, prefix="new", recipient=OTHER))
    for handler in ("crm", "audit"):
        assert [one.event.id for one in await house.claim(handler)] == ids
    counters = await house.counters("audit")
    assert (counters.received, counters.cancelled, counters.running) == (5, 3, 2)


async def test_what_we_wrote_about_other_events_loses_the_number(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(2, recipient=OTHER))
    first, second = await house.claim()
    await house.settle(first, Done(f"mail to {PHONE} and {OTHER}"))
    await house.settle(second, Dead(f"refused: {PHONE}"))
    await house.receive.notify(notice(text=f"crm said {PHONE}"))
    assert (await erase(house)).blotted == 4
    answers = [line.answer for name in ids for line in (await house.line(name)).lines]
    assert answers == [f"mail to +*********** and {OTHER}", "refused: +***********"]
    assert (await house.line(ids[1])).reason == "refused: +***********"
    (told,) = await house.events(kind="notice")
    assert told.event.data["text"] == "crm said +***********"


async def test_a_dry_run_of_it_counts_and_changes_nothing(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(3))
    await house.claim(limit=1)
    told = await erase(house, dry_run=True)
    assert (told.events, told.callbacks, told.cancelled) == (3, 3, 3)
    assert await house.ids() == ids
    assert (await erase(house)).cancelled == 3


async def test_pruning_goes_on_behind_it(house: House) -> None:
    await house.stored(*reports(3))
    await erase(house)
    (kept,) = await house.stored(report("young", recipient=OTHER, received_at=after(days=2)))
    while await house.command.prune(after(days=1)):
        pass
    assert await house.ids() == [kept]


async def test_replay_gives_what_is_left(house: House) -> None:
    await house.enrol("crm")
    (kept,) = await house.stored(report("m-1", recipient=OTHER))
    await house.stored(report("m-2"))
    await house.finish(await house.claim())
    await erase(house)
    assert await house.command.replay("crm", Selector(), now=NOW) == 1
    assert [one.event.id for one in await house.claim()] == [kept]
