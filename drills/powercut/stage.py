"""The recorded run: a receiver under load from its first file on, killed, begun again as two commands, stopped.

Before it is begun again a handler is added, of which the running `dispatch` does not know yet.
"""

import asyncio
import os
import signal
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from drills.load import Load
from drills.meddle import Meddler
from drills.powercut import tape
from drills.powercut.tape import Op
from drills.verdict import Verdict
from drills.waiting import until
from drills.yard import DROP_INS, Command, Yard

LATE = "late"
HANDLERS = ("own", "moody", LATE)
FIRST = '[handlers.own]\nuse = "own"\n[handlers.moody]\nuse = "moody"\nretries = ["200ms", "1s", "1s"]\n'
THEN = f'[handlers.{LATE}]\nuse = "own"\n'
FLUSH = 2_000
"""Microseconds that a flush takes at least, as on a disk; else nobody would be answered beside one."""
RATE = 250.0
FEWEST = 40
"""Messages that are acknowledged before the load ends, also on a busy machine."""
WORDS = 300
"""Of what a receiver said that did not start or stop, the last so many characters."""
CODE = """
import mmap, os, struct, zlib

LEDGER, CONTROL = os.environ["DRILL_LEDGER"], os.environ.get("DRILL_CONTROL")
if CONTROL:
    with open(CONTROL, "rb") as file:
        page = mmap.mmap(file.fileno(), 512, access=mmap.ACCESS_READ)

async def handle(event, attempt):
    fails = {fails} and attempt.number == 1 and zlib.crc32(event.message_id.encode()) % 5 == 0
    moment = struct.unpack_from("q", page)[0] if CONTROL else 0
    with open(LEDGER, "a") as ledger:
        ledger.write(f"{{moment}} {{attempt.handler}} {{'failed' if fails else 'done'}} {{event.message_id}}\\n")
    if fails:
        raise RuntimeError("not the first time")
"""
"""A handler that writes down what it did and at which operation of the receiver; `moody` fails some at first."""


@dataclass(frozen=True)
class Recording:
    """What was done to the files, and what the world had seen by when; moments are sequences of operations."""

    folder: str
    file: Path
    created: int
    """When the receiver was ready for the first time."""
    acknowledged: Mapping[str, int]
    """Message → when its answer had been read."""
    done: Mapping[str, Mapping[str, int]]
    """Handler → message → when it was first done with it."""
    newer: Set[str]
    """Messages that were sent after the handler `late` was added."""

    def ops(self) -> list[Op]:
        """All operations on the files."""
        return tape.read(self.file)

    def acknowledged_by(self, moment: int) -> set[str]:
        """Messages whose answer had been read by then."""
        return {message for message, at in self.acknowledged.items() if at <= moment}

    def done_by(self, handler: str, moment: int) -> set[str]:
        """Messages that a handler was done with by then."""
        return {message for message, at in self.done[handler].items() if at <= moment}

    def owed(self, handler: str, stored: Iterable[str]) -> set[str]:
        """Those of the stored messages that a handler has to be given."""
        return {message for message in stored if handler != LATE or message in self.newer}


def furnish(yard: Yard, *tables: str) -> None:
    """The configuration, with the handlers of these tables."""
    yard.drop_in("own", CODE.format(fails=False))
    yard.drop_in("moody", CODE.format(fails=True))
    yard.configure(DROP_INS, *tables)


def ledger(file: Path) -> dict[str, dict[str, int]]:
    """Handler → message → when it was first done with it."""
    found: dict[str, dict[str, int]] = {handler: {} for handler in HANDLERS}
    for line in file.read_text().splitlines() if file.exists() else ():
        moment, handler, outcome, message = line.split()
        if outcome == "done":
            found[handler].setdefault(message, int(moment))
    return found


async def record(folder: Path, verdict: Verdict, *, seconds: float, broken: str = "") -> Recording:
    """Run a receiver in `folder`/yard for so long."""
    (at := folder / "yard").mkdir()
    kept, written = folder / "recorded", folder / "ledger"
    meddler = Meddler(at, record=kept)
    meddler.recording, meddler.fsync_delay = 1, FLUSH
    loads = [Load(verdict.seed + number, rate=RATE) for number in range(2)]
    for load in loads:
        load.moment = lambda: meddler.sequence
    try:
        async with Yard.opened(at, broken=broken) as yard:
            env = meddler.env | {"DRILL_LEDGER": str(written)}
            furnish(yard, FIRST)
            serve = await yard.serve(**env)
            created = meddler.sequence
            await _send(loads[0], serve, seconds / 2)
            await _freeze_and_kill(serve)
            dispatch = await yard.start("dispatch", **env)
            await dispatch.says("dispatch_started")
            furnish(yard, FIRST, THEN)
            serve = await yard.serve("--no-dispatch", **env)
            await loads[0].repeat(serve.url)
            await _send(loads[1], serve, seconds / 2)
            await serve.stop()
            await dispatch.stop()
    finally:
        meddler.close()
    answered = loads[0].read_at | loads[1].read_at
    verdict.figures |= {"sent": sum(len(load.sent) for load in loads), "acknowledged": len(answered)}
    verdict.faults += [wrong for load in loads for wrong in load.wrong]
    return Recording(str(at.resolve()), kept, created, answered, ledger(written), set(loads[1].sent))


async def _send(load: Load, serve: Command, seconds: float) -> None:
    async with load.running(serve.url):
        await asyncio.sleep(seconds)
        await until(lambda: len(load.read_at) >= FEWEST)


async def _freeze_and_kill(serve: Command) -> None:
    """kill -9 of all, who are stopped before: else one could die in the middle of recording an operation."""
    family = serve.family
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    await until(lambda: all(map(_is_stopped, family)))
    await serve.kill(*family)


def _is_stopped(pid: int) -> bool:
    """Whether every thread of a process stands still."""
    try:
        states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    except (FileNotFoundError, ProcessLookupError):  # a thread that just ended
        return False
    return set(states) <= {"T", "Z", "X"}
