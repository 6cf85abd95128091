"""The lines a worker and its parent speak: one JSON object each, over a socket pair."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from pydantic_core import from_json, to_json

from receiver.events import Event, event_from
from receiver.handler import Attempt


def line(**facts: Any) -> bytes:
    """One line with these facts; durations become seconds."""
    return to_json(facts, timedelta_mode="float") + b"\n"


def call(number: int, attempt: Attempt, events: Sequence[Event]) -> bytes:
    """The line that gives a worker events; each travels in its CloudEvents form."""
    facts = {name: getattr(attempt, name) for name in _ATTEMPT}
    head = to_json({"call": number, "attempt": facts})[:-1]
    return head + b',"events":[' + b",".join(event.to_json() for event in events) + b"]}\n"


def called(said: dict[str, Any]) -> tuple[Attempt, list[Event]]:
    """What a line of `call` says."""
    facts = said["attempt"]
    times = {name: datetime.fromisoformat(facts[name]) for name in ("deadline", "first_at")}
    return Attempt(**{**facts, **times}), [event_from(event) for event in said["events"]]


_ATTEMPT = ("number", "of", "handler", "dispatch_id", "replay", "deadline", "first_at")


class Lines(asyncio.Protocol):
    """Cuts a stream into lines and hands on what each says."""

    def __init__(self, read: Callable[[dict[str, Any]], None], lost: Callable[[], None]) -> None:
        self._read, self._lost = read, lost
        self._rest = bytearray()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self._rest += data
        if b"\n" not in data:
            return
        *lines, rest = self._rest.split(b"\n")
        self._rest = bytearray(rest)
        for each in lines:
            self._read(from_json(each))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        self._lost()

    def write(self, text: bytes) -> None:
        """Send a line; nothing happens where the other end is gone."""
        if self.transport and not self.transport.is_closing():
            self.transport.write(text)
