"""Laws of quarantine: what could not be read is kept with its bytes and can be read again."""

from factories import callback, message, report

from receiver.events import Identity

from ..conftest import House, collect


async def test_a_callback_that_cannot_be_read_is_kept_with_its_exact_bytes(house: House) -> None:
    odd = callback(method="POST", query=b"a=%FF\xfe", body=b"\x00\xff\xfe", content_type="text/odd; charset=x")
    recorded = await house.receive.record(odd, [], fault="RECIPIENT is missing")
    (kept,) = await collect(house.command.quarantine())
    assert (recorded.outcome, recorded.events) == ("quarantined", ())
    assert kept.reason == "RECIPIENT is missing"
    assert kept.callback._replace(headers={}) == odd


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
