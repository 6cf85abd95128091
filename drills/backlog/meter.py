"""Measures claims in a process of its own: `python -m drills.backlog.meter DATABASE HANDLER TIMES [BROKEN]`."""

import asyncio
import json
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from drills.broken import FAULTS
from receiver.store.base import Done, Settlement
from receiver.store.sqlite import SqliteStore

LIMIT = 256
"""What a fast handler claims at a time."""


async def measured(path: Path, handler: str, times: int) -> dict[str, float]:
    """Milliseconds of a claim and of settling it: medians."""
    store = await SqliteStore.open(path, "dispatch")
    claims, settlements = list[float](), list[float]()
    try:
        await store.enrol([handler], owner="meter", now=datetime.now(UTC))
        for _ in range(times):
            began = time.perf_counter()
            claimed = await store.claim(
                handler, owner="meter", limit=LIMIT, now=datetime.now(UTC), lease=timedelta(minutes=1)
            )
            claims.append(time.perf_counter() - began)
            done = [Settlement(one, Done(), datetime.now(UTC), timedelta(0)) for one in claimed]
            began = time.perf_counter()
            await store.settle(done, now=datetime.now(UTC))
            settlements.append(time.perf_counter() - began)
    finally:
        await store.close()
    return {"claim": 1000 * statistics.median(claims), "settle": 1000 * statistics.median(settlements)}


def main() -> None:
    """Break it where that is asked for, and print the figures."""
    path, handler, times, *broken = sys.argv[1:]
    for name in filter(None, broken):
        FAULTS[name]()
    print(json.dumps(asyncio.run(measured(Path(path), handler, int(times)))))  # noqa: T201


if __name__ == "__main__":
    main()
