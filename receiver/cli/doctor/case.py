"""Case: what is examined, and what several checks want to know of it, looked up once."""

import asyncio
import os
import pwd
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from receiver import storing
from receiver.config import Settings, Source
from receiver.errors import ReceiverError
from receiver.handler import HandlerSettings

if TYPE_CHECKING:
    from receiver.store.postgres.checkup import Seen as SeenOnPostgres
    from receiver.store.sqlite.checkup import Seen

T = TypeVar("T")
Info = tuple[Any, Any, int, str, tuple[Any, ...]]
"""One line of getaddrinfo."""


class Account(NamedTuple):
    """Who the receiver runs as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def of(cls, uid: int) -> "Account":
        """The account of a number, also of one without a name."""
        with suppress(KeyError):
            found = pwd.getpwuid(uid)
            return cls(found.pw_name, uid, found.pw_gid)
        return cls(str(uid), uid, uid)


@dataclass(frozen=True)
class Case:
    """A receiver: its settings and handlers, who runs it, and what was found out."""

    settings: Settings
    handlers: dict[str, HandlerSettings]
    """Those whose code was imported and whose settings are sound."""
    secrets: bool
    """Whether the secrets could be read."""
    now: datetime
    only: str = ""
    """The one source that is asked about; empty: all."""
    answers: dict[str, bool] = field(default_factory=dict)
    """Whether a source's callbacks are taken on this machine."""
    _names: dict[tuple[str, int], "asyncio.Task[list[Info]]"] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The store's file; None on PostgreSQL."""
        return self.settings.store.path

    @property
    def sources(self) -> list[Source]:
        """The sources that are asked about."""
        return [source for source in self.settings.sources.values() if self.only in ("", source.name)]

    def account(self) -> Account:
        """Who the receiver runs as: who has the store open, else whose its folder is, else we."""
        pid = self.holders()[0]
        for place in (
            *([Path(f"/proc/{pid}")] if pid else []),
            self.path.parent if self.path else self.settings.folder,
        ):
            with suppress(OSError):
                return Account.of(place.stat().st_uid)
        return Account.of(os.geteuid())

    def holders(self) -> tuple[int | None, int | None]:
        """The processes that receive and dispatch on this machine; None where none does."""
        if self.path is None:
            return self._on_postgres
        from receiver.store.sqlite import checkup

        return checkup.holders(self.path)

    async def seen(self) -> "Seen | SeenOnPostgres | None":
        """The figures of the store; None where it cannot be read, which is a finding of its own."""
        with suppress(ReceiverError):
            return await self.look()
        return None

    async def look(self) -> "Seen | SeenOnPostgres":
        """The figures of the store. Raises StoreMissing, StoreUnusable, StoreUnavailable."""
        if self.path is None:
            storing.require_driver()
            from receiver.store.postgres import checkup as on_postgres

            return await on_postgres.look(self.settings.store.url)
        from receiver.store.sqlite import checkup

        return await aside(partial(checkup.look, self.path))

    @cached_property
    def _on_postgres(self) -> tuple[int | None, int | None]:
        """By what they have written of themselves. Asked once, in a thread: this is asked in the middle of a loop."""
        with ThreadPoolExecutor(1) as thread, suppress(ReceiverError):
            storing.require_driver()
            from receiver.store.postgres import checkup

            seen = thread.submit(asyncio.run, checkup.look(self.settings.store.url)).result()
            receive = [name.removeprefix("receive ") for name in seen.appending if name.startswith("receive ")]
            return _pid_of(receive), _pid_of(seen.dispatching)
        return None, None

    async def addresses(self, host: str, port: int) -> list[Info]:
        """Where a name leads, asked once. Raises OSError."""
        asked = self._names.get((host, port))
        if asked is None:
            ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            asked = self._names[host, port] = asyncio.create_task(aside(ask))
        return await asyncio.shield(asked)


def _pid_of(names: Sequence[str]) -> int | None:
    """The process on this machine among `HOST/PID/…`, where it is still there."""
    mine = f"{os.uname().nodename}/"
    pids = [name.removeprefix(mine).partition("/")[0] for name in names if name.startswith(mine)]
    return next((int(pid) for pid in pids if Path(f"/proc/{pid}").exists()), None)


async def aside(work: Callable[[], T]) -> T:
    """Do what blocks in a thread that nobody waits for at the end: a disk or a resolver may hang."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, fault: Exception | None) -> None:
        if done.cancelled():
            return
        if fault:
            done.set_exception(fault)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, fault = None, None
        try:
            result = work()
        except Exception as raised:
            fault = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, fault)

    threading.Thread(target=run, daemon=True).start()
    return await done
