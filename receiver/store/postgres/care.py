"""What dispatchers do for the log behind its back: runs by which events are found, and the streams of the gone."""

import asyncio
import contextlib
import logging
import time

from receiver.errors import StoreUnavailable
from receiver.store.postgres import lookup, streams
from receiver.store.postgres.server import LONG, Server

ROUND = 1.0  # seconds between two looks
CLOSE_EACH = 30.0  # seconds between two looks for streams whose process is gone
SELDOM = 60.0  # seconds

FAILED = "caretaking_failed"

_log = logging.getLogger(__name__)


class Caretaker:
    """A background task of the dispatch role. Of several dispatchers each does what no other is about."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._task: asyncio.Task[None] | None = None
        self._closed_at = -CLOSE_EACH
        self._told_at = -SELDOM

    def start(self) -> None:
        """Begin; a second call does nothing."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="caretaker")

    async def close(self) -> None:
        """End at once; what was not finished is done by another, or later."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def abandon(self) -> None:
        """End without waiting."""
        if self._task:
            self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                if time.monotonic() - self._closed_at >= CLOSE_EACH:
                    self._closed_at = time.monotonic()
                    await self._server.run(streams.close_silent)
                while await self._server.run(lookup.build, within=LONG):
                    pass
            except StoreUnavailable as fault:
                self._tell(fault)
            await asyncio.sleep(ROUND)

    def _tell(self, fault: StoreUnavailable) -> None:
        """Once a minute: it is tried again every second, and an outage may last a night."""
        if time.monotonic() - self._told_at >= SELDOM:
            self._told_at = time.monotonic()
            _log.warning("%s: %s", FAILED, fault)
