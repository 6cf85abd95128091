"""Writing what became of attempts: bits of claims, exceptions, counters and the attempt log, in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic_core import to_json

from receiver.store.base import (
    MOST_INTERRUPTIONS,
    Dead,
    Done,
    Filtered,
    Interrupted,
    Outcome,
    Released,
    RetryAt,
    Settlement,
)
from receiver.store.sqlite import rows
from receiver.store.sqlite.claiming import MOST_PROBED
from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.lanes import LOG, Place, add, insert, is_set, set_bit
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
        held.append(not is_set(settled, bit))
        if not held[-1]:
            continue
        set_bit(settled, bit)
        if isinstance(settlement.outcome, Done):
            done.append((bit, settlement))
        else:
            _except(at, settlement, now)
    if int.from_bytes(settled, "little").bit_count() == count:
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


class Change(NamedTuple):
    """What an outcome makes of a dispatch that is not over, or dead: values of an exception, counts as increments."""

    state: str
    attempts: int = 0
    interruptions: int = 0
    probes: int = 0
    target: bool = False
    due_at: int = 0
    first_at: int | None = None
    died_at: int | None = None
    reason: str = ""


def _change(at: Connections, settlement: Settlement, place: Place, now: datetime) -> Change | None:
    """Move the counters. None where the dispatch is over: done or filtered."""
    handler = settlement.dispatch.handler
    first_at = None if settlement.began_at is None else rows.to_micros(settlement.began_at)
    outcome: Outcome = settlement.outcome
    match outcome:
        case Done():
            add(at, handler, done=1)
            return None
        case Filtered():
            add(at, handler, filtered=1)
            return None
        case Released():
            state = "interrupted" if settlement.dispatch.alone else "again"
            return Change(state)
        case Dead():
            add(at, handler, dead=1)
            return Change("dead", 1, first_at=first_at, died_at=rows.to_micros(now), reason=outcome.reason)
        case Interrupted():
            if place.interruptions + 1 < MOST_INTERRUPTIONS:
                return Change("interrupted", interruptions=1, first_at=first_at, reason=outcome.reason)
            add(at, handler, dead=1)
            died_at = rows.to_micros(now)
            reason = f"killed: {outcome.reason.removeprefix('killed: ')}"
            return Change("dead", interruptions=1, first_at=first_at, died_at=died_at, reason=reason)
        case RetryAt():
            return Change(
                "again",
                attempts=int(outcome.charged),
                probes=next_round(at, handler) if outcome.probe else 0,
                target=outcome.target,
                due_at=rows.to_micros(outcome.at),
                first_at=first_at,
                reason=outcome.reason,
            )


def next_round(at: Connections, handler: str) -> int:
    """The number of a new event's first probe: with it the round begins that those tried before have still to make."""
    return int(at.dispatch.execute(PROBES, (handler, MOST_PROBED)).fetchone()[0]) + 1


def _log(at: Connections, settlement: Settlement, place: Place) -> None:
    """A line of the attempt log."""
    if settlement.began_at is None or isinstance(settlement.outcome, Filtered | Released):
        return
    verdict, answer = _words(settlement.outcome)
    began, took = rows.to_micros(settlement.began_at), int(settlement.took / timedelta(microseconds=1))
    dispatch = settlement.dispatch
    line = (dispatch.handler, place.position, place.replay, began, dispatch.number, took, verdict, answer)
    at.dispatch.execute(LOG, line)


def _words(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Done(answer):
            return "done", answer
        case RetryAt():
            return "retry", outcome.reason
        case Dead(reason):
            return "dead", reason
        case Interrupted(reason):
            return "interrupted", reason
    return type(outcome).__name__.lower(), ""


def _pack(at: Connections, handler: str, first: int, lines: Sequence[tuple[int, Settlement]]) -> None:
    """The attempts of one claim that went well at once, in one row."""
    entries = [
        (offset, rows.to_micros(line.began_at), int(line.took / timedelta(microseconds=1)), line.outcome.answer)
        for offset, line in lines
        if line.began_at is not None and isinstance(line.outcome, Done)
    ]
    if entries:
        at.dispatch.execute(
            "INSERT OR REPLACE INTO packed_attempts VALUES (?, ?, ?, ?)",
            (handler, first, min(entry[0] for entry in entries), to_json(entries).decode()),
        )
