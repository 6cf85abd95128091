"""Laws of "events out", on a real store."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from engine_kit import Batched, Scripted, Yard, is_running, until, worker
from factories import message, report

from receiver.errors import ConfigFault, HandlerStuck, StoreUnavailable
from receiver.handler import Discard, Pause, Retry, Unavailable
from receiver.store.base import Settlement, Standing

pytestmark = pytest.mark.anyio


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with Yard.opened(tmp_path) as yard:
        yield yard


# going well


async def test_every_event_reaches_the_handler_in_the_order_of_the_log(yard: Yard) -> None:
    crm = Scripted(concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(50)
        await yard.done(50)
    assert crm.ids == [f"m-{number}" for number in range(1, 51)]


async def test_what_the_handler_returns_is_the_answer_in_the_attempt_log(yard: Yard) -> None:
    async with yard.dispatching(Scripted(lambda *_: "204")):
        (event_id,) = await yard.add_reports(1)
        await yard.done(1)
    (attempt,) = (await yard.line(event_id)).lines
    assert (attempt.verdict, attempt.answer, attempt.number) == ("done", "204", 1)


async def test_no_more_calls_run_than_the_concurrency(yard: Yard) -> None:
    crm = Scripted(lambda *_: asyncio.sleep(0.005), concurrency=3)
    async with yard.dispatching(crm):
        await yard.add_reports(30)
        await yard.done(30)
    assert crm.most == 3


async def test_a_slow_handler_is_given_no_more_than_its_concurrency(yard: Yard) -> None:
    gate = asyncio.Event()
    crm = Scripted(lambda *_: gate.wait(), concurrency=2)
    await yard.enrol("crm")
    await yard.add_reports(20)
    async with yard.dispatching(crm):
        await until(lambda: crm.running == 2)
        counters = await yard.counters()
        assert (counters.running, counters.pending) == (2, 18)
        gate.set()
        await yard.done(20)


async def test_what_a_filter_keeps_away_is_counted_and_never_seen(yard: Yard) -> None:
    crm = Scripted(kinds=["mo"])
    async with yard.dispatching(crm):
        await yard.add(report("m-1"), message("STOP", message_id="m-2"))
        counters = await yard.done(1)
    assert crm.ids == ["m-2"]
    assert counters.filtered == 1


async def test_the_attempt_says_which_it_is_of_how_many_and_since_when(yard: Yard) -> None:
    crm = Scripted(lambda event, attempt: _raise(Retry("no")) if attempt.number == 1 else None, retries=["10ms"])
    async with yard.dispatching(crm):
        await yard.add_reports(1)
        await yard.done(1)
    (_, first), (_, second) = crm.seen
    assert [(first.number, first.of), (second.number, second.of)] == [(1, 2), (2, 2)]
    assert abs(second.first_at - first.first_at) < timedelta(milliseconds=1)
    assert second.deadline > first.deadline
    assert first.handler == "crm"


# again, dead


async def test_n_retries_make_n_plus_one_attempts_then_a_dead_letter(yard: Yard) -> None:
    crm = Scripted(lambda *_: _raise(KeyError("nope")), retries=["10ms", "10ms"])
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: _dead(yard))
    line = await yard.line(event_id)
    assert (line.state, line.reason, len(line.lines)) == ("dead", "KeyError: 'nope'", 3)


async def test_discard_is_a_dead_letter_now(yard: Yard) -> None:
    async with yard.dispatching(Scripted(lambda *_: _raise(Discard("no such customer")))):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: _dead(yard))
    assert (await yard.line(event_id)).reason == "no such customer"


async def test_one_bad_event_does_not_hold_up_the_rest(yard: Yard) -> None:
    def act(event: Any, _: Any) -> None:
        if event.message_id == "m-1":
            raise Unavailable("it always fails")

    crm = Scripted(act, concurrency=1, retries=["10ms"] * 9)
    async with yard.dispatching(crm):
        await yard.add_reports(20)
        counters = await yard.done(19)
        await until(lambda: _dead(yard))
    assert counters.state == "ok"


async def test_an_event_to_be_tried_again_waits_as_long_as_the_target_asks(yard: Yard) -> None:
    crm = Scripted(lambda *_: _raise(Retry("busy", after=3600)), retries=["10ms"])
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        line = await until(lambda: _retried(yard, event_id))
        assert timedelta(minutes=59) < line.due_at - yard.clock() <= timedelta(hours=1)


async def test_a_clock_set_back_does_not_strand_a_retry(yard: Yard) -> None:
    crm = Scripted(lambda _, attempt: _raise(Retry("later")) if attempt.number == 1 else None, retries=["1h"])
    yard.shift = timedelta(days=3)
    async with yard.dispatching(crm):
        (event_id,) = await yard.add_reports(1)
        await until(lambda: _retried(yard, event_id))
        yard.shift = timedelta(0)
        await yard.done(1)


# hold


async def test_five_failures_of_the_target_hold_and_the_first_success_lets_everything_go(yard: Yard) -> None:
    down = True
    crm = Scripted(lambda *_: _raise(ConnectionRefusedError("refused")) if down else None, concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(20)
        await until(lambda: _state(yard, "held"))
        down = False
        await yard.done(20)
        await until(lambda: _state(yard, "ok"))


async def test_on_hold_only_probes_are_tried_and_nothing_dies(yard: Yard) -> None:
    crm = Scripted(lambda *_: _raise(Unavailable("down")), concurrency=4, retries=["10ms"] * 4)
    async with yard.dispatching(crm):
        await yard.add_reports(30)
        await until(lambda: _state(yard, "held"))
        before = len(crm.seen)
        crm.most = 0
        await until(lambda: len(crm.seen) >= before + 12)
        counters = await yard.counters()
    assert crm.most == 1
    assert (counters.dead, counters.pending + counters.running) == (0, 30)


async def test_probes_take_turns_so_that_one_bad_event_cannot_keep_the_hold(yard: Yard) -> None:
    down = True

    def act(event: Any, _: Any) -> None:
        if down or event.message_id == "m-1":
            raise Unavailable("down")

    async with yard.dispatching(Scripted(act, concurrency=1)):
        await yard.add_reports(8)
        await until(lambda: _state(yard, "held"))
        down = False
        await yard.done(7)


async def test_the_end_of_a_hold_charges_one_attempt_to_what_failed_as_a_probe(yard: Yard) -> None:
    down = True
    crm = Scripted(lambda *_: _raise(Unavailable("down")) if down else None, concurrency=1)
    async with yard.dispatching(crm):
        ids = await yard.add_reports(6)
        await until(lambda: _state(yard, "held"))
        before = len(crm.seen)
        await until(lambda: len(crm.seen) >= before + 12)
        down = False
        await yard.done(6)
    last = {message_id: attempt.number for message_id, attempt in crm.seen}
    assert len(ids) == 6
    assert max(last.values()) <= 3


async def test_a_hold_outlives_a_restart(yard: Yard) -> None:
    crm = Scripted(lambda *_: _raise(Unavailable("down")), concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(9)
        await until(lambda: _state(yard, "held"))
    again = Scripted(lambda *_: asyncio.sleep(30), concurrency=5)
    async with yard.dispatching(again):
        await until(lambda: again.running)
        assert (await yard.counters()).state == "held"
        assert again.running == 1


# pause


async def test_pause_stops_the_handler_and_keeps_the_event_until_it_is_resumed(yard: Yard) -> None:
    gone = True
    crm = Scripted(lambda *_: _raise(Pause("410: gone")) if gone else None, concurrency=1)
    async with yard.dispatching(crm):
        await yard.add_reports(5)
        await until(lambda: _state(yard, "paused"))
        assert len(crm.seen) == 1
        gone = False
        await yard.command.stand(Standing("crm", "ok"), now=yard.clock())
        await yard.done(5)
    assert crm.seen[1][1].number == 1


async def test_a_command_pauses_and_resumes_a_handler(yard: Yard) -> None:
    crm, mail = Scripted(), Scripted(name="mail")
    async with yard.dispatching(crm, mail) as dispatcher:
        await yard.command.stand(Standing("crm", "paused", reason="maintenance"), now=yard.clock())
        await until(lambda: dispatcher._lanes[0]._stand.state == "paused")
        await yard.add_reports(3)
        await yard.done(3, "mail")
        assert crm.seen == []
        await yard.command.stand(Standing("crm", "ok"), now=yard.clock())
        await yard.done(3)


# order


async def test_ordered_lets_a_later_report_of_a_message_wait_for_the_earlier(yard: Yard) -> None:
    def act(event: Any, attempt: Any) -> None:
        if event.error_code == "1" and attempt.number < 3:
            raise Retry("not yet")

    crm = Scripted(act, ordered=True, retries=["20ms"] * 5)
    async with yard.dispatching(crm):
        await yard.add(report("m-1", error_code="1"), report("m-1", error_code="2"), report("m-2", error_code="3"))
        await yard.done(3)
    assert crm.ids == ["m-1", "m-2", "m-1", "m-1", "m-1"]


# batches


async def test_a_batch_settles_together(yard: Yard) -> None:
    crm = Batched(batch=10)
    await yard.enrol("crm")
    await yard.add_reports(25)
    async with yard.dispatching(crm):
        await yard.done(25)
    assert [len(batch) for batch in crm.batches] == [10, 10, 5]


async def test_a_batch_settles_one_by_one_where_the_handler_says_so(yard: Yard) -> None:
    def act(events: Sequence[Any]) -> Any:
        return {event.id: Discard("odd") for event in events if event.message_id == "m-2"}

    async with yard.dispatching(Batched(act, batch=10)):
        ids = await yard.add_reports(3)
        await yard.done(2)
    assert (await yard.line(ids[1])).reason == "odd"


async def test_a_batch_waits_for_more_before_anything_of_it_is_claimed(yard: Yard) -> None:
    crm = Batched(batch=100, batch_wait="300ms")
    async with yard.dispatching(crm):
        await yard.add_reports(3)
        counters = await yard.counters()
        assert (counters.running, counters.pending) == (0, 3)
        await yard.add_reports(2, prefix="n")
        await yard.done(5)
    assert crm.batches == [["m-1", "m-2", "m-3", "n-1", "n-2"]]


async def test_a_full_batch_does_not_wait(yard: Yard) -> None:
    crm = Batched(batch=4, batch_wait="1h", concurrency=1)
    await yard.enrol("crm")
    await yard.add_reports(8)
    async with yard.dispatching(crm):
        await yard.done(8)
    assert [len(batch) for batch in crm.batches] == [4, 4]


# stops and faults


async def test_stop_releases_what_was_not_finished_and_charges_nothing(yard: Yard) -> None:
    crm = Scripted(lambda *_: asyncio.sleep(60), concurrency=2)
    loop = asyncio.get_running_loop()
    async with yard.dispatching(crm):
        await yard.add_reports(5)
        await until(lambda: crm.running == 2)
        begun = loop.time()
    assert loop.time() - begun < 6
    assert crm.closed
    counters = await yard.counters()
    assert (counters.pending, counters.running) == (5, 0)
    again = Scripted()
    async with yard.dispatching(again):
        await yard.done(5)
    assert {attempt.number for _, attempt in again.seen} == {1}


async def test_a_result_that_cannot_be_written_stays_and_stops_claiming_until_it_can(yard: Yard) -> None:
    store = Unwritable(yard.store)
    crm = Scripted(concurrency=2)
    async with yard.dispatching(crm, store=store):
        await yard.add_reports(40)
        await until(lambda: store.refused > 3)
        seen = len(crm.seen)
        await until(lambda: store.refused > 10)
        assert len(crm.seen) == seen < 40
        store.broken = False
        await yard.done(40)
    assert len(crm.seen) == 40


async def test_a_call_that_ignores_its_time_out_ends_a_shared_process(yard: Yard) -> None:
    async def stubborn(*_: Any) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    over = asyncio.Event()
    crm = Scripted(stubborn, timeout="50ms")

    async def dispatch() -> None:
        async with yard.dispatching(crm) as dispatcher:
            await yard.add_reports(1)
            await until(lambda: dispatcher._lanes[0].hands.stuck)

    with pytest.raises(HandlerStuck, match="crm"):
        await dispatch()
    assert (await yard.counters()).running == 1
    over.set()
    await until(lambda: crm.running == 0)


async def test_a_fault_of_the_configuration_is_told_before_anything_starts(yard: Yard) -> None:
    own = worker(yard.folder, GOOD, colour="blue")
    with pytest.raises(ConfigFault, match=r"handlers\.own\.colour"):
        async with yard.dispatching(own, Scripted()):
            pass
    assert not is_running(own.pid)


async def test_a_handler_that_cannot_start_is_tried_again_and_shows_why(yard: Yard) -> None:
    own = worker(yard.folder, FAILS_TO_OPEN_TWICE)
    async with yard.dispatching(own):
        await yard.add_reports(2)
        await yard.done(2, "own")
    assert "OSError: no licence" in (await yard.counters("own")).standing.last_error


# trouble of one beside another


GOOD = """
async def handle(event, attempt):
    return "ok"
"""
FAILS_TO_OPEN_TWICE = """
import pathlib
from receiver import BaseHandler
class Own(BaseHandler):
    async def open(self):
        tries = pathlib.Path(__file__).with_suffix(".tries")
        count = len(tries.read_text()) if tries.exists() else 0
        tries.write_text("x" * (count + 1))
        if count < 2:
            raise OSError("no licence")
    async def handle(self, event, attempt):
        return "ok"
"""
BAD = """
import os, time
from receiver import BaseHandler
class Own(BaseHandler):
    async def handle(self, event, attempt):
        if event.message_id == "m-2":
            {does}
"""
TROUBLES = {
    "spins": ("while True: pass", r"killed: blocked for \d+ s"),
    "exits": ("os._exit(1)", "killed: exit status 1"),
    "crashes": ("os.kill(os.getpid(), 11)", r"killed: signal 11 \(SIGSEGV\)"),
    "leaks": (
        "hoard = []\n            while True: hoard.append(bytearray(1 << 20)); time.sleep(.001)",
        "killed: over max_memory",
    ),
    "swallows memory": ("bytearray(1 << 40)", r"killed: over max_memory \(96 MiB\)"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_third_interruption_is_a_dead_letter_and_nobody_else_is_touched(yard: Yard, trouble: str) -> None:
    does, reason = TROUBLES[trouble]
    own = worker(yard.folder, BAD.format(does=does), timeout="300ms", max_memory="96 MiB")
    good = Scripted()
    async with yard.dispatching(own, good):
        ids = await yard.add_reports(5)
        await yard.done(5)
        await yard.done(4, "own")
        await until(lambda: _dead(yard, "own"))
    line = await yard.line(ids[1], "own")
    assert len(line.lines) == 3
    assert re.match(reason, line.reason)


async def test_a_handler_that_raises_touches_nobody_else(yard: Yard) -> None:
    own = worker(yard.folder, BAD.format(does="raise RuntimeError('no')"), retries=["10ms"])
    async with yard.dispatching(own, Scripted()):
        ids = await yard.add_reports(5)
        await yard.done(5)
        await yard.done(4, "own")
        await until(lambda: _dead(yard, "own"))
    assert (await yard.line(ids[1], "own")).reason == "RuntimeError: no"


async def test_an_interrupted_event_is_repeated_alone_and_before_new_ones(yard: Yard) -> None:
    code = """
import os, pathlib
async def handle(event, attempt):
    diary = pathlib.Path(__file__).with_suffix(".diary")
    with diary.open("a") as page:
        page.write(event.message_id + "\\n")
    if event.message_id == "m-1" and len(diary.read_text().split()) < 2:
        os._exit(3)
"""
    own = worker(yard.folder, code, concurrency=1)
    async with yard.dispatching(own):
        await yard.add_reports(3)
        await yard.done(3, "own")
    diary = (yard.folder / "handlers.d" / "own.diary").read_text().split()
    assert diary == ["m-1", "m-1", "m-2", "m-3"]


class Unwritable:
    """The real store, but its disk takes no results for a while."""

    def __init__(self, store: Any) -> None:
        self._store, self.broken, self.refused = store, True, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def settle(self, settlements: Sequence[Settlement], **given: Any) -> Any:
        if self.broken:
            self.refused += 1
            raise StoreUnavailable("read-only disk")
        return await self._store.settle(settlements, **given)


def _raise(fault: BaseException) -> Any:
    raise fault


async def _dead(yard: Yard, handler: str = "crm") -> bool:
    return (await yard.counters(handler)).dead == 1


async def _state(yard: Yard, state: str) -> bool:
    return (await yard.counters()).state == state


async def _retried(yard: Yard, event_id: str) -> Any:
    line = await yard.line(event_id)
    return line if line.attempts and line.due_at else None
