"""The provider that calls all the while: on a connection that stays, and each time on a new one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drills.load import Load
from drills.verdict import Verdict

RATE = 10.0
"""Probes a second on each of both ways."""
SETTLED = 0.5
"""Seconds after a stop until what it left unanswered is known."""


@dataclass(frozen=True)
class _Seen:
    """How far a load had come."""

    answers: int
    refused: int
    broken: int


class Probes:
    """Valid callbacks, each of which has to be answered 200 and soon; not while the receiver is stopped."""

    def __init__(self, seed: int, path: str) -> None:
        self.loads = {
            "kept": Load(seed, connections=1, repeats=0, rate=RATE, path=path),
            "new": Load(seed + 1, connections=1, repeats=0, rate=RATE, path=path, stays=False),
        }
        self._excused = {name: (_Seen(0, 0, 0), _Seen(0, 0, 0)) for name in self.loads}

    @property
    def acknowledged(self) -> set[str]:
        """Messages that were answered 200."""
        return {message for load in self.loads.values() for message in load.acknowledged}

    @asynccontextmanager
    async def calling(self, url: str) -> AsyncIterator[None]:
        """Call until the block ends, and then once more for what was not answered."""
        kept, new = self.loads.values()
        async with kept.running(url), new.running(url):
            yield
        for load in (kept, new):
            await load.repeat(url)

    @asynccontextmanager
    async def excused(self) -> AsyncIterator[None]:
        """What they meet during this block is no fault: the receiver is stopped and started."""
        before = self._seen()
        yield
        await asyncio.sleep(SETTLED)
        self._excused = {name: (before[name], now) for name, now in self._seen().items()}

    def _seen(self) -> dict[str, _Seen]:
        return {name: _Seen(len(load.times), load.statuses[503], load.broken) for name, load in self.loads.items()}

    @property
    def slowest(self) -> float:
        """Seconds until the last of those was answered that had to be taken in first."""
        return max(self.loads["new"].times, default=0.0)

    def judge(self, verdict: Verdict, slow: float) -> None:
        """Every one was answered 200, 99 of 100 within so many seconds."""
        seen = self._seen()
        for name, load in self.loads.items():
            before, after = self._excused[name]
            times = sorted([*load.times[: before.answers], *load.times[after.answers :]]) or [0.0]
            p50, p99, most = (1000 * times[min(int(len(times) * share), len(times) - 1)] for share in (0.5, 0.99, 1))
            verdict.figures[f"probes on {name} connections"] = len(times)
            verdict.figures[f"  {name}: p50, p99, slowest, ms"] = f"{p50:.1f}, {p99:.1f}, {most:.1f}"
            refused = seen[name].refused - (after.refused - before.refused)
            broken = seen[name].broken - (after.broken - before.broken)
            verdict.must(not refused, f"{refused} probes on {name} connections were answered 503")
            verdict.must(not broken, f"{broken} probes on {name} connections were not answered")
            verdict.must(p99 <= 1000 * slow, f"probes on {name} connections: p99 {p99:.0f} ms, over {1000 * slow:.0f}")
            verdict.faults += load.wrong
