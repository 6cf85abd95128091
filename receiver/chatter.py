"""What a handler's process prints, passed on to our standard error as far as it is not too much."""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import BinaryIO

import structlog

from receiver.logs import Seldom

LEFT_OUT = "handler_output_left_out"
BURST = 64 * 1024
"""Bytes that may come at once, and"""
RATE = 8 * 1024
"""bytes a second that may come for ever."""
LONGEST_LINE = 16 * 1024

log = structlog.get_logger()


class Chatter(asyncio.Protocol):
    """Relays whole lines. What is over the limit is counted, and told once a minute."""

    def __init__(
        self, handler: str, *, out: BinaryIO | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._handler, self._out, self._monotonic = handler, out or sys.stderr.buffer, monotonic
        self._rest = b""
        self._room, self._at = float(BURST), monotonic()
        self._left_out = 0
        self._seldom = Seldom(timedelta(minutes=1))

    def data_received(self, data: bytes) -> None:
        """Some of what was printed."""
        lines, _, rest = (self._rest + data).rpartition(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = lines + b"\n" + rest if lines else rest, b""
        self._rest = rest
        if lines:
            self._relay(lines + b"\n")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's form
        """The process ended, perhaps in the middle of a line."""
        if self._rest:
            self._relay(self._rest + b"\n")
        self._tell()

    def _relay(self, lines: bytes) -> None:
        now = self._monotonic()
        self._room = min(self._room + (now - self._at) * RATE, BURST)
        self._at = now
        if len(lines) > self._room:
            self._left_out += len(lines)
            self._tell()
            return
        self._room -= len(lines)
        try:
            self._out.write(lines)
            self._out.flush()
        except (OSError, ValueError):
            return  # our own log cannot be written: there is nowhere to tell it

    def _tell(self) -> None:
        if self._left_out and self._seldom.allows(LEFT_OUT, self._monotonic()) is not None:
            log.warning(LEFT_OUT, handler=self._handler, bytes=self._left_out, note="the handler prints too much")
            self._left_out = 0
