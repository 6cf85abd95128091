"""What cannot be stored now is answered 503 at once, is not half stored, and heals by itself."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from web_kit import DLR, FORM, LISTEN, MESSAGE, MO, NAMELESS, REPORT, SOURCES, WEBHOOK, Answer, Site, receiving, request

from drills.waiting import until
from receiver.store import group
from receiver.store.sqlite import files

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
    monkeypatch.setattr(group, "MOST_WAITING", 1)
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
    monkeypatch.setattr(group, "MOST_BYTES", 10)
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


async def test_who_comes_faster_than_its_pace_is_told_to_come_again(tmp_path: Path) -> None:
    sources = SOURCES.replace('provider = "spryng"', 'provider = "spryng"\nrate_limit = 2')
    async with receiving(tmp_path, LISTEN + sources) as site:
        answers = [await site.get(f"{DLR}?ID={n}&RECIPIENT=31612345678&STATUS=10") for n in range(4)]
        assert [answer.status for answer in answers[:2]] == [200, 200]
        assert is_again_later(answers[3])


async def test_a_storm_of_one_source_leaves_room_for_another(tmp_path: Path) -> None:
    listen = LISTEN.replace("[server]", "[server]\nmax_in_flight = 4")
    async with receiving(tmp_path, listen + SOURCES) as site, AsyncExitStack() as open_:
        storm = [await open_.enter_async_context(site.client()) for _ in range(6)]
        with site.locked():
            for number, client in enumerate(storm):
                client.write(request("GET", f"{DLR}?ID={number}&RECIPIENT=31612345678&STATUS=10"))
                await until(lambda number=number: site.app.meter.in_flight >= min(number + 1, 4))
            refused = [await storm[4].answer(), await storm[5].answer()]
            calm = asyncio.create_task(site.post(WEBHOOK, NAMELESS, content_type="application/json"))
            await until(lambda: site.app.meter.in_flight == 5)
        assert all(map(is_again_later, refused))
        assert (await calm).outcome == "stored"
        assert [(await client.answer()).outcome for client in storm[:4]] == ["stored"] * 4
