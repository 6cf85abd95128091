"""Worker processes: start, give events, watch heartbeat and memory, end, and say why one ended."""

import asyncio
import itertools
import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from receiver import pipe, units
from receiver.chatter import Chatter
from receiver.dispatch.hands import GRACE, nobody
from receiver.errors import ConfigFault, HandlerStuck, StartFault
from receiver.events import Event
from receiver.handler import Attempt, HandlerSettings
from receiver.perform import Result
from receiver.precedence import WORKER, stand_behind

STARTED, ENDED = "handler_process_started", "handler_process_ended"
MARK = "RECEIVER_WORKER"
"""A variable in the environment of a worker and of all it starts, so that they can be ended with it."""
WATCH = 0.25
LONGEST_STOP = 1.6
LAST_WORDS = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Which handler a worker is: what stands in its table, and where to look."""

    name: str
    use: str
    table: Mapping[str, Any] = field(repr=False)
    """As written, with secrets as strings or places."""
    file: str = "configuration"
    """Named in faults."""
    folder: Path
    """Relative paths count from here; also the worker's working directory."""
    directory: Path | None = None
    """Of drop-in files."""
    log: Mapping[str, Any] = field(default_factory=dict)
    """Keys of [log]."""


@dataclass(slots=True)
class Call:
    """Events in a worker's hands."""

    count: int
    began: float
    results: "asyncio.Future[list[Result]]"


class WorkerProcess:
    """A handler in a process of its own. What it has in hand when the process ends is `interrupted`.

    It is ended when its loop does not turn for the handler's `timeout` and a grace, when a call goes on that much
    longer than it may, and when it holds more than `max_memory`. It never starts again by itself: `start` does.
    """

    def __init__(
        self, spec: WorkerSpec, *, grace: timedelta = GRACE, longest_start: timedelta = timedelta(seconds=30)
    ) -> None:
        self.settings = HandlerSettings(use=spec.use)
        self.batched = False
        self.alive = False
        self.stuck: HandlerStuck | None = None
        self.on_end: Callable[[], None] = nobody
        self.pid = 0
        self._spec, self._grace, self._longest_start = spec, grace, longest_start
        self._mark = f"{spec.name}-{uuid.uuid4().hex}"
        self._numbers = itertools.count()
        self._calls: dict[int, Call] = {}
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and wait until the handler is open. Raises ConfigFault or StartFault."""
        if self._life:
            await self._life
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.add_done_callback(asyncio.Future.exception)  # whoever waited for it may have been cancelled
        self._killed_for = ""
        self._life = asyncio.create_task(self._live(await self._spawn()))
        try:
            async with asyncio.timeout(self._longest_start.total_seconds()):
                await asyncio.shield(self._ready)
        except TimeoutError:
            self._kill(f"not ready within {units.words(self._longest_start)}")
            raise StartFault(f"not ready within {units.words(self._longest_start)}") from None
        finally:
            if not self.alive:
                self._kill("not started")
        log.info(STARTED, handler=self._spec.name, pid=self.pid)

    async def perform(self, events: Sequence[Event], attempt: Attempt) -> list[Result]:
        """Give the worker events, and wait for what it says of them."""
        loop = asyncio.get_running_loop()
        number = next(self._numbers)
        call = Call(len(events), loop.time(), loop.create_future())
        self._calls[number] = call
        self._lines.write(pipe.call(number, attempt, events))
        try:
            return await call.results
        except asyncio.CancelledError:
            self._lines.write(pipe.line(cancel=number))
            raise
        finally:
            self._calls.pop(number, None)

    async def stop(self) -> None:
        """Let the handler close, then end its process."""
        if not self._life:
            return
        self.alive = False
        self._lines.write(pipe.line(stop=True))
        await asyncio.wait({self._life}, timeout=LONGEST_STOP)
        self._kill("stopped")
        await self._life

    async def _spawn(self) -> asyncio.subprocess.Process:
        ours, theirs = socket.socketpair()
        heard, printed = _output()
        with theirs, printed:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "receiver.worker", str(theirs.fileno())),
                pass_fds=(theirs.fileno(),),
                env={**os.environ, MARK: self._mark},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        self.pid = process.pid
        stand_behind(self.pid, WORKER)
        self._closed = asyncio.Event()
        self._lines = pipe.Lines(self._hear, self._closed.set)
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: self._lines, sock=ours)
        await loop.connect_read_pipe(lambda: Chatter(self._spec.name), heard)
        self._beat_at = loop.time()
        self._lines.write(self._greeting())
        return process

    def _greeting(self) -> bytes:
        spec = self._spec
        facts = {"name": spec.name, "use": spec.use, "table": spec.table, "file": spec.file, "log": spec.log}
        common = {"folder": spec.folder, "directory": spec.directory, "beat": min(1.0, self._grace.total_seconds() / 4)}
        return pipe.line(**facts, **common)

    def _hear(self, said: dict[str, Any]) -> None:
        self._beat_at = asyncio.get_running_loop().time()
        if "call" in said:
            call = self._calls.get(said["call"])
            if call and not call.results.done():
                call.results.set_result([Result(*each) for each in said["results"]])
        elif "settings" in said:
            self.settings = HandlerSettings.model_validate(said["settings"])
        elif "ready" in said:
            self.batched, self.alive = said["batched"], True
            self._ready.set_result(None)
        elif "fault" in said:
            self._refuse(ConfigFault(*said["fault"].splitlines()) if said["config"] else StartFault(said["fault"]))
        elif "dying" in said:
            self._killed_for = self._over_memory()

    def _refuse(self, fault: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(fault)

    async def _live(self, process: asyncio.subprocess.Process) -> None:
        """Watch the process until it has ended; then whatever it had in hand is interrupted."""
        ended = asyncio.ensure_future(process.wait())
        while not (await asyncio.wait({ended}, timeout=WATCH))[0]:
            if self.alive and (why := self._why_end()):
                self._kill(why)
        self._kill_group()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), LAST_WORDS)
        if self._lines.transport:
            self._lines.transport.close()
        self._ended(f"killed: {self._killed_for or exit_words(ended.result())}")

    def _why_end(self) -> str:
        """Why the process must end now; empty where it may go on."""
        now = asyncio.get_running_loop().time()
        patience = (self.settings.timeout + self._grace).total_seconds()
        silent = now - self._beat_at
        oldest = max((now - call.began for call in self._calls.values()), default=0.0)
        if resident(self.pid) > self.settings.max_memory:
            return self._over_memory()
        if silent > patience:
            return f"blocked for {silent:.0f} s"
        if oldest > patience + WATCH:
            return f"a call went on for {oldest:.0f} s"
        return ""

    def _over_memory(self) -> str:
        return f"over max_memory ({units.bytes_words(self.settings.max_memory)})"

    def _kill(self, why: str) -> None:
        if self._life and not self._life.done():
            self._killed_for = self._killed_for or why
            self._kill_group()

    def _kill_group(self) -> None:
        """End the process and all it started; it leads a group of its own."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for pid in marked(self._mark):  # what left the group, as daemons do
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _ended(self, reason: str) -> None:
        was_alive, self.alive = self.alive, False
        if was_alive:
            log.warning(ENDED, handler=self._spec.name, pid=self.pid, reason=reason, calls=len(self._calls))
        self._refuse(StartFault(reason))
        for call in self._calls.values():
            if not call.results.done():
                call.results.set_result([Result("interrupted", reason)] * call.count)
        self.on_end()


def _output() -> tuple[BinaryIO, BinaryIO]:
    """A pipe for what a worker prints: our end and its end."""
    ours, theirs = os.pipe()
    return open(ours, "rb"), open(theirs, "wb")


def marked(mark: str) -> Iterator[int]:
    """The processes that have this mark in their environment, as far as we may see."""
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


def resident(pid: int) -> int:
    """Bytes of memory a process holds now; 0 where there is no such process any more."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def exit_words(status: int) -> str:
    """How a process ended, in words: `exit status 1`, `signal 11 (SIGSEGV)`."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
