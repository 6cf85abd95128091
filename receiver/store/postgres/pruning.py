"""Retention: removing what is old in small batches, of the log and of what the handlers did. Jobs."""

from collections.abc import Sequence
from datetime import datetime

from receiver.store import rows
from receiver.store.postgres import acts, streams
from receiver.store.postgres.acts import count_of
from receiver.store.postgres.claiming import MOST_SEEN
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import Connection

BATCH = 500  # rows of a kind in one transaction, so that nobody waits for it

BURIED = "state IN ('dead', 'cancelled') AND died_at < $1"
OLD_DEAD = (
    "(handler, stream, position, replay) IN (SELECT handler, stream, position, replay FROM exceptions e"
    f" WHERE handler IN (SELECT handler FROM handlers) AND {BURIED} LIMIT $2)"
)
# The first position of each stream that a configured handler still waits for; all before it may go.
FLOORS = (
    "SELECT s.stream, least("
    "(SELECT min(next) FROM lanes l JOIN handlers h USING (handler) WHERE l.stream = s.stream AND h.configured),"
    " (SELECT min(first) FROM claims c WHERE c.stream = s.stream),"
    " (SELECT min((SELECT e.position FROM exceptions e WHERE e.handler = h.handler AND e.stream = s.stream"
    " AND e.state <> 'cancelled' ORDER BY e.position, e.replay LIMIT 1)) FROM handlers h WHERE h.configured),"
    f" (SELECT last + 1 FROM ({streams.ENDS}) e WHERE e.stream = s.stream)) FROM streams s"
)
NEWEST = "SELECT stream, position FROM events ORDER BY at DESC, stream DESC, position DESC LIMIT 1"
MOST_PASSED = 10_000  # old events that are waited for, passed over in one batch
OLD_EVENTS = (
    f"SELECT stream, position, key FROM (SELECT * FROM events ORDER BY at, stream, position LIMIT {MOST_PASSED}) e"
    " JOIN unnest($1::integer[], $2::bigint[]) f (s, n) ON stream = s AND position < n"
    " WHERE received_at < $4 ORDER BY at, stream, position LIMIT $3"
)
OLD_SIMULATED = (
    "SELECT e.stream, e.position, e.key FROM unnest($1::integer[], $2::bigint[]) f (s, n) CROSS JOIN LATERAL"
    " (SELECT * FROM events WHERE stream = s AND position < n AND simulated ORDER BY position LIMIT $3) e LIMIT $3"
)
EVENTS = "(SELECT * FROM unnest($1::integer[], $2::bigint[]))"
REMOVALS = (
    "DELETE FROM callbacks WHERE (stream, number) IN (SELECT callback_stream, callback FROM copies"
    f" WHERE (stream, position) IN {EVENTS})",
    "DELETE FROM callbacks WHERE (stream, number) IN (SELECT stream, callback FROM events"
    f" WHERE (stream, position) IN {EVENTS})",
    f"DELETE FROM copies WHERE (stream, position) IN {EVENTS}",
    f"DELETE FROM fates WHERE (stream, position) IN {EVENTS}",
)
REMOVAL = f"DELETE FROM events WHERE (stream, position) IN {EVENTS} RETURNING stream, position"
# Its end is kept where its newest events go.
REMOVED = "UPDATE streams SET removed = removed + $2, last = greatest(last, $3) WHERE stream = $1"
OLD_QUARANTINE = (
    "DELETE FROM quarantine WHERE (stream, number) IN (SELECT q.stream, q.number FROM quarantine q"
    " JOIN callbacks c USING (stream, number) WHERE c.received_at < $1 ORDER BY c.received_at LIMIT $2)"
    " RETURNING stream, number"
)
OLD_ATTEMPTS = (
    "DELETE FROM attempts WHERE ctid IN (SELECT a.ctid FROM handlers h CROSS JOIN unnest($1::integer[], $2::bigint[])"
    " f (s, n) JOIN attempts a ON a.handler = h.handler AND a.stream = s AND a.position < n LIMIT $3)"
)
OLD_PACKED = (
    "DELETE FROM packed_attempts WHERE (handler, stream, first, place) IN (SELECT h.handler, stream, first, place"
    " FROM handlers h CROSS JOIN unnest($1::integer[], $2::bigint[]) f (s, n) JOIN packed_attempts p"
    f" ON p.handler = h.handler AND p.stream = s AND p.first + {MOST_SEEN} < n LIMIT $3)"
)
OLD_RUN = "SELECT run FROM runs JOIN unnest($1::integer[], $2::bigint[]) f (s, n) ON stream = s WHERE last < n LIMIT 1"
OLD_LOOKUPS = (
    "DELETE FROM lookups WHERE run = $1 AND (term, position) IN"
    " (SELECT term, position FROM lookups WHERE run = $1 LIMIT $2)"
)
# Of erased events, where every handler has passed them.
PASSED_PLACES = (
    "DELETE FROM erased x USING unnest($1::integer[], $2::bigint[]) f (s, n) WHERE x.stream = s AND x.position < n"
    " AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.stream = s AND l.next <= x.position)"
)
EMPTY_RUN = "DELETE FROM runs WHERE run = $1 AND NOT EXISTS (SELECT 1 FROM lookups WHERE run = $1)"
# Streams of which nothing is left: what handlers were owed of them is added up.
EMPTY = (
    "SELECT s.stream FROM streams s WHERE s.closed AND s.removed >= s.last"
    " AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.stream = s.stream AND NOT l.over)"
    " AND NOT EXISTS (SELECT 1 FROM callbacks c WHERE c.stream = s.stream)"
    " AND NOT EXISTS (SELECT 1 FROM exceptions e JOIN handlers h USING (handler) WHERE e.stream = s.stream)"
    " LIMIT $1 FOR UPDATE"
)
OWED = (
    "UPDATE handlers h SET received = received + o.owed FROM (SELECT handler, sum(next - start) AS owed FROM lanes"
    " WHERE stream = ANY($1) GROUP BY handler) o WHERE h.handler = o.handler"
)


async def dispatches(db: Connection, before: datetime) -> int:
    """A batch of dead letters that died before."""
    old = (rows.to_micros(before), BATCH)
    await acts.bury(db, f"state = 'dead' AND {OLD_DEAD}", old, cancelled=True)
    return count_of(await db.execute(f"DELETE FROM exceptions WHERE {OLD_DEAD}", *old))


async def log(db: Connection, before: datetime, *, simulated: bool) -> int:
    """A batch of events that nobody waits for, with their callbacks and what handlers did; of old quarantine."""
    floors: dict[int, int] = dict(await db.fetch(FLOORS))
    newest = await db.fetchrow(NEWEST)
    spared = Place(*newest) if newest else None
    found = await _old_events(db, before, floors, simulated=simulated)
    going = {place: key for place, key in found if place != spared}
    removed = await remove(db, list(going), [key for key in going.values() if key is not None])
    quarantined = await db.fetch(OLD_QUARANTINE, rows.to_micros(before), BATCH)
    for place in quarantined:
        await db.execute("DELETE FROM callbacks WHERE stream = $1 AND number = $2", *place)
    return removed + len(quarantined)


async def _old_events(
    db: Connection, before: datetime, floors: dict[int, int], *, simulated: bool
) -> list[tuple[Place, bytes | None]]:
    bounds = list(floors), list(floors.values())
    if simulated:
        found = await db.fetch(OLD_SIMULATED, *bounds, BATCH)
    else:
        found = await db.fetch(OLD_EVENTS, *bounds, BATCH, rows.to_micros(before))
    return [(Place(row[0], row[1]), row[2]) for row in found]


async def remove(db: Connection, places: Sequence[Place], keys: Sequence[bytes]) -> int:
    """Remove events with their callbacks; how many. Somebody else may remove some of them at the same moment."""
    if not places:
        return 0
    for statement in REMOVALS:
        await db.execute(statement, *zip(*places, strict=True))
    await db.execute("DELETE FROM keys WHERE key = ANY($1)", keys)
    gone = [Place(*row) for row in await db.fetch(REMOVAL, *zip(*places, strict=True))]
    for stream in sorted({place.stream for place in gone}):
        positions = [place.position for place in gone if place.stream == stream]
        await db.execute(REMOVED, stream, len(positions), max(positions))
    return len(gone)


async def traces(db: Connection) -> int:
    """A batch of attempts and look-ups of events that are gone, and streams of which nothing is left."""
    oldest = await db.fetch(
        "SELECT s.stream, coalesce((SELECT min(position) FROM events e WHERE e.stream = s.stream), s.last + 1)"
        " FROM streams s WHERE s.removed > 0"
    )
    if not oldest:
        return 0
    bounds = list(zip(*map(tuple, oldest), strict=True))
    await db.execute(PASSED_PLACES, *bounds)
    removed = count_of(await db.execute(OLD_ATTEMPTS, *bounds, BATCH))
    removed += count_of(await db.execute(OLD_PACKED, *bounds, BATCH))
    run = await db.fetchval(OLD_RUN, *bounds)
    if run is not None:
        removed += count_of(await db.execute(OLD_LOOKUPS, run, BATCH * 4))
        await db.execute(EMPTY_RUN, run)
    if not removed:
        await _drop_streams(db)
    return removed


async def _drop_streams(db: Connection) -> None:
    empty = [row[0] for row in await db.fetch(EMPTY, BATCH)]
    if empty:
        await db.execute(OWED, empty)
        for table in ("lanes", "packed_attempts", "streams"):
            await db.execute(f"DELETE FROM {table} WHERE stream = ANY($1)", empty)
