"""House: one database with its three users, as the contract suite sees it, whichever database it is."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from factories import NOW, after, callback

from receiver.events import Event
from receiver.store.base import (
    Dispatch,
    Done,
    Outcome,
    Passes,
    Recorded,
    RetryAt,
    Settlement,
    Store,
    everything,
)
from receiver.store.moving import Movable
from receiver.store.views import (
    DispatchLine,
    DispatchSelector,
    EventTrace,
    HandlerStats,
    Selector,
    SourceStats,
    StoredEvent,
)

LEASE = timedelta(minutes=1)
DEAD = DispatchSelector(state="dead")
PENDING = DispatchSelector(state="pending")

T = TypeVar("T")


def retry(seconds: float = 60, *, target: bool = False, charged: bool = True, probe: bool = False) -> RetryAt:
    """Again in a minute."""
    return RetryAt(after(seconds), "503", target=target, charged=charged, probe=probe)


async def collect(items: AsyncIterator[T]) -> list[T]:
    """All of an iterator."""
    return [item async for item in items]


class House:
    """The stores of one database. Every claim and settlement made through it is followed by the counter equation.

    A database binds the suite with two functions: `opener(role)` opens a store, `abandon(store)` lets go of it as a
    process does that was killed.
    """

    receive: Store
    dispatch: Store
    command: Store

    def __init__(self, opener: Callable[[str], Awaitable[Store]], abandon: Callable[[Store], None]) -> None:
        self._opener = opener
        self._abandon = abandon
        self._owners = 1

    @property
    def owner(self) -> str:
        """Who claims now; another one after each restart of the dispatch side."""
        return f"dispatch-{self._owners}"

    # lives

    async def open(self) -> None:
        self.receive = await self._opener("receive")
        self.dispatch = await self._opener("dispatch")
        self.command = await self._opener("command")

    async def another(self) -> "House":
        """An empty database of the same kind, not yet opened; `moved` first, and it is made."""
        raise NotImplementedError

    async def moved(self, *, create: bool = False) -> Movable:
        """The database without users, to be copied from or to."""
        raise NotImplementedError

    async def close(self) -> None:
        for store in (self.command, self.dispatch, self.receive):
            await store.close()

    async def reopen(self) -> None:
        """Everything is stopped in order and started again."""
        await self.close()
        self._owners += 1
        await self.open()

    async def reopen_dispatch(self) -> None:
        """The dispatch side is stopped in order and started again."""
        await self.dispatch.close()
        await self._new_dispatch()

    async def crash_dispatch(self) -> None:
        """The dispatch side is killed and started again."""
        self._abandon(self.dispatch)
        await self._new_dispatch()

    async def crash_receive(self) -> None:
        """The callbacks side is killed and started again."""
        self._abandon(self.receive)
        self.receive = await self._opener("receive")

    async def _new_dispatch(self) -> None:
        self._owners += 1
        self.dispatch = await self._opener("dispatch")

    # callbacks in

    async def record(self, *events: Event, **changes: Any) -> Recorded:
        """Store one callback that brings these events."""
        return await self.receive.record(callback(*events, **changes), events)

    async def stored(self, *events: Event) -> list[str]:
        """Store new events, each by a callback of its own; their ids."""
        recorded = [await self.record(event) for event in events]
        assert [one.outcome for one in recorded] == ["stored"] * len(events)
        return [event for one in recorded for event in one.events]

    # events out

    async def enrol(self, *handlers: str, now: datetime = NOW) -> None:
        await self.dispatch.enrol(handlers, owner=self.owner, now=now)
        await self.balanced()

    async def claim(
        self,
        handler: str = "crm",
        *,
        limit: int = 100,
        now: datetime = NOW,
        ordered: bool = False,
        passes: Passes = everything,
    ) -> list[Dispatch]:
        """What the handler is given now; asserts that all of it is its own and that the counters balance."""
        claimed = await self.dispatch.claim(
            handler, owner=self.owner, limit=limit, now=now, lease=LEASE, ordered=ordered, passes=passes
        )
        assert len(claimed) <= limit
        assert all(one.handler == handler for one in claimed)
        await self.balanced()
        return list(claimed)

    async def probe(self, handler: str = "crm", *, now: datetime = NOW) -> list[Dispatch]:
        claimed = await self.dispatch.probe_claim(handler, owner=self.owner, now=now, lease=LEASE)
        await self.balanced()
        return list(claimed)

    async def settle(
        self, dispatch: Dispatch, outcome: Outcome, *, now: datetime = NOW, began_at: datetime | None = NOW
    ) -> bool:
        """Settle one dispatch; whether it was still held."""
        took = timedelta(milliseconds=7) if began_at else timedelta(0)
        settlement = Settlement(dispatch, outcome, began_at=began_at, took=took)
        (held,) = await self.dispatch.settle([settlement], now=now)
        await self.balanced()
        return held

    async def finish(self, dispatches: Sequence[Dispatch], *, now: datetime = NOW) -> None:
        """All of them went well."""
        settlements = [Settlement(one, Done("200"), began_at=now) for one in dispatches]
        assert all(await self.dispatch.settle(settlements, now=now))
        await self.balanced()

    # looking

    async def balanced(self) -> None:
        """received = done + filtered + cancelled + pending + running + dead, for every handler."""
        for one in (await self.command.stats(NOW)).handlers:
            parts = (one.done, one.filtered, one.cancelled, one.pending, one.running, one.dead)
            assert one.received == sum(parts), one
            assert min(parts) >= 0, one

    async def counters(self, handler: str = "crm", *, now: datetime = NOW) -> HandlerStats:
        await self.balanced()
        (found,) = (one for one in (await self.command.stats(now)).handlers if one.handler == handler)
        return found

    async def source(self, name: str = "spryng") -> SourceStats:
        (found,) = (one for one in (await self.command.stats(NOW)).sources if one.source == name)
        return found

    async def events(
        self, *, limit: int = 0, newest: bool = False, after: Any = None, **where: Any
    ) -> list[StoredEvent]:
        """Events by the conditions of a Selector."""
        return await collect(self.command.events(Selector(**where), limit=limit, newest=newest, after=after))

    async def ids(self, *, limit: int = 0, newest: bool = False, after: Any = None, **where: Any) -> list[str]:
        return [one.event.id for one in await self.events(limit=limit, newest=newest, after=after, **where)]

    async def found(self, key: str) -> list[str]:
        """The ids of what is found by what a person writes."""
        return [one.event.id for one in await self.command.find(key)]

    async def trace(self, id: str) -> EventTrace:
        (stored,) = await self.command.find(id)
        return await self.command.trace(stored)

    async def line(self, id: str, handler: str = "crm", *, replay: int = 0) -> DispatchLine:
        """What a handler has done with an event."""
        lines = (await self.trace(id)).dispatches
        (found,) = (one for one in lines if (one.handler, one.replay) == (handler, replay))
        return found

    async def lines(self, state: str, *, now: datetime = NOW, **where: Any) -> list[DispatchLine]:
        """Dead or waiting dispatches."""
        return await collect(self.command.dispatches(DispatchSelector(state=state, **where), now))
