"""What people do to dispatches: make due, cancel, replay, forget, rename. Jobs for a desk, inside its transaction."""

from collections.abc import Sequence

from receiver.store.sqlite.desk import Connections
from receiver.store.sqlite.lanes import add
from receiver.store.sqlite.looking import exceptions_where
from receiver.store.views import DispatchSelector, StoredEvent

OWNED = ("claims", "exceptions", "packed_attempts", "attempts", "lanes")  # tables with a handler in each row
REVIVE = (
    "UPDATE exceptions SET state = 'again', attempts = 0, interruptions = 0, probes = 0, target = 0, due_at = 0,"
    " died_at = NULL, owner = NULL WHERE "
)
REPLAY = (
    "INSERT INTO exceptions (handler, position, replay, state, thread, reason)"
    " SELECT ?1, ?2, 1 + max("
    " (SELECT coalesce(max(replay), 0) FROM exceptions WHERE handler = ?1 AND position = ?2),"
    " (SELECT coalesce(max(replay), 0) FROM attempts WHERE handler = ?1 AND position = ?2)), 'again', ?3, 'replay'"
)


def requeue(at: Connections, selector: DispatchSelector) -> int:
    """Due now. A dead one begins anew; one that was interrupted stays so."""
    where, arguments = exceptions_where(selector)
    if selector.state == "pending":
        return at.dispatch.execute(f"UPDATE exceptions SET due_at = 0 WHERE {where}", arguments).rowcount
    bury(at, where, arguments, cancelled=False)
    return at.dispatch.execute(f"{REVIVE}{where}", arguments).rowcount


def cancel(at: Connections, selector: DispatchSelector) -> int:
    """Dead letters that nobody will ask for again."""
    where, arguments = exceptions_where(selector)
    bury(at, where, arguments, cancelled=True)
    return at.dispatch.execute(f"UPDATE exceptions SET state = 'cancelled' WHERE {where}", arguments).rowcount


def bury(at: Connections, where: str, arguments: Sequence[object], *, cancelled: bool) -> None:
    """Take dead letters out of the counters, before they are."""
    found = at.dispatch.execute(f"SELECT handler, count(*) FROM exceptions WHERE {where} GROUP BY handler", arguments)
    for handler, count in found.fetchall():
        add(at, handler, dead=-count, cancelled=count if cancelled else 0)


def replay(at: Connections, handler: str, events: Sequence[StoredEvent]) -> int:
    """Owe these events to a handler once more."""
    at.dispatch.executemany(REPLAY, [(handler, stored.cursor, stored.event.thread) for stored in events])
    add(at, handler, replays=len(events))
    return len(events)


def forget(at: Connections, handler: str) -> bool:
    """Drop all that is known of a handler."""
    counts = [at.dispatch.execute(f"DELETE FROM {table} WHERE handler = ?", (handler,)).rowcount for table in OWNED]
    return counts[-1] > 0


def rename(at: Connections, old: str, new: str) -> bool:
    """Give all that is known of a handler to another name."""
    known = {row[0] for row in at.dispatch.execute("SELECT handler FROM lanes")}
    if old not in known or new in known:
        return False
    for table in OWNED:
        at.dispatch.execute(f"UPDATE {table} SET handler = ? WHERE handler = ?", (new, old))
    return True
