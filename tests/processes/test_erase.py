"""A person is erased from a receiver that goes on: nobody waits, and the disk holds nothing of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import aiohttp
import pytest
from http_target import Target

from drills.yard import Provider, Yard, forward_to, report
from receiver.numbers import Written

pytestmark = pytest.mark.anyio

PERSON, OTHER = "+31612345678", "31687654321"


@asynccontextmanager
async def about_others(url: str) -> AsyncIterator[list[int]]:
    """Reports about somebody else, one after the other until the block ends; their answers."""
    statuses: list[int] = []

    async def send() -> None:
        async with aiohttp.ClientSession() as http:
            for number in count():
                about = report(f"other-{number}") | {"RECIPIENT": OTHER}
                async with http.get(f"{url}/in/spryng/dlr", params=about) as answer:
                    statuses.append(answer.status)

    sending = asyncio.create_task(send())
    try:
        yield statuses
    finally:
        sending.cancel()
        await asyncio.wait({sending})


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def holding(folder: Path) -> list[str]:
    """The files of the store in which the number stands."""
    return [
        file.name
        for file in folder.glob("receiver*.db*")
        if file.is_file() and Written(PERSON).in_file(file.read_bytes())
    ]


async def test_a_person_is_erased_while_all_goes_on(yard: Yard, target: Target) -> None:
    target.answers = [hang_up]
    yard.configure(forward_to(target.url, 'retries = ["1h"]'), '[handlers.audit]\nuse = "log"\n')
    serve = await yard.serve()
    await Provider().send(serve.url, 30)
    await serve.says("handler_held", handler="crm")
    await yard.reaches("audit", done=30)
    async with about_others(serve.url) as statuses:
        status, out, err = await yard.run("erase", "--number", PERSON, "--yes", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert (told["events"], told["cancelled"], told["traces"]) == (30, 30, 0)
    assert set(statuses) == {200}
    assert holding(yard.folder) == []
    counters = await yard.counters("crm")
    assert (counters.cancelled, counters.done) == (30, 0)
    assert counters.pending + counters.running >= len(statuses)
    await serve.stop()
    assert holding(yard.folder) == []
