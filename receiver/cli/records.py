"""Events, callbacks and dispatches as records: JSON objects with times in UTC, requests as they came, CSV rows."""

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from receiver.callback import Callback
from receiver.cli import show
from receiver.events import Event, micros, stamp
from receiver.hiding import hide
from receiver.store.views import DispatchLine, EventTrace, HandlerStats, KeptCallback, Quarantined, SourceStats

COLUMNS = (
    *("received_at", "kind", "source", "id", "message_id", "reference", "originator", "recipient", "status", "reason"),
    *("error_code", "text", "opt_out", "submitted_at", "sent_at", "occurred_at", "channel", "mccmnc", "country"),
    *("simulated", "notes"),
)
"""Of `events --csv`."""
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for the beginning of a formula (OWASP)


def envelope(event: Event, *, mask: bool) -> dict[str, Any]:
    """The event's CloudEvents object; with `mask` the people in it are hidden."""
    written: dict[str, Any] = json.loads(event.to_json())
    return {**written, "data": show.masked(written["data"])} if mask else written


def cells(event: Event, *, mask: bool) -> list[str]:
    """A row of CSV. What a spreadsheet would run has an apostrophe in front."""
    facts = show.masked(event.data) if mask else event.data
    return [_cell(event.id if column == "id" else facts.get(column)) for column in COLUMNS]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    text = show.safe(" ".join(value) if isinstance(value, list) else "" if value is None else value)
    return f"'{text}" if text.startswith(FORMULAS) else text


def dead(line: DispatchLine) -> dict[str, Any]:
    """A dead letter."""
    return {
        "dispatch": line.id,
        "handler": line.handler,
        "event": line.event,
        "attempts": line.attempts,
        "died_at": stamp(line.died_at),
        "reason": line.reason,
    }


def pending(line: DispatchLine) -> dict[str, Any]:
    """A dispatch that waits; `due_at` null: as soon as the handler comes to it."""
    return {
        "dispatch": line.id,
        "handler": line.handler,
        "event": line.event,
        "attempts": line.attempts,
        "received_at": line.received_at and micros(line.received_at),
        "due_at": stamp(line.due_at),
        "reason": line.reason,
    }


def quarantined(kept: Quarantined) -> dict[str, Any]:
    """A callback that could not be read."""
    callback = kept.callback
    return {
        "id": kept.id,
        "source": callback.source,
        "endpoint": callback.endpoint,
        "received_at": micros(callback.received_at),
        "reason": kept.reason,
        "bytes": len(callback.query) + len(callback.body),
    }


def handler(one: HandlerStats) -> dict[str, Any]:
    """The counters of a handler."""
    return {
        "handler": one.handler,
        "state": one.state,
        "received": one.received,
        "done": one.done,
        "filtered": one.filtered,
        "cancelled": one.cancelled,
        "pending": one.pending,
        "running": one.running,
        "dead": one.dead,
        "oldest_pending_at": one.oldest_pending_at and micros(one.oldest_pending_at),
    }


def source(one: SourceStats) -> dict[str, Any]:
    """The counters of a source."""
    return {
        "source": one.source,
        "stored": one.stored,
        "duplicates": one.duplicates,
        "quarantined": one.quarantined,
        "refused": one.refused,
        "simulated": one.simulated,
        "last_at": one.last_at and micros(one.last_at),
    }


def traced(known: EventTrace, *, current: bool, mask: bool) -> dict[str, Any]:
    """All that is known of one event, times in UTC."""
    return {
        "event": envelope(known.event, mask=mask),
        "current": current,
        "copies": sum(kept.copy for kept in known.callbacks),
        "callbacks": [_callback(kept, mask=mask) for kept in known.callbacks],
        "dispatches": [_dispatch(line, known.event, mask=mask) for line in known.dispatches],
    }


def _callback(kept: KeptCallback, *, mask: bool) -> dict[str, Any]:
    callback = kept.callback
    facts = {
        "received_at": micros(callback.received_at),
        "source": callback.source,
        "endpoint": callback.endpoint,
        "method": callback.method,
        "copy": kept.copy,
        "outcome": kept.outcome,
        "answered": kept.fate,
    }
    if mask:
        return facts
    query = {"query": callback.query.decode("ascii", "backslashreplace"), "content_type": callback.content_type}
    return facts | query | _body(callback.body)


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def _dispatch(line: DispatchLine, event: Event, *, mask: bool) -> dict[str, Any]:
    def said(answer: str) -> str:
        return hide(answer, event) if mask else answer

    return {
        "dispatch": line.id,
        "handler": line.handler,
        "state": line.state,
        "replay": line.replay,
        "due_at": stamp(line.due_at),
        "died_at": stamp(line.died_at),
        "reason": said(line.reason),
        "attempts": [
            {
                "number": attempt.number,
                "at": stamp(attempt.began_at),
                "took_ms": round(attempt.took / timedelta(milliseconds=1), 3),
                "verdict": attempt.verdict,
                "answer": said(attempt.answer),
            }
            for attempt in line.lines
        ],
    }


def request(callback: Callback) -> Iterator[str]:
    r"""A callback as it came, line by line; bytes that are no text, and what a terminal would obey, as `\x..`.

    The secret of its path is missing: it is never stored.
    """
    query = f"?{show.safe(callback.query.decode('utf-8', 'backslashreplace'))}" if callback.query else ""
    yield f"{callback.method} /in/{callback.source}/{callback.endpoint}{query}"
    if callback.content_type:
        yield f"Content-Type: {show.safe(callback.content_type)}"
    if callback.body:
        yield ""
        for written in callback.body.decode("utf-8", "backslashreplace").split("\n"):
            yield show.safe(written)
