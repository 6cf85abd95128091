"""A whole store in lots, for another one: the streams are laid into one line, in the order of the log. Jobs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from receiver.store import bits, rows
from receiver.store.moving import (
    END,
    Attempted,
    Exceptional,
    Lane,
    Lot,
    Moved,
    Rest,
    exceptional,
    interrupted,
    without_gone,
)
from receiver.store.postgres import stats, streams
from receiver.store.postgres.claiming import MOST_SEEN
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import Connection

LOT = 500  # events, or callbacks

ENDS = (
    "SELECT s.stream, e.last, coalesce((SELECT min(position) - 1 FROM events v WHERE v.stream = s.stream), e.last),"
    " coalesce((SELECT min(number) - 1 FROM callbacks c WHERE c.stream = s.stream), 0),"
    " coalesce((SELECT max(number) FROM callbacks c WHERE c.stream = s.stream), 0)"
    f" FROM streams s JOIN ({streams.ENDS}) e USING (stream) ORDER BY s.stream"
)
CALLBACKS = (
    f"SELECT {rows.CALLBACK_COLUMNS}, stream FROM callbacks WHERE (stream, number) > ($1, $2)"
    " ORDER BY stream, number LIMIT $3"
)
EVENTS = (
    f"SELECT {rows.EVENT_ROW}, stream, at FROM events WHERE (at, stream, position) > ($1, $2, $3)"
    " ORDER BY at, stream, position LIMIT $4"
)
PLACES = "unnest($1::integer[], $2::bigint[]) p (s, n)"
COPIES = (
    f"SELECT s, n, callback_stream, callback FROM {PLACES} JOIN copies c ON c.stream = s AND c.position = n"
    " ORDER BY callback_stream, callback"
)
FATES = (
    f"SELECT s, n, digest, received_at, fate FROM {PLACES} JOIN fates f ON f.stream = s AND f.position = n"
    " ORDER BY digest"
)
HANDLERS = f"(SELECT handler AS h FROM handlers) h CROSS JOIN {PLACES}"
EXCEPTIONS = (
    "SELECT s, n, handler, replay, state, attempts, interruptions, probes, target, due_at, first_at, died_at, reason"
    f" FROM {HANDLERS} JOIN exceptions x ON x.handler = h AND x.stream = s AND x.position = n"
)
ATTEMPTS = (
    f"SELECT s, n, handler, replay, began_at, number, took, verdict, answer FROM {HANDLERS}"
    " JOIN attempts a ON a.handler = h AND a.stream = s AND a.position = n ORDER BY handler, written_at"
)
PACKED = (
    "SELECT handler, stream, first, entries FROM packed_attempts WHERE handler IN (SELECT handler FROM handlers)"
    " AND stream = $1 AND first BETWEEN $2 AND $3 ORDER BY handler, first"
)
CLAIMS = "SELECT handler, stream, first, count, settled FROM claims ORDER BY handler, stream, first"
LANES = "SELECT handler, stream, next FROM lanes"
# The newest event that each handler has claimed in each stream.
CLAIMED = (
    "SELECT l.handler, e.at, e.stream, e.position FROM lanes l CROSS JOIN LATERAL (SELECT at, stream, position"
    " FROM events WHERE stream = l.stream AND position < l.next ORDER BY position DESC LIMIT 1) e"
)
GONE = (
    "SELECT handler, state, count(*) FROM exceptions x WHERE NOT EXISTS"
    " (SELECT 1 FROM events e WHERE e.stream = x.stream AND e.position = x.position) GROUP BY handler, state"
)
KEPT = "SELECT 1 FROM events WHERE stream = $1 AND position = $2"
NEXT = (
    "SELECT stream, position FROM events WHERE (at, stream, position) > ($1, $2, $3)"
    " ORDER BY at, stream, position LIMIT 1"
)
REACHED = "SELECT stream, max(position) FROM events WHERE (at, stream, position) <= ($1, $2, $3) GROUP BY stream"
BEHIND = "SELECT count(*) FROM events WHERE stream = $1 AND position >= $2 AND (at, stream, position) <= ($3, $4, $5)"
OWED = (
    "SELECT l.handler, sum(CASE WHEN l.over THEN l.next ELSE e.last + 1 END - l.start)::bigint"
    f" FROM lanes l JOIN ({streams.ENDS}) e USING (stream) GROUP BY l.handler"
)
QUARANTINE = "SELECT stream, number, source, reason FROM quarantine ORDER BY stream, number"
NOTICES = "SELECT notice, about FROM open_notices ORDER BY notice, about"
NOTHING = (-1, 0, 0)
"""A time before all events."""


@dataclass(slots=True)
class Line:
    """How the streams lie in one line: what a reader knows before it begins."""

    ends: dict[int, int] = field(default_factory=dict)
    """The newest position of each stream."""
    leads: dict[int, int] = field(default_factory=dict)
    """How many places of each stream are gone at its beginning: they lie before everything."""
    offsets: dict[int, int] = field(default_factory=dict)
    """What is added to the number of a stream's callback."""
    numbers: tuple[int, int] = (0, 0)
    """The first and the last of these."""
    nexts: dict[str, dict[int, int]] = field(default_factory=dict)
    fronts: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """The key of the newest event that a handler has claimed: what lies before it unclaimed was overtaken."""
    in_hand: list[tuple[str, Place]] = field(default_factory=list)

    @property
    def end(self) -> int:
        """The last place."""
        return sum(self.ends.values())

    def place(self, reached: Mapping[int, int]) -> int:
        """The place of an event with which a reader has come so far in each stream."""
        return sum(reached.get(stream, lead) for stream, lead in self.leads.items())


async def line(db: Connection) -> Line:
    """Look at the streams, and how far each handler has come in them."""
    made = Line()
    offset, firsts = 0, []
    for stream, last, lead, before, newest in await db.fetch(ENDS):
        made.ends[stream], made.leads[stream], made.offsets[stream] = last, lead, offset
        if newest:
            firsts.append(offset + before + 1)
        offset += newest
    made.numbers = (min(firsts, default=1), offset)
    for handler, stream, next_ in await db.fetch(LANES):
        made.nexts.setdefault(handler, {})[stream] = next_
    for handler, *key in await db.fetch(CLAIMED):
        made.fronts[handler] = max(made.fronts.get(handler, NOTHING), (key[0], key[1], key[2]))
    for handler, stream, first, count, settled in await db.fetch(CLAIMS):
        made.in_hand += ((handler, Place(stream, first + bit)) for bit in bits.open_bits(settled, count))
    return made


async def lot(db: Connection, on: Line, after: str) -> Lot | None:
    """The lot behind a mark; None behind the last."""
    if after == END:
        return None
    kind, _, told = (after or "callbacks [0, 0]").partition(" ")
    if kind == "callbacks" and (found := await db.fetch(CALLBACKS, *json.loads(told), LOT)):
        callbacks = [(on.offsets[row[-1]] + row[0], *tuple(row)[1:-1]) for row in found]
        first, last = on.numbers
        how_far = ("callbacks", callbacks[-1][0] - first + 1, last - first + 1)
        return Lot(f"callbacks {json.dumps([found[-1][-1], found[-1][0]])}", how_far, callbacks=callbacks)
    key, reached = json.loads(told) if kind == "events" else (NOTHING, {})
    reached = {int(stream): position for stream, position in reached.items()}
    if found := await db.fetch(EVENTS, *key, LOT):
        events = await _moved(db, on, found, reached)
        mark = json.dumps([[found[-1]["at"], found[-1]["stream"], found[-1]["position"]], reached])
        begun = sum(on.leads.values())
        return Lot(f"events {mark}", ("events", events[-1].position - begun, on.end - begun), events=events)
    return Lot(END, ("events", 1, 1), rest=await _rest(db, on))


async def _moved(db: Connection, on: Line, found: Sequence[Any], reached: dict[int, int]) -> list[Moved]:
    """Events with all that belongs to them; `reached` is moved on."""
    places = [Place(row["stream"], row["position"]) for row in found]
    columns = list(zip(*places, strict=True))
    copies = _by_place(await db.fetch(COPIES, *columns))
    fates = _by_place(await db.fetch(FATES, *columns))
    attempts = _by_place(await db.fetch(ATTEMPTS, *columns))
    exceptions: dict[Place, list[Exceptional]] = {
        place: [exceptional(row) for row in some]
        for place, some in _by_place(await db.fetch(EXCEPTIONS, *columns)).items()
    }
    for handler, place in on.in_hand:
        exceptions.setdefault(place, []).append(interrupted(handler))
    easy = await _easy(db, places)
    moved = []
    for row, place in zip(found, places, strict=True):
        reached[place.stream] = place.position
        here = exceptions.get(place, [])
        here += _overtaken(on, (row["at"], *place), here)
        callback = row["callback"]
        number = callback and on.offsets[place.stream] + callback
        moved.append(
            Moved(
                (on.place(reached), row["key"], row["id"], number, *tuple(row)[4:16]),
                tuple(on.offsets[stream] + n for stream, n in copies.get(place, ())),
                tuple(fates.get(place, ())),
                tuple(sorted(here)),
                tuple(Attempted(*one) for one in attempts.get(place, ())),
                tuple(easy.get(place, ())),
            )
        )
    return moved


def _overtaken(on: Line, key: tuple[int, int, int], here: Sequence[Exceptional]) -> list[Exceptional]:
    """What a handler has not claimed, though it has claimed something behind it: in one line it waits by itself."""
    known = {one.handler for one in here if not one.replay}
    return [
        Exceptional(handler, 0, "again")
        for handler, front in on.fronts.items()
        if key < front and key[2] >= on.nexts[handler].get(key[1], 1) and handler not in known
    ]


async def _easy(db: Connection, places: Sequence[Place]) -> dict[Place, list[tuple[str, int, int, str]]]:
    """The attempts of events that went well at once."""
    ranges: dict[int, list[int]] = {}
    for stream, position in places:
        ranges.setdefault(stream, []).append(position)
    wanted, made = set(places), {}
    for stream, positions in ranges.items():
        for handler, _, first, entries in await db.fetch(PACKED, stream, min(positions) - MOST_SEEN, max(positions)):
            for offset, began, took, answer in from_json(entries):
                if (place := Place(stream, first + offset)) in wanted:
                    made[place, handler] = (handler, began, took, answer)
    easy: dict[Place, list[tuple[str, int, int, str]]] = {}
    for (place, _), one in sorted(made.items()):
        easy.setdefault(place, []).append(one)
    return easy


def _by_place(found: Sequence[Any]) -> dict[Place, list[Any]]:
    """Rows by the place they begin with."""
    sorted_out: dict[Place, list[Any]] = {}
    for stream, position, *row in found:
        sorted_out.setdefault(Place(stream, position), []).append(tuple(row))
    return sorted_out


async def _rest(db: Connection, on: Line) -> Rest:
    gone: dict[str, list[tuple[str, int]]] = {}
    for handler, state, count in await db.fetch(GONE):
        gone.setdefault(handler, []).append((state, count))
    for handler, place in on.in_hand:
        if not await db.fetchval(KEPT, *place):
            gone.setdefault(handler, []).append(("running", 1))
    tallies = {row[0]: tuple(row)[1:] for row in await db.fetch(stats.TALLIES)}
    owed: dict[str, int] = dict(await db.fetch(OWED))
    lanes = []
    for handler, configured, received, *state in await db.fetch(stats.HANDLERS):
        next_, cancelled = await _next(db, on, handler)
        start = on.end + 1 - received - owed.get(handler, 0)
        replays, done, filtered, before, dead = tallies.get(handler, (0,) * 5)
        counts = (replays, done, filtered, before + cancelled, dead)
        lane = Lane(handler, configured, start, next_, *counts, *state)
        lanes.append(without_gone(lane, gone.get(handler, ())))
    return Rest(
        on.end,
        tuple(lanes),
        tuple(tuple(row) for row in await db.fetch(stats.SOURCES)),
        tuple((on.offsets[row[0]] + row[1], row[2], row[3]) for row in await db.fetch(QUARANTINE)),
        tuple(tuple(row) for row in await db.fetch(NOTICES)),
    )


async def _next(db: Connection, on: Line, handler: str) -> tuple[int, int]:
    """The first place that a handler has not claimed, and how many more count as cancelled.

    Of one stream it is what it was. Of several it lies behind all that was claimed; what was overtaken waits by itself,
    and places of events that are gone, before it or behind it, change the counter, so that the equation holds.
    """
    front, nexts = on.fronts.get(handler, NOTHING), on.nexts.get(handler, {})
    pending = sum(max(last + 1 - nexts.get(stream, 1), 0) for stream, last in on.ends.items())
    overtaken = 0
    for stream, next_ in nexts.items():
        overtaken += await db.fetchval(BEHIND, stream, next_, *front)
    wanted = on.end + 1 - pending + overtaken
    reached = dict(await db.fetch(REACHED, *front))
    lowest = on.place(reached) + 1 if handler in on.fronts else wanted
    following = await db.fetchrow(NEXT, *front)
    highest = on.place(reached | {following[0]: following[1]}) if following else on.end + 1
    next_ = min(max(wanted, lowest), highest)
    return next_, next_ - wanted
