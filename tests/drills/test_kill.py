"""The kill drill passes, and sees receivers that lose, forget or double what they were sent."""

import pytest

from drills.kill import Plan, kill_drill

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 20.0
"""Seconds for a start: the machine may have other things to do."""


async def test_the_kill_drill_passes() -> None:
    verdict = await kill_drill(Plan(seed=1, kills=5, rate=40, ready=PATIENT))
    assert verdict.passed, verdict.words()
    assert verdict.figures["kills"] >= 5
    assert verdict.figures["acknowledged"] == verdict.figures["stored"] > 0


async def test_the_kill_drill_sees_an_answer_before_the_commit() -> None:
    broken = "acknowledges-before-commit"
    plan = Plan(seed=1, kills=5, rate=60, victims=("serve",), at="write", ready=PATIENT, broken=broken)
    verdict = await kill_drill(plan)
    assert verdict.figures["lost"] > 0, verdict.words()


async def test_the_kill_drill_sees_a_cursor_that_moves_early() -> None:
    plan = Plan(seed=1, kills=3, victims=("dispatch", "worker"), ready=PATIENT, broken="moves-a-cursor-early")
    verdict = await kill_drill(plan)
    assert any("never reached it and are not dead" in fault for fault in verdict.faults), verdict.words()


async def test_the_kill_drill_sees_forgotten_exceptions() -> None:
    plan = Plan(seed=1, kills=1, victims=("worker",), ready=PATIENT, broken="forgets-exceptions")
    verdict = await kill_drill(plan)
    assert any(fault.startswith("flaky: ") and "never reached it" in fault for fault in verdict.faults), verdict.words()


async def test_the_kill_drill_sees_what_is_stored_twice() -> None:
    plan = Plan(seed=1, kills=1, victims=("worker",), repeats=0.5, ready=PATIENT, broken="looks-first")
    verdict = await kill_drill(plan)
    assert verdict.figures["twice"] > 0, verdict.words()
