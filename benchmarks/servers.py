"""The servers that are measured, each a process of its own, pinned to the core of the server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from benchmarks import machine, wire
from drills.faults.ready import free_port

PATIENCE = 30.0
"""Seconds until a server that does not come up, or does not end, is given up."""
LOOK = 0.005
RESTS = 0.1
"""Seconds without using any CPU after which a server has nothing left to do."""
SOURCES = "".join(
    f'[sources.{name}]\nprovider = "{name}"\nsecrets = ["{wire.SECRET}"]\n\n' for name in ("spryng", "bulkvs")
)


@dataclass
class Server(ABC):
    """A server in a folder of its own. As a context manager: it runs, and is killed at the end of the block."""

    name = ""
    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it on `port`."""

    def start(self) -> float:
        """Start it: seconds until it takes connections."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                env=_clean() | self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        os.sched_setaffinity(self.process.pid, self.cores())  # it is not far enough to have threads
        self._wait(began)
        return time.monotonic() - began

    def cores(self) -> set[int]:
        """Where it runs."""
        return machine.server_cores()

    def _wait(self, began: float) -> None:
        while not _takes_connections(self.port):
            if self.pid_if_runs() is None or time.monotonic() - began > PATIENCE:
                raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-1000:]}")
            time.sleep(LOOK)

    def pid_if_runs(self) -> int | None:
        """Its pid; None where it does not run."""
        return self.process.pid if self.process and self.process.poll() is None else None

    @property
    def pid(self) -> int:
        """Its pid."""
        assert self.process, f"{self.name} was not started"
        return self.process.pid

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.name}.log"

    def rest(self) -> None:
        """Wait until it does nothing more: what it put off must not stand in the way of who is measured next."""
        until, before = time.monotonic() + PATIENCE, -1.0
        while time.monotonic() < until and (now := machine.cpu_seconds(self.pid)) != before:
            before = now
            time.sleep(RESTS)

    def memory(self) -> float:
        """MiB that it holds now."""
        return machine.memory(self.pid)

    def end(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait for its end."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.end()


class Base(Server):
    """A bare Starlette route, with the server and the settings that the receiver has."""

    name = "base"
    app: ClassVar[str] = "benchmarks.base:app"

    def command(self) -> list[str]:
        """uvicorn without an access log."""
        options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", self.app, "--host", "127.0.0.1", "--port", str(self.port), *options]


class Naive(Base):
    """FastAPI and SQLAlchemy: one transaction for each request."""

    name = "naive"
    app = "benchmarks.people.naive:app"


class Background(Base):
    """FastAPI that answers first and stores in a BackgroundTask."""

    name = "background"
    app = "benchmarks.people.background:app"


@dataclass
class Ours(Server):
    """`receiver serve --no-dispatch`, with a secret in the path and the store on the disk."""

    name = "ours"
    tables: str = ""
    """More of the configuration."""

    def command(self) -> list[str]:
        """The command, and its configuration beside the store."""
        file = configure(self.folder, self.tables)
        listen = f"127.0.0.1:{self.port}"
        options = ["--no-dispatch", "--listen", listen, "--admin-listen", "", "--log-format", "json"]
        return [sys.executable, "-m", "receiver", "serve", *options, "--config", str(file)]

    @property
    def database(self) -> Path:
        """The log."""
        return self.folder / "receiver.db"


class Dispatch(Server):
    """`receiver dispatch` on the store of this folder, on the core of the load."""

    name = "dispatch"

    def command(self) -> list[str]:
        """The command; the configuration is there already."""
        file = self.folder / "receiver.toml"
        return [sys.executable, "-m", "receiver", "dispatch", "--log-format", "json", "--config", str(file)]

    def cores(self) -> set[int]:
        """Beside the load."""
        return machine.load_cores()

    def _wait(self, _: float) -> None:
        """Whoever needs it waits for what it does."""


def configure(folder: Path, tables: str = "") -> Path:
    """Write the configuration into the folder of a store."""
    file = folder / "receiver.toml"
    file.write_text(f"{SOURCES}{tables}")
    file.chmod(0o600)
    return file


def said(log: Path, event: str) -> list[dict[str, Any]]:
    """The lines of a log that say this."""
    lines = (line for line in log.read_text().splitlines() if line.startswith("{"))
    return [found for line in lines if (found := json.loads(line)).get("event") == event]


@contextmanager
def running(*servers: Server) -> Iterator[None]:
    """All of these run until the block ends."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in servers:
            server.end()


def _takes_connections(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _clean() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return kept | {"PYTHONPATH": str(machine.ROOT), "RECEIVER_STORE__RESERVE": "0 B"}
