"""How much is taken at once: room shared fairly between sources, and a pace for each that has one."""

from collections import Counter


class Room:
    """How many callbacks may be answered at once. One source may have all of it, but not what another's share is."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._inside: Counter[str] = Counter()
        self._all = 0

    def enter(self, source: str) -> None:
        """Count one more."""
        self._inside[source] += 1
        self._all += 1

    def leave(self, source: str) -> None:
        """Count one less."""
        self._all -= 1
        self._inside[source] -= 1
        if not self._inside[source]:
            del self._inside[source]

    def is_full_for(self, source: str) -> bool:
        """Whether there are too many, and this source has more than its share of them."""
        return self._all > self.most and self._inside[source] > self.most // len(self._inside)


class Pace:
    """At most so many a second, a second's worth of them at once; a token bucket."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._left = rate
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether one more may come at this time, in seconds; then it counts."""
        self._left = min(self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
