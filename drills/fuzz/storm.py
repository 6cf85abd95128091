"""A process of strangers: `python -m drills.fuzz.storm PORT SEED REQUESTS FILE URL …`.

It prints a line when half of the requests are sent, and one of JSON at the end.
"""

import asyncio
import json
import os
import resource
import sys
from pathlib import Path
from random import Random

import uvloop

from drills.fuzz.line import Line, Tally
from drills.fuzz.requests import Site, made
from drills.fuzz.slow import dawdle, hoard
from drills.fuzz.wrecks import wreck

CROWD, WRECKERS, DAWDLERS = 40, 60, 30
"""Connections at a time: of those who speak HTTP, of those who do not, and of those who take their time."""
MOST_AHEAD = 24
"""Requests that are sent in one go."""
HALF = "half"
AGAIN = 0.05
"""Seconds until a connection that nobody took is tried again."""


class Storm:
    """All strangers of one process, and how many requests they have left."""

    def __init__(self, port: int, seed: int, requests: int, site: Site, tally: Tally) -> None:
        self._port, self._seed, self._left, self._site, self._tally = port, seed, requests, site, tally
        self._half = requests // 2

    async def run(self) -> None:
        """Until all requests are sent; who is slow ends what was begun."""
        each = [self._speak(number) for number in range(CROWD)]
        each += [self._wreck(number) for number in range(CROWD, CROWD + WRECKERS)]
        each += [self._dawdle(number) for number in range(CROWD + WRECKERS, CROWD + WRECKERS + DAWDLERS)]
        each.append(self._hoard(CROWD + WRECKERS + DAWDLERS))
        await asyncio.gather(*each)

    def _random(self, number: int) -> Random:
        return Random(f"{self._seed} {number}")

    def _take(self, wanted: int) -> int:
        """How many of the wanted may still be sent."""
        taken = min(wanted, self._left)
        self._left -= taken
        self._tally.requests += taken
        if self._left <= self._half:
            print(HALF, flush=True)  # noqa: T201
            self._half = -1
        return taken

    async def _line(self) -> Line:
        """A new connection, as soon as somebody listens."""
        while True:
            if line := await Line.opened(self._tally, self._port):
                return line
            await asyncio.sleep(AGAIN)

    async def _speak(self, number: int) -> None:
        """Some requests in one go, some connections for many of them."""
        random, stays = self._random(number), False
        line: Line | None = None
        while count := self._take(random.randrange(1, MOST_AHEAD)):
            if not stays or line is None:
                line = await self._line()
            requests = [made(random, self._site)]
            while len(requests) < count and not requests[-1].last:
                requests.append(made(random, self._site))
            self._take(len(requests) - count)  # what was taken too many
            stays = await line.exchange(*(each.sent for each in requests))
            if stays and (requests[-1].last or random.random() < 0.05):
                line.transport.abort()
                stays = False

    async def _wreck(self, number: int) -> None:
        random = self._random(number)
        while self._take(1):
            thrown = wreck(random, self._site)
            line = await self._line()
            if random.random() < 0.1:  # and is not there for the answer
                line.transport.write(thrown.sent)
                await asyncio.sleep(0)
            else:
                await line.exchange(thrown.sent, hang_up=thrown.hangs_up)
            line.transport.abort()

    async def _dawdle(self, number: int) -> None:
        async for _ in dawdle(self._random(number), self._site, self._tally, self._port):
            if not self._left:
                return

    async def _hoard(self, number: int) -> None:
        random = self._random(number)
        while self._left:
            await hoard(random, self._tally, self._port)
            await asyncio.sleep(random.random() * 4)


def main() -> None:
    """Behind the receiver in the queue for the processor, as strangers elsewhere would be."""
    os.nice(5)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    port, seed, requests, file, *urls = sys.argv[1:]
    with Path(file).open("w") as kept:
        tally = Tally(kept)
        site = Site(tuple(url.encode() for url in urls))
        uvloop.run(Storm(int(port), int(seed), int(requests), site, tally).run())
    print(json.dumps(tally.to_json()))  # noqa: T201


if __name__ == "__main__":
    main()
