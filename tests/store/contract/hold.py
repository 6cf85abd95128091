"""Laws of hold: what waited because of the target, the probes, and the state a handler is in."""

from factories import NOW, after, report, reports

from receiver.store.views import Standing

from ..conftest import House, retry


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
