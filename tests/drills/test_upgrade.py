"""The upgrade drill passes, and sees a migration that costs what repetitions are known by."""

import pytest

from drills.upgrade import Plan, upgrade_drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]


async def run(*, broken: str = "") -> Verdict:
    """The drill's verdict; skipped where the clone has no history."""
    try:
        return await upgrade_drill(Plan(seed=1, broken=broken))
    except CannotRun as reason:
        pytest.skip(str(reason))


async def test_the_upgrade_drill_passes() -> None:
    verdict = await run()
    assert verdict.passed, verdict.words()
    assert verdict.figures["acknowledged by the older one"] > 0
    assert verdict.figures["acknowledged by this one"] > 0


async def test_the_upgrade_drill_sees_what_is_stored_twice() -> None:
    verdict = await run(broken="forgets-keys-when-migrating")
    assert any("stored twice" in fault for fault in verdict.faults), verdict.words()


async def test_a_version_that_is_not_there_is_said() -> None:
    with pytest.raises(CannotRun, match="needs a clone with its history"):
        await upgrade_drill(Plan(seed=1, start="v0.0.0-never"))
