"""Looking into a store: traces, dispatches, quarantine. Jobs that write nothing."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic_core import from_json

from receiver.store import bits, rows
from receiver.store.postgres.lanes import events_at
from receiver.store.postgres.places import Place, dispatch_id, dispatch_key, place_of
from receiver.store.postgres.server import Connection
from receiver.store.views import (
    AttemptLine,
    DispatchLine,
    DispatchSelector,
    EventTrace,
    KeptCallback,
    Quarantined,
    StoredEvent,
)

CHUNK = 2_000
# Of a dispatch that has attempts but no row any more: what its last attempt says; a dead letter was pruned.
ENDS = {"done": "done", "filtered": "filtered"}
SHOWN = {"again": "pending", "interrupted": "pending", "alone": "running"}
EXCEPTIONS = (
    "SELECT handler, stream, position, replay, state, attempts + interruptions, reason, due_at, died_at, first_at"
    " FROM exceptions WHERE "
)
CALLBACK = ", ".join(f"c.{name}" for name in rows.CALLBACK_COLUMNS.split(", "))
CALLBACKS = (
    f"SELECT {CALLBACK}, c.stream, copy FROM ("
    "SELECT stream AS s, callback AS n, false AS copy FROM events WHERE stream = $1 AND position = $2"
    " UNION ALL SELECT callback_stream, callback, true FROM copies WHERE stream = $1 AND position = $2) k"
    " JOIN callbacks c ON c.stream = k.s AND c.number = k.n ORDER BY copy, c.received_at, c.stream, c.number"
)
FATE = "SELECT fate FROM fates WHERE stream = $1 AND position = $2"
LANES = "SELECT handler, start, next FROM lanes WHERE stream = $1 ORDER BY handler"
ATTEMPTS = (
    "SELECT replay, number, began_at, took, verdict, answer FROM attempts"
    " WHERE handler = $1 AND stream = $2 AND position = $3 ORDER BY replay, written_at"
)
CLAIMS = (
    "SELECT first, settled FROM claims WHERE handler = $1 AND stream = $2 AND $3 BETWEEN first AND first + count - 1"
)
PACKED = (
    "SELECT first, entries FROM packed_attempts WHERE handler = $1 AND stream = $2 AND first ="
    " (SELECT max(first) FROM packed_attempts WHERE handler = $1 AND stream = $2 AND first <= $3)"
)
QUARANTINE = (
    f"SELECT {CALLBACK}, c.stream, q.reason FROM quarantine q JOIN callbacks c USING (stream, number)"
    " WHERE (c.received_at, c.stream, c.number) > ($1, $2, $3){} ORDER BY c.received_at, c.stream, c.number LIMIT $4"
)

Behind = tuple[str, int, int, int]  # handler, stream, position, replay
FIRST: Behind = ("", -1, -1, -1)


async def trace(db: Connection, stored: StoredEvent) -> EventTrace:
    """All that is known of one event."""
    place: Place = stored.cursor.place
    fate = await db.fetchval(FATE, *place)
    callbacks = tuple(
        KeptCallback(rows.callback_from(row), f"{row[10]}-{row[0]}", row[8], row[11], fate)
        for row in await db.fetch(CALLBACKS, *place)
    )
    dispatches: list[DispatchLine] = []
    for handler, start, reached in await db.fetch(LANES, place.stream):
        lines = await _exceptions(db, stored, handler)
        if start <= place.position and not any(line.replay == 0 for line in lines):
            lines.insert(0, await _simple(db, stored, handler, reached))
        dispatches += lines
    return EventTrace(stored.event, callbacks, tuple(dispatches))


async def _exceptions(db: Connection, stored: StoredEvent, handler: str) -> list[DispatchLine]:
    """The dispatches of an event to a handler that have a row, or had one and left their attempts."""
    place: Place = stored.cursor.place
    attempts: dict[int, list[AttemptLine]] = {}
    for replay, number, began_at, took, verdict, answer in await db.fetch(ATTEMPTS, handler, *place):
        line = AttemptLine(number, rows.from_micros(began_at), timedelta(microseconds=took), verdict, answer)
        attempts.setdefault(replay, []).append(line)
    made = {replay: tuple(line for line in lines if line.verdict != "filtered") for replay, lines in attempts.items()}
    kept = await db.fetch(f"{EXCEPTIONS} handler = $1 AND stream = $2 AND position = $3", handler, *place)
    found = {row[3]: line_of(row, stored, made.get(row[3], ())) for row in kept}
    for replay, lines in attempts.items():
        if replay not in found:
            state = ENDS.get(lines[-1].verdict, "cancelled")
            name = dispatch_id(handler, place, replay)
            told = made[replay]
            found[replay] = DispatchLine(name, handler, stored.event.id, state, replay, len(told), lines=told)
    return [found[replay] for replay in sorted(found)]


async def _simple(db: Connection, stored: StoredEvent, handler: str, reached: int) -> DispatchLine:
    """A dispatch without a row of its own: pending, running, done at once, or filtered."""
    place: Place = stored.cursor.place
    line = await _packed(db, handler, place)
    state = "filtered"
    if place.position >= reached:
        state = "pending"
    elif any(
        not bits.is_set(settled, place.position - first) for first, settled in await db.fetch(CLAIMS, handler, *place)
    ):
        state = "running"
    elif line:
        state = "done"
    lines = (line,) if line else ()
    name = dispatch_id(handler, place, 0)
    return DispatchLine(name, handler, stored.event.id, state, attempts=len(lines), lines=lines)


async def _packed(db: Connection, handler: str, place: Place) -> AttemptLine | None:
    """The one attempt of an event that went well at once."""
    for first, entries in await db.fetch(PACKED, handler, *place):
        for offset, began, took, answer in from_json(entries):
            if first + offset == place.position:
                return AttemptLine(1, rows.from_micros(began), timedelta(microseconds=took), "done", answer)
    return None


def line_of(row: Sequence[Any], stored: StoredEvent, lines: tuple[AttemptLine, ...] = ()) -> DispatchLine:
    """A row of EXCEPTIONS as people see it."""
    handler, stream, position, replay, state, attempts, reason, due_at, died_at, first_at = row
    return DispatchLine(
        dispatch_id(handler, Place(stream, position), replay),
        handler,
        stored.event.id,
        SHOWN.get(state, state),
        replay,
        attempts,
        reason,
        rows.from_micros(due_at) if due_at else None,
        rows.maybe(died_at),
        rows.maybe(first_at),
        stored.event.received_at,
        lines,
    )


async def dispatches(
    db: Connection, selector: DispatchSelector, after: Behind
) -> tuple[list[DispatchLine], Behind | None]:
    """A chunk of dead or waiting dispatches behind a key, in its order, and the last key; None where it was the end.

    Of several streams one after the other: to sort a million of them for each chunk would take minutes.
    """
    where, arguments = exceptions_where(selector, 6)
    found = await db.fetch(
        f"{EXCEPTIONS}(handler, stream, position, replay) > ($1, $2, $3, $4) AND {where}"
        " ORDER BY handler, stream, position, replay LIMIT $5",
        *after,
        CHUNK,
        *arguments,
    )
    events = await events_at(db, list({Place(row[1], row[2]) for row in found}))
    lines = [line_of(row, events[place]) for row in found if (place := Place(row[1], row[2])) in events]
    return lines, tuple(found[-1])[:4] if found else None


def unclaimed(stored: StoredEvent, handler: str) -> DispatchLine:
    """The dispatch of an event that a handler has not come to yet."""
    name = dispatch_id(handler, stored.cursor.place, 0)
    return DispatchLine(name, handler, stored.event.id, "pending", received_at=stored.event.received_at)


def exceptions_where(selector: DispatchSelector, first: int) -> tuple[str, list[Any]]:
    """A selector as SQL on exceptions, with parameters from this number on."""
    tests = ["state = 'dead'" if selector.state == "dead" else "state IN ('again', 'interrupted')"]
    arguments: list[Any] = []
    if selector.handler:
        tests.append(f"handler = ${first}")
        arguments.append(selector.handler)
    if selector.since:
        tests.append(f"coalesce(died_at, first_at, 0) >= ${first + len(arguments)}")
        arguments.append(rows.to_micros(selector.since))
    if selector.reason:
        tests.append(f"strpos(lower(reason), ${first + len(arguments)}) > 0")
        arguments.append(selector.reason.lower())
    if selector.ids:
        keys = [key for key in map(dispatch_key, selector.ids) if key]
        types = ("text", "integer", "bigint", "integer")
        arrays = ", ".join(f"${first + len(arguments) + n}::{kind}[]" for n, kind in enumerate(types))
        tests.append(f"(handler, stream, position, replay) IN (SELECT * FROM unnest({arrays}))")
        arguments += list(zip(*keys, strict=True)) if keys else [()] * 4
    return " AND ".join(tests), arguments


async def quarantine(db: Connection, ids: Sequence[str], after: Quarantined | None) -> list[Quarantined]:
    """A chunk of what could not be read, behind another."""
    behind = (rows.to_micros(after.callback.received_at), *(place_of(after.id) or ())) if after else (-1, -1, -1)
    meant = [place for place in map(place_of, ids) if place]
    which = " AND (stream, number) IN (SELECT * FROM unnest($5::integer[], $6::bigint[]))" if ids else ""
    arguments: list[Any] = (list(zip(*meant, strict=True)) if meant else [(), ()]) if ids else []
    found = await db.fetch(QUARANTINE.format(which), *behind, CHUNK, *arguments)
    return [Quarantined(f"{row[10]}-{row[0]}", rows.callback_from(row), row[11]) for row in found]
