"""Email and its server: TLS, a login, and every kind of refusal."""

import asyncio
import socket
import ssl
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from mail_kit import Mailbox, Serve, keys
from receiver.handlers.email import Email
from structlog.testing import capture_logs

from receiver import Attempt, DeliveryReport, Discard, Unavailable

pytestmark = pytest.mark.anyio


# -- TLS and AUTH


def login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any) -> AuthResult:
    return AuthResult(success=(given.login, given.password) == (b"me", b"right"), handled=False)


async def test_starttls_with_a_login(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    mailbox = await serve(tls_context=tls, require_starttls=True, authenticator=login, auth_required=True)
    smtp = {"tls": "starttls", "username": "me", "password": "right", "ca": "ca.pem"}
    handler = await opened(Email, **keys(mailbox, smtp=smtp))
    assert await handler.handle_batch([dlr], attempt) == {dlr.id: None}
    assert mailbox.sessions[-1].ssl is not None


async def test_tls_from_the_start(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    mailbox = await serve(implicit_tls=tls)
    handler = await opened(Email, **keys(mailbox, smtp={"tls": "tls", "ca": "ca.pem"}))
    assert await handler.handle_batch([dlr], attempt) == {dlr.id: None}
    assert len(mailbox.mails) == 1


@pytest.mark.parametrize("mode", ["tls", "starttls"])
async def test_a_certificate_nobody_vouches_for_is_unavailable(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext, mode: str
) -> None:
    mailbox = await serve(**({"implicit_tls": tls} if mode == "tls" else {"tls_context": tls}))
    verdict = await refusal(await opened(Email, **keys(mailbox, smtp={"tls": mode})), dlr, attempt)
    assert type(verdict) is Unavailable
    assert "certificate" in verdict.reason.lower()
    assert mailbox.mails == []


async def test_a_server_without_starttls_gets_nothing(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    verdict = await refusal(await opened(Email, **keys(mailbox, smtp={"tls": "starttls"})), dlr, attempt)
    assert type(verdict) is Unavailable
    assert "STARTTLS" in verdict.reason
    assert mailbox.mails == []


async def test_a_wrong_password_is_a_dead_letter(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    mailbox = await serve(tls_context=tls, authenticator=login, auth_required=True)
    smtp = {"tls": "starttls", "username": "me", "password": "wrong", "ca": "ca.pem"}
    verdict = await refusal(await opened(Email, **keys(mailbox, smtp=smtp)), dlr, attempt)
    assert type(verdict) is Discard
    assert verdict.reason.startswith("535")


# -- refusals


async def refusal(handler: Email, event: Any, attempt: Attempt) -> Any:
    """The verdict on a single event."""
    verdicts = await asyncio.wait_for(handler.handle_batch([event], attempt), 5)
    return verdicts[event.id]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"sender": "451 later"}, Unavailable),
        ({"sender": "550 not you"}, Discard),
        ({"recipients": {"ops@example.com": "450 greylisted"}}, Unavailable),
        ({"recipients": {"ops@example.com": "550 no such user"}}, Discard),
        ({"taken": ["452 disk full"]}, Unavailable),
        ({"taken": ["554 spam"]}, Discard),
        ({"taken": ["421 going down"]}, Unavailable),
    ],
)
async def test_4xx_is_tried_again_and_5xx_is_a_dead_letter(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, how: dict[str, Any], expected: type
) -> None:
    verdict = await refusal(await opened(Email, **keys(await serve(**how))), dlr, attempt)
    assert type(verdict) is expected
    assert verdict.reason.isprintable()


async def test_when_one_recipient_took_it_the_mail_is_sent(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve(recipients={"gone@example.com": "550 no such user"})
    handler = await opened(Email, **keys(mailbox, to=["gone@example.com", "ops@example.com"]))
    with capture_logs() as logged:
        assert await refusal(handler, dlr, attempt) is None
    assert [(line["event"], line["recipient"]) for line in logged] == [("recipient_refused", "gone@example.com")]
    assert mailbox.envelopes[0].rcpt_tos == ["ops@example.com"]


@pytest.mark.parametrize(("second", "expected"), [("451 later", Unavailable), ("551 not here", Discard)])
async def test_when_all_recipients_refuse_one_later_is_enough_to_try_again(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, second: str, expected: type
) -> None:
    mailbox = await serve(recipients={"a@example.com": "550 no", "b@example.com": second})
    handler = await opened(Email, **keys(mailbox, to=["a@example.com", "b@example.com"]))
    assert type(await refusal(handler, dlr, attempt)) is expected


async def test_no_server_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        mailbox = Mailbox(port=nobody.getsockname()[1])
    assert type(await refusal(await opened(Email, **keys(mailbox)), dlr, attempt)) is Unavailable


@pytest.mark.parametrize("command", ["MAIL", "DATA"])
async def test_a_tarpit_is_unavailable(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt, command: str
) -> None:
    mailbox = await serve(hang=command)
    verdict = await refusal(await opened(Email, **keys(mailbox, timeout="200ms")), dlr, attempt)
    assert type(verdict) is Unavailable
    assert "within 0.2 s" in verdict.reason


async def test_a_server_that_takes_its_time_at_every_step_is_unavailable(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve(pace=0.05)
    to = [f"{number}@example.com" for number in range(10)]
    handler = await opened(Email, **keys(mailbox, timeout="200ms", to=to))
    assert type(await refusal(handler, dlr, attempt)) is Unavailable


async def test_a_server_that_hangs_at_the_end_has_taken_the_mail(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve(hang="QUIT")
    assert await refusal(await opened(Email, **keys(mailbox, timeout="200ms")), dlr, attempt) is None


async def test_what_was_sent_before_the_time_was_up_is_not_sent_again(
    opened: Any, serve: Serve, dlr: DeliveryReport, failed: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    taken = mailbox.handle_DATA

    async def then_hang(*asked: Any) -> str:
        mailbox.hang = "MAIL"
        return await taken(*asked)

    mailbox.handle_DATA = then_hang  # type: ignore[method-assign]
    handler = await opened(Email, **keys(mailbox, timeout="300ms"))
    verdicts = await handler.handle_batch([dlr, failed], attempt)
    assert verdicts[dlr.id] is None
    assert type(verdicts[failed.id]) is Unavailable
