"""The hosts that a URL names, asked one after the other, each with a time of its own: a silent one hides no other."""

from itertools import zip_longest
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from receiver.store.postgres import faults

REFUSED = "28"
"""The class of a wrong user or password: the next host knows it no better."""


class Hosts:
    """Those of one URL. Who failed is asked last the next time."""

    def __init__(self, url: str) -> None:
        self._urls = each(url)

    async def connect(self, *, within: float, **options: Any) -> Any:
        """A connection to the first that fits; so many seconds for each.

        Raises OSError, TimeoutError, asyncpg's errors.
        """
        reasons: list[Exception] = []
        for url in list(self._urls):
            try:
                return await asyncpg.connect(url, timeout=within, **options)
            except BaseException as fault:
                self._urls.remove(url)
                self._urls.append(url)
                if not faults.is_the_servers(fault) or faults.is_one_of(fault, REFUSED):
                    raise
                reasons.append(fault)  # type: ignore[arg-type]
        standby = (one for one in reasons if isinstance(one, asyncpg.TargetServerAttributeNotMatched))
        raise next(standby, reasons[-1])


def each(url: str) -> list[str]:
    """A URL for each of its hosts: `user@a,b:5433/sms` or `user@/sms?host=a,b&port=5432,5433`."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        return [urlunsplit(parts._replace(netloc=f"{user}{at}{host}")) for host in hosts.split(",")]
    keys = dict(parse_qsl(parts.query, keep_blank_values=True))
    names, ports = keys.pop("host", "").split(","), keys.pop("port", "").split(",")
    if len(names) == 1:
        return [url]
    last = ports[-1]
    places = [{"host": name, "port": port} for name, port in zip_longest(names, ports[: len(names)], fillvalue=last)]
    kept = [keys | {key: value for key, value in place.items() if value} for place in places]
    return [urlunsplit(parts._replace(query=urlencode(one))) for one in kept]
