"""The wake-up between processes: a datagram to a socket beside the database. A hint; nothing depends on it."""

import asyncio
import contextlib
import socket
from pathlib import Path

LONGEST_PATH = 100  # sun_path holds 108 bytes; on a longer path the poll alone wakes


class Bell:
    """Rings: one datagram that does not wait, to whoever listens."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def ring(self) -> None:
        """Say that something is new."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"!", self._path)

    def close(self) -> None:
        """Let go."""
        self._socket.close()


class Ear:
    """Listens: everybody who waits wakes up when it rings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._rung = asyncio.Event()

    def open(self) -> None:
        """Listen at the path, where it is short enough; a socket left by a process that is gone is replaced."""
        if self._socket or len(bytes(self._path)) > LONGEST_PATH:
            return
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._path.unlink(missing_ok=True)
            listening.bind(str(self._path))
            self._path.chmod(0o660)
        except OSError:  # a full or read-only disk: the poll alone wakes
            listening.close()
            return
        self._socket = listening
        asyncio.get_running_loop().add_reader(listening, self._hear)

    def close(self) -> None:
        """Stop listening."""
        if self._socket:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._path.unlink(missing_ok=True)
            self._socket = None

    async def wait(self, seconds: float) -> None:
        """Until it rings, at most so many seconds."""
        rung = self._rung
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await rung.wait()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError, InterruptedError):
            while self._socket and self._socket.recv(64):
                pass
        self._rung.set()
        self._rung = asyncio.Event()
