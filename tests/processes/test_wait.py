"""`receiver serve` on a store that takes nothing: it answers 503, says so, and goes on when it can."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from drills.waiting import until
from drills.yard import SOURCE, report
from receiver.config import load
from receiver.errors import StoreUnavailable, StoreUnusable
from receiver.reloading import Reloading
from receiver.serving import Serving
from receiver.store.sqlite import files

pytestmark = pytest.mark.anyio


async def announced(_: Serving) -> None:
    """Nobody waits."""


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    (tmp_path / "receiver.toml").write_text(SOURCE)
    env = {"RECEIVER_SERVER__LISTEN": "127.0.0.1:0", "RECEIVER_SERVER__ADMIN_LISTEN": ""}
    return Serving(
        load(tmp_path / "receiver.toml", secrets=False, env=env),
        dispatch=[],
        ready=announced,
        reloading=Reloading(["false"], load),
    )


async def asked(serving: Serving) -> int:
    url = f"{serving.addresses['callbacks']}/in/spryng/dlr"
    async with aiohttp.ClientSession() as http, http.get(url, params=report("m-1")) as answer:
        return answer.status


async def test_a_disk_that_takes_nothing_is_waited_for_while_providers_hear_503(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, room = files.prepare, asyncio.Event()

    def prepared(path: Path, file: str) -> None:
        if not room.is_set():
            raise StoreUnavailable("no space left")
        prepare(path, file)

    monkeypatch.setattr(files, "prepare", prepared)
    running = asyncio.create_task(serving.run())
    await until(lambda: serving.addresses)
    assert await asked(serving) == 503
    room.set()

    async def stored() -> bool:
        return await asked(serving) == 200

    await until(stored, within=5)
    serving.stop()
    assert await running == 0


async def test_what_only_people_can_mend_ends_it_also_later(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [StoreUnavailable("no space left"), StoreUnusable("damaged: restore a backup")]
    monkeypatch.setattr(files, "prepare", lambda *_: (_ for _ in ()).throw(faults.pop(0)))
    with pytest.raises(StoreUnusable, match="restore a backup"):
        await asyncio.wait_for(serving.run(), 10)
