"""Requests and answers: called, stepped and written many at a time, and none at the cost of another."""

import asyncio
import logging
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from drills.waiting import until
from receiver import http
from receiver.exchange import Exchange, Shared

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shared(anyio_backend: object) -> Shared:
    made = Shared()
    made.loop = asyncio.get_running_loop()
    return made


class Leaving:
    """A connection whose client is gone: uvloop raises at a write."""

    def __init__(self, *, gone: bool) -> None:
        self.gone, self.written = gone, b""

    def is_closing(self) -> bool:
        return self.gone

    def write(self, data: bytes) -> None:
        assert not self.gone, "unable to perform operation; the handler is closed"
        self.written += data


async def test_who_leaves_while_answers_wait_costs_nobody_else_an_answer(shared: Shared) -> None:
    leaving, staying = Leaving(gone=True), Leaving(gone=False)
    for transport in (leaving, staying):
        exchange = Exchange.__new__(Exchange)
        exchange.transport, exchange.outgoing, exchange.keep_alive = transport, b"OK", True  # type: ignore[assignment]
        shared.post(exchange)
    await until(lambda: staying.written == b"OK")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_left_before_the_answer_is_no_error(shared: Shared, caplog: Any, method: str) -> None:
    transport = Leaving(gone=True)
    protocol: Any = SimpleNamespace(
        transport=transport,
        flow=SimpleNamespace(write_paused=False),
        logger=logging.getLogger("receiver.http"),
        on_response_complete=lambda: None,
        expect_100_continue=False,
    )
    gone = Exchange(shared, protocol, {"type": "http", "method": method}, keep_alive=True)
    gone.start(JSONResponse({}))
    await until(lambda: not shared.tasks)
    assert (transport.written, caplog.records) == (b"", [])


async def test_a_request_has_all_that_uvicorns_own_would_have() -> None:
    """Ours is made in a shorter way; what a newer uvicorn adds must not be missing in it."""
    loop = asyncio.get_running_loop()
    server = http.Server(lambda *_: None)
    server.config.load()
    protocol = http.Protocol(config=server.config, server_state=server.server_state, app_state={}, _loop=loop)
    inspected = {"scope": {}, "transport": None, "flow": None, "logger": None, "access_logger": None}
    theirs = RequestResponseCycle(
        **inspected,  # type: ignore[arg-type]
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    ours = Exchange(server.server_state, protocol, {}, keep_alive=True)
    missing = {name for name in vars(theirs) if not hasattr(ours, name)}
    assert missing == {"access_logger"}  # which nothing is written to
    fixed = {name: value for name, value in vars(theirs).items() if isinstance(value, bool | int | None)}
    assert {name: getattr(ours, name) for name in fixed if name not in inspected} == {
        name: value for name, value in fixed.items() if name not in inspected
    }


# stepping


def exchange(shared: Shared, answering: Coroutine[Any, Any, None]) -> Exchange:
    """One whose application is this coroutine."""
    made = Exchange.__new__(Exchange)
    made._shared = shared
    made.run_asgi = lambda _: answering  # type: ignore[method-assign, assignment, return-value]
    return made


async def answer(shared: Shared, said: list[str]) -> None:
    """An answer that waits for a turn of the loop, for a future, and for a task."""
    await asyncio.sleep(0)
    future = shared.loop.create_future()
    shared.loop.call_later(0.01, future.set_result, "future")
    said.append(await future)
    said.append(await asyncio.create_task(asyncio.sleep(0.01, "task")))


async def test_an_answer_may_wait_for_turns_for_futures_and_for_tasks(shared: Shared) -> None:
    said: list[str] = []
    exchange(shared, answer(shared, said)).start(None)
    assert len(shared.tasks) == 1, "the server has to know of it when it stops"
    await until(lambda: not shared.tasks)
    assert said == ["future", "task"]


async def test_an_answer_that_fails_costs_others_of_its_turn_nothing(shared: Shared) -> None:
    heard: list[dict[str, Any]] = []
    shared.loop.set_exception_handler(lambda _, told: heard.append(told))
    said: list[str] = []

    async def fail() -> None:
        raise RuntimeError("a bug")

    exchange(shared, fail()).start(None)
    exchange(shared, answer(shared, said)).start(None)
    await until(lambda: not shared.tasks)
    assert said == ["future", "task"]
    assert [str(told["exception"]) for told in heard] == ["a bug"]


async def test_who_is_cancelled_hears_so_where_it_waits(shared: Shared) -> None:
    said: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            said.append("cancelled")

    waiting = exchange(shared, wait())
    waiting.start(None)
    await asyncio.sleep(0.01)
    waiting.cancel("the server stops")
    await until(lambda: not shared.tasks)
    assert said == ["cancelled"]
