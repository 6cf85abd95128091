"""Erasing on SQLite: not a byte of the number is left in any file, wherever SQLite had put it."""

import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from threading import Event as Stop

import pytest
from factories import NOW, PHONE, after, callback, message, report

from receiver.errors import StoreTaken, StoreUnavailable
from receiver.numbers import Written
from receiver.store.base import Dead, Done, Released, quietly
from receiver.store.sqlite import files, traces
from receiver.store.sqlite.pages import free_pages

from .conftest import retry
from .test_sqlite import SqliteHouse

pytestmark = pytest.mark.anyio

OTHER = "+31687654321"
WRITTEN = Written(PHONE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    house = SqliteHouse(tmp_path)
    await house.open()
    yield house
    await house.close()


def holding(folder: Path, written: Written = WRITTEN) -> set[str]:
    """The files in which it stands, in whatever form: the bytes are looked at, whatever SQLite says is there."""
    return {file.name for file in folder.iterdir() if file.is_file() and written.in_file(file.read_bytes())}


async def lived(house: SqliteHouse, rounds: int = 40) -> None:
    """A store with a past: texts short and long, retries, dead letters, answers with the number in them."""
    dice = random.Random(7)
    await house.enrol("crm", "audit")
    for n in range(rounds):
        for m in range(5):
            phone = PHONE if dice.random() < 0.4 else f"+3168{dice.randrange(10**7):07}"
            raw = {"MSISDN": phone, "PARM": "y" * dice.choice((3, 300, 6000))}
            made = message("x" * dice.choice((3, 300, 6000)), originator=phone, raw=raw, occurred_at=after(n * 5 + m))
            await house.receive.record(callback(made, body=f"MSISDN=%2B{phone[1:]}".encode() * 9), [made])
        for handler in ("crm", "audit"):
            for one in await house.claim(handler, limit=4, now=after(n * 40)):
                answer = f"told {one.event.thread}"
                outcome = dice.choice((Done(answer), Done(answer), retry(), Dead(answer), Released()))
                await house.settle(one, outcome, now=after(n * 40))


async def test_no_byte_of_the_number_is_left_in_any_file(house: SqliteHouse, tmp_path: Path) -> None:
    await lived(house)
    await house.receive.record(
        callback(query=b"RECIPIENT=%2B31%206%2012345678", body=PHONE.encode("utf-16")), [], fault="x"
    )
    assert holding(tmp_path) >= {"receiver.db-wal", "receiver.dispatch.db", "receiver.dispatch.db-wal"}
    told = await house.command.erase(PHONE, now=NOW)
    assert told.traces == 0
    assert holding(tmp_path) == set()
    await house.balanced()


async def test_what_was_deleted_long_ago_is_overwritten_where_it_lay(house: SqliteHouse, tmp_path: Path) -> None:
    """As a store of before may be: whole pages given up with all that was on them, and gaps between rows."""
    await house.stored(*(message("z" * 3000, originator=PHONE, occurred_at=after(n)) for n in range(60)))
    kept = await house.stored(*(report(f"m-{n}", recipient=OTHER) for n in range(9)))
    await house.close()
    with closing(sqlite3.connect(house.path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=OFF")
        db.execute("DELETE FROM events WHERE position <= 60 AND position % 7")
        db.execute("DELETE FROM callbacks WHERE number <= 60")
        db.execute("UPDATE events SET originator = '', data = '{}' WHERE position <= 60")
    await house.open()
    assert free_pages(house.path)
    assert holding(tmp_path) == {"receiver.db"}
    assert (await house.command.erase(PHONE, now=NOW)).traces == 0
    assert holding(tmp_path) == set()
    assert await house.ids(kind="dlr") == kept


async def test_gaps_in_trees_of_keys_are_closed(house: SqliteHouse, tmp_path: Path) -> None:
    """Reasons of exceptions lie in the leaves of a key, and in those of an index: such a table is written anew."""
    await house.enrol("crm")
    ids = await house.stored(*(report(f"m-{n}", recipient=OTHER) for n in range(90)))
    for one in await house.claim():
        await house.settle(one, Dead(f"no such number: {PHONE}"))
    await house.close()
    path = files.dispatch_path(house.path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=OFF")
        db.execute("UPDATE exceptions SET reason = 'gone' WHERE position % 2")
        db.execute("UPDATE exceptions SET reason = 'gone'")
        db.execute("DELETE FROM attempts WHERE line > 1")
        db.execute("UPDATE attempts SET answer = ''")
    await house.open()
    assert holding(tmp_path) == {"receiver.dispatch.db"}
    assert (await house.command.erase(PHONE, now=NOW)).traces == 0
    assert holding(tmp_path) == set()
    assert [line.event for line in await house.lines("dead")] == ids


async def test_what_lies_in_roots_of_old_trees_goes_when_nobody_runs(
    house: SqliteHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another SQLite may have left them: the first leaf of a table becomes its root, with all that was on it."""
    with monkeypatch.context() as other:
        given = files.pragmas
        other.setattr(
            files, "pragmas", lambda *file, **how: [one.replace("=FAST", "=OFF") for one in given(*file, **how)]
        )
        await house.reopen()
        await house.stored(*(message("x" * 90, originator=PHONE, occurred_at=after(n)) for n in range(90)))
    assert (await house.command.erase(PHONE, now=NOW)).traces > 0
    await house.receive.close()
    await house.dispatch.close()
    assert (await house.command.erase(PHONE, now=NOW)).traces == 0
    assert holding(tmp_path) == set()


async def test_what_no_handler_has_come_to_counts_as_cancelled_at_once(house: SqliteHouse) -> None:
    await house.enrol("crm")
    await house.stored(report("m-1"), report("m-2", recipient=OTHER), report("m-3"))
    await house.command.erase(PHONE, now=NOW)
    counters = await house.counters()
    assert (counters.cancelled, counters.pending) == (2, 1)
    assert (await house.dispatch.waiting("crm", now=NOW)).ready == 1


async def test_what_other_people_wrote_is_left_alone(house: SqliteHouse, tmp_path: Path) -> None:
    long = message(f"call {PHONE} " * 800, originator=OTHER)
    (kept,) = await house.stored(long)
    await house.stored(report())
    told = await house.command.erase(PHONE, now=NOW)
    assert (told.mentions, told.traces) == (1, 0)
    assert holding(tmp_path) == {"receiver.db"}
    (stored,) = await house.events()
    assert (stored.event.id, stored.event.text) == (kept, long.text)


async def test_a_reader_that_stays_holds_it_up_and_it_says_so(
    house: SqliteHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "PATIENCE", 0.2)
    await house.stored(report())
    with closing(sqlite3.connect(house.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM events").fetchall()
        with pytest.raises(StoreUnavailable, match="being read"):
            await house.command.erase(PHONE, now=NOW)
        assert (await house.record(report("m-2", recipient=OTHER))).outcome == "stored"
    assert (await house.command.erase(PHONE, now=NOW)).traces == 0


async def test_it_waits_for_no_backup_that_would_hold_what_is_erased(house: SqliteHouse) -> None:
    lock = files.Lock(house.path.with_name("receiver.db.backup.lock"))
    with pytest.raises(StoreTaken, match="backup is being made"):
        await house.command.erase(PHONE, now=NOW)
    lock.release()


async def test_it_ends_when_nobody_waits_for_it(house: SqliteHouse) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(StoreUnavailable, match="interrupted"):
        traces.sweep(house.path, WRITTEN, quietly, stop)
