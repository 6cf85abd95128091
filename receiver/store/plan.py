"""What one commit of the log will write: which callbacks are new, which repeat, and under which numbers. No I/O."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from receiver.callback import Callback
from receiver.events import Event
from receiver.store import rows
from receiver.store.base import Recorded

RETRY_WINDOW = timedelta(hours=24)
SUSPICIOUS = timedelta(seconds=10)


Place = Any
"""Where an event lies in the log: the database's own."""


class Fate(NamedTuple):
    """The newest event with a content, and whether the answer to it got out."""

    place: Place
    id: str
    received_at: datetime
    fate: str


class First(NamedTuple):
    """The event that a duplicate repeats."""

    place: Place
    id: str


class Entry:
    """A callback that waits for its commit; its events have their ids."""

    __slots__ = ("bytes", "callback", "digests", "done", "events", "fault", "keys", "received")

    def __init__(
        self, callback: Callback, events: Sequence[Event], fault: str, done: "asyncio.Future[Recorded]"
    ) -> None:
        self.callback, self.fault, self.done = callback, fault, done
        self.events = () if fault else events  # what cannot be read or stored is kept as it came, and nothing else
        self.bytes = len(callback.body) + len(callback.query)
        self.received = received = rows.to_micros(callback.received_at)
        """Microseconds since 1970."""
        self.keys: list[rows.Key | None] = []
        self.digests: list[bytes | None] = []
        for event in self.events:
            event.id = rows.new_id(received)
            self.keys.append(rows.key_of(callback.source, event.identity, received))
            self.digests.append(rows.digest_of(callback.source, event.identity))

    def quarantine(self, fault: str) -> None:
        """Keep the callback alone: its events cannot be stored."""
        self.events, self.keys, self.digests, self.fault = (), [], [], fault


class Known(NamedTuple):
    """What the log holds already of a batch."""

    keys: Mapping[bytes, First]
    fates: Mapping[bytes, Fate]


@dataclass(slots=True)
class Plan:
    """The rows of one commit, and what each entry is told after it."""

    callbacks: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    copies: list[tuple[Place, int]] = field(default_factory=list)
    fates: dict[bytes, tuple[Place, int]] = field(default_factory=dict)
    """The newest event with each content, and when it came, in microseconds since 1970."""
    outdated: list[Place] = field(default_factory=list)
    """Those that were the newest before."""
    quarantine: list[tuple[int, str, str]] = field(default_factory=list)
    sources: dict[str, list[int]] = field(default_factory=dict)
    """stored, duplicates, quarantined, simulated, last_at."""
    answers: list[Recorded] = field(default_factory=list)


class Planner:
    """Gives positions and numbers without gaps, beginning behind the newest of the log."""

    def __init__(self, position: int, number: int, known: Known, *, place: Callable[[int], Place] = int) -> None:
        """`place` says where an event of a new position lies."""
        self.position = position
        self.number = number
        self._place = place
        self._keys = dict(known.keys)
        self._fates = dict(known.fates)
        self.plan = Plan()

    def draw(self, entries: Iterable[Entry]) -> Plan:
        """Plan a batch in its order; an entry that repeats an earlier one of the same batch is a duplicate of it."""
        for entry in entries:
            self._draw(entry)
        return self.plan

    def _draw(self, entry: Entry) -> None:
        self.number = number = self.number + 1
        plan, callback = self.plan, entry.callback
        ids: list[str] = []
        uncertain: list[tuple[bytes, Place]] = []
        stored = 0
        for event, key, digest in zip(entry.events, entry.keys, entry.digests, strict=True):
            first = self._repeats(callback, event, key, digest)
            if first is None:
                stored += 1
                first = self._append(event, key, entry.received)
            else:
                plan.copies.append((first.place, number))
            ids.append(first.id)
            if digest:
                uncertain.append((digest, first.place))
                self._await_fate(digest, first, callback.received_at)
        outcome = "stored" if stored else "duplicate" if ids else "quarantined" if entry.fault else "ignored"
        if entry.fault:
            plan.quarantine.append((number, callback.source, entry.fault))
        plan.callbacks.append(rows.callback_row(number, callback, outcome, entry.received))
        plan.answers.append(Recorded(outcome, tuple(ids), tuple(uncertain)))
        self._count(entry, stored, len(ids) - stored)

    def _repeats(self, callback: Callback, event: Event, key: rows.Key | None, digest: bytes | None) -> First | None:
        """The event that this one repeats. Without identity an earlier equal one decides by the fate of its answer."""
        if key is not None:
            return self._keys.get(key.key) or (self._keys.get(key.other) if key.other else None)
        newest = self._fates.get(digest) if digest else None
        if newest is None:
            return None
        event.suspected_duplicate_of = None
        age = callback.received_at - newest.received_at
        if newest.fate == "unanswered" and age < RETRY_WINDOW:
            return First(newest.place, newest.id)
        if age < SUSPICIOUS or newest.fate == "unknown":
            event.suspected_duplicate_of = newest.id
        return None

    def _append(self, event: Event, key: rows.Key | None, received: int) -> First:
        self.position += 1
        first = First(self._place(self.position), event.id)
        self.plan.events.append(rows.event_row(self.position, key and key.key, self.number, event, received))
        if key is not None:
            self._keys[key.key] = first
        return first

    def _await_fate(self, digest: bytes, first: First, received_at: datetime) -> None:
        """From now on this one is the newest with its content, and nobody knows whether its answer gets out."""
        before = self._fates.get(digest)
        if before is not None and before.place != first.place:
            self.plan.outdated.append(before.place)
        self.plan.fates[digest] = first.place, rows.to_micros(received_at)
        self._fates[digest] = Fate(first.place, first.id, received_at, "unknown")

    def _count(self, entry: Entry, stored: int, repeated: int) -> None:
        counts = self.plan.sources.get(entry.callback.source)
        if counts is None:
            counts = self.plan.sources[entry.callback.source] = [0, 0, 0, 0, 0]
        if entry.callback.simulated:
            counts[3] += stored
            return
        counts[0] += stored
        counts[1] += repeated
        if entry.fault:
            counts[2] += 1
        if entry.received > counts[4]:
            counts[4] = entry.received
