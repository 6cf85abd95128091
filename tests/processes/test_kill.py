"""kill -9 under load, of any process and of all: what was acknowledged is stored once and reaches every handler."""

import json
from collections import Counter

import pytest
from http_target import Target

from drills.waiting import until
from drills.yard import DROP_INS, KEEPING, OWN, Command, Provider, Yard, forward_to

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("yard", ["sqlite", "postgres"], indirect=True)]

HANDLERS = ("audit", "crm", "own")
BEFORE = 150
"""Reports that are acknowledged before something is killed; more are on their way."""


@pytest.fixture
async def serve(yard: Yard, target: Target) -> Command:
    """A receiver with three handlers: two in the dispatch process and one in its own."""
    yard.drop_in("own", KEEPING)
    audit = '[handlers.audit]\nuse = "log"\nfile = "audit.jsonl"\n'
    yard.configure(DROP_INS, audit, forward_to(target.url), OWN)
    return await yard.serve()


async def under_load(yard: Yard, provider: Provider) -> None:
    """Wait until callbacks are coming in and events are going out, at every handler."""
    await until(lambda: len(provider.acknowledged) >= BEFORE)
    for name in HANDLERS:
        await yard.reaches(name, done=1)


async def is_whole(yard: Yard, target: Target, provider: Provider) -> None:
    """Every report that was acknowledged is stored, none twice, and each handler had each of them."""
    times_stored = Counter(event.message_id for event in await yard.events())
    assert set(times_stored.values()) == {1}
    stored = set(times_stored)
    assert provider.acknowledged <= stored
    for name in HANDLERS:
        counters = await yard.settled(name)
        assert (counters.received, counters.done, counters.dead) == (len(stored), len(stored), 0)
    audit = (yard.folder / "audit.jsonl").read_text().splitlines()
    assert {json.loads(line)["subject"] for line in audit} == stored
    assert {json.loads(request.body)["subject"] for request in target.requests} == stored
    assert set((yard.folder / "own.txt").read_text().split()) == stored


@pytest.mark.parametrize("everything", [False, True], ids=["serve alone", "everything"])
async def test_nothing_acknowledged_is_lost_with_serve(
    yard: Yard, serve: Command, target: Target, *, everything: bool
) -> None:
    provider = Provider()
    async with provider.sending(serve.url):
        await under_load(yard, provider)
        await serve.kill(*(serve.family if everything else [serve.pid]))
    again = await yard.serve()
    await provider.repeat(again.url)
    await is_whole(yard, target, provider)
    await serve.is_gone(within=10)


async def test_nothing_is_lost_with_who_runs_the_handlers_and_callbacks_go_on(
    yard: Yard, serve: Command, target: Target
) -> None:
    provider = Provider()
    async with provider.sending(serve.url, connections=1):
        await under_load(yard, provider)
        await serve.kill(serve.said("handler_process_started", handler="own")[0]["pid"])
        await serve.says("handler_process_started", handler="own", times=2)
        assert len(serve.said("child_started")) == 1
        await serve.kill(serve.said("child_started")[0]["pid"])
        await serve.says("dispatch_started", times=2)
    assert provider.acknowledged == provider.sent.keys()
    await is_whole(yard, target, provider)
