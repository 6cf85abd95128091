"""Stars in the place of a number, in what we wrote ourselves: notices, answers of targets, reasons."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from receiver import numbers
from receiver.store.base import Tell
from receiver.store.person import starred
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import LONG, Connection, Server

CHUNK = 1_000  # rows read in one go


class Text(NamedTuple):
    """Columns with our words in them, and the key of their table. `json`: they hold JSON."""

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    json: bool = False


TEXTS = (
    Text("handlers", ("handler",), ("reason", "last_error")),
    Text("exceptions", ("handler", "stream", "position", "replay"), ("reason",)),
    Text("attempts", ("handler", "stream", "position", "replay", "written_at"), ("answer",)),
    Text("packed_attempts", ("handler", "stream", "first", "place"), ("entries",), json=True),
)
NOTICE = Text("events", ("stream", "position"), ("data",), json=True)

ONE = "SELECT stream, position, data FROM events WHERE stream = $1 AND position = $2"

Row = tuple[Any, ...]


async def blot(server: Server, written: numbers.Written, notices: Sequence[Place], tell: Tell) -> int:
    """In notices, which stay, and in what is kept of other people's dispatches. How many rows."""
    blotted = 0
    for place in notices:
        blotted += await _write(server, NOTICE, await server.fetch(ONE, *place), written)
    for text in TEXTS:
        after: Row = ()
        while some := await server.fetch(_next(text, after), *after):
            after = tuple(some[-1])[: len(text.key)]
            naming = [row for row in some if _names(written, tuple(row)[len(text.key) :])]
            blotted += await _write(server, text, naming, written)
            tell("answers read", 0, 0)
    return blotted


def _next(text: Text, after: Row) -> str:
    keys = ", ".join(text.key)
    behind = f"WHERE ({keys}) > ({', '.join(f'${n + 1}' for n in range(len(after)))})" if after else ""
    return f"SELECT {keys}, {', '.join(text.columns)} FROM {text.table} {behind} ORDER BY {keys} LIMIT {CHUNK}"


def _names(written: numbers.Written, told: Row) -> bool:
    return any(written.is_in(column.encode()) for column in told)


async def _write(server: Server, text: Text, told: Sequence[Row], written: numbers.Written) -> int:
    """Where nobody has written something else meanwhile."""
    width = len(text.columns)
    sets = ", ".join(f"{column} = ${n + 1}" for n, column in enumerate(text.columns))
    which = " AND ".join(f"{name} = ${width + n + 1}" for n, name in enumerate((*text.key, *text.columns)))
    sql = f"UPDATE {text.table} SET {sets} WHERE {which}"

    async def write(db: Connection) -> int:
        for row in map(tuple, told):
            stars = [starred(column, written, json=text.json) for column in row[len(text.key) :]]
            await db.execute(sql, *stars, *row)
        return len(told)

    return await server.run(write, within=LONG) if told else 0
