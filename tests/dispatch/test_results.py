"""Laws of results on their way to the store."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from factories import NOW, report

from drills.waiting import until
from receiver.dispatch.results import Results
from receiver.errors import StoreUnavailable
from receiver.store.base import Dispatch, Done, Settlement

pytestmark = pytest.mark.anyio


class Disk:
    """As much of a store as takes results, or refuses them."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.tries = 0
        self.batches: list[list[str]] = []

    async def settle(self, settlements: Sequence[Settlement], *, now: Any) -> list[bool]:
        self.tries += 1
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        self.batches.append([each.dispatch.id for each in settlements])
        return [True] * len(settlements)

    @property
    def written(self) -> list[str]:
        return [one for batch in self.batches for one in batch]


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
async def results(disk: Disk) -> AsyncIterator[Results]:
    made = Results(
        "crm",
        disk,  # type: ignore[arg-type]
        clock=lambda: NOW,
        again=timedelta(milliseconds=1),
        on_written=lambda: None,
    )
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()


async def test_what_comes_together_is_written_together_and_in_order(results: Results, disk: Disk) -> None:
    for number in range(5):
        results.add(_done(number))
    await results.finish(timedelta(seconds=5))
    assert disk.batches == [["0", "1", "2", "3", "4"]]


@pytest.mark.parametrize("fault", [StoreUnavailable("disk full"), RuntimeError("a bug")])
async def test_what_cannot_be_written_stays_and_is_written_once_it_can(
    results: Results, disk: Disk, fault: Exception
) -> None:
    disk.fault = fault
    results.add(_done(1))
    await until(lambda: disk.tries > 2)
    assert results.unwritten
    results.add(_done(2))
    assert len(results) == 2
    disk.fault = None
    assert await results.finish(timedelta(seconds=5))
    assert disk.written == ["1", "2"]
    assert not results.unwritten


async def test_finishing_gives_up_when_the_time_is_over(results: Results, disk: Disk) -> None:
    disk.fault = StoreUnavailable("disk full")
    results.add(_done(1))
    assert not await results.finish(timedelta(milliseconds=20))
    assert len(results) == 1


def _done(number: int) -> Settlement:
    return Settlement(Dispatch(str(number), "crm", report(), 1, 0, None, alone=False), Done())
