"""SIGTERM and SIGINT: everything ends with 0 in time, whatever hangs, and leaves nothing interrupted behind."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
from http_target import Target, answer

from drills.waiting import until
from drills.yard import AUDIT, DROP_INS, KEEPING, OWN, Provider, Yard, forward_to
from receiver.config import load
from receiver.reloading import Reloading
from receiver.serving import Serving

pytestmark = pytest.mark.anyio

LONGEST = 10.0
"""Seconds that a stop may take."""
HANGING = """
import asyncio

async def handle(event, attempt):
    await asyncio.Event().wait()
"""
HALF_HEAD = b"GET /in/spryng/dlr?ID=half HTTP/1.1\r\nHost: sms"
HALF_BODY = b"POST /in/spryng/mo HTTP/1.1\r\nHost: sms\r\nContent-Length: 999\r\n\r\nMSISDN=316"
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: sms\r\n\r\n"


async def never(writer: asyncio.StreamWriter) -> None:
    """A target that says nothing."""
    await asyncio.Event().wait()


async def connected(url: str, said: bytes) -> asyncio.StreamWriter:
    """A connection over which this was said, and nothing more is."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    await writer.drain()
    if said == WHOLE:
        await reader.readuntil(b"\r\n\r\n")
    return writer


async def test_a_stop_under_load_loses_nothing_and_repeats_nothing(yard: Yard, target: Target) -> None:
    yard.drop_in("own", KEEPING)
    yard.configure(DROP_INS, AUDIT, OWN, forward_to(target.url))
    serve, provider = await yard.serve(), Provider()
    async with provider.sending(serve.url):
        await until(lambda: len(provider.acknowledged) >= 100)
        await serve.stop(within=LONGEST)
    stored = {str(event.message_id) for event in await yard.events()}
    assert provider.acknowledged <= stored
    await yard.start("dispatch")
    for name in ("audit", "crm", "own"):
        assert (await yard.settled(name)).done == len(stored)
    assert sorted(json.loads(request.body)["subject"] for request in target.requests) == sorted(stored)
    assert sorted((yard.folder / "own.txt").read_text().split()) == sorted(stored)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_open_connections_do_not_hold_up_a_stop(yard: Yard, number: int) -> None:
    serve = await yard.serve()
    writers = [await connected(serve.url, said) for said in (HALF_HEAD, HALF_BODY, WHOLE)]
    await Provider().send(serve.url)
    await serve.stop(number, within=LONGEST)
    for writer in writers:
        writer.close()


async def test_calls_that_hang_are_released_by_a_stop(yard: Yard, target: Target) -> None:
    target.answers = [never]
    yard.drop_in("own", HANGING)
    yard.configure(DROP_INS, OWN, forward_to(target.url))
    serve = await yard.serve()
    await Provider().send(serve.url, 3)
    for name in ("crm", "own"):
        await yard.reaches(name, running=3)
    await until(lambda: len(target.requests) == 3)
    await serve.stop(within=LONGEST)
    for name in ("crm", "own"):
        assert (await yard.counters(name)).pending == 3
    target.answers = [answer(204)]
    yard.drop_in("own", KEEPING)
    await yard.start("dispatch")
    for name in ("crm", "own"):
        await yard.settled(name)
        assert [[line.verdict for line in each.lines] for each in await yard.dispatches(name)] == [["done"]] * 3


async def test_a_stop_before_the_start_was_over_counts(tmp_path: Path) -> None:
    async def ready(serving: Serving) -> None:
        """Nobody waits."""

    env = {"RECEIVER_SERVER__LISTEN": "127.0.0.1:0", "RECEIVER_SERVER__ADMIN_LISTEN": ""}
    (tmp_path / "receiver.toml").touch()
    settings = load(tmp_path / "receiver.toml", secrets=False, env=env)
    serving = Serving(settings, dispatch=[], ready=ready, reloading=Reloading(["false"], load))
    serving.stop()
    assert await asyncio.wait_for(serving.run(), LONGEST) == 0


async def test_a_handler_that_does_not_open_does_not_hold_up_a_stop(yard: Yard) -> None:
    yard.drop_in("own", "import time\n\ntime.sleep(600)\n" + KEEPING)
    yard.configure(DROP_INS, OWN)
    dispatch = await yard.start("dispatch")
    await until(lambda: len(dispatch.family) == 2)
    await dispatch.stop(within=LONGEST)
