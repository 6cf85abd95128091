"""From SQLite to PostgreSQL and back: what people see stays what it was."""

import sqlite3
from pathlib import Path

import postgres_kit
import pytest
from factories import after, callback, report, reports

from receiver.errors import StoreUnavailable
from receiver.store.sqlite import arriving

from .moving_kit import copied, live, seen
from .test_postgres import PostgresHouse
from .test_sqlite import SqliteHouse

pytestmark = pytest.mark.anyio


async def test_there_and_back_everything_is_told_as_before(tmp_path: Path) -> None:
    here, there, back = (
        SqliteHouse(tmp_path / "here"),
        PostgresHouse(await postgres_kit.fresh()),
        SqliteHouse(tmp_path / "back"),
    )
    await here.open()
    await live(here)
    before = await seen(here)
    await here.close()
    first = await copied(here, there)
    await there.open()
    assert await seen(there) == before
    await there.close()
    assert await copied(there, back) == first
    await back.open()
    assert await seen(back) == before
    await back.close()
    await postgres_kit.drop(there.url)


async def test_streams_of_several_receivers_become_one_log_in_its_order(tmp_path: Path) -> None:
    """What one handler has not claimed though it was there before what it has, waits by itself."""
    there, back = PostgresHouse(await postgres_kit.fresh()), SqliteHouse(tmp_path / "back")
    await there.open()
    await there.enrol("crm")
    other, late = [await there._opener("receive") for _ in range(2)]
    for n, told in enumerate(reports(6)):
        told.received_at = after(n)
        await (other if n % 2 else there.receive).record(callback(told), [told])
    await there.finish(await there.claim(limit=4))
    await late.record(callback(), [report("late")])
    for store in (other, late):
        await store.close()
    await postgres_kit.execute(there.url, "UPDATE events SET at = 0 WHERE message_id = 'late'")
    before = await seen(there)
    await there.close()
    await copied(there, back)
    await back.open()
    after_ = await seen(back)
    assert after_["stats"] == before["stats"]
    assert after_["events"] == before["events"]
    assert sorted(map(repr, after_["pending"])) == sorted(map(repr, before["pending"]))
    await back.enrol("crm")
    assert [one.event.message_id for one in await back.claim()] == ["late", "m-5", "m-6"]
    await back.close()
    await postgres_kit.drop(there.url)


async def test_half_a_lot_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two files are two commits; what a power cut leaves of the first is no second attempt in the copy."""
    here, there = SqliteHouse(tmp_path / "here"), SqliteHouse(tmp_path / "there")
    await here.open()
    await live(here)
    before = await seen(here)
    await here.close()

    def fail(*_given: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    for half in ("_events", "_rest"):
        with monkeypatch.context() as patched:
            patched.setattr(arriving, half, fail)
            with pytest.raises(StoreUnavailable):
                await copied(here, there)
    await copied(here, there)
    await there.open()
    assert await seen(there) == before
    await there.close()
