"""The restore drill passes, and sees a backup whose files do not belong together."""

import pytest

from drills.restore import Plan, restore_drill

pytestmark = [pytest.mark.anyio, pytest.mark.drill]


async def test_the_restore_drill_passes() -> None:
    verdict = await restore_drill(Plan(seed=1))
    assert verdict.passed, verdict.words()
    assert 0 < verdict.figures["acknowledged before the backup"] <= verdict.figures["in the backup"]
    assert verdict.figures["acknowledged after it, and gone"] > 0


async def test_the_restore_drill_sees_handlers_that_are_ahead_of_their_log() -> None:
    verdict = await restore_drill(Plan(seed=1, broken="copies-the-log-first"))
    assert any("do not add up" in fault for fault in verdict.faults), verdict.words()
