"""Several receivers on one PostgreSQL: they share what comes in and what goes out, and commands see all of it."""

import json
from collections import Counter

import pytest
from http_target import Target

from drills.waiting import until
from drills.yard import AUDIT, Command, Provider, Yard, forward_to

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("yard", ["postgres"], indirect=True)]


@pytest.fixture
async def receivers(yard: Yard, target: Target) -> list[Command]:
    """Two of them, each with its dispatcher."""
    yard.configure(forward_to(target.url))
    return [await yard.serve(), await yard.serve()]


def forwarded(target: Target) -> Counter[str]:
    """How often each message came to the target."""
    return Counter(json.loads(request.body)["subject"] for request in target.requests)


async def test_what_either_gets_is_stored_once_and_forwarded_once(
    yard: Yard, receivers: list[Command], target: Target
) -> None:
    provider = Provider()
    first, second = receivers
    await provider.send(first.url, 20)
    await provider.send(second.url, 20)
    told = list(provider.sent)
    await provider.again(second.url, told[:20])
    await provider.again(first.url, told[20:])
    assert set(provider.sent.values()) == {"duplicate"}
    await yard.reaches("crm", done=40)
    assert sorted(event.message_id or "" for event in await yard.events()) == sorted(told)
    assert forwarded(target) == dict.fromkeys(told, 1)


async def test_when_one_is_killed_the_other_goes_on(yard: Yard, receivers: list[Command], target: Target) -> None:
    provider = Provider()
    first, second = receivers
    await provider.send(first.url, 5)
    await first.kill(*first.family)
    await provider.send(second.url, 5)
    await until(lambda: forwarded(target).keys() == provider.sent.keys(), within=30)


async def test_commands_work_by_the_url_alone(yard: Yard) -> None:
    yard.configure(AUDIT)
    status, _, err = await yard.run("events")
    assert (status, "`receiver serve` creates them" in err) == (78, True)
    serve = await yard.serve()
    (event,) = await Provider().send(serve.url)
    await yard.reaches("audit", done=1)
    for command in (
        ["events", "--json"],
        ["trace", event],
        ["stats"],
        ["handlers"],
        ["dead"],
        ["quarantine"],
        ["check"],
    ):
        assert (await yard.run(*command))[0] == 0
    assert (await yard.run("replay", "--handler", "audit", "--yes"))[0] == 0
    await yard.reaches("audit", done=2)
    assert (await yard.run("migrate"))[1] == "Nothing to do: the schema is up to date.\n"
    assert (await yard.run("prune", "--simulated"))[0] == 0
    status, _, err = await yard.run("backup", "copy")
    assert (status, "pg_dump" in err) == (1, True)
    assert (await yard.run("erase", "--number", "31612345678", "--yes"))[0] == 0
    assert await yard.events() == []
    await serve.stop()
