"""The kill drill passes, and sees receivers that lose, forget or double what they were sent."""

from typing import Any

import pytest

from drills.kill import Plan, kill_drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 20.0
"""Seconds for a start: the machine may have other things to do."""


async def run(**plan: Any) -> Verdict:
    """The drill's verdict; skipped where it cannot run."""
    try:
        return await kill_drill(Plan(seed=1, ready=PATIENT, **plan))
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_the_kill_drill_passes(store: str) -> None:
    verdict = await run(kills=5, rate=40, store=store)
    assert verdict.passed, verdict.words()
    assert verdict.figures["kills"] >= 5
    assert verdict.figures["acknowledged"] == verdict.figures["stored"] > 0


async def test_the_kill_drill_sees_an_answer_before_the_commit() -> None:
    broken = "acknowledges-before-commit"
    verdict = await run(kills=5, rate=60, victims=("serve",), at="write", broken=broken)
    assert verdict.figures["lost"] > 0, verdict.words()


async def test_the_kill_drill_sees_a_cursor_that_moves_early() -> None:
    verdict = await run(kills=3, victims=("dispatch", "worker"), broken="moves-a-cursor-early")
    assert any("never reached it and are not dead" in fault for fault in verdict.faults), verdict.words()


async def test_the_kill_drill_sees_forgotten_exceptions() -> None:
    verdict = await run(kills=1, victims=("worker",), broken="forgets-exceptions")
    assert any(fault.startswith("flaky: ") and "never reached it" in fault for fault in verdict.faults), verdict.words()


async def test_the_kill_drill_sees_what_is_stored_twice() -> None:
    verdict = await run(kills=1, victims=("worker",), repeats=0.5, broken="looks-first")
    assert verdict.figures["twice"] > 0, verdict.words()
