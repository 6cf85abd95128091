"""The laws of a store. They run on every database: a module binds them with a fixture `house` and a star import."""

import asyncio
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import NOW, PHONE, after, callback, message, notice, report, reports

from receiver.events import Identity, Status
from receiver.store.base import (
    HORIZON,
    MOST_INTERRUPTIONS,
    Dead,
    Dispatch,
    DispatchSelector,
    Done,
    Filtered,
    Interrupted,
    Outcome,
    Released,
    RetryAt,
    Selector,
    Settlement,
    Standing,
)

from .conftest import LEASE, House, collect

DEAD = DispatchSelector(state="dead")
PENDING = DispatchSelector(state="pending")


def retry(seconds: float = 60, *, target: bool = False, charged: bool = True, probe: bool = False) -> RetryAt:
    """Again in a minute."""
    return RetryAt(after(seconds), "503", target=target, charged=charged, probe=probe)


# recording


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


# quarantine


async def test_a_callback_that_cannot_be_read_is_kept_with_its_exact_bytes(house: House) -> None:
    odd = callback(method="POST", query=b"a=%FF\xfe", body=b"\x00\xff\xfe", content_type="text/odd; charset=x")
    recorded = await house.receive.record(odd, [], fault="RECIPIENT is missing")
    (kept,) = await collect(house.command.quarantine())
    assert (recorded.outcome, recorded.events) == ("quarantined", ())
    assert kept.reason == "RECIPIENT is missing"
    assert replace(kept.callback, headers={}) == odd


async def test_a_quarantined_callback_is_no_event(house: House) -> None:
    await house.enrol("crm")
    await house.receive.record(callback(), [], fault="odd")
    assert await house.ids() == []
    assert await house.claim() == []


async def test_quarantine_is_listed_oldest_first_and_by_id(house: House) -> None:
    for name in ("a", "b", "c"):
        await house.receive.record(callback(query=name.encode()), [], fault=name)
    kept = await collect(house.command.quarantine())
    assert [one.reason for one in kept] == ["a", "b", "c"]
    assert [one.reason for one in await collect(house.command.quarantine([kept[1].id]))] == ["b"]


async def test_a_callback_read_again_is_stored_and_leaves_quarantine(house: House) -> None:
    await house.enrol("crm")
    await house.receive.record(callback(query=b"x=1"), [], fault="odd")
    (kept,) = await collect(house.command.quarantine())
    recorded = await house.command.reread(kept, [report()])
    assert recorded.outcome == "stored"
    assert await collect(house.command.quarantine()) == []
    assert [one.event.id for one in await house.claim()] == list(recorded.events)
    assert [one.callback.query for one in (await house.trace(recorded.events[0])).callbacks] == [b"x=1"]


async def test_a_callback_read_again_that_is_known_is_a_duplicate_and_leaves_quarantine(house: House) -> None:
    await house.receive.record(callback(), [], fault="odd")
    (event_id,) = await house.stored(report())
    (kept,) = await collect(house.command.quarantine())
    recorded = await house.command.reread(kept, [report()])
    assert (recorded.outcome, recorded.events) == ("duplicate", (event_id,))
    assert await collect(house.command.quarantine()) == []


async def test_a_callback_is_read_again_only_once(house: House) -> None:
    await house.receive.record(callback(), [], fault="odd")
    (kept,) = await collect(house.command.quarantine())
    again = message(identity=Identity(()))
    await house.command.reread(kept, [again])
    await house.command.reread(kept, [again])
    assert len(await house.ids()) == 1


async def test_what_is_discarded_leaves_quarantine(house: House) -> None:
    await house.receive.record(callback(), [], fault="a")
    await house.receive.record(callback(query=b"b"), [], fault="b")
    kept = await collect(house.command.quarantine())
    assert await house.command.discard([kept[0].id]) == 1
    assert await house.command.discard([kept[0].id]) == 0
    assert [one.reason for one in await collect(house.command.quarantine())] == ["b"]


# callbacks without identity


async def ok(house: House, seconds: float, *, answered: bool | None = None) -> tuple[str, str]:
    """Somebody's OK, without identity: what became of it, and its event. Without `answered` its fate is unknown."""
    recorded = await house.record(message("OK", certain=False, received_at=after(seconds)))
    assert recorded.uncertain, "the store must ask for the fate of the answer"
    if answered is not None:
        house.receive.mark(recorded, answered=answered)
    return recorded.outcome, recorded.events[0]


async def suspected(house: House, event_id: str) -> str | None:
    return (await house.trace(event_id)).event.suspected_duplicate_of


async def test_a_store_asks_for_the_fate_only_where_there_is_no_identity(house: House) -> None:
    assert (await house.record(report())).uncertain == ()


async def test_an_equal_one_within_ten_seconds_of_an_answered_one_is_new_and_suspected(house: House) -> None:
    _, first = await ok(house, 0, answered=True)
    outcome, second = await ok(house, 9, answered=True)
    assert (outcome, await suspected(house, second)) == ("stored", first)


async def test_an_equal_one_later_than_ten_seconds_after_an_answered_one_is_new_and_not_suspected(house: House) -> None:
    _, first = await ok(house, 0, answered=True)
    outcome, second = await ok(house, 11, answered=True)
    assert (outcome, await suspected(house, second)) == ("stored", None)
    assert second != first


async def test_an_equal_one_after_an_unanswered_one_is_its_retry(house: House) -> None:
    await house.enrol("crm")
    _, first = await ok(house, 0, answered=False)
    assert await ok(house, 60, answered=True) == ("duplicate", first)
    assert [one.copy for one in (await house.trace(first)).callbacks] == [False, True]
    assert [one.event.id for one in await house.claim()] == [first]


async def test_after_an_answered_retry_the_next_equal_one_is_new(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    await ok(house, 60, answered=True)
    outcome, third = await ok(house, 120, answered=True)
    assert (outcome, await suspected(house, third)) == ("stored", None)
    assert third != first


async def test_after_an_unanswered_retry_the_next_equal_one_is_a_retry_too(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    await ok(house, 60, answered=False)
    assert await ok(house, 120, answered=True) == ("duplicate", first)


async def test_after_a_retry_of_unknown_fate_the_next_equal_one_is_new_and_suspected(house: House) -> None:
    """Its answer may have got out: to take the next one for a retry too could lose it."""
    _, first = await ok(house, 0, answered=False)
    assert await ok(house, 60) == ("duplicate", first)
    await house.crash_receive()
    outcome, third = await ok(house, 120)
    assert (outcome, await suspected(house, third)) == ("stored", first)


async def test_ten_seconds_are_counted_from_the_newest_equal_one_also_where_that_was_a_retry(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    await ok(house, 60, answered=True)
    outcome, third = await ok(house, 65, answered=True)
    assert (outcome, await suspected(house, third)) == ("stored", first)


async def test_a_day_is_counted_from_the_newest_equal_one_also_where_that_was_a_retry(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    await ok(house, 20 * 3600, answered=False)
    assert await ok(house, 40 * 3600, answered=True) == ("duplicate", first)


async def test_an_equal_one_after_one_of_unknown_fate_is_new_and_suspected(house: House) -> None:
    _, first = await ok(house, 0)
    outcome, second = await ok(house, 3600, answered=True)
    assert (outcome, await suspected(house, second)) == ("stored", first)


async def test_two_equal_ones_without_identity_at_the_same_time_are_two_events(house: House) -> None:
    both = await asyncio.gather(*(house.record(message(certain=False)) for _ in range(2)))
    assert [one.outcome for one in both] == ["stored", "stored"]
    first, second = await house.events()
    assert second.event.suspected_duplicate_of == first.event.id


async def test_unanswered_longer_than_a_day_ago_is_no_reason_to_expect_a_retry(house: House) -> None:
    await ok(house, 0, answered=False)
    outcome, second = await ok(house, 86_400 + 60, answered=True)
    assert (outcome, await suspected(house, second)) == ("stored", None)


async def test_unanswered_less_than_a_day_ago_is_still_waited_for(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    assert await ok(house, 86_400 - 60, answered=True) == ("duplicate", first)


async def test_only_equal_ones_are_compared(house: House) -> None:
    await ok(house, 0, answered=False)
    other = await house.record(message("NO", certain=False, received_at=after(1)))
    elsewhere = await house.record(message("OK", certain=False, source="bulkvs", received_at=after(1)))
    assert (other.outcome, elsewhere.outcome) == ("stored", "stored")


async def test_without_values_to_compare_every_callback_is_new(house: House) -> None:
    """What `mo_dedupe = "off"` amounts to."""
    first, second = [await house.record(message(identity=Identity(()))) for _ in range(2)]
    assert (first.outcome, second.outcome, first.uncertain) == ("stored", "stored", ())
    assert await suspected(house, second.events[0]) is None


@pytest.mark.parametrize("answered", [True, False])
async def test_a_mark_survives_a_restart(house: House, answered: bool) -> None:
    _, first = await ok(house, 0, answered=answered)
    await house.reopen()
    outcome, second = await ok(house, 60)
    assert outcome == ("stored" if answered else "duplicate")
    assert (second == first) is not answered


async def test_an_answer_in_flight_at_a_crash_is_of_unknown_fate(house: House) -> None:
    _, first = await ok(house, 0)
    await house.crash_receive()
    outcome, second = await ok(house, 60)
    assert (outcome, await suspected(house, second)) == ("stored", first)


@pytest.mark.parametrize(("answered", "fate"), [(True, "answered"), (False, "unanswered"), (None, "unknown")])
async def test_a_trace_tells_the_fate(house: House, answered: bool | None, fate: str) -> None:
    _, event_id = await ok(house, 0, answered=answered)
    await house.reopen()
    assert [one.fate for one in (await house.trace(event_id)).callbacks] == [fate]


# looking


async def test_a_trace_has_the_callbacks_with_their_exact_bytes(house: House) -> None:
    first = callback(report(), query=b"ID=m%2D1", body=b"\x00\xff", method="POST", content_type="x/y")
    again = callback(report(), query=b"id=m-1", received_at=after(5))
    recorded = await house.receive.record(first, [report()])
    await house.receive.record(again, [report()])
    kept = (await house.trace(recorded.events[0])).callbacks
    assert [replace(one.callback, headers={}) for one in kept] == [first, again]


async def test_every_report_of_a_message_is_found_and_the_highest_rank_is_told(house: House) -> None:
    await house.stored(
        report(status=Status.DELIVERED, occurred_at=after(-9)), report(status=Status.SENT, occurred_at=after(-5))
    )
    found = [one.event for one in await house.command.find("m-1")]
    assert [one.status for one in found] == [Status.DELIVERED, Status.SENT]
    assert max(found, key=lambda one: (one.rank, one.occurred_at)).status is Status.DELIVERED


@pytest.mark.parametrize("key", ["+31612345678", "0031612345678", "31612345678", "+31 6 1234 5678"])
async def test_numbers_are_found_as_people_write_them(house: House, key: str) -> None:
    sent, came, _ = await house.stored(
        report(recipient=PHONE), message(originator=PHONE), report("m-2", recipient="+31600000000")
    )
    assert await house.found(key) == [sent, came]


async def test_short_codes_and_names_are_found(house: House) -> None:
    first, second = await house.stored(message(recipient="3010"), report(originator="AcmeShop"))
    assert await house.found("3010") == [first]
    assert await house.found("acmeshop") == [second]


@pytest.mark.parametrize("key", ["id", "m-7", "order-7"])
async def test_an_event_is_found_directly_after_it_was_recorded(house: House, key: str) -> None:
    await house.stored(*reports(5))
    (event_id,) = await house.stored(report("m-7", reference="order-7"))
    assert await house.found(event_id if key == "id" else key) == [event_id]


async def test_nothing_is_found_where_there_is_nothing(house: House) -> None:
    await house.stored(*reports(2))
    for key in ("m-3", "+4912345678", "0198c0de-0000-7000-8000-000000000000", "", "é\x00"):
        assert await house.found(key) == []


async def test_old_and_new_events_are_found_among_many(house: House) -> None:
    """More than a store can scan: whatever it has built to look things up in must be used, and be complete."""
    await house.enrol("crm")
    for start in range(0, 20_500, 500):
        numbers = range(start, start + 500)
        await house.record(*(report(f"m-{n}", reference=f"o-{n}", recipient=f"+3161{n:07}") for n in numbers))
        await house.finish(await house.claim(limit=500))
    for n in (0, 1, 8_191, 16_383, 16_384, 16_385, 20_498, 20_499):
        (event,) = [one.event for one in await house.command.find(f"m-{n}")]
        assert event.message_id == f"m-{n}"
        assert await house.found(f"o-{n}") == await house.found(f"003161{n:07}") == await house.found(event.id)
    assert len(await house.ids()) == (await house.command.stats(NOW)).events == 20_500


async def test_each_condition_of_a_selector_selects(house: House) -> None:
    old, sent, came, made_up = await house.stored(
        report("m-1", received_at=after(hours=-2)),
        report("m-2", status=Status.SENT, reference="order-2", recipient="+31600000000"),
        message("hello", source="bulkvs"),
        report("m-4", simulated=True),
    )
    assert await house.ids(since=after(hours=-1)) == [sent, came, made_up]
    assert await house.ids(until=after(hours=-1)) == [old]
    assert await house.ids(kind="mo") == [came]
    assert await house.ids(source="bulkvs") == [came]
    assert await house.ids(status="sent") == [sent]
    assert await house.ids(number="0031600000000") == [sent]
    assert await house.ids(message="m-4") == [made_up]
    assert await house.ids(reference="order-2") == [sent]
    assert await house.ids(ids=(came, old)) == [old, came]
    assert await house.ids(simulated=True) == [made_up]
    assert await house.ids(simulated=False) == [old, sent, came]


async def test_all_conditions_of_a_selector_hold_together(house: House) -> None:
    _, second, _ = await house.stored(report("m-1"), report("m-2", status=Status.SENT), message("hello"))
    assert await house.ids(kind="dlr", status="sent", number=PHONE) == [second]
    assert await house.ids(kind="mo", status="sent") == []


async def test_a_limit_takes_the_oldest_and_newest_takes_the_last_in_the_order_of_the_log(house: House) -> None:
    ids = await house.stored(*reports(5))
    assert await house.ids(limit=2) == ids[:2]
    assert await house.ids(limit=2, newest=True) == ids[3:]


async def test_newest_counts_only_what_was_selected(house: House) -> None:
    ids = await house.stored(*(report(f"m-{n}", status=Status.SENT if n % 3 else Status.READ) for n in range(9)))
    assert await house.ids(status="read", limit=2, newest=True) == [ids[3], ids[6]]


async def test_a_cursor_goes_on_behind_its_event(house: House) -> None:
    ids = await house.stored(*reports(5))
    seen = await house.events(limit=2)
    assert await house.ids(after=seen[-1].cursor) == ids[2:]


@pytest.mark.parametrize("before", [0, 3])
async def test_behind_the_end_is_only_what_comes_later(house: House, before: int) -> None:
    await house.stored(*reports(before))
    end = await house.command.end()
    assert await house.ids(after=end) == []
    later = await house.stored(report("later"))
    assert await house.ids(after=end) == later


# enrolling and claiming


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


# settling


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


# interruptions and crashes


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


# ordered


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


# hold


async def test_the_end_of_a_hold_makes_due_what_waited_because_of_the_target(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(3))
    first, second, third = await house.claim()
    await house.settle(first, retry(7200, target=True))
    await house.settle(second, retry(7200))
    await house.settle(third, retry(3600, target=True))
    await house.dispatch.stand(Standing("crm"), release=True, now=after(1))
    assert [one.event.id for one in await house.claim(now=after(1))] == [ids[0], ids[2]]


async def test_a_state_without_release_makes_nothing_due(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(3600, target=True))
    await house.dispatch.stand(Standing("crm", "held"), now=after(1))
    assert await house.claim(now=after(1)) == []


async def test_probes_go_round_what_is_due(house: House) -> None:
    await house.enrol("crm")
    first, second = await house.stored(*reports(2))
    for one in await house.claim():
        await house.settle(one, retry(0, target=True))
    probed = []
    for seconds in (1, 2, 3):
        (one,) = await house.probe(now=after(seconds))
        probed.append(one.event.id)
        await house.settle(one, retry(seconds, target=True, charged=False, probe=True), now=after(seconds))
    assert probed == [first, second, first]


async def test_a_probe_is_one_and_may_be_a_new_event(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(3))
    assert [one.event.id for one in await house.probe()] == ids[:1]


async def test_there_is_no_probe_where_nothing_is_due(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    (one,) = await house.claim()
    await house.settle(one, retry(60))
    assert await house.probe(now=after(59)) == []


async def test_the_end_of_a_hold_charges_one_attempt_for_all_probes_of_an_event(house: House) -> None:
    await house.enrol("crm")
    await house.stored(report())
    for seconds in (0, 1, 2):
        (one,) = await house.probe(now=after(seconds))
        assert one.number == 1
        await house.settle(one, retry(seconds, target=True, charged=False, probe=True), now=after(seconds))
    await house.dispatch.stand(Standing("crm"), release=True, now=after(3))
    (one,) = await house.claim(now=after(3))
    assert one.number == 2


async def test_a_state_is_kept_and_seen_by_all(house: House) -> None:
    told = Standing("crm", "paused", after(-60), "asked to", "connection refused", after(-90))
    await house.enrol("crm")
    await house.command.stand(told, now=NOW)
    assert (await house.dispatch.standings())["crm"] == told
    await house.reopen()
    await house.enrol("crm")
    assert (await house.dispatch.standings())["crm"] == told
    counters = await house.counters()
    assert (counters.state, counters.standing) == ("paused", told)


# acts of people


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


# notices


async def test_a_notice_opens_once_and_closes_once(house: House) -> None:
    acts = ["open", "open", "closed", "closed", "open"]
    told = [await house.dispatch.notify(notice(state=state)) for state in acts]
    assert told == [True, False, True, False, True]
    assert [one.event.state for one in await house.events(kind="notice")] == ["open", "closed", "open"]


async def test_notices_about_different_things_are_different(house: House) -> None:
    for one in (notice(about="crm"), notice(about="audit"), notice("handler_late", about="crm")):
        assert await house.dispatch.notify(one)
    assert len(await house.ids(kind="notice")) == 3


async def test_a_notice_is_open_for_every_side_and_after_a_restart(house: House) -> None:
    assert await house.receive.notify(notice())
    assert not await house.dispatch.notify(notice())
    await house.reopen()
    assert not await house.dispatch.notify(notice())
    assert await house.dispatch.notify(notice(state="closed"))
    assert await house.receive.notify(notice())


async def test_a_notice_is_an_event_for_handlers_with_everything_it_says(house: House) -> None:
    await house.enrol("crm")
    told = notice(facts={"pending": 212})
    await house.dispatch.notify(told)
    (one,) = await house.claim()
    assert one.event == replace(told, id=one.event.id)


async def test_events_and_notices_of_both_sides_all_reach_a_handler(house: House) -> None:
    await house.enrol("crm")
    for n in range(5):
        await house.record(report(f"m-{n}"))
        await house.dispatch.notify(notice(about=f"h-{n}"))
    claimed = [one.event.id for one in await house.claim()]
    assert sorted(claimed) == sorted(await house.ids())
    assert len(set(claimed)) == 10


# counting


async def test_a_source_counts_what_came_and_leaves_simulated_out(house: House) -> None:
    await house.record(report("a"))
    await house.record(report("a"))
    await house.record(report("b", received_at=after(60)))
    await house.receive.record(callback(received_at=after(30)), [], fault="odd")
    await house.record(report("c", simulated=True, received_at=after(90)))
    await house.record(message(source="bulkvs"))
    told = await house.source()
    assert (told.stored, told.duplicates, told.quarantined, told.simulated) == (2, 1, 1, 1)
    assert told.last_at == after(60)
    assert (await house.source("bulkvs")).stored == 1


async def test_refused_requests_are_counted(house: House) -> None:
    house.receive.refused("spryng")
    house.receive.refused("spryng", 3)
    await house.record(report())
    await house.reopen()
    assert (await house.source()).refused == 4


async def test_quarantine_is_counted_as_it_is_now(house: House) -> None:
    await house.receive.record(callback(), [], fault="a")
    await house.receive.record(callback(query=b"b"), [], fault="b")
    assert (await house.command.stats(NOW)).quarantine == {"spryng": 2}
    first, _ = await collect(house.command.quarantine())
    await house.command.discard([first.id])
    stats = await house.command.stats(NOW)
    assert (stats.quarantine, (await house.source()).quarantined) == ({"spryng": 1}, 2)


async def test_the_oldest_pending_event_is_told(house: House) -> None:
    await house.enrol("crm")
    assert (await house.counters()).oldest_pending_at is None
    await house.stored(report("a", received_at=after(1)), report("b", received_at=after(2)))
    assert (await house.counters()).oldest_pending_at == after(1)
    (one,) = await house.claim(limit=1)
    await house.finish([one])
    assert (await house.counters()).oldest_pending_at == after(2)


async def test_stats_are_equal_to_a_recount(house: House) -> None:
    await house.enrol("crm", "audit")
    await house.stored(*reports(14))
    first, second, third, fourth, fifth, sixth, *_ = await house.claim(limit=8)
    await house.finish([first])
    await house.settle(second, Filtered(), began_at=None)
    await house.settle(third, retry(60))
    await house.settle(fourth, Dead("x"))
    await house.settle(fifth, Interrupted("exit 1"))
    await house.settle(sixth, Released(), began_at=None)
    await house.command.replay("crm", Selector(message="m-1"), now=NOW)
    await house.command.cancel(DEAD, NOW)
    await house.finish(await house.claim("audit", limit=3))
    kept = [await house.command.trace(one) for one in await house.events()]
    for handler in ("crm", "audit"):
        counted = Counter(line.state for one in kept for line in one.dispatches if line.handler == handler)
        told = await house.counters(handler)
        assert {state: getattr(told, state) for state in counted} == dict(counted)
        assert told.received == counted.total()


# pruning


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


# the store's own state


async def test_a_store_that_works_refuses_nothing_and_makes_a_durable_write(house: House) -> None:
    assert house.receive.refusal() is None
    await house.receive.probe(NOW)


async def test_a_waiter_is_told_soon_of_something_new(house: House) -> None:
    await house.enrol("crm")
    await house.dispatch.changed(timedelta(seconds=0.01))
    waiter = asyncio.create_task(house.dispatch.changed(timedelta(seconds=60)))
    await asyncio.sleep(0)
    await house.record(report())
    async with asyncio.timeout(5):
        await waiter


async def test_a_waiter_is_not_kept_longer_than_it_asked(house: House) -> None:
    async with asyncio.timeout(5):
        await house.dispatch.changed(timedelta(seconds=0.01))
