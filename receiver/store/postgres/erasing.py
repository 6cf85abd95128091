"""Erasing a person: the events to or from a number, with all that hangs on them, and its mention in what we wrote.

What was found is removed in small batches, each in one transaction: the events, their callbacks, what handlers had not
settled of them, and all by which they are found.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from receiver import numbers
from receiver.store import bits, rows
from receiver.store.base import Tell
from receiver.store.person import whose
from receiver.store.postgres import blotting, lanes, pruning, unpacking
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import LONG, Connection, Server
from receiver.store.views import Erased

CHUNK = 1_000  # rows read in one go
BATCH = 100  # events removed in one transaction

EVENTS = (
    "SELECT stream, position, kind, originator, recipient, data, callback, key FROM events"
    " WHERE (stream, position) > ($1, $2) ORDER BY stream, position LIMIT $3"
)
CALLBACKS = (
    "SELECT c.stream, c.number, c.query, c.body, q.number IS NOT NULL FROM callbacks c LEFT JOIN quarantine q"
    " USING (stream, number) WHERE (c.stream, c.number) > ($1, $2) ORDER BY c.stream, c.number LIMIT $3"
)
CHOSEN = "(SELECT * FROM unnest($1::integer[], $2::bigint[]))"
CALLBACKS_OF = (
    f"SELECT stream, callback FROM events WHERE (stream, position) IN {CHOSEN} AND callback IS NOT NULL"
    f" UNION SELECT callback_stream, callback FROM copies WHERE (stream, position) IN {CHOSEN}"
)
# Nobody builds a run of these streams meanwhile, and nobody claims in them.
HOLD = "SELECT 1 FROM streams WHERE stream = ANY($1) ORDER BY stream FOR NO KEY UPDATE"
HOLD_LANES = "SELECT handler, stream, next FROM lanes WHERE stream = ANY($1) ORDER BY handler, stream FOR UPDATE"
LANES = "SELECT handler, stream, next FROM lanes WHERE stream = ANY($1)"
WAITING = "('again', 'interrupted', 'running', 'alone')"
STATES = (
    f"SELECT handler, count(*) FILTER (WHERE state IN {WAITING}), count(*) FILTER (WHERE state = 'dead')"
    f" FROM exceptions WHERE handler IN (SELECT handler FROM handlers) AND (stream, position) IN {CHOSEN}"
    " GROUP BY handler ORDER BY handler"
)
DROP = "DELETE FROM {} WHERE handler IN (SELECT handler FROM handlers) AND (stream, position) IN " + CHOSEN
CLAIMS = (
    "SELECT handler, stream, first, count, settled FROM claims WHERE stream = ANY($1) ORDER BY handler, stream, first"
)
FACTS = (
    "SELECT stream, position, id, message_id, reference, originator, recipient FROM events"
    f" WHERE (stream, position) IN {CHOSEN}"
)
KEEP_PLACES = "INSERT INTO erased SELECT * FROM unnest($1::integer[], $2::bigint[]) ON CONFLICT DO NOTHING"
FORGET = (
    "DELETE FROM lookups l USING runs r, unnest($1::integer[], $2::bigint[], $3::bigint[]) t (s, p, term)"
    " WHERE r.stream = t.s AND t.p BETWEEN r.first AND r.last"
    " AND l.run = r.run AND l.term = t.term AND l.position = t.p"
)


@dataclass(slots=True)
class Found:
    """What of the log is a person's."""

    events: dict[Place, bytes | None] = field(default_factory=dict)
    """With their keys."""
    callbacks: set[Place] = field(default_factory=set)
    """Those that brought these events or repeated them."""
    notices: list[Place] = field(default_factory=list)
    """Notices of ours that name the number."""
    quarantined: list[Place] = field(default_factory=list)
    """Callbacks in quarantine that name it."""
    naming: set[Place] = field(default_factory=set)
    """Callbacks of other people's events that name it."""


async def erase(server: Server, number: str, *, dry_run: bool, tell: Tell) -> Erased:
    """Find all of it, and unless it is a `dry_run` remove it."""
    written = numbers.Written(number)
    found = await _find(server, written, tell)
    told = Erased(len(found.events), len(found.callbacks), len(found.quarantined), mentions=len(found.naming))
    for some in _batches(found):
        if dry_run:
            told.cancelled += await server.run(partial(_unsettled, some=some), within=LONG)
            continue
        keys = [key for place in some if (key := found.events[place]) is not None]
        told.cancelled += await server.run(partial(_remove, some=some, keys=keys), within=LONG)
        tell("erased", len(some), len(found.events))
    if not dry_run:
        for place in found.quarantined:
            await server.run(partial(_drop_callback, place=place))
        told.blotted = await blotting.blot(server, written, found.notices, tell)
    return told


def _batches(found: Found) -> Iterator[list[Place]]:
    places = list(found.events)
    for start in range(0, len(places), BATCH):
        yield places[start : start + BATCH]


async def _find(server: Server, written: numbers.Written, tell: Tell) -> Found:
    """Look at all events, then at all callbacks."""
    found = Found()
    async for stream, position, *facts, callback, key in _all(server, EVENTS, "events", tell):
        place = Place(stream, position)
        match whose(written, *facts):
            case "theirs":
                found.events[place] = key
            case "notice":
                found.notices.append(place)
            case "others":
                found.naming.add(Place(stream, callback))
    for some in _batches(found):
        found.callbacks.update(Place(*row) for row in await server.fetch(CALLBACKS_OF, *zip(*some, strict=True)))
    async for stream, number, query, body, quarantined in _all(server, CALLBACKS, "callbacks", tell):
        place = Place(stream, number)
        if place in found.callbacks or not (written.is_in(query) or written.is_in(body)):
            continue
        if quarantined:
            found.quarantined.append(place)
        else:
            found.naming.add(place)
    return found


async def _all(server: Server, query: str, what: str, tell: Tell) -> AsyncIterator[Any]:
    """All rows of a table, in the order of its key, in chunks."""
    after, seen = (-1, -1), 0
    while some := await server.fetch(query, *after, CHUNK):
        for row in some:
            yield tuple(row)
        after, seen = tuple(some[-1])[:2], seen + len(some)
        tell(f"{what} read", seen, 0)


async def _remove(db: Connection, some: Sequence[Place], keys: Sequence[bytes]) -> int:
    """Remove some events with all that hangs on them. How many dispatches were not settled."""
    mine = sorted({place.stream for place in some})
    columns = list(zip(*some, strict=True))
    await db.execute(HOLD, mine)
    reached = await db.fetch(HOLD_LANES, mine)
    cancelled = _behind(reached, some)
    for handler, waiting, dead in await db.fetch(STATES, *columns):
        await lanes.add(db, handler, "", cancelled=waiting + dead, dead=-dead)
        cancelled += waiting + dead
    for table in ("exceptions", "attempts"):
        await db.execute(DROP.format(table), *columns)
    cancelled += await _give_up_claims(db, some, mine)
    await unpacking.unpack(db, {row[0] for row in reached}, some)
    terms = [
        (stream, position, term)
        for stream, position, *facts in await db.fetch(FACTS, *columns)
        for term in rows.terms_of(*facts)
    ]
    if terms:
        await db.execute(FORGET, *zip(*terms, strict=True))
    await db.execute(KEEP_PLACES, *columns)
    await pruning.remove(db, some, keys)
    return cancelled


async def _give_up_claims(db: Connection, some: Sequence[Place], mine: Sequence[int]) -> int:
    """Set the bits of these events in claims: whoever has them in hand settles nothing any more."""
    cancelled = 0
    for handler, stream, first, count, settled in await db.fetch(f"{CLAIMS} FOR UPDATE", mine):
        seen = bytearray(settled)
        unsettled = _open_of(some, stream, first, count, settled)
        for bit in unsettled:
            bits.set_bit(seen, bit)
        if bits.settled(seen) == count:
            await db.execute(
                "DELETE FROM claims WHERE handler = $1 AND stream = $2 AND first = $3", handler, stream, first
            )
        elif unsettled:
            await db.execute(
                "UPDATE claims SET settled = $4 WHERE handler = $1 AND stream = $2 AND first = $3",
                handler,
                stream,
                first,
                bytes(seen),
            )
        await lanes.add(db, handler, "", cancelled=len(unsettled))
        cancelled += len(unsettled)
    return cancelled


def _open_of(some: Sequence[Place], stream: int, first: int, count: int, settled: bytes) -> list[int]:
    mine = [place.position - first for place in some if place.stream == stream]
    return [bit for bit in mine if 0 <= bit < count and not bits.is_set(settled, bit)]


def _behind(reached: Sequence[tuple[str, int, int]], some: Sequence[Place]) -> int:
    """How many of these events handlers had not come to; their empty places count as cancelled."""
    return sum(place.stream == stream and place.position >= next_ for _, stream, next_ in reached for place in some)


async def _unsettled(db: Connection, some: Sequence[Place]) -> int:
    """How many dispatches of these events would be cancelled."""
    mine = sorted({place.stream for place in some})
    count = _behind(await db.fetch(LANES, mine), some)
    for _, waiting, dead in await db.fetch(STATES, *zip(*some, strict=True)):
        count += waiting + dead
    for _, stream, first, length, settled in await db.fetch(CLAIMS, mine):
        count += len(_open_of(some, stream, first, length, settled))
    return count


async def _drop_callback(db: Connection, place: Place) -> None:
    for table in ("quarantine", "callbacks"):
        await db.execute(f"DELETE FROM {table} WHERE stream = $1 AND number = $2", *place)
