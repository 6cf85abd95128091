"""The log's one writer: an event is in the log when its commit is on disk, and not before anybody is told so."""

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from receiver.callback import Callback
from receiver.events import Event, Notice
from receiver.store import rows
from receiver.store.base import Recorded
from receiver.store.group import GroupCommit, Later
from receiver.store.plan import Entry, First, Known, Plan, Planner
from receiver.store.sqlite import fates, inserting
from receiver.store.sqlite import later as later_commit
from receiver.store.sqlite.desk import END
from receiver.store.sqlite.known import keys_in
from receiver.store.sqlite.logfile import LogFile

NEWEST = f"SELECT ({END}), (SELECT max(number) FROM callbacks)"
COPY = "INSERT INTO copies (position, callback) VALUES (?, ?) ON CONFLICT DO NOTHING"
QUARANTINE = "INSERT INTO quarantine (callback, source, reason) VALUES (?, ?, ?)"
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


class LogWriter(GroupCommit):
    """Appends to the log, one commit at a time; all that came while the last one ran goes into the next together."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        super().__init__(wake)
        self.file = LogFile(path)
        self._position = self._number = 0
        self._fates = fates.Fates()

    async def open(self) -> None:
        """Connect and begin to take callbacks."""
        db = await self.file.connect()
        self._fates.load(await db.execute_fetchall(fates.RECENT))
        self.begin()

    @property
    def trouble(self) -> str | None:
        """Why the last write failed."""
        return self.file.trouble

    def busy_for(self) -> float:
        return self.file.busy_for()

    def turned(self) -> float:
        return self.file.turned

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
            inserting.insert(db, inserting.EVENTS, [rows.event_row(position, None, None, notice, received)])
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
            fates.mark(db, [("answered", *place) for place in recorded.uncertain])
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
        self._fates.remember(plan)
        self._look_first = bool(plan.copies)
        return plan

    async def _write_later(self, later: Later) -> None:
        await self.file.write(lambda db: later_commit.write(db, later))

    async def _let_go(self) -> None:
        await self.file.disconnect()

    def _abandon(self) -> None:
        self.file.abandon()

    def _draw(self, db: sqlite3.Connection, batch: Sequence[Entry], *, number: int | None = None) -> Plan:
        """Plan a batch; `number` is that of a callback which has one already."""
        digests = [digest for entry in batch for digest in entry.digests if digest]
        known = self._fates.of(db, digests) if digests else {}
        keys: dict[bytes, First] = {}
        wanted = [key for entry in batch for key in entry.keys if key]
        if self._look_first or any(key.other for key in wanted):
            self._numbers(db)
            keys = keys_in(db, [one for key in wanted for one in key if one])
        before = self._number if number is None else number - 1
        return Planner(self._position, before, Known(keys, known)).draw(batch)

    def _numbers(self, db: sqlite3.Connection) -> None:
        """What the log ends with; another process may have appended."""
        position, number = db.execute(NEWEST).fetchone()
        self._position, self._number = position, number or 0


def _insert(db: sqlite3.Connection, plan: Plan) -> None:
    inserting.insert(db, inserting.CALLBACKS, plan.callbacks)
    inserting.insert(db, inserting.EVENTS, plan.events)
    if plan.copies:
        db.executemany(COPY, plan.copies)
    if plan.fates:
        fates.write(db, plan)
    if plan.quarantine:
        db.executemany(QUARANTINE, plan.quarantine)
    db.executemany(COUNT, [(source, *counts) for source, counts in plan.sources.items()])
