"""Several receivers on one database, as behind a load balancer: each in a folder of its own, with the same handlers."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from drills.faults.ready import Readiness, free_port
from drills.ledger import Ledger, Target, keeper
from drills.yard import DROP_INS, Command, Yard, forward_to

AUDIT = '[handlers.audit]\nuse = "log"\nfile = "audit.jsonl"\nreveal = true\n'
OWN = '[handlers.own]\nuse = "own"\nretries = ["50ms", "100ms", "1s", "1s"]\n'
HANDLERS = ("audit", "own", "crm")
FAILING = 5
"""Of a hundred messages at the handler `own`, which fail twice."""


class Receiver:
    """One of them: `serve` with its dispatch process, on the same addresses at every start."""

    def __init__(self, yard: Yard, database: str) -> None:
        self.yard = yard
        self.url = f"http://127.0.0.1:{free_port()}"
        self.ready = Readiness(free_port())
        self.env = {
            "RECEIVER_STORE__URL": database,
            "RECEIVER_SERVER__LISTEN": self.url.removeprefix("http://"),
            "RECEIVER_SERVER__ADMIN_LISTEN": f"127.0.0.1:{self.ready.port}",
        }
        self.commands: list[Command] = []

    async def start(self, *arguments: str) -> Command:
        """Start a command, and wait for nothing."""
        command = await self.yard.start(*arguments, **self.env)
        self.commands.append(command)
        return command

    async def stop(self) -> None:
        """Stop what runs, in an orderly way."""
        running = [one for one in self.commands if one.process.returncode is None]
        await asyncio.gather(*(one.stop(signal.SIGTERM) for one in running))


class Company:
    """All of them, and what their handlers were given."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.receivers: list[Receiver] = []

    @classmethod
    @asynccontextmanager
    async def opened(cls, folder: Path, database: str, *, count: int = 3, broken: str = "") -> AsyncIterator["Company"]:
        """So many, not started yet; nothing of them runs any more when the block ends."""
        async with AsyncExitStack() as stack:
            company = cls(await stack.enter_async_context(Target.listening()))
            for name in "abcdefghi"[:count]:
                own = folder / name
                own.mkdir()
                yard = await stack.enter_async_context(Yard.opened(own, broken=broken))
                company.receivers.append(Receiver(yard, database))
            yield company

    @property
    def urls(self) -> list[str]:
        """Where each takes callbacks."""
        return [one.url for one in self.receivers]

    def configure(self, *tables: str, filters: str = "") -> None:
        """The handlers of every drill here, with `filters` in each, and these."""
        handlers = [table + filters for table in (AUDIT, OWN, forward_to(self.target.url))]
        for one in self.receivers:
            one.yard.drop_in("own", keeper("own.ledger", failing=FAILING))
            one.yard.configure(DROP_INS, *handlers, *tables)

    async def serve(self, *options: str) -> None:
        """Start all, and wait until they are ready."""
        for command in [await one.start("serve", *options) for one in self.receivers]:
            await command.says("ready")

    async def stop(self) -> None:
        """Stop all, in an orderly way."""
        await asyncio.gather(*(one.stop() for one in self.receivers))

    def ledger(self, handler: str) -> Ledger:
        """What a handler was given, by all of them together."""
        if handler == "crm":
            return Ledger(self.target.given, set(self.target.given))
        return Ledger.merged(self.ledgers(handler))

    def ledgers(self, handler: str) -> list[Ledger]:
        """The same of each."""
        folders = [one.yard.folder for one in self.receivers]
        if handler == "audit":
            return [Ledger.logged(folder / "audit.jsonl") for folder in folders]
        return [Ledger.kept(folder / f"{handler}.ledger") for folder in folders]

    @property
    def tracebacks(self) -> list[str]:
        """What any of them logged of an error that nobody expected."""
        commands = [command for one in self.receivers for command in one.commands]
        parts = [command.stderr.read_text().partition("Traceback (most recent call last)") for command in commands]
        return [f"…{after[-400:]}" for _, found, after in parts if found]
