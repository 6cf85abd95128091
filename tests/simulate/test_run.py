"""The simulator plays the provider: it sends, repeats what was refused, and judges the answers."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from simulate_kit import SHAPES, Receiver, listening, plan, play, said

from receiver.cli.simulate.run import NothingThere, Run
from receiver.cli.simulate.target import Target, from_url

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("provider", SHAPES)
async def test_every_callback_is_stored_and_planned_duplicates_are_known(provider: str) -> None:
    async with listening(provider) as receiver:
        tally = await play(receiver, mix={"dlr": 1})
    assert (tally.sent, tally.stored, tally.duplicates, tally.wrong, tally.refused) == (44, 40, 4, 0, 0)


async def test_a_repeat_without_identity_is_stored_again() -> None:
    async with listening("bulkvs") as receiver:
        tally = await play(receiver, mix={"mo": 1})
    assert (tally.stored, tally.duplicates, tally.wrong) == (44, 0, 0)


async def test_callbacks_say_that_they_are_simulated() -> None:
    async with listening("spryng") as receiver:
        await play(receiver, count=3)
    assert {request.headers["Receiver-Simulated"] for request in receiver.seen} == {"1"}


async def test_callbacks_go_to_the_endpoints_of_their_kind_with_the_secret() -> None:
    async with listening("spryng") as receiver:
        target = from_url(f"{receiver.base}/in/main/mo/0123456789abcdef/", "spryng")
        await Run(plan("spryng", target)).run()
    called = {(request.method, request.path) for request in receiver.seen}
    assert called == {("GET", "/in/main/dlr/0123456789abcdef"), ("POST", "/in/main/mo/0123456789abcdef")}


async def test_refused_callbacks_come_again_until_they_are_taken() -> None:
    async with listening("spryng") as receiver:
        receiver.instead = lambda number, _: web.Response(status=503) if number % 3 == 0 else True
        tally = await play(receiver)
    assert (tally.stored, tally.duplicates, tally.wrong, tally.given_up) == (40, 4, 0, 0)
    assert tally.refused == tally.retried > 0


@pytest.mark.parametrize("provider", SHAPES)
async def test_a_callback_that_was_stored_unheard_may_be_a_duplicate(provider: str) -> None:
    async with listening(provider) as receiver:
        receiver.instead = lambda number, _: None if number in (3, 10, 11, 12) else True
        tally = await play(receiver, mix={"dlr": 1})
    assert (tally.wrong, tally.given_up) == (0, 0)
    assert tally.finished == 44
    assert tally.duplicates > 4


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (lambda: web.Response(status=404), "answered 404: unknown source or wrong secret"),
        (lambda: web.Response(status=302, headers={"Location": "/"}), "answered 302"),
        (web.Response, "no Receiver-Outcome instead of stored"),
        (lambda: said("duplicate", "event-1"), "duplicate instead of stored"),
        (lambda: said("quarantined", "event-1"), "quarantined instead of stored"),
        (lambda: said("stored", ""), "no Receiver-Event"),
    ],
    ids=["404", "redirect", "no outcome", "duplicate", "quarantined", "no event"],
)
async def test_a_wrong_answer_is_named(answer: Callable[[], web.Response], fault: str) -> None:
    async with listening("spryng") as receiver:
        receiver.instead = lambda _number, _request: answer()
        tally = await play(receiver, count=3)
    assert tally.faults == {fault: 3}
    assert tally.failed


async def test_a_duplicate_stored_twice_is_wrong() -> None:
    async with listening("spryng") as receiver:
        receiver.instead = lambda number, _: said("stored", f"event-{number}")
        tally = await play(receiver, count=10)
    assert tally.faults == {"stored instead of duplicate": 1}


async def test_a_duplicate_names_the_first_ones_event() -> None:
    async with listening("spryng") as receiver:
        receiver.instead = lambda number, _: said("duplicate" if number > 10 else "stored", f"event-{number}")
        tally = await play(receiver, count=10)
    assert tally.faults == {"a duplicate that names another event": 1}


async def test_what_is_refused_for_too_long_is_given_up() -> None:
    async with listening("spryng") as receiver:
        receiver.instead = lambda _number, _request: web.Response(status=500)
        tally = await play(receiver, count=5, give_up=timedelta(milliseconds=50))
    assert (tally.given_up, tally.stored) == (5, 0)
    assert tally.retried > 0
    assert tally.failed


async def test_nobody_at_the_first_callback_ends_the_run() -> None:
    async with listening("spryng") as receiver:
        base = receiver.base
    with pytest.raises(NothingThere, match="connection refused"):
        await Run(plan("spryng", from_url(base, "spryng"))).run()


async def test_a_unix_socket_is_a_target(tmp_path: Path) -> None:
    receiver = Receiver("spryng")
    application = web.Application()
    application.router.add_route("*", "/in/{rest:.*}", receiver.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "socket").start()
    target = Target("http://receiver", "spryng", socket=tmp_path / "socket")
    tally = await Run(plan("spryng", target, count=5)).run()
    await runner.cleanup()
    assert tally.stored == 5


async def test_a_rate_is_kept() -> None:
    async with listening("spryng") as receiver:
        tally = await play(receiver, count=11, rate=50, duplicates=0)
    assert tally.seconds >= 0.2


SERVER = """
    import hashlib, pathlib, sys
    from aiohttp import web

    folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])

    async def answer(request):
        key = hashlib.sha256(request.raw_path.encode() + await request.read()).hexdigest()
        known = folder / key
        outcome = "duplicate" if known.exists() else "stored"
        known.touch()
        return web.Response(headers={"Receiver-Outcome": outcome, "Receiver-Event": key})

    application = web.Application()
    application.router.add_route("*", "/in/{rest:.*}", answer)
    web.run_app(application, host="127.0.0.1", port=port, print=lambda *_: print("ready", flush=True))
"""


class Victim:
    """A server in a process of its own that keeps what it knows in a folder, so that it can be killed."""

    def __init__(self, folder: Path, port: int) -> None:
        self.command = [sys.executable, "-c", textwrap.dedent(SERVER), str(folder), str(port)]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


async def test_a_run_survives_a_server_that_is_killed_and_started_again(tmp_path: Path, free_port: int) -> None:
    victim = Victim(tmp_path, free_port)
    victim.start()
    middle = asyncio.Event()
    run = Run(
        plan("spryng", from_url(f"http://127.0.0.1:{free_port}", "spryng"), count=600, speedup=1200),
        moved=lambda tally: middle.set() if tally.finished > 200 else None,
    )
    going = asyncio.create_task(run.run())
    await middle.wait()
    await asyncio.to_thread(victim.kill)
    await asyncio.to_thread(victim.start)
    tally = await going
    await asyncio.to_thread(victim.kill)
    assert tally.faults == {}
    assert tally.given_up == 0
    assert tally.refused > 0
    assert len(os.listdir(tmp_path)) == 600


async def test_a_run_that_is_stopped_makes_no_more_and_sees_what_it_began_to_its_end() -> None:
    async with listening("spryng") as receiver:
        there = from_url(receiver.base, "spryng")
        run = Run(
            plan("spryng", there, count=10_000, rate=100, duplicates=50, mix={"dlr": 1}),
            moved=lambda tally: run.stop() if tally.stored >= 5 else None,
        )
        tally = await asyncio.wait_for(run.run(), 10)
    assert 5 <= tally.stored < 20
    assert tally.finished == tally.sent == tally.stored + tally.duplicates
    assert tally.duplicates >= tally.stored // 2
