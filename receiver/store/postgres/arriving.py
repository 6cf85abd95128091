"""Another store's lots, written into a stream of their own, which is closed. Jobs."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, count
from typing import Any

from pydantic_core import to_json

from receiver.errors import CopyFailed, StoreTaken, StoreUnusable
from receiver.store import rows
from receiver.store.moving import UNFINISHED, Lot, Moved, Rest
from receiver.store.postgres import streams
from receiver.store.postgres.claiming import MOST_SEEN
from receiver.store.postgres.inserting import RECEIVED
from receiver.store.postgres.places import thread_of
from receiver.store.postgres.server import Connection

SPAN = MOST_SEEN // 2
"""Positions whose packed attempts share a row; less than a claim may have, by which pruning counts."""
THERE = "SELECT to_regclass('unfinished_copy') IS NOT NULL"
MAKE = "CREATE TABLE unfinished_copy (told text NOT NULL)"
FIRST = "INSERT INTO unfinished_copy VALUES ('')"
TOLD = "UPDATE unfinished_copy SET told = $2 WHERE told = $1 RETURNING 1"
STREAM = "INSERT INTO streams (name, closed) VALUES ('copy', true) RETURNING stream"
MINE = "SELECT stream FROM streams WHERE name = 'copy'"
NEWEST = "SELECT at FROM events WHERE stream = $1 ORDER BY position DESC LIMIT 1"
CLOSE = "UPDATE streams SET last = $2, removed = $2 - (SELECT count(*) FROM events WHERE stream = $1) WHERE stream = $1"
# What a configured handler has not come to was never pruned: it was erased.
ERASED = (
    "INSERT INTO erased SELECT $1::integer, n FROM generate_series($2::bigint, $3::bigint) n"
    " WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.stream = $1 AND e.position = n)"
)
USERS = (
    f"SELECT name FROM streams WHERE NOT closed AND seen_at > clock_timestamp() - interval '{streams.SILENT}'"
    " UNION ALL SELECT 'dispatch ' || owner FROM owners WHERE until_at > clock_timestamp() LIMIT 1"
)
FILLED = (
    *("callbacks", "events", "keys", "copies", "fates", "quarantine", "sources", "lanes", "exceptions", "attempts"),
    *("packed_attempts", "lookups"),
)
EVENT = f"at, {rows.EVENT_ROW}, stream".split(", ")
EXCEPTION = (
    *("stream", "position", "at", "thread"),
    *("handler", "replay", "state", "attempts", "interruptions", "probes", "target"),
    *("due_at", "first_at", "died_at", "reason"),
)
ATTEMPT = (
    *("stream", "position", "written_at"),
    *("handler", "replay", "began_at", "number", "took", "verdict", "answer"),
)


async def require_whole(db: Connection, where: str) -> None:
    """Raises StoreUnusable where a copy into this store is not finished."""
    if await db.fetchval(THERE):
        raise StoreUnusable(UNFINISHED.format(where))


async def require_unused(db: Connection) -> None:
    """Raises StoreTaken where a receiver or a dispatcher lives."""
    user = await db.fetchval(USERS)
    if user:
        raise StoreTaken(f"in use by `{user}`; stop all receivers (one that was killed is gone in {streams.SILENT})")


async def unfinished(db: Connection) -> str | None:
    """What was told with the last lot of a copy that is not finished."""
    if not await db.fetchval(THERE):
        return None
    return str(await db.fetchval("SELECT told FROM unfinished_copy"))


async def take(db: Connection, lot: Lot, before: str, told: str) -> None:
    """Write a lot, if the last one was told as `before`. Raises CopyFailed."""
    if not before and not await db.fetchval(THERE):
        await db.execute(MAKE)
        await db.execute(FIRST)
        await db.execute(STREAM)
    if not await db.fetchval(TOLD, before, told):
        raise CopyFailed("another copy into the same database runs")
    stream = await db.fetchval(MINE)
    callbacks = [(*row, stream) for row in lot.callbacks]
    await _fill(db, "callbacks", [*rows.CALLBACK_COLUMNS.split(", "), "stream"], callbacks)
    if lot.events:
        await _events(db, stream, lot.events)
    if lot.rest:
        await _rest(db, stream, lot.rest)


async def finish(db: Connection) -> None:
    """Let everybody in."""
    for table in FILLED:
        await db.execute(f"ANALYZE {table}")
    await db.execute("DROP TABLE IF EXISTS unfinished_copy")


async def _fill(db: Connection, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]]) -> None:
    if records:
        await db.copy_records_to_table(table, records=records, columns=list(columns))


async def _events(db: Connection, stream: int, events: Sequence[Moved]) -> None:
    began = await db.fetchval(NEWEST, stream) or 0
    times = list(accumulate((moved.row[RECEIVED] for moved in events), max, initial=began))[1:]
    await _fill(db, "events", EVENT, [(at, *moved.row, stream) for at, moved in zip(times, events, strict=True)])
    keys = sorted((moved.row[1], stream, moved.position, moved.row[2]) for moved in events if moved.row[1] is not None)
    await _fill(db, "keys", ["key", "stream", "position", "id"], keys)
    copies = [(stream, moved.position, stream, number) for moved in events for number in moved.copies]
    await _fill(db, "copies", ["stream", "position", "callback_stream", "callback"], copies)
    fates = [(stream, moved.position, moved.row[2], *fate) for moved in events for fate in moved.fates]
    await _fill(db, "fates", ["stream", "position", "id", "digest", "received_at", "fate"], fates)
    exceptions = [
        (stream, moved.position, at, _thread(moved), *one)
        for at, moved in zip(times, events, strict=True)
        for one in moved.exceptions
    ]
    await _fill(db, "exceptions", EXCEPTION, exceptions)
    now, tick = datetime.now(UTC), count()
    attempts = [
        (stream, moved.position, now + timedelta(microseconds=next(tick)), *one)
        for moved in events
        for one in moved.attempts
    ]
    await _fill(db, "attempts", ATTEMPT, attempts)
    await _fill(db, "packed_attempts", ["stream", "handler", "first", "place", "entries"], _packed(stream, events))


def _thread(moved: Moved) -> bytes:
    row = moved.row
    return thread_of(rows.event_from((None, row[4], row[2], row[15])).event)


def _packed(stream: int, events: Sequence[Moved]) -> list[tuple[Any, ...]]:
    shared: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for moved in events:
        for handler, *one in moved.easy:
            shared.setdefault((handler, moved.position // SPAN), []).append((moved.position, *one))
    packed = []
    for (handler, _), made in shared.items():
        first = made[0][0]
        entries = to_json([(position - first, *one) for position, *one in made]).decode()
        packed.append((stream, handler, first, 0, entries))
    return packed


async def _rest(db: Connection, stream: int, rest: Rest) -> None:
    await db.execute(CLOSE, stream, rest.end)
    first_owed = min((lane.next for lane in rest.lanes if lane.configured), default=rest.end + 1)
    await db.execute(ERASED, stream, first_owed, rest.end)
    columns = ["handler", "configured", "state", "since", "reason", "last_error", "last_error_at"]
    handlers = [(lane.handler, lane.configured, *lane[9:]) for lane in rest.lanes]
    await _fill(db, "handlers", columns, handlers)
    lanes = [(lane.handler, stream, lane.start, lane.next, lane.next > rest.end) for lane in rest.lanes]
    await _fill(db, "lanes", ["handler", "stream", "start", "next", "over"], lanes)
    counters = ["handler", "owner", "replays", "done", "filtered", "cancelled", "dead"]
    await _fill(db, "tallies", counters, [(lane.handler, "", *lane[4:9]) for lane in rest.lanes])
    names = ["source", "stored", "duplicates", "quarantined", "refused", "simulated", "last_at"]
    await _fill(db, "sources", names, rest.sources)
    quarantine = [(stream, *row) for row in rest.quarantine]
    await _fill(db, "quarantine", ["stream", "number", "source", "reason"], quarantine)
    notices = [(*row, stream, 0) for row in rest.notices]
    await _fill(db, "open_notices", ["notice", "about", "stream", "position"], notices)
