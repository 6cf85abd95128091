"""Processes that stand still, clocks that jump, names that nobody resolves, and stops in the middle of all that."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drills.faults.scene import Scene
from drills.faults.table import fault
from drills.meddle import DNS_FAILS, DNS_HANGS
from drills.waiting import until
from drills.yard import PATIENCE

UNTOUCHED = 1.0
"""Seconds: an answer that took longer while the handlers stood still was touched by it. The machine may be busy."""
STOPPED_WITHIN = 10.0
HANGS = 3.0
"""Seconds that the disk hangs during a stop."""
HOUR, DAY = 3600, 86_400
STEPS = (5 * HOUR, 3 * DAY)
STUCK = 12.0
"""Seconds after which what is to be tried again after one second is stuck."""
NAMED = (
    '[handlers.crm]\nuse = "forward"\nurl = "http://crm.test:{port}/sms"\nallow_private = ["127.0.0.0/8"]\n'
    'timeout = "1s"\nretries = ["1s"]\n'
)
"""A target by a name that has to be asked for: the Meddler knows it."""
HALF = b"POST /in/spryng/mo HTTP/1.1\r\nHost: drill\r\nContent-Length: 100\r\n\r\nMSISDN="


@fault(short=True)
async def dispatch_stopped(scene: Scene) -> None:
    """The handlers' process is stopped at random moments, for a moment: no answer notices."""
    await scene.start()
    touched = 0
    async with scene.under_load(), scene.trouble(red=False, refused=False):
        for _ in range(scene.stops):
            await asyncio.sleep(scene.random.uniform(0.0, 0.2))
            touched += await _is_touched(scene)
    scene.row["stops"], scene.row["touched"] = scene.stops, touched
    scene.must(not touched, f"{touched} of {scene.stops} stops of the handlers were seen in the answers")
    await scene.prove()


async def _is_touched(scene: Scene) -> bool:
    before, refused, began = len(scene.load.times), scene.load.statuses[503], scene.load.broken
    pid = scene.dispatch_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.random.uniform(0.1, 0.6))
    finally:
        os.kill(pid, signal.SIGCONT)
    times = scene.load.times[before:]
    same = (refused, began) == (scene.load.statuses[503], scene.load.broken)
    return not times or max(times) > UNTOUCHED or not same


@fault()
async def clock_back(scene: Scene) -> None:
    """The clock is set back by hours, then by days, while events wait to be tried again."""
    await _jumps(scene, *(-step for step in STEPS))


@fault()
async def clock_forward(scene: Scene) -> None:
    """The clock is set forward by hours, then by days."""
    await _jumps(scene, *STEPS)


async def _jumps(scene: Scene, *steps: int) -> None:
    await scene.start()
    longest = 0.0
    for step in steps:
        async with scene.under_load():
            await scene.answers(60)
            async with scene.trouble(red=False, refused=False):
                scene.meddler.clock_offset = scene.meddler.clock_offset + step * 1_000_000
                await scene.answers(60)
        longest = max(longest, await _nothing_waits(scene, step))
    scene.row["all tried again after"] = round(longest, 2)
    await scene.prove()


async def _nothing_waits(scene: Scene, step: int) -> float:
    """Seconds until all that waited was tried again."""
    began = asyncio.get_running_loop().time()

    async def is_idle() -> bool:
        counters = await scene.yard.counters("own")
        return not counters.pending and not counters.running

    try:
        await until(is_idle, within=STUCK)
    except AssertionError:
        counters = await scene.yard.counters("own")
        scene.note(f"{counters.pending} retries are stuck since the clock jumped by {step / HOUR:+.0f} h")
    counters = await scene.yard.counters("own")
    scene.must(not counters.dead, f"{counters.dead} early dead letters after the clock jumped by {step / HOUR:+.0f} h")
    return asyncio.get_running_loop().time() - began


@fault()
async def dns_fails(scene: Scene) -> None:
    """No name is resolved: the target waits, the answers do not."""
    await _without_names(scene, DNS_FAILS)


@fault()
async def dns_hangs(scene: Scene) -> None:
    """Asking for a name takes for ever: forward waits by its own deadline, and a stop does not wait for it."""
    await _without_names(scene, DNS_HANGS)


async def _without_names(scene: Scene, how: int) -> None:
    scene.meddler.dns = how
    async with _target(hanging=False) as port:
        await scene.start(NAMED.format(port=port))
        async with scene.under_load():
            async with scene.trouble(red=False, refused=False):
                await scene.serve.says("handler_held", handler="crm")
            await scene.answers(20)
        await _stops(scene)
        scene.meddler.calm()
        scene.serve = await scene.yard.serve(**scene.env())
        async with scene.under_load():
            counters = await scene.yard.reaches("crm", done=1)
        scene.must(not counters.dead, f"{counters.dead} dead letters at crm")
        await scene.prove()


@fault(short=True)
async def stop_under_fault(scene: Scene) -> None:
    """SIGTERM with half requests, targets that never answer and a flush that hangs."""
    async with _target(hanging=True) as port:
        await scene.start(NAMED.format(port=port).replace('"1s"', '"30s"'))
        async with scene.under_load():
            halves = [await asyncio.open_connection("127.0.0.1", int(scene.url.rpartition(":")[2])) for _ in range(5)]
            for _, writer in halves:
                writer.write(HALF)
            await scene.answers(50)
            scene.meddler.fsync_delay = HANGS * 1e6
            await asyncio.sleep(0.3)
            stopping = asyncio.create_task(_stops(scene))
            await asyncio.sleep(HANGS)
            scene.meddler.calm()
            await stopping
            for _, writer in halves:
                writer.close()
        scene.load.broken = 0  # nobody is there any more
        scene.serve = await scene.yard.serve(**scene.env())
        await scene.prove()


async def _stops(scene: Scene) -> None:
    """SIGTERM: it ends in time, with 0, and leaves nobody behind."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    scene.serve.known.update(scene.serve.family)
    scene.serve.process.send_signal(signal.SIGTERM)
    status = await scene.serve.ended(PATIENCE)
    await scene.serve.is_gone()
    scene.deaths += 1  # a disk that hangs takes the last results with it
    scene.row["stopped in"] = round(loop.time() - began, 1)
    scene.must(status == 0, f"a stop ended with {status}")
    scene.must(loop.time() - began <= STOPPED_WITHIN, f"a stop took {loop.time() - began:.1f} s")


@asynccontextmanager
async def _target(*, hanging: bool) -> AsyncIterator[int]:
    """A target on a port of its own: takes everything, or never answers."""
    open_now: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(int(size.split(b":")[1]))
            if hanging:
                await asyncio.sleep(3600)
            writer.write(b"HTTP/1.1 204 X\r\n\r\n")

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    tasks: list[asyncio.Future[None]] = []
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in open_now:
            writer.close()
