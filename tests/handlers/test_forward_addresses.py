"""Forward and the addresses it may call."""

import socket
from ipaddress import ip_network
from typing import Any

import pytest
from forward_kit import NO_CONTENT, verdict
from http_target import listening
from receiver.handlers.forward import AddressRefused, Forward, Guard

from receiver import Attempt, DeliveryReport, Retry

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_a_name_that_leads_to_a_private_address_is_not_called(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]], addresses: list[str]
) -> None:
    resolves["crm.test"] = addresses
    async with listening(NO_CONTENT) as target:
        got = await verdict(await opened(Forward, url=f"http://crm.test:{target.port}/"), dlr, attempt)
    assert type(got) is Retry
    assert "127.0.0.1 is not a public address" in got.reason
    assert 'allow_private = ["127.0.0.1"]' in got.reason
    assert target.connections == 0


async def test_allow_private_opens_what_it_names(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]]
) -> None:
    resolves["crm.test"] = ["127.0.0.1"]
    async with listening(NO_CONTENT) as target:
        url = f"http://crm.test:{target.port}/"
        assert await (await opened(Forward, url=url, allow_private=["127.0.0.0/8"])).handle(dlr, attempt) == "204"
        assert type(await verdict(await opened(Forward, url=url, allow_private=["10.0.0.0/8"]), dlr, attempt)) is Retry


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_literal_loopback_of_the_url_is_called(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, host: str
) -> None:
    async with listening(NO_CONTENT) as target:
        assert await (await opened(Forward, url=f"http://{host}:{target.port}/")).handle(dlr, attempt) == "204"


@pytest.mark.parametrize("url", ["http://[::ffff:10.0.0.1]:9/", "http://10.0.0.1:9/", "http://[fd00::1]:9/"])
async def test_a_private_address_in_the_url_is_refused(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, url: str
) -> None:
    got = await verdict(await opened(Forward, url=url), dlr, attempt)
    assert type(got) is Retry
    assert "is not a public address" in got.reason


async def test_metadata_is_never_called(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    handler = await opened(Forward, url="http://169.254.169.254/latest", allow_private=["0.0.0.0/0", "::/0"])
    got = await verdict(handler, dlr, attempt)
    assert type(got) is Retry
    assert "never called" in got.reason


PRIVATE = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "192.0.2.1", "240.0.0.1", "255.255.255.255",
    "::1", "fd00::1", "fec0::1", "2001:db8::1", "::ffff:192.168.1.1", "::10.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::a00:1", "2002:0a00:0001::",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "fe80::1", "fe80::1%lo", "0.0.0.0", "::", "224.0.0.1", "ff0e::1", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254", "100.100.100.200", "192.0.0.192",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"]
EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


def connects(guard: Guard, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        guard((family, socket.SOCK_STREAM, 0, "", (address, 443))).close()
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_called_only_where_allowed(address: str) -> None:
    assert not connects(Guard("crm.example.com", []), address)
    assert connects(Guard("crm.example.com", EVERYTHING), address)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_called_by_no_setting(address: str) -> None:
    assert not connects(Guard("crm.example.com", EVERYTHING), address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    assert connects(Guard("crm.example.com", []), address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_url_reaches_loopback_and_nothing_else(host: str) -> None:
    assert connects(Guard(host, EVERYTHING), "127.0.0.1")
    assert not connects(Guard(host, EVERYTHING), "1.1.1.1")
    assert not connects(Guard(host, EVERYTHING), "10.0.0.1")
