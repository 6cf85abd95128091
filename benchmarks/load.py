"""The load: a process of its own that sends on kept-alive connections and measures each answer."""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import uvloop

from benchmarks import machine, wire

WARM = 0.3
"""Seconds that are sent and not measured."""
LATE = 30.0
"""Seconds after which a slice that does not end is given up."""
TICK = 0.002
"""Seconds between two looks at what is due, where the rate is given."""


@dataclass
class Slice:
    """What is to be sent, and to whom."""

    port: int
    kind: str = "dlr"
    connections: int = 64
    seconds: float = 2.0
    pid: int = 0
    """Whose CPU time is read while it is measured."""
    rate: float = 0.0
    """Requests a second, whatever the answers do; 0: the next one on each connection when the last is answered."""
    warm: float = WARM
    mortal: bool = False
    """The server is killed meanwhile: only what it answered until then is counted."""


@dataclass
class Measured:
    """What a slice came to. Times are milliseconds; `cpu` is microseconds of the server for each request."""

    answers: int = 0
    refused: int = 0
    """Answers that are no 200."""
    per_second: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    longest: float = 0.0
    cpu: float = 0.0
    busy: float = 0.0
    """The part of its core that the load itself took: near 1, it is the load that was measured."""
    total: int = 0
    """200s, the warming up included."""


def run(slice: Slice) -> Measured:
    """Send a slice from a process of its own, on the core that is the load's."""
    return end(begin(slice))


def begin(slice: Slice) -> subprocess.Popen[str]:
    """Begin to send a slice, and wait for nothing."""
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(slice))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=machine.ROOT)


def end(sending: subprocess.Popen[str]) -> Measured:
    """What a slice that was begun came to."""
    try:
        said, complaint = sending.communicate(timeout=LATE)
    except subprocess.TimeoutExpired:
        sending.kill()
        sending.communicate()
        raise
    if sending.returncode:
        raise RuntimeError(f"the load failed: {complaint[-500:]}")
    return Measured(**json.loads(said))


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


@dataclass
class Tally:
    """What all connections of a slice count together."""

    make: wire.Requests
    closed: bool
    times: list[float] = field(default_factory=list)
    idle: deque["Line"] = field(default_factory=deque)
    due: deque[float] = field(default_factory=deque)
    refused: int = 0
    total: int = 0
    lost: int = 0
    over: bool = False


class Line(asyncio.Protocol):
    """One connection: one request at a time, and its answer."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._began = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first, or wait until something is due."""
        self._transport: Any = transport
        if self._tally.closed:
            self.send(time.perf_counter())
        else:
            self._tally.idle.append(self)

    def send(self, at: float) -> None:
        """Send the next one, which was due at this time."""
        self._began = at
        self._transport.write(self._tally.make())

    def data_received(self, data: bytes) -> None:
        """Count an answer, and send the next."""
        if self._buffer:
            data = self._buffer + data
        if not _is_whole(data):
            self._buffer = data
            return
        self._buffer = b""
        tally, now = self._tally, time.perf_counter()
        tally.times.append(now - self._began)
        if data[9:12] == b"200":
            tally.total += 1
        else:
            tally.refused += 1
        if tally.over:
            return
        if tally.closed:
            self.send(now)
        elif tally.due:
            self.send(tally.due.popleft())
        else:
            tally.idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        """Count it; nobody hangs up in a slice."""
        self._tally.lost += not self._tally.over


def _is_whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    at = data.find(b"content-length: ", 0, end)
    return at < 0 or len(data) >= end + 4 + int(data[at + 16 : data.find(b"\r", at)])


async def send(slice: Slice) -> Measured:
    """Send a slice, and measure."""
    loop = asyncio.get_running_loop()
    tally = Tally(wire.requests(slice.kind), closed=not slice.rate)
    lines = [
        await loop.create_connection(lambda: Line(tally), "127.0.0.1", slice.port) for _ in range(slice.connections)
    ]
    pace = None if tally.closed else asyncio.create_task(_pace(tally, slice.rate))
    await asyncio.sleep(slice.warm)
    tally.times, tally.refused = [], 0
    began, own, cpu = time.perf_counter(), time.process_time(), machine.cpu_seconds(slice.pid)
    await asyncio.sleep(slice.seconds)
    took, own = time.perf_counter() - began, time.process_time() - own
    used, times = machine.cpu_seconds(slice.pid) - cpu, tally.times
    if pace:
        pace.cancel()
    tally.times, tally.over = [], True
    await asyncio.sleep(0.05)
    for transport, _ in lines:
        transport.abort()
    if tally.lost and not slice.mortal:
        raise RuntimeError(f"{tally.lost} connections were closed by the server")
    return _measured(sorted(times), took, used, tally, own / took)


async def _pace(tally: Tally, rate: float) -> None:
    """Make requests due at this rate; what finds no free connection waits, and its waiting counts."""
    due = time.perf_counter()
    while True:
        now = time.perf_counter()
        while due <= now:
            if tally.idle:
                tally.idle.popleft().send(due)
            else:
                tally.due.append(due)
            due += 1 / rate
        await asyncio.sleep(TICK)


def _measured(times: Sequence[float], took: float, used: float, tally: Tally, busy: float) -> Measured:
    return Measured(
        answers=len(times) - tally.refused,
        refused=tally.refused,
        per_second=(len(times) - tally.refused) / took,
        p50=percentile(times, 0.5) * 1000,
        p99=percentile(times, 0.99) * 1000,
        p999=percentile(times, 0.999) * 1000,
        longest=max(times, default=0.0) * 1000,
        cpu=used / max(len(times), 1) * 1e6,
        busy=busy,
        total=tally.total,
    )


def main() -> None:
    """Send the slice that the argument describes; the measurement goes to standard output."""
    os.sched_setaffinity(0, machine.load_cores())
    gc.disable()
    sys.stdout.write(json.dumps(asdict(uvloop.run(send(Slice(**json.loads(sys.argv[1])))))))


if __name__ == "__main__":
    main()
