"""PostgresStore: the verbs of the contract, each handed to the part of the store that does it."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from receiver.callback import Callback
from receiver.errors import BackupFailed, ReceiverError, StoreUnavailable
from receiver.events import Event, Notice
from receiver.store.base import HORIZON, Dispatch, Passes, Recorded, Settlement, Tell, Waiting, everything, quietly
from receiver.store.postgres import (
    acts,
    arriving,
    claiming,
    erasing,
    faults,
    lanes,
    looking,
    lookup,
    migrating,
    pruning,
    reading,
    settling,
)
from receiver.store.postgres import stats as counters
from receiver.store.postgres.care import Caretaker
from receiver.store.postgres.hint import Bell, Ear
from receiver.store.postgres.log import LogWriter
from receiver.store.postgres.places import END, place_of
from receiver.store.postgres.server import LONG, Connection, Server
from receiver.store.views import (
    Backup,
    DispatchLine,
    DispatchSelector,
    Erased,
    EventTrace,
    Quarantined,
    Selector,
    Standing,
    Stats,
    StoredEvent,
)

LEAVE = 1.0  # seconds for each thing that is left to say when we stop
POLL = 0.5  # seconds after which a handler looks for work without having been woken
CONNECTIONS = {"receive": 4, "dispatch": 8, "command": 2}
"""At most so many at once, and one more to listen."""

T = TypeVar("T")


class PostgresStore:
    """A store that any number of processes share. Roles: `receive`, `dispatch`, and `command` for what is asked."""

    def __init__(self, url: str, role: str) -> None:
        self.role = role
        self._server = Server(url, most=CONNECTIONS[role], name=role)
        self._bell = Bell(self._server)
        self._ear = Ear(self._server)
        self._writer = LogWriter(self._server, f"{role} {os.uname().nodename}/{os.getpid()}", self._bell.ring)
        self._caretaker = Caretaker(self._server)
        self._owners: set[str] = set()
        self._doubts: set[int] = set()
        """Tickets of claims of which nobody knows whether they were committed."""

    @classmethod
    async def open(cls, url: str, role: str, *, create: bool = False) -> "PostgresStore":
        """Open a store. `create` makes what is missing and migrates what is old; without it that is an error.

        Raises StoreMissing, StoreUnusable, StoreUnavailable.
        """
        store = cls(url, role)
        try:
            await store.start(create=create)
        except BaseException:
            await store.close()
            raise
        return store

    async def start(self, *, create: bool = False) -> None:
        """Do what `open` does. After StoreUnavailable it may be called again: the server may be there by then."""
        try:
            if create:
                await migrating.prepare(self._server)
            else:
                await migrating.check(self._server)
            await self._server.run(lambda db: arriving.require_whole(db, self._server.where), reading=True)
        except StoreUnavailable as fault:
            raise faults.at_start(fault.__cause__, self._server.where) if fault.__cause__ else fault from fault
        self._writer.open()

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
        await self._caretaker.close()
        await self._ear.close()
        await self._writer.close()
        self._bell.close()
        for owner in self._owners:
            with contextlib.suppress(ReceiverError):
                await self._server.run(partial(lanes.leave, owner=owner), within=LEAVE)
        await self._server.close()

    def abandon(self) -> None:
        """Let go of everything as a crash would, finishing nothing."""
        self._caretaker.abandon()
        self._ear.abandon()
        self._bell.close()
        self._writer.abandon()
        self._server.abandon()

    # callbacks in

    async def record(self, callback: Callback, events: Sequence[Event], *, fault: str = "") -> Recorded:
        return await self._writer.record(callback, events, fault)

    def submit(
        self, callback: Callback, events: Sequence[Event], fault: str, recorded: asyncio.Future[Recorded]
    ) -> None:
        self._writer.submit(callback, events, fault, recorded)

    def mark(self, recorded: Recorded, *, answered: bool) -> None:
        self._writer.mark(recorded, answered=answered)

    def refused(self, source: str, count: int = 1) -> None:
        self._writer.refused(source, count)

    def refusal(self) -> str | None:
        return self._writer.refusal()

    def trouble(self) -> str | None:
        return self._writer.trouble

    def idle_for(self) -> float:
        """Seconds since the commit loop last turned."""
        return self._writer.idle_for()

    async def notify(self, notice: Notice) -> bool:
        return await self._writer.notify(notice)

    async def probe(self, now: datetime) -> None:  # noqa: ARG002 - the server's clock tells who lives
        await self._writer.probe()

    async def register(self, handlers: Sequence[str]) -> None:
        await self._server.run(lambda db: lanes.register(db, list(handlers)))

    # events out

    async def enrol(self, handlers: Sequence[str], *, owner: str, now: datetime) -> None:
        async def work(db: Connection) -> None:
            await lanes.register(db, list(handlers))
            await lanes.take_over(db, now, grace=lanes.GRACE)
            await lanes.heed_clock(db, now)

        await self._server.run(work)
        self._owners.add(owner)
        self._ear.open()
        self._caretaker.start()

    async def claim(
        self,
        handler: str,
        *,
        owner: str,
        limit: int,
        now: datetime,
        lease: timedelta,
        ordered: bool = False,
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        asked = claiming.Asked(handler, owner, random.getrandbits(62), ordered=ordered, passes=passes, lease=lease)
        return await self._claim(asked, lambda db: claiming.claim(db, asked, limit=limit, now=now, horizon=horizon))

    async def probe_claim(
        self,
        handler: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        asked = claiming.Asked(handler, owner, random.getrandbits(62), ordered=False, passes=passes, lease=lease)
        return await self._claim(asked, lambda db: claiming.probe_claim(db, asked, now, horizon))

    async def _claim(
        self, asked: claiming.Asked, job: Callable[[Connection], Awaitable[list[Dispatch]]]
    ) -> list[Dispatch]:
        """First what may have been claimed without our knowing is given back."""
        doubts = list(self._doubts)
        if doubts:
            await self._server.run(lambda db: lanes.release(db, asked.owner, doubts, asked.lease))
            self._doubts.difference_update(doubts)
        try:
            return await self._server.run(job)
        except faults.Unknown:
            self._doubts.add(asked.ticket)
            raise

    async def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        return await self._server.run(lambda db: settling.settle(db, settlements, now))

    async def renew(self, owner: str, *, now: datetime, lease: timedelta) -> None:
        """Also takes over from those whose lease has ended; not where ours had too: then the server was away."""

        async def work(db: Connection) -> None:
            lives = await db.fetchval(lanes.LIVES, owner)
            await db.execute(lanes.RENEW, owner, lease)
            if lives:
                await lanes.take_over(db, now)

        await self._server.run(work)

    async def waiting(self, handler: str, *, now: datetime, horizon: timedelta = HORIZON) -> Waiting:
        return await self._server.run(lambda db: lanes.waiting(db, handler, now, horizon), reading=True)

    async def stand(self, standing: Standing, *, release: bool = False, now: datetime) -> None:  # noqa: ARG002
        await self._server.run(lambda db: lanes.stand(db, standing, release=release))
        self._bell.ring()

    async def standings(self) -> Mapping[str, Standing]:
        return await self._server.run(lanes.standings, reading=True)

    async def set_back(self, by: timedelta, *, now: datetime) -> None:
        await self._server.run(lambda db: lanes.set_back(db, by, now))

    async def changed(self, timeout: timedelta) -> None:
        await self._ear.wait(min(timeout.total_seconds(), POLL))

    # looking

    async def _read(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        return await self._server.run(job, within=LONG, reading=True)

    async def events(
        self, selector: Selector, *, limit: int = 0, newest: bool = False, after: Any = None
    ) -> AsyncIterator[StoredEvent]:
        reads = await self._read(lambda db: reading.readers(db, selector, after))
        pieces = self._newest(reads[-1], limit) if newest and limit and reads else self._pieces(reads)
        left = limit or -1
        async for some in pieces:
            for stored in some:
                yield stored
                left -= 1
                if left == 0:
                    return

    async def _pieces(self, reads: Sequence[reading.Reader]) -> AsyncIterator[list[StoredEvent]]:
        """All of it, in pieces."""
        for read in reads:
            narrowed = await self._read(partial(reading.narrowed, read=read))
            if narrowed is not None:
                yield narrowed
                continue
            at: reading.Key | None = read.start
            while at is not None:
                found, at = await self._read(partial(reading.piece, read=read, after=at))
                yield found

    async def _newest(self, read: reading.Reader, most: int) -> AsyncIterator[list[StoredEvent]]:
        found = await self._read(partial(reading.narrowed, read=read))
        if found is not None:
            yield found[-most:]
            return
        found = []
        at: reading.Key | None = (END, 0, 0)
        while at is not None and len(found) < most:
            left = most - len(found)
            older, at = await self._read(partial(reading.piece_back, read=read, before=at, most=left))
            found[:0] = older
        yield found

    async def end(self) -> Any:
        return await self._read(reading.end)

    async def find(self, key: str) -> Sequence[StoredEvent]:
        return await self._read(lambda db: lookup.find(db, key))

    async def trace(self, stored: StoredEvent) -> EventTrace:
        return await self._read(lambda db: looking.trace(db, stored))

    async def stats(self, now: datetime) -> Stats:  # noqa: ARG002 - counters need no clock here
        return await self._read(counters.stats)

    async def dispatches(self, selector: DispatchSelector, now: datetime) -> AsyncIterator[DispatchLine]:  # noqa: ARG002
        after: looking.Behind | None = looking.FIRST
        while after is not None:
            lines, after = await self._read(partial(looking.dispatches, selector=selector, after=after))
            for line in lines:
                yield line
        if selector.state == "pending" and not (selector.reason or selector.ids or selector.since):
            async for line in self._unclaimed(selector.handler):
                yield line

    async def _unclaimed(self, handler: str | None) -> AsyncIterator[DispatchLine]:
        """What no handler has begun yet: the distance between its lanes and the ends of the streams."""
        for name, reached in (await self._read(lambda db: lanes.reached(db, handler))).items():
            async for stored in self.events(Selector(), after=reached):
                yield looking.unclaimed(stored, name)

    async def quarantine(self, ids: Sequence[str] = ()) -> AsyncIterator[Quarantined]:
        last: Quarantined | None = None
        while found := await self._read(partial(looking.quarantine, ids=ids, after=last)):
            for kept in found:
                yield kept
            last = found[-1]

    # acts of people

    async def requeue(self, selector: DispatchSelector, now: datetime) -> int:  # noqa: ARG002 - due since ever
        count = await self._server.run(lambda db: acts.requeue(db, selector), within=LONG)
        self._bell.ring()
        return count

    async def cancel(self, selector: DispatchSelector, now: datetime) -> int:  # noqa: ARG002
        return await self._server.run(lambda db: acts.cancel(db, selector), within=LONG)

    async def replay(self, handler: str, selector: Selector, *, now: datetime, dry_run: bool = False) -> int:  # noqa: ARG002
        count = 0
        reads = await self._read(lambda db: reading.readers(db, selector, None))
        async for found in self._pieces(reads):
            count += len(found)
            if found and not dry_run:
                await self._server.run(partial(acts.replay, handler=handler, events=found), within=LONG)
        self._bell.ring()
        return count

    async def reread(self, quarantined: Quarantined, events: Sequence[Event]) -> Recorded:
        place = place_of(quarantined.id)
        return await self._writer.reread(place, quarantined.callback, events) if place else Recorded("ignored")

    async def discard(self, ids: Sequence[str]) -> int:
        return await self._writer.discard([place for place in map(place_of, ids) if place])

    async def forget(self, handler: str) -> bool:
        return await self._server.run(lambda db: acts.forget(db, handler), within=LONG)

    async def rename(self, old: str, new: str) -> bool:
        return await self._server.run(lambda db: acts.rename(db, old, new), within=LONG)

    async def prune(self, before: datetime, *, simulated: bool = False) -> int:
        removed = 0
        if not simulated:
            removed += await self._server.run(lambda db: pruning.dispatches(db, before), within=LONG)
        removed += await self._server.run(lambda db: pruning.log(db, before, simulated=simulated), within=LONG)
        return removed + await self._server.run(pruning.traces, within=LONG)

    async def erase(self, number: str, *, now: datetime, dry_run: bool = False, tell: Tell = quietly) -> Erased:  # noqa: ARG002
        return await erasing.erase(self._server, number, dry_run=dry_run, tell=tell)

    async def backup(self, path: Path, *, now: datetime, tell: Tell = quietly) -> Backup:  # noqa: ARG002
        raise BackupFailed(
            f"{self._server.where} is backed up by PostgreSQL's own means: pg_dump, or continuous archiving"
        )

    async def backups(self) -> Sequence[Backup]:
        """None: what PostgreSQL's own means have made is not known here."""
        return ()

    async def forget_backups(self, paths: Sequence[str]) -> None:
        """Nothing to do: none are known."""
