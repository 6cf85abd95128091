"""The counters of a store, of one moment: they add up at any time. A job that writes nothing."""

from typing import Any

from receiver.store import bits, rows
from receiver.store.postgres import streams
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import Connection
from receiver.store.views import HandlerStats, SourceStats, Standing, Stats

MOST_COUNTED = 10_000  # exceptions of a handler that are counted; of more the counters tell how many

HANDLERS = (
    "SELECT handler, configured, received, state, since, reason, last_error, last_error_at FROM handlers"
    " ORDER BY handler"
)
TALLIES = (
    "SELECT handler, sum(replays)::bigint, sum(done)::bigint, sum(filtered)::bigint, sum(cancelled)::bigint,"
    " sum(dead)::bigint FROM tallies GROUP BY handler"
)
LANES = (
    "SELECT l.handler, l.stream, l.start, l.next, CASE WHEN l.over THEN l.next - 1 ELSE e.last END AS last,"
    f" CASE WHEN l.over THEN 0 ELSE {streams.VOID} END AS void"
    f" FROM lanes l JOIN ({streams.ENDS}) e USING (stream)"
)
RUNNING = (
    "SELECT handler, count(*) FROM exceptions e WHERE handler IN (SELECT handler FROM handlers)"
    " AND state IN ('running', 'alone') GROUP BY handler"
)
CLAIMS = "SELECT handler, count, settled FROM claims"
WAIT = "WHERE handler = $1 AND state IN ('again', 'interrupted')"
# Many are not sorted: the first in the order of the key is about the oldest.
WAITING = (
    f"SELECT count(*), (array_agg(stream ORDER BY at, stream, position))[1], (array_agg(position ORDER BY at, stream,"
    f" position))[1] FROM (SELECT at, stream, position FROM exceptions {WAIT} LIMIT $2) w"
)
# `state || ''`: walks through the key, and stops at the first; by the index of states it would sort them all.
FIRST = (
    "SELECT stream, position FROM exceptions WHERE handler = $1 AND state || '' IN ('again', 'interrupted')"
    " ORDER BY stream, position, replay LIMIT 1"
)
OLDEST = (
    "SELECT min(e.received_at) FROM unnest($1::integer[], $2::bigint[]) p (s, n) CROSS JOIN LATERAL"
    " (SELECT received_at FROM events WHERE stream = s AND position >= n ORDER BY position LIMIT 1) e"
)
SOURCES = (
    "SELECT source, sum(stored)::bigint, sum(duplicates)::bigint, sum(quarantined)::bigint, sum(refused)::bigint,"
    " sum(simulated)::bigint, max(last_at) FROM ("
    "SELECT source, stored, duplicates, quarantined, refused, simulated, last_at FROM sources"
    " UNION ALL SELECT source, stored, duplicates, quarantined, 0, simulated, last_at FROM counts) s"
    " GROUP BY source ORDER BY source"
)
EVENTS = f"SELECT coalesce(sum(e.last - s.removed), 0)::bigint FROM streams s JOIN ({streams.ENDS}) e USING (stream)"
QUARANTINE = "SELECT source, count(*) FROM quarantine GROUP BY source"


async def stats(db: Connection) -> Stats:
    """All of them."""
    tallies = {row[0]: tuple(row)[1:] for row in await db.fetch(TALLIES)}
    running = dict(await db.fetch(RUNNING))
    for handler, count, settled in await db.fetch(CLAIMS):
        running[handler] = running.get(handler, 0) + count - bits.settled(settled)
    lanes: dict[str, list[Any]] = {}
    for row in await db.fetch(LANES):
        lanes.setdefault(row[0], []).append(row)
    handlers = []
    for row in await db.fetch(HANDLERS):
        name = row[0]
        counted = tallies.get(name, (0,) * 5)
        handlers.append(await _handler(db, row, lanes.get(name, []), counted, running.get(name, 0)))
    sources = tuple(
        SourceStats(name, stored, copies, quarantined, refused, simulated, rows.maybe(last_at or None))
        for name, stored, copies, quarantined, refused, simulated, last_at in await db.fetch(SOURCES)
    )
    kept = dict(await db.fetch(QUARANTINE))
    return Stats(tuple(handlers), sources, kept, await db.fetchval(EVENTS))


async def _handler(db: Connection, row: Any, lanes: list[Any], counted: tuple[int, ...], running: int) -> HandlerStats:
    handler, configured, received, state, since, reason, error, error_at = row
    replays, done, filtered, cancelled, dead = counted
    received += replays + sum(last + 1 - start for _, _, start, _, last, _ in lanes)
    behind = {Place(stream, next_): last + 1 - next_ - void for _, stream, _, next_, last, void in lanes}
    pending = sum(behind.values())
    cancelled += sum(void for *_, void in lanes)  # the lane has only not come there yet
    waiting, first = await _excepted(db, handler, received - done - filtered - cancelled - dead - running - pending)
    oldest = [*(place for place, count in behind.items() if count), *first]
    columns = list(zip(*oldest, strict=True)) if oldest else [(), ()]
    return HandlerStats(
        handler,
        state if configured else "absent",
        received,
        done,
        filtered,
        cancelled,
        pending + waiting,
        running,
        dead,
        rows.maybe(await db.fetchval(OLDEST, *columns)),
        Standing(handler, state, rows.maybe(since), reason, error, rows.maybe(error_at)),
    )


async def _excepted(db: Connection, handler: str, owed: int) -> tuple[int, list[Place]]:
    """How many exceptions of a handler wait, and the first of them. Many are not counted: they are `owed`."""
    count, stream, position = await db.fetchrow(WAITING, handler, MOST_COUNTED + 1)
    if count > MOST_COUNTED:
        return max(count, owed), [Place(*await db.fetchrow(FIRST, handler))]
    return count, [Place(stream, position)] if count else []
