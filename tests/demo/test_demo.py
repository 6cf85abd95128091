"""`receiver demo` as people run it: it adds up, it can be ended at any time, and nothing is left."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE = 90  # seconds


@pytest.fixture
def demo(tmp_path: Path) -> Iterator["Demo"]:
    running = Demo(tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()


class Demo:
    """A demo whose temporary folder, and the processes in it, can be seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tmp"
        self.folder.mkdir()
        self.err = folder / "err"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
        # What is about another receiver must not reach the one of the demo.
        self.env = clean | {"TMPDIR": str(self.folder), "RECEIVER_SERVER__LISTEN": "nonsense"}

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "receiver", "demo", *arguments]
        with self.err.open("wb") as err:
            self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=err, text=True)

    def said_first(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline()

    def ended(self) -> str:
        out, _ = self.process.communicate(timeout=PATIENCE)
        return out

    def left(self) -> list[str]:
        """Files, and processes that work below the folder."""
        found = [*self.folder.rglob("*"), *filter(self._is_ours, Path("/proc").glob("[0-9]*"))]
        return [str(path) for path in found]

    def _is_ours(self, process: Path) -> bool:
        try:
            return os.readlink(process / "cwd").startswith(str(self.folder))
        except OSError:
            return False


def figure(out: str, name: str) -> int:
    found = re.search(rf"^  {name} +([\d ]+)", out, re.MULTILINE)
    assert found, out
    return int(found[1].strip().replace(" ", ""))


def test_what_is_sent_is_stored_and_delivered_everywhere_though_the_target_was_away(demo: Demo) -> None:
    demo.start("--seconds", "4")
    out = demo.ended()
    assert demo.process.returncode == 0, demo.err.read_text() + out
    assert "All as promised." in out
    stored = figure(out, "stored")
    assert stored > 5
    assert figure(out, "sent") == stored + figure(out, "duplicates")
    assert [figure(out, name) for name in ("log", "shop", "mail")] == [stored] * 3
    assert figure(out, "lost") == 0
    assert "the shop's server answers 503 from now on" in out
    assert "the shop's server is back" in out
    assert demo.left() == []


def test_it_is_ended_by_ctrl_c_and_adds_up_all_the_same(demo: Demo) -> None:
    demo.start("--seconds", "60")
    assert " s  sent " in demo.said_first()
    time.sleep(0.5)  # so that something is on its way
    demo.process.send_signal(signal.SIGINT)
    out = demo.ended()
    assert demo.process.returncode == 0, demo.err.read_text() + out
    assert "All as promised." in out
    assert demo.left() == []


def test_a_second_signal_ends_it_at_once(demo: Demo) -> None:
    demo.start("--seconds", "60")
    demo.said_first()
    for number in (signal.SIGTERM, signal.SIGINT):
        demo.process.send_signal(number)
        time.sleep(0.1)
    demo.ended()
    assert demo.process.returncode == 0
    assert demo.left() == []
