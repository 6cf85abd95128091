"""The store of a configuration: on SQLite or on PostgreSQL, by its URL alone."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from receiver.config.settings import Store as StoreSettings
from receiver.errors import StoreUnusable
from receiver.store.base import Store
from receiver.store.moving import Movable

NO_DRIVER = "store.url names PostgreSQL, and its driver is not installed: pip install 'sms-receiver[postgres]'"


class OpenStore(Store, Protocol):
    """A store, and how a process begins with it."""

    async def start(self, *, create: bool = False) -> None:
        """Open it. `create` makes what is missing and migrates what is old; without it that is an error.

        Raises StoreMissing, StoreTaken, StoreUnusable, StoreUnavailable; after the last it may be called again.
        """

    def idle_for(self) -> float:
        """Seconds since the commit loop last turned."""


def store_of(settings: StoreSettings, role: str) -> OpenStore:
    """The store for a role (`receive`, `dispatch`, `command`), to be started. Raises StoreUnusable without a driver."""
    if settings.path is not None:
        from receiver.store.sqlite import SqliteStore

        return SqliteStore(settings.path, role)
    require_driver()
    from receiver.store.postgres import PostgresStore

    return PostgresStore(settings.url, role)


async def open_store(settings: StoreSettings, role: str) -> OpenStore:
    """The same, started. Raises what `start` does."""
    store = store_of(settings, role)
    try:
        await store.start()
    except BaseException:
        await store.close()
        raise
    return store


async def open_move(settings: StoreSettings, *, create: bool = False) -> Movable:
    """A store that nobody else has, to be copied from or to; `create` makes it where it is missing.

    Raises StoreMissing, StoreTaken where a receiver runs, StoreUnusable, StoreUnavailable.
    """
    if settings.path is not None:
        from receiver.store.sqlite import SqliteMove

        return await SqliteMove.open(settings.path, create=create)
    require_driver()
    from receiver.store.postgres import PostgresMove

    return await PostgresMove.open(settings.url, create=create)


class Migrated(NamedTuple):
    """What was done to a store's schema."""

    created: bool
    """Whether there was no store before."""
    steps: Sequence[str]
    """The steps that were taken, `0003 years`."""
    copies: Sequence[Path] = ()
    """Copies from before; PostgreSQL's are its administrator's."""


def migrate(settings: StoreSettings) -> Migrated:
    """Make a store or bring it up to date. Raises StoreMissing, StoreUnusable, StoreUnavailable."""
    if settings.path is not None:
        from receiver.store import sqlite

        return Migrated(*sqlite.migrate(settings.path))
    require_driver()
    from receiver.store import postgres

    return Migrated(*asyncio.run(postgres.migrate(settings.url)))


def require_driver() -> None:
    """Raise StoreUnusable where PostgreSQL's driver is not installed."""
    try:
        import receiver.store.postgres  # noqa: F401 - to see whether it can be
    except ModuleNotFoundError as fault:
        if fault.name != "asyncpg":
            raise
        raise StoreUnusable(NO_DRIVER) from None
