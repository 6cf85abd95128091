"""Looking into what cuts left: a disk for each, opened as a receiver that starts there does."""

import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import NamedTuple

from drills.powercut.disk import MODELS, Disk
from drills.powercut.stage import HANDLERS, Recording
from receiver.errors import ReceiverError
from receiver.store.sqlite import files, lanes, looking
from receiver.store.sqlite.desk import Connections

LOST, CORRUPT, TWICE, GAPS, MISSED, UNBALANCED = "lost", "corrupt", "twice", "gaps", "missed", "unbalanced"
LAWS = (LOST, CORRUPT, TWICE, GAPS, MISSED, UNBALANCED)
GAP = "SELECT count(*), coalesce(min({0}), 1), coalesce(max({0}), 0) FROM {1}"
MESSAGES = "SELECT position, message_id FROM events WHERE kind = 'dlr'"
TWO = "SELECT message_id FROM events WHERE kind = 'dlr' GROUP BY message_id HAVING count(*) > 1"
OPEN = "SELECT position FROM exceptions WHERE handler = ? AND state <> 'cancelled'"


class Cut(NamedTuple):
    """A power cut behind the operation `moment`; what survives is drawn by `model` from `seed`."""

    moment: int
    model: str
    seed: str


class Finding(NamedTuple):
    """A law that does not hold behind a cut."""

    cut: Cut
    law: str
    words: str


def inspect(recording: Recording, cuts: Sequence[Cut], scratch: Path, until: float) -> tuple[int, list[Finding]]:
    """Make these cuts until a time of the monotonic clock: how many were made, and what was found."""
    made, found = 0, list[Finding]()
    for cut in rebuilt(recording, cuts, scratch):
        found += (Finding(cut, law, words) for law, words in _look(recording, cut, scratch / "receiver.db"))
        made += 1
        if time.monotonic() > until:
            break
    shutil.rmtree(scratch, ignore_errors=True)
    return made, found


def unexplained(recording: Recording) -> list[str]:
    """Files that are not as the recorded operations, all of them, leave them: there must be none."""
    disk = Disk(recording.folder)
    for op in recording.ops():
        disk.follow(op)
    left = disk.left(MODELS["everything"], Random(0))
    log = Path(recording.folder) / "receiver.db"
    return [file.name for file in (log, files.dispatch_path(log)) if file.read_bytes() != left.get(str(file))]


def rebuilt(recording: Recording, cuts: Iterable[Cut], folder: Path) -> Iterator[Cut]:
    """In the order of their moments: `folder` holds what each left, until the next is asked for."""
    disk, ops = Disk(recording.folder), iter(recording.ops())
    op = next(ops, None)
    for cut in sorted(cuts):
        while op and op.sequence <= cut.moment:
            disk.follow(op)
            op = next(ops, None)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for path, content in disk.left(MODELS[cut.model], Random(cut.seed)).items():
            (folder / Path(path).relative_to(recording.folder)).write_bytes(content)
        yield cut


def _look(recording: Recording, cut: Cut, log: Path) -> Iterator[tuple[str, str]]:
    """What does not hold: open both files as a receiver does that starts, and look at them."""
    try:
        files.prepare(log, "log")
        files.prepare(files.dispatch_path(log), "dispatch")
        with closing(Connections(log, writing=True)) as at:
            yield from _damages(at)
            yield from _laws(at, recording, cut)
    except (ReceiverError, sqlite3.Error) as fault:
        yield CORRUPT, str(fault).replace(f"{log.parent}/", "")


def _damages(at: Connections) -> Iterator[tuple[str, str]]:
    for name, db in (("log", at.log), ("dispatch file", at.dispatch)):
        said = db.execute("PRAGMA integrity_check").fetchone()[0]
        if said != "ok":
            yield CORRUPT, f"the {name}: {said}"


def _laws(at: Connections, recording: Recording, cut: Cut) -> Iterator[tuple[str, str]]:
    stored = dict(at.log.execute(MESSAGES).fetchall())
    if lost := recording.acknowledged_by(cut.moment) - set(stored.values()):
        yield LOST, f"{_some(lost)} acknowledged, not in the log"
    if twice := {row[0] for row in at.log.execute(TWO)}:
        yield TWICE, f"{_some(twice)} stored twice"
    for column, table in (("position", "events"), ("number", "callbacks")):
        count, first, last = at.log.execute(GAP.format(column, table)).fetchone()
        if (first, last) != (1, count):
            yield GAPS, f"{table}: {count}, numbered from {first} to {last}"
    _begin_again(at)
    for handler in HANDLERS:
        forgotten = recording.owed(handler, (stored[position] for position in stored.keys() - _listed(at, handler)))
        if missed := forgotten - recording.done_by(handler, cut.moment):
            yield MISSED, f"{_some(missed)} stored, neither owed to {handler} nor done by it"
    for one in looking.stats(at).handlers:
        if one.received != one.done + one.filtered + one.cancelled + one.pending + one.running + one.dead:
            yield UNBALANCED, str(one)


def _begin_again(at: Connections) -> None:
    """What a receiver that starts does with its lanes."""
    at.dispatch.execute("BEGIN IMMEDIATE")
    lanes.register(at, HANDLERS)
    lanes.take_over(at, "power is back", datetime.now(UTC))
    at.dispatch.execute("COMMIT")


def _listed(at: Connections, handler: str) -> set[int]:
    """Positions that the handler will be given, or whose dead letter is listed."""
    reached, end = at.dispatch.execute("SELECT next FROM lanes WHERE handler = ?", (handler,)).fetchone()[0], at.end()
    return {*range(reached, end + 1), *(row[0] for row in at.dispatch.execute(OPEN, (handler,)))}


def _some(messages: set[str]) -> str:
    return f"{len(messages)} messages ({min(messages)}{', …' if len(messages) > 1 else ''})"
