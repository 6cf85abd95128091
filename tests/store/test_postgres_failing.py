"""What the store does while PostgreSQL fails over: silent hosts, and commits of which nobody knows what became."""

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import asyncpg
import postgres_kit
import pytest

from receiver.callback import Callback
from receiver.errors import StoreUnavailable
from receiver.events import DeliveryReport, Status
from receiver.store.base import HORIZON, everything
from receiver.store.postgres import PostgresStore, claiming, lanes, log
from receiver.store.postgres.hosts import Hosts, each

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=60)
WITHIN = 0.5


def behind(port: int, url: str) -> str:
    """The URL of a server behind another host, which is asked first."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if host:
        return url.replace(parts.netloc, f"{user}{at}127.0.0.1:{port},{host}", 1)
    keys = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return f"postgresql://{user}{at}{parts.path}?host=127.0.0.1,{keys['host']}&port={port},{keys.get('port', '5432')}"


async def test_a_host_that_says_nothing_hides_no_other_and_is_asked_last_from_then_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = Hosts(behind(silent.getsockname()[1], postgres_kit.server()))
        began = time.monotonic()
        await (await hosts.connect(within=WITHIN)).close()
        assert time.monotonic() - began >= WITHIN
        began = time.monotonic()
        await (await hosts.connect(within=WITHIN)).close()
        assert time.monotonic() - began < WITHIN


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://u:p@a:1,b/d?x=1", ["postgresql://u:p@a:1/d?x=1", "postgresql://u:p@b/d?x=1"]),
        ("postgresql://u@/d?host=/run", ["postgresql://u@/d?host=/run"]),
        ("postgresql:///d?host=a,b&port=1,2", ["postgresql:/d?host=a&port=1", "postgresql:/d?host=b&port=2"]),
        ("postgresql:///d?host=a,b&port=1", ["postgresql:/d?host=a&port=1", "postgresql:/d?host=b&port=1"]),
        ("postgresql:///d?host=a,b", ["postgresql:/d?host=a", "postgresql:/d?host=b"]),
    ],
)
def test_each_host_of_a_url_has_one_of_its_own(url: str, found: list[str]) -> None:
    assert each(url) == found


async def test_after_trouble_a_probe_needs_the_tables_that_callbacks_need() -> None:
    url = await postgres_kit.fresh()
    store = await PostgresStore.open(url, "receive", create=True)
    await store.probe(datetime.now(UTC))
    other = await asyncpg.connect(url)
    async with other.transaction():
        await other.execute("LOCK TABLE events")
        store._writer.trouble = "a commit failed"
        with pytest.raises(StoreUnavailable, match="locked by another session"):
            await store.probe(datetime.now(UTC))
        assert store.trouble()
    await store.probe(datetime.now(UTC))
    assert not store.trouble()
    await other.close()
    await store.close()
    await postgres_kit.drop(url)


async def test_after_trouble_a_probe_needs_room(monkeypatch: pytest.MonkeyPatch) -> None:
    url = await postgres_kit.fresh()
    store = await PostgresStore.open(url, "receive", create=True)
    monkeypatch.setattr(log, "AS_CALLBACKS", "DO $$ BEGIN RAISE disk_full; END $$")
    await store.probe(datetime.now(UTC))
    store._writer.trouble = "a commit failed"
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.probe(datetime.now(UTC))
    assert store.trouble()
    await store.close()
    await postgres_kit.drop(url)


async def test_what_was_claimed_without_our_knowing_is_given_back_also_where_its_commit_is_seen_late() -> None:
    url = await postgres_kit.fresh()
    store = await PostgresStore.open(url, "dispatch", create=True)
    now = datetime.now(UTC)
    await store.enrol(["own"], owner="we", now=now)
    event = DeliveryReport(source="s", message_id="m", status=Status.DELIVERED, received_at=now)
    await store.record(Callback("s", "dlr", "GET", now), [event])
    asked = claiming.Asked("own", "we", 7, ordered=False, passes=everything, lease=LEASE)
    ours, other = [await asyncpg.connect(url) for _ in range(2)]
    late = ours.transaction()
    await late.start()
    assert await claiming.claim(ours, asked, limit=1, now=now, horizon=HORIZON)

    async def give_back() -> None:
        async with other.transaction():
            await lanes.release(other, "we", [7], LEASE)

    giving = asyncio.create_task(give_back())
    await asyncio.sleep(0.1)
    assert not giving.done()
    await late.commit()
    await giving
    again = await store.claim("own", owner="we", limit=1, now=now, lease=LEASE)
    assert [dispatch.event.message_id for dispatch in again] == ["m"]
    for db in (ours, other):
        await db.close()
    await store.close()
    await postgres_kit.drop(url)
