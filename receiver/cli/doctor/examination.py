"""The examination: all checks, in the order in which they are told; those that wait for others run at the same time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from receiver.cli.doctor import clock, database, disk, mail, postgres, proxy, public, rights, running, targets
from receiver.cli.doctor.case import Case
from receiver.cli.doctor.finding import Finding, problem

Check = Callable[[Case], Awaitable[list[Finding]]]

LONGEST = 25.0
"""Seconds for one check; each has shorter ones of its own."""
# Each row is done one after the other, the rows at the same time: what measures the disk is not disturbed by what reads
# it, and what goes through the proxy knows whether the same was taken without it.
ROWS: Sequence[Sequence[Check]] = (
    (rights.permissions,),
    (disk.room, disk.flushing, database.store, postgres.server, database.integrity),
    (clock.clock,),
    (running.processes, running.callbacks, proxy.proxy, public.public),
    (database.sources,),
    (targets.handlers,),
    (targets.names, targets.targets),
    (mail.mail,),
    (database.dead_letters, database.quarantine),
)
OF_A_SOURCE = (running.processes, running.callbacks, proxy.proxy, public.public, database.sources, database.quarantine)
"""What is done where one source is asked about."""


async def examined(case: Case, rows: Sequence[Sequence[Check]] = ROWS) -> AsyncIterator[Finding]:
    """The findings, each as soon as those before it are there."""
    doing = [asyncio.create_task(_row(row, case)) for row in rows]
    for row in doing:
        for finding in await row:
            yield finding


async def _row(row: Sequence[Check], case: Case) -> list[Finding]:
    return [finding for check in row if _wanted(check, case) for finding in await _done(check, case)]


def _wanted(check: Check, case: Case) -> bool:
    return not case.only or check in OF_A_SOURCE


async def _done(check: Check, case: Case) -> list[Finding]:
    """What a check found; that it hangs or fails is a finding too, and keeps no other from being told."""
    name = getattr(check, "__name__", "check")
    try:
        async with asyncio.timeout(LONGEST):
            return await check(case)
    except TimeoutError:
        return [problem(name, f"no result within {LONGEST:.0f} s", "the disk or the network hangs")]
    except Exception as fault:
        return [problem(name, f"could not be looked at: {type(fault).__name__}: {fault}", "please report this")]
