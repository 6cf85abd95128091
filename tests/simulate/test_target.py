"""Where the simulator sends to."""

import pytest

from receiver.cli.simulate.target import from_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/in/spryng/dlr"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/in/spryng/dlr"),
        ("https://acme.example/sms/in/nl/mo/0123456789abcdef", "https://acme.example/sms/in/nl/dlr/0123456789abcdef"),
        ("http://[::1]:8080/in/nl/", "http://[::1]:8080/in/nl/dlr"),
    ],
)
def test_a_url_is_a_base_or_a_whole(url: str, expected: str) -> None:
    assert from_url(url, "spryng").url("dlr") == expected
