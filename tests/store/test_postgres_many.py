"""Several processes on one PostgreSQL: they share the work, take over from each other, and heal by themselves."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import asyncpg
import postgres_kit
import pytest
from factories import NOW, after, callback, notice, report, reports
from proxy_kit import LATE, LOST, PASSES, UNHEARD, proxied

from receiver.errors import StoreMissing, StoreUnavailable, StoreUnusable
from receiver.events import Event, Status
from receiver.store.base import Dispatch, Done, Interrupted, Settlement
from receiver.store.postgres import PostgresStore, server

from .conftest import LEASE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """An empty schema."""
    url = await postgres_kit.fresh()
    yield url
    await postgres_kit.drop(url)


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[PostgresStore]]:
    """Two of them, and a handler `crm` that is owed everything."""
    opened = [await PostgresStore.open(url, "dispatch", create=True) for _ in range(2)]
    for number, store in enumerate(opened):
        await store.enrol(["crm"], owner=f"owner-{number}", now=NOW)
    yield opened
    for store in opened:
        await store.close()


async def record(store: PostgresStore, *events: Event) -> None:
    for event in events:
        await store.record(callback(event), [event])


async def claim(store: PostgresStore, owner: str, *, limit: int = 100, ordered: bool = False) -> list[Dispatch]:
    return list(await store.claim("crm", owner=owner, limit=limit, now=NOW, lease=LEASE, ordered=ordered))


async def settle(store: PostgresStore, taken: Sequence[Dispatch]) -> list[bool]:
    return list(await store.settle([Settlement(one, Done(), began_at=NOW) for one in taken], now=NOW))


def told(*taken: Dispatch) -> list[str | None]:
    return [one.event.message_id for one in taken]


async def test_dispatchers_share_the_work_of_a_handler(stores: list[PostgresStore]) -> None:
    await record(stores[0], *reports(60))
    shares = await asyncio.gather(*(claim(stores[n % 2], f"owner-{n % 2}", limit=7) for n in range(12)))
    assert Counter(told(*(one for share in shares for one in share))) == Counter(told_of(60))


def told_of(count: int) -> list[str | None]:
    return [event.message_id for event in reports(count)]


async def test_when_a_lease_has_ended_another_goes_on_and_the_slow_one_settles_nothing(
    url: str, stores: list[PostgresStore]
) -> None:
    slow, other = stores
    await record(slow, *reports(2))
    taken = await claim(slow, "owner-0")
    await other.renew("owner-1", now=NOW, lease=LEASE)
    await other.renew("owner-1", now=NOW, lease=LEASE)
    assert await claim(other, "owner-1") == []
    await postgres_kit.execute(url, "UPDATE owners SET until_at = '-infinity' WHERE owner = 'owner-0'")
    await other.renew("owner-1", now=NOW, lease=LEASE)
    (first,) = await claim(other, "owner-1")
    assert (first.alone, first.interruptions) == (True, 1)
    assert await settle(slow, taken) == [False, False]
    assert await settle(other, [first]) == [True]
    (second,) = await claim(other, "owner-1")
    assert told(first, second) == told_of(2)


async def test_after_an_outage_nobody_takes_over_from_those_who_could_not_renew_either(
    url: str, stores: list[PostgresStore]
) -> None:
    await record(stores[0], report())
    taken = await claim(stores[0], "owner-0")
    await stores[1].renew("owner-1", now=NOW, lease=LEASE)
    await postgres_kit.execute(url, "UPDATE owners SET until_at = '-infinity'")
    await stores[1].renew("owner-1", now=NOW, lease=LEASE)
    await stores[0].renew("owner-0", now=NOW, lease=LEASE)
    await stores[1].renew("owner-1", now=NOW, lease=LEASE)
    assert await settle(stores[0], taken) == [True]


async def test_an_interrupted_event_is_alone_in_its_process_and_others_go_on(stores: list[PostgresStore]) -> None:
    await record(stores[0], *reports(3))
    (poison,) = await claim(stores[0], "owner-0", limit=1)
    await stores[0].settle([Settlement(poison, Interrupted("exit 1"), began_at=NOW)], now=NOW)
    (alone,) = await claim(stores[0], "owner-0")
    assert alone.alone
    assert await claim(stores[0], "owner-0") == []
    assert told(*await claim(stores[1], "owner-1")) == told_of(3)[1:]


async def test_a_thread_is_in_order_across_receivers_and_dispatchers(stores: list[PostgresStore]) -> None:
    first, second = stores
    await record(first, report("a", status=Status.SENT))
    await record(second, report("a", status=Status.DELIVERED), report("b"))
    (sent,) = await claim(first, "owner-0", limit=1, ordered=True)
    (free,) = await claim(second, "owner-1", ordered=True)
    assert (sent.event.message_id, free.event.message_id) == ("a", "b")
    assert await claim(first, "owner-0", ordered=True) == await claim(second, "owner-1", ordered=True) == []
    assert await settle(first, [sent]) == [True]
    (delivered,) = await claim(second, "owner-1", ordered=True)
    assert isinstance(delivered.event, type(sent.event))
    assert delivered.event.data["status"] == "delivered"


async def test_several_who_prune_at_the_same_moment_remove_each_event_once(stores: list[PostgresStore]) -> None:
    made = reports(400)
    await stores[0].record(callback(*made), made)
    assert await settle(stores[0], await claim(stores[0], "owner-0", limit=400)) == [True] * 400
    removed = await asyncio.gather(*(store.prune(after(days=1)) for store in stores * 2))
    assert sum(removed) >= 399
    told = await stores[0].stats(NOW)
    assert (told.events, told.handlers[0].received, told.handlers[0].done) == (1, 400, 400)


async def test_a_dispatcher_that_has_just_begun_is_patient_with_the_others(
    url: str, stores: list[PostgresStore]
) -> None:
    await record(stores[0], report())
    taken = await claim(stores[0], "owner-0")
    await postgres_kit.execute(url, "UPDATE owners SET until_at = clock_timestamp() - interval '1 s'")
    await stores[1].enrol(["crm"], owner="new", now=NOW)
    assert await settle(stores[0], taken) == [True]


async def test_of_several_who_raise_a_notice_one_does(stores: list[PostgresStore]) -> None:
    for state in ("open", "closed"):
        raised = await asyncio.gather(*(store.notify(notice(state=state)) for store in stores * 3))
        assert sorted(raised) == [False] * 5 + [True]


@pytest.mark.parametrize("fate", [LOST, UNHEARD, LATE])
async def test_a_claim_of_which_nobody_hears_is_given_back_as_if_it_had_not_been(url: str, fate: str) -> None:
    """Whoever claimed it never began, though its lease is renewed."""
    fates = [fate]
    async with proxied(url) as proxy:
        store = await PostgresStore.open(proxy.url, "dispatch", create=True)
        await store.enrol(["crm"], owner="doomed", now=NOW)
        await record(store, *reports(3))
        await store.renew("doomed", now=NOW, lease=LEASE)
        proxy.decide = lambda sent: fates.pop() if fates and b"doomed" in sent else PASSES
        with pytest.raises(StoreUnavailable):
            await claim(store, "doomed")
        taken = await claim(store, "doomed")
        await asyncio.sleep(2 * proxy.delay)
        taken += await claim(store, "doomed")
        assert told(*taken) == told_of(3)
        assert [(one.number, one.alone) for one in taken] == [(1, False)] * 3
        assert await settle(store, taken) == [True] * 3
        await store.close()


async def test_a_commit_with_a_warning_is_no_success(url: str) -> None:
    """So the server says that it did not wait for its standby, because somebody cancelled the wait."""
    store = await PostgresStore.open(url, "receive", create=True)
    await postgres_kit.execute(
        url,
        "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE WARNING 'canceling wait for synchronous replication'; RETURN NULL; END$$",
        "CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION warn()",
    )
    with pytest.raises(StoreUnavailable, match="did not commit as it should"):
        await record(store, report())
    await postgres_kit.execute(url, "DROP TRIGGER warns ON events")
    again = report()
    assert (await store.record(callback(again), [again])).outcome == "duplicate"
    await store.close()


@pytest.mark.parametrize("setting", ["synchronous_commit=off", "synchronous_commit=local"])
async def test_a_server_that_does_not_wait_for_its_disk_is_refused(url: str, setting: str) -> None:
    with pytest.raises(StoreUnusable, match="synchronous_commit"):
        await PostgresStore.open(f"{url}&{setting}", "receive", create=True)


async def test_a_database_without_our_tables_or_of_a_newer_version_is_refused(url: str) -> None:
    with pytest.raises(StoreMissing, match="creates them"):
        await PostgresStore.open(url, "command")
    await (await PostgresStore.open(url, "receive", create=True)).close()
    await postgres_kit.execute(url, "UPDATE schema_version SET version = 9999")
    for role in ("receive", "command"):
        with pytest.raises(StoreUnusable, match="install the newer version"):
            await PostgresStore.open(url, role, create=role == "receive")


async def test_several_make_the_tables_at_the_same_moment(url: str) -> None:
    stores = await asyncio.gather(*(PostgresStore.open(url, "receive", create=True) for _ in range(4)))
    for store in stores:
        await store.close()


async def test_behind_a_pooler_nothing_rests_on_a_session(url: str) -> None:
    store = await PostgresStore.open(f"{url}&pgbouncer=1", "dispatch", create=True)
    await store.enrol(["crm"], owner="us", now=NOW)
    await record(store, *reports(2))
    taken = await claim(store, "us")
    assert await settle(store, taken) == [True, True]
    assert await postgres_kit.values(url, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'") == []
    await store.close()


async def test_a_lock_makes_recording_unavailable_and_heals(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BUSY", 0.1)
    store = await PostgresStore.open(url, "receive", create=True)
    stranger = await asyncpg.connect(url)
    await stranger.execute("BEGIN; LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
    with pytest.raises(StoreUnavailable, match="locked by another session"):
        await record(store, report())
    assert "locked" in str(store.trouble())
    await stranger.close()
    await record(store, report())
    assert store.trouble() is None
    await store.close()


async def test_connections_that_the_server_ends_are_made_anew(url: str) -> None:
    name = url.partition("search_path=")[2]
    store = PostgresStore(url, "dispatch")
    store._server._name = name
    await store.start(create=True)
    await store.enrol(["crm"], owner="us", now=NOW)
    for message in "ab":
        await record(store, report(message))
        ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'receiver {name}'"
        assert await postgres_kit.values(url, ending)
    await record(store, report("c"))
    assert told(*await claim(store, "us")) == ["a", "b", "c"]
    await store.close()
