"""Who may ask the admin listener, and what the metrics say."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from web_kit import DLR, LISTEN, NEXT_SECRET, REPORT, SECRET, SOURCES, Site, receiving

from receiver.admin.pages import host_name

pytestmark = pytest.mark.anyio

PAGES = ("/healthz", "/readyz", "/metrics")
TOKEN = "canary-token-of-the-admin"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with receiving(tmp_path) as running:
        yield running


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Site]:
    """A receiver whose admin listener wants a token."""
    async with receiving(tmp_path, f'{LISTEN}admin_token = "{TOKEN}"\n{SOURCES}') as running:
        yield running


async def metric(site: Site, name: str, **labels: str) -> float | None:
    """The value of one sample; None where there is none."""
    page = (await site.ask_admin("/metrics")).body.decode()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return None


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8081", "127.0.0.1", "127.0.0.1:9999", "[::1]:8081", "[::1]"])
async def test_the_listeners_own_names_are_answered(site: Site, host: str) -> None:
    assert [(await site.ask_admin(page, host=host)).status for page in PAGES] == [200, 200, 200]


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:8081",
        "127.0.0.1.evil.example.com",
        "",
        "192.0.2.1",
        "localhost.",
        "x@localhost",
    ],
)
async def test_another_host_is_refused(site: Site, host: str) -> None:
    answers = [await site.ask_admin(page, host=host) for page in PAGES]
    assert [answer.status for answer in answers] == [421, 421, 421]
    assert [answer for answer in answers if b"receiver" in answer.body] == []


async def test_a_listener_on_all_addresses_is_asked_by_any_address(tmp_path: Path) -> None:
    listen = '[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "0.0.0.0:0"\n'
    async with receiving(tmp_path, f'{listen}admin_token = "{TOKEN}"\n{SOURCES}') as site:
        site.admin = ("127.0.0.1", site.admin[1])
        bearer = f"Bearer {TOKEN}"
        assert (await site.ask_admin("/healthz", host="192.0.2.1:8081", authorization=bearer)).status == 200
        assert (await site.ask_admin("/healthz", host="evil.example.com", authorization=bearer)).status == 421


@pytest.mark.parametrize("headers", [b"", b"Host: localhost\r\nHost: evil.example.com\r\n"], ids=["none", "two"])
async def test_a_request_that_names_no_host_or_two_is_refused(site: Site, headers: bytes) -> None:
    for version in (b"1.0", b"1.1"):
        reader, writer = await asyncio.open_connection(*site.admin)
        writer.write(b"GET /metrics HTTP/%s\r\n%sConnection: close\r\n\r\n" % (version, headers))
        assert b" 421 " in (await reader.read()).partition(b"\r\n")[0]
        writer.close()


async def test_what_the_request_line_says_of_the_host_changes_nothing(site: Site) -> None:
    for line, host in (("http://localhost/metrics", "evil.example.com"), ("//localhost/metrics", "evil.example.com")):
        assert (await site.ask_admin(line, host=host)).status == 421


@pytest.mark.parametrize(
    ("listen", "own", "other"),
    [("[::1]:0", "[::1]:8081", "[::2]:8081"), ("unix:admin.sock", "localhost", "evil.example.com")],
)
async def test_a_listener_of_another_kind_has_names_of_its_own_too(
    tmp_path: Path, listen: str, own: str, other: str
) -> None:
    server = f'[server]\nlisten = "127.0.0.1:0"\nadmin_listen = "{listen}"\n'
    async with receiving(tmp_path, server + SOURCES) as site:
        assert [(await site.ask_admin(page, host=own)).status for page in PAGES] == [200, 200, 200]
        assert [(await site.ask_admin(page, host=other)).status for page in PAGES] == [421, 421, 421]


async def test_the_callback_listener_is_asked_by_any_name(site: Site) -> None:
    assert (await site.get("/healthz", host="sms.example.com")).status == 200
    assert (await site.get(REPORT, host="sms.example.com")).outcome == "stored"


@pytest.mark.parametrize(
    "given", ["", TOKEN, "Bearer wrong", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"]
)
async def test_without_the_token_nothing_is_told(guarded: Site, given: str) -> None:
    answers = [await guarded.ask_admin(page, authorization=given) for page in PAGES]
    assert [answer.status for answer in answers] == [401, 401, 401]
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}
    assert [answer for answer in answers if TOKEN in f"{answer}"] == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_token_all_is_told(guarded: Site, scheme: str) -> None:
    assert [(await guarded.ask_admin(page, authorization=f"{scheme} {TOKEN}")).status for page in PAGES] == [200] * 3


async def test_health_on_the_callback_listener_needs_no_token(guarded: Site) -> None:
    assert [(await guarded.get("/healthz")).status, (await guarded.get("/readyz")).status] == [200, 200]


async def test_callbacks_are_counted_by_source_and_outcome(site: Site) -> None:
    for path in (REPORT, REPORT, f"{DLR}?x=1", DLR):
        await site.get(path)
    counted = [
        await metric(site, "receiver_callbacks_total", source="spryng", outcome=outcome)
        for outcome in ("stored", "duplicate", "quarantined", "ignored")
    ]
    assert counted == [1, 1, 1, 1]
    assert await metric(site, "receiver_answer_seconds_count") == 4


async def test_refusals_are_counted_by_reason(site: Site) -> None:
    await site.get(f"{DLR}x")
    await site.get("/in/nexmo/x/y")
    assert await metric(site, "receiver_refused_total", source="spryng", reason="wrong_secret") == 1
    assert await metric(site, "receiver_refused_total", source="", reason="unknown_source") == 1


async def test_each_secret_says_when_it_was_last_used(site: Site) -> None:
    name, began = "receiver_secret_last_seen_timestamp_seconds", time.time()
    for path in (REPORT, f"{DLR}x", f"/in/spryng/nothing/{SECRET}", REPORT.replace(SECRET, "x")):
        await site.get(path)
    assert await metric(site, name, source="spryng", secret="2") == 0
    await site.get(REPORT.replace(SECRET, NEXT_SECRET))
    seen = [await metric(site, name, source="spryng", secret=place) for place in ("1", "2")]
    assert [began <= (at or 0) <= time.time() for at in seen] == [True, True]
    assert await metric(site, name, source="bulkvs", secret="1") == 0


async def test_strangers_cannot_make_labels(site: Site) -> None:
    for number in range(20):
        await site.get(f"/in/made-up-{number}/dlr/x")
        await site.get(f"/in/spryng/made-up-{number}/x")
        await site.get(f"/made-up-{number}")
    assert "made-up" not in (await site.ask_admin("/metrics")).body.decode()


async def test_what_the_store_counts_is_there(site: Site) -> None:
    await site.store.register(["crm"])
    await site.get(REPORT)
    await site.get(f"{DLR}?x=1")
    assert await metric(site, "receiver_dispatches", handler="crm", state="received") == 1
    assert await metric(site, "receiver_dispatches", handler="crm", state="pending") == 1
    assert await metric(site, "receiver_source_callbacks", source="spryng", outcome="stored") == 1
    assert await metric(site, "receiver_quarantine", source="spryng") == 1
    assert await metric(site, "receiver_oldest_pending_timestamp", handler="crm") == site.clock().timestamp()


async def test_a_name_can_be_in_two_places_at_most_once(site: Site) -> None:
    """Prometheus refuses a page that names a metric twice."""
    await site.get(REPORT)
    page = (await site.ask_admin("/metrics")).body.decode()
    types = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        (" LocalHost:8081 ", "localhost"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_a_host_is_read_without_port_and_brackets(header: str, name: str) -> None:
    assert host_name(header) == name
