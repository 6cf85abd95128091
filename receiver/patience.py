"""Doing what needs the store although it cannot take anything now: again and again, until it can."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import structlog

from receiver.errors import StoreUnavailable

WAITING = "store_waited_for"
AGAIN = timedelta(seconds=0.5)

log = structlog.get_logger()
T = TypeVar("T")


def nobody(_reason: str) -> None:
    """Nobody wants to know."""


async def patiently(
    work: Callable[[], Awaitable[T]], *, every: timedelta = AGAIN, told: Callable[[str], None] = nobody
) -> T:
    """The result of `work`, as soon as it does not raise StoreUnavailable; `told` hears each new reason."""
    last = ""
    while True:
        try:
            return await work()
        except StoreUnavailable as fault:
            if (reason := str(fault)) != last:
                log.error(WAITING, reason=reason, note="it is tried again and again")
                told(reason)
            last = reason
        await asyncio.sleep(every.total_seconds())
