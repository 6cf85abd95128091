"""Notices: what the receiver has to say about itself, opened when something goes wrong and closed when it is over."""

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from receiver import numbers, units
from receiver.dispatch.standing import HELD, PAUSED
from receiver.errors import StoreUnavailable
from receiver.events import Notice
from receiver.store.base import Store
from receiver.store.views import HandlerStats, Stats

UNSTORED, WATCH_FAILED = "notice_unstored", "notices_failed"
DOWN_AFTER = timedelta(minutes=5)
LATE_AFTER = timedelta(minutes=10)
LEAST_FREE, LEAST_FREE_SHARE = 1024**3, 0.10
ENOUGH = 1.1
"""A disk has room again when it has this much more than the least: a notice must not flutter."""
WRONG_SECRETS = 5
REFUSED_WITHIN = timedelta(minutes=10)

log = structlog.get_logger()


class Disk(NamedTuple):
    """The file system of the store, in bytes."""

    free: int
    size: int

    def is_low(self, *, already: bool) -> bool:
        """Whether less than a tenth or less than 1 GiB is free."""
        margin = ENOUGH if already else 1.0
        return self.free < LEAST_FREE * margin or self.free < self.size * LEAST_FREE_SHARE * margin


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong now."""

    notice: str
    about: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    level: str = "warning"

    @property
    def key(self) -> tuple[str, str]:
        """There is at most one open notice for it."""
        return self.notice, self.about


def disk_of(path: Path) -> Disk:
    """The file system that holds a path, as those see it who are not root."""
    found = os.statvfs(path)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def troubles(
    stats: Stats, now: datetime, *, patience: Mapping[str, timedelta], down_after: timedelta, late_after: timedelta
) -> Iterator[Trouble]:
    """What the store's figures say is wrong (pure). A handler may be `patience` later than others: it gathers."""
    for handler in stats.handlers:
        if handler.state == "absent":
            continue
        yield from _down(handler, now, down_after)
        yield from _late(handler, now, late_after + patience.get(handler.handler, timedelta(0)))
        yield from _dead(handler)
    for source, count in stats.quarantine.items():
        if count:
            many = _count(count, "callback")
            text = f"{many} from {source} could not be read and {_are(count)} kept. receiver quarantine"
            yield Trouble("quarantine", source, text, {"callbacks": count})


def _down(handler: HandlerStats, now: datetime, after: timedelta) -> Iterator[Trouble]:
    name, since, waiting = handler.handler, handler.standing.since, _count(handler.pending, "event")
    facts = {"pending": handler.pending, "last_error": numbers.mask_in(handler.standing.last_error)}
    still = f"{waiting} {'waits' if handler.pending == 1 else 'wait'}, nothing is lost."
    if handler.state == PAUSED:
        why = f": {reason}" if (reason := numbers.mask_in(handler.standing.reason)) else ""
        text = f"{name} is paused{why} — {still} receiver handlers resume {name}"
        yield Trouble("handler_down", name, text, facts, since)
    elif handler.state == HELD and since and now - since > after:
        yield Trouble(
            "handler_down",
            name,
            f"{name} has not answered since {_clock(since)} — {still} receiver handlers",
            facts,
            since,
        )


def _late(handler: HandlerStats, now: datetime, after: timedelta) -> Iterator[Trouble]:
    oldest = handler.oldest_pending_at
    if oldest and now - oldest > after:
        text = (
            f"{handler.handler} is behind: the oldest of {_count(handler.pending, 'waiting event')} is from "
            f"{_clock(oldest)}, nothing is lost. receiver pending"
        )
        facts = {"pending": handler.pending, "last_error": numbers.mask_in(handler.standing.last_error)}
        yield Trouble("handler_late", handler.handler, text, facts, oldest)


def _dead(handler: HandlerStats) -> Iterator[Trouble]:
    if handler.dead:
        many = _count(handler.dead, "dead letter")
        text = f"{handler.handler} has {many}: nobody tries again unless asked. receiver dead"
        facts = {"dead": handler.dead, "last_error": numbers.mask_in(handler.standing.last_error)}
        yield Trouble("dead_letters", handler.handler, text, facts)


def _low(disk: Disk) -> Trouble:
    text = (
        f"The disk of the store has {units.bytes_words(disk.free)} left of {units.bytes_words(disk.size)}; "
        "when it is full, callbacks are answered 503. Make room, or: receiver prune"
    )
    return Trouble("disk_low", "disk", text, {"free_bytes": disk.free, "size_bytes": disk.size})


ENDINGS = {
    "handler_down": "{about} answers again{after}.",
    "handler_late": "{about} has caught up{after}.",
    "dead_letters": "{about} has no dead letters any more.",
    "quarantine": "Nothing of {about} is in quarantine any more.",
    "disk_low": "The disk of the store has room again{after}.",
    "refused": "Nobody has called {about} with a wrong secret for ten minutes.",
}


class Notices:
    """Looks at the figures, opens a notice for what is wrong and closes it when it is over."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], datetime],
        disk: Callable[[], Disk] | None = None,
        patience: Mapping[str, timedelta] | None = None,
        every: timedelta = timedelta(seconds=5),
        down_after: timedelta = DOWN_AFTER,
        late_after: timedelta = LATE_AFTER,
    ) -> None:
        self._store, self._clock, self._disk = store, clock, disk
        self._patience, self._every = patience or {}, every
        self._after = {"down_after": down_after, "late_after": late_after}
        self._open: dict[tuple[str, str], Trouble] | None = None
        self._unstored: dict[tuple[str, str, str], str] = {}

    @property
    def unstored(self) -> str:
        """Why a notice could not be stored; empty where all are."""
        return next(iter(self._unstored.values()), "")

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.look()
            except StoreUnavailable as fault:
                log.debug(WATCH_FAILED, reason=str(fault))  # the store says it louder
            except Exception:  # a watch that ends at its first mishap watches nothing
                log.exception(WATCH_FAILED)
            await asyncio.sleep(self._every.total_seconds())

    async def look(self) -> None:
        """One look. Raises StoreUnavailable where the figures cannot be had."""
        now = self._clock()
        stats = await self._store.stats(now)
        found = {each.key: each for each in self._found(stats, now)}
        if self._open is None:  # what was open when the process before us ended
            self._open = {(kind, about): Trouble(kind, about, "") for kind, about in _possible(stats)}
            for key in found:
                self._open.pop(key, None)
        for key, trouble in found.items():
            if key not in self._open and await self._tell(_opened(trouble, now)):
                self._open[key] = trouble
        for key in [key for key in self._open if key not in found]:
            if await self._tell(closed(self._open[key], now)):
                del self._open[key]

    def _found(self, stats: Stats, now: datetime) -> Iterator[Trouble]:
        yield from troubles(stats, now, patience=self._patience, **self._after)
        if self._disk:
            disk = self._disk()
            if disk.is_low(already=("disk_low", "disk") in (self._open or {})):
                yield _low(disk)

    async def _tell(self, notice: Notice) -> bool:
        """Whether it is stored; logged once where it cannot be."""
        key = (notice.notice, notice.about, notice.state)
        try:
            await self._store.notify(notice)
        except StoreUnavailable as fault:
            if key not in self._unstored:
                log.error(UNSTORED, notice=notice.notice, about=notice.about, said=notice.text, reason=str(fault))
            self._unstored[key] = str(fault)
            return False
        self._unstored.pop(key, None)
        return True


class Refusals:
    """Counts wrong secrets at known sources: five within ten minutes open `refused`, ten quiet minutes close it."""

    def __init__(self, *, within: timedelta = REFUSED_WITHIN, most: int = WRONG_SECRETS) -> None:
        self._within, self._most = within, most
        self._seen: dict[str, deque[datetime]] = {}
        self._open: dict[str, Trouble] = {}

    def wrong(self, source: str, now: datetime) -> Notice | None:
        """A wrong secret at a known source; the notice to store, where this opens one."""
        seen = self._seen.setdefault(source, deque(maxlen=self._most))
        seen.append(now)
        if source in self._open or len(seen) < self._most or now - seen[0] > self._within:
            return None
        text = (
            f"Somebody calls {source} with a secret that is none of ours. If it is the provider, compare: receiver urls"
        )
        self._open[source] = Trouble("refused", source, text, {"refused": len(seen)}, seen[0])
        return _opened(self._open[source], now)

    def quiet(self, now: datetime) -> list[Notice]:
        """The notices to store for sources that have been quiet long enough; to be asked every few seconds."""
        over = [source for source in self._open if now - self._seen[source][-1] >= self._within]
        return [closed(self._open.pop(source), now) for source in over]


def closed(trouble: Trouble, now: datetime) -> Notice:
    """The end of a notice."""
    after = f" after {units.words(now - trouble.since)}" if trouble.since and now > trouble.since else ""
    text = ENDINGS[trouble.notice].format(about=trouble.about, after=after)
    return _notice(trouble, now, state="closed", text=text, facts={}, level="info")


def _opened(trouble: Trouble, now: datetime) -> Notice:
    facts = {name: value for name, value in trouble.facts.items() if value != ""}
    return _notice(trouble, now, state="open", text=trouble.text, facts=facts, level=trouble.level)


def _notice(trouble: Trouble, now: datetime, *, state: str, text: str, facts: dict[str, Any], level: str) -> Notice:
    return Notice(
        notice=trouble.notice,
        about=trouble.about,
        level=level,
        state=state,
        since=(trouble.since or now).replace(microsecond=0),
        text=text,
        facts=facts,
        received_at=now,
    )


def _possible(stats: Stats) -> Iterable[tuple[str, str]]:
    """All that may be open in the store about what is known now."""
    for handler in stats.handlers:
        for notice in ("handler_down", "handler_late", "dead_letters"):
            yield notice, handler.handler
    for source in {each.source for each in stats.sources} | set(stats.quarantine):
        yield "quarantine", source
    yield "disk_low", "disk"


def _clock(moment: datetime) -> str:
    """As on the wall of the machine."""
    return f"{moment.astimezone():%H:%M}"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}".replace(",", " ")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
