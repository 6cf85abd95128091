"""Stars in the place of a number, in what we wrote ourselves: notices, answers of targets, reasons."""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from receiver import numbers
from receiver.store.person import starred
from receiver.store.sqlite.batches import BATCH, CHUNK, Task, batches, write


class Text(NamedTuple):
    """Columns with our words in them, and the key of their table. `json`: they hold JSON."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    json: bool = False


TEXTS = (
    Text("lanes", ("handler",), ("reason", "last_error")),
    Text("exceptions", ("handler", "position", "replay"), ("reason",)),
    Text("attempts", ("line",), ("answer",)),
    Text("packed_attempts", ("handler", "first", "place"), ("entries",), json=True),
)
NOTICE = Text("events", ("position",), ("data",), json=True)

Row = tuple[Any, ...]


def blot_notices(task: Task, notices: Sequence[int]) -> int:
    """In notices, which stay. How many."""
    blotted = 0
    for some in batches(notices):
        sql = f"SELECT position, data FROM events WHERE position IN ({', '.join('?' * len(some))})"
        rows = task.log.execute(sql, some).fetchall()
        blotted += write(task.log, partial(_blot, task.log, NOTICE, rows, task.written))
    return blotted


def blot(task: Task) -> int:
    """In what is kept of other people's dispatches; the answer to one mail about many names them all. How many."""
    blotted = 0
    for text in TEXTS:
        after: Row = ()
        while some := task.at.dispatch.execute(_next(text, after), (*after, CHUNK)).fetchall():
            after = some[-1][: len(text.key)]
            naming = [row for row in some if _names(task.written, row[len(text.key) :])]
            for start in range(0, len(naming), BATCH):
                rows = naming[start : start + BATCH]
                blotted += write(task.at.dispatch, partial(_blot, task.at.dispatch, text, rows, task.written))
            task.go_on("answers read")
    return blotted


def _next(text: Text, after: Row) -> str:
    keys = ", ".join(text.key)
    behind = f"WHERE ({keys}) > ({', '.join('?' * len(text.key))})" if after else ""
    return f"SELECT {keys}, {', '.join(text.columns)} FROM {text.table} {behind} ORDER BY {keys} LIMIT ?"


def _names(written: numbers.Written, told: Row) -> bool:
    return any(written.is_in(column.encode()) for column in told)


def _blot(db: sqlite3.Connection, text: Text, rows: Sequence[Row], written: numbers.Written) -> int:
    """Where nobody has written something else meanwhile."""
    sets = ", ".join(f"{column} = ?" for column in text.columns)
    which = " AND ".join(f"{column} = ?" for column in (*text.key, *text.columns))
    blotted = 0
    for row in rows:
        told = row[len(text.key) :]
        stars = [starred(column, written, json=text.json) for column in told]
        blotted += db.execute(f"UPDATE {text.table} SET {sets} WHERE {which}", (*stars, *row)).rowcount
    return blotted
