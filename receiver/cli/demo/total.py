"""Total: what was sent, stored and delivered, added up by the ends themselves."""

from collections.abc import Mapping, Set
from typing import NamedTuple, Self

from receiver.cli import show
from receiver.cli.demo.scene import Scene


class Total(NamedTuple):
    """The sums."""

    sent: int
    """Callbacks answered 200."""
    stored: int
    duplicates: int
    wrong: int
    """Answers that were not as promised, and callbacks that were given up."""
    events: int
    """Events in the store."""
    delivered: Mapping[str, int]
    """Handler → of these events, how many its end has."""
    again: int
    """How many came to the shop a second time: allowed, and rare."""
    waiting: int
    """Dispatches that were not through when it ended."""
    mails: int
    refused: int
    away: float
    """Seconds for which the shop took nothing."""

    @classmethod
    def of(cls, scene: Scene, *, stored: Set[str], logged: Set[str]) -> Self:
        """Add up; `stored` are the ids in the store, `logged` those in the file of the handler `log`."""
        shop, postbox = scene.shop, scene.postbox
        leaves, returns = scene.away
        return cls(
            sent=scene.total("finished"),
            stored=scene.total("stored"),
            duplicates=scene.total("duplicates"),
            wrong=scene.total("wrong") + scene.total("given_up"),
            events=len(stored),
            delivered={
                "log": len(stored & logged),
                "shop": len(stored & shop.events.keys()),
                "mail": len(stored & postbox.events.keys()),
            },
            again=sum(shop.events.values()) - len(shop.events),
            waiting=scene.waiting,
            mails=postbox.mails,
            refused=shop.refused,
            away=returns - leaves if shop.refused else 0.0,
        )

    @property
    def lost(self) -> int:
        """What was answered 200 and is neither delivered nor waits."""
        missing = sum(self.events - count for count in self.delivered.values())
        return max(self.stored - self.events, 0) + max(missing - self.waiting, 0)

    @property
    def as_promised(self) -> bool:
        """Whether it adds up, and everything has arrived."""
        adds_up = self.sent == self.stored + self.duplicates + self.wrong and self.stored == self.events
        return adds_up and not (self.lost or self.wrong or self.waiting)

    def lines(self) -> list[str]:
        """For people."""
        mark = show.paint("✓" if self.sent == self.stored + self.duplicates + self.wrong else "✗")
        notes = {
            "log": "a line each, in a file",
            "shop": f"away for {self.away:.0f} s, refused {self.refused}, then all came" if self.refused else "",
            "mail": f"in {show.count(self.mails, 'mail')}",
        }
        if self.again:
            notes["shop"] += f"; {self.again} a second time"
        rows = [
            ("sent", self.sent, "each answered 200 after it was on disk"),
            ("stored", self.stored, ""),
            ("duplicates", self.duplicates, f"known as such, not handed on     {self._sum()}  {mark}"),
            *([("wrong", self.wrong, "answers that are not as promised, or none")] if self.wrong else []),
            *((name, count, f"of {self.events}  {notes[name]}") for name, count in self.delivered.items()),
            *([("waiting", self.waiting, "would be handed on at the next start")] if self.waiting else []),
            ("lost", self.lost, ""),
        ]
        table = [f"  {name:<11} {show.grouped(count):>6}  {words}".rstrip() for name, count, words in rows]
        verdict = "All as promised." if self.as_promised else "Not all of it was seen to the end."
        if self.lost or self.wrong:
            verdict = "NOT as promised."
        return ["", verdict, *table, "", "Nothing of it is left. The same with your own account:  receiver init"]

    def _sum(self) -> str:
        parts = [self.stored, self.duplicates, *([self.wrong] if self.wrong else [])]
        return f"{show.grouped(self.sent)} = {' + '.join(map(show.grouped, parts))}"
