"""Inserting what a commit of the log writes: few statements, whatever its size."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from receiver.errors import ReceiverError
from receiver.store import rows
from receiver.store.group import Later
from receiver.store.plan import Known, Plan
from receiver.store.postgres.server import Connection
from receiver.store.postgres.streams import Stream

CALLBACK_TYPES = "bigint bigint text text text bytea text bytea text boolean"
EVENT_TYPES = "bigint bytea bytea bigint text text bigint bigint text text text text text integer boolean text"
RECEIVED = rows.EVENT_ROW.split(", ").index("received_at")


def _unnest(types: str, first: int) -> str:
    return "unnest(" + ", ".join(f"${first + n}::{kind}[]" for n, kind in enumerate(types.split())) + ")"


# All in one statement: of many at once each costs the server and us as much as a dozen rows. The stream's row is locked
# against closing. A key that somebody else stored meanwhile is left out, which the caller sees by the count.
APPEND = (
    "WITH mine AS MATERIALIZED (SELECT stream FROM streams WHERE stream = $1 AND NOT closed FOR KEY SHARE),"
    " new_keys AS (INSERT INTO keys (key, position, id, stream) SELECT k.*, stream FROM mine,"
    f" {_unnest('bytea bigint bytea', 2)} k ON CONFLICT DO NOTHING RETURNING 1),"
    f" new_callbacks AS (INSERT INTO callbacks ({rows.CALLBACK_COLUMNS}, stream) SELECT c.*, stream FROM mine,"
    f" {_unnest(CALLBACK_TYPES, 5)} c),"
    f" new_events AS (INSERT INTO events (at, {rows.EVENT_ROW}, stream) SELECT e.*, stream FROM mine,"
    f" {_unnest('bigint ' + EVENT_TYPES, 15)} e),"
    " new_counts AS (INSERT INTO counts (source, stored, duplicates, quarantined, simulated, last_at, number, stream)"
    f" SELECT n.*, $38::bigint, stream FROM mine, {_unnest('text bigint bigint bigint bigint bigint', 32)} n)"
    " SELECT (SELECT count(*) FROM mine), (SELECT count(*) FROM new_keys)"
)
COPIES = (
    "INSERT INTO copies (stream, position, callback, callback_stream)"
    f" SELECT c.*, $4::integer FROM {_unnest('integer bigint bigint', 1)} c ON CONFLICT DO NOTHING"
)
QUARANTINE = (
    "INSERT INTO quarantine (number, source, reason, stream) SELECT q.*, $4::integer"
    f" FROM {_unnest('bigint text text', 1)} q"
)
NEW_FATES = (
    "INSERT INTO fates (digest, stream, position, id, received_at, fate) SELECT f.*, 'unknown'"
    f" FROM {_unnest('bytea integer bigint bytea bigint', 1)} f ON CONFLICT DO NOTHING RETURNING 1"
)
OLD_FATES = (
    "UPDATE fates SET stream = f.s, position = f.p, id = f.i, received_at = f.r, fate = 'unknown'"
    f" FROM {_unnest('bytea integer bigint bytea bigint', 1)} f (d, s, p, i, r) WHERE digest = f.d"
)
MARK = (
    f"UPDATE fates SET fate = m.f FROM {_unnest('text bytea integer bigint', 1)} m (f, d, s, p)"
    " WHERE digest = m.d AND stream = m.s AND position = m.p"
)
REFUSED = (
    f"INSERT INTO sources (source, refused) SELECT * FROM {_unnest('text bigint', 1)} r"
    " ON CONFLICT (source) DO UPDATE SET refused = sources.refused + excluded.refused"
)


class Raced(ReceiverError):
    """Somebody else stored the same at this moment: look, and try again."""


async def insert(db: Connection, stream: Stream, plan: Plan, known: Known) -> bool:
    """Write a commit. False where the stream is closed. Raises Raced."""
    # In the order of the keys: two receivers that wait for each other's keys would never end.
    keys = sorted((row[1], row[0], row[2]) for row in plan.events if row[1] is not None)
    times = list(accumulate((row[RECEIVED] for row in plan.events), max, initial=stream.at))[1:]
    events = [(at, *row) for at, row in zip(times, plan.events, strict=True)]
    counts = [(source, *counted) for source, counted in plan.sources.items()]
    columns = [*_columns(keys, 3), *_columns(plan.callbacks, 10), *_columns(events, 17), *_columns(counts, 6)]
    last = stream.callback + len(plan.callbacks)
    open_, new = await db.fetchrow(APPEND, stream.number, *columns, last)
    if not open_:
        return False
    if new < len(keys):
        raise Raced
    if plan.copies:
        copies = [(*place, number) for place, number in plan.copies]
        await db.execute(COPIES, *_columns(copies, 3), stream.number)
    if plan.quarantine:
        await db.execute(QUARANTINE, *_columns(plan.quarantine, 3), stream.number)
    if plan.fates:
        await _await_fates(db, stream, plan, known)
    return True


async def _await_fates(db: Connection, stream: Stream, plan: Plan, known: Known) -> None:
    """The newest event with each content, of unknown fate. Raises Raced where somebody else stored one meanwhile."""
    ids = {fate.place: rows.id_bytes(fate.id) for fate in known.fates.values()}
    ids |= {(stream.number, row[0]): row[2] for row in plan.events}
    newest = {digest: (digest, *place, ids[place], received) for digest, (place, received) in plan.fates.items()}
    new = [newest[digest] for digest in sorted(newest) if digest not in known.fates]
    old = [newest[digest] for digest in sorted(newest) if digest in known.fates]
    if new and len(await db.fetch(NEW_FATES, *_columns(new, 5))) < len(new):
        raise Raced
    if old:
        await db.execute(OLD_FATES, *_columns(old, 5))


async def later(db: Connection, told: Later) -> None:
    """Fates of answers, and counts of refused requests."""
    if told.marks:
        fates = {(digest, *place): fate for fate, digest, place in told.marks}
        await db.execute(MARK, *_columns([(fates[key], *key) for key in sorted(fates)], 4))
    if told.refused:
        await db.execute(REFUSED, *_columns(sorted(told.refused.items()), 2))


def _columns(found: Sequence[tuple[Any, ...]], width: int) -> list[Any]:
    """Rows as columns, as arrays are given."""
    return list(zip(*found, strict=True)) if found else [()] * width
