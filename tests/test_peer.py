"""Addresses are read from the right, through trusted proxies only; what cannot be read is nobody."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from receiver import peer

LOOPBACK = (ip_network("127.0.0.1/32"), ip_network("::1/128"))
TRUSTED = (*LOOPBACK, ip_network("10.0.0.0/8"))


def scope(client: str | None, *forwarded: str, unix: bool = False, version: str = "1.1") -> dict[str, Any]:
    return {
        "http_version": version,
        "client": (client, 40_000) if client else None,
        "server": ("/run/http.sock", None) if unix else ("127.0.0.1", 8080),
        "headers": [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded],
    }


@pytest.mark.parametrize(
    ("asked", "address"),
    [
        (scope("198.51.100.1"), "198.51.100.1"),
        (scope("198.51.100.1", "192.0.2.1"), "198.51.100.1"),
        (scope("127.0.0.1", "192.0.2.1"), "192.0.2.1"),
        (scope("127.0.0.1", "192.0.2.1, 198.51.100.1"), "198.51.100.1"),
        (scope("127.0.0.1", "192.0.2.1, 198.51.100.1,10.1.2.3"), "198.51.100.1"),
        (scope("127.0.0.1", "192.0.2.1", "198.51.100.1"), "198.51.100.1"),
        (scope("::1", "2001:db8::1"), "2001:db8::1"),
        (scope("::ffff:127.0.0.1", "192.0.2.1"), "192.0.2.1"),
        (scope(None, "192.0.2.1", unix=True), "192.0.2.1"),
        (scope(None, "192.0.2.1, 10.0.0.1", unix=True), "192.0.2.1"),
        (scope("127.0.0.1"), "127.0.0.1"),
        (scope("127.0.0.1", "10.0.0.1, 10.0.0.2"), "10.0.0.1"),
        (scope(None, unix=True), None),
        (scope(None, "192.0.2.1"), None),
        (scope("127.0.0.1", "192.0.2.1, unknown"), None),
        (scope("127.0.0.1", "192.0.2.1, "), None),
        (scope("127.0.0.1", "192.0.2.1", ""), None),
        (scope("127.0.0.1", "192.0.2.1, unix:"), None),
        (scope("127.0.0.1", "192.0.2.1, 192.0.2.300"), None),
    ],
)
def test_a_client_is_the_nearest_address_that_is_no_trusted_proxy(asked: dict[str, Any], address: str | None) -> None:
    found = peer.client_address(asked, TRUSTED)
    assert found == (ip_address(address) if address else None)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1 ", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ('"[2001:db8::1]:80"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("", None),
        ("192.0.2", None),
        ("0x7f000001", None),
        ("2130706433", None),
        ("192.0.2.01", None),
        ("localhost", None),
        ("for=192.0.2.1", None),
        ("192.0.2.1\0", None),
        ("١٢٧.0.0.1", None),
    ],
)
def test_an_address_is_read_as_proxies_write_it(text: str, address: str | None) -> None:
    assert peer.parse(text) == (ip_address(address) if address else None)


@pytest.mark.parametrize("name", [b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-port"])
def test_a_proxy_is_known_by_its_headers(name: bytes) -> None:
    asked = scope("127.0.0.1") | {"headers": [(b"host", b"x"), (name, b"")]}
    assert peer.came_through_proxy(asked)


def test_a_proxy_is_known_by_its_age() -> None:
    assert peer.came_through_proxy(scope("127.0.0.1", version="1.0"))


def test_other_headers_are_no_proxy() -> None:
    asked = scope("127.0.0.1") | {"headers": [(b"host", b"x"), (b"x-forward", b""), (b"viable", b"")]}
    assert not peer.came_through_proxy(asked)


def test_networks_of_the_other_family_hold_nobody() -> None:
    assert not peer.is_in(ip_address("2001:db8::1"), (ip_network("0.0.0.0/0"),))
