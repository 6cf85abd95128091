"""What is asked for a handler costs the same however many of its exceptions wait: counted in steps of SQLite."""

from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import NOW

from receiver.store import rows
from receiver.store.base import HORIZON, everything
from receiver.store.sqlite import claiming, files, lanes, settling
from receiver.store.sqlite.desk import Connections

MANY = 5_000
FEW_STEPS = 2_000
ASKED = claiming.Asked("crm", "us", ordered=False, passes=everything)
JOBS: dict[str, Callable[[Connections, datetime], Any]] = {
    "waiting": lambda at, now: lanes.waiting(at, "crm", now, HORIZON),
    "claim": lambda at, now: claiming.claim(at, ASKED, limit=1, now=now, horizon=HORIZON),
    "probe_claim": lambda at, now: claiming.probe_claim(at, ASKED, now, HORIZON),
    "round": lambda at, _: settling.next_round(at, "crm"),
}


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Connections]:
    """A store in which very many wait for a time."""
    path = tmp_path / "receiver.db"
    files.prepare(path, "log")
    files.prepare(files.dispatch_path(path), "dispatch")
    with closing(Connections(path, writing=True)) as at:
        lanes.register(at, ["crm"])
        due = rows.to_micros(NOW + timedelta(hours=1))
        at.dispatch.executemany(
            "INSERT INTO exceptions (handler, position, replay, state, due_at) VALUES ('crm', ?, 0, 'again', ?)",
            ((position, due + position) for position in range(MANY)),
        )
        yield at


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("due", ["none", "one"])
def test_it_costs_little_though_very_many_wait(
    at: Connections, job: str, due: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (claiming, settling):
        monkeypatch.setattr(module, "MOST_PROBED", 10)
    if due == "one":
        at.dispatch.execute("UPDATE exceptions SET due_at = 0 WHERE position = ?", (MANY // 2,))
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 10
        return 0

    at.dispatch.set_progress_handler(step, 10)
    JOBS[job](at, NOW)
    at.dispatch.set_progress_handler(None, 0)
    assert steps < FEW_STEPS
