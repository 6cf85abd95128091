"""Two servers of which one follows the other, as high availability has them; a referee who promotes, and no witness."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from drills.faults.ready import free_port
from drills.postgres.server import DATABASE, OWNER, Server
from drills.waiting import until

IN_SYNC = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= $1::text::pg_lsn"
STANDBY = {"synchronous_standby_names": "standby"}
ALONE = {"synchronous_standby_names": ""}
JOINED_WITHIN = 60.0
KILLED, HEADLESS, FROZEN = "killed", "headless", "frozen"
WAYS = (KILLED, KILLED, HEADLESS, FROZEN)


class Pair:
    """`leader` takes writes, and a commit is on both when it is answered."""

    def __init__(self, leader: Server, follower: Server) -> None:
        self.leader, self.follower = leader, follower
        ports = sorted((leader.port, follower.port))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
        self.url = f"postgresql://{OWNER}@{hosts}/{DATABASE}?target_session_attrs=read-write"
        """What a receiver is given."""

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path) -> AsyncIterator["Pair"]:
        """Both, with an empty database; killed at the end. Raises CannotRun."""
        pair = cls(Server(folder, free_port()), Server(folder, free_port()))
        try:
            await pair._begin()
            yield pair
        finally:
            for server in (pair.leader, pair.follower):
                await server.kill()

    async def _begin(self) -> None:
        await self.leader.create()
        self.leader.configure(**STANDBY)
        await self.leader.start()
        await self._rejoin(copied=True)
        await self.leader.value(f"CREATE ROLE {OWNER} LOGIN")
        await self.leader.create_database()

    async def fail(self, how: str) -> None:
        """The leader is gone: killed, its first process killed, or it stands still and takes connections still."""
        if how == FROZEN:
            self.leader.freeze()
        else:
            await self.leader.kill(whole=how == KILLED)

    async def promote(self, *, alone: bool) -> None:
        """The follower leads. `alone` it commits without the other until that is back; else commits wait for it."""
        self.leader, self.follower = self.follower, self.leader
        self.leader.configure(**ALONE if alone else STANDBY)
        self.leader.reload()
        await self.leader.promote()

    async def rejoin(self, random: Random) -> str:
        """The old leader follows, with what only it had thrown away. How: copied, or rewound."""
        if self.follower.pids:  # it may go on for a moment, as one that was cut off does before it is fenced
            self.follower.thaw()
            await self.follower.kill()
        copied = random.random() < 0.5
        await self._rejoin(copied=copied)
        return "copied" if copied else "rewound"

    async def _rejoin(self, *, copied: bool) -> None:
        await (self.follower.copy if copied else self.follower.rewind)(self.leader)
        self.follower.follow(self.leader, **STANDBY)
        await self.follower.start()
        self.leader.configure(**STANDBY)
        self.leader.reload()
        await until(self._is_in_sync, within=JOINED_WITHIN)

    async def _is_in_sync(self) -> bool:
        """All that is committed now is on both, and what comes waits for both."""
        return bool(
            await self.leader.value("SELECT current_setting('synchronous_standby_names') <> ''")
            and await self.leader.value(IN_SYNC, str(await self.leader.value("SELECT pg_current_wal_lsn()::text")))
        )
