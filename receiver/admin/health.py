"""Whether the receiver is alive, and whether it can store a callback at this moment."""

import asyncio
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from receiver.errors import StoreUnavailable
from receiver.store.base import Store

AT_ONCE = 0.5  # seconds
RECENT = 10.0  # seconds for which a durable write proves that the next one works
LEAST_FREE = 32 * 1024**2  # bytes; below that a commit may fail at any moment
LEAST_SHARE = 0.05  # of a disk so small that it would always be below


class Intake(Protocol):
    """The callbacks side, as far as health is concerned."""

    stored_at: float | None
    closed: str


class Health:
    """Answers /healthz and /readyz; on the callback listener without details."""

    def __init__(self, store: Store, intake: Intake, folder: Path | None, clock: Callable[[], datetime]) -> None:
        """`folder` holds the store's files, where it has some: its disk is looked at."""
        self._store = store
        self._intake = intake
        self._folder = folder
        self._clock = clock
        self._written_at: float | None = None
        self._probe: asyncio.Task[str] | None = None
        self.notice_faults: dict[str, str] = {}
        """Why a notice could not be stored, by the process that wants to store it."""

    async def healthz(self, _request: Request) -> Response:
        """Alive, as far as this process can answer."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        """200 where a callback would be stored now; else 503 with the reasons."""
        reasons = await self.reasons()
        body = {"ready": not reasons, "reasons": reasons}
        return JSONResponse(body, 503 if reasons else 200)

    async def readyz_public(self, _request: Request) -> Response:
        """The same without a word of why."""
        ready = not await self.reasons()
        return PlainTextResponse("ready\n" if ready else "not ready\n", 200 if ready else 503)

    async def reasons(self) -> list[str]:
        """What stands in the way of storing, in words."""
        reasons = [reason] if (reason := self._intake.closed or self._store.refusal()) else []
        if self._folder and (full := _full(self._folder)):
            reasons.append(full)
        trouble = self._store.trouble()
        if not reasons and (trouble or not self._wrote_lately()) and (fault := await self._probe_once(trouble)):
            reasons.append(fault)
        unstored = [f"a notice could not be stored: {fault}" for fault in self.notice_faults.values() if fault]
        return reasons + unstored

    async def _probe_once(self, trouble: str | None) -> str:
        """Make a durable write, one for all who ask meanwhile: callbacks wait behind each. Why it failed, or "".

        While there is trouble it has to succeed at once: who asks is not kept waiting for a lock or a disk that hangs.
        """
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._write())
        done, _ = await asyncio.wait({self._probe}, timeout=AT_ONCE if trouble else None)
        return self._probe.result() if done else str(trouble)

    async def _write(self) -> str:
        try:
            await self._store.probe(self._clock())
        except StoreUnavailable as fault:
            return str(fault)
        self._written_at = time.monotonic()
        return ""

    def _wrote_lately(self) -> bool:
        latest = max(self._written_at or 0.0, self._intake.stored_at or 0.0)
        return bool(latest) and time.monotonic() - latest < RECENT


def _full(folder: Path) -> str:
    """Why a commit may fail at any moment for want of room; or ""."""
    disk = shutil.disk_usage(folder)
    low = disk.free < min(LEAST_FREE, disk.total * LEAST_SHARE)
    return f"{disk.free // 1024} KiB free on {folder}" if low else ""
