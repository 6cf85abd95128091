"""The laws of a store on SQLite, and what only SQLite's two files promise."""

import os
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOW, report

from receiver.errors import StoreMissing, StoreTaken, StoreUnavailable
from receiver.store.base import Store
from receiver.store.sqlite import SqliteStore

from .conftest import House
from .contract import *  # noqa: F403 - every law there is a test here

pytestmark = pytest.mark.anyio


class SqliteHouse(House):
    """A receiver.db in a folder, opened by its three roles."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receiver.db"
        super().__init__(self._open, self._kill)

    async def _open(self, role: str) -> Store:
        return await SqliteStore.open(self.path, role=role, create=role != "command")

    @staticmethod
    def _kill(store: Store) -> None:
        assert isinstance(store, SqliteStore)
        store.abandon()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    house = SqliteHouse(tmp_path)
    await house.open()
    yield house
    await house.close()


async def test_a_store_is_two_files(house: SqliteHouse) -> None:
    names = {path.name for path in house.path.parent.glob("*.db")}
    assert names == {"receiver.db", "receiver.dispatch.db"}


@pytest.mark.parametrize("role", ["receive", "dispatch", "command"])
async def test_a_missing_database_is_told_and_not_created(tmp_path: Path, role: str) -> None:
    with pytest.raises(StoreMissing):
        await SqliteStore.open(tmp_path / "receiver.db", role=role, create=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("role", ["receive", "dispatch"])
async def test_a_second_process_of_a_role_is_told_the_pid_of_the_first(
    house: SqliteHouse, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sqlite.store.PATIENCE", timedelta(0))
    with pytest.raises(StoreTaken, match=str(os.getpid())):
        await SqliteStore.open(house.path, role=role, create=True)


async def test_commands_work_beside_each_other(house: SqliteHouse) -> None:
    second = await SqliteStore.open(house.path, role="command", create=False)
    assert (await second.stats(NOW)).events == 0
    await second.close()


async def test_a_lock_held_by_a_stranger_makes_recording_unavailable_and_heals(house: SqliteHouse) -> None:
    stranger = sqlite3.connect(house.path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await house.record(report())
    stranger.execute("ROLLBACK")
    stranger.close()
    await house.receive.probe(NOW)
    assert (await house.record(report())).outcome == "stored"
