"""The clock: against the newest event, and whether the system keeps it right."""

import asyncio
import shutil
from contextlib import suppress
from datetime import timedelta

from receiver import units
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.finding import Finding, ok, problem

CHECK = "clock"
TOLERATED = timedelta(seconds=2)
PATIENCE = 3.0
"""Seconds for timedatectl."""


async def clock(case: Case) -> list[Finding]:
    """Whether no event is from the future, and whether the system sets its clock by others."""
    if case.only:
        return []
    seen = await case.seen()
    newest = seen.newest_at if seen else None
    if newest and newest - case.now > TOLERATED:
        ahead = units.words(newest - case.now)
        cure = "the clock was set back, or was wrong when that came: date; timedatectl status"
        return [problem(CHECK, f"the newest event is from {ahead} ahead of now", cure)]
    synchronised = await _synchronised()
    if synchronised is False:
        cure = "timedatectl set-ntp true      (reports are ordered by time, and signatures are refused after minutes)"
        return [problem(CHECK, "it is not set by others, and will go wrong", cure)]
    return [ok(CHECK, "synchronised" if synchronised else "no event is from the future", synchronised=synchronised)]


async def _synchronised() -> bool | None:
    """What systemd says; None where there is no such thing here."""
    program = shutil.which("timedatectl")
    if not program:
        return None
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(PATIENCE):
            asked = await asyncio.create_subprocess_exec(
                *(program, "show", "--property=NTPSynchronized", "--value"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                said, _ = await asked.communicate()
            finally:
                with suppress(ProcessLookupError):
                    asked.kill()
            return {b"yes": True, b"no": False}.get(said.strip())
    return None
