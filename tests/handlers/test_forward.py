"""Forward against a real server with good and bad manners."""

import asyncio
import base64
import json
import socket
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import time_machine
import trustme
from http_target import Request, answer, listening
from pydantic import ValidationError
from receiver.handlers import forward
from receiver.handlers.forward import AddressRefused, Forward, Guard
from standardwebhooks import Webhook, WebhookVerificationError

from receiver import Attempt, DeliveryReport, Notice, Pause, Retry, Unavailable, __version__

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


async def verdict(handler: Forward, event: Any, attempt: Attempt) -> Any:
    """What handling ends in: the answer, or the verdict that was raised."""
    try:
        return await asyncio.wait_for(handler.handle(event, attempt), 5)
    except (Retry, Unavailable, Pause) as raised:
        return raised


def verified(request: Request, secret: str) -> Any:
    """The body, if the independent verifier takes the signature."""
    return Webhook(secret).verify(request.body, request.headers)


# -- what is sent


async def test_the_body_is_the_event_byte_for_byte(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        assert await (await opened(Forward, url=target.url)).handle(dlr, attempt) == "204"
    assert target.requests[0].body == dlr.to_json()
    assert target.requests[0].line == "POST /sms HTTP/1.1"


async def test_the_signature_is_accepted_by_an_independent_verifier(opened: Any, dlr: Any, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=target.url, secret=SECRET)).handle(dlr, attempt)
    assert verified(target.requests[0], SECRET) == json.loads(dlr.to_json())
    with pytest.raises(WebhookVerificationError):
        verified(target.requests[0], OTHER)


async def test_during_a_rotation_both_secrets_verify(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=target.url, secret=[SECRET, OTHER])).handle(dlr, attempt)
    assert verified(target.requests[0], SECRET)
    assert verified(target.requests[0], OTHER)


async def test_an_event_is_signed_when_it_is_sent(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url, secret=SECRET)
        with time_machine.travel(datetime(2030, 1, 1, tzinfo=UTC), tick=False):
            await handler.handle(dlr, attempt)
    assert target.requests[0].headers["webhook-timestamp"] == "1893456000"


async def test_a_retry_has_the_same_id_and_a_replay_another(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    replay = Attempt(
        number=1, of=12, handler="x", dispatch_id="1", replay=2, deadline=attempt.deadline, first_at=attempt.first_at
    )
    async with listening(NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url)
        for each in (attempt, attempt, replay):
            await handler.handle(dlr, each)
    assert [seen.headers["webhook-id"] for seen in target.requests] == [dlr.id, dlr.id, f"{dlr.id}.2"]
    assert [seen.headers.get("receiver-replay") for seen in target.requests] == [None, None, "2"]


async def test_without_a_secret_nothing_is_signed(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url)
        await handler.handle(dlr, attempt)
    assert "webhook-signature" not in target.requests[0].headers
    assert handler.settings.warnings() == ["nothing is signed: no secret"]


@pytest.mark.parametrize(
    ("keys", "sent"), [({}, "application/cloudevents+json"), ({"format": "json"}, "application/json")]
)
async def test_the_format_is_the_content_type(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, keys: dict[str, str], sent: str
) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=target.url, **keys)).handle(dlr, attempt)
    assert target.requests[0].headers["content-type"] == sent
    assert target.requests[0].headers["user-agent"] == f"sms-receiver/{__version__}"


async def test_a_notice_is_forwarded_like_any_event(opened: Any, notice: Notice, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=target.url, secret=SECRET)).handle(notice, attempt)
    assert verified(target.requests[0], SECRET)["type"] == "receiver.notice"


async def test_further_headers_are_sent_along(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=target.url, headers={"authorization": "Bearer t0ken"})).handle(dlr, attempt)
    assert target.requests[0].headers["authorization"] == "Bearer t0ken"


async def test_connections_are_used_again(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(answer(200, b"thank you")) as target:
        handler = await opened(Forward, url=target.url)
        for _ in range(3):
            await handler.handle(dlr, attempt)
    assert target.connections == 1


async def test_cookies_are_not_kept(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(answer(200, set_cookie="a=b")) as target:
        # By name: nobody keeps the cookies of an address.
        handler = await opened(Forward, url=target.url.replace("127.0.0.1", "localhost"))
        await handler.handle(dlr, attempt)
        await handler.handle(dlr, attempt)
    assert "cookie" not in target.requests[1].headers


async def test_proxies_of_the_environment_are_ignored(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(answer(502)) as proxy, listening(NO_CONTENT) as target:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await (await opened(Forward, url=target.url)).handle(dlr, attempt) == "204"
    assert proxy.connections == 0


# -- what the answer means


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_done(opened: Any, dlr: DeliveryReport, attempt: Attempt, status: int) -> None:
    async with listening(answer(status)) as target:
        assert await verdict(await opened(Forward, url=target.url), dlr, attempt) == str(status)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_busy_target_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt, status: int) -> None:
    async with listening(answer(status)) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason == str(status)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 501, 505, 599])
async def test_any_other_refusal_is_about_the_event(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, status: int
) -> None:
    async with listening(answer(status, b"bad signature")) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert type(got) is Retry
    assert got.reason == f"{status}: bad signature"


async def test_410_pauses(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(answer(410)) as target:
        assert type(await verdict(await opened(Forward, url=target.url), dlr, attempt)) is Pause


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(opened: Any, dlr: DeliveryReport, attempt: Attempt, status: int) -> None:
    async with listening(NO_CONTENT) as elsewhere, listening(answer(status, location=elsewhere.url)) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert type(got) is Retry
    assert elsewhere.url in got.reason
    assert elsewhere.connections == 0


NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "after"),
    [
        ("120", timedelta(seconds=120)),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), timedelta(minutes=5)),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), timedelta(0)),
        ("9" * 400, timedelta(days=1)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", timedelta(days=1)),
        ("soon", None),
        ("-5", None),
        ("²", None),
    ],
)
async def test_retry_after_is_obeyed_as_seconds_and_as_date(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, written: str, after: timedelta | None
) -> None:
    async with listening(answer(503, retry_after=written)) as target:
        handler = await opened(Forward, url=target.url)
        with time_machine.travel(NOW, tick=False):
            got = await verdict(handler, dlr, attempt)
    assert type(got) is Unavailable
    assert got.after == after


async def test_a_reason_is_one_short_line_without_numbers(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    said = b"no\r\n\x1b[2Jsuch number +31612345678 \xff" + b"x" * 1000
    async with listening(answer(404, said)) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert got.reason.startswith("404: no [2Jsuch number +31***78 ")
    assert got.reason.isprintable()
    assert len(got.reason) <= 205


# -- bad manners


async def test_a_target_that_never_answers_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(silent) as target:
        got = await verdict(await opened(Forward, url=target.url, timeout="200ms"), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason == "no answer within 0.2 s"


@pytest.mark.parametrize(
    ("head", "expected"),
    [(b"HTTP/1.1 200 OK", "200"), (b"HTTP/1.1 500 X", Unavailable), (b"HTTP/1.1 400 X", Retry)],
)
async def test_an_endless_answer_is_judged_by_its_status_and_not_read(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, head: bytes, expected: Any
) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        writer.write(head + b"\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
            await writer.drain()
            written += 0x4000

    async with listening(endless) as target:
        handler = await opened(Forward, url=target.url)
        got = await verdict(handler, dlr, attempt)
        await asyncio.wait_for(target.hung_up.wait(), 5)
    assert got == expected or type(got) is expected
    # 64 KiB are taken; what the kernel and the parser had in their buffers by then comes on top.
    assert written < 8 * 1024 * 1024


async def test_an_answer_whose_status_is_known_is_not_waited_for(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ANSWER_PATIENCE", 0.05)
    async with listening(b"HTTP/1.1 202 X\r\ncontent-length: 9\r\n\r\nhalf") as target:
        assert await verdict(await opened(Forward, url=target.url, timeout="1h"), dlr, attempt) == "202"


async def test_of_a_long_answer_64_kib_are_taken_and_the_connection_is_closed(
    opened: Any, dlr: DeliveryReport, attempt: Attempt
) -> None:
    async with listening(answer(200, b"x" * 64 * 1024), answer(200, b"x" * 3 * 1024 * 1024), NO_CONTENT) as target:
        handler = await opened(Forward, url=target.url)
        await handler.handle(dlr, attempt)
        await handler.handle(dlr, attempt)
        assert target.connections == 1  # 64 KiB were read to their end
        await handler.handle(dlr, attempt)
        assert target.connections == 2


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"", Unavailable),
        (b"HTTP/1.1 2", Unavailable),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "200"),
        (b"HTTP/1.1 503 X\r\ncontent-length: 100\r\n\r\nhalf", Unavailable),
        (b"HTTP/1.1 404 X\r\ncontent-length: 100\r\n\r\nhalf", Retry),
    ],
)
async def test_a_reset_counts_unless_the_status_was_said(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, head: bytes, expected: Any
) -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
        raise ConnectionResetError

    async with listening(reset) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert got == expected or type(got) is expected


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"\x00\xff\x1b[2J\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n"]
)
async def test_what_is_not_http_is_tried_again(opened: Any, dlr: DeliveryReport, attempt: Attempt, said: bytes) -> None:
    async with listening(said) as target:
        got = await verdict(await opened(Forward, url=target.url, timeout="1s"), dlr, attempt)
    assert type(got) is Retry
    assert got.reason.startswith("the answer is not HTTP")
    assert got.reason.isprintable()


async def test_a_bomb_is_not_unpacked(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    async with listening(answer(404, b"\x1f\x8bno gzip at all", content_encoding="gzip")) as target:
        got = await verdict(await opened(Forward, url=target.url), dlr, attempt)
    assert "no gzip at all" in got.reason


async def test_a_refused_connection_is_unavailable(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    got = await verdict(await opened(Forward, url=f"http://127.0.0.1:{port}/"), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason == f"no connection to 127.0.0.1:{port}: connection refused"


async def test_a_dns_failure_is_unavailable(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]]
) -> None:
    got = await verdict(await opened(Forward, url="http://gone.test/"), dlr, attempt)
    assert type(got) is Unavailable
    assert got.reason.startswith("gone.test cannot be resolved")


# -- TLS


async def test_a_certificate_nobody_vouches_for_is_unavailable(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    async with listening(NO_CONTENT, tls=tls) as target:
        got = await verdict(await opened(Forward, url=target.url.replace("http:", "https:")), dlr, attempt)
    assert type(got) is Unavailable
    assert "certificate" in got.reason
    assert target.requests == []


async def test_a_private_authority_can_be_named(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, tls: ssl.SSLContext
) -> None:
    async with listening(NO_CONTENT, tls=tls) as target:
        handler = await opened(Forward, url=target.url.replace("http:", "https:"), ca="ca.pem")
        assert await handler.handle(dlr, attempt) == "204"


@pytest.fixture
def tls(tmp_path: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


# -- which addresses may be called


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The only names there are, and where they lead."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def lookup(host: str, port: int, *rest: Any, **more: Any) -> Any:
        if str(host).endswith(".test") and host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [found for address in known.get(host, [host]) for found in real(address, port, 0, socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["127.0.0.1", "::1"]])
async def test_a_name_that_leads_to_a_private_address_is_not_called(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]], addresses: list[str]
) -> None:
    resolves["crm.test"] = addresses
    async with listening(NO_CONTENT) as target:
        got = await verdict(await opened(Forward, url=f"http://crm.test:{target.port}/"), dlr, attempt)
    assert type(got) is Retry
    assert "127.0.0.1 is not a public address" in got.reason
    assert 'allow_private = ["127.0.0.1"]' in got.reason
    assert target.connections == 0


async def test_allow_private_opens_what_it_names(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, resolves: dict[str, list[str]]
) -> None:
    resolves["crm.test"] = ["127.0.0.1"]
    async with listening(NO_CONTENT) as target:
        url = f"http://crm.test:{target.port}/"
        assert await (await opened(Forward, url=url, allow_private=["127.0.0.0/8"])).handle(dlr, attempt) == "204"
        assert type(await verdict(await opened(Forward, url=url, allow_private=["10.0.0.0/8"]), dlr, attempt)) is Retry


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_literal_loopback_of_the_url_is_called(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, host: str
) -> None:
    async with listening(NO_CONTENT) as target:
        assert await (await opened(Forward, url=f"http://{host}:{target.port}/")).handle(dlr, attempt) == "204"


@pytest.mark.parametrize("url", ["http://[::ffff:10.0.0.1]:9/", "http://10.0.0.1:9/", "http://[fd00::1]:9/"])
async def test_a_private_address_in_the_url_is_refused(
    opened: Any, dlr: DeliveryReport, attempt: Attempt, url: str
) -> None:
    got = await verdict(await opened(Forward, url=url), dlr, attempt)
    assert type(got) is Retry
    assert "is not a public address" in got.reason


async def test_metadata_is_never_called(opened: Any, dlr: DeliveryReport, attempt: Attempt) -> None:
    handler = await opened(Forward, url="http://169.254.169.254/latest", allow_private=["0.0.0.0/0", "::/0"])
    got = await verdict(handler, dlr, attempt)
    assert type(got) is Retry
    assert "never called" in got.reason


PRIVATE = [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "100.64.0.1", "192.0.2.1", "240.0.0.1", "255.255.255.255",
    "::1", "fd00::1", "fec0::1", "2001:db8::1", "::ffff:192.168.1.1", "::10.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b:1::a00:1", "2002:0a00:0001::",
]  # fmt: skip
NEVER = [
    "169.254.169.254", "fe80::1", "fe80::1%lo", "0.0.0.0", "::", "224.0.0.1", "ff0e::1", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fd00:ec2::254", "100.100.100.200", "192.0.0.192",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "2606:4700:4700::1111", "64:ff9b::1.1.1.1", "::ffff:1.1.1.1"]
EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]


def connects(guard: Guard, address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        guard((family, socket.SOCK_STREAM, 0, "", (address, 443))).close()
    except AddressRefused:
        return False
    return True


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_called_only_where_allowed(address: str) -> None:
    assert not connects(Guard("crm.example.com", []), address)
    assert connects(Guard("crm.example.com", EVERYTHING), address)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_called_by_no_setting(address: str) -> None:
    assert not connects(Guard("crm.example.com", EVERYTHING), address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    assert connects(Guard("crm.example.com", []), address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_a_loopback_url_reaches_loopback_and_nothing_else(host: str) -> None:
    assert connects(Guard(host, EVERYTHING), "127.0.0.1")
    assert not connects(Guard(host, EVERYTHING), "1.1.1.1")
    assert not connects(Guard(host, EVERYTHING), "10.0.0.1")


# -- settings


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
    "url", ["crm.example.com", "ftp://x.example", "http://", "https://x:99999/", "https://x y/", ""]
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
