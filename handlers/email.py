"""Email: one mail per event, or with `batch_wait` one for all of an interval, from Jinja2 templates."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.utils import format_datetime, getaddresses, parseaddr
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import aiosmtplib
import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from receiver import Attempt, BaseHandler, DeliveryReport, Discard, Event, InboundMessage, Secret, Unavailable

PORTS = {"starttls": 587, "tls": 465, "none": 25}
OWN_TIME = 0.9
"""The part of `timeout` after which we give up ourselves, so that what was sent by then is known."""
FAREWELL = 1.0
"""Seconds for a QUIT: by then each mail has its verdict, how we part changes none."""
LONGEST_SUBJECT = 200

SUBJECT = "[receiver] {% if events|length > 1 %}{{ events|length }} events{% else %}{{ event|headline }}{% endif %}"
TEXT = """\
{% for event in events -%}
{{ (event.occurred_at or event.received_at)|local }}  {{ event.source or "receiver" }}  {# -#}
{% if event.kind == "dlr" -%}
{{ event.status }} to {{ event.recipient or "?" }}{% if event.reason %} ({{ event.reason }}){% endif %}
  {% if event.reference %}reference {{ event.reference }}  {% endif -%}
  {% if event.message_id %}message {{ event.message_id }}  {% endif -%}
  event {{ event.id }}
{% elif event.kind == "mo" -%}
{{ event.originator or "?" }} to {{ event.recipient or "?" }}{% if event.opt_out %} (opt-out){% endif %}
{{ event.text|quote }}
  event {{ event.id }}
{% else -%}
{{ event.level }}{% if event.state == "closed" %}, over{% endif %}
{{ event.text|quote }}
{% endif %}
{% endfor -%}
"""


class Quoted(str):
    """A text of several lines, indented so that none of them can pass for one of ours."""

    __slots__ = ()


def one_line(text: str) -> str:
    """The text with control characters, line ends and invisible characters as spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def quote(text: object) -> Quoted:
    """Filter: each line indented, without control characters."""
    return Quoted("\n".join(f"    {one_line(line)}".rstrip() for line in str(text).splitlines()) or "    (no text)")


def mask(number: str | None) -> str:
    """Filter: first three and last two characters, `+31*******78`; a short one is hidden whole."""
    if not number:
        return "?"
    hidden = max(len(number) - 5, 0)
    return number[:3] + "*" * hidden + number[-2:] if hidden else "*" * len(number)


def local(moment: datetime) -> str:
    """Filter: a time as the clock on the wall shows it."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def headline(event: Event) -> str:
    """Filter: the event in a few words, numbers masked: subjects are shown on locked screens."""
    if isinstance(event, DeliveryReport):
        named = f": {event.reference}" if event.reference else ""
        return f"{event.status} to {mask(event.recipient)}{named}"
    if isinstance(event, InboundMessage):
        return f"message from {mask(event.originator)} to {event.recipient or '?'}"
    over = "over: " if getattr(event, "state", "") == "closed" else ""
    return over + str(getattr(event, "text", event.id))


def _printed(value: Any) -> Any:
    """What a template prints: nothing for None, one line for a value, several only through `quote`."""
    if value is None:
        return ""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Quoted) else value


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(finalize=_printed, keep_trailing_newline=True)
    environment.filters.update(headline=headline, local=local, mask=mask, quote=quote)
    return environment


TEMPLATES = _environment()


def _compiled(source: str, name: str) -> jinja2.Template:
    """The template, or a ValueError that names the line."""
    try:
        return TEMPLATES.from_string(source)
    except jinja2.TemplateSyntaxError as fault:
        raise ValueError(f"{name}, line {fault.lineno}: {fault.message}") from None


def _subject(source: str) -> str:
    _compiled(source, "subject")
    return source


def _found(path: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the configuration file."""
    return Path((info.context or {}).get("folder") or Path.cwd()) / path


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "is not UTF-8 text"
        raise ValueError(f"cannot read {path}: {reason}") from None


def _ca(path: Path, info: ValidationInfo) -> Path:
    path = _found(path, info)
    if (info.context or {}).get("secrets"):  # commands that read no secret may run as somebody who may not read this
        _read(path)
    return path


def _template(path: Path, info: ValidationInfo) -> Path:
    path = _found(path, info)
    if (info.context or {}).get("secrets"):
        _compiled(_read(path), str(path))
    return path


def _address(text: str) -> str:
    """One mailbox: "ops@example.com" or "Operations <ops@example.com>"."""
    found = getaddresses([text])
    user, at, domain = found[0][1].rpartition("@") if len(found) == 1 else ("", "", "")
    if not (user and at and domain) or not text.isprintable() or not (user + domain).isascii() or " " in user + domain:
        raise ValueError(f'"{text}" is no mail address; write ops@example.com or "Operations <ops@example.com>"')
    return text


class Smtp(BaseModel):
    """The keys of `smtp`: the server that takes the mail."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    host: str = "localhost"
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """None: 587 for starttls, 465 for tls, 25 for none."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    ca: Annotated[Path, AfterValidator(_ca)] | None = None
    """A file with further certificate authorities (PEM)."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "Smtp":
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together")
        return self

    @property
    def where(self) -> str:
        """host:port"""
        return f"{self.host}:{self.port or PORTS[self.tls]}"


class Email(BaseHandler):
    """Mails events. A refusal for good (5xx) is a dead letter; anything temporary counts against the server."""

    class Settings(BaseHandler.Settings):
        """The keys of an `email` handler."""

        smtp: Smtp
        sender: Annotated[str, AfterValidator(_address)] = Field(alias="from")
        to: Annotated[list[Annotated[str, AfterValidator(_address)]], Field(min_length=1)]
        subject: Annotated[str, AfterValidator(_subject)] = SUBJECT
        template: Annotated[Path, AfterValidator(_template)] | None = None
        timeout: timedelta = timedelta(seconds=30)
        batch: Annotated[int, Field(ge=1, le=100_000)] = 10_000

        @model_validator(mode="after")
        def _one_mail_one_call(self) -> "Email.Settings":
            """Without `batch_wait` a call is one event: a crash then repeats one mail per call, not thousands."""
            if not self.batch_wait and "batch" not in self.model_fields_set:
                object.__setattr__(self, "batch", 1)
            return self

        def warnings(self) -> list[str]:
            """What is allowed, and probably not meant."""
            if self.smtp.tls != "none" or _is_loopback(self.smtp.host):
                return []
            what = "mails and the password travel" if self.smtp.username else "mails travel"
            return [f"{what} unencrypted: smtp.tls is none"]

    async def open(self) -> None:
        settings = self.settings
        self._subject = _compiled(settings.subject, "subject")
        self._text = (
            _compiled(_read(settings.template), str(settings.template)) if settings.template else _compiled(TEXT, "")
        )
        self._sender = parseaddr(settings.sender)[1]
        self._recipients = [parseaddr(address)[1] for address in settings.to]
        self._tls = ssl.create_default_context()
        if settings.smtp.ca:
            self._tls.load_verify_locations(settings.smtp.ca)

    async def handle_batch(self, events: Sequence[Event], attempt: Attempt) -> dict[str, Exception | None]:
        """Send the mails over one connection; a verdict for each event, None where its mail was taken."""
        mails = [list(events)] if self.settings.batch_wait else [[event] for event in events]
        verdicts: dict[str, Exception | None] = {}
        rest: Exception = Unavailable("the connection ended")
        try:
            async with asyncio.timeout(self._seconds * OWN_TIME), self._connected() as smtp:
                for mail in mails:
                    verdict = await self._send(smtp, mail, attempt)
                    verdicts.update({event.id: verdict for event in mail})
        except TimeoutError:
            rest = Unavailable(f"{self.settings.smtp.where} took no mail within {self._seconds:g} s")
        except (aiosmtplib.SMTPException, OSError) as fault:
            rest = _verdict(fault)
        return {event.id: verdicts.get(event.id, rest) for event in events}

    @property
    def _seconds(self) -> float:
        return float(self.settings.timeout.total_seconds())

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiosmtplib.SMTP]:
        server = self.settings.smtp
        smtp = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port or PORTS[server.tls],
            username=server.username,
            password=server.password,
            use_tls=server.tls == "tls",
            start_tls=server.tls == "starttls",
            tls_context=self._tls,
            timeout=self._seconds,
        )
        try:
            await smtp.connect()
            yield smtp
            await smtp.quit(timeout=FAREWELL)
        finally:
            smtp.close()

    async def _send(self, smtp: aiosmtplib.SMTP, events: list[Event], attempt: Attempt) -> Exception | None:
        """One mail; its verdict. Raises where the connection is of no more use for the next one either."""
        try:
            mail = await asyncio.to_thread(
                lambda: self._mail(events, attempt).as_bytes()
            )  # of thousands: half a second
        except Exception as fault:  # a template can raise anything
            return Discard(f"the template failed: {type(fault).__name__}: {one_line(str(fault))}")
        try:
            refused, _ = await smtp.sendmail(self._sender, self._recipients, mail)
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as fault:
            return _verdict(fault)
        for recipient, answer in refused.items():  # to try again would mail the others twice
            self.log.warning("recipient_refused", recipient=recipient, answer=f"{answer[0]} {one_line(answer[1])}")
        return None

    def _mail(self, events: list[Event], attempt: Attempt) -> EmailMessage:
        names = {"events": events, "event": events[0], "handler": self.name}
        subject = " ".join(one_line(self._subject.render(names)).split())
        mail = EmailMessage(policy=policy.SMTP)
        mail["From"] = self.settings.sender
        mail["To"] = ", ".join(self.settings.to)
        mail["Subject"] = subject[:LONGEST_SUBJECT]
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{_mail_id(events, attempt)}@{self._sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday replies to it
        mail.set_content(self._text.render(names), cte="quoted-printable")
        return mail


def _mail_id(events: list[Event], attempt: Attempt) -> str:
    """The same for the same events, so that a mail sent twice is known for one; another for each replay."""
    name = events[0].id
    if len(events) > 1:
        name = sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]
    return f"{name}.{attempt.replay}" if attempt.replay else name


def _verdict(fault: Exception) -> Discard | Unavailable:
    """5xx is for good; of several refused recipients only when all of them are."""
    if isinstance(fault, aiosmtplib.SMTPRecipientsRefused):
        mildest = min(fault.recipients, key=lambda refusal: refusal.code)
        return _verdict(aiosmtplib.SMTPResponseException(mildest.code, f"{mildest.recipient}: {mildest.message}"))
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        reason = f"{fault.code} {one_line(fault.message)}"[:LONGEST_SUBJECT]
        return Discard(reason) if 500 <= fault.code < 600 else Unavailable(reason)
    return Unavailable(one_line(str(fault))[:LONGEST_SUBJECT])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
