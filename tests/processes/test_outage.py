"""Targets that are down or say no, and come back: nothing dies that need not, and what died is delivered when asked."""

import asyncio
import json
from collections import Counter

import pytest
from http_target import Target, answer

from drills.waiting import until
from drills.yard import Provider, Yard, forward_to

pytestmark = pytest.mark.anyio


async def reset(writer: asyncio.StreamWriter) -> None:
    """A target that is going down hangs up on whoever asks."""
    writer.transport.abort()


async def test_what_waited_for_a_target_arrives_once_when_it_is_back(yard: Yard, target: Target) -> None:
    target.answers, provider = [reset], Provider()
    yard.configure(forward_to(target.url, 'retries = ["1h"]'))
    serve = await yard.serve()
    events = await provider.send(serve.url, 30)
    await serve.says("handler_held", handler="crm")
    events += await provider.send(serve.url, 10)
    refused = len(target.requests)
    await until(lambda: len(target.requests) > refused)
    target.requests, target.answers = [], [answer(204)]
    counters = await yard.settled("crm")
    assert (counters.done, counters.dead, counters.state) == (40, 0, "ok")
    assert Counter(json.loads(request.body)["id"] for request in target.requests) == Counter(events)


async def test_an_event_the_target_refuses_dies_after_its_retries_and_is_delivered_when_asked(
    yard: Yard, target: Target
) -> None:
    target.answers = [answer(400)]
    yard.configure(forward_to(target.url, 'retries = ["1s", "1s"]'))
    serve = await yard.serve()
    (event,) = await Provider().send(serve.url)
    await yard.reaches("crm", dead=1)
    assert len(target.requests) == 3
    target.answers = [answer(204)]
    status, listed, _ = await yard.run("dead", "--json")
    assert (status, json.loads(listed)["event"]) == (0, event)
    status, _, words = await yard.run("dead", "retry", "--handler", "crm")
    assert status == 0, words
    assert (await yard.settled("crm")).done == 1
    assert len(target.requests) == 4
