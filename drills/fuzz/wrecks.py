"""What is no HTTP, or only half of it: each connection it comes on has to be answered or closed within the deadline."""

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from drills.fuzz import content
from drills.fuzz.requests import METHODS, PATHS, Site, made

TLS_HELLO = bytes.fromhex("16030100f4010000f00303") + bytes(range(230))
HTTP_2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
SIZES = (
    b"-1", b"0x5", b"+5", b" 5", b"5 ", b"5;", b"g", b"", b"\xff", b"5" * 30, b"ffffffffffffffff", b"7fffffffffffffff",
    b"100000000000000000", b"00000000000000000000000000000000000005", b"5\n", b"1e3",
)  # fmt: skip
LENGTHS = (
    b"-1", b"+5", b"5, 5", b"5 5", b"0x5", b"9" * 30, b"18446744073709551616", b"9223372036854775807", b"\xd9\xa5", b"",
    b"1e3", b"5;", b"five", b"\t5", b"05", b"4294967296",
)  # fmt: skip
LINES = (
    b"", b"GET", b"GET ", b"GET /", b"GET / HTTP", b"GET / HTTP/", b"GET / HTTP/0.9", b"GET / HTTP/1.2",
    b"GET / HTTP/9.9",
    b"GET / HTTP/1.1.1", b"GET / HTTP/11", b"GET / http/1.1", b"GET / ICE/1.0", b"get / HTTP/1.1", b"GET\t/\tHTTP/1.1",
    b"GET  /  HTTP/1.1", b"GET /a b HTTP/1.1", b" GET / HTTP/1.1", b"GET\0/ HTTP/1.1", b"GET / HTTP/1.1\0",
    b"FOO / HTTP/1.1",
    b"\xff\xfe / HTTP/1.1", b"GET \xff\xff HTTP/1.1", b"GET http:// HTTP/1.1", b"GET http://a:b@c:d/ HTTP/1.1",
    b"GET ? HTTP/1.1",
    b"CONNECT x:443 HTTP/1.1", b"CONNECT / HTTP/1.1", b"CONNECT [::1 HTTP/1.1", b"HTTP/1.1 200 OK", b"RTSP/1.0 200 OK",
    b"OPTIONS * HTTP/1.1", b"GET //\\..\\ HTTP/1.1", b"SSH-2.0-OpenSSH_9.2", b"EHLO x", b"*1\r\n$4\r\nPING",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"A" * 70_000, b"GET /?" + b"x=1&" * 30_000 + b" HTTP/1.1",
)  # fmt: skip
FIELDS = (
    b"no colon", b": empty", b"Sp ace: 1", b"X : 1", b" folded", b"X: a\r\n folded", b"X: a\0b", b"X\0: 1", b"\xff: 1",
    b"X: a\rb", b"X: a\nb", b"Content-Length: 5\r\nContent-Length: 5", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: 5",
    b"Transfer-Encoding: chunked, chunked", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding: \xffchunked",
    b"X" * 70_000 + b": 1",
    b"X: " + b"y" * 70_000, b"\r\n".join(b"X-%d: 1" % number for number in range(3000)), b"Host: a\r\nHost: b",
    b"Host:",
    b"Connection: close, keep-alive", b"Upgrade: TLS/1.0\r\nConnection: Upgrade", b"Expect: " + b"x" * 900,
)  # fmt: skip


class Wreck(NamedTuple):
    """Bytes, and whether the client says that nothing more will come."""

    sent: bytes
    hangs_up: bool


def wreck(random: Random, site: Site) -> Wreck:
    """Something to be thrown at a new connection."""
    kinds: tuple[Callable[[Random, Site], bytes], ...] = (_damaged, _line, _field, _size, _length, _noise, _smuggled)
    return Wreck(random.choices(kinds, (30, 20, 20, 12, 10, 5, 3))[0](random, site), random.random() < 0.7)


def _damaged(random: Random, site: Site) -> bytes:
    """A good request with something done to it, or cut off."""
    whole = made(random, site).sent
    return whole[: random.randrange(len(whole))] if random.random() < 0.2 else content.mutated(random, whole)


def _line(random: Random, _site: Site) -> bytes:
    return random.choice(LINES) + random.choice((b"\r\n\r\n", b"\r\nHost: x\r\n\r\n", b"\n\n", b"\r\r", b"\r\n"))


def _field(random: Random, site: Site) -> bytes:
    method, path = random.choice((b"GET", b"POST", *METHODS[:4])), random.choice((*site.urls, *PATHS))
    return b"%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\na=b&c" % (method, path, random.choice(FIELDS))


def _size(random: Random, site: Site) -> bytes:
    """A chunk that is not as long as it says, or does not say how long it is."""
    size, data = random.choice(SIZES), random.choice((b"a=b&c", b"", b"a=b&c" * 400))
    end = random.choice((b"\r\n0\r\n\r\n", b"\r\n", b"", b"0\r\n\r\n", b"\r\n0\r\nX" * 3000))
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" % random.choice(site.urls)
    return head + size + b"\r\n" + data + end


def _length(random: Random, site: Site) -> bytes:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: " % random.choice(site.urls)
    return head + random.choice(LENGTHS) + b"\r\n\r\na=b&c"


def _noise(random: Random, _site: Site) -> bytes:
    return random.choice((TLS_HELLO, HTTP_2, b"\0" * 2000, b"\r\n" * 5000, random.randbytes(random.randrange(1, 3000))))


def _smuggled(random: Random, site: Site) -> bytes:
    """Requests within requests, and bytes after what ends a connection."""
    inner = made(random, site).sent
    outer = random.choice(
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
        )
    )
    return outer + inner
