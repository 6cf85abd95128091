"""The laws of a store on SQLite, and what only SQLite's two files promise."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from factories import NOW, PHONE, after, report, reports

from drills.waiting import until
from receiver.errors import StoreMissing, StoreTaken, StoreUnavailable
from receiver.events import DeliveryReport, Status
from receiver.store.base import Store
from receiver.store.moving import Movable
from receiver.store.sqlite import SqliteMove, SqliteStore, care, looking, lookup

from .conftest import House, retry
from .contract import *  # noqa: F403 - every law there is a test here
from .contract.backing_up import *  # noqa: F403 - as above

pytestmark = pytest.mark.anyio

DIGITS = PHONE.removeprefix("+")
"""PHONE as the store keeps it."""


class SqliteHouse(House):
    """A receiver.db in a folder, opened by its three roles."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "receiver.db"
        super().__init__(self._open, self._kill)

    async def _open(self, role: str) -> Store:
        return await SqliteStore.open(self.path, role=role, create=role != "command")

    async def another(self) -> House:
        return SqliteHouse(self.path.parent / "another")

    async def moved(self, *, create: bool = False) -> Movable:
        return await SqliteMove.open(self.path, create=create)

    @staticmethod
    def _kill(store: Store) -> None:
        assert isinstance(store, SqliteStore)
        store.abandon()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[SqliteHouse]:
    house = SqliteHouse(tmp_path)
    await house.open()
    yield house
    await house.close()


async def test_a_store_is_two_files(house: SqliteHouse) -> None:
    names = {path.name for path in house.path.parent.glob("*.db")}
    assert names == {"receiver.db", "receiver.dispatch.db"}


@pytest.mark.parametrize("role", ["receive", "dispatch", "command"])
async def test_a_missing_database_is_told_and_not_created(tmp_path: Path, role: str) -> None:
    with pytest.raises(StoreMissing):
        await SqliteStore.open(tmp_path / "receiver.db", role=role, create=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("role", ["receive", "dispatch"])
async def test_a_second_process_of_a_role_is_told_the_pid_of_the_first(
    house: SqliteHouse, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.store.sqlite.store.PATIENCE", timedelta(0))
    with pytest.raises(StoreTaken, match=str(os.getpid())):
        await SqliteStore.open(house.path, role=role, create=True)


async def test_commands_work_beside_each_other(house: SqliteHouse) -> None:
    second = await SqliteStore.open(house.path, role="command", create=False)
    assert (await second.stats(NOW)).events == 0
    await second.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A house opened after this waits a moment for a lock, not two seconds."""
    monkeypatch.setattr("receiver.store.sqlite.files.BUSY", 0.1)


async def test_a_lock_held_by_a_stranger_makes_recording_unavailable_and_heals(
    impatient: None, house: SqliteHouse
) -> None:
    stranger = sqlite3.connect(house.path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        await house.record(report())
    stranger.execute("ROLLBACK")
    stranger.close()
    await house.receive.probe(NOW)
    assert (await house.record(report())).outcome == "stored"


# the view `message_status`


def statuses(house: SqliteHouse) -> list[tuple[str, str | None, str | None, str, str]]:
    """What the view tells of each message: source, message id, reference, recipient's digits, status."""
    with closing(sqlite3.connect(house.path)) as reader:
        return reader.execute(
            "SELECT source, message_id, reference, recipient, status FROM message_status ORDER BY 1, 2, 3, 4"
        ).fetchall()


def in_both_orders(*told: DeliveryReport) -> pytest.MarkDecorator:
    """Whichever of two reports comes first."""
    return pytest.mark.parametrize("came", [told, told[::-1]], ids=lambda came: f"{came[0].status} first")


@in_both_orders(report(status=Status.DELIVERED, occurred_at=after(-9)), report(status=Status.SENT))
async def test_a_late_sent_never_hides_delivered(house: SqliteHouse, came: tuple[DeliveryReport, ...]) -> None:
    await house.stored(*came)
    assert statuses(house) == [("spryng", "m-1", None, DIGITS, "delivered")]


@in_both_orders(report(status=Status.EXPIRED, occurred_at=after(-9)), report(status=Status.FAILED))
async def test_of_two_reports_of_one_rank_the_later_is_the_status(
    house: SqliteHouse, came: tuple[DeliveryReport, ...]
) -> None:
    await house.stored(*came)
    assert statuses(house) == [("spryng", "m-1", None, DIGITS, "failed")]


async def test_a_report_without_a_time_counts_as_of_when_it_came(house: SqliteHouse) -> None:
    await house.stored(
        report(status=Status.FAILED, occurred_at=None, received_at=after(9)),
        report(status=Status.EXPIRED, occurred_at=after(5), received_at=after(20)),
    )
    assert statuses(house) == [("spryng", "m-1", None, DIGITS, "failed")]


async def test_each_recipient_of_a_message_and_each_source_has_a_status_of_its_own(house: SqliteHouse) -> None:
    await house.stored(
        report(),
        report(recipient="+31687654321", status=Status.FAILED),
        report(source="spryng-marketing", status=Status.SENT),
    )
    assert statuses(house) == [
        ("spryng", "m-1", None, DIGITS, "delivered"),
        ("spryng", "m-1", None, "31687654321", "failed"),
        ("spryng-marketing", "m-1", None, DIGITS, "sent"),
    ]


async def test_without_an_id_the_reference_names_the_message(house: SqliteHouse) -> None:
    await house.stored(
        report(None, reference="order-1", status=Status.DELIVERED, occurred_at=after(-9)),
        report(None, reference="order-1", status=Status.SENT),
        report(None, reference="order-2", status=Status.BUFFERED),
    )
    assert statuses(house) == [
        ("spryng", None, "order-1", DIGITS, "delivered"),
        ("spryng", None, "order-2", DIGITS, "buffered"),
    ]


async def test_messages_with_ids_are_told_apart_though_they_share_a_reference(house: SqliteHouse) -> None:
    await house.stored(report("m-1", reference="order-1"), report("m-2", reference="order-1", status=Status.SENT))
    assert statuses(house) == [
        ("spryng", "m-1", "order-1", DIGITS, "delivered"),
        ("spryng", "m-2", "order-1", DIGITS, "sent"),
    ]


async def test_of_many_that_wait_the_counters_tell_how_many(
    house: SqliteHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "MOST_COUNTED", 1)
    await house.enrol("crm")
    await house.stored(*(report(name, received_at=after(n)) for n, name in enumerate("abcd")))
    first, *others = await house.claim(limit=3)
    await house.finish([first])
    for other in others:
        assert await house.settle(other, retry())
    told = await house.counters()
    assert (told.received, told.done, told.pending, told.running) == (4, 1, 3, 0)
    assert told.oldest_pending_at == after(1)


async def test_of_very_many_each_has_its_turn_as_a_probe(house: SqliteHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("claiming", "settling"):
        monkeypatch.setattr(f"receiver.store.sqlite.{module}.MOST_PROBED", 2)
    await house.enrol("crm")
    ids = await house.stored(*reports(4))
    for one in await house.claim():
        await house.settle(one, retry(0, target=True))
    probed = []
    for seconds in range(1, 9):
        (one,) = await house.probe(now=after(seconds))
        probed.append(one.event.id)
        await house.settle(one, retry(seconds, target=True, charged=False, probe=True), now=after(seconds))
    assert probed == ids * 2


async def test_what_is_in_a_run_and_what_is_behind_all_runs_is_found_alike(
    house: SqliteHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "RUN", 8)
    monkeypatch.setattr(care, "READ", 3)
    monkeypatch.setattr(care, "ROUND", 0.01)
    ids = await house.stored(*(report(f"m-{n}", recipient=f"+3161234{n:04}") for n in range(20)))
    await house.enrol("crm")
    await until(lambda: runs(house) == [(1, 8, 1), (9, 16, 1)])
    for n, name in enumerate(ids):
        for key in (name, f"m-{n}", f"061234{n:04}"):
            assert [one.event.id for one in await house.command.find(key)] == [name]


def runs(house: SqliteHouse) -> list[tuple[int, int, int]]:
    with closing(sqlite3.connect(house.path.with_name("receiver.dispatch.db"))) as db:
        return db.execute("SELECT first, last, ready FROM runs ORDER BY first").fetchall()
