"""For tests of handlers: made-up events, and a handler that is given them just as the receiver would."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from receiver import dropin, plugins
from receiver.events import DeliveryReport, Event, InboundMessage, Notice, Reason, Status
from receiver.handler import Attempt, BaseHandler
from receiver.perform import Performer, Result

__all__ = ["Result", "events", "message", "notice", "report", "run"]

AT = datetime(2026, 3, 2, 10, 42, tzinfo=UTC)
"""When all made-up events were received."""
PHONE = "+31612345678"

_numbers = itertools.count(1)


def report(**fields: Any) -> DeliveryReport:
    """A delivery report: delivered, unless the fields say otherwise."""
    about = {"message_id": "made-up-1", "reference": "order-42", "recipient": PHONE, "status": Status.DELIVERED}
    return DeliveryReport(**(_common() | about | fields))


def message(text: str = "hello", **fields: Any) -> InboundMessage:
    """An inbound message from a phone to a short code."""
    about = {"originator": PHONE, "recipient": "3010", "recipients": ["3010"]}
    return InboundMessage(text=text, **(_common() | about | fields))


def notice(**fields: Any) -> Notice:
    """What the receiver has to say about itself: a handler that does not answer."""
    about: dict[str, Any] = {"notice": "handler_down", "about": "crm", "text": "crm has not answered since 10:42"}
    return Notice(**(about | {"id": _id(), "received_at": AT, "since": AT} | fields))


def events() -> list[Event]:
    """One of each sort that a handler meets sooner or later, the awkward ones among them."""
    return [
        report(),
        report(status=Status.FAILED, reason=Reason.UNREACHABLE),
        report(status=Status.UNKNOWN, message_id=None, reference=None, occurred_at=None),
        message(),
        message("STOP", keyword="STOP"),
        message("\N{GRINNING FACE}\n<b>=1+1\u202e"),
        message("", channel="mms", media=["https://media.example.com/1.jpg"]),
        notice(),
        notice(state="closed"),
    ]


async def run(handler: type[BaseHandler] | str | Path, *given: Event, attempt: int = 1, **keys: Any) -> list[Result]:
    """Open a handler, give it these events, close it: what the receiver would make of each.

    `handler` is a class, or the path of a drop-in file; `keys` are those of its [handlers.x] table. A handler of
    batches is given all at once, any other one after the other. A result has `verdict` ("done", "again",
    "unavailable", "discard" or "pause"), `answer` (the reason) and `after` (seconds). Raises ValidationError where a
    key is wrong, PluginFault where the file holds no handler, and what `open` raises.
    """
    found, name = _found(handler)
    context = {"secrets": True, "folder": Path.cwd()}
    settings = found.Settings.model_validate({"use": name, **keys}, context=context)
    opened = found(name, settings, structlog.get_logger(handler=name))
    performer = Performer(opened, settings.timeout)
    now = datetime.now(UTC)
    common: dict[str, Any] = {"of": len(settings.retries) + 1, "handler": name, "dispatch_id": f"{name}:1"}
    told = Attempt(number=attempt, deadline=now + settings.timeout, first_at=now, **common)
    calls: Sequence[Sequence[Event]] = [given] if performer.batched else [[event] for event in given]
    await opened.open()
    try:
        return [result for call in calls for result in await performer.perform(call, told)]
    finally:
        await opened.close()


def _found(handler: type[BaseHandler] | str | Path) -> tuple[type[BaseHandler], str]:
    if isinstance(handler, type):
        return dropin.threaded(handler), handler.__name__.lower()
    path = Path(handler).resolve()
    return plugins.handler_class(path.stem, path.parent), path.stem


def _common() -> dict[str, Any]:
    occurred_at = AT - timedelta(seconds=2)
    return {"id": _id(), "source": "test", "provider": "test", "received_at": AT, "occurred_at": occurred_at}


def _id() -> str:
    return f"0198c0de-0000-7000-8000-{next(_numbers):012d}"
