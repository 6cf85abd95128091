"""Waiting for something to become true, with a deadline; whether a process runs."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

DEADLINE = 20.0


async def until(true: Callable[[], Any] | Callable[[], Awaitable[Any]], *, within: float = DEADLINE) -> Any:
    """Wait until something is true, and return what it is; fails after so many seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while True:
        found = true()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert loop.time() < end, f"not within {within} s"
        await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
