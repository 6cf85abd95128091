"""The desk's turns: small jobs go first, and nobody is passed over for long."""

import asyncio
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from receiver.store.sqlite import files
from receiver.store.sqlite.desk import SMALL, Connections, Desk

pytestmark = pytest.mark.anyio

LARGE = SMALL + 1


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    path = tmp_path / "receiver.db"
    files.prepare(path, "log")
    files.prepare(files.dispatch_path(path), "dispatch")
    desk = Desk(path, writing=True)
    await desk.open()
    yield desk
    await desk.close()


async def test_small_jobs_go_before_large_ones_and_large_ones_keep_their_order(desk: Desk) -> None:
    done: list[str] = []
    busy, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def occupy(_: Connections) -> None:
        loop.call_soon_threadsafe(busy.set)
        go.wait(10)

    def note(name: str, _: Connections) -> None:
        done.append(name)

    first = asyncio.create_task(desk.write(occupy))
    await busy.wait()
    sizes = {"large-1": LARGE, "large-2": LARGE, "small-1": 1, "large-3": LARGE, "small-2": SMALL}
    others = [asyncio.create_task(desk.write(partial(note, name), size=size)) for name, size in sizes.items()]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *others)
    assert done == ["small-1", "small-2", "large-1", "large-2", "large-3"]


async def test_a_large_job_waits_for_one_turn_of_small_ones_though_they_never_end(desk: Desk) -> None:
    turns, stop = 0, asyncio.Event()

    async def incessantly() -> None:
        nonlocal turns
        while not stop.is_set():
            await desk.write(lambda _: None)
            turns += 1

    crowd = [asyncio.create_task(incessantly()) for _ in range(3)]
    await desk.write(lambda _: None)
    before = turns
    await asyncio.wait_for(desk.write(lambda _: None, size=LARGE), 10)
    assert turns - before <= 3 * len(crowd)
    stop.set()
    await asyncio.gather(*crowd)
