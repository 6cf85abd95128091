"""A thread of its own with both files open: jobs run there one after the other, those that write share transactions."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from receiver.errors import ReceiverError, StoreUnavailable
from receiver.store.sqlite import files

LEAVE = 2.0  # seconds that what is begun gets when we stop; a disk that hangs for longer must not hold up the end
TICK = 0.005  # seconds between two transactions while there is work: what comes meanwhile goes into one
LONGEST = 0.005  # seconds after which a transaction takes no further job: small ones must not wait for large ones
SMALL = 16  # events that a job is about; up to so many it goes before larger ones

END = "SELECT max(coalesce((SELECT max(position) FROM events), 0), coalesce((SELECT max(position) FROM erased), 0))"

T = TypeVar("T")


class Connections:
    """The dispatch file, writable where asked for, and the log, for reading. `end` is the log's newest position."""

    def __init__(self, path: Path, *, writing: bool, durable: bool = False) -> None:
        self.path = path
        self.dispatch = files.connect(files.dispatch_path(path), "dispatch", reading=not writing)
        try:
            if durable:
                self.dispatch.execute("PRAGMA synchronous=FULL")
            self.log = files.connect(path, "log", reading=True)
        except BaseException:
            self.dispatch.close()
            raise

    def end(self) -> int:
        """The newest position of the log, also of an erased event; 0 where nothing was ever stored."""
        return int(self.log.execute(END).fetchone()[0])

    def void(self, position: int) -> int:
        """How many places from this one on are empty, because their events were erased."""
        return int(self.log.execute("SELECT count(*) FROM erased WHERE position >= ?", (position,)).fetchone()[0])

    def close(self) -> None:
        """Close both."""
        self.dispatch.close()
        self.log.close()


Job = Callable[[Connections], T]


@dataclass(slots=True)
class _Waiting(Generic[T]):
    job: Job[T]
    done: "asyncio.Future[T]"
    size: int


class Desk:
    """Runs jobs. A job that raises a ReceiverError or a bug's exception gets it back; the others are not touched."""

    def __init__(self, path: Path, *, writing: bool, durable: bool = False) -> None:
        """With `durable` what is written is on disk when `write` returns; else a power cut may take it."""
        self._path = path
        self._writing, self._durable = writing, durable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk")
        self._files: Connections | None = None
        self._jobs: list[_Waiting[Any]] = []
        self._kick = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = self._gone = self._passed = False

    async def open(self) -> None:
        """Open both files, and take writing jobs where this desk writes."""
        await self.read(lambda _: None)
        if self._writing and self._task is None:
            self._task = asyncio.create_task(self._run(), name="desk")

    async def close(self) -> None:
        """Finish the jobs that wait, close the files; within two seconds, whatever the disk does. Once is enough."""
        if self._gone:
            return
        self._closed = True
        self._kick.set()
        try:
            async with asyncio.timeout(LEAVE):
                if self._task:
                    await asyncio.shield(self._task)
                await asyncio.wrap_future(self._let_go())
        except TimeoutError:
            self._thread.shutdown(wait=False)
        else:
            self._thread.shutdown()

    def abandon(self) -> None:
        """Close the files, whatever waits."""
        if not self._gone:
            self._let_go().result()
            self._thread.shutdown(wait=True)

    def _let_go(self) -> "Future[None]":
        if self._task:
            self._task.cancel()
        self._gone = True
        held, self._files = self._files, None
        return self._thread.submit(held.close if held else lambda: None)

    async def read(self, job: Job[T]) -> T:
        """Run a job that does not write, as soon as the thread is free."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, job)

    async def write(self, job: Job[T], *, size: int = 1) -> T:
        """Run a job that is about so many events in one of the next transactions; returns after its commit."""
        if self._closed:
            raise StoreUnavailable("the receiver is stopping")
        waiting: _Waiting[T] = _Waiting(job, asyncio.get_running_loop().create_future(), size)
        self._jobs.append(waiting)
        self._kick.set()
        return await waiting.done

    async def _run(self) -> None:
        while self._jobs or not self._closed:
            await self._kick.wait()
            self._kick.clear()
            if not self._jobs:
                continue
            jobs = self._next()
            results = await asyncio.get_running_loop().run_in_executor(self._thread, self._turn, jobs)
            begun = {id(waiting) for waiting in jobs[: len(results)]}
            self._jobs = [waiting for waiting in self._jobs if id(waiting) not in begun]
            for waiting, (result, fault) in zip(jobs, results, strict=False):
                if waiting.done.done():
                    continue
                if fault is not None:
                    waiting.done.set_exception(fault)
                else:
                    waiting.done.set_result(result)
            if self._jobs:
                self._kick.set()
            await asyncio.sleep(0 if self._jobs else TICK)

    def _next(self) -> list[_Waiting[Any]]:
        """What is taken now: small jobs by themselves, but not twice in a row past others; else the oldest first."""
        small = [waiting for waiting in self._jobs if waiting.size <= SMALL]
        self._passed = bool(small) and len(small) < len(self._jobs) and not self._passed
        return small if self._passed else self._jobs[:1] + sorted(self._jobs[1:], key=lambda waiting: waiting.size)

    def _turn(self, jobs: Sequence[_Waiting[Any]]) -> list[tuple[Any, BaseException | None]]:
        """The first jobs in one transaction; where one fails, each in one of its own, unless it is the store's."""
        try:
            return [(result, None) for result in self._together(jobs)]
        except Exception as fault:
            if len(jobs) == 1 or files.is_the_stores(fault.__cause__):
                return [(None, fault)] * len(jobs)
        return [self._turn([waiting])[0] for waiting in jobs]

    def _together(self, jobs: Sequence[_Waiting[Any]]) -> list[Any]:
        def run(at: Connections) -> list[Any]:
            at.dispatch.execute("BEGIN IMMEDIATE")
            try:
                results = _while_short(jobs, at)
                at.dispatch.execute("COMMIT")
            except BaseException:
                if at.dispatch.in_transaction:
                    at.dispatch.execute("ROLLBACK")
                raise
            return results

        return self._guarded(run)

    def _guarded(self, job: Job[T]) -> T:
        """In the thread: with open files, and SQLite's errors in words. Broken files are opened anew the next time."""
        try:
            self._files = self._files or Connections(self._path, writing=self._writing, durable=self._durable)
            return job(self._files)
        except ReceiverError:
            raise
        except sqlite3.Error as fault:
            if self._files and files.code(fault) not in files.HARMLESS:
                with contextlib.suppress(sqlite3.Error):
                    self._files.close()
                self._files = None
            raise files.unavailable(fault, self._path) from fault


def _while_short(jobs: Sequence[_Waiting[Any]], at: Connections) -> list[Any]:
    """The results of the first job, and of those behind it for which there is time."""
    results: list[Any] = []
    until = time.monotonic() + LONGEST
    for waiting in jobs:
        results.append(waiting.job(at))
        if time.monotonic() >= until:
            break
    return results
