"""Times as providers write them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_LONGEST = 40
_YEARS = range(1970, 3000)  # others are mistakes, and zones cannot be applied to the first and the last one
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Times(NamedTuple):
    """A provider's time, or twice None where there is none that can be read."""

    moment: datetime | None = None
    """When it was, in UTC."""
    as_utc: datetime | None = None
    """The same figures read as if they were UTC, for identities: no setting changes it."""


NO_TIME = Times()


def read(text: str, zone: tzinfo) -> Times:
    """Read 14 digits, `Y-m-d H:i:s`, ISO 8601, unix seconds or milliseconds; a time without a zone is of `zone`.

    An hour that comes twice in autumn is the first one. What cannot be read, is all zeros or does not name the second
    is absent: a coarser time would make two messages one.
    """
    return _read(text, zone) if 0 < len(text) <= _LONGEST else NO_TIME


@lru_cache(maxsize=2048)  # reports come in crowds: the same second is read again and again
def _read(text: str, zone: tzinfo) -> Times:
    try:
        written = _as_written(text)
    except (ValueError, OverflowError):  # no such day
        written = None
    if written is None or written.year not in _YEARS:
        return NO_TIME
    moment = (written if written.tzinfo else written.replace(tzinfo=zone)).astimezone(UTC)
    return Times(moment, moment if written.tzinfo else written.replace(tzinfo=UTC))


def _as_written(text: str) -> datetime | None:
    """Naive where the text names no zone."""
    if text.isascii() and text.isdigit():
        if len(text) == 14:
            return datetime.strptime(text, "%Y%m%d%H%M%S")  # noqa: DTZ007  it has no zone
        scale = {10: 1000, 13: 1}.get(len(text))
        return _EPOCH + timedelta(milliseconds=int(text) * scale) if scale and int(text) else None
    return datetime.fromisoformat(text.upper().replace(",", ".")) if _ISO.fullmatch(text) else None
