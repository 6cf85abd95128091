"""Alive is who answers; ready is who could store a callback now, and says why not."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from web_kit import REPORT, Site, receiving

from receiver.admin import health
from receiver.store.sqlite import files

pytestmark = pytest.mark.anyio


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A receiver that waits a tenth of a second for a lock."""
    monkeypatch.setattr(files, "BUSY", 0.1)
    async with receiving(tmp_path) as running:
        yield running


async def test_ready_is_who_can_write(site: Site) -> None:
    answer = await site.ask_admin("/readyz")
    assert (answer.status, json.loads(answer.body)) == (200, {"ready": True, "reasons": []})


async def test_who_cannot_write_says_why_to_the_admin_alone(site: Site) -> None:
    with site.locked():
        asked, public = await site.ask_admin("/readyz"), await site.get("/readyz")
    told = json.loads(asked.body)
    assert (asked.status, public.status, told["ready"]) == (503, 503, False)
    assert "another process holds the write lock" in told["reasons"][0]
    assert public.body == b"not ready\n"


async def test_ready_again_is_who_can_write_again(site: Site) -> None:
    with site.locked():
        assert (await site.ask_admin("/readyz")).status == 503
    assert (await site.ask_admin("/readyz")).status == 200


async def test_a_failed_write_is_seen_at_once_whatever_went_well_before(site: Site) -> None:
    assert (await site.get(REPORT)).status == 200
    with site.locked():
        assert (await site.get(REPORT)).status == 503
        assert (await site.ask_admin("/readyz")).status == 503
    assert (await site.ask_admin("/readyz")).status == 200


async def test_who_asks_is_not_kept_waiting_while_there_is_trouble(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_now: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(site.store, "probe", hangs)
    monkeypatch.setattr(site.store, "trouble", lambda: "another process holds the write lock")
    answer = await asyncio.wait_for(site.ask_admin("/readyz"), 5)
    assert answer.status == 503
    assert json.loads(answer.body)["reasons"] == ["another process holds the write lock"]


async def test_a_store_that_is_not_open_yet_is_not_ready(site: Site) -> None:
    site.app.intake.closed = "no space left"
    assert (await site.get(REPORT)).status == 503
    assert json.loads((await site.ask_admin("/readyz")).body)["reasons"] == ["no space left"]


async def test_alive_is_who_answers_even_if_nothing_can_be_stored(site: Site) -> None:
    await site.store.close()
    assert [(await site.ask_admin("/healthz")).status, (await site.get("/healthz")).status] == [200, 200]


async def test_a_write_proves_ten_seconds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    await site.ask_admin("/readyz")
    with site.locked():
        assert (await site.ask_admin("/readyz")).status == 200
        monkeypatch.setattr(health, "RECENT", 0.0)
        assert (await site.ask_admin("/readyz")).status == 503


async def test_a_stored_callback_is_a_write(site: Site) -> None:
    await site.get(REPORT)
    with site.locked():
        assert (await site.ask_admin("/readyz")).status == 200


async def test_many_who_ask_cost_one_write(site: Site) -> None:
    with site.locked():
        async with asyncio.timeout(1.5):  # one after the other they would take two seconds and more
            answers = await asyncio.gather(*(site.get("/readyz") for _ in range(20)))
    assert {answer.status for answer in answers} == {503}


async def test_a_full_disk_is_red_before_a_write_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 1024))
    answer = await site.ask_admin("/readyz")
    assert (answer.status, json.loads(answer.body)["reasons"]) == (503, [f"1 KiB free on {site.store.path.parent}"])


async def test_a_notice_that_could_not_be_stored_is_red(site: Site) -> None:
    site.app.health.notice_faults["serve"] = "no space left"
    answer = await site.ask_admin("/readyz")
    assert (answer.status, "no space left" in answer.body.decode()) == (503, True)
