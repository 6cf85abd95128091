"""Erasing a person: the events to or from a number, with all that hangs on them, and its mention in what we wrote.

What was found is removed in small batches, each a transaction in each file: first from what the handlers did, so that
nothing there waits for it, then from the log, then once more from what the handlers did: it may have been claimed in
between.
"""

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic_core import from_json, to_json

from receiver import numbers
from receiver.store import bits, rows
from receiver.store.base import Tell
from receiver.store.sqlite import files, lanes, lookup, traces
from receiver.store.sqlite.batches import BATCH, BREATH, CHOSEN, Task, batches, chosen, write
from receiver.store.sqlite.blotting import blot, blot_notices
from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.migrating import backup_lock
from receiver.store.sqlite.person import Found, callbacks_of, find
from receiver.store.views import Erased

SETTLING = 10.0  # seconds at most until a run of look-ups that was begun before is finished

FACTS = f"SELECT position, id, message_id, reference, originator, recipient FROM events WHERE position IN {CHOSEN}"
KEEP_PLACES = f"INSERT OR IGNORE INTO erased SELECT position, ? FROM events WHERE position IN {CHOSEN}"
REMOVALS = tuple(f"DELETE FROM {table} WHERE position IN {CHOSEN}" for table in ("copies", "fates", "events"))
WAITING = "('again', 'interrupted', 'running', 'alone')"
STATES = (
    f"SELECT count(*) FILTER (WHERE state IN {WAITING}), count(*) FILTER (WHERE state = 'dead')"
    f" FROM exceptions WHERE handler = ? AND position IN {CHOSEN}"
)
CLAIMS = "SELECT claim, handler, first, count, settled FROM claims"
RUNS = "SELECT run FROM runs WHERE ? BETWEEN first AND last"
# Claims of a handler do not overlap: what holds a place is the one that began last before it.
PACKED = (
    "SELECT handler, first, place, entries FROM packed_attempts WHERE handler = ?1 AND first ="
    " (SELECT max(first) FROM packed_attempts WHERE handler = ?1 AND first <= ?2)"
)
PACK = "UPDATE packed_attempts SET entries = ? WHERE handler = ? AND first = ? AND place = ?"


def erase(path: Path, number: str, now: datetime, *, dry_run: bool, tell: Tell, stop: threading.Event) -> Erased:
    """Find all of it, and unless it is a `dry_run` remove it and see that no old bytes stay."""
    lock = backup_lock(path, "a backup is being made, which would hold what is erased: again when it is done")
    try:
        with (
            closing(Connections(path, writing=not dry_run, durable=not dry_run)) as at,
            closing(files.connect(path, "log", reading=dry_run)) as log,
        ):
            task = Task(at, log, numbers.Written(number), tell, stop)
            told = _count(task) if dry_run else _erase(task, now)
        if not dry_run:
            told.traces = traces.sweep(path, task.written, tell, stop)
    except sqlite3.Error as fault:
        raise files.unavailable(fault, path) from fault
    finally:
        lock.release()
    return told


def _count(task: Task) -> Erased:
    found = find(task)
    told = _told(found)
    told.cancelled = _unsettled(task.at, found.events)
    return told


def _erase(task: Task, now: datetime) -> Erased:
    for db in (task.at.dispatch, task.log):
        db.execute("PRAGMA secure_delete=ON")
    found = find(task)
    told = _told(found)
    told.cancelled = _remove(task, found, now)
    told.blotted = blot_notices(task, found.notices) + blot(task)
    return told


def _told(found: Found) -> Erased:
    return Erased(len(found.events), len(found.callbacks), len(found.quarantined), mentions=len(found.naming))


def _remove(task: Task, found: Found, now: datetime) -> int:
    """Remove it. How many dispatches were not settled."""
    done, total, cancelled = 0, len(found.events) + len(found.quarantined), 0
    terms: list[tuple[int, int]] = []
    for some in batches(found.events):
        terms += _terms(task.at, some)
        cancelled += _settle(task.at, some)
        write(task.log, partial(_remove_events, task, some, now))
        cancelled += _settle(task.at, some) + _behind(task.at, some)
        done += len(some)
        task.go_on("erased", done, total)
    for some in batches(found.quarantined):
        write(task.log, partial(_remove_callbacks, task, some))
        done += len(some)
        task.go_on("erased", done, total)
    _forget(task.at, terms)
    return cancelled


def _remove_events(task: Task, some: Sequence[int], now: datetime) -> None:
    task.log.execute(KEEP_PLACES, (rows.to_micros(now), chosen(some)))
    _remove_callbacks(task, callbacks_of(task.at, some))
    for statement in REMOVALS:
        task.log.execute(statement, (chosen(some),))


def _remove_callbacks(task: Task, some: Sequence[int]) -> None:
    for table, key in (("quarantine", "callback"), ("callbacks", "number")):
        task.log.execute(f"DELETE FROM {table} WHERE {key} IN {CHOSEN}", (chosen(some),))


def _settle(at: Connections, some: Sequence[int]) -> int:
    """Cancel what is not settled of these events, and drop what is known of them. How many dispatches it were."""

    def settle() -> int:
        cancelled = 0
        for handler, _ in lanes.reached(at, None):
            waiting, dead = at.dispatch.execute(STATES, (handler, chosen(some))).fetchone()
            lanes.add(at, handler, cancelled=waiting + dead, dead=-dead)
            cancelled += waiting + dead
            for table in ("exceptions", "attempts"):
                at.dispatch.execute(
                    f"DELETE FROM {table} WHERE handler = ? AND position IN {CHOSEN}", (handler, chosen(some))
                )
            _unpack(at, handler, some)
        return cancelled + _give_up_claims(at, some)

    return write(at.dispatch, settle)


def _give_up_claims(at: Connections, some: Sequence[int]) -> int:
    """Set the bits of these events in claims: whoever has them in hand settles nothing any more."""
    cancelled = 0
    for claim, handler, first, count, settled in at.dispatch.execute(CLAIMS).fetchall():
        seen = bytearray(settled)
        mine = [place - first for place in some if first <= place < first + count]
        unsettled = [bit for bit in mine if not bits.is_set(seen, bit)]
        for bit in unsettled:
            bits.set_bit(seen, bit)
        if bits.settled(seen) == count:
            at.dispatch.execute("DELETE FROM claims WHERE claim = ?", (claim,))
        elif unsettled:
            at.dispatch.execute("UPDATE claims SET settled = ? WHERE claim = ?", (bytes(seen), claim))
        if unsettled:
            lanes.add(at, handler, cancelled=len(unsettled))
        cancelled += len(unsettled)
    return cancelled


def _unpack(at: Connections, handler: str, some: Sequence[int]) -> None:
    """Take the attempts of these events out of the packed ones."""
    for position in some:
        for *key, entries in at.dispatch.execute(PACKED, (handler, position)).fetchall():
            told = from_json(entries)
            kept = [entry for entry in told if key[1] + entry[0] != position]
            if not kept:
                at.dispatch.execute("DELETE FROM packed_attempts WHERE handler = ? AND first = ? AND place = ?", key)
            elif len(kept) < len(told):
                at.dispatch.execute(PACK, (to_json(kept).decode(), *key))


def _behind(at: Connections, some: Sequence[int]) -> int:
    """How many of these events handlers had not come to; their empty places count as cancelled."""
    return sum(position >= reached for _, reached in lanes.reached(at, None) for position in some)


def _unsettled(at: Connections, events: Sequence[int]) -> int:
    """How many dispatches of these events would be cancelled."""
    count = 0
    for some in batches(events):
        count += _behind(at, some)
        for handler, _ in lanes.reached(at, None):
            count += sum(at.dispatch.execute(STATES, (handler, chosen(some))).fetchone())
        for _, _, first, length, settled in at.dispatch.execute(CLAIMS):
            mine = (place - first for place in some if first <= place < first + length)
            count += sum(not bits.is_set(settled, bit) for bit in mine)
    return count


def _terms(at: Connections, some: Sequence[int]) -> list[tuple[int, int]]:
    """What these events are found by: (term, position)."""
    return [(term, row[0]) for row in at.log.execute(FACTS, (chosen(some),)) for term in rows.terms_of(*row[1:])]


def _forget(at: Connections, terms: Sequence[tuple[int, int]]) -> None:
    """Have these events found by nothing any more, also not by a run that is just being built."""
    until = time.monotonic() + SETTLING
    while terms and lookup.next_run(at) and time.monotonic() < until:
        time.sleep(BREATH)
    for start in range(0, len(terms), BATCH):
        write(at.dispatch, partial(_forget_some, at, terms[start : start + BATCH]))


def _forget_some(at: Connections, terms: Sequence[tuple[int, int]]) -> None:
    for term, position in terms:
        for (run,) in at.dispatch.execute(RUNS, (position,)).fetchall():
            key = (run, term, position)
            at.dispatch.execute("DELETE FROM lookups WHERE run = ? AND term = ? AND position = ?", key)
