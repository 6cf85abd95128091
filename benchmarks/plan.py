"""How much is measured: quick, as usual, or long."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Plan:
    """The sizes of all scenarios; the folder where servers keep their stores is emptied at the end."""

    folder: Path
    say: Callable[[str], None]
    rounds: int = 5
    seconds: float = 2.0
    connections: tuple[int, ...] = (1, 16, 64, 256)
    kinds: tuple[str, ...] = ("dlr", "mo", "bulkvs")
    stored: tuple[int, ...] = (100_000, 1_000_000)
    people: bool = True
    """Whether what people write is measured too."""
    quick: bool = False


def quick(folder: Path, say: Callable[[str], None]) -> Plan:
    """Everything once, in seconds: shows that it works, and nothing about speed."""
    return Plan(folder, say, 1, 0.3, (1, 16), stored=(2_000, 20_000), quick=True)


def usual(folder: Path, say: Callable[[str], None]) -> Plan:
    """About six minutes."""
    return Plan(folder, say, rounds=3, seconds=1.5)


def long(folder: Path, say: Callable[[str], None]) -> Plan:
    """About half an hour, up to five million stored."""
    return Plan(folder, say, rounds=7, seconds=3.0, stored=(100_000, 1_000_000, 5_000_000))


def now() -> str:
    """The date of a result."""
    return time.strftime("%Y-%m-%d", time.gmtime())
