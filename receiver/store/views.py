"""What is seen of a store, and what is looked for: events, dispatches with their attempts, counters, standings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from receiver.callback import Callback
from receiver.events import Event


@dataclass(slots=True)
class Standing:
    """Where a handler stands, kept across restarts. `receiver handlers` shows it."""

    handler: str
    state: str = "ok"
    """ok, held (its target does not answer) or paused (until resumed)."""
    since: datetime | None = None
    reason: str = ""
    """Why it is held or paused, or the last error."""
    last_error: str = ""
    last_error_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which events: all conditions hold. Times are on `received_at`; numbers are compared by digits."""

    since: datetime | None = None
    until: datetime | None = None
    kind: str | None = None
    source: str | None = None
    status: str | None = None
    number: str | None = None
    message: str | None = None
    reference: str | None = None
    ids: tuple[str, ...] = ()
    simulated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSelector:
    """Which dispatches: all conditions hold. `state` is dead or pending; `since` is on the death or first attempt."""

    state: str
    handler: str | None = None
    ids: tuple[str, ...] = ()
    since: datetime | None = None
    reason: str | None = None
    """A part of the reason, without regard to case."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it lies in the log."""

    event: Event
    cursor: Any
    """The store's own; `events(after=…)` goes on behind it."""


@dataclass(frozen=True, slots=True)
class KeptCallback:
    """A callback as it lies in the store. `copy` says that it repeated an event stored before."""

    callback: Callback
    number: str
    outcome: str
    copy: bool = False
    fate: str | None = None
    """For callbacks without identity: answered, unanswered or unknown."""


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A callback with a valid secret that could not be read."""

    id: str
    callback: Callback
    reason: str


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """One line of the attempt log."""

    number: int
    began_at: datetime
    took: timedelta
    verdict: str
    """done, retry, dead or interrupted."""
    answer: str


@dataclass(frozen=True, slots=True)
class DispatchLine:
    """One dispatch as people see it."""

    id: str
    handler: str
    event: str
    state: str
    """pending, running, done, dead, cancelled or filtered."""
    replay: int = 0
    attempts: int = 0
    reason: str = ""
    due_at: datetime | None = None
    died_at: datetime | None = None
    first_at: datetime | None = None
    received_at: datetime | None = None
    lines: tuple[AttemptLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy of everything that was made."""

    path: str
    made_at: datetime
    events: int
    bytes: int


@dataclass(slots=True)
class Erased:
    """What of a person was erased, or would be."""

    events: int = 0
    callbacks: int = 0
    quarantined: int = 0
    """Callbacks in quarantine that named the number."""
    cancelled: int = 0
    """Dispatches of these events that were not settled; they count as cancelled."""
    blotted: int = 0
    """Answers, reasons and notices that named the number, with stars in its place now."""
    mentions: int = 0
    """Callbacks of other people that name the number in their words; they stay."""
    traces: int = 0
    """Places in the store's files where old bytes of it could not be overwritten."""


@dataclass(frozen=True, slots=True)
class EventTrace:
    """All that is known of one event."""

    event: Event
    callbacks: tuple[KeptCallback, ...]
    dispatches: tuple[DispatchLine, ...]


@dataclass(frozen=True, slots=True)
class HandlerStats:
    """Counters of a handler; received = done + filtered + cancelled + pending + running + dead."""

    handler: str
    state: str
    """ok, held, paused or absent (not configured)."""
    received: int
    done: int
    filtered: int
    cancelled: int
    pending: int
    running: int
    dead: int
    oldest_pending_at: datetime | None
    standing: Standing


@dataclass(frozen=True, slots=True)
class SourceStats:
    """Counters of a source, without simulated callbacks, which have a count of their own."""

    source: str
    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    refused: int = 0
    simulated: int = 0
    last_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """What `receiver stats` prints."""

    handlers: tuple[HandlerStats, ...] = ()
    sources: tuple[SourceStats, ...] = ()
    quarantine: Mapping[str, int] = field(default_factory=dict)
    """Callbacks now in quarantine, by source."""
    events: int = 0
    """Events stored now."""
