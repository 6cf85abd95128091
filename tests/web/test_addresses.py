"""Who may call: addresses through trusted proxies, and sources that nothing authenticates."""

from pathlib import Path

import pytest
from web_kit import LISTEN, REPORT, SECRET, Site, receiving

pytestmark = pytest.mark.anyio

OPEN = '[sources.spryng]\nprovider = "spryng"\nauth = "none"\n'
OPEN_REPORT = REPORT.replace(f"/{SECRET}", "")
LISTED = (
    f'[sources.spryng]\nprovider = "spryng"\nsecrets = ["{SECRET}"]\nallow_from = ["192.0.2.0/24", "2001:db8::/32"]\n'
)


@pytest.mark.parametrize(
    "mark",
    [
        {"x_forwarded_for": "192.0.2.1"},
        {"x_forwarded_proto": "https"},
        {"x_forwarded_host": "sms.example.com"},
        {"forwarded": "for=192.0.2.1"},
        {"via": "1.1 proxy"},
        {"x_forwarded_for": ""},
        {"version": "1.0"},
    ],
    ids=str,
)
async def test_without_authentication_nothing_is_taken_that_came_through_a_proxy(
    tmp_path: Path, mark: dict[str, str]
) -> None:
    async with receiving(tmp_path, LISTEN + OPEN) as site:
        assert (await site.get(OPEN_REPORT, **mark)).status == 404
        assert await site.is_empty()
        assert (await site.get(OPEN_REPORT)).outcome == "stored"


async def test_without_authentication_a_url_with_a_secret_is_unknown(tmp_path: Path) -> None:
    async with receiving(tmp_path, LISTEN + OPEN) as site:
        assert (await site.get(REPORT)).status == 404


async def test_without_authentication_a_test_of_the_url_says_that_none_is_needed(tmp_path: Path) -> None:
    async with receiving(tmp_path, LISTEN + OPEN) as site:
        assert b"it needs no secret" in (await site.get("/in/spryng/dlr")).body


async def test_with_a_secret_a_proxy_is_welcome(site: Site) -> None:
    assert (await site.get(REPORT, x_forwarded_for="192.0.2.1", via="1.1 proxy", version="1.0")).outcome == "stored"


THROUGH_PROXIES = {
    "the client's address": ("192.0.2.7", True),
    "another one": ("198.51.100.7", False),
    "the nearest that is no trusted proxy": ("198.51.100.7, 192.0.2.7, 127.0.0.1", True),
    "a spoofed one before the true one": ("192.0.2.7, 198.51.100.7", False),
    "a spoofed one, the true one and a proxy": ("192.0.2.7, 198.51.100.7, 127.0.0.1", False),
    "with a port": ("192.0.2.7:4711", True),
    "IPv6 in brackets": ("[2001:db8::1]:4711", True),
    "IPv6": ("2001:db8::1", True),
    "IPv4 in IPv6": ("::ffff:192.0.2.7", True),
    "quoted": ('"192.0.2.7"', True),
    "none at all": ("", False),
    "no address": ("unknown", False),
    "an obfuscated one": ("192.0.2.7, _hidden", False),
    "a unix socket": ("192.0.2.7, unix:", False),
    "nothing behind a spoofed one": ("192.0.2.7, ", False),
    "something with a NUL-like name": ("192.0.2.7%00", False),
    "only trusted proxies": ("127.0.0.1, ::1", False),
}


@pytest.mark.parametrize(("forwarded", "allowed"), THROUGH_PROXIES.values(), ids=THROUGH_PROXIES)
@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:http.sock"])
async def test_an_address_is_read_from_the_right_through_trusted_proxies(
    tmp_path: Path, listen: str, forwarded: str, allowed: bool
) -> None:
    server = f'[server]\nlisten = "{listen}"\nadmin_listen = ""\n'
    async with receiving(tmp_path, server + LISTED) as site:
        answer = await site.get(REPORT, x_forwarded_for=forwarded)
        assert answer.status == (200 if allowed else 404)
        assert await site.is_empty() is not allowed


async def test_several_headers_are_one_list(tmp_path: Path) -> None:
    async with receiving(tmp_path, LISTEN + LISTED) as site, site.client() as client:
        spoofed = b"X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 198.51.100.7\r\n"
        client.write(f"GET {REPORT} HTTP/1.1\r\nHost: x\r\n".encode() + spoofed + b"\r\n")
        assert (await client.answer()).status == 404


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "unix:http.sock"])
async def test_without_the_header_a_proxy_is_nobody(tmp_path: Path, listen: str) -> None:
    server = f'[server]\nlisten = "{listen}"\nadmin_listen = ""\n'
    async with receiving(tmp_path, server + LISTED) as site:
        assert (await site.get(REPORT)).status == 404


async def test_the_header_of_a_peer_that_is_no_trusted_proxy_is_not_believed(tmp_path: Path) -> None:
    server = LISTEN + 'trusted_proxies = ["192.0.2.0/24"]\n'
    allowed = LISTED.replace('"2001:db8::/32"', '"127.0.0.1"')
    async with receiving(tmp_path, server + allowed) as site:
        assert (await site.get(REPORT, x_forwarded_for="198.51.100.7")).outcome == "stored"


async def test_an_allowed_address_without_the_secret_is_a_stranger(tmp_path: Path) -> None:
    async with receiving(tmp_path, LISTEN + LISTED) as site:
        assert (await site.get(f"{OPEN_REPORT}", x_forwarded_for="192.0.2.7")).status == 404


async def test_addresses_alone_are_an_authentication(tmp_path: Path) -> None:
    listed = '[sources.spryng]\nprovider = "spryng"\nallow_from = ["192.0.2.0/24"]\n'
    async with receiving(tmp_path, LISTEN + listed) as site:
        assert (await site.get(OPEN_REPORT, x_forwarded_for="192.0.2.7")).outcome == "stored"
        assert (await site.get(OPEN_REPORT, x_forwarded_for="198.51.100.7")).status == 404
