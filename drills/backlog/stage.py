"""A receiver with a backlog: its handlers, how soon it answers, what it needs, and whether done means given."""

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from drills.faults.crowd import peak
from drills.faults.ready import free_port, get
from drills.waiting import until
from drills.yard import PATIENCE, Command, Yard

SLOW_PAUSE, SLOW_CALLS = 0.05, 4
"""Seconds of a call of the slow handler, and how many it makes at a time."""
LONGEST = 900.0
"""Seconds that a command may take: a replay of a million events is one."""
WAITING = ("slow", "audit", "crm", "again")
"""Handlers that have the backlog."""
TABLES = (
    '[plugins]\ndirectory = "handlers.d"\n',
    f'[handlers.slow]\nuse = "slow"\nconcurrency = {SLOW_CALLS}\n',
    '[handlers.audit]\nuse = "log"\nfile = "audit.txt"\n',
    '[handlers.again]\nuse = "log"\nfile = "again.txt"\n',
    '[handlers.crm]\nuse = "forward"\nurl = "http://127.0.0.1:{port}/"\n',
    '[handlers.stops]\nuse = "stops"\nopt_out = true\n',
)
SLOW = f"""
import asyncio

async def handle(event, attempt):
    await asyncio.sleep({SLOW_PAUSE})
    with open("slow.txt", "a") as ledger:
        print(event.message_id, file=ledger, flush=True)
"""
STOPS = """
async def handle(event, attempt):
    with open("stops.txt", "a") as ledger:
        print(event.originator, file=ledger, flush=True)
"""


class Stage:
    """The receiver of a backlog drill, started and killed several times."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.port, down = free_port(), free_port()
        yard.configure(*(table.replace("{port}", str(down)) for table in TABLES))
        yard.drop_in("slow", SLOW)
        yard.drop_in("stops", STOPS)
        self.memory = {"serve": 0, "dispatch": 0}
        """The most that each has had, in MiB."""
        self.serve: Command | None = None
        self._sent = 0

    @property
    def url(self) -> str:
        """Where callbacks arrive."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """The log."""
        return self.yard.folder / self.yard.database

    async def start(self) -> float:
        """Start `serve`: seconds to its first 200."""
        began = time.monotonic()
        self.serve = serve = await self.yard.start("serve", RECEIVER_SERVER__LISTEN=f"127.0.0.1:{self.port}")
        while not await self._is_stored(f"ID=first-{self._next()}&RECIPIENT=31612345678&STATUS=10"):
            assert serve.process.returncode is None, serve.words
            assert time.monotonic() - began < PATIENCE, "it never answered"
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def _next(self) -> int:
        self._sent += 1
        return self._sent

    async def _is_stored(self, parameters: str, endpoint: str = "dlr") -> bool:
        with suppress(OSError, EOFError):
            status, _ = await get(self.port, f"/in/spryng/{endpoint}?{parameters}")
            return status == 200
        return False

    async def kill(self) -> None:
        """kill -9 of all of it, after a last look at what it needed."""
        self.look()
        serve, self.serve = self.runs, None
        await serve.kill(*serve.family)
        await serve.is_gone()

    @property
    def runs(self) -> Command:
        """The `serve` that runs."""
        assert self.serve, "no receiver runs"
        return self.serve

    def look(self) -> None:
        """Remember what the two processes needed so far."""
        pids = {"serve": self.runs.pid, "dispatch": self.runs.said("child_started", child="dispatch")[-1]["pid"]}
        for name, pid in pids.items():
            with suppress(FileNotFoundError, ProcessLookupError):
                self.memory[name] = max(self.memory[name], peak(pid))

    async def stop_message(self) -> float:
        """Somebody wants no more messages: seconds until the handler for that knows."""
        phone, began = f"316{self._next():08}", time.monotonic()
        at = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        assert await self._is_stored(f"MSISDN={phone}&SHORTCODE=3010&PARM={quote('STOP')}&TIMESTAMP={at}", "mo")
        ledger = self.yard.folder / "stops.txt"
        await until(lambda: ledger.exists() and phone in ledger.read_text(), within=PATIENCE)
        return time.monotonic() - began

    async def asked(self, *arguments: str) -> float:
        """Seconds that a command takes; it succeeds."""
        began = time.monotonic()
        command = await self.yard.start(*arguments)
        status = await command.ended(within=LONGEST)
        assert status == 0, f"{' '.join(arguments)}: {command.stderr.read_text()[-300:]}"
        return time.monotonic() - began

    def given(self, handler: str) -> Counter[str]:
        """How often each message was given to a handler, by its ledger."""
        return Counter(_ledger(self.yard.folder / f"{handler}.txt", as_json=handler != "slow"))

    def never_given(self, handler: str, given: Counter[str]) -> set[str]:
        """Messages that the store says are done at a handler, and that its ledger does not have. Nothing may run."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as log:
            other = self.database.with_name("receiver.dispatch.db")
            with closing(sqlite3.connect(f"file:{other}?mode=ro", uri=True)) as dispatch:
                start, reached = dispatch.execute(
                    "SELECT start, next FROM lanes WHERE handler = ?", (handler,)
                ).fetchone()
                open_now = set(_unsettled(dispatch, handler))
            stored = log.execute(
                "SELECT position, message_id FROM events WHERE position >= ? AND position < ? AND kind = 'dlr'",
                (start, reached),
            )
            return {message for position, message in stored if position not in open_now and message not in given}


def _unsettled(dispatch: sqlite3.Connection, handler: str) -> Iterator[int]:
    """The places that a handler has in hand or is to be given again."""
    claims = dispatch.execute("SELECT first, count, settled FROM claims WHERE handler = ?", (handler,))
    for first, count, settled in claims:
        yield from (first + bit for bit in range(count) if not settled[bit >> 3] >> (bit & 7) & 1)
    states = "('again', 'interrupted', 'running', 'alone')"
    found = dispatch.execute(f"SELECT position FROM exceptions WHERE handler = ? AND state IN {states}", (handler,))
    yield from (row[0] for row in found)


def _ledger(file: Path, *, as_json: bool) -> Iterator[str]:
    with suppress(FileNotFoundError), file.open() as kept:
        for line in kept:
            if line.strip():
                yield json.loads(line).get("subject", "") if as_json else line.strip()
