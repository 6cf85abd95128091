"""What systemd is told of us: that we are ready, reloading, alive and stopping, and how things stand (sd_notify(3))."""

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from datetime import timedelta

OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Systemd:
    """The service manager that started us, if one did; without one nothing happens.

    What it said is taken out of the environment, so that no child believes to be meant.
    """

    def __init__(self, env: MutableMapping[str, str] = os.environ) -> None:
        self._said = {name: env.pop(name) for name in OURS if name in env}
        self._address = self._said.get("NOTIFY_SOCKET", "")
        ours = self._said.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self.watchdog = timedelta(microseconds=int(self._said.get("WATCHDOG_USEC") or 0)) if ours else timedelta(0)
        """Within this time it wants to hear that we are alive; 0: never."""
        self._status = ""

    def restore(self, env: MutableMapping[str, str] = os.environ) -> None:
        """Put what it said back: we are about to become another program."""
        env.update(self._said)

    def ready(self) -> None:
        """We listen."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """We read the configuration anew; `ready` says that this is over, whatever became of it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def alive(self) -> None:
        """We work; to be said twice as often as `watchdog`."""
        self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """We end because we were told to."""
        self._tell("STOPPING=1")

    def status(self, words: str) -> None:
        """How things stand, for `systemctl status`; what was said last is not said again."""
        if words != self._status:
            self._status = words
            self._tell(f"STATUS={' '.join(words.split())}")

    def _tell(self, fact: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(fact.encode(), socket.MSG_DONTWAIT, address)  # who does not listen must not stop us
