"""The simulator plays the provider: a small receiver that can misbehave is at the other end of real HTTP."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from receiver.callback import Callback
from receiver.cli.simulate import bulkvs as bulkvs_shape
from receiver.cli.simulate import simulate
from receiver.cli.simulate import spryng as spryng_shape
from receiver.cli.simulate.run import NothingThere, Plan, Run
from receiver.cli.simulate.shape import Making, Request, doubling
from receiver.cli.simulate.tally import Tally
from receiver.cli.simulate.target import Target, from_url
from receiver.providers.bulkvs import BulkVS, BulkVSSettings
from receiver.providers.spryng import Spryng, SpryngSettings

pytestmark = pytest.mark.anyio

SHAPES = {"spryng": spryng_shape.SHAPE, "bulkvs": bulkvs_shape.SHAPE}
READERS = {"spryng": Spryng(SpryngSettings()), "bulkvs": BulkVS(BulkVSSettings())}


class Receiver:
    """Answers as the receiver does; `instead` may answer otherwise, or break the connection by returning None."""

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.known: dict[str, str] = {}
        self.seen: list[web.Request] = []
        self.instead: Callable[[int, web.Request], web.Response | bool | None] = lambda _number, _request: True
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(request)
        other = self.instead(len(self.seen), request)
        if isinstance(other, web.Response):
            return other
        said = self.take(request, body)
        if other is None:
            assert request.transport is not None
            request.transport.abort()
        return said

    def take(self, request: web.Request, body: bytes) -> web.Response:
        callback = Callback(
            source=self.provider,
            endpoint=request.path.split("/")[3],
            method=request.method,
            query=request.rel_url.raw_query_string.encode(),
            body=body,
            content_type=request.headers.get("Content-Type", ""),
            received_at=datetime.now(UTC),
        )
        (event,) = READERS[self.provider].parse(callback)
        key = hashlib.sha256("\0".join(event.identity.values).encode()).hexdigest()
        if event.identity.certain and key in self.known:
            return said("duplicate", self.known[key])
        self.known[key] = f"event-{len(self.known)}"
        return said("stored", self.known[key])


def said(outcome: str, event: str) -> web.Response:
    return web.Response(text="OK", headers={"Receiver-Outcome": outcome, "Receiver-Event": event})


@contextlib.asynccontextmanager
async def listening(provider: str) -> AsyncIterator[Receiver]:
    receiver = Receiver(provider)
    application = web.Application()
    application.router.add_route("*", "/in/{rest:.*}", receiver.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def plan(provider: str, target: Target, **changes: Any) -> Plan:
    usual: dict[str, Any] = {
        "count": 40,
        "mix": {"dlr": 50, "mo": 50},
        "duplicates": 10,
        "rate": 0,
        "speedup": 6000,
        "give_up": None,
        "connections": 8,
        "seed": 7,
    }
    return Plan(shape=SHAPES[provider], target=target, **(usual | changes))


async def play(receiver: Receiver, **changes: Any) -> Tally:
    return await Run(plan(receiver.provider, from_url(receiver.base, receiver.provider), **changes)).run()


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


@pytest.fixture
async def free_port() -> int:
    async with listening("spryng") as receiver:
        return int(receiver.base.rpartition(":")[2])


def made(provider: str, kind: str, count: int = 2000) -> list[Request]:
    chance = random.Random(1)
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return [SHAPES[provider].make[kind](Making(number, 5, now, chance)) for number in range(count)]


def read(provider: str, request: Request) -> Any:
    callback = Callback(
        source=provider,
        endpoint=request.endpoint,
        method=request.method,
        query=request.query.encode(),
        body=request.body,
        content_type=request.content_type,
        received_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
    )
    (event,) = READERS[provider].parse(callback)
    assert READERS[provider].home(callback, event) == request.endpoint
    return event


@pytest.mark.parametrize("provider", SHAPES)
@pytest.mark.parametrize("kind", ["dlr", "mo"])
def test_made_up_callbacks_are_all_different_and_read_as_their_kind(provider: str, kind: str) -> None:
    requests = made(provider, kind)
    events = [read(provider, request) for request in requests]
    assert {event.kind for event in events} == {kind}
    assert {event.identity.certain for event in events} == {requests[0].identified}
    assert len({event.identity.values for event in events}) == len(requests)


@pytest.mark.parametrize("provider", SHAPES)
def test_most_messages_arrive_and_the_others_fail_for_reasons(provider: str) -> None:
    events = [read(provider, request) for request in made(provider, "dlr")]
    statuses = Counter(event.status.value for event in events)
    assert 0.88 < statuses["delivered"] / len(events) < 0.96
    assert set(statuses) > {"failed", "rejected"}
    assert {event.reason for event in events if event.outcome == "failure"} - {None}


@pytest.mark.parametrize("provider", SHAPES)
def test_people_write_opt_outs_emoji_and_several_lines(provider: str) -> None:
    events = [read(provider, request) for request in made(provider, "mo")]
    assert any(event.opt_out for event in events)
    assert any("😀" in event.text for event in events)
    assert any("\n" in event.text for event in events)


def test_the_times_of_reports_are_of_now() -> None:
    (request, *_) = made("spryng", "dlr", 1)
    assert read("spryng", request).occurred_at == datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_reports_of_spryng_come_again_ever_more_slowly() -> None:
    pauses = [doubling(refusals) for refusals in range(1, 2000)]
    assert pauses[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert pauses == sorted(pauses)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/in/spryng/dlr"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/in/spryng/dlr"),
        ("https://acme.example/sms/in/nl/mo/0123456789abcdef", "https://acme.example/sms/in/nl/dlr/0123456789abcdef"),
        ("http://[::1]:8080/in/nl/", "http://[::1]:8080/in/nl/dlr"),
    ],
)
def test_a_url_is_a_base_or_a_whole(url: str, expected: str) -> None:
    assert from_url(url, "spryng").url("dlr") == expected


# the command


def call(*arguments: str, config: Path | None = None) -> Any:
    given = [*arguments, "--config", str(config)] if config else list(arguments)
    return CliRunner().invoke(simulate, given, standalone_mode=False)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "receiver.toml"
    file.write_text('[sources.dutch]\nprovider = "spryng"\nsecrets = ["0123456789abcdef"]\n')
    file.chmod(0o600)
    return file


async def test_the_command_sends_to_the_source_of_the_configuration(configuration: Path) -> None:
    async with listening("spryng") as receiver:
        result = await asyncio.to_thread(
            call, "spryng", "--count", "10", "--url", receiver.base, "--json", config=configuration
        )
    assert result.return_value == 0, result.output
    told = json.loads(result.stdout)
    assert (told["provider"], told["stored"], told["wrong"]) == ("spryng", 10, 0)
    assert {request.path.rpartition("/")[2] for request in receiver.seen} == {"0123456789abcdef"}
    assert "0123456789abcdef" not in result.output


async def test_the_summary_begins_with_the_verdict() -> None:
    async with listening("spryng") as receiver:
        right = await asyncio.to_thread(call, "spryng", "--count", "20", "--url", f"{receiver.base}/in/spryng/dlr")
        receiver.instead = lambda _number, _request: web.Response(status=404)
        wrong = await asyncio.to_thread(call, "spryng", "--count", "2", "--url", f"{receiver.base}/in/spryng/dlr")
    assert (right.return_value, wrong.return_value) == (0, 1)
    assert right.stdout.startswith("All as promised: 21 callbacks of spryng")
    assert wrong.stdout.startswith("NOT as promised")
    assert "2 × answered 404" in wrong.stdout


async def test_the_command_says_where_nobody_answers(configuration: Path, free_port: int) -> None:
    with configuration.open("a") as file:
        file.write(f'[server]\nlisten = "127.0.0.1:{free_port}"\n')
    result = await asyncio.to_thread(call, "dutch", config=configuration)
    assert result.return_value == 69
    assert f"nobody answers at http://127.0.0.1:{free_port} (connection refused)" in result.stderr
    assert "receiver serve" in result.stderr
    assert "0123456789abcdef" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sprynk",), "did you mean spryng?"),
        (("spryng", "--mix", "dlr=80,xx=1"), "expected shares"),
        (("spryng", "--mix", "dlr=0"), "expected shares"),
        (("spryng", "--rate", "fast"), "expected callbacks a second"),
        (("spryng", "--give-up", "soon"), "is no duration"),
        (("spryng", "--url", "127.0.0.1:8080"), "expected a URL"),
        (("spryng", "--speedup", "0"), "0"),
    ],
)
def test_a_wrong_argument_is_explained(arguments: tuple[str, ...], words: str, configuration: Path) -> None:
    result = call(*arguments, config=configuration)
    assert isinstance(result.exception, Exception)
    assert words in getattr(result.exception, "message", "")
