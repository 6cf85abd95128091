"""The place of each handler in every stream, its counters and its state; who claims, and until when. Jobs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from receiver.store import bits, rows
from receiver.store.base import Waiting
from receiver.store.outcomes import interruption
from receiver.store.postgres import streams
from receiver.store.postgres.places import END, EVENT, Cursor, Place, event_from, thread_of
from receiver.store.postgres.server import Connection, plain
from receiver.store.views import Standing, StoredEvent

DAY = timedelta(days=1)
SLACK = timedelta(seconds=1)  # by which two machines' clocks may differ
MOST_COUNTED = 100_000  # of what waits; more is as good as this
ENDED = "the receiver ended under it"

UNCONFIGURE = "UPDATE handlers SET configured = false WHERE configured AND handler <> ALL($1)"
CONFIGURE = (
    "INSERT INTO handlers (handler, configured) SELECT h, true FROM unnest($1::text[]) h"
    " ON CONFLICT (handler) DO UPDATE SET configured = true WHERE NOT handlers.configured"
)
# A new handler begins at the end of each stream, a known one where it was.
LANES = (
    "INSERT INTO lanes (handler, stream, start, next) SELECT h, e.stream, e.last + 1, e.last + 1"
    f" FROM unnest($1::text[]) h CROSS JOIN ({streams.ENDS}) e"
    " WHERE NOT EXISTS (SELECT 1 FROM lanes l WHERE l.handler = h)"
)
RENEW = (
    "INSERT INTO owners VALUES ($1, clock_timestamp() + $2) ON CONFLICT (owner) DO UPDATE"
    " SET until_at = greatest(owners.until_at, excluded.until_at)"
)
HELD = "SELECT 1 FROM owners WHERE owner = $1 FOR KEY SHARE"
LIVES = "SELECT until_at > clock_timestamp() FROM owners WHERE owner = $1"
WHOLLY_HELD = "SELECT 1 FROM owners WHERE owner = $1 FOR UPDATE"
GONE = (
    "SELECT owner FROM owners WHERE until_at < clock_timestamp() - $1::interval ORDER BY owner FOR UPDATE SKIP LOCKED"
)
GRACE = timedelta(seconds=10)
"""Who has just begun waits so much longer for the others: the server may have been away, and they renew in a moment."""
# The handlers lead into the index by handler and state: few of very many exceptions are running.
RUNNING = "e.handler IN (SELECT handler FROM handlers) AND e.state IN ('running', 'alone')"
LOST_CLAIMS = "DELETE FROM claims WHERE owner = $1 RETURNING handler, stream, first, count, settled"
LOST_EXCEPTIONS = (
    "SELECT handler, stream, position, replay, attempts, interruptions FROM exceptions e"
    f" WHERE {RUNNING} AND e.owner = $1 FOR UPDATE"
)
DOUBTED_CLAIMS = "DELETE FROM claims WHERE ticket = ANY($1) RETURNING handler, stream, first, count, settled"
DOUBTED_EXCEPTIONS = (
    "UPDATE exceptions e SET state = CASE e.state WHEN 'alone' THEN 'interrupted' ELSE 'again' END, owner = NULL"
    f" WHERE {RUNNING} AND e.ticket = ANY($1)"
)
INTERRUPT = (
    "UPDATE exceptions SET state = $5, died_at = $6, reason = $7, interruptions = interruptions + 1, due_at = 0,"
    " owner = NULL WHERE handler = $1 AND stream = $2 AND position = $3 AND replay = $4"
)
EXCEPT = (
    "INSERT INTO exceptions (handler, stream, position, replay, at, thread, state, attempts, interruptions, probes,"
    " target, due_at, first_at, died_at, reason, owner, ticket)"
    " VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
)
LOG = (
    "INSERT INTO attempts (handler, stream, position, replay, began_at, number, took, verdict, answer)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)
MERGE = (
    "WITH gone AS (DELETE FROM tallies WHERE owner = $1 RETURNING *) INSERT INTO tallies SELECT handler, '', replays,"
    " done, filtered, cancelled, dead FROM gone ORDER BY handler ON CONFLICT (handler, owner) DO UPDATE SET"
    " replays = tallies.replays + excluded.replays, done = tallies.done + excluded.done,"
    " filtered = tallies.filtered + excluded.filtered, cancelled = tallies.cancelled + excluded.cancelled,"
    " dead = tallies.dead + excluded.dead"
)
READY = (
    "SELECT count(*) FROM (SELECT 1 FROM exceptions WHERE handler = $1 AND state = 'interrupted'"
    " UNION ALL SELECT 1 FROM exceptions WHERE handler = $1 AND state = 'again' AND due_at <= $2"
    " UNION ALL SELECT 1 FROM exceptions WHERE handler = $1 AND state = 'again' AND due_at > $3 LIMIT $4) ready"
)
BEHIND = (
    f"SELECT coalesce(sum(greatest(e.last + 1 - l.next - {streams.VOID}, 0)), 0)"
    f" FROM lanes l JOIN ({streams.ENDS}) e USING (stream) WHERE l.handler = $1 AND NOT l.over"
)
NEXT_DUE = "SELECT min(due_at) FROM exceptions WHERE handler = $1 AND state = 'again' AND due_at > $2 AND due_at <= $3"
RELEASE = (
    "UPDATE exceptions SET due_at = CASE WHEN target THEN 0 ELSE due_at END,"
    " attempts = attempts + CASE WHEN probes > 0 THEN 1 ELSE 0 END,"
    " target = false, probes = 0 WHERE handler = $1 AND state = 'again' AND (target OR probes > 0)"
)
STAND = (
    "UPDATE handlers SET state = $2, since = $3, reason = $4, last_error = $5, last_error_at = $6 WHERE handler = $1"
)
NEWEST = "SELECT received_at FROM events ORDER BY at DESC, stream DESC, position DESC LIMIT 1"
SET_BACK = "UPDATE exceptions SET due_at = greatest(due_at - $1, 0) WHERE state = 'again' AND due_at > $2"


class Claimed(NamedTuple):
    """Where a claimed dispatch lies: in a claim, which begins at `first`, or in an exception (first 0)."""

    place: Place
    at: int
    replay: int
    first: int
    owner: str
    attempts: int
    interruptions: int


async def register(db: Connection, handlers: Sequence[str]) -> None:
    """Lanes for these handlers and no others."""
    await db.execute(streams.TAKE_TURNS)
    await db.execute(UNCONFIGURE, handlers)
    await db.execute(CONFIGURE, handlers)
    await db.execute(LANES, handlers)


async def enrol(db: Connection, owner: str, lease: timedelta) -> None:
    """Begin to claim as this owner."""
    await db.execute(RENEW, owner, lease)


async def hold(db: Connection, owner: str, lease: timedelta) -> None:
    """Have an owner stand in the list before it claims: else nobody would take over from it."""
    if not await db.fetchval(HELD, owner):
        await db.execute(RENEW, owner, lease)


async def leave(db: Connection, owner: str) -> None:
    """Claim no more as this owner: what it has not settled is interrupted at the next look."""
    await db.execute("UPDATE owners SET until_at = '-infinity' WHERE owner = $1", owner)


async def release(db: Connection, owner: str, tickets: Sequence[int], lease: timedelta) -> None:
    """Give back what was claimed by calls of which nobody heard: it was never begun.

    First it waits for such calls: one whose commit waits for a standby is not seen yet, and would be later.
    """
    if not await db.fetchval(WHOLLY_HELD, owner):  # not there yet, or not seen: then this waits for who inserts it
        await db.execute(RENEW, owner, lease)
        await db.execute(WHOLLY_HELD, owner)
    for handler, stream, first, count, settled in await db.fetch(DOUBTED_CLAIMS, tickets):
        places = [Place(stream, first + bit) for bit in bits.open_bits(settled, count)]
        kept = await events_at(db, places)
        await add(db, handler, "", cancelled=len(places) - len(kept))
        await db.executemany(EXCEPT, [exception(handler, stored, "again") for stored in kept.values()])
    await db.execute(DOUBTED_EXCEPTIONS, tickets)


async def take_over(db: Connection, now: datetime, *, grace: timedelta = timedelta(0)) -> int:
    """Interrupt what owners whose lease has ended had claimed: how many dispatches it were."""
    lost = 0
    for (owner,) in await db.fetch(GONE, grace):
        lost += await _interrupt_claims(db, owner, now) + await _interrupt_exceptions(db, owner, now)
        await db.execute(MERGE, owner)
        await db.execute("DELETE FROM owners WHERE owner = $1", owner)
    return lost


async def _interrupt_claims(db: Connection, owner: str, now: datetime) -> int:
    lost = 0
    for handler, stream, first, count, settled in await db.fetch(LOST_CLAIMS, owner):
        places = [Place(stream, first + bit) for bit in bits.open_bits(settled, count)]
        kept = await events_at(db, places)
        await add(db, handler, "", cancelled=len(places) - len(kept))  # erased meanwhile
        line = (rows.to_micros(now), 1, 0, "interrupted", ENDED)
        interrupted = [
            exception(handler, stored, "interrupted", reason=ENDED, interruptions=1) for stored in kept.values()
        ]
        await db.executemany(EXCEPT, interrupted)
        await db.executemany(LOG, [(handler, *place, 0, *line) for place in kept])
        lost += len(places)
    return lost


async def _interrupt_exceptions(db: Connection, owner: str, now: datetime) -> int:
    found = await db.fetch(LOST_EXCEPTIONS, owner)
    for handler, stream, position, replay, attempts, interruptions in found:
        change = interruption(f"killed: {ENDED}", interruptions, now)
        key = (handler, stream, position, replay)
        await db.execute(INTERRUPT, *key, change.state, change.died_at, change.reason)
        await add(db, handler, "", dead=int(change.state == "dead"))
        await db.execute(LOG, *key, rows.to_micros(now), attempts + 1, 0, "interrupted", ENDED)
    return len(found)


async def heed_clock(db: Connection, now: datetime) -> None:
    """Where the log's newest event is from the future, the clock was set back while nobody watched."""
    newest = await db.fetchval(NEWEST)
    ahead = rows.from_micros(newest) - now if newest is not None else timedelta(0)
    if ahead > SLACK:
        await set_back(db, ahead, now)


async def set_back(db: Connection, by: timedelta, now: datetime) -> None:
    """Bring forward what is due later than now by as much as the clock was set back; by days, it is due by that."""
    if by <= DAY:
        await db.execute(SET_BACK, by // timedelta(microseconds=1), rows.to_micros(now))


def exception(handler: str, stored: StoredEvent, state: str, **values: Any) -> tuple[Any, ...]:
    """The arguments of EXCEPT: an exception for an event that had none."""
    columns = {"attempts": 0, "interruptions": 0, "probes": 0, "target": False, "due_at": 0}
    columns |= {"first_at": None, "died_at": None, "reason": "", "owner": None, "ticket": 0} | values
    cursor = stored.cursor
    return (handler, *cursor.place, cursor.at, thread_of(stored.event), state, *columns.values())


async def waiting(db: Connection, handler: str, now: datetime, horizon: timedelta) -> Waiting:
    """What could be claimed, and when there is more."""
    due, beyond = rows.to_micros(now), rows.to_micros(now + horizon)
    behind = int(await db.fetchval(BEHIND, handler))
    ready = await db.fetchval(READY, handler, due, beyond, MOST_COUNTED)
    return Waiting(ready + behind, rows.maybe(await db.fetchval(NEXT_DUE, handler, due, beyond)))


async def stand(db: Connection, standing: Standing, *, release: bool) -> None:
    """Keep a handler's state."""
    since, error_at = (at and rows.to_micros(at) for at in (standing.since, standing.last_error_at))
    told = (standing.state, since, plain(standing.reason), plain(standing.last_error), error_at)
    await db.execute(STAND, standing.handler, *told)
    if release:
        await db.execute(RELEASE, standing.handler)


async def standings(db: Connection) -> Mapping[str, Standing]:
    """The states as they are kept now."""
    found = await db.fetch("SELECT handler, state, since, reason, last_error, last_error_at FROM handlers")
    return {row[0]: Standing(row[0], row[1], rows.maybe(row[2]), row[3], row[4], rows.maybe(row[5])) for row in found}


async def events_at(db: Connection, places: Sequence[Place]) -> dict[Place, StoredEvent]:
    """The events at these places that are still kept, in the order asked for."""
    if not places:
        return {}
    streams_, positions = zip(*places, strict=True)
    found = await db.fetch(
        f"SELECT {EVENT} FROM unnest($1::integer[], $2::bigint[]) p (stream, position)"
        " JOIN events USING (stream, position)",
        streams_,
        positions,
    )
    events = {Place(row[0], row[1]): event_from(row) for row in found}
    return {place: events[place] for place in places if place in events}


async def add(db: Connection, handler: str, owner: str, **counts: int) -> None:
    """Move counters of a handler, in the row of an owner."""
    counted = {name: count for name, count in counts.items() if count}
    if counted:
        names, values = ", ".join(counted), ", ".join(str(count) for count in counted.values())
        sums = ", ".join(f"{name} = tallies.{name} + excluded.{name}" for name in counted)
        await db.execute(
            f"INSERT INTO tallies (handler, owner, {names}) VALUES ($1, $2, {values})"
            f" ON CONFLICT (handler, owner) DO UPDATE SET {sums}",
            handler,
            owner,
        )


async def reached(db: Connection, handler: str | None) -> Mapping[str, Cursor]:
    """How far each handler, or one, has come: a cursor behind what it has claimed."""
    found = await db.fetch("SELECT handler, stream, next FROM lanes WHERE $1::text IS NULL OR handler = $1", handler)
    ends: dict[str, dict[int, int]] = {}
    for name, stream, next_ in found:
        ends.setdefault(name, {})[stream] = next_ - 1
    return {name: Cursor(Place(0, 0), END, ends[name]) for name in sorted(ends)}
