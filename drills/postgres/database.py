"""The database drill: two receivers under load on one server, and what befalls it and the way to it."""

import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from drills.audit import Audit
from drills.faults import mount
from drills.load import Load
from drills.postgres.company import Company, Receiver
from drills.postgres.eyes import PostgresEyes
from drills.postgres.rest import rested, sent_again
from drills.postgres.server import OWNER, Server
from drills.postgres.troubles import TROUBLES, Stage, Trouble
from drills.postgres.wire import Wire
from drills.verdict import CannotRun, Verdict
from drills.waiting import until
from drills.yard import PATIENCE
from receiver.store.views import HandlerStats

GIVEN_UP = 30.0
"""Seconds after which nobody waits for it any more."""
DISK = 96
"""MiB of the disk with the server's tables."""
RATE = 40.0


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    only: tuple[str, ...] = ()
    """These troubles; empty: all."""
    healed: float = 6.0
    """Seconds until all is well again: a silent wire is noticed after four."""
    within: float = 3600.0
    broken: str = ""


async def database_drill(plan: Plan) -> Verdict:
    """One trouble after the other, then compare. Raises CannotRun without PostgreSQL."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-database-")))
        server = await stack.enter_async_context(Server.running(folder))
        disk, skipped = folder / "disk", ""
        try:
            stack.enter_context(mount.disk(disk, DISK))
            server.own(disk)
            await server.value(f"CREATE TABLESPACE small OWNER {OWNER} LOCATION '{disk / 'tables'}'")
        except CannotRun as reason:
            skipped = str(reason)
        url = await server.create_database("" if skipped else "TABLESPACE small")
        wire = await stack.enter_async_context(Wire.laid(server.port))
        company = await stack.enter_async_context(Company.opened(folder, url, count=2, broken=plan.broken))
        company.receivers[0].env["RECEIVER_STORE__URL"] = url.replace(f":{server.port}/", f":{wire.port}/")
        stage = Stage(server, wire, None if skipped else disk)
        drill = Troubled(plan, stage, company, PostgresEyes(url))
        if skipped:
            drill.verdict.figures["disk-full SKIPPED"] = skipped
        return await drill.run()


class Troubled:
    """One run of the drill."""

    def __init__(self, plan: Plan, stage: Stage, company: Company, eyes: PostgresEyes) -> None:
        self._plan, self._stage, self._company = plan, stage, company
        self._loads = {one: Load(plan.seed + n, rate=RATE) for n, one in enumerate(company.receivers)}
        self.verdict = Verdict("database", plan.seed)
        self._audit = Audit(eyes, self.verdict)

    async def run(self) -> Verdict:
        """All of it."""
        self._company.configure()
        try:
            await self._company.serve()
            async with AsyncExitStack() as stack:
                for one, load in self._loads.items():
                    await stack.enter_async_context(load.running(one.url))
                    await stack.enter_async_context(sent_again(load, [one.url]))
                    await stack.enter_async_context(one.ready.watched())
                await self._rounds()
            await self._end()
        except (AssertionError, TimeoutError) as fault:
            self.verdict.faults.append(f"gave up: {str(fault)[-1000:] or 'too late'}")
        return self.verdict

    async def _rounds(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._plan.within
        for name, trouble in TROUBLES.items():
            if name not in (self._plan.only or TROUBLES) or (name == "disk-full" and not self._stage.disk):
                continue
            if clock() > end:
                self.verdict.count("left out, the time was over")
                continue
            await until(lambda: all(self._is_well(one, clock() - 1) for one in self._loads), within=PATIENCE)
            self.verdict.rows[name] = await self._do(trouble)
            await self._audit.look(self._acknowledged)

    @property
    def _acknowledged(self) -> set[str]:
        return set[str]().union(*(load.acknowledged for load in self._loads.values()))

    async def _do(self, trouble: Trouble) -> dict[str, object]:
        """It has to be seen while it lasts, and to heal when it is over."""
        clock = asyncio.get_running_loop().time
        began = clock()
        behind = self._company.receivers[:1] if trouble.first_only else self._company.receivers
        before = {one: load.statuses.copy() for one, load in self._loads.items()}
        async with trouble.work(self._stage):
            for one in self._loads:
                refused = (self._loads[one].statuses - before[one])[503]
                if one in behind and trouble.why:
                    self._must(refused, trouble, "nothing was answered 503, though nothing could be stored")
                    self._was_red(one, trouble, began)
                elif trouble.first_only:
                    self._must(not refused, trouble, f"{refused} answers of the other receiver were 503")
        ended = clock()
        healed = await self._heals(behind, ended)
        self._must(healed <= self._plan.healed, trouble, f"well again only {healed:.1f} s after its end")
        seen = Counter[int]()
        for one, load in self._loads.items():
            seen += load.statuses - before[one]
        return {"200": seen[200], "503": seen[503], "lasted": round(ended - began, 1), "healed": round(healed, 1)}

    def _must(self, true: object, trouble: Trouble, fault: str) -> None:
        self.verdict.must(true, f"{trouble.name}: {fault}")

    def _was_red(self, one: Receiver, trouble: Trouble, began: float) -> None:
        red = [look for look in one.ready.looks if look.at >= began and not look.ready]
        self._must(red, trouble, "/readyz stayed green")
        words = f"/readyz said {red[-1].reasons!r}, not /{trouble.why}/" if red else ""
        self._must(not red or any(re.search(trouble.why, look.reasons) for look in red), trouble, words)

    async def _heals(self, behind: Sequence[Receiver], ended: float) -> float:
        """Seconds until all of these answer 200 and say that they are ready."""
        with suppress(AssertionError):
            await until(lambda: all(self._is_well(one, ended) for one in behind), within=GIVEN_UP)
        return asyncio.get_running_loop().time() - ended

    def _is_well(self, one: Receiver, since: float) -> bool:
        look = one.ready.looks[-1] if one.ready.looks else None
        return bool(look and look.ready and look.at > since and self._loads[one].answered_at > since)

    async def _end(self) -> None:
        """Let everything come to rest, compare, and stop in an orderly way."""
        for one, load in self._loads.items():
            await load.repeat(one.url, within=PATIENCE * 2, connections=8)
            self.verdict.faults += load.wrong
            self.verdict.must(not load.broken, f"{load.broken} requests got no answer")
        await rested(self._audit)
        await self._audit.look(self._acknowledged)
        for handler in (await self._audit.balance()).handlers:
            await self._compare(handler)
        self.verdict.figures["acknowledged"] = len(self._acknowledged)
        await self._company.stop()
        self.verdict.faults += [f"a traceback in the log: {words}" for words in self._company.tracebacks]

    async def _compare(self, one: HandlerStats) -> None:
        """What a handler has, with what it is owed; its repeats, with what interrupted it."""
        ledger = self._company.ledger(one.handler)
        await self._audit.settled(one, ledger)
        self.verdict.must(not one.dead, f"{one.handler}: {one.dead} dead letters")
        interrupted = (await self._audit.written(one.handler, "interrupted")).total()
        again = ledger.repeats - (await self._audit.written(one.handler, "retry")).total()
        self.verdict.figures[f"{one.handler}: repeats, interruptions"] = f"{max(again, 0)}, {interrupted}"
