"""The list of all faults: each a function that does it to a scene and says what must be seen."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drills.faults.scene import Scene

Work = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them. `short` ones are in the short run; `disk` is the size in MiB of a disk of its own, 0 for none."""

    name: str
    work: Work
    short: bool
    disk: int


FAULTS: dict[str, Fault] = {}


def fault(*, short: bool = False, disk: int = 0) -> Callable[[Work], Work]:
    """Register a fault under its name with dashes."""

    def register(work: Work) -> Work:
        name = str(getattr(work, "__name__", "")).replace("_", "-")
        FAULTS[name] = Fault(name, work, short, disk)
        return work

    return register
