"""Bringing an older store up to date: a copy of both files first, then the steps that its schema lacks."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from receiver.errors import StoreTaken, StoreUnavailable
from receiver.store import migrate as steps
from receiver.store.sqlite import files

PATIENCE = timedelta(minutes=10)  # for another process that migrates the same store
BOTH = ("dispatch", "log")  # in the order in which they are copied


class Migrated(NamedTuple):
    """What was done to a store's schema."""

    created: bool
    """Whether there was no store before."""
    steps: tuple[str, ...]
    """The steps that were taken, `0003 years`."""
    copies: tuple[Path, ...]
    """The copies of both files from before."""


def prepare(path: Path) -> Migrated:
    """Make a store or bring it up to date, after a copy. Nothing is done where nothing is missing.

    Raises StoreUnusable where a file is damaged or newer than this version, StoreUnavailable.
    """
    created, lacking = not path.exists(), _lacking(path)
    if not any(lacking.values()):
        _prepare(path)
        return Migrated(created, (), ())
    lock = files.Lock(path.with_name(f"{path.name}.migration.lock"), patience=PATIENCE)
    try:
        lacking = _lacking(path)  # another process may have been faster
        made = _copy(path) if any(lacking.values()) else ()
        _prepare(path)
    finally:
        lock.release()
    taken = sorted((step.number, step.name) for some in lacking.values() for step in some)
    return Migrated(created, tuple(f"{number:04} {name}" for number, name in taken), made)


def migrate(path: Path) -> Migrated:
    """The same for a command: where something is missing, no receiver may have the store. Raises StoreTaken."""
    if not any(_lacking(path).values()):
        return prepare(path)
    with alone(path):
        return prepare(path)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """While nobody receives into a store or dispatches from it. Raises StoreTaken, naming the pid of who does."""
    with ExitStack() as locks:
        for file in BOTH:
            one = file_of(path, file)
            locks.callback(files.Lock(one.with_name(f"{one.name}.lock")).release)
        yield


def file_of(path: Path, file: str) -> Path:
    """Where the file `log` or `dispatch` of a store is."""
    return path if file == "log" else files.dispatch_path(path)


def backup_lock(path: Path, words: str) -> files.Lock:
    """What keeps backups and erasures from each other. Raises StoreTaken, with these words."""
    try:
        return files.Lock(path.with_name(f"{path.name}.backup.lock"))
    except StoreTaken:
        raise StoreTaken(words) from None


def copies(path: Path) -> list[Path]:
    """The copies that were made before migrations and still lie beside a store."""
    names = (f"{file_of(path, file).stem}-schema*{path.suffix}" for file in BOTH)
    return sorted(found for name in names for found in path.absolute().parent.glob(name))


def _prepare(path: Path) -> None:
    for file in reversed(BOTH):
        files.prepare(file_of(path, file), file)


def _lacking(path: Path) -> dict[str, list[steps.Migration]]:
    """The steps that files from before lack; a file that is not there lacks nothing: it will be new."""
    found = {}
    for file in BOTH:
        version = files.version_of(file_of(path, file), file)
        found[file] = steps.missing("sqlite", file, version) if version else []
    return found


def _copy(path: Path) -> tuple[Path, ...]:
    """Whole copies of both files beside them, as of one moment: nobody writes who would not have to wait for us."""
    return tuple(_copied(file_of(path, file), file) for file in BOTH if file_of(path, file).exists())


def _copied(path: Path, file: str) -> Path:
    copy = path.with_name(f"{path.stem}-schema{files.version_of(path, file)}{path.suffix}")
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT, 0o640))
        with closing(files.connect(path, file)) as db:
            db.execute("VACUUM INTO ?", (str(unfinished),))
        files.flush(unfinished)
        unfinished.replace(copy)
        files.flush(copy.parent)
    except (sqlite3.Error, OSError) as fault:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if isinstance(fault, sqlite3.Error) and files.is_damage(fault):
            raise files.unusable(fault, path) from fault
        reason = files.unavailable(fault, copy) if isinstance(fault, sqlite3.Error) else f"{fault.strerror}: {copy}"
        raise StoreUnavailable(f"the schema is not changed without a copy: {reason}") from fault
    return copy
