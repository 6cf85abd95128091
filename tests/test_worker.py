"""Laws of a handler's own process, tried on real ones."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from engine_kit import number_from, worker
from factories import NOW, after, message, report

from drills.waiting import is_running, until
from receiver import pipe
from receiver.errors import ConfigFault, StartFault
from receiver.handler import Attempt
from receiver.perform import Result
from receiver.supervise import WorkerProcess

pytestmark = pytest.mark.anyio
ATTEMPT = Attempt(number=2, of=3, handler="own", dispatch_id="own:1", replay=1, deadline=after(9), first_at=NOW)


@pytest.fixture
async def hired(tmp_path: Path) -> AsyncIterator["Hired"]:
    hired = Hired(tmp_path)
    yield hired
    for each in hired.workers:
        await each.stop()


class Hired:
    """Workers started from code, stopped at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[WorkerProcess] = []

    async def __call__(self, code: str, **table: object) -> WorkerProcess:
        made = worker(self.folder, code, **table)  # type: ignore[arg-type]
        self.workers.append(made)
        await made.start()
        return made


async def test_the_event_and_the_attempt_arrive_whole(hired: Hired) -> None:
    own = await hired("async def handle(event, attempt): return f'{event.to_json().decode()} {attempt!r}'[-290:]")
    event = message("Ünïcode \u2028 STOP", id="e-1", message_id="m-1")
    (result,) = await own.perform([event], ATTEMPT)
    assert result == Result("done", f"{event.to_json().decode()} {ATTEMPT!r}"[-290:])


async def test_what_is_raised_comes_back_as_a_verdict(hired: Hired) -> None:
    own = await hired("from receiver import Retry\nasync def handle(event, attempt): raise Retry('busy', after=5)")
    assert await own.perform([report()], ATTEMPT) == [Result("again", "busy", 5.0)]


async def test_a_plain_function_runs_in_a_thread_and_the_loop_goes_on(hired: Hired) -> None:
    code = """
import threading
def handle(event, attempt):
    assert threading.current_thread() is not threading.main_thread()
"""
    own = await hired(code)
    assert (await own.perform([report()], ATTEMPT))[0].verdict == "done"


async def test_what_a_handler_prints_does_not_disturb_the_lines(hired: Hired) -> None:
    own = await hired("import os\nasync def handle(event, attempt):\n    print('{}'); os.write(1, b'{}\\n')")
    assert (await own.perform([report()], ATTEMPT))[0].verdict == "done"


async def test_settings_and_batches_are_told_at_the_start(hired: Hired) -> None:
    code = """
from receiver import BaseHandler
class Own(BaseHandler):
    class Settings(BaseHandler.Settings):
        batch: int = 50
        colour: str
    async def handle_batch(self, events, attempt):
        return {event.id: None for event in events}
"""
    own = await hired(code, colour="blue", timeout="3s")
    assert own.batched
    assert (own.settings.batch, own.settings.timeout.total_seconds()) == (50, 3)
    assert len(await own.perform([report("a", id="1"), report("b", id="2")], ATTEMPT)) == 2


async def test_a_wrong_key_is_a_fault_of_the_configuration(hired: Hired) -> None:
    with pytest.raises(ConfigFault, match=r"handlers\.own\.colour: unknown key"):
        await hired("async def handle(event, attempt): ...", colour="blue")


async def test_a_broken_import_may_be_cured_by_time(hired: Hired) -> None:
    with pytest.raises(StartFault, match="no_such_module"):
        await hired("import no_such_module\nasync def handle(event, attempt): ...")


async def test_an_open_that_raises_is_told(hired: Hired) -> None:
    code = """
from receiver import BaseHandler
class Own(BaseHandler):
    async def open(self): raise OSError("no licence")
    async def handle(self, event, attempt): ...
"""
    with pytest.raises(StartFault, match="OSError: no licence"):
        await hired(code)


async def test_a_process_that_dies_while_starting_is_told(hired: Hired) -> None:
    with pytest.raises(StartFault, match="killed: exit status 5"):
        await hired("import os; os._exit(5)")


async def test_a_worker_dumps_no_core_and_goes_first_when_memory_is_short(hired: Hired) -> None:
    own = await hired("async def handle(event, attempt): ...", max_memory="100 MiB")
    limits = of_process(own.pid, "limits")
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max core file size"] == "0"
    assert int(rows["Max data size"]) == 2 * 100 * 2**20 + 256 * 2**20
    assert of_process(own.pid, "oom_score_adj").strip() == "500"


def of_process(pid: int, what: str) -> str:
    return Path(f"/proc/{pid}/{what}").read_text()


async def test_stop_closes_the_handler(hired: Hired) -> None:
    code = """
import pathlib
from receiver import BaseHandler
class Own(BaseHandler):
    async def handle(self, event, attempt): ...
    async def close(self): pathlib.Path(__file__).with_suffix(".closed").touch()
"""
    own = await hired(code)
    await own.stop()
    assert (hired.folder / "handlers.d" / "own.closed").exists()
    assert not is_running(own.pid)


WAITS = "await __import__('asyncio').sleep(60)"
SPINS = "while True: pass"


@pytest.mark.parametrize("busy", [WAITS, SPINS], ids=["waiting", "spinning"])
async def test_no_worker_outlives_a_parent_that_was_killed(tmp_path: Path, busy: str) -> None:
    parent = f"""
import asyncio, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from engine_kit import worker
from factories import report
from test_worker import ATTEMPT
async def main():
    own = worker(Path({str(tmp_path)!r}), "async def handle(event, attempt):\\n    {busy}", timeout="60s")
    await own.start()
    call = asyncio.create_task(own.perform([report()], ATTEMPT))
    print(own.pid, flush=True)
    await call
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout
    pid = await number_from(process.stdout)
    assert is_running(pid)
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    await until(lambda: not is_running(pid))


async def test_starting_is_light(tmp_path: Path) -> None:
    heavy = ["click", "aiohttp", "uvicorn", "starlette", "aiosqlite", "structlog", "receiver.config"]
    code = f"import sys, receiver.worker; print([name for name in {heavy} if name in sys.modules])"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"


def test_a_call_is_read_as_it_was_written() -> None:
    said = pipe.from_json(pipe.call(7, ATTEMPT, [report("m-1", id="e-1"), message("x", id="e-2")]))
    attempt, events = pipe.called(said)
    assert said["call"] == 7
    assert attempt == ATTEMPT
    assert [event.id for event in events] == ["e-1", "e-2"]


def test_lines_are_cut_wherever_the_stream_is() -> None:
    seen: list[object] = []
    lines = pipe.Lines(seen.append, lambda: None)
    whole = pipe.line(a="ü") + pipe.line(b=2) + pipe.line(c="x" * 50)
    for at in range(len(whole)):
        lines.data_received(whole[at : at + 1])
    lines.data_received(whole)
    assert seen == [{"a": "ü"}, {"b": 2}, {"c": "x" * 50}] * 2
