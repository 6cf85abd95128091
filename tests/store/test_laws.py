"""A store under any order of acts: a machine that makes them up, and a model of what every handler is owed."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis.strategies as st
import postgres_kit
from factories import NOW, PHONE, report
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from receiver.store.base import Dead, Dispatch, Done, Filtered, Interrupted, Outcome, Released, RetryAt
from receiver.store.views import DispatchSelector, Selector

from .conftest import House
from .test_postgres import PostgresHouse
from .test_sqlite import SqliteHouse

HANDLERS = ("crm", "audit")
FINAL = {"done", "filtered", "cancelled"}


class Owed(NamedTuple):
    """One event owed to one handler; a replay is another one."""

    handler: str
    event: str
    replay: int


handlers = st.sampled_from(HANDLERS)
phones = st.sampled_from([PHONE, "+31687654321"])
ways = st.sampled_from(["done", "done", "filtered", "retry", "dead", "interrupted", "released"])


class StoreMachine(RuleBasedStateMachine):
    """Acts on a real store. `states` is what each dispatch must be; everything acknowledged stands in `events`."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.house = self.built()
        self.now = NOW
        self.phones: dict[str, str] = {}
        """Whom each event is about, by id."""
        self.events: dict[str, datetime] = {}
        """When each event was received, by id."""
        self.told: list[tuple[str, str]] = []
        """Message id and event id of all that was recorded."""
        self.states: dict[Owed, str] = {}
        self.running: dict[Owed, Dispatch] = {}
        self.died: dict[Owed, datetime] = {}
        self.lost: list[Dispatch] = []
        """What was claimed by owners that are gone: they hold it no longer."""

    def built(self) -> House:
        """An empty database."""
        return SqliteHouse(Path(self.folder.name))

    def torn_down(self) -> None:
        """The database has served."""

    def run(self, act: Coroutine[Any, Any, Any]) -> Any:
        """Do it; every act takes a second."""
        self.now += timedelta(seconds=1)
        return self.runner.run(act)

    @initialize()
    def begin(self) -> None:
        self.run(self.house.open())
        self.run(self.house.enrol(*HANDLERS, now=self.now))
        self.record(6)

    def teardown(self) -> None:
        try:
            self.nothing_is_forgotten()
        finally:
            self.runner.run(self.house.close())
            self.torn_down()
            self.runner.close()
            self.folder.cleanup()

    # callbacks in

    @rule(count=st.integers(1, 6), phone=phones)
    def record(self, count: int, phone: str = PHONE) -> None:
        made = [report(f"m-{len(self.told) + n}", recipient=phone, received_at=self.now) for n in range(count)]
        recorded = self.run(self.house.record(*made))
        assert recorded.outcome == "stored"
        for one, event in zip(made, recorded.events, strict=True):
            self.told.append((one.message_id or "", event))
            self.phones[event] = phone
            self.events[event] = one.received_at
            self.states |= {Owed(handler, event, 0): "pending" for handler in HANDLERS}

    @precondition(lambda self: self.events)
    @rule(dice=st.randoms(use_true_random=False))
    def record_again(self, dice: Any) -> None:
        name, event = dice.choice([one for one in self.told if one[1] in self.events])
        again = report(name, recipient=self.phones[event], received_at=self.now)
        recorded = self.run(self.house.record(again))
        assert (recorded.outcome, recorded.events) == ("duplicate", (event,))

    # events out

    @precondition(lambda self: "pending" in self.states.values())
    @rule(handler=handlers, limit=st.integers(1, 5), later=st.sampled_from([0, 60]))
    def claim(self, handler: str, limit: int, later: int) -> None:
        self.now += timedelta(seconds=later)
        for one in self.run(self.house.claim(handler, limit=limit, now=self.now)):
            owed = Owed(handler, one.event.id, one.replay)
            assert self.states[owed] == "pending"
            self.states[owed] = "running"
            self.running[owed] = one

    @precondition(lambda self: self.running)
    @rule(dice=st.randoms(use_true_random=False), chosen=st.lists(ways, min_size=1, max_size=4))
    def settle(self, dice: Any, chosen: list[str]) -> None:
        for way in chosen[: len(self.running)]:
            self.settle_one(dice, way)

    def settle_one(self, dice: Any, way: str) -> None:
        owed = dice.choice(list(self.running))
        dispatch = self.running.pop(owed)
        began_at = None if way in ("filtered", "released") else self.now
        assert self.run(self.house.settle(dispatch, self.outcomes(dice)[way], now=self.now, began_at=began_at))
        self.states[owed] = "pending" if way in ("retry", "released") else way
        if way in ("dead", "interrupted"):
            self.take_over(owed, {"dead"} if way == "dead" else {"pending", "dead"})

    def outcomes(self, dice: Any) -> dict[str, Outcome]:
        return {
            "done": Done(),
            "filtered": Filtered(),
            "retry": RetryAt(self.now + timedelta(seconds=dice.choice([0, 30, 600])), "503"),
            "dead": Dead("gave up"),
            "interrupted": Interrupted("exit 1"),
            "released": Released(),
        }

    # lives

    @precondition(lambda self: self.running)
    @rule()
    def crash(self) -> None:
        self.run(self.house.crash_dispatch())
        self.begin_again()

    @rule(killed=st.booleans())
    def restart(self, killed: bool) -> None:
        """Of everything in order, or of the callbacks side alone by a kill."""
        if killed:
            self.run(self.house.crash_receive())
            return
        self.run(self.house.reopen())
        self.begin_again()

    def begin_again(self) -> None:
        self.now += timedelta(minutes=2)
        self.run(self.house.enrol(*HANDLERS, now=self.now))
        for owed in self.running:
            self.take_over(owed, {"pending", "dead"})
        self.lost += self.running.values()
        self.running.clear()

    @precondition(lambda self: self.lost)
    @rule(dice=st.randoms(use_true_random=False), way=ways)
    def settle_too_late(self, dice: Any, way: str) -> None:
        """Whoever lost its claims can settle nothing any more, whatever it says."""
        lost = dice.choice(self.lost)
        assert not self.run(self.house.settle(lost, self.outcomes(dice)[way], now=self.now))

    @rule(hours=st.sampled_from([1, 20, 80]))
    def set_clock_back(self, hours: int) -> None:
        """Nothing is lost by it, and nothing happens twice; what waits for a time is claimed in the end."""
        self.run(self.house.dispatch.set_back(timedelta(hours=hours), now=self.now))

    # acts of people

    @precondition(lambda self: "dead" in self.states.values())
    @rule(handler=handlers, to=st.sampled_from(["cancelled", "pending"]))
    def decide(self, handler: str, to: str) -> None:
        """All dead letters of a handler are given up, or begin anew."""
        act = self.house.command.cancel if to == "cancelled" else self.house.command.requeue
        owed = [one for one, state in self.states.items() if state == "dead" and one.handler == handler]
        assert self.run(act(DispatchSelector(state="dead", handler=handler), self.now)) == len(owed)
        self.states |= dict.fromkeys(owed, to)

    @precondition(lambda self: self.events)
    @rule(handler=handlers, dice=st.randoms(use_true_random=False))
    def replay(self, handler: str, dice: Any) -> None:
        event = dice.choice(list(self.events))
        assert self.run(self.house.command.replay(handler, Selector(ids=(event,)), now=self.now)) == 1
        number = 1 + max(one.replay for one in self.states if one[:2] == (handler, event))
        self.states[Owed(handler, event, number)] = "pending"

    @rule(age=st.sampled_from([0, 5, 60]))
    def prune(self, age: int) -> None:
        before = self.now - timedelta(seconds=age)
        waited_for = {one.event for one, state in self.states.items() if state not in FINAL | {"dead"}}
        while self.run(self.house.command.prune(before)):
            pass
        left = set(self.run(self.house.ids()))
        gone = set(self.events) - left
        assert left <= set(self.events)
        assert not gone & waited_for
        assert all(self.events[event] < before for event in gone)
        self.events = {event: at for event, at in self.events.items() if event in left}
        self.states = {one: state for one, state in self.states.items() if one.event in left}
        for one, state in self.states.items():
            if state == "dead" and self.died[one] < before:
                self.take_over(one, {"cancelled"})

    @rule(phone=phones)
    def erase(self, phone: str) -> None:
        """A person's events go, wherever they are; who has one in hand can settle it no more."""
        theirs = {event for event in self.events if self.phones[event] == phone}
        told = self.run(self.house.command.erase(phone, now=self.now))
        unsettled = [one for one, state in self.states.items() if one.event in theirs and state not in FINAL]
        assert (told.events, told.cancelled, told.traces) == (len(theirs), len(unsettled), 0)
        self.events = {event: at for event, at in self.events.items() if event not in theirs}
        self.states = {one: state for one, state in self.states.items() if one.event not in theirs}
        self.lost += [dispatch for one, dispatch in self.running.items() if one.event in theirs]
        self.running = {one: dispatch for one, dispatch in self.running.items() if one.event not in theirs}

    # laws

    @invariant()
    def every_acknowledged_event_is_there_and_each_dispatch_once_in_its_state(self) -> None:
        seen = self.run(self.look())
        assert set(seen) == set(self.events)
        lines = [(Owed(line.handler, event, line.replay), line.state) for event, its in seen.items() for line in its]
        assert len(lines) == len({owed for owed, _ in lines})
        assert dict(lines) == self.states

    @invariant()
    def counters_are_what_the_dispatches_are(self) -> None:
        for handler in HANDLERS if self.states else ():
            told = self.run(self.house.counters(handler))
            owed = Counter(state for one, state in self.states.items() if one.handler == handler)
            for state in ("pending", "running", "dead"):
                assert getattr(told, state) == owed[state]

    def nothing_is_forgotten(self) -> None:
        """Whatever happened, all that is pending is claimed once its time has come."""
        self.now += timedelta(hours=1)
        for owed, dispatch in self.running.items():
            self.run(self.house.settle(dispatch, Done()))
            self.states[owed] = "done"
        self.running.clear()
        for handler in HANDLERS if self.events else ():
            while claimed := self.run(self.house.claim(handler, now=self.now)):
                self.run(self.house.finish(claimed, now=self.now))
                self.states |= {Owed(handler, one.event.id, one.replay): "done" for one in claimed}
        assert "pending" not in self.states.values()
        self.every_acknowledged_event_is_there_and_each_dispatch_once_in_its_state()

    # looking

    async def look(self) -> dict[str, tuple[Any, ...]]:
        """The dispatches of every event, by its id."""
        return {one.event.id: (await self.house.command.trace(one)).dispatches for one in await self.house.events()}

    def take_over(self, owed: Owed, allowed: set[str]) -> None:
        """Look what became of a dispatch: an interruption may be the third, an old dead letter is given up."""
        line = self.run(self.house.line(owed.event, owed.handler, replay=owed.replay))
        assert line.state in allowed
        self.states[owed] = line.state
        if line.state == "dead":
            self.died[owed] = line.died_at


class PostgresMachine(StoreMachine):
    """The same acts on PostgreSQL."""

    house: PostgresHouse

    def built(self) -> House:
        return PostgresHouse(self.runner.run(postgres_kit.fresh()))

    def torn_down(self) -> None:
        self.runner.run(postgres_kit.drop(self.house.url))


TestStoreMachine = StoreMachine.TestCase
TestPostgresMachine = PostgresMachine.TestCase
TestStoreMachine.settings = TestPostgresMachine.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking a failure would take minutes
    suppress_health_check=[HealthCheck.too_slow],
)
