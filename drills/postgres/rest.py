"""What every drill with several receivers does at its end, and all the while."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from drills.audit import Audit
from drills.load import Load
from drills.yard import PATIENCE

PAUSE = 0.3


@asynccontextmanager
async def sent_again(load: Load, urls: Sequence[str]) -> AsyncIterator[None]:
    """Until the block ends what was not answered 200 comes again, as from a provider."""

    async def again() -> None:
        while True:
            with suppress(TimeoutError):
                await load.repeat(*urls, within=PATIENCE, connections=len(urls))
            await asyncio.sleep(PAUSE)

    sending = asyncio.create_task(again())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def rested(audit: Audit, *, stalled: float = PATIENCE) -> None:
    """Wait until the handlers have nothing left to do, as long as they get on at least every so many seconds."""
    clock = asyncio.get_running_loop().time
    left, since = -1, clock()
    while left and clock() - since <= stalled:
        now = sum(one.pending + one.running for one in (await audit.balance()).handlers)
        if now != left:
            left, since = now, clock()
        await asyncio.sleep(PAUSE)
