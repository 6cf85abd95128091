"""Requests find the application they are for: by listener first, then by path."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from web_kit import BULKVS_SECRET, DLR, FORM, LISTEN, MESSAGE, MO, NAMELESS, REPORT, SECRET, SOURCES, WEBHOOK, receiving

from receiver import logs
from receiver.app import _same

pytestmark = pytest.mark.anyio


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """All that this process logs, at its most talkative, as it would be written."""
    root = logging.getLogger()
    kept = root.handlers, root.level
    stream = io.StringIO()
    logs.configure("json", "debug", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = kept[0], kept[1]


async def test_callbacks_are_not_taken_by_the_admin_listener(tmp_path: Path) -> None:
    async with receiving(tmp_path) as site:
        assert (await site.ask_admin(REPORT)).status == 404
        assert await site.is_empty()


async def test_the_admins_pages_are_not_on_the_callback_listener(tmp_path: Path) -> None:
    async with receiving(tmp_path) as site:
        assert (await site.get("/metrics")).status == 404
        assert (await site.ask_admin("/metrics")).status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_health_is_on_both_listeners(tmp_path: Path, path: str) -> None:
    async with receiving(tmp_path) as site:
        assert [(await site.get(path)).status, (await site.ask_admin(path)).status] == [200, 200]


async def test_both_listeners_may_be_unix_sockets(tmp_path: Path) -> None:
    server = '[server]\nlisten = "unix:http.sock"\nadmin_listen = "unix:admin.sock"\n'
    async with receiving(tmp_path, server + SOURCES) as site:
        assert (await site.get(REPORT)).outcome == "stored"
        assert (await site.get("/metrics")).status == 404
        assert (await site.ask_admin(REPORT)).status == 404
        assert (await site.ask_admin("/metrics")).status == 200


async def test_listeners_may_share_a_port_on_two_addresses(tmp_path: Path) -> None:
    async with receiving(
        tmp_path, LISTEN.replace('admin_listen = "127.0.0.1', 'admin_listen = "127.0.0.2') + SOURCES
    ) as site:
        site.app.admin_is_at(("127.0.0.2", site.callbacks[1]))  # as if it had been given that port
        assert (await site.get(REPORT)).outcome == "stored"


@pytest.mark.parametrize(
    ("server", "admin", "same"),
    [
        (("127.0.0.1", 8081), ("127.0.0.1", 8081), True),
        (("192.0.2.1", 8081), ("0.0.0.0", 8081), True),
        (("2001:db8::1", 8081), ("::", 8081), True),
        (("127.0.0.1", 8080), ("0.0.0.0", 8081), False),
        (("192.0.2.1", 8081), ("127.0.0.1", 8081), False),
        (("/run/admin.sock", None), ("/run/admin.sock", None), True),
        (("/run/http.sock", None), ("/run/admin.sock", None), False),
        (("127.0.0.1", 8080), ("/run/admin.sock", None), False),
    ],
)
def test_a_listener_is_known_by_address_and_port(
    server: tuple[str, int | None], admin: tuple[str, int | None], same: bool
) -> None:
    assert _same(server, admin) is same


async def test_without_an_admin_listener_callbacks_are_taken(tmp_path: Path) -> None:
    async with receiving(tmp_path, '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = ""\n' + SOURCES) as site:
        assert (await site.get(REPORT)).outcome == "stored"
        assert (await site.get("/metrics")).status == 404


async def test_max_body_is_what_the_configuration_says(tmp_path: Path) -> None:
    async with receiving(tmp_path, f"{LISTEN}max_body = {len(MESSAGE)}\n{SOURCES}") as site:
        assert (await site.post(MO, MESSAGE + b"&", **FORM)).status == 413
        assert (await site.post(MO, MESSAGE, **FORM)).outcome == "stored"


async def test_no_secret_number_or_text_is_in_log_or_metrics(tmp_path: Path, log: io.StringIO) -> None:
    async with receiving(tmp_path) as site:
        for path in (DLR, REPORT, REPORT, f"{DLR}?x=canary", f"{DLR}x?x=1", f"/in/spryng/x/{SECRET}", f"/{SECRET}"):
            await site.get(path)
        await site.post(WEBHOOK, NAMELESS.replace(b"OK", b"canary"))
        await site.post(WEBHOOK, b'{"To": ["13109060901"], "Message": "canary"}')
        await site.send("PUT", REPORT)
        async with site.client() as client:
            client.write(f"GET {DLR} nonsense\r\n\r\n".encode())
            assert (await client.answer()).status == 400
        metrics = (await site.ask_admin("/metrics")).body.decode()
    written = log.getvalue()
    assert "callback_refused" in written
    assert 'source="spryng"' in metrics
    for canary in ("canary", SECRET, BULKVS_SECRET, "31612345678", "13105551212", "13109060901"):
        assert canary not in written
        assert canary not in metrics
