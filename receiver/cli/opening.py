"""Opens the store for a command, runs the command's work in it, and notes in our log what was changed."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from receiver.cli import options

if TYPE_CHECKING:
    from receiver.config import Settings
    from receiver.store.base import Store
    from receiver.store.views import HandlerStats

ACTED = "acted"

T = TypeVar("T")


class Refused(click.ClickException):
    """What was asked for is not there, or is not done; the message says why. Exit status 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"receiver: {self.message}", err=True, file=file)


def now() -> datetime:
    """The clock of all commands."""
    return datetime.now(UTC)


def settings(config: Path | None) -> "Settings":
    """The settings without secrets. `--config` may stand before the last word too: `receiver dead --config F retry`."""
    above = click.get_current_context().parent
    return options.settings(config or (above.params.get("config") if above else None))


def run(loaded: "Settings", work: "Callable[[Store], Awaitable[T]]") -> T:
    """Do some work in the store, and return what it returns. Raises StoreMissing, StoreUnusable, StoreUnavailable."""

    async def opened() -> T:
        from receiver.storing import open_store

        store = await open_store(loaded.store, "command")
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


async def handler_stats(store: "Store", name: str) -> "HandlerStats":
    """What the store counts of a handler. Raises Refused, with the names there are."""
    from receiver.plugins import did_you_mean

    known = {one.handler: one for one in (await store.stats(now())).handlers}
    if name not in known:
        listed = ", ".join(known) or "none; a handler has its place in the log from the receiver's next start on"
        raise Refused(f'no handler "{name}"; known: {listed}{did_you_mean(name, known)}')
    return known[name]


async def limited(items: AsyncIterator[T], most: int) -> AsyncIterator[T]:
    """The first so many of an iterator; 0: all."""
    left = most
    async for item in items:
        yield item
        left -= 1
        if left == 0:
            return


def acted(loaded: "Settings", command: str, *, count: int, **what: Any) -> None:
    """Write the audit line of a command that changed something: what, how much, and who it was."""
    import structlog

    from receiver import logs

    logs.configure(loaded.log.format, reveal=loaded.log.reveal)
    given = {name: value for name, value in what.items() if value not in (None, (), "")}
    structlog.get_logger().info(ACTED, command=command, count=count, **given, **_person())


def _person() -> dict[str, Any]:
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    sudo = os.environ.get("SUDO_USER")
    return {"user": name, "uid": uid} | ({"sudo_user": sudo} if sudo else {})
