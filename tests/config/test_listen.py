"""Addresses to listen on."""

from pathlib import Path

import pytest

from receiver.config import Listen


@pytest.mark.parametrize(
    ("written", "host", "port", "local"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("[::1]:8080", "::1", 8080, True),
        ("localhost:0", "localhost", 0, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),
        ("[::]:80", "::", 80, False),
        ("sms.example.com:80", "sms.example.com", 80, False),
        ("unix:/run/x.sock", "", 0, True),
        ("", "", 0, True),
    ],
)
def test_an_address_knows_its_parts_and_who_can_reach_it(written: str, host: str, port: int, local: bool) -> None:
    listen = Listen.read(written, Path("/"))
    assert (listen.host, listen.port, listen.local) == (host, port, local)
    assert listen == written
