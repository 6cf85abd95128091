"""A receiver under load with eyes on it: its answers, its readiness, its log, its handlers, and what it has on disk."""

import asyncio
import json
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from random import Random
from typing import Any

from drills.faults.ready import Readiness, free_port
from drills.load import Load
from drills.meddle import Meddler
from drills.verdict import Verdict
from drills.waiting import is_running, until
from drills.yard import PATIENCE, Command, Yard
from receiver.store.views import HandlerStats

RATE = 120.0
"""Reports a second: less than the slow handler can take, so that nothing piles up."""
HEALED_WITHIN, GIVEN_UP = 5.0, 15.0
"""Seconds that it may take, and after which nobody waits for it any more."""
REFUSED_WITHIN = 10.0
"""Seconds: what hangs is given up before that."""
MOST_LINES = 25.0
"""Lines of the log a second that a fault may cost."""
MOST_AHEAD = 1024
"""Events that a dispatch process may have in hand when it ends: what is repeated after it."""
SLOWEST = 100.0
"""Events a second that handlers get through, whatever else the machine does."""
HANDLERS = ("own", "audit")
DATABASE = "disk/receiver.db"
TABLES = (
    f'[store]\nurl = "sqlite:///{DATABASE}"\n',
    '[plugins]\ndirectory = "handlers.d"\n',
    '[handlers.own]\nuse = "own"\nconcurrency = 32\nretries = ["1s", "1s", "1s", "1s"]\n',
    '[handlers.audit]\nuse = "log"\nfile = "audit.txt"\n',
)
OWN = """
import asyncio
from zlib import crc32
from receiver import Retry

async def handle(event, attempt):
    await asyncio.sleep(0.05)
    if attempt.number == 1 and crc32(event.message_id.encode()) % 5 == 0:
        raise Retry("now and then it fails", after=1)
    with open("own.txt", "a") as ledger:
        print(event.message_id, file=ledger, flush=True)
"""
"""Takes its time, fails at one of five events, and writes down what it has done where no fault reaches."""


class Scene:
    """One fault's receiver. What must not be goes into `verdict`, what was seen into `row`."""

    def __init__(self, name: str, yard: Yard, meddler: Meddler, verdict: Verdict, seed: int) -> None:
        self.name, self.yard, self.meddler, self.verdict, self.seed = name, yard, meddler, verdict, seed
        self.random = Random(f"{seed} {name}")
        self.load = Load(self.random.getrandbits(32), connections=16, rate=RATE)
        self.row: dict[str, Any] = {}
        self.serve: Command
        self.ready: Readiness
        self.disk = yard.folder / "disk"
        self.stops = 0
        """How often the handlers' process is to be stopped."""
        self.burst = 0.0
        """Seconds that a burst lasts."""
        self.deaths = 0
        """How often a dispatch process ended with something in hand, before this receiver was started."""

    def must(self, true: object, fault: str) -> None:
        """Note a fault where something that must be true is not."""
        self.verdict.must(true, f"{self.name}: {fault}")

    def note(self, fault: str) -> None:
        """Note a fault."""
        self.must((), fault)

    @property
    def database(self) -> Path:
        """The log."""
        return self.yard.folder / DATABASE

    def configure(self, *tables: str) -> None:
        """The handlers of every fault, and these."""
        self.yard.configure(*TABLES, *tables)
        self.yard.drop_in("own", OWN)

    async def start(self, *tables: str) -> None:
        """A receiver that is ready, and was asked so."""
        self.configure(*tables)
        self.serve = await self.yard.serve(**self.env())

    def env(self) -> dict[str, str]:
        """The environment in which the receiver is meddled with; its addresses are the same for all of the fault."""
        if not hasattr(self, "ready"):
            self.ready, self._port = Readiness(free_port()), free_port()
        listen = {"CALLBACKS": self._port, "ADMIN": self.ready.port}
        return {
            **self.meddler.env,
            "RECEIVER_SERVER__LISTEN": f"127.0.0.1:{listen['CALLBACKS']}",
            "RECEIVER_SERVER__ADMIN_LISTEN": f"127.0.0.1:{listen['ADMIN']}",
        }

    @property
    def url(self) -> str:
        """Where callbacks arrive."""
        return f"http://127.0.0.1:{self._port}"

    @asynccontextmanager
    async def under_load(self) -> AsyncIterator[None]:
        """Reports keep coming and somebody asks whether it is ready; it begins when the first ones are answered."""
        async with self.load.running(self.url), self.ready.watched():
            await self.answers(20)
            yield

    async def answers(self, count: int = 1, *, status: int = 200, within: float = PATIENCE) -> None:
        """Wait for so many more answers of this kind."""
        wanted = self.load.statuses[status] + count
        await until(lambda: self.load.statuses[status] >= wanted, within=within)

    async def refuses(self) -> None:
        """Wait for a 503, as there has to be one."""
        try:
            await self.answers(1, status=503, within=REFUSED_WITHIN)
        except AssertionError:
            self.note("nothing was answered 503, though nothing could be stored")

    @asynccontextmanager
    async def trouble(
        self, *, named: str = "", why: str = "", red: bool = True, refused: bool = True
    ) -> AsyncIterator[None]:
        """The block is the fault. It must be seen (`named` in the log, `red` in /readyz), and heal when it is over.

        `why` is what /readyz says, where that is not as in the log. Without `refused` every answer has to be 200.
        """
        clock = asyncio.get_running_loop().time
        before, lines, slow, began = self.load.statuses.copy(), len(self.serve.log), len(self.load.times), clock()
        yield
        ended = clock()
        await self._heals(ended)
        took = clock() - began
        seen = self.load.statuses - before
        said = self.serve.log[lines:]
        self.row |= {"200": seen[200], "503": seen[503], "slowest": round(max(self.load.times[slow:], default=0), 2)}
        self.row |= {"log/s": round(len(said) / max(took, 1.0), 1)}
        self.must(self.row["log/s"] <= MOST_LINES, f"{len(said)} lines in the log in {took:.1f} s")
        if not refused:
            self.must(not seen[503], f"{seen[503]} answers were 503, though nothing stood in the way of storing")
        if named:
            self.must(any(re.search(named, str(line)) for line in said), f"no line of the log names it (/{named}/)")
        if red:
            self._was_red(began, ended, why or named)

    def _was_red(self, began: float, ended: float, why: str) -> None:
        red = [look for look in self.ready.looks if began <= look.at <= ended + 0.5 and not look.ready]
        self.must(red, f"/readyz stayed green for all of {ended - began:.1f} s")
        if red:
            self.row["red after"] = round(red[0].at - began, 2)
            self.must(
                any(re.search(why, look.reasons) for look in red), f"/readyz said {red[-1].reasons!r}, not /{why}/"
            )

    async def _heals(self, ended: float) -> None:
        """Green and answered 200 again within the promise; how long it took."""
        clock = asyncio.get_running_loop().time
        already = self.load.statuses[200]

        def is_well() -> bool:
            look = self.ready.looks[-1] if self.ready.looks else None
            return bool(look and look.at > ended and look.ready and self.load.statuses[200] > already)

        with suppress(AssertionError):
            await until(is_well, within=GIVEN_UP)
        healed = clock() - ended
        self.row["healed"] = round(healed, 2)
        why = self.ready.looks[-1].reasons if self.ready.looks else "no answer"
        self.must(healed <= HEALED_WITHIN, f"well again only {healed:.1f} s after the end of it ({why})")

    async def prove(self) -> None:
        """kill -9 everything, start again: what was answered 200 is there, once; each handler gets each event."""
        self._answers_were_right()
        given = self.delivered("own")
        repeats = given - Counter(given.keys())
        self.row["repeats"] = sum(repeats.values())
        restarts = len(self.serve.said("child_started", child="dispatch")) - 1
        self.must(restarts <= 1, f"the dispatch process was started {restarts} times more")
        self.must(
            self.row["repeats"] <= MOST_AHEAD * (restarts + self.deaths),
            f"{self.row['repeats']} deliveries were repeated, one of them {max(repeats.values(), default=0)} times",
        )
        await self._dies()
        self._is_stored()
        self.meddler.calm()
        self.serve = await self.yard.serve(**self.env())
        await self.reach_all()

    async def _dies(self) -> None:
        """In the middle of the load, so that handlers have something in hand."""
        answered = self.load.broken
        async with self.load.running(self.url):
            await self.answers(20)
            await self.serve.kill(*self.serve.family)
        await self.serve.is_gone()
        self.load.broken = answered

    async def reach_all(self) -> None:
        """Every stored event reaches every handler; the counters add up."""
        stored = messages(self.database).keys()
        for handler in HANDLERS:
            counters = await self._idle(handler, within=PATIENCE + len(stored) / SLOWEST)
            self.must(not counters.pending, f"{counters.pending} events still wait for {handler}")
            self.must(not counters.dead, f"{counters.dead} dead letters at {handler}")
            missing = stored - self.delivered(handler).keys()
            self.must(not missing, f"{len(missing)} stored events never reached {handler}: {min(missing, default='')}")

    async def _idle(self, handler: str, *, within: float) -> HandlerStats:
        """The counters when nothing is left to do, or the time is over. They have to balance at any time."""

        async def is_idle() -> bool:
            counters = await self.yard.counters(handler)
            return not counters.pending and not counters.running

        with suppress(AssertionError):
            await until(is_idle, within=within)
        return await self.yard.counters(handler)

    def _answers_were_right(self) -> None:
        for wrong in self.load.wrong:
            self.note(wrong)
        self.must(not self.load.broken, f"{self.load.broken} requests got no answer at all")
        crashed = [line for line in self.serve.words.splitlines() if "Traceback (most recent" in line]
        self.must(not crashed, f"{len(crashed)} tracebacks in its log: {crashed[-1:]}")

    def _is_stored(self) -> None:
        """By a look of our own, past the receiver's code."""
        stored = messages(self.database)
        lost = self.load.acknowledged - stored.keys()
        twice = {message for message, count in stored.items() if count > 1}
        self.must(
            not lost,
            f"{len(lost)} of {len(self.load.acknowledged)} acknowledged reports are lost: {min(lost, default='')}",
        )
        self.must(not twice, f"{len(twice)} reports are stored twice")

    def delivered(self, handler: str) -> Counter[str]:
        """How often a handler finished each message, by its ledger."""
        with suppress(FileNotFoundError), (self.yard.folder / f"{handler}.txt").open() as ledger:
            lines = filter(None, map(str.strip, ledger))
            return Counter(json.loads(line)["subject"] if line.startswith("{") else line for line in lines)
        return Counter()

    def dispatch_pid(self) -> int:
        """The dispatch process that runs now."""
        pids = [line["pid"] for line in self.serve.said("child_started", child="dispatch")]
        return int(next(pid for pid in reversed(pids) if is_running(pid)))


def messages(database: Path) -> Counter[str]:
    """Every message in the log and how often it is there."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:  # the journal stays as the kill left it
        return Counter(row[0] for row in db.execute("SELECT message_id FROM events WHERE kind = 'dlr'"))
