"""Sends one made-up callback over HTTP, and tells an answer from a refusal."""

from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import NamedTuple, Self

import aiohttp
from yarl import URL

from receiver.cli.simulate.shape import Request
from receiver.cli.simulate.target import Target

ANSWER_TIMEOUT = 30
"""Seconds a provider waits for an answer."""
STORED, DUPLICATE = frozenset({"stored"}), frozenset({"duplicate"})


@dataclass(slots=True)
class Sending:
    """One callback on its way."""

    request: Request
    repeats: "Sending | None" = None
    """The one this is a planned duplicate of."""
    comes_again: bool = False
    """Whether a duplicate of it is planned."""
    begun_at: float = 0.0
    refusals: int = 0
    on_wire: int = 0
    """How often it was written to a connection: from the second time on, the first may have been stored unheard."""
    event: str = ""

    @property
    def right(self) -> frozenset[str]:
        """The outcomes that are right for its answer."""
        if self.repeats is None:
            return STORED if self.on_wire == 1 else STORED | DUPLICATE
        if self.request.identified:
            return DUPLICATE
        return STORED if self.on_wire == self.repeats.on_wire == 1 else STORED | DUPLICATE


class Answer(NamedTuple):
    """What the receiver said."""

    status: int
    outcome: str
    event: str


class Refused(Exception):
    """No answer, or a 5xx: a provider sends it again."""

    def __init__(self, reason: str, *, nobody: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.nobody = nobody
        """Whether not even a connection was made."""


class Sender:
    """A provider's side of HTTP: kept connections, no redirects, no cookies. Use it with `async with`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._urls = {name: target.url(name) for name in ("dlr", "mo", "webhook")}

    async def __aenter__(self) -> Self:
        path = self._target.socket
        # aiohttp writes a GET a second time, unasked, when a kept connection turns out to be closed: so count it there.
        wire = aiohttp.TraceConfig()
        wire.on_request_headers_sent.append(_count)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(path), limit=0) if path else aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Receiver-Simulated": "1", "User-Agent": "receiver-simulate"},
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT),
            trace_configs=[wire],
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(self, sending: Sending) -> Answer:
        """Send it once. Raises Refused where a provider would send it again."""
        request = sending.request
        url = self._urls[request.endpoint]
        try:
            async with self._session.request(
                request.method,
                URL(f"{url}?{request.query}" if request.query else url, encoded=True),
                data=request.body or None,
                headers={"Content-Type": request.content_type} if request.content_type else None,
                allow_redirects=False,
                trace_request_ctx=sending,
            ) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as fault:
            raise Refused(_words(fault), nobody=isinstance(fault, aiohttp.ClientConnectorError)) from None
        if answer.status >= 500:
            raise Refused(f"answered {answer.status}")
        return Answer(
            answer.status, answer.headers.get("Receiver-Outcome", ""), answer.headers.get("Receiver-Event", "")
        )


async def _count(_session: aiohttp.ClientSession, context: SimpleNamespace, _sent: object) -> None:
    context.trace_request_ctx.on_wire += 1


def _words(fault: Exception) -> str:
    """A failure without the URL, which holds the secret."""
    if isinstance(fault, TimeoutError):
        return f"no answer within {ANSWER_TIMEOUT} s"
    cause = fault.os_error if isinstance(fault, aiohttp.ClientConnectorError) else fault
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, ConnectionError | aiohttp.ServerDisconnectedError):
        return "connection broken"
    return (isinstance(cause, OSError) and cause.strerror) or type(cause).__name__
