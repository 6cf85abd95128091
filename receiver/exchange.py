"""One request and its answer: from a connection to the application and back, many at a time."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

SPECIAL = frozenset({b"connection", b"transfer-encoding"})
"""Headers that say more than themselves."""


class Shared(ServerState):
    """What the connections of a server have in common: also the requests of this turn, and the answers going out.

    Answers come by the batch, one for each callback of a commit. Written one behind the other, without anything in
    between, they cost half: whoever reads them is woken once and not for each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop: asyncio.AbstractEventLoop
        self.ahead = 0
        """Requests that wait for the answers before them, on all connections."""
        self.tasks: set[Any]
        self._came: list[Exchange] = []
        self._going: list[Exchange] = []
        self._common: tuple[Any, bytes] = (None, b"")

    def call(self, exchange: "Exchange") -> None:
        """Call the application for a request, one behind the other with all that came in this turn of the loop."""
        if not self._came:
            self.loop.call_soon(self._call)
        self._came.append(exchange)

    def _call(self) -> None:
        came, self._came = self._came, []
        for exchange in came:
            exchange.step()

    def common(self) -> bytes:
        """The headers of every answer, as they are written; new ones each second."""
        headers, written = self._common
        if headers is not self.default_headers:
            written = b"".join([b"%b: %b\r\n" % pair for pair in self.default_headers])
            self._common = self.default_headers, written
        return written

    def post(self, exchange: "Exchange") -> None:
        """Write an answer, behind all that become ready together with it."""
        if not self._going:
            self.loop.call_soon(self._write)
        self._going.append(exchange)

    def _write(self) -> None:
        going, self._going = self._going, []
        for exchange in going:
            if exchange.transport.is_closing():
                continue
            exchange.transport.write(exchange.outgoing)
            exchange.outgoing = b""
            if not exchange.keep_alive:
                exchange.transport.close()


class Exchange(RequestResponseCycle):
    """One request and its answer. An answer that is whole when it begins goes out in one write.

    The application's coroutine is stepped here and not by a task: making, waking and ending one is a twentieth of what
    a report costs. An application that needs a task (for timeouts, for threads) makes one.
    """

    access_log = disconnected = response_started = response_complete = False
    more_body = True
    chunked_encoding = None
    expected_content_length = 0
    begin: Any = None
    """The beginning of the answer, kept back until its body is there."""
    outgoing = b""
    """The whole answer, until it is written."""

    def __init__(self, shared: Shared, protocol: HttpToolsProtocol, scope: Any, *, keep_alive: bool) -> None:
        """What uvicorn's does, in half the time: what is the same for all stands above."""
        self.scope, self.keep_alive = scope, keep_alive
        self.transport, self.flow, self.logger = protocol.transport, protocol.flow, protocol.logger
        self.on_response = protocol.on_response_complete
        self.waiting_for_100_continue = protocol.expect_100_continue
        self.message_event = asyncio.Event()
        self.body = bytearray()
        self._shared = shared
        self._waits_for: asyncio.Future[Any] | None = None

    def start(self, app: Any) -> None:
        """Have the application answer."""
        self._answering = self.run_asgi(app)
        self._shared.tasks.add(self)
        self._shared.call(self)

    def step(self, _heard: object = None) -> None:
        """Go on with the answer, up to what it has to wait for."""
        try:
            self._waits_for = waits_for = self._answering.send(None)
        except BaseException as end:
            self._shared.tasks.discard(self)
            if not isinstance(end, StopIteration):  # which must not cost the others of this turn
                self._shared.loop.call_exception_handler({"message": "answering failed", "exception": end})
        else:
            if waits_for is None:  # for the next turn of the loop
                self._shared.loop.call_soon(self.step)
            else:
                waits_for.add_done_callback(self.step)

    def cancel(self, msg: str = "") -> None:
        """What the answer waits for comes no more: raise CancelledError there."""
        if self._waits_for:
            self._waits_for.cancel(msg)

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """Those of every answer."""
        return self._shared.default_headers

    async def send(self, message: Any) -> None:
        """The ASGI `send`."""
        if self.begin is None:
            self.begin = message
            return
        if self.transport.is_closing():  # nobody is there any more; writing would raise
            self.disconnected = True
        if self.response_started or not self._send_whole(message):
            if not self.response_started:
                await super().send(self.begin)
            await super().send(message)

    def _send_whole(self, message: Any) -> bool:
        """Write head and body together, where nothing about them is special. Whether they were."""
        body = message.get("body", b"")
        begin = self.begin
        if message.get("more_body") or self.flow.write_paused or self.disconnected or self.scope["method"] == "HEAD":
            return False
        headers = begin["headers"]
        written = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        if (b"content-length", b"%d" % len(body)) not in headers or written.count(b"\n") != len(headers):
            return False
        if not SPECIAL.isdisjoint([name for name, _ in headers]):
            return False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.outgoing = b"".join([STATUS_LINE[begin["status"]], self._shared.common(), written, end, body])
        self.response_started = self.response_complete = True
        self._shared.post(self)
        self.message_event.set()
        self.on_response()
        return True
