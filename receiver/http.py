"""The HTTP server: one uvicorn on both listeners' sockets, with our way of starting, stopping and limiting."""

import asyncio
import contextlib
import heapq
import logging
import math
import re
import resource
import socket
from collections import deque
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver.exchange import Exchange, Shared
from receiver.listening import BACKLOG

KEEP_ALIVE = timedelta(seconds=75)  # above nginx's own 60 s for upstreams, so that the proxy closes first
DRAIN = timedelta(seconds=4)  # what requests in flight get when we stop
LINGER = timedelta(seconds=0.5)  # what connections get then whose next request may be on its way
WHOLE_WITHIN = timedelta(seconds=9)  # from a connection's or a request's beginning to the request's end
HEAD_MOST = 64 * 1024  # bytes of request line and headers
UNREAD_MOST = 1024**2  # bytes of a body that are thrown away after its request was answered
AHEAD_MOST = 64  # requests that may wait on a connection for the answers before them
AHEAD_MOST_OF_ALL = 4096
UNHEARD_MOST = 4096  # bytes of answers that nobody reads, besides what the system keeps; no more are made then
MOST_CONNECTIONS = 2048
ROOM = 32  # of so many connections one has to go where there are too many: each look through all of them costs
SPARE_FILES = 256  # file handles for everything that is no connection
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 27\r\nconnection: close\r\n\r\nNot stored; send it again.\n"
)

ASGI = {"version": "3.0", "spec_version": "2.3"}

_HIGH = re.compile(rb"[\x80-\xff]")
# uvicorn writes a line for every malformed request; strangers are not worth that.
_log = logging.getLogger(__name__)
_log.setLevel(logging.ERROR)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with the limits it lacks: on the head, on half requests, on bodies nobody wants.

    A callback whose URL holds bytes beyond ASCII is taken, with these bytes percent-encoded.
    """

    server_state: Shared
    cycle: Exchange
    pipeline: deque[tuple[Exchange, Any]]  # type: ignore[assignment]

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self.logger = _log
        self.access_log = False
        self._in_head = self._in_body = self._begins = self._ending = False
        self._bytes = self._chunk = 0
        self._heard_at = self._due = 0.0
        self._half = True
        """Whether `_due` is the deadline of a request that is not yet whole."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A new connection has to say something soon. Where there are too many, one that does nothing goes."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(UNHEARD_MOST)
        self._heard_at = self.loop.time()
        self._due = self._heard_at + WHOLE_WITHIN.total_seconds()
        self._tick()
        if len(self.connections) > most_connections() and not self._make_room():
            transport.write(FULL)
            transport.close()

    def _make_room(self) -> bool:
        """End some connections: strangers' before those of who asked and listened. False where all are at work."""
        others = (each for each in self.connections if each is not self and isinstance(each, Protocol))
        idle = [each for each in others if each._is_idle() or each.flow.write_paused]
        some = max(1, len(self.connections) // ROOM)
        for each in heapq.nsmallest(some, idle, key=lambda each: (each._is_known(), each._heard_at)):
            each._end()
        return bool(idle)

    def _is_known(self) -> bool:
        """Whether somebody asked here, and heard the answers."""
        return self.cycle is not None and not self.flow.write_paused

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():  # nobody reads it; a mere close would wait for that
            self.transport.abort()
        else:
            self.transport.close()

    def _tick(self) -> None:
        """Close what is due; look again when it may be. One timer for a connection costs less than two a request."""
        now = self.loop.time()
        if now < self._due:
            self._timer = self.loop.call_at(min(self._due, now + WHOLE_WITHIN.total_seconds()), self._tick)
        else:
            self._end()

    def _is_due_at(self, moment: float) -> None:
        """Have an earlier moment than the timer knows."""
        self._due = min(self._due, moment)
        if self._timer:
            self._timer.cancel()
        self._tick()

    def pause_writing(self) -> None:
        """Answers are not read. Whoever is deaf has no longer than whoever is slow."""
        super().pause_writing()
        self._is_due_at(self.loop.time() + WHOLE_WITHIN.total_seconds())

    def resume_writing(self) -> None:
        """They are read again."""
        super().resume_writing()
        if not self._half:
            self._due = self.loop.time() + KEEP_ALIVE.total_seconds()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from either side."""
        if self._timer:
            self._timer.cancel()
        self.server_state.ahead -= len(self.pipeline)
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and see what is still to come."""
        self._heard_at = self.loop.time()
        self._chunk, self._begins = len(data), False
        try:
            self.parser.feed_data(data if data.isascii() else self._with_plain_line(data))
        except httptools.HttpParserUpgrade:  # to what, nobody here speaks; it is answered as any other request
            pass
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head or self._in_body or self._is_idle():
            self._bytes += len(self.url) if self._begins else len(data)  # the rest of it was another request's
            self._limit()

    def _with_plain_line(self, data: bytes) -> bytes:
        """Escape the bytes beyond ASCII in a request line: curl and PHP send them, nginx passes them on, llhttp refuses
        them."""
        if self._in_body or (self._in_head and self.headers):
            return data
        line, end, rest = data.partition(b"\n")
        return _HIGH.sub(lambda byte: b"%%%02X" % byte[0][0], line) + end + rest

    def _is_idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.outgoing)

    def _limit(self) -> None:
        """What is half has a deadline; an endless head and an unwanted body have an end."""
        if self.transport.is_closing():
            return
        if not self._half:
            self._half, self._due = True, self._heard_at + WHOLE_WITHIN.total_seconds()
        if self._in_head and self._bytes > HEAD_MOST:
            self.send_400_response("The request's head is too large.")
        elif self._in_body and self.cycle.response_complete and self._bytes > UNREAD_MOST:
            self.transport.close()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head, self._begins, self._bytes = True, True, 0
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        """Request line and headers are there. Raises ValueError, which is answered 400, where something is too much."""
        came, self._in_head, self._in_body, self._bytes = self._bytes + self._chunk, False, True, 0
        if (
            came > HEAD_MOST
            and len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD_MOST
        ):
            raise ValueError("the request's head is too large")
        before, self.cycle = self.cycle, self._exchange()
        if before is None or before.response_complete:
            self.cycle.start(self.app)
        elif len(self.pipeline) >= AHEAD_MOST or self.server_state.ahead >= AHEAD_MOST_OF_ALL:
            raise ValueError("too many requests are sent ahead")
        else:  # sent ahead of the answers before it
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
            self.server_state.ahead += 1

    def _exchange(self) -> Exchange:
        """What the application is given."""
        parser = self.parser
        version, url = parser.get_http_version(), httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": self.headers,
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self._ending
        return Exchange(self.server_state, self, scope, keep_alive=keep_alive)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_body = self._half = False
        self._due = math.inf
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        """The answer is out: on to what was sent ahead, or to being idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self.server_state.ahead -= 1
            exchange, app = self.pipeline.pop()
            exchange.start(app)
            return
        self.flow.resume_reading()
        if not self._half:
            self._due = self.loop.time() + KEEP_ALIVE.total_seconds()

    def shutdown(self) -> None:
        """Finish what is being answered, and what may be on its way; a request that stays half was promised nothing."""
        self._ending = True
        if self.cycle and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        if self._half or self._is_idle():
            self._is_due_at(self.loop.time() + LINGER.total_seconds())


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
        self.server_state: Shared = Shared()
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not here: `receiver serve` decides what a signal does."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        self.server_state.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready()

    def stop(self) -> None:
        """Accept nothing more, finish what is being answered, return from `serve`."""
        self.should_exit = True
