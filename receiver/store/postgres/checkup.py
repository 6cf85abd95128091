"""What a doctor sees of a store on PostgreSQL: figures, who uses it, and what stands behind a commit. Reads only."""

from datetime import datetime
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
STANDBYS = "SHOW synchronous_standby_names"


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
    standbys: str
    """What `synchronous_standby_names` says: empty where a commit is on one machine only."""


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
        await db.fetchval(STANDBYS),
    )
