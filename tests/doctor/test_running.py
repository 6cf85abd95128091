"""The running receiver: what its processes, its health and its listener say, and what else may sit there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from doctor_kit import OURS, SECRET, answering, case

from receiver.cli.doctor.finding import Finding
from receiver.cli.doctor.running import callbacks, processes
from receiver.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

FAR = '[sources.far]\nprovider = "bulkvs"\nsecrets = ["zyxwvutsrqponmlk"]\nallow_from = ["192.0.2.0/24"]\n'
WELL = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n"
NOT_READY = b'HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n{"ready": false, "reasons": ["no space left"]}'


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """Somebody receives here: this process."""
    store = await SqliteStore.open(tmp_path / "receiver.db", "receive", create=True)
    yield store
    await store.close()


async def judged(folder: Path, port: int, *tables: str) -> Finding:
    (found,) = await processes(case(folder, f'[server]\nadmin_listen = "127.0.0.1:{port}"\n', *tables))
    return found


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize(
    ("alive", "words"),
    [
        (NOT_READY, "is not the receiver (503)"),
        (b"HTTP/1.1 401 Who\r\ncontent-length: 0\r\n\r\n", "wants another token"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHello", "is not the receiver (200)"),
        (b"", "does not answer: the connection ended"),
    ],
)
async def test_what_is_not_well_at_the_admin_listener_is_told(tmp_path: Path, alive: bytes, words: str) -> None:
    async with answering(alive) as server:
        found = await judged(tmp_path, server.port)
    assert (found.state, words in found.words) == ("problem", True), found


@pytest.mark.usefixtures("running")
async def test_why_nothing_can_be_stored_is_told_and_the_token_is_sent(tmp_path: Path) -> None:
    async with answering(NOT_READY, way=WELL, asked_for="/healthz") as server:
        settings = f'[server]\nadmin_listen = "127.0.0.1:{server.port}"\nadmin_token = "token-of-the-admin"\n'
        (found,) = await processes(case(tmp_path, settings))
    assert found.words == "not ready: no space left"
    assert all("authorization: Bearer token-of-the-admin\r\n" in head for head in server.heads)


@pytest.mark.usefixtures("running")
async def test_without_an_admin_listener_the_locks_are_enough(tmp_path: Path) -> None:
    (found,) = await processes(case(tmp_path, '[server]\nadmin_listen = ""\n'))
    assert (found.state, "health is off" in found.words) == ("ok", True)


@pytest.mark.usefixtures("running")
async def test_handlers_that_nobody_runs_are_told(tmp_path: Path) -> None:
    async with answering(WELL) as server:
        found = await judged(tmp_path, server.port, '[handlers.audit]\nuse = "log"\n')
    assert "no handler runs: events wait" in found.words


async def taken(folder: Path, port: int, *tables: str) -> list[Finding]:
    return await callbacks(case(folder, f'[server]\nlisten = "127.0.0.1:{port}"\n', *tables))


@pytest.mark.usefixtures("running")
async def test_callbacks_are_tried_with_the_secret_and_for_allow_from_as_a_proxy_would(tmp_path: Path) -> None:
    async with answering(OURS) as server:
        (found,) = await taken(tmp_path, server.port, FAR)
    assert found.words == f"127.0.0.1:{server.port} takes those of spryng, far (as from 192.0.2.1)"
    assert f"GET /in/spryng/dlr/{SECRET} " in server.heads[0]
    assert "x-forwarded-for" not in server.heads[0]
    assert "x-forwarded-for: 192.0.2.1\r\n" in server.heads[1]


@pytest.mark.usefixtures("running")
async def test_where_no_proxy_is_believed_who_has_allow_from_is_not_tried(tmp_path: Path) -> None:
    async with answering(OURS) as server:
        listen = f'[server]\nlisten = "127.0.0.1:{server.port}"\ntrusted_proxies = []\n'
        far = FAR.replace("192.0.2.0/24", "127.0.0.0/8")
        found = await callbacks(case(tmp_path, listen, far))
    assert [(one.state, one.about) for one in found] == [("skipped", "far"), ("ok", "")]


@pytest.mark.usefixtures("running")
async def test_a_listener_that_refuses_or_is_not_there_is_told(tmp_path: Path) -> None:
    async with answering(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n") as server:
        (refused,) = await taken(tmp_path, server.port)
    (gone,) = await taken(tmp_path, server.port)
    assert "systemctl reload receiver" in refused.cure
    assert "connection refused" in gone.words
    assert SECRET not in refused.words + refused.cure + gone.words + gone.cure


async def test_nothing_is_tried_where_nobody_runs(tmp_path: Path) -> None:
    (found,) = await processes(case(tmp_path))
    assert (found.state, found.words) == ("problem", "it is not running")
    assert [one.state for one in await callbacks(case(tmp_path))] == ["skipped"]
