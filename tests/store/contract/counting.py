"""Laws of counting: every number is what a recount would find."""

from collections import Counter

from factories import NOW, after, callback, message, report, reports

from receiver.store.base import Dead, Filtered, Interrupted, Released
from receiver.store.views import Selector

from ..conftest import DEAD, House, collect, retry


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
