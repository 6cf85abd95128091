"""The power-cut drill passes, and sees receivers that answer before the disk has what they were sent."""

from pathlib import Path
from random import Random
from typing import Any

import pytest

from drills.powercut import drill, tape
from drills.powercut.disk import MODELS, Disk
from drills.powercut.looking import CORRUPT, LOST, MISSED, Cut, inspect
from drills.powercut.stage import HANDLERS, Recording
from drills.powercut.tape import Op
from drills.verdict import CannotRun, Verdict

FOLDER, FILE = "/data", "/data/receiver.db"
IN_TIME = 120.0


async def run(**plan: Any) -> Verdict:
    """The drill's verdict; skipped where it cannot run."""
    try:
        return await drill(seed=1, within=IN_TIME, **plan)
    except CannotRun as reason:
        pytest.skip(str(reason))


def left(model: str, *ops: tuple[bytes, str, int, bytes]) -> bytes | None:
    """What a power cut leaves of the file behind these operations."""
    disk = Disk(FOLDER)
    for sequence, op in enumerate(ops):
        disk.follow(Op(sequence, *op))
    return disk.left(MODELS[model], Random(1)).get(FILE)


def created(*ops: tuple[bytes, str, int, bytes]) -> list[tuple[bytes, str, int, bytes]]:
    """A file whose name is on the disk, before these operations."""
    return [(tape.CREATE, FILE, 0, b""), (tape.FSYNC, FOLDER, 0, b""), (tape.FSYNCED, FOLDER, 1, b""), *ops]


def write(offset: int, content: bytes) -> tuple[bytes, str, int, bytes]:
    return (tape.WRITE, FILE, offset, content)


def fsync(began: int) -> list[tuple[bytes, str, int, bytes]]:
    """Begun as the operation of this number, and ended."""
    return [(tape.FSYNC, FILE, 0, b""), (tape.FSYNCED, FILE, began, b"")]


@pytest.mark.parametrize("model", MODELS)
def test_what_was_flushed_survives_in_every_model(model: str) -> None:
    assert left(model, *created(write(0, b"kept"), *fsync(4))) == b"kept"


def test_what_was_not_flushed_may_be_gone() -> None:
    ops = created(write(0, b"kept"), *fsync(4), write(0, b"lost"), write(4, b"more"))
    assert left("nothing", *ops) == b"kept"
    assert left("everything", *ops) == b"lostmore"
    assert left("sizes", *ops) == b"kept\0\0\0\0"


def test_a_flush_that_has_not_ended_keeps_nothing() -> None:
    assert left("nothing", *created(write(0, b"lost"), (tape.FSYNC, FILE, 0, b""))) == b""


def test_what_was_written_during_a_flush_is_not_flushed_by_it() -> None:
    begun, ended = fsync(4)
    assert left("nothing", *created(write(0, b"kept"), begun, write(0, b"late"), ended)) == b"kept"


def test_a_name_that_its_folder_was_not_flushed_for_may_be_missing() -> None:
    ops = [(tape.CREATE, FILE, 0, b""), write(0, b"here"), *fsync(2)]
    assert left("nothing", *ops) is None
    assert left("everything", *ops) == b"here"


def test_a_file_that_was_removed_may_be_there_again_as_it_was() -> None:
    ops = created(
        write(0, b"old"), *fsync(4), (tape.UNLINK, FILE, 0, b""), (tape.CREATE, FILE, 0, b""), write(0, b"new")
    )
    assert left("nothing", *ops) == b"old"
    assert left("everything", *ops) == b"new"


def test_a_page_can_be_torn_between_its_sectors() -> None:
    disk = Disk(FOLDER)
    for sequence, op in enumerate(created(write(0, b"a" * 4096), *fsync(4), write(0, b"b" * 4096))):
        disk.follow(Op(sequence, *op))
    found = {disk.left(MODELS["sectors"], Random(seed))[FILE] for seed in range(10)}
    assert any(b"a" in content and b"b" in content for content in found)
    assert {disk.left(MODELS["pages"], Random(seed))[FILE][:1] for seed in range(10)} == {b"a", b"b"}


def test_no_more_cuts_are_made_when_the_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "recorded").touch()
    recording = Recording(FOLDER, tmp_path / "recorded", 0, {}, {handler: {} for handler in HANDLERS}, set())
    cuts = [Cut(0, "nothing", "1"), Cut(0, "nothing", "2")]
    assert inspect(recording, cuts, tmp_path / "cut", until=0.0) == (1, [])
    assert inspect(recording, cuts, tmp_path / "cut", until=float("inf")) == (2, [])


@pytest.mark.drill
@pytest.mark.anyio
async def test_nothing_is_lost_by_a_power_cut() -> None:
    verdict = await run(cuts=120, seconds=2.0, restarts=2)
    assert verdict.passed, verdict.words()
    assert (verdict.figures["cuts"], verdict.figures["restarts"]) == (120, 2)


@pytest.mark.drill
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("broken", "laws"),
    [
        ("acknowledges-before-commit", {LOST}),
        ("synchronous-off", {LOST, CORRUPT}),
        ("synchronous-normal", {LOST}),
        ("forgets-exceptions", {MISSED}),
    ],
)
async def test_the_power_cut_drill_sees(broken: str, laws: set[str]) -> None:
    verdict = await run(cuts=60, seconds=1.0, restarts=0, broken=broken)
    assert not verdict.passed
    assert all(verdict.figures[law] for law in laws), verdict.words()
