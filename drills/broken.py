"""Receivers that break one promise each, to show that the drills see it: `python -m drills.broken FAULT serve …`."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

from receiver import cli, serving
from receiver.store.base import Recorded
from receiver.store.sqlite import files
from receiver.store.sqlite.log import LogWriter

FAULTS: dict[str, Callable[[], None]] = {}


def fault(break_it: Callable[[], None]) -> Callable[[], None]:
    """Register what breaks a promise, under its name with dashes."""
    FAULTS[break_it.__name__.replace("_", "-")] = break_it
    return break_it


@fault
def acknowledges_before_commit() -> None:
    """200 as soon as the callback is in the queue."""
    record = LogWriter.record

    async def at_once(self: LogWriter, callback: Any, events: Sequence[Any], unreadable: str) -> Recorded:
        writing = asyncio.ensure_future(record(self, callback, events, unreadable))
        writing.add_done_callback(lambda done: done.exception())
        await asyncio.sleep(0)
        return Recorded("stored", tuple(event.id for event in events))

    LogWriter.record = at_once  # type: ignore[method-assign, assignment]


@fault
def synchronous_off() -> None:
    """The log is never flushed."""
    files.SYNCHRONOUS["log"] = ("OFF", 0)


@fault
def synchronous_normal() -> None:
    """The log is flushed at checkpoints only."""
    files.SYNCHRONOUS["log"] = ("NORMAL", 1)


def main() -> None:
    """Break it here and in every child, then run the command."""
    name = sys.argv.pop(1)
    FAULTS[name]()
    serving.python = lambda *arguments: [sys.executable, "-P", "-m", "drills.broken", name, *arguments]
    cli.main()


if __name__ == "__main__":
    main()
