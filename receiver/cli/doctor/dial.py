"""Dial: a connection to a name or a socket, with or without TLS, and one small request over it."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from receiver import __version__
from receiver.cli.doctor.case import Info

PATIENCE = 6.0
"""Seconds to connect, to agree on TLS, and to answer; each."""
ANSWER_MOST = 64 * 1024

Make = Callable[[Info], socket.socket]
"""Makes the socket for an address. Raises OSError where it may not be called."""


class Unreached(Exception):
    """No connection; `phase` is connect or tls, the message says why."""

    def __init__(self, phase: str, words: str, fault: Exception | None = None) -> None:
        super().__init__(words)
        self.phase, self.words, self.fault = phase, words, fault


class Answer(NamedTuple):
    """What was answered, and after how long."""

    status: int
    headers: Mapping[str, str]
    """Names in small letters."""
    body: str
    took: timedelta


@dataclass
class Line:
    """An open connection. Use it with `async with`."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def valid_for(self) -> timedelta | None:
        """How long the certificate is still valid; None without TLS."""
        encrypted = self.writer.get_extra_info("ssl_object")
        certificate = encrypted.getpeercert() if encrypted else None
        if not certificate:
            return None
        ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
        return ends - datetime.now(UTC)

    async def get(self, host: str, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """One GET. Raises OSError, TimeoutError, and ValueError where the answer is no HTTP."""
        fields = {"host": host, "user-agent": f"receiver-doctor/{__version__}", "accept": "*/*", "connection": "close"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | dict(headers or {})).items())
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            self.writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("ascii"))
            head = await self._head()
            status, given = _read_head(head)
            body = await self._body()
        took = timedelta(seconds=time.perf_counter() - began)
        return Answer(status, given, body.decode("utf-8", "replace"), took)

    async def _head(self) -> bytes:
        try:
            return await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as fault:
            raise ConnectionResetError(f"the connection ended after {len(fault.partial)} bytes") from None
        except asyncio.LimitOverrunError:
            raise ValueError("the answer has no end of its head") from None

    async def _body(self) -> bytes:
        """Its beginning, as it travels: what is in chunks keeps their sizes."""
        said = b""
        with suppress(OSError):
            while len(said) < ANSWER_MOST and (more := await self.reader.read(ANSWER_MOST - len(said))):
                said += more
        return said


async def dial(
    infos: Sequence[Info], host: str, *, tls: ssl.SSLContext | None = None, make: Make | None = None
) -> Line:
    """Connect to the first address that takes us. Raises Unreached, with the fault of the last one."""
    fault: Exception = OSError("it has no address")
    for info in infos:
        try:
            return await _connected(info, host, tls, make or _plain_socket)
        except ssl.SSLCertVerificationError as broken:
            raise Unreached("tls", f"the certificate is not valid: {broken.verify_message}", broken) from None
        except ssl.SSLError as broken:
            words = (broken.reason or "no TLS").replace("_", " ").lower()
            raise Unreached("tls", f"no TLS there: {words}", broken) from None
        except (OSError, TimeoutError) as broken:
            fault = broken
    raise Unreached("connect", words_of(fault), fault)


async def dial_path(path: Path) -> Line:
    """Connect to a unix socket. Raises Unreached."""
    try:
        async with asyncio.timeout(PATIENCE):
            return Line(*await asyncio.open_unix_connection(str(path)))
    except (OSError, TimeoutError) as fault:
        raise Unreached("connect", words_of(fault), fault) from None


def words_of(fault: Exception) -> str:
    """A failure in words, without addresses that were not asked for."""
    if isinstance(fault, TimeoutError):
        return f"no answer within {PATIENCE:.0f} s"
    if isinstance(fault, OSError) and fault.errno and fault.errno > 0:
        return os.strerror(fault.errno).lower()
    return (getattr(fault, "strerror", None) or str(fault) or type(fault).__name__).lower()


async def _connected(info: Info, host: str, tls: ssl.SSLContext | None, make: Make) -> Line:
    made = make(info)
    made.setblocking(False)
    try:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(made, info[4])
            return Line(*await asyncio.open_connection(sock=made, ssl=tls, server_hostname=host if tls else None))
    except BaseException:
        made.close()
        raise


def _plain_socket(info: Info) -> socket.socket:
    return socket.socket(*info[:3])


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/") or not rest[:3].isdecimal():
        raise ValueError("the answer is no HTTP")
    fields = (line.partition(":") for line in lines if line)
    return int(rest[:3]), {name.strip().lower(): value.strip() for name, _, value in fields}
