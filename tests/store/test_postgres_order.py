"""No event is ever skipped: neither one that commits late, nor one whose commit is in doubt, nor beside long work."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import postgres_kit
import pytest
from factories import NOW, after, callback, report, reports
from proxy_kit import LATE, LOST, PASSES, UNHEARD, proxied

from drills.waiting import until
from receiver.errors import StoreUnavailable
from receiver.events import Event
from receiver.store.base import Done, Settlement
from receiver.store.plan import Entry, Known, Planner
from receiver.store.postgres import PostgresStore, inserting, streams
from receiver.store.postgres.places import Place
from receiver.store.views import Selector

from .conftest import LEASE

pytestmark = pytest.mark.anyio


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """An empty schema with its tables, and a handler that is owed everything."""
    url = await postgres_kit.fresh()
    async with opened(url) as store:
        await store.register(["crm"])
    yield url
    await postgres_kit.drop(url)


@asynccontextmanager
async def opened(url: str, role: str = "receive") -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(url, role, create=True)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def uncommitted(url: str, message: str) -> AsyncIterator[asyncpg.Connection]:
    """A receiver that has written an event and is just about to commit."""
    db = await asyncpg.connect(url)
    event = report(message)
    async with db.transaction():
        stream = await streams.open_stream(db, "late")
    transaction = db.transaction()
    await transaction.start()
    entry = Entry(callback(event), [event], "", asyncio.get_running_loop().create_future())
    known = Known({}, {})
    plan = Planner(0, 0, known, place=lambda position: Place(stream.number, position)).draw([entry])
    assert await inserting.insert(db, stream, plan, known)
    try:
        yield transaction
    finally:
        await db.close()


async def recorded(store: PostgresStore, *names: str) -> None:
    for name in names:
        event = report(name, received_at=after(60))
        await store.record(callback(event), [event])


async def claimed(store: PostgresStore, owner: str = "us") -> list[str]:
    """What the handler is given now; it is done with it."""
    taken = await store.claim("crm", owner=owner, limit=500, now=NOW, lease=LEASE)
    await store.settle([Settlement(one, Done(), began_at=NOW) for one in taken], now=NOW)
    return [one.event.message_id or "" for one in taken]


async def test_an_event_that_commits_late_is_given_and_followed_all_the_same(url: str) -> None:
    """Its time and its id are those of before, and everybody has passed them already."""
    async with opened(url) as store, uncommitted(url, "late") as transaction:
        await recorded(store, "a", "b")
        seen = [one async for one in store.events(Selector())]
        assert await claimed(store) == ["a", "b"]
        assert await claimed(store) == []
        cursor, end = seen[-1].cursor, await store.end()
        await transaction.commit()
        await recorded(store, "c")
        assert await claimed(store) == ["late", "c"]
        for place in (cursor, end):
            assert [one.event.message_id async for one in store.events(Selector(), after=place)] == ["late", "c"]
        assert [one.event.message_id for one in await store.find("late")] == ["late"]
        (told,) = (await store.stats(NOW)).handlers
        assert (told.received, told.done, told.pending) == (4, 4, 0)


async def test_a_stream_is_not_closed_over_a_commit_that_is_still_on_its_way(url: str) -> None:
    """Who closes it waits; so its end is the end."""
    async with opened(url) as store, uncommitted(url, "late") as transaction:
        ((number,),) = await postgres_kit.values(url, "SELECT max(stream) FROM streams")
        closing = asyncio.create_task(_close(url, int(str(number))))
        await asyncio.sleep(0.2)
        assert not closing.done()
        await transaction.commit()
        await closing
        assert await postgres_kit.values(url, f"SELECT closed, last FROM streams WHERE stream = {number}") == [
            (True, 1)
        ]
        assert await claimed(store) == ["late"]


async def _close(url: str, stream: int) -> None:
    db = await asyncpg.connect(url)
    async with db.transaction():
        await streams.close_stream(db, stream)
    await db.close()


async def test_who_was_silent_for_too_long_goes_on_in_a_fresh_stream(url: str) -> None:
    async with opened(url) as store:
        await recorded(store, "a")
        await postgres_kit.execute(url, "UPDATE streams SET seen_at = '-infinity'")
        db = await asyncpg.connect(url)
        async with db.transaction():
            await streams.close_silent(db)
        await db.close()
        await recorded(store, "b")
        assert await claimed(store) == ["a", "b"]
        assert len(await postgres_kit.values(url, "SELECT 1 FROM streams WHERE NOT closed")) == 1


@pytest.mark.parametrize("fate", [LOST, UNHEARD, LATE])
async def test_a_commit_of_which_nobody_hears_is_answered_503_and_the_retry_tells_the_truth(
    url: str, fate: str
) -> None:
    """In any case it is there once in the end, and given once."""
    fates = [fate]
    async with proxied(url) as proxy, opened(proxy.url) as store, opened(url, "dispatch") as dispatch:
        await recorded(store, "before")
        proxy.decide = lambda sent: fates.pop() if fates and b"doomed" in sent else PASSES
        with pytest.raises(StoreUnavailable):
            await recorded(store, "doomed")
        seen = await claimed(dispatch)
        await recorded(store, "doomed", "b")
        await asyncio.sleep(2 * proxy.delay)
        seen += await claimed(dispatch)
        assert Counter(seen) == Counter(["before", "doomed", "b"])
        assert proxy.done.count(fate) == 1


async def test_long_transactions_hold_nobody_up(url: str) -> None:
    """Neither one that reads nor one that writes: a naive cursor would wait for it, or pass over what is behind it."""
    reading, writing = await asyncpg.connect(url), await asyncpg.connect(url)
    await reading.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM events")
    await writing.execute("BEGIN; CREATE TABLE meanwhile (); SELECT pg_current_xact_id()")
    async with opened(url) as first, opened(url) as second:
        for n in range(10):
            await recorded(first, f"first-{n}")
            await recorded(second, f"second-{n}")
            assert await claimed(first) == [f"first-{n}", f"second-{n}"]
    await reading.close()
    await writing.close()


class Crowd:
    """Providers, dispatchers and somebody who follows the log, all at once."""

    def __init__(self) -> None:
        self.dice = random.Random(11)
        self.stop = asyncio.Event()
        self.given: list[str] = []
        self.followed: list[str] = []

    async def provide(self, store: PostgresStore, name: str) -> None:
        """Send each until it is acknowledged."""
        for event in reports(60, prefix=name):
            await until(partial(self._sent, store, event), within=20)

    async def _sent(self, store: PostgresStore, event: Event) -> bool:
        with contextlib.suppress(StoreUnavailable):
            await store.record(callback(event), [event])
            return True
        return False

    async def handle(self, store: PostgresStore, owner: str) -> None:
        while not self.stop.is_set():
            self.given += await claimed(store, owner)
            await asyncio.sleep(self.dice.random() * 0.02)

    async def follow(self, store: PostgresStore, after: Any) -> None:
        """As `receiver events --follow` does."""
        while not self.stop.is_set():
            async for stored in store.events(Selector(), after=after):
                self.followed.append(stored.event.message_id or "")
                after = stored.cursor
            await asyncio.sleep(self.dice.random() * 0.02)


async def test_amid_all_of_it_every_event_is_stored_once_and_given_once(url: str) -> None:
    """Each message comes to two of three receivers at about the same time, and every sixth commit goes wrong."""
    crowd = Crowd()
    fates = [PASSES] * 15 + [LOST, UNHEARD, LATE]
    async with contextlib.AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(proxied(url))
        writers = [await stack.enter_async_context(opened(proxy.url)) for _ in range(3)]
        handlers = [await stack.enter_async_context(opened(url, "dispatch")) for _ in range(2)]
        command = await stack.enter_async_context(opened(url, "command"))
        end = await command.end()
        proxy.decide = lambda _: crowd.dice.choice(fates)
        watching = [asyncio.create_task(crowd.handle(one, f"owner-{n}")) for n, one in enumerate(handlers)]
        watching.append(asyncio.create_task(crowd.follow(command, end)))
        pairs = [("a", 0), ("a", 1), ("b", 1), ("b", 2), ("c", 2), ("c", 0)]
        await asyncio.gather(*(crowd.provide(writers[number], name) for name, number in pairs))
        proxy.decide = lambda _: PASSES
        await asyncio.sleep(3 * proxy.delay)
        crowd.stop.set()
        await asyncio.gather(*watching)
        expected = Counter(event.message_id for name in "abc" for event in reports(60, prefix=name))
        assert {LOST, UNHEARD, LATE} <= set(proxy.done)
        assert Counter([one.event.message_id async for one in command.events(Selector())]) == expected
        assert Counter(crowd.given) == expected
        assert Counter(crowd.followed) == expected
