"""Long work beside a running receiver: rows read in chunks, written in small batches with a pause behind each."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from pydantic_core import to_json

from receiver import numbers
from receiver.errors import StoreUnavailable
from receiver.store.base import Tell
from receiver.store.sqlite.desk import Connections

CHUNK = 1_000  # rows read in one go
BATCH = 100  # rows written in one transaction
BREATH = 0.01  # seconds between two transactions, for those who wait for the disk
CHOSEN = "(SELECT value FROM json_each(?))"

T = TypeVar("T")


class Task(NamedTuple):
    """Files to work in, the number it is about, who hears how far it is, and who may end it."""

    at: Connections
    log: sqlite3.Connection
    """The log, for writing."""
    written: numbers.Written
    tell: Tell
    stop: threading.Event

    def go_on(self, part: str, done: int = 0, of: int = 0) -> None:
        """Say how far it is. Raises StoreUnavailable where it is to end."""
        if self.stop.is_set():
            raise StoreUnavailable("interrupted; what is erased is erased, a second call does the rest")
        self.tell(part, done, of)


def write(db: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Do some work in a transaction, and leave the file to others for a moment."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work()
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    time.sleep(BREATH)
    return result


def batches(places: Sequence[int]) -> Iterator[Sequence[int]]:
    """So many at a time."""
    for start in range(0, len(places), BATCH):
        yield places[start : start + BATCH]


def chosen(places: Sequence[int]) -> str:
    """The argument of CHOSEN."""
    return to_json(places).decode()
