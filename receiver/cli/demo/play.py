"""The play: who is on stage, what happens when, and how it ends."""

import asyncio
import signal
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from receiver.cli import opening, show
from receiver.cli.demo.ends import Postbox, Shop
from receiver.cli.demo.scene import Scene
from receiver.cli.demo.serving import PROVIDERS, Receiver
from receiver.cli.demo.total import Total
from receiver.cli.demo.view import Lines, Screen, View
from receiver.cli.simulate import bulkvs, spryng
from receiver.cli.simulate.run import Plan, Run

SHAPES = {"spryng": spryng.SHAPE, "bulkvs": bulkvs.SHAPE}
RATES = {"spryng": 3.0, "bulkvs": 2.0}
"""Callbacks a second."""
DUPLICATES = 12
"""Of a hundred callbacks, how many come again although they were answered."""
SETTLE = 45.0
"""Seconds in which what still waits has to be delivered."""
LOOK = 0.25
ENDLESS = 10**9


class Curtain:
    """Who wants it to end: the first signal ends the sending, the second everything."""

    def __init__(self) -> None:
        self.asked, self.down = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.ask)

    def ask(self) -> None:
        """A signal came."""
        (self.down if self.asked.is_set() else self.asked).set()


async def perform(seconds: float) -> int:
    """Play it, and add it up; 0 where nothing was lost."""
    curtain = Curtain()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="receiver-demo-")))
        shop, postbox = await stack.enter_async_context(Shop()), await stack.enter_async_context(Postbox())
        receiver = Receiver(folder, shop=shop.port, mail=postbox.port)
        stack.push_async_callback(receiver.stop)
        show.say("Starting a receiver in a temporary folder …")
        if not await _started(receiver, curtain):
            return 0
        scene = Scene(seconds, shop, postbox, {name: Run(_plan(name, receiver)) for name in PROVIDERS})
        with Screen() if sys.stdout.isatty() else Lines() as view:
            await _act(scene, receiver, curtain, view)
        total = Total.of(scene, stored=await receiver.stored(), logged=receiver.logged())
    for line in total.lines():
        show.line(line)
    return 0 if total.as_promised or curtain.down.is_set() else 1


async def _started(receiver: Receiver, curtain: Curtain) -> bool:
    """Start it; False where somebody wants it to end before it is ready."""
    starting, asked = asyncio.create_task(receiver.start()), asyncio.create_task(curtain.asked.wait())
    await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not starting.done():
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        return False
    await starting
    return not curtain.asked.is_set()


async def _act(scene: Scene, receiver: Receiver, curtain: Curtain, view: View) -> None:
    """Send until it is time or somebody asks; then wait until everything is handed on."""
    sending = [asyncio.create_task(run.run()) for run in scene.runs.values()]
    give_up = float("inf")
    try:
        while not curtain.down.is_set() and time.monotonic() < give_up:
            sent = all(task.done() for task in sending)
            scene.handlers = await receiver.handlers()
            if scene.sending and (curtain.asked.is_set() or scene.now >= scene.seconds):
                scene.sending, give_up = False, time.monotonic() + SETTLE
                for run in scene.runs.values():
                    run.stop()
            leaves, returns = scene.away
            scene.shop.away = scene.sending and leaves <= scene.now < returns
            view.show(scene)
            if receiver.has_ended:
                raise opening.Refused("the receiver of the demo ended by itself")
            if sent and not scene.waiting:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(curtain.down.wait(), LOOK)
        if all(task.done() for task in sending):
            await asyncio.gather(*sending)
    finally:
        for task in sending:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)


def _plan(name: str, receiver: Receiver) -> Plan:
    return Plan(
        shape=SHAPES[name],
        target=receiver.target(name),
        count=ENDLESS,
        mix={"dlr": 80, "mo": 20},
        duplicates=DUPLICATES,
        rate=RATES[name],
        speedup=60,
        give_up=None,
        connections=8,
        seed=None,
    )
