"""The drill of many: three receivers and three dispatchers on one database, one process killed every few seconds."""

import asyncio
import os
import statistics
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from random import Random
from typing import NamedTuple

from drills.audit import Audit
from drills.load import Load
from drills.postgres import threads
from drills.postgres.company import Company, Receiver
from drills.postgres.eyes import THREADS, PostgresEyes
from drills.postgres.rest import rested, sent_again
from drills.postgres.server import Server
from drills.postgres.threads import Threads
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import PATIENCE, Command
from receiver.dispatch.engine import Engine
from receiver.store.views import HandlerStats

SERVE, DISPATCH, WORKER = "serve", "dispatch", "worker"
WEIGHTS = {SERVE: 35, DISPATCH: 40, WORKER: 25}
LEASE: float = next(field.default for field in fields(Engine) if field.name == "lease").total_seconds()  # type: ignore[union-attr]
TAKEN_WITHIN = LEASE * 1.25 + 10
"""Seconds from a death until somebody has what the dead had claimed: others look four times in a lease."""
STALLED = TAKEN_WITHIN + 10
CHECK = 10
"""Kills between two looks."""
FEW = '[handlers.{name}]\nuse = "{name}"\nretries = []\nrecipients = ["31612345670"]\n'
DOOMED = """
import zlib
from receiver import Retry

async def handle(event, attempt):
    if zlib.crc32(event.message_id.encode()) % 100 == 0:
        raise Retry("never")
"""
NOTICES = (
    "SELECT data::json->>'notice', data::json->>'about', data::json->>'state' FROM events WHERE kind = 'notice'"
    " ORDER BY at, stream, position"
)
OWNERS = "SELECT owner FROM owners"


class Death(NamedTuple):
    """A dispatcher that was killed: its name in the database, and when."""

    owner: str
    at: float


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    events: int = 4000
    rate: float = 250.0
    repeats: float = 0.1
    every: float = 3.0
    within: float = 3600.0
    broken: str = ""


async def many_drill(plan: Plan) -> Verdict:
    """Send and kill as planned, let everything come to rest, and compare. Raises CannotRun without PostgreSQL."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-many-")))
        url = await (await stack.enter_async_context(Server.running(folder))).create_database()
        company = await stack.enter_async_context(Company.opened(folder, url, broken=plan.broken))
        return await Many(plan, PostgresEyes(url), company, folder).run()


class Many:
    """One run of the drill."""

    def __init__(self, plan: Plan, eyes: PostgresEyes, company: Company, folder: Path) -> None:
        self._plan, self._eyes, self._company = plan, eyes, company
        self._random = Random(plan.seed)
        self._load = Load(plan.seed, rate=plan.rate, repeats=plan.repeats, connections=24)
        self._threads = Threads(plan.seed)
        self._ledger = folder / "inorder.ledger"
        self._ledger.touch()
        self._verdict = Verdict("many", plan.seed)
        self._audit = Audit(eyes, self._verdict)
        self._kills: Counter[str] = Counter()
        self._dead: list[Death] = []
        self._taken: list[float] = []
        self._serving: dict[Receiver, Command] = {}
        self._dispatching: dict[Receiver, Command] = {}

    async def run(self) -> Verdict:
        """All of it."""
        self._configure()
        urls = self._company.urls
        try:
            for one in self._company.receivers:
                await self._start(one, SERVE)
                await self._start(one, DISPATCH)
                await self._serving[one].says("ready")
            watching = asyncio.create_task(self._watch())
            try:
                async with self._threads.running(urls), self._load.running(*urls), sent_again(self._load, urls):
                    await self._rounds()
                await self._end()
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up after {self._kills}: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    def _configure(self) -> None:
        few = FEW.format(name="doomed")
        self._company.configure(threads.SOURCE, threads.HANDLER, few, filters='sources = ["spryng"]\n')
        for one in self._company.receivers:
            one.yard.drop_in("inorder", threads.CODE.format(file=str(self._ledger)))
            one.yard.drop_in("doomed", DOOMED)

    async def _start(self, one: Receiver, what: str) -> None:
        commands, options = (self._serving, ["--no-dispatch"]) if what == SERVE else (self._dispatching, [])
        commands[one] = await one.start(what, *options)

    async def _rounds(self) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + self._plan.within
        while len(self._load.sent) < self._plan.events:
            if clock() > end:
                self._verdict.must((), f"only {len(self._load.sent)} events within {self._plan.within:.0f} s")
                return
            await asyncio.sleep(self._random.uniform(0.5, 1.5) * self._plan.every)
            await self._kill()
            if self._kills.total() % CHECK == 0:
                await self._audit.balance()
                await self._audit.look(self._load.acknowledged)

    async def _kill(self) -> None:
        """kill -9 one process, and start what its supervisor would start."""
        who = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        one = self._random.choice(self._company.receivers)
        command = (self._serving if who == SERVE else self._dispatching)[one]
        family = command.family
        if who == WORKER:
            await command.kill(*family[-1:])
        else:
            await command.kill(command.pid)
            if who == DISPATCH:
                self._dead.append(Death(f"{os.uname().nodename}/{command.pid}/", asyncio.get_running_loop().time()))
            await asyncio.sleep(self._random.uniform(0.0, 0.5))
            await self._start(one, who)
        self._kills[who] += 1

    async def _watch(self) -> None:
        """How long it takes until what a dead dispatcher had claimed is another's."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(0.5)
            with suppress(OSError):
                owners = [owner for (owner,) in await self._eyes.rows(OWNERS)]
                for dead in list(self._dead):
                    if not any(owner.startswith(dead.owner) for owner in owners):
                        self._dead.remove(dead)
                        self._taken.append(clock() - dead.at)

    async def _end(self) -> None:
        """Let everything come to rest, compare, and stop in an orderly way."""
        urls, verdict = self._company.urls, self._verdict
        await self._load.repeat(*urls, connections=len(urls), within=PATIENCE * 2)
        await rested(self._audit, stalled=STALLED)
        now = asyncio.get_running_loop().time()
        with suppress(AssertionError):
            await until(
                lambda: not self._dead, within=max((dead.at for dead in self._dead), default=now) + STALLED - now
            )
        await self._audit.look(self._load.acknowledged | self._threads.acknowledged)
        for one in (await self._audit.balance()).handlers:
            await self._compare(one)
        await self._was_shared()
        await self._was_in_order()
        await self._said_once()
        self._count()
        verdict.faults += [*self._load.wrong, *self._threads.wrong]
        await self._company.stop()
        verdict.faults += [f"a traceback in the log: {words}" for words in self._company.tracebacks]

    async def _compare(self, one: HandlerStats) -> None:
        ledger, handler = self._company.ledger(one.handler), one.handler
        if handler == "doomed":
            return
        if handler == "inorder":
            ledger = ledger.kept(self._ledger)
        await self._audit.settled(one, ledger, owed=self._is_of_a_thread if handler == "inorder" else self._is_single)
        again = ledger.repeats - (await self._audit.written(handler, "retry")).total()
        interrupted = (await self._audit.written(handler, "interrupted")).total()
        dead = await self._audit.killed_rightly(handler)
        self._verdict.figures[f"{handler}: repeats, interruptions, dead"] = f"{max(again, 0)}, {interrupted}, {dead}"

    @staticmethod
    def _is_of_a_thread(name: str) -> bool:
        return " " in name

    def _is_single(self, name: str) -> bool:
        return not self._is_of_a_thread(name)

    async def _was_shared(self) -> None:
        """Each dispatcher did some of the work."""
        for handler in ("audit", "own"):
            done = [len(ledger.done) for ledger in self._company.ledgers(handler)]
            self._verdict.figures[f"{handler}: done by each"] = ", ".join(map(str, done))
            self._verdict.must(min(done) > sum(done) / 20, f"{handler}: a dispatcher did next to nothing: {done}")

    async def _was_in_order(self) -> None:
        dead = [letter.message for letter in await self._audit.dead("inorder")]
        wrong = self._threads.disorder(self._ledger, dead)
        self._verdict.must(not wrong, f"{len(wrong)} reports of {THREADS} were given out of order, such as {wrong[:1]}")
        self._verdict.figures["in order"] = len(self._threads.acknowledged)

    async def _said_once(self) -> None:
        """A notice is opened where it is not open, and by one of all."""
        state: dict[tuple[str, str], str] = {}
        for notice, about, now in await self._eyes.rows(NOTICES):
            before = state.get((notice, about), "closed")
            self._verdict.must(now != before, f"the notice {notice} about {about} was {now} twice")
            state[notice, about] = now
            self._verdict.count("notices")
        self._verdict.must(state.get(("dead_letters", "doomed")) == "open", "nobody said that there are dead letters")

    def _count(self) -> None:
        figures, load, must = self._verdict.figures, self._load, self._verdict.must
        figures |= {"kills": self._kills.total(), **{f"  {who}": count for who, count in sorted(self._kills.items())}}
        figures |= {"sent": len(load.sent), "acknowledged": len(load.acknowledged)}
        figures |= {"answers 503": load.statuses[503], "no answer": load.broken}
        if self._taken:
            figures["leases taken over, median s"] = statistics.median(self._taken)
            figures["leases taken over, most s"] = max(self._taken)
        must(not self._dead, f"nobody took over from {len(self._dead)} dead dispatchers")
        late = [took for took in self._taken if took > TAKEN_WITHIN]
        must(not late, f"{len(late)} dead dispatchers held their claims longer than {TAKEN_WITHIN:.0f} s")
