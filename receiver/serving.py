"""`receiver serve` as a whole: sockets, store, callbacks, the dispatch child, and the way it all stops."""

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from receiver import http, listening
from receiver.app import App
from receiver.child import CONFIG_FAULT, Child
from receiver.config import Settings
from receiver.errors import StoreUnavailable
from receiver.events import Notice
from receiver.liveness import Liveness
from receiver.notices import Refusals
from receiver.patience import patiently
from receiver.reloading import RELOADED, Reloading
from receiver.retention import Reserve, prune_hourly
from receiver.storing import store_of
from receiver.systemd import Systemd

READY, STOPPING, STOPPED, NOT_STORED = "ready", "stopping", "stopped", "notice_unstored"
UNSTORED = "unstored"
"""How a line of the dispatch process begins that says why it cannot store a notice."""
FIXED = ("server.listen", "server.admin_listen", "server.admin_token", "store.url", "store.reserve", "log")
"""What a reload does not change."""
RUBBISH = 10_000  # new objects between two looks for rubbish: a batch of callbacks is thousands, and none of it is any
QUIET_CHECK = 5.0  # seconds
READY_PATIENCE = 15.0  # seconds that the handlers get before we say that we are ready all the same
CHILD_STOP = timedelta(seconds=7)  # the dispatch process takes less than six
SILENCE = timedelta(seconds=20)  # without a sign of life the dispatch process is stuck

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
        reloading: Reloading,
    ) -> None:
        """`dispatch` is the command that runs the handlers, empty for none; `ready` is called once."""
        self._reloading = reloading
        self.settings = settings
        self.began = time.monotonic()
        self.addresses: dict[str, str] = {}
        """Where `callbacks` and `admin` are, as people write it."""
        self.store = store_of(settings.store, "receive")
        self._dispatch = dispatch
        self._on_ready = ready
        self._refusals = Refusals()
        self._notices: list[Notice] = []
        """What waits to be stored."""
        self._systemd = Systemd()
        self._tasks: set[asyncio.Task[None]] = set()
        self._child: Child | None = None
        self._server: http.Server | None = None
        self._listening = asyncio.Event()
        self._bound: list[Path] = []
        self._stopping = False

    async def run(self) -> int:
        """Serve until stopped. The exit status: 0, or 78 where the handlers' configuration is wrong.

        Raises AddressTaken, StoreTaken, StoreUnusable. A store that cannot take anything now is waited for, while
        callbacks are answered 503.
        """
        http.allow_connections()
        sockets = self._bind()
        self._app = App(self.settings, self.store, clock=now, refused=self._wrong_secret)
        try:
            with contextlib.suppress(StoreUnavailable):
                await self._open()
            return 0 if self._stopping else await self._serve(sockets)
        finally:
            await self.store.close()
            self._unbind(sockets)
            log.info(STOPPED)

    def reload(self) -> None:
        """Go on with the configuration as it is now, if it is sound: sources, limits, handlers, `keep`."""
        self._spawn(self._reload())

    async def _reload(self) -> None:
        self._systemd.reloading()
        try:
            await self._take_over()
        finally:
            self._systemd.ready()

    async def _take_over(self) -> None:
        settings = await self._reloading.settings()
        self._app.meter.configuration_ok = settings is not None
        if settings is None:
            return
        fixed = [key for key in FIXED if _value(settings, key) != _value(self.settings, key)]
        self.settings = settings
        if not self._app.intake.closed:  # else the patient opening gives the handlers their places
            await patiently(lambda: self.store.register(list(settings.handlers)))
        self._app.adopt(settings)
        log.info(RELOADED, **({"at_the_next_start": fixed} if fixed else {}))
        if self._child:
            await self._child.restart(within=CHILD_STOP)

    def stop(self) -> None:
        """Take no more callbacks, finish what is begun, end the handlers, return from `run`."""
        log.info(STOPPING)
        self._systemd.stopping()
        self._stopping = True
        if self._server:
            self._server.stop()
        if self._child:  # at once: what a target keeps it waiting for goes on beside what is being answered here
            self._spawn(self._child.stop(within=CHILD_STOP))

    async def _open(self) -> None:
        """Open the store and give new handlers their place: the first callback is owed to them. May be tried again."""
        try:
            await self.store.start(create=True)
            await self.store.register(list(self.settings.handlers))
        except StoreUnavailable as fault:
            self._app.intake.closed = str(fault)
            raise
        self._app.intake.closed = ""

    async def _serve(self, sockets: dict[str, socket.socket]) -> int:
        if "admin" in sockets:
            self._app.admin_is_at(_address(sockets["admin"]))
        self._server = server = http.Server(self._app, ready=self._listening.set)
        handlers = asyncio.create_task(self._run_handlers())
        working = asyncio.create_task(self._work())
        working.add_done_callback(lambda _: server.stop())
        try:
            await server.serve(list(sockets.values()))
        finally:
            if self._child:
                await self._child.stop(within=CHILD_STOP)
            for task in (working, *self._tasks):
                task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        return await handlers

    async def _work(self) -> None:
        """What goes on beside the answers. Raises StoreTaken, StoreUnusable."""
        await self._listening.wait()
        gc.freeze()  # what there is now stays
        gc.set_threshold(RUBBISH, 20, 100)
        self._systemd.ready()
        self._spawn(self._liveness().run())
        if self._app.intake.closed:
            await patiently(self._open)
        self._spawn(self._ready())
        self._spawn(self._keep_refusals())
        reserve = Reserve(self.settings.store.path, self.settings.store.reserve)
        await prune_hourly(self.store, lambda: self.settings.store.keep, reserve, clock=now)

    def _liveness(self) -> Liveness:
        intake = self._app.intake
        return Liveness(
            self.store, self._systemd, clock=now, closed=lambda: intake.closed, stored_at=lambda: intake.stored_at
        )

    async def _run_handlers(self) -> int:
        """Keep the dispatch process running. 78 where its first start found the configuration wrong."""
        if not self._dispatch:
            return 0
        self._child = Child(
            "dispatch",
            lambda lifeline: [*self._dispatch, "--lifeline", str(lifeline)],
            silence=SILENCE,
            heard=self._hear,
        )
        status = await self._child.run()
        if status == CONFIG_FAULT and self._server and not self._server.should_exit:
            self._server.stop()
            return CONFIG_FAULT
        return 0

    def _hear(self, line: str) -> None:
        """A sign of life of the dispatch process, perhaps with why it cannot store a notice."""
        what, _, why = line.partition(" ")
        self._app.health.notice_faults["dispatch"] = why if what == UNSTORED else ""

    async def _ready(self) -> None:
        """Say that callbacks are taken, once the handlers have started too."""
        if self._child:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._child.ready.wait(), READY_PATIENCE)
        await patiently(lambda: self._on_ready(self))

    def _wrong_secret(self, source: str) -> None:
        if notice := self._refusals.wrong(source, now()):
            self._notices.append(notice)
            self._spawn(self._store_notices())

    async def _keep_refusals(self) -> None:
        """Close what is over, and store what could not be stored before."""
        while True:
            await asyncio.sleep(QUIET_CHECK)
            self._notices += self._refusals.quiet(now())
            await self._store_notices()

    async def _store_notices(self) -> None:
        """Those that wait, in order; one that cannot be stored is logged once and waits on."""
        faults = self._app.health.notice_faults
        while self._notices:
            notice = self._notices[0]
            try:
                await self.store.notify(notice)
            except StoreUnavailable as fault:
                if not faults.get("serve"):
                    log.error(NOT_STORED, notice=notice.notice, about=notice.about, said=notice.text, reason=str(fault))
                faults["serve"] = str(fault)
                return
            if notice in self._notices:
                self._notices.remove(notice)
        faults["serve"] = ""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _bind(self) -> dict[str, socket.socket]:
        """The listening sockets: those systemd passed, and our own for what it did not."""
        sockets = listening.passed()
        for name, listen in (("callbacks", self.settings.server.listen), ("admin", self.settings.server.admin_listen)):
            if name not in sockets and listen:
                sockets[name] = listening.bind(listen.host, listen.port, listen.path)
                self._bound += [listen.path] if listen.path else []
            if name in sockets:
                self.addresses[name] = _written(sockets[name])
        return sockets

    def _unbind(self, sockets: dict[str, socket.socket]) -> None:
        for listener in sockets.values():
            listener.close()
        for path in self._bound:
            path.unlink(missing_ok=True)


def _address(listener: socket.socket) -> tuple[str, int | None]:
    name = listener.getsockname()
    return (name, None) if isinstance(name, str) else (name[0], name[1])


def _written(listener: socket.socket) -> str:
    host, port = _address(listener)
    if port is None:
        return f"unix:{host}"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _value(settings: Settings, key: str) -> Any:
    found: Any = settings
    for part in key.split("."):
        found = getattr(found, part)
    return found


async def until_stopped(work: Coroutine[Any, Any, int], signals: Mapping[int, Callable[[], None]]) -> int:
    """Run until the work ends, and do meanwhile what signals ask for."""
    loop = asyncio.get_running_loop()
    for number, act in signals.items():
        loop.add_signal_handler(number, act)
    try:
        return await work
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def python(*arguments: str) -> list[str]:
    """The command that runs another part of this very receiver."""
    return [sys.executable, "-P", "-m", "receiver", *arguments]
