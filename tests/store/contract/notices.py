"""Laws of notices: opened once, closed once, and events like any other."""

from dataclasses import replace

from factories import notice, report

from ..conftest import House


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
