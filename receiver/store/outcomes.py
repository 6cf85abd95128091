"""What an outcome makes of a dispatch: its next state, what is counted, and the words of the attempt log. No I/O."""

from datetime import datetime, timedelta
from typing import NamedTuple

from pydantic_core import to_json

from receiver.store import rows
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


def change_of(settlement: Settlement, interruptions: int, now: datetime) -> tuple[Change | None, str]:
    """The change, None where the dispatch is over; and the counter that moves: done, filtered, dead, or none."""
    first_at = None if settlement.began_at is None else rows.to_micros(settlement.began_at)
    outcome: Outcome = settlement.outcome
    match outcome:
        case Done():
            return None, "done"
        case Filtered():
            return None, "filtered"
        case Released():
            return Change("interrupted" if settlement.dispatch.alone else "again"), ""
        case Dead():
            died_at = rows.to_micros(now)
            return Change("dead", 1, first_at=first_at, died_at=died_at, reason=outcome.reason), "dead"
        case Interrupted():
            return interruption(outcome.reason, interruptions, now)._replace(first_at=first_at), (
                "dead" if interruptions + 1 >= MOST_INTERRUPTIONS else ""
            )
        case RetryAt():
            change = Change(
                "again",
                attempts=int(outcome.charged),
                probes=int(outcome.probe),
                target=outcome.target,
                due_at=rows.to_micros(outcome.at),
                first_at=first_at,
                reason=outcome.reason,
            )
            return change, ""


def interruption(reason: str, before: int, now: datetime) -> Change:
    """One more interruption of a dispatch that had so many before: dead at the third."""
    if before + 1 < MOST_INTERRUPTIONS:
        return Change("interrupted", interruptions=1, reason=reason)
    killed = f"killed: {reason.removeprefix('killed: ')}"
    return Change("dead", interruptions=1, died_at=rows.to_micros(now), reason=killed)


class Line(NamedTuple):
    """A line of the attempt log; times in microseconds."""

    began_at: int
    number: int
    took: int
    verdict: str
    answer: str


def line_of(settlement: Settlement) -> Line | None:
    """The line of an attempt; None where none was made."""
    if settlement.began_at is None or isinstance(settlement.outcome, Filtered | Released):
        return None
    verdict, answer = _words(settlement.outcome)
    took = settlement.took // timedelta(microseconds=1)
    return Line(rows.to_micros(settlement.began_at), settlement.dispatch.number, took, verdict, answer)


def packed(lines: list[tuple[int, Settlement]]) -> tuple[int, str] | None:
    """The attempts of one claim that went well at once, by offset: the lowest offset, JSON."""
    entries = [
        (offset, rows.to_micros(line.began_at), line.took // timedelta(microseconds=1), line.outcome.answer)
        for offset, line in lines
        if line.began_at is not None and isinstance(line.outcome, Done)
    ]
    return (min(entry[0] for entry in entries), to_json(entries).decode()) if entries else None


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
