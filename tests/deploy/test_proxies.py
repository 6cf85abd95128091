"""The proxies' configurations, with the real nginx and the real Caddy in front of a real receiver."""

import asyncio
import time

import pytest
from deploy_kit import (
    NUMBER,
    SECRET,
    SOURCE,
    TEXT,
    Activated,
    Proxy,
    exchange,
    get,
    message,
    post,
    report,
)

from drills.yard import Yard

pytestmark = pytest.mark.anyio
ALLOWED = SOURCE.replace("\n[", "\n") + 'allow_from = ["198.51.100.7/32", "127.0.0.3/32"]\n'


def written(front: Proxy) -> list[str]:
    """What stands in the proxy's logs that must not."""
    return [canary for canary in (SECRET, NUMBER, TEXT) if canary in front.logged()]


async def test_callbacks_come_through_tls(front: Proxy, activated: Activated) -> None:
    await activated.ready()
    assert [(await front.ask(raw)).outcome for raw in (report("a"), report("a"), message(1))] == [
        "stored",
        "duplicate",
        "stored",
    ]
    assert (await front.ask(report("a", secret="wrong-secret-0123456789"))).status == 404


async def test_a_body_that_is_too_large_is_413_and_a_head_that_is_too_large_is_refused(
    front: Proxy, activated: Activated, yard: Yard
) -> None:
    await activated.ready()
    large = b"PARM=" + b"x" * 70_000
    assert (await front.ask(post(f"/in/spryng/mo/{SECRET}", large))).status == 413
    assert (await front.ask(report("b", f"X-Long: {'x' * 70_000}"))).status in (400, 431)
    assert (
        await front.ask(post(f"/in/spryng/mo/{SECRET}", b"PARM=" + b"x" * 60_000 + b"&MSISDN=31612345678"))
    ).status == 200
    assert len(await yard.events()) <= 1


async def test_who_claims_to_be_somebody_else_is_not_believed(front: Proxy, activated: Activated, yard: Yard) -> None:
    (yard.folder / "receiver.toml").write_text(ALLOWED)
    serve = await activated.ready()
    claims = ["X-Forwarded-For: 198.51.100.7", "Forwarded: for=198.51.100.7", "X-Real-IP: 198.51.100.7"]
    assert (await front.ask(report("c", *claims), source="127.0.0.2")).status == 404
    assert (await serve.says("callback_refused"))["address"] == "127.0.0.2"
    assert (await front.ask(report("c", *claims), source="127.0.0.3")).outcome == "stored"
    assert (await front.ask(report("d", "X-Forwarded-For: nonsense"), source="127.0.0.3")).outcome == "stored"


async def test_no_log_of_the_proxy_holds_a_secret_a_number_or_a_text(front: Proxy, activated: Activated) -> None:
    serve = await activated.ready()
    elsewhere = get(f"/In/spryng/dlr/{SECRET}?RECIPIENT={NUMBER}")
    awkward = [
        report("e"),
        message(2),
        report("e", secret=f"{SECRET}x"),
        post(f"/in/spryng/mo/{SECRET}?MSISDN={NUMBER}", f"PARM={TEXT}&".encode() * 5_000),
        report("e", f"Referer: https://x.example/{SECRET}?{NUMBER}"),
        get(f"//in/spryng/dlr/{SECRET}?RECIPIENT={NUMBER}"),
        elsewhere,
        get(f"/in/spryng/{SECRET}"),
        get(f"/in/%73pryng/dlr/{SECRET}/?RECIPIENT={NUMBER}"),
    ]
    before_it_is_whole = [report("half")[:-2]]
    if front.name == "nginx-location":  # until a request is in its location, it is the other site's, and so is the log
        awkward.remove(elsewhere)
        before_it_is_whole.clear()
    assert all([(await front.ask(raw)).status for raw in awkward])
    for part in [*before_it_is_whole, message(3)[:-5]]:
        await broken_off(front, part)
    await serve.stop()
    for listener in activated.listeners:
        listener.close()
    statuses = {answer.status for answer in await asyncio.gather(*map(front.ask, awkward))}
    assert statuses <= {400, 404, 413, 502}
    assert 502 in statuses
    await front.stop()
    assert written(front) == []


async def test_where_nobody_answers_it_says_when_to_come_again(front: Proxy, activated: Activated) -> None:
    activated.listeners[0].close()
    answer = await front.ask(report("f"))
    assert answer.status == 502
    if front.name != "nginx-location":
        assert answer.header("retry-after") == "5"


async def test_the_proxy_may_go_and_come_again(front: Proxy, activated: Activated, yard: Yard) -> None:
    await activated.ready()
    assert (await front.ask(report("g"))).outcome == "stored"
    await front.stop()
    with pytest.raises(OSError, match=r"."):
        await front.ask(report("h"))
    await front.start()
    assert [(await front.ask(report(each))).outcome for each in "gh"] == ["duplicate", "stored"]
    assert len(await yard.events()) == 2


@pytest.mark.drill
async def test_who_is_slow_is_cut_within_ten_seconds(front: Proxy, activated: Activated, yard: Yard) -> None:
    """Half a head, half a body, and both byte by byte; meanwhile others are answered."""
    await activated.ready()
    head, body = report("slow"), message(3)
    took = await asyncio.gather(
        silent(front, head[:40]),
        silent(front, body[:-5]),
        dripping(front, head, 20),
        dripping(front, body, len(body) - 60),
    )
    assert max(took) < 11.0, took
    assert (await front.ask(report("quick"))).outcome == "stored"
    assert len(await yard.events()) == 1
    assert written(front) == []


async def broken_off(front: Proxy, part: bytes) -> None:
    """Send a part of a request, and go."""
    _, writer = await front.open()
    writer.write(part)
    await writer.drain()
    writer.close()


async def silent(front: Proxy, part: bytes) -> float:
    """Send a part of a request, and wait; after how many seconds the connection has ended."""
    began = time.monotonic()
    reader, writer = await front.open()
    await asyncio.wait_for(exchange(reader, writer, part), 30)
    return time.monotonic() - began


async def dripping(front: Proxy, raw: bytes, whole: int) -> float:
    """Send so many bytes at once and then one a second; after how many seconds the connection has ended."""
    began = time.monotonic()
    reader, writer = await front.open()
    reading = asyncio.create_task(exchange(reader, writer, raw[:whole]))
    for each in raw[whole:]:
        if (await asyncio.wait({reading}, timeout=1))[0]:
            break
        writer.write(bytes([each]))
    await asyncio.wait_for(reading, 5)
    return time.monotonic() - began
