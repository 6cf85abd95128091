"""Disks that are full, read-only, broken, slow or gone for a while."""

import asyncio
import errno
import re

from drills.faults import mount
from drills.faults.scene import Scene
from drills.faults.table import fault
from drills.waiting import until

AWHILE = 2.5
"""Seconds that a lasting fault lasts."""
HANGS = 6.0
"""Seconds that a hanging disk hangs: longer than anything that waits for it may wait."""
FULL = "[Nn]o space left|KiB free"
READ_ONLY = "[Rr]ead-only"


@fault(short=True, disk=16)
async def disk_full(scene: Scene) -> None:
    """The file system has no byte left, then has again."""
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named=FULL):
            with mount.filled(scene.disk):
                await _lasts(scene)
        await scene.answers(20)
    await scene.prove()


@fault()
async def read_only(scene: Scene) -> None:
    """As after `errors=remount-ro`: nothing can be written, nor opened for writing."""
    await _failing_writes(scene, errno.EROFS, named="read-only|I/O error")


@fault()
async def write_fails(scene: Scene) -> None:
    """Every write is an I/O error."""
    await _failing_writes(scene, errno.EIO, named="I/O error")


@fault()
async def write_enospc(scene: Scene) -> None:
    """Every write finds no space, though the file system has some: a quota."""
    await _failing_writes(scene, errno.ENOSPC, named="no space left")


async def _failing_writes(scene: Scene, number: int, *, named: str) -> None:
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named=named):
            scene.meddler.write_errno, scene.meddler.write_failures = number, -1
            await _lasts(scene)
            scene.meddler.calm()
        await scene.answers(20)
    await scene.prove()


@fault(short=True)
async def fsync_fails_once(scene: Scene) -> None:
    """One flush fails; the pages it should have written may be gone for good."""
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named="I/O error", red=False):
            scene.meddler.fsync_errno, scene.meddler.fsync_failures = errno.EIO, 1
            await scene.refuses()
        await scene.answers(20)
    await scene.prove()


@fault()
async def fsync_fails(scene: Scene) -> None:
    """Every flush fails for a while."""
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named="I/O error"):
            scene.meddler.fsync_errno, scene.meddler.fsync_failures = errno.EIO, -1
            await _lasts(scene)
            scene.meddler.calm()
        await scene.answers(20)
    await scene.prove()


@fault()
async def fsync_slow(scene: Scene) -> None:
    """A flush takes 5 ms, then 50 ms: everything is answered 200."""
    await scene.start()
    async with scene.under_load(), scene.trouble(red=False, refused=False):
        for milliseconds in (5, 50):
            scene.meddler.fsync_delay = milliseconds * 1000
            await scene.answers(150)
        scene.meddler.calm()
    await scene.prove()


@fault()
async def fsync_hangs(scene: Scene) -> None:
    """A flush does not end for seconds, then does: nobody waits for it longer than providers do."""
    await scene.start()
    async with scene.under_load():
        async with scene.trouble(named="not finished a write"):
            scene.meddler.fsync_delay = HANGS * 1e6
            await scene.refuses()
            scene.meddler.calm()
            await asyncio.sleep(HANGS - 4)
        await scene.answers(20)
    scene.must(scene.row["slowest"] < HANGS, f"an answer took {scene.row['slowest']} s")
    await scene.prove()


@fault(disk=16)
async def start_on_full_disk(scene: Scene) -> None:
    """Started when nothing can be written: it says so to providers, and heals without being started again."""
    await _put_out(scene)
    with mount.filled(scene.disk):
        await _refuses(scene, FULL)
    await _comes_to_itself(scene)


@fault(disk=16)
async def start_on_full_disk_first(scene: Scene) -> None:
    """The same for the first start of all: there is no database yet."""
    scene.configure()
    with mount.filled(scene.disk):
        await _refuses(scene, FULL)
    await _comes_to_itself(scene)


@fault(disk=16)
async def start_read_only(scene: Scene) -> None:
    """Started on a file system that is mounted read-only."""
    await _put_out(scene)
    with mount.read_only(scene.disk):
        await _refuses(scene, READ_ONLY)
    await _comes_to_itself(scene)


async def _put_out(scene: Scene) -> None:
    """A store with something in it, whose receiver was killed."""
    await scene.start()
    async with scene.under_load():
        await scene.answers(20)
    await scene.serve.kill(*scene.serve.family)
    await scene.serve.is_gone()
    scene.deaths += 1


async def _refuses(scene: Scene, why: str) -> None:
    """Started now, it runs, answers 503 and says why; it does not end again and again."""
    scene.serve = await scene.yard.start("serve", **scene.env())
    before = scene.load.statuses.copy()
    async with scene.load.running(scene.url), scene.ready.watched():
        await scene.answers(3, status=503)
        await asyncio.sleep(1.0)
    seen = scene.load.statuses - before
    scene.row |= {"200": seen[200], "503": seen[503]}
    scene.must(not seen[200], f"{seen[200]} answers were 200 where nothing could be stored")
    look = scene.ready.looks[-1]
    scene.must(not look.ready and re.search(why, look.reasons), f"/readyz: {look.ready} {look.reasons!r}, not /{why}/")
    scene.must(any(re.search(why, str(line)) for line in scene.serve.log), f"no line of the log names it (/{why}/)")
    scene.load.broken = 0  # until it listens


async def _comes_to_itself(scene: Scene) -> None:
    clock = asyncio.get_running_loop().time
    ended = clock()
    async with scene.load.running(scene.url), scene.ready.watched():
        await scene.answers(20)
        await until(lambda: scene.ready.looks[-1].ready)
        healed = clock() - ended
    scene.row["healed"] = round(healed, 2)
    scene.must(healed < 5.0, f"well again only {healed:.1f} s after the end of it")
    await scene.serve.says("ready")
    await scene.prove()


async def _lasts(scene: Scene) -> None:
    """Until reports are refused, and a while longer."""
    await scene.refuses()
    await asyncio.sleep(AWHILE)
