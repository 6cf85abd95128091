"""Callback and Reply: one HTTP request of a provider as it came, and what it is told."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

NONE: Mapping[str, str] = MappingProxyType({})


class Callback(NamedTuple):
    """One request to a source, with its exact bytes. It never holds the path's secret."""

    source: str
    endpoint: str
    method: str
    received_at: datetime
    query: bytes = b""
    content_type: str = ""
    body: bytes = b""
    simulated: bool = False
    headers: Mapping[str, str] = NONE
    """Lower-case names, where the provider signs; not stored."""

    def __repr__(self) -> str:
        """Without headers, which may hold secrets, and without what strangers wrote."""
        return f"<Callback {self.method} {self.source}/{self.endpoint} at {self.received_at:%FT%TZ}>"


class Reply(NamedTuple):
    """The body of an answer 200, where a provider wants to hear something other than OK."""

    body: bytes = b"OK"
    content_type: str = "text/plain; charset=utf-8"
