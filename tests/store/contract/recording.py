"""Laws of recording: what was acknowledged is kept, once, and in the order in which it came."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import NOW, after, message, report, reports

from receiver.events import Status

from ..conftest import House


async def test_what_was_recorded_is_found_as_it_was(house: House) -> None:
    told = report(
        reference="order-42",
        status=Status.FAILED,
        error_code="20",
        submitted_at=after(-8),
        mccmnc="20404",
        country="NL",
        notes=["wrong_endpoint"],
        raw={"ID": "m-1", "NAME": ["é€😀", "�"], "DEEP": {"n": 2**70}},
    )
    (event_id,) = await house.stored(told)
    (kept,) = await house.events()
    assert kept.event == replace(told, id=event_id)


async def test_an_inbound_message_is_found_as_it_was(house: House) -> None:
    told = message("Héllo 😀\nline", keyword="Héllo", media=["https://example.com/1.jpg"], channel="mms")
    (event_id,) = await house.stored(told)
    (kept,) = await house.events()
    assert kept.event == replace(told, id=event_id)


async def test_the_same_report_twice_is_one_event_with_the_id_of_the_first(house: House) -> None:
    first = await house.record(report())
    second = await house.record(report())
    assert (first.outcome, second.outcome) == ("stored", "duplicate")
    assert second.events == first.events
    assert await house.ids() == list(first.events)


async def test_a_duplicate_is_a_copy_counted_on_the_event(house: House) -> None:
    (event_id,) = await house.stored(report())
    await house.record(report(received_at=after(60)))
    await house.record(report(received_at=after(120)))
    kept = (await house.trace(event_id)).callbacks
    assert [one.copy for one in kept] == [False, True, True]


async def test_a_duplicate_is_never_dispatched(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(report())
    await house.record(report())
    assert [one.event.id for one in await house.claim()] == ids
    assert (await house.counters()).received == 1


async def test_two_equal_reports_at_the_same_time_are_one_event(house: House) -> None:
    both = await asyncio.gather(house.record(report()), house.record(report()))
    assert sorted(one.outcome for one in both) == ["duplicate", "stored"]
    assert both[0].events == both[1].events
    assert len(await house.ids()) == 1


async def test_a_second_recipient_of_the_same_message_is_another_event(house: House) -> None:
    await house.stored(report(), report(recipient="+31687654321"))
    assert len(await house.ids()) == 2


async def test_the_same_values_at_another_source_are_another_event(house: House) -> None:
    await house.stored(report(), report(source="spryng-marketing"))
    assert len(await house.ids()) == 2


async def test_a_report_without_a_time_is_known_again(house: House) -> None:
    first = await house.record(report(occurred_at=None))
    second = await house.record(report(occurred_at=None, received_at=after(hours=30)))
    assert (second.outcome, second.events) == ("duplicate", first.events)


@pytest.mark.parametrize("age", [timedelta(days=30), timedelta(days=-30)], ids=["long ago", "far ahead"])
async def test_a_report_whose_time_is_no_guide_is_known_again(house: House, age: timedelta) -> None:
    first = await house.record(report(occurred_at=NOW - age))
    second = await house.record(report(occurred_at=NOW - age, received_at=after(hours=1)))
    assert (second.outcome, second.events) == ("duplicate", first.events)


@pytest.mark.parametrize("age", [timedelta(days=13.99), timedelta(days=-14.01)], ids=["ageing", "coming"])
async def test_a_report_is_known_again_when_its_time_passed_the_fourteen_days_in_between(
    house: House, age: timedelta
) -> None:
    first = await house.record(report(occurred_at=NOW - age))
    second = await house.record(report(occurred_at=NOW - age, received_at=after(hours=1)))
    assert (second.outcome, second.events) == ("duplicate", first.events)


async def test_a_report_is_known_again_after_a_restart(house: House) -> None:
    first = await house.record(report())
    await house.reopen()
    assert (await house.record(report())).events == first.events


async def test_what_was_acknowledged_survives_a_crash(house: House) -> None:
    ids = await house.stored(*reports(3))
    await house.crash_receive()
    assert await house.ids() == ids
    assert (await house.record(report("m-2"))).outcome == "duplicate"


async def test_several_events_of_one_callback_are_all_stored_in_its_order(house: House) -> None:
    recorded = await house.record(*reports(3))
    assert recorded.outcome == "stored"
    assert await house.ids() == list(recorded.events)
    assert [one.event.message_id for one in await house.events()] == ["m-1", "m-2", "m-3"]


async def test_a_callback_that_repeats_itself_names_the_first_twice(house: House) -> None:
    recorded = await house.record(report("a"), report("b"), report("a"))
    first, second, again = recorded.events
    assert recorded.outcome == "stored"
    assert again == first
    assert await house.ids() == [first, second]


async def test_a_callback_with_something_new_is_stored_whatever_else_it_repeats(house: House) -> None:
    (known,) = await house.stored(report("a"))
    recorded = await house.record(report("a"), report("b"))
    assert recorded.outcome == "stored"
    assert recorded.events[0] == known
    assert await house.ids() == list(recorded.events)


async def test_a_callback_of_duplicates_alone_is_a_duplicate(house: House) -> None:
    ids = await house.stored(report("a"), report("b"))
    recorded = await house.record(report("a"), report("b"))
    assert (recorded.outcome, list(recorded.events)) == ("duplicate", ids)


async def test_of_many_at_once_exactly_the_distinct_are_stored(house: House) -> None:
    await house.enrol("crm")
    dice = random.Random(7)
    told = [f"m-{dice.randrange(60)}" for _ in range(300)]
    recorded = await asyncio.gather(*(house.record(report(name)) for name in told))
    ids = {name: one.events for name, one in zip(told, recorded, strict=True)}
    assert all(one.events == ids[name] for name, one in zip(told, recorded, strict=True))
    assert Counter(one.outcome for one in recorded)["stored"] == len(ids)
    assert sorted(await house.ids()) == sorted(event for (event,) in ids.values())
    assert [one.event.id for one in await house.claim(limit=500)] == await house.ids()


async def test_events_come_out_in_the_order_in_which_each_task_recorded_them(house: House) -> None:
    async def tell(name: str) -> None:
        for one in reports(20, prefix=name):
            await house.record(one)
            await house.record(one)

    await house.enrol("crm")
    await asyncio.gather(*(tell(name) for name in "abcde"))
    claimed = [one.event.message_id or "" for one in await house.claim(limit=200)]
    for name in "abcde":
        assert [told for told in claimed if told[0] == name] == [f"{name}-{n}" for n in range(1, 21)]


async def test_ids_of_events_are_uuids_of_version_seven(house: House) -> None:
    ids = await house.stored(*reports(3))
    assert {event_id[14] for event_id in ids} == {"7"}
    assert len(set(ids)) == 3
