"""SIGHUP: read the configuration anew, check it as `receiver check` does, and keep the old one where it is broken."""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from pydantic_core import from_json

from receiver.config import Settings
from receiver.errors import ReceiverError

RELOADED, REFUSED = "configuration_reloaded", "configuration_refused"
LONGEST_CHECK = 30.0
"""Seconds."""

log = structlog.get_logger()


class Reloading:
    """One reload at a time. The check runs in a process of its own: it loads the handlers' code, and we never do."""

    def __init__(self, check: Sequence[str], read: Callable[[], Settings]) -> None:
        """`check` is `receiver check --json` of the same configuration; `read` loads the settings."""
        self._check, self._read = check, read
        self._turn = asyncio.Lock()

    async def settings(self) -> Settings | None:
        """The new settings; None, with every fault in the log, where the old ones stay."""
        async with self._turn:
            faults = await self._faults()
            if not faults:
                try:
                    return self._read()
                except ReceiverError as fault:
                    faults = str(fault).splitlines()
            for fault_line in faults:
                log.error(REFUSED, fault=fault_line, note="the old configuration stays")
            return None

    async def _faults(self) -> list[str]:
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *self._check, stdin=nowhere, stdout=asyncio.subprocess.PIPE, stderr=nowhere
        )
        try:
            told, _ = await asyncio.wait_for(process.communicate(), LONGEST_CHECK)
        except TimeoutError:
            process.kill()
            await process.wait()
            return [f"the check did not end within {LONGEST_CHECK:.0f} s"]
        if process.returncode == 0:
            return []
        try:
            return [str(fault) for fault in from_json(told)["faults"]]
        except (ValueError, KeyError):
            return [f"the check ended with exit status {process.returncode}"]
