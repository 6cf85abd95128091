"""Rows of the log: events and callbacks to columns and back, unique keys, ids, and the terms they are found by."""

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from receiver import numbers
from receiver.callback import Callback
from receiver.events import DeliveryReport, Event, Identity, event_of
from receiver.store.views import StoredEvent

EVENT_COLUMNS = "position, kind, id, data"
EVENT_ROW = (
    "position, key, id, callback, kind, source, received_at, occurred_at, message_id, reference, originator, recipient,"
    " status, rank, simulated, data"
)
CALLBACK_COLUMNS = "number, received_at, source, endpoint, method, query, content_type, body, outcome, simulated"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# A key that is led by its own time lands in the newest leaves of the index; a time this far away is none.
TIMED_KEY_WINDOW = 14 * 86_400  # seconds
# Providers repeat for a week at most: nearer than this a repeat cannot have come from beyond the window.
SETTLED_KEY_WINDOW = 7 * 86_400
UNTIMED = b"\xff"
NUMBER_TAIL = 8  # digits of a number that are in its term: 0612345678 and +31612345678 share it


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


_micros_of = lru_cache(maxsize=1024)(to_micros)  # of providers' times, which come in crowds


def from_micros(count: int) -> datetime:
    """The aware UTC time of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=count)


def maybe(count: int | None) -> datetime | None:
    """The same for a column that may be null."""
    return None if count is None else from_micros(count)


def new_id(received: int) -> str:
    """A UUIDv7 (RFC 9562 5.7) for a time in microseconds. It names an event and guards nothing, so ordinary randomness
    will do."""
    chance = random.getrandbits(74)
    high = (received // 1000 << 16 | 0x7000 | chance >> 62) & (1 << 64) - 1
    text = f"{high << 64 | 1 << 63 | chance & (1 << 62) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def id_bytes(id: str) -> bytes:
    """The 16 bytes of a UUID in text."""
    return bytes.fromhex(id.replace("-", ""))


def id_text(raw: bytes) -> str:
    """A UUID in text."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


class Key(NamedTuple):
    """A unique key, and the other one that the same identity may have been stored under."""

    key: bytes
    other: bytes | None = None


def key_of(source: str, identity: Identity, received: int) -> Key | None:
    """The unique key of an event with a certain identity: led by the provider's time where that is near.

    `received` in microseconds since 1970.
    """
    if not identity.certain or not identity.values:
        return None
    at = identity.at
    if at is None:
        return Key(UNTIMED + _digest(source, identity, 15))
    seconds, lead = _lead(at)
    timed = lead + _digest(source, identity, 11)
    away = abs(seconds - received // 1_000_000)
    if away < SETTLED_KEY_WINDOW:
        return Key(timed)
    untimed = UNTIMED + _digest(source, identity, 15)
    return Key(timed, untimed) if away <= TIMED_KEY_WINDOW else Key(untimed, timed)


@lru_cache(maxsize=1024)  # reports come in crowds
def _lead(at: datetime) -> tuple[int, bytes]:
    """The seconds since 1970 of a provider's time, and how a key begins with them."""
    seconds = max(int(at.timestamp()), 0)
    return seconds, seconds.to_bytes(5, "big")


def digest_of(source: str, identity: Identity) -> bytes | None:
    """What stands for the content of a callback without a certain identity."""
    if identity.certain or not identity.values:
        return None
    return _digest(source, identity, 16)


def _digest(source: str, identity: Identity, size: int) -> bytes:
    return blake2b("\x00".join((source, *identity.values)).encode("utf-8", "replace"), digest_size=size).digest()


def hashed(text: str) -> bytes:
    """16 bytes that stand for a text of any length."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def event_row(position: int, key: bytes | None, callback: int | None, event: Event, received: int) -> tuple[Any, ...]:
    """The columns of EVENT_ROW; `received` is the event's `received_at` in microseconds since 1970."""
    status, rank = (event.status._value_, event.rank) if isinstance(event, DeliveryReport) else (None, None)
    return (
        position,
        key,
        id_bytes(event.id),
        callback,
        event.kind,
        event.source,
        received,
        event.occurred_at and _micros_of(event.occurred_at),
        event.message_id,
        event.reference,
        event.originator and numbers.digits(event.originator),
        event.recipient and numbers.digits(event.recipient),
        status,
        rank,
        event.simulated,
        event.json_data().decode(),
    )


def callback_row(number: int, callback: Callback, outcome: str, received: int) -> tuple[Any, ...]:
    """The columns of CALLBACK_COLUMNS; `received` as above."""
    return (
        number,
        received,
        callback.source,
        callback.endpoint,
        callback.method,
        callback.query,
        callback.content_type,
        callback.body,
        outcome,
        callback.simulated,
    )


def callback_from(row: Sequence[Any]) -> Callback:
    """The callback of CALLBACK_COLUMNS."""
    return Callback(
        received_at=from_micros(row[1]),
        source=row[2],
        endpoint=row[3],
        method=row[4],
        query=row[5],
        content_type=row[6],
        body=row[7],
        simulated=bool(row[9]),
    )


def event_from(row: Sequence[Any]) -> StoredEvent:
    """The event of EVENT_COLUMNS; its cursor is what comes first."""
    cursor, kind, raw, data = row
    return StoredEvent(event_of(kind, id_text(raw), data.encode()), cursor)


def term(kind: str, text: str) -> int:
    """What an event is found by: a hash of `i` id, `m` message id, `r` reference or `n` number, as a signed integer."""
    return int.from_bytes(blake2b(f"{kind}{text}".encode(), digest_size=8).digest(), "big", signed=True)


def terms_of(id: bytes, message_id: str | None, reference: str | None, *phones: str | None) -> Iterator[int]:
    """All terms of an event."""
    yield term("i", id.hex())
    if message_id:
        yield term("m", message_id)
    if reference:
        yield term("r", reference)
    for phone in {number[-NUMBER_TAIL:] for number in phones if number}:
        yield term("n", phone)


def is_meant(event: Event, key: str) -> bool:
    """Whether a person who writes `key` means this event."""
    if key in (event.message_id, event.reference) or key.lower() == event.id:
        return True
    wanted = numbers.digits(key)
    return any(_same_number(wanted, number) for number in (event.originator, event.recipient) if number)


def _same_number(wanted: str, number: str) -> bool:
    """Equal by digits, or the national form (0612345678) of an international number."""
    have = numbers.digits(number)
    national = wanted.startswith("0") and len(wanted) > NUMBER_TAIL and number.startswith("+")
    return have == wanted or (national and have.endswith(wanted[1:]))
