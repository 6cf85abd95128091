"""A target for `forward`, a process of its own: it answers 204 to whatever is POSTed, as cheaply as it can."""

import asyncio
import os
import sys
from typing import Any

import uvloop

from benchmarks import machine

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Line(asyncio.Protocol):
    """One connection; requests come with a Content-Length."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._buffer += data
        while (end := _end(self._buffer)) and len(self._buffer) >= end:
            self._buffer = self._buffer[end:]
            self._transport.write(ANSWER)


def _end(data: bytes) -> int:
    """Where the first request ends; 0 where that cannot be told yet."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    at = data[:head].lower().find(b"content-length:")
    return head + 4 + (int(data[at + 15 : data.find(b"\r", at)]) if at >= 0 else 0)


async def answer(port: int) -> None:
    """Answer on this port, for ever."""
    server = await asyncio.get_running_loop().create_server(Line, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    os.sched_setaffinity(0, machine.load_cores())
    uvloop.run(answer(int(sys.argv[1])))
