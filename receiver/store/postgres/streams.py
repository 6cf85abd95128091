"""Streams: each process that appends to the log has one of its own, and nobody else appends to that. Jobs."""

from dataclasses import dataclass

from receiver.store.postgres.server import Connection

SILENT = "2 minutes"
"""After so long without a sign of life a stream is closed; its process takes a new one, should it still live."""

# Who opens a stream and who registers a handler wait for each other: every handler has a lane in every stream.
TAKE_TURNS = "LOCK TABLE handlers IN SHARE ROW EXCLUSIVE MODE"
OPEN = "INSERT INTO streams (name) VALUES ($1) RETURNING stream"
NEWEST = "SELECT coalesce(max(at), 0) FROM events"
LANES = "INSERT INTO lanes (handler, stream, start, next) SELECT handler, $1, 1, 1 FROM handlers"
BEAT = "UPDATE streams SET seen_at = clock_timestamp() WHERE stream = $1 AND NOT closed RETURNING 1"
ENDS = (
    "SELECT s.stream, CASE WHEN s.closed THEN s.last ELSE greatest(s.last, coalesce("
    "(SELECT max(e.position) FROM events e WHERE e.stream = s.stream), 0)) END AS last FROM streams s"
)
"""Each stream and its newest position, also where its newest events were removed."""
VOID = "(SELECT count(*) FROM erased x WHERE x.stream = l.stream AND x.position >= l.next)"
"""How many places before a lane `l` are empty, because their events were erased: they count as cancelled."""
FOLD = (
    "WITH gone AS (DELETE FROM counts WHERE stream = $1 RETURNING *)"
    " INSERT INTO sources (source, stored, duplicates, quarantined, simulated, last_at)"
    " SELECT source, sum(stored), sum(duplicates), sum(quarantined), sum(simulated), max(last_at)"
    " FROM gone GROUP BY source ORDER BY source ON CONFLICT (source) DO UPDATE SET"
    " stored = sources.stored + excluded.stored, duplicates = sources.duplicates + excluded.duplicates,"
    " quarantined = sources.quarantined + excluded.quarantined, simulated = sources.simulated + excluded.simulated,"
    " last_at = greatest(sources.last_at, excluded.last_at)"
)
# FOR UPDATE waits for whoever appends, also for a commit that its process has lost sight of.
HOLD = "SELECT stream FROM streams WHERE stream = $1 AND NOT closed FOR UPDATE"
CLOSE = f"UPDATE streams SET closed = true, last = (SELECT last FROM ({ENDS}) ends WHERE stream = $1) WHERE stream = $1"
SILENT_ONES = (
    f"SELECT stream FROM streams WHERE NOT closed AND seen_at < clock_timestamp() - interval '{SILENT}'"
    " ORDER BY stream FOR UPDATE SKIP LOCKED"
)
OVER = (
    "UPDATE lanes SET over = true FROM streams s"
    " WHERE lanes.stream = s.stream AND NOT lanes.over AND s.closed AND lanes.next > s.last"
)


@dataclass(slots=True)
class Stream:
    """A stream that is ours, and what it ends with."""

    number: int
    at: int
    """The newest time in it; at the beginning the newest of the log: it goes on from there, whatever the clock says."""
    position: int = 0
    callback: int = 0


async def open_stream(db: Connection, name: str) -> Stream:
    """A new stream, in which every handler is owed everything."""
    await db.execute(TAKE_TURNS)
    stream = Stream(await db.fetchval(OPEN, name), await db.fetchval(NEWEST))
    await db.execute(LANES, stream.number)
    return stream


async def close_stream(db: Connection, stream: int) -> None:
    """From now on nothing is appended to it. It ends where it ends."""
    if await db.fetchval(HOLD, stream) is not None:
        await db.execute(FOLD, stream)
        await db.execute(CLOSE, stream)


async def beat(db: Connection, stream: int) -> bool:
    """Show that its process lives. False: it was closed."""
    return await db.fetchval(BEAT, stream) is not None


async def close_silent(db: Connection) -> None:
    """Close the streams of processes that are gone."""
    for row in await db.fetch(SILENT_ONES):
        await close_stream(db, row[0])
    await db.execute(OVER)
