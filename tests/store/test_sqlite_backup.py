"""Backups on SQLite: two files in a folder that can be put back as they are."""

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import NOW, report, reports

from receiver.errors import BackupFailed, StoreTaken
from receiver.store.base import Done
from receiver.store.sqlite import copying, files

from .conftest import retry
from .test_sqlite import SqliteHouse

pytestmark = pytest.mark.anyio


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    (tmp_path / "here").mkdir()
    house = SqliteHouse(tmp_path / "here")
    await house.open()
    yield house
    await house.close()


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "copy"


def modes(to: Path) -> dict[str, int]:
    """The folder and its files, with who may do what."""
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in (to, *to.glob("*")) if one.exists()}


async def restored(to: Path, folder: Path) -> SqliteHouse:
    """A house on the files of a backup."""
    shutil.copytree(to, folder)
    house = SqliteHouse(folder)
    await house.open()
    await house.crash_dispatch()  # another owner than the one that had it in hand
    await house.enrol("crm")
    return house


async def test_what_was_put_back_goes_on_where_it_was(house: SqliteHouse, to: Path, tmp_path: Path) -> None:
    """What was done is done, what was in hand is repeated, what waited waits, what came later is not there."""
    await house.enrol("crm")
    ids = await house.stored(*reports(4))
    done, again, _in_hand = await house.claim(limit=3)
    await house.settle(done, Done())
    await house.settle(again, retry(60))
    await house.command.backup(to, now=NOW)
    await house.stored(report("later"))
    other = await restored(to, tmp_path / "there")
    assert await other.ids() == ids
    assert [(await other.line(name)).state for name in ids] == ["done", "pending", "pending", "pending"]
    assert (await other.record(report("m-1"))).outcome == "duplicate"
    await other.close()


async def test_it_is_as_of_one_moment_while_others_write(house: SqliteHouse, to: Path, tmp_path: Path) -> None:
    """No lane of the copy is ahead of its log, and all that is not done is pending."""
    await house.enrol("crm")
    await house.stored(*reports(200))
    backup = asyncio.create_task(house.command.backup(to, now=NOW))
    count = 0
    while not backup.done():
        count += 1
        await house.stored(report(f"meanwhile-{count}"))
        await house.finish(await house.claim(limit=3))
    made = await backup
    assert 200 <= made.events <= 200 + count
    other = await restored(to, tmp_path / "there")
    counters = await other.counters()
    assert counters.received == made.events == len(await other.ids())
    assert counters.done + counters.pending == made.events
    await other.close()


async def test_it_is_a_folder_of_two_files_that_strangers_cannot_read(house: SqliteHouse, to: Path) -> None:
    await house.command.backup(to, now=NOW)
    assert modes(to) == {"copy": 0o750, "receiver.db": 0o640, "receiver.dispatch.db": 0o640}


async def test_what_a_backup_that_was_killed_left_is_cleared_away(house: SqliteHouse, to: Path) -> None:
    left = to.with_name(f".{to.name}.unfinished")
    left.mkdir()
    (left / "receiver.db").write_text("half")
    await house.command.backup(to, now=NOW)
    assert {one.name for one in to.parent.iterdir()} == {"here", "copy"}


async def test_a_damaged_store_is_not_copied_over_good_backups(house: SqliteHouse, to: Path) -> None:
    await house.stored(*reports(300))
    await house.close()
    with closing(sqlite3.connect(house.path)) as db:
        root = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_events_1'").fetchone()[0]
    with house.path.open("r+b") as file:
        file.seek((root - 1) * 4096 + 3)
        file.write(b"\x00\x00")  # no entries
    await house.open()
    with pytest.raises(BackupFailed, match=r"receiver\.db is damaged"):
        await house.command.backup(to, now=NOW)
    assert {one.name for one in to.parent.iterdir()} == {"here"}


async def test_a_copy_that_lacks_something_is_none(
    house: SqliteHouse, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that loses rows on its way, without being damaged."""
    original = copying._copy

    def loses(snapshot: Any, folder: Path, *given: Any) -> None:
        original(snapshot, folder, *given)
        with closing(sqlite3.connect(folder / snapshot.name, isolation_level=None)) as db:
            db.execute("DELETE FROM lanes" if snapshot.file == "dispatch" else "DELETE FROM probes")

    await house.enrol("crm")
    monkeypatch.setattr(copying, "_copy", loses)
    with pytest.raises(BackupFailed, match="lanes has 1 rows, the copy 0"):
        await house.command.backup(to, now=NOW)
    assert modes(to) == {}


async def test_a_full_disk_is_told_before_anything_is_written(
    house: SqliteHouse, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "SPARE", 2**60)
    with pytest.raises(BackupFailed, match="MiB free"):
        await house.command.backup(to, now=NOW)
    assert {one.name for one in to.parent.iterdir()} == {"here"}


async def test_a_folder_that_cannot_be_written_is_named(house: SqliteHouse, tmp_path: Path) -> None:
    with pytest.raises(BackupFailed, match=r"nowhere.*No such file"):
        await house.command.backup(tmp_path / "nowhere" / "copy", now=NOW)


async def test_one_backup_is_made_at_a_time(house: SqliteHouse, to: Path) -> None:
    lock = files.Lock(house.path.with_name("receiver.db.backup.lock"))
    with pytest.raises(StoreTaken, match="another backup"):
        await house.command.backup(to, now=NOW)
    lock.release()


async def test_a_backup_that_nobody_waits_for_ends_and_leaves_nothing(
    house: SqliteHouse, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGES", 1)
    await house.stored(*reports(50))
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(
        house.command.backup(to, now=NOW, tell=lambda *_: loop.call_soon_threadsafe(begun.set) and None)
    )
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    lock = await asyncio.to_thread(_when_free, house.path)
    lock.release()
    assert {one.name for one in to.parent.iterdir()} == {"here"}


def _when_free(path: Path) -> files.Lock:
    return files.Lock(path.with_name("receiver.db.backup.lock"), patience=timedelta(seconds=10))


async def test_copies_of_before_a_migration_are_known_too(house: SqliteHouse) -> None:
    copy = house.path.with_name("receiver-schema1.db")
    copy.write_bytes(b"x" * 9)
    assert [(one.path, one.bytes) for one in await house.command.backups()] == [(str(copy), 9)]
