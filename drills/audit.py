"""What the files of a store say, beside what was acknowledged and what handlers say they were given."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from drills.ledger import Ledger
from drills.verdict import Verdict
from receiver.store.base import MOST_INTERRUPTIONS
from receiver.store.sqlite import SqliteStore, files
from receiver.store.views import HandlerStats, Stats

NEW = "SELECT position, message_id FROM events WHERE position > ? ORDER BY position"
DEAD = "SELECT position, interruptions, reason FROM exceptions WHERE handler = ? AND state = 'dead'"
AGAIN = "SELECT position, count(*) FROM attempts WHERE handler = ? AND verdict IN ({}) GROUP BY position"


class Letter(NamedTuple):
    """A dead letter."""

    message: str
    interruptions: int
    reason: str


def everybody(_: str) -> bool:
    """For a handler without filters."""
    return True


class Audit:
    """Reads the log as it grows, and compares. What is wrong goes into the verdict."""

    def __init__(self, database: Path, verdict: Verdict) -> None:
        self.stored: Counter[str] = Counter()
        self._at: dict[int, str] = {}
        self._database, self._verdict = database, verdict

    @property
    def positions(self) -> int:
        """The newest position of the log."""
        return max(self._at, default=0)

    def look(self, acknowledged: set[str]) -> None:
        """Read what is new in the log: all that was acknowledged before is there, and nothing twice."""
        with _reading(self._database) as db:
            for position, message in db.execute(NEW, (self.positions,)).fetchall():
                self._at[position] = message or ""
                self.stored[message or ""] += bool(message)
        lost = sorted(acknowledged - self.stored.keys())
        twice = sorted(message for message, count in self.stored.items() if count > 1)
        self._verdict.figures |= {"stored": self.stored.total(), "lost": len(lost), "twice": len(twice)}
        self._once("lost", lost, "{} messages were answered 200 and are not stored, such as {}")
        self._once("twice", twice, "{} messages are stored twice, such as {}")
        if len(self._at) != self.positions:
            self._once("gaps", [str(self.positions)], "the log has gaps before position {1}")

    def _once(self, name: str, found: list[str], words: str) -> None:
        """What was found at an earlier look is replaced by what is found now."""
        if found:
            words = words.format(len(found), found[0])
            known = [fault for fault in self._verdict.faults if not fault.startswith(f"{name}: ")]
            self._verdict.faults[:] = [*known, f"{name}: {words}"]

    async def balance(self) -> Stats:
        """The counters add up at this moment."""
        stats = await self._stats()
        for one in stats.handlers:
            states = one.done + one.filtered + one.cancelled + one.pending + one.running + one.dead
            self._verdict.must(one.received == states, f"the counters of {one.handler} do not add up: {one}")
        return stats

    async def _stats(self) -> Stats:
        """Open for this look only: a connection that stays would keep the next start from recovering the journal."""
        store = await SqliteStore.open(self._database, "command")
        try:
            return await store.stats(datetime.now(UTC))
        finally:
            await store.close()

    def dead(self, handler: str) -> list[Letter]:
        """The dead letters of a handler."""
        with _reading(files.dispatch_path(self._database)) as db:
            return [Letter(self._at[place], *rest) for place, *rest in db.execute(DEAD, (handler,))]

    def written(self, handler: str, *verdicts: str) -> Counter[str]:
        """How many attempts of each message the attempt log has that came to one of these."""
        marks = ",".join("?" * len(verdicts))
        with _reading(files.dispatch_path(self._database)) as db:
            found = db.execute(AGAIN.format(marks), (handler, *verdicts)).fetchall()
        return Counter({self._at[place]: count for place, count in found})

    def settled(self, one: HandlerStats, ledger: Ledger, *, owed: Callable[[str], bool] = everybody) -> None:
        """When all is quiet: the handler has every stored event or lists it as dead, and repeats have their reasons."""
        handler, must = one.handler, self._verdict.must
        must(not one.pending and not one.running, f"{handler} is not done: {one.pending} wait, {one.running} run")
        must(one.received == self.positions, f"{handler} was owed {one.received} events of {self.positions}")
        dead = {letter.message for letter in self.dead(handler)}
        missing = {message for message in self.stored if message and owed(message)} - ledger.done - dead
        words = f"{handler}: {{}} stored events never reached it and are not dead, such as {{}}"
        must(not missing, words.format(len(missing), min(missing, default="")))
        reasons = self.written(handler, "interrupted", "retry")
        loose = {message for message, times in ledger.given.items() if times > 1 + reasons[message]}
        words = f"{handler}: {{}} events were repeated without an interruption, such as {{}}"
        must(not loose, words.format(len(loose), min(loose, default="")))

    def killed_rightly(self, handler: str) -> int:
        """How many dead letters there are; each was interrupted three times, and says so."""
        dead = self.dead(handler)
        for letter in dead:
            known = letter.interruptions >= MOST_INTERRUPTIONS and letter.reason.startswith("killed: ")
            self._verdict.must(known, f"{handler}: {letter} is dead without having been interrupted three times")
        return len(dead)


def _reading(database: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10))
