"""Whole requests that are HTTP, with anything in them; each of them has to be answered."""

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from drills.fuzz import content

METHODS = (
    b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"PATCH", b"TRACE", b"PROPFIND", b"MKCOL", b"LOCK", b"SEARCH", b"REPORT",
    b"NOTIFY", b"PURGE", b"LINK", b"M-SEARCH", b"SUBSCRIBE", b"REBIND", b"ACL", b"SOURCE", b"QUERY",
)  # fmt: skip
PATHS = (
    b"/", b"/in", b"/in/", b"/in//", b"/in/spryng", b"/in/spryng/", b"/in/spryng/dlr", b"/in/spryng/dlr/", b"/healthz",
    b"/readyz", b"/metrics", b"/in/nobody/dlr/x", b"/in/spryng/nothing/x", b"/in/%zz/%/%%", b"/in/spryng/%ff%fe/x",
    b"/in/spryng/dlr/%ff%c0%80", b"/in/spryng%00/dlr/x", b"/in/spryng/dlr/%ed%a0%80", b"/in/../in/spryng/dlr",
    b"/in/./spryng/dlr", b"/in/%2e%2e/%2e%2e/etc/passwd", b"/in/spryng/dlr/%0d%0aX-Evil:%201", b"/.git/config", b"//",
    b"/wp-login.php", b"/in/spryng/dlr/x/y", b"/IN/SPRYNG/DLR/x", b"/in/%D1%81/dlr/x", b"/in;a=b/spryng/dlr/x", b"/?",
    b"*", b"/in/spryng/dlr/\xff\xfe", "/in/spryng/dlr/\u043a\u043b\u044e\u0447".encode(),
    b"/in/spryng/dlr/" + b"x" * 8000,
    b"/in" + b"/x" * 4000, b"http://localhost/in/spryng/dlr", b"http://[::1]:99999/in/spryng/dlr", b"/in/spryng/dlr#x",
)  # fmt: skip
HEADERS = (
    b"X-Forwarded-For: 192.0.2.1, _hidden, unix:", b"X-Forwarded-For: " + b"," * 3000, b"X-Forwarded-For: \xff",
    b"Forwarded: for=;;;\"", b"Via: 1.0 x", b"Receiver-Simulated: 1", b"Receiver-Simulated: 1, 1",
    b"Cookie: " + b"c" * 7000,
    b"Expect: 100-continue", b"Expect: 200-ok", b"Upgrade: h2c\r\nConnection: upgrade, http2-settings",
    b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x", b"Accept-Encoding: \xff\xfe",
    b"Range: bytes=0-,-1",
    b"If-Match: \"", b"Content-Encoding: gzip", b"Authorization: Bearer \xe9", b"Authorization: Basic " + b"Q" * 3000,
    b"Host: evil.example.com", b"X: ", b"X:\t\t", b"Date: \xd9\xa3", b"Transfer-Encoding:", b"Trailer: Content-Length",
    b"X-HTTP-Method-Override: DELETE", b"TE: trailers", b"Keep-Alive: timeout=99999999999", b"Max-Forwards: -1",
)  # fmt: skip


@dataclass(frozen=True)
class Site:
    """What a stranger knows of the receiver: also secrets, as a provider gone mad would."""

    urls: tuple[bytes, ...]
    """Callback URLs with their secret."""


class Made(NamedTuple):
    """A request as bytes, and whether its connection ends with it."""

    sent: bytes
    last: bool


def made(random: Random, site: Site) -> Made:
    """Any request: from somebody with the secret, from a stranger, or one for the list of methods and paths."""
    chance = random.random()
    path = random.choice(site.urls)
    if chance < 0.45:
        return _composed(random, path, b"POST" if random.random() < 0.6 else b"GET")
    if chance < 0.7:
        return _composed(random, path[: -random.randrange(1, 30)] + random.choice((b"", b"x", b"/")), b"GET")
    if chance < 0.9:
        return _composed(random, random.choice(PATHS), random.choice((b"GET", b"POST")))
    return _composed(random, random.choice((path, *PATHS)), random.choice(METHODS))


def _composed(random: Random, path: bytes, method: bytes) -> Made:
    chance = random.random()
    if chance < 0.6 and b"?" not in path and b"#" not in path and path != b"*":
        path += b"?" + content.query(random)
    lines = [b"%s %s HTTP/%s" % (method, path.replace(b" ", b"%20"), b"1.0" if chance < 0.01 else b"1.1"), b"Host: x"]
    if random.random() < 0.3:
        lines += random.choices(HEADERS, k=random.randrange(1, 4))
    body = b""
    if method == b"POST" or random.random() < 0.1:
        plain, kind = content.body(random)
        lines.append(b"Content-Type: " + kind)
        framing, body = (
            chunked(random, plain) if random.random() < 0.15 else (b"Content-Length: %d" % len(plain), plain)
        )
        lines.append(framing)
    last = chance < 0.01 or any(line.startswith((b"Upgrade", b"Transfer-Encoding:")) for line in lines)
    return Made(b"\r\n".join(lines) + b"\r\n\r\n" + body, last)


def chunked(random: Random, plain: bytes) -> tuple[bytes, bytes]:
    """A body in chunks, with extensions, leading zeros and trailers, all of them allowed."""
    chunks, at = [], 0
    while at < len(plain):
        piece = plain[at : at + random.randrange(1, max(2, len(plain)))]
        at += len(piece)
        extension = random.choice((b"", b"", b";x", b';a="b"', b";" + b"e" * 200))
        chunks.append(random.choice((b"%x", b"%X", b"000%x")) % len(piece) + extension + b"\r\n" + piece + b"\r\n")
    trailer = random.choice((b"", b"", b"X-Trailer: 1\r\n", b"Content-Length: 5\r\n", b"X: \xff\r\n"))
    return b"Transfer-Encoding: chunked", b"".join(chunks) + b"0\r\n" + trailer + b"\r\n"
