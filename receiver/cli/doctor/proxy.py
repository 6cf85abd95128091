"""Proxy headers: who is believed about where a callback came from."""

from receiver.cli.doctor.case import Case
from receiver.cli.doctor.finding import Finding, ok, problem

CHECK = "proxy headers"
TOO_WIDE = 7
"""Bits of a network that is no proxy's any more, but a part of the internet."""


async def proxy(case: Case) -> list[Finding]:
    """Whether too many are believed, and whether the proxy can be gone around."""
    server = case.settings.server
    wide = [str(network) for network in server.trusted_proxies if network.prefixlen <= TOO_WIDE]
    if wide:
        cure = "server.trusted_proxies: only the addresses of your own proxies, such as 127.0.0.1/32"
        return [problem(CHECK, f"believed from {', '.join(wide)}: anybody can claim any address", cure)]
    believed = ", ".join(map(str, server.trusted_proxies)) or "nobody"
    around = "" if server.listen.local else f" · {server.listen} can be reached past the proxy too"
    return [ok(CHECK, f"X-Forwarded-For is believed from {believed}{around}")]
