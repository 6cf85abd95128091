"""The HTTP server: one uvicorn on both listeners' sockets, with our way of starting, stopping and limiting."""

import asyncio
import contextlib
import errno
import logging
import os
import re
import resource
import socket
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.errors import ReceiverError

BACKLOG = 2048
KEEP_ALIVE = timedelta(seconds=75)  # above nginx's own 60 s for upstreams, so that the proxy closes first
DRAIN = timedelta(seconds=4)  # what requests in flight get when we stop
WHOLE_WITHIN = timedelta(seconds=10)  # from a connection's or a request's beginning to the request's end
HEAD_MOST = 64 * 1024  # bytes of request line and headers
UNREAD_MOST = 1024**2  # bytes of a body that are thrown away after its request was answered
MOST_CONNECTIONS = 2048
SPARE_FILES = 256  # file handles for everything that is no connection
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\nNot stored; send it again.\n"
)

_HIGH = re.compile(rb"[\x80-\xff]")
# uvicorn writes a line for every malformed request; strangers are not worth that.
_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)


class AddressTaken(ReceiverError):
    """Another program listens there already."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, with the limits it lacks: on the head, on half requests, on bodies nobody wants.

    A callback whose URL holds bytes beyond ASCII is taken, with these bytes percent-encoded.
    """

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self.logger = _log
        self.access_log = False
        self._in_head = self._in_body = False
        self._bytes = self._chunk = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection has to say something soon. Where there are too many, one that does nothing goes."""
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        self._watch()
        if len(self.connections) > most_connections() and not self._make_room():
            transport.write(FULL)
            transport.close()

    def _make_room(self) -> bool:
        """Close the connection that has done nothing for the longest time; False where all are at work."""
        others = (each for each in self.connections if each is not self and isinstance(each, Protocol))
        idle = min((each for each in others if each._is_idle()), key=lambda each: each._heard_at, default=None)
        if idle is None:
            return False
        idle.transport.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from either side."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and see what is still to come."""
        self._heard_at = self.loop.time()
        self._chunk = len(data)
        super().data_received(data if data.isascii() else self._with_plain_line(data))
        if self.transport.is_closing():
            self._unwatch()
        elif self._in_head or self._in_body or self._is_idle():
            self._bytes += len(data)
            self._limit()

    def _with_plain_line(self, data: bytes) -> bytes:
        """Escape the bytes beyond ASCII in a request line: curl and PHP send them, nginx passes them on, llhttp refuses
        them."""
        if self._in_body or (self._in_head and self.headers):
            return data
        line, end, rest = data.partition(b"\n")
        return _HIGH.sub(lambda byte: b"%%%02X" % byte[0][0], line) + end + rest

    def _is_idle(self) -> bool:
        """Whether nothing is being answered; uvicorn no longer watches an idle connection once it has said anything."""
        return self.cycle is None or self.cycle.response_complete

    def _limit(self) -> None:
        """What is half has a deadline; an endless head and an unwanted body have an end."""
        if self._deadline is None:
            self._watch()
        if self._in_head and self._bytes > HEAD_MOST:
            self.send_400_response("The request's head is too large.")
        elif self._in_body and self.cycle.response_complete and self._bytes > UNREAD_MOST:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Request line and headers are there. Raises ValueError, which is answered 400, where they are too large."""
        came, self._in_head, self._in_body, self._bytes = self._bytes + self._chunk, False, True, 0
        if (
            came > HEAD_MOST
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_MOST
        ):
            raise ValueError("the request's head is too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = False
        self._unwatch()
        super().on_message_complete()

    def shutdown(self) -> None:
        """Finish what is being answered; a half request was promised nothing."""
        if self._in_head or self._in_body:
            self.transport.close()
        else:
            super().shutdown()

    def _watch(self) -> None:
        self._deadline = self.loop.call_later(WHOLE_WITHIN.total_seconds(), self.transport.close)

    def _unwatch(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None


def most_connections() -> int:
    """How many there may be: no more than there are file handles for."""
    return min(MOST_CONNECTIONS, max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES, SPARE_FILES))


def allow_connections() -> None:
    """Take as many file handles as we are allowed to; the usual 1,024 are fewer than there may be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class Server(uvicorn.Server):
    """Serves until `stop`; signals are the caller's."""

    def __init__(self, app: object, *, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(
            uvicorn.Config(
                app,  # type: ignore[arg-type]
                loop="none",
                http=Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,
                server_header=False,
                date_header=True,
                access_log=False,
                log_config=None,
                backlog=BACKLOG,
                timeout_keep_alive=int(KEEP_ALIVE.total_seconds()),
                timeout_graceful_shutdown=int(DRAIN.total_seconds()),
            )
        )
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not here: `receiver serve` decides what a signal does."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._ready()

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, return from `serve`."""
        self.should_exit = True


def bind(host: str, port: int, path: Path | None) -> socket.socket:
    """A listening address. Raises AddressTaken naming who has it, ReceiverError for any other reason."""
    try:
        return _bind_unix(path) if path else _bind_tcp(host, port)
    except OSError as fault:
        where = str(path) if path else f"{host}:{port}"
        if fault.errno == errno.EADDRINUSE:
            raise AddressTaken(f"{where} is in use{_holder(port) if port else ''}") from fault
        raise ReceiverError(f"cannot listen on {where}: {fault.strerror or fault}") from fault


def _bind_tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_unix(path: Path) -> socket.socket:
    """A socket left behind by a receiver that is gone is replaced; one that somebody answers on is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def passed_sockets() -> dict[str, socket.socket]:
    """Listening sockets passed by systemd, by name (`callbacks`, `admin`); sd_listen_fds(3)."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    found = {}
    for number in range(count):
        name = names[number] if number < len(names) else ""
        found[name if name in ("callbacks", "admin") else ("callbacks", "admin")[number]] = socket.socket(
            fileno=3 + number
        )
    return found


def _holder(port: int) -> str:
    """Which process listens on a TCP port, as far as we may see: ` by php (pid 812)`."""
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":  # LISTEN
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir()):
                return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
