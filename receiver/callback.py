"""Callback and Reply: one HTTP request of a provider as it came, and what it is told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """One request to a source, with its exact bytes. It never holds the path's secret."""

    source: str
    endpoint: str
    method: str
    query: bytes = b""
    content_type: str = ""
    body: bytes = b""
    received_at: datetime
    simulated: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Lower-case names, where the provider signs; not stored."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of an answer 200, where a provider wants to hear something other than OK."""

    body: bytes = b"OK"
    content_type: str = "text/plain; charset=utf-8"
