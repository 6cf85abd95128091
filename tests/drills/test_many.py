"""The drill of many passes, and sees receivers that look for repetitions instead of having a key for them."""

from typing import Any

import pytest

from drills.postgres.many import Plan, many_drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]


async def run(**plan: Any) -> Verdict:
    """The drill's verdict; skipped where there is no PostgreSQL."""
    try:
        return await many_drill(Plan(seed=1, **plan))
    except CannotRun as reason:
        pytest.skip(str(reason))


async def test_receivers_that_are_killed_one_after_the_other_lose_and_double_nothing() -> None:
    verdict = await run(events=1500, rate=100.0)
    assert verdict.passed, verdict.words()
    assert verdict.figures["kills"] >= 3
    assert verdict.figures["acknowledged"] >= 1500


async def test_the_drill_of_many_sees_what_is_stored_twice() -> None:
    verdict = await run(events=300, rate=100.0, repeats=0.5, broken="looks-first")
    assert verdict.figures["twice"] > 0, verdict.words()


async def test_the_drill_of_many_sees_a_claim_that_nobody_takes_over() -> None:
    verdict = await run(events=800, rate=100.0, every=2.0, broken="never-takes-over")
    assert any("nobody took over" in fault or "is not done" in fault for fault in verdict.faults), verdict.words()
