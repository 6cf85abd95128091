"""Mail: each SMTP server takes a connection, STARTTLS and the login, as the handler `email` would. No mail is sent."""

import asyncio
import re
import ssl
from importlib import import_module
from typing import Any

import aiosmtplib

from receiver.cli.doctor.case import Case
from receiver.cli.doctor.dial import PATIENCE
from receiver.cli.doctor.finding import Finding, ok, problem, skipped

CHECK = "mail"
email: Any = import_module("receiver.handlers.email")  # installed there from handlers/, where no type checker looks
LONGEST = 160
ERRNO = re.compile(r"\[Errno -?\d+\] |\('[^)]*\)")


async def mail(case: Case) -> list[Finding]:
    """Every server that an `email` handler names."""
    if case.only:
        return []
    chosen = {name: own.smtp for name, own in case.handlers.items() if isinstance(own, email.Email.Settings)}
    return list(await asyncio.gather(*(_server(case, name, server) for name, server in chosen.items())))


async def _server(case: Case, name: str, server: Any) -> Finding:
    try:
        await case.addresses(server.host, server.port or email.PORTS[server.tls])
    except OSError:
        return skipped(CHECK, f"{server.where}: not tried, its name cannot be resolved", name)
    if server.username and not case.secrets:
        return skipped(CHECK, f"{server.where}: not tried, the password is a credential of the unit", name)
    try:
        await _greet(server)
    except aiosmtplib.SMTPAuthenticationError as fault:
        return problem(CHECK, f"{server.where} refuses the login: {fault.code} {_said(fault)}", _cure(server), name)
    except ssl.SSLCertVerificationError as fault:
        cure = "another name or authority than its certificate's? smtp = { host, ca } name them"
        return problem(CHECK, f"{server.where}: the certificate is not valid: {fault.verify_message}", cure, name)
    except (aiosmtplib.SMTPException, OSError) as fault:
        return problem(CHECK, f"{server.where}: {_said(fault)}", _cure(server), name)
    did = {"starttls": " · STARTTLS", "tls": " · TLS", "none": ""}[server.tls] + (" · login" if server.username else "")
    return ok(CHECK, f"{server.where} answers{did}; no mail was sent", name)


async def _greet(server: Any) -> None:
    """Connect, encrypt, log in, part."""
    tls = ssl.create_default_context()
    if server.ca:
        tls.load_verify_locations(server.ca)
    smtp = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port or email.PORTS[server.tls],
        username=server.username,
        password=server.password,
        use_tls=server.tls == "tls",
        start_tls=server.tls == "starttls",
        tls_context=tls,
        timeout=PATIENCE,
    )
    try:
        await smtp.connect()
        await smtp.ehlo()
        await smtp.quit(timeout=1)
    finally:
        smtp.close()


def _said(fault: Exception) -> str:
    if isinstance(fault, aiosmtplib.SMTPConnectError):
        return ERRNO.sub("", str(fault))[:LONGEST].strip().lower()
    return str(email.one_line(str(getattr(fault, "message", "") or fault)))[:LONGEST]


def _cure(server: Any) -> str:
    return f'smtp = {{ host, port, tls = "{server.tls}", username, password }} say how it is asked'
