"""Callbacks in: check a request, read it, have it stored, and only then answer; every answer is decided here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from receiver import peer
from receiver.callback import NONE, Callback, Reply
from receiver.errors import Forbidden, StoreUnavailable
from receiver.fairness import Room
from receiver.metrics import Meter
from receiver.reading import NOTHING, Reader
from receiver.source import Source
from receiver.store.base import Recorded, Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TEXT = "text/plain; charset=utf-8"
NOT_FOUND = b"Not found.\n"  # one body for all that is refused: nobody learns what was wrong
ALLOWED = b"GET, POST, HEAD, OPTIONS"
EMPTY = (b"", b"{}", b"[]")
PROBES = ("HEAD", "OPTIONS")
BODY = frozenset({b"content-length", b"transfer-encoding"})  # one of them says that a body follows (RFC 9112 6.3)
MOST_READING = 32 * 1024**2  # bytes of bodies that may be on their way in before others are refused
STOPPING = StoreUnavailable("the receiver is stopping, and the disk has not answered")
SIMULATED = b"receiver-simulated"


class Journal(Protocol):
    """Where it is said what happened: a structured log that masks numbers and never repeats itself without end."""

    def refused(self, source: str, endpoint: str, reason: str, address: str) -> None: ...
    def ignored(self, source: str, endpoint: str, address: str) -> None: ...
    def quarantined(self, callback: Callback, fault: str) -> None: ...
    def repeated(self, callback: Callback, recorded: Recorded) -> None: ...
    def unavailable(self, reason: str) -> None: ...
    def adapter_failed(self, callback: Callback, fault: Exception) -> None: ...


class _Refused(Exception):
    """A request that gets the one 404; the reason is for us alone."""

    def __init__(self, reason: str, source: str = "", endpoint: str = "") -> None:
        self.reason, self.source, self.endpoint = reason, source, endpoint


class _Gone(Exception):
    """The client left before its request was whole; there is nobody to answer."""


class Intake:
    """The ASGI application behind /in/: one request, one answer, in the order of checks that the interface names."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        store: Store,
        *,
        max_body: int,
        max_in_flight: int,
        trusted: Sequence[peer.Network],
        clock: Callable[[], datetime],
        meter: Meter,
        journal: Journal,
        refused: Callable[[str], None] = lambda _source: None,
    ) -> None:
        self.sources = sources
        self.closed = ""
        """Why nothing is taken yet; empty where callbacks are taken."""
        self.stored_at: float | None = None
        """When a callback was last stored, on the monotonic clock."""
        self._store = store
        self._max_body = max_body
        self._room = Room(max_in_flight)
        self._reading = 0
        self._trusted = trusted
        self._clock = clock
        self._meter = meter
        self._journal = journal
        self._reader = Reader(store, journal.adapter_failed)
        self._on_refused = refused
        meter.watch(_secrets(sources))

    def adopt(
        self, sources: Mapping[str, Source], *, max_body: int, max_in_flight: int, trusted: Sequence[peer.Network]
    ) -> None:
        """Go on with another configuration; requests that were let in under the old one end under it."""
        self.sources, self._max_body, self._trusted = sources, max_body, trusted
        self._room.most = max_in_flight
        self._meter.watch(_secrets(sources))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        try:
            source, endpoint = self._admit(scope)
        except _Refused as refusal:
            self._note_refusal(refusal, scope)
            await _answer(send, 404, NOT_FOUND)
            return
        try:
            self._meter.in_flight += 1
            self._room.enter(source.name)
            outcome = await self._receive(source, endpoint, scope, receive, send)
        except _Gone:
            outcome = "incomplete"
        finally:
            self._meter.in_flight -= 1
            self._room.leave(source.name)
        self._meter.answered(source.name, outcome, time.perf_counter() - began)

    def _admit(self, scope: Scope) -> tuple[Source, str]:
        """Step 1: source, endpoint, secret and address, before anything of the body is read."""
        parts = scope["path"].split("/")
        if parts[-1] == "":
            del parts[-1]
        if not 4 <= len(parts) <= 5 or parts[1] != "in":  # "", in, source, endpoint and perhaps a secret
            raise _Refused("no_callback_url")
        name, endpoint, secret = parts[2], parts[3], parts[4] if len(parts) > 4 else ""
        source = self.sources.get(name)
        if source is None:
            raise _Refused("unknown_source")
        if endpoint not in source.endpoints:
            raise _Refused("unknown_endpoint", name)
        known = source.known(secret)
        if known is None:
            raise _Refused("wrong_secret" if secret else "no_secret", name, endpoint)
        if source.open and peer.came_through_proxy(scope):
            raise _Refused("proxied_without_authentication", name, endpoint)
        if source.allow_from:
            address = peer.client_address(scope, self._trusted)
            if address is None or not peer.is_in(address, source.allow_from):
                raise _Refused("address", name, endpoint)
        if known:
            self._meter.seen_at[name, known] = time.time()
        return source, endpoint

    def _note_refusal(self, refusal: _Refused, scope: Scope) -> None:
        self._meter.refused(refusal.source, refusal.reason)
        if refusal.source:
            self._store.refused(refusal.source)
            self._journal.refused(refusal.source, refusal.endpoint, refusal.reason, self._address(scope))
            if refusal.reason == "wrong_secret":
                self._on_refused(refusal.source)

    def _address(self, scope: Scope) -> str:
        return str(peer.client_address(scope, self._trusted) or "unknown")

    async def _receive(self, source: Source, endpoint: str, scope: Scope, receive: Receive, send: Send) -> str:
        """Steps 2 to 9. The outcome, for the counters."""
        method = scope["method"]
        if method in PROBES:
            return await _ignored(send, source, endpoint, why="a probe")
        if method not in ("GET", "POST"):
            await _answer(send, 405, b"Only GET and POST.\n", ((b"allow", ALLOWED),))
            return "bad_method"
        if reason := self.closed or self._store.refusal():
            return await self._unavailable(send, StoreUnavailable(reason))
        if reason := self._too_much(source):
            return await self._unavailable(send, StoreUnavailable(reason))
        headers = dict(scope["headers"])
        body = b"" if BODY.isdisjoint(headers) else await self._read(receive)
        if body is None:
            await _answer(send, 413, f"More than {self._max_body} bytes.\n".encode())
            return "too_large"
        if not scope["query_string"] and body.strip() in EMPTY:
            self._journal.ignored(source.name, endpoint, self._address(scope))
            return await _ignored(send, source, endpoint, why="the request had no parameters")
        try:
            callback = self._callback(source, endpoint, scope, headers, body)
            return await self._take(source, callback, receive, send)
        except Forbidden:
            self._note_refusal(_Refused("signature", source.name, endpoint), scope)
            await _answer(send, 404, NOT_FOUND)
            return "forbidden"

    def _too_much(self, source: Source) -> str | None:
        """Why a source has to wait for its turn, in words; None where it need not."""
        if self._reading > MOST_READING:
            return "overloaded: too many bodies are on their way in"
        if self._room.is_full_for(source.name):
            return f"overloaded: {self._room.most} callbacks are being answered, most of them of {source.name}"
        if source.pace and not source.pace.allows(time.monotonic()):
            return f"{source.name} sends more than its rate_limit of {source.pace.rate} a second"
        return None

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, counted while it is read; None as soon as it is larger than it may be. Raises _Gone."""
        body = b""
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                part: bytes = message.get("body", b"")
                body += part
                self._reading += len(part)
                if len(body) > self._max_body:
                    return None
                if not message.get("more_body"):
                    return body
        finally:
            self._reading -= len(body)

    def _callback(
        self, source: Source, endpoint: str, scope: Scope, headers: Mapping[bytes, bytes], body: bytes
    ) -> Callback:
        return Callback(
            source.name,
            endpoint,
            scope["method"],
            self._clock(),
            scope["query_string"],
            headers.get(b"content-type", b"").decode("latin-1"),
            body,
            headers.get(SIMULATED) == b"1",
            _text(headers) if source.provider.signed else NONE,
        )

    async def _take(self, source: Source, callback: Callback, receive: Receive, send: Send) -> str:
        """Steps 7 to 9: signature, content, disk. Raises Forbidden."""
        reading = self._reader.take(source, callback)
        try:
            recorded = await reading.recorded
        except (StoreUnavailable, asyncio.CancelledError) as refusal:
            return await self._unavailable(send, refusal if isinstance(refusal, StoreUnavailable) else STOPPING)
        if recorded is NOTHING:
            return await _ignored(send, source, callback.endpoint, why="it holds nothing to store")
        self.stored_at = time.monotonic()
        self._say(callback, recorded, reading.fault)
        # Where only the fate of our answer can tell a retry from a second message, see whether anybody is still there.
        answered = not recorded.uncertain or not _left(receive)
        reply = Reply(_words(reading.fault)) if reading.fault else self._reply(source, callback)
        await _answer(send, 200, reply.body, _headers(recorded), content_type=reply.content_type)
        if recorded.uncertain:
            self._store.mark(recorded, answered=answered)
        return recorded.outcome

    def _reply(self, source: Source, callback: Callback) -> Reply:
        """What the provider wants to hear; what is stored is answered 200, whatever an adapter's bug."""
        try:
            return source.provider.reply(callback)
        except Exception as fault:
            self._journal.adapter_failed(callback, fault)
            return Reply()

    def _say(self, callback: Callback, recorded: Recorded, fault: str) -> None:
        if fault:
            self._journal.quarantined(callback, fault)
        elif recorded.outcome == "duplicate":
            self._journal.repeated(callback, recorded)

    async def _unavailable(self, send: Send, fault: StoreUnavailable) -> str:
        self._journal.unavailable(str(fault))
        seconds = max(1, round(fault.retry_after / timedelta(seconds=1)))
        await _answer(send, 503, b"Not stored; send it again.\n", ((b"retry-after", str(seconds).encode()),))
        return "unavailable"


def _secrets(sources: Mapping[str, Source]) -> dict[str, tuple[bytes, ...]]:
    return {name: source.digests for name, source in sources.items()}


def _text(headers: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}


def _left(receive: Receive) -> bool:
    """Whether the client is gone, without waiting. A task that watches for it would cost as much as reading does."""
    while True:
        asking = receive().__await__()
        try:
            next(asking)
        except StopIteration as heard:
            if heard.value["type"] == "http.disconnect":
                return True
        else:  # nothing to be heard at this moment
            asking.close()
            return False


async def _ignored(send: Send, source: Source, endpoint: str, *, why: str) -> str:
    proof = "the secret is right" if source.digests else "it needs no secret"
    body = (
        f'OK. This is the {source.endpoints[endpoint]} URL of source "{source.name}"; {proof}.'
        f" Nothing was stored: {why}.\n"
    )
    await _answer(send, 200, body.encode(), ((b"receiver-outcome", b"ignored"),))
    return "ignored"


def _words(fault: str) -> bytes:
    return f"Kept, but it could not be read: {fault}\n".encode()


def _headers(recorded: Recorded) -> tuple[tuple[bytes, bytes], ...]:
    outcome = (b"receiver-outcome", recorded.outcome.encode())
    if not recorded.events:
        return (outcome,)
    return (outcome, (b"receiver-event", ",".join(recorded.events).encode()))


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    content_type: str = TEXT,
) -> None:
    start = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
