"""What became of a message: its events put together, the verdict in words, its life in order of time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from receiver import numbers, units
from receiver.cli import show
from receiver.events import DeliveryReport, Event, InboundMessage, Notice, Status
from receiver.hiding import hide
from receiver.store.views import DispatchLine, EventTrace, HandlerStats, StoredEvent

# The word a verdict begins with, and what leads to the recipient.
VERDICTS = {
    Status.SCHEDULED: "SCHEDULED for",
    Status.QUEUED: "QUEUED at the provider for",
    Status.SENT: "SENT, but not yet delivered, to",
    Status.BUFFERED: "BUFFERED (the phone is off or out of reach, the network keeps trying) for",
    Status.EXPIRED: "EXPIRED on the way to",
    Status.REJECTED: "REJECTED before it reached",
    Status.CANCELLED: "CANCELLED on the way to",
    Status.FAILED: "FAILED to reach",
    Status.DELIVERED: "DELIVERED to",
    Status.READ: "READ by",
    Status.UNKNOWN: "UNKNOWN what became of the message to",
}


class Step(NamedTuple):
    """Something that happened in the life of a message."""

    at: datetime
    word: str
    text: str


@dataclass(slots=True)
class Message:
    """The events of one message: all reports about it, or one inbound message, or one notice."""

    events: list[StoredEvent]

    @property
    def current(self) -> StoredEvent:
        """The one that counts: the highest rank, then the later time."""
        return max(self.events, key=_weight)

    @property
    def names(self) -> list[str]:
        """By what people can ask for it, the handiest first; the last one is its own alone."""
        event = self.current.event
        return [name for name in (event.reference, event.message_id, event.id) if name]


def messages(found: Iterable[StoredEvent]) -> list[Message]:
    """Events put together to messages; what something happened to last comes last."""
    groups: dict[object, list[StoredEvent]] = {}
    for stored in found:
        key = group(stored.event)
        groups[key] = [*groups.pop(key, []), stored]
    return [Message(events) for events in groups.values()]


def group(event: Event) -> object:
    """What the reports about one message have in common."""
    if isinstance(event, DeliveryReport) and (event.message_id or event.reference):
        named = ("id", event.message_id) if event.message_id else ("reference", event.reference)
        return (event.source, *named, event.recipient)
    return event.id


def _weight(stored: StoredEvent) -> tuple[int, datetime]:
    event = stored.event
    rank = event.rank if isinstance(event, DeliveryReport) else 0
    return rank, event.occurred_at or event.received_at


class Teller:
    """Puts a message into words. `mask` hides numbers and texts."""

    def __init__(self, now: datetime, *, mask: bool = False, handlers: Iterable[HandlerStats] = ()) -> None:
        self.now, self.mask = now, mask
        self.handlers = {one.handler: one for one in handlers}

    def verdict(self, known: EventTrace) -> str:
        """The answer in one line: what the status is, since when, and who has been told."""
        event = known.event
        simulated = " (simulated)" if event.simulated else ""
        return f"{self._what(event)}{simulated}; {self._told(known.dispatches, event)}"

    def life(self, known: Sequence[EventTrace]) -> list[Step]:
        """Everything that happened, in order of time; what several reports say of it, once."""
        steps = dict.fromkeys(step for one in known for step in self._steps(one))
        return sorted(steps, key=lambda step: step.at)

    def _what(self, event: Event) -> str:
        if isinstance(event, DeliveryReport):
            return self._report(event)
        if isinstance(event, InboundMessage):
            asks = ", asks not to be written to" if event.opt_out else ""
            text = show.hidden(event.text) if self.mask else f'"{show.safe(event.text)}"'
            people = f"from {self._number(event.originator)} to {self._number(event.recipient)}"
            return f"RECEIVED {text} {people} {self._when(event)}{asks}"
        assert isinstance(event, Notice)
        over = "over" if event.state == "closed" else event.level
        return (
            f"NOTICE {event.notice} about {event.about} ({over}) {self._when(event)}: {self._answer(event.text, event)}"
        )

    def _report(self, event: DeliveryReport) -> str:
        person = self._number(event.recipient) if event.recipient else f"the recipient of {show.safe(event.reference)}"
        reason = f" ({event.reason})" if event.reason else ""
        took = show.took(event)
        after = f", {took} after it was submitted" if took else ""
        return f"{VERDICTS[event.status]} {person} {self._when(event)}{reason}{after}"

    def _when(self, event: Event) -> str:
        at = show.when(event.occurred_at or event.received_at, self.now)
        return at if event.occurred_at else f"(the provider names no time; received {at})"

    def _told(self, dispatches: Sequence[DispatchLine], event: Event) -> str:
        """Which handlers have it, wait for it, have given it up."""
        states = _by_handler(dispatches)
        said = []
        if told := [name for name, line in states.items() if line.state == "done"]:
            said.append(f"{show.listed(told)} {'has' if len(told) == 1 else 'have'} been told")
        for name, line in states.items():
            if line.state == "pending":
                said.append(f"{name} waits to be told{self._next(line)}")
            elif line.state == "running":
                said.append(f"{name} is being told")
            elif line.state in ("dead", "cancelled"):
                said.append(f"{name} has not been told ({_GAVE_UP[line.state]}: {self._answer(line.reason, event)})")
        if said:
            return ", ".join(said)
        return "no handler wanted it" if states else "no handler was there to be told"

    def _next(self, line: DispatchLine) -> str:
        handler = self.handlers.get(line.handler)
        if handler and handler.state == "paused":
            return f" (it is paused: receiver handlers resume {line.handler})"
        if handler and handler.state == "held":
            return f" (it is down: {self._answer(handler.standing.reason)})"
        if handler and handler.state == "absent":
            return " (it is not configured any more)"
        if line.attempts and line.due_at and line.due_at > self.now:
            tries = show.count(line.attempts, "try", "tries")
            return f" (after {tries}; again {show.when(line.due_at, self.now)})"
        return ""

    def _steps(self, known: EventTrace) -> Iterator[Step]:
        event = known.event
        if isinstance(event, DeliveryReport):
            yield from self._way(event)
        elif isinstance(event, InboundMessage) and event.occurred_at:
            yield Step(event.occurred_at, "written", f"by {event.source}'s clock")
        yield from self._callbacks(known)
        for line in known.dispatches:
            yield from self._dispatch(line, event)

    def _way(self, event: DeliveryReport) -> Iterator[Step]:
        """The provider's clock: from the submission to what the report says."""
        if event.submitted_at:
            yield Step(event.submitted_at, "submitted", f"by {event.source}'s clock")
        if event.sent_at:
            network = f" {show.safe(event.mccmnc)}" if event.mccmnc else ""
            yield Step(event.sent_at, "sent", f"to the network{network}")
        if event.occurred_at:
            reason = f"{event.reason}, " if event.reason else ""
            code = f", error {show.safe(event.error_code)}" if event.error_code else ""
            text = f"{reason}{event.source} says {show.safe(event.status_raw or '–')}{code}"
            yield Step(event.occurred_at, event.status.value, text)

    def _callbacks(self, known: EventTrace) -> Iterator[Step]:
        event = known.event
        what = {"dlr": "report", "mo": "message"}.get(event.kind, event.kind)
        notes = f", {', '.join(event.notes)}" if event.notes else ""
        if event.suspected_duplicate_of:
            notes += f", perhaps a duplicate of {event.suspected_duplicate_of}"
        fate = next((_FATES[kept.fate] for kept in known.callbacks if kept.fate and kept.fate in _FATES), "")
        yield Step(event.received_at, "received", f"{what} {event.id}{fate}{show.safe(notes)}")
        for kept in known.callbacks:
            if kept.copy:
                yield Step(kept.callback.received_at, "again", f"the same {what}: counted, not handed on")

    def _dispatch(self, line: DispatchLine, event: Event) -> Iterator[Step]:
        arrow = f"→ {line.handler}"
        title = f"replay {line.replay}, " if line.replay else ""
        for attempt in line.lines:
            words = " ".join(filter(None, (attempt.verdict, f"in {units.words(attempt.took)}")))
            answer = self._answer(attempt.answer, event)
            said = f": {answer}" if answer else ""
            yield Step(attempt.began_at, arrow, f"{title}try {attempt.number} {words}{said}")
        last = line.lines[-1].began_at if line.lines else event.received_at
        if line.state == "pending":
            yield Step(line.due_at or last, arrow, f"{title}waits{self._next(line)}")
        elif line.state in ("dead", "cancelled"):
            died = line.died_at or last
            yield Step(died, arrow, f"{title}{_GAVE_UP[line.state]}, {line.id}: {self._answer(line.reason, event)}")
        elif line.state == "filtered":
            yield Step(last, arrow, f"{title}not for this handler")
        elif not line.lines:
            yield Step(last, arrow, f"{title}{'runs now' if line.state == 'running' else line.state}")

    def _number(self, number: str | None) -> str:
        return show.safe(numbers.mask(number) if self.mask else number or "an unknown number")

    def _answer(self, text: str, *about: Event) -> str:
        return show.safe(hide(text, *about) if self.mask else text)


_FATES = {"unanswered": ", our answer did not get out", "unknown": ", whether our answer got out is not known"}
_GAVE_UP = {"dead": "dead letter", "cancelled": "given up"}


def _by_handler(dispatches: Iterable[DispatchLine]) -> dict[str, DispatchLine]:
    """What counts of each handler's dispatches: one that is done, else the last replay."""
    states: dict[str, DispatchLine] = {}
    for line in dispatches:
        known = states.get(line.handler)
        if known is None or known.state != "done":
            states[line.handler] = line
    return states
