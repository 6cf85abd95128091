"""Taking dispatches: interrupted ones, those due again, new ones; in order per thread where asked for."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from receiver.store import bits, rows
from receiver.store.base import Dispatch, Passes
from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.lanes import Place, add, dispatch_id, events_at, insert
from receiver.store.views import StoredEvent

MOST_CLAIMED = 1000  # new events in one claim, and
MOST_SEEN = 2000  # events that are looked at for it
MOST_PROBED = 1000  # exceptions that take turns as probes: those that are due first

UNSETTLED = "('again', 'interrupted', 'running', 'alone')"
EXCEPTION = "position, replay, attempts, interruptions, first_at"
AGAIN = f"SELECT {EXCEPTION} FROM exceptions e WHERE handler = ? AND state = 'again'"
# With `ordered`, a dispatch whose thread has an earlier one that is not settled is passed over.
IN_ORDER = (
    " AND NOT EXISTS (SELECT 1 FROM exceptions p WHERE p.handler = e.handler AND p.thread = e.thread"
    f" AND p.state IN {UNSETTLED} AND (p.position, p.replay) < (e.position, e.replay))"
)
IN_LOG_ORDER = " ORDER BY due_at, position, replay LIMIT ?"
IN_TURN = (
    f"SELECT probes, {EXCEPTION}, due_at FROM exceptions INDEXED BY exceptions_due"
    " WHERE handler = ? AND state = 'again' AND due_at >= ? ORDER BY due_at, position, replay LIMIT ?"
)
# INDEXED BY: to spare itself the sorting of a few, SQLite would walk through all exceptions of the handler.
INTERRUPTED = (
    f"SELECT {EXCEPTION} FROM exceptions INDEXED BY exceptions_due"
    " WHERE handler = ? AND state = 'interrupted' ORDER BY position, replay LIMIT 1"
)
BUSY = (
    "SELECT EXISTS (SELECT 1 FROM claims WHERE handler = :h)"
    " OR EXISTS (SELECT 1 FROM exceptions WHERE handler = :h AND state IN ('running', 'alone'))"
)
BLOCKED = f"SELECT 1 FROM exceptions WHERE handler = ? AND thread = ? AND state IN {UNSETTLED} LIMIT 1"
TAKE = "UPDATE exceptions SET state = ?, owner = ? WHERE handler = ? AND position = ? AND replay = ?"
NEW = f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position >= ? ORDER BY position LIMIT ?"


class Asked(NamedTuple):
    """Who asks for work, and what it may be."""

    handler: str
    owner: str
    ordered: bool
    passes: Passes


def claim(at: Connections, asked: Asked, *, limit: int, now: datetime, horizon: timedelta) -> list[Dispatch]:
    """Interrupted ones first and one alone, then what is due again, then new ones."""
    handler = asked.handler
    if at.dispatch.execute("SELECT 1 FROM exceptions WHERE handler = ? AND state = 'alone'", (handler,)).fetchone():
        return []
    alone = at.dispatch.execute(INTERRUPTED, (handler,)).fetchone()
    if alone:
        busy = at.dispatch.execute(BUSY, {"h": handler}).fetchone()[0]
        return [] if busy else _take(at, asked, [alone], alone=True)
    taken = _take(at, asked, _due(at, asked, now, horizon, limit))
    if len(taken) < limit:
        taken += _claim_new(at, asked, min(limit - len(taken), MOST_CLAIMED))
    return taken


def probe_claim(at: Connections, asked: Asked, now: datetime, horizon: timedelta) -> list[Dispatch]:
    """The oldest due dispatch with the fewest probes; after each round of them a new event has its turn."""
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    waiting = {*_in_turn(at, asked, from_on=0), *_in_turn(at, asked, from_on=beyond + 1)}
    ready = sorted(row for row in waiting if row[-1] <= due or row[-1] > beyond)
    found, rounds = ready[:1], {row[0] for row in waiting}
    if not (found and found[0][0] == 0) and len(rounds) <= 1:
        new = _claim_new(at, asked, 1)
        if new:
            return new
    return _take(at, asked, [row[1:-1] for row in found])


def _in_turn(at: Connections, asked: Asked, *, from_on: int) -> list[tuple[int, ...]]:
    """(probes, …, due_at) of what is due first from a time on. One that was probed is due again behind all others."""
    return at.dispatch.execute(IN_TURN, (asked.handler, from_on, MOST_PROBED)).fetchall()


def _due(at: Connections, asked: Asked, now: datetime, horizon: timedelta, limit: int) -> list[tuple[int, ...]]:
    order = IN_ORDER if asked.ordered else ""
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    found = at.dispatch.execute(f"{AGAIN} AND due_at <= ?{order}{IN_LOG_ORDER}", (asked.handler, due, limit)).fetchall()
    if len(found) < limit:
        found += at.dispatch.execute(
            f"{AGAIN} AND due_at > ?{order}{IN_LOG_ORDER}", (asked.handler, beyond, limit - len(found))
        ).fetchall()
    return sorted(found)  # in the order of the log


def _take(at: Connections, asked: Asked, found: Sequence[tuple[int, ...]], *, alone: bool = False) -> list[Dispatch]:
    """Mark exceptions as running. One whose event is no longer kept is cancelled."""
    handler, owner = asked.handler, asked.owner
    events = {stored.cursor: stored for stored in events_at(at, [row[0] for row in found])}
    taken = []
    for position, replay, attempts, interruptions, first_at in found:
        if position not in events:
            at.dispatch.execute(TAKE, ("cancelled", None, handler, position, replay))
            add(at, handler, cancelled=1)
            continue
        at.dispatch.execute(TAKE, ("alone" if alone else "running", owner, handler, position, replay))
        place = Place(position, replay, 0, owner, attempts, interruptions)
        taken.append(_dispatch(handler, events[position], place, rows.maybe(first_at), alone=alone))
    return taken


class Stretch(NamedTuple):
    """A piece of the log from a lane's next position on: up to where it was looked at, and what of it passes."""

    first: int
    length: int
    there: int
    """How many events of it are still kept."""
    wanted: list[StoredEvent]


def _look_ahead(at: Connections, asked: Asked, first: int, limit: int) -> Stretch:
    """Walk on until so many events have passed; what does not pass costs a look, and of looks there are enough."""
    wanted: list[StoredEvent] = []
    reached, there = first - 1, 0
    while there < MOST_SEEN and len(wanted) < limit:
        most = min(limit - len(wanted) if there == 0 else MOST_CLAIMED, MOST_SEEN - there)
        found = at.log.execute(NEW, (reached + 1, most)).fetchall()
        for row in found:
            stored = rows.event_from(row)
            reached, there = stored.cursor, there + 1
            if asked.passes(stored.event):
                wanted.append(stored)
                if len(wanted) == limit:
                    break
        if len(found) < most:
            reached = _void(at, reached)
            break
    return Stretch(first, reached - first + 1, there, wanted)


def _void(at: Connections, reached: int) -> int:
    """The end of the log where all behind a position was erased, else that position."""
    end = at.end()
    if end > reached and not at.log.execute(NEW, (reached + 1, 1)).fetchone():
        return end
    return reached


def _claim_new(at: Connections, asked: Asked, limit: int) -> list[Dispatch]:
    handler, owner = asked.handler, asked.owner
    lane = at.dispatch.execute("SELECT next FROM lanes WHERE handler = ?", (handler,)).fetchone()
    if lane is None or limit < 1:
        return []
    ahead = _look_ahead(at, asked, int(lane[0]), limit)
    if not ahead.length:
        return []
    at.dispatch.execute(
        "UPDATE lanes SET next = next + ?, cancelled = cancelled + ?, filtered = filtered + ? WHERE handler = ?",
        (ahead.length, ahead.length - ahead.there, ahead.there - len(ahead.wanted), handler),
    )
    if asked.ordered:
        return _claim_ordered(at, asked, ahead.wanted)
    if not ahead.wanted:
        return []
    first, last = ahead.wanted[0].cursor, ahead.wanted[-1].cursor
    settled = bits.all_set_but((stored.cursor - first for stored in ahead.wanted), last - first + 1)
    number = at.dispatch.execute(
        "INSERT INTO claims (handler, first, count, settled, owner) VALUES (?, ?, ?, ?, ?)",
        (handler, first, last - first + 1, bytes(settled), owner),
    ).lastrowid
    places = (Place(stored.cursor, 0, number or 0, owner, 0, 0) for stored in ahead.wanted)
    return [_dispatch(handler, stored, place, None) for stored, place in zip(ahead.wanted, places, strict=True)]


def _claim_ordered(at: Connections, asked: Asked, found: Iterable[StoredEvent]) -> list[Dispatch]:
    """In order per thread: every event has an exception of its own, so that later ones see it."""
    handler, owner = asked.handler, asked.owner
    taken = []
    for stored in found:
        blocked = at.dispatch.execute(BLOCKED, (handler, stored.event.thread)).fetchone()
        insert(at, handler, stored, "again" if blocked else "running", owner=None if blocked else owner)
        if not blocked:
            taken.append(_dispatch(handler, stored, Place(stored.cursor, 0, 0, owner, 0, 0), None))
    return taken


def _dispatch(
    handler: str, stored: StoredEvent, place: Place, first_at: datetime | None, *, alone: bool = False
) -> Dispatch:
    return Dispatch(
        id=dispatch_id(handler, place.position, place.replay),
        handler=handler,
        event=stored.event,
        number=place.attempts + 1,
        replay=place.replay,
        first_at=first_at,
        alone=alone,
        interruptions=place.interruptions,
        place=place,
    )
