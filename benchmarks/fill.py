"""Fills a store as the receiver itself would have: its parser, and the store's own commits, many callbacks in each."""

import asyncio
import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from benchmarks.wire import SCATTER
from receiver.callback import Callback
from receiver.providers.spryng import Spryng, SpryngSettings
from receiver.source import Source
from receiver.store.sqlite import SqliteStore

AT_ONCE = 2048
SPAN = timedelta(days=60)
"""Over so long a time what is stored has come in."""
SELDOM = 1_000_000
"""Objects after which garbage is looked for: at the usual number that is a tenth of the time."""
SOURCE = Source("spryng", Spryng(SpryngSettings()), ())


def fill(path: Path, count: int, *, handlers: Sequence[str] = (), until: datetime | None = None) -> None:
    """So many reports, evenly spread over SPAN up to now or `until`, owed to each of these handlers."""
    usual = gc.get_threshold()
    gc.set_threshold(SELDOM)
    try:
        uvloop.run(_fill(path, count, handlers, until or datetime.now(UTC)))
    finally:
        gc.set_threshold(*usual)


def message_id(number: int) -> str:
    """The id of the message that this stored report is about."""
    return f"{number * SCATTER & 0xFFFFFFFF:08x}-5f2c-4b1e-9a3d-00000000f111"


def reference(number: int) -> str:
    """Its reference."""
    return f"filled-{number * SCATTER & 0xFFFFFFFF:08x}"


def phone(number: int) -> str:
    """Its recipient's number."""
    return f"316{(number * SCATTER & 0xFFFFFFFF) % 100_000_000:08}"


async def _fill(path: Path, count: int, handlers: Sequence[str], last: datetime) -> None:
    store = await SqliteStore.open(path, "receive", create=True)
    try:
        await store.register(handlers)
        for start in range(0, count, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count))
            await asyncio.gather(*(_record(store, number, last - SPAN * (1 - number / count)) for number in numbers))
    finally:
        await store.close()


def query(number: int, at: datetime) -> str:
    """The parameters of the report about it."""
    return (
        f"ID={message_id(number)}&RECIPIENT={phone(number)}&STATUS=10&REFERENCE={reference(number)}"
        f"&OPERATOR_STATUS_AT={at:%Y%m%d%H%M%S}"
    )


async def _record(store: SqliteStore, number: int, at: datetime) -> None:
    callback = Callback(source="spryng", endpoint="dlr", method="GET", query=query(number, at).encode(), received_at=at)
    await store.record(callback, SOURCE.read(callback))
