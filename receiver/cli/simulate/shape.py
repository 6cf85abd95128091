"""What a made-up callback is, and how a provider repeats one that was refused."""

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple


class Request(NamedTuple):
    """One callback as a provider would send it; where to is said elsewhere."""

    kind: str
    """dlr or mo."""
    method: str
    endpoint: str
    query: str = ""
    body: bytes = b""
    content_type: str = ""
    identified: bool = True
    """Whether it holds an id or a time, so that the receiver knows a repeat of it."""


class Making(NamedTuple):
    """What a made-up callback is made of."""

    number: int
    """Which one of this run it is, from 0."""
    run: int
    """Different in every run, below 10**12."""
    now: datetime
    random: random.Random


class Repeating(NamedTuple):
    """How a provider repeats a callback that was refused."""

    pause: Callable[[int], timedelta]
    """The pause after the n-th refusal, from 1."""
    give_up: timedelta


class Shape(NamedTuple):
    """What a provider sends, by kind."""

    make: dict[str, Callable[[Making], Request]]
    repeating: dict[str, Repeating]
    words: str
    """For people: how refused ones are repeated."""


def each_minute(refusals: int) -> timedelta:  # noqa: ARG001  every refusal costs the same
    """A minute, always."""
    return timedelta(minutes=1)


def doubling(refusals: int) -> timedelta:
    """One minute, two, four, … up to half a day."""
    return timedelta(minutes=min(2 ** min(refusals - 1, 10), 720))


# What people write: opt-outs, emoji, several lines, accents, and the short answers that are equal byte for byte.
TEXTS = (
    "OK",
    "Ja graag",
    "STOP",
    "Stop please",
    "INFO graag meer info",
    "Where is my order?",
    "Thanks 😀",
    "👍🏽",
    "👨‍👩‍👧 komt eraan",
    "Hoi,\nik ben iets later.\nGroet, José",
    "café om 15:00?",
    "100% sure & ready + waiting",
    "Kan het ook morgen? Dan ben ik de hele dag thuis, vanaf een uur of negen tot ongeveer zes uur 's avonds.",
    "1234",
    "Yes",
)
