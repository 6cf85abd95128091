"""Email against a real SMTP server, with TLS, AUTH and every kind of refusal."""

# ruff: noqa: N802 - aiosmtpd looks for methods of these names
import asyncio
import email
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from pydantic import ValidationError
from receiver.handlers.email import Email
from structlog.testing import capture_logs

from receiver import Attempt, DeliveryReport, Discard, InboundMessage, Notice, Unavailable

pytestmark = pytest.mark.anyio


@dataclass
class Mailbox:
    """What a server took, and its answers to each command where they are not the usual ones."""

    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    sender: str = ""
    recipients: dict[str, str] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    hang: str = ""
    pace: float = 0.0
    port: int = 0

    async def handle_EHLO(self, server: SMTP, session: Session, envelope: Envelope, name: str, said: list[str]) -> Any:
        session.host_name = name
        self.sessions.append(session)
        return said

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        await self._tarpit("MAIL")
        envelope.mail_from = address
        return self.sender or "250 OK"

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        await asyncio.sleep(self.pace)
        answer = self.recipients.get(address, "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.taken.pop(0) if self.taken else "250 OK"
        if answer.startswith("250"):
            self.envelopes.append(envelope)
            self.mails.append(email.message_from_bytes(envelope.content, policy=default))  # type: ignore[arg-type]
        await self._tarpit("DATA")
        return answer

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await self._tarpit("QUIT")
        return "221 Bye"

    async def _tarpit(self, command: str) -> None:
        if self.hang == command:
            await asyncio.Event().wait()


Serve = Callable[..., Awaitable[Mailbox]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(…)`: a server on a free loopback port, stopped after the test."""
    servers = []

    async def start(implicit_tls: ssl.SSLContext | None = None, **how: Any) -> Mailbox:
        mailbox = Mailbox(
            **{name: how.pop(name) for name in ("sender", "recipients", "taken", "hang", "pace") if name in how}
        )
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(mailbox, hostname="mx.test", **how), "127.0.0.1", 0, ssl=implicit_tls
        )
        servers.append(server)
        mailbox.port = server.sockets[0].getsockname()[1]
        return mailbox

    yield start
    for server in servers:
        server.close()


def keys(mailbox: Mailbox, **more: Any) -> dict[str, Any]:
    """The settings of a handler that mails there."""
    smtp = {"host": "127.0.0.1", "port": mailbox.port, "tls": "none", **more.pop("smtp", {})}
    return {"smtp": smtp, "from": "receiver@example.com", "to": ["ops@example.com"], **more}


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


# -- what is sent


async def test_one_event_is_one_mail(opened: Any, serve: Serve, failed: DeliveryReport, attempt: Attempt) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, **{"from": "Receiver <receiver@example.com>"}))
    assert await handler.handle_batch([failed], attempt) == {failed.id: None}
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[receiver] failed to +31*******78: order-42"
    assert (mail["From"], mail["To"]) == ("Receiver <receiver@example.com>", "ops@example.com")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mailbox.envelopes[0].mail_from == "receiver@example.com"


async def test_the_text_says_what_happened(
    opened: Any, serve: Serve, failed: DeliveryReport, mo: InboundMessage, notice: Notice, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox))
    await handler.handle_batch([failed, mo, notice], attempt)
    report, message, word = (mail.get_content().replace("\r\n", "\n") for mail in mailbox.mails)
    assert "spryng  failed to +31612345678 (unreachable)" in report
    assert f"reference order-42  message 91646b0b  event {failed.id}" in report
    assert "+31612345678 to +31970001122\n    PARKEN geheim\n" in message
    assert f"receiver  warning\n    {notice.text}\n" in word
    assert mailbox.mails[2]["Subject"] == f"[receiver] {notice.text}"


async def test_without_batch_wait_each_event_is_a_mail_with_its_own_verdict(
    opened: Any, serve: Serve, dlr: DeliveryReport, failed: DeliveryReport, mo: InboundMessage, attempt: Attempt
) -> None:
    mailbox = await serve(taken=["250 OK", "554 spam", "250 OK"])
    verdicts = await (await opened(Email, **keys(mailbox))).handle_batch([dlr, failed, mo], attempt)
    assert [type(verdicts[event.id]) for event in (dlr, failed, mo)] == [type(None), Discard, type(None)]
    assert len(mailbox.sessions) == 1  # over one connection


async def test_with_batch_wait_all_events_are_one_mail(
    opened: Any, serve: Serve, dlr: DeliveryReport, failed: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, batch_wait="5m"))
    assert await handler.handle_batch([dlr, failed], attempt) == {dlr.id: None, failed.id: None}
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[receiver] 2 events"
    assert dlr.id in mail.get_content()
    assert failed.id in mail.get_content()


async def test_ten_thousand_events_fit_into_one_mail(
    opened: Any, serve: Serve, failed: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, batch_wait="5m"))
    events = [replace(failed, id=f"id-{number}") for number in range(10_000)]
    assert set((await handler.handle_batch(events, attempt)).values()) == {None}
    assert mailbox.mails[0].get_content().count("failed to") == 10_000


async def test_a_mail_sent_again_has_the_same_message_id_and_a_replay_another(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox))
    for each in (attempt, replace(attempt, number=2), replace(attempt, replay=1)):
        await handler.handle_batch([dlr], each)
    assert [mail["Message-ID"] for mail in mailbox.mails] == [
        f"<{dlr.id}@example.com>",
        f"<{dlr.id}@example.com>",
        f"<{dlr.id}.1@example.com>",
    ]


async def test_a_batch_sent_again_has_the_same_message_id(
    opened: Any, serve: Serve, dlr: DeliveryReport, failed: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, batch_wait="5m"))
    for events in ([dlr, failed], [dlr, failed], [dlr], [failed]):
        await handler.handle_batch(events, attempt)
    names = [mail["Message-ID"] for mail in mailbox.mails]
    assert names[0] == names[1]
    assert len(set(names)) == 3


# -- templates


async def test_subject_and_text_come_from_templates(
    opened: Any, serve: Serve, mo: InboundMessage, attempt: Attempt, tmp_path: Path
) -> None:
    (tmp_path / "mail.txt.j2").write_text("{{ handler }}: {{ event.originator|mask }} {{ event.received_at|local }}\n")
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, subject="{{ event.text }} ✓", template="mail.txt.j2"))
    await handler.handle_batch([mo], attempt)
    assert mailbox.mails[0]["Subject"] == "PARKEN geheim ✓"
    assert mailbox.mails[0].get_content().startswith("x: +31*******78 2025-02-20 ")


@pytest.mark.parametrize(
    "evil",
    [
        "hi\r\nBcc: victim@example.com",
        "hi\n\nbody",
        "hi\x00\x1b[2J",
        "hi\u2028Bcc: a@b.c\u0085",
        "hi\r\n.\r\nMAIL FROM:<a@b>",
    ],
)
async def test_no_text_can_add_a_header(
    opened: Any, serve: Serve, mo: InboundMessage, attempt: Attempt, evil: str
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, subject="new: {{ event.text }}"))
    event = replace(mo, text=evil, originator=evil, recipient=evil)
    assert await handler.handle_batch([event], attempt) == {mo.id: None}
    (mail,) = mailbox.mails
    assert mail["Subject"].startswith("new: hi")
    assert "Bcc" not in mail
    assert mailbox.envelopes[0].rcpt_tos == ["ops@example.com"]
    assert len(mail.keys()) == len(set(mail.keys())) == 9


async def test_no_text_can_pass_for_another_event(
    opened: Any, serve: Serve, mo: InboundMessage, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox))
    forged = "x\nFORGED failed to +316\r.\nFORGED"
    await handler.handle_batch([replace(mo, text=forged), replace(dlr, reference=forged)], attempt)
    assert not [line for mail in mailbox.mails for line in mail.get_content().splitlines() if line.startswith("FORGED")]


async def test_a_long_subject_is_cut(opened: Any, serve: Serve, mo: InboundMessage, attempt: Attempt) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, subject="{{ event.text }}"))
    await handler.handle_batch([replace(mo, text="é" * 5000)], attempt)
    assert mailbox.mails[0]["Subject"] == "é" * 200


async def test_a_template_that_fails_is_a_dead_letter_with_its_reason(
    opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt
) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, subject="{{ 1 / 0 }}"))
    verdict = (await handler.handle_batch([dlr], attempt))[dlr.id]
    assert type(verdict) is Discard
    assert "ZeroDivisionError" in verdict.reason


async def test_templates_are_sandboxed(opened: Any, serve: Serve, dlr: DeliveryReport, attempt: Attempt) -> None:
    mailbox = await serve()
    handler = await opened(Email, **keys(mailbox, subject="{{ event.__class__.__mro__ }}"))
    verdict = (await handler.handle_batch([dlr], attempt))[dlr.id]
    assert type(verdict) is Discard
    assert "SecurityError" in verdict.reason


async def test_a_template_that_cannot_be_read_any_more_says_so_when_opened(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "mail.txt.j2").write_text("{{ event.id }}")
    settings = Email.Settings.model_validate(
        {"use": "email", **keys(Mailbox(port=25)), "template": "mail.txt.j2"}, context={"folder": tmp_path}
    )
    (tmp_path / "mail.txt.j2").write_text("{% if %}")
    with pytest.raises(ValueError, match=r"mail\.txt\.j2, line 1"):
        await Email("x", settings, None).open()


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


# -- settings


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
