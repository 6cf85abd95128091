"""Durations and sizes as people write them: "10s", "2h", "90 days", "64 KiB"."""

import re
from datetime import timedelta

SECONDS = {
    "ms": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
    "d": 86400,
    "day": 86400,
    "w": 604800,
    "week": 604800,
}
BYTES = {
    "b": 1,
    "byte": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
LONGEST = timedelta(days=36_500)


def duration(text: str | float | timedelta) -> timedelta:
    """Read "10s", "1h 30m", "90 days", or a number of seconds. Raises ValueError with what is accepted."""
    if isinstance(text, timedelta):
        return text
    if isinstance(text, bool) or not isinstance(text, int | float | str):
        raise ValueError('expected a duration such as "10s", "5m", "2h" or "90 days"')
    seconds = float(text) if isinstance(text, int | float) else _total(text, SECONDS)
    if seconds is None or not 0 <= seconds <= LONGEST.total_seconds():
        raise ValueError(f'"{text}" is no duration; write "10s", "5m", "2h" or "90 days"')
    return timedelta(seconds=seconds)


def size(text: str | int) -> int:
    """Read "64 KiB", "1 MiB", or a number of bytes. Raises ValueError with what is accepted."""
    if isinstance(text, bool) or not isinstance(text, int | str):
        raise ValueError('expected a size such as "64 KiB" or "256 MiB"')
    count = float(text) if isinstance(text, int) else _total(text, BYTES)
    if count is None or not 0 <= count < 2**62:
        raise ValueError(f'"{text}" is no size; write "64 KiB" or "256 MiB"')
    return int(count)


def _total(text: str, units: dict[str, float] | dict[str, int]) -> float | None:
    """The sum of all "number unit" parts of a text; None when anything in it is not one."""
    total, at = 0.0, 0
    text = text.strip()
    while match := _PART.match(text, at):
        unit = match[2].lower()
        scale = units.get(unit) or units.get(unit.removesuffix("s"))
        if scale is None:
            return None
        total, at = total + float(match[1]) * scale, match.end()
    return total if at == len(text) and at else None


def words(span: timedelta) -> str:
    """A duration in the two largest units that matter: "2 days 3 h", "1 min 4 s", "6 s", "12 ms"."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "day" if days == 1 else "days"), (hours, "h"), (minutes, "min"), (left, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2])


def bytes_words(count: float) -> str:
    """A size in binary units: "64 KiB", "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
