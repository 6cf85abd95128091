"""Who sent a request: the client's address through trusted proxies, and whether a proxy was in between."""

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Headers = Iterable[tuple[bytes, bytes]]

FORWARDING = frozenset({b"forwarded", b"via"})
FORWARDING_PREFIX = b"x-forwarded-"
FORWARDED_FOR = b"x-forwarded-for"


def client_address(scope: Mapping[str, Any], trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is no trusted proxy, read from the right; None where that cannot be told.

    A peer on a unix socket is a trusted proxy. What cannot be parsed ends the chain: such a client is nobody.
    """
    forwarded = _forwarded_for(scope["headers"])
    chain = forwarded.split(",") if forwarded.strip() else []
    peer = scope.get("client")
    address = parse(peer[0]) if peer and peer[0] else None
    if address is None and not _is_local(scope):
        return None
    while address is None or is_in(address, trusted):
        if not chain:
            return address
        address = parse(chain.pop())
        if address is None:
            return None
    return address


def is_in(address: Address, networks: Sequence[Network]) -> bool:
    """Whether an address lies in one of these networks; an IPv4-mapped one is its IPv4 address."""
    return any(address in network for network in networks)


def came_through_proxy(scope: Mapping[str, Any]) -> bool:
    """Whether a request carries a proxy's marks. HTTP/1.0 is one: a bare nginx `proxy_pass` speaks it."""
    if scope["http_version"] == "1.0":
        return True
    return any(name in FORWARDING or name.startswith(FORWARDING_PREFIX) for name, _ in scope["headers"])


def parse(text: str) -> Address | None:
    """An address as proxies write it: with a port, in brackets, IPv4 in IPv6; None for anything else."""
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _forwarded_for(headers: Headers) -> str:
    return ",".join(value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR)


def _is_local(scope: Mapping[str, Any]) -> bool:
    """Whether the request came over a unix socket: the server's address has no port."""
    server = scope.get("server")
    return server is not None and server[1] is None
