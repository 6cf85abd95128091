"""The laws of a store on PostgreSQL, and what only a database that many processes share promises."""

from collections.abc import AsyncIterator

import postgres_kit
import pytest

from receiver.store.base import Store
from receiver.store.moving import Movable
from receiver.store.postgres import PostgresMove, PostgresStore

from .conftest import House
from .contract import *  # noqa: F403 - every law there is a test here

pytestmark = pytest.mark.anyio


class PostgresHouse(House):
    """A schema of a real server, opened by its three roles."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.others: list[str] = []
        super().__init__(self._open, self._kill)

    async def _open(self, role: str) -> Store:
        return await PostgresStore.open(self.url, role, create=role != "command")

    async def another(self) -> House:
        self.others.append(await postgres_kit.fresh())
        return PostgresHouse(self.others[-1])

    async def moved(self, *, create: bool = False) -> Movable:
        return await PostgresMove.open(self.url, create=create)

    @staticmethod
    def _kill(store: Store) -> None:
        assert isinstance(store, PostgresStore)
        store.abandon()

    async def crash_dispatch(self) -> None:
        """The dispatch side is killed, its leases end, and it is started again."""
        self._abandon(self.dispatch)
        await postgres_kit.execute(self.url, "UPDATE owners SET until_at = '-infinity'")
        await self._new_dispatch()


@pytest.fixture
async def house() -> AsyncIterator[PostgresHouse]:
    house = PostgresHouse(await postgres_kit.fresh())
    await house.open()
    yield house
    await house.close()
    for url in (house.url, *house.others):
        await postgres_kit.drop(url)
