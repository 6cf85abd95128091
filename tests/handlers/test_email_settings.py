"""The settings of email, and what is said about wrong ones."""

from pathlib import Path
from typing import Any

import pytest
from mail_kit import Mailbox, keys
from pydantic import ValidationError
from receiver.handlers.email import Email


def fault(**more: Any) -> str:
    """What is said about these settings."""
    with pytest.raises(ValidationError) as caught:
        Email.Settings.model_validate({"use": "email", **keys(Mailbox(port=25)), **more}, context={"secrets": True})
    return str(caught.value)


@pytest.mark.parametrize(
    "to", ["ops", "@example.com", "ops@", "a@b.c, d@e.f", "ops@example.com\r\nBcc: x@y.z", "é@x.y", ""]
)
def test_an_address_that_is_none_is_a_fault(to: str) -> None:
    assert "is no mail address" in fault(to=[to])


def test_a_mail_to_nobody_is_a_fault() -> None:
    assert "to" in fault(to=[])


def test_a_broken_subject_is_a_fault() -> None:
    assert "subject, line 1" in fault(subject="{{ event.id ")


def test_a_broken_or_missing_template_is_a_fault(tmp_path: Path) -> None:
    broken = tmp_path / "mail.txt.j2"
    broken.write_text("\n{% endfor %}")
    assert "mail.txt.j2, line 2" in fault(template=str(broken))
    assert "cannot read" in fault(template=str(tmp_path / "none"))


def test_a_username_without_a_password_is_a_fault() -> None:
    assert "go together" in fault(smtp={"host": "x", "username": "me"})


def test_the_defaults_are_those_of_mail() -> None:
    settings = Email.Settings.model_validate({"use": "email", **keys(Mailbox(port=25)), "batch_wait": "5m"})
    assert (settings.timeout.total_seconds(), settings.batch) == (30, 10_000)


def test_without_batch_wait_a_call_is_one_event_unless_it_is_said_otherwise() -> None:
    plain = {"use": "email", **keys(Mailbox(port=25))}
    assert Email.Settings.model_validate(plain).batch == 1
    assert Email.Settings.model_validate({**plain, "batch": 50}).batch == 50


def test_settings_are_valid_without_their_secrets() -> None:
    smtp = {"username": "me", "password": {"file": "/nowhere"}, "ca": "/nowhere"}
    Email.Settings.model_validate({"use": "email", **keys(Mailbox(port=25)), "smtp": smtp, "template": "/nowhere"})


@pytest.mark.parametrize(
    ("smtp", "said"),
    [
        ({"host": "mx.example.com", "tls": "none"}, ["mails travel unencrypted: smtp.tls is none"]),
        ({"host": "localhost", "tls": "none"}, []),
        ({"host": "mx.example.com"}, []),
    ],
)
def test_unencrypted_mail_to_elsewhere_is_warned_about(smtp: dict[str, str], said: list[str]) -> None:
    settings = Email.Settings.model_validate({"use": "email", **keys(Mailbox(port=25)), "smtp": smtp})
    assert settings.warnings() == said
