"""PostgresMove: a database that no receiver uses, to be copied from or to."""

from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial

from receiver.errors import StoreUnavailable
from receiver.store.base import Tell, quietly
from receiver.store.moving import Lot
from receiver.store.postgres import arriving, faults, leaving, lookup, migrating, stats
from receiver.store.postgres.server import LONG, Server
from receiver.store.views import Stats


class PostgresMove:
    """Looks at its start whether others use the database; while it is filled, they cannot begin to."""

    def __init__(self, server: Server) -> None:
        self.where = server.where
        self._server = server
        self._told: str | None = None

    @classmethod
    async def open(cls, url: str, *, create: bool = False) -> "PostgresMove":
        """Open a store; `create` makes what is missing.

        Raises StoreMissing, StoreTaken where a receiver runs, StoreUnusable, StoreUnavailable.
        """
        server = Server(url, most=1, name="move")
        try:
            await (migrating.prepare if create else migrating.check)(server)
            await server.run(arriving.require_unused, reading=True)
        except StoreUnavailable as fault:
            await server.close()
            raise faults.at_start(fault.__cause__, server.where) if fault.__cause__ else fault from fault
        except BaseException:
            await server.close()
            raise
        return cls(server)

    async def stats(self, now: datetime) -> Stats:  # noqa: ARG002 - counters need no clock here
        return await self._server.run(stats.stats, within=LONG, reading=True)

    async def export(self, after: str = "") -> AsyncIterator[Lot]:
        on = await self._server.run(leaving.line, within=LONG, reading=True)
        while lot := await self._server.run(partial(leaving.lot, on=on, after=after), within=LONG, reading=True):
            yield lot
            after = lot.mark

    async def take_in(self, lot: Lot, told: str) -> None:
        before = (self._told if self._told is not None else await self.taking_in()) or ""
        await self._server.run(lambda db: arriving.take(db, lot, before, told), within=LONG)
        self._told = told

    async def taking_in(self) -> str | None:
        return await self._server.run(arriving.unfinished, reading=True)

    async def taken_in(self, tell: Tell = quietly) -> None:
        events = (await self._server.run(stats.stats, within=LONG, reading=True)).events
        built = 0
        while await self._server.run(lookup.build, within=LONG):
            built = min(built + lookup.RUN, events)
            tell("building the index", built, events)
        await self._server.run(arriving.finish, within=LONG)

    async def close(self) -> None:
        await self._server.close()
