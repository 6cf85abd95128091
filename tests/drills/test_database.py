"""The database drill passes, and sees receivers that answer too early."""

from typing import Any

import pytest

from drills.postgres.database import Plan, database_drill
from drills.postgres.troubles import SHORT_RUN
from drills.verdict import CannotRun, Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 20.0
"""Seconds until all is well again: the machine may have other things to do."""


async def run(**plan: Any) -> Verdict:
    """The drill's verdict; skipped where there is no PostgreSQL."""
    try:
        return await database_drill(Plan(seed=1, healed=PATIENT, **plan))
    except CannotRun as reason:
        pytest.skip(str(reason))


async def test_while_the_database_is_away_silent_locked_or_full_answers_are_503_and_nothing_is_lost() -> None:
    verdict = await run(only=SHORT_RUN)
    assert verdict.passed, verdict.words()
    assert verdict.rows.keys() <= set(SHORT_RUN)
    assert all(row["200"] for row in verdict.rows.values())


async def test_the_database_drill_sees_an_answer_before_the_commit() -> None:
    verdict = await run(only=("server-killed",), broken="acknowledges-before-commit")
    assert verdict.figures["lost"] > 0, verdict.words()
