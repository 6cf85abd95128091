"""Laws of readiness: a store makes a durable write when asked, and tells a waiter of something new."""

import asyncio
from datetime import timedelta

from factories import NOW, report

from ..conftest import House


async def test_a_store_that_works_refuses_nothing_and_makes_a_durable_write(house: House) -> None:
    assert house.receive.refusal() is None
    await house.receive.probe(NOW)


async def test_a_waiter_is_told_soon_of_something_new(house: House) -> None:
    await house.enrol("crm")
    await house.dispatch.changed(timedelta(seconds=0.01))
    waiter = asyncio.create_task(house.dispatch.changed(timedelta(seconds=60)))
    await asyncio.sleep(0)
    await house.record(report())
    async with asyncio.timeout(5):
        await waiter


async def test_a_waiter_is_not_kept_longer_than_it_asked(house: House) -> None:
    async with asyncio.timeout(5):
        await house.dispatch.changed(timedelta(seconds=0.01))
