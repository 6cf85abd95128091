"""Handlers of a drill that keep a ledger: what they were given, and what they are through with, message by message."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

KEEPER = """
import asyncio
import os
import zlib

from receiver import Retry

ledger = os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def handle(event, attempt):
    os.write(ledger, f"begun {{event.message_id}}\\n".encode())
    await asyncio.sleep({pause})
    if zlib.crc32(event.message_id.encode()) % 100 < {failing} and attempt.number < 3:
        raise Retry("not now")
    os.write(ledger, f"done {{event.message_id}}\\n".encode())
"""
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def keeper(file: str, *, pause: float = 0.0, failing: int = 0) -> str:
    """The code of a handler with a ledger in `file`, in the folder of the configuration.

    It takes `pause` seconds, and fails twice for so many of a hundred messages.
    """
    return KEEPER.format(file=file, pause=pause, failing=failing)


@dataclass
class Ledger:
    """How often each message was given to a handler, and which it has."""

    given: Counter[str] = field(default_factory=Counter)
    done: set[str] = field(default_factory=set)

    @property
    def repeats(self) -> int:
        """How many times a message was given again."""
        return self.given.total() - len(self.given)

    @classmethod
    def kept(cls, file: Path) -> "Ledger":
        """What a keeper wrote."""
        ledger = cls()
        for line in _lines(file):
            what, _, message = line.partition(" ")
            if what == "begun":
                ledger.given[message] += 1
            else:
                ledger.done.add(message)
        return ledger

    @classmethod
    def logged(cls, file: Path) -> "Ledger":
        """What a `log` handler wrote into its file."""
        return cls.of(json.loads(line).get("subject", "") for line in _lines(file))

    @classmethod
    def of(cls, messages: Iterable[str]) -> "Ledger":
        """Where to be given a message is to have it."""
        given = Counter(messages)
        return cls(given, set(given))

    @classmethod
    def merged(cls, ledgers: Iterable["Ledger"]) -> "Ledger":
        """Of handlers that share their work."""
        whole = cls()
        for each in ledgers:
            whole.given += each.given
            whole.done |= each.done
        return whole


def _lines(file: Path) -> Iterable[str]:
    with suppress(FileNotFoundError), file.open() as kept:
        yield from (line.rstrip("\n") for line in kept)


@dataclass
class Target:
    """A web server that takes what `forward` brings, and remembers it."""

    given: Counter[str] = field(default_factory=Counter)
    url: str = ""

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator["Target"]:
        """On a free port of the loopback."""
        target, talking = cls(), set[asyncio.Task[None]]()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(target._talk(reader, writer))
            talking.add(task)
            task.add_done_callback(talking.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        target.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield target
        finally:
            server.close()
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
            await asyncio.sleep(0)  # for what was aborted to be closed

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):
                while True:
                    self.given[json.loads(await body(reader)).get("subject", "")] += 1
                    writer.write(NO_CONTENT)
        finally:
            writer.transport.abort()


async def body(reader: asyncio.StreamReader) -> bytes:
    """The body of the next request. Raises EOFError where there is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    size = next(line for line in head.split("\r\n") if line.startswith("content-length:")).partition(":")[2]
    return await reader.readexactly(int(size))
