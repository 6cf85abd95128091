"""One connection of a stranger: bytes go out as they are, and the answers are counted as they come."""

import asyncio
import re
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TextIO, cast

PATIENCE = 20.0
"""Seconds after which a connection that is neither answered nor closed is given up; the receiver has nine."""
EXPECTED = frozenset({200, 400, 404, 405, 413, 503})
HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n")
OUTCOME = re.compile(rb"receiver-outcome: (\w+)")
EVENTS = re.compile(rb"receiver-event: ([0-9a-f,-]+)")
MOST_FAULTS = 5


@dataclass
class Tally:
    """What a stranger's requests came to."""

    kept: TextIO
    """Where the ids of acknowledged events are written, one a line."""
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    closed: int = 0
    """Connections that were closed before all on them was answered."""
    hangs: int = 0
    slowest: float = 0.0
    """Seconds until a connection was answered or closed."""
    faults: list[str] = field(default_factory=list)

    def fault(self, words: str, sent: bytes) -> None:
        """Note what was wrong, and with which bytes; of many the first ones."""
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(f"{words}: {sent[:400]!r}")

    def answered(self, status: int, lines: bytes, sent: bytes) -> None:
        """One answer, with the lines of its head."""
        self.statuses[status] += 1
        if status not in EXPECTED or (status == 503 and b"retry-after: " not in lines):
            self.fault(f"answered {status}", sent)
        if outcome := OUTCOME.search(lines):
            self.outcomes[outcome[1].decode()] += 1
        if events := EVENTS.search(lines):
            self.kept.write(events[1].decode().replace(",", "\n") + "\n")

    def to_json(self) -> dict[str, object]:
        """For the one who started us."""
        facts = vars(self) | {"statuses": dict(self.statuses), "outcomes": dict(self.outcomes)}
        return {name: fact for name, fact in facts.items() if name != "kept"}


class Line(asyncio.Protocol):
    """A connection; open it with `opened`."""

    def __init__(self, tally: Tally) -> None:
        self.transport: asyncio.Transport
        self.gone = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""
        self._tally = tally
        self._buffer = b""
        self._owed: list[bytes] = []
        self._at = 0
        self._done: asyncio.Future[None] | None = None

    @classmethod
    async def opened(cls, tally: Tally, port: int, *, small: bool = False) -> "Line | None":
        """A new connection; None where nobody listens at this moment. A small one holds little that is not read."""
        loop, ours = asyncio.get_running_loop(), socket.socket()
        ours.setblocking(False)  # noqa: FBT003
        if small:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await loop.sock_connect(ours, ("127.0.0.1", port))
            _, line = await loop.create_connection(lambda: cls(tally), sock=ours)
        except OSError:
            ours.close()
            return None
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The beginning."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def connection_lost(self, _exc: Exception | None) -> None:
        """The end."""
        for waiting in (self.gone, self._done):
            if waiting and not waiting.done():
                waiting.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Count the heads of answers; what is half waits for more."""
        self._buffer += data
        end = 0
        for head in HEAD.finditer(self._buffer):
            end = head.end()
            if (status := int(head[1])) == 100:
                continue
            self._tally.answered(status, head[2], b"".join(self._owed[self._at : self._at + 1]))
            self._at += 1
        self._buffer = self._buffer[end:]
        if self._done and self._at >= len(self._owed) and not self._done.done():
            self._done.set_result(None)

    async def exchange(self, *requests: bytes, hang_up: bool = False) -> bool:
        """Send these in one go, and wait until all are answered; False where the connection has ended.

        With `hang_up` we say that no more will come from us, and wait for the end.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._owed, self._at = [*requests], 0
        self._done = self.gone if hang_up else loop.create_future()
        self.transport.write(b"".join(requests))
        if hang_up and not self.transport.is_closing():
            self.transport.write_eof()
        return await self.ends(began)

    async def ends(self, began: float) -> bool:
        """Wait for what is owed since `began`; whether the connection is still there."""
        loop = asyncio.get_running_loop()
        assert self._done
        await asyncio.wait({self._done}, timeout=max(0.0, began + PATIENCE - loop.time()))
        took = loop.time() - began
        self._tally.slowest = max(self._tally.slowest, took)
        if not self._done.done():
            self._tally.hangs += 1
            self._tally.fault(f"neither answered nor closed for {took:.1f} s", b"".join(self._owed))
            self.transport.abort()
        elif self._at < len(self._owed):
            self._tally.closed += 1
        return not self.gone.done() and not self.transport.is_closing()

    def expect(self, sent: bytes) -> None:
        """From now on the end is waited for; `sent` is named where something is wrong."""
        self._owed, self._at, self._done = [sent], 0, self.gone

    async def pause(self, seconds: float) -> bool:
        """Do nothing for a while; False as soon as the connection has ended."""
        await asyncio.wait({self.gone}, timeout=seconds)
        return not self.gone.done()
