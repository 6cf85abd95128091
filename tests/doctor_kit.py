"""What the tests of the doctor share: a case made of a configuration, and servers that answer as they are told."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from receiver import config
from receiver.cli.doctor.case import Case

SECRET = "abcdefghijklmnopqrst"
SOURCE = f'[sources.spryng]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\n'
OURS = (
    b"HTTP/1.1 200 OK\r\nreceiver-outcome: ignored\r\ncontent-length: 3\r\n\r\nOK."  # as `web` answers an empty request
)


def case(folder: Path, *tables: str, only: str = "", secrets: bool = True) -> Case:
    """A receiver with these tables, a source among them."""
    file = folder / "receiver.toml"
    file.write_text("\n".join((SOURCE, *tables)))
    file.chmod(0o600)
    settings = config.load(file, secrets=True, env={})
    handlers = {name: config.handler_settings(settings, name, secrets=True)[1] for name in settings.handlers}
    return Case(settings, handlers, secrets, datetime.now(UTC), only)


class Asked:
    """A server, and what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[str] = []


@asynccontextmanager
async def answering(
    answer: bytes, *, way: bytes = b"", asked_for: str = "/in/spryng/", **how: Any
) -> AsyncIterator[Asked]:
    """A server on a free loopback port that gives everybody the same answer; with `ssl` over TLS.

    With `way` another one to requests for the path `asked_for`, by itself one without an endpoint.
    """
    asked = Asked()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(way if way and f"{asked_for} " in asked.heads[-1] else answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, **how)
    asked.port = server.sockets[0].getsockname()[1]
    try:
        yield asked
    finally:
        server.close()
