"""Writing what became of attempts: bits of claims, exceptions, counters and the attempt log, at once. Jobs."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from receiver.store import bits, rows
from receiver.store.base import Done, Filtered, Settlement
from receiver.store.outcomes import Change, change_of, line_of, packed
from receiver.store.postgres.claiming import MOST_PROBED
from receiver.store.postgres.lanes import EXCEPT, LOG, Claimed, add, exception
from receiver.store.postgres.places import Cursor
from receiver.store.postgres.server import Connection, plain
from receiver.store.views import StoredEvent

KEY = "handler = $1 AND stream = $2 AND position = $3 AND replay = $4 AND owner = $5 AND state IN ('running', 'alone')"
# In the order of the key: two that wait for each other's rows would never end.
HELD = (
    "SELECT e.handler, e.stream, e.position, e.replay, e.owner, e.probes"
    " FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::integer[], $5::text[]) k (h, s, p, r, o)"
    " JOIN exceptions e ON handler = h AND stream = s AND position = p AND replay = r AND owner = o"
    " WHERE state IN ('running', 'alone') ORDER BY 1, 2, 3, 4 FOR UPDATE OF e"
)
CHANGE = (
    "UPDATE exceptions SET state = $6, attempts = attempts + $7, interruptions = interruptions + $8, probes = $9,"
    " target = $10, due_at = $11, first_at = coalesce(first_at, $12), died_at = $13, reason = $14, owner = NULL"
    f" WHERE {KEY}"
)
DELETE = f"DELETE FROM exceptions WHERE {KEY}"
CLAIM = "SELECT count, settled FROM claims WHERE handler = $1 AND stream = $2 AND first = $3 AND owner = $4 FOR UPDATE"
FINISH = "DELETE FROM claims WHERE handler = $1 AND stream = $2 AND first = $3"
SETTLE = "UPDATE claims SET settled = $4 WHERE handler = $1 AND stream = $2 AND first = $3"
PACK = (
    "INSERT INTO packed_attempts VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (handler, stream, first, place) DO UPDATE SET entries = excluded.entries"
)
PROBES = (
    "SELECT coalesce(max(probes), 0) FROM ((SELECT probes FROM exceptions WHERE handler = $1 AND state = 'again'"
    " ORDER BY due_at, at, stream, position, replay LIMIT $2)"
    " UNION ALL (SELECT probes FROM exceptions WHERE handler = $1 AND state = 'running')) turns"
)

ClaimKey = tuple[str, int, int, str]  # handler, stream, first, owner
ExceptionKey = tuple[str, int, int, int, str]  # handler, stream, position, replay, owner


async def settle(db: Connection, settlements: Sequence[Settlement], now: datetime) -> list[bool]:
    """Write what became of attempts, and move the counters with it. False for each that was no longer held."""
    return await _Settling(db, now).settle(settlements)


class _Settling:
    """One transaction's settlements. What is written for each is gathered, and goes to the server in few pieces."""

    def __init__(self, db: Connection, now: datetime) -> None:
        self._db, self._now = db, now
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._held: dict[ExceptionKey, int] = {}
        """Exceptions that are still their owner's, with their probes."""
        self._writes: dict[str, list[tuple[Any, ...]]] = {EXCEPT: [], CHANGE: [], DELETE: [], LOG: []}

    async def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        written = [False] * len(settlements)
        claimed: dict[ClaimKey, list[int]] = {}
        excepted: dict[int, ExceptionKey] = {}
        for number, settlement in enumerate(settlements):
            place: Claimed = settlement.dispatch.place
            if place.first:
                key = (settlement.dispatch.handler, place.place.stream, place.first, place.owner)
                claimed.setdefault(key, []).append(number)
            else:
                excepted[number] = (settlement.dispatch.handler, *place.place, place.replay, place.owner)
        await self._hold(list(excepted.values()))
        for number, exception_key in excepted.items():
            written[number] = await self._exception(settlements[number], exception_key)
        for key in sorted(claimed):
            held = await self._claim(key, [settlements[number] for number in claimed[key]])
            for number, was_held in zip(claimed[key], held, strict=True):
                written[number] = was_held
        await self._write()
        return written

    async def _hold(self, keys: Sequence[ExceptionKey]) -> None:
        if keys:
            found = await self._db.fetch(HELD, *zip(*keys, strict=True))
            self._held = {tuple(row)[:5]: row[5] for row in found}

    async def _write(self) -> None:
        for statement, arguments in self._writes.items():
            if arguments:
                await self._db.executemany(statement, arguments)
        for handler, owner in sorted({key[:2] for key in self._counts}):
            told = {key[2]: count for key, count in self._counts.items() if key[:2] == (handler, owner)}
            await add(self._db, handler, owner, **told)

    async def _claim(self, key: ClaimKey, settlements: Sequence[Settlement]) -> list[bool]:
        """Set the bits of these events in their claim; it goes when all are set."""
        handler, stream, first, _ = key
        found = await self._db.fetchrow(CLAIM, *key)
        if found is None:
            return [False] * len(settlements)
        count, settled = found[0], bytearray(found[1])
        held, done = [], []
        for settlement in settlements:
            bit = settlement.dispatch.place.place.position - first
            held.append(not bits.is_set(settled, bit))
            if not held[-1]:
                continue
            bits.set_bit(settled, bit)
            if isinstance(settlement.outcome, Done):
                done.append((bit, settlement))
                self._count(settlement, "done")
            else:
                await self._except(settlement)
        if bits.settled(settled) == count:
            await self._db.execute(FINISH, *key[:3])
        else:
            await self._db.execute(SETTLE, *key[:3], bytes(settled))
        if entries := packed(done):
            await self._db.execute(PACK, handler, stream, first, *entries)
        return held

    async def _except(self, settlement: Settlement) -> None:
        """A claimed event that did not simply go well: filtered, or from now on an exception."""
        change, place = await self._change(settlement), settlement.dispatch.place
        if change is not None:
            stored = StoredEvent(settlement.dispatch.event, Cursor(place.place, place.at))
            self._writes[EXCEPT].append(exception(settlement.dispatch.handler, stored, **change._asdict()))
            self._log(settlement, place)

    async def _exception(self, settlement: Settlement, key: ExceptionKey) -> bool:
        probes, place = self._held.pop(key, None), settlement.dispatch.place
        if probes is None:
            return False
        change = await self._change(settlement)
        if isinstance(settlement.outcome, Filtered):  # the filters were changed since: the trace of it is a line
            line = (rows.to_micros(self._now), place.attempts + 1, 0, "filtered", "")
            self._writes[LOG].append((*key[:4], *line))
        self._log(settlement, place)
        if change is None:
            self._writes[DELETE].append(key)
        else:
            change = change._replace(probes=probes + 1 if change.probes else probes)
            self._writes[CHANGE].append((*key, *change))
        return True

    async def _change(self, settlement: Settlement) -> Change | None:
        """Count it. None where the dispatch is over: done or filtered."""
        change, counted = change_of(settlement, settlement.dispatch.place.interruptions, self._now)
        if counted:
            self._count(settlement, counted)
        change = change and change._replace(reason=plain(change.reason))
        if change and change.probes:  # a new one's first probe begins the round that those before have still to make
            handler = settlement.dispatch.handler
            return change._replace(probes=await self._db.fetchval(PROBES, handler, MOST_PROBED) + 1)
        return change

    def _count(self, settlement: Settlement, counter: str) -> None:
        self._counts[settlement.dispatch.handler, settlement.dispatch.place.owner, counter] += 1

    def _log(self, settlement: Settlement, place: Claimed) -> None:
        if line := line_of(settlement):
            line = line._replace(answer=plain(line.answer))
            self._writes[LOG].append((settlement.dispatch.handler, *place.place, place.replay, *line))
