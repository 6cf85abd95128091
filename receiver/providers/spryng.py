"""Spryng: delivery reports as GET, inbound messages as form POST, and the reports of its old simple API."""

from collections.abc import Sequence
from typing import ClassVar
from zoneinfo import ZoneInfo

from pydantic import field_validator

from receiver import numbers
from receiver.callback import Callback, Reply
from receiver.errors import Unreadable
from receiver.events import DeliveryReport, Event, Identity, InboundMessage, Reason, Status
from receiver.providers import times, wire
from receiver.providers.base import OK, Endpoint, ProviderSettings

# Spryng docs 7.1; the words are those of the old simple API.
STATUSES = {
    "10": Status.DELIVERED,
    "20": Status.FAILED,  # "Not Delivered"; REASONCODE says why
    "delivered": Status.DELIVERED,
    "not delivered": Status.FAILED,
    "buffered": Status.BUFFERED,  # phone off or out of reach, the network keeps trying
}
# Spryng docs 7.2, for STATUS 20; every other code, 0 and 22 ("Delivery Failure") too, is failed for an unknown reason.
FAILURES = {
    "20": (Status.FAILED, Reason.UNREACHABLE),
    "21": (Status.FAILED, Reason.INVALID_NUMBER),
    "31": (Status.REJECTED, Reason.OPTED_OUT),  # on the blacklist, for instance after a STOP
    "32": (Status.REJECTED, Reason.SENDER_NOT_REGISTERED),  # in the recipient's country
}
INBOUND = frozenset({"MSISDN", "SHORTCODE", "KEYWORD", "PARM"})
IN_MESSAGES = ("MSISDN", "SHORTCODE", "TIMESTAMP", "OPERATOR", "COUNTRY")
# Names that only reports of today have; the old ones have nothing but REFERENCE and STATUS.
IN_REPORTS = ("ID", "RECIPIENT", "STATUS", "REASONCODE", "OPERATOR", "ADDED", "RESULTDATE", "OPERATOR_STATUS_AT")
REPORT = frozenset({"ID", "RECIPIENT", "REASONCODE", "ADDED", "RESULTDATE", "OPERATOR_STATUS_AT"})


class SpryngSettings(ProviderSettings):
    """Keys of a [sources.x] table with provider = "spryng"."""

    timezone: str = "Europe/Amsterdam"
    """The zone of Spryng's times, which name none."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            raise ValueError(f'no time zone "{name}"; write a name such as "Europe/Amsterdam" or "UTC"') from None
        return name


class Spryng:
    """Reads Spryng's callbacks. What is in them decides their kind, not the URL they came to."""

    name: ClassVar[str] = "spryng"
    summary: ClassVar[str] = "Spryng: SMS and RCS delivery reports and inbound messages"
    Settings: ClassVar[type[ProviderSettings]] = SpryngSettings
    endpoints: ClassVar[tuple[Endpoint, ...]] = (
        Endpoint("GET", "dlr", "delivery reports", "SMS dashboard → Settings → delivery report URL"),
        Endpoint("POST", "mo", "inbound messages", "https://portal.spryngsms.com/messages-received/settings"),
    )
    signed: ClassVar[bool] = False

    def __init__(self, settings: SpryngSettings) -> None:
        self.zone = ZoneInfo(settings.timezone)

    def authenticate(self, callback: Callback) -> None:
        """Spryng signs nothing."""

    def parse(self, callback: Callback) -> Sequence[Event]:
        """One report or one message. Raises Unreadable with the parameter that is missing."""
        fields = wire.read(callback)
        if not fields.raw:
            return []
        if not INBOUND.isdisjoint(fields.values):
            return [self._message(fields)]
        if not REPORT.isdisjoint(fields.values):
            return [self._report(fields)]
        return [_old_report(fields)]

    def home(self, callback: Callback, event: Event) -> str:
        """Reports belong to `dlr`, messages to `mo`."""
        return event.kind

    def reply(self, callback: Callback) -> Reply:
        """Any 200 will do."""
        return OK

    def _report(self, fields: wire.Fields) -> DeliveryReport:
        message, recipient, written, code, operator, added, sent, operator_at = fields.texts(*IN_REPORTS)
        if not (message and recipient and written):
            raise Unreadable(_missing("a delivery report", ID=message, RECIPIENT=recipient, STATUS=written))
        status, reason = _judge(written, code, fields.notes)
        answered = times.read(operator_at, self.zone)
        operator_at = operator_at if answered.as_utc else ""
        return DeliveryReport(
            message_id=message,
            recipient=number(recipient),
            status=status,
            reason=reason,
            status_raw=written,
            error_code=code or None,
            reference=fields.exact("REFERENCE") or None,
            mccmnc=operator or None,
            submitted_at=times.read(added, self.zone).moment,
            sent_at=times.read(sent, self.zone).moment,
            occurred_at=answered.moment,
            notes=fields.notes,
            raw=fields.raw,
            identity=Identity(
                ("dlr", message, numbers.digits(recipient), written.lower(), code, operator_at),
                at=answered.as_utc,
            ),
        )

    def _message(self, fields: wire.Fields) -> InboundMessage:
        sender, shortcode, timestamp, operator, country = fields.texts(*IN_MESSAGES)
        keyword, rest = fields.exact("KEYWORD"), fields.exact("PARM")
        if not sender:
            raise Unreadable(_missing("an inbound message", MSISDN=sender))
        recipient = number(shortcode) if shortcode else None
        received = times.read(timestamp, self.zone)
        return InboundMessage(
            originator=number(sender),
            recipient=recipient,
            recipients=[recipient] if recipient else [],
            text=f"{keyword} {rest}".strip(),
            keyword=keyword.strip() or None,
            reference=fields.exact("REFERENCE") or None,
            mccmnc=operator or None,
            country=country.upper() or None,
            occurred_at=received.moment,
            notes=fields.notes,
            raw=fields.raw,
            identity=Identity(
                ("mo", numbers.digits(sender), numbers.digits(shortcode), keyword, rest, timestamp),
                received.as_utc is not None,
                received.as_utc,
            ),
        )


def _old_report(fields: wire.Fields) -> DeliveryReport:
    """A report of the old simple API: it names its message by the sender's own REFERENCE, and has no time."""
    reference, written = fields.exact("REFERENCE"), fields.text("STATUS")
    if not reference and not written:
        raise Unreadable(_stranger(fields))
    if written.isdigit():
        raise Unreadable(_missing("a delivery report", ID="", RECIPIENT=""))
    if not (reference and written):
        raise Unreadable(_missing("a delivery report of the old simple API", REFERENCE=reference, STATUS=written))
    status, reason = _judge(written, "", fields.notes)
    return DeliveryReport(
        reference=reference,
        status=status,
        reason=reason,
        status_raw=written,
        notes=fields.notes,
        raw=fields.raw,
        identity=Identity(("dlr", reference, written.lower()), certain=False),
    )


def _judge(written: str, code: str, notes: list[str]) -> tuple[Status, Reason | None]:
    status = STATUSES.get(written.lower())
    if status is None:
        wire.note(notes, "unknown_status")
        return Status.UNKNOWN, None
    if status is Status.FAILED:
        return FAILURES.get(code, (Status.FAILED, Reason.UNKNOWN))
    return status, None


def number(written: str) -> str:
    """`+` and digits for an international number, which Spryng writes without; anything else as it came."""
    if written.isascii() and written.isdigit() and 8 <= len(written) <= 15 and written[0] != "0":
        return f"+{written}"
    return numbers.explicit(written) or written


def _missing(kind: str, **given: str) -> str:
    names = [name for name, value in given.items() if not value]
    verb = "is" if len(names) == 1 else "are"
    return f"{' and '.join(names)} {verb} missing; otherwise this looks like {kind} of Spryng"


def _stranger(fields: wire.Fields) -> str:
    advice = "Is this URL entered at another provider?"
    if "FROM" in fields.values or "MESSAGE" in fields.values:
        advice = "It looks like one of BulkVS: is a BulkVS webhook set to this URL?"
    return f"this is no callback of Spryng: neither MSISDN nor ID, RECIPIENT and STATUS are there. {advice}"
