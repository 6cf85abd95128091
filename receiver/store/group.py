"""Group commit: callbacks wait while a commit runs, and all that came meanwhile go into the next one together."""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from receiver.callback import Callback
from receiver.errors import StoreUnavailable
from receiver.events import Event
from receiver.store.base import Recorded
from receiver.store.plan import Entry, Place, Plan

MOST_ENTRIES = 512  # callbacks in one commit
MOST_WAITING = 4096  # callbacks, and
MOST_BYTES = 64 * 1024**2  # bytes of them, that may wait for a commit before others are refused
STUCK = 2.0  # seconds after which a commit that does not end lets nobody else wait
PATIENCE = 4.0  # seconds after which those who wait for it are told that it failed
LEAVE = 2.0  # seconds that what is begun gets when we stop; what hangs for longer must not hold up the end
LATER = 0.2  # seconds that marks and counts may wait for a commit of their own
# Turns of the loop between a commit and the next, so that those just answered can be in the next one.
TURNS = 16


class Later(NamedTuple):
    """What no answer waits for, and goes along with a later commit: fates of answers, counts of refused requests."""

    marks: list[tuple[str, bytes, Place]]
    refused: Counter[str]


class GroupCommit(ABC):
    """One commit at a time. What a commit is, and how long it has taken so far, the database says that derives it."""

    waits_for = "the disk"
    """What a commit waits for, in words."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None
        self._kick = asyncio.Event()
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._alone: list[Entry] = []
        self._marks: list[tuple[str, bytes, Place]] = []
        self._refused: Counter[str] = Counter()
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._look_first = True
        """Whether what repeats has to be looked for before anything is written."""
        self._turned = time.monotonic()

    @abstractmethod
    async def _store(self, batch: Sequence[Entry], later: Later) -> Plan:
        """Write a batch, each event once; durable on return. Raises StoreUnavailable; another error is a row's."""

    @abstractmethod
    async def _write_later(self, later: Later) -> None:
        """A commit for marks and counts alone. Raises StoreUnavailable."""

    @abstractmethod
    async def _let_go(self) -> None:
        """Close what commits go through."""

    @abstractmethod
    def _abandon(self) -> None:
        """Let go of it as a crash would."""

    @abstractmethod
    def busy_for(self) -> float:
        """Seconds that the present commit has taken so far."""

    @abstractmethod
    def turned(self) -> float:
        """When a commit last ended, well or not, on the monotonic clock."""

    def begin(self) -> None:
        """Begin to take callbacks."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="log-writer")

    async def close(self) -> None:
        """Refuse what comes, finish what waits, let go; within three seconds, whatever the disk does."""
        self._closing = True
        self._kick.set()
        try:
            async with asyncio.timeout(LEAVE):
                if self._task:
                    await asyncio.shield(self._task)
                await self._let_go()
        except TimeoutError:
            self._refuse((), StoreUnavailable("the receiver is stopping"))
            self.abandon()

    def abandon(self) -> None:
        """Let go of everything as a crash would: nothing that waits is finished."""
        if self._task:
            self._task.cancel()
        self._abandon()

    def refusal(self) -> str | None:
        """Why nothing can be taken at this moment."""
        if self._closing:
            return "the receiver is stopping"
        if len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_BYTES:
            return f"overloaded: {len(self._waiting)} callbacks wait for {self.waits_for}"
        if (busy := self.busy_for()) > STUCK:
            return self._stuck_for(busy)
        return None

    def submit(
        self, callback: Callback, events: Sequence[Event], fault: str, recorded: asyncio.Future[Recorded]
    ) -> None:
        """Have it written with the next commit; `recorded` is told what became of it, once that is durable."""
        if reason := self.refusal():
            recorded.set_exception(StoreUnavailable(reason))
            return
        entry = Entry(callback, events, fault, recorded)
        self._waiting.append(entry)
        self._waiting_bytes += entry.bytes
        self._kick.set()

    async def record(self, callback: Callback, events: Sequence[Event], fault: str) -> Recorded:
        """The same, awaited."""
        recorded: asyncio.Future[Recorded] = self._loop.create_future()
        self.submit(callback, events, fault, recorded)
        return await recorded

    def mark(self, recorded: Recorded, *, answered: bool) -> None:
        """With a later commit."""
        fate = "answered" if answered else "unanswered"
        self._marks += [(fate, digest, place) for digest, place in recorded.uncertain]
        self._soon()

    def refused(self, source: str, count: int) -> None:
        """With a later commit."""
        self._refused[source] += count
        self._soon()

    def idle_for(self) -> float:
        """Seconds since the commit loop last turned; a failed commit is a turn."""
        return time.monotonic() - max(self._turned, self.turned())

    async def _run(self) -> None:
        """One commit after the other, until closed and empty."""
        while self._waiting or self._alone or not self._closing:
            if not (self._waiting or self._alone):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._kick.wait(), 1.0)
            self._kick.clear()
            self._turned = time.monotonic()
            if self._waiting or self._alone:
                await self._back(await self._commit())
            elif self._marks or self._refused:
                await self._flush()
        await self._flush()

    async def _back(self, answered: int) -> None:
        """Give those just answered some turns to come again, so that they are in the next commit too."""
        expected = len(self._waiting) + answered
        for _ in range(TURNS):
            if len(self._waiting) >= expected:
                break
            await asyncio.sleep(0)

    async def _commit(self) -> int:
        """One batch: in the database, and then, not before, told to those who wait for it. How many they were."""
        most = MOST_ENTRIES
        if self._alone:
            self._waiting[:0], self._alone, most = [self._alone[0]], self._alone[1:], 1
        batch, self._waiting = self._waiting[:most], self._waiting[most:]
        self._waiting_bytes = sum(entry.bytes for entry in self._waiting)
        alarm = self._loop.call_later(PATIENCE, self._give_up, batch)
        later = self._take_later()
        try:
            plan = await self._store(batch, later)
        except StoreUnavailable as fault:
            self._look_first = True
            self._put_back(later)
            self._refuse(batch, fault)
        except Exception as fault:  # a row that cannot be written must not cost the others, nor end this loop
            self._put_back(later)
            self._part(batch, fault)
        else:
            self._tell(batch, plan)
            self._wake()
        finally:
            alarm.cancel()
        return len(batch)

    def _tell(self, batch: Sequence[Entry], plan: Plan) -> None:
        for entry, recorded in zip(batch, plan.answers, strict=True):
            if not entry.done.done():
                entry.done.set_result(recorded)
            else:  # it was told 503 before the disk was done, so its answer did not get out
                self.mark(recorded, answered=False)

    def _part(self, batch: Sequence[Entry], fault: Exception) -> None:
        """Have each of a batch tried alone; one that cannot be stored alone goes to quarantine."""
        if len(batch) == 1 and batch[0].fault:
            self._refuse(batch, StoreUnavailable(f"{type(fault).__name__}: {fault}"))
            return
        if len(batch) == 1:
            batch[0].quarantine(f"cannot be stored: {type(fault).__name__}: {fault}"[:300])
        self._alone += batch

    def _refuse(self, batch: Sequence[Entry], fault: StoreUnavailable) -> None:
        """Tell a batch that it is not stored, and all who wait behind it too."""
        behind, self._waiting, self._waiting_bytes = self._waiting, [], 0
        for entry in (*batch, *behind):
            if not entry.done.done():
                entry.done.set_exception(fault)

    def _give_up(self, batch: Sequence[Entry]) -> None:
        """It does not come back: those who wait are answered, whatever becomes of the write."""
        self._refuse(batch, StoreUnavailable(self._stuck_for(PATIENCE)))

    def _stuck_for(self, seconds: float) -> str:
        return f"{self.waits_for} has not finished a write for {seconds:.0f} s"

    def _take_later(self) -> Later:
        later = Later(self._marks, self._refused)
        self._marks, self._refused = [], Counter()
        return later

    def _put_back(self, later: Later) -> None:
        self._marks = later.marks + self._marks
        self._refused.update(later.refused)

    async def _flush(self) -> None:
        """A commit for marks and counts alone; what cannot be written now stays for a later one."""
        later = self._take_later()
        if not (later.marks or later.refused):
            return
        try:
            await self._write_later(later)
        except StoreUnavailable as fault:
            self._put_back(later)
            self._refuse((), fault)  # who came meanwhile has waited as long
            self._soon()

    def _soon(self) -> None:
        """Have marks and counts written, if no callback comes that takes them along."""
        if self._timer is None or self._timer.when() < self._loop.time():
            self._timer = self._loop.call_later(LATER, self._kick.set)
