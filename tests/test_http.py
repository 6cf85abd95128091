"""The server: where it listens, what it says when it cannot, and the limits that uvicorn lacks."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from web_kit import FORM, MESSAGE, MO, REPORT, SOURCES, Client, Site, receiving, request

from drills.waiting import until
from receiver import http, listening
from receiver.errors import ReceiverError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that `receiver serve` runs on."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def site(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Site]:
    async with receiving(tmp_path) as running:
        yield running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that gives a request a tenth of a second to be whole."""
    monkeypatch.setattr(http, "WHOLE_WITHIN", timedelta(seconds=0.1))


async def closed(client: Client) -> bool:
    """Whether the server ends the connection; what it says before does not matter."""
    try:
        while await client.reader.read(65536):
            pass
    except ConnectionResetError:
        pass
    return True


# listening


async def test_a_unix_socket_is_listened_on(tmp_path: Path) -> None:
    server = '[server]\nlisten = "unix:http.sock"\nadmin_listen = ""\n'
    async with receiving(tmp_path, server + SOURCES) as site:
        assert (await site.get(REPORT)).outcome == "stored"
        assert (tmp_path / "etc" / "http.sock").stat().st_mode & 0o777 == 0o660


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    listening.bind("", 0, path).close()
    listening.bind("", 0, path).close()
    assert path.is_socket()


def test_a_socket_that_somebody_answers_on_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with listening.bind("", 0, path), pytest.raises(listening.AddressTaken, match=r"http\.sock is in use"):
        listening.bind("", 0, path)


def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    path.write_text("mine")
    with pytest.raises(ReceiverError, match="there is a file that is no socket"):
        listening.bind("", 0, path)
    assert path.read_text() == "mine"


def test_a_socket_whose_name_is_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReceiverError, match="too long"):
        listening.bind("", 0, tmp_path / ("x" * 200))


def test_a_taken_port_names_the_process_that_has_it() -> None:
    with listening.bind("127.0.0.1", 0, None) as listener:
        port = listener.getsockname()[1]
        name = Path("/proc/self/comm").read_text().strip()
        with pytest.raises(listening.AddressTaken) as fault:
            listening.bind("127.0.0.1", port, None)
    assert str(fault.value) == f"127.0.0.1:{port} is in use by {name} (pid {os.getpid()})"


def test_a_port_that_was_just_let_go_can_be_had() -> None:
    with listening.bind("127.0.0.1", 0, None) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as caller, listener.accept()[0]:
            assert caller.getpeername()[1] == port  # ours closes first, and waits in TIME_WAIT
    listening.bind("127.0.0.1", port, None).close()


def test_an_address_that_is_not_ours_says_so() -> None:
    with pytest.raises(ReceiverError, match=r"cannot listen on 192\.0\.2\.1:8080: "):
        listening.bind("192.0.2.1", 8080, None)


def test_a_name_that_is_none_says_so() -> None:
    with pytest.raises(ReceiverError, match=r"cannot listen on no-such-host\.invalid:8080: "):
        listening.bind("no-such-host.invalid", 8080, None)


def passed(names: str, count: int, *, pid: str = "os.getpid()") -> str:
    """Which socket of several a process takes for what, when systemd hands them over."""
    program = f"""
        import os, socket
        from receiver import listening
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range({count})]
        ports = [each.getsockname()[1] for each in sockets]
        spare = [os.dup(each.detach()) for each in sockets]
        for number, handle in enumerate(spare):
            os.dup2(handle, 20 + number)
        for number in range({count}):
            os.dup2(20 + number, 3 + number)
        os.environ.update(LISTEN_PID=str({pid}), LISTEN_FDS="{count}", LISTEN_FDNAMES="{names}")
        found = {{name: ports.index(each.getsockname()[1]) for name, each in listening.passed().items()}}
        print(sorted(found.items()))
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.parametrize(
    ("names", "count", "found"),
    [
        ("callbacks:admin", 2, "[('admin', 1), ('callbacks', 0)]"),
        ("admin:callbacks", 2, "[('admin', 0), ('callbacks', 1)]"),
        ("callbacks", 1, "[('callbacks', 0)]"),
        ("receiver.socket:receiver.socket", 2, "[('admin', 1), ('callbacks', 0)]"),
        ("", 2, "[('admin', 1), ('callbacks', 0)]"),
    ],
)
def test_passed_sockets_are_told_apart_by_name_else_by_order(names: str, count: int, found: str) -> None:
    assert passed(names, count) == found


@pytest.mark.parametrize(("names", "count"), [("callbacks:callbacks", 2), ("callbacks:admin:admin", 3), ("", 3)])
def test_two_sockets_of_a_kind_are_one_too_many(names: str, count: int) -> None:
    with pytest.raises(subprocess.CalledProcessError) as fault:
        passed(names, count)
    assert "more than one socket of a kind" in fault.value.stderr


def test_sockets_passed_to_another_process_are_not_ours() -> None:
    assert passed("callbacks", 1, pid="os.getppid()") == "[]"


# limits


async def test_a_half_head_has_a_deadline(site: Site, hurried: None) -> None:
    async with site.client() as client:
        client.write(b"GET /in/spryng")
        assert await closed(client)


async def test_a_half_body_has_a_deadline(site: Site, hurried: None) -> None:
    async with site.client() as client:
        client.write(request("POST", MO, content_length="1000", **FORM) + MESSAGE)
        assert await closed(client)
    assert await site.is_empty()


async def test_who_connects_and_says_nothing_has_a_deadline(site: Site, hurried: None) -> None:
    async with site.client() as client:
        assert await closed(client)


async def test_who_says_nothing_but_line_breaks_has_a_deadline(site: Site, hurried: None) -> None:
    async with site.client() as client:
        await client.send("GET", REPORT)
        client.write(b"\r\n")
        assert await closed(client)


async def test_who_drips_has_the_same_deadline(site: Site, hurried: None) -> None:
    async with site.client() as client:
        ended = asyncio.create_task(closed(client))
        for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 2_000:
            client.write(bytes((byte,)))
            await asyncio.sleep(0.005)
            if ended.done():
                break
        assert ended.done()


async def test_the_deadline_is_the_requests_not_the_answers(site: Site, hurried: None) -> None:
    async with site.client() as client:
        with site.locked():
            client.write(request("GET", REPORT))
            await asyncio.sleep(0.2)
        assert (await client.answer()).outcome == "stored"


async def test_a_connection_may_be_idle_between_requests(site: Site, hurried: None) -> None:
    async with site.client() as client:
        await client.send("GET", REPORT)
        await asyncio.sleep(0.2)
        assert (await client.send("GET", REPORT)).outcome == "duplicate"


@pytest.mark.parametrize(
    "head",
    [
        f"GET {REPORT}&x={'x' * http.HEAD_MOST} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET {REPORT} HTTP/1.1\r\nX: {'x' * http.HEAD_MOST}\r\n\r\n",
        f"GET {REPORT} HTTP/1.1\r\n{'X: x' * http.HEAD_MOST}",
        "X-Y: x\r\n".join([f"GET {REPORT} HTTP/1.1\r\n", *[""] * 10_000, "\r\n"]),
        "GET /" + "x" * http.HEAD_MOST,
    ],
    ids=["query", "header", "endless header", "many headers", "endless path"],
)
async def test_a_head_has_an_end(site: Site, head: str) -> None:
    async with site.client() as client:
        for at in range(0, len(head), 8_192):
            client.write(head[at : at + 8_192].encode())
        assert (await client.answer()).status == 400
        assert await closed(client)
    assert await site.is_empty()


async def test_a_large_request_may_have_half_of_the_next_one_behind_it(site: Site) -> None:
    message = MESSAGE + b"&x=" + b"x" * 64_000
    async with site.client() as client:
        client.write(request("POST", MO, message, **FORM) + request("GET", REPORT + "&x=" + "x" * 5_000)[:4_000])
        assert (await client.answer()).outcome == "stored"
        client.write(request("GET", REPORT + "&x=" + "x" * 5_000)[4_000:])
        assert (await client.answer()).outcome == "stored"


async def test_requests_sent_ahead_wait_in_bounded_numbers(site: Site) -> None:
    async with site.client() as client:
        client.write(request("GET", "/nobody") * http.AHEAD_MOST)
        assert {(await client.answer()).status for _ in range(http.AHEAD_MOST)} == {404}
        client.write(request("GET", "/nobody") * 10_000)
        while (answer := await client.answer()).status == 404:
            pass
        assert answer.status == 400
        assert await closed(client)


@pytest.mark.parametrize("enough", [1_024, 1024**3], ids=["no more is written", "all is written"])
async def test_whoever_does_not_read_the_answers_is_closed(
    site: Site, hurried: None, monkeypatch: pytest.MonkeyPatch, enough: int
) -> None:
    monkeypatch.setattr(http, "KEEP_ALIVE", timedelta(seconds=0.1))
    loop, open_ones = asyncio.get_running_loop(), site.server.server_state.connections
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, site.callbacks)
        await until(lambda: open_ones)
        (transport,) = (protocol.transport for protocol in open_ones)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
        transport.set_write_buffer_limits(enough)
        deaf.send(request("GET", "/nobody") * 60)
        await until(transport.get_write_buffer_size)
        await until(lambda: not open_ones)


async def test_a_body_that_nobody_wants_has_an_end(site: Site) -> None:
    async with site.client() as client:
        client.write(request("POST", "/in/spryng/mo/wrong-wrong-wrong", content_length="1000000000"))
        assert (await client.answer()).status == 404
        for _ in range(64):
            client.write(b"x" * 32_768)
        assert await closed(client)


async def test_no_http_is_answered_400_without_a_line_in_the_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        async with site.client() as client:
            client.write(b"\x16\x03\x01 TLS says hello\r\n\r\n")
            assert (await client.answer()).status == 400
    assert [record.message for record in caplog.records if "HTTP" in record.message] == []


async def test_requests_may_be_sent_before_the_answers(site: Site) -> None:
    async with site.client() as client:
        client.write(request("GET", REPORT) + request("POST", MO, MESSAGE, **FORM) + request("GET", REPORT))
        assert [(await client.answer()).outcome for _ in range(3)] == ["stored", "stored", "duplicate"]


async def test_answers_of_every_kind_keep_the_order_of_their_requests(site: Site) -> None:
    async with site.client() as client:
        client.write(request("GET", REPORT) + request("HEAD", REPORT) + request("GET", REPORT))
        assert (await client.answer()).outcome == "stored"
        assert (await client.answer(to_head=True)).outcome == "ignored"
        assert (await client.answer()).outcome == "duplicate"


@pytest.mark.parametrize("value", [b"a\nb", b"a\r\nset-cookie: x"])
async def test_a_header_that_would_be_two_is_not_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch, value: bytes
) -> None:
    async def wrong(_scope: object, _receive: object, send: Callable[[dict[str, object]], Awaitable[None]]) -> None:
        headers = [(b"content-length", b"2"), (b"x-name", value)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"OK"})

    monkeypatch.setattr(site.app, "intake", wrong)
    async with site.client() as client:
        client.write(request("GET", REPORT))
        assert b"OK" not in await client.reader.read()


@pytest.mark.parametrize("cut", [5, 40, 60, 90, 1000])
async def test_bytes_beyond_ascii_in_a_url_are_read_as_if_escaped(site: Site, cut: int) -> None:
    raw = f"GET {REPORT}&REFERENCE=café HTTP/1.1\r\nHost: x\r\nX-Name: é\r\n\r\n".encode()
    async with site.client() as client:
        client.write(raw[:cut])
        await until(lambda: site.server.server_state.connections)
        await asyncio.sleep(0.02)  # lets the first part arrive alone
        client.write(raw[cut:])
        assert (await client.answer()).outcome == "stored"
    assert (await site.event()).data["reference"] == "café"


async def test_an_answer_says_when_but_not_by_whom(site: Site) -> None:
    answer = await site.get(REPORT)
    assert "date" in answer.headers
    assert "server" not in answer.headers


# stopping


async def test_who_stops_finishes_what_is_being_answered(site: Site) -> None:
    async with site.client() as client:
        with site.locked():
            client.write(request("GET", REPORT))
            await until(site.is_answering)
            site.server.stop()
            await until(lambda: not site.server.servers[0].is_serving())
        answer = await client.answer()
    assert (answer.outcome, answer.headers["connection"]) == ("stored", "close")


async def test_who_stops_does_not_wait_for_half_requests(site: Site) -> None:
    async with site.client() as head, site.client() as body, site.client() as nothing:
        head.write(b"GET /in")
        body.write(request("POST", MO, content_length="1000", **FORM))
        await until(site.is_answering)
        began = asyncio.get_running_loop().time()
        site.server.stop()
        assert all([await closed(client) for client in (head, body, nothing)])
        assert asyncio.get_running_loop().time() - began < 1


async def test_a_request_that_was_on_its_way_when_we_stopped_is_answered(site: Site) -> None:
    async with site.client() as kept, site.client() as fresh:
        assert (await kept.send("GET", REPORT)).status == 200
        await until(lambda: len(site.server.server_state.connections) == 2)
        site.server.stop()
        await until(lambda: not site.server.servers[0].is_serving())
        for client in (kept, fresh):
            answer = await client.send("GET", REPORT)
            assert (answer.outcome, answer.headers["connection"]) == ("duplicate", "close")
            assert await closed(client)


# how many


async def test_one_connection_too_many_costs_one_that_does_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 3)
    async with site.client() as idle, site.client() as busy, site.client() as busier:
        for each in (idle, busy, busier):
            assert (await each.send("GET", REPORT)).status == 200
        async with site.client() as another:
            for each in (another, busy, busier):
                assert (await each.send("GET", REPORT)).status == 200
        assert await asyncio.wait_for(closed(idle), 5)


async def test_of_too_many_connections_those_go_first_that_never_asked_or_do_not_listen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 3)
    async with site.client() as kept, site.client() as deaf:
        assert (await kept.send("GET", REPORT)).status == 200
        assert (await deaf.send("GET", REPORT)).status == 200
        async with site.client() as silent, site.client() as another:
            assert (await another.send("GET", REPORT)).status == 200
            assert await asyncio.wait_for(closed(silent), 5)
            next(
                each
                for each in site.server.server_state.connections
                if each.client == deaf.writer.get_extra_info("sockname")
            ).pause_writing()
            async with site.client() as one_more:
                assert (await one_more.send("GET", REPORT)).status == 200
                assert await asyncio.wait_for(closed(deaf), 5)
                assert (await kept.send("GET", REPORT)).status == 200


async def test_requests_sent_ahead_wait_in_bounded_numbers_on_all_connections_together(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "AHEAD_MOST_OF_ALL", 10)
    async with site.client() as one, site.client() as other:
        with site.locked():
            one.write(request("GET", REPORT) * 9)
            await until(lambda: site.server.server_state.ahead == 8)
            other.write(request("GET", REPORT) * 9)
            assert await closed(other)
            assert site.server.server_state.ahead == 8
        assert [(await one.answer()).status for _ in range(9)] == [200] * 9
        assert site.server.server_state.ahead == 0


async def test_where_all_are_at_work_one_more_hears_503(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "most_connections", lambda: 2)
    async with site.client() as one, site.client() as other:
        for each in (one, other):
            each.write(request("POST", MO, MESSAGE, **FORM)[:-3])
        await until(lambda: len(site.server.server_state.connections) == 2 and site.is_answering())
        async with site.client() as another:
            answer = await another.answer()
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert await asyncio.wait_for(closed(another), 5)
        one.write(MESSAGE[-3:])
        assert (await one.answer()).status == 200


async def test_too_many_bodies_on_their_way_in_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.web.MOST_READING", 10)
    async with site.client() as slow, site.client() as other:
        slow.write(request("POST", MO, MESSAGE, **FORM)[:-3])
        await until(lambda: site.app.intake._reading > 10)
        refused = await other.send("POST", MO, MESSAGE, **FORM)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        slow.write(MESSAGE[-3:])
        assert (await slow.answer()).outcome == "stored"
        assert (await other.send("POST", MO, MESSAGE, **FORM)).outcome == "duplicate"


async def test_a_stop_while_the_disk_hangs_is_503(site: Site) -> None:
    with site.locked():
        async with site.client() as client:
            client.write(request("GET", REPORT))
            await until(site.is_storing)
            for task in site.server.server_state.tasks:
                task.cancel()
            answer = await client.answer()
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
