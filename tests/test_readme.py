"""The README's commands are run: the receiver started, its curl lines sent, the answers read, the story told."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
COMMANDS = [
    line
    for body in re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    for line in body.splitlines()
    if line and not line.startswith("#")
]
CURLS = [line for line in COMMANDS if line.startswith("curl ")]
LOOKS = [line for line in COMMANDS if line.startswith(".venv/bin/receiver ")]
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -e "
PATIENCE = 30  # seconds
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}

Seen = TypeVar("Seen")

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="these lines of the README need curl")


class Running(NamedTuple):
    """A receiver that was started as the README says, but on a free port."""

    folder: Path
    url: str
    told: Path

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of the README where it would be run, here."""
        line = line.replace("http://127.0.0.1:8080", self.url).replace(".venv/bin", str(BIN))
        return subprocess.run(["bash", "-c", line], cwd=self.folder, env=CLEAN, capture_output=True, text=True)

    def lines(self, count: int) -> list[str]:
        """The lines of the handler `log`, as soon as there are so many."""
        return _wait(lambda: self.told.read_text().splitlines(), lambda lines: len(lines) >= count)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    told, words = tmp_path / "stdout", tmp_path / "stderr"
    serve = [str(BIN / "receiver"), "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    with told.open("w") as out, words.open("w") as err:
        process = subprocess.Popen(serve, cwd=tmp_path, env=CLEAN, stdout=out, stderr=err)
    try:
        _wait(words.read_text, lambda text: '"ready"' in text or process.poll() is not None)
        ready = re.search(r'"callbacks": "([^"]+)"', words.read_text())
        assert ready, words.read_text()
        yield Running(tmp_path, ready[1], told)
    finally:
        process.terminate()
        status = process.wait(PATIENCE)
    assert status == 0


def _wait(look: Callable[[], Seen], enough: Callable[[Seen], bool]) -> Seen:
    """What is seen as soon as it is enough."""
    deadline = time.monotonic() + PATIENCE
    while not enough(seen := look()):
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)
    return seen


def test_one_command_installs_and_serves_and_one_installs_and_tests() -> None:
    first, *_, last = COMMANDS
    assert first == f"{INSTALL}. && .venv/bin/receiver serve"
    assert last == f"{INSTALL}'.[test]' && .venv/bin/pytest"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(line.startswith("pytest") for line in extras["test"])
    assert (BIN / "receiver").exists()


def test_every_other_line_is_one_we_run() -> None:
    assert COMMANDS[1:-1] == CURLS + LOOKS
    assert len(CURLS) == 4


@needs_curl
def test_what_the_readme_tries_works(running: Running) -> None:
    answers = [running.run(line).stdout for line in CURLS]
    for answer in answers:
        assert re.match(r"HTTP/1\.1 200 ", answer), answer
        assert "receiver-outcome: stored" in answer.lower()
    handed = [json.loads(line) for line in running.lines(4)]
    assert [event["data"]["kind"] for event in handed] == ["dlr", "mo", "mo", "dlr"]
    assert "612345678" not in running.told.read_text()
    events, trace = (running.run(line) for line in LOOKS)
    assert events.returncode == trace.returncode == 0, events.stderr + trace.stderr
    assert "👋" in events.stdout
    assert trace.stdout.startswith("DELIVERED to +31612345678")


@needs_curl
def test_the_first_line_sent_again_is_counted_and_not_handed_on(running: Running) -> None:
    first, other, *_ = CURLS
    running.run(first)
    assert "receiver-outcome: duplicate" in running.run(first).stdout.lower()
    running.run(other)
    assert [json.loads(line)["data"]["kind"] for line in running.lines(2)] == ["dlr", "mo"]
