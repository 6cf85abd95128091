"""Email: what it sends to a real SMTP server, and the templates of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mail_kit import Mailbox, Serve, keys
from receiver.handlers.email import Email

from receiver import Attempt, DeliveryReport, Discard, InboundMessage, Notice

pytestmark = pytest.mark.anyio


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
