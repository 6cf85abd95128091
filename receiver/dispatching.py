"""`receiver dispatch` as a whole: store, handlers with their processes, notices, and the way it all stops."""

import asyncio
import contextlib
import gc
import os
import random
import uuid
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from receiver import plugins
from receiver.child import parent_gone
from receiver.config import Settings, handler_settings
from receiver.dispatch import Dispatcher
from receiver.dispatch.hands import Hands, InProcess
from receiver.errors import ConfigFault, HandlerStuck
from receiver.notices import Notices, disk_of
from receiver.patience import patiently
from receiver.reloading import RELOADED, Reloading
from receiver.retention import Reserve, prune_hourly
from receiver.serving import UNSTORED, now
from receiver.storing import OpenStore, store_of
from receiver.supervise import WorkerProcess, WorkerSpec
from receiver.systemd import Systemd

STUCK = "dispatch_stuck"
EX_SOFTWARE = 70
RUBBISH = 10_000  # objects before the collector looks: events come by hundreds and go by themselves
BEAT = 1.0
"""Seconds between two signs of life for the process that started us."""

log = structlog.get_logger()


class Dispatching:
    """Everything of one `dispatch` process."""

    def __init__(
        self, settings: Settings, *, lifeline: int | None, log_keys: Mapping[str, Any], reloading: Reloading
    ) -> None:
        """`lifeline` is a socket to the process that started us: its end is our end. `log_keys` go to workers."""
        self.again = False
        """Whether to begin anew: the configuration was reloaded."""
        self._reloading = reloading
        self._settings = settings
        self._lifeline = lifeline
        self._log_keys = log_keys
        self._stop = asyncio.Event()
        self.systemd = Systemd()
        self._notices: Notices | None = None

    async def run(self) -> int:
        """Dispatch until stopped, or until who started us is gone. Raises ConfigFault, StoreTaken, StoreUnusable."""
        hands = self._all_hands()
        self.systemd.ready()  # a disk that takes nothing is waited for, as by `serve`, and so is a handler that opens
        self.systemd.status("Opening the store and the handlers.")
        store = store_of(self._settings.store, "dispatch")
        beside = [asyncio.create_task(work) for work in (self._beat(), self._stop_with_parent())]
        try:
            if not await self._unless_stopped(patiently(partial(store.start, create=True))):
                return 0
            return await self._dispatch(store, hands)
        except HandlerStuck as fault:
            log.error(STUCK, reason=str(fault))
            os._exit(EX_SOFTWARE)  # nothing else ends a call that ignores its cancellation
        finally:
            for task in beside:
                task.cancel()
            await store.close()

    def reload(self) -> None:
        """Begin anew with the configuration as it is now, if it is sound: `again` says so when `run` has returned."""
        self._reload = asyncio.create_task(self._begin_anew())

    async def _begin_anew(self) -> None:
        self.systemd.reloading()
        if await self._reloading.settings() is None:
            self.systemd.ready()
            return
        log.info(RELOADED)
        self.again = not self._stop.is_set()
        self._stop.set()

    def stop(self) -> None:
        """Claim nothing more, give what runs a moment, return from `run`."""
        self.again = False
        self.systemd.stopping()
        self._stop.set()

    async def _dispatch(self, store: OpenStore, hands: Mapping[str, Hands]) -> int:
        owner = f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        dispatcher = Dispatcher(store, hands, owner=owner, clock=now, random=random.random)
        if not await self._unless_stopped(dispatcher.start()):  # a handler may take its time to open
            await asyncio.gather(*(each.stop() for each in hands.values()))
            return 0
        self._say("ready")
        self.systemd.status(f"Handlers: {', '.join(hands) or 'none'}.")
        return await self._work(store, dispatcher, hands)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do it. False where we were stopped before it was done."""
        working, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
            return False
        working.result()
        return True

    async def _work(self, store: OpenStore, dispatcher: Dispatcher, hands: Mapping[str, Hands]) -> int:
        """Dispatch until stopped, with what goes on beside it."""
        path = self._settings.store.path
        reserve = Reserve(path, self._settings.store.reserve)
        self._notices = Notices(
            store,
            clock=now,
            disk=partial(disk_of, path.parent) if path else None,
            patience={name: one.settings.batch_wait for name, one in hands.items()},
        )
        beside = [
            asyncio.create_task(work)
            for work in (
                self._notices.run(),
                prune_hourly(store, lambda: self._settings.store.keep, reserve, clock=now),
                self._stop_when_told(dispatcher),
            )
        ]
        gc.freeze()
        gc.set_threshold(RUBBISH, 20, 100)
        try:
            await dispatcher.run()
        finally:
            for task in beside:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*beside)
        return 0

    async def _beat(self) -> None:
        """Show who started us that our loop turns, and our parent whether a notice waits to be stored."""
        while True:
            unstored = self._notices.unstored if self._notices else ""
            self._say(f"{UNSTORED} {unstored}" if unstored else "alive")
            self.systemd.alive()
            await asyncio.sleep(BEAT)

    def _say(self, line: str) -> None:
        if self._lifeline is not None:
            with contextlib.suppress(OSError):  # who does not listen need not know
                os.write(self._lifeline, f"{line}\n".encode())

    async def _stop_when_told(self, dispatcher: Dispatcher) -> None:
        await self._stop.wait()
        dispatcher.stop()

    async def _stop_with_parent(self) -> None:
        if self._lifeline is not None:
            await parent_gone(self._lifeline)
            self.stop()

    def _all_hands(self) -> dict[str, Hands]:
        hands, faults = {}, list[str]()
        for name in self._settings.handlers:
            try:
                hands[name] = self._hands(name)
            except ConfigFault as fault:
                faults += fault.faults
        if faults:
            raise ConfigFault(*faults)
        return hands

    def _hands(self, name: str) -> Hands:
        """A built-in handler, or one trusted to share, in this process; any other in one of its own."""
        settings, table = self._settings, self._settings.handlers[name]
        use, directory = str(table["use"]), settings.plugins.directory
        isolation = table.get("isolation")
        if isolation == "shared" or (isolation is None and plugins.is_builtin(use, directory)):
            handler_class, own = handler_settings(settings, name, secrets=True)
            return InProcess(handler_class(name, own, structlog.get_logger(handler=name)))
        return WorkerProcess(
            WorkerSpec(
                name=name,
                use=use,
                table=table,
                file=str(settings.file or "configuration"),
                folder=settings.folder,
                directory=directory,
                log=self._log_keys,
            )
        )
