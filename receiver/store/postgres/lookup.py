"""Finding events by id, message id, reference or number: sorted runs of terms, built behind the log. Jobs."""

from receiver import numbers
from receiver.store import rows
from receiver.store.postgres import streams
from receiver.store.postgres.lanes import events_at
from receiver.store.postgres.places import EVENT, Place, event_from
from receiver.store.postgres.server import Connection
from receiver.store.views import Selector, StoredEvent

RUN = 16_384  # events in a run; the newest ones of a stream, not yet in a run, are scanned
MOST_FOUND = 10_000  # events looked at for one key

IN_RUNS = "SELECT r.stream, l.position FROM runs r JOIN lookups l ON l.run = r.run AND l.term = ANY($1) LIMIT $2"
INDEXED = (
    "SELECT s.stream, coalesce((SELECT max(last) FROM runs r WHERE r.stream = s.stream), 0) AS indexed FROM streams s"
)
TAIL = (
    f"SELECT e.* FROM ({INDEXED}) s CROSS JOIN LATERAL (SELECT {EVENT} FROM events e WHERE e.stream = s.stream"
    " AND position > indexed AND (message_id = $1 OR reference = $1 OR id = $2"
    " OR right(originator, $4) = $3 OR right(recipient, $4) = $3) ORDER BY position LIMIT $5) e"
)
# A closed stream has its last run, however short; an open one waits until it is full.
NEXT_RUN = (
    f"SELECT i.stream, i.indexed, e.last, s.closed FROM ({INDEXED}) i JOIN ({streams.ENDS}) e USING (stream)"
    " JOIN streams s USING (stream) WHERE e.last - i.indexed >= CASE WHEN s.closed THEN 1 ELSE $1 END"
    " ORDER BY stream LIMIT 1"
)
HOLD = "SELECT 1 FROM streams WHERE stream = $1 FOR NO KEY UPDATE SKIP LOCKED"
BEGIN = "INSERT INTO runs (stream, first, last) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING run"
FACTS = (
    "SELECT position, id, message_id, reference, originator, recipient FROM events"
    " WHERE stream = $1 AND position BETWEEN $2 AND $3"
)
WRITE = "INSERT INTO lookups SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING"


async def find(db: Connection, key: str) -> list[StoredEvent]:
    """The events a person means by a key, in the order of the log."""
    if "\x00" in key:
        return []
    phone = numbers.digits(key)[-rows.NUMBER_TAIL :]
    identity = key.lower().replace("-", "")
    is_id = len(identity) == 32 and all(letter in "0123456789abcdef" for letter in identity)
    terms = [rows.term("m", key), rows.term("r", key), rows.term("n", phone)]
    if is_id:
        terms.append(rows.term("i", identity))
    found = await events_at(db, await in_runs(db, terms))
    raw = bytes.fromhex(identity) if is_id else b""
    for row in await db.fetch(TAIL, key, raw, phone, rows.NUMBER_TAIL, MOST_FOUND):
        found[Place(row[0], row[1])] = event_from(row)
    meant = [stored for stored in found.values() if rows.is_meant(stored.event, key)]
    return sorted(meant, key=lambda stored: stored.cursor.key)


def terms_of(selector: Selector) -> list[int]:
    """The terms that narrow a selector down best; none where it names no message, number or event."""
    if selector.ids:
        return [rows.term("i", name.replace("-", "")) for name in selector.ids]
    if selector.message:
        return [rows.term("m", selector.message)]
    if selector.reference:
        return [rows.term("r", selector.reference)]
    if selector.number:
        return [rows.term("n", numbers.digits(selector.number)[-rows.NUMBER_TAIL :])]
    return []


async def in_runs(db: Connection, terms: list[int], most: int = MOST_FOUND) -> list[Place]:
    """The places that the runs hold for some terms, so many at most."""
    return sorted({Place(*row) for row in await db.fetch(IN_RUNS, terms, most)})


async def build(db: Connection) -> bool:
    """Build a run, if a stream has grown enough and nobody else is about it. False: there is nothing to do."""
    found = await db.fetchrow(NEXT_RUN, RUN)
    if found is None or not await db.fetchval(HOLD, found[0]):
        return False
    stream, indexed, end, _ = found
    first, last = indexed + 1, min(indexed + RUN, end)
    run = await db.fetchval(BEGIN, stream, first, last)
    if run is None:
        return False
    pairs = [
        (term, position)
        for position, raw, message, reference, originator, recipient in await db.fetch(FACTS, stream, first, last)
        for term in rows.terms_of(raw, message, reference, originator, recipient)
    ]
    if pairs:
        await db.execute(WRITE, run, *zip(*sorted(pairs), strict=True))
    return True
