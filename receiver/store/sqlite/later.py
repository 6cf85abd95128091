"""What no answer waits for, and goes along with a later commit: fates of answers, counts of refused requests."""

import sqlite3

from receiver.store.group import Later
from receiver.store.sqlite import fates

REFUSED = (
    "INSERT INTO sources (source, refused) VALUES (?, ?)"
    " ON CONFLICT (source) DO UPDATE SET refused = refused + excluded.refused"
)


def write(db: sqlite3.Connection, later: Later) -> None:
    if later.marks:
        fates.mark(db, later.marks)
    if later.refused:
        db.executemany(REFUSED, list(later.refused.items()))
