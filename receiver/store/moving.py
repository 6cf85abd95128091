"""A whole store in lots, on its way into another one: a form that is no database's. Times are in microseconds."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from receiver.store.base import Tell, quietly
from receiver.store.views import Stats

Row = tuple[Any, ...]

ENDED = "the receiver ended under it"
UNFINISHED = "a copy into {} was begun and is not finished: `receiver copy` again goes on with it"
END = "end"
"""The mark of the last lot."""


class Moved(NamedTuple):
    """An event with all that belongs to it."""

    row: Row
    """The columns of EVENT_ROW; its position is its place in the log as one line."""
    copies: tuple[int, ...] = ()
    """Numbers of the callbacks that repeated it."""
    fates: tuple[tuple[bytes, int, str], ...] = ()
    """Without identity: digest, received_at, fate of the newest with this content."""
    exceptions: "tuple[Exceptional, ...]" = ()
    attempts: "tuple[Attempted, ...]" = ()
    """In the order in which they were made."""
    easy: tuple[tuple[str, int, int, str], ...] = ()
    """What went well at once: handler, began_at, microseconds, answer."""

    @property
    def position(self) -> int:
        return int(self.row[0])


class Exceptional(NamedTuple):
    """A dispatch that did not simply go well, or a replay. What was running when the receiver ended was interrupted."""

    handler: str
    replay: int
    state: str
    """again, interrupted, dead or cancelled."""
    attempts: int = 0
    interruptions: int = 0
    probes: int = 0
    target: bool = False
    due_at: int = 0
    first_at: int | None = None
    died_at: int | None = None
    reason: str = ""


class Attempted(NamedTuple):
    """A line of the attempt log."""

    handler: str
    replay: int
    began_at: int
    number: int
    took: int
    verdict: str
    answer: str


class Lane(NamedTuple):
    """Where a handler stands in the log, its counters and its state."""

    handler: str
    configured: bool
    start: int
    next: int
    replays: int
    done: int
    filtered: int
    cancelled: int
    dead: int
    state: str
    since: int | None
    reason: str
    last_error: str
    last_error_at: int | None


class Rest(NamedTuple):
    """What belongs to no event."""

    end: int
    """The newest position, also of an event that is gone."""
    lanes: tuple[Lane, ...]
    sources: tuple[Row, ...]
    """source, stored, duplicates, quarantined, refused, simulated, last_at (0: never)."""
    quarantine: tuple[tuple[int, str, str], ...]
    """Number of the callback, source, reason."""
    notices: tuple[tuple[str, str], ...]
    """Open ones: notice, about."""


class Lot(NamedTuple):
    """A part of a store: callbacks first, then events, then the rest."""

    mark: str
    """`export` goes on behind it."""
    told: tuple[str, int, int]
    """How far it is: which part, how much of it, of how much."""
    callbacks: Sequence[Row] = ()
    """The columns of CALLBACK_COLUMNS."""
    events: Sequence[Moved] = ()
    rest: Rest | None = None


class Movable(Protocol):
    """A store that nobody else has, to be copied from or to. Every verb may raise StoreUnavailable."""

    where: str
    """The store, as it is told to people."""

    async def stats(self, now: datetime) -> Stats:
        """As of a store."""

    def export(self, after: str = "") -> AsyncIterator[Lot]:
        """All of it, in lots that are the same each time; behind the lot with the mark `after`."""

    async def take_in(self, lot: Lot, told: str) -> None:
        """Write a lot of another store into this one, and how far the copy is with it; durable on return.

        From the first one on nobody else can open this store, until `taken_in`.
        """

    async def taking_in(self) -> str | None:
        """What was told with the last lot of a copy that is not finished; None where there is none."""

    async def taken_in(self, tell: Tell = quietly) -> None:
        """Finish a copy: from now on this is a store like any other."""

    async def close(self) -> None:
        """Let go of everything."""


def exceptional(row: Sequence[Any]) -> Exceptional:
    """An exception as it is moved. What was in hand is repeated, alone: nobody knows how far it got."""
    handler, replay, state, attempts, interruptions, probes, target, due_at, first_at, died_at, reason = row
    if state in ("running", "alone"):
        state, due_at, reason = "interrupted", 0, ENDED
        interruptions = min(interruptions + 1, 2)  # never its death: this is not the event's doing
    values = (attempts, interruptions, probes, bool(target), due_at, first_at, died_at, plain(reason))
    return Exceptional(handler, replay, state, *values)


def interrupted(handler: str) -> Exceptional:
    """A new event that was in hand when the receiver ended."""
    return Exceptional(handler, 0, "interrupted", interruptions=1, reason=ENDED)


def without_gone(lane: Lane, gone: Sequence[tuple[str, int]]) -> Lane:
    """A lane without its exceptions of events that are no longer kept, given by state: they count as cancelled."""
    dead = sum(count for state, count in gone if state == "dead")
    owed = sum(count for state, count in gone if state != "cancelled")
    return lane._replace(dead=lane.dead - dead, cancelled=lane.cancelled + owed)


def plain(text: str) -> str:
    """What a handler or a target said, as every database takes it."""
    return text.replace("\x00", "\ufffd")
