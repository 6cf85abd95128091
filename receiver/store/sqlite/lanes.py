"""The place of each handler in the log, its counters and its state. Jobs for a desk, inside its transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from receiver.store import bits, rows
from receiver.store.base import MOST_INTERRUPTIONS, Waiting
from receiver.store.sqlite.desk import Connections
from receiver.store.views import Standing, StoredEvent

DAY = timedelta(days=1)
SLACK = timedelta(seconds=1)  # by which two processes' clocks may seem to differ
MOST_COUNTED = 100_000  # of what waits; more is as good as this

ENROL = (
    "INSERT INTO lanes (handler, configured, start, next) VALUES (?, 1, ?, ?)"
    " ON CONFLICT (handler) DO UPDATE SET configured = 1"
)
INSERT = (
    "INSERT INTO exceptions (handler, position, replay, state, thread, attempts, interruptions, probes, target, due_at,"
    " first_at, died_at, reason, owner) VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INTERRUPT = (
    "UPDATE exceptions SET state = ?, died_at = ?, reason = ?, interruptions = interruptions + 1, due_at = 0,"
    " owner = NULL WHERE handler = ? AND position = ? AND replay = ?"
)
ENDED = "the receiver ended under it"
LOG = (
    "INSERT INTO attempts (handler, position, replay, began_at, number, took, verdict, answer)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
# A range of the index for each: asked with OR, SQLite would walk through all exceptions of the handler.
READY = (
    "SELECT count(*) FROM (SELECT 1 FROM exceptions WHERE handler = ?1 AND state = 'interrupted'"
    " UNION ALL SELECT 1 FROM exceptions WHERE handler = ?1 AND state = 'again' AND due_at <= ?2"
    " UNION ALL SELECT 1 FROM exceptions WHERE handler = ?1 AND state = 'again' AND due_at > ?3 LIMIT ?4)"
)
RELEASE = (
    "UPDATE exceptions SET due_at = CASE WHEN target THEN 0 ELSE due_at END, attempts = attempts + (probes > 0),"
    " target = 0, probes = 0 WHERE handler = ? AND state = 'again' AND (target OR probes > 0)"
)


class Place(NamedTuple):
    """Where a claimed dispatch lies: in a claim, or in an exception (claim 0)."""

    position: int
    replay: int
    claim: int
    owner: str
    attempts: int
    interruptions: int


def register(at: Connections, handlers: Sequence[str]) -> None:
    """Lanes for these handlers and no others. A new one begins at the end of the log, a known one where it was."""
    end = at.end()
    at.dispatch.execute("UPDATE lanes SET configured = 0")
    at.dispatch.executemany(ENROL, [(handler, end + 1, end + 1) for handler in handlers])
    # A log restored from a backup may end before a lane does; a log that was pruned may begin after it.
    at.dispatch.execute("UPDATE lanes SET start = min(start, ?1), next = min(next, ?1) WHERE next > ?1", (end + 1,))


def take_over(at: Connections, owner: str, now: datetime) -> int:
    """Interrupt what owners that are gone had claimed: how many dispatches it were."""
    lost = 0
    for claim, handler, first, count, settled, _ in at.dispatch.execute(
        "SELECT * FROM claims WHERE owner <> ?", (owner,)
    ).fetchall():
        open_bits = [first + bit for bit in bits.open_bits(settled, count)]
        kept = events_at(at, open_bits)
        add(at, handler, cancelled=len(open_bits) - len(kept))  # erased, or not in a restored log any more
        for stored in kept:
            insert(at, handler, stored, "interrupted", reason=ENDED, interruptions=1)
            at.dispatch.execute(LOG, (handler, stored.cursor, 0, rows.to_micros(now), 1, 0, "interrupted", ENDED))
        at.dispatch.execute("DELETE FROM claims WHERE claim = ?", (claim,))
        lost += len(open_bits)
    found = at.dispatch.execute(
        "SELECT handler, position, replay, attempts, interruptions FROM exceptions"
        " WHERE state IN ('running', 'alone') AND owner <> ?",
        (owner,),
    ).fetchall()
    for handler, position, replay, attempts, interruptions in found:
        dead = interruptions + 1 >= MOST_INTERRUPTIONS
        state, died_at = ("dead", rows.to_micros(now)) if dead else ("interrupted", None)
        at.dispatch.execute(INTERRUPT, (state, died_at, f"killed: {ENDED}", handler, position, replay))
        add(at, handler, dead=int(dead))
        line = (handler, position, replay, rows.to_micros(now), attempts + 1, 0, "interrupted", ENDED)
        at.dispatch.execute(LOG, line)
    return lost + len(found)


def heed_clock(at: Connections, now: datetime) -> None:
    """Where the log's newest event is from the future, the clock was set back while nobody watched."""
    newest = at.log.execute("SELECT received_at FROM events ORDER BY position DESC LIMIT 1").fetchone()
    ahead = rows.from_micros(newest[0]) - now if newest else timedelta(0)
    if ahead > SLACK:
        set_back(at, ahead, now)


def set_back(at: Connections, by: timedelta, now: datetime) -> None:
    """Bring forward what is due later than now by as much as the clock was set back; by days, it is due by that."""
    if by > DAY:
        return
    earlier = by // timedelta(microseconds=1)
    at.dispatch.execute(
        "UPDATE exceptions SET due_at = max(due_at - ?, 0) WHERE state = 'again' AND due_at > ?",
        (earlier, rows.to_micros(now)),
    )


def insert(at: Connections, handler: str, stored: StoredEvent, state: str, **values: Any) -> None:
    columns = {"attempts": 0, "interruptions": 0, "probes": 0, "target": False, "due_at": 0}
    columns |= {"first_at": None, "died_at": None, "reason": "", "owner": None} | values
    at.dispatch.execute(INSERT, (handler, stored.cursor, state, stored.event.thread, *columns.values()))


def waiting(at: Connections, handler: str, now: datetime, horizon: timedelta) -> Waiting:
    """What could be claimed, and when there is more."""
    lane = at.dispatch.execute("SELECT next FROM lanes WHERE handler = ?", (handler,)).fetchone()
    if lane is None:
        return Waiting(0, None)
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    ready = at.dispatch.execute(READY, (handler, due, beyond, MOST_COUNTED)).fetchone()[0]
    later = at.dispatch.execute(
        "SELECT min(due_at) FROM exceptions WHERE handler = ? AND state = 'again' AND due_at > ? AND due_at <= ?",
        (handler, due, beyond),
    ).fetchone()[0]
    return Waiting(int(ready) + max(at.end() + 1 - int(lane[0]) - at.void(lane[0]), 0), rows.maybe(later))


def stand(at: Connections, standing: Standing, *, release: bool) -> None:
    """Keep a handler's state."""
    at.dispatch.execute(
        "UPDATE lanes SET state = ?, since = ?, reason = ?, last_error = ?, last_error_at = ? WHERE handler = ?",
        (
            standing.state,
            standing.since and rows.to_micros(standing.since),
            standing.reason,
            standing.last_error,
            standing.last_error_at and rows.to_micros(standing.last_error_at),
            standing.handler,
        ),
    )
    if release:
        at.dispatch.execute(RELEASE, (standing.handler,))


def standings(at: Connections) -> dict[str, Standing]:
    """The states as they are kept now."""
    found = at.dispatch.execute("SELECT handler, state, since, reason, last_error, last_error_at FROM lanes")
    return {row[0]: Standing(row[0], row[1], rows.maybe(row[2]), row[3], row[4], rows.maybe(row[5])) for row in found}


def reached(at: Connections, handler: str | None) -> list[tuple[str, int]]:
    """How far each lane, or one, has come: its name and the next position."""
    found = at.dispatch.execute("SELECT handler, next FROM lanes WHERE ?1 IS NULL OR handler = ?1", (handler,))
    return found.fetchall()


def dispatch_id(handler: str, position: int, replay: int) -> str:
    """`crm:4711`, the second replay of it `crm:4711.2`."""
    return f"{handler}:{position}.{replay}" if replay else f"{handler}:{position}"


def events_at(at: Connections, positions: Sequence[int]) -> list[StoredEvent]:
    """The events at these positions that are still kept."""
    found = []
    for position in positions:
        row = at.log.execute(f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position = ?", (position,)).fetchone()
        if row:
            found.append(rows.event_from(row))
    return found


def add(at: Connections, handler: str, **counts: int) -> None:
    """Move counters of a lane."""
    sets = ", ".join(f"{name} = {name} + {count}" for name, count in counts.items())
    at.dispatch.execute(f"UPDATE lanes SET {sets} WHERE handler = ?", (handler,))
