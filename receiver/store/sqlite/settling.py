"""Writing what became of attempts: bits of claims, exceptions, counters and the attempt log, in one transaction."""

from collections.abc import Sequence
from datetime import datetime

from receiver.store import bits, rows
from receiver.store.base import Done, Filtered, Settlement
from receiver.store.outcomes import Change, change_of, line_of, packed
from receiver.store.sqlite.claiming import MOST_PROBED
from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.lanes import LOG, Place, add, insert
from receiver.store.views import StoredEvent

CHANGE = (
    "UPDATE exceptions SET state = ?, attempts = attempts + ?, interruptions = interruptions + ?, probes = ?,"
    " target = ?, due_at = ?, first_at = coalesce(first_at, ?), died_at = ?, reason = ?, owner = NULL"
    " WHERE handler = ? AND position = ? AND replay = ? AND owner = ? AND state IN ('running', 'alone')"
)
DELETE = (
    "DELETE FROM exceptions WHERE handler = ? AND position = ? AND replay = ? AND owner = ?"
    " AND state IN ('running', 'alone')"
)
PROBES = (
    "SELECT coalesce(max(probes), 0) FROM (SELECT * FROM (SELECT probes FROM exceptions INDEXED BY exceptions_due"
    " WHERE handler = ?1 AND state = 'again' ORDER BY due_at, position, replay LIMIT ?2)"
    " UNION ALL SELECT probes FROM exceptions INDEXED BY exceptions_due WHERE handler = ?1 AND state = 'running')"
)


def settle(at: Connections, settlements: Sequence[Settlement], now: datetime) -> list[bool]:
    """Write what became of attempts, and move the counters with it. False for each that was no longer held."""
    written = [False] * len(settlements)
    claimed: dict[tuple[int, str], list[int]] = {}
    for number, settlement in enumerate(settlements):
        place: Place = settlement.dispatch.place
        if place.claim:
            claimed.setdefault((place.claim, place.owner), []).append(number)
        else:
            written[number] = _settle_exception(at, settlement, place, now)
    for (claim, owner), members in claimed.items():
        held = _settle_claim(at, claim, owner, [settlements[number] for number in members], now)
        for number, was_held in zip(members, held, strict=True):
            written[number] = was_held
    return written


def _settle_claim(
    at: Connections, claim: int, owner: str, settlements: Sequence[Settlement], now: datetime
) -> list[bool]:
    """Set the bits of these events in their claim; it goes when all are set."""
    found = at.dispatch.execute(
        "SELECT handler, first, count, settled FROM claims WHERE claim = ? AND owner = ?", (claim, owner)
    ).fetchone()
    if found is None:
        return [False] * len(settlements)
    handler, first, count, settled = found[0], int(found[1]), int(found[2]), bytearray(found[3])
    held, done = [], []
    for settlement in settlements:
        bit = settlement.dispatch.place.position - first
        # A claim's number is given again once it is gone; who had an erased event in hand may come with it later.
        is_its = settlement.dispatch.handler == handler and 0 <= bit < count
        held.append(is_its and not bits.is_set(settled, bit))
        if not held[-1]:
            continue
        bits.set_bit(settled, bit)
        if isinstance(settlement.outcome, Done):
            done.append((bit, settlement))
        else:
            _except(at, settlement, now)
    if bits.settled(settled) == count:
        at.dispatch.execute("DELETE FROM claims WHERE claim = ?", (claim,))
    else:
        at.dispatch.execute("UPDATE claims SET settled = ? WHERE claim = ?", (bytes(settled), claim))
    if done:
        add(at, handler, done=len(done))
        _pack(at, handler, first, done)
    return held


def _except(at: Connections, settlement: Settlement, now: datetime) -> None:
    """A claimed event that did not simply go well: filtered, or from now on an exception."""
    change = _change(at, settlement, settlement.dispatch.place, now)
    if change is not None:
        stored = StoredEvent(settlement.dispatch.event, settlement.dispatch.place.position)
        insert(at, settlement.dispatch.handler, stored, **change._asdict())
        _log(at, settlement, settlement.dispatch.place)


def _settle_exception(at: Connections, settlement: Settlement, place: Place, now: datetime) -> bool:
    handler = settlement.dispatch.handler
    key = (handler, place.position, place.replay, place.owner)
    held = at.dispatch.execute(
        "SELECT probes FROM exceptions WHERE handler = ? AND position = ? AND replay = ? AND owner = ?"
        " AND state IN ('running', 'alone')",
        key,
    ).fetchone()
    if held is None:
        return False
    change = _change(at, settlement, place, now)
    if isinstance(settlement.outcome, Filtered):  # the filters were changed since: the trace of it is a line
        line = (handler, place.position, place.replay, rows.to_micros(now), place.attempts + 1, 0, "filtered", "")
        at.dispatch.execute(LOG, line)
    _log(at, settlement, place)
    if change is None:
        at.dispatch.execute(DELETE, key)
        return True
    at.dispatch.execute(
        CHANGE,
        (
            change.state,
            change.attempts,
            change.interruptions,
            held[0] + 1 if change.probes else held[0],
            change.target,
            change.due_at,
            change.first_at,
            change.died_at,
            change.reason,
            *key,
        ),
    )
    return True


def _change(at: Connections, settlement: Settlement, place: Place, now: datetime) -> Change | None:
    """Move the counters. None where the dispatch is over: done or filtered."""
    handler = settlement.dispatch.handler
    change, counted = change_of(settlement, place.interruptions, now)
    if counted:
        add(at, handler, **{counted: 1})
    if change and change.probes:
        return change._replace(probes=next_round(at, handler))
    return change


def next_round(at: Connections, handler: str) -> int:
    """The number of a new event's first probe: with it the round begins that those tried before have still to make."""
    return int(at.dispatch.execute(PROBES, (handler, MOST_PROBED)).fetchone()[0]) + 1


def _log(at: Connections, settlement: Settlement, place: Place) -> None:
    """A line of the attempt log."""
    if line := line_of(settlement):
        at.dispatch.execute(LOG, (settlement.dispatch.handler, place.position, place.replay, *line))


def _pack(at: Connections, handler: str, first: int, lines: list[tuple[int, Settlement]]) -> None:
    """The attempts of one claim that went well at once, in one row."""
    if entries := packed(lines):
        at.dispatch.execute("INSERT OR REPLACE INTO packed_attempts VALUES (?, ?, ?, ?)", (handler, first, *entries))
