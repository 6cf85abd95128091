"""BulkVS: messages and SMPP receipts on one webhook, as JSON in its own shape or in 3CX's, and its old API's GET."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from receiver import numbers
from receiver.callback import Callback, Reply
from receiver.errors import Unreadable
from receiver.events import DeliveryReport, Event, Identity, InboundMessage, Reason, Status, stamp
from receiver.providers import receipt, times, wire
from receiver.providers.base import OK, Endpoint, ProviderSettings

# `to[].status` of outbound messages in 3CX's envelope, which is Telnyx's: Telnyx docs, "Receiving webhooks".
STATUSES_3CX = {
    "scheduled": (Status.SCHEDULED, None),
    "queued": (Status.QUEUED, None),
    "sending": (Status.SENT, None),
    "sent": (Status.SENT, None),
    "delivered": (Status.DELIVERED, None),
    "cancelled": (Status.CANCELLED, Reason.UNKNOWN),
    "expired": (Status.EXPIRED, Reason.EXPIRED),
    "sending_failed": (Status.REJECTED, Reason.UNKNOWN),  # never left the provider
    "delivery_failed": (Status.FAILED, Reason.UNKNOWN),
    "delivery_unconfirmed": (Status.UNKNOWN, None),
}
FINAL_3CX = frozenset({"delivery_unconfirmed"})  # no report will follow, though what became of it is not known
OUTBOUND_3CX = frozenset({"message.sent", "message.finalized", "message.delivered", "message.failed"})


class BulkVSSettings(ProviderSettings):
    """Keys of a [sources.x] table with provider = "bulkvs"."""

    text_encoding: Literal["auto", "form", "plain"] = "auto"
    """How `Message` is written inside the JSON: form-encoded, plain, or decided text by text."""


class BulkVS:
    """Reads BulkVS's callbacks. Reports come to the same URL as messages and are told apart by what is in them."""

    name: ClassVar[str] = "bulkvs"
    summary: ClassVar[str] = "BulkVS: inbound SMS and MMS, and delivery reports (webhook methods POST and 3CX)"
    Settings: ClassVar[type[ProviderSettings]] = BulkVSSettings
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("POST", "webhook", "messages and delivery reports", "Messaging → Webhooks → Url (set Dlr to true)"),
        Endpoint("GET", "webhook", "messages of the old API", "the old API's callback URL"),
    )
    signed: ClassVar[bool] = False

    def __init__(self, settings: BulkVSSettings) -> None:
        self.encoding = settings.text_encoding

    def authenticate(self, callback: Callback) -> None:
        """BulkVS signs nothing."""

    def parse(self, callback: Callback) -> Sequence[Event]:
        """A message, or a report for each recipient. Raises Unreadable where nobody is named."""
        fields = wire.read(callback)
        if not fields.raw:
            return []
        envelope = fields.values.get("DATA")
        if isinstance(envelope, dict) and isinstance(envelope.get("payload"), dict):
            wire.note(fields.notes, "guessed_format")
            return _from_3cx(envelope, envelope["payload"], fields)
        if callback.body and not fields.json:
            wire.note(fields.notes, "guessed_format")
        person = _first(fields.values.get("FROM"))
        if not person:
            raise Unreadable(_missing_from(fields))
        written = fields.exact("MESSAGE")
        # Identities and classification must not change with a setting, so they see the text as `auto` reads it.
        unsure: list[str] = []
        canonical = decoded(written, "auto", unsure) if fields.json else written
        told = receipt.whole(canonical) or (receipt.read(canonical) if _is_flagged(fields) else None)
        if told:
            return [_report(fields, person, told)]
        if fields.json and (self.encoding != "auto" or unsure):
            return [_message(fields, person, decoded(written, self.encoding, fields.notes), canonical)]
        return [_message(fields, person, canonical, canonical)]

    def home(self, callback: Callback, event: Event) -> str:
        """There is one webhook."""
        return "webhook"

    def reply(self, callback: Callback) -> Reply:
        """`OK`, which the old API wants to read."""
        return OK


def decoded(text: str, encoding: str, notes: list[str]) -> str:
    """A `Message` from inside the JSON, where BulkVS percent- and plus-encodes it, but not always.

    `auto`: no encoder leaves white space or letters beyond ASCII, so a text with these is plain; of the others, one
    with a `+` or a `%XX` is taken for encoded.
    """
    if encoding == "plain" or (encoding == "auto" and not _is_coded(text)):
        return text
    return wire.unquoted(text.replace("+", " "), notes, "utf-8")


def _is_coded(text: str) -> bool:
    if " " in text or not text.isascii() or not text.isprintable():
        return False
    return "+" in text or _ESCAPE.search(text) is not None


_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


def _is_flagged(fields: wire.Fields) -> bool:
    flag = fields.values.get("DELIVERYRECEIPT", False)
    return flag if isinstance(flag, bool) else wire.scalar(flag).lower() in ("true", "1")


def _message(fields: wire.Fields, person: str, text: str, canonical: str) -> InboundMessage:
    if receipt.looks_like_one(text):
        wire.note(fields.notes, "receipt_lookalike")
    message, media = fields.text("REFID"), wire.flatten(fields.values.get("MEDIAURLS"), "url")
    event = _inbound(fields, person, fields.values.get("TO"), text=text, media=media)
    between = _between(event)
    event.message_id = message or None
    if message:
        event.identity = Identity(("mo", message, *between, canonical))
    else:  # nothing in it tells a retry from a second "OK"
        event.identity = Identity(("mo", *between, canonical, *media), certain=False)
    return event


def _inbound(fields: wire.Fields, person: str, ours: Any, *, text: str, media: list[str]) -> InboundMessage:
    recipients = [number(to, fields.notes) for to in wire.flatten(ours, "phone_number")]
    return InboundMessage(
        originator=number(person, fields.notes),
        recipient=recipients[0] if recipients else None,
        recipients=recipients,
        text=text,
        media=media,
        channel="mms" if media else "sms",
        notes=fields.notes,
        raw=fields.raw,
    )


def _between(event: InboundMessage) -> tuple[str, str]:
    """Who wrote to whom, for identities."""
    return numbers.digits(event.originator or ""), ",".join([numbers.digits(to) for to in event.recipients])


def _report(fields: wire.Fields, person: str, told: receipt.Receipt) -> DeliveryReport:
    """A report as a message: From is whom we wrote to, To[0] is our number, the text is an SMPP receipt."""
    reference = fields.text("REFID")
    message = reference or told.id
    if not message:
        raise Unreadable("RefId is missing and the text holds no id: this delivery report names no message")
    status, reason = told.verdict
    if status is None:
        wire.note(fields.notes, "unknown_status")
    done = receipt.when(told.done)
    if done:
        wire.note(fields.notes, "assumed_utc")
    recipient, ours = number(person, fields.notes), _first(fields.values.get("TO"))
    return DeliveryReport(
        message_id=reference or None,
        smsc_id=told.id or None,
        originator=number(ours, fields.notes) if ours else None,
        recipient=recipient,
        status=status or Status.UNKNOWN,
        reason=reason,
        status_raw=told.stat or None,
        error_code=told.err or None,
        submitted_at=receipt.when(told.submitted),
        occurred_at=done,
        notes=fields.notes,
        raw=fields.raw,
        identity=Identity(("dlr", message, numbers.digits(recipient), told.stat.upper(), told.err, told.done), at=done),
    )


def _from_3cx(envelope: dict[str, Any], payload: dict[str, Any], fields: wire.Fields) -> Sequence[Event]:
    """What BulkVS posts with the webhook method 3CX: not published, so read as the one envelope that 3CX reads."""
    if payload.get("direction") == "outbound" or wire.scalar(envelope.get("event_type")) in OUTBOUND_3CX:
        listed = payload.get("to")
        reports = [
            _report_3cx(envelope, payload, to, fields) for to in (listed if isinstance(listed, list) else [listed])
        ]
        if not all(report.recipient for report in reports) or not reports:
            raise Unreadable("data.payload.to[].phone_number is missing: this delivery report names no recipient")
        return reports
    person = _first(payload.get("from"))
    if not person:
        raise Unreadable(
            "data.payload.from.phone_number is missing; otherwise this looks like a message in 3CX's shape"
        )
    media = wire.flatten(payload.get("media"), "url")
    event = _inbound(fields, person, payload.get("to"), text=wire.exact(payload.get("text")), media=media)
    message, when = _id_3cx(envelope, payload), _when_3cx(envelope, payload)
    event.message_id = wire.scalar(payload.get("id")) or message or None
    event.occurred_at = when
    if message:
        event.identity = Identity(("3cx", "mo", message))
    else:
        known_by = ("3cx", "mo", *_between(event), event.text, *media, stamp(when) or "")
        event.identity = Identity(known_by, certain=when is not None, at=when)
    return [event]


def _report_3cx(envelope: dict[str, Any], payload: dict[str, Any], to: Any, fields: wire.Fields) -> DeliveryReport:
    """The report about one recipient of an outbound message."""
    message, when = _id_3cx(envelope, payload), _when_3cx(envelope, payload)
    if not message:
        raise Unreadable("data.id is missing: this delivery report names no message")
    notes = list(fields.notes)
    written = wire.scalar(to.get("status")) if isinstance(to, dict) else ""
    status, reason = STATUSES_3CX.get(written.lower(), (None, None))
    if status is None:
        wire.note(notes, "unknown_status")
    person, ours = _first(to), _first(payload.get("from"))
    recipient = number(person, notes) if person else None
    return DeliveryReport(
        message_id=wire.scalar(payload.get("id")) or message,
        originator=number(ours, notes) if ours else None,
        recipient=recipient,
        status=status or Status.UNKNOWN,
        final=True if written.lower() in FINAL_3CX else None,
        reason=reason,
        status_raw=written or None,
        occurred_at=when,
        notes=notes,
        raw=fields.raw,
        identity=Identity(("3cx", "dlr", message, numbers.digits(recipient or ""), written.lower())),
    )


def _id_3cx(envelope: dict[str, Any], payload: dict[str, Any]) -> str:
    return wire.scalar(envelope.get("id")) or wire.scalar(payload.get("id"))


def _when_3cx(envelope: dict[str, Any], payload: dict[str, Any]) -> datetime | None:
    written = wire.scalar(envelope.get("occurred_at")) or wire.scalar(payload.get("received_at"))
    return times.read(written, UTC).moment


def _first(value: Any) -> str:
    """The first number of a value that may be one, an object with `phone_number`, or a list of these."""
    return next(iter(wire.flatten(value, "phone_number")), "")


def number(written: str, notes: list[str]) -> str:
    """`+` and digits for a North American number, which BulkVS writes without; anything else as it came."""
    if written.isascii() and written.isdigit():
        if len(written) == 11 and written[0] == "1":
            return f"+{written}"
        if len(written) == 10:
            wire.note(notes, "assumed_nanp")
            return f"+1{written}"
    return numbers.explicit(written) or written


def _missing_from(fields: wire.Fields) -> str:
    if {"MSISDN", "RECIPIENT", "REASONCODE"} & fields.values.keys():
        return "From is missing; this looks like a callback of Spryng. Is this URL entered in Spryng's portal?"
    return "From is missing; a message or delivery report of BulkVS names the phone there"
