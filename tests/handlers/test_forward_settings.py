"""The settings of forward, and what is said about wrong ones."""

from typing import Any

import pytest
from forward_kit import OTHER, SECRET
from pydantic import ValidationError
from receiver.handlers.forward import Forward


def fault(**keys: Any) -> str:
    """What is said about these settings."""
    with pytest.raises(ValidationError) as caught:
        Forward.Settings.model_validate(
            {"use": "forward", "url": "https://x.example", **keys}, context={"secrets": True}
        )
    return str(caught.value)


@pytest.mark.parametrize("secret", ["hunter2hunter2", "whsec_", "whsec_hunter2***", "WHSEC_aHVudGVyMg=="])
def test_a_secret_that_is_none_is_a_fault_and_not_shown(secret: str) -> None:
    said = fault(secret=secret)
    assert "whsec_ and base64" in said
    assert "unter2" not in said


def test_three_secrets_are_a_fault() -> None:
    assert "at most 2" in fault(secret=[SECRET, OTHER, SECRET])


@pytest.mark.parametrize(
    "url", ["crm.example.com", "ftp://x.example", "http://", "https://x:99999/", "https://x y/", "https://x\\y/", ""]
)
def test_a_url_that_is_none_is_a_fault(url: str) -> None:
    assert "url" in fault(url=url)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1"])
def test_an_abbreviated_address_in_the_url_is_a_fault(host: str) -> None:
    assert "four decimal numbers" in fault(url=f"http://{host}/")


def test_a_password_in_the_url_is_a_fault() -> None:
    said = fault(url="https://me:hunter2@x.example/")
    assert "authorization" in said
    assert "hunter2" not in said


def test_link_local_cannot_be_allowed() -> None:
    assert "never called" in fault(allow_private=["169.254.169.254/32"])


@pytest.mark.parametrize("headers", [{"Webhook-Id": "1"}, {"host": "x"}, {"a b": "1"}, {"a": "b\r\nc: d"}])
def test_headers_cannot_forge_ours_or_each_other(headers: dict[str, str]) -> None:
    assert "headers" in fault(headers=headers)


def test_settings_are_valid_without_their_secrets() -> None:
    keys = {"use": "forward", "url": "https://x.example", "secret": {"file": "/nowhere"}, "ca": "/nowhere"}
    settings = Forward.Settings.model_validate(keys)
    assert settings.warnings() == []


def test_http_to_elsewhere_is_warned_about() -> None:
    settings = Forward.Settings(use="forward", url="http://crm.example.com/")
    assert "events travel unencrypted: the url is http" in settings.warnings()


def test_a_short_secret_is_warned_about() -> None:
    keys = {"use": "forward", "url": "https://x.example", "secret": "whsec_c2hvcnQ="}
    settings = Forward.Settings.model_validate(keys, context={"secrets": True})
    assert settings.warnings() == ["the secret is short: Standard Webhooks asks for 24 bytes or more"]
