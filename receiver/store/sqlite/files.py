"""The two files of a SQLite store: opening, durability, schema, locks, and what SQLite's errors mean."""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

from receiver.errors import StoreMissing, StoreTaken, StoreUnavailable, StoreUnusable
from receiver.store import migrate

BUSY = 2.0  # seconds to wait for a write lock before callbacks are answered 503
SYNCHRONOUS = {"log": ("FULL", 2), "dispatch": ("NORMAL", 1)}
# The dispatch side checkpoints the log (PASSIVE); the writer's own limit is a net for when nobody does. In pages.
WAL_PAGES = {"log": 16_000, "dispatch": 1_000}

NO_TEXT = "Could not decode to UTF-8"  # how Python's message begins; it goes on with the text itself
NOTHING_LEFT = 64 * 1024  # bytes; SQLite calls it an I/O error where even its index does not fit

_WORDS = {
    sqlite3.SQLITE_FULL: "no space left",
    sqlite3.SQLITE_BUSY: "another process holds the write lock",
    sqlite3.SQLITE_LOCKED: "another process holds the write lock",
    sqlite3.SQLITE_READONLY: "the disk or the file is read-only",
    sqlite3.SQLITE_IOERR: "the disk reports an I/O error",
    sqlite3.SQLITE_CORRUPT: "the database is damaged; restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
}
# After these a connection is as good as before; after any other it is opened anew, so that nothing rests on lost pages.
HARMLESS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})


def dispatch_path(path: Path) -> Path:
    """receiver.db → receiver.dispatch.db."""
    return path.with_name(f"{path.stem}.dispatch{path.suffix}")


def code(fault: sqlite3.Error) -> int:
    """The primary result code of an error; 0 where SQLite did not raise it."""
    return int(getattr(fault, "sqlite_errorcode", 0) or 0) & 0xFF


def is_damage(fault: sqlite3.Error) -> bool:
    """Whether it says that the file is not as it was written. Python itself finds texts that are none."""
    return code(fault) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or str(fault).startswith(NO_TEXT)


def is_the_stores(fault: BaseException | None) -> bool:
    """Whether a fault is the disk's or a lock's, and would meet any statement."""
    return isinstance(fault, sqlite3.Error) and code(fault) in _WORDS


def unavailable(fault: sqlite3.Error, path: Path) -> StoreUnavailable:
    """What an error means to an operator; never with words of what is stored."""
    words = _WORDS[sqlite3.SQLITE_CORRUPT] if str(fault).startswith(NO_TEXT) else _WORDS.get(code(fault))
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else 0
    full = code(fault) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and free < NOTHING_LEFT
    if full or code(fault) == sqlite3.SQLITE_FULL:
        words = f"no space left on {path.parent} ({free // 1024} KiB free)"
    return StoreUnavailable(f"{words}: {path}" if words else f"{fault}: {path}")


def prepare(path: Path, file: str) -> None:
    """Create the file where it is missing, bring its schema up to date, and check what SQLite can tell at once.

    Raises StoreUnusable where the file is damaged, newer than this version, or cannot be made durable.
    """
    try:
        make_folder(path.parent)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o640))
    except OSError as fault:
        raise StoreUnavailable(f"cannot open {path}: {fault.strerror}") from fault
    try:
        with closing(connect(path, file)) as db:
            _refuse_newer(path, file, _version(db))
            _migrate(db, file)
            _look(db, file)
    except sqlite3.Error as fault:
        raise unusable(fault, path) from fault


def make_folder(folder: Path) -> None:
    """Make a folder and what is missing above it, each on disk: SQLite flushes only the folder of its own files."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        flush(folder.parent)


def flush(path: Path) -> None:
    """Have a file, or what a folder lists, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def version_of(path: Path, file: str) -> int:
    """The version of a file's schema, 0 where it is not there. Raises StoreUnusable where it is damaged or newer."""
    if not path.exists():
        return 0
    try:
        with closing(connect(path, file, reading=True)) as db:
            version = _version(db)
    except sqlite3.Error as fault:
        raise unusable(fault, path) from fault
    _refuse_newer(path, file, version)
    return version


def check(path: Path, file: str) -> None:
    """Refuse a file that is missing, damaged, or of another schema than this version's."""
    if not path.exists():
        raise StoreMissing(f"no database at {path}; `receiver serve` creates it")
    try:
        with closing(connect(path, file)) as db:
            version = _version(db)
            _refuse_newer(path, file, version)
            if migrate.missing("sqlite", file, version):
                raise StoreUnusable(f"{path} has the older schema {version}; `receiver migrate` brings it up to date")
    except sqlite3.Error as fault:
        raise unusable(fault, path) from fault


def connect(path: Path, file: str, *, reading: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode, WAL, with the file's synchronous level set and read back."""
    db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        for pragma in pragmas(file, reading=reading):
            db.execute(pragma)
        if not reading:
            mode, level = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous"))
            verify(mode, level, file)
    except BaseException:
        db.close()
        raise
    return db


def pragmas(file: str, *, reading: bool = False) -> list[str]:
    """What is said on every new connection. `reading` connections cannot write."""
    level, _ = SYNCHRONOUS[file]
    shared = [f"PRAGMA busy_timeout={int(BUSY * 1000)}", "PRAGMA mmap_size=0", "PRAGMA temp_store=MEMORY"]
    if reading:
        return [*shared, "PRAGMA query_only=1"]
    return [
        *shared,
        "PRAGMA journal_mode=WAL",
        f"PRAGMA synchronous={level}",
        f"PRAGMA wal_autocheckpoint={WAL_PAGES[file]}",
        "PRAGMA journal_size_limit=67108864",
        "PRAGMA secure_delete=FAST",  # what is deleted is overwritten in its page, at no cost of writes
    ]


def verify(mode: str, level: int, file: str) -> None:
    """Refuse to run where SQLite did not take what durability rests on."""
    name, wanted = SYNCHRONOUS[file]
    if mode != "wal" or level < wanted:
        raise StoreUnusable(f"SQLite runs with journal_mode={mode} synchronous={level}; it must be wal and {name}")


class Lock:
    """One process at a time: an flock on a file beside the database, released by the kernel however we end."""

    def __init__(self, path: Path, *, patience: timedelta = timedelta(0)) -> None:
        """Raises StoreTaken, naming the pid that holds it, when `patience` is over; StoreUnavailable."""
        self._handle = _open(path)
        until = time.monotonic() + patience.total_seconds()
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    pid = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    os.close(self._handle)
                    name = path.name.removesuffix(".lock")
                    raise StoreTaken(f"{name} is in use by another receiver (pid {pid})") from None
                time.sleep(0.05)
        with suppress(OSError):  # on a full disk the lock holds all the same, only without a name on it
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _open(path: Path) -> int:
    """A handle to lock. Where nothing can be written, an old file does as well. Raises StoreUnavailable."""
    try:
        make_folder(path.parent)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as fault:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise StoreUnavailable(f"cannot open {path}: {fault.strerror}") from fault


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _migrate(db: sqlite3.Connection, file: str) -> None:
    """Apply what is missing, each step in a transaction; another process may be doing the same."""
    for step in migrate.missing("sqlite", file, _version(db)):
        db.execute("BEGIN IMMEDIATE")
        if _version(db) >= step.number:
            db.execute("ROLLBACK")
            continue
        for statement in _statements(step.sql):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {step.number}")
        db.execute("COMMIT")


def _statements(sql: str) -> Iterator[str]:
    """The statements of a script, one at a time (`executescript` would commit in between)."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _refuse_newer(path: Path, file: str, version: int) -> None:
    known = migrate.newest("sqlite", file)
    if version > known:
        raise StoreUnusable(f"{path} has schema {version}, this version knows {known}: install the newer version again")


def _look(db: sqlite3.Connection, file: str) -> None:
    """Read the newest page, so that a damaged end of the file shows before callbacks are taken."""
    if file == "log":
        db.execute("SELECT * FROM events ORDER BY position DESC LIMIT 1").fetchone()
        db.execute("SELECT * FROM callbacks ORDER BY number DESC LIMIT 1").fetchone()
    else:
        db.execute("SELECT * FROM lanes").fetchall()


def unusable(fault: sqlite3.Error, path: Path) -> Exception:
    """What an error means when a store is opened: a damaged file is not waited for."""
    if is_damage(fault):
        found = NO_TEXT if str(fault).startswith(NO_TEXT) else str(fault)
        return StoreUnusable(f"{path} is damaged ({found}): move it away and restore a backup; nothing was changed")
    return unavailable(fault, path)
