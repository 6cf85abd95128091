"""The drill under a real systemd takes minutes, root and a mirror of Debian; what is tried here are its own parts."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from drills.systemd import machine
from drills.systemd.drill import Plan, systemd
from drills.verdict import CannotRun

CALLER = Path(machine.__file__).with_name("caller.py")


def test_where_programs_are_missing_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name, path: None if name == "debootstrap" else f"/usr/bin/{name}")
    with pytest.raises(CannotRun, match=r"without debootstrap \(Debian: apt install"):
        asyncio.run(systemd(Plan()))


def test_without_root_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CannotRun, match="root"):
        asyncio.run(systemd(Plan()))


def test_a_call_that_nobody_answers_is_told_as_such(tmp_path: Path) -> None:
    code = CALLER.read_text().replace("/etc/receiver/secrets/spryng", str(tmp_path / "secret")).replace("8080", "9")
    (tmp_path / "secret").write_text("0123456789abcdef")
    ended = subprocess.run([sys.executable, "-c", code, "x", "3", "2", "0"], capture_output=True, text=True, check=True)
    told = json.loads(ended.stdout)
    assert (told["answers"], sorted(told["unanswered"])) == ({"ConnectionRefusedError": 3}, [0, 1, 2])
