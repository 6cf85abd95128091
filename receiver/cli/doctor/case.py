"""Case: what is examined, and what several checks want to know of it, looked up once."""

import asyncio
import os
import pwd
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from receiver.config import Settings, Source
from receiver.errors import ReceiverError
from receiver.handler import HandlerSettings

if TYPE_CHECKING:
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
    def path(self) -> Path:
        """The store."""
        return self.settings.store.path

    @property
    def sources(self) -> list[Source]:
        """The sources that are asked about."""
        return [source for source in self.settings.sources.values() if self.only in ("", source.name)]

    def account(self) -> Account:
        """Who the receiver runs as: who has the store open, else whose its folder is, else we."""
        pid = self.holders()[0]
        for place in (*([Path(f"/proc/{pid}")] if pid else []), self.path.parent):
            with suppress(OSError):
                return Account.of(place.stat().st_uid)
        return Account.of(os.geteuid())

    def holders(self) -> tuple[int | None, int | None]:
        """The processes that receive and dispatch; None where none does."""
        from receiver.store.sqlite import checkup

        return checkup.holders(self.path)

    async def seen(self) -> "Seen | None":
        """The figures of the store; None where it cannot be read, which is a finding of its own."""
        from receiver.store.sqlite import checkup

        with suppress(ReceiverError):
            return await aside(partial(checkup.look, self.path))
        return None

    async def addresses(self, host: str, port: int) -> list[Info]:
        """Where a name leads, asked once. Raises OSError."""
        asked = self._names.get((host, port))
        if asked is None:
            ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
            asked = self._names[host, port] = asyncio.create_task(aside(ask))
        return await asyncio.shield(asked)


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
