"""What cannot be stored now is answered 503 at once, is not half stored, and heals by itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from web_kit import DLR, FORM, MESSAGE, MO, REPORT, Answer, Site, receiving

from drills.waiting import until
from receiver.store.sqlite import files, log

pytestmark = pytest.mark.anyio


@pytest.fixture
async def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: object) -> AsyncIterator[Site]:
    """A receiver that waits a tenth of a second for a lock, not two."""
    monkeypatch.setattr(files, "BUSY", 0.1)
    async with receiving(tmp_path) as running:
        yield running


def is_again_later(answer: Answer) -> bool:
    """Whether a provider is told to send it again, and when."""
    return answer.status == 503 and int(answer.headers["retry-after"]) >= 1 and answer.outcome is None


async def test_a_lock_held_by_another_process_is_waited_for_two_seconds(site: Site) -> None:
    with site.locked():
        began = time.monotonic()
        answer = await site.get(REPORT)
        took = time.monotonic() - began
    assert is_again_later(answer)
    assert 1.5 < took < 3


async def test_a_lock_held_for_a_moment_is_nobodys_loss(site: Site) -> None:
    with site.locked():
        asked = asyncio.create_task(site.get(REPORT))
        await until(site.is_storing)
    assert (await asked).outcome == "stored"


async def test_what_was_answered_503_is_stored_when_it_comes_again(impatient: Site) -> None:
    with impatient.locked():
        assert is_again_later(await impatient.get(REPORT))
        assert (await impatient.ask_admin("/readyz")).status == 503
    assert (await impatient.get(REPORT)).outcome == "stored"
    assert (await impatient.ask_admin("/readyz")).status == 200
    assert len(await impatient.kept()) == 1


async def test_what_cannot_be_read_is_not_half_stored_either(impatient: Site) -> None:
    with impatient.locked():
        assert is_again_later(await impatient.get(f"{DLR}?x=1"))
    assert await impatient.quarantine() == []


async def test_a_full_disk_takes_nothing_until_there_is_room(site: Site) -> None:
    large = MESSAGE + b"&X=" + b"x" * 60_000
    async with site.full():
        assert is_again_later(await site.post(MO, large, **FORM))
        assert is_again_later(await site.post(MO, large.replace(b"PARM", b"M"), **FORM))
    assert await site.is_empty()
    assert (await site.post(MO, large, **FORM)).outcome == "stored"


async def test_tests_of_the_url_do_not_need_the_store(impatient: Site) -> None:
    with impatient.locked():
        assert (await impatient.get(DLR)).outcome == "ignored"


async def test_beyond_a_bounded_queue_callbacks_are_refused_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MOST_WAITING", 1)
    with site.locked():
        first = asyncio.create_task(site.get(REPORT))
        await until(site.is_storing)
        second = asyncio.create_task(site.post(MO, MESSAGE, **FORM))
        await until(site.store.refusal)
        refused = await site.get(REPORT.replace("a1", "a2"))
        ready = await site.ask_admin("/readyz")
        public = await site.get("/readyz")
        assert not first.done()
    assert is_again_later(refused)
    assert (ready.status, public.status) == (503, 503)
    assert "overloaded" in ready.body.decode()
    assert "overloaded" not in public.body.decode()
    assert [(await first).outcome, (await second).outcome] == ["stored", "stored"]


async def test_a_full_queue_of_bytes_refuses_too(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_BYTES", 10)
    with site.locked():
        first = asyncio.create_task(site.get(REPORT))
        await until(site.is_storing)
        second = asyncio.create_task(site.post(MO, MESSAGE, **FORM))
        await until(site.store.refusal)
        assert is_again_later(await site.get(REPORT))
    await asyncio.gather(first, second)


async def test_who_stops_takes_nothing_more(site: Site) -> None:
    await site.store.close()
    assert is_again_later(await site.get(REPORT))
    ready = await site.ask_admin("/readyz")
    assert (ready.status, "stopping" in ready.body.decode()) == (503, True)
