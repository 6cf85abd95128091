"""What is too old goes, in small batches; on a full disk the reserve goes first."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from factories import NOW, after, callback, report
from structlog.testing import capture_logs

from drills.waiting import until
from receiver import retention
from receiver.errors import StoreUnavailable
from receiver.retention import Reserve, prune, prune_hourly
from receiver.store.base import Store
from receiver.store.sqlite import SqliteStore
from receiver.store.views import Selector

pytestmark = pytest.mark.anyio

SIZE = 64 * 1024


class FullDisk:
    """A store that cannot prune while a reserve takes its room, or ever."""

    def __init__(self, reserve: Path, *, heals: bool = True) -> None:
        self.reserve = reserve
        self.heals = heals
        self.left = 3

    async def prune(self, before: datetime, *, simulated: bool = False) -> int:
        if self.reserve.exists() or not self.heals:
            raise StoreUnavailable("no space left")
        self.left -= 1
        return max(self.left, 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "receiver.db", "receive", create=True)
    yield opened
    await opened.close()


@pytest.fixture
def reserve(tmp_path: Path) -> Reserve:
    made = Reserve(tmp_path / "receiver.db", SIZE)
    made.make()
    return made


async def messages(store: Store) -> list[str | None]:
    return [stored.event.message_id async for stored in store.events(Selector())]


async def fill(store: Store, *ages: timedelta) -> None:
    """Store a report of each age; its message is named by its age in days."""
    for age in ages:
        made = report(f"{age.days}d", received_at=NOW - age)
        await store.record(callback(made), [made])


async def test_what_is_older_than_asked_goes_and_the_rest_stays(store: SqliteStore, reserve: Reserve) -> None:
    await fill(store, timedelta(days=100), timedelta(days=91), timedelta(days=89), timedelta(0))
    await prune(store, NOW - timedelta(days=90), reserve)
    assert await messages(store) == ["89d", "0d"]


async def test_where_nothing_is_old_nothing_goes(store: SqliteStore, reserve: Reserve) -> None:
    await fill(store, timedelta(days=1), timedelta(0))
    assert await prune(store, NOW - timedelta(days=90), reserve) == 0
    assert await messages(store) == ["1d", "0d"]


async def test_a_full_disk_costs_the_reserve_and_pruning_goes_on(tmp_path: Path, reserve: Reserve) -> None:
    file = tmp_path / "receiver.db.reserve"
    assert file.exists()
    assert await prune(cast(Any, FullDisk(file)), NOW, reserve) == 3
    assert not file.exists()


async def test_a_disk_that_stays_full_is_said(tmp_path: Path, reserve: Reserve) -> None:
    full = FullDisk(tmp_path / "receiver.db.reserve", heals=False)
    with pytest.raises(StoreUnavailable, match="no space left"):
        await prune(cast(Any, full), NOW, reserve)


def test_a_reserve_takes_its_room(tmp_path: Path, reserve: Reserve) -> None:
    told = (tmp_path / "receiver.db.reserve").stat()
    assert told.st_size == SIZE
    assert told.st_blocks * 512 >= SIZE
    assert told.st_mode & 0o007 == 0


def test_a_reserve_of_another_size_is_made_anew(tmp_path: Path, reserve: Reserve) -> None:
    Reserve(tmp_path / "receiver.db", 2 * SIZE).make()
    assert (tmp_path / "receiver.db.reserve").stat().st_size == 2 * SIZE


def test_a_reserve_of_nothing_is_none(tmp_path: Path, reserve: Reserve) -> None:
    Reserve(tmp_path / "receiver.db", 0).make()
    assert not (tmp_path / "receiver.db.reserve").exists()


def test_a_reserve_is_not_made_where_room_is_scarce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    total, used, _ = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(total, used, 3 * SIZE))
    Reserve(tmp_path / "receiver.db", SIZE).make()
    assert not (tmp_path / "receiver.db.reserve").exists()


def hourly(store: Any, reserve: Reserve, **clocks: Any) -> Coroutine[Any, Any, None]:
    """Retention of ninety days whose hour is ten milliseconds, and which trusts the clock from the beginning."""
    waits = {"every": timedelta(milliseconds=10), "settling": timedelta(0)}
    return prune_hourly(store, lambda: timedelta(days=90), reserve, **clocks, **waits)


async def test_a_clock_that_was_set_removes_nothing_for_a_day(store: SqliteStore, reserve: Reserve) -> None:
    await fill(store, timedelta(days=10), timedelta(0))
    now, steady, looks = [NOW], [0.0], []

    def clock() -> datetime:
        looks.append(now[0])
        return now[0]

    task = asyncio.create_task(hourly(store, reserve, clock=clock, monotonic=lambda: steady[0]))
    try:
        await until(lambda: len(looks) > 3)
        with capture_logs() as lines:
            now[0], seen = after(days=81), len(looks)
            await until(lambda: len(looks) > seen + 5)
        assert [line["event"] for line in lines] == ["clock_set"]
        assert await messages(store) == ["10d", "0d"]
        steady[0] += timedelta(days=1).total_seconds()
        now[0] += timedelta(days=1)

        async def gone() -> bool:
            return await messages(store) == ["0d"]

        await until(gone)
    finally:
        task.cancel()


async def test_once_an_hour_what_is_too_old_goes(store: SqliteStore, reserve: Reserve) -> None:
    await fill(store, timedelta(days=10), timedelta(0))
    now = [NOW]

    def clock() -> datetime:
        return now[0]

    task = asyncio.create_task(hourly(store, reserve, clock=clock, monotonic=lambda: clock().timestamp()))
    try:
        await until(lambda: (Path(store.path).with_name("receiver.db.reserve")).exists())
        assert await messages(store) == ["10d", "0d"]
        now[0] = after(days=81)

        async def gone() -> bool:
            return await messages(store) == ["0d"]

        await until(gone)
    finally:
        task.cancel()


async def test_a_failure_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "receiver.db.reserve"
    full = FullDisk(file, heals=False)
    monkeypatch.setattr(retention, "BREATH", 0.0)
    with capture_logs() as lines:
        task = asyncio.create_task(hourly(full, Reserve(tmp_path / "receiver.db", SIZE), clock=lambda: NOW))
        try:
            await until(lambda: lines)
            full.heals = True
            await until(lambda: any(line["removed"] for line in lines))
        finally:
            task.cancel()
    assert (lines[0]["log_level"], lines[0]["reason"]) == ("warning", "no space left")
    assert lines[-1]["removed"] == 3
