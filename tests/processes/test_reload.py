"""SIGHUP: the running receiver takes over a sound configuration, and keeps the old one where the new one is broken."""

import signal

import aiohttp
import pytest

from drills.yard import AUDIT, DROP_INS, KEEPING, OWN, SOURCE, Command, Provider, Yard

pytestmark = pytest.mark.anyio

ANOTHER = SOURCE.replace("[sources.spryng]", "[sources.second]")
BOOK = '[handlers.book]\nuse = "log"\nfile = "book.jsonl"\n'


async def status(serve: Command, path: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{serve.url}{path}") as answer:
        return answer.status


async def metric(serve: Command, name: str) -> str:
    url = (await serve.says("ready"))["admin"]
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        page = await answer.text()
    return next(line.split()[1] for line in page.splitlines() if line.startswith(f"{name} "))


async def test_sources_and_handlers_are_taken_over_and_nothing_is_lost(yard: Yard) -> None:
    yard.configure(AUDIT)
    serve, provider = await yard.serve(), Provider()
    assert await status(serve, "/in/second/dlr") == 404
    async with provider.sending(serve.url):
        await yard.reaches("audit", done=20)
        yard.configure(ANOTHER, AUDIT, BOOK)
        serve.process.send_signal(signal.SIGHUP)
        await serve.says("configuration_reloaded")
        await yard.reaches("book", done=20)
    assert await status(serve, "/in/second/dlr") == 200
    assert provider.acknowledged == provider.sent.keys()
    assert (await yard.settled("audit")).done == len(provider.sent)
    assert await metric(serve, "receiver_configuration_ok") == "1.0"
    assert len(serve.said("child_started")) == 2
    await serve.stop()


@pytest.mark.parametrize(
    ("tables", "place"),
    [("[server]\nmaxbody = 5\n", "server.maxbody"), (DROP_INS + OWN + "reveel = true\n", "handlers.own.reveel")],
    ids=["of ours", "of a handler"],
)
async def test_a_broken_configuration_leaves_the_old_one_in_place(yard: Yard, tables: str, place: str) -> None:
    yard.drop_in("own", KEEPING)
    yard.configure(AUDIT)
    serve, provider = await yard.serve(), Provider()
    yard.configure(AUDIT, tables)
    serve.process.send_signal(signal.SIGHUP)
    refused = await serve.says("configuration_refused")
    assert place in refused["fault"]
    assert await metric(serve, "receiver_configuration_ok") == "0.0"
    await provider.send(serve.url, 3)
    await yard.reaches("audit", done=3)
    assert len(serve.said("child_started")) == 1
    await serve.stop()


async def test_a_dispatch_of_its_own_begins_anew_under_the_same_pid(yard: Yard) -> None:
    yard.configure(AUDIT)
    serve = await yard.serve("--no-dispatch")
    dispatch = await yard.start("dispatch")
    await dispatch.says("dispatch_started")
    yard.configure(AUDIT, BOOK)
    dispatch.process.send_signal(signal.SIGHUP)
    await dispatch.says("dispatch_started", handlers=["audit", "book"])
    await Provider().send(serve.url, 3)
    await yard.reaches("book", done=3)
    assert dispatch.process.returncode is None
    await dispatch.stop()
    await serve.stop()


async def test_what_a_reload_does_not_change_is_named(yard: Yard) -> None:
    yard.configure(AUDIT)
    serve = await yard.serve()
    yard.configure(AUDIT, '[log]\nlevel = "warning"\n')
    serve.process.send_signal(signal.SIGHUP)
    assert (await serve.says("configuration_reloaded"))["at_the_next_start"] == ["log"]
    await serve.stop()
