"""What strangers put into queries and bodies: values, pairs, JSON and multipart that readers stumble over."""

from random import Random
from urllib.parse import quote_from_bytes

NAMES = (
    b"ID", b"RECIPIENT", b"STATUS", b"REASONCODE", b"OPERATOR_STATUS_AT", b"REFERENCE", b"MSISDN", b"SHORTCODE",
    b"KEYWORD", b"PARM", b"TIMESTAMP", b"OPERATOR", b"From", b"To", b"Message", b"RefId", b"DeliveryReceipt",
    b"MediaURLs", b"data", b"id", b"status", b"from", b"to", b"", b"__proto__", b"a[b][c]", b"\xff", b"password",
)  # fmt: skip
VALUES = (
    b"", b"31612345678", b"+1 310 555 1212", b"10", b"20", b"STOP", b"20260302104158", b"00000000000000",
    b"99999999999999", b"9223372036854775808", b"-1", b"1e400", b"NaN", b"0x10", b"\0", b"a\0b", b"\xed\xa0\x80",
    b"\xc0\x80", b"\xff\xfe", b"\x81\x8d", b"\xef\xbb\xbf", b"\r\nX-Evil: 1", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    b"<script>alert(1)</script>", b"';DROP TABLE events;--", b"=cmd|' /C calc'!A0", b"%s%n%x", b"{{7*7}}", b"${jndi:x}",
    "٣١٦١٢٣٤٥".encode(), "\u202egnp.exe".encode(), "\U0001f4a9".encode() * 9, b"%", b"%zz",
    b"id:1 sub:001 dlvrd:001 submit date:2603021041 done date:2603021041 stat:DELIVRD err:000 text:",
    b"id:\0 sub: dlvrd: stat:\xff done date:99999999999999999999 err:" + b"9" * 40,
)  # fmt: skip
HUGE = (b"9" * 5000, b"A" * 9000, b"\xff" * 3000, b"%41" * 2000, "\U0001f4a9".encode() * 900)
SCALARS = (
    b"null", b"true", b"-0", b"1e400", b"-1e-400", b"NaN", b"Infinity", b"9" * 40, b"9" * 400, b'""',
    b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"31612345678"', b'"13105551212"', b'"OK"', b'"\xff"', b"[]",
    b"{}",
)  # fmt: skip
GOOD = (
    b"ID=%x&RECIPIENT=31612345678&STATUS=10&OPERATOR_STATUS_AT=20260302104158&",
    b"MSISDN=31612345678&SHORTCODE=3010&PARM=%x&TIMESTAMP=20260302104158&",
    b'{"From": "13105551212", "To": ["13109060901"], "Message": "%x", "RefId": "%x"}',
    b'{"From": "13105551212", "Message": "id:%x sub:001 dlvrd:001 stat:DELIVRD err:000", "DeliveryReceipt": true}',
)
SEPARATORS = (b"&", b"&", b"&", b"&", b";", b"&&", b"=", b"&amp;", b"\0&")
MARKS = (b"=", b"=", b"=", b"=", b"", b"==", b"=%", b"[]=")
TYPES = (
    b"application/json", b"application/x-www-form-urlencoded", b"application/x-www-form-urlencoded; charset=utf-16",
    b"multipart/form-data; boundary=x", b"multipart/form-data", b"text/plain; charset=klingon", b"", b"\xff" * 30,
    b"application/json" + b";" * 900,
)  # fmt: skip


def value(random: Random) -> bytes:
    """One value: a known stumbling block, or bytes by chance."""
    chance = random.random()
    if chance < 0.8:
        return random.choice(VALUES)
    return random.choice(HUGE) if chance < 0.803 else random.randbytes(random.randrange(24))


def mutated(random: Random, given: bytes) -> bytes:
    """A few bytes changed, taken out, doubled or put in."""
    content = bytearray(given or b"x")
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(content))
        match random.randrange(4):
            case 0:
                content[at] = random.randrange(256)
            case 1:
                content[at : at + random.randrange(1, 9)] = b""
            case 2:
                content[at:at] = content[at : at + random.randrange(1, 30)]
            case 3:
                content[at:at] = random.choice(VALUES)[:20]
        content = content or bytearray(b"x")
    return bytes(content)


def good(random: Random) -> bytes:
    """What providers send, and it is new."""
    template = random.choice(GOOD)
    return template.replace(b"%x", b"%x" % random.getrandbits(60))


def query(random: Random) -> bytes:
    """Parameters as they stand in a URL: a few, rarely thousands, escaped with care, without, or twice."""
    pairs = form(random)
    if random.random() < 0.8:
        return quote_from_bytes(pairs, safe=random.choice(("&=", "&=%", "&=%+;[]"))).encode()
    escaped = b"".join(b"%%%02x" % byte if byte <= 32 or byte >= 127 else bytes((byte,)) for byte in pairs)
    return escaped.replace(b"#", b"%23")


def form(random: Random) -> bytes:
    """Names and values with something between them."""
    chance = random.random()
    if chance < 0.004:
        return random.choice((b"&", b"=", b"x=1&", b"MSISDN=1&", b"%", b"+")) * random.randrange(900, 9000)
    pairs = [
        random.choice(NAMES) + random.choice(MARKS) + value(random) + random.choice(SEPARATORS)
        for _ in range(random.randrange(1, 9))
    ]
    joined = b"".join(pairs) if chance < 0.6 else good(random) + pairs[0]
    return mutated(random, joined) if chance < 0.2 else joined


def json(random: Random) -> bytes:
    """JSON, almost: nested by chance, cut off by chance, mutated by chance."""
    chance = random.random()
    if chance < 0.004:
        return random.choice((b"[", b'{"a":', b'[{"":', b'{"From":[')) * random.randrange(500, 9000)
    written = _object(random, 0) if chance < 0.6 else good(random)
    if chance < 0.1:
        return written[: random.randrange(len(written) + 1)]
    return mutated(random, written) if chance < 0.3 else written


def _object(random: Random, depth: int) -> bytes:
    fields = []
    for _ in range(random.randrange(5)):
        name = random.choice(NAMES).replace(b'"', b"").replace(b"\\", b"")
        fields.append(b'"%s":%s' % (name, _any(random, depth + 1)))
    return b"{" + b",".join(fields) + b"}"


def _any(random: Random, depth: int) -> bytes:
    chance = random.random()
    if depth > 4 or chance < 0.7:
        return random.choice(SCALARS) if chance > 0.002 else b"9" * 4400
    if chance < 0.85:
        return _object(random, depth)
    return b"[" + b",".join(_any(random, depth + 1) for _ in range(random.randrange(4))) + b"]"


def multipart(random: Random) -> bytes:
    """Parts with names, files, missing ends and boundaries inside."""
    parts = []
    for _ in range(random.randrange(1, 5)):
        name, end = random.choice(NAMES), random.choice((b"\r\n", b"\r\n", b"\n", b""))
        file = random.choice((b"", b"", b'; filename="../../x"', b"; filename*=utf-8''%ff"))
        head = b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n' % (name, file)
        parts.append(head + random.choice((b"\r\n", b"", b"Content-Type: \xff\r\n\r\n")) + value(random) + end)
    return b"".join(parts) + random.choice((b"--x--\r\n", b"--x", b"", b"--x" * 300))


def body(random: Random) -> tuple[bytes, bytes]:
    """A body and what it says that it is, which is often something else."""
    made = random.choices((form, json, multipart), (4, 5, 1))[0](random)
    if random.random() < 0.003:
        made *= 1 + 70_000 // (len(made) + 1)  # more than is taken
    return made, random.choice(TYPES)
