"""What the tests of the handlers share: events, an attempt, a way to open a handler, and SMTP, TLS and DNS for it."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme
from aiosmtpd.smtp import SMTP
from mail_kit import Mailbox, Serve

from receiver import Attempt, BaseHandler, DeliveryReport, InboundMessage, Notice
from receiver.events import Reason, Status

Opened = Callable[..., Awaitable[Any]]
AT = datetime(2025, 2, 20, 10, 41, 58, tzinfo=UTC)


@pytest.fixture
def dlr() -> DeliveryReport:
    return DeliveryReport(
        id="0198c0de-0000-7000-8000-000000000001",
        source="spryng",
        provider="spryng",
        received_at=AT + timedelta(seconds=2),
        occurred_at=AT,
        submitted_at=AT - timedelta(seconds=6),
        message_id="91646b0b",
        reference="order-42",
        recipient="+31612345678",
        status=Status.DELIVERED,
        raw={"ID": "91646b0b", "RECIPIENT": "31612345678"},
    )


@pytest.fixture
def failed(dlr: DeliveryReport) -> DeliveryReport:
    return replace(dlr, id="0198c0de-0000-7000-8000-000000000002", status=Status.FAILED, reason=Reason.UNREACHABLE)


@pytest.fixture
def mo() -> InboundMessage:
    return InboundMessage(
        id="0198c0df-0000-7000-8000-000000000003",
        source="spryng",
        provider="spryng",
        received_at=AT,
        originator="+31612345678",
        recipient="+31970001122",
        recipients=["+31970001122"],
        text="PARKEN geheim",
        keyword="PARKEN",
        media=["https://media.example.com/31612345678.jpg"],
        raw={"MSISDN": "31612345678", "KEYWORD": "PARKEN", "PARM": "geheim"},
    )


@pytest.fixture
def notice() -> Notice:
    return Notice(
        id="0198c0e0-0000-7000-8000-000000000004",
        received_at=AT,
        notice="handler_down",
        about="crm",
        since=AT,
        text="crm has not answered since 03:02 — 212 events wait, nothing is lost. receiver handlers",
        facts={"pending": 212},
    )


@pytest.fixture
def attempt() -> Attempt:
    return Attempt(number=1, of=12, handler="x", dispatch_id="1", deadline=AT + timedelta(seconds=10), first_at=AT)


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """`await opened(Forward, url=…)`: the handler with these settings, opened; closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(kind: type[BaseHandler], **keys: Any) -> BaseHandler:
            keys = {"use": "x", **keys}
            settings = kind.Settings.model_validate(keys, context={"secrets": True, "folder": tmp_path})
            handler = kind(name="x", settings=settings, log=structlog.get_logger())
            await handler.open()
            stack.push_async_callback(handler.close)
            return handler

        yield make


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(…)`: a server on a free loopback port, stopped after the test."""
    servers = []

    async def start(implicit_tls: ssl.SSLContext | None = None, **how: Any) -> Mailbox:
        mailbox = Mailbox(
            **{name: how.pop(name) for name in ("sender", "recipients", "taken", "hang", "pace") if name in how}
        )
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mailbox, hostname="mx.test", **how), "127.0.0.1", 0, ssl=implicit_tls
        )
        servers.append(server)
        mailbox.port = server.sockets[0].getsockname()[1]
        return mailbox

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS; its authority is in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The only names there are, and where they lead."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if str(host).endswith(".test") and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for address in known.get(host, [host]) for found in real(address, port, 0, socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known
