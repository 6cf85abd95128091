"""A look into a store past the receiver's own reading, so that what it forgets is seen all the same."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from receiver.store.sqlite import SqliteStore, files
from receiver.store.views import Stats

NEW = "SELECT position, message_id FROM events WHERE position > ? ORDER BY position"
DEAD = "SELECT position, interruptions, reason FROM exceptions WHERE handler = ? AND state = 'dead'"
AGAIN = "SELECT position, count(*) FROM attempts WHERE handler = ? AND verdict IN ({}) GROUP BY position"


class Place(NamedTuple):
    """Where an event lies. Positions in a stream have no gaps; SQLite's log is one stream."""

    stream: int
    position: int


class Eyes(Protocol):
    """What a drill wants to know of a store."""

    async def new(self) -> list[tuple[Place, str]]:
        """What has come into the log since the last look, by its message; "" where it has none."""

    async def dead(self, handler: str) -> list[tuple[Place, int, str]]:
        """The dead letters of a handler: how often they were interrupted, and why they are dead."""

    async def attempts(self, handler: str, verdicts: Sequence[str]) -> list[tuple[Place, int]]:
        """How many attempts of each event came to one of these."""

    async def stats(self) -> Stats:
        """The counters, as the receiver's own commands see them."""


class SqliteEyes:
    """Eyes for SQLite's two files."""

    def __init__(self, database: Path) -> None:
        self._database, self._seen = database, 0

    async def new(self) -> list[tuple[Place, str]]:
        with _reading(self._database) as db:
            found = [(Place(0, place), message or "") for place, message in db.execute(NEW, (self._seen,))]
        self._seen = found[-1][0].position if found else self._seen
        return found

    async def dead(self, handler: str) -> list[tuple[Place, int, str]]:
        with _reading(files.dispatch_path(self._database)) as db:
            return [(Place(0, place), *rest) for place, *rest in db.execute(DEAD, (handler,))]

    async def attempts(self, handler: str, verdicts: Sequence[str]) -> list[tuple[Place, int]]:
        query = AGAIN.format(",".join("?" * len(verdicts)))
        with _reading(files.dispatch_path(self._database)) as db:
            return [(Place(0, place), count) for place, count in db.execute(query, (handler, *verdicts))]

    async def stats(self) -> Stats:
        """Open for this look only: a connection that stays would keep the next start from recovering the journal."""
        store = await SqliteStore.open(self._database, "command")
        try:
            return await store.stats(datetime.now(UTC))
        finally:
            await store.close()


def _reading(database: Path) -> "closing[sqlite3.Connection]":
    return closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10))
