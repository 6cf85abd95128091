"""SqliteStore: the verbs of the contract, each handed to the part of the store that does it."""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from receiver.callback import Callback
from receiver.events import Event, Notice
from receiver.store.base import HORIZON, Dispatch, Passes, Recorded, Settlement, Tell, Waiting, everything, quietly
from receiver.store.sqlite import (
    acts,
    claiming,
    copying,
    erasing,
    files,
    lanes,
    leaving,
    looking,
    lookup,
    migrating,
    pruning,
    settling,
)
from receiver.store.sqlite.care import Caretaker
from receiver.store.sqlite.desk import Connections, Desk
from receiver.store.sqlite.hint import Bell, Ear
from receiver.store.sqlite.log import LogWriter
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

POLL = 0.5  # seconds after which a handler looks for work without having been woken
NICE = 10  # how far a backup and an erasure stand behind those who answer
PATIENCE = timedelta(seconds=8)  # for a dispatch process that is just ending

T = TypeVar("T")

ROLES = ("receive", "dispatch", "command")


class SqliteStore:
    """A store of one machine. `receive` writes the log, `dispatch` what handlers did, `command` what is asked."""

    def __init__(self, path: Path, role: str) -> None:
        self.path = path
        self.role = role
        self._locks: list[files.Lock] = []
        self._bell = Bell(_socket_path(path))
        self._ear = Ear(_socket_path(path))
        self._writer = LogWriter(path, self._bell.ring)
        self._desk = Desk(path, writing=role != "receive", durable=role == "command")
        self._caretaker = Caretaker(path, self._desk)

    @classmethod
    async def open(cls, path: Path, role: str, *, create: bool = False) -> "SqliteStore":
        """Open a store. `create` makes missing files and migrates old ones; without it they are errors.

        Raises StoreMissing, StoreTaken where another process has this role, StoreUnusable, StoreUnavailable.
        """
        store = cls(path, role)
        try:
            await store.start(create=create)
        except BaseException:
            await store.close()
            raise
        return store

    async def start(self, *, create: bool = False) -> None:
        """Do what `open` does. After StoreUnavailable it may be called again: the disk may have room by then."""
        try:
            await asyncio.to_thread(self._prepare, create=create)
            await self._desk.open()
            await self._writer.open()
        except sqlite3.Error as fault:
            raise files.unavailable(fault, self.path) from fault

    def _prepare(self, *, create: bool) -> None:
        lock = {"receive": self.path, "dispatch": files.dispatch_path(self.path)}.get(self.role)
        if lock and not self._locks and (create or lock.exists()):
            patience = PATIENCE if self.role == "dispatch" else timedelta(0)
            self._locks.append(files.Lock(lock.with_name(f"{lock.name}.lock"), patience=patience))
        if create:
            migrating.prepare(self.path)
            leaving.require_whole(self.path)
            return
        for path, file in ((self.path, "log"), (files.dispatch_path(self.path), "dispatch")):
            files.check(path, file)
        leaving.require_whole(self.path)

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
        await self._caretaker.close()
        await self._writer.close()
        await self._desk.close()
        self._let_go()

    def abandon(self) -> None:
        """Let go of everything as a crash would, finishing nothing."""
        self._caretaker.abandon()
        self._writer.abandon()
        self._desk.abandon()
        self._let_go()

    def _let_go(self) -> None:
        self._bell.close()
        self._ear.close()
        for lock in self._locks:
            lock.release()

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

    async def probe(self, now: datetime) -> None:
        await self._writer.probe(now)

    async def register(self, handlers: Sequence[str]) -> None:
        def write() -> None:  # durable: a lane that a power cut takes would begin anew at the end of the log
            with contextlib.closing(Connections(self.path, writing=True, durable=True)) as at:
                at.dispatch.execute("BEGIN IMMEDIATE")
                lanes.register(at, handlers)
                at.dispatch.execute("COMMIT")

        try:
            await asyncio.to_thread(write)
        except sqlite3.Error as fault:
            raise files.unavailable(fault, files.dispatch_path(self.path)) from fault

    # events out

    async def enrol(self, handlers: Sequence[str], *, owner: str, now: datetime) -> None:
        await self.register(handlers)
        await self._desk.write(lambda at: lanes.take_over(at, owner, now))
        await self._desk.write(lambda at: lanes.heed_clock(at, now))
        self._ear.open()
        self._caretaker.start()

    async def claim(
        self,
        handler: str,
        *,
        owner: str,
        limit: int,
        now: datetime,
        lease: timedelta,  # noqa: ARG002 - the lock on the file is the lease: it ends with the process
        ordered: bool = False,
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        asked = claiming.Asked(handler, owner, ordered=ordered, passes=passes)
        return await self._desk.write(
            lambda at: claiming.claim(at, asked, limit=limit, now=now, horizon=horizon), size=limit
        )

    async def probe_claim(
        self,
        handler: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,  # noqa: ARG002 - as above
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        asked = claiming.Asked(handler, owner, ordered=False, passes=passes)
        return await self._desk.write(lambda at: claiming.probe_claim(at, asked, now, horizon))

    async def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        return await self._desk.write(lambda at: settling.settle(at, settlements, now), size=len(settlements))

    async def renew(self, owner: str, *, now: datetime, lease: timedelta) -> None:
        """Nothing to do: the lock on the file is the lease."""

    async def waiting(self, handler: str, *, now: datetime, horizon: timedelta = HORIZON) -> Waiting:
        return await self._desk.read(lambda at: lanes.waiting(at, handler, now, horizon))

    async def stand(self, standing: Standing, *, release: bool = False, now: datetime) -> None:  # noqa: ARG002
        await self._desk.write(lambda at: lanes.stand(at, standing, release=release))
        self._bell.ring()

    async def standings(self) -> Mapping[str, Standing]:
        return await self._desk.read(lanes.standings)

    async def set_back(self, by: timedelta, *, now: datetime) -> None:
        await self._desk.write(lambda at: lanes.set_back(at, by, now))

    async def changed(self, timeout: timedelta) -> None:
        await self._ear.wait(min(timeout.total_seconds(), POLL))

    # looking

    async def events(
        self, selector: Selector, *, limit: int = 0, newest: bool = False, after: Any = None
    ) -> AsyncIterator[StoredEvent]:
        found: list[StoredEvent] = []
        ranges = await self._desk.read(lambda at: looking.ranges(at, selector, after or 0))
        if newest and limit:
            for first, last in reversed(ranges):
                most = limit - len(found)
                found[:0] = await self._desk.read(
                    partial(looking.newest_events, selector=selector, first=first, last=last, most=most)
                )
                if len(found) >= limit:
                    break
            for stored in found[-limit:]:
                yield stored
            return
        left = limit or -1
        for first, last in ranges:
            for stored in await self._desk.read(partial(looking.events, selector=selector, first=first, last=last)):
                yield stored
                left -= 1
                if left == 0:
                    return

    async def end(self) -> Any:
        return await self._desk.read(lambda at: at.end())

    async def find(self, key: str) -> Sequence[StoredEvent]:
        return await self._desk.read(lambda at: lookup.find(at, key))

    async def trace(self, stored: StoredEvent) -> EventTrace:
        return await self._desk.read(lambda at: looking.trace(at, stored))

    async def stats(self, now: datetime) -> Stats:  # noqa: ARG002 - counters need no clock here
        return await self._desk.read(looking.stats)

    async def dispatches(self, selector: DispatchSelector, now: datetime) -> AsyncIterator[DispatchLine]:  # noqa: ARG002
        after: looking.Behind | None = ("", -1, -1)
        while after is not None:
            lines, after = await self._desk.read(partial(looking.dispatches, selector=selector, after=after))
            for line in lines:
                yield line
        if selector.state == "pending" and not (selector.reason or selector.ids or selector.since):
            async for line in self._unclaimed(selector.handler):
                yield line

    async def _unclaimed(self, handler: str | None) -> AsyncIterator[DispatchLine]:
        """What no handler has begun yet: the distance between a lane and the end of the log."""
        for name, reached in await self._desk.read(lambda at: lanes.reached(at, handler)):
            async for stored in self.events(Selector(), after=reached - 1):
                yield looking.unclaimed(stored, name)

    async def quarantine(self, ids: Sequence[str] = ()) -> AsyncIterator[Quarantined]:
        after = 0
        while found := await self._desk.read(partial(looking.quarantine, ids=ids, after=after)):
            for kept in found:
                yield kept
            after = int(found[-1].id)

    # acts of people

    async def requeue(self, selector: DispatchSelector, now: datetime) -> int:  # noqa: ARG002 - due since ever
        count = await self._desk.write(lambda at: acts.requeue(at, selector))
        self._bell.ring()
        return count

    async def cancel(self, selector: DispatchSelector, now: datetime) -> int:  # noqa: ARG002
        return await self._desk.write(lambda at: acts.cancel(at, selector))

    async def replay(self, handler: str, selector: Selector, *, now: datetime, dry_run: bool = False) -> int:  # noqa: ARG002
        count = 0
        end = await self.end()
        for first, last in await self._desk.read(lambda at: looking.ranges(at, selector, 0)):
            found = await self._desk.read(partial(looking.events, selector=selector, first=first, last=min(last, end)))
            count += len(found)
            if found and not dry_run:
                await self._desk.write(partial(acts.replay, handler=handler, events=found))
        self._bell.ring()
        return count

    async def reread(self, quarantined: Quarantined, events: Sequence[Event]) -> Recorded:
        return await self._writer.reread(int(quarantined.id), quarantined.callback, events)

    async def discard(self, ids: Sequence[str]) -> int:
        return await self._writer.discard([number for number in map(looking.as_number, ids) if number is not None])

    async def forget(self, handler: str) -> bool:
        return await self._desk.write(lambda at: acts.forget(at, handler))

    async def rename(self, old: str, new: str) -> bool:
        return await self._desk.write(lambda at: acts.rename(at, old, new))

    async def erase(self, number: str, *, now: datetime, dry_run: bool = False, tell: Tell = quietly) -> Erased:
        return await _beside(lambda stop: erasing.erase(self.path, number, now, dry_run=dry_run, tell=tell, stop=stop))

    async def backup(self, path: Path, *, now: datetime, tell: Tell = quietly) -> Backup:
        return await _beside(lambda stop: copying.backup(self.path, path, now, tell, stop))

    async def backups(self) -> Sequence[Backup]:
        return await self._desk.read(lambda at: copying.known(at.log, self.path))

    async def forget_backups(self, paths: Sequence[str]) -> None:
        await self._writer.file.write(lambda db: copying.forget(db, paths))

    async def prune(self, before: datetime, *, simulated: bool = False) -> int:
        if simulated:
            first_kept = await self._desk.read(looking.oldest_needed)
        else:
            first_kept = await self._desk.read(lambda at: looking.floor(at, before))
        removed = 0
        if self.role != "receive" and not simulated:
            removed += await self._desk.write(lambda at: pruning.dispatches(at, before, first_kept))
        if self.role != "dispatch":
            removed += await self._writer.file.write(
                lambda db: pruning.log(db, before, first_kept, simulated=simulated), checkpoint=True
            )
        return removed


async def _beside(work: Callable[[threading.Event], T]) -> T:
    """Do long work in a thread that stands behind, with files of its own; whoever stops waiting for it ends it."""
    stop = threading.Event()

    def run() -> T:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        return work(stop)

    try:
        return await asyncio.to_thread(run)
    finally:
        stop.set()


def _socket_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.wake")
