"""The writer of a stream: an event is in the log when its commit is on the server's disk, and not before it is told."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from receiver.callback import Callback
from receiver.errors import ReceiverError, StoreUnavailable
from receiver.events import Event, Notice
from receiver.store import rows
from receiver.store.base import Recorded
from receiver.store.group import LEAVE, GroupCommit, Later
from receiver.store.plan import Entry, Fate, First, Known, Plan, Planner
from receiver.store.postgres import inserting, streams
from receiver.store.postgres.faults import Unknown
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import TRIES, Connection, Job, Server
from receiver.store.postgres.streams import Stream

BEAT = 20.0  # seconds between two signs of life of a stream
FOLD_EACH = 256  # commits after which the counts of a stream are added up

FIND_KEYS = "SELECT key, stream, position, id FROM keys WHERE key = ANY($1)"
# FOR UPDATE: two receivers with the same content at the same moment go one after the other.
FIND_FATES = (
    "SELECT digest, stream, position, id, received_at, fate FROM fates WHERE digest = ANY($1)"
    " ORDER BY digest FOR UPDATE"
)
# What callbacks need and a sign of life does not: their tables, and room. A full disk lets rows change where they are.
AS_CALLBACKS = (
    "LOCK TABLE callbacks, keys, events IN ROW EXCLUSIVE MODE;"
    " CREATE TEMP TABLE room ON COMMIT DROP AS SELECT repeat('x', 2000) FROM generate_series(1, 500)"
)
OPEN = "INSERT INTO open_notices VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING 1"
CLOSE = "DELETE FROM open_notices WHERE notice = $1 AND about = $2 RETURNING 1"
UNQUARANTINE = "DELETE FROM quarantine WHERE stream = $1 AND number = $2 RETURNING 1"
DROP_CALLBACK = "DELETE FROM callbacks WHERE stream = $1 AND number = $2 RETURNING 1"

T = TypeVar("T")
Work = Callable[[Connection, Stream], Awaitable[T]]


class _Closed(ReceiverError):
    """Somebody has closed our stream: we were silent for too long."""


class LogWriter(GroupCommit):
    """Appends to a stream of its own, one commit at a time. After one in doubt it goes on in a fresh stream."""

    waits_for = "PostgreSQL"

    def __init__(self, server: Server, name: str, wake: Callable[[], None]) -> None:
        super().__init__(wake)
        self.trouble: str | None = None
        """Why the last write failed; None where it went well."""
        self._server, self._name = server, name
        self._stream: Stream | None = None
        self._turn = asyncio.Lock()
        self._began: float | None = None
        self._ended = time.monotonic()
        self._commits = 0
        self._beating: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to take callbacks."""
        self.begin()
        self._beating = asyncio.create_task(self._beat(), name="stream-beat")

    def busy_for(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def turned(self) -> float:
        return self._ended

    async def notify(self, notice: Notice) -> bool:
        """Append a notice if it changes what is open; of several who say the same, one does."""
        received = rows.to_micros(notice.received_at)
        notice.id = rows.new_id(received)
        about = (notice.notice, notice.about)

        async def append(db: Connection, stream: Stream) -> bool:
            position = stream.position + 1
            if notice.state == "open":
                changed = await db.fetchval(OPEN, *about, stream.number, position)
            else:
                changed = await db.fetchval(CLOSE, *about)
            if not changed:
                return False
            plan = Plan(events=[rows.event_row(position, None, None, notice, received)])
            await self._insert(db, stream, plan, Known({}, {}))
            return True

        changed = await self.write(append, lambda stream, done: self._advance(stream, int(done), 0, received))
        if changed:
            self._wake()
        return changed

    async def probe(self) -> None:
        """A durable write of its own; after trouble it needs what callbacks need."""
        troubled = self.trouble is not None

        async def touch(db: Connection, stream: Stream) -> None:
            if not await streams.beat(db, stream.number):
                raise _Closed
            if troubled:
                await db.execute(AS_CALLBACKS)

        await self.write(touch)

    async def reread(self, place: Place, callback: Callback, events: Sequence[Event]) -> Recorded:
        """Store the events of a callback that was in quarantine; its answer was 200, so that got out."""
        entry = Entry(callback, events, "", asyncio.get_running_loop().create_future())

        async def append(db: Connection, stream: Stream) -> Plan | None:
            if not await db.fetchval(UNQUARANTINE, *place):  # somebody was faster
                return None
            await db.fetchval(DROP_CALLBACK, *place)  # it goes on in our stream
            self._look_first = True
            plan = await self._append(db, stream, [entry])
            marks = [("answered", digest, where) for digest, where in plan.answers[0].uncertain]
            await inserting.later(db, Later(marks, self._refused.__class__()))
            return plan

        plan = await self._raced(append, lambda stream, done: self._took(stream, done or Plan()))
        self._wake()
        return plan.answers[0] if plan else Recorded("ignored")

    async def discard(self, places: Sequence[Place]) -> int:
        """Take callbacks out of quarantine, with their bytes."""

        async def remove(db: Connection) -> int:
            removed = 0
            for place in places:
                if await db.fetchval(UNQUARANTINE, *place):
                    await db.fetchval(DROP_CALLBACK, *place)
                    removed += 1
            return removed

        return await self._server.run(remove)

    async def write(self, work: Work[T], advance: Callable[[Stream, T], Any] | None = None) -> T:
        """Do some work in a transaction of its own in our stream, and then move on what it ends with.

        Raises StoreUnavailable; nothing is then written, or nobody knows, and the stream is left as it is.
        """
        async with self._turn:
            self._began = time.monotonic()
            try:
                result = await self._try(work, advance)
                self.trouble = None
                return result
            except StoreUnavailable as fault:
                self.trouble = str(fault)
                if isinstance(fault, Unknown):
                    self._stream = None
                raise
            finally:
                self._began, self._ended = None, time.monotonic()

    async def _try(self, work: Work[T], advance: Callable[[Stream, T], Any] | None) -> T:
        for _ in range(TRIES):
            if self._stream is None:
                self._stream = await self._server.run(lambda db: streams.open_stream(db, self._name))
            stream = self._stream
            try:
                result = await self._server.run(_in(stream, work))
            except _Closed:
                self._stream = None
                continue
            if advance:
                advance(stream, result)
            return result
        raise StoreUnavailable("the streams of this receiver are closed as soon as they are opened")

    async def _raced(self, work: Work[T], advance: Callable[[Stream, T], Any]) -> T:
        """The same for what is only stored where nobody else stores it at this moment; else it is looked for first."""
        for _ in range(TRIES):
            try:
                return await self.write(work, advance)
            except inserting.Raced:
                self._look_first = True
        raise StoreUnavailable("other receivers store the same callbacks at this moment")

    async def _store(self, batch: Sequence[Entry], later: Later) -> Plan:
        """Insert at once what is most likely new; where something repeats, look first and insert the rest."""

        async def append(db: Connection, stream: Stream) -> Plan:
            await inserting.later(db, later)  # first: fates decide what is a retry
            if self._commits % FOLD_EACH == FOLD_EACH - 1:
                await db.execute(streams.FOLD, stream.number)
            return await self._append(db, stream, batch)

        plan = await self._raced(append, self._took)
        self._commits += 1
        self._look_first = bool(plan.copies)
        return plan

    async def _append(self, db: Connection, stream: Stream, batch: Sequence[Entry]) -> Plan:
        known = await self._known(db, batch)
        place = lambda position: Place(stream.number, position)  # noqa: E731
        plan = Planner(stream.position, stream.callback, known, place=place).draw(batch)
        await self._insert(db, stream, plan, known)
        return plan

    async def _known(self, db: Connection, batch: Sequence[Entry]) -> Known:
        """What the log holds already of a batch."""
        digests = [digest for entry in batch for digest in entry.digests if digest]
        fates: dict[bytes, Fate] = {}
        for digest, stream, position, raw, received, fate in await db.fetch(FIND_FATES, digests) if digests else ():
            fates[digest] = Fate(Place(stream, position), rows.id_text(raw), rows.from_micros(received), fate)
        wanted = [key for entry in batch for key in entry.keys if key]
        keys: dict[bytes, First] = {}
        if self._look_first or any(key.other for key in wanted):
            sought = [one for key in wanted for one in key if one]
            for found, stream, position, raw in await db.fetch(FIND_KEYS, sought):
                keys[found] = First(Place(stream, position), rows.id_text(raw))
        return Known(keys, fates)

    async def _insert(self, db: Connection, stream: Stream, plan: Plan, known: Known) -> None:
        if not await inserting.insert(db, stream, plan, known):
            raise _Closed

    def _took(self, stream: Stream, plan: Plan) -> None:
        newest = max((row[6] for row in plan.events), default=0)
        self._advance(stream, len(plan.events), len(plan.callbacks), newest)

    @staticmethod
    def _advance(stream: Stream, events: int, callbacks: int, at: int) -> None:
        stream.position += events
        stream.callback += callbacks
        stream.at = max(stream.at, at) if events else stream.at

    async def _write_later(self, later: Later) -> None:
        await self._server.run(lambda db: inserting.later(db, later))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            if self._stream is not None:
                with contextlib.suppress(StoreUnavailable):
                    await self.probe()

    async def _let_go(self) -> None:
        if self._beating:
            self._beating.cancel()
        if self._stream is not None:
            number, self._stream = self._stream.number, None
            with contextlib.suppress(StoreUnavailable):
                await self._server.run(lambda db: streams.close_stream(db, number), within=LEAVE)

    def _abandon(self) -> None:
        if self._beating:
            self._beating.cancel()
        self._stream = None


def _in(stream: Stream, work: Work[T]) -> Job[T]:
    """The work in a stream as a job."""
    return lambda db: work(db, stream)
