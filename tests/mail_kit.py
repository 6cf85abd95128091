"""A real SMTP server on a loopback port that keeps what it takes and answers as it is told."""

# ruff: noqa: N802 - aiosmtpd looks for methods of these names
import asyncio
import email
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session


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


def keys(mailbox: Mailbox, **more: Any) -> dict[str, Any]:
    """The settings of a handler that mails there."""
    smtp = {"host": "127.0.0.1", "port": mailbox.port, "tls": "none", **more.pop("smtp", {})}
    return {"smtp": smtp, "from": "receiver@example.com", "to": ["ops@example.com"], **more}
