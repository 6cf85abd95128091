"""Backups: both files copied as of one moment while others write, verified, and put in place as a whole folder.

The copy reads one snapshot of each file, some pages at a time: nobody waits for a lock of ours, and the disk is never
busy for long. VACUUM INTO would read the same snapshot, but in one go, and flush a whole copy at its end.
"""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from receiver.errors import BackupFailed
from receiver.store import rows
from receiver.store.base import Tell
from receiver.store.sqlite import files
from receiver.store.sqlite.migrating import BOTH, backup_lock, copies, file_of
from receiver.store.views import Backup

PAGES = 256  # copied in one go
BREATH = 0.004  # seconds between two of them
FLUSH = 4  # goes after which the copy is flushed: little at a time, so that nobody's flush waits long for ours
SPARE = 16 * 1024**2  # bytes that have to stay free
LOOK = 10_000  # steps of SQLite between two looks whether we are to stop

TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
NOTE = "INSERT OR REPLACE INTO backups (path, made_at, events, bytes) VALUES (?, ?, ?, ?)"
NOTED = "SELECT path, made_at, events, bytes FROM backups ORDER BY made_at, path"


class Snapshot(NamedTuple):
    """One of a store's files as it was when the backup began."""

    name: str
    file: str
    db: sqlite3.Connection


def backup(path: Path, to: Path, now: datetime, tell: Tell, stop: threading.Event) -> Backup:
    """Copy a store into a new folder. Raises BackupFailed; nothing is left then."""
    lock = backup_lock(path, "another backup is being made, or a person erased: again when that is done")
    unfinished = to.with_name(f".{to.name}.unfinished")
    try:
        with _words_for(to):
            made = _make(path, to, unfinished, now, tell, stop)
            _note(path, made)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        lock.release()
    return made


def known(db: sqlite3.Connection, path: Path) -> list[Backup]:
    """The backups that were made, and the copies of before a migration that still lie beside the store."""
    made = [Backup(name, rows.from_micros(at), events, size) for name, at, events, size in db.execute(NOTED)]
    for copy in copies(path):
        told = copy.stat()
        at = datetime.fromtimestamp(int(told.st_mtime), UTC)
        made.append(Backup(str(copy), at, 0, told.st_size))
    return sorted(made, key=lambda one: one.made_at)


def forget(db: sqlite3.Connection, backups: Sequence[str]) -> None:
    """Take backups off the list."""
    db.executemany("DELETE FROM backups WHERE path = ?", [(name,) for name in backups])


@contextmanager
def _words_for(to: Path) -> Iterator[None]:
    """Faults in words for an operator."""
    try:
        yield
    except OSError as fault:
        raise BackupFailed(f"no backup was made: {fault.filename or to}: {fault.strerror}") from fault
    except sqlite3.Error as fault:
        raise BackupFailed(f"no backup was made: {files.unavailable(fault, to)}") from fault


def _make(path: Path, to: Path, unfinished: Path, now: datetime, tell: Tell, stop: threading.Event) -> Backup:
    if to.exists() or to.is_symlink():
        raise BackupFailed(f"{to} exists already; name a folder that does not")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a backup that was killed: we hold the lock
    snapshots = [_snapshot(path, file) for file in BOTH]  # the log last: never older than what lanes say of it
    try:
        sizes = [_size(snapshot.db) for snapshot in snapshots]
        _require_room(to.parent, sum(sizes))
        unfinished.mkdir(mode=0o750)
        done = 0
        for snapshot, size in zip(snapshots, sizes, strict=True):
            _copy(snapshot, unfinished, _counted(tell, done, sum(sizes)), stop)
            done += size
        tell("checking", 0, 0)
        for snapshot in snapshots:
            _verify(snapshot, unfinished, stop)
        events = int(snapshots[-1].db.execute("SELECT count(*) FROM events").fetchone()[0])
    finally:
        for snapshot in snapshots:
            snapshot.db.close()
    size = sum(copy.stat().st_size for copy in unfinished.iterdir())
    files.flush(unfinished)
    unfinished.rename(to)
    files.flush(to.parent)
    return Backup(str(to), now, events, size)


def _snapshot(path: Path, file: str) -> Snapshot:
    where = file_of(path, file)
    db = files.connect(where, file, reading=True)
    db.execute("BEGIN")
    db.execute(TABLES).fetchall()  # the snapshot is taken with the first read
    return Snapshot(where.name, file, db)


def _size(db: sqlite3.Connection) -> int:
    pages, size = (int(db.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    return pages * size


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise BackupFailed(
            f"no backup was made: {folder} has {free // 1024**2} MiB free, {(needed + SPARE) // 1024**2 + 1} are needed"
        )


def _counted(tell: Tell, before: int, total: int) -> Tell:
    return lambda part, done, _of: tell(part, (before + done) // 1024, total // 1024)


def _copy(snapshot: Snapshot, folder: Path, tell: Tell, stop: threading.Event) -> None:
    """All pages of a snapshot; a part of them at a time."""
    copy = folder / snapshot.name
    handle = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
    page = int(snapshot.db.execute("PRAGMA page_size").fetchone()[0])
    turns = 0

    def progress(_status: int, remaining: int, total: int) -> None:
        nonlocal turns
        turns += 1
        if stop.is_set():
            raise BackupFailed("no backup was made: interrupted")
        if turns % FLUSH == 0:
            os.fdatasync(handle)
        tell("copying", (total - remaining) * page, total * page)
        time.sleep(BREATH)

    try:
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")  # it counts only once it is whole, and is flushed then
            db.execute("PRAGMA journal_mode=OFF")
            snapshot.db.backup(db, pages=PAGES, progress=progress)
            db.execute("PRAGMA journal_mode=DELETE")  # one file, to be read without anything beside it
        os.fsync(handle)
    finally:
        os.close(handle)


def _verify(snapshot: Snapshot, folder: Path, stop: threading.Event) -> None:
    """Compare the copy with what it is a copy of. Raises BackupFailed."""
    with closing(sqlite3.connect(f"file:{folder / snapshot.name}?mode=ro", uri=True)) as copy:
        for db in (copy, snapshot.db):
            db.set_progress_handler(lambda: int(stop.is_set()), LOOK)
        said = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if said != "ok":
            raise BackupFailed(f"no backup was made: {snapshot.name} is damaged ({said}); restore an earlier backup")
        for (table,) in snapshot.db.execute(TABLES).fetchall():
            there, here = (db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0] for db in (copy, snapshot.db))
            if there != here:
                raise BackupFailed(f"no backup was made: {table} has {here} rows, the copy {there}")


def _note(path: Path, made: Backup) -> None:
    with closing(files.connect(path, "log")) as db:
        db.execute(NOTE, (made.path, rows.to_micros(made.made_at), made.events, made.bytes))
