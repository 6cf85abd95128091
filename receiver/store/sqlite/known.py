"""What the log holds already of a batch: the keys of certain events."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from receiver.store import rows
from receiver.store.plan import First

MOST_VALUES = 500  # in one look-up
FIND_KEYS = "SELECT key, position, id FROM events WHERE key IN ({})"


def keys_in(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, First]:
    """Those of these keys that the log holds."""
    found = all_in(db, FIND_KEYS, keys)
    return {key: First(position, rows.id_text(raw)) for key, position, raw in found}


def all_in(db: sqlite3.Connection, sql: str, values: Sequence[Any], *before: Any) -> list[Any]:
    """The rows for any number of values, which the braces in a statement stand for; `before` is bound before them."""
    found: list[Any] = []
    for at in range(0, len(values), MOST_VALUES):
        some = values[at : at + MOST_VALUES]
        found += db.execute(sql.format(",".join("?" * len(some))), [*before, *some]).fetchall()
    return found
