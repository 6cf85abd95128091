"""Callbacks without identity: the newest event of each content, and whether our answer to it got out."""

import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from receiver.store import rows
from receiver.store.plan import SUSPICIOUS, Fate, Plan
from receiver.store.sqlite import inserting
from receiver.store.sqlite.known import all_in

LATE = timedelta(seconds=5)  # by which a callback may be stored behind others that came after it
REMEMBERED = (SUSPICIOUS + LATE) // timedelta(microseconds=1)
MOST_REMEMBERED = 200_000  # also where the clock was set back, and nothing grows old

FATES = "INSERT OR REPLACE INTO fates (position, digest, received_at, fate) VALUES "
FORGET = "DELETE FROM fates WHERE position = ?"
MARK = "UPDATE fates SET fate = ? WHERE position IN ({})"
FIND = "SELECT f.digest, f.position, e.id, f.received_at, f.fate FROM fates f JOIN events e USING (position) WHERE "
AT = FIND + "position IN ({})"
OPEN = FIND + "f.fate <> 'answered' AND f.digest IN ({})"  # by the index `fates_open`
RECENT = (
    "SELECT digest, position, received_at FROM fates WHERE received_at > (SELECT max(received_at) FROM fates) -"
    f" {REMEMBERED} ORDER BY received_at"
)


class Fates:
    """What tells a retry from a second message.

    Fates lie in the order of the log, so that a commit's worth of them are neighbours. By their content only those are
    found whose answers did not get out, or may not have; an answered one means something for ten seconds, and is
    remembered so long.
    """

    def __init__(self) -> None:
        self._newest: dict[bytes, tuple[int, int]] = {}
        """Position and `received_at` by content."""
        self._came: deque[tuple[bytes, int, int]] = deque()

    def load(self, found: Iterable[Any]) -> None:
        """Remember what `RECENT` finds: what a process before us would."""
        for one in found:
            self._remember(*one)

    def of(self, db: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, Fate]:
        """The newest event of each of these contents, where it may mean something."""
        near = [self._newest[digest][0] for digest in digests if digest in self._newest]
        found = sorted(all_in(db, AT, near) + all_in(db, OPEN, digests), key=lambda row: row[1])
        return {row[0]: Fate(row[1], rows.id_text(row[2]), rows.from_micros(row[3]), row[4]) for row in found}

    def remember(self, plan: Plan) -> None:
        """What was stored."""
        for digest, (position, received) in plan.fates.items():
            self._remember(digest, position, received)

    def _remember(self, digest: bytes, position: int, received: int) -> None:
        self._newest[digest] = position, received
        self._came.append((digest, position, received))
        while self._came[0][2] < received - REMEMBERED or len(self._came) > MOST_REMEMBERED:
            old, *place = self._came.popleft()
            if self._newest.get(old) == tuple(place):
                del self._newest[old]


def write(db: sqlite3.Connection, plan: Plan) -> None:
    """The newest event with each content, of unknown fate, in the place of the one before it."""
    db.executemany(FORGET, [(position,) for position in plan.outdated])
    told = [(position, digest, received, "unknown") for digest, (position, received) in plan.fates.items()]
    inserting.insert(db, FATES, told)


def mark(db: sqlite3.Connection, marks: Iterable[tuple[str, bytes, int]]) -> None:
    """What became of answers, in the order in which it is said."""
    for fate, told in groupby(marks, key=lambda mark: mark[0]):
        all_in(db, MARK, [position for _, _, position in told], fate)
