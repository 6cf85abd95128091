"""What a doctor sees of a store on PostgreSQL: figures, who uses it, and what stands behind a commit. Reads only."""

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from receiver.errors import StoreUnavailable
from receiver.store import rows
from receiver.store.postgres import faults, lanes, migrating, stats, streams
from receiver.store.postgres.server import LONG, Connection, Server
from receiver.store.views import Stats

STREAMS = (
    "SELECT name FROM streams WHERE NOT closed"
    f" AND seen_at > clock_timestamp() - interval '{streams.SILENT}' ORDER BY name"
)
OWNERS = "SELECT owner FROM owners WHERE until_at > clock_timestamp() ORDER BY owner"
SETTINGS = ("server_version", "synchronous_commit", "synchronous_standby_names")
# Who may not see it is shown the rows without what is in them.
FOLLOWERS = (
    "SELECT coalesce(application_name, ''), sync_state,"
    " greatest(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0)::bigint FROM pg_stat_replication ORDER BY 1"
)


class Seen(NamedTuple):
    """The figures of a store."""

    stats: Stats
    newest_at: datetime | None
    """When the newest event came."""
    schemas: tuple[int, ...]
    """The version of the schema."""
    appending: tuple[str, ...]
    """Processes that append to the log, as `receive HOST/PID`."""
    dispatching: tuple[str, ...]
    """Dispatchers, as `HOST/PID/…`."""


class Standby(NamedTuple):
    """A server that follows."""

    name: str
    state: str
    """sync, quorum, potential or async."""
    behind: int
    """Bytes that it has still to apply."""

    @property
    def waited_for(self) -> bool:
        """Whether a commit may wait for it."""
        return self.state in ("sync", "quorum")


class Stands(NamedTuple):
    """The server, and what stands behind a commit on it."""

    version: str
    level: str
    """synchronous_commit."""
    named: str
    """What `synchronous_standby_names` says: empty where a commit is on one machine only."""
    standbys: tuple[Standby, ...] | None
    """None where this user may not see them."""
    ahead: timedelta
    """How far its clock is ahead of ours."""
    took: float
    """Seconds for an answer."""


async def look(url: str) -> Seen:
    """The figures. Raises StoreMissing, StoreUnusable (of another version's schema), StoreUnavailable."""
    server = Server(url, most=1, name="doctor")
    try:
        await migrating.check(server)
        return await server.run(_seen, within=LONG, reading=True)
    except StoreUnavailable as fault:
        raise faults.at_start(fault.__cause__, server.where) if fault.__cause__ else fault from fault
    finally:
        await server.close()


async def _seen(db: Connection) -> Seen:
    newest = await db.fetchval(lanes.NEWEST)
    return Seen(
        await stats.stats(db),
        rows.maybe(newest),
        (migrating.newest(),),
        tuple(row[0] for row in await db.fetch(STREAMS)),
        tuple(row[0] for row in await db.fetch(OWNERS)),
    )


async def stands(url: str) -> Stands:
    """The server. Raises StoreUnusable (what is committed there would not be durable), StoreUnavailable."""
    server = Server(url, most=1, name="doctor")
    try:
        return await server.run(_stands, reading=True)
    finally:
        await server.close()


async def _stands(db: Connection) -> Stands:
    version, level, named = [await db.fetchval(f"SHOW {name}") for name in SETTINGS]
    shown = await db.fetch(FOLLOWERS)
    hidden = any(row[1] is None for row in shown)
    began, asked_at = time.perf_counter(), datetime.now(UTC)
    clock = await db.fetchval("SELECT clock_timestamp()")
    took = time.perf_counter() - began
    standbys = None if hidden else tuple(Standby(*row) for row in shown)
    return Stands(version, level, named, standbys, clock - asked_at - timedelta(seconds=took / 2), took)
