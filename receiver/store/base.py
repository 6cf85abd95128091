"""The contract of a store: the log of events, and what every handler is owed of it. No SQL words, no positions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from receiver.callback import Callback
from receiver.events import Event, Notice
from receiver.store.views import (
    Backup,
    DispatchLine,
    DispatchSelector,
    Erased,
    EventTrace,
    Quarantined,
    Selector,
    Standing,
    Stats,
    StoredEvent,
)


class Recorded(NamedTuple):
    """What became of a callback: on disk when this is returned."""

    outcome: str
    """stored, duplicate or quarantined; of several events the first of these."""
    events: tuple[str, ...] = ()
    """Ids in the order of the callback; for a duplicate the first one's."""
    uncertain: tuple[Any, ...] = ()
    """The store's own; not empty where `mark` wants to know the fate of the answer."""


@dataclass(frozen=True, slots=True)
class Done:
    """The handler has it."""

    answer: str = ""


@dataclass(frozen=True, slots=True)
class Filtered:
    """Not for this handler."""


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Again, not before `at`. `charged` is False where the attempt uses up no retry (hold, pause)."""

    at: datetime
    reason: str
    target: bool = False
    """Whether it was the target: then the end of a hold makes it due."""
    charged: bool = True
    probe: bool = False
    """Whether it was the probe of a handler on hold."""


@dataclass(frozen=True, slots=True)
class Dead:
    """A dead letter."""

    reason: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The handler's process ended under it: repeated alone, before new events; dead at the third."""

    reason: str


@dataclass(frozen=True, slots=True)
class Released:
    """Never begun, or ended by a stop of ours: pending as before."""


Passes = Callable[[Event], bool]
"""Whether an event is for a handler."""


def everything(_event: Event) -> bool:
    """No filter."""
    return True


Tell = Callable[[str, int, int], None]
"""Hears how far long work is: which part of it, how much is done, and of how much. Called from any thread."""


def quietly(_part: str, _done: int, _of: int) -> None:
    """Tells nobody."""


Outcome = Done | Filtered | RetryAt | Dead | Interrupted | Released
MOST_INTERRUPTIONS = 3
HORIZON = timedelta(hours=30)
"""Further away than the longest pause is nothing but a clock that was set back."""


@dataclass(slots=True)
class Dispatch:
    """One event owed to one handler, claimed by this process."""

    id: str
    handler: str
    event: Event
    number: int
    """The attempt this will be, from 1."""
    replay: int
    first_at: datetime | None
    """When its first attempt began; None before."""
    alone: bool
    """Whether it was interrupted before: then nothing else of this handler may run beside it."""
    interruptions: int = 0
    """How often it was interrupted; the next after the second is the last."""
    place: Any = None
    """The store's own."""


@dataclass(slots=True)
class Settlement:
    """What became of an attempt."""

    dispatch: Dispatch
    outcome: Outcome
    began_at: datetime | None = None
    """None where no attempt was made (filtered, released)."""
    took: timedelta = timedelta(0)


class Waiting(NamedTuple):
    """What a handler could be given now, and when there will be more."""

    ready: int
    """Pending and due."""
    next_due: datetime | None
    """The earliest of those not yet due."""


class Store(Protocol):
    """Where events are kept. One contract test suite runs on every implementation.

    Every verb may raise StoreUnavailable; nothing is then half done. Times and owners are arguments: a store looks up
    neither clock nor randomness, but for the ids it gives.
    """

    # callbacks in
    async def record(self, callback: Callback, events: Sequence[Event], *, fault: str = "") -> Recorded:
        """Store a callback and its events in one transaction, each once; durable on return.

        With a `fault` the callback goes to quarantine instead. Every handler is owed the events from then on.
        """

    def submit(
        self, callback: Callback, events: Sequence[Event], fault: str, recorded: asyncio.Future[Recorded]
    ) -> None:
        """`record`, without waiting: the future is told what became of it, StoreUnavailable too."""

    def mark(self, recorded: Recorded, *, answered: bool) -> None:
        """Say whether the answer to callbacks without identity got out; with a later commit."""

    def refused(self, source: str, count: int = 1) -> None:
        """Count refused requests of a source, with a later commit."""

    def refusal(self) -> str | None:
        """Why nothing can be recorded at this moment, in words; None where it can."""

    def trouble(self) -> str | None:
        """Why the last write failed, in words; None where it went well."""

    async def notify(self, notice: Notice) -> bool:
        """Append a notice, if it opens one that is not open or closes one that is. False: nothing changed."""

    async def probe(self, now: datetime) -> None:
        """Make a durable write. Raises StoreUnavailable with the reason where that fails."""

    async def register(self, handlers: Sequence[str]) -> None:
        """Give each handler its place: a new one at the end of the log, a known one, or one left out, where it was."""

    # events out
    async def enrol(self, handlers: Sequence[str], *, owner: str, now: datetime) -> None:
        """`register`, and begin to claim as this owner: what owners that are gone had claimed becomes interrupted.

        Where the newest event is from the future, the clock was set back meanwhile: see `set_back`.
        """

    async def claim(
        self,
        handler: str,
        *,
        owner: str,
        limit: int,
        now: datetime,
        lease: timedelta,
        ordered: bool = False,
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        """Take up to `limit` dispatches: interrupted ones first and one alone, then what is due again, then new ones.

        All in the order of the log. They are this owner's until settled or until the lease ends. With `ordered` an
        event waits while an earlier one of its thread is not settled. A due time beyond `horizon` is due now.

        New events that do not pass are filtered at once and do not count; a store looks at a bounded number of them.
        """

    async def probe_claim(
        self,
        handler: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        horizon: timedelta = HORIZON,
        passes: Passes = everything,
    ) -> Sequence[Dispatch]:
        """Take the one dispatch with which to try a handler on hold: the oldest that is due, in turn."""

    async def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """Write what became of attempts. False for each that this owner no longer held."""

    async def renew(self, owner: str, *, now: datetime, lease: timedelta) -> None:
        """Extend all leases of an owner."""

    async def waiting(self, handler: str, *, now: datetime, horizon: timedelta = HORIZON) -> Waiting:
        """What could be claimed. A due time further away than `horizon` is due now: the clock was set back."""

    async def stand(self, standing: Standing, *, release: bool = False, now: datetime) -> None:
        """Keep a handler's state. With `release` (end of a hold) what waited because of the target is due at once."""

    async def standings(self) -> Mapping[str, Standing]:
        """The states as they are kept now, also as set by commands."""

    async def set_back(self, by: timedelta, *, now: datetime) -> None:
        """The clock was set back by so much: what waits for a time waits no longer for it than it should.

        By more than a day, and it is beyond the horizon of `claim`.
        """

    async def changed(self, timeout: timedelta) -> None:
        """Return soon after something may be new to claim, at the latest after `timeout`; a hint."""

    # looking
    def events(
        self, selector: Selector, *, limit: int = 0, newest: bool = False, after: Any = None
    ) -> AsyncIterator[StoredEvent]:
        """Events in the order of the log; with `newest` the last `limit` of them. `limit` 0: all."""

    async def end(self) -> Any:
        """The cursor of the newest event, for `events(after=…)`."""

    async def find(self, key: str) -> Sequence[StoredEvent]:
        """Events by event id, message id, reference or number as people write it, in the order of the log."""

    async def trace(self, stored: StoredEvent) -> EventTrace:
        """Callbacks, copies, dispatches and attempts of one event."""

    async def stats(self, now: datetime) -> Stats:
        """Counters, exact at any size."""

    def dispatches(self, selector: DispatchSelector, now: datetime) -> AsyncIterator[DispatchLine]:
        """Dead or waiting dispatches, the oldest first."""

    def quarantine(self, ids: Sequence[str] = ()) -> AsyncIterator[Quarantined]:
        """What could not be read, the oldest first."""

    # acts of people
    async def requeue(self, selector: DispatchSelector, now: datetime) -> int:
        """Make dead or waiting dispatches due now; a dead one begins anew with its attempts. How many it were."""

    async def cancel(self, selector: DispatchSelector, now: datetime) -> int:
        """Give dead letters up for good. How many it were."""

    async def replay(self, handler: str, selector: Selector, *, now: datetime, dry_run: bool = False) -> int:
        """Owe stored events to a handler again. How many it are."""

    async def reread(self, quarantined: Quarantined, events: Sequence[Event]) -> Recorded:
        """Store the events that a later reading of a quarantined callback gave, and take it out of quarantine."""

    async def discard(self, ids: Sequence[str]) -> int:
        """Take callbacks out of quarantine for good. How many it were."""

    async def forget(self, handler: str) -> bool:
        """Drop a handler's place, counters and dead letters. False: no such handler."""

    async def rename(self, old: str, new: str) -> bool:
        """Give a handler another name; it keeps its place. False: no such handler, or the new name is taken."""

    async def prune(self, before: datetime, *, simulated: bool = False) -> int:
        """Remove a batch of what was received before, or of what was simulated. 0: nothing is left.

        Nothing that a handler still waits for is removed, nor the newest event.
        """

    async def erase(self, number: str, *, now: datetime, dry_run: bool = False, tell: Tell = quietly) -> Erased:
        """Remove a person's data while others go on: no byte of the number stays but in other people's words.

        Events to or from the number go, with their callbacks, dispatches and attempts. Their places in the log stay
        empty; what handlers had not settled of them is cancelled. Done in batches: what raises is done by a second
        call. With `dry_run` nothing is changed, and what is only found by erasing (`blotted`, `traces`) is not told.
        """

    async def backup(self, path: Path, *, now: datetime, tell: Tell = quietly) -> Backup:
        """Make a folder from which all of this can be restored, as of one moment, while others go on.

        The folder appears whole and verified, or not at all. Raises StoreUnavailable, in words for an operator.
        """

    async def backups(self) -> Sequence[Backup]:
        """The backups that were made of this store and not forgotten, the oldest first."""

    async def forget_backups(self, paths: Sequence[str]) -> None:
        """Take backups off the list; their files are the caller's."""

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
