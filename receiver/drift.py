"""Steps of the wall clock: how far it moved against the one that nobody sets."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta


class Drift:
    """Compares the two clocks whenever it is asked."""

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._wall, self._steady = clock(), monotonic()

    def step(self) -> timedelta:
        """How far the wall clock was set since it was last asked; negative: back. Small where it only drifts."""
        wall, steady = self._clock(), self._monotonic()
        step = (wall - self._wall) - timedelta(seconds=steady - self._steady)
        self._wall, self._steady = wall, steady
        return step
