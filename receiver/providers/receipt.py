"""Delivery receipts in SMPP text form, `id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…`."""

import re
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from receiver.events import Reason, Status

# SMPP 3.4 appendix B, table B-2; ENROUTE from 5.2.28; SCHEDULED from SMPP 5.0 4.7.15. And why, where the state says it.
STATES = {
    "SCHEDULED": (Status.SCHEDULED, None),
    "ENROUTE": (Status.SENT, None),
    "DELIVRD": (Status.DELIVERED, None),
    "EXPIRED": (Status.EXPIRED, Reason.EXPIRED),
    "DELETED": (Status.CANCELLED, Reason.UNKNOWN),
    "UNDELIV": (Status.FAILED, Reason.UNKNOWN),
    "ACCEPTD": (Status.SENT, None),  # networks say it for "taken", not for "on the phone"
    "UNKNOWN": (Status.UNKNOWN, None),
    "REJECTD": (Status.REJECTED, Reason.UNKNOWN),
}

_WHOLE = re.compile(
    r"\s*id:(\S+)\s+sub:\S+\s+dlvrd:\S+\s+submit date:(\d{10,14})\s+done date:(\d{10,14})\s+stat:(\w+)\s+err:(\S*)"
    r"(?:\s+text:.*)?\s*",
    re.IGNORECASE | re.DOTALL,
)
_FIELD = re.compile(r"(?<!\S)(id|submit date|done date|stat|err|text):(\S*)", re.IGNORECASE)


class Receipt(NamedTuple):
    """What a receipt says; "" and None for what is not in it."""

    id: str = ""
    submitted: str = ""
    done: str = ""
    stat: str = ""
    err: str = ""

    @property
    def verdict(self) -> tuple[Status | None, Reason | None]:
        """What the state means, and why, which only failures have; no status where it is none of SMPP's, or missing."""
        return STATES.get(self.stat.upper(), (None, None))


def whole(text: str) -> Receipt | None:
    """A text that is a receipt as a whole, else None. Never less strict: people do write "id:" and "stat:"."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    return Receipt(*match.groups()) if text.isascii() else read(text)


def looks_like_one(text: str) -> bool:
    """Whether a text, by a person or not, begins like a receipt and names a state."""
    lower = text.lstrip().lower()
    return lower.startswith("id:") and "stat:" in lower


def read(text: str) -> Receipt:
    """The fields that are there, each the first of its name, in front of `text:`. For texts known to be receipts."""
    found: dict[str, str] = {}
    for name, value in _FIELD.findall(text):
        if name.lower() == "text":
            break
        found.setdefault(name.lower(), value)
    return Receipt(
        found.get("id", ""),
        found.get("submit date", ""),
        found.get("done date", ""),
        found.get("stat", ""),
        found.get("err", ""),
    )


def when(written: str) -> datetime | None:
    """A receipt's time, YYMMDDhhmm or YYMMDDhhmmss or with the century, read as UTC: it names no zone."""
    return _when(written) if len(written) in (10, 12, 14) and written.isascii() and written.isdigit() else None


@lru_cache(maxsize=1024)  # reports come in crowds: the same minute is read again and again
def _when(digits: str) -> datetime | None:
    whole = digits if len(digits) == 14 else f"20{digits}"
    try:
        return datetime.strptime(f"{whole:0<14}+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
