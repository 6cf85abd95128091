"""What the tests of moving share: a store in which everything happened, what people see of one, and a copy."""

import json
from dataclasses import replace
from typing import Any

from factories import NOW, after, callback, message, notice, report, reports

from receiver.store import transfer
from receiver.store.base import Dead, Done, Filtered, Interrupted, Tell, quietly
from receiver.store.transfer import Compared
from receiver.store.views import Selector, Standing

from .conftest import DEAD, House, collect, retry

GONE = "+31600000009"


async def live(house: House) -> None:
    """Let everything happen that leaves something in a store. At its end nothing is in hand."""
    await house.enrol("crm", "audit")
    await house.stored(report("gone", recipient=GONE), *reports(6), message("hi"), report("s-1", simulated=True))
    await house.stored(report("gone too", recipient=GONE))
    await house.record(report("m-1", received_at=after(60)))
    for n, answered in enumerate((True, False, True)):
        recorded = await house.record(message("OK", certain=False, received_at=after(60 * n)))
        house.receive.mark(recorded, answered=answered)
    await house.record(report("m-7"), report("m-8"))
    await house.receive.record(callback(query=b"odd=%FF"), [], fault="RECIPIENT is missing")
    house.receive.refused("spryng", 3)
    await house.receive.notify(notice())
    first, second, third, fourth, fifth, sixth, *others = await house.claim("crm", limit=8)
    await house.settle(first, Done("200 ✓"))
    await house.settle(second, retry(30, target=True))
    for dead in (third, sixth):
        await house.settle(dead, Dead("410"))
    await house.settle(fourth, Filtered(), began_at=None)
    await house.settle(fifth, Interrupted("exit status 1"))
    await house.finish(others)
    await house.finish(await house.claim("audit", limit=4))
    await house.command.replay("audit", Selector(message="m-2"), now=NOW)
    (dead, _) = await house.lines("dead")
    await house.command.cancel(replace(DEAD, ids=(dead.id,)), NOW)
    await house.command.erase(GONE, now=NOW)
    await house.dispatch.stand(Standing("audit", "paused", NOW, "by hand", "503", after(-9)), now=NOW)
    await house.reopen()  # what goes along with a later commit is written too


async def seen(house: House) -> dict[str, Any]:
    """What people see of a store; names that are a database's own are left out."""
    found: dict[str, Any] = {"stats": await house.command.stats(NOW)}
    events = await house.events()
    found["events"] = [json.loads(one.event.to_json()) for one in events]
    for state in ("dead", "pending"):
        lines = sorted(await house.lines(state), key=lambda line: line.handler)  # the order of handlers is anybody's
        found[state] = [replace(line, id="") for line in lines]
    found["quarantine"] = [(one.callback, one.reason) for one in await collect(house.command.quarantine())]
    for stored in events:
        trace = await house.command.trace(stored)
        callbacks = [(one.callback, one.outcome, one.copy, one.fate) for one in trace.callbacks]
        found[stored.event.id] = callbacks, [replace(line, id="") for line in trace.dispatches]
    return found


async def copied(source: House, target: House, *, tell: Tell = quietly) -> list[Compared]:
    """Copy one database into another, of which nobody has one open."""
    here = await source.moved()
    try:
        there = await target.moved(create=True)
        try:
            return await transfer.copy(here, there, now=NOW, tell=tell)
        finally:
            await there.close()
    finally:
        await here.close()
