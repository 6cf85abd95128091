"""Receivers that break one promise each, to show that the drills see it: `python -m drills.broken FAULT serve …`."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from receiver import cli, http, serving
from receiver.dispatch import judge
from receiver.events import Event
from receiver.perform import Result
from receiver.reading import Reader, Reading
from receiver.store import migrate, rows
from receiver.store.base import Done, Outcome, Recorded
from receiver.store.bits import is_set
from receiver.store.group import GroupCommit
from receiver.store.plan import First, Planner
from receiver.store.sqlite import claiming, copying, files, lanes
from receiver.store.sqlite.log import LogWriter
from receiver.web import Intake

KEY_ON_POSTGRES = "key      bytea   PRIMARY KEY,"

FAULTS: dict[str, Callable[[], None]] = {}


def fault(break_it: Callable[[], None]) -> Callable[[], None]:
    """Register what breaks a promise, under its name with dashes."""
    FAULTS[break_it.__name__.replace("_", "-")] = break_it
    return break_it


@fault
def acknowledges_before_commit() -> None:
    """200 as soon as the callback is in the queue."""
    submit = GroupCommit.submit

    def at_once(self: GroupCommit, callback: Any, events: Sequence[Any], unreadable: str, recorded: Any) -> None:
        writing = asyncio.get_running_loop().create_future()
        writing.add_done_callback(lambda done: done.exception())
        submit(self, callback, events, unreadable, writing)
        recorded.set_result(Recorded("stored", tuple(event.id for event in events)))

    GroupCommit.submit = at_once  # type: ignore[method-assign, assignment]


@fault
def synchronous_off() -> None:
    """The log is never flushed."""
    files.SYNCHRONOUS["log"] = ("OFF", 0)


@fault
def synchronous_normal() -> None:
    """The log is flushed at checkpoints only."""
    files.SYNCHRONOUS["log"] = ("NORMAL", 1)


@fault
def moves_a_cursor_early() -> None:
    """What is claimed counts as done before the handler returned: after a crash nothing is repeated."""
    outcome = judge.outcome  # type: ignore[attr-defined]

    def done_where_it_ended(result: Result, *given: Any) -> Outcome:
        decided: Outcome = Done() if result.verdict == "interrupted" else outcome(result, *given)
        return decided

    def let_go(at: Any, owner: str, _now: Any) -> int:
        for claim, handler, _, count, settled, _ in at.dispatch.execute("SELECT * FROM claims").fetchall():
            lanes.add(at, handler, done=sum(not is_set(settled, bit) for bit in range(count)))
            at.dispatch.execute("DELETE FROM claims WHERE claim = ?", (claim,))
        running = "FROM exceptions WHERE state IN ('running', 'alone') AND owner <> ?"
        for (handler,) in at.dispatch.execute(f"SELECT handler {running}", (owner,)).fetchall():
            lanes.add(at, handler, done=1)
        at.dispatch.execute(f"DELETE {running}", (owner,))
        return 0

    judge.outcome = done_where_it_ended  # type: ignore[attr-defined, assignment]
    lanes.take_over = let_go  # type: ignore[assignment]


@fault
def forgets_exceptions() -> None:
    """An attempt that failed, or was interrupted, is written as done."""
    judge.outcome = lambda result, *_: Done(result.answer)  # type: ignore[attr-defined]


@fault
def never_takes_over() -> None:
    """What a dispatcher that died had claimed stays its own. On PostgreSQL."""
    from receiver.store.postgres import lanes as on_postgres

    async def leave_it(*_: Any) -> int:
        return 0

    on_postgres.take_over = leave_it  # type: ignore[assignment]


@fault
def looks_first() -> None:
    """What is a repetition is looked up, with no unique key behind it: two at the same moment are both stored."""
    read, draw, append = migrate._read, LogWriter._draw, Planner._append

    def without_key(name: str, sql: str) -> migrate.Migration:
        index = "CREATE INDEX looked ON events (key);\n" if "BLOB UNIQUE" in sql else ""
        return read(name, sql.replace("BLOB UNIQUE", "BLOB").replace(KEY_ON_POSTGRES, "key bytea,") + index)

    def looking(self: LogWriter, *given: Any, **options: Any) -> Any:
        self._look_first = True
        return draw(self, *given, **options)

    def forgetting(self: Planner, event: Event, key: rows.Key | None, received: int) -> First:
        first = append(self, event, key, received)
        if key:
            self._keys.pop(key.key, None)
        return first

    migrate._read, LogWriter._draw, Planner._append = without_key, looking, forgetting  # type: ignore[method-assign]


@fault
def reads_the_backlog() -> None:
    """A claim reads all that waits, and takes what it wants of it."""
    claim = claiming.claim

    def reading(at: Any, asked: claiming.Asked, **options: Any) -> Any:
        waiting = "SELECT position, kind, id, data FROM events WHERE position >= ?"
        (reached,) = at.dispatch.execute("SELECT next FROM lanes WHERE handler = ?", (asked.handler,)).fetchone() or (
            0,
        )
        everything = [rows.event_from(row) for row in at.log.execute(waiting, (reached,))]
        taken = claim(at, asked, **options)
        del everything
        return taken

    claiming.claim = reading


@fault
def copies_the_log_first() -> None:
    """A backup in which the handlers' file is younger than the log."""
    snapshot = copying._snapshot
    early: list[copying.Snapshot] = []

    def other(path: Path, file: str) -> copying.Snapshot:
        if file == "log":
            return early.pop()
        early.append(snapshot(path, "log"))
        time.sleep(1.0)
        return snapshot(path, file)

    copying._snapshot = other


@fault
def forgets_keys_when_migrating() -> None:
    """A migration that costs what repetitions are known by."""
    read = migrate._read

    def forgetting(name: str, sql: str) -> migrate.Migration:
        return read(name, sql + "UPDATE events SET key = NULL;\n" if "years" in name else sql)

    migrate._read = forgetting


@fault
def stumbles_over_content() -> None:
    """What an adapter raises is answered 500."""

    def raising(_self: Reader, reading: Reading) -> None:
        try:
            reading.events = reading.source.read(reading.callback)
        except Exception as fault:
            reading.recorded.set_exception(fault)

    Reader._parse = raising  # type: ignore[method-assign, assignment]


@fault
def waits_for_ever() -> None:
    """A request may take as long as it likes."""
    http.WHOLE_WITHIN = timedelta(days=1)


@fault
def keeps_every_body() -> None:
    """Memory grows with what strangers send."""
    read = Intake._read
    kept: list[bytes] = []

    async def keeping(self: Intake, receive: Any) -> bytes | None:
        body = await read(self, receive)
        kept.append(bytes(16 * 1024) + (body or b""))
        return body

    Intake._read = keeping  # type: ignore[method-assign]


def main() -> None:
    """Break it here and in every child, then run the command."""
    name = sys.argv.pop(1)
    FAULTS[name]()
    serving.python = lambda *arguments: [sys.executable, "-P", "-m", "drills.broken", name, *arguments]
    cli.main()


if __name__ == "__main__":
    main()
