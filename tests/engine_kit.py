"""What the tests of "events out" share: a real store, handlers of a few lines, and waiting with a deadline."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from factories import callback, reports

from drills.waiting import until
from receiver import BaseHandler
from receiver.dispatch import Dispatcher
from receiver.dispatch.hands import Hands, InProcess
from receiver.events import Event
from receiver.handler import Attempt
from receiver.store.sqlite import SqliteStore
from receiver.store.views import DispatchLine, HandlerStats
from receiver.supervise import WorkerProcess, WorkerSpec

QUICK: dict[str, Any] = {
    "look": timedelta(seconds=0.02),
    "again": timedelta(seconds=0.02),
    "first_delay": timedelta(seconds=0.02),
    "longest_delay": timedelta(seconds=0.05),
    "finish": timedelta(seconds=0.2),
}
"""The engine's waits, shortened."""


class Scripted(BaseHandler):
    """A handler that does what a test says: `act` is called with each event; what it saw is in `seen`."""

    def __init__(
        self, act: Callable[[Event, Attempt], Any] | None = None, *, name: str = "crm", **settings: Any
    ) -> None:
        super().__init__(name, BaseHandler.Settings(use="scripted", **settings), structlog.get_logger())
        self.act = act
        self.seen: list[tuple[str | None, Attempt]] = []
        self.running = self.most = 0
        self.closed = False

    async def handle(self, event: Event, attempt: Attempt) -> Any:
        self.seen.append((event.message_id, attempt))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            answer = self.act(event, attempt) if self.act else None
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self.running -= 1

    async def close(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[str | None]:
        """The message ids it was given, in order."""
        return [message_id for message_id, _ in self.seen]


class Batched(BaseHandler):
    """A handler of batches that keeps them."""

    def __init__(
        self, act: Callable[[Sequence[Event]], Any] | None = None, *, name: str = "crm", **settings: Any
    ) -> None:
        super().__init__(name, BaseHandler.Settings(use="batched", **settings), structlog.get_logger())
        self.act = act
        self.batches: list[list[str | None]] = []

    async def handle_batch(self, events: Sequence[Event], attempt: Attempt) -> Any:
        self.batches.append([event.message_id for event in events])
        return self.act(events) if self.act else None


class Yard:
    """A store with events, and a dispatcher that can be started on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shift = timedelta(0)
        """By how much the wall clock was set."""
        self.lives = 0

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path) -> AsyncIterator["Yard"]:
        yard = cls(folder)
        yard.receive = await SqliteStore.open(folder / "receiver.db", "receive", create=True)
        yard.store = await SqliteStore.open(folder / "receiver.db", "dispatch", create=True)
        yard.command = await SqliteStore.open(folder / "receiver.db", "command")
        try:
            yield yard
        finally:
            for store in (yard.command, yard.store, yard.receive):
                await store.close()

    receive: SqliteStore
    store: SqliteStore
    command: SqliteStore

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.shift

    async def add(self, *events: Event) -> list[str]:
        """Store events; their ids."""
        recorded = [await self.receive.record(callback(event), [event]) for event in events]
        return [event_id for each in recorded for event_id in each.events]

    async def add_reports(self, count: int, **changes: Any) -> list[str]:
        """Store reports m-1 to m-<count>."""
        return await self.add(*reports(count, **changes))

    async def enrol(self, *names: str) -> None:
        """Give handlers their place before events are stored."""
        await self.receive.register(names)

    @asynccontextmanager
    async def dispatching(self, *handlers: Any, store: Any = None, **waits: Any) -> AsyncIterator[Dispatcher]:
        """Run a dispatcher with these handlers or worker processes until the block ends; each time a new life."""
        if self.lives:
            await self.store.close()
            self.store = await SqliteStore.open(self.folder / "receiver.db", "dispatch")
        self.lives += 1
        hands: dict[str, Hands] = {}
        for each in handlers:
            if isinstance(each, WorkerProcess):
                hands[each._spec.name] = each
            else:
                hands[each.name] = InProcess(each, grace=timedelta(seconds=0.2))
        dispatcher = Dispatcher(
            store or self.store,
            hands,
            owner=f"life-{self.lives}",
            clock=self.clock,
            random=lambda: 0.5,
            **(QUICK | waits),
        )
        await dispatcher.start()
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
        finally:
            dispatcher.stop()
            await running

    async def counters(self, handler: str = "crm") -> HandlerStats:
        """A handler's counters; they balance at any time."""
        (found,) = [one for one in (await self.command.stats(self.clock())).handlers if one.handler == handler]
        parts = (found.done, found.filtered, found.cancelled, found.pending, found.running, found.dead)
        assert found.received == sum(parts), found
        return found

    async def done(self, count: int, handler: str = "crm") -> HandlerStats:
        """Wait until a handler has done so many."""

        async def has() -> HandlerStats | None:
            found = await self.counters(handler)
            return found if found.done >= count else None

        found = await until(has)
        assert found.done == count
        return found

    async def line(self, event_id: str, handler: str = "crm") -> DispatchLine:
        """What a handler did with an event."""
        (stored,) = await self.command.find(event_id)
        (found,) = [one for one in (await self.command.trace(stored)).dispatches if one.handler == handler]
        return found


def throw(fault: BaseException) -> Any:
    """Raise it, where only an expression can stand."""
    raise fault


async def one_dead(yard: Yard, handler: str = "crm") -> bool:
    """Whether a handler has its one dead letter."""
    return (await yard.counters(handler)).dead == 1


async def stands(yard: Yard, state: str) -> bool:
    """Whether crm is in this state."""
    return (await yard.counters()).state == state


async def retried(yard: Yard, event_id: str) -> DispatchLine | None:
    """What crm did with an event, once it waits to be tried again."""
    line = await yard.line(event_id)
    return line if line.attempts and line.due_at else None


def worker(folder: Path, code: str, *, name: str = "own", grace: float = 0.4, **table: Any) -> WorkerProcess:
    """A worker process whose handler is this file."""
    drop_ins = folder / "handlers.d"
    drop_ins.mkdir(exist_ok=True)
    path = drop_ins / f"{name}.py"
    path.write_text(code)
    path.chmod(0o644)
    spec = WorkerSpec(
        name=name, use=name, table={"use": name, **table}, folder=folder, directory=drop_ins, log={"format": "json"}
    )
    return WorkerProcess(spec, grace=timedelta(seconds=grace))


async def number_from(stream: asyncio.StreamReader) -> int:
    """The first line of a program that is a number, whatever its log writes around it."""
    while line := (await stream.readline()).decode():
        if line.strip().isdigit():
            return int(line)
    raise AssertionError("the program said no number")
