"""What came of a run: counters, the answers' times, and the summary in words."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from receiver import units

MOST_FAULTS_SHOWN = 5


@dataclass
class Tally:
    """Counts of a run; every callback ends as stored, duplicate, wrong or given up."""

    sent: int = 0
    """Callbacks that were begun, planned duplicates included."""
    stored: int = 0
    duplicates: int = 0
    retried: int = 0
    """Requests that repeated a refused one."""
    refused: int = 0
    """Requests that were not answered 200: refused or broken connections, time-outs, 5xx."""
    given_up: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    """What was wrong, and how often."""
    refusals: dict[str, int] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    """Seconds to each answer 200."""
    seconds: float = 0.0

    @property
    def finished(self) -> int:
        """Callbacks whose fate is known."""
        return self.stored + self.duplicates + self.wrong + self.given_up

    @property
    def wrong(self) -> int:
        """Answers that should have been others."""
        return sum(self.faults.values())

    @property
    def failed(self) -> bool:
        """Whether anything is not as promised."""
        return bool(self.wrong or self.given_up)

    def fault(self, words: str) -> None:
        """Count a wrong answer."""
        self.faults[words] = self.faults.get(words, 0) + 1

    def refusal(self, words: str) -> None:
        """Count a request that has to be repeated."""
        self.refused += 1
        self.refusals[words] = self.refusals.get(words, 0) + 1

    def quantile(self, share: float) -> timedelta:
        """The time within which this share of the answers came."""
        ordered = sorted(self.times)
        return timedelta(seconds=ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0)

    def figures(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "sent": self.sent,
            "stored": self.stored,
            "duplicates": self.duplicates,
            "retried": self.retried,
            "refused": self.refused,
            "wrong": self.wrong,
            "given_up": self.given_up,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.finished / self.seconds, 1) if self.seconds else None,
            "p50_ms": round(self.quantile(0.5) / timedelta(milliseconds=1), 2),
            "p99_ms": round(self.quantile(0.99) / timedelta(milliseconds=1), 2),
            "faults": self.faults,
        }

    def words(self, provider: str) -> str:
        """The summary for people, the verdict first."""
        rate = self.finished / self.seconds if self.seconds else 0
        took = units.words(timedelta(seconds=self.seconds))
        verdict = "NOT as promised" if self.failed else "All as promised"
        lines = [
            f"{verdict}: {self.sent:,} callbacks of {provider} in {took} ({rate:,.0f} a second)",
            f"  stored       {self.stored:,}",
            f"  duplicates   {self.duplicates:,}   known as such, stored once",
            f"  refused      {self.refused:,}{_listed(self.refusals)}",
            f"  retried      {self.retried:,}",
            f"  given up     {self.given_up:,}",
            f"  wrong        {self.wrong:,}{_listed(self.faults)}",
            f"  answered     half within {_ms(self.quantile(0.5))}, 99 of 100 within {_ms(self.quantile(0.99))}",
        ]
        return "\n".join(lines)


def _listed(counts: dict[str, int]) -> str:
    shown = sorted(counts.items(), key=lambda item: -item[1])[:MOST_FAULTS_SHOWN]
    return "   " + " · ".join(f"{count:,} × {words}" for words, count in shown) if shown else ""


def _ms(span: timedelta) -> str:
    return f"{span / timedelta(milliseconds=1):.1f} ms" if span < timedelta(seconds=1) else units.words(span)
