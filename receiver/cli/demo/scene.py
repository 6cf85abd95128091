"""Scene: all that can be seen of the demo at a moment."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.cli.demo.ends import Postbox, Shop
from receiver.cli.simulate.run import Run
from receiver.store.views import HandlerStats

AWAY_FROM, AWAY_FOR, LONGEST_AWAY = 0.3, 0.25, 8.0
"""The shop leaves after this share of the time, for that share of it, and for so many seconds at most."""


@dataclass
class Scene:
    """Who is on stage, and how they stand."""

    seconds: float
    """How long callbacks are sent."""
    shop: Shop
    postbox: Postbox
    runs: Mapping[str, Run]
    """Provider → what it sends."""
    handlers: list[HandlerStats] = field(default_factory=list)
    sending: bool = True
    _began: float = field(default_factory=time.monotonic)

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def waiting(self) -> int:
        """Events that a handler has not settled."""
        return sum(one.pending + one.running for one in self.handlers)

    @property
    def away(self) -> tuple[float, float]:
        """From when to when the shop does not take anything."""
        leaves = self.seconds * AWAY_FROM
        return leaves, leaves + min(self.seconds * AWAY_FOR, LONGEST_AWAY)

    def total(self, what: str) -> int:
        """A count of both providers together: sent, stored, duplicates, …"""
        return sum(int(getattr(run.tally, what)) for run in self.runs.values())
