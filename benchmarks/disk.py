"""The disk: what a slow one does to the answers, and what it costs to remove what is old meanwhile."""

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

from benchmarks import load, machine
from benchmarks.fill import fill
from benchmarks.intake import sent
from benchmarks.load import Slice
from benchmarks.plan import Plan
from benchmarks.report import Section, of, ratios
from benchmarks.servers import Ours, configure, running
from drills.meddle import Meddler
from drills.verdict import CannotRun

CONNECTIONS = 64
DELAYS = (0, 1, 5)
"""Milliseconds that each flush takes longer."""
RATE = 1000.0
"""Callbacks a second while it is pruned: a disk that is busy shows, a full core does not."""
OLD = timedelta(days=100)
PRUNED = 200_000


def slow(plan: Plan) -> Section:
    """Durable answers where every flush takes longer."""
    section = Section("slow-disk", "every flush takes 0, 1 or 5 ms longer, 64 connections")
    folder = plan.folder / "slow"
    folder.mkdir()
    try:
        meddler = Meddler(folder)
    except CannotRun as reason:
        section.notes.append(f"not measured: {reason}")
        return section
    server = Ours(folder, env=meddler.env)
    with running(server):
        section.measured = {f"+ {delay} ms": [] for delay in DELAYS}
        flushes: dict[int, list[float]] = {delay: [] for delay in DELAYS}
        for _ in range(plan.rounds):
            for delay in DELAYS:
                plan.say(f"slow-disk: + {delay} ms")
                meddler.fsync_delay, before = delay * 1000, meddler.fsyncs
                measured = sent(server, Slice(0, "dlr", CONNECTIONS, plan.seconds))
                section.measured[f"+ {delay} ms"].append(measured)
                flushes[delay].append((meddler.fsyncs - before) / measured.total)
    for delay in DELAYS:
        section.add(f"flushes per event, + {delay} ms", flushes[delay])
    meddler.close()
    return section


def prune(plan: Plan) -> Section:
    """Answers while `receiver prune` removes old events, and calm, in turn."""
    section = Section("prune", f"answers at {RATE:,.0f} a second while old events are removed")
    count = PRUNED // 20 if plan.quick else PRUNED
    server = Ours(plan.folder / "prune")
    server.folder.mkdir()
    plan.say(f"prune: {count:,} old events are stored")
    fill(server.database, count, until=datetime.now(UTC) - OLD)
    steady = Slice(0, "dlr", CONNECTIONS, plan.seconds, rate=RATE)
    with running(server):
        sent(server, steady)  # the newest event stays for ever, so it has to be a new one
        calm, busy = [], []
        plan.say("prune: answers, calm and meanwhile")
        for _ in range(plan.rounds):
            calm.append(sent(server, steady))
            busy.append(_while_pruned(server, steady, section))
    section.add("p99, while pruned / calm", ratios(of(busy, "p99"), of(calm, "p99")))
    section.add("longest, while pruned / calm", ratios(of(busy, "longest"), of(calm, "longest")))
    section.measured = {"calm": calm, "while pruned": busy}
    return section


def _while_pruned(server: Ours, slice: Slice, section: Section) -> load.Measured:
    file = configure(server.folder)
    command = [sys.executable, "-m", "receiver", "prune", "--config", str(file)]
    pruning = subprocess.Popen(command, cwd=machine.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.3)  # until it has started
        measured = sent(server, slice)
        if pruning.poll() is not None:
            section.notes.append("pruning had ended before the answers were all measured")
        return measured
    finally:
        pruning.terminate()
        pruning.wait(30)
