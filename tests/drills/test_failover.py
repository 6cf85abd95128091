"""The failover drill passes, and sees receivers that answer too early."""

from typing import Any

import pytest

from drills.postgres.failover import Plan, failover_drill
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 30.0
"""Seconds to find the new primary: the machine may have other things to do."""


async def run(**plan: Any) -> Verdict:
    """The drill's verdict; skipped where there is no PostgreSQL."""
    try:
        return await failover_drill(Plan(seed=1, found=PATIENT, **plan))
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("way", ["killed", "headless", "frozen"])
async def test_nothing_is_lost_or_doubled_where_the_primary_is(way: str) -> None:
    verdict = await run(failovers=1, ways=(way,))
    assert verdict.passed, verdict.words()
    assert verdict.figures["acknowledged"] == verdict.figures["stored"] > 0
    assert verdict.figures["answers 503"] > 0


async def test_the_failover_drill_sees_an_answer_before_the_commit() -> None:
    verdict = await run(failovers=1, ways=("killed",), broken="acknowledges-before-commit")
    assert verdict.figures["lost"] > 0, verdict.words()
