"""Looking into a store: events, traces, statistics, dispatches, quarantine. Jobs for a desk that write nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import from_json

from receiver import numbers
from receiver.store import bits, rows
from receiver.store.sqlite import lookup
from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.lanes import dispatch_id
from receiver.store.views import (
    AttemptLine,
    DispatchLine,
    DispatchSelector,
    EventTrace,
    HandlerStats,
    KeptCallback,
    Quarantined,
    Selector,
    SourceStats,
    Standing,
    Stats,
    StoredEvent,
)

LONGEST_NUMBER = 18  # digits
MOST_COUNTED = 10_000  # exceptions of a handler that are counted for `stats`; of more the counters tell how many
CHUNK = 2_000  # positions looked at in one job: no long readers
# Of a dispatch that has attempts but no row any more: what its last attempt says; a dead letter was pruned.
ENDS = {"done": "done", "filtered": "filtered"}
SHOWN = {"again": "pending", "interrupted": "pending", "alone": "running"}
EXCEPTIONS = (
    "SELECT handler, position, replay, state, attempts + interruptions, reason, due_at, died_at, first_at"
    " FROM exceptions WHERE "
)
CALLBACKS = (
    f"SELECT {rows.CALLBACK_COLUMNS}, 0 FROM callbacks WHERE number = (SELECT callback FROM events WHERE position = ?1)"
    f" UNION ALL SELECT {rows.CALLBACK_COLUMNS}, 1 FROM copies JOIN callbacks ON number = callback WHERE position = ?1"
    " ORDER BY number"
)
WAIT = "WHERE handler = ? AND state IN ('again', 'interrupted')"
BY_KEY = "ORDER BY position, replay LIMIT 1"  # walks through the key, and stops at the first
LANES = (
    "SELECT handler, configured, start, next, replays, done, filtered, cancelled, dead, state, since, reason,"
    " last_error, last_error_at FROM lanes ORDER BY handler"
)


def events(at: Connections, selector: Selector, first: int, last: int) -> list[StoredEvent]:
    """The events of a range of the log that match."""
    where, arguments = conditions(selector)
    sql = f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position BETWEEN ? AND ?{where} ORDER BY position"
    return [rows.event_from(row) for row in at.log.execute(sql, (first, last, *arguments))]


def newest_events(at: Connections, selector: Selector, first: int, last: int, most: int) -> list[StoredEvent]:
    """The newest of them, in the order of the log."""
    where, arguments = conditions(selector)
    sql = (
        f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position BETWEEN ? AND ?{where} ORDER BY position DESC LIMIT ?"
    )
    found = at.log.execute(sql, (first, last, *arguments, most)).fetchall()
    return [rows.event_from(row) for row in reversed(found)]


def ranges(at: Connections, selector: Selector, after: int) -> list[tuple[int, int]]:
    """The ranges of positions that can hold what is looked for, each small enough for one job."""
    first, end = after + 1, at.end()
    oldest = at.log.execute("SELECT coalesce(min(position), 1) FROM events").fetchone()[0]
    term = lookup.term_of(selector)
    known: list[tuple[int, int]] = []
    if term is not None:
        positions, indexed = lookup.in_runs(at, term)
        known = [(position, position) for position in positions if position >= first]
        first = max(first, indexed + 1)
    first = max(first, oldest)
    return known + [(start, min(start + CHUNK - 1, end)) for start in range(first, end + 1, CHUNK)]


def conditions(selector: Selector) -> tuple[str, list[Any]]:
    """A selector as SQL."""
    tests: list[tuple[str, Any]] = [
        ("received_at >= ?", selector.since and rows.to_micros(selector.since)),
        ("received_at < ?", selector.until and rows.to_micros(selector.until)),
        ("kind = ?", selector.kind),
        ("source = ?", selector.source),
        ("status = ?", selector.status),
        ("message_id = ?", selector.message),
        ("reference = ?", selector.reference),
        ("simulated = ?", selector.simulated),
        ("? IN (originator, recipient)", selector.number and numbers.digits(selector.number)),
    ]
    where = "".join(f" AND {test}" for test, value in tests if value is not None)
    arguments = [value for _, value in tests if value is not None]
    if selector.ids:
        where += f" AND id IN ({','.join('?' * len(selector.ids))})"
        arguments += [rows.id_bytes(name) for name in selector.ids]
    return where, arguments


def trace(at: Connections, stored: StoredEvent) -> EventTrace:
    """All that is known of one event."""
    position = stored.cursor
    fate = at.log.execute("SELECT fate FROM fates WHERE position = ?", (position,)).fetchone()
    callbacks = tuple(
        KeptCallback(rows.callback_from(row), str(row[0]), row[8], bool(row[10]), fate[0] if fate else None)
        for row in at.log.execute(CALLBACKS, (position,))
    )
    dispatches: list[DispatchLine] = []
    for handler, start, reached in at.dispatch.execute("SELECT handler, start, next FROM lanes ORDER BY handler"):
        lines = _exceptions(at, stored, handler)
        if start <= position and not any(line.replay == 0 for line in lines):
            lines.insert(0, _simple(at, stored, handler, reached))
        dispatches += lines
    return EventTrace(stored.event, callbacks, tuple(dispatches))


def _exceptions(at: Connections, stored: StoredEvent, handler: str) -> list[DispatchLine]:
    """The dispatches of an event to a handler that have a row, or had one and left their attempts."""
    position = stored.cursor
    rows_found = at.dispatch.execute(f"{EXCEPTIONS} handler = ? AND position = ?", (handler, position)).fetchall()
    found = {row[2]: _line(row, stored, _attempts(at, handler, position, row[2])) for row in rows_found}
    for (replay,) in at.dispatch.execute(
        "SELECT DISTINCT replay FROM attempts WHERE handler = ? AND position = ?", (handler, position)
    ).fetchall():
        if replay not in found:
            lines = _attempts(at, handler, position, replay)
            state = ENDS.get(_last_verdict(at, handler, position, replay), "cancelled")
            name = dispatch_id(handler, position, replay)
            found[replay] = DispatchLine(name, handler, stored.event.id, state, replay, len(lines), lines=lines)
    return [found[replay] for replay in sorted(found)]


def _simple(at: Connections, stored: StoredEvent, handler: str, reached: int) -> DispatchLine:
    """A dispatch without a row of its own: pending, running, done at once, or filtered."""
    position = stored.cursor
    line = _packed(at, handler, position)
    state = "filtered"
    if position >= reached:
        state = "pending"
    elif _is_running(at, handler, position):
        state = "running"
    elif line:
        state = "done"
    lines = (line,) if line else ()
    return DispatchLine(
        dispatch_id(handler, position, 0), handler, stored.event.id, state, attempts=len(lines), lines=lines
    )


def _is_running(at: Connections, handler: str, position: int) -> bool:
    claims = at.dispatch.execute(
        "SELECT first, settled FROM claims WHERE handler = ? AND ? BETWEEN first AND first + count - 1",
        (handler, position),
    )
    return any(not bits.is_set(settled, position - first) for first, settled in claims)


def _packed(at: Connections, handler: str, position: int) -> AttemptLine | None:
    """The one attempt of an event that went well at once."""
    found = at.dispatch.execute(
        "SELECT first, entries FROM packed_attempts WHERE handler = ?1 AND first ="
        " (SELECT max(first) FROM packed_attempts WHERE handler = ?1 AND first <= ?2)",
        (handler, position),
    )
    for first, entries in found:
        for offset, began, took, answer in from_json(entries):
            if first + offset == position:
                return AttemptLine(1, rows.from_micros(began), timedelta(microseconds=took), "done", answer)
    return None


def _last_verdict(at: Connections, handler: str, position: int, replay: int) -> str:
    found = at.dispatch.execute(
        "SELECT verdict FROM attempts WHERE handler = ? AND position = ? AND replay = ? ORDER BY line DESC LIMIT 1",
        (handler, position, replay),
    )
    return str(found.fetchone()[0])


def _attempts(at: Connections, handler: str, position: int, replay: int) -> tuple[AttemptLine, ...]:
    found = at.dispatch.execute(
        "SELECT number, began_at, took, verdict, answer FROM attempts"
        " WHERE handler = ? AND position = ? AND replay = ? AND verdict <> 'filtered' ORDER BY line",
        (handler, position, replay),
    )
    return tuple(AttemptLine(n, rows.from_micros(at_), timedelta(microseconds=t), v, a) for n, at_, t, v, a in found)


def _line(row: Sequence[Any], stored: StoredEvent, lines: tuple[AttemptLine, ...] = ()) -> DispatchLine:
    handler, position, replay, state, attempts, reason, due_at, died_at, first_at = row
    return DispatchLine(
        dispatch_id(handler, position, replay),
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


def stats(at: Connections) -> Stats:
    """Counters, read in one go: they add up at any time."""
    at.dispatch.execute("BEGIN")
    try:
        lanes = at.dispatch.execute(LANES).fetchall()
        end = at.end()  # behind the lanes: none of them can be ahead of it
        handlers = tuple(_handler(at, row, end) for row in lanes)
    finally:
        at.dispatch.execute("ROLLBACK")
    sources = at.log.execute(
        "SELECT source, stored, duplicates, quarantined, refused, simulated, last_at FROM sources ORDER BY source"
    )
    kept = at.log.execute("SELECT source, count(*) FROM quarantine GROUP BY source")
    events = _events(at, end)
    return Stats(
        handlers,
        tuple(
            SourceStats(name, stored, copies, quarantined, refused, simulated, rows.maybe(last_at or None))
            for name, stored, copies, quarantined, refused, simulated, last_at in sources
        ),
        dict(kept.fetchall()),
        events,
    )


def _events(at: Connections, end: int) -> int:
    """How many events are kept: their places are counted, without those erased."""
    first = at.log.execute("SELECT coalesce(min(position), ?) FROM events", (end + 1,)).fetchone()[0]
    return max(end - int(first) + 1 - at.void(first), 0)


def _handler(at: Connections, row: Sequence[Any], end: int) -> HandlerStats:
    handler, configured, start, reached, replays, done, filtered, cancelled, dead, state, since, reason, *error = row
    running = at.dispatch.execute(
        "SELECT count(*) FROM exceptions WHERE handler = ? AND state IN ('running', 'alone')", (handler,)
    ).fetchone()[0]
    for count, settled in at.dispatch.execute("SELECT count, settled FROM claims WHERE handler = ?", (handler,)):
        running += count - bits.settled(settled)
    void = at.void(reached)  # cancelled: the lane has only not come there yet
    behind, cancelled = max(end + 1 - reached - void, 0), cancelled + void
    received = end + 1 - start + replays
    waiting, first = _excepted(at, handler, received - done - filtered - cancelled - dead - running - behind)
    oldest = first if first is not None else reached if behind else None
    received_at = oldest and at.log.execute("SELECT received_at FROM events WHERE position >= ? LIMIT 1", (oldest,))
    oldest_at = received_at.fetchone() if received_at else None
    return HandlerStats(
        handler,
        state if configured else "absent",
        received,
        done,
        filtered,
        cancelled,
        behind + waiting,
        running,
        dead,
        rows.from_micros(oldest_at[0]) if oldest_at else None,
        Standing(handler, state, rows.maybe(since), reason, error[0], rows.maybe(error[1])),
    )


def _excepted(at: Connections, handler: str, owed: int) -> tuple[int, int | None]:
    """How many exceptions of a handler wait, and the first position of them. Many are not counted: they are `owed`."""
    count, first = at.dispatch.execute(
        f"SELECT count(*), min(position) FROM (SELECT position FROM exceptions {WAIT} LIMIT ?)",
        (handler, MOST_COUNTED + 1),
    ).fetchone()
    if count > MOST_COUNTED:
        count = max(count, owed)
        first = at.dispatch.execute(f"SELECT position FROM exceptions {WAIT} {BY_KEY}", (handler,)).fetchone()[0]
    return count, first


Behind = tuple[str, int, int]  # handler, position, replay


def dispatches(at: Connections, selector: DispatchSelector, after: Behind) -> tuple[list[DispatchLine], Behind | None]:
    """A chunk of dead or waiting dispatches behind a key, in its order, and the last key; None where it was the end."""
    where, arguments = exceptions_where(selector)
    found = at.dispatch.execute(
        f"{EXCEPTIONS} {where} AND (handler, position, replay) > (?, ?, ?) ORDER BY handler, position, replay LIMIT ?",
        (*arguments, *after, CHUNK),
    ).fetchall()
    lines = [_line(row, stored) for row in found for stored in lookup.event_at(at, row[1])]
    return lines, tuple(found[-1][:3]) if found else None


def unclaimed(stored: StoredEvent, handler: str) -> DispatchLine:
    """The dispatch of an event that a handler has not come to yet."""
    name = dispatch_id(handler, stored.cursor, 0)
    return DispatchLine(name, handler, stored.event.id, "pending", received_at=stored.event.received_at)


def exceptions_where(selector: DispatchSelector) -> tuple[str, list[Any]]:
    """A selector as SQL on exceptions."""
    which = "('dead')" if selector.state == "dead" else "('again', 'interrupted')"
    where = f"state IN {which}"
    arguments: list[Any] = []
    if selector.handler:
        where += " AND handler = ?"
        arguments.append(selector.handler)
    if selector.since:
        where += " AND coalesce(died_at, first_at, 0) >= ?"
        arguments.append(rows.to_micros(selector.since))
    if selector.reason:
        where += " AND instr(lower(reason), ?)"
        arguments.append(selector.reason.lower())
    if selector.ids:
        keys = [key for key in map(dispatch_key, selector.ids) if key]
        where += f" AND (handler, position, replay) IN (VALUES {','.join(['(?, ?, ?)'] * len(keys)) or '(0, 0, 0)'})"
        arguments += [part for key in keys for part in key]
    return where, arguments


def dispatch_key(name: str) -> tuple[str, int, int] | None:
    """The key of `crm:4711` or `crm:4711.2`; None where it is no dispatch id."""
    handler, _, rest = name.rpartition(":")
    position, _, replay = rest.partition(".")
    numbers_meant = [as_number(position), as_number(replay or "0")]
    if not handler or None in numbers_meant:
        return None
    return handler, numbers_meant[0] or 0, numbers_meant[1] or 0


def as_number(text: str) -> int | None:
    """A number that SQLite can hold; None for anything else."""
    return int(text) if text.isdecimal() and len(text) <= LONGEST_NUMBER else None


def quarantine(at: Connections, ids: Sequence[str], after: int) -> list[Quarantined]:
    """A chunk of what could not be read, behind a number."""
    numbers_meant = [number for number in map(as_number, ids) if number is not None]
    which = f" AND q.callback IN ({','.join('?' * len(numbers_meant))})" if ids else ""
    found = at.log.execute(
        f"SELECT {rows.CALLBACK_COLUMNS.replace('source', 'c.source')}, q.reason FROM quarantine q"
        f" JOIN callbacks c ON c.number = q.callback WHERE q.callback > ?{which} ORDER BY q.callback LIMIT ?",
        (after, *numbers_meant, CHUNK),
    )
    return [Quarantined(str(row[0]), rows.callback_from(row), row[10]) for row in found]


def oldest_needed(at: Connections) -> int:
    """The first position that a configured handler still waits for: nothing from there on may be pruned."""
    reached = at.dispatch.execute("SELECT min(next) FROM lanes WHERE configured").fetchone()[0]
    claimed = at.dispatch.execute("SELECT min(first) FROM claims").fetchone()[0]
    excepted = at.dispatch.execute(
        "SELECT min((SELECT position FROM exceptions e WHERE e.handler = lanes.handler AND e.state <> 'cancelled'"
        f" {BY_KEY})) FROM lanes WHERE configured"
    ).fetchone()[0]
    return min(position for position in (reached, claimed, excepted, at.end()) if position is not None)


def floor(at: Connections, before: datetime) -> int:
    """The first position to keep when all that was received before is removed; the newest event always stays."""
    newer = at.log.execute(
        "SELECT min(position) FROM (SELECT position, received_at FROM events ORDER BY position LIMIT 500)"
        " WHERE received_at >= ?",
        (rows.to_micros(before),),
    ).fetchone()[0]
    bound = oldest_needed(at)
    return min(newer, bound) if newer is not None else bound
