"""Events out: how much `forward` forwards, and what that costs those who come in meanwhile."""

import base64
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.fill import fill
from benchmarks.intake import in_turn, sent
from benchmarks.load import Slice
from benchmarks.plan import Plan
from benchmarks.report import AT_LEAST, AT_MOST, Section, of, ratios
from benchmarks.servers import PATIENCE, Dispatch, Ours, Server, configure, running

CONNECTIONS = 64
HALF = 0.5
"""The part of saturation at which events come in while they are forwarded."""
WARM = 1.0
"""Seconds in which the dispatch process gets going and is not measured."""
MOST_EXPECTED = 15_000
"""Events a second that are made ready for it."""
SECRET = "whsec_" + base64.b64encode(b"benchmark" * 4).decode()


class Target(Server):
    """Where events are forwarded to."""

    name = "target"

    def command(self) -> list[str]:
        """A process that answers 204."""
        return [sys.executable, "-m", "benchmarks.target", str(self.port)]

    def cores(self) -> set[int]:
        """Beside the load."""
        return machine.load_cores()

    def table(self) -> str:
        """The handler that forwards everything there, signed."""
        url = f"http://127.0.0.1:{self.port}/"
        return f'[handlers.crm]\nuse = "forward"\nurl = "{url}"\nsecret = "{SECRET}"\nconcurrency = 64\n'


@dataclass
class Alone(Dispatch):
    """`receiver dispatch` on the core of the server, where no server runs."""

    def cores(self) -> set[int]:
        """A core of its own."""
        return machine.server_cores()


def forwarding(plan: Plan) -> Section:
    """Events a second of a dispatch process that has a core of its own, signed and recorded."""
    section = Section("forwarding", "events forwarded to a local target, signed and recorded, on a core of its own")
    target, rates, costs = Target(plan.folder / "target"), [], []
    with running(target):
        for turn in range(plan.rounds):
            folder = plan.folder / f"forwarding-{turn}"
            plan.say("forwarding: events are stored, then forwarded")
            folder.mkdir()
            fill(folder / "receiver.db", int(MOST_EXPECTED * (plan.seconds + WARM + 0.5)), handlers=["crm"])
            configure(folder, target.table())
            dispatch = Alone(folder)
            with running(dispatch):
                rate, cost = _measure(dispatch, plan.seconds)
            rates.append(rate)
            costs.append(cost)
    section.add("forwarded", rates, "/s", (AT_LEAST, 8000.0))
    section.add("CPU of the dispatch process", costs, "µs each")
    section.notes.append("counted by what the store has as done; the target is on the other core")
    return section


def _measure(dispatch: Dispatch, seconds: float) -> tuple[float, float]:
    _wait_for_the_first(dispatch)
    time.sleep(WARM)
    began, done, cpu = time.monotonic(), _done(dispatch.folder), machine.cpu_seconds(dispatch.pid)
    time.sleep(seconds)
    took, count = time.monotonic() - began, _done(dispatch.folder) - done
    return count / took, (machine.cpu_seconds(dispatch.pid) - cpu) / max(count, 1) * 1e6


def _wait_for_the_first(dispatch: Dispatch) -> None:
    began = time.monotonic()
    while not _done(dispatch.folder):
        if time.monotonic() - began > PATIENCE or dispatch.pid_if_runs() is None:
            raise RuntimeError(f"nothing was forwarded: {dispatch.log.read_text()[-500:]}")
        time.sleep(0.05)


def _done(folder: Path) -> int:
    with closing(sqlite3.connect(f"file:{folder / 'receiver.dispatch.db'}?mode=ro", uri=True, timeout=10)) as db:
        return int(db.execute("SELECT done FROM lanes WHERE handler = 'crm'").fetchone()[0])


def dispatching(plan: Plan) -> Section:
    """Intake at half of saturation, alone and while everything is forwarded, in turn."""
    section = Section("dispatching", "intake at half of saturation while everything is forwarded to a local target")
    target, alone = Target(plan.folder / "dispatching-target"), Ours(plan.folder / "alone")
    with running(target):
        beside = Ours(plan.folder / "beside", tables=target.table())
        alone.name, beside.name = "alone", "forwarding"
        with running(alone, beside, dispatch := Dispatch(beside.folder)):
            saturated = Slice(0, "dlr", CONNECTIONS, plan.seconds)
            full = max(sent(alone, saturated).per_second for _ in range(plan.rounds))
            sent(beside, Slice(0, "dlr", CONNECTIONS, plan.seconds, rate=full * HALF))
            _wait_for_the_first(dispatch)
            dispatch.rest()
            plan.say(f"dispatching: {full * HALF:,.0f} a second")
            found = in_turn(
                plan, [alone, beside], Slice(0, "dlr", CONNECTIONS, plan.seconds, rate=full * HALF), also=dispatch
            )
            done = _done(beside.folder)
    section.add(
        "CPU, forwarding / alone", ratios(of(found["forwarding"], "cpu"), of(found["alone"], "cpu")), "", (AT_MOST, 1.1)
    )
    section.add(
        "p99, forwarding / alone", ratios(of(found["forwarding"], "p99"), of(found["alone"], "p99")), "", (AT_MOST, 2.0)
    )
    section.measured = dict(found)
    section.notes.append(f"{done:,} were forwarded; load, dispatch process and target share one core")
    return section
