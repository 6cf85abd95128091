"""A secret, a number and a text, sent in every way and quoted by everybody, are in nothing that we say."""

import asyncio
import html
import json
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from aiosmtpd.smtp import SMTP
from mail_kit import Mailbox

from drills.waiting import until
from drills.yard import DROP_INS, PATIENCE, Command, Yard, forward_to

pytestmark = pytest.mark.anyio

SECRET, WRONG = "canary-hidden-secret-of-spryng", "canary-wrong-secret-of-nobody"
SIGNING = f"whsec_{b64encode(b'canary signing secret of the crm').decode()}"
ADMIN = "canary-hidden-token-of-the-admin"
NUMBER, TEXT, WORDS = "31687654321", "Heimlijk zürück <naar> kanarie", ("heimlijk", "rück", "kanarie")
FORMATS = (("json", "debug"), ("console", "info"), ("logfmt", "debug"))
"""Each format and each level that tells more."""

QUOTES = {
    "raises": (
        "def handle(event, attempt):\n    raise ValueError(event.data.get('text'), event.originator, event.recipient)\n"
    ),
    "caused": (
        "def handle(event, attempt):\n"
        "    try:\n"
        "        int(event.data.get('text') or event.recipient + 'x')\n"
        "    except ValueError as fault:\n"
        "        raise KeyError(event.originator) from fault\n"
    ),
    "gives_up": (
        "from receiver import Discard\n\ndef handle(event, attempt):\n    raise Discard(event.to_json().decode())\n"
    ),
    "pauses": (
        "from receiver import Pause\n\n"
        "def handle(event, attempt):\n"
        "    raise Pause(f'{event.text} {event.originator}')\n"
    ),
    "logs": (
        "from receiver import BaseHandler\n\n"
        "class Logs(BaseHandler):\n"
        "    async def handle(self, event, attempt):\n"
        "        self.log.info('seen', text=event.text, originator=event.originator, recipient=event.recipient)\n"
        "        try:\n"
        "            int(event.text)\n"
        "        except ValueError:\n"
        "            self.log.exception('not a number')\n"
    ),
    "threads": (
        "import asyncio\nimport threading\n\n"
        "async def handle(event, attempt):\n"
        "    threading.Thread(target=int, args=[event.text]).start()\n"
        "    task = asyncio.create_task(fails(event))\n"
        "    await asyncio.wait([task])\n"
        "    del task\n\n"
        "async def fails(event):\n"
        "    raise ValueError(event.text, event.originator)\n"
    ),
    "leaves": "def handle(event, attempt):\n    raise SystemExit(event.data.get('text') or event.recipient)\n",
}
"""Handlers of the team's own, each of which quotes what it was given."""
NOTED = """
from pathlib import Path

async def handle(event, attempt):
    with open("notices.txt", "a") as kept:
        print(event.to_json().decode(), file=kept)
"""
EMAIL = """
[handlers.post]
use = "email"
kinds = ["mo"]
retries = ["1s"]
smtp = {{ host = "127.0.0.1", port = {port}, tls = "none" }}
from = "receiver@example.com"
to = ["refused@example.com", "ops@example.com"]
"""
FORM = {"MSISDN": NUMBER, "SHORTCODE": "3010", "PARM": TEXT, "TIMESTAMP": "20260302104158"}
REPORT = {"ID": "m-1", "RECIPIENT": NUMBER, "STATUS": "20", "REASONCODE": "21", "OPERATOR_STATUS_AT": "20260302104158"}


@dataclass
class Said:
    """All that was said, by where."""

    parts: dict[str, str] = field(default_factory=dict)

    def leaks(self) -> list[str]:
        """Where a canary is, and what stands around it."""
        return [
            f"{where}: …{found}…"
            for where, text in self.parts.items()
            for canary in _canaries()
            for found in re.findall(f".{{0,80}}{re.escape(canary)}.{{0,20}}", text, re.IGNORECASE | re.DOTALL)
        ]


def _canaries() -> Iterator[str]:
    yield from (SECRET, WRONG, SIGNING, SIGNING.removeprefix("whsec_"), ADMIN, NUMBER, NUMBER[4:])
    for word in WORDS:
        yield from {word, json.dumps(word).strip('"'), quote(word), html.escape(word)}


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """A mail server that repeats what it refuses."""
    refusal = f"550 no mail about {NUMBER}"
    mailbox = Mailbox(recipients={"refused@example.com": refusal}, taken=[f"554 spam: heimlijk kanarie {NUMBER}"] * 9)
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, hostname="mx.test"), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    yield mailbox
    server.close()


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """The URL of a target that refuses, and quotes the request in its answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        body = head + await reader.readexactly(int(found[1]) if found else 0)
        writer.write(b"HTTP/1.1 422 No\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def configure(yard: Yard, mailbox: Mailbox, echo: str) -> None:
    for name, code in {**QUOTES, "noted": NOTED}.items():
        yard.drop_in(name, code)
    own = "".join(f'[handlers.{name}]\nuse = "{name}"\nretries = ["1s"]\n' for name in QUOTES).replace("_", "-")
    own = own.replace('use = "gives-up"', 'use = "gives_up"')
    tables = (
        DROP_INS,
        forward_to(echo, f'secret = "{SIGNING}"', 'retries = ["1s"]'),
        EMAIL.format(port=mailbox.port),
        '[handlers.audit]\nuse = "log"\n',
        '[handlers.noted]\nuse = "noted"\nkinds = ["notice"]\n',
        own,
    )
    source = f'[sources.spryng]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\n'
    server = f'[server]\nadmin_token = "{ADMIN}"\nmax_body = "1 KiB"\n'
    (yard.folder / "receiver.toml").write_text("\n".join((server, source, *tables)))


async def knock(url: str, said: Said) -> None:
    """Call in every way, right and wrong."""
    right, wrong = f"{url}/in/spryng/mo/{SECRET}", f"{url}/in/spryng/mo/{WRONG}"
    canary = {"number": NUMBER, "text": TEXT, "secret": SECRET}
    header = {"X-Secret": SECRET, "X-Number": NUMBER, "Authorization": f"Bearer {SECRET}"}
    calls = [
        ("POST", right, {"data": FORM}),
        ("GET", right.replace("/mo/", "/dlr/"), {"params": REPORT}),
        ("GET", right, {"params": {"x": TEXT, "y": NUMBER}}),  # quarantine
        ("POST", right, {"data": f'{{"MSISDN": "{NUMBER}", {TEXT}'.encode(), "headers": header}),
        ("POST", right, {"data": f"{TEXT} {NUMBER} ".encode() * 99}),  # too large
        *[(method, right, {"params": canary, "headers": header}) for method in ("HEAD", "PUT", "DELETE", "TRACE")],
        *[("POST", wrong, {"data": FORM, "headers": header})] * 6,  # and the notice of it
        ("GET", f"{url}/in/spryng/mo?secret={SECRET}&text={quote(TEXT)}", {}),
        ("GET", f"{url}/in/spryng/{SECRET}/{NUMBER}", {}),
        ("GET", f"{url}/in/{SECRET}/mo/{NUMBER}", {}),
        ("GET", f"{url}/{SECRET}/{NUMBER}/{quote(TEXT)}", {}),
        ("GET", f"{right}/{NUMBER}", {}),
    ]
    async with aiohttp.ClientSession() as http:
        for method, at, given in calls:
            async with http.request(method, at, **given) as answer:  # type: ignore[arg-type]
                said.parts.setdefault("answers", "")
                said.parts["answers"] += f"{answer.status} {answer.headers} {await answer.text()}\n"
    raw = [
        f"GET /in/spryng/mo/{SECRET}?{TEXT} {NUMBER}\r\n\r\n",
        f"{SECRET} {NUMBER}\0\r\n\r\n",
        f"GET /in/spryng/mo/{SECRET}",
    ]
    for thrown in raw:
        with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
            connection.sendall(thrown.encode())


async def pages(addresses: list[str], said: Said) -> None:
    """What both listeners tell, with the token and without."""
    async with aiohttp.ClientSession() as http:
        for base in addresses:
            for path in ("/metrics", "/readyz", "/healthz", "/"):
                for header in ({"Authorization": f"Bearer {ADMIN}"}, {}):
                    async with http.get(base + path, headers=header) as answer:
                        said.parts[f"{base}{path} {len(header)}"] = f"{answer.headers} {await answer.text()}"


def addresses(serve: Command) -> list[str]:
    """Where callbacks and admin are, as soon as the log says so, in whatever form."""
    found = (re.search(rf'{name}["=: ]+(http://[\d.:]+)', serve.words) for name in ("callbacks", "admin"))
    return [address[1] for address in found if address]


def told(yard: Yard) -> set[str]:
    """The notices there have been."""
    file = yard.folder / "notices.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return {json.loads(line)["data"]["notice"] for line in lines}


MASKED = (
    ("events", "--mask"),
    ("events", "--mask", "--json"),
    ("events", "--mask", "--csv"),
    ("trace", "m-1", "--mask"),
    ("trace", "m-1", "--mask", "--json"),
    ("trace", NUMBER, "--mask"),
    ("trace", NUMBER, "--mask", "--json"),
    ("stats",),
    ("stats", "--json"),
    ("handlers",),
    ("handlers", "--json"),
    ("quarantine",),
    ("check",),
)


@pytest.mark.parametrize(("format", "level"), FORMATS, ids=["-".join(each) for each in FORMATS])
async def test_no_canary_is_found_anywhere(yard: Yard, mailbox: Mailbox, echo: str, format: str, level: str) -> None:
    configure(yard, mailbox, echo)
    said = Said()
    log = {"RECEIVER_LOG__FORMAT": format, "RECEIVER_LOG__LEVEL": level}
    serve = await yard.start("serve", **log)
    url, admin = await until(lambda: addresses(serve), within=PATIENCE)
    await knock(url, said)
    for name in ("raises", "caused", "gives-up", "crm", "leaves"):
        await yard.reaches(name, dead=2)
    await yard.reaches("post", dead=1)
    await until(lambda: told(yard) >= {"dead_letters", "handler_down", "quarantine", "refused"}, within=PATIENCE)
    await pages([url, admin], said)
    for words in MASKED if format == "json" else ():  # they write no log
        _, out, err = await yard.run(*words)
        said.parts[" ".join(words).replace(NUMBER, "NUMBER")] = out + err
    await serve.stop()
    said.parts |= {"log": serve.stderr.read_text(), "log handler": serve.stdout.read_text()}
    said.parts["notices"] = (yard.folder / "notices.txt").read_text()
    assert "ValueError" in said.parts["log"]
    assert "+31" in said.parts["log handler"]
    assert said.leaks() == []


@pytest.mark.parametrize("said", [f"from {SECRET}", f"31 {NUMBER[4:]}", TEXT.upper(), quote(TEXT), json.dumps(TEXT)])
def test_a_canary_is_seen_where_it_is(said: str) -> None:
    assert Said({"log": f"before {said} after"}).leaks() != []
