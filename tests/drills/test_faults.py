"""The fault drill passes on the receiver, and sees receivers that break what it is about."""

import os

import pytest

from drills.faults.drill import drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

SEED = 7
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own can be mounted by root alone")


async def done(*names: str, broken: str = "") -> Verdict:
    """These faults, done to a receiver that may be broken."""
    try:
        return await drill(seed=SEED, names=names, seconds=300.0, broken=broken, stops=3)
    except CannotRun as reason:
        pytest.skip(str(reason))


@ROOT
async def test_a_full_disk_loses_nothing_and_heals() -> None:
    assert (await done("disk-full")).faults == []


async def test_a_flush_that_fails_and_handlers_that_stand_still_lose_nothing() -> None:
    assert (await done("fsync-fails-once", "dispatch-stopped")).faults == []


async def test_the_fault_drill_sees_an_answer_before_the_commit() -> None:
    verdict = await done("fsync-fails-once", broken="acknowledges-before-commit")
    assert any("acknowledged reports are lost" in fault for fault in verdict.faults), verdict.faults


async def test_the_fault_drill_sees_a_forgotten_exception() -> None:
    verdict = await done("second-receiver", broken="forgets-exceptions")
    assert any("never reached own" in fault for fault in verdict.faults), verdict.faults


async def test_the_fault_drill_sees_a_cursor_that_moves_early() -> None:
    verdict = await done("fsync-fails-once", broken="moves-a-cursor-early")
    assert any("never reached own" in fault for fault in verdict.faults), verdict.faults
