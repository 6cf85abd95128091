"""What of the log is a person's: found by reading all of it once."""

from collections.abc import Sequence
from typing import NamedTuple

from receiver.store.person import whose
from receiver.store.sqlite.batches import CHOSEN, CHUNK, Task, batches, chosen
from receiver.store.sqlite.desk import Connections

EVENTS = (
    "SELECT position, kind, originator, recipient, data, callback FROM events WHERE position > ? ORDER BY 1 LIMIT ?"
)
CALLBACKS = "SELECT number, query, body FROM callbacks WHERE number > ? ORDER BY number LIMIT ?"
NEWEST_CALLBACK = "SELECT coalesce(max(number), 0) FROM callbacks"
IS_QUARANTINED = "SELECT 1 FROM quarantine WHERE callback = ?"
CALLBACKS_OF = (
    f"SELECT callback FROM events WHERE position IN {CHOSEN} AND callback IS NOT NULL"
    f" UNION SELECT callback FROM copies WHERE position IN {CHOSEN}"
)


class Found(NamedTuple):
    """What of the log is a person's."""

    events: list[int]
    callbacks: set[int]
    """Those that brought these events or repeated them."""
    notices: list[int]
    """Notices of ours that name the number."""
    quarantined: list[int]
    """Callbacks in quarantine that name it."""
    naming: set[int]
    """Callbacks of other people's events that name it."""


def find(task: Task) -> Found:
    """Look at all events, then at all callbacks."""
    found = Found([], set(), [], [], set())
    _events(task, found)
    for some in batches(found.events):
        found.callbacks.update(callbacks_of(task.at, some))
    _callbacks(task, found)
    return found


def callbacks_of(at: Connections, some: Sequence[int]) -> list[int]:
    """The callbacks that brought these events or repeated them."""
    return [row[0] for row in at.log.execute(CALLBACKS_OF, (chosen(some), chosen(some)))]


def _events(task: Task, found: Found) -> None:
    end, after = task.at.end(), 0
    while some := task.at.log.execute(EVENTS, (after, CHUNK)).fetchall():
        for position, kind, originator, recipient, data, callback in some:
            match whose(task.written, kind, originator, recipient, data):
                case "theirs":
                    found.events.append(position)
                case "notice":
                    found.notices.append(position)
                case "others":
                    found.naming.add(callback)
        after = some[-1][0]
        task.go_on("events read", min(after, end), end)


def _callbacks(task: Task, found: Found) -> None:
    end, after = int(task.at.log.execute(NEWEST_CALLBACK).fetchone()[0]), 0
    while some := task.at.log.execute(CALLBACKS, (after, CHUNK)).fetchall():
        for number, query, body in some:
            if number in found.callbacks or not (task.written.is_in(query) or task.written.is_in(body)):
                continue
            if task.at.log.execute(IS_QUARANTINED, (number,)).fetchone():
                found.quarantined.append(number)
            else:
                found.naming.add(number)
        after = some[-1][0]
        task.go_on("callbacks read", min(after, end), end)
