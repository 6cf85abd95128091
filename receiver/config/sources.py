"""Whether callbacks may come from anybody, and whether those that may come can: rules across several keys."""

from collections.abc import Sequence
from ipaddress import ip_network

from receiver import plugins
from receiver.config.faults import Faults
from receiver.config.settings import Network, Server, Settings, Source

LOOPBACKS = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def check_trial(settings: Settings, faults: Faults) -> None:
    """Without configuration the sources have no secret: this machine only."""
    if not settings.server.listen.local:
        faults.add(
            ("server", "listen"),
            "without configured sources only this machine is listened to; write a configuration: receiver init",
        )
    _check_admin(settings.server, faults)


def check_reach(settings: Settings, faults: Faults) -> None:
    """Every source is authenticated or says that it is not, and its addresses can be seen; so is the admin listener."""
    _check_admin(settings.server, faults)
    for source in settings.sources.values():
        if source.auth == "none" and source.secrets:
            faults.add(("sources", source.name, "auth"), '"none" beside secrets; remove one of them')
        elif not is_authenticated(source):
            faults.add(
                ("sources", source.name), 'needs secrets (receiver init makes them), allow_from, or auth = "none"'
            )
        if source.allow_from and not _reachable(settings.server, source.allow_from):
            faults.add(
                ("sources", source.name, "allow_from"),
                "can never match: all requests come from loopback, and no proxy there is in server.trusted_proxies",
            )


def is_authenticated(source: Source) -> bool:
    """Whether a source has a secret, a signature or addresses, or says that it wants none."""
    if source.secrets or source.allow_from or source.auth == "none" or source.adapter is None:
        return True  # without an adapter the provider is unknown, which is a fault already
    return plugins.provider_class(source.provider).signed


def _check_admin(server: Server, faults: Faults) -> None:
    if server.admin_token is None and not server.admin_listen.local:
        faults.add(
            ("server", "admin_token"), f"is needed: admin_listen {server.admin_listen} can be reached from elsewhere"
        )


def _reachable(server: Server, allowed: Sequence[Network]) -> bool:
    if not server.listen.loopback:
        return True
    seen = (*allowed, *server.trusted_proxies)
    return any(_overlap(network, loopback) for network in seen for loopback in LOOPBACKS)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
