"""The writer of the log: group commit, answers only after COMMIT, later marks, notices."""

import asyncio
import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from receiver.callback import Callback
from receiver.errors import StoreUnavailable
from receiver.events import Event, Notice
from receiver.store.base import Recorded
from receiver.store.sqlite import later as later_commit
from receiver.store.sqlite import rows
from receiver.store.sqlite.known import fates_in, keys_in
from receiver.store.sqlite.later import Later
from receiver.store.sqlite.logfile import LogFile
from receiver.store.sqlite.plan import Entry, First, Known, Plan, Planner

MOST_ENTRIES = 512  # callbacks in one commit
MOST_WAITING = 4096  # callbacks, and
MOST_BYTES = 64 * 1024**2  # bytes of them, that may wait for a commit before others are refused
STUCK = 2.0  # seconds after which a commit that does not end lets nobody else wait
PATIENCE = 4.0  # seconds after which those who wait for it are told that it failed
LEAVE = 2.0  # seconds that what is begun gets when we stop; a disk that hangs for longer must not hold up the end
LATER = 0.2  # seconds that marks and counts may wait for a commit of their own
# Turns of the loop between a commit and the next, so that those just answered can be in the next one.
TURNS = 4

NEWEST = "SELECT (SELECT max(position) FROM events), (SELECT max(number) FROM callbacks)"
COPY = "INSERT INTO copies (position, callback) VALUES (?, ?) ON CONFLICT DO NOTHING"
QUARANTINE = "INSERT INTO quarantine (callback, source, reason) VALUES (?, ?, ?)"
FATE = (
    "INSERT INTO fates (digest, position, received_at, fate) VALUES (?, ?, ?, 'unknown')"
    " ON CONFLICT (digest) DO UPDATE SET position = excluded.position, received_at = excluded.received_at,"
    " fate = excluded.fate"
)
COUNT = (
    "INSERT INTO sources (source, stored, duplicates, quarantined, simulated, last_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (source) DO UPDATE SET stored = stored + excluded.stored,"
    " duplicates = duplicates + excluded.duplicates, quarantined = quarantined + excluded.quarantined,"
    " simulated = simulated + excluded.simulated, last_at = max(coalesce(last_at, 0), coalesce(excluded.last_at, 0))"
)
OPEN = "INSERT INTO open_notices (notice, about, position) VALUES (?, ?, ?)"
CLOSE = "DELETE FROM open_notices WHERE notice = ? AND about = ?"
IS_OPEN = "SELECT 1 FROM open_notices WHERE notice = ? AND about = ?"
PROBE = "INSERT OR REPLACE INTO probes (one, probed_at) VALUES (1, ?)"


class LogWriter:
    """Appends to the log, one commit at a time; all that came while the last one ran goes into the next together."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.file = LogFile(path)
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._alone: list[Entry] = []
        self._marks: list[tuple[str, bytes, int]] = []
        self._refused: Counter[str] = Counter()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._position = self._number = 0
        self._look_first = True
        self._turned = time.monotonic()

    async def open(self) -> None:
        """Connect and begin to take callbacks."""
        self._loop = asyncio.get_running_loop()
        await self.file.connect()
        self._task = asyncio.create_task(self._run(), name="log-writer")

    async def close(self) -> None:
        """Refuse what comes, finish what waits, let go; within three seconds, whatever the disk does."""
        self._closing = True
        self._kick.set()
        try:
            async with asyncio.timeout(LEAVE):
                if self._task:
                    await asyncio.shield(self._task)
                await self.file.disconnect()
        except TimeoutError:
            self._refuse((), StoreUnavailable("the receiver is stopping"))
            self.abandon()

    def abandon(self) -> None:
        """Let go of everything as a crash would: nothing that waits is finished."""
        if self._task:
            self._task.cancel()
        self.file.abandon()

    @property
    def trouble(self) -> str | None:
        """Why the last write failed."""
        return self.file.trouble

    def refusal(self) -> str | None:
        """Why nothing can be taken at this moment."""
        if self._closing:
            return "the receiver is stopping"
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_BYTES:
            return f"overloaded: {len(self._waiting)} callbacks wait for the disk"
        if (busy := self.file.busy_for()) > STUCK:
            return f"the disk has not finished a write for {busy:.0f} s"
        return None

    async def record(self, callback: Callback, events: Sequence[Event], fault: str) -> Recorded:
        """Durable on return."""
        if reason := self.refusal():
            raise StoreUnavailable(reason)
        entry = Entry(callback, events, fault, self._loop.create_future())
        self._waiting.append(entry)
        self._waiting_bytes += entry.bytes
        self._kick.set()
        return await entry.done

    def mark(self, recorded: Recorded, *, answered: bool) -> None:
        """With a later commit."""
        fate = "answered" if answered else "unanswered"
        self._marks += [(fate, digest, position) for digest, position in recorded.uncertain]
        self._soon()

    def refused(self, source: str, count: int) -> None:
        """With a later commit."""
        self._refused[source] += count
        self._soon()

    async def notify(self, notice: Notice) -> bool:
        """Append a notice if it changes what is open."""
        received = rows.to_micros(notice.received_at)
        notice.id = rows.new_id(received)
        about = (notice.notice, notice.about)

        def append(db: sqlite3.Connection) -> bool:
            is_open = db.execute(IS_OPEN, about).fetchone() is not None
            if is_open == (notice.state == "open"):
                return False
            self._numbers(db)
            position = self._position + 1
            rows.insert(db, rows.EVENTS, [rows.event_row(position, None, None, notice, received)])
            db.execute(CLOSE, about) if is_open else db.execute(OPEN, (*about, position))
            return True

        changed = await self.file.write(append)
        if changed:
            self._wake()
        return changed

    async def probe(self, now: datetime) -> None:
        """A durable write of its own."""
        await self.file.write(lambda db: db.execute(PROBE, (rows.to_micros(now),)))

    async def reread(self, number: int, callback: Callback, events: Sequence[Event]) -> Recorded:
        """Store the events of a callback that was in quarantine; its answer was 200, so that got out."""
        entry = Entry(callback, events, "", self._loop.create_future())

        def append(db: sqlite3.Connection) -> Recorded:
            taken = db.execute("DELETE FROM quarantine WHERE callback = ?", (number,))
            if not taken.rowcount:  # somebody was faster
                return Recorded("ignored")
            self._look_first = True
            plan = self._draw(db, [entry], number=number)
            plan.callbacks.clear()
            _insert(db, plan)
            recorded = plan.answers[0]
            db.executemany(later_commit.MARK, [("answered", *place) for place in recorded.uncertain])
            db.execute("UPDATE callbacks SET outcome = ? WHERE number = ?", (recorded.outcome, number))
            return recorded

        recorded = await self.file.write(append)
        self._wake()
        return recorded

    async def discard(self, numbers: Sequence[int]) -> int:
        """Take callbacks out of quarantine, with their bytes."""

        def remove(db: sqlite3.Connection) -> int:
            removed = 0
            for number in numbers:
                removed += db.execute("DELETE FROM quarantine WHERE callback = ?", (number,)).rowcount
                db.execute("DELETE FROM callbacks WHERE number = ? AND outcome = 'quarantined'", (number,))
            return removed

        return await self.file.write(remove)

    def idle_for(self) -> float:
        """Seconds since the commit loop last turned; a failed commit is a turn."""
        return time.monotonic() - max(self._turned, self.file.turned)

    async def _run(self) -> None:
        """One commit after the other, until closed and empty."""
        while self._waiting or self._alone or not self._closing:
            if not (self._waiting or self._alone):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._kick.wait(), 1.0)
            self._kick.clear()
            self._turned = time.monotonic()
            if self._waiting or self._alone:
                await self._commit()
                for _ in range(TURNS):
                    await asyncio.sleep(0)
            elif self._marks or self._refused:
                await self._flush()
        await self._flush()

    async def _commit(self) -> None:
        """One batch: in the database, and then, not before, told to those who wait for it."""
        most = MOST_ENTRIES
        if self._alone:
            self._waiting[:0], self._alone, most = [self._alone[0]], self._alone[1:], 1
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        self._waiting_bytes = sum(entry.bytes for entry in self._waiting)
        alarm = self._loop.call_later(PATIENCE, self._give_up, batch)
        later = self._take_later()
        try:
            plan = await self._store(batch, later)
        except StoreUnavailable as fault:
            self._look_first = True
            self._put_back(later)
            self._refuse(batch, fault)
        except Exception as fault:  # a row that cannot be written must not cost the others, nor end this loop
            self._put_back(later)
            self._part(batch, fault)
        else:
            self._tell(batch, plan)
            self._wake()
        finally:
            alarm.cancel()

    async def _store(self, batch: Sequence[Entry], later: Later) -> Plan:
        """Insert at once what is most likely new; where something repeats, look first and insert the rest."""

        def append(db: sqlite3.Connection) -> Plan:
            later_commit.write(db, later)  # first: fates decide what is a retry
            plan = self._draw(db, batch)
            _insert(db, plan)
            return plan

        try:
            plan = await self.file.write(append)
        except sqlite3.IntegrityError:
            self._look_first = True
            plan = await self.file.write(append)
        self._position += len(plan.events)
        self._number += len(plan.callbacks)
        self._look_first = bool(plan.copies)
        return plan

    def _draw(self, db: sqlite3.Connection, batch: Sequence[Entry], *, number: int | None = None) -> Plan:
        """Plan a batch; `number` is that of a callback which has one already."""
        digests = [digest for entry in batch for digest in entry.digests if digest]
        fates = fates_in(db, digests) if digests else {}
        keys: dict[bytes, First] = {}
        wanted = [key for entry in batch for key in entry.keys if key]
        if self._look_first or any(key.other for key in wanted):
            self._numbers(db)
            keys = keys_in(db, [one for key in wanted for one in key if one])
        before = self._number if number is None else number - 1
        return Planner(self._position, before, Known(keys, fates)).draw(batch)

    def _numbers(self, db: sqlite3.Connection) -> None:
        """What the log ends with; another process may have appended."""
        position, number = db.execute(NEWEST).fetchone()
        self._position, self._number = position or 0, number or 0

    def _tell(self, batch: Sequence[Entry], plan: Plan) -> None:
        for entry, recorded in zip(batch, plan.answers, strict=True):
            if not entry.done.done():
                entry.done.set_result(recorded)
            else:  # it was told 503 before the disk was done, so its answer did not get out
                self.mark(recorded, answered=False)

    def _part(self, batch: Sequence[Entry], fault: Exception) -> None:
        """Have each of a batch tried alone; one that cannot be stored alone goes to quarantine."""
        if len(batch) == 1 and batch[0].fault:
            self._refuse(batch, StoreUnavailable(f"{type(fault).__name__}: {fault}"))
            return
        if len(batch) == 1:
            batch[0].quarantine(f"cannot be stored: {type(fault).__name__}: {fault}"[:300])
        self._alone += batch

    def _refuse(self, batch: Sequence[Entry], fault: StoreUnavailable) -> None:
        """Tell a batch that it is not stored, and all who wait behind it too."""
        behind, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for entry in (*batch, *behind):
            if not entry.done.done():
                entry.done.set_exception(fault)

    def _give_up(self, batch: Sequence[Entry]) -> None:
        """The disk does not come back: those who wait are answered, whatever becomes of the write."""
        self._refuse(batch, StoreUnavailable(f"the disk has not finished a write for {PATIENCE:.0f} s"))

    def _take_later(self) -> Later:
        later = Later(self._marks, self._refused)
        self._marks, self._refused = [], Counter()
        return later

    def _put_back(self, later: Later) -> None:
        self._marks = later.marks + self._marks
        self._refused.update(later.refused)

    async def _flush(self) -> None:
        """A commit for marks and counts alone; what cannot be written now stays for a later one."""
        later = self._take_later()
        if not (later.marks or later.refused):
            return
        try:
            await self.file.write(lambda db: later_commit.write(db, later))
        except StoreUnavailable as fault:
            self._put_back(later)
            self._refuse((), fault)  # who came meanwhile has waited as long
            self._soon()

    def _soon(self) -> None:
        """Have marks and counts written, if no callback comes that takes them along."""
        if self._timer is None or self._timer.when() < self._loop.time():
            self._timer = self._loop.call_later(LATER, self._kick.set)


def _insert(db: sqlite3.Connection, plan: Plan) -> None:
    rows.insert(db, rows.CALLBACKS, plan.callbacks)
    rows.insert(db, rows.EVENTS, plan.events)
    if plan.copies:
        db.executemany(COPY, plan.copies)
    if plan.fates:
        db.executemany(FATE, plan.fates)
    if plan.quarantine:
        db.executemany(QUARANTINE, plan.quarantine)
    db.executemany(COUNT, [(source, *counts) for source, counts in plan.sources.items()])
