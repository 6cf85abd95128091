"""What a store holds, beside what was acknowledged and what handlers say they were given."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from drills.eyes import Eyes, Place
from drills.ledger import Ledger
from drills.verdict import Verdict
from receiver.store.base import MOST_INTERRUPTIONS
from receiver.store.views import HandlerStats, Stats


class Letter(NamedTuple):
    """A dead letter."""

    message: str
    interruptions: int
    reason: str


def everybody(_: str) -> bool:
    """For a handler without filters."""
    return True


class Audit:
    """Reads the log as it grows, and compares. What is wrong goes into the verdict."""

    def __init__(self, eyes: Eyes, verdict: Verdict) -> None:
        self.stored: Counter[str] = Counter()
        self._at: dict[Place, str] = {}
        self._ends: dict[int, int] = {}
        self._eyes, self._verdict = eyes, verdict

    @property
    def positions(self) -> int:
        """How many events the log has had, by the newest position of each stream."""
        return sum(self._ends.values())

    async def look(self, acknowledged: set[str]) -> None:
        """Read what is new in the log: all that was acknowledged before is there, and nothing twice."""
        for place, message in await self._eyes.new():
            self._at[place] = message
            self._ends[place.stream] = place.position
            self.stored[message] += bool(message)
        lost = sorted(acknowledged - self.stored.keys())
        twice = sorted(message for message, count in self.stored.items() if count > 1)
        self._verdict.figures |= {"stored": self.stored.total(), "lost": len(lost), "twice": len(twice)}
        self._once("lost", lost, "{} messages were answered 200 and are not stored, such as {}")
        self._once("twice", twice, "{} messages are stored twice, such as {}")
        if len(self._at) != self.positions:
            self._once("gaps", [str(self.positions)], "the log has gaps before position {1}")

    def _once(self, name: str, found: list[str], words: str) -> None:
        """What was found at an earlier look is replaced by what is found now."""
        if found:
            words = words.format(len(found), found[0])
            known = [fault for fault in self._verdict.faults if not fault.startswith(f"{name}: ")]
            self._verdict.faults[:] = [*known, f"{name}: {words}"]

    async def balance(self) -> Stats:
        """The counters add up at this moment."""
        stats = await self._eyes.stats()
        for one in stats.handlers:
            states = one.done + one.filtered + one.cancelled + one.pending + one.running + one.dead
            self._verdict.must(one.received == states, f"the counters of {one.handler} do not add up: {one}")
        return stats

    async def dead(self, handler: str) -> list[Letter]:
        """The dead letters of a handler."""
        return [Letter(self._at[place], count, why) for place, count, why in await self._eyes.dead(handler)]

    async def written(self, handler: str, *verdicts: str) -> Counter[str]:
        """How many attempts of each message the attempt log has that came to one of these."""
        return Counter({self._at[place]: count for place, count in await self._eyes.attempts(handler, verdicts)})

    async def settled(self, one: HandlerStats, ledger: Ledger, *, owed: Callable[[str], bool] = everybody) -> None:
        """When all is quiet: the handler has every stored event or lists it as dead, and repeats have their reasons."""
        handler, must = one.handler, self._verdict.must
        must(not one.pending and not one.running, f"{handler} is not done: {one.pending} wait, {one.running} run")
        must(one.received == self.positions, f"{handler} was owed {one.received} events of {self.positions}")
        dead = {letter.message for letter in await self.dead(handler)}
        missing = {message for message in self.stored if message and owed(message)} - ledger.done - dead
        words = f"{handler}: {{}} stored events never reached it and are not dead, such as {{}}"
        must(not missing, words.format(len(missing), min(missing, default="")))
        reasons = await self.written(handler, "interrupted", "retry")
        loose = {message for message, times in ledger.given.items() if times > 1 + reasons[message]}
        words = f"{handler}: {{}} events were repeated without an interruption, such as {{}}"
        must(not loose, words.format(len(loose), min(loose, default="")))

    async def killed_rightly(self, handler: str) -> int:
        """How many dead letters there are; each was interrupted three times, and says so."""
        dead = await self.dead(handler)
        for letter in dead:
            known = letter.interruptions >= MOST_INTERRUPTIONS and letter.reason.startswith("killed: ")
            self._verdict.must(known, f"{handler}: {letter} is dead without having been interrupted three times")
        return len(dead)
