"""What the tests of "callbacks in" share: a real server on a real store, and a client that sends what it is told."""

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from factories import NOW

from receiver import config, http, listening
from receiver.app import App
from receiver.events import Event
from receiver.store.sqlite import SqliteStore
from receiver.store.views import KeptCallback, Quarantined, Selector

SECRET = "canary-secret-of-spryng"
NEXT_SECRET = "canary-secret-to-come"
BULKVS_SECRET = "canary-secret-of-bulkvs"
SOURCES = f"""
[sources.spryng]
provider = "spryng"
secrets = ["{SECRET}", "{NEXT_SECRET}"]

[sources.bulkvs]
provider = "bulkvs"
secrets = ["{BULKVS_SECRET}"]
"""
LISTEN = '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "127.0.0.1:0"\n'

DLR = f"/in/spryng/dlr/{SECRET}"
MO = f"/in/spryng/mo/{SECRET}"
WEBHOOK = f"/in/bulkvs/webhook/{BULKVS_SECRET}"
REPORT = f"{DLR}?ID=a1&RECIPIENT=31612345678&STATUS=10&OPERATOR_STATUS_AT=20260302104158"
MESSAGE = b"MSISDN=31612345678&SHORTCODE=3010&KEYWORD=INFO&PARM=graag&TIMESTAMP=20260302104158"
NAMELESS = b'{"From": "13105551212", "To": ["13109060901"], "Message": "OK"}'
"""A message that nothing tells from a second one."""
FORM = {"content-type": "application/x-www-form-urlencoded"}
DEADLINE = 20.0


@dataclass
class Clock:
    """The time of the receiver; a test moves it."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **units: float) -> None:
        self.now += timedelta(**units)


@dataclass(frozen=True)
class Answer:
    """What came back, as bytes on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def outcome(self) -> str | None:
        return self.headers.get("receiver-outcome")

    @property
    def event(self) -> str | None:
        return self.headers.get("receiver-event")


class Client:
    """One connection, kept alive; nothing of a request is checked, completed or changed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def write(self, raw: bytes) -> None:
        self.writer.write(raw)

    async def answer(self, *, to_head: bool = False) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = b"" if to_head else await self.reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split()[1]), headers, body)

    async def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        self.write(request(method, path, body, **headers))
        return await self.answer(to_head=method == "HEAD")

    def hang_up(self) -> None:
        self.writer.transport.abort()


def request(method: str, path: str, body: bytes = b"", *, version: str = "1.1", **headers: str) -> bytes:
    """A request as bytes; `x_forwarded_for="…"` is the header X-Forwarded-For. A body brings its length."""
    fields = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if (body or method == "POST") and "content-length" not in fields and "transfer-encoding" not in fields:
        fields["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/{version}\r\n{lines}\r\n".encode("latin-1") + body


@dataclass
class Site:
    """A receiver that answers, without handlers."""

    app: App
    store: SqliteStore
    server: http.Server
    clock: Clock
    callbacks: Any
    """Where callbacks go: (host, port), or the path of a socket."""
    admin: Any
    folder: Path
    wrong_secrets: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def client(self, to: Any = None) -> AsyncIterator[Client]:
        """A connection to the callback listener, or to another address."""
        address = to or self.callbacks
        if isinstance(address, str):
            streams = await asyncio.open_unix_connection(address)
        else:
            streams = await asyncio.open_connection(*address[:2])
        client = Client(*streams)
        try:
            async with asyncio.timeout(DEADLINE):
                yield client
        finally:
            client.writer.close()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()

    async def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own."""
        async with self.client() as client:
            return await client.send(method, path, body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, **headers)

    async def post(self, path: str, body: bytes, **headers: str) -> Answer:
        return await self.send("POST", path, body, **headers)

    async def ask_admin(self, path: str, **headers: str) -> Answer:
        async with self.client(self.admin) as client:
            return await client.send("GET", path, **headers)

    def is_storing(self) -> bool:
        """Whether a commit is under way; with the lock held by another it does not end."""
        return self.store._writer.file.busy_for() > 0

    def is_answering(self) -> bool:
        """Whether a request of ours has been let in and not answered."""
        return self.app.intake._meter.in_flight > 0

    async def events(self) -> list[Event]:
        return [stored.event async for stored in self.store.events(Selector())]

    async def event(self) -> Event:
        """The only event there is."""
        (event,) = await self.events()
        return event

    async def kept(self) -> list[KeptCallback]:
        """The callbacks of the only event there is, repeats too."""
        (stored,) = [stored async for stored in self.store.events(Selector())]
        return list((await self.store.trace(stored)).callbacks)

    async def quarantine(self) -> list[Quarantined]:
        return [found async for found in self.store.quarantine()]

    async def is_empty(self) -> bool:
        """Whether nothing at all of any callback is stored."""
        with contextlib.closing(sqlite3.connect(self.store.path)) as db:
            return db.execute("SELECT count(*) FROM callbacks").fetchone() == (0,)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """As long as another process holds the write lock."""
        db = sqlite3.connect(self.store.path, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            yield
        finally:
            db.close()

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """As long as there is no room for another page, as on a full disk."""
        db = self.store._writer.file._db
        assert db is not None
        await db.execute("PRAGMA max_page_count=1")  # never less than there are
        yield
        await db.execute("PRAGMA max_page_count=1073741823")


@asynccontextmanager
async def receiving(folder: Path, configuration: str = LISTEN + SOURCES) -> AsyncIterator[Site]:
    """A receiver with this configuration, its store in `folder/var`; gone without a trace after the block."""
    settings = config.load(_write(folder, configuration), secrets=True, env={})
    server = settings.server
    listeners = [listening.bind(at.host, at.port, at.path) for at in (server.listen, server.admin_listen) if at]
    store = await SqliteStore.open(folder / "var" / "receiver.db", "receive", create=True)
    clock, wrong = Clock(), []
    app = App(
        settings.model_copy(update={"store": _at(settings, store.path)}), store, clock=clock, refused=wrong.append
    )
    addresses = [listener.getsockname() for listener in listeners]
    if server.admin_listen:
        app.admin_is_at(_address(listeners[1]))
    ready = asyncio.Event()
    uvicorn = http.Server(app, ready=ready.set)
    serving = asyncio.create_task(uvicorn.serve(listeners))
    try:
        await ready.wait()
        yield Site(app, store, uvicorn, clock, addresses[0], addresses[-1], folder, wrong)
    finally:
        await _end(uvicorn, serving)
        await store.close()


async def _end(server: http.Server, serving: "asyncio.Task[None]") -> None:
    """Stop at once: uvicorn's own way of stopping takes three tenths of a second."""
    serving.cancel()
    for listener in server.servers:
        listener.close()
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await asyncio.gather(serving, *server.server_state.tasks, return_exceptions=True)


def _write(folder: Path, configuration: str) -> Path:
    (folder / "etc").mkdir(exist_ok=True)
    file = folder / "etc" / "receiver.toml"
    file.write_text(configuration)
    return file


def _at(settings: config.Settings, path: Path) -> Any:
    return settings.store.model_copy(update={"url": f"sqlite:///{path}"})


def _address(listener: socket.socket) -> tuple[str, int | None]:
    name = listener.getsockname()
    return (name, None) if isinstance(name, str) else (name[0], name[1])
