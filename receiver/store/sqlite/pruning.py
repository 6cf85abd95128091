"""Retention: removing what is old in small batches, of the log and of what the handlers did."""

import sqlite3
from datetime import datetime

from pydantic_core import to_json

from receiver.store import rows
from receiver.store.sqlite import acts
from receiver.store.sqlite.claiming import MOST_SEEN
from receiver.store.sqlite.desk import Connections

BATCH = 500  # rows of a kind in one transaction, so that nobody waits for it

BURIED = "state IN ('dead', 'cancelled') AND died_at < ?"
OLD_DEAD = f"(handler, position, replay) IN (SELECT handler, position, replay FROM exceptions WHERE {BURIED} LIMIT ?)"
OLD_ATTEMPTS = "DELETE FROM attempts WHERE line IN (SELECT line FROM attempts WHERE position < ? LIMIT ?)"
OLD_PACKED = (
    "DELETE FROM packed_attempts WHERE (handler, first, place) IN"
    f" (SELECT handler, first, place FROM packed_attempts WHERE first + {MOST_SEEN} < ? LIMIT ?)"
)
OLD_LOOKUPS = (
    "DELETE FROM lookups WHERE (run, term, position) IN (SELECT run, term, position FROM lookups WHERE run = ? LIMIT ?)"
)
OLD_EVENTS = "SELECT position FROM events WHERE position < ? ORDER BY position LIMIT ?"
OLD_SIMULATED = "SELECT position FROM events WHERE simulated AND position < ? ORDER BY position LIMIT ?"
REMOVED = "(SELECT value FROM json_each(?))"
REMOVALS = (
    f"DELETE FROM callbacks WHERE number IN (SELECT callback FROM copies WHERE position IN {REMOVED})",
    f"DELETE FROM callbacks WHERE number IN (SELECT callback FROM events WHERE position IN {REMOVED})",
    f"DELETE FROM copies WHERE position IN {REMOVED}",
    f"DELETE FROM fates WHERE position IN {REMOVED}",
    f"DELETE FROM events WHERE position IN {REMOVED}",
)
OLD_QUARANTINE = (
    "SELECT callback FROM quarantine JOIN callbacks ON number = callback"
    " WHERE received_at < ? ORDER BY callback LIMIT ?"
)


def dispatches(at: Connections, before: datetime, first_kept: int) -> int:
    """A batch of dead letters that died before, and of attempts and look-ups of events before the first kept one."""
    old = (rows.to_micros(before), BATCH)
    acts.bury(at, f"state = 'dead' AND {OLD_DEAD}", old, cancelled=True)
    removed = at.dispatch.execute(f"DELETE FROM exceptions WHERE {OLD_DEAD}", old).rowcount
    for statement in (OLD_ATTEMPTS, OLD_PACKED):
        removed += at.dispatch.execute(statement, (first_kept, BATCH)).rowcount
    for (run,) in at.dispatch.execute("SELECT run FROM runs WHERE last < ? LIMIT 1", (first_kept,)).fetchall():
        removed += at.dispatch.execute(OLD_LOOKUPS, (run, BATCH * 4)).rowcount
        at.dispatch.execute("DELETE FROM runs WHERE run = ?1 AND ?1 NOT IN (SELECT run FROM lookups)", (run,))
    return removed


def log(db: sqlite3.Connection, before: datetime, first_kept: int, *, simulated: bool) -> int:
    """A batch of events before the first kept one with their callbacks, and of old callbacks in quarantine."""
    found = db.execute(OLD_SIMULATED if simulated else OLD_EVENTS, (first_kept, BATCH)).fetchall()
    positions = (to_json([row[0] for row in found]).decode(),)
    for statement in REMOVALS:
        db.execute(statement, positions)
    db.execute("DELETE FROM erased WHERE position < ?", (first_kept,))
    removed = len(found)
    for (number,) in db.execute(OLD_QUARANTINE, (rows.to_micros(before), BATCH)).fetchall():
        db.execute("DELETE FROM quarantine WHERE callback = ?", (number,))
        removed += db.execute("DELETE FROM callbacks WHERE number = ?", (number,)).rowcount
    return removed
