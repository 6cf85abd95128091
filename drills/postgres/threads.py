"""Reports that belong together, sent one after the other, and a handler that has to be given them in that order."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from drills.load import LATE, NOBODY, Line
from drills.postgres.eyes import THREADS

SOURCE = f'[sources.{THREADS}]\nprovider = "spryng"\nauth = "none"\n'
HANDLER = f'[handlers.inorder]\nuse = "inorder"\nordered = true\nsources = ["{THREADS}"]\n'
CODE = """
import asyncio
import os

ledger = os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def handle(event, attempt):
    name = f"{{event.message_id}} {{int(event.occurred_at.timestamp()) * 1_000_000}}"
    os.write(ledger, f"begun {{name}}\\n".encode())
    await asyncio.sleep(0.005)
    os.write(ledger, f"done {{name}}\\n".encode())
"""
"""All dispatchers write to one file: so its lines are in the order in which they happened."""
GIVEN_UP = 120.0
"""Seconds until a report that nobody takes is given up."""
PROVIDERS_ZONE = ZoneInfo("Europe/Amsterdam")
PAUSE = 0.2
"""Seconds between two reports of a thread."""


class Threads:
    """Some messages of which one report after the other comes, each once the one before was answered 200."""

    def __init__(self, seed: int, count: int = 20) -> None:
        self.sent: dict[str, list[str]] = {f"thread-{seed:x}-{n}": [] for n in range(count)}
        """Message → the names of its reports that were answered 200, in the order in which they were sent."""
        self.wrong: list[str] = []
        self._began = datetime.now(PROVIDERS_ZONE).replace(microsecond=0) - timedelta(days=1)
        self._random = Random(seed)
        self._stop = asyncio.Event()

    @property
    def acknowledged(self) -> set[str]:
        """The names of all that were answered 200."""
        return {name for names in self.sent.values() for name in names}

    @asynccontextmanager
    async def running(self, urls: Sequence[str]) -> AsyncIterator[None]:
        """Send until the block ends; what was begun is then sent until it is answered 200."""
        sending = [asyncio.create_task(self._send(message, urls)) for message in self.sent]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*sending)

    async def _send(self, message: str, urls: Sequence[str]) -> None:
        at = self._began
        while not self._stop.is_set():
            at += timedelta(seconds=1)
            query = f"?ID={message}&RECIPIENT=31612345678&STATUS=10&OPERATOR_STATUS_AT={at:%Y%m%d%H%M%S}"
            await self._store(urls, f"/in/{THREADS}/dlr{query}")
            self.sent[message].append(f"{message} {int(at.timestamp()) * 1_000_000}")
            await asyncio.sleep(PAUSE)

    async def _store(self, urls: Sequence[str], path: str) -> None:
        """Send it to one after the other until it is answered 200."""
        async with asyncio.timeout(GIVEN_UP):
            while not await self._is_stored(self._random.choice(urls), path):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(NOBODY)

    async def _is_stored(self, url: str, path: str) -> bool:
        try:
            async with asyncio.timeout(LATE), Line(url) as line:
                status, _ = await line.get(path)
        except (OSError, EOFError, TimeoutError):
            return False
        if status not in (200, 503):
            self.wrong.append(f"a report of a thread was answered {status}")
        return status == 200

    def disorder(self, ledger: Path, dead: Iterable[str]) -> list[str]:
        """What the handler began before an earlier report of the same message was through, or again after a later."""
        place = {name: n for names in self.sent.values() for n, name in enumerate(names)}
        settled = defaultdict[str, set[str]](set)
        for name in dead:
            settled[name.split()[0]].add(name)
        newest: dict[str, int] = {}
        found = []
        for line in ledger.read_text().splitlines():
            what, _, name = line.partition(" ")
            message = name.split()[0]
            if what == "done":
                settled[message].add(name)
            elif place[name] < newest.get(message, 0) or not settled[message].issuperset(
                self.sent[message][newest.get(message, 0) : place[name]]
            ):
                found.append(name)
            else:
                newest[message] = place[name]
        return found
