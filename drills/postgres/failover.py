"""The failover drill: the primary under three receivers is killed, or stands still, and its standby is promoted."""

import asyncio
import statistics
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

from drills.audit import Audit
from drills.load import Load
from drills.postgres.company import Company
from drills.postgres.eyes import PostgresEyes
from drills.postgres.pair import FROZEN, HEADLESS, KILLED, Pair
from drills.postgres.rest import rested, sent_again
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import PATIENCE

WAYS = {KILLED: 50, HEADLESS: 20, FROZEN: 30}
STRICT = 0.4
"""The share of failovers after which commits wait until the old primary is back as a standby."""
NOTICED = 2.0
"""The most seconds until somebody notices, and promotes the standby."""
CALM = 1.5
"""The most seconds from one failover's end to the next."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    failovers: int = 3
    rate: float = 60.0
    repeats: float = 0.1
    found: float = 10.0
    """Seconds until every receiver has to have found the new primary."""
    ways: tuple[str, ...] = ()
    """Only these; empty: all."""
    within: float = 3600.0
    broken: str = ""


async def failover_drill(plan: Plan) -> Verdict:
    """Fail over as planned, let everything come to rest, and compare. Raises CannotRun without PostgreSQL."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-failover-")))
        pair = await stack.enter_async_context(Pair.running(folder))
        company = await stack.enter_async_context(Company.opened(folder, pair.url, broken=plan.broken))
        return await Failing(plan, pair, company).run()


class Failing:
    """One run of the drill."""

    def __init__(self, plan: Plan, pair: Pair, company: Company) -> None:
        self._plan, self._pair, self._company = plan, pair, company
        self._random = Random(plan.seed)
        self._load = Load(plan.seed, rate=plan.rate, repeats=plan.repeats, connections=12)
        self._verdict = Verdict("failover", plan.seed)
        self._audit = Audit(PostgresEyes(pair.url), self._verdict)
        self._kinds: Counter[str] = Counter()
        self._found: list[float] = []
        self._down: list[float] = []

    async def run(self) -> Verdict:
        """All failovers, then the end."""
        self._company.configure()
        try:
            await self._company.serve()
            async with self._load.running(*self._company.urls), sent_again(self._load, self._company.urls):
                await self._rounds()
            await self._end()
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up after {self._kinds}: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    async def _rounds(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._plan.within
        for number in range(self._plan.failovers):
            if clock() > end:
                self._verdict.must((), f"only {number} failovers within {self._plan.within:.0f} s")
                return
            await self._answered_since(clock())
            await asyncio.sleep(self._random.uniform(0.0, CALM))
            await self._fail_over()
            await self._audit.look(self._load.acknowledged)

    async def _fail_over(self) -> None:
        """The primary goes, somebody notices, the standby is promoted, the receivers find it, the old one follows."""
        how = self._random.choices(*zip(*self._ways(), strict=True))[0]
        strict = self._random.random() < STRICT
        clock, refused = asyncio.get_running_loop().time, self._load.statuses[503]
        began = clock()
        await self._pair.fail(how)
        await asyncio.sleep(self._random.uniform(0.0, NOTICED))
        await self._pair.promote(alone=not strict)
        promoted = clock()
        if strict:
            back = await self._pair.rejoin(self._random)
            promoted = clock()
            await self._is_found(promoted)
        else:
            await self._is_found(promoted)
            back = await self._pair.rejoin(self._random)
        self._down.append(max(self._load.answered_by.values()) - began)
        self._kinds.update([how, f"old one {back}", "commits wait for it" if strict else "commits go on without it"])
        self._verdict.must(self._load.statuses[503] > refused, f"no 503 while there was no primary ({how})")

    def _ways(self) -> list[tuple[str, int]]:
        return [(way, weight) for way, weight in WAYS.items() if way in (self._plan.ways or WAYS)]

    async def _is_found(self, since: float) -> None:
        """Every receiver answers 200 again."""
        await self._answered_since(since)
        took = [at - since for at in self._firsts.values()]
        self._found += took
        late = [f"{each:.1f}" for each in took if each > self._plan.found]
        self._verdict.must(not late, f"a receiver found the new primary only after {', '.join(late)} s")

    async def _answered_since(self, since: float) -> None:
        """Wait until every receiver has answered 200 since then; when each first did is in `_firsts`."""
        self._firsts: dict[str, float] = {}

        def all_have() -> bool:
            for url, at in self._load.answered_by.items():
                if at > since:
                    self._firsts.setdefault(url, at)
            return len(self._firsts) == len(self._company.urls)

        await until(all_have, within=PATIENCE * 2)

    async def _end(self) -> None:
        """Let everything come to rest, compare, and stop in an orderly way."""
        urls, verdict = self._company.urls, self._verdict
        await self._load.repeat(*urls, connections=len(urls))
        await rested(self._audit)
        await self._audit.look(self._load.acknowledged)
        for one in (await self._audit.balance()).handlers:
            ledger = self._company.ledger(one.handler)
            await self._audit.settled(one, ledger)
            verdict.must(not one.dead, f"{one.handler}: {one.dead} dead letters")
            again = ledger.repeats - (await self._audit.written(one.handler, "retry")).total()
            verdict.figures[f"{one.handler}: repeats"] = max(again, 0)
        self._count()
        verdict.faults += self._load.wrong
        verdict.must(not self._load.broken, f"{self._load.broken} requests got no answer")
        await self._company.stop()
        verdict.faults += [f"a traceback in the log: {words}" for words in self._company.tracebacks]

    def _count(self) -> None:
        figures, load = self._verdict.figures, self._load
        figures |= {"failovers": len(self._down), **{f"  {kind}": count for kind, count in sorted(self._kinds.items())}}
        figures |= {"sent": len(load.sent), "acknowledged": len(load.acknowledged)}
        figures |= {"answers 200": load.statuses[200], "answers 503": load.statuses[503]}
        figures |= {"slowest answer, s": max(load.times, default=0.0)}
        if self._found:
            figures["new primary found, median s"] = statistics.median(self._found)
            figures["new primary found, most s"] = max(self._found)
