"""What the tests of the commands share: a folder with a configuration and a store, filled, and commands run in it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import NOW, after, callback

from receiver import cli
from receiver.callback import Callback
from receiver.events import Event
from receiver.store.base import Outcome, Settlement
from receiver.store.sqlite import SqliteStore
from receiver.store.views import DispatchLine, Standing, Stats

CONFIG = """
[sources.spryng]
provider = "spryng"
secrets = ["abcdefghijklmnop"]
[handlers.crm]
use = "log"
file = "crm.log"
"""
TOOK = timedelta(milliseconds=22)


@dataclass(frozen=True)
class Ended:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Standard output of `--json`."""
        return [json.loads(line) for line in self.lines]

    @property
    def audit(self) -> dict[str, Any]:
        """The one audit line."""
        (line,) = [line for line in self.err.splitlines() if '"event": "acted"' in line]
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def acted(self) -> bool:
        return '"event": "acted"' in self.err


class Office:
    """A folder where commands are run. Times in it stand still at NOW, in Amsterdam, where it is 11:42."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.configure(CONFIG)

    def configure(self, text: str) -> None:
        (self.folder / "receiver.toml").write_text(text)

    def run(self, *arguments: str) -> Ended:
        """Run a command in this process."""
        self._capsys.readouterr()
        status = cli.run(arguments)
        said = self._capsys.readouterr()
        err = "".join(line for line in said.err.splitlines(True) if not line.startswith("configuration: "))
        return Ended(status, said.out, err)

    def enrol(self, *handlers: str) -> None:
        """Give handlers their place, as the receiver does when it starts."""
        self._with("dispatch", lambda store: store.enrol(handlers, owner="test", now=NOW))

    def store(self, *events: Event) -> list[str]:
        """Store events, each by a callback of its own; the ids that were answered."""

        async def work(store: SqliteStore) -> list[str]:
            recorded = [await store.record(callback(event), [event]) for event in events]
            return [name for each in recorded for name in each.events]

        return self._with("receive", work)

    def quarantine(self, fault: str = "RECIPIENT is missing", **changes: Any) -> str:
        """Keep a callback as unreadable; its id."""
        values: dict[str, Any] = {"source": "spryng", "endpoint": "dlr", "method": "GET", "received_at": NOW}
        self._with("receive", lambda store: store.record(Callback(**(values | changes)), [], fault=fault))
        return self.run("quarantine", "--json").records[-1]["id"]

    def refuse(self, source: str, count: int) -> None:
        async def work(store: SqliteStore) -> None:
            store.refused(source, count)

        self._with("receive", work)

    def settle(self, handler: str, *outcomes: Outcome, at: datetime = NOW) -> None:
        """Let a handler do what it can be given, so that this comes of it; the rest is given back."""

        async def work(store: SqliteStore) -> None:
            claimed = await store.claim(handler, owner="test", limit=len(outcomes), now=at, lease=timedelta(minutes=1))
            assert len(claimed) == len(outcomes)
            pairs = zip(claimed, outcomes, strict=True)
            await store.settle([Settlement(one, what, began_at=at, took=TOOK) for one, what in pairs], now=at)

        self._with("dispatch", work)

    def stand(self, handler: str, state: str, **facts: Any) -> None:
        self._with("dispatch", lambda store: store.stand(Standing(handler, state, **facts), now=NOW))

    def standing(self, handler: str) -> Standing:
        return self._with("command", lambda store: store.standings())[handler]

    def stats(self) -> Stats:
        return self._with("command", lambda store: store.stats(NOW))

    def dispatches(self, id: str) -> Sequence[DispatchLine]:
        """What the handlers did with an event."""

        async def work(store: SqliteStore) -> Sequence[DispatchLine]:
            (stored,) = await store.find(id)
            return (await store.trace(stored)).dispatches

        return self._with("command", work)

    def counts(self, handler: str = "crm") -> dict[str, int]:
        """What is not 0 of a handler's counters, which balance."""
        (one,) = [one for one in self.stats().handlers if one.handler == handler]
        parts = ("done", "filtered", "cancelled", "pending", "running", "dead")
        found = {part: getattr(one, part) for part in parts if getattr(one, part)}
        assert one.received == sum(found.values())
        return found

    def _with(self, role: str, work: Callable[[SqliteStore], Awaitable[Any]]) -> Any:
        async def opened() -> Any:
            store = await SqliteStore.open(self.folder / "receiver.db", role, create=role != "command")
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(opened())


@pytest.fixture(name="office")
def opened_office(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Office]:
    """An office with a store in which the handler `crm` has its place and nothing is stored."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setattr("receiver.cli.opening.now", lambda: after(10))
    monkeypatch.setenv("TZ", "Europe/Amsterdam")
    time.tzset()
    made = Office(tmp_path, capsys)
    made._with("receive", lambda store: store.register(["crm"]))
    made.enrol("crm")
    yield made
    monkeypatch.undo()
    time.tzset()
