"""What the log holds already of a batch: keys of certain events, fates of the others."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from receiver.store import rows
from receiver.store.plan import Fate, First

MOST_VALUES = 500  # in one look-up
FIND_KEYS = "SELECT key, position, id FROM events WHERE key IN ({})"
FIND_FATES = (
    "SELECT f.digest, f.position, e.id, f.received_at, f.fate FROM fates f JOIN events e USING (position)"
    " WHERE f.digest IN ({})"
)


def keys_in(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, First]:
    """Those of these keys that the log holds."""
    found = _all_in(db, FIND_KEYS, keys)
    return {key: First(position, rows.id_text(raw)) for key, position, raw in found}


def fates_in(db: sqlite3.Connection, digests: Sequence[bytes]) -> dict[bytes, Fate]:
    """The newest event of each of these contents."""
    found = _all_in(db, FIND_FATES, digests)
    return {row[0]: Fate(row[1], rows.id_text(row[2]), rows.from_micros(row[3]), row[4]) for row in found}


def _all_in(db: sqlite3.Connection, sql: str, values: Sequence[bytes]) -> list[Any]:
    found: list[Any] = []
    for at in range(0, len(values), MOST_VALUES):
        some = values[at : at + MOST_VALUES]
        found += db.execute(sql.format(",".join("?" * len(some))), some).fetchall()
    return found
