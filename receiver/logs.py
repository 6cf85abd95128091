"""The receiver's own log: one line per fact on standard error, for people or for machines, numbers masked."""

import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from receiver import numbers, tracebacks
from receiver.secret import Secret

NUMBERS = frozenset({"originator", "recipient", "recipients", "number", "from_number"})
TEXTS = frozenset({"text"})
FIRST = ("timestamp", "level", "event")
TRACEBACKS = frozenset({"exception", "stack"})
CRASHED = "crashed"
AT_ONCE = 20
"""Lines of one kind in the life of a process before they are counted instead."""
MASKED_SECRET = "***"  # noqa: S105 - it stands where one was
# C0, DEL, C1, line separators, direction marks and lone surrogates: what could forge a line or hide in one.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# syslog(3); systemd reads them as <N> in front of a line.
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
QUIET = {
    "aiohttp.access": logging.ERROR,
    "aiosqlite": logging.WARNING,  # its debug lines hold every value that is stored
    "asyncio": logging.WARNING,
    "uvicorn.access": logging.ERROR,
    "uvicorn.error": logging.WARNING,  # what it tells of its life, `serve` tells itself
}


def configure(
    format: str = "auto",
    level: str = "info",
    *,
    reveal: bool = False,
    journal: bool | None = None,
    stream: TextIO | None = None,
    env: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Write the log of this process, and what libraries log through `logging`, to a stream from now on.

    `format` is auto (console on a terminal, else json), console, json or logfmt. `reveal` leaves numbers and texts
    whole; secrets never are. `journal` puts priorities before lines; None: where the stream is the journal's. To be
    called again after a change. Returns the keys for a process whose lines go through our stream.
    """
    out = stream or sys.stderr
    chosen = format if format != "auto" else "console" if out.isatty() else "json"
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        Masking(reveal=reveal),
    ]
    colors = out.isatty() and "NO_COLOR" not in env and env.get("TERM") != "dumb"
    ending = _ending(chosen, colors=colors, reveal=reveal)
    to_journal = _is_journal(out, env) if journal is None else journal
    if to_journal:
        ending.append(_with_priority)
    structlog.configure(
        processors=[Bounded(), *shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: Lines(out),
        cache_logger_on_first_use=False,
    )
    _route_logging(shared, ending, out, level, reveal=reveal)
    return {"format": chosen, "level": level, "reveal": reveal, "journal": to_journal}


def catch() -> None:
    """Have what nobody caught end as a line like any other from now on, not as the interpreter would write it."""
    sys.excepthook = lambda _kind, fault, _where: _crashed(fault)
    threading.excepthook = lambda crash: _crashed(crash.exc_value)
    sys.unraisablehook = lambda crash: _crashed(crash.exc_value)


def _crashed(fault: BaseException | None) -> None:
    if isinstance(fault, Exception):
        structlog.get_logger().critical(CRASHED, exc_info=fault)


def plain(words: str, level: str, *, stream: TextIO, env: Mapping[str, str] = os.environ) -> str:
    """Words for people as they are; on the way to systemd's journal each line has the priority of a level."""
    return str(_with_priority(None, level, words)) if _is_journal(stream, env) else words


class Lines:
    """Writes lines to a stream. A log that cannot be written (disk full, reader gone) never stops the receiver."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        try:
            self._stream.write(f"{line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # there is nowhere to tell it

    debug = info = warning = error = critical = msg


class Bounded:
    """Leaves out what repeats without end: of each warning or error some, then one a second, with a count."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seldom = Seldom(timedelta(seconds=1))
        self._room: OrderedDict[object, int] = OrderedDict()

    def __call__(self, _logger: WrappedLogger, method: str, facts: EventDict) -> EventDict:
        if method in ("debug", "info"):
            return facts
        left_out = self.allows((facts.get("event"), facts.get("handler")))
        if left_out is None:
            raise structlog.DropEvent
        return {**facts, "and_more_like_this": left_out} if left_out else facts

    def allows(self, key: object) -> int | None:
        """How many were left out before, if there may be one now; else None."""
        room = self._room.pop(key, AT_ONCE)
        self._room[key] = max(room - 1, 0)
        if len(self._room) > 1024:
            self._room.popitem(last=False)
        if room:
            return 0
        return self._seldom.allows(key, self._monotonic())


class Masking:
    """Hides secrets always, and numbers and texts unless revealed."""

    def __init__(self, *, reveal: bool) -> None:
        self._reveal = reveal

    def __call__(self, _logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
        for key, value in facts.items():
            if key != "exc_info":
                facts[key] = self._masked(key, value)
        return facts

    def _masked(self, key: str, value: Any) -> Any:
        if isinstance(value, Secret):
            return MASKED_SECRET
        if isinstance(value, Mapping):
            return {name: self._masked(str(name), inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._masked(key, inner) for inner in value]
        if self._reveal or value is None:
            return value
        if key in NUMBERS:
            return numbers.mask(str(value))
        if key in TEXTS:
            return f"({len(str(value))} characters)"
        return value


class Seldom:
    """At most once per period for each key; what was left out is counted and told with the next one.

    Remembers the `most` keys last seen: strangers cannot fill our memory with keys.
    """

    def __init__(self, period: timedelta = timedelta(minutes=1), *, most: int = 1024) -> None:
        self._period = period.total_seconds()
        self._most = most
        self._seen: OrderedDict[object, tuple[float, int]] = OrderedDict()

    def allows(self, key: object, now: float) -> int | None:
        """How many were left out since the last one, if there may be one now; else None. `now` is in seconds."""
        last, left_out = self._seen.get(key, (None, 0))
        if last is not None and 0 <= now - last < self._period:  # a clock set back begins a new period
            self._seen[key] = (last, left_out + 1)
            return None
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return left_out


def _ending(format: str, *, colors: bool, reveal: bool) -> list[Processor]:
    # Tracebacks are plain text in every format: pretty ones show local variables, and secrets are among them.
    write = tracebacks.told if reveal else tracebacks.discreet

    def written(exc_info: ExcInfo) -> str:
        return write(exc_info[1])

    plain: list[Processor] = [
        structlog.processors.ExceptionRenderer(written),
        structlog.processors.StackInfoRenderer(),
        _in_order,
    ]
    if format == "json":
        return [*plain, structlog.processors.JSONRenderer(default=str)]
    if format == "logfmt":
        return [*plain, _escaped, structlog.processors.LogfmtRenderer()]
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
    )
    return [*plain, _local_time, _escaped, renderer]


def _in_order(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    first = {key: facts[key] for key in FIRST if key in facts}
    return {**first, **facts}


def _local_time(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    facts["timestamp"] = datetime.fromisoformat(facts["timestamp"]).astimezone().strftime("%H:%M:%S")
    return facts


def _escaped(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    """Make what strangers wrote harmless in a line and on a terminal: control characters as code writes them."""
    for key, value in facts.items():
        if key in TRACEBACKS:
            facts[key] = "\n    ".join(UNPRINTABLE.sub(_escape, line) for line in str(value).split("\n"))
        elif not isinstance(value, bool | int | float | None):
            facts[key] = UNPRINTABLE.sub(_escape, str(value))
    return facts


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode("ascii")


def _with_priority(_logger: WrappedLogger, method: str, line: Any) -> Any:
    """Each line of it is one to the journal."""
    mark = f"<{PRIORITIES.get(method, 6)}>"
    return mark + str(line).replace("\n", f"\n{mark}")


def _is_journal(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Whether systemd connected this very stream to its journal (systemd.exec(5), JOURNAL_STREAM)."""
    if "JOURNAL_STREAM" not in env:
        return False
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return env["JOURNAL_STREAM"] == f"{found.st_dev}:{found.st_ino}"


def _discreet(_logger: WrappedLogger, _method: str, facts: EventDict) -> EventDict:
    """What a library says in its own words, with what could be a number masked in it.

    asyncio tells in further lines which objects it was about, and their values with them.
    """
    said = str(facts["event"])
    facts["event"] = numbers.mask_in(said.split("\n", maxsplit=1)[0] if facts.get("logger") == "asyncio" else said)
    return facts


def _route_logging(shared: list[Processor], ending: list[Processor], out: TextIO, level: str, *, reveal: bool) -> None:
    """Send what libraries log the same way."""
    known: list[Processor] = [structlog.stdlib.add_logger_name, *shared]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=known if reveal else [*known, _discreet],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
    )
    handler = _Routed(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))


class _Routed(logging.Handler):
    """A record of the standard library on its way to our lines."""

    def __init__(self, out: TextIO) -> None:
        super().__init__()
        self._lines = Lines(out)
        self._bounded = Bounded()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and self._bounded.allows((record.name, record.msg)) is None:
            return
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001, RUF100 - a library's odd record must not stop what logged it
            self.handleError(record)
            return
        self._lines.msg(line)
