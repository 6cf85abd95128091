"""A folder to run whole receivers in, with a look into their store, and a provider that sends to them."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from drills.waiting import is_running, until
from receiver.config.settings import Store
from receiver.events import Event
from receiver.store.views import DispatchLine, HandlerStats, Selector
from receiver.storing import OpenStore, open_store

ROOT = Path(__file__).parents[1]
PATIENCE = 30.0
"""Seconds until a test or drill gives up waiting; the machine may be busy with other things."""
FREE_PORTS = {"RECEIVER_SERVER__LISTEN": "127.0.0.1:0", "RECEIVER_SERVER__ADMIN_LISTEN": "127.0.0.1:0"}
SMALL = {"RECEIVER_STORE__RESERVE": "0 B", "RECEIVER_LOG__FORMAT": "json"}
SOURCE = '[sources.spryng]\nprovider = "spryng"\nauth = "none"\n'
DROP_INS = '[plugins]\ndirectory = "handlers.d"\n'
OWN = '[handlers.own]\nuse = "own"\n'
AUDIT = '[handlers.audit]\nuse = "log"\n'
KEEPING = """
import os

async def handle(event, attempt):
    with open("own.txt", "a") as kept:
        print(event.message_id, file=kept, flush=True)
"""
"""A handler that writes down the message ids it was given, in the folder of the configuration."""


@dataclass
class Command:
    """A command that runs until it is stopped; its log is read from the file it writes to."""

    process: asyncio.subprocess.Process
    stdout: Path
    stderr: Path
    url: str = ""
    known: set[int] = field(default_factory=set)
    """Pids of its family when it was last killed or stopped."""

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it and its children have logged so far."""
        return [json.loads(line) for line in self.words.splitlines() if line.startswith("{")]

    @property
    def words(self) -> str:
        """All that is on its stderr, up to the last whole line."""
        return self.stderr.read_text().rpartition("\n")[0]

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What the `log` handler printed so far."""
        return [json.loads(line) for line in self.stdout.read_text().rpartition("\n")[0].splitlines()]

    @property
    def family(self) -> list[int]:
        """Its pid and those of its children and theirs; empty when it has ended."""
        return list(family_of(self.pid)) if self.process.returncode is None else []

    def said(self, event: str, **facts: Any) -> list[dict[str, Any]]:
        """The lines of the log that say this."""
        return [line for line in self.log if line.items() >= {"event": event, **facts}.items()]

    async def says(self, event: str, *, times: int = 1, **facts: Any) -> dict[str, Any]:
        """Wait until its log has said so; the last of these lines."""

        def has_said() -> list[dict[str, Any]] | None:
            found = self.said(event, **facts)
            assert len(found) >= times or self.process.returncode is None, self.words
            return found if len(found) >= times else None

        found: list[dict[str, Any]] = await until(has_said, within=PATIENCE)
        return found[-1]

    async def ended(self, within: float = PATIENCE) -> int:
        """Wait for its end; the exit status."""
        return await asyncio.wait_for(self.process.wait(), within)

    async def stop(self, number: int = signal.SIGTERM, *, within: float = PATIENCE) -> None:
        """Stop it in an orderly way; it ends with 0 and leaves nobody behind."""
        self.known.update(self.family)
        self.process.send_signal(number)
        assert await self.ended(within) == 0, self.words
        await self.is_gone()

    async def kill(self, *pids: int) -> None:
        """kill -9 these of its family."""
        self.known.update(self.family)
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.pid in pids:
            await self.ended()

    async def is_gone(self, *, within: float = PATIENCE) -> None:
        """Wait until nobody of its family runs any more."""
        await until(lambda: not any(map(is_running, self.known)), within=within)


def family_of(pid: int) -> Iterator[int]:
    """A process, its children and theirs."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in thread.read_text().split():
                yield from family_of(int(child))


@dataclass
class Yard:
    """A folder with a configuration, the commands that were started in it, and a look into its store."""

    folder: Path
    broken: str = ""
    """Which promise the receivers here break (`drills.broken`); empty for the real one."""
    database: str = "receiver.db"
    """Where the store is, below the folder."""
    url: str = ""
    """The store, where it is another one."""
    started: list[Command] = field(default_factory=list)
    looked_at: OpenStore | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, *, broken: str = "", url: str = "") -> AsyncIterator["Yard"]:
        """A yard in which nothing runs any more when the block ends."""
        yard = cls(folder, broken, url=url)
        try:
            yield yard
        finally:
            for command in yard.started:
                await command.kill(*filter(is_running, {*command.family, *command.known}))
            if yard.looked_at:
                await yard.looked_at.close()

    def configure(self, *tables: str) -> Path:
        """Write the configuration: a source without secret, and these tables."""
        file = self.folder / "receiver.toml"
        file.write_text("\n".join([SOURCE, *tables]))
        return file

    def drop_in(self, name: str, code: str) -> None:
        """Write a handler of the team's own."""
        (self.folder / "handlers.d").mkdir(exist_ok=True)
        (self.folder / "handlers.d" / f"{name}.py").write_text(code)

    async def start(self, *arguments: str, **env: str) -> Command:
        """Start a command, and wait for nothing."""
        stem = self.folder / f"{arguments[0]}-{len(self.started)}"
        command = Command(process=None, stdout=stem.with_suffix(".out"), stderr=stem.with_suffix(".err"))  # type: ignore[arg-type]
        with command.stdout.open("wb") as stdout, command.stderr.open("wb") as stderr:
            command.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", *self._program(), *arguments),
                cwd=self.folder,
                env=self.env(**env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        self.started.append(command)
        return command

    def _program(self) -> list[str]:
        return ["drills.broken", self.broken] if self.broken else ["receiver"]

    async def serve(self, *options: str, **env: str) -> Command:
        """Start `receiver serve`, and wait until it is ready."""
        command = await self.start("serve", *options, **env)
        command.url = (await command.says("ready"))["callbacks"]
        return command

    async def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """Run a command to its end: exit status, stdout, stderr."""
        command = await self.start(*arguments, **env)
        status = await command.ended()
        return status, command.stdout.read_text(), command.stderr.read_text()

    def env(self, **changes: str) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        store = {"RECEIVER_STORE__URL": self.url} if self.url else {}
        return clean | FREE_PORTS | SMALL | store | {"PYTHONPATH": str(ROOT)} | changes

    async def store(self) -> OpenStore:
        """The store, as commands see it."""
        if self.looked_at is None:
            self.looked_at = await open_store(
                Store(url=self.url or f"sqlite:///{self.folder / self.database}"), "command"
            )
        return self.looked_at

    async def counters(self, handler: str) -> HandlerStats:
        """The counters of one handler, which balance at any time."""
        stats = await (await self.store()).stats(datetime.now(UTC))
        one = next(one for one in stats.handlers if one.handler == handler)
        assert one.received == one.done + one.filtered + one.cancelled + one.pending + one.running + one.dead, one
        return one

    async def reaches(self, handler: str, *, within: float = PATIENCE, **counts: int) -> HandlerStats:
        """Wait until the counters of a handler are at least these."""

        async def reached() -> HandlerStats | None:
            now = await self.counters(handler)
            return now if all(getattr(now, name) >= count for name, count in counts.items()) else None

        found: HandlerStats = await until(reached, within=within)
        return found

    async def settled(self, handler: str) -> HandlerStats:
        """Wait until a handler has nothing left to do."""

        async def idle() -> HandlerStats | None:
            now = await self.counters(handler)
            return None if now.pending or now.running else now

        found: HandlerStats = await until(idle, within=PATIENCE)
        return found

    async def events(self) -> list[Event]:
        """All that is stored."""
        return [stored.event async for stored in (await self.store()).events(Selector())]

    async def dispatches(self, handler: str) -> list[DispatchLine]:
        """What became of every event at a handler, attempt by attempt."""
        store = await self.store()
        traces = [await store.trace(one) async for one in store.events(Selector())]
        return [line for trace in traces for line in trace.dispatches if line.handler == handler]


@dataclass
class Provider:
    """Sends reports one after the other on some connections, and remembers which were acknowledged."""

    sent: dict[str, str] = field(default_factory=dict)
    """Message id → the answer's outcome; empty where there was no 200."""
    slowest: float = 0.0

    @property
    def acknowledged(self) -> set[str]:
        """Messages whose report was answered 200."""
        return {message for message, outcome in self.sent.items() if outcome}

    async def send(self, url: str, count: int = 1) -> list[str]:
        """Send so many; each is stored. Their event ids."""
        async with aiohttp.ClientSession() as http:
            return [await self._stored(http, url) for _ in range(count)]

    async def message(self, url: str, text: str) -> str:
        """Send an inbound message; its event id."""
        form = {"MSISDN": "31612345678", "SHORTCODE": "3010", "PARM": text, "TIMESTAMP": "20260302104158"}
        async with aiohttp.ClientSession() as http, http.post(f"{url}/in/spryng/mo", data=form) as answer:
            assert answer.headers["Receiver-Outcome"] == "stored"
            return answer.headers["Receiver-Event"]

    async def repeat(self, url: str) -> None:
        """Send again what was not answered 200, as providers do."""
        await self.again(url, self.sent.keys() - self.acknowledged)
        assert self.acknowledged == self.sent.keys()

    async def again(self, url: str, messages: Iterable[str]) -> None:
        """Send these again."""
        async with aiohttp.ClientSession() as http:
            for message in messages:
                await self._report(http, url, message)

    @asynccontextmanager
    async def sending(self, url: str, *, connections: int = 8) -> AsyncIterator[None]:
        """Send without a pause until the block ends, or until nobody answers."""
        stop = asyncio.Event()
        async with aiohttp.ClientSession() as http:
            lines = [asyncio.create_task(self._send_until(stop, http, url)) for _ in range(connections)]
            try:
                yield
            finally:
                stop.set()
                await asyncio.gather(*lines)

    async def _send_until(self, stop: asyncio.Event, http: aiohttp.ClientSession, url: str) -> None:
        with suppress(aiohttp.ClientError):
            while not stop.is_set():
                await self._report(http, url, self._next())

    async def _stored(self, http: aiohttp.ClientSession, url: str) -> str:
        message = self._next()
        event = await self._report(http, url, message)
        assert self.sent[message] == "stored"
        return event

    def _next(self) -> str:
        message = f"m-{len(self.sent)}"
        self.sent[message] = ""
        return message

    async def _report(self, http: aiohttp.ClientSession, url: str, message: str) -> str:
        began = asyncio.get_running_loop().time()
        async with http.get(f"{url}/in/spryng/dlr", params=report(message)) as answer:
            await answer.read()
            if answer.status == 200:
                self.sent[message] = answer.headers["Receiver-Outcome"]
            self.slowest = max(self.slowest, asyncio.get_running_loop().time() - began)
            return answer.headers.get("Receiver-Event", "")


def report(message: str) -> dict[str, str]:
    """The parameters of a Spryng report: delivered."""
    return {"ID": message, "RECIPIENT": "31612345678", "STATUS": "10", "OPERATOR_STATUS_AT": "20260302104158"}


def forward_to(url: str, *keys: str, name: str = "crm") -> str:
    """The table of a `forward` handler."""
    return "\n".join([f"[handlers.{name}]", 'use = "forward"', f'url = "{url}"', *keys, ""])
