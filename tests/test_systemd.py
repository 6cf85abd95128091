"""What systemd is told: readiness, life and status, in datagrams to the socket that it named."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from receiver.systemd import Systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def test_what_is_said_arrives(manager: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": manager.getsockname()})
    systemd.ready()
    systemd.alive()
    systemd.status("Storing\ncallbacks.")
    systemd.status("Storing\ncallbacks.")
    systemd.stopping()
    told = [manager.recv(4096).decode() for _ in range(4)]
    assert told == ["READY=1", "WATCHDOG=1", "STATUS=Storing callbacks.", "STOPPING=1"]


def test_an_address_in_the_abstract_namespace_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0sms-receiver-test-notify")
        listening.settimeout(5)
        Systemd({"NOTIFY_SOCKET": "@sms-receiver-test-notify"}).ready()
        assert listening.recv(4096) == b"READY=1"


def test_no_child_believes_to_be_meant() -> None:
    env = {"NOTIFY_SOCKET": "/run/none", "WATCHDOG_USEC": "30000000", "PATH": "/bin"}
    systemd = Systemd(env)
    assert systemd.watchdog == timedelta(seconds=30)
    assert env == {"PATH": "/bin"}
    systemd.restore(env)
    assert env["NOTIFY_SOCKET"] == "/run/none"


def test_the_watchdog_of_another_process_is_not_ours() -> None:
    assert Systemd({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog == timedelta(0)


def test_nobody_listening_stops_nobody(tmp_path: Path) -> None:
    Systemd({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Systemd({}).ready()
