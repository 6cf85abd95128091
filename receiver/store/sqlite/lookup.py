"""Finding events by id, message id, reference or number: sorted runs of terms, built behind the log."""

from collections.abc import Iterable, Sequence

from receiver import numbers
from receiver.store import rows
from receiver.store.sqlite.desk import Connections
from receiver.store.views import Selector, StoredEvent

RUN = 16_384  # events in a run; the newest ones, not yet in a run, are scanned
LEADING = 5  # bits that the terms of a part of a run have in common; parts are sorted and written one by one
LONGEST_NUMBER = 32  # characters as people write one; each term costs a look into every run
MOST_FOUND = 10_000  # events looked at for one key

IN_RUNS = "SELECT l.position FROM runs r CROSS JOIN lookups l ON l.run = r.run AND l.term = ? WHERE r.ready LIMIT ?"
INDEXED = "SELECT coalesce(max(last), 0) FROM runs WHERE ready"
TAIL = (
    f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position > ?1 AND (message_id = ?2 OR reference = ?2 OR id = ?3"
    " OR substr(originator, ?5) = ?4 OR substr(recipient, ?5) = ?4) ORDER BY position LIMIT ?6"
)
FACTS = "SELECT position, id, message_id, reference, originator, recipient FROM events WHERE position BETWEEN ? AND ?"


def find(at: Connections, key: str) -> list[StoredEvent]:
    """The events a person means by a key, in the order of the log."""
    phone = numbers.digits(key)[-rows.NUMBER_TAIL :]
    identity = key.lower().replace("-", "")
    is_id = len(identity) == 32 and all(letter in "0123456789abcdef" for letter in identity)
    terms = [rows.term("m", key), rows.term("r", key)]
    if len(key) <= LONGEST_NUMBER:
        terms.append(rows.term("n", phone))
    if is_id:
        terms.append(rows.term("i", identity))
    positions = {row[0] for term in terms for row in at.dispatch.execute(IN_RUNS, (term, MOST_FOUND))}
    found = [stored for position in sorted(positions) for stored in event_at(at, position)]
    raw = bytes.fromhex(identity) if is_id else b""
    indexed = at.dispatch.execute(INDEXED).fetchone()[0]
    tail = at.log.execute(TAIL, (indexed, key, raw, phone, -rows.NUMBER_TAIL, MOST_FOUND))
    found += [rows.event_from(row) for row in tail]
    return [stored for stored in found if rows.is_meant(stored.event, key)]


def term_of(selector: Selector) -> int | None:
    """The term that narrows a selector down best; None where it names no message and no number."""
    if selector.message:
        return rows.term("m", selector.message)
    if selector.reference:
        return rows.term("r", selector.reference)
    if selector.number:
        return rows.term("n", numbers.digits(selector.number)[-rows.NUMBER_TAIL :])
    return None


def in_runs(at: Connections, term: int) -> tuple[list[int], int]:
    """The positions that the runs hold for a term, in order, and the last position that is in a run."""
    indexed = int(at.dispatch.execute(INDEXED).fetchone()[0])
    return sorted({row[0] for row in at.dispatch.execute(IN_RUNS, (term, -1))}), indexed


def event_at(at: Connections, position: int) -> list[StoredEvent]:
    """The event at a position, or none."""
    found = at.log.execute(f"SELECT {rows.EVENT_COLUMNS} FROM events WHERE position = ?", (position,))
    return [rows.event_from(row) for row in found]


def next_run(at: Connections) -> tuple[int, int] | None:
    """The first and last position of the run that can be built; None where the log has not grown enough."""
    last = at.dispatch.execute("SELECT max(last) FROM runs WHERE ready").fetchone()[0]
    first = last + 1 if last else at.log.execute("SELECT coalesce(min(position), 1) FROM events").fetchone()[0]
    return (first, first + RUN - 1) if at.end() >= first + RUN - 1 else None


def begin(at: Connections, first: int, last: int) -> int:
    """A new run's number; what a run that was never finished left is removed."""
    at.dispatch.execute("DELETE FROM lookups WHERE run IN (SELECT run FROM runs WHERE NOT ready)")
    at.dispatch.execute("DELETE FROM runs WHERE NOT ready")
    cursor = at.dispatch.execute("INSERT INTO runs (first, last, ready) VALUES (?, ?, 0)", (first, last))
    return int(cursor.lastrowid or 0)


def terms(at: Connections, first: int, last: int) -> list[tuple[int, int]]:
    """(term, position) of a range of events."""
    return [
        (term, position)
        for position, raw, message, reference, originator, recipient in at.log.execute(FACTS, (first, last))
        for term in rows.terms_of(raw, message, reference, originator, recipient)
    ]


def parts() -> list[list[tuple[int, int]]]:
    """The empty parts of a run, in the order of their terms."""
    return [[] for _ in range(1 << LEADING)]


def share_out(pairs: Iterable[tuple[int, int]], among: Sequence[list[tuple[int, int]]]) -> None:
    """Put each pair into its part; terms are signed integers of 64 bits."""
    shift, middle = 64 - LEADING, len(among) // 2
    for pair in pairs:
        among[(pair[0] >> shift) + middle].append(pair)


def write(at: Connections, run: int, part: Iterable[tuple[int, int]]) -> None:
    """A part of a run, in its order: so the tree grows at its end."""
    at.dispatch.executemany("INSERT OR IGNORE INTO lookups VALUES (?, ?, ?)", [(run, *pair) for pair in sorted(part)])


def finish(at: Connections, run: int) -> None:
    """From now on the run is used."""
    at.dispatch.execute("UPDATE runs SET ready = 1 WHERE run = ?", (run,))
