"""Where an event lies: a position in a stream; and the cursor of a reader, which no late commit can pass by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from receiver.events import Event
from receiver.store import rows
from receiver.store.views import StoredEvent

EVENT = "stream, position, at, kind, id, data"
"""What `event_from` takes."""
LONGEST_NUMBER = 18  # digits
END = 2**62
"""A time behind all others."""


class Place(NamedTuple):
    """Where an event lies."""

    stream: int
    position: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """An event's place, and how far a reader had come with it.

    It had seen each stream up to `floor`, and of what lies between that and `ends` all up to this event. What commits
    later has a position behind its stream's end, though its time may be an earlier one.
    """

    place: Place
    at: int
    """The time by which the log is ordered, in microseconds."""
    ends: Mapping[int, int] = field(default_factory=dict, compare=False)
    floor: Mapping[int, int] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> tuple[int, int, int]:
        """By which events of all streams are ordered."""
        return (self.at, *self.place)


NOTHING: Mapping[int, int] = MappingProxyType({})


def event_from(row: Any, ends: Mapping[int, int] = NOTHING, floor: Mapping[int, int] = NOTHING) -> StoredEvent:
    """The event of EVENT."""
    stream, position, at, kind, raw, data = row
    return rows.event_from((Cursor(Place(stream, position), at, ends, floor), kind, raw, data))


def thread_of(event: Event) -> bytes:
    """What stands for an event's thread: threads may be of any length."""
    return rows.hashed(event.thread)


def dispatch_id(handler: str, place: Place, replay: int) -> str:
    """`crm:7-4711`, the second replay of it `crm:7-4711.2`."""
    return f"{handler}:{place.stream}-{place.position}" + (f".{replay}" if replay else "")


def dispatch_key(name: str) -> tuple[str, int, int, int] | None:
    """The handler, stream, position and replay of such an id; None where it is none."""
    handler, _, rest = name.rpartition(":")
    where, _, replay = rest.partition(".")
    place, number = place_of(where), _number(replay or "0")
    return (handler, *place, number) if handler and place and number is not None else None


def place_of(text: str) -> Place | None:
    """The place written as `7-4711`; None where it is none."""
    stream, _, position = text.partition("-")
    found = _number(stream, 9), _number(position)
    return None if found[0] is None or found[1] is None else Place(found[0], found[1])


def _number(text: str, most: int = LONGEST_NUMBER) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= most else None
