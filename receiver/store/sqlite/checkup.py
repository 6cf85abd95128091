"""What a doctor sees of a store: figures, integrity, and who has it open. Reads only; never makes a file."""

import os
import sqlite3
import time
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from receiver.store import migrate, rows
from receiver.store.sqlite import files, looking
from receiver.store.sqlite.desk import Connections
from receiver.store.views import Stats

MOST_FAULTS = 5
LOOK_EACH = 20_000  # steps of SQLite's machine between two looks at the clock


class Seen(NamedTuple):
    """The figures of a store."""

    stats: Stats
    newest_at: datetime | None
    """When the newest event came."""
    schemas: tuple[int, int]
    """The versions of both files."""


def look(path: Path) -> Seen:
    """The figures. Raises StoreMissing, StoreUnusable (damaged, or of another version's schema), StoreUnavailable."""
    for place, file in _both(path):
        files.check(place, file)
    try:
        with closing(Connections(path, writing=False)) as at:
            newest = at.log.execute("SELECT received_at FROM events ORDER BY position DESC LIMIT 1").fetchone()
            schemas = migrate.newest("sqlite", "log"), migrate.newest("sqlite", "dispatch")
            return Seen(looking.stats(at), rows.from_micros(newest[0]) if newest else None, schemas)
    except sqlite3.Error as fault:
        raise files.unavailable(fault, path) from fault


def integrity(path: Path, seconds: float) -> list[str] | None:
    """What SQLite's quick check finds in both files; None where it was not through in time. Raises StoreUnavailable."""
    until = time.monotonic() + seconds
    found: list[str] = []
    for place, file in _both(path):
        try:
            with closing(files.connect(place, file, reading=True)) as db:
                db.set_progress_handler(lambda: time.monotonic() > until, LOOK_EACH)
                said = db.execute(f"PRAGMA quick_check({MOST_FAULTS})").fetchall()
        except sqlite3.Error as fault:
            if files.code(fault) == sqlite3.SQLITE_INTERRUPT:
                return found or None
            if not files.is_damage(fault):
                raise files.unavailable(fault, place) from fault
            said = [("it is damaged",)]
        found += [f"{place.name}: {line}" for (line,) in said if line != "ok"]
    return found


def holders(path: Path) -> tuple[int | None, int | None]:
    """The processes that have the store: who receives, and who dispatches. Looks at the locks without taking them."""
    receive, dispatch = (_holder(place.with_name(f"{place.name}.lock")) for place, _ in _both(path))
    return receive, dispatch


def _both(path: Path) -> tuple[tuple[Path, str], tuple[Path, str]]:
    return (path, "log"), (files.dispatch_path(path), "dispatch")


def _holder(lock: Path) -> int | None:
    """Who holds an flock, by what the kernel lists: to try it would be in the way of a receiver that starts."""
    with suppress(OSError, ValueError):
        inode, pid = str(os.stat(lock).st_ino), lock.read_text("ascii").strip()
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE 812 08:01:131090 0 EOF
            if fields[1] == "FLOCK" and fields[4] == pid and fields[5].rpartition(":")[2] == inode:
                return int(pid)
    return None
