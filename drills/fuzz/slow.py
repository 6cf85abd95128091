"""Strangers who take their time: what is half, endless or never read has to be closed within the deadline."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import chain, count, repeat
from random import Random

from drills.fuzz.line import PATIENCE, Line, Tally
from drills.fuzz.requests import Site

DRIP = 0.7
"""Seconds between two drops."""
AHEAD = 20
"""Requests that a deaf one sends at a time."""
DEAF_FIRST = 5.0
"""Seconds that may pass until so much is unread that the receiver cannot send any more."""
HOARD = 1_200
"""Connections of one hoarder; two processes have more than there may be."""
DEAF = 200
"""Of those that ask."""
HELD = 2.0
"""Seconds that they are held."""
HEAD = b"POST %s HTTP/1.1\r\nHost: x\r\n"
CHUNK = b"fff\r\n" + b"a" * 4095 + b"\r\n"
BODY = HEAD + b"Content-Length: 5000\r\n\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def silent(_url: bytes) -> Iterator[bytes]:
    """Never says a word."""
    return iter(())


def half_line(url: bytes) -> Iterator[bytes]:
    """Half a request line."""
    return iter((b"GET %s?ID=" % url,))


def dripping_head(url: bytes) -> Iterator[bytes]:
    """A header now and then."""
    return chain((HEAD % url,), (b"X-%d: 1\r\n" % number for number in count()))


def dripping_body(url: bytes) -> Iterator[bytes]:
    """A byte of a body now and then."""
    return chain((BODY % url,), repeat(b"a"))


def dripping_chunks(url: bytes) -> Iterator[bytes]:
    """A chunk now and then."""
    return chain((CHUNKS % url,), repeat(b"3\r\na=b\r\n"))


def dripping_stranger(url: bytes) -> Iterator[bytes]:
    """A body that nobody wants."""
    return chain((BODY % (url[:-5] + b"wrong"),), repeat(b"a"))


def half_a_second_one(url: bytes) -> Iterator[bytes]:
    """A whole request, and half of another."""
    return iter((b"GET %s HTTP/1.1\r\nHost: x\r\n\r\nGET %s HT" % (url, url),))


def half_chunk(url: bytes) -> Iterator[bytes]:
    """The size of a chunk that never comes."""
    return iter((CHUNKS % url + b"ffff",))


def waits_to_be_asked(url: bytes) -> Iterator[bytes]:
    """Is told to go on, and does not."""
    return iter((HEAD % url + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",))


SLOW: tuple[Callable[[bytes], Iterator[bytes]], ...] = (
    silent, half_line, dripping_head, dripping_body, dripping_chunks, dripping_stranger, half_a_second_one, half_chunk,
    waits_to_be_asked,
)  # fmt: skip


async def drip(line: Line, drops: Iterator[bytes]) -> None:
    """Send drop by drop until the connection ends."""
    began = asyncio.get_running_loop().time()
    first = next(drops, b"")
    line.expect(first)
    line.transport.write(first)
    for drop in drops:
        if asyncio.get_running_loop().time() - began > PATIENCE or not await line.pause(DRIP):
            break
        line.transport.write(drop)
    await line.ends(began)


async def flood(line: Line, head: bytes, piece: bytes) -> None:
    """Send as fast as it is taken, without an end, until the connection ends."""
    began = asyncio.get_running_loop().time()
    line.expect(head)
    line.transport.write(head)
    while asyncio.get_running_loop().time() - began < PATIENCE and not line.gone.done():
        if line.transport.get_write_buffer_size() < 2 * len(piece):
            line.transport.write(piece)
        await line.pause(0.005)
    await line.ends(began)


async def deaf(line: Line, url: bytes) -> None:
    """Ask and ask, and listen to nothing; then see whether the connection has ended."""
    began = asyncio.get_running_loop().time()
    line.transport.pause_reading()
    sent = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % url
    line.expect(sent)
    while asyncio.get_running_loop().time() - began < PATIENCE:
        if not line.transport.get_write_buffer_size():
            line.transport.write(sent * AHEAD)
        if not await line.pause(0.002):
            break
    line.transport.resume_reading()
    await line.ends(began + DEAF_FIRST)


async def hoard(random: Random, tally: Tally, port: int) -> None:
    """More connections than there is room for, or fewer that ask and do not listen; what becomes of them is theirs."""
    asked = random.choice((b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * AHEAD))
    lines: list[Line] = []
    while len(lines) < (DEAF if asked.endswith(b"\n") else HOARD):
        line = await Line.opened(tally, port, small=True)
        if line is None:
            break
        lines.append(line)
        line.expect(asked)
        line.transport.pause_reading()
        line.transport.write(asked)
    tally.requests += len(lines)
    await asyncio.sleep(HELD)
    for line in lines:
        line.transport.abort()


async def dawdle(random: Random, site: Site, tally: Tally, port: int) -> AsyncIterator[None]:
    """One slow connection after the other; each step is one of them."""
    while True:
        url = random.choice(site.urls)
        line = await Line.opened(tally, port, small=True)
        if line is None:
            await asyncio.sleep(0.05)
            continue
        tally.requests += 1
        match random.randrange(len(SLOW) + 3):
            case 0:
                await deaf(line, random.choice((b"/", url, url[:-3])))
            case 1 | 2:
                endless = ((HEAD % url, b"X-Y: z\r\n" * 4000), (CHUNKS % url, CHUNK), (CHUNKS % b"/nobody", CHUNK))
                await flood(line, *random.choice(endless))
            case number:
                await drip(line, SLOW[number - 3](url))
        line.transport.abort()
        yield
