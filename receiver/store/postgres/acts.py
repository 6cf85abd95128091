"""What people do to dispatches: make due, cancel, replay, forget, rename. Jobs."""

from collections.abc import Sequence

from receiver.store.postgres import streams
from receiver.store.postgres.lanes import add
from receiver.store.postgres.looking import exceptions_where
from receiver.store.postgres.places import thread_of
from receiver.store.postgres.server import Connection
from receiver.store.views import DispatchSelector, StoredEvent

OWNED = ("claims", "exceptions", "packed_attempts", "attempts", "tallies", "lanes", "handlers")
"""Tables with a handler in each row."""
REVIVE = (
    "UPDATE exceptions SET state = 'again', attempts = 0, interruptions = 0, probes = 0, target = false, due_at = 0,"
    " died_at = NULL, owner = NULL WHERE "
)
REPLAYS = (
    "SELECT p.s, p.n, 1 + greatest("
    " (SELECT coalesce(max(replay), 0) FROM exceptions WHERE handler = $1 AND stream = p.s AND position = p.n),"
    " (SELECT coalesce(max(replay), 0) FROM attempts WHERE handler = $1 AND stream = p.s AND position = p.n))"
    " FROM unnest($2::integer[], $3::bigint[]) p (s, n)"
)
REPLAY = (
    "INSERT INTO exceptions (handler, stream, position, replay, at, thread, state, reason)"
    " SELECT $1, r.*, 'again', 'replay'"
    " FROM unnest($2::integer[], $3::bigint[], $4::integer[], $5::bigint[], $6::bytea[]) r"
)
KNOWN = "SELECT handler FROM handlers"


async def requeue(db: Connection, selector: DispatchSelector) -> int:
    """Due now. A dead one begins anew; one that was interrupted stays so."""
    where, arguments = exceptions_where(selector, 1)
    if selector.state == "pending":
        return count_of(await db.execute(f"UPDATE exceptions SET due_at = 0 WHERE {where}", *arguments))
    await bury(db, where, arguments, cancelled=False)
    return count_of(await db.execute(f"{REVIVE}{where}", *arguments))


async def cancel(db: Connection, selector: DispatchSelector) -> int:
    """Dead letters that nobody will ask for again."""
    where, arguments = exceptions_where(selector, 1)
    await bury(db, where, arguments, cancelled=True)
    return count_of(await db.execute(f"UPDATE exceptions SET state = 'cancelled' WHERE {where}", *arguments))


async def bury(db: Connection, where: str, arguments: Sequence[object], *, cancelled: bool) -> None:
    """Take dead letters out of the counters, before they are. Nobody else can decide about them meanwhile."""
    found = await db.fetch(
        f"SELECT handler, count(*) FROM (SELECT handler FROM exceptions WHERE {where}"
        " ORDER BY handler, stream, position, replay FOR UPDATE) d GROUP BY handler ORDER BY handler",
        *arguments,
    )
    for handler, count in found:
        await add(db, handler, "", dead=-count, cancelled=count if cancelled else 0)


async def replay(db: Connection, handler: str, events: Sequence[StoredEvent]) -> int:
    """Owe these events to a handler once more."""
    at = {stored.cursor.place: stored for stored in events}
    numbers = await db.fetch(REPLAYS, handler, *zip(*at, strict=True))
    told = [
        (stream, position, number, at[stream, position].cursor.at, thread_of(at[stream, position].event))
        for stream, position, number in numbers
    ]
    await db.execute(REPLAY, handler, *zip(*told, strict=True))
    await add(db, handler, "", replays=len(told))
    return len(told)


async def forget(db: Connection, handler: str) -> bool:
    """Drop all that is known of a handler."""
    await db.execute(streams.TAKE_TURNS)
    counts = [count_of(await db.execute(f"DELETE FROM {table} WHERE handler = $1", handler)) for table in OWNED]
    return counts[-1] > 0


async def rename(db: Connection, old: str, new: str) -> bool:
    """Give all that is known of a handler to another name."""
    await db.execute(streams.TAKE_TURNS)
    known = {row[0] for row in await db.fetch(KNOWN)}
    if old not in known or new in known:
        return False
    for table in OWNED:
        await db.execute(f"UPDATE {table} SET handler = $2 WHERE handler = $1", old, new)
    return True


def count_of(status: str) -> int:
    """The rows of `UPDATE 3`."""
    return int(status.rpartition(" ")[2])
