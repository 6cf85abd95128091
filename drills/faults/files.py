"""The files of a store: locked, damaged, newer than we are; a second receiver; a configuration that is wrong."""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from hashlib import sha256
from pathlib import Path

from drills.faults.scene import Scene, messages
from drills.faults.table import fault
from drills.yard import Command

HELD = 5.0
"""Seconds that another process holds a write lock."""
PATIENCE = 4.0
"""Seconds within which what waits for a lock is answered: two, and what a busy machine adds."""
LOCKED = "holds the write lock"
EX_TAKEN, EX_CONFIG = 69, 78
PAGE = 4096
LEAF = 13
"""What the page of a table's rows begins with (SQLite's file format, 1.6)."""
HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@fault()
async def write_lock(scene: Scene) -> None:
    """Another process writes into the log for seconds."""
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named=LOCKED, why=f"{LOCKED}|not finished"), _held(scene.database):
            await asyncio.sleep(HELD)
        await scene.answers(20)
    scene.must(scene.row["slowest"] <= PATIENCE, f"an answer took {scene.row['slowest']} s")
    await scene.prove()


@fault()
async def write_lock_on_dispatch(scene: Scene) -> None:
    """Another process writes into the handlers' file for seconds: answers notice nothing."""
    await scene.start()
    async with scene.under_load():
        other = scene.database.with_name("receiver.dispatch.db")
        async with scene.trouble(named=LOCKED, red=False, refused=False), _held(other):
            await asyncio.sleep(HELD)
        await scene.answers(20)
    await scene.prove()


@asynccontextmanager
async def _held(database: Path) -> AsyncIterator[None]:
    """A process of somebody else holds the write lock until the block ends."""
    command = (sys.executable, "-c", HOLD, str(database), "60")
    holder = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert holder.stdout
        assert await holder.stdout.readline() == b"held\n"
        yield
    finally:
        holder.kill()
        await holder.wait()


@fault()
async def corrupt_running(scene: Scene) -> None:
    """A page of the log is overwritten under the running receiver: what lies elsewhere stays."""
    await scene.start()
    async with scene.under_load():
        await scene.answers(300)
        async with asyncio.timeout(30):
            damaged = await _damage(scene)
        before = scene.load.statuses.copy()
        await asyncio.sleep(2.0)
    seen = scene.load.statuses - before
    scene.row |= {"200": seen[200], "503": seen[503]}
    scene.must(seen, "it answers no more")
    scene.must(not scene.load.broken, f"{scene.load.broken} requests got no answer at all")
    for wrong in scene.load.wrong:
        scene.note(wrong)
    await scene.serve.kill(*scene.serve.family)
    await scene.serve.is_gone()
    lost = scene.load.acknowledged - _readable(scene.database)
    elsewhere = {message for message in lost if message.encode() not in damaged}
    scene.row["lost with the page"] = len(lost) - len(elsewhere)
    scene.must(
        not elsewhere,
        f"{len(elsewhere)} acknowledged reports are lost that lay elsewhere: {min(elsewhere, default='')}",
    )


async def _damage(scene: Scene) -> bytes:
    """Carry the journal over, then overwrite a page of rows: what was on it."""
    while True:
        with closing(sqlite3.connect(scene.database, timeout=20)) as db:
            db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            size = int(db.execute("PRAGMA page_size").fetchone()[0])
        pages = scene.database.read_bytes()
        starts = [
            at for at in range(size, len(pages), size) if pages[at] == LEAF and b"message_id" in pages[at : at + size]
        ]
        if starts[:-1]:
            break
        await scene.answers(50)
    at = scene.random.choice(starts[:-1])  # the newest page is written again at once
    with scene.database.open("r+b") as file:
        file.seek(at)
        file.write(scene.random.randbytes(size))
    return pages[at : at + size]


def _readable(database: Path) -> set[str]:
    """The messages that can still be read, place by place."""
    found = set[str]()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        for place in range(1, int(db.execute("SELECT max(position) FROM events").fetchone()[0]) + 1):
            try:
                found.update(row[0] for row in db.execute("SELECT message_id FROM events WHERE position = ?", (place,)))
            except sqlite3.DatabaseError:
                continue
    return found


@fault()
async def corrupt_start(scene: Scene) -> None:
    """A damaged store: it refuses to start, says the cure, and changes nothing."""
    await _left_behind(scene)
    whole = scene.database.read_bytes()
    newest = whole.rindex(f'"message_id":"{_newest(scene.database)}'.encode())
    places = {"header": (0, 16), "schema": (100, 100), "newest page": (newest // PAGE * PAGE, PAGE), "row": (newest, 8)}
    for what, (at, size) in places.items():
        scene.database.write_bytes(whole[:at] + scene.random.randbytes(size) + whole[at + size :])
        await _refused(scene, EX_CONFIG, "backup", what)
    scene.database.write_bytes(whole)
    await _starts_again(scene)


def _newest(database: Path) -> str:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return str(db.execute("SELECT message_id FROM events ORDER BY position DESC").fetchone()[0])


@fault()
async def newer_schema(scene: Scene) -> None:
    """A store that a newer version wrote: refused, and left as it is."""
    await _left_behind(scene)
    for name in ("receiver.db", "receiver.dispatch.db"):
        version = _set_version(scene.disk / name, 99)
        await _refused(scene, EX_CONFIG, "newer version", name)
        _set_version(scene.disk / name, version)
    await _starts_again(scene)


def _set_version(database: Path, version: int) -> int:
    """The version of the schema that was there before."""
    with closing(sqlite3.connect(database)) as db:
        before = int(db.execute("PRAGMA user_version").fetchone()[0])
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    return before


@fault()
async def second_receiver(scene: Scene) -> None:
    """Another one on the same store is refused, and told who has it; the first notices nothing."""
    await scene.start()
    async with scene.under_load(), scene.trouble(red=False, refused=False):
        second = await _ended(scene, RECEIVER_SERVER__LISTEN="127.0.0.1:0", RECEIVER_SERVER__ADMIN_LISTEN="")
        words = second.words
        scene.must(second.process.returncode == EX_TAKEN, f"it ended with {second.process.returncode}: {words}")
        scene.must(f"pid {scene.serve.pid}" in words, f"it did not name the pid {scene.serve.pid}: {words}")
    await scene.prove()


@fault()
async def broken_configuration(scene: Scene) -> None:
    """A configuration that is wrong is refused with its place; what runs goes on."""
    await scene.start()
    async with scene.under_load(), scene.trouble(red=False, refused=False):
        file = scene.yard.configure('[handlers.own]\nuse = "nothing"\nretrys = 3\n')
        ended = await _ended(scene)
        scene.must(ended.process.returncode == EX_CONFIG, f"it ended with {ended.process.returncode}")
        scene.must(file.name in ended.words and "handlers.own" in ended.words, f"no place named: {ended.words}")
        scene.configure()
    await scene.prove()


async def _left_behind(scene: Scene) -> None:
    """A store with something in it, whose receiver was stopped."""
    await scene.start()
    async with scene.under_load():
        await scene.answers(100)
    await scene.serve.stop()


async def _refused(scene: Scene, status: int, word: str, what: str) -> None:
    """`serve` ends with this status and one line with this word, and the files are as before."""
    before = _digests(scene.disk)
    ended = await _ended(scene)
    lines = [line for line in ended.stderr.read_text().splitlines() if line.startswith("receiver: ")]
    scene.must(ended.process.returncode == status, f"{what}: it ended with {ended.process.returncode}: {lines}")
    scene.must(len(lines) == 1 and word in lines[0], f"{what}: no line with the cure ({word}): {lines}")
    scene.must(_digests(scene.disk) == before, f"{what}: the files are not as they were")


async def _ended(scene: Scene, **env: str) -> Command:
    """`serve`, which has to end by itself."""
    command = await scene.yard.start("serve", **(scene.env() | env))
    await command.ended()
    return command


def _digests(folder: Path) -> dict[str, str]:
    """What the databases hold, byte by byte."""
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in folder.glob("*.db")}


async def _starts_again(scene: Scene) -> None:
    """The store as it was: everything is there."""
    scene.serve = await scene.yard.serve(**scene.env())
    async with scene.under_load():
        await scene.answers(20)
    scene.row["stored"] = len(messages(scene.database))
    await scene.prove()
