"""Another store's lots, written into both files: the dispatch file first, then the log, which says how far it is."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from receiver.store import rows
from receiver.store.base import Tell
from receiver.store.moving import Lot, Moved, Rest
from receiver.store.sqlite import files, inserting, lookup
from receiver.store.sqlite.claiming import MOST_SEEN
from receiver.store.sqlite.desk import Connections

UNFINISHED = "CREATE TABLE IF NOT EXISTS unfinished_copy (one INTEGER PRIMARY KEY CHECK (one = 1), told TEXT NOT NULL)"
TOLD = "INSERT OR REPLACE INTO unfinished_copy VALUES (1, ?)"
SPAN = MOST_SEEN // 2
"""Positions whose packed attempts share a row; less than a claim may have, by which pruning counts."""

NEWEST = "SELECT coalesce(max(position), 0) FROM events"
BOTH_ENDS = "SELECT min(position), max(position) FROM events"
COPY = "INSERT INTO copies (position, callback) VALUES (?, ?)"
FATE = "INSERT INTO fates (position, digest, received_at, fate) VALUES (?, ?, ?, ?)"
ERASED = "INSERT INTO erased (position, erased_at) VALUES (?, ?)"
SOURCE = "INSERT INTO sources (source, stored, duplicates, quarantined, refused, simulated, last_at) VALUES "
NOTICE = "INSERT INTO open_notices (notice, about, position) VALUES (?, ?, 0)"
QUARANTINE = "INSERT INTO quarantine (callback, source, reason) VALUES (?, ?, ?)"
EXCEPTION = (
    "INSERT INTO exceptions (position, thread, handler, replay, state, attempts, interruptions, probes, target, due_at,"
    " first_at, died_at, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ATTEMPT = (
    "INSERT INTO attempts (position, handler, replay, began_at, number, took, verdict, answer)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
PACKED = "INSERT INTO packed_attempts (handler, first, place, entries) VALUES (?, ?, 0, ?)"
LANE = (
    "INSERT INTO lanes (handler, configured, start, next, replays, done, filtered, cancelled, dead, state, since,"
    " reason, last_error, last_error_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Arriving:
    """Both files, open for a copy into them. A lot of which only the first half was written is written again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = files.connect(path, "log")
        try:
            self._dispatch = files.connect(files.dispatch_path(path), "dispatch")
            self._dispatch.execute("PRAGMA synchronous=FULL")
        except BaseException:
            self._log.close()
            raise
        self._halved = True

    def close(self) -> None:
        """Let go of the files."""
        self._log.close()
        self._dispatch.close()

    def take(self, lot: Lot, told: str) -> None:
        """Write a lot."""
        with _written(self._dispatch) as dispatch:
            if self._halved:
                self._remove_half(dispatch)
            _dispatches(dispatch, lot.events)
            if lot.rest:
                dispatch.executemany(LANE, lot.rest.lanes)
        self._halved = True
        with _written(self._log) as log:
            log.execute(UNFINISHED)
            inserting.insert(log, inserting.CALLBACKS, lot.callbacks)
            _events(log, lot.events)
            if lot.rest:
                _rest(log, lot.rest)
            log.execute(TOLD, (told,))
        self._halved = False

    def finish(self, tell: Tell) -> None:
        """Build what events are found by, and let everybody in."""
        with closing(Connections(self._path, writing=True)) as at:
            while bounds := lookup.next_run(at):
                tell("building the index", bounds[1], at.end())
                with _written(at.dispatch):
                    _build(at, *bounds)
        with _written(self._log) as log:
            log.execute("DROP TABLE IF EXISTS unfinished_copy")

    def _remove_half(self, dispatch: sqlite3.Connection) -> None:
        reached = (int(self._log.execute(NEWEST).fetchone()[0]),)
        dispatch.execute("DELETE FROM lanes")
        for table, place in (("exceptions", "position"), ("attempts", "position"), ("packed_attempts", "first")):
            dispatch.execute(f"DELETE FROM {table} WHERE {place} > ?", reached)


@contextmanager
def _written(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _dispatches(db: sqlite3.Connection, events: Sequence[Moved]) -> None:
    """What the handlers did."""
    exceptions: list[tuple[Any, ...]] = []
    packed: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for moved in events:
        if moved.exceptions:
            thread = thread_of(moved)
            exceptions += ((moved.position, thread, *one) for one in moved.exceptions)
        for handler, *one in moved.easy:
            packed.setdefault((handler, moved.position // SPAN), []).append((moved.position, *one))
    db.executemany(EXCEPTION, exceptions)
    db.executemany(ATTEMPT, [(moved.position, *one) for moved in events for one in moved.attempts])
    for (handler, _), made in packed.items():
        first = made[0][0]
        entries = [(position - first, *one) for position, *one in made]
        db.execute(PACKED, (handler, first, to_json(entries).decode()))


def thread_of(moved: Moved) -> str:
    """What `ordered` keeps the event in order with."""
    row = moved.row
    return rows.event_from((None, row[4], row[2], row[15])).event.thread


def _events(db: sqlite3.Connection, events: Sequence[Moved]) -> None:
    reached = int(db.execute(NEWEST).fetchone()[0])
    gaps: list[tuple[int, int]] = []
    for moved in events:
        if reached:
            gaps += ((place, moved.row[6]) for place in range(reached + 1, moved.position))
        reached = moved.position
    inserting.insert(db, inserting.EVENTS, [moved.row for moved in events])
    db.executemany(COPY, [(moved.position, number) for moved in events for number in moved.copies])
    db.executemany(FATE, [(moved.position, *fate) for moved in events for fate in moved.fates])
    db.executemany(ERASED, gaps)


def _rest(db: sqlite3.Connection, rest: Rest) -> None:
    inserting.insert(db, SOURCE, rest.sources)
    db.executemany(QUARANTINE, rest.quarantine)
    db.executemany(NOTICE, rest.notices)
    oldest, newest = db.execute(BOTH_ENDS).fetchone()
    # What a configured handler has not come to was never pruned, so it was erased; of an empty log the end is told.
    first_owed = min((lane.next for lane in rest.lanes if lane.configured), default=rest.end)
    gone = {*range(first_owed, oldest or rest.end), *range((newest or rest.end) + 1, rest.end + 1)}
    gone |= set() if newest or not rest.end else {rest.end}
    db.executemany(ERASED, [(place, 0) for place in sorted(gone)])


def _build(at: Connections, first: int, last: int) -> None:
    """A run of look-ups."""
    parts = lookup.parts()
    lookup.share_out(lookup.terms(at, first, last), parts)
    run = lookup.begin(at, first, last)
    for part in parts:
        lookup.write(at, run, part)
    lookup.finish(at, run)
