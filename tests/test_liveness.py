"""Whether callbacks can be stored: told when it ends and when it works again, and the watchdog is fed while we turn."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import NOW
from structlog.testing import capture_logs

from drills.waiting import until
from receiver import liveness
from receiver.errors import StoreUnavailable
from receiver.liveness import Liveness

pytestmark = pytest.mark.anyio


class Disk:
    """A store on a disk that is full or not."""

    def __init__(self) -> None:
        self.full = False
        self.failed = False
        self.idle = 0.0

    def trouble(self) -> str | None:
        return "no space left" if self.failed else None

    def idle_for(self) -> float:
        return self.idle

    async def probe(self, now: datetime) -> None:
        self.failed = self.full
        if self.full:
            raise StoreUnavailable("no space left")


class Manager:
    """What systemd hears."""

    watchdog = timedelta(0)

    def __init__(self) -> None:
        self.fed = 0
        self.said: list[str] = []

    def alive(self) -> None:
        self.fed += 1

    def status(self, words: str) -> None:
        self.said.append(words)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    monkeypatch.setattr(liveness, "LOOK", 0.005)
    return Manager()


@asynccontextmanager
async def looking(disk: Disk, manager: Any, *, closed: str = "") -> AsyncIterator[None]:
    looks = Liveness(disk, manager, clock=lambda: NOW, closed=lambda: closed, stored_at=lambda: None)
    task = asyncio.create_task(looks.run())
    try:
        yield
    finally:
        task.cancel()


async def test_a_failed_write_is_told_once_and_so_is_its_end(disk: Disk, manager: Manager) -> None:
    with capture_logs() as lines:
        async with looking(disk, manager):
            await until(lambda: manager.fed > 2)
            disk.full = disk.failed = True
            fed = manager.fed
            await until(lambda: manager.fed > fed + 5)
            disk.full = False
            await until(lambda: len(lines) > 1)
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "cannot_store"),
        ("info", "stores_again"),
    ]
    assert manager.said[0] == "Ready; no callback yet."
    assert any(words.startswith("CANNOT STORE since") and "no space left" in words for words in manager.said)
    assert manager.said[-1] == "Ready; no callback yet."


async def test_a_commit_loop_that_does_not_turn_is_not_alive(disk: Disk, manager: Manager) -> None:
    async with looking(disk, manager):
        await until(lambda: manager.fed)
        disk.idle = 11.0
        said = len(manager.said)
        await until(lambda: len(manager.said) > said + 2)
        fed = manager.fed
        said = len(manager.said)
        await until(lambda: len(manager.said) > said + 5)
        assert manager.fed == fed


async def test_a_store_that_waits_to_be_opened_is_alive_and_says_why(disk: Disk, manager: Manager) -> None:
    disk.idle = 60.0
    async with looking(disk, manager, closed="read-only"):
        await until(lambda: manager.fed)
    assert "read-only" in manager.said[-1]
