"""Making a schema or bringing it up to date, one process at a time; a newer one than is known is refused."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg

from receiver.errors import StoreMissing, StoreUnavailable, StoreUnusable
from receiver.store import migrate as numbered
from receiver.store.postgres import faults
from receiver.store.postgres.server import LONG, Connection, Server

ENGINE = "postgres"
FILES = ("log", "dispatch")
TABLE = "CREATE TABLE IF NOT EXISTS schema_version (one integer PRIMARY KEY CHECK (one = 1), version integer NOT NULL)"
BEGIN = "INSERT INTO schema_version VALUES (1, 0) ON CONFLICT DO NOTHING"
LOCKED = "SELECT version FROM schema_version FOR UPDATE"
VERSION = "SELECT version FROM schema_version"
EXISTS = "SELECT to_regclass('schema_version') IS NOT NULL"


def steps(version: int) -> Sequence[numbered.Migration]:
    """What a schema of this version lacks, in order."""
    found = [step for file in FILES for step in numbered.missing(ENGINE, file, version)]
    return sorted(found, key=lambda step: step.number)


def newest() -> int:
    """The version that this release writes."""
    return max(numbered.newest(ENGINE, file) for file in FILES)


class Migrated(NamedTuple):
    """What was done to a store's schema."""

    created: bool
    """Whether there was no store before."""
    steps: tuple[str, ...]
    """The steps that were taken, `0003 years`."""


async def migrate(url: str) -> Migrated:
    """Make a store or bring it up to date. Raises StoreMissing, StoreUnusable, StoreUnavailable."""
    server = Server(url, most=1, name="migrate")
    try:
        return await prepare(server)
    except StoreUnavailable as fault:
        raise faults.at_start(fault.__cause__, server.where) if fault.__cause__ else fault from fault
    finally:
        await server.close()


async def prepare(server: Server) -> Migrated:
    """Take the steps that are missing: all, or none. Others wait meanwhile. Raises StoreUnusable, StoreUnavailable."""

    async def bring_up(db: Connection) -> Migrated:
        if not await db.fetchval(EXISTS):
            await db.execute(TABLE)
        await db.execute(BEGIN)
        version = await db.fetchval(LOCKED)
        _refuse_newer(server, version)
        taken = []
        for step in steps(version):
            await db.execute(step.sql)
            taken.append(f"{step.number:04} {step.name}")
        if taken:
            await db.execute("UPDATE schema_version SET version = $1", newest())
        return Migrated(not version, tuple(taken))

    for left in (True, False):
        try:
            return await server.run(bring_up, within=LONG)
        except asyncpg.UniqueViolationError:  # two made the table at the same moment
            if not left:
                raise
    raise AssertionError


async def check(server: Server) -> None:
    """Refuse a database without our tables, or of another schema. Raises StoreMissing, StoreUnusable."""

    async def look(db: Connection) -> int:
        return int(await db.fetchval(VERSION)) if await db.fetchval(EXISTS) else 0

    version = await server.run(look)
    if not version:
        raise StoreMissing(f"no tables in {server.where}; `receiver serve` creates them")
    _refuse_newer(server, version)
    if version < newest():
        raise StoreUnusable(f"{server.where} has the older schema {version}; `receiver migrate` brings it up to date")


def _refuse_newer(server: Server, version: int) -> None:
    if version > newest():
        raise StoreUnusable(
            f"{server.where} has schema {version}, this version knows {newest()}: install the newer version again"
        )
