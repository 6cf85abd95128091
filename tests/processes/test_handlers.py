"""Handlers in the running receiver: the built-in ones reach the world, bad ones harm nobody, people pause them."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest
from aiosmtpd.smtp import SMTP
from http_target import Target
from mail_kit import Mailbox
from standardwebhooks import Webhook

from drills.waiting import until
from drills.yard import AUDIT, DROP_INS, KEEPING, OWN, Provider, Yard, forward_to

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SLOW = 5.0
"""Seconds within which every single callback is answered, whatever else the machine has to do."""

LEAKING = """
import asyncio

async def handle(event, attempt):
    hoard = []
    while True:
        hoard.append(b"x" * 2**22)
        await asyncio.sleep(0.01)
"""


class Bad(NamedTuple):
    """A handler that harms itself, and how the reason of its dead letters begins."""

    code: str
    reason: str
    keys: str = ""


BAD = {
    "leave": Bad("import os\n\ndef handle(event, attempt):\n    os._exit(1)\n", "killed: exit status 1"),
    "leak": Bad(LEAKING, "killed: over max_memory", 'max_memory = "100 MiB"'),
    "fail": Bad("def handle(event, attempt):\n    raise ValueError('no')\n", "ValueError: no", 'retries = ["100ms"]'),
    "spin": Bad(
        "async def handle(event, attempt):\n    while True:\n        pass\n",
        "killed: blocked for",
        'timeout = "200ms"',
    ),
}


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox, hostname="mx.test"), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    yield mailbox
    server.close()


async def test_a_message_arrives_as_a_mail_and_as_a_signed_cloudevent(
    yard: Yard, mailbox: Mailbox, target: Target
) -> None:
    smtp = f'smtp = {{ host = "127.0.0.1", port = {mailbox.port}, tls = "none" }}\n'
    ends = 'from = "receiver@example.com"\nto = ["ops@example.com"]\n'
    alerts = '[handlers.alerts]\nuse = "email"\n' + smtp + ends
    yard.configure(alerts, forward_to(target.url, f'secret = "{SECRET}"'))
    serve = await yard.serve()
    event = await Provider().message(serve.url, "graag meer info")
    await until(lambda: mailbox.mails and target.requests)
    assert "graag meer info" in mailbox.mails[0].get_content()
    (request,) = target.requests
    signed = Webhook(SECRET).verify(request.body, request.headers)
    assert (signed["id"], signed["type"], signed["data"]["text"]) == (event, "message.mo", "graag meer info")
    assert request.headers["content-type"] == "application/cloudevents+json"


async def test_bad_handlers_end_in_dead_letters_and_harm_nobody(yard: Yard) -> None:
    for name, bad in BAD.items():
        yard.drop_in(name, bad.code)
    yard.drop_in("own", KEEPING)
    tables = [f'[handlers.{name}]\nuse = "{name}"\nkinds = ["mo"]\n{bad.keys}\n' for name, bad in BAD.items()]
    yard.configure(DROP_INS, AUDIT, OWN, *tables)
    serve, provider = await yard.serve(), Provider()
    await provider.message(serve.url, "hello")
    for name in BAD:
        await provider.send(serve.url, 20)
        await yard.reaches(name, dead=1)
    assert provider.slowest < SLOW
    for name in ("audit", "own"):
        assert (await yard.settled(name)).done == 1 + len(provider.sent)
    for name, bad in BAD.items():
        (dead,) = [each for each in await yard.dispatches(name) if each.state == "dead"]
        assert dead.reason.startswith(bad.reason)


async def test_a_dispatch_of_its_own_may_stand_still_while_callbacks_are_answered(yard: Yard) -> None:
    yard.configure(AUDIT)
    dispatch = await yard.start("dispatch")
    await dispatch.says("dispatch_started")
    serve, provider = await yard.serve("--no-dispatch"), Provider()
    assert serve.family == [serve.pid]
    await provider.send(serve.url, 3)
    await yard.reaches("audit", done=3)
    os.kill(dispatch.pid, signal.SIGSTOP)
    await provider.send(serve.url, 50)
    assert (await yard.counters("audit")).pending == 50
    os.kill(dispatch.pid, signal.SIGCONT)
    await yard.reaches("audit", done=53)
    await serve.stop()
    await dispatch.stop()


async def test_a_handler_is_paused_and_resumed_within_two_seconds(yard: Yard) -> None:
    yard.configure(AUDIT)
    serve, provider = await yard.serve(), Provider()
    await provider.send(serve.url)
    await yard.reaches("audit", done=1)
    assert (await yard.run("handlers", "pause", "audit"))[0] == 0

    async def lets_wait() -> bool:
        await provider.send(serve.url)
        return (await yard.counters("audit")).pending >= 5

    await until(lets_wait, within=2)
    counters = await yard.counters("audit")
    assert (counters.state, len(serve.lines)) == ("paused", counters.done)
    assert (await yard.run("handlers", "resume", "audit"))[0] == 0
    await yard.reaches("audit", done=len(provider.sent), within=2)


async def test_in_the_journal_what_handlers_log_has_its_priority_too(yard: Yard) -> None:
    code = "class Own(BaseHandler):\n    async def handle(self, event, attempt):\n        self.log.error('broken')\n"
    yard.drop_in("own", f"from receiver import BaseHandler\n\n{code}")
    yard.configure(DROP_INS, OWN)
    listing = 'stat=os.fstat(2); os.environ["JOURNAL_STREAM"]=f"{stat.st_dev}:{stat.st_ino}"'
    program = f"import os,sys; {listing}; os.execv(sys.executable, [sys.executable, '-m', 'receiver', 'serve'])"
    journal = yard.folder / "journal"
    with journal.open("wb") as stderr:
        serve = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, cwd=yard.folder, env=yard.env(), stderr=stderr
        )
    try:
        url = await until(lambda: re.search(r'callbacks": "(http://[\d.:]+)"', journal.read_text()), within=30)
        await Provider().send(url[1])
        await until(lambda: '"broken"' in journal.read_text(), within=30)
    finally:
        serve.terminate()
        await serve.wait()
    lines = [line for line in journal.read_text().splitlines() if "{" in line]
    assert {line[:3] for line in lines if '"level": "info"' in line} == {"<6>"}
    assert [line[:3] for line in lines if '"broken"' in line] == ["<3>"]
