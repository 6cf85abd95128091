"""What every lane is given: the store, whose claims it makes, time and chance, and how long to wait for what."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The same for all lanes, and nothing in it ever changes. `random` gives [0, 1)."""

    store: Store
    owner: str
    clock: Callable[[], datetime]
    random: Callable[[], float]
    lease: timedelta = timedelta(seconds=15)
    """After so long without a renewal another dispatcher takes over what this one had claimed."""
    look: timedelta = timedelta(seconds=0.5)
    """How often to look at the store unasked."""
    again: timedelta = timedelta(seconds=0.5)
    """After how long to try again what the store could not do."""
    first_delay: timedelta = timedelta(seconds=1)
    """Of probes and of restarts; it doubles up to `longest_delay`."""
    longest_delay: timedelta = timedelta(seconds=60)
    opening: timedelta = timedelta(seconds=3)
    """What handlers are given to open before those that are open begin."""
    finish: timedelta = timedelta(seconds=2.5)
    """What running calls are given at a stop."""


monotonic = time.monotonic
"""Seconds of a clock that nobody sets."""
