"""Hold (pure): when a target counts as down, and when it is probed."""

from collections import deque
from collections.abc import Iterable
from datetime import timedelta

from receiver.backoff import doubling

MOST_FAILURES = 5
FEWEST_EVENTS = 2


class Hold:
    """Counts failures of a target in a row; on hold, says when the next probe may be. Times are monotonic seconds."""

    def __init__(self, *, first: timedelta = timedelta(seconds=1), most: timedelta = timedelta(seconds=60)) -> None:
        self.active = False
        self._first, self._most = first, most
        self._row: deque[frozenset[str]] = deque(maxlen=MOST_FAILURES)
        self._probes = 0
        self._probe_at = 0.0
        self._last_was_target = True

    def failed(self, events: Iterable[str]) -> bool:
        """The target failed for these events at once. Whether it is now five times in a row, of two events at least."""
        self._row.append(frozenset(events))
        return len(self._row) == MOST_FAILURES and len(frozenset().union(*self._row)) >= FEWEST_EVENTS

    def answered(self) -> None:
        """The target said something: the row is broken."""
        self._row.clear()

    def begin(self, now: float) -> None:
        """Put on hold; the first probe comes after the shortest delay."""
        self.active, self._probes, self._last_was_target = True, 0, True
        self._schedule(now)

    def probed(self, now: float, *, target: bool) -> None:
        """A probe failed. After one that was not the target's failure the delays begin anew: it seems to be back."""
        self._probes = self._probes + 1 if target or not self._last_was_target else 0
        self._last_was_target = target
        self._schedule(now)

    def wait(self, now: float) -> float:
        """Seconds until the next probe."""
        return max(self._probe_at - now, 0.0)

    def end(self) -> None:
        """The target is back."""
        self.active = False
        self._row.clear()

    def _schedule(self, now: float) -> None:
        self._probe_at = now + doubling(self._probes, first=self._first, most=self._most).total_seconds()
