"""The work of `handlers test`: one event straight to a handler in this process, and what it says of it."""

import asyncio
import os
import sys
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from receiver import logs, units
from receiver.cli import opening, records, show
from receiver.config import Settings, handler_settings
from receiver.dispatch import filters
from receiver.dispatch.hands import InProcess
from receiver.events import MEANINGS, DeliveryReport, Event, InboundMessage, Notice, Reason, Status
from receiver.handler import Attempt, HandlerSettings
from receiver.perform import Result
from receiver.plugins import did_you_mean

if TYPE_CHECKING:
    from receiver.store.base import Store

NUMBER = "+31612345678"
KINDS = {"dlr": "delivery report", "mo": "inbound message", "notice": "notice"}
WORDS = {
    "done": "done",
    "again": "would be tried again",
    "unavailable": "its target does not answer",
    "discard": "would be a dead letter",
    "pause": "the handler would be paused",
}


class Tried(NamedTuple):
    """What came of it."""

    event: Event
    result: Result
    took: timedelta


def run(loaded: Settings, name: str, event_id: str | None, *, as_json: bool) -> int:
    """Try a handler and print what came of it; 0 where it took the event."""
    if name not in loaded.handlers:
        known = ", ".join(loaded.handlers) or "none"
        raise opening.Refused(f'no handler "{name}"; configured: {known}{did_you_mean(name, loaded.handlers)}')
    logs.configure(loaded.log.format, reveal=loaded.log.reveal)
    handler_class, settings = handler_settings(loaded, name, secrets=True)
    stored = opening.run(loaded, lambda store: _stored(store, event_id)) if event_id else None
    event = stored or made_up(loaded, settings)
    if not as_json:
        kind = KINDS[event.kind]
        what = f"stored {kind} {event.id}" if stored else f"made-up {kind} (simulated, not stored)"
        show.line(f"{name} ({settings.use})   {what}")
    hands = InProcess(handler_class(name, settings, structlog.get_logger(handler=name)))
    tried = asyncio.run(_try(hands, name, event))
    _tell(tried, as_json=as_json)
    if not filters.matches(settings, event, handler=name):
        show.say("The filters of this handler would have kept this event away.")
    status = 0 if tried.result.verdict == "done" else 1
    if tried.took >= settings.timeout:
        _end(status)  # a plain handler that hangs has a thread, and that would keep this process from ending
    return status


def made_up(loaded: Settings, settings: HandlerSettings) -> Event:
    """An event as this handler would be given: of one of its kinds and statuses."""
    now = opening.now()
    source = next(iter(loaded.sources.values()), None)
    common: dict[str, Any] = {"id": str(uuid.uuid4()), "received_at": now, "simulated": True}
    kind = next((kind for kind in KINDS if kind in settings.kinds), "dlr")
    if kind == "notice":
        return Notice(notice="test", about="receiver", since=now, text="A made-up notice; all is well.", **common)
    common |= {"source": source.name if source else "test", "provider": source.provider if source else "test"}
    common["occurred_at"] = now - timedelta(seconds=2)
    if kind == "mo":
        people: dict[str, Any] = {"originator": NUMBER, "recipient": "3010", "recipients": ["3010"]}
        return InboundMessage(text="TEST by receiver handlers test", keyword="TEST", **people, **common)
    status = Status(settings.statuses[0] if settings.statuses else "delivered")
    return DeliveryReport(
        message_id=str(uuid.uuid4()),
        reference="receiver-test",
        recipient=NUMBER,
        status=status,
        reason=Reason.UNKNOWN if MEANINGS[status].outcome == "failure" else None,
        submitted_at=now - timedelta(seconds=6),
        **common,
    )


async def _stored(store: "Store", event_id: str) -> Event:
    found = [stored.event for stored in await store.find(event_id) if stored.event.id == event_id]
    if not found:
        raise opening.Refused(f"no event {event_id} is stored")
    return found[0]


async def _try(hands: InProcess, name: str, event: Event) -> Tried:
    await hands.start()
    stuck = asyncio.Event()
    hands.on_end = stuck.set
    now = opening.now()
    attempt = Attempt(
        number=1, of=1, handler=name, dispatch_id=f"{name}:test", deadline=now + hands.settings.timeout, first_at=now
    )
    began = time.perf_counter()
    call, gives_up = asyncio.ensure_future(hands.perform([event], attempt)), asyncio.ensure_future(stuck.wait())
    await asyncio.wait({call, gives_up}, return_when=asyncio.FIRST_COMPLETED)
    took = timedelta(seconds=time.perf_counter() - began)
    if not call.done():
        show.say(f"receiver: {hands.stuck}")
        _end(1)  # nothing else ends a call that ignores its cancellation
    gives_up.cancel()
    await hands.stop()
    return Tried(event, call.result()[0], took)


def _tell(tried: Tried, *, as_json: bool) -> None:
    result, took = tried.result, units.words(tried.took)
    if as_json:
        facts = {
            "verdict": result.verdict,
            "answer": result.answer,
            "took_ms": round(tried.took.total_seconds() * 1e3, 3),
        }
        show.json_line({**facts, "event": records.envelope(tried.event, mask=False)})
        return
    mark = show.paint("✓" if result.verdict == "done" else "✗")
    answer = f": {show.safe(result.answer)}" if result.answer else ""
    show.line(f"{mark} {WORDS.get(result.verdict, result.verdict)} ({took}){answer}")


def _end(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
