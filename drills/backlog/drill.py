"""Fills a store, starts a receiver on it, kills it, replays everything, and looks at what is promised."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from drills.backlog.fill import fill, put_off
from drills.backlog.stage import SLOW_CALLS, SLOW_PAUSE, WAITING, Stage
from drills.load import Load
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import ROOT, Yard

METER = "meter"
SHALLOW = 3000
"""Events of the almost empty store, with which the deep one is compared: the machine may be busy with other things."""
MOST_MEMORY = 200
"""MiB."""
STOP_WITHIN = 5.0
ASKED_WITHIN = 3.0
FAIR = 0.1
"""The least share of its own pace that a handler keeps beside those with a backlog; the machine is full by then."""
DRAINING = "draining"
"""What the first look is called; the commands are all asked there."""
MEASURED = 1
"""The step up to which everything is done, whatever the time."""
COMMANDS = ("stats", "handlers", "pending", "pending --handler audit", "trace MESSAGE")
BUSY = 2.0
"""Where more than the promised seconds are needed, how many times what the almost empty store needs is still taken."""
MOST_SLOWER, CLAIM_NOISE = 3.0, 5.0
"""A claim in a deep store may take so many times as long as in a shallow one, or so many milliseconds more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How large, how long, and how strict."""

    seed: int
    waiting: int
    """Events that wait for each of the handlers."""
    retries: int
    """How many of them are to be tried again, all at the same moment, for one of them."""
    window: float
    """Seconds of each look while it drains."""
    rate: float
    """Reports a second that come meanwhile."""
    ready: float
    """Seconds from a start to the first 200."""
    within: float
    """Seconds until nothing more is waited for."""
    broken: str


async def backlog(plan: Plan) -> Verdict:
    """Run it. What does not come in time is a fault."""
    verdict, began = Verdict("backlog", plan.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backlog-") as name:
        deep, small = Path(name) / "deep", Path(name) / "small"
        deep.mkdir()
        small.mkdir()
        async with Yard.opened(deep, broken=plan.broken) as yard, Yard.opened(small, broken=plan.broken) as other:
            run = _Run(plan, verdict, Stage(yard), Stage(other), began + plan.within)
            try:
                await run.all()
            except (AssertionError, TimeoutError) as unmet:
                verdict.must((), str(unmet)[-400:] or "something did not come in time")
    verdict.figures["seconds"] = round(time.monotonic() - began, 1)
    return verdict


class _Run:
    """One run, step by step."""

    def __init__(self, plan: Plan, verdict: Verdict, stage: Stage, small: Stage, end: float) -> None:
        self._plan, self._verdict, self._stage, self._end = plan, verdict, stage, end
        self._random = Random(plan.seed)
        self._load = Load(self._random.getrandbits(32), connections=8, rate=plan.rate)
        self._figures = verdict.figures
        self._small, self._usual = small, dict[str, float]()
        """What the almost empty store needs for the same: seconds."""

    async def all(self) -> None:
        """The steps in their order; none begins after the time is over."""
        steps: tuple[Callable[[], Awaitable[None]], ...] = (
            self._fill,
            self._meter,
            self._compares,
            partial(self._starts, "first 200 after a start"),
            partial(self._drains, DRAINING),
            self._dies,
            partial(self._starts, "first 200 after kill -9"),
            self._replays,
            partial(self._drains, "with a replay of all"),
            self._ends,
        )
        for number, step in enumerate(steps):
            if number > MEASURED and time.monotonic() > self._end:
                self._figures["steps left out, the time was over"] = len(steps) - number
                break
            await step()
        if self._stage.serve:
            await self._dies()
        self._adds_up()

    async def _fill(self) -> None:
        began, plan, path = time.monotonic(), self._plan, self._stage.database
        handlers = [*WAITING, METER]
        await fill(path, plan.waiting, handlers=handlers, random=self._random)
        await put_off(path, "again", plan.retries, handlers=handlers)
        self._figures |= {"waiting": plan.waiting, "to be tried again": plan.retries}
        self._figures["seconds to fill"] = round(time.monotonic() - began, 1)

    async def _meter(self) -> None:
        """Claims in the deep store and in a shallow one."""
        small = self._small.database
        await fill(small, SHALLOW, handlers=[*WAITING, METER], random=self._random)
        deep, flat = [await self._measured(path) for path in (self._stage.database, small)]
        for what in ("claim", "settle"):
            self._figures |= {
                f"{what} of 256, ms": round(deep[what], 2),
                f"… almost empty: {what}, ms": round(flat[what], 2),
            }
            bound = max(MOST_SLOWER * flat[what], flat[what] + CLAIM_NOISE)
            self._must(
                deep[what] <= bound, f"a {what} takes {deep[what]:.1f} ms, {flat[what]:.1f} ms without a backlog"
            )

    async def _compares(self) -> None:
        """What a start and the commands take with an almost empty store, on this machine at this time."""
        self._usual["start"] = await self._small.start()
        for command in COMMANDS:
            self._usual[command] = await self._small.asked(*command.replace("MESSAGE", "b-1").split())
        await self._small.kill()
        self._figures |= {f"… almost empty: {name}, s": round(took, 2) for name, took in self._usual.items()}

    async def _measured(self, path: Path) -> dict[str, float]:
        command = (sys.executable, "-m", "drills.backlog.meter", str(path), METER, "9", self._plan.broken)
        pipe = asyncio.subprocess.PIPE
        env = self._stage.yard.env()
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, cwd=ROOT, env=env)
        printed, _ = await process.communicate()
        assert process.returncode == 0, "claims could not be measured"
        found: dict[str, float] = json.loads(printed)
        return found

    async def _starts(self, figure: str) -> None:
        took = await self._stage.start()
        self._figures[figure] = round(took, 2)
        bound = max(self._plan.ready, BUSY * self._usual["start"])
        self._must(took <= bound, f"{figure} came after {took:.1f} s, not within {bound:.1f} s")
        await self._stage.runs.says("ready")

    async def _drains(self, what: str) -> None:
        """Look at everything that is promised while the handlers work."""
        before = await self._done()
        slow, began = len(self._load.times), time.monotonic()
        async with self._load.running(self._stage.url):
            await self._stops(what)
            await self._asks(what)
            await asyncio.sleep(max(0.0, began + self._plan.window - time.monotonic()))
        took = time.monotonic() - began
        pace = {name: (count - before[name]) / took for name, count in (await self._done()).items()}
        self._figures |= {f"{what}: {name}/s": round(each) for name, each in pace.items()}
        times = sorted(self._load.times[slow:])
        self._figures[f"{what}: answers p99, ms"] = round(1000 * times[int(len(times) * 0.99)], 1)
        self._figures[f"{what}: slowest answer, ms"] = round(1000 * times[-1], 1)
        fair = FAIR * SLOW_CALLS / SLOW_PAUSE
        self._must(pace["slow"] >= fair, f"{what}: the slow handler got {pace['slow']:.0f}/s, not {fair:.0f}/s")
        self._measures_memory(what)

    async def _done(self) -> dict[str, int]:
        return {name: (await self._stage.yard.counters(name)).done for name in ("slow", "audit", "again")}

    def _measures_memory(self, what: str) -> None:
        self._stage.look()
        for name, size in self._stage.memory.items():
            self._figures[f"memory of {name}, MiB"] = size
            self._must(size <= MOST_MEMORY, f"{what}: {name} needed {size} MiB, not {MOST_MEMORY}")

    async def _stops(self, what: str) -> None:
        took = [await self._stage.stop_message() for _ in range(3)]
        self._figures[f"{what}: STOP, s"] = round(max(took), 2)
        self._must(max(took) <= STOP_WITHIN, f"{what}: a STOP reached its handler after {max(took):.1f} s")

    async def _asks(self, what: str) -> None:
        """What people ask is answered soon."""
        message = f"b-{self._random.randrange(self._plan.waiting)}"
        for command in COMMANDS if what == DRAINING else COMMANDS[:2]:
            took = await self._stage.asked(*command.replace("MESSAGE", message).split())
            self._figures[f"{what}: {command}, s"] = round(took, 2)
            bound = max(ASKED_WITHIN, BUSY * self._usual[command])
            self._must(took <= bound, f"{what}: `receiver {command}` took {took:.1f} s, not {bound:.1f} s")

    async def _replays(self) -> None:
        self._figures["replay of all, s"] = round(await self._stage.asked("replay", "--handler", "again", "--yes"), 1)

    async def _ends(self) -> None:
        """Wait until the fast handlers are through with everything, or the time is over."""
        began = time.monotonic()
        for name in ("audit", "again"):
            with suppress(AssertionError):
                await until(partial(self._is_through, name), within=max(0.1, self._end - time.monotonic()))
        self._figures["seconds to the end"] = round(time.monotonic() - began, 1)
        for name in ("audit", "again"):
            self._figures[f"still waiting for {name}"] = (await self._stage.yard.counters(name)).pending
        self._measures_memory("to the end")

    async def _is_through(self, handler: str) -> bool:
        counters = await self._stage.yard.counters(handler)
        return not counters.pending and not counters.running

    async def _dies(self) -> None:
        """After kill -9 of everything: what is done was given."""
        await self._stage.kill()
        for name in ("slow", "audit", "again"):
            given = self._stage.given(name)
            missing = self._stage.never_given(name, given)
            self._must(
                not missing,
                f"{len(missing)} events are done at {name}, which never got them: {min(missing, default='')}",
            )
            self._figures[f"repeated at {name}"] = sum(given.values()) - len(given) if name != "again" else 0
        for wrong in self._load.wrong:
            self._must((), wrong)

    def _adds_up(self) -> None:
        self._must(not self._load.unanswered, f"{len(self._load.unanswered)} reports were not answered 200")

    def _must(self, true: object, fault: str) -> None:
        self._verdict.must(true, fault)
