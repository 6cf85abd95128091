"""SqliteMove: a store in two files that nobody else has, to be copied from or to."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, closing
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from receiver.store.base import Tell, quietly
from receiver.store.moving import Lot
from receiver.store.sqlite import files, leaving, looking, migrating
from receiver.store.sqlite.arriving import Arriving
from receiver.store.sqlite.desk import Connections
from receiver.store.views import Stats

T = TypeVar("T")


class SqliteMove:
    """Keeps serve and dispatch away as long as it is open."""

    def __init__(self, path: Path, alone: ExitStack) -> None:
        self.path = path
        self.where = str(path)
        self._alone = alone
        self._arriving: Arriving | None = None

    @classmethod
    async def open(cls, path: Path, *, create: bool = False) -> "SqliteMove":
        """Open a store; `create` makes it where it is missing.

        Raises StoreMissing, StoreTaken where a receiver runs, StoreUnusable, StoreUnavailable.
        """

        def prepared() -> ExitStack:
            with ExitStack() as alone:
                if not create:
                    for file in reversed(migrating.BOTH):
                        files.check(migrating.file_of(path, file), file)
                alone.enter_context(migrating.alone(path))
                if create:
                    migrating.prepare(path)
                return alone.pop_all()
            raise AssertionError

        return cls(path, await asyncio.to_thread(prepared))

    async def stats(self, now: datetime) -> Stats:  # noqa: ARG002 - counters need no clock here
        def read() -> Stats:
            with closing(Connections(self.path, writing=False)) as at:
                return looking.stats(at)

        return await self._do(read)

    async def export(self, after: str = "") -> AsyncIterator[Lot]:
        source = await self._do(lambda: leaving.Leaving(self.path))
        try:
            while lot := await self._do(partial(source.lot, after)):
                yield lot
                after = lot.mark
        finally:
            source.close()

    async def take_in(self, lot: Lot, told: str) -> None:
        arriving = await self._arrive()
        await self._do(partial(arriving.take, lot, told))

    async def taking_in(self) -> str | None:
        def read() -> str | None:
            with closing(files.connect(self.path, "log", reading=True)) as db:
                return leaving.unfinished(db)

        return await self._do(read)

    async def taken_in(self, tell: Tell = quietly) -> None:
        arriving = await self._arrive()
        await self._do(partial(arriving.finish, tell))

    async def close(self) -> None:
        if self._arriving:
            self._arriving.close()
        self._alone.close()

    async def _arrive(self) -> Arriving:
        if self._arriving is None:
            self._arriving = await self._do(lambda: Arriving(self.path))
        return self._arriving

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except sqlite3.Error as fault:
            raise files.unavailable(fault, self.path) from fault
