"""Taking dispatches: interrupted ones, those due again, new ones; in order per thread where asked for. Jobs."""

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from receiver.store import bits, rows
from receiver.store.base import Dispatch, Passes
from receiver.store.postgres import streams
from receiver.store.postgres.lanes import EXCEPT, Claimed, add, events_at, exception, hold
from receiver.store.postgres.places import EVENT, Place, dispatch_id, event_from, thread_of
from receiver.store.postgres.server import Connection
from receiver.store.views import StoredEvent

MOST_CLAIMED = 1000  # new events in one claim, and
MOST_SEEN = 2000  # events that are looked at for it
MOST_PROBED = 1000  # exceptions that take turns as probes: those that are due first

UNSETTLED = "('again', 'interrupted', 'running', 'alone')"
EXCEPTION = "stream, position, replay, attempts, interruptions, first_at"
AGAIN = f"SELECT at, {EXCEPTION} FROM exceptions e WHERE handler = $1 AND state = 'again'"
# `state || ''`: not by the index of states, which holds very many of one.
# With `ordered`, a dispatch whose thread has an earlier one that is not settled is passed over.
IN_ORDER = (
    " AND NOT EXISTS (SELECT 1 FROM exceptions p WHERE p.handler = e.handler AND p.thread = e.thread"
    f" AND p.state || '' IN {UNSETTLED}"
    " AND (p.at, p.stream, p.position, p.replay) < (e.at, e.stream, e.position, e.replay))"
)
# What another dispatcher takes at this moment is passed over.
IN_LOG_ORDER = " ORDER BY due_at, at, stream, position, replay LIMIT $3 FOR UPDATE SKIP LOCKED"
IN_TURN = (
    f"SELECT probes, at, {EXCEPTION}, due_at FROM exceptions WHERE handler = $1 AND state = 'again' AND due_at >= $2"
    " ORDER BY due_at, at, stream, position, replay LIMIT $3"
)
INTERRUPTED = (
    f"SELECT {EXCEPTION} FROM exceptions WHERE handler = $1 AND state = 'interrupted' AND due_at = 0"
    " ORDER BY at, stream, position, replay LIMIT 1 FOR UPDATE SKIP LOCKED"
)
# Of ours alone: what other dispatchers do goes on beside it in other processes.
ALONE = "SELECT EXISTS (SELECT 1 FROM exceptions WHERE handler = $1 AND state = 'alone' AND owner = $2)"
BUSY = (
    "SELECT EXISTS (SELECT 1 FROM claims WHERE handler = $1 AND owner = $2)"
    " OR EXISTS (SELECT 1 FROM exceptions WHERE handler = $1 AND state = 'running' AND owner = $2)"
)
BLOCKED = (
    f"SELECT DISTINCT thread FROM exceptions WHERE handler = $1 AND thread = ANY($2) AND state || '' IN {UNSETTLED}"
)
TAKE = (
    "UPDATE exceptions SET state = $5, owner = $6, ticket = $7"
    " WHERE handler = $1 AND stream = $2 AND position = $3 AND replay = $4"
)
WHOLE = "SELECT 1 FROM handlers WHERE handler = $1 FOR UPDATE"
# In the order of the streams: two that wait for each other's lanes would never end.
LANES = (
    "SELECT l.stream, l.next FROM lanes l WHERE l.handler = $1 AND NOT l.over AND l.next <= (SELECT last FROM"
    f" ({streams.ENDS}) ends WHERE ends.stream = l.stream) ORDER BY l.stream FOR UPDATE OF l"
)
NEW = (
    f"SELECT {EVENT} FROM unnest($1::integer[], $2::bigint[]) l (s, n) CROSS JOIN LATERAL"
    " (SELECT * FROM events WHERE stream = s AND position >= n ORDER BY position LIMIT $3) e"
)
ENDS = f"SELECT * FROM ({streams.ENDS}) ends WHERE stream = ANY($1)"
ADVANCE = "UPDATE lanes SET next = $3 WHERE handler = $1 AND stream = $2"
CLAIM = "INSERT INTO claims VALUES ($1, $2, $3, $4, $5, $6, $7)"


class Asked(NamedTuple):
    """Who asks for work, and what it may be. The ticket names this very call."""

    handler: str
    owner: str
    ticket: int
    ordered: bool
    passes: Passes
    lease: timedelta


async def claim(db: Connection, asked: Asked, *, limit: int, now: datetime, horizon: timedelta) -> list[Dispatch]:
    """Interrupted ones first and one alone, then what is due again, then new ones."""
    if await db.fetchval(ALONE, asked.handler, asked.owner):
        return []
    if asked.ordered:  # threads run through all streams: one dispatcher at a time looks what may be next
        await db.execute(WHOLE, asked.handler)
    alone = await db.fetchrow(INTERRUPTED, asked.handler)
    if alone:
        if await db.fetchval(BUSY, asked.handler, asked.owner):
            return []
        return await _take(db, asked, [alone], alone=True)
    taken = await _take(db, asked, await _due(db, asked, now, horizon, limit))
    if len(taken) < limit:
        taken += await _claim_new(db, asked, min(limit - len(taken), MOST_CLAIMED))
    return taken


async def probe_claim(db: Connection, asked: Asked, now: datetime, horizon: timedelta) -> list[Dispatch]:
    """The oldest due dispatch with the fewest probes; after each round of them a new event has its turn."""
    await db.execute(WHOLE, asked.handler)
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    waiting = {
        tuple(row) for start in (0, beyond + 1) for row in await db.fetch(IN_TURN, asked.handler, start, MOST_PROBED)
    }
    ready = sorted(row for row in waiting if row[-1] <= due or row[-1] > beyond)
    found, rounds = ready[:1], {row[0] for row in waiting}
    if not (found and found[0][0] == 0) and len(rounds) <= 1:
        new = await _claim_new(db, asked, 1)
        if new:
            return new
    return await _take(db, asked, [row[2:-1] for row in found])


async def _due(db: Connection, asked: Asked, now: datetime, horizon: timedelta, limit: int) -> list[tuple[int, ...]]:
    query = AGAIN + (IN_ORDER if asked.ordered else "") + " AND due_at {} $2" + IN_LOG_ORDER
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    found = await db.fetch(query.format("<="), asked.handler, due, limit)
    if len(found) < limit:
        found += await db.fetch(query.format(">"), asked.handler, beyond, limit - len(found))
    return [tuple(row)[1:] for row in sorted(map(tuple, found))]  # in the order of the log


async def _take(
    db: Connection, asked: Asked, found: Sequence[tuple[int, ...]], *, alone: bool = False
) -> list[Dispatch]:
    """Mark exceptions as running. One whose event is no longer kept is cancelled."""
    if not found:
        return []
    await hold(db, asked.owner, asked.lease)
    events = await events_at(db, [Place(row[0], row[1]) for row in found])
    taken: list[Dispatch] = []
    changes: list[tuple[object, ...]] = []
    for stream, position, replay, attempts, interruptions, first_at in found:
        place = Place(stream, position)
        key = (asked.handler, *place, replay)
        if place not in events:
            changes.append((*key, "cancelled", None, 0))
            await add(db, asked.handler, asked.owner, cancelled=1)
            continue
        changes.append((*key, "alone" if alone else "running", asked.owner, asked.ticket))
        stored = events[place]
        claimed = Claimed(place, stored.cursor.at, replay, 0, asked.owner, attempts, interruptions)
        taken.append(_dispatch(asked.handler, stored, claimed, rows.maybe(first_at), alone=alone))
    await db.executemany(TAKE, changes)
    return taken


class _Front:
    """The new events of all streams from a handler's lanes on, in the order of the log, read as they are needed."""

    def __init__(self, db: Connection, lanes: dict[int, int]) -> None:
        self._db = db
        self.reached = {stream: next_ - 1 for stream, next_ in lanes.items()}
        """The position in each stream up to which everything was looked at."""
        self.there = dict.fromkeys(lanes, 0)
        """How many of the events up to there are still kept."""
        self._read: dict[int, deque[StoredEvent]] = {stream: deque() for stream in lanes}
        self._more = set(lanes)

    async def next(self, most: int) -> StoredEvent | None:
        """The next event; None at the end. So many are read of a stream at once."""
        dry = [stream for stream in self._more if not self._read[stream]]
        if dry:
            await self._fetch(dry, most)
        heads = [read[0] for read in self._read.values() if read]
        if not heads:
            return None
        stored = min(heads, key=lambda head: head.cursor.key)
        stream, position = stored.cursor.place
        self._read[stream].popleft()
        self.reached[stream] = position
        self.there[stream] += 1
        return stored

    async def _fetch(self, dry: list[int], most: int) -> None:
        found = await self._db.fetch(NEW, dry, [self.reached[stream] + 1 for stream in dry], most)
        for row in found:
            self._read[row[0]].append(event_from(row))
        self._more -= {stream for stream in dry if len(self._read[stream]) < most}

    async def pass_gaps(self) -> None:
        """Walk over what was erased at the end of streams that were read to their end."""
        ended = [stream for stream, read in self._read.items() if stream not in self._more and not read]
        for stream, last in await self._db.fetch(ENDS, ended) if ended else ():
            if last > self.reached[stream] and not await self._db.fetch(NEW, [stream], [self.reached[stream] + 1], 1):
                self.reached[stream] = last


async def _claim_new(db: Connection, asked: Asked, limit: int) -> list[Dispatch]:
    lanes = dict(await db.fetch(LANES, asked.handler)) if limit > 0 else {}
    if not lanes:
        return []
    await hold(db, asked.owner, asked.lease)
    front = _Front(db, lanes)
    wanted: list[StoredEvent] = []
    seen = 0
    while len(wanted) < limit and seen < MOST_SEEN:
        stored = await front.next(limit if seen < limit else MOST_CLAIMED)
        if stored is None:
            break
        seen += 1
        if asked.passes(stored.event):
            wanted.append(stored)
    await front.pass_gaps()
    gone = 0
    for stream, first in lanes.items():
        if (reached := front.reached[stream]) >= first:
            gone += reached - first + 1 - front.there[stream]
            await db.execute(ADVANCE, asked.handler, stream, reached + 1)
    await add(db, asked.handler, asked.owner, filtered=seen - len(wanted), cancelled=gone)
    return await (_claim_ordered if asked.ordered else _claim_ranges)(db, asked, wanted)


async def _claim_ranges(db: Connection, asked: Asked, wanted: Sequence[StoredEvent]) -> list[Dispatch]:
    """A claim in each stream: a range of places."""
    members: dict[int, list[int]] = {}
    for stored in wanted:
        members.setdefault(stored.cursor.place.stream, []).append(stored.cursor.place.position)
    for stream, positions in members.items():
        first, count = positions[0], positions[-1] - positions[0] + 1
        settled = bits.all_set_but((position - first for position in positions), count)
        await db.execute(CLAIM, asked.handler, stream, first, count, bytes(settled), asked.owner, asked.ticket)
    taken = []
    for stored in wanted:
        place = stored.cursor.place
        claimed = Claimed(place, stored.cursor.at, 0, members[place.stream][0], asked.owner, 0, 0)
        taken.append(_dispatch(asked.handler, stored, claimed, None))
    return taken


async def _claim_ordered(db: Connection, asked: Asked, wanted: Sequence[StoredEvent]) -> list[Dispatch]:
    """In order per thread: every event has an exception of its own, so that later ones see it."""
    handler, owner = asked.handler, asked.owner
    threads = {stored.cursor.place: thread_of(stored.event) for stored in wanted}
    busy = {row[0] for row in await db.fetch(BLOCKED, handler, list(threads.values()))} if threads else set()
    taken, made = [], []
    for stored in wanted:
        place = stored.cursor.place
        if threads[place] in busy:
            made.append(exception(handler, stored, "again"))
            continue
        busy.add(threads[place])
        made.append(exception(handler, stored, "running", owner=owner, ticket=asked.ticket))
        taken.append(_dispatch(handler, stored, Claimed(place, stored.cursor.at, 0, 0, owner, 0, 0), None))
    await db.executemany(EXCEPT, made)
    return taken


def _dispatch(
    handler: str, stored: StoredEvent, claimed: Claimed, first_at: datetime | None, *, alone: bool = False
) -> Dispatch:
    return Dispatch(
        id=dispatch_id(handler, claimed.place, claimed.replay),
        handler=handler,
        event=stored.event,
        number=claimed.attempts + 1,
        replay=claimed.replay,
        first_at=first_at,
        alone=alone,
        interruptions=claimed.interruptions,
        place=claimed,
    )
