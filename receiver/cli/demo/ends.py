"""The ends of the demo: a web server that is away for a while, and a mail server; each knows which events it has."""

import asyncio
import email
import re
from collections import Counter
from email.policy import default
from typing import Self

EVENT = re.compile(r"\bevent ([0-9a-f]{8}-[0-9a-f-]{27})\b")
LARGEST = 64 * 1024**2
"""Bytes of one mail."""


class End:
    """A server on a free loopback port; its connections end with it. Use it with `async with`."""

    def __init__(self) -> None:
        self.port = 0
        self.events: Counter[str] = Counter()
        """Event id → how often it came."""
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=LARGEST)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass  # whoever calls us has gone
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class Shop(End):
    """Takes what `forward` brings: 204, or 503 while it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.refused = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.strip().split("\r\n")[1:])
            await reader.readexactly(int(fields["content-length"]))
            if self.away:
                self.refused += 1
            else:
                self.events[fields["webhook-id"]] += 1
            status = b"503 Service Unavailable" if self.away else b"204 No Content"
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()


class Postbox(End):
    """Takes every mail, and reads in it which events it is about."""

    def __init__(self) -> None:
        super().__init__()
        self.mails = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 demo ready\r\n")
        while True:
            verb = (await reader.readuntil(b"\r\n"))[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 Go on\r\n")
                self._take(await reader.readuntil(b"\r\n.\r\n"))
            known = verb in (b"EHLO", b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP")
            writer.write({True: b"250 OK\r\n", False: b"502 What?\r\n"}[known] if verb != b"QUIT" else b"221 Bye\r\n")
            await writer.drain()
            if verb == b"QUIT":
                return

    def _take(self, data: bytes) -> None:
        mail = email.message_from_bytes(data.replace(b"\r\n..", b"\r\n."), policy=default)
        self.mails += 1
        self.events.update(set(EVENT.findall(mail.get_content())))
