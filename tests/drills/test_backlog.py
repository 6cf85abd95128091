"""The backlog drill passes on the receiver, and sees receivers that break what it is about."""

from typing import Any

import pytest

from drills.backlog.drill import Plan, backlog

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

SMALL: dict[str, Any] = {"seed": 7, "waiting": 1500, "retries": 200, "window": 1.0, "rate": 20.0, "within": 120.0}
READY = 6.0
"""Seconds: the machine that tests run on may be busy."""


async def test_a_backlog_is_in_nobodys_way() -> None:
    assert (await backlog(Plan(**SMALL, ready=READY, broken=""))).faults == []


async def test_the_backlog_drill_sees_a_claim_that_reads_all_that_waits() -> None:
    small = SMALL | {"waiting": 20_000, "within": 0.0}
    verdict = await backlog(Plan(**small, ready=READY, broken="reads-the-backlog"))
    assert any("a claim takes" in fault for fault in verdict.faults), verdict.faults


async def test_the_backlog_drill_sees_a_cursor_that_moves_early() -> None:
    verdict = await backlog(Plan(**SMALL, ready=READY, broken="moves-a-cursor-early"))
    assert any("done at slow, which never got them" in fault for fault in verdict.faults), verdict.faults
