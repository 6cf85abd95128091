"""`receiver serve` as a whole: sockets, store, callbacks, the dispatch child, and the way it all stops."""

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog

from receiver import http
from receiver.app import App
from receiver.child import CONFIG_FAULT, Child
from receiver.config import Settings
from receiver.errors import StoreUnavailable
from receiver.events import Notice
from receiver.notices import Refusals
from receiver.retention import Reserve, prune_hourly
from receiver.store.sqlite import SqliteStore

READY, STOPPING, STOPPED, UNSTORED = "ready", "stopping", "stopped", "notice_unstored"
QUIET_CHECK = 5.0  # seconds
READY_PATIENCE = 15.0  # seconds that the handlers get before we say that we are ready all the same

log = structlog.get_logger()


def now() -> datetime:
    """The clock of the whole process."""
    return datetime.now(UTC)


class Serving:
    """Everything of one `serve` process."""

    def __init__(
        self,
        settings: Settings,
        *,
        dispatch: Sequence[str],
        ready: Callable[["Serving"], Coroutine[Any, Any, None]],
    ) -> None:
        """`dispatch` is the command that runs the handlers, empty for none; `ready` is called once."""
        self.settings = settings
        self.began = time.monotonic()
        self.addresses: dict[str, str] = {}
        """Where `callbacks` and `admin` are, as people write it."""
        self._dispatch = dispatch
        self._on_ready = ready
        self._refusals = Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._child: Child | None = None
        self._server: http.Server | None = None
        self._stopping = False
        self.store: SqliteStore

    async def run(self) -> int:
        """Serve until stopped. The exit status: 0, or 78 where the handlers' configuration is wrong.

        Raises AddressTaken, StoreTaken, StoreUnusable, StoreUnavailable.
        """
        sockets = self._bind()
        try:
            self.store = await SqliteStore.open(self.settings.store.path, "receive", create=True)
            try:
                return await self._serve(sockets)
            finally:
                await self.store.close()
                log.info(STOPPED)
        finally:
            self._unbind(sockets)

    def stop(self) -> None:
        """Take no more callbacks, finish what is begun, end the handlers, return from `run`."""
        log.info(STOPPING)
        self._stopping = True
        if self._server:
            self._server.stop()

    async def _serve(self, sockets: dict[str, socket.socket]) -> int:
        settings = self.settings
        await self.store.register(list(settings.handlers))
        if self._stopping:
            return 0
        app = App(settings, self.store, clock=now, refused=self._wrong_secret)
        if "admin" in sockets:
            app.admin_is_at(_address(sockets["admin"]))
        self._server = http.Server(app, ready=lambda: self._spawn(self._ready()))
        reserve = Reserve(settings.store.path, settings.store.reserve)
        self._spawn(prune_hourly(self.store, settings.store.keep, reserve, clock=now))
        self._spawn(self._close_refusals())
        handlers = asyncio.create_task(self._run_handlers())
        try:
            await self._server.serve(list(sockets.values()))
        finally:
            if self._child:
                await self._child.stop()
            for task in self._tasks:
                task.cancel()
        return await handlers

    async def _run_handlers(self) -> int:
        """Keep the dispatch process running. 78 where its first start found the configuration wrong."""
        if not self._dispatch:
            return 0
        self._child = Child("dispatch", lambda lifeline: [*self._dispatch, "--lifeline", str(lifeline)])
        status = await self._child.run()
        if status == CONFIG_FAULT and self._server and not self._server.should_exit:
            self._server.stop()
            return CONFIG_FAULT
        return 0

    async def _ready(self) -> None:
        """Say that callbacks are taken, once the handlers have started too."""
        if self._child:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.ready.wait(), READY_PATIENCE)
        await self._on_ready(self)

    def _wrong_secret(self, source: str) -> None:
        if notice := self._refusals.wrong(source, now()):
            self._spawn(self._notify(notice))

    async def _close_refusals(self) -> None:
        while True:
            await asyncio.sleep(QUIET_CHECK)
            for notice in self._refusals.quiet(now()):
                await self._notify(notice)

    async def _notify(self, notice: Notice) -> None:
        try:
            await self.store.notify(notice)
        except StoreUnavailable as fault:
            log.error(UNSTORED, notice=notice.notice, about=notice.about, said=notice.text, reason=str(fault))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _bind(self) -> dict[str, socket.socket]:
        """The listening sockets: those systemd passed, and our own for what it did not."""
        sockets = http.passed_sockets()
        for name, listen in (("callbacks", self.settings.server.listen), ("admin", self.settings.server.admin_listen)):
            if name not in sockets and listen:
                sockets[name] = http.bind(listen.host, listen.port, listen.path)
            if name in sockets:
                self.addresses[name] = _written(sockets[name])
        return sockets

    def _unbind(self, sockets: dict[str, socket.socket]) -> None:
        for listener in sockets.values():
            listener.close()
        for listen in (self.settings.server.listen, self.settings.server.admin_listen):
            if listen.path:
                listen.path.unlink(missing_ok=True)


def _address(listener: socket.socket) -> tuple[str, int | None]:
    name = listener.getsockname()
    return (name, None) if isinstance(name, str) else (name[0], name[1])


def _written(listener: socket.socket) -> str:
    host, port = _address(listener)
    if port is None:
        return f"unix:{host}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def until_stopped(work: Coroutine[Any, Any, int], stop: Callable[[], None], signals: Sequence[int]) -> int:
    """Run until the work ends; signals stop it in an orderly way."""
    loop = asyncio.get_running_loop()
    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        return await work
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def python(*arguments: str) -> list[str]:
    """The command that runs another part of this very receiver."""
    return [sys.executable, "-P", "-m", "receiver", *arguments]
