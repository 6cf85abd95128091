"""Taking the attempts of erased events out of the packed ones. A job."""

from collections.abc import Iterable, Sequence

from pydantic_core import from_json, to_json

from receiver.store.postgres.looking import PACKED
from receiver.store.postgres.places import Place
from receiver.store.postgres.server import Connection

WHICH = "handler = $1 AND stream = $2 AND first = $3"
ALL = f"SELECT place, entries FROM packed_attempts WHERE {WHICH} FOR UPDATE"
DROP = f"DELETE FROM packed_attempts WHERE {WHICH} AND place = $4"
PACK = f"UPDATE packed_attempts SET entries = $5 WHERE {WHICH} AND place = $4"


async def unpack(db: Connection, handlers: Iterable[str], some: Sequence[Place]) -> None:
    """Of every handler."""
    for handler in sorted(handlers):
        for stream, first, gone in await _packs(db, handler, some):
            for place, entries in await db.fetch(ALL, handler, stream, first):
                told = from_json(entries)
                kept = [entry for entry in told if first + entry[0] not in gone]
                if not kept:
                    await db.execute(DROP, handler, stream, first, place)
                elif len(kept) < len(told):
                    await db.execute(PACK, handler, stream, first, place, to_json(kept).decode())


async def _packs(db: Connection, handler: str, some: Sequence[Place]) -> list[tuple[int, int, set[int]]]:
    """The packs in which these events may be, and their positions: (stream, first, positions)."""
    found: dict[tuple[int, int], set[int]] = {}
    for place in some:
        for first, _ in await db.fetch(PACKED, handler, *place):
            found.setdefault((place.stream, first), set()).add(place.position)
    return [(*key, gone) for key, gone in sorted(found.items())]
