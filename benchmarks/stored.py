"""Growth, questions and restarts with many events stored, on stores that are filled once for all of them."""

import asyncio
import http.client
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import load, wire
from benchmarks.fill import fill, message_id, phone, reference
from benchmarks.intake import in_turn, sent
from benchmarks.load import Slice
from benchmarks.plan import Plan
from benchmarks.report import AT_MOST, BELOW, Section, of, ratios
from benchmarks.servers import PATIENCE, Dispatch, Ours, running
from drills.waiting import until
from receiver.store.sqlite import SqliteStore
from receiver.store.sqlite.lookup import next_run
from receiver.store.views import Selector

CONNECTIONS = 64
FAR = 5_000_000
"""So many stored are what the goals are about."""
BUILDING = 600.0
"""Seconds that the runs of a store may take to be built."""
ASKED = 20
"""How often each question is asked."""
QUESTIONS = {
    "latest 50": 10.0,
    "by message id": 10.0,
    "by reference": 10.0,
    "by number": 50.0,
    "stats": 50.0,
}
"""Milliseconds that they may take."""


class Filled(Ours):
    """Ours, on a store that holds so many events already."""

    def __init__(self, plan: Plan, count: int) -> None:
        super().__init__(plan.folder / f"stored-{count}")
        self.name = f"{count:,} stored"
        self.count = count
        if not self.database.exists():
            plan.say(f"filling a store with {count:,} events")
            self.folder.mkdir()
            fill(self.database, count)


def growth(plan: Plan) -> Section:
    """Intake into small and large stores in turn."""
    section = Section("growth", "intake into a store that holds many events")
    servers = [Filled(plan, count) for count in plan.stored]
    with running(*servers):
        plan.say("growth: 64 connections")
        found = in_turn(plan, servers, Slice(0, "dlr", CONNECTIONS, plan.seconds))
        plan.say("growth: one connection")
        alone = in_turn(plan, servers, Slice(0, "dlr", 1, plan.seconds))
    first = servers[0].name
    for server in servers[1:]:
        goal = (AT_MOST, 1.1) if server.count == FAR else None
        section.add(
            f"CPU, {server.name} / {first}", ratios(of(found[server.name], "cpu"), of(found[first], "cpu")), "", goal
        )
        rates = ratios(of(found[server.name], "per_second"), of(found[first], "per_second"))
        section.add(f"answers, {server.name} / {first}", rates)
        goal = (BELOW, 5.0) if server.count == FAR else None
        section.add(f"p99 of a commit alone, {server.name}", of(alone[server.name], "p99"), "ms", goal)
    section.measured = {f"{name}, 64": one for name, one in found.items()}
    section.measured |= {f"{name}, 1": one for name, one in alone.items()}
    section.notes.append("on one connection each answer is one commit: its p99 stands for that of commits")
    return section


def start(plan: Plan) -> Section:
    """Seconds from the command to the first 200: of an empty folder, and after kill -9 under load."""
    section = Section("start", "from the command to the first 200")
    turns = range(plan.rounds)
    plan.say("start: an empty folder")
    section.add("empty database", [_cold(plan.folder / f"cold-{turn}") for turn in turns], "s", (BELOW, 1.0))
    server = Filled(plan, max(plan.stored))
    plan.say(f"start: after kill -9, {server.name}")
    goal = (BELOW, 1.0) if server.count == FAR else None
    section.add(f"after kill -9, {server.name}", [_after_a_kill(server, plan) for _ in turns], "s", goal)
    section.notes.append("what the system had read of the disk is still in its memory: a reboot takes longer")
    return section


def _cold(folder: Path) -> float:
    return _first_answer(Ours(folder))


def _after_a_kill(server: Ours, plan: Plan) -> float:
    server.start()
    try:
        sending = load.begin(Slice(server.port, "dlr", CONNECTIONS, plan.seconds, mortal=True))
        time.sleep(0.5 + plan.seconds / 2)
    finally:
        server.end()
    load.end(sending)
    return _first_answer(server)


def _first_answer(server: Ours) -> float:
    began = time.monotonic()
    try:
        server.start()
        while not _is_stored(server.port):
            if time.monotonic() - began > PATIENCE:
                raise RuntimeError("it never answered 200")
        return time.monotonic() - began
    finally:
        server.end()


def _is_stored(port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        line.request("GET", f"{wire.path('dlr')}?ID=first-{time.time_ns()}&RECIPIENT=31612345678&STATUS=10")
        return line.getresponse().status == 200
    return False


def queries(plan: Plan) -> Section:
    """What people ask, asked of the store as commands do, beside the newest events that no run holds yet."""
    section = Section("queries", "milliseconds of a question, without the start of the command that asks it")
    for count in plan.stored:
        server = Filled(plan, count)
        plan.say(f"queries: the runs of {count:,} events are built")
        built = asyncio.run(_build(server.database))
        section.notes.append(f"{server.name}: the dispatch process takes {built:.1f} s to build its runs")
        asyncio.run(_ask(server, section))
    return section


async def _build(database: Path) -> float:
    """Have the dispatch side build its runs; the seconds it took."""
    began = time.monotonic()
    store = await SqliteStore.open(database, "dispatch")
    try:
        await store.enrol([], owner="benchmark", now=datetime.now(UTC))
        await until(lambda: _is_built(store), within=BUILDING)
    finally:
        await store.close()
    return time.monotonic() - began


async def _is_built(store: SqliteStore) -> bool:
    return await store._desk.read(next_run) is None


async def _ask(server: Filled, section: Section) -> None:
    store = await SqliteStore.open(server.database, "command")
    try:
        for question, bound in QUESTIONS.items():
            times = [await _timed(_question(store, question, _somewhere(turn, server.count))) for turn in range(ASKED)]
            goal = (BELOW, bound) if server.count == FAR else None
            section.add(f"{question}, {server.name}", times, "ms", goal)
    finally:
        await store.close()


def _somewhere(turn: int, count: int) -> int:
    """A different event each time, from all over the log."""
    return (turn * 2 + 1) * count // (ASKED * 2)


async def _timed(ask: Callable[[], Awaitable[bool]]) -> float:
    began = time.perf_counter()
    found = await ask()
    took = (time.perf_counter() - began) * 1000
    if not found:
        raise RuntimeError("what is stored was not found")
    return took


def _question(store: SqliteStore, question: str, number: int) -> Callable[[], Awaitable[bool]]:
    async def latest() -> bool:
        return len([one async for one in store.events(Selector(), limit=50, newest=True)]) == 50

    async def stats() -> bool:
        return bool((await store.stats(datetime.now(UTC))).sources)

    async def find(key: str) -> bool:
        return bool(await store.find(key))

    return {
        "latest 50": latest,
        "by message id": lambda: find(message_id(number)),
        "by reference": lambda: find(reference(number)),
        "by number": lambda: find(phone(number)),
        "stats": stats,
    }[question]


def memory(plan: Plan) -> Section:
    """What the two processes hold after some load, on the largest store."""
    section = Section("memory", "resident memory of `serve` and `dispatch`, together")
    server = Filled(plan, max(plan.stored))
    server.tables = '[handlers.audit]\nuse = "log"\nfile = "audit.txt"\n'
    dispatch = Dispatch(server.folder)
    with running(server, dispatch):
        plan.say(f"memory: {server.name}")
        sent(server, Slice(0, "dlr", CONNECTIONS, max(plan.seconds, 1.0)))
        dispatch.rest()
        held = {one.name: one.memory() for one in (server, dispatch)}
    goal = (AT_MOST, 150.0) if server.count == FAR else None
    section.add(f"both, {server.name}", sum(held.values()), "MiB", goal)
    for name, amount in (("serve", held[server.name]), ("dispatch", held[dispatch.name])):
        section.add(name, amount, "MiB")
    section.notes.append("VmRSS of each: libraries that both have loaded count twice")
    return section
