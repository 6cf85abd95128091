"""A whole store in lots, for another one: read from both files as of one moment."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from receiver.errors import StoreUnusable
from receiver.store import bits, rows
from receiver.store.moving import (
    END,
    UNFINISHED,
    Attempted,
    Exceptional,
    Lane,
    Lot,
    Moved,
    Rest,
    exceptional,
    interrupted,
    plain,
    without_gone,
)
from receiver.store.sqlite import files
from receiver.store.sqlite.claiming import MOST_SEEN
from receiver.store.sqlite.desk import END as NEWEST

LOT = 500  # events, or callbacks

CALLBACKS = f"SELECT {rows.CALLBACK_COLUMNS} FROM callbacks WHERE number > ? ORDER BY number LIMIT ?"
NUMBERS = "SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM callbacks"
EVENTS = f"SELECT {rows.EVENT_ROW} FROM events WHERE position > ? ORDER BY position LIMIT ?"
OLDEST = "SELECT coalesce(min(position), 0) FROM events"
COPIES = "SELECT position, callback FROM copies WHERE position BETWEEN ? AND ? ORDER BY position, callback"
NEWER = "SELECT position, lead(position) OVER (PARTITION BY digest ORDER BY position) AS newer FROM fates"
OUTDATED = f"SELECT position FROM ({NEWER}) WHERE newer IS NOT NULL"
FATES = "SELECT position, digest, received_at, fate FROM fates WHERE position BETWEEN ? AND ? ORDER BY digest"
EXCEPTIONS = (
    "SELECT position, handler, replay, state, attempts, interruptions, probes, target, due_at, first_at, died_at,"
    " reason FROM exceptions WHERE handler = ? AND position BETWEEN ? AND ? ORDER BY position, replay"
)
ATTEMPTS = (
    "SELECT position, handler, replay, began_at, number, took, verdict, answer FROM attempts"
    " WHERE handler = ? AND position BETWEEN ? AND ? ORDER BY position, line"
)
PACKED = "SELECT first, entries FROM packed_attempts WHERE handler = ? AND first BETWEEN ? AND ? ORDER BY first"
CLAIMS = "SELECT handler, first, count, settled FROM claims ORDER BY claim"
GONE = (
    "SELECT handler, state, count(*) FROM exceptions x"
    " WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.position = x.position) GROUP BY handler, state"
)
LANES = (
    "SELECT handler, configured, start, next, replays, done, filtered, cancelled, dead, state, since, reason,"
    " last_error, last_error_at FROM lanes ORDER BY handler"
)
SOURCES = (
    "SELECT source, stored, duplicates, quarantined, refused, simulated, coalesce(last_at, 0) FROM sources"
    " ORDER BY source"
)
QUARANTINE = "SELECT callback, source, reason FROM quarantine ORDER BY callback"
NOTICES = "SELECT notice, about FROM open_notices ORDER BY notice, about"


class Leaving:
    """Both files as one connection sees them, in one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = db = files.connect(files.dispatch_path(path), "dispatch", reading=True)
        try:
            db.execute("ATTACH DATABASE ? AS log", (str(path),))
            db.execute("BEGIN")
            self._end = int(db.execute(NEWEST).fetchone()[0])
            self._oldest = int(db.execute(OLDEST).fetchone()[0])
            self._numbers = db.execute(NUMBERS).fetchone()
            self._outdated = {position for (position,) in db.execute(OUTDATED)}
            self._handlers = [row[0] for row in db.execute(LANES)]
            self._in_hand = [
                (handler, first + bit)
                for handler, first, count, settled in db.execute(CLAIMS)
                for bit in bits.open_bits(settled, count)
            ]
        except BaseException:
            db.close()
            raise

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()

    def lot(self, after: str) -> Lot | None:
        """The lot behind a mark; None behind the last."""
        if after == END:
            return None
        kind, _, number = (after or "callback 0").partition(" ")
        if kind == "callback" and (callbacks := self._db.execute(CALLBACKS, (int(number), LOT)).fetchall()):
            first, last = self._numbers
            told = ("callbacks", callbacks[-1][0] - first + 1, last - first + 1)
            return Lot(f"callback {callbacks[-1][0]}", told, callbacks=[_callback(row) for row in callbacks])
        reached = int(number) if kind == "event" else 0
        if events := self._db.execute(EVENTS, (reached, LOT)).fetchall():
            newest = events[-1][0]
            told = ("events", newest - self._oldest + 1, self._end - self._oldest + 1)
            return Lot(f"event {newest}", told, events=self._moved(events))
        return Lot(END, ("events", 1, 1), rest=self._rest())

    def _moved(self, events: list[Any]) -> list[Moved]:
        first, last = events[0][0], events[-1][0]
        copies = _by_event(self._db.execute(COPIES, (first, last)))
        fates = _by_event(self._db.execute(FATES, (first, last)))
        exceptions: dict[int, list[Exceptional]] = {}
        attempts: dict[int, list[Attempted]] = {}
        easy: dict[int, list[tuple[str, int, int, str]]] = {}
        for handler in self._handlers:
            for position, *row in self._db.execute(EXCEPTIONS, (handler, first, last)):
                exceptions.setdefault(position, []).append(exceptional(row))
            for position, *row in self._db.execute(ATTEMPTS, (handler, first, last)):
                attempts.setdefault(position, []).append(Attempted(*row)._replace(answer=plain(row[-1])))
            for position, one in self._packed(handler, first, last).items():
                easy.setdefault(position, []).append(one)
        for handler, position in self._in_hand:
            if first <= position <= last:
                exceptions.setdefault(position, []).append(interrupted(handler))
        return [
            Moved(
                (*row[:14], bool(row[14]), row[15]),
                tuple(number for (number,) in copies.get(row[0], ())),
                tuple(self._fate(row[0], *fate) for fate in fates.get(row[0], ())),
                tuple(sorted(exceptions.get(row[0], ()))),
                tuple(attempts.get(row[0], ())),
                tuple(easy.get(row[0], ())),
            )
            for row in events
        ]

    def _fate(self, position: int, digest: bytes, received: int, fate: str) -> tuple[bytes, int, str]:
        """Elsewhere each content has one fate; an older one decides about nothing and gets a content of its own."""
        return position.to_bytes(8, "big") if position in self._outdated else digest, received, fate

    def _packed(self, handler: str, first: int, last: int) -> dict[int, tuple[str, int, int, str]]:
        """The attempts of events that went well at once."""
        found = {}
        for claim, entries in self._db.execute(PACKED, (handler, first - MOST_SEEN, last)):
            for offset, began, took, answer in from_json(entries):
                found[claim + offset] = (handler, began, took, plain(answer))
        return {position: one for position, one in found.items() if first <= position <= last}

    def _rest(self) -> Rest:
        gone: dict[str, list[tuple[str, int]]] = {}
        for handler, state, count in self._db.execute(GONE):
            gone.setdefault(handler, []).append((state, count))
        for handler, position in self._in_hand:
            if not self._db.execute("SELECT 1 FROM events WHERE position = ?", (position,)).fetchone():
                gone.setdefault(handler, []).append(("running", 1))
        lanes = [Lane(row[0], bool(row[1]), *row[2:]) for row in self._db.execute(LANES)]
        return Rest(
            self._end,
            tuple(without_gone(self._within(lane), gone.get(lane.handler, ())) for lane in lanes),
            tuple(self._db.execute(SOURCES)),
            tuple((number, source, plain(reason)) for number, source, reason in self._db.execute(QUARANTINE)),
            tuple(self._db.execute(NOTICES)),
        )

    def _within(self, lane: Lane) -> Lane:
        """A log restored from a backup may end before a lane does."""
        behind = self._end + 1
        if lane.next > behind:
            lane = lane._replace(start=min(lane.start, behind), next=behind)
        return lane._replace(reason=plain(lane.reason), last_error=plain(lane.last_error))


def _callback(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:-1], bool(row[-1]))


def _by_event(found: Iterable[tuple[Any, ...]]) -> dict[int, list[Any]]:
    """Rows by the position they begin with."""
    sorted_out: dict[int, list[Any]] = {}
    for position, *row in found:
        sorted_out.setdefault(position, []).append(tuple(row))
    return sorted_out


def require_whole(path: Path) -> None:
    """Raises StoreUnusable where a copy into this store is not finished."""
    with closing(files.connect(path, "log", reading=True)) as db:
        if unfinished(db) is not None:
            raise StoreUnusable(UNFINISHED.format(path))


def unfinished(db: sqlite3.Connection) -> str | None:
    """What was told with the last lot of a copy into this log that is not finished."""
    there = db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'unfinished_copy'").fetchone()
    return str(db.execute("SELECT told FROM unfinished_copy").fetchone()[0]) if there else None
