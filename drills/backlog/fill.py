"""Fills a store as the receiver itself would have: the provider's parser, the store's own commits."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from receiver.callback import Callback
from receiver.providers.spryng import Spryng, SpryngSettings
from receiver.source import Source
from receiver.store.base import Dispatch, RetryAt, Settlement
from receiver.store.sqlite import SqliteStore

AT_ONCE = 2048
"""Callbacks that come at the same moment: a few commits of the log."""
MOST_CLAIMED = 1000
OWNER = "drill"


async def fill(path: Path, count: int, *, handlers: list[str], random: Random) -> None:
    """So many reports, owed to each of these handlers. Message n is `b-n`."""
    source = Source("spryng", Spryng(SpryngSettings()), ())
    store = await SqliteStore.open(path, "receive", create=True)
    try:
        await store.register(handlers)
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            await asyncio.gather(*(_record(store, source, number, random) for number in numbers))
    finally:
        await store.close()


async def _record(store: SqliteStore, source: Source, number: int, random: Random) -> None:
    callback = Callback(
        source=source.name,
        endpoint="dlr",
        method="GET",
        query=query(f"b-{number}", f"316{random.randrange(10**8):08}").encode(),
        received_at=datetime.now(UTC),
    )
    await store.record(callback, source.read(callback))


def query(message: str, recipient: str = "31612345678") -> str:
    """The parameters of a Spryng report."""
    at = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    return f"ID={message}&RECIPIENT={recipient}&STATUS=10&REFERENCE=order-{message}&OPERATOR_STATUS_AT={at}"


async def put_off(path: Path, handler: str, count: int, *, handlers: list[str]) -> None:
    """Make so many of a handler's events exceptions that are due again, all at the same moment."""
    store = await SqliteStore.open(path, "dispatch")
    now = datetime.now(UTC)
    try:
        await store.enrol(handlers, owner=OWNER, now=now)
        while count > 0 and (claimed := await _claim(store, handler, min(count, MOST_CLAIMED), now)):
            again = RetryAt(now, "the drill wants it again")
            await store.settle([Settlement(one, again, now, timedelta(0)) for one in claimed], now=now)
            count -= len(claimed)
    finally:
        await store.close()


async def _claim(store: SqliteStore, handler: str, limit: int, now: datetime) -> list[Dispatch]:
    """New ones: what was put off before would be due now, so it is asked for in a time when it was not yet."""
    before = now - timedelta(hours=1)
    return list(await store.claim(handler, owner=OWNER, limit=limit, now=before, lease=timedelta(minutes=1)))
