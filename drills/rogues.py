"""Handlers of a team's own that do harm, and what has to become of what they are given."""

from typing import NamedTuple

DEAD, HELD, DONE, WAITING = "dead", "held", "done", "waiting"

FOREVER = "async def handle(event, attempt):\n    begun(event)\n    "
BEGUN = """
import asyncio
import ctypes
import os
import subprocess
import sys
import threading
import time

ledger = os.open(os.path.splitext(__file__)[0] + ".ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def begun(event):
    os.write(ledger, f"begun {event.message_id}\\n".encode())
"""


class Rogue(NamedTuple):
    """What a handler does after it was given an event; what must come of it, and how the reasons begin."""

    code: str
    end: str = DEAD
    reasons: tuple[str, ...] = ("killed: ",)
    keys: str = ""
    named: str = "handler_process_ended"
    """The line of the log that has to name it; empty for none."""
    whole: bool = False
    """Whether `code` is the whole file."""

    def file(self) -> str:
        """The drop-in."""
        return self.code if self.whole else f"{BEGUN}\n\n{FOREVER}{self.code}\n"


SOON = 'timeout = "300ms"\nretries = ["100ms"]\n'
LEAN = 'max_memory = "80 MiB"\n'
IGNORING = """while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass"""
LEAKING = """hoard = []
    while True:
        hoard.append(b"x" * 2**20)
        await asyncio.sleep(0.01)"""
GREEDY = """hoard = []
    while True:
        hoard.append(b"x" * 2**26)"""
BOMB = """while True:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()"""
FORKING = """for _ in range(5):
        if not os.fork():
            time.sleep(3600)
    subprocess.Popen(["sleep", "3607"])
    os._exit(3)"""
FLOODING = """for _ in range(500):
        print("flood " * 12)
        print("flood " * 12, file=sys.stderr)
    raise RuntimeError("dry")"""

UNOPENED = """
import asyncio

from receiver import BaseHandler


class Unopened(BaseHandler):
    async def open(self):
        await asyncio.sleep(3600)

    async def handle(self, event, attempt):
        raise AssertionError
"""

ROGUES = {
    "raises": Rogue('raise ValueError("no")', reasons=("ValueError: no",), keys=SOON, named="attempt_failed"),
    "hangs": Rogue("await asyncio.sleep(3600)", HELD, ("no answer within",), SOON, named="handler_held"),
    "ignores": Rogue(IGNORING, reasons=("killed: a call went on for",), keys=SOON),
    "blocks": Rogue("time.sleep(3600)", reasons=("killed: blocked for",), keys=SOON),
    "spins": Rogue("while True:\n        pass", reasons=("killed: blocked for",), keys=SOON),
    "leaks": Rogue(LEAKING, reasons=("killed: over max_memory",), keys=LEAN),
    "greedy": Rogue(GREEDY, reasons=("killed: over max_memory",), keys=LEAN),
    "threads": Rogue(
        BOMB, reasons=("RuntimeError: can't start", "killed: ", "MemoryError"), keys=LEAN + SOON, named=""
    ),
    "forks": Rogue(FORKING, reasons=("killed: exit status 3",)),
    "leaves": Rogue("os._exit(1)", reasons=("killed: exit status 1",)),
    "crashes": Rogue("ctypes.string_at(0)", reasons=("killed: signal 11 (SIGSEGV)",)),
    "floods": Rogue(FLOODING, reasons=("RuntimeError: dry",), keys=SOON, named="attempt_failed"),
    "deaf": Rogue("os.closerange(0, 256)\n    await asyncio.sleep(3600)", keys=SOON),
    "suicide": Rogue("os.kill(0, 9)", reasons=("killed: signal 9 (SIGKILL)",)),
    "unopened": Rogue(UNOPENED, WAITING, named="handler_not_started", whole=True),
    "unready": Rogue('raise RuntimeError("broken")\n', WAITING, named="handler_not_started", whole=True),
}
