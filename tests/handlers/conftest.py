"""What the tests of the handlers share: one event of each kind, an attempt, and a way to open a handler."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog

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
