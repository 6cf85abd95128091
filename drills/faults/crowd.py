"""Too many at once: a burst, and all that was refused coming again."""

import asyncio
import errno
from pathlib import Path

from drills.faults.scene import Scene
from drills.faults.table import fault
from drills.load import Load

CROWD = 400
"""Connections: ten times as many as keep a receiver busy."""
STORM = 1.5
"""Seconds for which reports of a crowd are refused."""
MOST_MEMORY = 200
"""MiB."""


@fault()
async def burst(scene: Scene) -> None:
    """Hundreds of connections send as fast as they are answered, on a slow disk: 200 or 503, memory bounded."""
    await scene.start()
    crowd = Load(scene.random.getrandbits(32), connections=CROWD)
    async with scene.under_load(), scene.trouble(red=False):
        scene.meddler.fsync_delay = 20_000
        async with crowd.running(scene.url):
            await asyncio.sleep(scene.burst)
        scene.meddler.calm()
    scene.row |= {"crowd 200": crowd.statuses[200], "crowd 503": crowd.statuses[503]}
    scene.row["MiB"] = peak(scene.serve.pid)
    scene.must(scene.row["MiB"] <= MOST_MEMORY, f"{scene.row['MiB']} MiB of memory")
    await _prove_both(scene, crowd)


@fault()
async def recovery_storm(scene: Scene) -> None:
    """All that was refused comes again at once when the disk is back, beside what is new: everything is taken, once."""
    await scene.start()
    crowd = Load(scene.random.getrandbits(32), connections=CROWD // 4)
    async with scene.under_load():
        async with scene.trouble(named="I/O error"):
            scene.meddler.write_errno, scene.meddler.write_failures = errno.EIO, -1
            await scene.refuses()
            async with crowd.running(scene.url):
                await asyncio.sleep(STORM)
            scene.meddler.calm()
        refused, clock = len(crowd.unanswered), asyncio.get_running_loop().time
        began = clock()
        await crowd.repeat(scene.url, connections=CROWD // 4)
        took = clock() - began
    scene.row |= {"came again": refused, "taken in": round(took, 2)}
    scene.must(refused, "nothing was refused: there was no storm")
    await _prove_both(scene, crowd)


async def _prove_both(scene: Scene, crowd: Load) -> None:
    """What the crowd was answered counts as what the load was answered."""
    scene.load.sent |= crowd.sent
    scene.load.wrong += crowd.wrong
    scene.load.broken += crowd.broken
    await scene.prove()


def peak(pid: int) -> int:
    """The most memory that a process has had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0
