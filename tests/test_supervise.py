"""Laws of supervision: when a worker process is ended, and what is said of it."""

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from factories import report
from test_worker import ATTEMPT, Hired

from drills.waiting import is_running, until
from receiver.perform import Result
from receiver.supervise import exit_words, resident

pytestmark = pytest.mark.anyio


@pytest.fixture
async def hired(tmp_path: Path) -> AsyncIterator[Hired]:
    hired = Hired(tmp_path)
    yield hired
    for each in hired.workers:
        await each.stop()


async def outcome(hired: Hired, does: str, **table: object) -> Result:
    own = await hired(f"import asyncio, os, time\nasync def handle(event, attempt):\n    {does}", **table)
    (result,) = await own.perform([report()], ATTEMPT)
    assert not own.alive or result.verdict != "interrupted"
    return result


async def test_an_exit_interrupts_with_its_status(hired: Hired) -> None:
    assert await outcome(hired, "os._exit(1)") == Result("interrupted", "killed: exit status 1")


async def test_a_crash_interrupts_with_its_signal(hired: Hired) -> None:
    result = await outcome(hired, "os.kill(os.getpid(), 11)")
    assert result == Result("interrupted", "killed: signal 11 (SIGSEGV)")


async def test_a_blocked_loop_is_ended_after_time_out_and_grace(hired: Hired) -> None:
    result = await outcome(hired, "time.sleep(60)", timeout="300ms")
    assert result.verdict == "interrupted"
    assert result.answer.startswith("killed: blocked for ")


async def test_a_call_that_ignores_its_cancellation_is_ended_with_its_process(hired: Hired) -> None:
    does = "while True:\n        try: await asyncio.sleep(60)\n        except asyncio.CancelledError: pass"
    result = await outcome(hired, does, timeout="200ms")
    assert result.verdict == "interrupted"
    assert result.answer.startswith("killed: a call went on for ")


async def test_what_a_worker_started_ends_with_it_also_where_it_left_the_group(hired: Hired, tmp_path: Path) -> None:
    does = (
        "import subprocess; daemon = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        f" open({str(tmp_path / 'pid')!r}, 'w').write(str(daemon.pid)); os._exit(3)"
    )
    assert (await outcome(hired, does)).verdict == "interrupted"
    pid = int((tmp_path / "pid").read_text())
    await until(lambda: not is_running(pid))


async def test_more_than_max_memory_ends_it(hired: Hired) -> None:
    does = "hoard = bytearray(150 << 20); await asyncio.sleep(60)"
    result = await outcome(hired, does, max_memory="120 MiB")
    assert result == Result("interrupted", "killed: over max_memory (120 MiB)")


async def test_an_allocation_against_the_wall_ends_it(hired: Hired) -> None:
    result = await outcome(hired, "bytearray(1 << 42)", max_memory="120 MiB")
    assert result == Result("interrupted", "killed: over max_memory (120 MiB)")


async def test_a_bomb_of_threads_meets_the_wall(hired: Hired) -> None:
    does = (
        "import threading; [threading.Thread(target=time.sleep, args=(9,), daemon=True).start() for _ in range(5000)]"
    )
    result = await outcome(hired, does)
    assert result.verdict in ("again", "interrupted")


async def test_a_slow_call_is_only_late(hired: Hired) -> None:
    result = await outcome(hired, "await asyncio.sleep(60)", timeout="100ms")
    assert result == Result("unavailable", "no answer within 100 ms")


async def test_everything_in_hand_is_interrupted(hired: Hired) -> None:
    code = """
import asyncio, os
from receiver import BaseHandler
class Own(BaseHandler):
    async def handle_batch(self, events, attempt):
        os._exit(2)
"""
    own = await hired(code, batch=5)
    results = await own.perform([report("a"), report("b")], ATTEMPT)
    assert results == [Result("interrupted", "killed: exit status 2")] * 2


async def test_what_a_handler_started_ends_with_it(hired: Hired) -> None:
    code = """
import subprocess, os
async def handle(event, attempt):
    child = subprocess.Popen(["sleep", "60"])
    return str(child.pid)
"""
    own = await hired(code)
    (result,) = await own.perform([report()], ATTEMPT)
    os.kill(own.pid, signal.SIGKILL)
    await until(lambda: not is_running(int(result.answer)))


async def test_it_can_be_started_again(hired: Hired) -> None:
    own = await hired("async def handle(event, attempt): return 'ok'")
    first, ended = own.pid, []
    own.on_end = lambda: ended.append(True)
    os.kill(first, signal.SIGKILL)
    await until(lambda: ended)
    assert not own.alive
    await own.start()
    assert own.pid != first
    assert await own.perform([report()], ATTEMPT) == [Result("done", "ok")]


def test_an_end_is_told_in_words() -> None:
    assert exit_words(1) == "exit status 1"
    assert exit_words(-9) == "signal 9 (SIGKILL)"
    assert exit_words(-99) == "signal 99"


def test_the_memory_of_a_process_is_known_and_none_without_one() -> None:
    assert resident(os.getpid()) > 10 * 2**20
    assert resident(2**22 + 1) == 0
