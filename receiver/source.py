"""A source: one account at a provider, as callbacks meet it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from hmac import compare_digest

from receiver import peer
from receiver.callback import Callback
from receiver.events import Event
from receiver.fairness import Pace
from receiver.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Source:
    """One account at a provider, as the web side needs it."""

    name: str
    provider: Provider
    digests: tuple[bytes, ...] = field(repr=False)
    """`digest` of each live secret; none: the URL has no secret."""
    allow_from: tuple[peer.Network, ...] = ()
    open: bool = False
    """Whether nothing at all authenticates callbacks: then none is taken that came through a proxy."""
    pace: Pace | None = None
    """How fast callbacks may come; None: as fast as they like."""
    dedupe: bool = True
    """Whether a callback without identity that we failed to answer is a repeat when it comes again."""
    endpoints: Mapping[str, str] = field(init=False, default_factory=dict)
    """Name → what arrives there; of several methods with one name the first counts."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "endpoints", {point.name: point.purpose for point in reversed(self.provider.endpoints)}
        )

    def known(self, secret: str) -> bytes | None:
        """The digest of the live secret that this is, None for any other; b"" where none is needed.

        It is compared with all of them, in a time that tells nothing.
        """
        if not self.digests:
            return None if secret else b""
        given, found = digest(secret), None
        for live in self.digests:
            if compare_digest(given, live):
                found = live
        return found

    def read(self, callback: Callback) -> Sequence[Event]:
        """The events of a callback, with what is ours to know: where they came from, when, whether to the right URL.

        Raises Unreadable; an adapter's bug raises what it likes.
        """
        provider = self.provider
        events = tuple(provider.parse(callback))
        for event in events:
            event.source = self.name
            event.provider = provider.name
            event.received_at = callback.received_at
            event.simulated = callback.simulated
            event.in_utc()
            if provider.home(callback, event) != callback.endpoint:
                event.notes.append("wrong_endpoint")
            if not self.dedupe and not event.identity.certain:
                event.identity = event.identity._replace(values=())
        return events


def digest(secret: str) -> bytes:
    """What secrets are compared by."""
    return blake2b(secret.encode("utf-8", "surrogateescape")).digest()
