"""`receiver dispatch` as a whole: store, handlers with their processes, notices, and the way it all stops."""

import asyncio
import contextlib
import os
import random
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from receiver import plugins
from receiver.child import parent_gone
from receiver.config import Settings, handler_settings
from receiver.dispatch import Dispatcher
from receiver.dispatch.hands import Hands, InProcess
from receiver.errors import ConfigFault, HandlerStuck
from receiver.notices import Notices, disk_of
from receiver.retention import Reserve, prune_hourly
from receiver.serving import now
from receiver.store.sqlite import SqliteStore
from receiver.supervise import WorkerProcess, WorkerSpec

STUCK = "dispatch_stuck"
EX_SOFTWARE = 70

log = structlog.get_logger()


class Dispatching:
    """Everything of one `dispatch` process."""

    def __init__(self, settings: Settings, *, lifeline: int | None, log_keys: Mapping[str, Any]) -> None:
        """`lifeline` is a socket to the process that started us: its end is our end. `log_keys` go to workers."""
        self._settings = settings
        self._lifeline = lifeline
        self._log_keys = log_keys
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Dispatch until stopped, or until who started us is gone. Raises ConfigFault, StoreTaken, StoreUnusable."""
        hands = self._all_hands()
        store = await SqliteStore.open(self._settings.store.path, "dispatch", create=True)
        try:
            return await self._dispatch(store, hands)
        except HandlerStuck as fault:
            log.error(STUCK, reason=str(fault))
            os._exit(EX_SOFTWARE)  # nothing else ends a call that ignores its cancellation
        finally:
            await store.close()

    def stop(self) -> None:
        """Claim nothing more, give what runs a moment, return from `run`."""
        self._stop.set()

    async def _dispatch(self, store: SqliteStore, hands: Mapping[str, Hands]) -> int:
        owner = f"{os.uname().nodename}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        dispatcher = Dispatcher(store, hands, owner=owner, clock=now, random=random.random)
        watching = asyncio.create_task(self._stop_with_parent())
        try:
            if not await self._started(dispatcher, hands):
                return 0
            return await self._work(store, dispatcher, hands)
        finally:
            watching.cancel()

    async def _started(self, dispatcher: Dispatcher, hands: Mapping[str, Hands]) -> bool:
        """Start the handlers, and say so. False where we were stopped before: a handler may take its time to open."""
        starting, stopped = asyncio.create_task(dispatcher.start()), asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting})
            await asyncio.gather(*(each.stop() for each in hands.values()))
            return False
        starting.result()
        if self._lifeline is not None:
            os.write(self._lifeline, b"ready\n")
        return True

    async def _work(self, store: SqliteStore, dispatcher: Dispatcher, hands: Mapping[str, Hands]) -> int:
        """Dispatch until stopped, with what goes on beside it."""
        reserve = Reserve(self._settings.store.path, self._settings.store.reserve)
        notices = Notices(
            store,
            clock=now,
            disk=lambda: disk_of(self._settings.store.path.parent),
            patience={name: one.settings.batch_wait for name, one in hands.items()},
        )
        beside = [
            asyncio.create_task(work)
            for work in (
                notices.run(),
                prune_hourly(store, self._settings.store.keep, reserve, clock=now, every=timedelta(hours=1)),
                self._stop_when_told(dispatcher),
            )
        ]
        try:
            await dispatcher.run()
        finally:
            for task in beside:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*beside)
        return 0

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
