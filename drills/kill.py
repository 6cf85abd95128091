"""The kill drill: SIGKILL for `serve`, dispatch, a worker or all of them, again and again, under load, on one store."""

import asyncio
import socket
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from drills.audit import Audit, everybody
from drills.eyes import Eyes, SqliteEyes
from drills.ledger import Ledger, Target, keeper
from drills.load import Load
from drills.meddle import A_WRITE, AFTER, AN_FSYNC, BEFORE, DISPATCH, DISPATCH_WAL, HALFWAY, LOG, LOG_WAL, Meddler
from drills.verdict import Verdict
from drills.waiting import is_running, until
from drills.yard import DROP_INS, PATIENCE, Command, Yard, forward_to
from receiver.store.views import HandlerStats

SERVE, DISPATCHING, WORKER, GROUP = "serve", "dispatch", "worker", "group"
WEIGHTS = {SERVE: 30, DISPATCHING: 25, WORKER: 25, GROUP: 20}
MOST_BY_DISPATCH = 2
"""Deaths of dispatch in one life of `serve`: after more its pause before the next start would be the drill's pause."""
AT_AN_OPERATION = 0.5
"""The share of kills that come inside a write or an fsync."""
FILES = {SERVE: ((LOG_WAL, 9), (LOG, 1)), DISPATCHING: ((DISPATCH_WAL, 8), (DISPATCH, 1), (LOG, 1))}
"""Whose operations on which files; the dispatch process carries the journal of the log over."""
OPERATION = 1.0
"""Seconds to wait for an operation; some are rare."""
LEAVE = 12.0
"""Seconds that who is left behind by a killed `serve` gets to end by itself."""
CHECK = 20
"""Rounds between two looks."""
STALLED = 30.0
"""Seconds without any progress after which waiting for the handlers to finish is given up."""
CONCURRENCY = 2
LOG_TABLE = '[handlers.audit]\nuse = "log"\nfile = "audit.jsonl"\nreveal = true\n'
OWN_TABLE = '[handlers.own]\nuse = "own"\n'
FLAKY_TABLE = '[handlers.flaky]\nuse = "flaky"\nisolation = "shared"\nretries = ["50ms", "100ms", "1s", "1s"]\n'
SLOW_TABLE = f'[handlers.slow]\nuse = "slow"\nconcurrency = {CONCURRENCY}\nrecipients = ["31612345670"]\n'
DROP_IN_HANDLERS = {
    "own": keeper("own.ledger"),
    "flaky": keeper("flaky.ledger", failing=20),
    "slow": keeper("slow.ledger", pause=0.04),
}


@dataclass(frozen=True)
class Plan:
    """What the command line asks for."""

    seed: int
    kills: int = 12
    rate: float = 120.0
    repeats: float = 0.1
    ready: float = 2.0
    within: float = 3600.0
    broken: str = ""
    victims: tuple[str, ...] = ()
    """Only these; empty: all."""
    store: str = "sqlite"
    """Or `postgres`: then the kills are at random moments, as its writes are another's."""
    at: str = ""
    """Only at a `write`, an `fsync` or a `random` moment; empty: all."""


def slow_wants(message: str) -> bool:
    """The filter of the slow handler, by the last digit of the recipient."""
    return message.endswith("0")


async def kill_drill(plan: Plan) -> Verdict:
    """Kill as planned, let everything come to rest, and compare. Raises CannotRun without a C compiler."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="drill-kill-")))
        meddler = Meddler(folder)
        stack.callback(meddler.close)
        yard = await stack.enter_async_context(Yard.opened(folder, broken=plan.broken))
        target = await stack.enter_async_context(Target.listening())
        if plan.store == "sqlite":
            eyes: Eyes = SqliteEyes(folder / "receiver.db")
            return await Killing(plan, yard, meddler, target, eyes, {}).run()
        from drills.postgres.eyes import PostgresEyes
        from drills.postgres.server import Server

        url = await (await stack.enter_async_context(Server.running(folder))).create_database()
        plan = replace(plan, at="random")
        return await Killing(plan, yard, meddler, target, PostgresEyes(url), {"RECEIVER_STORE__URL": url}).run()


class Killing:
    """One run of the drill."""

    def __init__(
        self, plan: Plan, yard: Yard, meddler: Meddler, target: Target, eyes: Eyes, env: Mapping[str, str]
    ) -> None:
        self._plan, self._yard, self._meddler, self._target = plan, yard, meddler, target
        self._env = {**meddler.env, **env}
        self._random = Random(plan.seed)
        self._load = Load(plan.seed, rate=plan.rate, repeats=plan.repeats)
        self._verdict = Verdict("kill", plan.seed)
        self._audit = Audit(eyes, self._verdict)
        self._url = f"http://127.0.0.1:{free_port()}"
        self._ready: list[float] = []
        self._kills: Counter[str] = Counter()
        self._moments: Counter[str] = Counter()
        self._deaths = 0
        self._leaving: list[asyncio.Task[None]] = []
        self._serve: Command

    async def run(self) -> Verdict:
        """All rounds, then the end."""
        for name, code in DROP_IN_HANDLERS.items():
            self._yard.drop_in(name, code)
        forward = forward_to(self._target.url)
        self._yard.configure(DROP_INS, LOG_TABLE, OWN_TABLE, FLAKY_TABLE, SLOW_TABLE, forward)
        try:
            await self._start(measured=False)
            async with self._load.running(self._url):
                again = asyncio.create_task(self._send_again())
                try:
                    await self._rounds()
                finally:
                    again.cancel()
            await self._end()
        except (AssertionError, TimeoutError) as fault:
            self._verdict.faults.append(
                f"gave up after {self._kills.total()} kills: {str(fault)[-1000:] or 'too late'}"
            )
        return self._verdict

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._plan.within
        for number in range(1, self._plan.kills + 1):
            if loop.time() > end:
                self._verdict.must(False, f"only {number - 1} kills within {self._plan.within:.0f} s")  # noqa: FBT003
                return
            await asyncio.sleep(self._pause())
            await self._kill()
            if number % CHECK == 0:
                await self._check()

    async def _check(self) -> None:
        """Once somebody has been given something since: counters, what is stored, and nobody left over."""
        before = await self._audit.balance()
        done = sum(one.done for one in before.handlers)

        async def moves() -> bool:
            return sum(one.done for one in (await self._audit.balance()).handlers) > done

        try:
            await until(moves, within=STALLED)
        except AssertionError:
            self._verdict.faults.append(f"no handler got on for {STALLED:.0f} s")
        await self._audit.look(self._load.acknowledged)

    def _pause(self) -> float:
        return self._random.uniform(0.0, 0.4) if self._random.random() < 0.5 else self._random.uniform(0.4, 1.6)

    async def _kill(self) -> None:
        victims = self._plan.victims or tuple(WEIGHTS)
        who = self._random.choices(victims, [WEIGHTS[each] for each in victims])[0]
        at_an_operation = self._random.random() < AT_AN_OPERATION if not self._plan.at else self._plan.at != "random"
        if who in (DISPATCHING, WORKER) and not await self._is_there(who):
            who = SERVE
        family = self._serve.family
        if len(family) < {DISPATCHING: 2, WORKER: 3}.get(who, 1):
            who = SERVE
        self._serve.known.update(family)
        moment = "random"
        if who != WORKER and at_an_operation:
            who, moment = await self._at_an_operation(who, family)
        if moment == "random":
            await self._serve.kill(*self._victims(who, family))
        self._kills[who] += 1
        self._moments[moment] += 1
        self._deaths += who == DISPATCHING
        if who in (SERVE, GROUP):
            await self._again(family)

    async def _is_there(self, who: str) -> bool:
        """Whether there is somebody to kill; a process may be about to start."""
        if who == DISPATCHING and self._deaths >= MOST_BY_DISPATCH:
            return False
        with suppress(AssertionError):
            await until(lambda: len(self._serve.family) > (1 if who == DISPATCHING else 2), within=3)
            return True
        return False

    def _victims(self, who: str, family: list[int]) -> list[int]:
        match who:
            case "serve":
                return family[:1]
            case "dispatch":
                return family[1:2]
            case "worker":
                return [self._random.choice(family[2:])]
        return family

    async def _at_an_operation(self, who: str, family: list[int]) -> tuple[str, str]:
        """Have the process die that makes some operation. Who it was, and when; at random where none came."""
        theirs = FILES[self._random.choice([SERVE, DISPATCHING]) if who == GROUP else who]
        kind, on = self._random.choices(*zip(*theirs, strict=True))[0], self._operation()
        self._meddler.files, self._meddler.die_on = kind, on
        self._meddler.die_how = self._random.choice((BEFORE, HALFWAY, AFTER))
        self._meddler.die_at = self._meddler.sequence + self._random.randint(1, 10)
        with suppress(AssertionError):
            await until(lambda: not self._meddler.die_at, within=OPERATION)
        came = not self._meddler.die_at
        self._meddler.calm()
        if not came:
            return who, "random"
        with suppress(AssertionError):  # one that was not there yet when the family was listed
            await until(lambda: not all(map(is_running, family)), within=3)
        died = DISPATCHING if is_running(self._serve.pid) else SERVE
        if who == GROUP:
            await self._serve.kill(*family)
        elif died == SERVE:
            await self._serve.kill(self._serve.pid)
        return who if who == GROUP else died, "write" if on == A_WRITE else "fsync"

    def _operation(self) -> int:
        wanted = {"write": A_WRITE, "fsync": AN_FSYNC}.get(self._plan.at)
        return wanted or self._random.choices((A_WRITE, AN_FSYNC), (2, 1))[0]

    async def _again(self, family: list[int]) -> None:
        """Start `serve` again; sometimes it is killed while it starts."""
        self._leaving.append(asyncio.create_task(self._leaves(self._serve, family)))
        while self._random.random() < 0.1:
            await self._start_only()
            await asyncio.sleep(self._random.uniform(0.0, 0.6))
            family = self._serve.family
            await self._serve.kill(*family)
            self._kills["starting"] += 1
            self._leaving.append(asyncio.create_task(self._leaves(self._serve, family)))
        await self._start(measured=True)

    async def _start_only(self) -> None:
        self._deaths = 0
        listen = self._url.removeprefix("http://")
        self._serve = await self._yard.start("serve", **self._env, RECEIVER_SERVER__LISTEN=listen)
        self._serve.url = self._url

    async def _start(self, *, measured: bool) -> None:
        """Start, and wait for the first 200; before there is a load, for the word that it is ready."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        await self._start_only()
        if not measured:
            await self._serve.says("ready")
            return
        await until(
            lambda: self._load.answered_at > began or self._serve.process.returncode is not None, within=PATIENCE
        )
        assert self._serve.process.returncode is None, self._serve.words
        self._ready.append(self._load.answered_at - began)

    async def _leaves(self, serve: Command, family: list[int]) -> None:
        """Nobody outlives a killed `serve` for long."""
        with suppress(AssertionError):
            await until(lambda: not any(map(is_running, family)), within=LEAVE)
        left = [pid for pid in family if is_running(pid)]
        self._verdict.must(not left, f"{len(left)} processes were there {LEAVE:.0f} s after their serve was killed")
        if not left:
            serve.known.clear()  # its numbers may be others' by the end
        self._said_nothing_wrong(serve)
        serve.stderr.unlink(missing_ok=True)
        serve.stdout.unlink(missing_ok=True)

    def _said_nothing_wrong(self, serve: Command) -> None:
        _, found, words = serve.stderr.read_text().partition("Traceback (most recent call last)")
        self._verdict.must(not found, f"a traceback in the log: …{words[:600].splitlines()[-1:]}")

    async def _send_again(self) -> None:
        """What was not answered 200 comes again, as from a provider."""
        while True:
            with suppress(TimeoutError):
                await self._load.repeat(self._url, within=PATIENCE)
            await asyncio.sleep(0.2)

    async def _end(self) -> None:
        """Let everything come to rest, compare, and stop in an orderly way."""
        await self._load.repeat(self._url)
        await self._rest()
        await asyncio.gather(*self._leaving)
        stats = await self._audit.balance()
        await self._audit.look(self._load.acknowledged)
        self._count()
        for one in stats.handlers:
            await self._compare(one)
        self._verdict.faults += self._load.wrong
        self._ready_in_time()
        await self._serve.stop()
        self._said_nothing_wrong(self._serve)

    def _count(self) -> None:
        figures = self._verdict.figures
        figures |= {"kills": self._kills.total(), **{f"  {who}": self._kills[who] for who in sorted(self._kills)}}
        figures |= {f"  at a {moment} moment": self._moments[moment] for moment in sorted(self._moments)}
        figures |= {"sent": len(self._load.sent), "acknowledged": len(self._load.acknowledged)}

    async def _compare(self, one: HandlerStats) -> None:
        """What a handler has, with what it is owed; its repeats, with what interrupted it."""
        ledger, owed = self._ledger(one.handler)
        await self._audit.settled(one, ledger, owed=owed)
        interrupted = (await self._audit.written(one.handler, "interrupted")).total()
        repeats = ledger.repeats - (await self._audit.written(one.handler, "retry")).total()
        dead = await self._audit.killed_rightly(one.handler)
        self._verdict.figures[f"{one.handler}: repeats, interruptions, dead"] = (
            f"{max(repeats, 0)}, {interrupted}, {dead}"
        )
        if one.handler == "slow":
            most = CONCURRENCY * self._kills.total()
            self._verdict.must(interrupted <= most, f"slow was interrupted {interrupted} times: over {most}")

    def _ledger(self, handler: str) -> tuple[Ledger, Callable[[str], bool]]:
        folder = self._yard.folder
        match handler:
            case "audit":
                return Ledger.logged(folder / "audit.jsonl"), everybody
            case "crm":
                return Ledger(self._target.given, set(self._target.given)), everybody
        return Ledger.kept(folder / f"{handler}.ledger"), slow_wants if handler == "slow" else everybody

    async def _rest(self) -> None:
        """Wait until the handlers have nothing left to do, as long as they get on."""
        loop = asyncio.get_running_loop()
        left, since = -1, loop.time()
        while left:
            now = sum(one.pending + one.running for one in (await self._audit.balance()).handlers)
            if now != left:
                left, since = now, loop.time()
            elif loop.time() - since > STALLED:
                return
            await asyncio.sleep(0.1)

    def _ready_in_time(self) -> None:
        if self._ready:
            self._verdict.figures["ready, median s"] = statistics.median(self._ready)
            self._verdict.figures["ready, most s"] = max(self._ready)
        late = [took for took in self._ready if took > self._plan.ready]
        self._verdict.must(not late, f"{len(late)} of {len(self._ready)} starts took over {self._plan.ready} s")


def free_port() -> int:
    """A port that nobody listens on, to be the same for every start."""
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return int(some.getsockname()[1])
