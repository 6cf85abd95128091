"""Inserting rows into the log, many in a statement."""

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from receiver.store import rows

EVENTS = f"INSERT INTO events ({rows.EVENT_ROW}) VALUES "
CALLBACKS = f"INSERT INTO callbacks ({rows.CALLBACK_COLUMNS}) VALUES "
MOST_ROWS = 64  # in one statement


def insert(db: sqlite3.Connection, head: str, told: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, many in a statement: each run of one gives the interpreter away and has to wait for it again."""
    at, most = 0, MOST_ROWS
    while at < len(told):
        while most > len(told) - at:
            most //= 2
        some = told[at : at + most]
        db.execute(_many(head, len(some), len(some[0])), list(chain.from_iterable(some)))
        at += most


@lru_cache(maxsize=64)
def _many(head: str, rows: int, columns: int) -> str:
    row = f"({','.join('?' * columns)})"
    return head + ",".join([row] * rows)
