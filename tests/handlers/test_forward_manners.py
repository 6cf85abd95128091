"""Forward and a server with bad manners, or with a certificate nobody vouches for."""

import asyncio
import socket
import ssl
from dataclasses import replace
from typing import Any

import pytest
from forward_kit import NO_CONTENT, verdict
from http_target import answer, listening
from receiver.handlers import forward
from receiver.handlers.forward import Forward

from receiver import Attempt, DeliveryReport, Retry, Unavailable
from receiver.perform import Performer, Result

pytestmark = pytest.mark.anyio


# -- bad manners


async def test_a_target_that_never_answers_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(silent) as target:
        handler = await opened(Forward, url=target.url, timeout="200ms")
        (got,) = await Performer(handler, handler.settings.timeout).perform([dlr], attempt)
    assert got == Result("unavailable", "no answer within 200 ms")


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"HTTP/1.1 200 OK", "200"), (b"HTTP/1.1 500 X", Unavailable), (b"HTTP/1.1 400 X", Retry)],
)
async def test_an_endless_answer_is_judged_by_its_status_and_not_read(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, head: bytes, expected: Any
) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        writer.write(head + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()
            written += 0x4000

    async with listening(endless) as target:
        handler = await opened(Forward, url=target.url)
        got = await verdict(handler, dlr, attempt)
        await asyncio.wait_for(target.hung_up.wait(), 5)
    assert got == expected or type(got) is expected
    # 64 KiB are taken; what the kernel and the parser had in their buffers by then comes on top.
    assert written < 8 * 1024 * 1024


async def test_hints_before_the_answer_are_passed_over(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    hints = b"HTTP/1.1 102 X\r\n\r\nHTTP/1.1 103 X\r\nlink: </a.css>\r\n\r\n"
    async with listening(hints + answer(503, b"full"), hints + NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url)
        assert (await verdict(handler, dlr, attempt)).reason == "503: full"
        assert await verdict(handler, dlr, attempt) == "204"
        assert target.connections == 1


async def test_a_connection_that_was_answered_before_it_took_the_event_is_not_used_again(
    opened: Any, dlr: DeliveryReport, attempt: Attempt
) -> None:
    connections = 0

    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413))
        await done.wait()
        writer.transport.abort()

    done, large = asyncio.Event(), replace(dlr, raw={"ID": "x" * 32 * 1024 * 1024})
    async with await asyncio.start_server(hasty, "127.0.0.1", 0) as server:
        handler = await opened(Forward, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        for _ in range(2):
            assert (await verdict(handler, large, attempt)).reason == "413"
        done.set()
    assert connections == 2


async def test_an_answer_whose_status_is_known_is_not_waited_for(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ANSWER_PATIENCE", 0.05)
    async with listening(b"HTTP/1.1 202 X\r\ncontent-length: 9\r\n\r\nhalf") as target:
        assert await verdict(await opened(Forward, url=target.url, timeout="1h"), dlr, attempt) == "202"


async def test_of_a_long_answer_64_kib_are_taken_and_the_connection_is_closed(
    opened: Any, dlr: DeliveryReport, attempt: Attempt
) -> None:
    async with listening(answer(200, b"x" * 64 * 1024), answer(200, b"x" * 3 * 1024 * 1024), NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url)
        await handler.handle(dlr, attempt)
        await handler.handle(dlr, attempt)
        assert target.connections == 1  # 64 KiB were read to their end
        await handler.handle(dlr, attempt)
        assert target.connections == 2


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", Unavailable),
        (b"HTTP/1.1 2", Unavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "200"),
        (b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nhalf", Unavailable),
        (b"HTTP/1.1 404 X\r\ncontent-length: 100\r\n\r\nhalf", Retry),
    ],
)
async def test_a_reset_counts_unless_the_status_was_said(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, head: bytes, expected: Any
) -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
        raise ConnectionResetError

    async with listening(reset) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert got == expected or type(got) is expected


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\x00\xff\x1b[2J\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n"]
)
async def test_what_is_not_http_is_tried_again(opened: Any, dlr: DeliveryReport, attempt: Attempt, said: bytes) -> None:
    async with listening(said) as target:
        got = await verdict(await opened(Forward, url=target.url, timeout="1s"), dlr, attempt)
    assert type(got) is Retry
    assert got.reason.startswith("the answer is not HTTP")
    assert got.reason.isprintable()


async def test_a_bomb_is_not_unpacked(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(answer(404, b"\x1f\x8bno gzip at all", content_encoding="gzip")) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert "no gzip at all" in got.reason


async def test_a_refused_connection_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    got = await verdict(await opened(Forward, url=f"http://127.0.0.1:{port}/"), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason == f"no connection to 127.0.0.1:{port}: connection refused"


async def test_a_dns_failure_is_unavailable(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]]
) -> None:
    got = await verdict(await opened(Forward, url="http://gone.test/"), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason.startswith("gone.test cannot be resolved")


# -- TLS


async def test_a_certificate_nobody_vouches_for_is_unavailable(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    async with listening(NO_CONTENT, tls=tls) as target:
        got = await verdict(await opened(Forward, url=target.url.replace("http:", "https:")), dlr, attempt)
    assert type(got) is Unavailable
    assert "certificate" in got.reason
    assert target.requests == []


async def test_a_private_authority_can_be_named(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    async with listening(NO_CONTENT, tls=tls) as target:
        handler = await opened(Forward, url=target.url.replace("http:", "https:"), ca="ca.pem")
        assert await handler.handle(dlr, attempt) == "204"
