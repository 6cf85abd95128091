"""Log: one line per event, on stdout or in a file: words on a terminal, JSON elsewhere; masked, and safe to look at."""

import asyncio
import json
import os
import select
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationInfo

from receiver import Attempt, BaseHandler, DeliveryReport, Event, InboundMessage, Notice, Unavailable

POLL = 0.02
"""Seconds between two looks at an output that takes nothing now."""


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the configuration file."""
    return Path((info.context or {}).get("folder") or Path.cwd()) / path


class Log(BaseHandler):
    """Writes one line per event. A line is out, or the event is tried again; nothing is buffered."""

    class Settings(BaseHandler.Settings):
        """The keys of a `log` handler."""

        file: Annotated[Path, AfterValidator(_from_folder)] | None = None
        """Appended to, and opened again when it was rotated away; stdout where absent."""
        reveal: bool = False
        """Whether numbers and texts are shown whole."""

    async def open(self) -> None:
        self._output = Output(self.settings.file)
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        self._output.close()

    async def handle(self, event: Event, attempt: Attempt) -> None:
        async with self._turn:
            try:
                await self._output.write(lambda terminal: self._line(event, attempt, terminal=terminal))
            except OSError as fault:
                raise Unavailable(f"cannot write to {self._output.name}: {fault.strerror or fault}") from fault

    def _line(self, event: Event, attempt: Attempt, *, terminal: bool) -> str:
        if terminal:
            return human(event, reveal=self.settings.reveal) + (f"   replay {attempt.replay}" if attempt.replay else "")
        shown = json.loads(event.to_json())
        if not self.settings.reveal:
            _mask_in_place(shown["data"])
        return json.dumps(shown, separators=(",", ":"))  # ASCII: no reader takes a character for the end of a line


class Output:
    """A place lines go to whole. Waits without blocking while nobody reads the other end."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._opened: int | None = None
        self._torn = False

    @property
    def name(self) -> str:
        """What to call it in a message."""
        return str(self._path or "stdout")

    async def write(self, line: Callable[..., str]) -> None:
        """Write `line(terminal)` and a line feed. Raises OSError; a torn line is ended before the next one."""
        descriptor = self._descriptor()
        text = line(os.isatty(descriptor)).encode("utf-8", "backslashreplace") + b"\n"
        whole = rest = memoryview(b"\n" + text if self._torn else text)
        try:
            while rest:
                await _writable(descriptor)
                rest = rest[os.write(descriptor, rest[: select.PIPE_BUF]) :]
        finally:
            self._torn = bool(rest) and (self._torn or len(rest) < len(whole))

    def close(self) -> None:
        """Close the file; stdout stays open."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    def _descriptor(self) -> int:
        if self._path is None:
            # Not descriptor 1 itself: in a program started with stdout closed, that may be anybody's file.
            if sys.__stdout__ is None or sys.__stdout__.closed:
                raise OSError("it is closed")
            return sys.__stdout__.fileno()
        if self._opened is not None and self._rotated(self._opened):
            self.close()
        if self._opened is None:
            self._opened = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._torn = False
        return self._opened

    def _rotated(self, opened: int) -> bool:
        """Whether the path leads to another file than the one that is open, or to none."""
        try:
            return not os.path.samestat(os.stat(self._path or ""), os.fstat(opened))
        except FileNotFoundError:
            return True


async def _writable(descriptor: int) -> None:
    """Return as soon as a short write would not block: a pager nobody reads must not stop the other handlers."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    while not poll.poll(0):  # noqa: ASYNC110 - there is nobody to set an Event, and no add_writer() for plain files
        await asyncio.sleep(POLL)


def human(event: Event, *, reveal: bool = False) -> str:
    """The event in one line for a terminal: local time, kind, source, what happened. Without control characters."""
    number = (lambda value: value or "-") if reveal else mask
    if isinstance(event, DeliveryReport):
        words = _report(event, number)
    elif isinstance(event, InboundMessage):
        words = _message(event, number, reveal=reveal)
    elif isinstance(event, Notice):
        words = [event.level, event.text if event.state == "open" else f"over: {event.text}"]
    else:
        words = [event.id]
    if event.suspected_duplicate_of:
        words.append("perhaps a duplicate")
    if event.simulated:
        words.append("simulated")
    source = event.about if isinstance(event, Notice) else event.source
    return printable(f"{event.received_at.astimezone():%H:%M:%S}  {event.kind:<3}  {source:<7}  {'   '.join(words)}")


def _report(event: DeliveryReport, number: Callable[[str | None], str]) -> list[str]:
    status = f"{event.status} ({event.reason})" if event.reason else event.status
    words = [f"{status:<10}", number(event.recipient)]
    if event.reference or event.message_id:
        words.append(event.reference or event.message_id or "")
    if event.occurred_at and event.submitted_at and event.occurred_at >= event.submitted_at:
        words.append(f"{_roughly(event.occurred_at - event.submitted_at)} after it was submitted")
    return words


def _message(event: InboundMessage, number: Callable[[str | None], str], *, reveal: bool) -> list[str]:
    words = [f"{number(event.originator)} → {number(event.recipient)}"]
    words.append(event.text if reveal else f"({_length(event.text)}; reveal = true shows text)")
    if event.media:
        words.append(f"{len(event.media)} media")
    if event.opt_out:
        words.append("opt-out")
    return words


def _roughly(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def mask(number: str | None) -> str:
    """First three and last two characters: `+31*******78`; a short one is hidden whole."""
    if not number:
        return "-"
    hidden = max(len(number) - 5, 0)
    return number[:3] + "*" * hidden + number[-2:] if hidden else "*" * len(number)


def _length(text: str) -> str:
    return "1 character" if len(text) == 1 else f"{len(text)} characters"


def _mask_in_place(facts: dict[str, Any]) -> None:
    """Hide the people in an event's `data`; the words of a notice name nobody."""
    if facts["kind"] == "notice":
        return
    for key in ("originator", "recipient"):
        facts[key] = facts[key] and mask(facts[key])
    facts["raw"] = "***"
    if facts["kind"] == "mo":
        facts["recipients"] = [mask(number) for number in facts["recipients"]]
        facts["text"] = _length(facts["text"])
        facts["keyword"] = facts["keyword"] and _length(facts["keyword"])
        facts["media"] = [_length(address) for address in facts["media"]]


def printable(text: str) -> str:
    r"""The text with everything a terminal would obey written as `\n`, `\x1b`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
