"""Laws of notices: when one is opened, when it is closed, and what it says."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_kit import Scripted, Yard
from factories import NOW, after, callback

from drills.waiting import until
from receiver.errors import StoreUnavailable
from receiver.events import Notice
from receiver.handler import Discard
from receiver.notices import Disk, Notices, Refusals, disk_of, troubles
from receiver.store.views import DispatchSelector, HandlerStats, Selector, Standing, Stats

pytestmark = pytest.mark.anyio
MINUTE = timedelta(minutes=1)
GIB = 1024**3
ROOMY = Disk(free=50 * GIB, size=100 * GIB)


def handler(**changes: Any) -> HandlerStats:
    standing = Standing("crm", changes.get("state", "ok"), changes.pop("since", None), changes.pop("reason", ""))
    standing.last_error = changes.pop("last_error", "")
    counts = dict.fromkeys(("received", "done", "filtered", "cancelled", "pending", "running", "dead"), 0)
    values = {"handler": "crm", "state": "ok", "oldest_pending_at": None, "standing": standing, **counts}
    return HandlerStats(**(values | changes))


class Figures:
    """A store that has these figures and keeps notices, or cannot."""

    def __init__(self, *handlers: HandlerStats, **values: Any) -> None:
        self.stats_now = Stats(handlers=handlers, **values)
        self.stored: list[Notice] = []
        self.full = False
        self.open: set[tuple[str, str]] = set()

    async def stats(self, now: datetime) -> Stats:
        return self.stats_now

    async def notify(self, notice: Notice) -> bool:
        if self.full:
            raise StoreUnavailable("disk full")
        key = (notice.notice, notice.about)
        if (key in self.open) == (notice.state == "open"):
            return False
        self.open ^= {key}
        self.stored.append(notice)
        return True

    @property
    def said(self) -> list[tuple[str, str, str]]:
        return [(each.notice, each.about, each.state) for each in self.stored]


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


def found(
    *handlers: HandlerStats, patience: dict[str, timedelta] | None = None, **values: Any
) -> list[tuple[str, str]]:
    stats = Stats(handlers=handlers, **values)
    all_troubles = troubles(stats, NOW, patience=patience or {}, down_after=5 * MINUTE, late_after=10 * MINUTE)
    return [each.key for each in all_troubles]


# what is wrong


def test_a_handler_on_hold_for_more_than_five_minutes_is_down() -> None:
    assert found(handler(state="held", since=after(minutes=-5))) == []
    assert found(handler(state="held", since=after(minutes=-6))) == [("handler_down", "crm")]


def test_a_paused_handler_is_down_at_once() -> None:
    assert found(handler(state="paused", since=NOW)) == [("handler_down", "crm")]


def test_a_handler_whose_oldest_event_waits_longer_than_ten_minutes_is_late() -> None:
    assert found(handler(pending=1, oldest_pending_at=after(minutes=-10))) == []
    assert found(handler(pending=1, oldest_pending_at=after(minutes=-11))) == [("handler_late", "crm")]


def test_a_handler_that_gathers_may_be_late_by_as_much() -> None:
    late = handler(pending=1, oldest_pending_at=after(minutes=-40))
    assert found(late, patience={"crm": 30 * MINUTE}) == []
    assert found(late, patience={"crm": 29 * MINUTE}) == [("handler_late", "crm")]


def test_dead_letters_and_quarantine_are_told() -> None:
    assert found(handler(dead=1), quarantine={"spryng": 2, "bulkvs": 0}) == [
        ("dead_letters", "crm"),
        ("quarantine", "spryng"),
    ]


def test_a_handler_that_is_not_configured_is_nobodys_trouble() -> None:
    assert found(handler(state="absent", dead=3, pending=9, oldest_pending_at=after(hours=-9))) == []


@pytest.mark.parametrize(
    ("disk", "low"),
    [
        (Disk(50 * GIB, 100 * GIB), False),
        (Disk(9 * GIB, 100 * GIB), True),
        (Disk(GIB - 1, 4 * GIB), True),
        (Disk(GIB, 4 * GIB), False),
    ],
)
def test_a_disk_is_low_below_a_tenth_or_one_gib(disk: Disk, low: bool) -> None:
    assert disk.is_low(already=False) is low


def test_a_low_disk_is_so_until_it_has_clearly_more() -> None:
    assert Disk(int(10.5 * GIB), 100 * GIB).is_low(already=True)
    assert not Disk(12 * GIB, 100 * GIB).is_low(already=True)


def test_the_disk_of_a_folder_is_known(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    assert 0 <= disk.free <= disk.size


# open and closed


async def test_a_notice_is_opened_once_and_closed_by_a_second_event() -> None:
    figures, clock = Figures(handler(state="paused", since=NOW)), Clock()
    notices = Notices(figures, clock=clock)  # type: ignore[arg-type]
    await notices.look()
    await notices.look()
    clock.now = after(minutes=38)
    figures.stats_now = Stats(handlers=(handler(),))
    await notices.look()
    await notices.look()
    assert figures.said == [("handler_down", "crm", "open"), ("handler_down", "crm", "closed")]
    assert figures.stored[-1].text == "crm answers again after 38 min."


async def test_a_notice_of_the_process_before_is_closed_when_it_is_over() -> None:
    figures = Figures(handler())
    figures.open = {("handler_down", "crm"), ("disk_low", "disk")}
    await Notices(figures, clock=Clock(), disk=lambda: ROOMY).look()  # type: ignore[arg-type]
    assert {(*each, "closed") for each in [("handler_down", "crm"), ("disk_low", "disk")]} == set(figures.said)


async def test_a_notice_that_cannot_be_stored_is_tried_again() -> None:
    figures = Figures(handler(dead=1))
    notices = Notices(figures, clock=Clock())  # type: ignore[arg-type]
    figures.full = True
    await notices.look()
    assert notices.unstored
    figures.full = False
    await notices.look()
    assert figures.said == [("dead_letters", "crm", "open")]
    assert not notices.unstored


async def test_a_low_disk_is_told_and_its_end_too() -> None:
    figures, free = Figures(), [5 * GIB, 50 * GIB]
    notices = Notices(figures, clock=Clock(), disk=lambda: Disk(free.pop(0), 100 * GIB))  # type: ignore[arg-type]
    await notices.look()
    await notices.look()
    assert figures.said == [("disk_low", "disk", "open"), ("disk_low", "disk", "closed")]


# what is said


async def test_a_notice_says_since_when_what_waits_and_what_to_type() -> None:
    since = after(minutes=-20)
    figures = Figures(handler(state="held", since=since, pending=212, last_error="connection refused"))
    await Notices(figures, clock=Clock()).look()  # type: ignore[arg-type]
    (notice,) = figures.stored
    assert notice.text == (
        f"crm has not answered since {since.astimezone():%H:%M} — 212 events wait, nothing is lost. receiver handlers"
    )
    assert notice.facts == {"pending": 212, "last_error": "connection refused"}
    assert (notice.level, notice.since) == ("warning", since.replace(microsecond=0))


async def test_no_number_is_in_a_notice() -> None:
    paused = handler(state="paused", since=NOW, reason="unknown +31612345678", last_error="no 31612345678", dead=1)
    figures = Figures(paused)
    await Notices(figures, clock=Clock()).look()  # type: ignore[arg-type]
    assert len(figures.stored) == 2
    assert all(b"31612345678" not in each.to_json() for each in figures.stored)


# on a real store


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with Yard.opened(tmp_path) as yard:
        yield yard


async def test_dead_letters_are_told_to_another_handler_and_not_to_the_one_they_are_about(yard: Yard) -> None:
    def act(event: Any, _: Any) -> None:
        if event.kind == "dlr":
            raise Discard("no")

    crm = Scripted(act, kinds=["dlr", "notice"])
    mail = Scripted(kinds=["notice"], name="mail")
    notices = Notices(yard.store, clock=yard.clock)
    async with yard.dispatching(crm, mail):
        await yard.add_reports(1)
        await until(lambda: crm.seen)
        await until(lambda: _look(notices, mail))
        assert await yard.command.cancel(DispatchSelector(state="dead"), yard.clock()) == 1
        await notices.look()
        await until(lambda: len(mail.seen) == 2)
        await until(lambda: _filtered(yard))
    assert len(crm.seen) == 1
    kept = [each.event async for each in yard.command.events(Selector(kind="notice"))]
    assert [(each.notice, each.state) for each in kept if isinstance(each, Notice)] == [
        ("dead_letters", "open"),
        ("dead_letters", "closed"),
    ]


async def test_quarantine_is_told_by_source(yard: Yard) -> None:
    await yard.receive.record(callback(), [], fault="RECIPIENT is missing")
    await Notices(yard.store, clock=yard.clock).look()
    (kept,) = [each.event async for each in yard.command.events(Selector(kind="notice"))]
    assert isinstance(kept, Notice)
    assert (kept.notice, kept.about, kept.facts) == ("quarantine", "spryng", {"callbacks": 1})


async def _look(notices: Notices, mail: Scripted) -> bool:
    await notices.look()
    return bool(mail.seen)


async def _filtered(yard: Yard) -> bool:
    return (await yard.counters()).filtered == 2


# refused


def test_five_wrong_secrets_in_ten_minutes_open_a_notice_once() -> None:
    refusals = Refusals()
    opened = [refusals.wrong("spryng", after(minutes=minute)) for minute in range(7)]
    assert [each is not None for each in opened] == [False, False, False, False, True, False, False]


def test_five_wrong_secrets_in_more_than_ten_minutes_do_not() -> None:
    refusals = Refusals()
    assert not any(refusals.wrong("spryng", after(minutes=3 * count)) for count in range(20))


def test_sources_are_counted_apart() -> None:
    refusals = Refusals()
    assert not any(refusals.wrong(source, NOW) for source in ("spryng", "bulkvs") for _ in range(4))


def test_ten_quiet_minutes_close_it_and_it_can_open_again() -> None:
    refusals = Refusals()
    for _ in range(5):
        refusals.wrong("spryng", NOW)
    assert refusals.quiet(after(minutes=9)) == []
    (closed,) = refusals.quiet(after(minutes=10))
    assert (closed.notice, closed.about, closed.state) == ("refused", "spryng", "closed")
    assert [refusals.wrong("spryng", after(minutes=30)) is not None for _ in range(5)] == [False] * 4 + [True]
