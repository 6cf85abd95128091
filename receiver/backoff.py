"""When to try again (pure): pauses of a schedule with jitter, and delays that double."""

from collections.abc import Callable, Sequence
from datetime import timedelta

LONGEST_AFTER = timedelta(hours=24)
"""A target may ask for this much patience; what it asks beyond is not granted."""
JITTER = (0.8, 1.2)


def pause(retries: Sequence[timedelta], failures: int, *, random: Callable[[], float]) -> timedelta | None:
    """How long to wait after so many failures, times 0.8 to 1.2; None when no retry is left. `random` gives [0, 1)."""
    if failures > len(retries):
        return None
    low, high = JITTER
    return retries[failures - 1] * (low + (high - low) * random())


def at_least(pause: timedelta, after: timedelta | None) -> timedelta:
    """The later of our pause and what the target asked for, of which 24 hours count at most."""
    return pause if after is None else max(pause, min(after, LONGEST_AFTER))


def horizon(retries: Sequence[timedelta]) -> timedelta:
    """No due time we ever set is further away; one that seems to be is due now, because the clock was set back."""
    return max(LONGEST_AFTER, max(retries, default=timedelta(0)) * JITTER[1])


def doubling(n: int, *, first: timedelta = timedelta(seconds=1), most: timedelta = timedelta(seconds=60)) -> timedelta:
    """The n-th delay, from 0, of a series that begins with `first` and doubles up to `most`."""
    return most if n > 32 else min(first * 2**n, most)


class Delays:
    """The delays between restarts: none before the first, then doubling, until something went well again."""

    def __init__(self, *, first: timedelta = timedelta(seconds=1), most: timedelta = timedelta(seconds=60)) -> None:
        self._first, self._most, self._count = first, most, 0

    def next(self) -> timedelta:
        """How long to wait before the next restart."""
        self._count += 1
        if self._count == 1:
            return timedelta(0)
        return doubling(self._count - 2, first=self._first, most=self._most)

    def reset(self) -> None:
        """Something went well: the next restart is at once again."""
        self._count = 0
