"""A process of ours that is kept running, as `serve` keeps `dispatch`, and that ends with us, however we end."""

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import structlog

from receiver.backoff import Delays
from receiver.precedence import DISPATCH, stand_behind
from receiver.supervise import exit_words

STARTED, ENDED, SILENT = "child_started", "child_ended", "child_silent"
TICK = 1.0
"""Seconds between two looks whether the child still speaks."""
STEADY = timedelta(minutes=1)
"""Who ran this long is started again at once."""
CONFIG_FAULT = 78

log = structlog.get_logger()


class Child:
    """Starts a command again whenever it ends: at once, then after delays that double up to a minute.

    The command is given a file descriptor, the lifeline: it reads the end of file when we are gone. It writes lines:
    `ready` once, and where `silence` is given anything at all more often than that, or it is killed as stuck.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[int], Sequence[str]],
        *,
        delays: Delays | None = None,
        steady: timedelta = STEADY,
        silence: timedelta | None = None,
        heard: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """`heard` is given each line that is not `ready`."""
        self.pid = 0
        """0 while it does not run."""
        self.ready = asyncio.Event()
        """Set when it said for the first time that it is ready."""
        self._name, self._command = name, command
        self._delays, self._steady = delays or Delays(), steady
        self._patience = int(silence.total_seconds() / TICK) if silence else None
        self._silent = 0
        self._heard = heard
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._first = True
        self._wanted = False
        """Whether its end is ours to want, for a restart."""

    async def run(self) -> int:
        """Keep it running until `stop`. Returns its last exit status; 78 at once, where its first start says so."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        loop.add_reader(ours, self._hear, ours)
        try:
            self._delays.next()
            while not self._stopping.is_set():
                status = await self._live(theirs.fileno())
                if self._first and status == CONFIG_FAULT:
                    break
                self._first = False
                await self._pause()
        finally:
            loop.remove_reader(ours)
            ours.close()
            theirs.close()
        return status

    async def stop(self, *, within: timedelta = timedelta(seconds=8)) -> None:
        """Ask it to end, and make it end when the time is over."""
        self._stopping.set()
        await self._end(within)

    async def restart(self, *, within: timedelta = timedelta(seconds=8)) -> None:
        """End it in the same way, to be started again at once."""
        self._wanted = True
        self._delays.reset()
        await self._end(within)

    async def _end(self, within: timedelta) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), within.total_seconds())
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _hear(self, ours: socket.socket) -> None:
        self._silent = 0
        for line in ours.recv(65536).decode("utf-8", "replace").splitlines():
            if line == "ready":
                self.ready.set()
            else:
                self._heard(line)

    async def _live(self, lifeline: int) -> int:
        began = asyncio.get_running_loop().time()
        self._process = await asyncio.create_subprocess_exec(
            *self._command(lifeline), pass_fds=(lifeline,), stdin=asyncio.subprocess.DEVNULL, start_new_session=True
        )
        self.pid = self._process.pid
        stand_behind(self.pid, DISPATCH)
        log.info(STARTED, child=self._name, pid=self.pid)
        if self._stopping.is_set():
            self._process.send_signal(signal.SIGTERM)
        status = await self._watch(self._process)
        if not (self._stopping.is_set() or self._wanted):
            log.warning(ENDED, child=self._name, pid=self.pid, reason=exit_words(status))
        self.pid, self._wanted = 0, False
        if asyncio.get_running_loop().time() - began >= self._steady.total_seconds():
            self._delays.reset()
        return status

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        """Its exit status, when it has ended, by itself or because it was silent for too long."""
        ended = asyncio.ensure_future(process.wait())
        self._silent = 0
        while not (await asyncio.wait({ended}, timeout=TICK))[0]:
            self._silent += 1  # our own ticks: where we stood still ourselves, nothing is held against it
            if self._patience and self._silent == self._patience:
                log.error(
                    SILENT, child=self._name, pid=self.pid, seconds=round(self._silent * TICK), note="it is ended"
                )
                with suppress(ProcessLookupError):
                    process.kill()
        return ended.result()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), self._delays.next().total_seconds())


async def parent_gone(lifeline: int) -> None:
    """Return when the process at the other end of a lifeline has ended."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(lifeline, gone.set)
    try:
        await gone.wait()
    finally:
        loop.remove_reader(lifeline)
