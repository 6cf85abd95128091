"""Laws of one call: what returning and raising mean."""

import asyncio
import errno
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from engine_kit import Batched, Scripted
from factories import NOW, reports

from receiver.events import Event
from receiver.handler import Attempt, Discard, Pause, Retry, Unavailable
from receiver.perform import Performer, Result, described, judged

pytestmark = pytest.mark.anyio
ATTEMPT = Attempt(number=1, of=2, handler="crm", dispatch_id="crm:1", deadline=NOW, first_at=NOW)
SECOND = timedelta(seconds=1)


async def call(act: Callable[..., Any], *, timeout: timedelta = SECOND) -> Result:
    (result,) = await Performer(Scripted(act), timeout).perform(_events(1), ATTEMPT)
    return result


async def batch(act: Callable[..., Any], count: int = 3) -> list[Result]:
    return await Performer(Batched(act), SECOND).perform(_events(count), ATTEMPT)


async def test_returning_is_done_and_a_string_is_the_answer() -> None:
    assert await call(lambda *_: None) == ("done", "", None)
    assert await call(lambda *_: "204") == ("done", "204", None)
    assert await call(lambda *_: {"odd": 1}) == ("done", "", None)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Retry("busy", after=3), ("again", "busy", 3.0)),
        (Unavailable("503", after=timedelta(minutes=1)), ("unavailable", "503", 60.0)),
        (Discard("no"), ("discard", "no", None)),
        (Pause("410"), ("pause", "410", None)),
        (Retry(), ("again", "Retry", None)),
    ],
)
async def test_a_verdict_says_what_it_is(verdict: Exception, expected: tuple[Any, ...]) -> None:
    assert await call(_raising(verdict)) == expected


class Busy(Unavailable):
    """A handler's own verdict."""


async def test_a_verdict_of_a_handlers_own_counts_as_its_base() -> None:
    assert (await call(_raising(Busy("full")))).verdict == "unavailable"


@pytest.mark.parametrize(
    "fault",
    [
        ConnectionRefusedError("refused"),
        ConnectionResetError(),
        TimeoutError(),
        socket.gaierror(-2, "Name or service not known"),
        aiohttp.ServerDisconnectedError(),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_trouble_with_the_connection_is_the_targets(fault: Exception) -> None:
    assert (await call(_raising(fault))).verdict == "unavailable"


async def test_a_librarys_error_around_a_refused_connection_is_the_targets() -> None:
    def act(*_: Any) -> None:
        try:
            raise ConnectionRefusedError("refused")
        except ConnectionRefusedError as fault:
            raise RuntimeError("HTTP library") from fault

    assert (await call(act)).verdict == "unavailable"


@pytest.mark.parametrize("fault", [KeyError("x"), OSError(errno.ENOSPC, "full"), ValueError(), SystemExit(3)])
async def test_any_other_exception_means_again(fault: BaseException) -> None:
    result = await call(_raising(fault))
    assert result.verdict == "again"
    assert result.answer.startswith(type(fault).__name__)


async def test_a_cancellation_from_inside_the_handler_means_again() -> None:
    assert (await call(_raising(asyncio.CancelledError()))).verdict == "again"


async def test_a_call_that_takes_too_long_is_cancelled_and_it_was_the_target() -> None:
    result = await call(lambda *_: asyncio.sleep(60), timeout=timedelta(milliseconds=20))
    assert result == ("unavailable", "no answer within 20 ms", None)


async def test_every_call_has_its_own_time_though_one_timer_looks_after_all() -> None:
    performer = Performer(Scripted(lambda *_: asyncio.sleep(60)), timedelta(milliseconds=60))
    loop = asyncio.get_running_loop()

    async def later(delay: float) -> float:
        await asyncio.sleep(delay)
        began = loop.time()
        (result,) = await performer.perform(_events(1), ATTEMPT)
        assert result.verdict == "unavailable"
        return loop.time() - began

    times = await asyncio.gather(later(0), later(0.03), later(0.15))
    assert all(0.05 < took < 0.5 for took in times)


async def test_a_call_that_outlives_its_time_and_returns_is_done_and_leaves_no_cancellation_behind() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "anyway"
        return "never"

    assert await call(lambda *_: stubborn(), timeout=timedelta(milliseconds=20)) == ("done", "anyway", None)
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_an_error_after_the_time_is_over_is_the_time_out() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("late")

    result = await call(lambda *_: stubborn(), timeout=timedelta(milliseconds=20))
    assert result == ("unavailable", "no answer within 20 ms", None)


async def test_a_cancellation_from_outside_goes_through() -> None:
    begun = asyncio.Event()

    async def act() -> None:
        begun.set()
        await asyncio.sleep(60)

    running = asyncio.create_task(call(lambda *_: act()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_no_memory_is_for_the_process_to_decide() -> None:
    with pytest.raises(MemoryError):
        await call(_raising(MemoryError()))


async def test_returning_settles_a_whole_batch_and_raising_counts_for_all() -> None:
    assert await batch(lambda _: "ok") == [("done", "ok", None)] * 3
    assert await batch(_raising(Retry("no"))) == [("again", "no", None)] * 3


async def test_a_batch_is_settled_one_by_one_by_event_id() -> None:
    results = await batch(lambda _: {"e-0": None, "e-1": Discard("odd"), "e-2": Unavailable})
    assert [result.verdict for result in results] == ["done", "discard", "unavailable"]


async def test_events_a_batch_says_nothing_of_are_done_and_nonsense_is_tried_again() -> None:
    results = await batch(lambda _: {"e-1": 5})
    assert [result.verdict for result in results] == ["done", "again", "done"]


def test_an_error_is_told_in_one_short_line_that_can_be_written() -> None:
    text = described(ValueError("a\n\0b\ud800" + "x" * 1000))
    assert text.startswith("ValueError: a \ufffdb?")
    assert len(text) == 300
    text.encode()


def test_an_exception_that_cannot_be_told_is_told_by_its_name() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert judged(Odd()) == ("again", "Odd", None)


def _events(count: int) -> list[Event]:
    events: list[Event] = [*reports(count)]
    for number, event in enumerate(events):
        event.id = f"e-{number}"
    return events


def _raising(fault: BaseException) -> Callable[..., Any]:
    def act(*_: Any) -> None:
        raise fault

    return act
