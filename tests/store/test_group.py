"""Who goes into which commit; what a commit does is the stores' matter."""

import asyncio
from collections.abc import Sequence

import pytest
from factories import NOW, report

from receiver.callback import Callback
from receiver.store.base import Recorded
from receiver.store.group import TURNS, GroupCommit, Later
from receiver.store.plan import Entry, Plan

pytestmark = pytest.mark.anyio

CALLBACK = Callback("spryng", "dlr", "GET", NOW)


class Counting(GroupCommit):
    """Writes nothing, and remembers how many were in each commit; one takes a while."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.batches: list[int] = []

    async def _store(self, batch: Sequence[Entry], later: Later) -> Plan:
        self.batches.append(len(batch))
        await asyncio.sleep(0.002)
        return Plan(answers=[Recorded("stored") for _ in batch])

    async def _write_later(self, later: Later) -> None: ...

    async def _let_go(self) -> None: ...

    def _abandon(self) -> None: ...

    def busy_for(self) -> float:
        return 0.0

    def turned(self) -> float:
        return 0.0


async def ask(group: GroupCommit, *, times: int, turns: int) -> None:
    """Ask again and again, each time so many turns of the loop after the answer."""
    for _ in range(times):
        await group.record(CALLBACK, [report()], "")
        for _ in range(turns):
            await asyncio.sleep(0)


@pytest.mark.parametrize("turns", [0, 3, TURNS - 4])
async def test_who_was_just_answered_and_comes_again_at_once_is_in_the_next_commit(turns: int) -> None:
    group = Counting()
    group.begin()
    early = [asyncio.create_task(ask(group, times=6, turns=turns)) for _ in range(5)]
    await asyncio.sleep(0.001)  # a first commit is under way without the others
    others = [asyncio.create_task(ask(group, times=5, turns=turns)) for _ in range(3)]
    await asyncio.gather(*early, *others)
    await group.close()
    assert group.batches == [5, 8, 8, 8, 8, 8]


async def test_nobody_waits_for_those_who_do_not_come_again() -> None:
    group = Counting()
    group.begin()
    await asyncio.gather(*(ask(group, times=1, turns=0) for _ in range(8)))
    async with asyncio.timeout(1):
        await group.record(CALLBACK, [report()], "")
    await group.close()
    assert group.batches == [8, 1]
