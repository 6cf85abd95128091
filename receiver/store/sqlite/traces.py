"""Old bytes in a store's files: what was deleted may still lie in the journal, on free pages, and between rows.

Deleted rows are overwritten where they lay. But SQLite moves rows about, and what it moved away from stays until
something else is written there. VACUUM would write the whole file anew and let nobody write meanwhile; so the files are
read, and only what is found is overwritten, a little at a time.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from receiver import numbers
from receiver.errors import StoreTaken, StoreUnavailable
from receiver.store.base import Tell
from receiver.store.sqlite import files, pages
from receiver.store.sqlite.migrating import BOTH, alone, file_of

ROUNDS = 4  # of looking and overwriting: the receiver goes on meanwhile
FILLED = 256  # free pages overwritten in one transaction
BREATH = 0.01  # seconds between two transactions
SHORT = 100  # milliseconds to wait for readers of the journal while nobody can write
PATIENCE = 20.0  # seconds of such tries
LEFT = 6  # bytes that a filled page may keep: less than any number

# Tables whose rows have numbers, with the column that is made longer for a moment, in each file.
NUMBERED = {
    "log": (("callbacks", "number", "body"), ("events", "position", "data"), ("quarantine", "callback", "reason")),
    "dispatch": (("attempts", "line", "answer"), ("lanes", "rowid", "last_error")),
}
# Tables that are trees of their keys, and have indexes with our texts in them.
KEYED = {"log": (), "dispatch": ("exceptions", "packed_attempts")}


def sweep(path: Path, written: numbers.Written, tell: Tell, stop: threading.Event) -> int:
    """Overwrite every old byte of a number in both files and their journals. How many places were left."""
    return sum(_sweep(path, file, written, tell, stop) for file in BOTH)


def _sweep(store: Path, file: str, written: numbers.Written, tell: Tell, stop: threading.Event) -> int:
    path = file_of(store, file)
    with closing(files.connect(path, file)) as db:
        db.execute("PRAGMA secure_delete=ON")
        db.execute("PRAGMA synchronous=FULL")
        for _ in range(ROUNDS):
            _empty_journal(db, path)
            found = list(_found(path, written, tell, stop))
            if not found:
                return 0
            if None in found:
                _fill_free_pages(db)
            _close_gaps(db, file, [page for page in found if page])
        _write_anew(db, store)
        _empty_journal(db, path)
    return sum(1 for _ in _found(path, written, tell, stop))


def _found(path: Path, written: numbers.Written, tell: Tell, stop: threading.Event) -> Iterator[pages.Page | None]:
    """Pages of trees that hold the number between their entries; None for a free one."""
    free, total = pages.free_pages(path), path.stat().st_size
    for first, raw, size in pages.read(path):
        if stop.is_set():
            raise StoreUnavailable("interrupted; what is erased is erased, a second call sees to old bytes of it")
        tell("old bytes", min((first - 1) * size + len(raw), total) // 1024, total // 1024)
        told = set()
        for start, end in written.in_file(raw):
            at = start // size
            if first + at in told:
                continue
            page = pages.Page(first + at, raw[at * size : (at + 1) * size])
            if page.number in free:
                told.add(page.number)
                yield None
            elif page.kind and not page.holds(start - at * size, end - at * size):
                told.add(page.number)
                yield page


def _empty_journal(db: sqlite3.Connection, path: Path) -> None:
    """Carry all of the journal over and cut it off. Others can write between two tries."""
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.execute(f"PRAGMA busy_timeout={SHORT}")
    until = time.monotonic() + PATIENCE
    while db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > until:
            raise StoreUnavailable(f"{path} is being read for long, a copy perhaps: the journal keeps old bytes; again")
        time.sleep(BREATH)
    db.execute(f"PRAGMA busy_timeout={int(files.BUSY * 1000)}")


def _fill_free_pages(db: sqlite3.Connection) -> None:
    """Take all free pages with zeros, and give them back: zeros are written over what they held."""
    size = int(db.execute("PRAGMA page_size").fetchone()[0])
    left = int(db.execute("PRAGMA freelist_count").fetchone()[0]) + FILLED
    db.execute("CREATE TABLE IF NOT EXISTS wiping (zeros BLOB) STRICT")
    while left > 0 and db.execute("PRAGMA freelist_count").fetchone()[0]:
        db.execute("INSERT INTO wiping VALUES (zeroblob(?))", (FILLED * size,))
        left -= FILLED
        time.sleep(BREATH)
    for (row,) in db.execute("SELECT rowid FROM wiping").fetchall():
        db.execute("DELETE FROM wiping WHERE rowid = ?", (row,))
        time.sleep(BREATH)
    db.execute("DROP TABLE wiping")


def _close_gaps(db: sqlite3.Connection, file: str, found: list[pages.Page]) -> None:
    """Overwrite what lies between the entries of these pages."""
    for page in found:
        if page.kind == pages.TABLE_LEAF:
            _stretch(db, file, page)
    if any(page.kind in (pages.INDEX_LEAF, pages.INDEX_INSIDE) for page in found):
        for table in KEYED[file]:
            _build_anew(db, table)


def _write_anew(db: sqlite3.Connection, store: Path) -> None:
    """What is left lies in the roots of old trees: the whole file is written anew, where nobody would wait for it."""
    with suppress(StoreTaken), alone(store):
        db.execute("VACUUM")


def _stretch(db: sqlite3.Connection, file: str, page: pages.Page) -> None:
    """Let a row of the page take all its room for a moment. It is one of several tables; the others do not mind."""
    most, free = len(page.raw) - 35 - LEFT, page.free()  # a longer row would go on on another page
    cells = [cell for cell in page.cells() if cell.whole and cell.size < most]
    for cell in sorted(cells, key=lambda cell: cell.size)[:1]:
        longer = min(free - LEFT, most - cell.size)
        for table, key, column in NUMBERED[file]:
            _stretch_row(db, f"{table} SET {column} = ? WHERE {key} = ?", (table, key, column), cell.rowid, longer)


def _stretch_row(db: sqlite3.Connection, update: str, where: tuple[str, str, str], rowid: int, longer: int) -> None:
    table, key, column = where
    db.execute("BEGIN IMMEDIATE")
    found = db.execute(f"SELECT {column} FROM {table} WHERE {key} = ?", (rowid,)).fetchone()
    if found and longer > 0:
        value: Any = found[0]
        filling = b"\x00" * longer if isinstance(value, bytes) else " " * longer
        db.execute(f"UPDATE {update}", (value + filling, rowid))
        db.execute(f"UPDATE {update}", (value, rowid))
    db.execute("COMMIT")
    time.sleep(BREATH)


def _build_anew(db: sqlite3.Connection, table: str) -> None:
    """Write all rows of a table anew."""
    db.execute("BEGIN IMMEDIATE")
    db.execute(f"CREATE TEMP TABLE kept AS SELECT * FROM {table}")
    db.execute(f"DELETE FROM {table}")
    db.execute(f"INSERT INTO {table} SELECT * FROM temp.kept")
    db.execute("DROP TABLE temp.kept")
    db.execute("COMMIT")
    time.sleep(BREATH)
