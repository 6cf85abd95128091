"""Laws of a child that is kept running."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from engine_kit import number_from

from drills.waiting import is_running, until
from receiver.backoff import Delays
from receiver.child import Child

pytestmark = pytest.mark.anyio
QUICK = timedelta(milliseconds=10)
PREAMBLE = "import asyncio, os, pathlib, signal, sys, time; lifeline = int(sys.argv[1]); "


def python(code: str) -> Callable[[int], list[str]]:
    return lambda lifeline: [sys.executable, "-c", PREAMBLE + code, str(lifeline)]


def child(code: str) -> Child:
    return Child("dispatch", python(code), delays=Delays(first=QUICK, most=QUICK))


async def test_a_child_that_ends_is_started_again() -> None:
    kept = child("time.sleep(60)")
    running = asyncio.create_task(kept.run())
    first = await until(lambda: kept.pid)
    os.kill(first, signal.SIGKILL)
    second = await until(lambda: kept.pid not in (0, first) and kept.pid)
    assert is_running(second)
    await kept.stop()
    await running
    assert not is_running(second)


async def test_a_child_that_says_nothing_any_more_is_ended_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.child.TICK", 0.05)
    heard: list[str] = []
    speaks = "os.write(lifeline, b'ready\\nalive\\n'); time.sleep(60)"
    kept = Child(
        "dispatch",
        python(speaks),
        delays=Delays(first=QUICK, most=QUICK),
        silence=timedelta(seconds=1),
        heard=heard.append,
    )
    running = asyncio.create_task(kept.run())
    first = await until(lambda: kept.pid)
    await asyncio.wait_for(kept.ready.wait(), 10)
    second = await until(lambda: kept.pid not in (0, first) and kept.pid)
    assert not is_running(first)
    assert is_running(second)
    assert heard[0] == "alive"
    await kept.stop()
    await running


async def test_a_first_start_that_faults_the_configuration_is_not_repeated() -> None:
    assert await asyncio.wait_for(child("sys.exit(78)").run(), 10) == 78


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    kept = child("signal.signal(signal.SIGTERM, signal.SIG_IGN); os.write(2, b''); time.sleep(60)")
    running = asyncio.create_task(kept.run())
    pid = await until(lambda: kept.pid)
    await until(lambda: _ignores_term(pid))
    await kept.stop(within=timedelta(milliseconds=50))
    assert await running == -signal.SIGKILL


async def test_sigterm_lets_it_end_in_order() -> None:
    kept = child("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); time.sleep(60)")
    running = asyncio.create_task(kept.run())
    pid = await until(lambda: kept.pid)
    await until(lambda: _catches_term(pid))
    await kept.stop()
    assert await running == 7


async def test_the_lifeline_tells_the_child_that_its_parent_is_gone(tmp_path: Path) -> None:
    inner = PREAMBLE + "from receiver.child import parent_gone; asyncio.run(parent_gone(lifeline))"
    outer = f"""
import asyncio, sys
from receiver.child import Child
async def main():
    kept = Child("inner", lambda fd: [sys.executable, "-c", {inner!r}, str(fd)])
    running = asyncio.create_task(kept.run())
    while not kept.pid:
        await asyncio.sleep(0.01)
    print(kept.pid, flush=True)
    await running
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", outer, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert parent.stdout
    pid = await number_from(parent.stdout)
    assert is_running(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not is_running(pid))


def _mask(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)), 16)


def _ignores_term(pid: int) -> bool:
    return bool(_mask(pid, "SigIgn") >> (signal.SIGTERM - 1) & 1)


def _catches_term(pid: int) -> bool:
    return bool(_mask(pid, "SigCgt") >> (signal.SIGTERM - 1) & 1)
