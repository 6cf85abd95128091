"""Laws of finding: events by what people write, by the conditions of a selector, and with all that became of them."""

import pytest
from factories import NOW, PHONE, after, callback, message, report, reports

from receiver.events import Status

from ..conftest import House


async def test_a_trace_has_the_callbacks_with_their_exact_bytes(house: House) -> None:
    first = callback(report(), query=b"ID=m%2D1", body=b"\x00\xff", method="POST", content_type="x/y")
    again = callback(report(), query=b"id=m-1", received_at=after(5))
    recorded = await house.receive.record(first, [report()])
    await house.receive.record(again, [report()])
    kept = (await house.trace(recorded.events[0])).callbacks
    assert [one.callback._replace(headers={}) for one in kept] == [first, again]


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
