"""A copy of a whole store in another: in lots, goes on where it was interrupted, and is compared at its end."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple

from receiver.errors import CopyFailed
from receiver.store.base import Tell
from receiver.store.moving import END, Lot, Movable, Rest

SIZE = 16  # bytes of a checksum
MODULUS = 1 << 8 * SIZE


class Compared(NamedTuple):
    """One kind of record, as it is in both stores."""

    kind: str
    records: int
    checksum: str


class Sums:
    """Count and checksum of each kind of record: sums of hashes, so that they can be carried on later."""

    def __init__(self, told: dict[str, Any] | None = None) -> None:
        self._sums: dict[str, tuple[int, int]] = {
            kind: (count, int(checksum, 16)) for kind, (count, checksum) in (told or {}).items()
        }

    def add(self, lot: Lot) -> None:
        """Count in a lot."""
        for kind, record in _records(lot):
            count, checksum = self._sums.get(kind, (0, 0))
            hashed = blake2b(repr(record).encode("utf-8", "surrogatepass"), digest_size=SIZE).digest()
            self._sums[kind] = count + 1, (checksum + int.from_bytes(hashed, "big")) % MODULUS

    def told(self) -> dict[str, tuple[int, str]]:
        """To be kept."""
        return {kind: (count, f"{checksum:0{2 * SIZE}x}") for kind, (count, checksum) in self._sums.items()}


def _records(lot: Lot) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each record of a lot, with its kind."""
    yield from (("callbacks", tuple(row)) for row in lot.callbacks)
    for moved in lot.events:
        yield "events", tuple(moved.row)
        for kind, records in (
            ("duplicates", [(number,) for number in moved.copies]),
            ("fates", moved.fates),
            ("dispatches", moved.exceptions),
            ("attempts", [*enumerate(moved.attempts), *(("at once", *one) for one in moved.easy)]),
        ):
            yield from ((kind, (moved.position, tuple(record))) for record in records)
    if lot.rest:
        yield from _rest(lot.rest)


def _rest(rest: Rest) -> Iterator[tuple[str, Sequence[Any]]]:
    yield "end of the log", (rest.end,)
    yield from (("handlers", tuple(lane)) for lane in rest.lanes)
    yield from (("sources", tuple(row)) for row in rest.sources)
    yield from (("quarantine", row) for row in rest.quarantine)
    yield from (("notices", row) for row in rest.notices)


class _Progress(NamedTuple):
    """How far a copy is, as it is kept in the store that it is made in."""

    source: str
    """Stands for all figures of the store that is copied: a change of them shows."""
    mark: str
    sums: dict[str, tuple[int, str]]


async def copy(source: Movable, target: Movable, *, now: datetime, tell: Tell) -> list[Compared]:
    """Copy all of a store into an empty one, or go on with it; what was compared at the end.

    Nobody may write into either meanwhile. Raises CopyFailed; StoreUnavailable, and then it can be gone on with.
    """
    state = await _state(source, now)
    at = await _begin(source, target, state, now)
    sums = Sums(at.sums)
    if at.mark != END:
        async for lot in source.export(at.mark):
            sums.add(lot)
            await target.take_in(lot, json.dumps(_Progress(state, lot.mark, sums.told())))
            tell(*lot.told)
    there = Sums()
    async for lot in target.export():
        there.add(lot)
        part, done, of = lot.told
        tell(f"comparing {part}", done, of)
    compared = _compare(sums.told(), there.told())
    if await _state(source, now) != state:
        raise CopyFailed("the store has changed while it was copied: stop what writes into it. " + ANEW)
    await target.taken_in(tell)
    return compared


ANEW = "To begin anew, empty the target: remove its two files, or drop and create the database"


async def _begin(source: Movable, target: Movable, state: str, now: datetime) -> _Progress:
    if await source.taking_in() is not None:
        raise CopyFailed("what is to be copied is an unfinished copy itself: finish that first")
    told = await target.taking_in()
    if told is None:
        await _require_empty(target, now)
        return _Progress(state, "", {})
    at = _Progress(*json.loads(told))
    if at.source != state:
        raise CopyFailed(f"the unfinished copy there is of another store, or of this one before it went on. {ANEW}")
    return at


async def _require_empty(target: Movable, now: datetime) -> None:
    found = await target.stats(now)
    if found.events or found.handlers or found.sources or found.quarantine:
        raise CopyFailed(
            f"the target is not empty (events: {found.events}, handlers: {len(found.handlers)}): "
            "a copy needs a store of its own, in which no receiver was ever started"
        )


async def _state(store: Movable, now: datetime) -> str:
    """What stands for all figures of a store."""
    return blake2b(repr(await store.stats(now)).encode(), digest_size=SIZE).hexdigest()


def _compare(here: dict[str, tuple[int, str]], there: dict[str, tuple[int, str]]) -> list[Compared]:
    """Raises CopyFailed, where anything differs."""
    nothing = (0, "0" * 2 * SIZE)
    different = [kind for kind in {**here, **there} if here.get(kind, nothing) != there.get(kind, nothing)]
    if different:
        counts = ", ".join(
            f"{kind}: {here.get(kind, nothing)[0]} and {there.get(kind, nothing)[0]} there" for kind in different
        )
        raise CopyFailed(f"the copy differs ({counts}) and is not used. {ANEW}")
    return [Compared(kind, *told) for kind, told in here.items()]
