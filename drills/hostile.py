"""Web and mail servers with bad manners, for `forward` and `email` handlers."""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple

from drills.ledger import NO_CONTENT, body
from drills.rogues import DEAD, DONE, HELD
from drills.yard import ROOT, forward_to

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
RESET = struct.pack("ii", 1, 0)
SOON = 'timeout = "500ms"\nretries = ["100ms"]'
PATIENT = 'timeout = "10s"\nretries = ["100ms"]'
"""For what is answered in time, also on a busy machine."""


class Hostile(NamedTuple):
    """How a server answers; what must come of what it is brought, and how the reasons begin."""

    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    end: str
    reasons: tuple[str, ...] = ("",)
    mail: bool = False

    def table(self, name: str, port: int) -> str:
        """The handler that has to do with it."""
        keys = SOON if self.end == HELD else PATIENT
        if not self.mail:
            return forward_to(f"http://127.0.0.1:{port}/", keys, name=name)
        server = f'smtp = {{ host = "127.0.0.1", port = {port}, tls = "none" }}'
        ends = 'from = "receiver@example.com"\nto = ["ops@example.com"]'
        return "\n".join([f"[handlers.{name}]", 'use = "email"', server, ends, keys, ""])


def web(answer: Answer) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Read requests, and answer each."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await body(reader)
            await answer(writer)
            await writer.drain()

    return talk


def says(text: bytes) -> Answer:
    """Always the same bytes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(text)

    return answer


async def never(_: asyncio.StreamWriter) -> None:
    """No answer."""
    await asyncio.sleep(3600)


async def slowly(writer: asyncio.StreamWriter) -> None:
    """In time, but late."""
    await asyncio.sleep(0.2)
    writer.write(NO_CONTENT)


async def reset(writer: asyncio.StreamWriter) -> None:
    """A broken connection."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def endless(writer: asyncio.StreamWriter) -> None:
    """A body that never ends, as fast as it is taken."""
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x" * 65536)
        await writer.drain()
        await asyncio.sleep(0)  # a drain that need not wait lets nobody else have a turn


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then."""
    for byte in b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1000:
        if writer.is_closing():
            return
        writer.write(bytes([byte]))
        await asyncio.sleep(0.1)


def mail(reply: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A mail server that answers MAIL FROM with this."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := (await reader.readline()).upper():
            writer.write(
                reply if line.startswith(b"MAIL") else b"221 bye\r\n" if line == b"QUIT\r\n" else b"250 yes\r\n"
            )

    return talk


async def tarpit(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A mail server that takes its time with every byte of its greeting."""
    while not writer.is_closing():
        writer.write(b"2")
        await asyncio.sleep(0.2)


HOSTILE = {
    "mute": Hostile(web(never), HELD),
    "late": Hostile(web(slowly), DONE),
    "busy": Hostile(web(says(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n")), HELD),
    "moved": Hostile(web(says(b"HTTP/1.1 302 There\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n")), DEAD),
    "resets": Hostile(web(reset), HELD),
    "endless": Hostile(web(endless), DONE),
    "garbage": Hostile(web(says(b"\x00\xff\x00 no such protocol\r\n\r\n")), DEAD),
    "drips": Hostile(web(drip), HELD),
    "tarpit": Hostile(tarpit, HELD, mail=True),
    "mail4xx": Hostile(mail(b"451 later\r\n"), HELD, mail=True),
    "mail5xx": Hostile(mail(b"550 never\r\n"), DEAD, mail=True),
}


@asynccontextmanager
async def apart(names: Sequence[str]) -> AsyncIterator[dict[str, int]]:
    """These servers in a process of their own, so that what they do takes nothing from who measures: their ports."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "drills.hostile", *names),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    try:
        yield json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def serve(names: Sequence[str]) -> None:
    """Run these servers, say where, and end with standard input."""
    async with AsyncExitStack() as stack:
        ports = {name: await stack.enter_async_context(listening(HOSTILE[name])) for name in names}
        sys.stdout.write(f"{json.dumps(ports)}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


@asynccontextmanager
async def listening(hostile: Hostile) -> AsyncIterator[int]:
    """A server of this kind on a free port of the loopback: the port."""
    talking = set[asyncio.Task[None]]()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):
                await hostile.talk(reader, writer)
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(talk(reader, writer))
        talking.add(task)
        task.add_done_callback(talking.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        await asyncio.sleep(0)  # for what was aborted to be closed


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
