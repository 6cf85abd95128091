"""What systemd hears of both services, and what it hands to them: readiness, life, reloads, the end, and sockets."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from deploy_kit import Activated, exchange, get, report

from drills.waiting import until
from drills.yard import AUDIT, DROP_INS, OWN, Provider, Yard

pytestmark = pytest.mark.anyio
SLOW = """
import asyncio, pathlib

async def handle(event, attempt):
    pathlib.Path("begun").touch()
    await asyncio.sleep(2)
"""
WATCHDOG = {"WATCHDOG_USEC": "3000000"}


@dataclass
class Manager:
    """Listens as systemd does."""

    listening: socket.socket
    heard: list[str] = field(default_factory=list)

    @property
    def env(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.listening.getsockname()), **WATCHDOG}

    def hear(self) -> None:
        """Take what was said; the system keeps only ten such messages."""
        with suppress(BlockingIOError):
            while True:
                self.heard.append(self.listening.recv(4096).decode().splitlines()[0])

    def hears(self, *words: str) -> bool:
        """Whether it has heard these, in this order."""
        self.hear()
        rest = iter(self.heard)
        return all(any(said.startswith(word) for said in rest) for word in words)


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        manager, loop = Manager(listening), asyncio.get_running_loop()
        loop.add_reader(listening, manager.hear)
        yield manager
        loop.remove_reader(listening)


@pytest.mark.parametrize("command", [("serve", "--no-dispatch"), ("dispatch",)], ids=["serve", "dispatch"])
async def test_it_says_that_it_is_ready_alive_reloading_and_stopping(
    command: tuple[str, ...], yard: Yard, manager: Manager
) -> None:
    yard.configure(AUDIT)
    running = await yard.start(*command, **manager.env)
    await until(lambda: manager.hears("READY=1", "WATCHDOG=1", "WATCHDOG=1"))
    running.process.send_signal(signal.SIGHUP)
    await until(lambda: manager.hears("RELOADING=1", "READY=1", "WATCHDOG=1"))
    assert not manager.hears("STOPPING=1")
    yard.configure(AUDIT, "[servre]\n")
    running.process.send_signal(signal.SIGHUP)
    await until(lambda: manager.hears("RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "WATCHDOG=1"))
    assert not manager.hears("STOPPING=1")
    await running.stop()
    assert manager.hears("STOPPING=1")


async def test_a_dispatch_that_is_told_to_end_while_it_reloads_ends(yard: Yard, manager: Manager) -> None:
    yard.drop_in("own", SLOW)
    yard.configure(DROP_INS, OWN)
    serve = await yard.serve("--no-dispatch")
    dispatch = await yard.start("dispatch", **manager.env)
    await dispatch.says("dispatch_started")
    await Provider().send(serve.url)
    await until((yard.folder / "begun").exists)
    dispatch.process.send_signal(signal.SIGHUP)
    await dispatch.says("configuration_reloaded")
    await dispatch.stop()
    assert len(dispatch.said("dispatch_started")) == 1
    assert manager.hears("RELOADING=1", "STOPPING=1")
    await serve.stop()


async def test_dispatch_is_ready_though_nothing_can_be_stored_yet(yard: Yard, manager: Manager) -> None:
    """It waits for the disk; a start that does not end is no help."""
    yard.configure(AUDIT, '[store]\nurl = "sqlite:///no/receiver.db"\n')
    (yard.folder / "no").write_text("a file where the folder should be")
    dispatch = await yard.start("dispatch", **manager.env)
    await until(lambda: manager.hears("READY=1", "STATUS=Opening", "WATCHDOG=1", "WATCHDOG=1"))
    assert dispatch.process.returncode is None


async def test_what_arrives_before_the_receiver_runs_waits_for_it(activated: Activated) -> None:
    host, port = activated.listeners[0].getsockname()[:2]
    asking = asyncio.create_task(exchange(*await asyncio.open_connection(host, port), report("early")))
    serve = await activated.ready()
    assert (await asking).outcome == "stored"
    assert serve.said("ready")[0]["callbacks"] == f"http://{activated.callbacks}"


async def test_the_sockets_are_told_apart_by_their_names(activated: Activated) -> None:
    await activated.ready()
    host, port = activated.listeners[1].getsockname()[:2]
    metrics = get("/metrics").replace(b"sms.example.com", f"{host}:{port}".encode())
    assert (await exchange(*await asyncio.open_connection(host, port), metrics)).status == 200
    assert (await exchange(*await asyncio.open_connection(host, port), report("x"))).outcome == ""
