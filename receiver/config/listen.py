"""Listen: an address to listen on, as it is written: "host:port", "[::1]:8080", "unix:/path", or "" for none."""

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any

FORMS = 'expected "127.0.0.1:8080", "[::1]:8080" or "unix:/path"'
_TCP = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})")
HIGHEST_PORT = 65535


class Listen(str):
    """An address to listen on. Port 0 is any free one; the empty string is no listener at all."""

    __slots__ = ()

    @classmethod
    def read(cls, given: Any, folder: Path) -> "Listen":
        """Check an address and make the path of a unix socket absolute. Raises ValueError with the forms there are."""
        if given == "":
            return cls("")
        if not isinstance(given, str):
            raise ValueError(FORMS)
        if given.startswith("unix:") and given != "unix:":
            return cls(f"unix:{folder / given.removeprefix('unix:')}")
        match = _TCP.fullmatch(given)
        if not match or int(match["port"]) > HIGHEST_PORT or (match["six"] and not _is_address(match["six"])):
            raise ValueError(FORMS)
        return cls(given)

    @property
    def path(self) -> Path | None:
        """The unix socket's path; None for TCP."""
        return Path(self.removeprefix("unix:")) if self.startswith("unix:") else None

    @property
    def host(self) -> str:
        """The host without brackets; empty for a unix socket."""
        return "" if self.path else self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The TCP port; 0 for a unix socket."""
        return 0 if self.path or not self else int(self.rpartition(":")[2])

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return bool(self.path) or not self or self.loopback

    @property
    def loopback(self) -> bool:
        """Whether it is TCP on loopback."""
        return self.host == "localhost" or (_is_address(self.host) and ip_address(self.host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
