"""The fuzz drill: strangers of every kind, a provider whose callbacks are taken meanwhile, and a stop amid it all."""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from drills.fuzz.line import PATIENCE
from drills.fuzz.probes import Probes
from drills.fuzz.storm import HALF
from drills.kill import free_port
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import ROOT, Command, Yard

SPRYNG, BULKVS, CALM = "canary-secret-of-spryng", "canary-secret-of-bulkvs", "canary-secret-of-calm"
NUMBER = "31612345678"
CONFIG = f"""
[sources.spryng]
provider = "spryng"
secrets = ["{SPRYNG}"]

[sources.bulkvs]
provider = "bulkvs"
secrets = ["{BULKVS}"]

[sources.calm]
provider = "spryng"
secrets = ["{CALM}"]

[handlers.audit]
use = "log"
file = "audit.jsonl"
reveal = true
sources = ["calm"]
"""
KNOWN = (f"/in/spryng/dlr/{SPRYNG}", f"/in/spryng/mo/{SPRYNG}", f"/in/bulkvs/webhook/{BULKVS}")
"""What strangers know: all but the provider whose callbacks are looked at."""
STOP_WITHIN = 10.0
WITHIN = 10.0
"""Seconds from the moment when a connection is taken in; how long that takes, the probes show."""
MOST_GROWTH = 50.0
"""MiB that a process may grow by."""
LOOK = 0.25
"""Seconds between two looks at memory."""
QUIET = 5.0
"""Seconds until all connections of strangers who left are gone."""
CALM_FIRST = 1.0
"""Seconds of probes alone."""

Tally = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    requests: int = 40_000
    strangers: int = 2
    slow: float = 1.0
    within: float = 3600.0
    broken: str = ""


async def fuzz(plan: Plan) -> Verdict:
    """Send as planned, stop and start in the middle, and compare."""
    with tempfile.TemporaryDirectory(prefix="drill-fuzz-") as folder:
        async with Yard.opened(Path(folder), broken=plan.broken) as yard:
            return await Fuzzing(plan, yard).run()


class Fuzzing:
    """One run of the drill."""

    def __init__(self, plan: Plan, yard: Yard) -> None:
        self._plan, self._yard, self._port = plan, yard, free_port()
        self._verdict = Verdict("fuzz", plan.seed)
        self._probes = Probes(plan.seed, f"/in/calm/dlr/{CALM}")
        self._growth: dict[str, float] = {}
        self._serve: Command

    async def run(self) -> Verdict:
        """The storm, its end, and what is left."""
        (self._yard.folder / "receiver.toml").write_text(CONFIG)
        try:
            await self._start()
            sockets = _sockets(self._serve.pid)
            async with self._probes.calling(self._serve.url):
                await asyncio.sleep(CALM_FIRST)
                async with self._watched():
                    tallies = await self._storms()
            await self._leaves_nobody(sockets)
            await self._serve.stop()
            self._read_log()
            self._compare(tallies)
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(f"gave up: {str(fault)[-1000:] or 'too late'}")
        return self._verdict

    async def _start(self) -> None:
        self._serve = await self._yard.serve(RECEIVER_SERVER__LISTEN=f"127.0.0.1:{self._port}")

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Note by how much each process grows beyond what it had when it was first seen."""
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        before: dict[int, float] = {}
        while True:
            for pid in self._serve.family:
                with suppress(OSError, StopIteration):
                    now = _memory(pid)
                    name = "serve" if pid == self._serve.pid else "dispatch"
                    grown = now - before.setdefault(pid, now)
                    self._growth[name] = max(self._growth.get(name, 0.0), grown)
            await asyncio.sleep(LOOK)

    async def _storms(self) -> list[Tally]:
        """All strangers, with the stop in their midst; what each process of them told."""
        began, amid = time.monotonic(), asyncio.Event()
        each = self._plan.requests // self._plan.strangers
        storms = [asyncio.create_task(self._storm(number, each, amid)) for number in range(self._plan.strangers)]
        stopping = asyncio.create_task(self._stop(amid))
        try:
            async with asyncio.timeout(self._plan.within):
                tallies = await asyncio.gather(*storms)
                await stopping
        finally:
            for task in (*storms, stopping):
                task.cancel()
            await asyncio.gather(*storms, stopping, return_exceptions=True)
        self._sum_up(tallies, time.monotonic() - began)
        return tallies

    async def _storm(self, number: int, requests: int, amid: asyncio.Event) -> Tally:
        command = (sys.executable, "-m", "drills.fuzz.storm", str(self._port), f"{self._plan.seed}{number}")
        kept = str(self._yard.folder / f"acknowledged-{number}")
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, str(requests), kept, *KNOWN, stdout=pipe, cwd=ROOT)
        assert process.stdout
        try:
            assert (await process.stdout.readline()).decode().strip() == HALF, "a process of strangers failed"
            amid.set()
            printed = await process.stdout.read()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, "a process of strangers failed"
        told: Tally = json.loads(printed)
        return told

    async def _stop(self, amid: asyncio.Event) -> None:
        """SIGTERM in the middle, and another start."""
        await amid.wait()
        async with self._probes.excused():
            began = time.monotonic()
            try:
                await self._serve.stop(within=STOP_WITHIN)
            except TimeoutError:
                self._verdict.faults.append(f"SIGTERM amid it all: no end within {STOP_WITHIN:.0f} s")
                await self._serve.kill(*self._serve.family)
            self._verdict.figures["SIGTERM amid it all, s to the end"] = round(time.monotonic() - began, 2)
            self._read_log()
            await self._start()

    async def _leaves_nobody(self, sockets: int) -> None:
        """No connection is left of strangers who are gone."""
        with suppress(AssertionError):
            await until(lambda: _sockets(self._serve.pid) <= sockets, within=QUIET)
        left = _sockets(self._serve.pid) - sockets
        self._verdict.must(left <= 0, f"{left} connections are still open of strangers who are gone")

    def _read_log(self) -> None:
        """Nothing went wrong inside, and no line tells what it must not."""
        lines = self._serve.log
        self._verdict.count("lines of the log", len(lines))
        grave = [line for line in lines if line["level"] in ("error", "critical")]
        self._verdict.must(not grave, f"{len(grave)} errors in the log, such as {grave[:1]}")
        told = self._serve.words + self._serve.stdout.read_text()
        for canary in (SPRYNG, BULKVS, CALM, NUMBER):
            self._verdict.must(canary not in told, f"{canary} is in the log")

    def _sum_up(self, tallies: list[Tally], took: float) -> None:
        """What the strangers came to, what the probes met meanwhile, and how the processes grew."""
        sent = sum(tally["requests"] for tally in tallies)
        statuses = _added(tallies, "statuses")
        hangs, closed = (sum(tally[what] for tally in tallies) for what in ("hangs", "closed"))
        figures = self._verdict.figures
        figures |= {"hostile requests": sent, "a second": round(sent / took)}
        figures |= {f"answered {status}": statuses[status] for status in sorted(statuses)}
        figures |= {"closed without all answers": closed, "hanging": hangs}
        longest = max(tally["slowest"] for tally in tallies)
        figures["longest until an end, s"] = round(longest, 1)
        late = longest > WITHIN + max(1.0, 2 * self._probes.slowest)
        self._verdict.must(not late, f"a connection was neither answered nor closed for {longest:.1f} s")
        self._verdict.must(not hangs, f"{hangs} connections were neither answered nor closed within {PATIENCE:.0f} s")
        self._verdict.faults += [fault for tally in tallies for fault in tally["faults"]]
        self._probes.judge(self._verdict, self._plan.slow)
        for name, grown in sorted(self._growth.items()):
            figures[f"growth of {name}, MiB"] = round(grown, 1)
            self._verdict.must(grown < MOST_GROWTH, f"{name} grew by {grown:.0f} MiB, over {MOST_GROWTH:.0f}")

    def _compare(self, tallies: list[Tally]) -> None:
        """All that was acknowledged is stored."""
        with closing(sqlite3.connect(self._yard.folder / "receiver.db")) as db:
            stored = {UUID(bytes=row[0]) for row in db.execute("SELECT id FROM events")}
            kept = dict(db.execute("SELECT outcome, count(*) FROM callbacks GROUP BY outcome"))
            messages = {row[0] for row in db.execute("SELECT message_id FROM events WHERE source = 'calm'")}
        files = self._yard.folder.glob("acknowledged-*")
        acknowledged = {UUID(line) for file in files for line in file.read_text().splitlines()}
        lost = len(acknowledged - stored) + len(self._probes.acknowledged - messages)
        self._verdict.figures |= {
            "events acknowledged": len(acknowledged) + len(self._probes.acknowledged),
            "lost": lost,
        }
        self._verdict.must(not lost, f"{lost} events were answered 200 and are not stored")
        answered = _added(tallies, "outcomes")
        for outcome in ("stored", "duplicate", "quarantined"):
            self._verdict.figures[f"  {outcome}"] = answered[outcome]
            missing = answered[outcome] - kept.get(outcome, 0)
            self._verdict.must(missing <= 0, f"{missing} more were answered {outcome} than are kept")


def _added(tallies: list[Tally], name: str) -> Counter[str]:
    """The counters of this name together."""
    return sum((Counter(tally[name]) for tally in tallies), Counter())


def _sockets(pid: int) -> int:
    """How many sockets a process has open."""
    found = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found += str(handle.readlink()).startswith("socket:")
    return found


def _memory(pid: int) -> float:
    """Resident MiB of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
