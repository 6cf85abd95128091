"""The kill drill passes, and sees receivers that lose, forget or double what they were sent."""

from collections.abc import Callable
from typing import Any

import pytest

from drills.kill import Plan, kill_drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 20.0
"""Seconds for a start: the machine may have other things to do."""


async def run(*, seed: int = 1, **plan: Any) -> Verdict:
    """The drill's verdict; skipped where it cannot run."""
    try:
        return await kill_drill(Plan(seed=seed, ready=PATIENT, **plan))
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_the_kill_drill_passes(store: str) -> None:
    verdict = await run(kills=5, rate=40, store=store)
    assert verdict.passed, verdict.words()
    assert verdict.figures["kills"] >= 5
    assert verdict.figures["acknowledged"] == verdict.figures["stored"] > 0


async def sees(seen: Callable[[Verdict], bool], **plan: Any) -> None:
    """A kill may miss the moment that a fault needs, and more so on a fast machine: it has some runs to be seen in."""
    for seed in range(1, 5):
        verdict = await run(seed=seed, **plan)
        if seen(verdict):
            return
    pytest.fail(f"not seen in any run, in the last:\n{verdict.words()}")


def never_reached(handler: str) -> Callable[[Verdict], bool]:
    """Events that a handler (any, where it is empty) has neither got nor given up."""
    return lambda verdict: any(
        fault.startswith(handler) and "never reached it and are not dead" in fault for fault in verdict.faults
    )


async def test_the_kill_drill_sees_an_answer_before_the_commit() -> None:
    broken = "acknowledges-before-commit"
    await sees(
        lambda verdict: verdict.figures["lost"] > 0, kills=5, rate=60, victims=("serve",), at="write", broken=broken
    )


async def test_the_kill_drill_sees_a_cursor_that_moves_early() -> None:
    victims = ("dispatch", "worker")
    await sees(never_reached(""), kills=6, rate=300, victims=victims, broken="moves-a-cursor-early")


async def test_the_kill_drill_sees_forgotten_exceptions() -> None:
    await sees(never_reached("flaky: "), kills=1, victims=("worker",), broken="forgets-exceptions")


async def test_the_kill_drill_sees_what_is_stored_twice() -> None:
    await sees(
        lambda verdict: verdict.figures["twice"] > 0, kills=1, victims=("worker",), repeats=0.5, broken="looks-first"
    )
