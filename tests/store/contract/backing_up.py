"""Laws of backups: a copy as of one moment, whole or not there, and known afterwards."""

from pathlib import Path

import pytest
from factories import NOW, after, reports

from receiver.errors import BackupFailed

from ..conftest import House


async def test_a_backup_is_told_with_what_is_in_it_and_known_afterwards(house: House, tmp_path: Path) -> None:
    await house.stored(*reports(3))
    made = await house.command.backup(tmp_path / "copy", now=NOW)
    assert (made.path, made.made_at, made.events) == (str(tmp_path / "copy"), NOW, 3)
    assert made.bytes == sum(file.stat().st_size for file in (tmp_path / "copy").iterdir()) > 0
    assert await house.command.backups() == [made]


async def test_backups_are_known_in_the_order_they_were_made_until_they_are_forgotten(
    house: House, tmp_path: Path
) -> None:
    made = [await house.command.backup(tmp_path / name, now=after(n)) for n, name in enumerate("ba")]
    assert await house.command.backups() == made
    await house.command.forget_backups([made[0].path])
    assert await house.command.backups() == made[1:]


async def test_nothing_is_written_over(house: House, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    with pytest.raises(BackupFailed, match="exists already"):
        await house.command.backup(tmp_path / "copy", now=NOW)
    assert list((tmp_path / "copy").iterdir()) == []
    assert await house.command.backups() == []


async def test_it_tells_how_far_it_is(house: House, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    await house.stored(*reports(3))
    await house.command.backup(tmp_path / "copy", now=NOW, tell=lambda *told: heard.append(told))
    assert {part for part, _, _ in heard} >= {"copying", "checking"}
    assert all(0 <= done <= of for _, done, of in heard)
