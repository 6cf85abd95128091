"""Forward: what it sends to a real server, and what the answer means."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import time_machine
from forward_kit import NO_CONTENT, OTHER, SECRET, verdict, verified
from http_target import answer, listening
from receiver.handlers.forward import Forward
from standardwebhooks import WebhookVerificationError

from receiver import Attempt, DeliveryReport, Notice, Pause, Retry, Unavailable, __version__

pytestmark = pytest.mark.anyio


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


async def test_a_header_of_the_configuration_takes_the_place_of_ours(
    opened: Any, dlr: DeliveryReport, attempt: Attempt
) -> None:
    seen: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(NO_CONTENT)
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await (await opened(Forward, url=url, headers={"User-Agent": "ours"})).handle(dlr, attempt)
    assert [line for line in seen[0].lower().split(b"\r\n") if line.startswith(b"user-agent")] == [b"user-agent: ours"]


async def test_the_path_and_the_query_of_the_url_are_sent_as_the_web_writes_them(
    opened: Any, dlr: DeliveryReport, attempt: Attempt
) -> None:
    async with listening(NO_CONTENT) as target:
        await (await opened(Forward, url=f"{target.url}/grün?a=b%20c#top")).handle(dlr, attempt)
    assert target.requests[0].line == "POST /sms/gr%C3%BCn?a=b%20c HTTP/1.1"
    assert target.requests[0].headers["host"] == f"127.0.0.1:{target.port}"


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
