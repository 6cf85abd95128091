"""InboundMessage, DeliveryReport, Notice: the facts this receiver stores, and their one JSON form."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, ClassVar, NamedTuple, get_type_hints

import msgspec


class Status(StrEnum):
    """What is known of a message on its way to a phone. Values as in SMPP 3.4 5.2.28, in the field's usual words."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENT = "sent"
    BUFFERED = "buffered"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    FAILED = "failed"
    DELIVERED = "delivered"
    READ = "read"
    UNKNOWN = "unknown"


class Meaning(NamedTuple):
    """What a status says: the outcome so far, whether it can still change, and which report wins (higher rank)."""

    outcome: str
    final: bool
    rank: int


MEANINGS = {
    Status.SCHEDULED: Meaning("pending", final=False, rank=10),
    Status.QUEUED: Meaning("pending", final=False, rank=20),
    Status.SENT: Meaning("pending", final=False, rank=30),
    Status.BUFFERED: Meaning("pending", final=False, rank=35),
    Status.EXPIRED: Meaning("failure", final=True, rank=50),
    Status.REJECTED: Meaning("failure", final=True, rank=50),
    Status.CANCELLED: Meaning("failure", final=True, rank=50),
    Status.FAILED: Meaning("failure", final=True, rank=50),
    Status.DELIVERED: Meaning("success", final=True, rank=80),
    Status.READ: Meaning("success", final=True, rank=90),
    Status.UNKNOWN: Meaning("unknown", final=False, rank=0),
}
UNKNOWN_FINAL_RANK = 45
# By the plain string: an enum's own hash is computed anew at every look.
_MEANINGS = {status.value: meaning for status, meaning in MEANINGS.items()}


class Reason(StrEnum):
    """Why a message did not arrive."""

    UNREACHABLE = "unreachable"
    INVALID_NUMBER = "invalid_number"
    OPTED_OUT = "opted_out"
    BLOCKED = "blocked"
    SENDER_NOT_REGISTERED = "sender_not_registered"
    CONTENT_FILTERED = "content_filtered"
    EXPIRED = "expired"
    NO_CREDIT = "no_credit"
    PROVIDER_ERROR = "provider_error"
    UNKNOWN = "unknown"


class Identity(NamedTuple):
    """What makes two callbacks the same event: decoded, normalised values, never bytes or settings.

    `certain` is False where the values hold neither an id nor a provider's time: a retry cannot be told from a
    second "OK" by them. `at` is the provider's time as written, read as if it were UTC.
    """

    values: tuple[str, ...]
    certain: bool = True
    at: datetime | None = None


NOBODY = Identity(())
NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(slots=True, kw_only=True)
class Event:
    """One normalised fact. A provider fills in what it read; the engine fills in id, source and times of ours."""

    kind: ClassVar[str]
    type: ClassVar[str]
    times: ClassVar[tuple[str, ...]] = ("occurred_at",)
    """Which attributes are a provider's times."""

    id: str = ""
    source: str = ""
    provider: str = ""
    received_at: datetime = NEVER
    occurred_at: datetime | None = None
    message_id: str | None = None
    reference: str | None = None
    originator: str | None = None
    recipient: str | None = None
    channel: str = "sms"
    mccmnc: str | None = None
    country: str | None = None
    suspected_duplicate_of: str | None = None
    simulated: bool = False
    notes: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    identity: Identity = field(default=NOBODY, repr=False, compare=False)
    stored: bytes | None = field(default=None, init=False, repr=False, compare=False)
    """`data` as JSON as it was stored, where it was: it is handed on as it is."""

    @property
    def data(self) -> dict[str, Any]:
        """The event's `data` as JSON values, every key of the kind present."""
        data: dict[str, Any] = msgspec.json.decode(self.json_data())
        return data

    def json_data(self) -> bytes:
        """The same as JSON, UTF-8."""
        return _FORMS[self.kind].write(self) if self.stored is None else self.stored

    @property
    def thread(self) -> str:
        """What `ordered` keeps in order: the message of a report, the conversation of an inbound message."""
        return f"{self.source}\n{self.originator}\n{self.recipient}"

    def in_utc(self) -> None:
        """Have all of a provider's times in UTC, as they are written."""
        for name in self.times:
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is not UTC:
                setattr(self, name, moment.astimezone(UTC))

    def to_json(self) -> bytes:
        """The CloudEvents 1.0 structured form, UTF-8: what `forward` sends and `events --json` prints."""
        return envelope(self, self.json_data())


@dataclass(slots=True, kw_only=True)
class DeliveryReport(Event):
    """A provider's report about a message that went out (DLR)."""

    kind: ClassVar[str] = "dlr"
    type: ClassVar[str] = "message.dlr"
    times: ClassVar[tuple[str, ...]] = ("submitted_at", "sent_at", "occurred_at")

    status: Status = Status.UNKNOWN
    final: bool | None = None
    """None: what the status says. True with `unknown` where the provider says it will not change."""
    reason: Reason | None = None
    status_raw: str | None = None
    error_code: str | None = None
    submitted_at: datetime | None = None
    sent_at: datetime | None = None
    smsc_id: str | None = None

    def __post_init__(self) -> None:
        if self.final is None:
            self.final = _MEANINGS[self.status._value_].final

    @property
    def outcome(self) -> str:
        """pending, success, failure or unknown."""
        return MEANINGS[self.status].outcome

    @property
    def rank(self) -> int:
        """Which of several reports about a message is its current status: the highest."""
        if self.status is Status.UNKNOWN and self.final:
            return UNKNOWN_FINAL_RANK
        return _MEANINGS[self.status._value_].rank

    @property
    def thread(self) -> str:
        return f"{self.source}\n{self.message_id or self.reference}\n{self.recipient}"


@dataclass(slots=True, kw_only=True)
class InboundMessage(Event):
    """A message from a phone to us (MO). `text` is never None: "" for a picture alone."""

    kind: ClassVar[str] = "mo"
    type: ClassVar[str] = "message.mo"

    recipients: list[str] = field(default_factory=list)
    text: str = ""
    keyword: str | None = None
    media: list[str] = field(default_factory=list)
    context_message_id: str | None = None

    @property
    def opt_out(self) -> bool:
        """Whether the person asks not to be written to any more."""
        return is_opt_out(self.text)


@dataclass(slots=True, kw_only=True)
class Notice(Event):
    """Something the receiver has to say about itself: opened once per (notice, about), closed by a second event."""

    kind: ClassVar[str] = "notice"
    type: ClassVar[str] = "receiver.notice"

    notice: str = ""
    about: str = ""
    level: str = "warning"
    state: str = "open"
    since: datetime | None = None
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def thread(self) -> str:
        return f"\n{self.notice}\n{self.about}"


KINDS: dict[str, type[Event]] = {kind.type: kind for kind in (DeliveryReport, InboundMessage, Notice)}


def envelope(event: Event, data: bytes) -> bytes:
    """The CloudEvents form around an event's `data`, which is taken as it is."""
    time = event.occurred_at or event.received_at
    if isinstance(event, Notice):
        source, time = "/receiver", event.received_at
        written = stamp(time)
    else:
        source = f"/sources/{event.source}"
        written = stamp(time) if event.occurred_at else micros(time)
    head: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
        "subject": event.message_id,
        "time": written,
        "datacontenttype": "application/json",
    }
    if event.message_id is None:
        del head["subject"]
    return _encode(head)[:-1] + b',"data":' + data + b"}"


def event_from(envelope: Mapping[str, Any]) -> Event:
    """The event of a CloudEvents object made by `Event.to_json`. Raises KeyError or ValueError for any other."""
    return _FORMS[KINDS[envelope["type"]].kind].take(envelope["id"], envelope["data"])


def event_of(kind: str, id: str, data: bytes) -> Event:
    """The event of a kind from its id and its `data` as JSON."""
    return _FORMS[kind].read(id, data)


class _Form:
    """The JSON object of a kind: its keys in their order, written and read by a struct made for them."""

    def __init__(self, kind: type[Event], keys: str) -> None:
        names = keys.split()
        own = [name for name in names if name not in _DERIVED]
        types = get_type_hints(kind) | _DERIVED
        self._kind, self._own = kind, own
        self._struct: Any = msgspec.defstruct(f"{kind.__name__}Data", [(name, types[name]) for name in names])
        self._decoder = msgspec.json.Decoder(self._struct)
        self._values, self._own_values = attrgetter(*names), attrgetter(*own)

    def write(self, event: Event) -> bytes:
        """An event's `data`."""
        data = self._struct(*self._values(event))
        if not event.received_at.microsecond:  # it always has six digits
            data.received_at = micros(event.received_at)
        return _encode(data)

    def read(self, id: str, data: bytes) -> Event:
        """The event of what `write` gave."""
        event = self._event(id, self._decoder.decode(data))
        event.stored = data
        return event

    def take(self, id: str, data: Any) -> Event:
        """The event of JSON values. Raises ValueError where they are none."""
        try:
            return self._event(id, msgspec.convert(data, self._struct))
        except msgspec.ValidationError as fault:
            raise ValueError(str(fault)) from None

    def _event(self, id: str, data: Any) -> Event:
        return self._kind(id=id, **dict(zip(self._own, self._own_values(data), strict=True)))


_encode = msgspec.json.Encoder().encode
_DERIVED = {"kind": str, "outcome": str, "opt_out": bool}
_FORMS = {
    form[0].kind: _Form(*form)
    for form in (
        (
            DeliveryReport,
            "kind source provider channel message_id reference originator recipient status outcome final reason"
            " status_raw error_code submitted_at sent_at occurred_at received_at mccmnc country smsc_id"
            " suspected_duplicate_of simulated notes raw",
        ),
        (
            InboundMessage,
            "kind source provider channel message_id reference originator recipient recipients text keyword media"
            " opt_out context_message_id occurred_at received_at mccmnc country suspected_duplicate_of simulated"
            " notes raw",
        ),
        (Notice, "kind notice about level state since text facts received_at"),
    )
}


@lru_cache(maxsize=1024)  # providers' times are whole seconds, and reports come in crowds
def stamp(moment: datetime | None) -> str | None:
    """RFC 3339 in UTC with `Z`; a fraction only where there is one."""
    return None if moment is None else _in_utc(moment).isoformat()[:-OFFSET] + "Z"


def micros(moment: datetime) -> str:
    """RFC 3339 in UTC with `Z` and always six digits of a second."""
    return _in_utc(moment).isoformat(timespec="microseconds")[:-OFFSET] + "Z"


OFFSET = len("+00:00")


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


# Words by which people ask not to be written to, in the languages of the providers' markets (CTIA, GSMA, ACM).
OPT_OUT_WORDS = frozenset(
    {"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT OUT"}
    | {"STOPPEN", "AFMELDEN", "STOPP", "ABMELDEN", "ARRET", "ARRÊT", "BAJA", "ALTO"}
)
OPT_OUT_MOST_WORDS = 3
OPT_OUT_LONGEST = 200


def is_opt_out(text: str) -> bool:
    """Whether a whole text is an opt-out word, or begins with STOP and has at most three words."""
    if len(text) > OPT_OUT_LONGEST:
        return False
    upper = unicodedata.normalize("NFC", text).upper()
    bare = " ".join("".join(letter for letter in upper if letter.isalnum() or letter.isspace()).split())
    if bare in OPT_OUT_WORDS:
        return True
    spoken = "".join(letter if letter.isalnum() else " " for letter in upper).split()
    return 0 < len(spoken) <= OPT_OUT_MOST_WORDS and spoken[0] == "STOP"
