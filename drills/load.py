"""The provider of a drill: many connections, every message a different one, and a memory of what each was answered."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from random import Random
from urllib.parse import urlsplit

NOBODY = 0.02
"""Seconds until a connection that failed is tried again: the receiver may be starting."""
LATE = 10.0
"""Seconds after which an answer is given up, as providers do."""


class Load:
    """Sends Spryng reports. `sent` has every message with its outcome, "" where it was never answered 200.

    The last digit of a message is that of its recipient, so that filters can choose a tenth.
    """

    def __init__(
        self,
        seed: int,
        *,
        connections: int = 8,
        repeats: float = 0.05,
        rate: float = 0.0,
        path: str = "/in/spryng/dlr",
        stays: bool = True,
    ) -> None:
        """`repeats` is the share that is sent a second time, at once, on another connection: two at the same moment.

        `rate` is in messages a second, due at fixed times whatever the answers take; 0: as fast as they are answered.
        Without `stays` every request has a connection of its own.
        """
        self.sent: dict[str, str] = {}
        self.times: list[float] = []
        """Seconds to each answer."""
        self.statuses: Counter[int] = Counter()
        self.answered_at = 0.0
        """When the newest 200 came, by the loop's clock."""
        self.answered_by: dict[str, float] = {}
        """The same of each receiver, by its URL."""
        self.wrong: list[str] = []
        """Answers that must not be: neither 200 nor 503, a 200 of the wrong kind, a 503 without Retry-After."""
        self.broken = 0
        """Requests to which there was no answer."""
        self.moment: Callable[[], int] = int
        """What `read_at` is read from."""
        self.read_at: dict[str, int] = {}
        """Message → the moment at which its first 200 had been read."""
        self._random = Random(seed)
        self._connections, self._repeats, self._rate = connections, repeats, rate
        self._path, self._stays = path, stays
        self._name = f"{seed:x}-{self._random.getrandbits(32):x}"
        self._at: dict[str, str] = {}
        self._unanswered: set[str] = set()
        self._stop = asyncio.Event()

    @property
    def acknowledged(self) -> set[str]:
        """Messages that were answered 200."""
        return {message for message, outcome in self.sent.items() if outcome}

    @property
    def unanswered(self) -> set[str]:
        """Messages that a provider would send again."""
        return set(self._unanswered)

    def doubt(self, message: str) -> None:
        """Have it sent again though it was answered 200, as providers sometimes do."""
        self._unanswered.add(message)

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the answers came."""
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0

    @asynccontextmanager
    async def running(self, *urls: str) -> AsyncIterator[None]:
        """Send until the block ends, also while nobody answers; to several receivers in turn."""
        self._stop.clear()
        self._began, self._due = asyncio.get_running_loop().time(), 0
        lines = [
            asyncio.create_task(self._send_on(urls[n % len(urls)], urls[(n + 1) % len(urls)]))
            for n in range(self._connections)
        ]
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.gather(*lines)

    async def repeat(self, *urls: str, within: float = 30.0, connections: int = 1) -> None:
        """Send again what was not answered 200 until now, until it is. Raises TimeoutError."""
        wanted = self.unanswered
        async with asyncio.timeout(within):
            while waiting := sorted(wanted & self._unanswered):
                parts = [waiting[start::connections] for start in range(connections)]
                await asyncio.gather(*(self._send_again(urls[n % len(urls)], part) for n, part in enumerate(parts)))
                await asyncio.sleep(NOBODY)

    async def _send_again(self, url: str, messages: list[str]) -> None:
        async with Line(url) as line:
            for message in messages:
                await self._tell(line, message)

    async def _send_on(self, url: str, other: str) -> None:
        """One connection's work, and that of the one beside it for repeats."""
        async with Line(url) as line, Line(other) as beside:
            while not self._stop.is_set():
                if self._rate and not await self._is_time():
                    return
                message = self._next()
                lines = [line, beside] if self._random.random() < self._repeats else [line]
                await asyncio.gather(*(self._tell(each, message) for each in lines))

    async def _is_time(self) -> bool:
        """Wait for the next fixed moment; False where the load ended first."""
        self._due += 1
        wait = self._began + self._due / self._rate - asyncio.get_running_loop().time()
        if wait > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait)
        return not self._stop.is_set()

    def _next(self) -> str:
        message = f"{self._name}-{len(self.sent)}"
        self.sent[message] = ""
        self._unanswered.add(message)
        self._at[message] = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        return message

    async def _tell(self, line: "Line", message: str) -> None:
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LATE):
                status, outcome = await line.get(self._path + _report(message, self._at[message]))
                if not self._stays:
                    await line.hang_up()
        except (OSError, EOFError, TimeoutError):
            self.broken += 1
            await line.hang_up()
            await asyncio.sleep(NOBODY)
            return
        self.times.append(asyncio.get_running_loop().time() - began)
        self.statuses[status] += 1
        if status == 200 and outcome in ("stored", "duplicate"):
            self.read_at.setdefault(message, self.moment())
            self.sent[message] = self.sent[message] or outcome
            self._unanswered.discard(message)
            self.answered_at = self.answered_by[line.url] = asyncio.get_running_loop().time()
        elif status == 503 and outcome:
            await asyncio.sleep(NOBODY)
        else:
            self.wrong.append(f"{message} was answered {status} {outcome or '(no outcome)'}")


class Line:
    """One kept-alive connection, opened when there is something to send."""

    def __init__(self, url: str) -> None:
        at, self.url = urlsplit(url), url
        self._host, self._port = str(at.hostname), int(at.port or 80)
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> "Line":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        if self._writer:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None

    async def get(self, path: str) -> tuple[int, str]:
        """Status of a GET, and its outcome, or after how many seconds to come again."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: drill\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        first, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            await self.hang_up()
        return int(first.split()[1]), headers.get("receiver-outcome", headers.get("retry-after", ""))


def _report(message: str, at: str) -> str:
    """A query, the same for every repetition: the provider's time is a part of the report's identity."""
    return f"?ID={message}&RECIPIENT=3161234567{message[-1]}&STATUS=10&OPERATOR_STATUS_AT={at}"
