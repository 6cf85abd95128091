"""Laws of callbacks without identity: the fate of the last answer tells a retry from a second message."""

import asyncio

import pytest
from factories import after, message, report

from receiver.events import Identity

from ..conftest import House


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


async def test_ten_seconds_are_counted_across_a_restart(house: House) -> None:
    _, first = await ok(house, 0, answered=True)
    await house.reopen()
    outcome, second = await ok(house, 9, answered=True)
    assert (outcome, await suspected(house, second)) == ("stored", first)


async def test_ten_seconds_after_a_retry_are_counted_across_a_restart(house: House) -> None:
    _, first = await ok(house, 0, answered=False)
    await house.stored(report())
    await ok(house, 60, answered=True)
    await house.reopen()
    outcome, third = await ok(house, 65, answered=True)
    assert (outcome, await suspected(house, third)) == ("stored", first)


async def test_once_a_newer_one_was_answered_an_older_one_of_unknown_fate_means_nothing(house: House) -> None:
    _, first = await ok(house, 0)
    _, second = await ok(house, 3600, answered=True)
    assert await suspected(house, second) == first
    _, third = await ok(house, 7200, answered=True)
    assert await suspected(house, third) is None


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
