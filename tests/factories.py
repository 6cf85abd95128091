"""Made-up callbacks and events with sensible defaults; a test names only what its law is about."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.callback import Callback
from receiver.events import DeliveryReport, Event, Identity, InboundMessage, Notice, Status

NOW = datetime(2026, 3, 2, 10, 42, 0, 123456, tzinfo=UTC)
"""When tests begin; nothing in a test reads the real clock."""

PHONE = "+31612345678"
SHORT_CODE = "3010"


def after(seconds: float = 0, **units: float) -> datetime:
    """A moment behind NOW: `after(3)`, `after(hours=2)`; before it with negative numbers."""
    return NOW + timedelta(seconds=seconds, **units)


def report(message_id: str | None = "m-1", **changes: Any) -> DeliveryReport:
    """A delivery report of spryng. Its identity follows from its values unless one is given."""
    values: dict[str, Any] = {
        "recipient": PHONE,
        "status": Status.DELIVERED,
        "reference": None,
        "occurred_at": after(-2),
    }
    made = DeliveryReport(message_id=message_id, **(_common() | values | changes))
    if "identity" not in changes:
        told = (made.message_id, made.reference, made.recipient, made.status.value, made.error_code)
        made.identity = Identity(_written(*told, made.occurred_at), at=made.occurred_at)
    return made


def reports(count: int, *, prefix: str = "m", **changes: Any) -> list[DeliveryReport]:
    """Reports of as many different messages, `m-1` to `m-<count>`."""
    return [report(f"{prefix}-{number}", **changes) for number in range(1, count + 1)]


def message(text: str = "OK", *, certain: bool = True, **changes: Any) -> InboundMessage:
    """An inbound message. With `certain` False it has neither id nor time: a retry cannot be told from a second one."""
    values: dict[str, Any] = {
        "originator": PHONE,
        "recipient": SHORT_CODE,
        "occurred_at": after(-1) if certain else None,
    }
    made = InboundMessage(text=text, **(_common() | values | changes))
    made.recipients = made.recipients or ([made.recipient] if made.recipient else [])
    if "identity" not in changes:
        told = (made.message_id, made.originator, made.recipient, made.text)
        made.identity = Identity(_written(*told, made.occurred_at), certain=certain, at=made.occurred_at)
    return made


def notice(name: str = "handler_down", about: str = "crm", **changes: Any) -> Notice:
    """Something the receiver says about itself; `state="closed"` ends it."""
    values: dict[str, Any] = {"received_at": NOW, "since": NOW, "text": f"{about} has not answered"}
    return Notice(notice=name, about=about, **(values | changes))


def callback(*events: Event, **changes: Any) -> Callback:
    """The request that could have brought these events; their source and time are its own."""
    values: dict[str, Any] = {"source": "spryng", "endpoint": "dlr", "method": "GET", "received_at": NOW}
    if events:
        first = events[0]
        values |= {"source": first.source, "received_at": first.received_at, "simulated": first.simulated}
        values |= {"endpoint": first.kind, "query": _query(events)}
    return Callback(**(values | changes))


def _common() -> dict[str, Any]:
    return {"source": "spryng", "provider": "spryng", "received_at": NOW, "raw": {"STATUS": "10"}}


def _written(*values: object) -> tuple[str, ...]:
    return tuple("" if value is None else str(value) for value in values)


def _query(events: Sequence[Event]) -> bytes:
    return "&".join(f"ID={event.message_id}&RECIPIENT={event.recipient}" for event in events).encode()
