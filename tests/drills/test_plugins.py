"""The plug-in drill passes, and sees receivers that count as done what a killed process never did."""

import pytest

from drills.plugins import Plan, plugin_drill

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

KINDS = ("raises", "leaves", "crashes", "leaks", "blocks", "forks", "mute", "endless", "resets", "mail5xx")
"""One of each: it fails, ends, is ended for its memory or its silence, leaves children; a target that …"""
PATIENT = {"ratio": 1000.0, "lag": 60.0}
"""What the answers take on a machine that does other things as well says nothing."""


async def test_the_plugin_drill_passes() -> None:
    verdict = await plugin_drill(Plan(seed=1, pairs=1, seconds=1, rate=40, only=KINDS, **PATIENT))
    assert verdict.passed, verdict.words()


@pytest.mark.parametrize("broken", ["forgets-exceptions", "moves-a-cursor-early"])
async def test_the_plugin_drill_sees_killed_events_that_are_nowhere(broken: str) -> None:
    plan = Plan(seed=1, pairs=0, rate=40, within=5, only=("leaves",), broken=broken, **PATIENT)
    verdict = await plugin_drill(plan)
    assert any(fault.startswith("leaves: ") and "count as done" in fault for fault in verdict.faults), verdict.words()
