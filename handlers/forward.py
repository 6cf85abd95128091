"""Forward: POSTs each event to a URL, signed after Standard Webhooks, and reads the verdict off the answer's status."""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
from standardwebhooks import Webhook
from yarl import URL

from receiver import Attempt, BaseHandler, Event, Pause, Retry, Secret, Unavailable, __version__

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

BUSY = frozenset({429, 500, 502, 503, 504})
ANSWER_LIMIT = 64 * 1024
ANSWER_PATIENCE = 1.0
"""Seconds for the rest of an answer whose status is known."""
EXCERPT = 200
LONGEST_AFTER = 24 * 60 * 60
IDLE = 1.5
"""Seconds a connection is kept: less than the 2 s after which the most impatient common server (gunicorn) hangs up."""
NO_TIMEOUT = aiohttp.ClientTimeout(total=None)  # whoever calls us has the time-out
CONTENT_TYPES = {"cloudevents": "application/cloudevents+json", "json": "application/json"}
SECRET_BYTES = 24  # Standard Webhooks 1.0, "Signature scheme": between 24 and 64 bytes

# Where clouds tell a machine its own credentials, outside 169.254.0.0/16: Alibaba, Oracle, AWS on IPv6.
METADATA = frozenset({ip_address("100.100.100.200"), ip_address("192.0.0.192"), ip_address("fd00:ec2::254")})
# IPv6 addresses that stand for an IPv4 one in their last 32 bits: RFC 6052 2.1, RFC 4291 2.5.5.1.
EMBEDDING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
# Private, though Python before 3.12.4 takes them for global: site-local (RFC 3879), local NAT64 (RFC 8215).
UNROUTED = (IPv6Network("fec0::/10"), IPv6Network("64:ff9b:1::/48"))
NEVER = (IPv4Network("169.254.0.0/16"), IPv6Network("fe80::/10"))

OUR_HEADERS = frozenset(
    {"host", "content-type", "content-length", "transfer-encoding", "connection", "receiver-replay"}
)
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
ABBREVIATED = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)\.?")
"""A host that resolvers read as an IPv4 address: 127.1, 0x7f.1, 2130706433."""
NUMBER = re.compile(r"\+?\d{7,}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise ValueError("expected a URL such as https://crm.example.com/sms")
    if parts.username is not None:
        raise ValueError('a URL is no place for a password; write headers = { authorization = { file = "…" } }')
    if ABBREVIATED.fullmatch(parts.hostname) and not _is_address(parts.hostname):
        raise ValueError("an IPv4 address is written with four decimal numbers")
    _ = parts.port, URL(text)  # both raise ValueError where it is none
    return text


def _signing_secret(secret: Secret) -> Secret:
    """An empty one was not read, because the command needs no secrets."""
    if not secret:
        return secret
    try:
        if not secret.startswith("whsec_") or not _key(secret):
            raise ValueError
    except ValueError:
        raise ValueError(
            "expected a signing secret: whsec_ and base64, as `openssl rand -base64 32` prints it"
        ) from None
    return secret


def _key(secret: str) -> bytes:
    encoded = secret.removeprefix("whsec_")
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)


def _header_name(name: str) -> str:
    if not HEADER_NAME.fullmatch(name):
        raise ValueError("is no header name")
    if name.lower() in OUR_HEADERS or name.lower().startswith("webhook-"):
        raise ValueError("is a header this handler sets itself")
    return name


def _header_value(value: Secret) -> Secret:
    if not value.isprintable():
        raise ValueError("a header's value is one line without control characters")
    return value


def _callable_network(network: Network) -> Network:
    if any(network.version == never.version and network.subnet_of(never) for never in NEVER):  # type: ignore[arg-type]
        raise ValueError("link-local addresses (cloud metadata lives there) are never called")
    return network


def _readable(path: Path, info: ValidationInfo) -> Path:
    """Relative paths count from the folder of the configuration file; looked at where secrets are."""
    context = info.context or {}
    found = Path(context.get("folder") or Path.cwd()) / path
    if context.get("secrets"):
        try:
            found.read_bytes()
        except OSError as fault:
            raise ValueError(f"cannot read {found}: {fault.strerror}") from None
    return found


def _as_list(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


class Forward(BaseHandler):
    """Delivers each event in a POST of its own. 2xx is done, 410 pauses, a busy status counts against the target."""

    class Settings(BaseHandler.Settings):
        """The keys of a `forward` handler."""

        url: Annotated[str, AfterValidator(_url)]
        secret: Annotated[
            list[Annotated[Secret, AfterValidator(_signing_secret)]], BeforeValidator(_as_list), Field(max_length=2)
        ] = []
        """One signing secret, or two while one replaces the other."""
        format: Literal["cloudevents", "json"] = "cloudevents"
        headers: dict[
            Annotated[str, AfterValidator(_header_name)], Annotated[Secret, AfterValidator(_header_value)]
        ] = {}
        """Sent along, for targets that want a token."""
        allow_private: list[Annotated[Network, AfterValidator(_callable_network)]] = []
        ca: Annotated[Path, AfterValidator(_readable)] | None = None
        """A file with further certificate authorities (PEM)."""

        def warnings(self) -> list[str]:
            """What is allowed, and probably not meant."""
            found = []
            if not self.secret:
                found.append("nothing is signed: no secret")
            if any(secret and len(_key(secret)) < SECRET_BYTES for secret in self.secret):
                found.append(f"the secret is short: Standard Webhooks asks for {SECRET_BYTES} bytes or more")
            if self.url.startswith("http:") and not _is_loopback(urlsplit(self.url).hostname or ""):
                found.append("events travel unencrypted: the url is http")
            return found

    async def open(self) -> None:
        settings = self.settings
        self._signers = [Webhook(_key(secret)) for secret in settings.secret]
        self._where = urlsplit(settings.url).netloc
        tls = ssl.create_default_context()
        if settings.ca:
            tls.load_verify_locations(settings.ca)
        connector = aiohttp.TCPConnector(
            socket_factory=Guard(urlsplit(settings.url).hostname or "", settings.allow_private),
            ssl=tls,
            limit=settings.concurrency,
            keepalive_timeout=IDLE,
        )
        headers = {
            "user-agent": f"sms-receiver/{__version__}",
            "content-type": CONTENT_TYPES[settings.format],
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        given = {name.lower(): value for name, value in settings.headers.items()}
        self._target = Target(URL(settings.url), connector, headers | given)

    async def close(self) -> None:
        await self._target.close()

    async def handle(self, event: Event, attempt: Attempt) -> str:
        """Send the event; returns the status. Raises Unavailable, Retry or Pause."""
        body = event.to_json()
        try:
            answer = await self._target.post(self._headers(event, body, attempt), body)
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError) as fault:
            raise self._unanswered(fault) from fault
        if 200 <= answer.status < 300:
            return str(answer.status)
        raise _verdict(answer)

    def _headers(self, event: Event, body: bytes, attempt: Attempt) -> dict[str, str]:
        """Signed at the moment of sending: targets refuse what is older than five minutes."""
        now = datetime.now(UTC)
        name = f"{event.id}.{attempt.replay}" if attempt.replay else event.id
        headers = {"webhook-id": name, "webhook-timestamp": str(int(now.timestamp()))}
        if self._signers:
            text = body.decode()
            headers["webhook-signature"] = " ".join([signer.sign(name, now, text) for signer in self._signers])
        if attempt.replay:
            headers["receiver-replay"] = str(attempt.replay)
        return headers

    def _unanswered(self, fault: Exception) -> Retry | Unavailable:
        """What to make of a request that got no answer."""
        match fault:
            case aiohttp.ClientConnectorCertificateError():
                return Unavailable(f"the certificate of {self._where} is not valid: {_plain(fault.certificate_error)}")
            case aiohttp.ClientConnectorDNSError():
                return Unavailable(f"{self._where} cannot be resolved: {_plain(fault.os_error.strerror)}")
            case aiohttp.ClientConnectorError(os_error=AddressRefused() as refused):
                return Retry(refused.advice(self._where))
            case aiohttp.ClientConnectorError(os_error=OSError(errno=int() as number)):
                return Unavailable(f"no connection to {self._where}: {os.strerror(number).lower()}")
            case aiohttp.ClientConnectorError():
                return Unavailable(f"no connection to {self._where}: {_plain(fault.os_error)}")
            case HttpProcessingError():
                return Retry(f"the answer is not HTTP: {_plain(fault.message)}")
            case _:
                return Unavailable(f"the connection broke: {_plain(fault)}")


class Answer(NamedTuple):
    """What a target said."""

    status: int
    headers: Mapping[str, str]
    said: bytes
    """The beginning of it."""


class Target:
    """A URL and the connections to it: aiohttp's pool, TLS and parser, and of its own only what a request is.

    The request that aiohttp would build anew for each event costs three times as much as sending it and hearing the
    answer (52 of 68 µs).
    """

    def __init__(self, url: URL, connector: aiohttp.TCPConnector, headers: Mapping[str, str]) -> None:
        """Sends these headers with each request. Has to be made where a loop runs."""
        self._connector = connector
        self._route = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop())
        always = {"host": url.host_port_subcomponent or "", **headers}
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{_lines(always)}"

    async def close(self) -> None:
        """Close all connections."""
        await self._connector.close()

    async def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send a request and read its answer. Raises ClientError, HttpProcessingError, OSError."""
        head = f"{self._head}{_lines(headers)}content-length: {len(body)}\r\n\r\n"
        connection = await self._connector.connect(self._route, [], NO_TIMEOUT)
        try:
            answer = await _exchange(connection, head.encode() + body)
            if connection.transport and connection.transport.get_write_buffer_size():
                connection.close()  # it was answered before it was read
        except BaseException:
            connection.close()
            raise
        connection.release()  # closes it where more of the answer may come
        return answer


async def _exchange(connection: aiohttp.connector.Connection, request: bytes) -> Answer:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise aiohttp.ServerDisconnectedError
    protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_bufsize=ANSWER_LIMIT // 4)
    transport.write(request)
    message, content = await protocol.read()
    while 100 <= message.code < 200 and message.code != 101:  # "processing", "early hints": the answer follows
        message, content = await protocol.read()
    return Answer(message.code, message.headers, await _read(content))


def _lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


class AddressRefused(OSError):
    """A connection to an address that may not be called.

    All say the same: when every address of a host is refused, the first refusal is what is raised for the host.
    """

    def __init__(self, address: Address) -> None:
        super().__init__("not a public address")
        self.address = address

    def advice(self, where: str) -> str:
        """What was refused, and the setting that allows it where anything does."""
        said = f"{where}: {self.address} is not a public address"
        if _is_never(self.address):
            return f"{said}, and one that is never called"
        return f'{said}; if it is meant: allow_private = ["{self.address}"]'


class Guard:
    """Makes sockets for permitted addresses only: public ones, the allowed networks, or the URL's own loopback.

    Asked with the resolved address at each connect, so that no name can lead elsewhere later.
    """

    def __init__(self, host: str, allowed: Sequence[Network]) -> None:
        self._loopback = _is_loopback(host)
        self._allowed = allowed

    def __call__(self, found: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, protocol, _, peer = found
        address = _meant(ip_address(peer[0]))
        if not self.permits(address):
            raise AddressRefused(address)
        return socket.socket(family, kind, protocol)

    def permits(self, address: Address) -> bool:
        """Whether an address may be connected to."""
        if self._loopback:
            return address.is_loopback
        if _is_never(address):
            return False
        if any(address in network for network in self._allowed):
            return True
        return address.is_global and not any(address in network for network in UNROUTED)


def _is_never(address: Address) -> bool:
    return address.is_link_local or address.is_multicast or address.is_unspecified or address in METADATA


def _meant(address: Address) -> Address:
    """The IPv4 address an IPv6 one stands for (mapped, 6to4, NAT64, compatible), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if inside := address.ipv4_mapped or address.sixtofour:
        return inside
    if int(address) > 1 and any(address in network for network in EMBEDDING):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine by name, not by what a name happens to lead to."""
    return host == "localhost" or (_is_address(host) and _meant(ip_address(host)).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _read(content: aiohttp.StreamReader) -> bytes:
    """The beginning of an answer; one that does not end in time or size is left where it is."""
    said = b""
    with suppress(aiohttp.ClientError, TimeoutError, OSError):
        if content.is_eof():  # it is all here: nothing to wait for
            return content.read_nowait(ANSWER_LIMIT)
        async with asyncio.timeout(ANSWER_PATIENCE):
            while len(said) < ANSWER_LIMIT and (more := await content.read(ANSWER_LIMIT - len(said))):
                said += more
    return said


def _verdict(answer: Answer) -> Retry | Unavailable | Pause:
    if 300 <= answer.status < 400:
        return Retry(
            f"{answer.status}: redirects are not followed; it points to {_plain(answer.headers.get('location', ''))}"
        )
    words = _plain(answer.said.decode("utf-8", "replace"))
    reason = f"{answer.status}: {words}" if words else str(answer.status)
    if answer.status == 410:
        return Pause(f"the target says it is gone ({reason})")
    if answer.status in BUSY:
        return Unavailable(reason, after=_after(answer.headers.get("retry-after", "")))
    return Retry(reason)


def _after(text: str) -> timedelta | None:
    """A Retry-After as seconds or as a date (RFC 9110 10.2.3); None for anything else."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:10])
    else:
        try:
            then = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return timedelta(seconds=min(max(seconds, 0), LONGEST_AFTER))


def _plain(said: object) -> str:
    """Foreign words fit for a log: one short line without control characters, numbers masked."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in str(said)).split())
    return NUMBER.sub(lambda found: f"{found[0][:3]}***{found[0][-2:]}", words)[:EXCERPT]
