"""The plug-in drill: good handlers and the answers beside handlers and targets that do harm, in one receiver."""

import asyncio
import itertools
import statistics
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from drills.audit import Audit
from drills.eyes import SqliteEyes
from drills.hostile import HOSTILE, Hostile, apart
from drills.ledger import Ledger, Target, keeper
from drills.load import Load
from drills.rogues import DONE, HELD, ROGUES, Rogue
from drills.verdict import Verdict
from drills.waiting import is_running, until
from drills.yard import DROP_INS, OWN, PATIENCE, Command, Yard, forward_to
from receiver.store.views import HandlerStats
from receiver.supervise import resident

AUDIT = '[handlers.audit]\nuse = "log"\nfile = "audit.jsonl"\nreveal = true\n'
GOOD = ("audit", "own", "crm")
FEW = 'recipients = ["31612345670"]\n'
"""A tenth of the messages is for the bad ones."""
LINES = 3.0
"""Lines of the receiver's own log, a second and handler."""
QUIET = 10.0
"""Seconds until a paused handler has nothing in hand: the longest time-out of the bad ones and the grace."""


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    pairs: int = 2
    seconds: float = 3.0
    rate: float = 60.0
    ratio: float = 1.2
    extra: float = 0.002
    lag: float = 5.0
    within: float = 120.0
    most: float = 0.25
    only: tuple[str, ...] = ()
    broken: str = ""

    @property
    def rogues(self) -> dict[str, Rogue]:
        """The bad handlers of this run."""
        return {name: one for name, one in ROGUES.items() if name in self.only or not self.only}

    @property
    def hostile(self) -> dict[str, Hostile]:
        """The bad servers of this run."""
        return {name: one for name, one in HOSTILE.items() if name in self.only or not self.only}


async def plugin_drill(plan: Plan) -> Verdict:
    """Measure answers in calm and with all the trouble, wait for what must come of it, and compare."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-plugins-")))
        yard = await stack.enter_async_context(Yard.opened(folder, broken=plan.broken))
        target = await stack.enter_async_context(Target.listening())
        tables = [DROP_INS, AUDIT, OWN, forward_to(target.url)]
        yard.drop_in("own", keeper("own.ledger"))
        for name, rogue in plan.rogues.items():
            yard.drop_in(name, rogue.file())
            tables.append(f'[handlers.{name}]\nuse = "{name}"\nconcurrency = 2\n{FEW}{rogue.keys}')
        ports = await stack.enter_async_context(apart(list(plan.hostile)))
        tables += [hostile.table(name, ports[name]) + FEW for name, hostile in plan.hostile.items()]
        yard.configure(*tables)
        return await Trouble(plan, yard, target).run()


class Trouble:
    """One run of the drill."""

    def __init__(self, plan: Plan, yard: Yard, target: Target) -> None:
        self._plan, self._yard, self._target = plan, yard, target
        self._verdict = Verdict("plugins", plan.seed)
        self._audit = Audit(SqliteEyes(yard.folder / "receiver.db"), self._verdict)
        self._load = Load(plan.seed, rate=plan.rate)
        self._bad = [*plan.rogues, *plan.hostile]
        self._lag = 0.0
        self._serve: Command

    async def run(self) -> Verdict:
        """Pairs, then the end."""
        loop = asyncio.get_running_loop()
        self._serve = await self._yard.serve()
        began = loop.time()
        try:
            async with self._load.running(self._serve.url):
                await until(self._works, within=PATIENCE * 2)
                await self._pairs()
                await self._comes_to_its_end()
            seconds = loop.time() - began
            await self._judge(seconds)
            await self._leaves_nobody()
            await self._serve.stop()
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    async def _pairs(self) -> None:
        """Calm and trouble in turn; in calm the bad handlers are paused, as by a command."""
        calm, trouble = [], []
        for _ in range(self._plan.pairs):
            await self._let("paused")
            calm.append(await self._measured())
            await self._let("ok")
            trouble.append(await self._measured())
        if not calm:
            return
        ratio = statistics.median(bad / good for good, bad in zip(calm, trouble, strict=True))
        more = statistics.median(bad - good for good, bad in zip(calm, trouble, strict=True))
        figures = {"calm": statistics.median(calm) * 1000, "trouble": statistics.median(trouble) * 1000}
        self._verdict.figures |= {f"answers p99, {name}, ms": figure for name, figure in figures.items()}
        self._verdict.figures |= {
            "p99, median of the pairs' ratios": ratio,
            "p99, median of their differences, ms": more * 1000,
        }
        if self._plan.rogues:  # processes that spin and start again take the machine's time, whatever we do
            fair = figures["trouble"] <= self._plan.most * 1000
        else:
            fair = ratio <= self._plan.ratio or more <= self._plan.extra
        self._verdict.must(
            fair, f"answers: the p99 with trouble is {ratio:.2f} times that in calm, {more * 1000:.1f} ms more"
        )

    async def _measured(self) -> float:
        """The p99 of the answers of some seconds."""
        first = len(self._load.times)
        end = asyncio.get_running_loop().time() + self._plan.seconds
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.25)
            await self._look()
        ordered = sorted(self._load.times[first:])
        return ordered[int(len(ordered) * 0.99)]

    async def _look(self) -> dict[str, HandlerStats]:
        """The handlers now; how far the good ones are behind is remembered."""
        stats = await self._audit.balance()
        now = datetime.now(UTC)
        behind = [one.oldest_pending_at for one in stats.handlers if one.handler in GOOD and one.oldest_pending_at]
        self._lag = max([self._lag, *((now - oldest).total_seconds() for oldest in behind)])
        return {one.handler: one for one in stats.handlers}

    async def _let(self, state: str) -> None:
        """Pause the bad handlers, or let them go on; returns when it is so."""
        store, now = await self._yard.store(), datetime.now(UTC)
        for name, one in (await store.standings()).items():
            if name in self._bad:
                await store.stand(replace(one, state=state, since=now, reason=""), release=state == "ok", now=now)

        async def is_so() -> bool:
            handlers = await self._look()
            return state == "ok" or not any(handlers[name].running for name in self._bad)

        with suppress(AssertionError):
            await until(is_so, within=QUIET)

    async def _comes_to_its_end(self) -> None:
        """Wait until each of the bad has come to where it must."""
        missing: set[str] = set()

        async def all_have() -> bool:
            handlers = await self._look()
            missing.clear()
            missing.update(name for name in self._bad if not self._is_there(handlers[name]))
            return not missing

        with suppress(AssertionError):
            await until(all_have, within=self._plan.within)
        for name in sorted(missing):
            self._verdict.must(False, f"{name}: not {self._end(name)} within {self._plan.within:.0f} s")  # noqa: FBT003

    def _end(self, name: str) -> str:
        return ROGUES[name].end if name in ROGUES else HOSTILE[name].end

    def _is_there(self, one: HandlerStats) -> bool:
        match self._end(one.handler):
            case "dead":
                return one.dead > 0
            case "held":
                return one.state == HELD
            case "done":
                return one.done > 0
        return one.pending > 0

    async def _judge(self, seconds: float) -> None:
        await self._load.repeat(self._serve.url)
        for name in GOOD:
            await until(lambda name=name: self._idle(name), within=PATIENCE)
        handlers = await self._look()
        await self._audit.look(self._load.acknowledged)
        for name in GOOD:
            await self._audit.settled(handlers[name], self._ledger(name))
            self._verdict.must(not handlers[name].dead, f"{name}: {handlers[name].dead} dead letters")
        for name in self._bad:
            await self._judge_one(handlers[name])
        self._verdict.figures["good handlers' lag, most s"] = self._lag
        self._verdict.must(self._lag <= self._plan.lag, f"good handlers were {self._lag:.1f} s behind")
        memory = [resident(pid) / 1024**2 for pid in self._serve.family[:2]]
        self._verdict.figures |= dict(zip(("serve, MiB", "dispatch, MiB"), memory, strict=False))
        lines = len(self._serve.log) / seconds
        self._verdict.figures |= {"log, lines a second": lines, "answers": dict(self._load.statuses)}
        most = LINES * (len(self._bad) + len(GOOD))
        self._verdict.must(lines <= most, f"the log has {lines:.1f} lines a second, over {most:.0f}")
        refused = [line["why"] for line in self._serve.said("callback_not_stored")]
        self._verdict.must(set(self._load.statuses) == {200}, f"answers: {dict(self._load.statuses)} {refused[:1]}")
        self._verdict.must(not self._load.broken, f"{self._load.broken} requests got no answer")
        ended = self._serve.said("child_ended")
        self._verdict.must(not ended, f"the dispatch process ended {len(ended)} times")

    async def _works(self) -> bool:
        handlers = await self._look()
        return all(handlers[name].done for name in GOOD)

    async def _leaves_nobody(self) -> None:
        """What the bad handlers started has ended with them."""
        await self._let("paused")
        with suppress(AssertionError):
            await until(lambda: not self._strangers(), within=QUIET)
        left = self._strangers()
        self._verdict.must(not left, f"{len(left)} processes are left of handlers' processes that have ended")

    def _strangers(self) -> set[int]:
        """Processes in our folder that do not belong to the receiver."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == self._yard.folder.resolve() and is_running(int(process.name)):
                    found.add(int(process.name))
        return found - set(self._serve.family)

    async def _idle(self, name: str) -> bool:
        one = (await self._look())[name]
        return not one.pending and not one.running

    async def _judge_one(self, one: HandlerStats) -> None:
        """A bad handler: nothing that it was given and never did counts as done; the dead say why."""
        name, must = one.handler, self._verdict.must
        bad: Rogue | Hostile = ROGUES[name] if name in ROGUES else HOSTILE[name]
        must(bad.end == HELD or one.state != HELD, f"{name} is held: {one.standing.reason}")
        if bad.end != DONE:
            must(not one.done, f"{name}: {one.done} events count as done, and it never did one")
        dead = await self._audit.dead(name)
        killed = [letter for letter in dead if letter.reason.startswith("killed: ")]
        for letter in killed:
            must(letter.interruptions >= 3, f"{name}: {letter} was not interrupted three times")
        wrong = [letter.reason for letter in dead if not letter.reason.startswith(bad.reasons)]
        must(not wrong, f"{name}: {len(wrong)} dead letters say something else, such as {wrong[:1]}")
        if isinstance(bad, Rogue) and bad.named:
            must(self._serve.said(bad.named, handler=name), f"{name}: the log never says {bad.named}")
        ended = [int(line["calls"]) for line in self._serve.said("handler_process_ended", handler=name)]
        together = [pair for pair in itertools.pairwise(ended) if min(pair) > 1]
        must(not together, f"{name}: what was interrupted was repeated beside others, {len(together)} times")
        reasons = Counter(letter.reason for letter in dead)
        told = "; ".join(f"{count} {reason}" for reason, count in reasons.most_common(2))
        state = f"held ({one.standing.reason})" if one.state == HELD else one.state
        self._verdict.figures[name] = f"{state}, {one.done} done, {one.dead} dead: {told or one.standing.last_error}"[
            :150
        ]

    def _ledger(self, name: str) -> Ledger:
        folder = self._yard.folder
        if name == "crm":
            return Ledger(self._target.given, set(self._target.given))
        return Ledger.logged(folder / "audit.jsonl") if name == "audit" else Ledger.kept(folder / f"{name}.ledger")
