"""What nginx refuses by itself: 503, which providers send again, and when to come again."""

import asyncio
from pathlib import Path

import pytest
from deploy_kit import NUMBER, SECRET, Activated, exchange, proxy, report

pytestmark = pytest.mark.anyio


async def test_too_many_requests_from_one_address_are_503(activated: Activated, tmp_path: Path) -> None:
    await activated.ready()
    slow = {"rate=200r/s": "rate=1r/m", "burst=1000": "burst=3"}
    async with proxy("nginx", activated.callbacks, tmp_path / "front", slow) as front:
        answers = [await front.ask(report(f"m-{number}")) for number in range(6)]
        elsewhere = await front.ask(report("m-0"), source="127.0.0.2")
    assert [answer.status for answer in answers] == [200] * 4 + [503] * 2
    assert answers[-1].header("retry-after") == "5"
    assert elsewhere.outcome == "duplicate"
    assert SECRET not in front.logged()
    assert NUMBER not in front.logged()


async def test_too_many_connections_from_one_address_are_503(activated: Activated, tmp_path: Path) -> None:
    """Nobody answers them: the receiver does not run yet."""
    few = {"limit_conn        receiver_connections 200": "limit_conn receiver_connections 3"}
    async with proxy("nginx", activated.callbacks, tmp_path / "front", few) as front:
        waiting = [asyncio.create_task(front.ask(report(f"m-{number}"))) for number in range(5)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result().status for task in done} == {503}
        await activated.ready()
        assert sorted([(await task).status for task in waiting]) == [200] * 3 + [503] * 2


async def test_a_receiver_that_says_when_to_come_again_is_not_contradicted(tmp_path: Path) -> None:
    async def busy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await exchange(reader, writer, b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(busy, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, proxy("nginx", f"{host}:{port}", tmp_path / "front") as front:
        answer = await front.ask(report("m"))
    assert (answer.status, answer.header("retry-after")) == (503, "7")
