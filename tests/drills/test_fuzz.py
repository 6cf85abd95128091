"""The fuzz drill passes, and sees receivers that stumble, hang or grow."""

from typing import Any

import pytest

from drills.fuzz.drill import Plan, fuzz
from drills.verdict import Verdict

pytestmark = [pytest.mark.anyio, pytest.mark.drill]

PATIENT = 10.0
"""Seconds for a probe: the machine may have other things to do."""


async def run(**plan: Any) -> Verdict:
    return await fuzz(Plan(seed=1, slow=PATIENT, **plan))


async def test_the_fuzz_drill_passes() -> None:
    verdict = await run(requests=20_000)
    assert verdict.passed, verdict.words()
    assert verdict.figures["events acknowledged"] > 500
    assert verdict.figures["answered 400"] > 500


@pytest.mark.parametrize(
    ("broken", "requests", "seen"),
    [
        ("stumbles-over-content", 4_000, "answered 500: b'"),
        ("waits-for-ever", 4_000, "neither answered nor closed for 2"),
        ("keeps-every-body", 40_000, "serve grew by"),
    ],
)
async def test_the_fuzz_drill_sees(broken: str, requests: int, seen: str) -> None:
    verdict = await run(requests=requests, broken=broken)
    assert any(fault.startswith(seen) for fault in verdict.faults), verdict.words()
