"""Targets and mail servers: reached as the handlers would, by their rules; no event and no mail is sent."""

import socket
import ssl
from pathlib import Path

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult
from doctor_kit import Asked, answering, case
from mail_kit import Mailbox

from receiver.cli.doctor.finding import Finding
from receiver.cli.doctor.mail import mail
from receiver.cli.doctor.targets import names, targets

pytestmark = pytest.mark.anyio


def forward(url: str, *keys: str) -> str:
    return "\n".join(['[handlers.crm]\nuse = "forward"', f'url = "{url}"', *keys, ""])


async def reached(folder: Path, url: str, *keys: str) -> Finding:
    (found,) = await targets(case(folder, forward(url, *keys)))
    return found


async def test_a_target_that_takes_connections_is_fine_and_is_sent_nothing(tmp_path: Path) -> None:
    async with answering(b"") as server:
        found = await reached(tmp_path, f"http://127.0.0.1:{server.port}/sms")
    assert (found.state, found.about) == ("ok", "crm")
    assert server.heads == []


async def test_an_address_that_the_handler_would_refuse_is_refused_with_the_setting(tmp_path: Path) -> None:
    found = await reached(tmp_path, "http://10.0.0.1/sms")
    assert found.state == "problem"
    assert 'allow_private = ["10.0.0.1"]' in found.words


async def test_a_name_that_leads_into_the_machine_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(b"") as server:
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
        monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: here)
        found = await reached(tmp_path, f"http://crm.example.com:{server.port}/sms")
    assert "127.0.0.1 is not a public address" in found.words


async def test_a_certificate_is_checked_with_the_handlers_own_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with answering(b"", ssl=context) as server:
        url = f"https://127.0.0.1:{server.port}/sms"
        unknown, known = await reached(tmp_path, url), await reached(tmp_path, url, 'ca = "ca.pem"')
    assert (unknown.state, "certificate is not valid" in unknown.words) == ("problem", True)
    assert (known.state, "TLS valid" in known.words) == ("ok", True)


async def test_a_name_that_cannot_be_resolved_is_one_problem_and_not_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    asked = case(tmp_path, forward("https://crm.example.com/sms"), email(2525))
    assert [(one.state, one.words.split()[0]) for one in await names(asked)] == [
        ("problem", "crm.example.com"),
        ("problem", "localhost"),
    ]
    assert [one.state for one in [*await targets(asked), *await mail(asked)]] == ["skipped", "skipped"]


def email(port: int, tls: str = "none", *keys: str) -> str:
    smtp = ", ".join(['host = "localhost"', f"port = {port}", f'tls = "{tls}"', *keys])
    return f'[handlers.ops]\nuse = "email"\nsmtp = {{ {smtp} }}\nfrom = "a@example.com"\nto = ["b@example.com"]\n'


async def greeted(folder: Path, server: Asked, *keys: str, tls: str = "none") -> Finding:
    (found,) = await mail(case(folder, email(server.port, tls, *keys)))
    return found


async def smtp_server(mailbox: Mailbox, **how: object) -> tuple[object, Asked]:
    import asyncio

    loop, asked = asyncio.get_running_loop(), Asked()
    server = await loop.create_server(lambda: SMTP(mailbox, hostname="mx.test", **how), "127.0.0.1", 0)
    asked.port = server.sockets[0].getsockname()[1]
    return server, asked


async def test_a_mail_server_is_greeted_and_sent_no_mail(tmp_path: Path) -> None:
    mailbox = Mailbox()
    server, asked = await smtp_server(mailbox)
    found = await greeted(tmp_path, asked)
    server.close()  # type: ignore[attr-defined]
    assert (found.state, len(mailbox.sessions), mailbox.mails) == ("ok", 1, [])


async def test_a_mail_server_that_refuses_the_login_or_knows_no_starttls_is_told(tmp_path: Path) -> None:
    how = {"auth_require_tls": False, "authenticator": lambda *_: AuthResult(success=False, handled=False)}
    server, asked = await smtp_server(Mailbox(), **how)
    login = await greeted(tmp_path, asked, 'username = "ops"', 'password = "hunter2-hunter2"')
    starttls = await greeted(tmp_path, asked, tls="starttls")
    server.close()  # type: ignore[attr-defined]
    assert "refuses the login: 535" in login.words
    assert "hunter2" not in login.words + login.cure
    assert (starttls.state, "STARTTLS" in starttls.words) == ("problem", True)


async def test_nobody_taking_mail_is_told(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (found,) = await mail(case(tmp_path, email(free.getsockname()[1])))
    assert found.state == "problem"
    assert "[Errno" not in found.words
