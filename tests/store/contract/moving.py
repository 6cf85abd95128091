"""Laws of moving: a copy of a whole store is told like the store, and goes on where that ended."""

import pytest
from factories import NOW, PHONE, after, message, notice, report, reports

from receiver.errors import CopyFailed, StoreTaken, StoreUnusable
from receiver.store.moving import END

from ..conftest import House
from ..moving_kit import GONE, copied, live, seen

KINDS = {
    *("events", "callbacks", "duplicates", "fates", "dispatches", "attempts", "handlers", "sources", "quarantine"),
    *("notices", "end of the log"),
}


async def test_a_copy_is_told_like_the_store(house: House) -> None:
    await live(house)
    before = await seen(house)
    await house.close()
    target = await house.another()
    compared = await copied(house, target)
    await target.open()
    assert {one.kind for one in compared} == KINDS
    assert await seen(target) == before
    await target.close()
    await house.open()
    assert await seen(house) == before


async def test_a_copy_goes_on_where_the_store_ended(house: House) -> None:
    await live(house)
    owed = [line.event for line in await house.lines("pending", handler="audit") if not line.replay]
    await house.close()
    target = await house.another()
    await copied(house, target)
    await target.open()
    await target.enrol("crm", "audit", now=after(hours=1))
    claimed = await target.claim("audit", now=after(hours=1))
    assert {one.event.id for one in claimed if not one.replay} == set(owed)
    assert len(claimed) == len(owed) + 1
    await target.finish(claimed)
    await target.close()
    await house.open()


async def test_a_copy_knows_what_the_store_has_seen(house: House) -> None:
    """Keys, fates, open notices: nothing of the past is new to it."""
    await live(house)
    (first, *_) = await house.ids()
    await house.close()
    target = await house.another()
    await copied(house, target)
    await target.open()
    again = await target.record(report("m-1"))
    assert (again.outcome, again.events) == ("duplicate", (first,))
    assert (await target.record(message("OK", certain=False, received_at=after(125)))).outcome == "stored"
    assert await target.receive.notify(notice()) is False
    assert await target.found("m-8") == await target.ids(message="m-8")
    await target.close()
    await house.open()


async def test_what_was_in_hand_is_repeated_alone(house: House) -> None:
    await house.enrol("crm")
    ids = await house.stored(*reports(3))
    await house.claim(limit=2)
    await house.close()
    target = await house.another()
    await copied(house, target)
    await target.open()
    await target.enrol("crm")
    assert [[(one.event.id, one.alone) for one in await target.claim()] for _ in range(2)] == [[(ids[0], True)], []]
    await target.close()
    await house.open()


async def test_what_was_erased_before_anybody_came_to_it_stays_cancelled(house: House) -> None:
    await house.enrol("crm")
    await house.stored(*(report(f"m-{n}", recipient=GONE if n in (0, 2, 4) else PHONE) for n in range(5)))
    await house.command.erase(GONE, now=NOW)
    before = await seen(house)
    await house.close()
    target = await house.another()
    await copied(house, target)
    await target.open()
    assert await seen(target) == before
    assert (await target.counters()).cancelled == 3
    await target.enrol("crm")
    assert [one.event.message_id for one in await target.claim()] == ["m-1", "m-3"]
    await target.close()
    await house.open()


async def test_an_interrupted_copy_goes_on_and_nobody_else_opens_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"receiver.store.{engine}.leaving.LOT", 3)
    await live(house)
    before = await seen(house)
    await house.close()
    target = await house.another()
    heard: list[str] = []

    def interrupt(part: str, done: int, _of: int) -> None:
        heard.append(f"{part} {done}")
        if len(heard) in (2, 6):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            await copied(house, target, tell=interrupt)
        with pytest.raises(StoreUnusable, match="not finished"):
            await target.open()
    await copied(house, target, tell=interrupt)
    lots = [one for one in heard if not one.startswith(("comparing", "building"))]
    assert len(lots) == len(set(lots))
    await target.open()
    assert await seen(target) == before
    await target.close()
    await house.open()


async def test_a_store_in_use_is_not_copied(house: House) -> None:
    await house.stored(report())
    with pytest.raises(StoreTaken):
        await house.moved()


async def test_nothing_is_copied_into_a_store_that_has_something(house: House) -> None:
    target = await house.another()
    await target.open()
    await target.stored(report())
    await target.close()
    await house.close()
    with pytest.raises(CopyFailed, match=r"not empty \(events: 1,"):
        await copied(house, target)
    await house.open()


async def test_a_copy_of_a_store_that_went_on_is_not_gone_on_with(house: House) -> None:
    await house.stored(report())
    await house.close()
    target = await house.another()

    def interrupt(*_told: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copied(house, target, tell=interrupt)
    await house.open()
    await house.stored(report("m-2"))
    await house.close()
    with pytest.raises(CopyFailed, match="before it went on"):
        await copied(house, target)
    await house.open()


async def test_a_copy_that_differs_is_told_and_never_opened(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await live(house)
    await house.close()
    target = await house.another()
    there = await target.moved(create=True)
    taken = type(there).take_in

    async def forgetful(self: object, lot, told: str) -> None:  # type: ignore[no-untyped-def]
        kept = [moved._replace(copies=()) for moved in lot.events]
        await taken(self, lot._replace(events=kept), told)  # type: ignore[arg-type]

    await there.close()
    monkeypatch.setattr(type(there), "take_in", forgetful)
    with pytest.raises(CopyFailed, match="duplicates: 2 and 0 there"):
        await copied(house, target)
    with pytest.raises(StoreUnusable, match="not finished"):
        await target.open()
    await house.open()


async def test_an_empty_store_is_copied_too(house: House) -> None:
    await house.close()
    target = await house.another()
    await copied(house, target)
    here = await target.moved()
    assert [lot.mark for lot in [lot async for lot in here.export()]] == [END]
    assert (await here.stats(NOW)).events == 0
    await here.close()
    await house.open()
