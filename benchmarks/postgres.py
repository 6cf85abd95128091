"""PostgreSQL: durable answers of one receiver and of two, and claims while very many wait."""

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from benchmarks import load, machine
from benchmarks.fill import SOURCE, query
from benchmarks.intake import in_turn, sent
from benchmarks.load import Slice
from benchmarks.plan import Plan
from benchmarks.report import AT_LEAST, AT_MOST, Section, of, ratios
from benchmarks.servers import Base, Ours, running
from drills.faults.ready import free_port
from drills.meddle import Meddler, library
from drills.postgres.server import DATABASE, OWNER, Server
from drills.verdict import CannotRun
from receiver.callback import Callback
from receiver.errors import ReceiverError
from receiver.store.base import Done, Settlement
from receiver.store.postgres import PostgresStore

CONNECTIONS = 64
DELAY = 5_000
"""Microseconds that each flush of the server takes longer."""
BESIDE_BASE = (AT_LEAST, 0.35)
TWO_OF_ONE = (AT_LEAST, 1.5)
FLAT = (AT_MOST, 1.5)
WAITING = 1_000_000
AT_ONCE = 500
"""Callbacks in a commit."""
PATIENCE = 300.0
"""Seconds for the server to make them."""
CLAIMED = 16
"""Dispatches in a claim."""
CLAIMS = 40
"""Claims in a round."""
SPARE = 1_000
"""Of few that wait, so many are left at the end."""

# A closed stream of as many events as wanted, all like one that a receiver stored.
FILL = (
    "INSERT INTO streams (name, closed, last) OVERRIDING USER VALUE VALUES ('filled', true, $1) RETURNING stream",
    "INSERT INTO events (stream, position, at, id, kind, source, received_at, message_id, recipient, status, rank,"
    " simulated, data) SELECT $1, n, e.at + n, decode(md5(n::text), 'hex'), kind, source, e.received_at + n,"
    " message_id, recipient, status, rank, simulated, data"
    " FROM (SELECT * FROM events WHERE stream <> $1 LIMIT 1) e, generate_series(1, $2) n",
    "INSERT INTO lanes (handler, stream, start, next, over) SELECT handler, $1::integer, 1,"
    " CASE WHEN handler = 'many-new' THEN 1 ELSE $2::bigint + 1 END, handler <> 'many-new' FROM handlers",
    "INSERT INTO exceptions (handler, stream, position, replay, at, state, thread, attempts, due_at) SELECT h, stream,"
    " position, 0, at, 'again', id, 1, at FROM events CROSS JOIN unnest(ARRAY['few-again', 'many-again']) h"
    " WHERE stream = $1 AND (h = 'many-again' OR position <= $2)",
    "UPDATE lanes SET next = e.last + 1 FROM (SELECT stream, max(position) AS last FROM events GROUP BY stream) e"
    " WHERE lanes.stream = e.stream AND handler LIKE '%-again' AND lanes.stream <> $1",
)


def postgres(plan: Plan) -> Section:
    """All of it, on a server of its own."""
    section = Section("postgres", "on PostgreSQL, whose server runs on the same cores")
    try:
        with _server(plan.folder) as (url, server, meddler):
            _beside_base(plan, section, url, server)
            _two_and_one(plan, section, url, meddler)
            _flat(plan, section, url)
    except (ReceiverError, asyncpg.PostgresError) as fault:
        raise RuntimeError(f"{type(fault).__name__}: {fault}") from fault
    except CannotRun as reason:
        plan.say(f"postgres: SKIPPED: {reason}")
        section.notes.append(f"not measured: {reason}")
    return section


@contextmanager
def _server(folder: Path) -> Iterator[tuple[str, Server, Meddler]]:
    """A PostgreSQL whose flushes can be delayed, and the URL of an empty database in it. Raises CannotRun."""
    place = folder / "postgres"
    place.mkdir()
    folder.chmod(0o755)
    with ExitStack() as stack:
        meddler = Meddler(place)
        stack.callback(meddler.close)
        server = Server(place, free_port())
        shutil.copy(library(), place / "meddle.so")  # who runs the server may be anybody
        (place / "meddle.so").chmod(0o755)
        Path(meddler.env["DRILL_CONTROL"]).chmod(0o666)
        runner = stack.enter_context(asyncio.Runner())
        stack.callback(lambda: runner.run(server.kill()))
        runner.run(server.create())
        server.configure(max_wal_size="8GB", shared_buffers="256MB")
        before = dict(os.environ)
        os.environ.update({**meddler.env, "LD_PRELOAD": str(place / "meddle.so")})
        try:
            runner.run(server.start())
        finally:
            os.environ.clear()
            os.environ.update(before)
        runner.run(server.value(f"CREATE ROLE {OWNER} LOGIN"))
        runner.run(server.value(f"CREATE DATABASE {DATABASE} OWNER {OWNER}"))
        yield server.url(OWNER, DATABASE), server, meddler


def _beside_base(plan: Plan, section: Section, url: str, server: Server) -> None:
    plan.say(f"postgres: {CONNECTIONS} connections, beside the bare route")
    base, ours = Base(plan.folder / "base-pg"), Ours(plan.folder / "ours-pg", env={"RECEIVER_STORE__URL": url})
    asked = Slice(0, "dlr", CONNECTIONS, plan.seconds)
    with running(base, ours):
        found = in_turn(plan, [base, ours], asked)
        before = _cpu(server)
        answered = sent(ours, asked).total
        database = (_cpu(server) - before) / answered * 1e6
    answers = ratios(of(found["ours"], "per_second"), of(found["base"], "per_second"))
    section.add(f"dlr, {CONNECTIONS}: answers, one receiver / base", answers, "", BESIDE_BASE)
    section.add("CPU of the receiver, base / ours", ratios(of(found["base"], "cpu"), of(found["ours"], "cpu")))
    section.add("CPU of the receiver for an event", of(found["ours"], "cpu"), "µs")
    section.add("CPU of PostgreSQL for an event", database, "µs")
    section.measured = {"base": found["base"], "one receiver": found["ours"]}


def _cpu(server: Server) -> float:
    """Seconds of all its processes so far; of those that ended meanwhile nothing is known."""
    return sum(machine.cpu_seconds(pid) for pid in server.pids)


class Anywhere(Ours):
    """A receiver on whichever core has time."""

    def cores(self) -> set[int]:
        return machine.server_cores() | machine.load_cores()


def _two_and_one(plan: Plan, section: Section, url: str, meddler: Meddler) -> None:
    """One receiver with its callers, and two with theirs, in turn; every flush of the server takes longer."""
    pair = [Anywhere(plan.folder / f"slow-pg-{n}", env={"RECEIVER_STORE__URL": url}) for n in range(2)]
    pair[1].name = "other"
    meddler.fsync_delay = DELAY
    one: list[float] = []
    two: list[float] = []
    flushes = meddler.fsyncs
    with running(*pair):
        for _ in range(plan.rounds):
            plan.say(f"postgres: every flush + {DELAY // 1000} ms, one receiver and two")
            for several, sums in ((pair[:1], one), (pair, two)):
                sending = [load.begin(Slice(each.port, "dlr", CONNECTIONS, plan.seconds, each.pid)) for each in several]
                ended = [load.end(each) for each in sending]
                if any(each.refused or not each.answers for each in ended):
                    raise RuntimeError("not every answer was a 200")
                sums.append(sum(each.per_second for each in ended))
    meddler.fsync_delay = 0
    if meddler.fsyncs == flushes:
        raise RuntimeError("no flush of the server was delayed")
    section.add(f"flushes + {DELAY // 1000} ms: answers, two receivers / one", ratios(two, one), "", TWO_OF_ONE)
    section.add(f"one receiver, {CONNECTIONS} connections", one, "/s")
    section.add(f"two receivers, {CONNECTIONS} connections each", two, "/s")


def _flat(plan: Plan, section: Section, url: str) -> None:
    """Claims of four handlers in turn: new ones and such as are due again, few and very many of each."""
    count = WAITING // 50 if plan.quick else WAITING
    plan.say(f"postgres: {count:,} wait")
    few = CLAIMED * CLAIMS * (plan.rounds + 1) + SPARE
    times = asyncio.run(_claims(plan, url, few, count))
    for kind, words in (("new", "new ones"), ("again", "due again")):
        name = f"a claim of {CLAIMED}, {words}: while {count:,} wait / {few:,}"
        section.add(name, ratios(times[f"many-{kind}"], times[f"few-{kind}"]), "", FLAT)
        section.add(f"and it takes, settled, {words}, {count:,} wait", times[f"many-{kind}"], "ms")


async def _claims(plan: Plan, url: str, few: int, count: int) -> dict[str, list[float]]:
    handlers = ("few-new", "many-new", "few-again", "many-again")
    store = await PostgresStore.open(url, "receive", create=True)
    await store.register(handlers)
    now = datetime.now(UTC)
    for start in range(0, few, AT_ONCE):
        await asyncio.gather(*(_record(store, number, now) for number in range(start, min(start + AT_ONCE, few))))
    await store.close()
    db = await asyncpg.connect(url)
    stream = await db.fetchval(FILL[0], count)
    given = ((stream, count), (stream, count), (stream, few), (stream,))
    for statement, arguments in zip(FILL[1:], given, strict=True):
        await db.execute(statement, *arguments, timeout=PATIENCE)
    for table in ("events", "exceptions", "lanes"):
        await db.execute(f"VACUUM ANALYZE {table}", timeout=PATIENCE)
    await db.close()
    store = await PostgresStore.open(url, "dispatch")
    await store.enrol(handlers, owner="benchmark", now=now)
    times: dict[str, list[float]] = {handler: [] for handler in handlers}
    for turn in range(plan.rounds + 1):
        for handler in handlers:
            took = [await _claim(store, handler) for _ in range(CLAIMS)]
            if turn:  # the first warms up
                times[handler].append(statistics.median(took))
    await store.close()
    return times


async def _record(store: PostgresStore, number: int, at: datetime) -> None:
    callback = Callback(source="spryng", endpoint="dlr", method="GET", query=query(number, at).encode(), received_at=at)
    await store.record(callback, SOURCE.read(callback))


async def _claim(store: PostgresStore, handler: str) -> float:
    """Claim some and settle them: milliseconds."""
    now, began = datetime.now(UTC), time.perf_counter()
    claimed = await store.claim(handler, owner="benchmark", limit=CLAIMED, now=now, lease=timedelta(minutes=10))
    if len(claimed) != CLAIMED:
        raise RuntimeError(f"{handler}: {len(claimed)} were claimed")
    await store.settle([Settlement(one, Done("200"), now) for one in claimed], now=now)
    return (time.perf_counter() - began) * 1000
