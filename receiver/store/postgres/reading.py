"""Reading the log of all streams in its order, in small pieces, past no event that commits late. Jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from receiver import numbers
from receiver.store import rows
from receiver.store.postgres import lookup, streams
from receiver.store.postgres.places import END, EVENT, Cursor, Place, event_from
from receiver.store.postgres.server import Connection
from receiver.store.views import Selector, StoredEvent

CHUNK = 2_000  # events looked at in one job: no long readers
MOST_NARROWED = 10_000  # events that are looked up instead of walking through the log
Key = tuple[int, int, int]  # at, stream, position
BEGINNING: Key = (-1, -1, -1)

ENDS = f"SELECT stream, last FROM ({streams.ENDS}) ends"
# What was not there when the cursor was made begins, in the order of the log, with one of these.
LATE = (
    "SELECT min(e.at) FROM unnest($1::integer[], $2::bigint[]) s (s, p) CROSS JOIN LATERAL"
    " (SELECT at FROM events WHERE stream = s AND position > p ORDER BY position LIMIT 1) e"
)
BOUNDED = (
    " FROM events JOIN unnest($1::integer[], $2::bigint[], $3::bigint[]) s (s, seen, last) ON stream = s"
    " WHERE position > seen AND position <= last"
)
ORDER = " ORDER BY at, stream, position LIMIT "
BACKWARDS = " ORDER BY at DESC, stream DESC, position DESC LIMIT "
# Up to where a piece goes is found by the index alone; what of it matches is read by its bounds.
PIECE = f"SELECT at, stream, position FROM events WHERE (at, stream, position) > ($1, $2, $3){ORDER}{CHUNK}"
PIECE_BACK = f"SELECT at, stream, position FROM events WHERE (at, stream, position) < ($1, $2, $3){BACKWARDS}{CHUNK}"
CHOSEN = " AND (stream, position) IN (SELECT * FROM unnest($4::integer[], $5::bigint[]))"
UNINDEXED = " AND position > coalesce((SELECT max(r.last) FROM runs r WHERE r.stream = s), 0)"
WITHIN = " AND (at, stream, position) > ($4, $5, $6) AND (at, stream, position) <= ($7, $8, $9)"


@dataclass(frozen=True, slots=True)
class Reader:
    """What is read: of each stream what lies between two positions, from a place in the order of the log on."""

    selector: Selector
    floor: Mapping[int, int]
    ends: Mapping[int, int]
    start: Key

    @property
    def bounds(self) -> list[Any]:
        found = sorted(self.ends)
        return [found, [self.floor.get(one, 0) for one in found], [self.ends[one] for one in found]]


async def ends(db: Connection) -> dict[int, int]:
    """The newest position of each stream."""
    return dict(await db.fetch(ENDS))


async def end(db: Connection) -> Cursor:
    """The cursor behind everything that is stored now."""
    return Cursor(Place(0, 0), END, await ends(db))


async def readers(db: Connection, selector: Selector, after: Cursor | None) -> list[Reader]:
    """What is to be read behind a cursor, or from the beginning, as of now, one after the other.

    First what the cursor's reader had still before it, then what has been committed since.
    """
    now = await ends(db)
    if after is None:
        return [Reader(selector, {}, now, BEGINNING)]
    behind = {stream: after.ends.get(stream, 0) for stream in now}
    late = await db.fetchval(LATE, list(behind), list(behind.values()))
    left = [Reader(selector, after.floor, after.ends, after.key)] if after.at < END else []
    return left + ([Reader(selector, behind, now, (late, -1, -1))] if late is not None else [])


async def narrowed(db: Connection, read: Reader) -> list[StoredEvent] | None:
    """All that a reader's selector means, by what is looked up; None where it names no message, number or event.

    Nor where it is so much that the log had better be walked through.
    """
    terms = lookup.terms_of(read.selector)
    if not terms:
        return None
    where, arguments = conditions(read.selector, 6)
    places = await lookup.in_runs(db, terms, MOST_NARROWED + 1)
    if len(places) > MOST_NARROWED:
        return None
    columns = list(zip(*places, strict=True)) if places else [(), ()]
    found = await db.fetch(f"SELECT {EVENT}{BOUNDED}{CHOSEN}{where}", *read.bounds, *columns, *arguments)
    where, arguments = conditions(read.selector, 4)
    found += await db.fetch(f"SELECT {EVENT}{BOUNDED}{UNINDEXED}{where}", *read.bounds, *arguments)
    told = [event_from(row, read.ends, read.floor) for row in found]
    return sorted((one for one in told if one.cursor.key > read.start), key=lambda one: one.cursor.key)


async def piece(db: Connection, read: Reader, after: Key) -> tuple[list[StoredEvent], Key | None]:
    """The next events that match, and up to where was looked; None at the end."""
    bounds = await db.fetch(PIECE, *after)
    if not bounds:
        return [], None
    last = tuple(bounds[-1])
    return await _between(db, read, after, last, ORDER + str(CHUNK)), last


async def piece_back(db: Connection, read: Reader, before: Key, most: int) -> tuple[list[StoredEvent], Key | None]:
    """The newest events before a place that match, in the order of the log, and down to where was looked."""
    bounds = await db.fetch(PIECE_BACK, *before)
    if not bounds:
        return [], None
    newest, oldest = tuple(bounds[0]), tuple(bounds[-1])
    found = await _between(db, read, (*oldest[:2], oldest[2] - 1), newest, f"{BACKWARDS}{most}")
    return found[::-1], oldest


async def _between(db: Connection, read: Reader, after: Key, last: Key, order: str) -> list[StoredEvent]:
    where, arguments = conditions(read.selector, 10)
    found = await db.fetch(f"SELECT {EVENT}{BOUNDED}{WITHIN}{where}{order}", *read.bounds, *after, *last, *arguments)
    return [event_from(row, read.ends, read.floor) for row in found]


def conditions(selector: Selector, first: int) -> tuple[str, list[Any]]:
    """A selector as SQL, with parameters from this number on."""
    tests: list[tuple[str, Any]] = [
        ("received_at >= ${}", selector.since and rows.to_micros(selector.since)),
        ("received_at < ${}", selector.until and rows.to_micros(selector.until)),
        ("kind = ${}", selector.kind),
        ("source = ${}", selector.source),
        ("status = ${}", selector.status),
        ("message_id = ${}", selector.message),
        ("reference = ${}", selector.reference),
        ("simulated = ${}", selector.simulated),
        ("${} IN (originator, recipient)", selector.number and numbers.digits(selector.number)),
        ("id = ANY(${})", [rows.id_bytes(name) for name in selector.ids] or None),
    ]
    wanted = [(test, value) for test, value in tests if value is not None]
    where = "".join(f" AND {test.format(first + n)}" for n, (test, _) in enumerate(wanted))
    return where, [value for _, value in wanted]
