"""Listening addresses: our own, and those that systemd passes; and what to say where one cannot be had."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from receiver.errors import ReceiverError

BACKLOG = 2048
PASSED = ("callbacks", "admin")
"""The names of sockets that systemd passes, and their order where they have none."""


class AddressTaken(ReceiverError):
    """Another program listens there already."""


def bind(host: str, port: int, path: Path | None) -> socket.socket:
    """A listening address. Raises AddressTaken naming who has it, ReceiverError for any other reason."""
    try:
        return _bind_unix(path) if path else _bind_tcp(host, port)
    except OSError as fault:
        where = str(path) if path else f"{host}:{port}"
        if fault.errno == errno.EADDRINUSE:
            raise AddressTaken(f"{where} is in use{_holder(port) if port else ''}") from fault
        raise ReceiverError(f"cannot listen on {where}: {fault.strerror or fault}") from fault


def _bind_tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_unix(path: Path) -> socket.socket:
    """A socket left behind by a receiver that is gone is replaced; one that somebody answers on is not."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise OSError(errno.EEXIST, "there is a file that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def passed() -> dict[str, socket.socket]:
    """Listening sockets passed by systemd, by name (`callbacks`, `admin`), else by order; sd_listen_fds(3).

    Raises ReceiverError where there are several of one kind: nobody would answer on the others.
    """
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    count = int(os.environ.get("LISTEN_FDS", "0"))
    found: dict[str, socket.socket] = {}
    for number in range(count):
        name = names[number] if number < len(names) else ""
        kind = name if name in PASSED else PASSED[number] if number < len(PASSED) else ""
        if not kind or kind in found:
            raise ReceiverError(
                "systemd passes more than one socket of a kind: leave one ListenStream= in each .socket unit"
            )
        found[kind] = socket.socket(fileno=3 + number)
    return found


def _holder(port: int) -> str:
    """Which process listens on a TCP port, as far as we may see: ` by php (pid 812)`."""
    wanted = f":{port:04X}"
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(wanted) and fields[3] == "0A":  # LISTEN
                    inodes.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(handle) in inodes for handle in (process / "fd").iterdir()):
                return f" by {(process / 'comm').read_text().strip()} (pid {process.name})"
    return ""
