"""A look into a store on PostgreSQL past the receiver's own reading."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import asyncpg

from drills.eyes import Place
from receiver.store.postgres import PostgresStore
from receiver.store.views import Stats

THREADS = "threads"
"""The source whose reports share their messages: each is named by its message and the provider's time."""
NAME = f"message_id || CASE WHEN source = '{THREADS}' THEN ' ' || occurred_at ELSE '' END"
NEW = (
    f"SELECT e.stream, position, coalesce({NAME}, '') FROM events e"
    " LEFT JOIN unnest($1::integer[], $2::bigint[]) seen (stream, reached) USING (stream)"
    " WHERE position > coalesce(reached, 0) ORDER BY stream, position"
)
DEAD = "SELECT stream, position, interruptions, reason FROM exceptions WHERE handler = $1 AND state = 'dead'"
AGAIN = (
    "SELECT stream, position, count(*) FROM attempts WHERE handler = $1 AND verdict = ANY($2) GROUP BY stream, position"
)


class PostgresEyes:
    """Eyes for a database."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._seen: dict[int, int] = {}

    async def new(self) -> list[tuple[Place, str]]:
        rows = await self.rows(NEW, list(self._seen), list(self._seen.values()))
        self._seen |= {stream: position for stream, position, _ in rows}
        return [(Place(stream, position), name) for stream, position, name in rows]

    async def dead(self, handler: str) -> list[tuple[Place, int, str]]:
        return [(Place(*row[:2]), *row[2:]) for row in await self.rows(DEAD, handler)]

    async def attempts(self, handler: str, verdicts: Sequence[str]) -> list[tuple[Place, int]]:
        return [(Place(*row[:2]), row[2]) for row in await self.rows(AGAIN, handler, list(verdicts))]

    async def stats(self) -> Stats:
        store = await PostgresStore.open(self.url, "command")
        try:
            return await store.stats(datetime.now(UTC))
        finally:
            await store.close()

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """What a query gives, by a connection of its own."""
        db = await asyncpg.connect(self.url, timeout=10)
        try:
            return [tuple(row) for row in await db.fetch(query, *arguments, timeout=60)]
        finally:
            await db.close()
