"""Who goes first where the processor or memory is short: the process that answers providers, not a handler's."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Place(NamedTuple):
    """How far a process stands behind."""

    nice: int
    oom_score: int


DISPATCH, WORKER = Place(2, 250), Place(10, 500)


def stand_behind(pid: int, place: Place) -> None:
    """Put a process of ours in its place; without a word where the system does not let us.

    Where the kernel groups processes by session (autogroup, sched(7)), niceness counts within a session only, and the
    session's own has to be set as well.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, place.nice)
    for file, value in (("autogroup", place.nice), ("oom_score_adj", place.oom_score)):
        with suppress(OSError):
            Path(f"/proc/{pid}/{file}").write_text(str(value), "ascii")
