"""nginx before three receivers, as the page says: whoever does not answer, or cannot store, is passed over."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from deploy_kit import ROOT, Activated, Proxy, free_port, message, proxy, report

pytestmark = pytest.mark.anyio
PAGE = (ROOT / "docs/how-to/run-three-receivers.md").read_text()
UPSTREAM, LINES = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
RECEIVERS = ("10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080")


@asynccontextmanager
async def front_of(folder: Path, *receivers: str) -> AsyncIterator[Proxy]:
    """deploy/nginx.conf with the page's upstream and its lines."""
    site = (ROOT / "deploy/nginx.conf").read_text()
    (ours,) = re.findall(r"^upstream receiver \{.*?^\}\n", site, re.DOTALL | re.MULTILINE)
    theirs = UPSTREAM
    for written, real in zip(RECEIVERS, receivers, strict=True):
        assert written in theirs
        theirs = theirs.replace(written, real)
    changes = {ours.replace("127.0.0.1:8080", receivers[2]): theirs}
    for line in LINES.splitlines():
        (there,) = re.findall(rf"^    {line.split()[0]} .*;$", site, re.MULTILINE)
        changes[there] = f"    {line}"
    async with proxy("nginx", receivers[2], folder, changes) as running:
        yield running


@asynccontextmanager
async def unable() -> AsyncIterator[str]:
    """A receiver that cannot store at the moment."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_one_of_three_is_enough(activated: Activated, tmp_path: Path) -> None:
    await activated.ready()
    gone = f"127.0.0.1:{free_port()}"
    async with unable() as full, front_of(tmp_path / "front", gone, full, activated.callbacks) as front:
        answers = [await front.ask(raw) for n in range(6) for raw in (report(f"m-{n}"), message(n))]
        assert [answer.outcome for answer in answers] == ["stored"] * 12


async def test_where_none_can_store_the_provider_hears_503(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    async with unable() as full, front_of(tmp_path / "front", gone, full, full) as front:
        answer = await front.ask(report("m-1"))
        assert answer.status == 503
        assert answer.header("retry-after")
